"""Figures of photographs: grids, examples of a query, ranked lists and filmstrips, each with a description as its label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.ground_truth import LISTS
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import GREY, MARKS, PALETTE
from rdistill_helpers.score.report import PROTOCOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 1.35  # width of one photograph in inches, less where they would not fit beside each other
PAD = 0.04  # inches around a photograph, enough for two frames side by side
WIDEST = 9.5  # inches that a notebook shows without making it smaller
# How a filmstrip frames photographs: of the first place, of the second, of any other.
PLACES: tuple[tuple[str, str, Literal["-", "--", ":"]], ...] = (
    ("the first room", PALETTE["blue"], "-"),
    ("the second room", PALETTE["orange"], "--"),
    ("a third room", GREY, ":"),
)


def outcomes(
    benchmark: Benchmark, query: int, images: Sequence[int] | np.ndarray, protocol: str = "medium"
) -> list[str]:
    """What each of some database images is for a query under a protocol.

    Args:
        benchmark: the queries, their images and their ground truth.
        query: number of the query.
        images: [n] database positions.
        protocol: easy, medium or hard.

    Returns:
        For each image "positive", "negative" or "ignored".

    Raises:
        BadInput: another protocol, or a query that does not exist.
    """
    _check_query(benchmark, query)
    if protocol not in PROTOCOLS:
        raise BadInput(f"The protocol {protocol!r} is not known: choose {', '.join(PROTOCOLS)}.")
    truth = benchmark.ground_truth[query]
    positive, ignored = ({int(image) for part in parts for image in truth[part]} for parts in PROTOCOLS[protocol])
    return [
        "positive" if int(image) in positive else "ignored" if int(image) in ignored else "negative" for image in images
    ]


def image_grid(
    images: Sequence[Image.Image],
    titles: Sequence[str] | None = None,
    columns: int = 6,
    alt: str | None = None,
) -> "Figure":
    """Photographs in rows.

    Args:
        images: at least one photograph.
        titles: one for each photograph, drawn above it.
        columns: photographs in a row, at most.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: no photograph, no column, or another number of titles.
    """
    if not images or columns < 1:
        raise BadInput(f"{len(images)} images cannot be laid out in {columns} columns: give at least one of each.")
    if titles is not None and len(titles) != len(images):
        raise BadInput(f"There are {len(titles)} titles for {len(images)} images: give one for each.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    fig, axes = _tiles(rows, columns, images[0].size, 0 if titles is None else rows)
    for ax, position in zip(axes.flat, range(rows * columns), strict=True):
        if position < len(images):
            _photograph(ax, images[position])
            if titles is not None:
                ax.set_title(titles[position], fontsize=8)
    named = f": {', '.join(titles)}" if titles is not None else ""
    return _described(fig, alt, f"{_number(len(images), 'photograph')} in {_number(rows, 'row')}{named}.")


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
    _check_query(benchmark, query)
    truth = benchmark.ground_truth[query]
    per_row = max(1, min(per_row, max(len(truth[part]) for part in LISTS)))
    parts = {part: [int(image) for image in truth[part][:per_row]] for part in LISTS}
    full = benchmark.query(query, crop=False)
    fig, axes = _tiles(3, per_row + 2, full.size, 3)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, :2].flat:
        ax.remove()
    left = fig.add_subplot(grid[:, :2])
    _photograph(left, full)
    left.set_title(f"query {query}", fontsize=9)
    if truth["bbx"] is not None:
        _box(left, truth["bbx"])
    for row, (part, images) in enumerate(parts.items()):
        for column in range(per_row):
            ax = axes[row, column + 2]
            if column < len(images):
                _photograph(ax, benchmark.image(images[column]))
        total = len(truth[part])
        axes[row, 2].set_title(f"{part}: {_number(total, 'image')}", fontsize=9, loc="left")
    counts = ", ".join(f"{len(truth[part])} {part}" for part in parts)
    return _described(
        fig,
        alt,
        f"Query {query} of {benchmark.name} with the box around what is looked for, beside examples of its images in "
        f"three rows: {counts}.",
    )


def ranked_list(
    benchmark: Benchmark,
    query: int,
    ranking: Any,
    protocol: str = "medium",
    k: int = 10,
    title: str | None = None,
    alt: str | None = None,
) -> "Figure":
    """A query and the first k images of its ranked list, framed by what they are.

    Right: green solid frame and a tick; wrong: red dashed frame and a cross; ignored by the protocol: grey dotted frame and a
    bar. The key below names those that occur.

    Args:
        benchmark: the queries, their images and their ground truth.
        query: number of the query.
        ranking: [Q, n] database positions of all queries, best first, as `search` gives them.
        protocol: easy, medium or hard.
        k: how many results are drawn.
        title: stands above all photographs.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: another protocol, a query that does not exist, or a ranking that does not fit.
    """
    order = first_of_list(benchmark, query, ranking, k)
    kinds = outcomes(benchmark, query, order, protocol)
    half = -(-len(order) // 2) if len(order) > 6 else len(order)
    rows = 2 if len(order) > 6 else 1
    shown = benchmark.query(query, crop=False)
    fig, axes = _tiles(rows, half + 1, shown.size, rows)
    for ax in axes[:, 0]:
        ax.axis("off")
    _photograph(axes[0, 0], shown)
    axes[0, 0].set_title(f"query {query}", fontsize=9)
    box = benchmark.ground_truth[query]["bbx"]
    if box is not None:
        _box(axes[0, 0], box)
    for place, (image, kind) in enumerate(zip(order, kinds, strict=True)):
        ax = axes[place // half, place % half + 1]
        _photograph(ax, benchmark.image(image))
        _frame(ax, kind)
        ax.set_title(f"{place + 1} {MARKS[kind].sign}", fontsize=9, color=_dark(kind))
    _legend_below(
        fig, [(f"{mark.sign} {mark.meaning}", mark.colour, mark.line) for kind, mark in MARKS.items() if kind in kinds]
    )
    _title(fig, title)
    said = ", ".join(f"{place} {MARKS[kind].meaning}" for place, kind in enumerate(kinds, 1))
    return _described(
        fig, alt, f"Query {query} of {benchmark.name} and its first {len(order)} results, {protocol} protocol: {said}."
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
    fig, axes = _tiles(depth, len(weights) + 2 * side, neighbours[0][0].size, 1)
    for number, (weight, column) in enumerate(zip(weights, neighbours, strict=True)):
        for row, image in enumerate(column):
            _photograph(axes[row, number + side], image)
            if places is not None:
                _outline(axes[row, number + side], *PLACES[places[number][row]][1:])
        axes[0, number + side].set_title(f"λ = {weight:.2f}", fontsize=9)
    if ends is not None:
        rising = weights[0] < weights[-1]
        names = ("first (λ = 1)", "second (λ = 0)")
        for ax, which in zip(axes[0, [0, -1]], (1, 0) if rising else (0, 1), strict=True):
            _photograph(ax, ends[which])
            ax.set_title(names[which], fontsize=9)
            _outline(ax, *PLACES[0 if places is None else which][1:])
    if places is not None:
        shown = {place for column in places for place in column} | (set() if ends is None else {0, 1})
        _legend_below(fig, [PLACES[place] for place in sorted(shown)])
    _title(fig, title)
    steps = ", ".join(f"{weight:.2f}" for weight in weights)
    return _described(
        fig, alt, f"Filmstrip: for each weight lambda = {steps} the {depth} photographs nearest to the mixture."
    )


def first_of_list(benchmark: Benchmark, query: int, ranking: Any, k: int) -> list[int]:
    """The first k database positions of one query's list.

    Args:
        benchmark: the queries, their images and their ground truth.
        query: number of the query.
        ranking: [Q, n] database positions of all queries, best first.
        k: how many, 1 to n.

    Returns:
        [k] positions.

    Raises:
        BadInput: a query that does not exist, or a ranking that does not fit the benchmark.
    """
    _check_query(benchmark, query)
    lists = np.asarray(ranking)
    if lists.ndim != 2 or len(lists) != len(benchmark.query_names) or not 1 <= k <= lists.shape[1]:
        raise BadInput(
            f"A ranking of shape {list(lists.shape)} has no first {k} results for {len(benchmark.query_names)} queries: "
            "give [Q, n], one list for each query, and k from 1 to n."
        )
    order = [int(image) for image in lists[query, :k]]
    if not all(0 <= image < len(benchmark.image_names) for image in order):
        raise BadInput(
            f"The list of query {query} names images beyond the {len(benchmark.image_names)} of {benchmark.name}: "
            "rank its own database, or leave distractors out before drawing."
        )
    return order


def _check_query(benchmark: Benchmark, query: int) -> None:
    if not 0 <= query < len(benchmark.query_names):
        raise BadInput(f"{benchmark.name} has no query {query}: choose 0 to {len(benchmark.query_names) - 1}.")


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _described(fig: "Figure", alt: str | None, otherwise: str) -> "Figure":
    fig.set_label(alt or otherwise)
    return fig


def _tiles(rows: int, columns: int, size: tuple[int, int], titled: int) -> tuple["Figure", np.ndarray]:
    """A figure of rows x columns empty places for photographs of about this (width, height), `titled` rows with titles."""
    from matplotlib.figure import Figure

    width = min(TILE, WIDEST / columns)
    height = rows * ((width - 2 * PAD) * size[1] / size[0] + 2 * PAD) + titled * 0.19
    fig = Figure(figsize=(columns * width, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=PAD, h_pad=PAD, wspace=0, hspace=0)  # type: ignore[union-attr, call-arg]
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    return fig, axes


def _photograph(ax: "Axes", image: Image.Image) -> None:
    ax.imshow(image, interpolation="lanczos")
    ax.axis("on")
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _outline(ax: "Axes", colour: str, line: str) -> None:
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=3, linestyle=line)


def _frame(ax: "Axes", kind: str) -> None:
    _outline(ax, MARKS[kind].colour, MARKS[kind].line)


def _dark(kind: str) -> str:
    """The colour of an outcome's text: grey is too faint for text."""
    return "#595959" if kind == "ignored" else MARKS[kind].colour


def _box(ax: "Axes", box: Sequence[float]) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(value) for value in box)
    for colour, width in (("white", 3), (PALETTE["blue"], 1.6)):
        # Not clipped: a box may end at the border of its photograph.
        ax.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, clip_on=False)
        )


def _title(fig: "Figure", title: str | None) -> None:
    """A title above all photographs, with room of its own."""
    if title is not None:
        fig.set_figheight(fig.get_figheight() + 0.3)
        fig.suptitle(title, fontsize=10)


def _legend_below(fig: "Figure", entries: Sequence[tuple[str, str, Literal["-", "--", ":"]]]) -> None:
    """A key of frames below all photographs: (text, colour, line)."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linestyle=line, linewidth=3, label=text) for text, colour, line in entries]
    fig.set_figheight(fig.get_figheight() + 0.3)
    fig.legend(
        handles=handles, loc="outside lower center", ncols=len(entries), fontsize=9, frameon=False, handlelength=3
    )
