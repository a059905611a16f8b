"""An explorer of ranked lists: query, protocol, junk and k, and what they do to frames and to average precision."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rdistill_course.photographs import first_of_list, outcomes
from rdistill_course.style import MARKS
from rdistill_course.widgets.parts import column, img, keys, said, slider, view
from rdistill_course.widgets.photographs import Place, boxed_tile, sheet, tile_of
from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.plots.style import PALETTE
from rdistill_helpers.score.ranks import average_precision, precision_at, remove_ignored
from rdistill_helpers.score.report import PROTOCOLS, evaluate_ranking

if TYPE_CHECKING:
    import ipywidgets

MOST = 20  # results on one sheet
PER_ROW = 5
LETTERS = {"easy": "E", "hard": "H", "junk": "J"}


def protocol_explorer(benchmark: Benchmark, ranking: Any, k: int = 10) -> "ipywidgets.VBox":
    """The first k results of any query under any protocol, framed by what they are, with the query's average precision.

    Letters above the results are the ground truth's (E easy, H hard, J junk, none for another place) and stay; frames and signs
    are what the protocol makes of them, and change. With the tick at junk taken away, junk counts as wrong: what a measure
    without the ignored part would say. The widget's children are the controls (query, protocol, junk and k), picture, words and
    keys.

    Args:
        benchmark: the queries, their images and their ground truth.
        ranking: [Q, n] database positions, best first, as `search` gives them. The AP shown is that of these lists: give whole
            lists, n = N, for the AP of the report.
        k: results shown at first.

    Returns:
        The widget.

    Raises:
        BadInput: a ranking that does not fit the benchmark.
    """
    import ipywidgets

    first_of_list(benchmark, 0, ranking, k)
    lists = np.asarray(ranking)
    evaluate_ranking(lists, benchmark)  # refuses lists that cannot be scored, before anything is drawn
    letters = [
        {int(image): letter for part, letter in LETTERS.items() for image in truth[part]}
        for truth in benchmark.ground_truth
    ]

    @lru_cache(maxsize=1024)
    def tile(i: int) -> Image.Image:
        return tile_of(benchmark.image(i))

    @lru_cache(maxsize=256)
    def own_tile(query: int) -> Image.Image:
        return boxed_tile(benchmark.query(query, crop=False), benchmark.ground_truth[query]["bbx"])

    def kinds_of(query: int, protocol: str, junk_ignored: bool, order: list[int]) -> list[str]:
        kinds = outcomes(benchmark, query, order, protocol)
        if junk_ignored:
            return kinds
        return ["negative" if letters[query].get(i) == "J" else kind for i, kind in zip(order, kinds, strict=True)]

    def redraw(_: Any = None) -> None:
        query, protocol, junk_ignored, shown = number.value, switch.value, junk.value, count.value
        order = first_of_list(benchmark, query, lists, shown)
        kinds = kinds_of(query, protocol, junk_ignored, order)
        named = [f"{place} {letters[query].get(i, '')}".strip() for place, i in enumerate(order, 1)]
        tiles: list[Place] = [(name, tile(i), kind) for name, i, kind in zip(named, order, kinds, strict=True)]
        lines: list[list[Place | None]] = [[None, *tiles[at : at + PER_ROW]] for at in range(0, len(tiles), PER_ROW)]
        lines[0][0] = ("query", own_tile(query), PALETTE["blue"])
        ap, precision = list_scores(benchmark, query, lists[query], protocol, shown, junk_ignored)
        if np.isnan(ap):
            score = "no positives under this protocol"
        else:
            score = f"AP {100 * ap:.1f} %, P@{shown} {100 * precision:.1f} %"
        junk_is = "ignored" if junk_ignored else "counted as wrong"
        state = f"Query {query} ({benchmark.query_names[query]}), {protocol}, junk {junk_is}: {score}."
        results = ", ".join(f"{name} {MARKS[kind].meaning}" for name, kind in zip(named, kinds, strict=True))
        picture.value = img(sheet(lines), f"The query with its box and its first {shown} results. {state} {results}.")
        words.value = said(f"{state} Results: {results}.")

    number = slider(range(len(lists)), 0, "Query", "360px")
    switch = ipywidgets.ToggleButtons(
        options=list(PROTOCOLS),
        value="medium",
        description="Protocol",
        tooltips=[f"positives: {' and '.join(positive)}" for positive, _ in PROTOCOLS.values()],
        style={"button_width": "80px"},
    )
    junk = ipywidgets.Checkbox(
        value=True, description="junk is ignored (no tick: counts as wrong)", indent=False, layout={"width": "320px"}
    )
    count = slider(range(1, min(MOST, lists.shape[1]) + 1), min(k, MOST), "Results shown (k)", "360px")
    picture, words = view(), view()
    redraw()
    for control in (number, switch, junk, count):
        control.observe(redraw, names="value")
    rows = [ipywidgets.HBox([number, switch]), ipywidgets.HBox([count, junk])]
    for row in rows:
        row.layout.flex_flow = "row wrap"
    letters_say = "Letters: E easy, H hard, J junk, none for another place. Frames: ✓ right, ✗ wrong, – ignored."
    about = "Choose a query, a protocol and whether junk is ignored, and see frames and average precision change."
    return column([*rows, picture, words, view(f"<div>{letters_say}</div>"), keys("slider", "button")], about)


def list_scores(
    benchmark: Benchmark, query: int, ranked: np.ndarray, protocol: str, k: int, junk_ignored: bool = True
) -> tuple[float, float]:
    """AP and precision at k of one ranked list under a protocol.

    Args:
        benchmark: the queries and their ground truth.
        query: number of the query.
        ranked: [n] database positions, best first.
        protocol: easy, medium or hard.
        k: of the precision.
        junk_ignored: as the protocol says; False leaves junk in the list, where it counts as wrong.

    Returns:
        Both as fractions, nan where the query has no positives.
    """
    truth, (positive, ignored) = benchmark.ground_truth[query], PROTOCOLS[protocol]
    wanted = np.concatenate([truth[part] for part in positive])
    dropped = [truth[part] for part in ignored if junk_ignored or part != "junk"]
    taken_out = np.concatenate(dropped) if dropped else np.empty(0, np.int64)
    found, gone = (np.flatnonzero(np.isin(ranked, images)) for images in (wanted, taken_out))
    ranks = remove_ignored(found, gone)
    return average_precision(ranks, len(wanted)), precision_at(ranks, k, len(wanted))
