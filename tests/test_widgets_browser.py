"""The widgets as a reader meets them: JupyterLab in headless Chromium, worked by keyboard; screenshots in build/screenshots."""

import re
from pathlib import Path

import pytest
from lab_page import RUN, chromium, lab, write_notebook

pytest.importorskip("playwright", reason="playwright is not installed: pip install --editable '.[dev]'")
from playwright.sync_api import Error, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "build" / "screenshots"
WAIT = 30_000  # milliseconds for a widget to answer; how fast it should be is measured in benchmarks/widgets.py

pytestmark = [
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium here: install it, or name it in the variable RDISTILL_CHROMIUM"
    ),
    # One JupyterLab and one browser for all of them.
    pytest.mark.xdist_group("widgets in a browser"),
]

# Descriptors without a network: each photograph shrunk to a few pixels, which finds rooms by their colours.
SETUP = """
import numpy as np, torch
from IPython.display import display
from rdistill_helpers import Benchmark, search
from rdistill_helpers.show import *
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
ranking = search(queries, database, k=len(database))[1]
display(protocol_explorer(rooms, ranking))
""",
    "loss_explorer": """
def circle(angle):
    return torch.stack([angle.cos(), angle.sin()], dim=1)
generator = torch.Generator().manual_seed(0)
groups = torch.arange(24) // 6
angle = groups * torch.pi / 2 + 0.35 * torch.randn(24, generator=generator)
display(loss_explorer(circle(angle), circle(angle + 0.9 * torch.randn(24, generator=generator)), groups))
""",
    "map_explorer": """
some = rows(rooms.image(i) for i in range(60))
places = {"colours": some @ torch.linalg.svd(some).Vh[:2].T, "brightness": some[:, [0, 18]]}
display(map_explorer(places, torch.arange(60) // 10, rooms.image))
""",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for name, cell in CELLS.items():
        write_notebook(folder / f"{name}.ipynb", SETUP, cell)
    with lab(folder, [ROOT]) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        # Without a sandbox, which containers and root do not have; without /dev/shm, which is small in containers.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        running = driver.chromium.launch(executable_path=chromium(), args=arguments)
        yield running
        running.close()


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

    def after(self, change) -> str:
        """Makes a change, waits until the first picture is another, in its pixels and in its words, and gives the words."""
        picture = self.pictures.first
        alt, source = picture.get_attribute("alt"), picture.get_attribute("src")
        change()
        expect(self.pictures.first).not_to_have_attribute("alt", alt, timeout=WAIT)
        expect(self.pictures.first).not_to_have_attribute("src", source, timeout=WAIT)
        return self.pictures.first.get_attribute("alt")

    def press(self, *keys: str) -> str:
        def pressed() -> None:
            for key in keys:
                self.page.keyboard.press(key)

        return self.after(pressed)

    def tab_to(self, target: Locator) -> None:
        """Goes on with Tab, as a reader without a mouse does, until the target has the focus."""
        for _ in range(30):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError("Tab does not lead to this control")

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
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=RUN * 1000)
    page.evaluate("window.jupyterapp.restored.then(() => window.jupyterapp.commands.execute('notebook:run-all-cells'))")
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
    assert "λ = 0.50" in opened.pictures.first.get_attribute("alt")
    opened.handle("λ").focus()
    assert "λ = 0.60" in opened.press("ArrowRight")
    assert "λ = 0.40" in opened.press("ArrowLeft", "ArrowLeft")
    assert "λ = 1.00" in opened.press("End")
    assert "λ = 0.00" in opened.press("Home")


@widget("protocol_explorer")
def test_query_protocol_junk_and_k_work_without_a_mouse(opened):
    opened.handle("Query").focus()
    assert "Query 1 " in opened.press("ArrowRight")
    buttons = opened.control("widget-toggle-buttons", "Protocol").locator("button")
    opened.tab_to(buttons.nth(2))
    assert ", hard, junk ignored" in opened.press("Space")
    opened.tab_to(opened.handle("Results shown"))
    assert "first 11 results" in opened.press("ArrowRight")
    opened.tab_to(opened.control("widget-checkbox", "junk").locator("input"))
    assert "junk counted as wrong" in opened.press("Space")
    # A picture of another query has another size, and no part of it is left over.
    expect(opened.pictures).to_have_count(1)


@widget("loss_explorer")
def test_loss_temperature_and_points_work_without_a_mouse(opened):
    start = opened.pictures.first.get_attribute("alt")
    assert "Loss listwise at temperature 0.04" in start
    opened.handle("Temperature").focus()
    assert "at temperature 0.07" in opened.press("ArrowRight")
    opened.tab_to(opened.handle("Direction"))
    degrees = int(re.search(r"is at (\d+) degrees", start)[1])
    assert f"is at {degrees + 2} degrees" in opened.press("ArrowRight", "ArrowRight")
    value = float(re.search(r"temperature 0\.07: ([\d.]+)\. ", opened.pictures.first.get_attribute("alt"))[1])
    opened.tab_to(opened.page.get_by_role("button", name="10 steps downhill"))
    lower = float(re.search(r"temperature 0\.07: ([\d.]+)\. ", opened.press("Space"))[1])
    assert lower < value
    opened.control("widget-dropdown", "Loss").locator("select").focus()
    assert "Loss similarity: " in opened.press("ArrowDown")


@widget("map_explorer")
def test_points_are_chosen_by_keys_and_by_a_click(opened):
    opened.handle("Point").focus()
    assert "Point 2 of 60, group 0" in opened.press("ArrowRight", "ArrowRight")
    photograph = opened.pictures.nth(1)
    before = photograph.get_attribute("src")
    box = opened.pictures.first.bounding_box()
    words = opened.after(lambda: opened.page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"]))
    chosen = int(re.search(r"Point (\d+) of 60", words)[1])
    assert chosen != 2
    expect(photograph).not_to_have_attribute("src", before, timeout=WAIT)
    assert f"Photograph of point {chosen}" in photograph.get_attribute("alt")
    # The slider follows, and goes on from there.
    opened.handle("Point").focus()
    key, expected = ("ArrowLeft", chosen - 1) if chosen == 59 else ("ArrowRight", chosen + 1)
    assert f"Point {expected} of 60" in opened.press(key)
