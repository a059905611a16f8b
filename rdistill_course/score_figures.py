"""Figures of notebook 5: average precision as an area, queries that failed, mAP against what changes, asymmetric search."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rdistill_course.photographs import outcomes
from rdistill_course.style import ARMS, MARKS, looks
from rdistill_course.tiles import described, draw_photograph, outline, tiles
from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import PALETTE
from rdistill_helpers.score.report import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def area_figure(ranks: Sequence[int]) -> "Figure":
    """Precision against recall of one list: the trapezoids of the protocol, and the rectangles of scikit-learn.

    Args:
        ranks: ascending ranks of the positives, from 0.

    Returns:
        The figure.

    Raises:
        BadInput: no rank, or ranks that do not ascend.
    """
    from matplotlib.figure import Figure

    count = len(ranks)
    if not count or ranks[0] < 0 or any(b <= a for a, b in itertools.pairwise(ranks)):
        raise BadInput(f"Ranks {list(ranks)} are not drawn: give at least one, ascending, from 0.")
    after = [(j + 1) / (rank + 1) for j, rank in enumerate(ranks)]
    before = [j / rank if rank else 1.0 for j, rank in enumerate(ranks)]
    fig = Figure(figsize=(9, 3.1), layout="constrained")
    said = []
    panels = zip(
        fig.subplots(1, 2, sharey=True), ("trapezoids (the protocol)", "rectangles (scikit-learn)"), (before, after),
        ("", "//"), strict=True,
    )  # fmt: skip
    for ax, title, left, hatch in panels:
        for j, (start, end) in enumerate(zip(left, after, strict=True)):
            corners = [j / count, j / count, (j + 1) / count, (j + 1) / count]
            ax.fill(corners, [0, start, end, 0], facecolor="#BFD9EA", edgecolor=PALETTE["blue"], hatch=hatch)
            ax.plot((j + 1) / count, end, "o", color=PALETTE["blue"])
        area = sum(a + b for a, b in zip(left, after, strict=True)) / 2 / count
        said.append(f"{title}: area {100 * area:.1f} %")
        ax.set(title=said[-1], xlabel="recall", xlim=(0, 1.02), ylim=(0, 1.05))
        ax.xaxis.set_major_formatter("{x:.0%}")
        ax.yaxis.set_major_formatter("{x:.0%}")
    fig.axes[0].set_ylabel("precision")
    return described(
        fig, None,
        f"Precision against recall for positives at ranks {', '.join(map(str, ranks))}. Left, {said[0]}; right, {said[1]}.",
    )  # fmt: skip


def failures_figure(
    benchmark: Benchmark, similarity: "Tensor", ap: np.ndarray, count: int = 5, found: int = 5
) -> "Figure":
    """The queries with the lowest medium AP: what was found first, and the best positive with its place in the list.

    Args:
        benchmark: the queries, their images and their ground truth.
        similarity: [Q, N], of queries and database images.
        ap: [Q], medium average precision, fractions; queries that are nan are left out.
        count: how many queries, at most.
        found: how many of the first results.

    Returns:
        The figure.

    Raises:
        BadInput: similarities or scores that do not fit the benchmark.
    """
    if similarity.shape != (len(ap), len(benchmark.image_names)) or len(ap) != len(benchmark.query_names):
        raise BadInput(
            f"Similarities of shape {list(similarity.shape)} do not fit {len(benchmark.query_names)} queries and "
            f"{len(benchmark.image_names)} images: give [Q, N], and one AP for each query."
        )
    worst = [int(query) for query in np.argsort(ap, kind="stable") if not np.isnan(ap[query])][:count]
    fig, axes = tiles(len(worst), found + 2, benchmark.query(worst[0], crop=False).size, len(worst))
    said = []
    for row, query in zip(axes, worst, strict=True):
        truth = benchmark.ground_truth[query]
        positives = np.concatenate([truth["easy"], truth["hard"]]).astype(int)
        best = int(positives[int(similarity[query][positives].argmax())])
        place = int((similarity[query] > similarity[query, best]).sum()) + 1
        shown = [*similarity[query].topk(found).indices.tolist(), best]
        draw_photograph(row[0], benchmark.query(query))
        row[0].set_title(f"query {query}: {percent(ap[query])} %", fontsize=8)
        for ax, image, kind in zip(row[1:], shown, outcomes(benchmark, query, shown), strict=True):
            draw_photograph(ax, benchmark.image(image))
            outline(ax, MARKS[kind].colour, MARKS[kind].line)
            ax.set_title(MARKS[kind].sign, fontsize=8)
        row[-1].set_title(f"✓ at place {place:,}", fontsize=8, color=MARKS["positive"].colour)
        said.append(f"query {query} {percent(ap[query])} %, best positive at place {place}")
    return described(
        fig, None, f"The {len(worst)} queries with the lowest medium AP, each with the {found} photographs found first and "
        f"the best-placed positive at the right: {'; '.join(said)}.",
    )  # fmt: skip


def map_lines(at: Sequence[int], curves: Mapping[str, Sequence[float]], xlabel: str, protocol: str = "") -> "Figure":
    """mAP of several systems or protocols against a number that is changed.

    Args:
        at: [n], the numbers.
        curves: by name, mAP [n] as fractions.
        xlabel: what the numbers count.
        protocol: of the mAP, where all curves have the same.

    Returns:
        The figure.

    Raises:
        BadInput: no curve, or one of another length.
    """
    from matplotlib.figure import Figure

    if not curves or any(len(curve) != len(at) for curve in curves.values()):
        raise BadInput(f"Give at least one curve, each with a value for the {len(at)} numbers.")
    fig = Figure(figsize=(7, 3.2), layout="constrained")
    ax = fig.subplots()
    for (name, values), look in zip(curves.items(), looks(curves), strict=True):
        shown: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker}
        ax.plot(list(at), 100 * np.asarray(values), label=name, **shown)
    what = f"{protocol} mAP".strip()
    ax.set(xlabel=xlabel, ylabel=f"{what} in %", ylim=(0, None))
    ax.legend()
    said = "; ".join(f"{name} {', '.join(percent(value) for value in values)}" for name, values in curves.items())
    return described(fig, None, f"{what} in percent against {xlabel}, {', '.join(map(str, at))}: {said}.")


def asymmetric_diagram() -> "Figure":
    """A student describes a query, a projection takes it to the teacher's space, and the teacher's database answers.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(8.6, 2.3), layout="constrained")
    ax = fig.subplots()
    ax.set(xlim=(-0.8, 9.6), ylim=(-0.6, 2.3))
    ax.axis("off")
    student, teacher = ARMS["distilled"].colour, ARMS["teacher"].colour
    for text, x, y, colour in (
        ("query", 0, 1.8, PALETTE["sky"]), ("student", 2.2, 1.8, student), ("projection\nW, b", 4.6, 1.8, PALETTE["yellow"]),
        ("database", 0, 0, PALETTE["sky"]), ("teacher", 2.2, 0, teacher), ("descriptors,\nonce", 4.6, 0, teacher),
        ("search in the\nteacher's space", 8.0, 0.9, PALETTE["green"]),
    ):  # fmt: skip
        frame = {"boxstyle": "round,pad=0.45", "facecolor": colour + "55", "edgecolor": colour}
        ax.text(x, y, text, ha="center", va="center", fontsize=10, bbox=frame)
    for start, end in (
        ((0.6, 1.8), (1.5, 1.8)), ((2.9, 1.8), (3.7, 1.8)), ((5.5, 1.7), (6.9, 1.25)),
        ((0.75, 0), (1.5, 0)), ((2.9, 0), (3.6, 0)), ((5.6, 0.15), (6.9, 0.6)),
    ):  # fmt: skip
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.3})
    return described(
        fig, None,
        "A query goes through the student and through a projection into the teacher's space. The database goes through the "
        "teacher, once. The search compares both in the teacher's space.",
    )  # fmt: skip
