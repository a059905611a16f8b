"""Figures of photographs: grids, examples of a query, ranked lists and filmstrips, each with a description as its label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rdistill_course.style import MARKS
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
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.report import PROTOCOLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    check_query(benchmark, query)
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
    fig, axes = tiles(rows, columns, images[0].size, 0 if titles is None else rows)
    for ax, position in zip(axes.flat, range(rows * columns), strict=True):
        if position < len(images):
            draw_photograph(ax, images[position])
            if titles is not None:
                ax.set_title(titles[position], fontsize=8)
    named = f": {', '.join(titles)}" if titles is not None else ""
    return described(fig, alt, f"{counted(len(images), 'photograph')} in {counted(rows, 'row')}{named}.")


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

    Right: green solid frame and a tick; wrong: orange dashed frame and a cross; ignored by the protocol: grey dotted frame and
    a bar. The key below names those that occur.

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
    fig, axes = tiles(rows, half + 1, shown.size, rows)
    for ax in axes[:, 0]:
        ax.axis("off")
    draw_photograph(axes[0, 0], shown)
    axes[0, 0].set_title(f"query {query}", fontsize=9)
    box = benchmark.ground_truth[query]["bbx"]
    if box is not None:
        draw_box(axes[0, 0], box)
    for place, (image, kind) in enumerate(zip(order, kinds, strict=True)):
        ax = axes[place // half, place % half + 1]
        draw_photograph(ax, benchmark.image(image))
        outline(ax, MARKS[kind].colour, MARKS[kind].line)
        grey = kind == "ignored"  # too faint for text
        ax.set_title(f"{place + 1} {MARKS[kind].sign}", fontsize=9, color="#595959" if grey else MARKS[kind].colour)
    legend_below(
        fig, [(f"{mark.sign} {mark.meaning}", mark.colour, mark.line) for kind, mark in MARKS.items() if kind in kinds]
    )
    title_above(fig, title)
    said = ", ".join(f"{place} {MARKS[kind].meaning}" for place, kind in enumerate(kinds, 1))
    return described(
        fig, alt, f"Query {query} of {benchmark.name} and its first {len(order)} results, {protocol} protocol: {said}."
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
    check_query(benchmark, query)
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
