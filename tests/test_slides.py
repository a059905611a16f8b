"""Slides: which cells become which slides, and pages that hold all they need."""

import importlib.util
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from rdistill_course.quizzes import quiz_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MISSING = [name for name in ("ziamath", "sphinx_revealjs") if importlib.util.find_spec(name) is None]
PICTURE = new_output("display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": "Two <arrows>."}})

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the extra `site` is not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def slides(load_script):
    return load_script("tools/build_slides.py")


def notebook(*cells):
    return new_notebook(cells=[new_markdown_cell("# 9. A title\n\nA promise."), *cells])


def kinds(slides, *cells):
    made = slides.slides_of(notebook(*cells)).cells[1:]
    return [(cell.metadata.slideshow.slide_type, cell.source) for cell in made]


def test_a_section_shows_its_heading_and_first_paragraph_and_the_rest_is_spoken(slides):
    section = new_markdown_cell("## 1. A section\n\nFirst.\n\nSecond.\n\nHere it is:\n\n$$x$$")
    assert kinds(slides, section) == [
        ("slide", "## 1. A section\n\nFirst."),
        ("notes", "Second."),
        ("subslide", "### 1. A section\n\nHere it is:\n\n$$x$$"),
    ]


def test_a_formula_stays_with_the_sentence_that_it_ends(slides):
    section = new_markdown_cell("## 1. A section\n\nIt is\n\n$$x$$\n\n$$y$$\n\nSecond.\n\nCompare\n\n$$z$$\n\nwith it.")
    assert kinds(slides, section) == [
        ("slide", "## 1. A section\n\nIt is\n\n$$x$$\n\n$$y$$"),
        ("notes", "Second.\n\nwith it."),
        ("subslide", "### 1. A section\n\nCompare\n\n$$z$$"),
    ]


def test_the_caption_of_a_figure_stands_below_it_and_longer_texts_are_spoken(slides):
    plot = new_code_cell("plot()", outputs=[PICTURE])
    caption, text = (
        new_markdown_cell("*What to see: a line\nthat falls.*"),
        new_markdown_cell("What to see: *two* lines."),
    )
    assert kinds(slides, plot, caption, plot, text) == [
        ("subslide", "### 9. A title"), ("-", ""), ("-", '<p class="caption">What to see: a line\nthat falls.</p>'),
        ("subslide", "### 9. A title"), ("-", ""), ("notes", text.source),
    ]  # fmt: skip


def test_a_heading_in_the_middle_of_a_cell_begins_a_slide(slides):
    assert kinds(slides, new_markdown_cell("What to see.\n\n## 2. Next\n\nFirst.")) == [
        ("notes", "What to see."),
        ("slide", "## 2. Next\n\nFirst."),
    ]


def test_figures_and_short_functions_are_shown_and_other_code_is_not(slides):
    short = new_code_cell("def f(x):\n    return x", outputs=[new_output("stream", name="stdout", text="1\n")])
    long = new_code_cell("def g(x):\n" + "    x = x\n" * 20)
    plot = new_code_cell("plot()", outputs=[PICTURE, PICTURE])
    made = slides.slides_of(notebook(short, long, plot)).cells[1:]
    assert [cell.source for cell in made if cell.cell_type == "code"] == [short.source, "", ""]
    assert sum(cell.metadata.slideshow.slide_type == "subslide" for cell in made) == 3


def test_what_is_written_by_hand_is_shown_whole_in_parts_that_fit(slides):
    body = "".join(f"    a{k} = (\n        {k}\n    )\n    # why\n" for k in range(12))
    made = slides.slides_of(notebook(new_code_cell(f"def train_by_hand(x):\n{body}    return x"))).cells[1:]
    parts = [cell.source for cell in made if cell.cell_type == "code"]
    assert "\n".join(parts) == f"def train_by_hand(x):\n{body}    return x"
    assert len(parts) > 1 and max(part.count("\n") + 1 for part in parts) <= 20
    assert not any(part.endswith("# why") for part in parts)


def test_the_training_loop_by_hand_is_on_slides(slides):
    (path,) = [path for path in NOTEBOOKS if path.name.startswith("04_")]
    code = "\n".join(cell.source for cell in slides.slides_of(nbformat.read(path, as_version=4)).cells)
    assert "def train_by_hand(" in code
    assert "loss.backward()" in code


