"""The widgets as a reader meets them: JupyterLab in headless Chromium, worked by keyboard; screenshots in build/screenshots."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from lab_page import RUN, lab, write_notebook
from tiny_sets import photograph

pytest.importorskip("playwright", reason="playwright is not installed: pip install --editable '.[dev]'")
from playwright.sync_api import Error, FileChooser, Locator, Page, TimeoutError, expect

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "build" / "screenshots"
WAIT = 30_000  # milliseconds for a widget to answer; how fast it should be is measured in benchmarks/widgets.py

pytestmark = pytest.mark.slow

# Descriptors without a network: each photograph shrunk to a few pixels, which finds rooms by their colours.
SETUP = """
import numpy as np, torch
from IPython.display import display
from rdistill_course import *
from rdistill_helpers import Benchmark, losses, search
from rdistill_course.style import use_style
rooms = Benchmark.load("rooms")
def small(image):
    return torch.from_numpy(np.asarray(image.resize((4, 3))).copy()).float().flatten() - 128
def rows(images):
    return torch.nn.functional.normalize(torch.stack([small(image) for image in images]), dim=1)
use_style()
"""
CELLS = {
    "lambda_slider": """
some = rows(rooms.image(i) for i in range(60))
display(lambda_slider({"colours": some, "brightness": some[:, ::3] / some[:, ::3].norm(dim=1, keepdim=True)},
                      rooms.image, (3, 47), k=4, steps=11))
""",
    "protocol_explorer": """
database, queries = rows(rooms.images()), rows(rooms.queries())
ranking = search(queries, database, k=len(database))[1].tolist()
for ranked, truth in zip(ranking, rooms.ground_truth):
    # One photograph of each kind in front, so that every protocol frames them in its own way.
    for kind in ("hard", "junk", "easy"):
        for i in truth[kind][:1].tolist():
            ranked.insert(0, ranked.pop(ranked.index(i)))
display(protocol_explorer(rooms, ranking))
""",
    "loss_explorer": """
def circle(angle):
    return torch.stack([angle.cos(), angle.sin()], dim=1)
generator = torch.Generator().manual_seed(0)
groups = torch.arange(24) // 6
angle = groups * torch.pi / 2 + 0.35 * torch.randn(24, generator=generator)
start = circle(angle + 0.9 * torch.randn(24, generator=generator))
some = {"listwise": losses.listwise, "RKD": losses.rkd_distance, "similarity": losses.similarity}
display(loss_explorer(circle(angle), start, groups, some))
""",
    "map_explorer": """
