"""The site: complete, with alt texts and drawn formulas, no request to another host, usable small, dark and by keyboard."""

import base64
import html
import importlib.util
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import torch
from PIL import Image

import rdistill_course
import rdistill_helpers
from rdistill_course.quizzes import as_html, quiz_of
from rdistill_helpers import losses, plots
from rdistill_helpers.score.report import PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.name[0].isdigit()]
NEEDED = ["sphinx", "myst_nb", "furo", "ziamath"]
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `site` is not installed: {', '.join(MISSING)}"),
]

# Elements that a browser fetches when it shows a page. A link to follow (a href) is none of them.
FETCHED = {
    "script": ("src",), "link": ("href",), "img": ("src", "srcset"), "source": ("src", "srcset"), "iframe": ("src",),
    "object": ("data",), "embed": ("src",), "video": ("src", "poster"), "audio": ("src",), "track": ("src",),
    "image": ("href", "xlink:href"), "use": ("href", "xlink:href"), "input": ("src",), "form": ("action",),
}  # fmt: skip


class Page(HTMLParser):
    """What the tests ask of a page: addresses it fetches, links, anchors, pictures, text, and its styles and scripts."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.alts: list[str | None] = []
        self.text = ""
        self.inline = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.fetched += [values[name] for name in FETCHED.get(tag, ()) if values.get(name)]
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "img":
            self.alts.append(values.get("alt"))
        self.inline += values.get("style") or ""
        if tag in ("script", "style", "pre", "code"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] in ("script", "style"):
            self.inline += data
        elif not self._open:
            self.text += data


@pytest.fixture(scope="module")
def site(load_script, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    load_script("tools/build_site.py").build(folder / "site", folder / "source")
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site) -> list[Page]:
    return [Page(path) for path in sorted(site.rglob("*.html"))]


@pytest.fixture(params=[(1280, "light"), (360, "dark")], ids=["wide-light", "narrow-dark"])
def window(browser, request):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield context.new_page()
    context.close()


def sources(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def page_of(pages: list[Page], name: str) -> Page:
    return next(page for page in pages if page.path.as_posix().endswith(f"/site/{name}"))


# --- What is there


def test_every_notebook_and_guide_has_a_page_that_the_index_leads_to(site, pages):
    index = {link.split("#")[0] for link in page_of(pages, "index.html").links}
    wanted = [f"notebooks/{path.stem}.html" for path in NOTEBOOKS]
    wanted += [f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")]
    assert [name for name in wanted if name not in index or not (site / name).is_file()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_shows_the_outputs_that_the_notebook_holds(pages, path):
    shown = page_of(pages, f"notebooks/{path.stem}.html").path.read_text(encoding="utf-8")
    shown = html.unescape(re.sub(r"<[^>]*>", "", shown))
    printed = [
        output.text.strip().splitlines()[0].strip()
        for cell in sources(path, "code")
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout" and output.text.strip()
    ]
    assert printed
    assert [line for line in printed if line not in shown] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_keeps_its_alt_text(pages, path):
    kept = Counter(page_of(pages, f"notebooks/{path.stem}.html").alts)
    figures = Counter(
        output.metadata[kind]["alt"]
        for cell in sources(path, "code")
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind.startswith("image/")
    )
    assert figures
    assert figures - kept == Counter()


def test_no_picture_is_without_alt_text(pages):
    assert [(page.path.name, alt) for page in pages for alt in page.alts if not alt] == []


def test_every_formula_is_drawn(pages):
    for path in NOTEBOOKS:
        page = page_of(pages, f"notebooks/{path.stem}.html")
        written = "\n".join(re.sub(r"`[^`]*`", "", cell.source) for cell in sources(path, "markdown"))
        count = len(re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", written, re.DOTALL))
        assert page.path.read_text(encoding="utf-8").count('<span class="formula ') == count, path.name
        assert re.findall(r"\\(?:frac|sum|lambda|mathrm)\b|\$\$", page.text) == []


def test_where_a_notebook_has_a_widget_its_page_says_what_it_does(pages):
    for path in NOTEBOOKS:
        does = [
            output.data["text/plain"].removeprefix("<widget: ")[:60]
            for cell in sources(path, "code")
            for output in cell.outputs
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
        ]
        shown = page_of(pages, f"notebooks/{path.stem}.html").path.read_text(encoding="utf-8")
        assert [words for words in does if words not in html.unescape(shown)] == [], path.name
        assert "widget-view+json" not in shown


def test_tables_that_cells_show_as_markdown_are_tables(pages):
    as_text = {page.path.name for page in pages if re.search(r"<p[^>]*>\s*\|", page.path.read_text(encoding="utf-8"))}
    assert as_text == set()
    for path in NOTEBOOKS:
        shown = [output.get("data", {}) for cell in sources(path, "code") for output in cell.outputs]
        tables = sum("|" in data.get("text/markdown", "") or "<table" in data.get("text/html", "") for data in shown)
        page = page_of(pages, f"notebooks/{path.stem}.html").path.read_text(encoding="utf-8")
        assert page.count("<table") >= tables, path.name


def test_the_reference_describes_everything_that_is_public(pages):
    described = set().union(*(page.anchors for page in pages if page.path.parent.name == "reference"))
    described = {anchor.split(".")[-1] for anchor in described}
    packages = (rdistill_helpers, rdistill_course, plots)
    names = {name for package in (*packages, losses) for name in vars(package)} - {"losses"}
    wanted = {
        name
        for module in (*packages, losses)
        for name in names
        if callable(thing := getattr(module, name, None)) and thing.__module__.startswith("rdistill_")
    }
    public = {name for name in wanted if not name.startswith("_")}
    assert len(public) > 40
    assert public - described == set()


def test_the_reference_lists_the_arguments_of_a_function_and_what_it_gives(pages):
    text = re.sub(r"<[^>]*>", "", page_of(pages, "reference/common.html").path.read_text(encoding="utf-8"))
    described = text.split("own_share(count", 1)[1].split("all_reduce(")[0]
    assert re.search(r"Parameters:.*\bcount .*\bunit .*Returns:", described, re.DOTALL)
    assert "Args:" not in text


# --- Nothing from elsewhere


def outside(address: str) -> bool:
    return bool(urlsplit(address).netloc) or urlsplit(address).scheme not in ("", "data", "file")


def test_no_page_fetches_anything_from_another_host(pages):
    found = [(page.path.name, address) for page in pages for address in page.fetched if outside(address)]
    assert found == []


def test_no_style_and_no_inline_script_names_another_host(site, pages):
    styles = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    assert styles
    styles |= {f"inside {page.path.name}": page.inline for page in pages}
    named = [
        (name, address)
        for name, text in styles.items()
        for address in re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"])([^'\")]+)", text)
        if outside(address)
    ]
    assert named == []


def test_the_tests_see_a_page_that_fetches_from_elsewhere(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        '<img src="a.png" srcset="//host/b.png 2x"><script src="https://host/x.js"></script><a href="https://h">'
    )
    assert [address for address in Page(path).fetched if outside(address)] == ["//host/b.png 2x", "https://host/x.js"]


def test_a_browser_asks_for_files_of_the_site_alone(site, window):
    asked = []
    window.on("request", lambda request: asked.append(request.url))
    for path in [site / "index.html", site / "search.html", *sorted((site / "notebooks").glob("*.html"))]:
        window.goto(path.as_uri())
    assert len(asked) > 10
    assert [address for address in asked if not address.startswith((site.as_uri(), "data:"))] == []


# --- Links


def test_every_link_inside_the_site_leads_somewhere(site, pages):
    anchors = {page.path.resolve(): page.anchors for page in pages}
    broken = []
    for page in pages:
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            lost = not target.is_file() or not target.is_relative_to(site.resolve())
            if lost or (
                parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target] | {"top"}
            ):
                broken.append((page.path.relative_to(site).as_posix(), link))
    assert broken == []


def test_outgoing_links_name_a_protocol_that_browsers_know(pages):
    schemes = {urlsplit(link).scheme for page in pages for link in page.links}
    assert schemes <= {"", "https", "mailto"}


# --- In a browser


def test_pages_fit_into_360_pixels(site, browser):
    context = browser.new_context(viewport={"width": 360, "height": 800})
    window = context.new_page()
    too_wide = {}
    for path in sorted(site.rglob("*.html")):
        window.goto(path.as_uri())
        width = window.evaluate("document.documentElement.scrollWidth")
        if width > 360:
            too_wide[path.name] = width
    context.close()
    assert too_wide == {}


def test_wide_figures_scroll_on_a_narrow_screen_and_say_so(site, browser):
    context = browser.new_context(viewport={"width": 360, "height": 800})
    window = context.new_page()
    window.goto((site / f"notebooks/{NOTEBOOKS[0].stem}.html").as_uri())
    scrolling = "[...document.querySelectorAll('.figure.wide')].filter(e => e.scrollWidth > e.clientWidth)"
    assert window.evaluate(f"{scrolling}.length") > 0
    says = "getComputedStyle(e, '::after').content.includes('scroll')"
    stuck = f"{scrolling}.filter(e => getComputedStyle(e).overflowX != 'auto' || e.tabIndex !== 0 || !{says})"
    assert window.evaluate(f"{stuck}.length") == 0
    context.close()


def test_charts_are_dark_on_dark_pages_and_white_on_white_ones(site, window):
    window.goto((site / f"notebooks/{NOTEBOOKS[0].stem}.html").as_uri())
    dark = window.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    seen = window.evaluate("[...document.querySelectorAll('.chart img')].map(e => getComputedStyle(e).filter)")
    assert seen
    assert {"invert" in look for look in seen} == {dark}


def test_search_finds_pages_without_a_server(site, window):
    window.goto((site / "search.html").as_uri() + "?q=interpolate")
    window.wait_for_selector("#search-results ul.search li a")
    addresses = [link.get_attribute("href") for link in window.query_selector_all("#search-results li a")]
    assert any("reference/distil" in address for address in addresses)
    assert any("notebooks/" in address for address in addresses)
    assert all((site / address.split("?")[0].split("#")[0]).is_file() for address in addresses)


def test_the_reader_can_switch_to_dark(site, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    window = context.new_page()
    window.goto((site / "index.html").as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    seen = {window.evaluate(colour)}
    for _ in range(2):
        window.click(".content-icon-container .theme-toggle")
        seen.add(window.evaluate(colour))
    context.close()
    assert len(seen) == 2


def test_what_scrolls_inside_a_page_is_reached_by_the_keyboard(site, browser):
    context = browser.new_context(viewport={"width": 360, "height": 800})
    window = context.new_page()
    window.goto((site / f"notebooks/{NOTEBOOKS[0].stem}.html").as_uri())
    scrolling = "[...document.querySelectorAll('article pre')].filter(e => e.scrollWidth > e.clientWidth)"
    assert window.evaluate(f"{scrolling}.length") > 0
    assert window.evaluate(f"{scrolling}.filter(e => e.tabIndex !== 0).length") == 0
    context.close()


@pytest.mark.parametrize(
    "name",
    [
        "index",
        "docs/instructor",
        "docs/glossary",
        "docs/cheat-sheet",
        "reference/distil",
        *(f"notebooks/{path.stem}" for path in NOTEBOOKS),
    ],
)
def test_axe_finds_nothing_serious(site, window, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    window.goto((site / f"{name}.html").as_uri())
    found = axe.Axe().run(window).response
    assert found["passes"], "axe looked at nothing"
    grave = [
        (violation["id"], violation["nodes"][0]["html"][:200])
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert grave == []


# --- Quizzes, things to play with, glossary


def page_in(browser_window, site, name):
    browser_window.goto((site / f"{name}.html").as_uri())
    return browser_window


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_quiz_of_a_notebook_stands_on_its_page(pages, path):
    page = page_of(pages, f"notebooks/{path.stem}.html").path.read_text(encoding="utf-8")
    number = int(path.name[:2])
    assert as_html(number, quiz_of(number)) in page


def test_a_quiz_answers_back_keeps_the_score_and_begins_anew(site, window):
    page = page_in(window, site, f"notebooks/{NOTEBOOKS[1].stem}")
    first, second = quiz_of(1).questions[:2]
    wrong = next(letter for letter in first.options if letter != first.right)
    field = page.locator(".quiz fieldset").first
    field.locator(f"input[value={wrong}]").check()
    assert first.reasons[wrong] in page.locator(".quiz-reply").first.inner_text()
    field.locator(f"input[value={first.right}]").check()
    assert "is right" in page.locator(".quiz-reply").first.inner_text()
    page.locator(".quiz fieldset").nth(1).locator(f"input[value={second.right}]").check()
    assert page.locator(".quiz-score").inner_text() == "2 of 5 questions answered, 1 right at once."
    page.reload()
    assert page.locator(".quiz-score").inner_text() == "2 of 5 questions answered, 1 right at once."
    page.get_by_role("button", name="Start again").last.click()
    assert page.locator(".quiz-score").inner_text() == "0 of 5 questions answered, 0 right at once."
    assert page.locator(".quiz input:checked").count() == 0


def test_the_losses_of_the_circle_are_those_of_the_package(site, window):
    page = page_in(window, site, f"notebooks/{NOTEBOOKS[3].stem}")
    generator = torch.Generator().manual_seed(0)
    own, wanted = (6.28 * torch.rand(24, generator=generator, dtype=torch.float64) for _ in range(2))
    points = [torch.stack([angle.cos(), angle.sin()], dim=1) for angle in (own, wanted)]
    settings = {"temperature": 0.04}
    for name, loss in (
        ("listwise", losses.listwise(*points, **settings)),
        ("similarity", losses.similarity(*points)),
        ("RKD, distance", losses.rkd_distance(*points)),
    ):
        given = page.evaluate(f"([a, b]) => LOSSES['{name}'](a, b, 0.04)", [own.tolist(), wanted.tolist()])
        assert given == pytest.approx(float(loss), rel=1e-6), name


def test_the_circle_goes_downhill_and_starts_again(site, window):
    page = page_in(window, site, f"notebooks/{NOTEBOOKS[3].stem}")
    play = page.locator(".play[data-play=losses]")
    status = play.get_by_role("status")
    value = lambda: float(re.search(r": ([\d.e-]+)\. Point", status.inner_text())[1])  # noqa: E731
    start = value()
    for _ in range(3):
        play.get_by_role("button", name="10 steps downhill").click()
    assert value() < 0.7 * start
    play.get_by_role("button", name="Start again").click()
    assert value() == start
    play.get_by_label("Its direction in degrees").fill("180")
    assert value() != start
    play.get_by_label("similarity").check()
    assert play.get_by_label("Temperature").is_disabled()


def test_lambda_moves_a_mixture_from_one_photograph_to_the_other(site, window):
    page = page_in(window, site, f"notebooks/{NOTEBOOKS[2].stem}")
    play = page.locator(".play[data-play=mixing]")
    status = play.get_by_role("status")
    play.get_by_label("share of the first photograph").focus()
    seen = {}
    for key, weight in (("Home", "0.00"), ("End", "1.00")):
        page.keyboard.press(key)
        assert status.inner_text().startswith(f"λ = {weight}.")
        seen[key] = play.get_by_role("img").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert seen["Home"] != seen["End"] and all(len(labels) == 2 + 3 * 4 for labels in seen.values())
    play.get_by_label("pair 2").check()
    assert play.get_by_role("img").evaluate_all("all => all.map(e => e.style.backgroundPosition)")


def test_the_protocol_explorer_frames_as_the_protocol_says(site, window):
    page = page_in(window, site, f"notebooks/{NOTEBOOKS[5].stem}")
    letters = {"E": "easy", "H": "hard", "J": "junk"}
    for level, (positive, ignored) in PROTOCOLS.items():
        for letter in ("E", "H", "J", ""):
            part = letters.get(letter)
            framed = "right" if part in positive else "ignored" if part in ignored else "wrong"
            assert page.evaluate("([a, b]) => outcome(a, b, true)", [letter, level]) == framed
    assert page.evaluate("outcome('J', 'medium', false)") == "wrong"
    play = page.locator(".play[data-play=protocol]")
    own = page.evaluate("window.playData.protocol.queries[1].ap.teacher.hard")
    for label in ("query 2", "teacher", "hard"):
        play.get_by_label(label, exact=True).check()
    assert f"average precision {own[0]:.1f} %" in play.get_by_role("status").inner_text()
    play.get_by_label("junk is ignored").uncheck()
    assert f"average precision {own[1]:.1f} %" in play.get_by_role("status").inner_text()
    assert play.get_by_role("img").count() == 11


def test_first_uses_of_words_lead_to_the_glossary(pages, load_script):
    words = load_script("tools/build_site.py").glossary()
    assert set(words.values()) <= page_of(pages, "docs/glossary.html").anchors
    linked = set()
    for path in NOTEBOOKS:
        own = [link for link in page_of(pages, f"notebooks/{path.stem}.html").links if "glossary.html#" in link]
        assert own and len(own) == len(set(own)), path.name
        linked |= {link.split("#")[1] for link in own}
    elsewhere = {
        "backbone",
        "contrastive-loss",
        "mpk",
    }  # in code, in tables and in docs/, but in no sentence of a notebook
    assert set(words.values()) - linked <= elsewhere


# --- Pieces of the builder


def test_only_prose_is_linked_to_the_glossary(load_script):
    script = load_script("tools/build_site.py")
    words = {"Mask": "mask", "Joint space": "joint-space"}
    text = (
        "# A mask\n`mask` $mask$ [mask](x.md) unmasked\n\n| mask |\n\nTwo masks, one joint\nspace, joint space, masks."
    )
    linked = script.with_glossary(text, words)
    assert "Two [masks](../docs/glossary.md#mask), one" in linked
    assert "[joint space](../docs/glossary.md#joint-space), masks." in linked
    assert linked.count("glossary") == 2 and words == {}
    words = {"mAP": "map"}
    assert script.with_glossary("Feature maps.", words) == "Feature maps." and words
    assert script.with_glossary("Medium mAP.", words) == "Medium [mAP](../docs/glossary.md#map)."


def test_titles_of_papers_are_not_linked_to_the_glossary(load_script):
    titles = "## References\n- *Ranking distillation.*"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(titles)])
    assert load_script("tools/build_site.py").page_of_notebook(notebook).cells[0].source == titles


def test_a_picture_for_light_and_dark_becomes_two(load_script):
    source = '<source media="(prefers-color-scheme: dark)" srcset="d.jpg">'
    text = f'<picture>\n{source}\n<img src="l.jpg" alt="A &amp; B">\n</picture>'
    page = load_script("tools/build_site.py").page_of_markdown(text)
    assert "only-light\n![A & B](l.jpg)" in page and "only-dark\n![A & B](d.jpg)" in page and "<picture" not in page


def test_a_chart_of_a_page_is_framed_as_those_of_notebooks(load_script):
    text = "Before.\n\n![Gains (95 %): +1.0](docs/pictures/verdict.png)\n\n| ![small](a.jpg) |"
    page = load_script("tools/build_site.py").page_of_markdown(text)
    assert "```{container} figure chart wide\n![Gains (95 %): +1.0](docs/pictures/verdict.png)\n```\n" in page
    assert page.count("```") == 2


def test_formulas_in_a_text_are_drawn_and_code_and_prices_are_not(load_script):
    drawn = load_script("tools/site/formulas.py").formulas_in(
        "<p>$x$ and <code>$y$</code>, $5 or 6$7</p><p>$$a &lt; b$$</p>"
    )
    assert drawn.count("<svg") == 2
    assert "<code>$y$</code>" in drawn
    assert "$5 or 6$7" in drawn


def test_a_figure_with_photographs_is_turned_dark_but_for_the_photographs(load_script):
    script = load_script("tools/build_site.py")
    light = Image.new("RGB", (90, 60), "white")
    light.paste("#009E73", (0, 0, 30, 60))  # what tells right from wrong
    light.paste("#F8F0E8", (60, 0, 90, 60))  # a pale photograph
    stream = io.BytesIO()
    light.save(stream, "JPEG", quality=95, subsampling=0)
    data = {"image/jpeg": base64.b64encode(stream.getvalue()).decode()}
    about = {"image/jpeg": {"alt": "A mark and a photograph.", "photographs": [[60, 0, 90, 60]]}}
    figure = nbformat.v4.new_output("display_data", data, metadata=about)
    chart = nbformat.v4.new_output("display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": "A line."}})
    cell = nbformat.v4.new_code_cell("plot()", outputs=[figure, chart])
    (shown,) = script.page_of_notebook(nbformat.v4.new_notebook(cells=[cell])).cells
    assert [output.metadata.get("image/jpeg", {}).get("class") for output in shown.outputs] == [
        "only-light",
        "only-dark",
        None,
    ]
    dark = Image.open(io.BytesIO(base64.b64decode(shown.outputs[1].data["image/jpeg"]))).convert("RGB")
    mark, ground, photograph = (dark.getpixel((x, 30)) for x in (15, 45, 75))
    assert max(ground) < 40
    assert min(photograph) > 200
    assert mark[1] == max(mark)  # green stays green


def test_solutions_are_folded_and_answers_read_as_markdown(load_script):
    script = load_script("tools/build_site.py")
    solution = nbformat.v4.new_code_cell("x", metadata={"nbgrader": {"solution": True}})
    quiz = nbformat.v4.new_markdown_cell("<details><summary>Answer</summary>`a` is right.</details><br>")
    page = script.page_of_notebook(nbformat.v4.new_notebook(cells=[solution, quiz]))
    assert page.cells[0].metadata.tags == ["hide-input"]
    assert "</summary>\n\n`a` is right.\n\n</details>" in page.cells[1].source
