"""A search page for a running notebook: a photograph is picked or uploaded, a box is set, and what is found appears."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import nn

from rdistill_course.widgets.parts import column, img, keys, said, slider, view
from rdistill_course.widgets.photographs import TILE, Place, boxed_tile, sheet, tile_of
from rdistill_helpers.data.images import read_image
from rdistill_helpers.errors import BadInput, DataMissing, printable
from rdistill_helpers.plots.style import PALETTE
from rdistill_helpers.ship.photo_index import PhotoIndex

if TYPE_CHECKING:
    import ipywidgets

MOST = 20  # results on one sheet
PER_ROW = 5
WHOLE = (0, 100)  # percent
GONE = Image.new("RGB", TILE, "#D0D0D0")  # in the place of a photograph that cannot be shown


def search_page(index: PhotoIndex, net: nn.Module, count: int = 10) -> "ipywidgets.VBox":
    """Searches an index for a photograph of its own or an uploaded one, cut to a box, and shows what is most similar.

    The box is set by two sliders with two handles each, in percent of the photograph's width and height; the whole
    photograph is no box. A photograph of the index is left out of its own results. Moving the slider of photographs takes an
    uploaded one away. What goes wrong, such as an upload that is no picture, is said in words in the picture's place. The
    widget's children are the controls, picture, words and keys.

    Args:
        index: of the photographs that are searched.
        net: the network that made the index, or whose descriptors can be compared with the answers in it.
        count: results shown at first.

    Returns:
        The widget.
    """
    import ipywidgets

    @lru_cache(maxsize=1024)
    def tile(path: Path) -> Image.Image:
        try:
            return tile_of(read_image(path, imsize=2 * TILE[0]))
        except (BadInput, DataMissing):
            return GONE

    whole = lru_cache(maxsize=4)(lambda source: read_image(source))

    def query() -> tuple[str, Path | bytes]:
        if upload.value:
            return str(upload.value[0]["name"]), bytes(upload.value[0]["content"])
        name = index.names[number.value]
        return name, index.photographs / name

    def redraw(_: Any = None) -> None:
        name, source = query()
        try:
            photograph = whole(source)
            box = _pixels(photograph, across.value, down.value)
            found = index.search(net, source, box, count=min(shown.value + 1, len(index)))
        except (BadInput, DataMissing) as error:
            picture.value, words.value = "", said(str(error))
            return
        found = [each for each in found if each.path != source][: shown.value]
        results = [f"{place} {printable(each.name)} {each.similarity:.3f}" for place, each in enumerate(found, 1)]
        tiles: list[Place] = [
            (f"{place}    {each.similarity:.3f}", tile(each.path), None) for place, each in enumerate(found, 1)
        ]
        lines: list[list[Place | None]] = [
            [None, *tiles[at : at + PER_ROW]] for at in range(0, max(1, len(tiles)), PER_ROW)
        ]
        lines[0][0] = ("query", boxed_tile(photograph, box), PALETTE["blue"])
        cut = "whole" if box is None else f"box {', '.join(f'{value:.0f}' for value in box)} pixels"
        state = f"Query {printable(name)}, {cut}. The most similar photographs: {', '.join(results)}."
        picture.value, words.value = img(sheet(lines), state), said(state)

    def picked(_: Any) -> None:
        upload.value = ()
        redraw()

    number = slider(range(len(index)), 0, "Photograph", "360px")
    upload = ipywidgets.FileUpload(accept="image/*", description="Upload a photograph", layout={"width": "220px"})
    across, down = (_range_slider(label) for label in ("Box, left to right (%)", "Box, top to bottom (%)"))
    shown = slider(range(1, min(MOST, max(1, len(index) - 1)) + 1), min(count, MOST), "Results shown", "360px")
    picture, words = view(), view()
    redraw()
    number.observe(picked, names="value")
    for control in (upload, across, down, shown):
        control.observe(redraw, names="value")
    rows = [ipywidgets.HBox([number, upload]), ipywidgets.HBox([across, down]), shown]
    for row in rows[:2]:
        row.layout.flex_flow = "row wrap"
    about = "Pick or upload a photograph, set a box on it, and see the photographs of the index that are most similar."
    return column([*rows, picture, words, keys("slider", "button")], about)


def _range_slider(label: str) -> "ipywidgets.IntRangeSlider":
    """A slider with two handles, over percent."""
    import ipywidgets

    return ipywidgets.IntRangeSlider(
        value=WHOLE,
        min=WHOLE[0],
        max=WHOLE[1],
        description=label,
        style={"description_width": "initial"},
        layout={"width": "360px"},
    )


def _pixels(image: Image.Image, across: Sequence[int], down: Sequence[int]) -> list[float] | None:
    """A box in pixels from its sides in percent; None for the whole photograph."""
    if tuple(across) == tuple(down) == WHOLE:
        return None
    x1, x2 = (image.width * side / 100 for side in across)
    y1, y2 = (image.height * side / 100 for side in down)
    return [x1, y1, x2, y2]
