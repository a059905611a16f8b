"""Figures of a student that leaves the notebook: what rounding does to weights, and what a search found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from rdistill_course.photographs import image_grid
from rdistill_course.tiles import counted, described, draw_box
from rdistill_helpers.data.images import Source, read_image
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import PALETTE
from rdistill_helpers.ship.photo_index import Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 127  # of the whole numbers that weights become
SIDE = 320  # pixels of a photograph in a figure


def rounding_figure(weight: Tensor) -> "Figure":
    """One channel's weights and what 8 bits make of them: with one step for the whole layer, and with its own.

    The channel is the one with the smallest weights.

    Args:
        weight: [O, I, h, w] of a convolution.

    Returns:
        The figure.

    Raises:
        BadInput: another shape, or a channel without weights but 0.
    """
    if weight.ndim != 4 or not bool((weight.abs().amax(dim=(1, 2, 3)) > 0).all()):
        raise BadInput(f"Weights [O, I, h, w] with a number in each channel are drawn, not {list(weight.shape)}.")
    from matplotlib.figure import Figure

    largest = weight.detach().abs().amax(dim=(1, 2, 3))
    channel = int(largest.argmin())
    values = weight[channel].detach().flatten().numpy()
    steps = {"one step for the layer": float(largest.max()), "a step of its own": float(largest[channel])}
    fig = Figure(figsize=(9, 3.4), layout="constrained")
    said = []
    for ax, (name, top) in zip(fig.subplots(1, 2, sharey=True), steps.items(), strict=True):
        step = top / LARGEST
        rounded = step * np.round(values / step)
        ax.plot(values, rounded, ".", color=PALETTE["blue"], markersize=5)
        ax.axline((0, 0), slope=1, color="0.4", linestyle="--", linewidth=1, zorder=0)
        different = len(np.unique(rounded))
        ax.set(title=f"{name}: {counted(different, 'different number')}", xlabel=f"weights of channel {channel}")
        ax.locator_params(axis="x", nbins=4)
        off = np.abs(values - rounded).max()
        said.append(f"with {name} {counted(different, 'different number')}, errors up to {off:.1g}")
    fig.axes[0].set_ylabel("weights in 8 bits")
    alt = f"{len(values)} weights of channel {channel} against the same in 8 bits; without an error they lie on a diagonal: "
    return described(fig, None, alt + "; ".join(said) + ".")


def found_figure(
    found: Sequence[Found], query: Source, box: Sequence[float] | None = None, columns: int = 6
) -> "Figure":
    """A query and the photographs that a search found for it.

    Args:
        found: of `PhotoIndex.search`.
        query: the photograph that was searched for.
        box: x1, y1, x2, y2 in pixels, to which it was cut.
        columns: photographs in a row, at most.

    Returns:
        The figure.

    Raises:
        DataMissing: a photograph is not there any more.
        BadInput: one cannot be read.
    """
    images = [read_image(query), *(read_image(each.path, imsize=SIDE) for each in found)]
    titles = ["query", *(f"{place}: {each.similarity:.3f}" for place, each in enumerate(found, 1))]
    listed = ", ".join(f"{place} {each.name} {each.similarity:.3f}" for place, each in enumerate(found, 1))
    fig = image_grid(images, titles, columns, alt=f"A query and the {len(found)} most similar photographs: {listed}.")
    if box is not None:
        draw_box(fig.axes[0], box)
    return fig
