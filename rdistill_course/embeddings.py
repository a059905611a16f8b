"""Figures of descriptors: arrows, where a pooled number comes from, how far right photographs lie from wrong ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.embed.pooling import gem
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPONENTS = (1, 3, 10)  # of the maps of shares
MOST = 0.9  # the share of a pooled number whose places are counted


def descriptor_arrows(rows: Tensor, names: Sequence[str], alt: str | None = None) -> "Figure":
    """Descriptors of two numbers as arrows from one point, on the upper half of the circle; the first one is the query.

    Args:
        rows: [N, 2], L2-normalised, the second numbers not negative.
        names: of the photographs, the query's first.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: another number of names, or rows that are no arrows of length one in the upper half of the plane.
    """
    from matplotlib.figure import Figure

    fits = rows.ndim == 2 and rows.shape == (len(names), 2)
    if not fits or not torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-4) or rows[:, 1].min() < 0:
        raise BadInput(
            f"Rows of shape {list(rows.shape)} with {len(names)} names are no arrows in the upper half of a circle: give "
            "one row of length 1 for each name, its second number not negative."
        )
    fig = Figure(figsize=(5.6, 2.5), layout="constrained")
    ax = fig.subplots()
    around = np.linspace(0, np.pi, 100)
    ax.plot(np.cos(around), np.sin(around), color="0.8", linestyle="-", linewidth=1)
    for number, ((x, y), name) in enumerate(zip(rows.tolist(), names, strict=True)):
        colour = PALETTE["black"] if number else PALETTE["blue"]
        # Without the gap that annotations leave at both ends: all tips lie on the circle.
        look = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x, y), (0, 0), arrowprops=look)
        ax.text(1.08 * x, 1.08 * y, name, color=colour, ha="left" if x > 0 else "right", va="center")
    ax.set(xlim=(-1.5, 1.7), ylim=(-0.05, 1.2), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    angles = (rows[1:] @ rows[0]).clamp(-1, 1).acos().rad2deg().round().int().tolist()
    apart = ", ".join(f"{name} {angle} degrees away" for name, angle in zip(names[1:], angles, strict=True))
    fig.set_label(alt or f"{len(rows)} arrows of length one: {names[0]}, {apart}.")
    return fig


def pooling_figure(photograph: Tensor, channel: Tensor, alt: str | None = None) -> "Figure":
    """Which places of a photograph a pooled number comes from, for three exponents, and the number for all of them.

    A place's share is its part of the sum of all x to the power p. All three maps have one scale.

    Args:
        photograph: uint8 [3, H, W].
        channel: [h, w], one channel of its feature map.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    positive = channel.clamp(min=1e-6)
    shares = [positive.pow(p) / positive.pow(p).sum() for p in EXPONENTS]
    most = max(share.max() for share in shares)
    fig = Figure(figsize=(10, 2.3), layout="constrained")
    axes = fig.subplots(1, 5, width_ratios=[1, 1, 1, 1, 1.25])
    image = photograph.permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    axes[0].imshow(image)
    axes[0].set_title("photograph", fontsize=9)
    counts = []
    for ax, p, share in zip(axes[1:4], EXPONENTS, shares, strict=True):
        ax.imshow(image.mean(axis=2), cmap="gray", vmin=-100, vmax=255)
        colour = np.full((*share.shape, 3), to_rgb(PALETTE["orange"]))
        alpha = 0.85 * (share / most).sqrt().numpy()
        ax.imshow(colour, extent=(0, width, height, 0), interpolation="nearest", alpha=alpha)
        counts.append(int((share.flatten().sort(descending=True).values.cumsum(0) < MOST).sum()) + 1)
        ax.set_title(f"p = {p}: {100 * MOST:.0f} % in {counts[-1]} of {share.numel()} places", fontsize=8)
    for ax in axes[:4]:
        ax.axis("off")
    powers = torch.linspace(1, 12, 45)
    axes[4].plot(powers, [gem(positive[None, None], float(p)).item() for p in powers], label="GeM")
    for value, name, style in ((positive.mean(), "mean", ":"), (positive.max(), "maximum", "--")):
        axes[4].axhline(float(value), color="0.4", linestyle=style, linewidth=1, label=name)
    axes[4].set(xlabel="p", ylim=(0, None), xticks=(1, 3, 6, 9, 12))
    axes[4].set_title("pooled value", fontsize=9)
    axes[4].legend(fontsize=8)
    fig.set_label(
        alt
        or f"A photograph; the same in grey under a grid whose orange shows each place's share of one channel's pooled "
        f"value: {100 * MOST:.0f} % of it come from {', '.join(map(str, counts))} of {positive.numel()} places for p = "
        f"{', '.join(map(str, EXPONENTS))}; and the pooled value, which rises with p from the mean towards the maximum."
    )
    return fig


def separation_figure(similarities: Mapping[str, Tensor], benchmark: Benchmark, alt: str | None = None) -> "Figure":
    """How similar right photographs and negatives are to their queries, for several networks side by side.

    Separation is the distance between the two means, in standard deviations of the negatives.

    Args:
        similarities: [Q, N], queries by database, by the name of the network.
        benchmark: whose ground truth tells right ones (easy and hard) from negatives; junk is left out.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: similarities of other queries or of another database.
    """
    from matplotlib.figure import Figure

    shape = [len(benchmark.query_names), len(benchmark.image_names)]
    if wrong := [name for name, table in similarities.items() if list(table.shape) != shape]:
        raise BadInput(f"The similarities of {', '.join(wrong)} do not fit {benchmark.name}: give tensors of {shape}.")
    fig = Figure(figsize=(8.4, 3.2), layout="constrained")
    axes = fig.subplots(1, len(similarities), sharex=True, sharey=True, squeeze=False)[0]
    said, ratio = [], 0.0
    for ax, (name, table) in zip(axes, similarities.items(), strict=True):
        right, negative = _right_and_negative(table, benchmark)
        ratio = len(negative) / len(right)
        bins = np.linspace(float(table.min()), 1, 45)
        ax.hist(negative.numpy(), bins, density=True, color="0.75", label="negatives")
        look: dict[str, Any] = {"histtype": "step", "linewidth": 2, "color": PALETTE["green"]}
        ax.hist(right.numpy(), bins, density=True, label="easy and hard", **look)
        separation = (right.mean() - negative.mean()) / negative.std()
        said.append(f"{separation:.1f} for the {name}")
        ax.set(title=f"{name}: separation {separation:.1f}", xlabel="similarity to the query")
    axes[0].set_ylabel("density")
    axes[0].legend(fontsize=9)
    fig.suptitle(f"{ratio:.0f} negatives for each right photograph", fontsize=10)
    fig.set_label(
        alt or f"Histograms of similarities, right photographs against negatives. Separation {', '.join(said)}."
    )
    return fig


def _right_and_negative(similarity: Tensor, benchmark: Benchmark) -> tuple[Tensor, Tensor]:
    """The similarities of all pairs of a query and a right photograph, and of all pairs of a query and a negative."""
    right = torch.zeros(similarity.shape, dtype=torch.bool)
    junk = right.clone()
    for query, truth in enumerate(benchmark.ground_truth):
        right[query, [*truth["easy"], *truth["hard"]]] = True
        junk[query, [*truth["junk"]]] = True
    return similarity[right], similarity[~right & ~junk]
