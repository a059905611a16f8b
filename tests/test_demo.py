"""The search page in a real Chromium: what it finds, how it is worked, that it asks no other host, what bad input meets."""

import base64
import io
import json
import os
import re
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install --editable '.[ship]'")
pytest.importorskip("playwright", reason="playwright is not installed: pip install --editable '.[dev]'")
from playwright.sync_api import Page, expect

from rdistill_helpers import Benchmark, OnnxStudent, RetrievalNet, TrainingImages, export, extract, search
from rdistill_helpers.data.images import crop_box, query_size, read_image, resize_longest

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "build" / "screenshots"
WAIT = 60_000  # milliseconds that a slow machine may take for what takes less than a second
SHOWN = 12
# Where a number of an int8 map lies on the edge between two steps, a difference of 1e-7 in front of it decides. One photograph
# in sixty or so has such a number, and its scores move by up to this much; all others are the same to seven digits.
TIE = 1e-2
PHOTOGRAPHS = 120  # of the rooms

pytestmark = pytest.mark.slow


class Colours(nn.Module):
    """A network that costs nothing, in the place of the teacher: 4 x 3 mean colours."""

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images - 0.5, (3, 4)).flatten(1)


@pytest.fixture(scope="module")
def demo(load_script):
    return load_script("tools/build_demo.py")


@pytest.fixture(scope="module")
def site(demo, browser, tmp_path_factory):
    """The page with a part of the rooms, an untrained int8 student, and another untrained one to compare with."""
    files = ROOT / "build" / f"onnxruntime-web-{demo.VERSION}"
    if not files.is_dir():
        pytest.skip("onnxruntime-web is not in build/: `python tools/build_demo.py --only runtime` fetches it by npm")
    folder = tmp_path_factory.mktemp("demo")
    student, other = folder / "student.onnx", folder / "other.onnx"
    export(RetrievalNet("squeezenet1_1"), student, int8=TrainingImages.load("rooms").pixels(range(0, 2000, 100)))
    export(RetrievalNet("squeezenet1_1", pooling="mac"), other)
    demo.build(folder / "site", student, other, Colours(), files, photographs=PHOTOGRAPHS)
    return folder / "site"


@pytest.fixture(scope="module")
def address(demo, site):
    serving = demo.server(site, 0)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}/"
    serving.shutdown()
    serving.server_close()


@pytest.fixture(scope="module")
def student(site):
    return OnnxStudent(site / "student.onnx", threads=1)


@pytest.fixture(scope="module")
def rooms(site):
    """What the page knows of the rooms, with the descriptors of the database by the package."""
    told = json.loads((site / "demo.json").read_text(encoding="utf-8"))["rooms"]
    whole = Benchmark.load("rooms")
    told["images"] = [whole.read(name) for name in told["photos"]]
    told["whole"] = whole
    return told


