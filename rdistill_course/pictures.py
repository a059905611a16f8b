"""Figures of the notebooks: examples of the protocol, filmstrips between two photographs, scores side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from rdistill_course.style import looks
from rdistill_course.tiles import (
    check_query,
    counted,
    described,
    draw_box,
    draw_photograph,
    legend_below,
    outline,
    tiles,
    title_above,
)
from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.ground_truth import LISTS
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import GREY, PALETTE
from rdistill_helpers.score.report import PROTOCOLS, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How a filmstrip frames photographs: of the first place, of the second, of any other.
PLACES: tuple[tuple[str, str, Literal["-", "--", ":"]], ...] = (
    ("the first room", PALETTE["blue"], "-"),
    ("the second room", PALETTE["orange"], "--"),
    ("a third room", GREY, ":"),
)


def protocol_examples(benchmark: Benchmark, query: int = 0, per_row: int = 5, alt: str | None = None) -> "Figure":
    """A query with its box, and beside it examples of its easy, hard and junk images, a row of each.

    Args:
        benchmark: the queries, their images and their ground truth.
        query: number of the query.
        per_row: examples in a row, at most.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: a query that does not exist.
    """
    check_query(benchmark, query)
    truth = benchmark.ground_truth[query]
    per_row = max(1, min(per_row, max(len(truth[part]) for part in LISTS)))
    parts = {part: [int(image) for image in truth[part][:per_row]] for part in LISTS}
    full = benchmark.query(query, crop=False)
    fig, axes = tiles(3, per_row + 2, full.size, 3)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, :2].flat:
        ax.remove()
    left = fig.add_subplot(grid[:, :2])
    draw_photograph(left, full)
    left.set_title(f"query {query}", fontsize=9)
    if truth["bbx"] is not None:
        draw_box(left, truth["bbx"])
    for row, (part, images) in enumerate(parts.items()):
        for column in range(per_row):
            ax = axes[row, column + 2]
            if column < len(images):
                draw_photograph(ax, benchmark.image(images[column]))
        total = len(truth[part])
        axes[row, 2].set_title(f"{part}: {counted(total, 'image')}", fontsize=9, loc="left")
    counts = ", ".join(f"{len(truth[part])} {part}" for part in parts)
    return described(
        fig,
        alt,
        f"Query {query} of {benchmark.name} with the box around what is looked for, beside examples of its images in "
        f"three rows: {counts}.",
    )


def filmstrip(
    weights: Sequence[float],
    neighbours: Sequence[Sequence[Image.Image]],
    ends: tuple[Image.Image, Image.Image] | None = None,
    places: Sequence[Sequence[int]] | None = None,
    title: str | None = None,
    alt: str | None = None,
) -> "Figure":
    """What lies between two photographs: for each mixing weight, its nearest photographs in a column, the nearest on top.

    Args:
        weights: lambda of the first photograph for each column.
        neighbours: the photographs of each column, nearest first.
        ends: the two mixed photographs, (first, second), drawn at the sides where lambda is 1 and 0.
        places: what each neighbour shows, 0 the place of the first photograph, 1 that of the second, 2 another one. It gets a
            frame by it, and so do the ends.
        title: stands above all photographs.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: columns or places that do not fit the weights.
    """
    if not weights or len(weights) != len(neighbours) or not all(neighbours):
        raise BadInput(
            f"There are {len(weights)} weights and {len(neighbours)} columns of photographs: give each weight at least one."
        )
    if places is not None and [len(column) for column in places] != [len(column) for column in neighbours]:
        raise BadInput("The places do not fit the columns of photographs: give one of 0, 1 and 2 for each photograph.")
    depth = max(len(column) for column in neighbours)
    side = 0 if ends is None else 1
    fig, axes = tiles(depth, len(weights) + 2 * side, neighbours[0][0].size, 1)
    for number, (weight, column) in enumerate(zip(weights, neighbours, strict=True)):
        for row, image in enumerate(column):
            draw_photograph(axes[row, number + side], image)
            if places is not None:
                outline(axes[row, number + side], *PLACES[places[number][row]][1:])
        axes[0, number + side].set_title(f"λ = {weight:.2f}", fontsize=9)
    if ends is not None:
        rising = weights[0] < weights[-1]
        names = ("first (λ = 1)", "second (λ = 0)")
        for ax, which in zip(axes[0, [0, -1]], (1, 0) if rising else (0, 1), strict=True):
            draw_photograph(ax, ends[which])
            ax.set_title(names[which], fontsize=9)
            outline(ax, *PLACES[0 if places is None else which][1:])
    if places is not None:
        shown = {place for column in places for place in column} | (set() if ends is None else {0, 1})
        legend_below(fig, [PLACES[place] for place in sorted(shown)])
    title_above(fig, title)
    steps = ", ".join(f"{weight:.2f}" for weight in weights)
    return described(
        fig, alt, f"Filmstrip: for each weight lambda = {steps} the {depth} photographs nearest to the mixture."
    )


def scores_plot(rows: Sequence[Mapping[str, Any]], title: str | None = None, alt: str | None = None) -> "Figure":
    """mAP of several methods under the easy, medium and hard protocol, side by side, in percent.

    Args:
        rows: for each method {"name", "easy", "medium", "hard"}, mAP as fractions; nan is shown as a dash.
        title: stands above all bars, such as how many seeds they are of.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: no row.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise BadInput("There is no score to draw: give at least one row.")
    drawn = looks(row["name"] for row in rows)
    fig = Figure(figsize=(7.0, 0.8 + 0.36 * len(rows)), layout="constrained")
    title_above(fig, title)
    panels = fig.subplots(1, 3, sharex=True, sharey=True)
    places = np.arange(len(rows))[::-1]
    most = max((100 * row[level] for row in rows for level in PROTOCOLS if row[level] == row[level]), default=100)
    for ax, level in zip(panels, PROTOCOLS, strict=True):
        values = np.nan_to_num([100 * row[level] for row in rows])
        bars = ax.barh(places, values, height=0.7, color=[look.colour for look in drawn], edgecolor="white")
        for bar, look, value, row in zip(bars, drawn, values, rows, strict=True):
            bar.set_hatch(look.hatch)
            place = value + most / 50, bar.get_y() + bar.get_height() / 2
            ax.text(*place, percent(row[level]), va="center", fontsize=8)
        ax.set_title(level)
        ax.grid(axis="y", visible=False)
    panels[0].set_yticks(places, [row["name"] for row in rows])
    panels[0].set_xlim(0, most * 1.2)
    panels[1].set_xlabel("mAP in %")
    said = "; ".join(
        f"{row['name']} " + ", ".join(f"{level} {percent(row[level])}" for level in PROTOCOLS) for row in rows
    )
    fig.set_label(alt or f"mAP in percent of {len(rows)} methods{f', {title}' if title else ''}: {said}.")
    return fig


