"""A map to click into: which photograph stands behind a point."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from rdistill_course.maps import map_figure
from rdistill_course.style import SHOWN_DPI
from rdistill_course.widgets.parts import column, img, keys, said, slider, view
from rdistill_course.widgets.photographs import Place, sheet, tile_of
from rdistill_helpers.plots.style import PALETTE

if TYPE_CHECKING:
    import ipywidgets

SHARP = 1.5  # drawn pixels for one of the page
# ipywidgets has no event for a click on a picture. So the picture writes where it was clicked, as parts of its width and
# height, into the hidden text field below it, and the field sends its value to the kernel like any other.
CLICK = """
const box = this.getBoundingClientRect();
const field = this.closest('.rdistill-map').querySelector('.rdistill-click input');
field.value = ((event.clientX - box.left) / box.width) + ' ' + ((event.clientY - box.top) / box.height);
field.dispatchEvent(new Event('change', {bubbles: true}));
"""


def map_explorer(
    points: np.ndarray | Mapping[str, np.ndarray],
    groups: Sequence[Any] | np.ndarray | torch.Tensor,
    image: Callable[[int], Image.Image | Mapping[str, Image.Image]],
    background: str | None = None,
) -> "ipywidgets.VBox":
    """A map with the photograph of one point beside it: click a point, or step through them with the slider.

    The widget's children are the slider, the row of map and photograph, words, keys and a hidden field for clicks.

    Args:
        points: one map [N, 2], or several by their titles; the point is ringed in all.
        groups: [N] names or numbers.
        image: gives the photograph of point i, or several with a caption each, such as the two that a mixture is made of.
        background: the group that is drawn small and grey below the others.

    Returns:
        The widget.

    Raises:
        BadInput: a map that does not have one point for each group.
    """
    import ipywidgets

    fig = map_figure(points, groups, background)
    names = [str(group) for group in np.asarray(groups)]
    drawn, places = _drawn(fig, list(points.values()) if isinstance(points, Mapping) else [points])

    @lru_cache(maxsize=1024)
    def photographs(i: int) -> list[Place | None]:
        given = image(i)
        several = given if isinstance(given, Mapping) else {f"point {i}": given}
        return [(caption, tile_of(one), None) for caption, one in several.items()]

    def redraw(_: Any = None) -> None:
        i = choose.value
        here = drawn.copy()
        pen = ImageDraw.Draw(here)
        for x, y in places[:, i]:
            for radius, colour in ((13, "white"), (12, "black"), (9, "white")):
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=3)
            pen.line((x, y - 22, x, y - 12), fill=PALETTE["black"], width=3)
        shown = photographs(i)
        captions = ", ".join(place[0] for place in shown if place)
        state = f"Point {i} of {len(names)}, group {names[i]}, ringed on the map. Shown with it: {captions}."
        map_view.value = img(here, f"{fig.get_label()} {state}", photographs=False, scale=SHARP, click=CLICK)
        photograph.value = img(sheet([[place] for place in shown]), f"Photograph of point {i}: {captions}.")
        words.value = said(state)

    def clicked(change: dict[str, Any]) -> None:
        x, y = (float(part) for part in change["new"].split())
        distance = np.linalg.norm(places - (x * drawn.width, y * drawn.height), axis=2).min(axis=0)
        choose.value = int(distance.argmin())

    choose = slider(range(len(names)), 0, "Point", "480px")
    where = ipywidgets.Text(continuous_update=False, layout={"display": "none"}).add_class("rdistill-click")
    map_view, photograph, words = view(), view(), view()
    redraw()
    choose.observe(redraw, names="value")
    where.observe(clicked, names="value")
    beside = ipywidgets.HBox([map_view, photograph], layout={"flex_flow": "row wrap", "align_items": "center"})
    hint = view("<div>Click the map to choose the nearest point.</div>")
    about = "Click a point of the map, and see the photographs behind it."
    return column([choose, beside, words, hint, keys("slider"), where], about).add_class("rdistill-map")


def _drawn(fig: Any, panels: Sequence[np.ndarray]) -> tuple[Image.Image, np.ndarray]:
    """The figure as a picture, and the pixel of every point in each panel: [panels, N, 2], y downwards."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fig.set_dpi(SHOWN_DPI * SHARP)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    places = np.stack([ax.transData.transform(np.asarray(points)) for ax, points in zip(fig.axes, panels, strict=True)])
    places[..., 1] = picture.height - places[..., 1]
    return picture, places