def test_tables_that_cells_show_are_on_slides_long_ones_in_parts(slides):
    rows = [f"| row {k} | {k} |" for k in range(30)]
    table = new_output("display_data", {"text/markdown": "\n".join(["| a | b |", "|:--|:--|", *rows])})
    made = slides.slides_of(notebook(new_code_cell("show(table)", outputs=[table]))).cells[1:]
    parts = [cell.outputs[0].data["text/markdown"].splitlines() for cell in made if cell.cell_type == "code"]
    assert {tuple(part[:2]) for part in parts} == {("| a | b |", "|:--|:--|")}
    assert [row for part in parts for row in part[2:]] == rows
    assert max(map(len, parts)) <= 14
    page = slides.page(notebook(new_code_cell("show(table)", outputs=[table])))
    assert re.findall(r"<td[^>]*>(row \d+)</td>", page) == [f"row {k}" for k in range(30)]
    assert page.count(">a</th>") == len(parts)


@each_notebook
def test_no_figure_on_a_slide_is_shrunk_until_nothing_can_be_read(slides, path):
    about = [
        output.metadata[kind]
        for cell in slides.slides_of(nbformat.read(path, as_version=4)).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind.startswith("image/") and "height" in output.metadata.get(kind, {})
    ]
    assert [each["alt"] for each in about if min(1280 / each["width"], 570 / each["height"]) < 0.7] == []


def test_solutions_and_checks_stay_out_and_the_task_is_a_slide(slides):
    task = new_markdown_cell("### Exercise 9.1: Do\n\nDo it.", metadata={"rdistill": {"exercise": "9.1"}})
    solution = new_code_cell("def f(): return 42", metadata={"nbgrader": {"solution": True}})
    check = new_code_cell("check.f(f)", metadata={"nbgrader": {"grade": True}}, outputs=[PICTURE])
    assert kinds(slides, task, solution, check) == [("slide", task.source)]


def test_each_question_of_the_quiz_hides_its_answer_behind_a_key(slides):
    cells = kinds(slides, new_markdown_cell("## Quiz"), new_code_cell("quiz(0)", outputs=[PICTURE]))
    first = quiz_of(0).questions[0]
    assert [kind for kind, _ in cells] == ["slide", "fragment", *["subslide", "fragment"] * 4]
    assert first.text in cells[0][1] and first.reasons[first.right] in cells[1][1]


def test_a_cell_with_a_slide_type_of_its_own_is_taken_as_that(slides):
    cell = new_markdown_cell("## Whole\n\nOne.\n\nTwo.", metadata={"slideshow": {"slide_type": "subslide"}})
    assert kinds(slides, cell) == [("subslide", cell.source)]


def test_pictures_keep_their_alt_text_and_formulas_are_drawn(slides):
    page = slides.page(
        notebook(new_code_cell("plot()", outputs=[PICTURE]), new_markdown_cell("## Why\n\nBecause of $x$."))
    )
    assert 'alt="Two &lt;arrows&gt;."' in page
    assert '<span class="formula inline">' in page and "$x$" not in re.sub(
        r"<script>.*?</script>", "", page, flags=re.DOTALL
    )


@pytest.fixture(scope="module")
def file_of(slides, tmp_path_factory):
    """Gives the slides of a notebook, written once."""

    @cache
    def written(path: Path) -> Path:
        file = tmp_path_factory.mktemp("slides") / "slides.html"
        file.write_text(slides.page(nbformat.read(path, as_version=4)), encoding="utf-8")
        return file

    return written


@each_notebook
def test_slides_of_a_notebook_fetch_nothing(file_of, path):
    markup = re.sub(r"<script>.*?</script>", "", file_of(path).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "<script" not in markup
    assert re.findall(r"<(?:img|iframe)[^>]*\ssrc=\"(?!data:)|<link\b|@import|url\((?!data:)", markup) == []


@pytest.mark.slow
@each_notebook
def test_slides_of_a_notebook_fit_the_screen(file_of, browser, path):
    window = browser.new_page(viewport={"width": 1280, "height": 720})
    asked = []
    window.on("request", lambda request: asked.append(request.url))
    window.goto(file_of(path).as_uri())
    window.wait_for_function("window.Reveal && Reveal.isReady()")
    count, too_large = window.evaluate(
        """() => {
            const tooLarge = [];
            for (const slide of Reveal.getSlides()) {
                const at = Reveal.getIndices(slide);
                Reveal.slide(at.h, at.v);
                if (slide.scrollHeight > 720 || slide.scrollWidth > 1320) tooLarge.push([at.h, at.v, slide.innerText]);
            }
            return [Reveal.getSlides().length, tooLarge];
        }"""
    )
    window.close()
    assert count > 10
    assert too_large == []
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