some = rows(rooms.image(i) for i in range(60))
places = {"colours": some @ torch.linalg.svd(some).Vh[:2].T, "brightness": some[:, [0, 18]]}
# One point alone in its corner of the left map, so that a click there can mean no other.
places["colours"][45] = 1.5
display(map_explorer(places, torch.arange(60) // 10, rooms.image))
""",
    "search_page": """
import tempfile
from pathlib import Path
from rdistill_helpers import index_photographs
class Colours(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 3).flatten(1) - 0.5
photos = Path(tempfile.mkdtemp())
for i in range(30):
    rooms.image(i).save(photos / f"{i:02}.png")
display(search_page(index_photographs(Colours(), photos, photos / "index", "colours"), Colours()))
""",
}


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for name, cell in CELLS.items():
        write_notebook(folder / f"{name}.ipynb", SETUP, cell)
    with lab(folder, [ROOT]) as found:
        yield found


class Opened:
    """A notebook with one widget, run: its page, the widget's pictures, and what went wrong in the browser."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: self._asked(asked.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self.elsewhere.append(url)

    @property
    def pictures(self) -> Locator:
        return self.page.locator(".jp-OutputArea .widget-html img")

    def control(self, kind: str, label: str) -> Locator:
        return self.page.locator(f".jp-OutputArea .{kind}", has_text=label)

    def handle(self, label: str) -> Locator:
        """What takes the keys of a slider."""
        return self.control("widget-slider", label).locator(".noUi-handle")

    def after(self, change: Callable[[], None], words: str) -> str:
        """Makes a change, waits until the first picture is another and its description holds these words, and gives it."""
        source = self.pictures.first.get_attribute("src")
        change()
        expect(self.pictures.first).to_have_attribute("alt", re.compile(re.escape(words)), timeout=WAIT)
        expect(self.pictures.first).not_to_have_attribute("src", source, timeout=WAIT)
        return self.pictures.first.get_attribute("alt")

    def press(self, *keys: str, shows: str) -> str:
        """Presses keys and waits for what they must show."""

        def pressed() -> None:
            for key in keys:
                self.page.keyboard.press(key)

        return self.after(pressed, shows)

    def tab_to(self, target: Locator) -> None:
        """Goes on with Tab, as a reader without a mouse does, until the target has the focus."""
        for _ in range(30):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError("Tab does not lead to this control")

    def asked_for_a_file(self, button: Locator) -> FileChooser:
        """Presses a button by Space until the browser asks for a file.

        A browser asks only for a few seconds after a key press, so that on a busy machine one press can be too old when the
        page comes to it.
        """
        for _ in range(3):
            self.tab_to(button)
            with contextlib.suppress(TimeoutError):
                with self.page.expect_file_chooser(timeout=WAIT / 2) as chooser:
                    self.page.keyboard.press("Space")
                return chooser.value
        raise AssertionError("No press of Space makes the browser ask for a file")

    def screenshot(self, what: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.locator(".jp-OutputArea .widget-vbox").first.screenshot(path=SCREENSHOTS / f"{self.name}_{what}.png")


@pytest.fixture
def opened(request, address, browser):
    """Opens the notebook that a test names in its parameter, runs it, and looks for errors when the test is over."""
    name = request.param
    page = browser.new_page(viewport={"width": 1400, "height": 1100})
    notebook = Opened(page, name)
    page.goto(address.replace("NOTEBOOK", f"{name}.ipynb"), timeout=RUN * 1000)
    # Asked to run before its kernel is there, JupyterLab would ask back which kernel to take.
    page.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=RUN * 1000
    )
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    try:
        expect(notebook.pictures.first).to_be_visible(timeout=RUN * 1000)
    except (AssertionError, Error) as error:
        output = "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())
        raise AssertionError(f"The widget did not appear. The notebook's output: {output}") from error
    notebook.screenshot("first")
    yield notebook
    notebook.screenshot("last")
    page.close()
    assert notebook.errors == []
    assert notebook.elsewhere == []


def widget(name: str):
    return pytest.mark.parametrize("opened", [name], indirect=True, ids=[name])


@widget("lambda_slider")
def test_lambda_moves_by_arrow_keys(opened):
    expect(opened.pictures.first).to_have_attribute("alt", re.compile("λ = 0.50"))
    opened.handle("λ").focus()
    opened.press("ArrowRight", shows="λ = 0.60")
    opened.press("ArrowLeft", "ArrowLeft", shows="λ = 0.40")
    opened.press("End", shows="λ = 1.00")
    opened.press("Home", shows="λ = 0.00")


@widget("protocol_explorer")
def test_query_protocol_junk_and_k_work_without_a_mouse(opened):
    opened.handle("Query").focus()
    opened.press("ArrowRight", shows="1 E right, 2 J ignored, 3 H right")
    buttons = opened.control("widget-toggle-buttons", "Protocol").locator("button")
    opened.tab_to(buttons.nth(2))
    opened.press("Space", shows="hard, junk ignored")
    opened.tab_to(opened.handle("Results shown"))
    opened.press("ArrowRight", shows="first 11 results")
    opened.tab_to(opened.control("widget-checkbox", "junk").locator("input"))
    opened.press("Space", shows="1 E ignored, 2 J wrong, 3 H right")
    expect(opened.pictures).to_have_count(1)


@widget("loss_explorer")
def test_loss_temperature_and_points_work_without_a_mouse(opened):
    start = opened.pictures.first.get_attribute("alt")
    assert "Loss listwise at temperature 0.04" in start
    opened.handle("Temperature").focus()
    opened.press("ArrowRight", shows="at temperature 0.07")
    opened.tab_to(opened.handle("Direction"))
    degrees = int(re.search(r"is at (\d+) degrees", start)[1])
    assert degrees < 358, "another seed would turn the point over the end of the slider"
    turned = opened.press("ArrowRight", "ArrowRight", shows=f"is at {degrees + 2} degrees")
    opened.tab_to(opened.page.get_by_role("button", name="10 steps downhill"))
    gone_down = opened.press("Space", shows="at temperature 0.07")
    before, after = (float(re.search(r"temperature 0\.07: ([\d.]+)\. ", said)[1]) for said in (turned, gone_down))
    assert after < before
    opened.control("widget-toggle-buttons", "Loss").locator("button").first.focus()
    opened.tab_to(opened.page.get_by_role("button", name="similarity", exact=True))
    opened.press("Space", shows="Loss similarity: ")


@widget("map_explorer")
def test_points_are_chosen_by_keys_and_by_a_click(opened):
    opened.handle("Point").focus()
    opened.press("ArrowRight", "ArrowRight", shows="Point 2 of 60, group 0")
    photograph = opened.pictures.nth(1)
    before = photograph.get_attribute("src")
    # Point 45 lies alone in the upper right corner of the left map.
    box = opened.pictures.first.bounding_box()
    opened.after(
        lambda: opened.page.mouse.click(box["x"] + 0.44 * box["width"], box["y"] + 0.12 * box["height"]),
        "Point 45 of 60, group 4",
    )
    expect(photograph).not_to_have_attribute("src", before, timeout=WAIT)
    expect(photograph).to_have_attribute("alt", re.compile("Photograph of point 45"))
    # The slider follows, and goes on from there.
    opened.handle("Point").focus()
    opened.press("ArrowRight", shows="Point 46 of 60")


@widget("search_page")
def test_a_photograph_is_picked_boxed_and_uploaded(opened):
    expect(opened.pictures.first).to_have_attribute("alt", re.compile("Query 00.png, whole"))
    opened.handle("Photograph").focus()
    opened.press("ArrowRight", shows="Query 01.png, whole")
    opened.tab_to(opened.handle("Box, left").first)
    opened.press("ArrowRight", "ArrowRight", shows="box 3, 0, 160, 120 pixels")
    opened.tab_to(opened.handle("Box, top").nth(1))
    opened.press("ArrowLeft", shows="box 3, 0, 160, 119 pixels")
    mine = {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": photograph(3, (160, 120))}
    chooser = opened.asked_for_a_file(opened.page.get_by_role("button", name="Upload a photograph"))
    opened.after(lambda: chooser.set_files([mine]), "Query mine.jpg, box 3, 0, 160, 119 pixels")
    opened.handle("Photograph").focus()
    opened.press("ArrowRight", shows="Query 02.png")
