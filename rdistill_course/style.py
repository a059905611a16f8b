"""What the course draws with: defaults for print, the marks of right and wrong, and figures shown with their description."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rdistill_helpers.plots.style import COLOURS, GREY, LINES, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("", "////", "....", "xxxx", "----", "\\\\\\\\", "++++", "oo")

SHOWN_DPI = 110  # what a notebook shows as 100 %
PRINT_DPI = 220  # what is drawn, so that print and dense screens stay sharp
PHOTO_DPI = 180  # the same for figures with photographs, whose own pixels are coarser
FRAME = 3  # points: the line around a photograph


class Mark(NamedTuple):
    """How one outcome of a search is drawn: colour, line and sign, so that colour is never alone."""

    colour: str
    line: Literal["-", "--", ":"]
    sign: str
    meaning: str


MARKS = {
    "positive": Mark(PALETTE["green"], "-", "✓", "right"),
    "negative": Mark(PALETTE["red"], "--", "✗", "wrong"),
    "ignored": Mark(GREY, ":", "–", "ignored"),
}


class Look(NamedTuple):
    """How one series of a chart is drawn, so that colour is never alone."""

    colour: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str
    hatch: str


# Each arm of the course looks the same in every figure; the three that all notebooks speak of share their colour with nothing.
_TEACHER = Look(PALETTE["orange"], "--", "s", "////")
_UNTRAINED = Look(GREY, ":", "v", "....")
_DISTILLED = Look(PALETTE["blue"], "-", "o", "")
_MIXED = Look(PALETTE["purple"], "-.", "D", "xxxx")
_LIST = Look(PALETTE["sky"], LINES[4], "^", "----")
_LABELS = Look(PALETTE["black"], LINES[5], "P", "\\\\\\\\")
ARMS = {
    "teacher": _TEACHER,
    "teacher, its database": _TEACHER,
    "untrained student": _UNTRAINED,
    "untrained student, not enlarged": _UNTRAINED,
    "distilled": _DISTILLED,
    "distilled student": _DISTILLED,
    "student, its database": _DISTILLED,
    "listwise + regression": _DISTILLED,
    "no assistant": _DISTILLED,
    "distilled with interpolation": _MIXED,
    "listwise + regression, mixtures of descriptors": _MIXED,
    "list alone": _LIST,
    "listwise": _LIST,
    "supervised baseline": _LABELS,
    "labels, contrastive": _LABELS,
}


def looks(names: Iterable[str]) -> list[Look]:
    """How the series of a chart are drawn: arms of the course as everywhere, others in colours that no arm of it has.

    Args:
        names: of the series.

    Returns:
        A look for each name; no two of up to 24 others have colour and line in common.
    """
    names = list(names)
    arms = {ARMS[name].colour for name in names if name in ARMS} | {arm.colour for arm in (_TEACHER, _DISTILLED)}
    free, found = [colour for colour in COLOURS if colour not in arms], []
    others = [name for name in names if name not in ARMS]
    for name in names:
        if name in ARMS:
            found.append(ARMS[name])
            continue
        number = others.index(name)
        at = (number + number // math.lcm(len(free), len(LINES))) % len(LINES)
        found.append(Look(free[number % len(free)], LINES[at], MARKERS[at], HATCHES[at]))
    return found


def use_style() -> None:
    """Sets matplotlib's defaults for the course: readable when printed, safe for colour-blind readers."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(
        {
            "figure.dpi": SHOWN_DPI,
            "savefig.dpi": PRINT_DPI,
            "figure.figsize": (7.0, 4.0),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "0.9",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "lines.linewidth": 1.6,
            "legend.frameon": False,
            "image.cmap": "cividis",
            "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=LINES[: len(COLOURS)]),
            "pdf.fonttype": 42,  # text stays text
            "svg.fonttype": "none",
        }
    )


def show_figure(fig: "Figure", alt: str | None = None) -> None:
    """Shows a figure in a notebook once, with a description for those who do not see it.

    Charts are kept as PNG, figures with photographs as JPEG, a sixth of the size; with them goes where in the picture the
    photographs lie, as the site turns all else of a figure dark for readers who want dark pages. Outside a notebook the
    description alone is printed.

    Args:
        fig: the figure.
        alt: the description; without it, the one that the figure's maker gave it (its label).
    """
    import matplotlib.pyplot as plt
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    alt = alt or str(fig.get_label()) or "figure"
    # Closed, so that a notebook, which shows all open figures when a cell ends, does not show it a second time.
    plt.close(fig)
    if get_ipython() is None:
        print(f"<figure: {alt}>")
        return
    kind, picture, about = drawn(fig)
    display(
        {f"image/{kind}": picture, "text/plain": f"<figure: {alt}>"},
        raw=True,
        metadata={f"image/{kind}": {"alt": alt} | about},
    )


def drawn(fig: "Figure") -> tuple[str, bytes, dict[str, Any]]:
    """A figure as the file that is kept of it: a chart as PNG, one with photographs as JPEG.

    Args:
        fig: the figure.

    Returns:
        "png" or "jpeg"; the file; its width and height as shown, and of one with photographs their boxes in its pixels.
    """
    import io

    kind, dpi, settings = "png", PRINT_DPI, {}
    if any(ax.images for ax in fig.axes):
        kind, dpi, settings = "jpeg", PHOTO_DPI, {"quality": 85, "subsampling": 0, "optimize": True}
    picture = io.BytesIO()
    fig.savefig(picture, format=kind, dpi=dpi, pil_kwargs=settings)
    width, height = fig.get_size_inches() * SHOWN_DPI
    about: dict[str, Any] = {"width": round(width), "height": round(height)}
    if kind == "jpeg":
        size = round(fig.get_figwidth() * dpi), round(fig.get_figheight() * dpi)
        about["photographs"] = [_pixels(ax, size, dpi) for ax in fig.axes if ax.images]
    return kind, picture.getvalue(), about


def _pixels(ax: "Axes", size: tuple[int, int], dpi: int) -> list[int]:
    """Left, top, right and bottom of axes with their frame, in pixels of a picture of this size."""
    width, height = size
    place, frame = ax.get_position(), round(FRAME / 2 * dpi / 72)
    left, right = round(place.x0 * width) - frame, round(place.x1 * width) + frame
    top, bottom = round((1 - place.y1) * height) - frame, round((1 - place.y0) * height) + frame
    return [max(left, 0), max(top, 0), min(right, width), min(bottom, height)]