def query_by_query(
    of_teacher: np.ndarray,
    of_student: np.ndarray,
    student: str,
    marked: int | None = None,
    alt: str | None = None,
    teacher: str = "teacher",
) -> "Figure":
    """Average precision of single queries in percent: the teacher's to the right, a student's upwards, and the diagonal.

    Args:
        of_teacher: [Q], fractions; a query that is nan for either is left out.
        of_student: [Q], of the same queries.
        student: how the figure calls the student.
        marked: number of a query that is named in the figure.
        alt: the figure's description; without it, one is made from what it shows.
        teacher: how the figure calls what the student is compared with.

    Returns:
        The figure.

    Raises:
        BadInput: scores of different queries.
    """
    from matplotlib.figure import Figure

    x, y = 100 * np.asarray(of_teacher), 100 * np.asarray(of_student)
    if x.shape != y.shape or x.ndim != 1:
        raise BadInput(
            f"Scores of shapes {list(x.shape)} and {list(y.shape)} are not of the same queries: give [Q] twice."
        )
    better, of = int((y > x).sum()), int((~np.isnan(x + y)).sum())
    fig = Figure(figsize=(4.4, 4.2), layout="constrained")
    ax = fig.subplots()
    ax.plot([0, 100], [0, 100], color="0.6", linestyle="--", linewidth=1)
    ax.scatter(x, y, s=24, color=looks([student])[0].colour, edgecolor="white", linewidth=0.5)
    if marked is not None:
        ax.annotate(
            f"query {marked}", (x[marked], y[marked]),
            xytext=(0, 24 if y[marked] < 80 else -24), textcoords="offset points",
            ha="right" if x[marked] > 50 else "left", va="center", arrowprops={"arrowstyle": "-", "color": "0.3"},
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip
    ax.set(
        xlim=(-2, 102),
        ylim=(-2, 102),
        aspect="equal",
        xlabel=f"AP of the {teacher} in %",
        ylabel=f"AP of the {student} in %",
    )
    ax.set_title(f"{student}: better for {better} of {of} queries")
    fig.set_label(
        alt
        or f"Average precision of {of} queries, the {student}'s against the {teacher}'s: {better} points lie above the "
        "diagonal."
    )
    return fig