class Opened:
    """The page, opened, with what it asked for and what went wrong in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.context.on("request", lambda request: self.asked.append(request.url))

    def open(self) -> None:
        self.page.goto(self.address)
        self.searched()

    def searched(self) -> None:
        expect(self.page.locator("#found")).to_have_attribute("aria-busy", "false", timeout=WAIT)

    def names(self, which: str = "student") -> list[str]:
        shown = self.page.locator(f"#{which}-results .name").all_inner_texts()
        return [re.sub(r"^\d+\. ", "", text) for text in shown]

    def box(self) -> list[int]:
        return [int(self.page.input_value(f"#{side}")) for side in ("left", "top", "right", "bottom")]

    def described(self, count: int) -> None:
        expect(self.page.locator("#status")).to_contain_text(f"{count} photograph", timeout=WAIT)
        self.searched()

    def tab_to(self, target: str) -> None:
        for _ in range(40):
            if self.page.locator(target).evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}")


@pytest.fixture
def settings():
    """Of the browser window."""
    return {"viewport": {"width": 1100, "height": 900}}


@pytest.fixture
def opened(browser, address, settings, request):
    context = browser.new_context(**settings)
    page = Opened(context.new_page(), address)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.page.screenshot(path=SCREENSHOTS / f"demo_{request.node.name}.png", full_page=True)
    context.close()
    assert page.errors == []
    assert [url for url in page.asked if not url.startswith((address, "blob:", "data:"))] == []


def check_ranking(shown, query, database, names):
    """The page shows what `search` of the package finds, ties apart; gives whether it is the same list."""
    best, positions = search(query, database, k=len(shown))
    scores = dict(zip(names, (database @ query[0]).tolist(), strict=True))
    assert len(set(shown)) == len(shown)
    assert [scores[name] for name in shown] == pytest.approx(best[0].tolist(), abs=TIE)
    return shown == [names[position] for position in positions[0]]


# --- What it finds


def test_fifty_queries_rank_as_the_package_ranks_them(opened, rooms, student):
    opened.open()
    database = extract(student, rooms["images"], progress=False)
    queries = extract(student, [rooms["whole"].query(i) for i in range(50)], progress=False)
    same = 0
    for i, query in enumerate(rooms["queries"]):
        assert query["name"] == rooms["whole"].query_names[i]
        opened.page.select_option("#query-choice", str(i))
        expect(opened.page.locator("#picture")).to_have_attribute("alt", re.compile(query["name"]), timeout=WAIT)
        opened.searched()
        shown = opened.names()
        assert len(shown) == SHOWN
        same += check_ranking(shown, queries[i : i + 1], database, rooms["photos"])
    print(f"{same} of 50 lists are the same to the letter")
    assert i == 49 and same >= 40
    marked = opened.page.locator("#student-results li", has=opened.page.locator(".right"))
    assert {re.sub(r"^\d+\. |\s.*", "", text) for text in marked.locator(".name").all_inner_texts()} == set(
        query["right"]
    ) & set(shown)


def own_files(folder):
    """Photographs of several kinds and sizes, one of them turned by its EXIF data."""
    whole = Benchmark.load("rooms")
    for i in range(6):
        whole.image(i).save(folder / f"small {i}.png")
    whole.image(6).resize((900, 640), Image.Resampling.BICUBIC).save(folder / "large.png")
    whole.image(7).resize((250, 190), Image.Resampling.BICUBIC).save(folder / "medium.webp", lossless=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    whole.image(8).save(folder / "turned.jpg", quality=95, exif=turned)
    whole.image(9).convert("RGBA").rotate(20, expand=True).save(folder / "clear.png")
    return sorted(folder.iterdir())


def test_own_photographs_with_a_drawn_box_rank_as_the_package_ranks_them(opened, student, tmp_path):
    files = own_files(tmp_path)
    opened.open()
    opened.page.check("#search-own")
    opened.page.set_input_files("#files", files)
    opened.described(len(files))
    expect(opened.page.locator("#student-results li")).to_have_count(len(files))
    images = [resize_longest(read_image(path), 320) for path in files]
    database = extract(student, images, progress=False)
    for name in ("large.png", "turned.jpg"):
        opened.page.select_option("#query-choice", label=name)
        expect(opened.page.locator("#picture")).to_have_attribute("alt", re.compile(name), timeout=WAIT)
        opened.searched()
        frame = opened.page.locator("#frame")
        frame.scroll_into_view_if_needed()
        area = frame.bounding_box()
        corners = [(area["x"] + s * area["width"], area["y"] + s * area["height"]) for s in (0.9, 0.2)]
        opened.page.mouse.move(*corners[0])
        opened.page.mouse.down()
        opened.page.mouse.move(*corners[1], steps=3)
        opened.page.mouse.up()
        opened.searched()
        box, whole = opened.box(), read_image(tmp_path / name)
        assert box == pytest.approx([s * side for s in (0.2, 0.9) for side in whole.size], abs=0.02 * max(whole.size))
        part = crop_box(whole, box)
        query = extract(student, [resize_longest(part, query_size(part.size, whole.size, 320))], progress=False)
        check_ranking(opened.names(), query, database, [path.name for path in files])


def test_pictures_are_prepared_pixel_by_pixel_as_the_package_prepares_them(opened, tmp_path):
    opened.open()
    for path in own_files(tmp_path):
        content = path.read_bytes()
        width, height, data = opened.page.evaluate(
            """async (encoded) => {
                const { decoded, smaller } = await import("./pictures.js");
                const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt());
                const { width, height, data } = smaller(await decoded(new Blob([bytes])), 100);
                return [width, height, [...data]];
            }""",
            base64.b64encode(content).decode(),
        )
        wanted = resize_longest(read_image(content), 100)
        assert (width, height) == wanted.size, path.name
        pixels = torch.frombuffer(bytearray(wanted.tobytes()), dtype=torch.uint8).int()
        # Browsers blend what is transparent, and decode JPEG, to within a level.
        assert (torch.tensor(data) - pixels).abs().max() <= (1 if path.name in ("clear.png", "turned.jpg") else 0), (
            path.name
        )


def test_the_second_row_shows_another_network_and_the_teacher_where_it_was_asked(opened, rooms, site):
    opened.open()
    page = opened.page
    other = OnnxStudent(site / "untrained.onnx", threads=1)
    query = rooms["whole"].query(0)
    for network, value in ((other, "untrained"), (Colours(), "teacher")):
        page.select_option("#compare", value)
        opened.searched()
        rows = extract(network, [query, *rooms["images"]], progress=False)
        check_ranking(opened.names("compare"), rows[:1], rows[1:], rooms["photos"])
    page.click("#whole")
    expect(page.locator("#compare-told")).to_contain_text("teacher is not in this page", timeout=WAIT)
    assert opened.names("compare") == []
    page.locator("#student-results button").first.click()  # a photograph of the database, whole
    expect(page.locator("#compare-results li")).to_have_count(SHOWN, timeout=WAIT)
    page.select_option("#compare", "")
    expect(page.locator("#compare-results li")).to_have_count(0)


# --- How it is worked


def test_a_progress_bar_counts_and_can_be_stopped_and_nothing_is_lost(opened):
    opened.open()
    before = opened.names()
    opened.page.click("#describe-rooms")
    bar = opened.page.locator("#progress")
    expect(bar).to_be_visible()
    expect(bar).to_have_attribute("max", str(PHOTOGRAPHS))
    expect(opened.page.locator("#amount")).to_have_text(re.compile(rf"^[3-9] of {PHOTOGRAPHS}"), timeout=WAIT)
    assert bar.evaluate("bar => bar.position") > 0
    opened.page.click("#stop")
    expect(bar).to_be_hidden(timeout=WAIT)
    expect(opened.page.locator("#status")).to_contain_text("described here")
    opened.searched()
    assert opened.names() == before


def test_query_box_and_results_work_by_keyboard_alone(opened):
    opened.open()
    page = opened.page
    opened.tab_to("#query-choice")
    for _ in range(3):  # faster than the page decodes and searches: the last one holds
        page.keyboard.press("ArrowDown")
    fourth = page.locator("#query-choice option").nth(3).inner_text().split()[-1]
    expect(page.locator("#picture")).to_have_attribute("alt", re.compile(fourth), timeout=WAIT)
    opened.searched()
    assert page.input_value("#query-choice") == "3" and page.inner_text("#query-status") == ""
    left, top, right, bottom = opened.box()
    opened.tab_to("#right")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    opened.searched()
    assert opened.box() == [left, top, right - 8, bottom]
    opened.tab_to("#left")
    page.keyboard.press("Control+A")
    page.keyboard.type(str(right + 100))  # a side cannot pass the other
    page.keyboard.press("Enter")
    assert opened.box()[0] == right - 9
    opened.tab_to("#whole")
    page.keyboard.press("Enter")
    opened.searched()
    chosen = opened.names()[2]
    opened.tab_to("#student-results li:nth-child(3) button")
    page.keyboard.press("Enter")
    expect(page.locator("#picture")).to_have_attribute("alt", re.compile(chosen), timeout=WAIT)
    opened.searched()
    assert opened.names()[0] == chosen


@pytest.mark.parametrize(
    "settings", [{"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}]
)
def test_a_finger_draws_a_box_on_a_phone(opened):
    opened.open()
    before = opened.names()
    frame = opened.page.locator("#frame")
    frame.scroll_into_view_if_needed()
    area = frame.bounding_box()
    touch = opened.page.context.new_cdp_session(opened.page)

    def finger(kind, *shares):
        points = [{"x": area["x"] + s * area["width"], "y": area["y"] + s * area["height"]} for s in shares]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", 0.3)
    for share in (0.4, 0.6, 0.8):
        finger("touchMove", share)
    finger("touchEnd")
    opened.searched()
    size = opened.page.locator("#picture").evaluate("picture => [picture.naturalWidth, picture.naturalHeight]")
    assert opened.box() == pytest.approx([share * side for share in (0.3, 0.8) for side in size], abs=2)
    assert opened.names() != before


def test_dropped_photographs_join_the_own_ones(opened):
    opened.open()
    pictures = []
    for i in range(2):
        file = io.BytesIO()
        Benchmark.load("rooms").image(i).save(file, "PNG")
        pictures.append(list(file.getvalue()))
    opened.page.evaluate(
        """(pictures) => {
            const transfer = new DataTransfer();
            pictures.forEach((bytes, i) => transfer.items.add(new File([Uint8Array.from(bytes)], `dropped ${i}.png`)));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        pictures,
    )
    opened.described(2)
    assert opened.page.is_checked("#search-own")
    assert sorted(opened.names()) == ["dropped 0.png", "dropped 1.png"]


