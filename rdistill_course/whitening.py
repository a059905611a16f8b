"""The figure of appendix B: how unequal the directions of descriptors are, and what whitening does to the score."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rdistill_course.style import ARMS, looks
from rdistill_helpers.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def whitening_figure(
    variances: Tensor | Sequence[float], scores: Mapping[str, Mapping[int, float]], untouched: float
) -> "Figure":
    """The variance of each direction, and mAP against the number of photographs that a whitening was learned from.

    Args:
        variances: [D] of the descriptors along their principal directions, the largest first.
        scores: by kind of whitening, the mAP in percent by number of photographs.
        untouched: the mAP in percent of the descriptors as they are.

    Returns:
        The figure.

    Raises:
        BadInput: no variance, or no score.
    """
    if not len(variances) or not all(scores.values()) or not scores:
        raise BadInput("There is nothing to draw: give variances, and scores of at least one whitening.")
    from matplotlib.figure import Figure

    fig = Figure(figsize=(9, 3.3), layout="constrained")
    left, right = fig.subplots(1, 2)
    parts = 100 * (values := Tensor(variances).double()) / values.sum()
    ours = ARMS["distilled student"]
    half = int((parts.cumsum(0) < 50).sum()) + 1
    left.plot(range(1, len(parts) + 1), parts, color=ours.colour, linestyle=ours.line)
    left.set(xscale="log", yscale="log", xlabel="direction, strongest first", ylabel="part of the variance in %")
    left.set_title(f"{half} of {len(parts)} directions hold half of the variance", fontsize=9)
    right.axhline(untouched, color=ours.colour, linestyle=ours.line, label="as they are")
    for (name, found), look in zip(scores.items(), looks(scores), strict=True):
        drawn: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker}
        right.plot(list(found), list(found.values()), label=name, **drawn)
    counts = sorted({count for found in scores.values() for count in found})
    right.set(xscale="log", xlabel="photographs that the whitening learned from", ylabel="medium mAP in %")
    right.set_xticks(counts, [f"{count:,}" for count in counts])
    right.minorticks_off()
    right.legend(fontsize=8)
    said = "; ".join(
        f"{name}: {', '.join(f'{count:,} photographs {score:.1f}' for count, score in found.items())}"
        for name, found in scores.items()
    )
    fig.set_label(
        f"Left: part of the variance in each of {len(parts)} directions; the {half} strongest hold half. Right: "
        f"medium mAP in percent against photographs; as they are {untouched:.1f}; {said}."
    )
    return fig
