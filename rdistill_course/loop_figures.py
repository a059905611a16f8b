"""Figures of notebook 4: a batch, what a list of the teacher says and what regression adds, losses side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from rdistill_course.style import ARMS, MARKS
from rdistill_course.tiles import described, draw_photograph, outline, tiles
from rdistill_helpers.distil.batches import teacher_neighbours
from rdistill_helpers.distil.history import History
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW = 25  # steps of a running mean


def batch_figure(
    images: Tensor, teacher_rows: Tensor, labels: Tensor, anchors: Sequence[int], neighbours: int = 5
) -> "Figure":
    """Anchors, a row each, followed by their nearest photographs in the teacher's space.

    Args:
        images: uint8 [N, 3, H, W].
        teacher_rows: [N, Dt], of length 1.
        labels: [N], the rooms, which decide on the frames alone.
        anchors: positions of at least one photograph.
        neighbours: photographs in a row after the anchor.

    Returns:
        The figure.

    Raises:
        BadInput: no anchor.
    """
    if not len(anchors):
        raise BadInput("There is no anchor to draw: give the position of at least one photograph.")
    nearest = teacher_neighbours(teacher_rows, neighbours)
    fig, axes = tiles(len(anchors), neighbours + 1, (images.shape[3], images.shape[2]), len(anchors))
    others = 0
    for row, anchor in zip(axes, anchors, strict=True):
        for ax, member in zip(row, [anchor, *nearest[anchor].tolist()], strict=True):
            draw_photograph(ax, Image.fromarray(images[member].permute(1, 2, 0).numpy()))
            if ax is row[0]:
                ax.set_title("anchor", fontsize=9)
                continue
            same = bool(labels[member] == labels[anchor])
            mark, others = MARKS["positive" if same else "negative"], others + (not same)
            outline(ax, mark.colour, mark.line)
            similarity = float(teacher_rows[anchor] @ teacher_rows[member])
            ax.set_title(f"{mark.sign} {'same' if same else 'other'} room, {similarity:.2f}", fontsize=8)
    return described(
        fig, None,
        f"{len(anchors)} anchors, each followed by its {neighbours} nearest photographs in the teacher's space with their "
        f"similarity: a green solid frame for the same room, a dashed orange one for another room, which {others} of "
        f"{len(anchors) * neighbours} show.",
    )  # fmt: skip


def list_and_answer_figure(probabilities: Tensor, student_dim: int, teacher_dim: int) -> "Figure":
    """What a list of the teacher says by place, and beside it how regression compares a student's row with the answer itself.

    Args:
        probabilities: [B, B - 1], the teacher's probabilities in each list, or more lists than one of the same length.
        student_dim: numbers in a student's row.
        teacher_dim: numbers in an answer of the teacher.

    Returns:
        The figure.

    Raises:
        BadInput: lists of fewer than 21 places.
    """
    from matplotlib.figure import Figure

    places = probabilities.shape[-1]
    if probabilities.ndim != 2 or places < 21:
        raise BadInput(
            f"Probabilities of shape {list(probabilities.shape)} are not drawn: give [B, n] with at least 21 places."
        )
    by_place = 100 * probabilities.sort(1, descending=True).values.mean(0)
    shares = {
        f"places {first} to {last}": float(by_place[first - 1 : last].sum())
        for first, last in ((1, 5), (6, 20), (21, places))
    }
    fig = Figure(figsize=(8.6, 2.5), layout="constrained")
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.35))
    left.barh(range(3, 0, -1), list(shares.values()), height=0.6, color=ARMS["teacher"].colour, edgecolor="0.3")
    for place, share in zip((3, 2, 1), shares.values(), strict=True):
        left.text(share + 2, place, f"{share:.1f} %", va="center", fontsize=9)
    left.set_yticks((3, 2, 1), list(shares))
    left.set(xlim=(0, 122), xlabel="probability in %", title="the list: the teacher's probabilities")
    left.set_xticks((0, 50, 100))
    left.grid(axis="y", visible=False)
    right.set(xlim=(0, 10), ylim=(0, 4), title="regression: one photograph at a time")
    right.axis("off")
    for text, x, y, colour in (
        (f"student's row\n{student_dim:,} numbers", 1.5, 3, ARMS["distilled"].colour),
        ("projection\nW, b", 4.9, 3, PALETTE["sky"]),
        (f"{teacher_dim:,}\nnumbers", 8.2, 3, ARMS["distilled"].colour),
        (f"teacher's answer\n{teacher_dim:,} numbers", 1.7, 0.8, ARMS["teacher"].colour),
        ("cosine", 8.2, 0.8, PALETTE["yellow"]),
    ):
        frame = {"boxstyle": "round,pad=0.4", "facecolor": colour + "55", "edgecolor": colour}
        right.text(x, y, text, ha="center", va="center", fontsize=9, bbox=frame)
    for start, end in (((3.0, 3), (4.0, 3)), ((5.8, 3), (7.2, 3)), ((8.2, 2.3), (8.2, 1.2)), ((3.4, 0.8), (7.3, 0.8))):
        right.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.3})
    said = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
    return described(
        fig, None,
        f"Left, the teacher's probability on the places of a list, the mean of {len(probabilities)} lists: {said}. "
        f"Right, a student's row of {student_dim:,} numbers passes a projection to {teacher_dim:,} numbers, and the cosine "
        "compares it with the teacher's answer for the same photograph.",
    )  # fmt: skip


def losses_figure(histories: Mapping[str, History]) -> "Figure":
    """Losses of several trainings as shares of where each began: running means of 25 steps.

    Args:
        histories: by the name of the student, each of at least 25 steps.

    Returns:
        The figure.

    Raises:
        BadInput: no history, or one that is too short.
    """
    from matplotlib.figure import Figure

    if not histories or any(len(history.loss) < WINDOW for history in histories.values()):
        raise BadInput(f"Losses of at least {WINDOW} steps are drawn: give at least one history, each that long.")
    fig = Figure(figsize=(7.0, 3.0), layout="constrained")
    ax, said = fig.subplots(), []
    for name, history in histories.items():
        mean = np.convolve(np.asarray(history.loss, np.float64), np.full(WINDOW, 1 / WINDOW), mode="valid")
        share = 100 * mean / mean[0]
        look = ARMS.get(name)
        ax.plot(history.step[WINDOW - 1 :], share, color=look.colour if look else GREY, linestyle=look.line if look else "-",
                label=name)  # fmt: skip
        said.append(f"{name} {share[-1]:.0f} %")
    ax.set(xlabel="step", ylabel="loss in % of its start", ylim=(0, 105))
    ax.legend(title=f"mean of {WINDOW} steps")
    return described(
        fig, None, f"Loss against training step, each in percent of its first {WINDOW} steps. At the end: {', '.join(said)}."
    )  # fmt: skip