def test_a_folder_is_taken_with_its_sub_folders(opened, tmp_path):
    for name in ("tower/one.png", "bridge/two.png", ".hidden/three.png"):
        (tmp_path / name).parent.mkdir()
        Benchmark.load("rooms").image(len(name)).save(tmp_path / name)
    opened.open()
    opened.page.check("#search-own")
    opened.page.set_input_files("#folder", tmp_path)
    opened.described(2)
    assert sorted(name.split("/", 1)[1] for name in opened.names()) == ["bridge/two.png", "tower/one.png"]


@pytest.mark.parametrize(
    "settings",
    [{"viewport": {"width": w, "height": 800}, "color_scheme": s} for w, s in ((1280, "light"), (360, "dark"))],
    ids=["wide-light", "narrow-dark"],
)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(opened, settings):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    opened.open()
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", ground)]
    assert (max(levels) < 60) == (settings["color_scheme"] == "dark")
    for collection in ("rooms", "own"):
        opened.page.check(f"#search-{collection}")
        opened.searched()
        found = axe.Axe().run(opened.page).response
        assert found["passes"], "axe looked at nothing"
        assert [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in found["violations"]] == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= settings["viewport"]["width"]


# --- Nothing leaves the machine


def test_the_browser_refuses_to_ask_another_host(opened):
    opened.open()
    refused = opened.page.evaluate(
        """async () => Promise.all(["http://127.0.0.1:9/", "https://example.org/"].map(
            (address) => fetch(address, { mode: "no-cors" }).then(() => "answered", (error) => error.name)))"""
    )
    assert refused == ["TypeError", "TypeError"]
    assert len(opened.errors) >= 2 and all("Content Security Policy" in error for error in opened.errors)
    opened.errors.clear()
    assert all(url.startswith(opened.address) for url in opened.asked)


