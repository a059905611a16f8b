"""Places for photographs in a figure: grids, frames, boxes, titles and keys, for figures here and in a course."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from rdistill_course.style import FRAME
from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 1.35  # width of one photograph in inches, less where they would not fit beside each other
PAD = 0.04  # inches around a photograph, enough for two frames side by side
WIDEST = 9.5  # inches that a notebook shows without making it smaller


def check_query(benchmark: Benchmark, query: int) -> None:
    """Check that a benchmark has a query.

    Args:
        benchmark: the benchmark.
        query: number of the query.

    Raises:
        BadInput: there is no such query.
    """
    if not 0 <= query < len(benchmark.query_names):
        raise BadInput(f"{benchmark.name} has no query {query}: choose 0 to {len(benchmark.query_names) - 1}.")


def counted(count: int, thing: str) -> str:
    """A number of things in words.

    Args:
        count: how many.
        thing: what they are called, one of them.

    Returns:
        The words.
    """
    return f"{count} {thing}{'' if count == 1 else 's'}"


def described(fig: "Figure", alt: str | None, otherwise: str) -> "Figure":
    """Give a figure its description.

    Args:
        fig: the figure.
        alt: the description; None takes the other one.
        otherwise: the description that was made from what the figure shows.

    Returns:
        The figure.
    """
    fig.set_label(alt or otherwise)
    return fig


def tiles(rows: int, columns: int, size: tuple[int, int], titled: int) -> tuple["Figure", np.ndarray]:
    """A figure of rows and columns of empty places for photographs.

    Args:
        rows: how many.
        columns: how many.
        size: width and height of about such photographs, in pixels.
        titled: how many rows have titles.

    Returns:
        The figure, and its axes [rows, columns].
    """
    from matplotlib.figure import Figure

    width = min(TILE, WIDEST / columns)
    height = rows * ((width - 2 * PAD) * size[1] / size[0] + 2 * PAD) + titled * 0.19
    fig = Figure(figsize=(columns * width, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=PAD, h_pad=PAD, wspace=0, hspace=0)  # type: ignore[union-attr, call-arg]
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    return fig, axes


def draw_photograph(ax: "Axes", image: Image.Image) -> None:
    """Draw a photograph without ticks and frame.

    Args:
        ax: where.
        image: the photograph.
    """
    ax.imshow(image, interpolation="lanczos")
    ax.axis("on")
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def outline(ax: "Axes", colour: str, line: str) -> None:
    """Frame a photograph.

    Args:
        ax: where it is drawn.
        colour: of the frame.
        line: its line style.
    """
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=FRAME, linestyle=line)


def draw_box(ax: "Axes", box: Sequence[float]) -> None:
    """Draw the box of a query.

    Args:
        ax: where the photograph is drawn.
        box: x1, y1, x2, y2 in pixels.
    """
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(value) for value in box)
    for colour, width in (("white", 3), (PALETTE["blue"], 1.6)):
        # Not clipped: a box may end at the border of its photograph.
        ax.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, clip_on=False)
        )


def title_above(fig: "Figure", title: str | None) -> None:
    """A title above all photographs, with room of its own.

    Args:
        fig: the figure.
        title: the title; None draws none.
    """
    if title is not None:
        fig.set_figheight(fig.get_figheight() + 0.3)
        fig.suptitle(title, fontsize=10)


def legend_below(fig: "Figure", entries: Sequence[tuple[str, str, Literal["-", "--", ":"]]]) -> None:
    """A key of frames below all photographs.

    Args:
        fig: the figure.
        entries: text, colour and line style of each frame.
    """
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linestyle=line, linewidth=3, label=text) for text, colour, line in entries]
    fig.set_figheight(fig.get_figheight() + 0.3)
    fig.legend(
        handles=handles, loc="outside lower center", ncols=len(entries), fontsize=9, frameon=False, handlelength=3
    )