def test_the_page_goes_on_without_its_server(demo, site, browser):
    serving = demo.server(site, 0)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    context = browser.new_context()
    page = Opened(context.new_page(), f"http://127.0.0.1:{serving.server_port}/")
    page.open()
    serving.shutdown()
    serving.server_close()
    file = io.BytesIO()
    Benchmark.load("rooms").image(3).save(file, "PNG")
    page.page.check("#search-own")
    page.page.set_input_files("#files", {"name": "own.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.described(1)
    assert page.names() == ["own.png"]
    context.close()


# --- Bad input


def picture(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 60)).save(file, "PNG")
    return file.getvalue()


def test_files_that_cannot_be_used_are_named_and_the_others_stay(opened, tmp_path):
    good = [path for path in own_files(tmp_path) if path.name.startswith("small")]
    files = [{"name": path.name, "mimeType": "image/png", "buffer": path.read_bytes()} for path in good]
    opened.open()
    opened.page.check("#search-own")
    bad = [
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"},
        {"name": "cut off.png", "mimeType": "image/png", "buffer": files[0]["buffer"][:300]},
        {"name": "thread.png", "mimeType": "image/png", "buffer": picture(1, 5000)},
    ]
    opened.page.set_input_files("#files", [*bad[:2], *files, bad[2]])
    opened.described(len(good))
    problems = opened.page.locator("#problems li")
    expect(problems).to_have_count(3)
    told = problems.all_inner_texts()
    for entry, word in zip(bad, ("no picture", "no picture", "too narrow"), strict=True):
        assert sum(entry["name"] in line and word in line for line in told) == 1
    before = opened.names()
    assert sorted(before) == sorted(path.name for path in good)
    opened.page.set_input_files("#other", bad[0])
    expect(opened.page.locator("#query-status")).to_contain_text("notes.txt is no picture", timeout=WAIT)
    opened.searched()
    assert sorted(opened.names()) == sorted(before)


def test_a_damaged_network_is_told_in_one_sentence_and_the_photographs_stay(opened, site):
    content = (site / "student.onnx").read_bytes()
    opened.page.context.route("**/student.onnx", lambda route: route.fulfill(body=content[: len(content) // 2]))
    opened.open()
    told = opened.page.locator("#broken")
    expect(told).to_contain_text("student.onnx is damaged", timeout=WAIT)
    expect(told).to_contain_text("make demo")
    assert opened.names() == [] and len(opened.names("compare")) == SHOWN
    assert opened.page.locator("#query-choice option").count() == 50
    opened.errors = [error for error in opened.errors if "student.onnx" not in error]


@pytest.mark.parametrize("lack", ["delete globalThis.WebAssembly", "WebAssembly.validate = () => false"])
def test_a_browser_without_webassembly_simd_is_told_so(opened, lack):
    opened.page.add_init_script(lack)
    opened.page.goto(opened.address)
    expect(opened.page.locator("#broken")).to_contain_text("no WebAssembly with SIMD", timeout=WAIT)
    assert not opened.page.locator("#query-choice").is_visible()


def test_a_page_without_its_data_says_how_to_build_it(opened):
    opened.page.context.route("**/demo.json", lambda route: route.fulfill(body="{"))
    opened.page.goto(opened.address)
    expect(opened.page.locator("#broken")).to_contain_text("make demo", timeout=WAIT)


# --- The builder


def write_npm(folder, script):
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    npm.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="the programs of this test are shell scripts")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "npm is not installed"),
        ("echo no network >&2; exit 1", "no network"),
        ('echo other > "$5/onnxruntime-web-VERSION.tgz"', "not the package"),
    ],
    ids=["no npm", "failing npm", "another package"],
)
def test_without_onnxruntime_web_the_page_is_skipped_with_the_reason(demo, tmp_path, monkeypatch, script, reason):
    programs = tmp_path / "programs"
    programs.mkdir()
    if script:
        write_npm(programs, script.replace("VERSION", demo.VERSION))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(demo.Skipped, match=reason):
        demo.runtime(tmp_path / "build")
    assert not (tmp_path / "build" / f"onnxruntime-web-{demo.VERSION}").exists()


def test_the_site_keeps_the_licence_of_what_it_carries(site):
    assert "MIT License" in (site / "onnxruntime" / "LICENSE").read_text(encoding="utf-8")
    assert "CC0" in (site / "rooms" / "CREDITS.md").read_text(encoding="utf-8")
