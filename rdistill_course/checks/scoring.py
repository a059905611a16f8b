"""Checks of notebook 5: ranks under three protocols, average precision, mean precision at k, expansion."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rdistill_course.checks.hints import ask, numbers, passed, tensor
from rdistill_course.checks.runner import Answer, examine, judge, rephrased
from rdistill_course.checks.steps import exercise
from rdistill_helpers.score import ranks as package
from rdistill_helpers.score.ranks import precision_at, remove_ignored
from rdistill_helpers.score.report import PROTOCOLS


@exercise(
    "5.1",
    "A protocol says which parts of the ground truth are right and which are ignored: look at `PROTOCOLS`.",
    "Ignored images leave the list before ranks are counted.",
    "Collect the numbers that are right and those that are ignored, walk down the list without the ignored ones "
    "while counting from 0, and note the count of each right one.",
)
def protocol_ranks(answer: Answer) -> None:
    """Exercise 5.1: the ranks of the positives under each protocol, ignored photographs removed.

    Args:
        answer: (ranking [N], truth, protocol) -> ascending 0-based ranks.

    Raises:
        Hint: the answer is not right.
    """
    ranking = np.array([8, 3, 12, 5, 0, 9, 2, 7, 11, 1, 6, 10, 4])
    truth = {"easy": np.array([11, 5]), "hard": np.array([10, 3, 9]), "junk": np.array([12, 2, 8])}
    place = {int(image): where for where, image in enumerate(ranking)}

    def ranks(positive: Sequence[str], ignored: Sequence[str]) -> list[int]:
        positives, out = ([place[int(i)] for part in group for i in truth[part]] for group in (positive, ignored))
        return [int(rank) for rank in remove_ignored(np.array(positives), np.array(out))]

    for protocol in ("medium", "easy", "hard"):
        positive, ignored = PROTOCOLS[protocol]
        given = numbers(
            ask(answer, ranking, {kind: images.copy() for kind, images in truth.items()}, protocol), "the ranks"
        )
        right, at = ranks(positive, ignored), f"Under the {protocol} protocol,"
        other = "hard" if protocol == "easy" else "easy"
        left = [image for image in ranking if not any(image in truth[part] for part in ignored)]
        judge(given, right, {
            f"{at} junk was not removed from the list.": ranks(positive, [part for part in ignored if part != "junk"]),
            f"{at} nothing was removed: the ignored photographs leave the list before ranks are counted.": ranks(positive, ()),
            f"{at} {other} photographs count as wrong: they are ignored, as junk is.": ranks(positive, ("junk",)),
            f"{at} {other} photographs count as right: they are ignored, as junk is.": ranks(*PROTOCOLS["medium"]),
            f"{at} the ranks count from 1: the first photograph that is left has rank 0.": [rank + 1 for rank in right],
            f"{at} the ranks stand in the order of the ground truth: go through the list, the best "
            "first.": [left.index(image) for part in positive for image in truth[part]],
            f"This is the {other} protocol's answer to the {protocol} one.": ranks(*PROTOCOLS[other]),
            f"{at} the {other} photographs were taken for the positives.": ranks((other,), ignored),
        }, f"{at} the list without ignored photographs has positives at {len(right)} ranks; yours are {given}.")  # fmt: skip
    passed("Every protocol ignores what it should, and the ranks count what is left.")


@exercise(
    "5.2",
    "At each positive the trapezoid takes the mean of two precisions: the one just before it, and the one with it.",
    "The positive number j, counted from 0, has j positives before it among its rank's number of images; with it there are "
    "j + 1 among one image more. At rank 0 nothing stands before it.",
    "Add up the mean of j / rank (1 where the rank is 0) and (j + 1) / (rank + 1) over the ranks, and divide by all "
    "positives, those that the list lacks included.",
)
def average_precision(answer: Answer) -> None:
    """Exercise 5.2: the protocol's average precision, of a list that may lack some of the positives.

    Args:
        answer: (ranks, positives) -> AP of a list with positives at these ranks, of so many in all.

    Raises:
        Hint: the answer is not right.
    """
    ranks, positives = [0, 3, 7], 5
    right, seen = package.average_precision(ranks, positives), len(ranks)

    def trapezoids(ranks: Sequence[int], total: int = positives, at_zero: float = 1.0) -> float:
        pairs = ((at_zero if rank == 0 else j / rank) + (j + 1) / (rank + 1) for j, rank in enumerate(ranks))
        return sum(pairs) / 2 / total

    def steps(ranks: Sequence[int], total: int = positives) -> float:
        return sum((j + 1) / (rank + 1) for j, rank in enumerate(ranks)) / total

    def number(what: str) -> Callable[[Any], Tensor]:
        return lambda value: tensor(value, (), what)

    zero = "A positive at rank 0 has nothing before it, and you divide by 0: its first fraction counts as 1."
    examine(answer, (ranks, positives), number("the average precision"), right, {
        "These are rectangles, as in scikit-learn: the protocol takes the mean of the precision just before each positive and "
        "the precision with it.": steps(ranks),
        f"You divide by the {seen} positives in the list. There are {positives}: those that the list lacks count with 0, or "
        "a shorter list would score better.": trapezoids(ranks, seen),
        "A positive at rank 0 has nothing before it: its first fraction counts as 1, not as "
        "0.": trapezoids(ranks, at_zero=0.0),
        "Two things: these are rectangles instead of trapezoids, and you divide by "
        f"{seen} instead of {positives}.": steps(ranks, seen),
        "This is the precision just before each positive alone: take its mean with the precision at the "
        "positive.": 2 * right - steps(ranks),
        "The ranks count from 0: shifted by one they are places, and the formula is another "
        "one.": trapezoids([rank + 1 for rank in ranks]),
        "The trapezoid is the mean of two fractions: there is a factor 1/2.": 2 * right,
        "A fraction between 0 and 1 is asked for, not a percentage.": 100 * right,
    }, f"Not yet. The {seen} positives in the list have ranks {ranks}, and {positives - seen} more are not in "
       "it.", around=rephrased(zero, ZeroDivisionError))  # fmt: skip
    examine(
        answer, ([], 3), number("the average precision of a list without a positive"), 0.0, {},
        "Right, but a list that shows none of three positives has an average precision of 0.",
        around=rephrased("Right, but not when the list shows none of three positives: {hint}"),
    )  # fmt: skip
    examine(
        answer, ([0, 2, 5], 3), number("the average precision"), package.average_precision([0, 2, 5]), {},
        "Right for a list that lacks positives, but not for a whole one.",
    )  # fmt: skip
    passed("Trapezoids, over all positives, whether the list has them or not.")


@exercise(
    "5.3",
    "What does a query without positives add to a mean? Leave it out of both, the sum and the count.",
    "k is lowered for a query whose last positive stands before place k.",
    "For each query with positives: the depth is the smaller of k and the last rank plus 1; its share is the "
    "number of ranks below the depth, divided by the depth. Then the mean.",
)
def mean_precision(answer: Answer) -> None:
    """Exercise 5.3: mP@k, with k lowered for each query and queries without positives left out.

    Args:
        answer: (ranks_of_queries, k) -> mP@k, a fraction.

    Raises:
        Hint: the answer is not right.
    """
    queries: list[list[int]] = [[0, 2, 5, 11, 13, 14], [1, 3], [], [4, 5, 6, 30], [1]]
    kept, k = [ranks for ranks in queries if ranks], 5
    right = float(np.mean([precision_at(ranks, k) for ranks in kept]))

    def lowered(ranks: list[int]) -> int:
        return min(k, ranks[-1] + 1)

    def mean(depth: Any = lowered, among: Any = kept, over: Any = None, more: int = 0) -> float:
        """Of the shares found at ranks below `depth` + `more`, as shares of what `over` counts, by default `depth`."""
        shares = [
            sum(rank < depth(ranks) + more for rank in ranks) / (over or depth)(ranks) for ranks in among if ranks
        ]
        return sum(shares) / len(among)

    def carried() -> float:
        """Of a k that stays lowered for the queries that follow."""
        depths = np.minimum.accumulate([lowered(ranks) for ranks in kept])
        return mean(lambda ranks: int(depths[kept.index(ranks)]))

    stays_out = "{hint}. One of the queries has no positive: it stays out of the mean."
    nan = "a query without a positive has no precision, it stays out of the mean."
    examine(answer, (queries, k), lambda value: tensor(value, (), "the value of mP@k", nan), right, {
        f"k is {k} for every query, so one with a single positive could never reach 1: lower k to the number of photographs "
        "down to the query's last positive.": mean(lambda ranks: k),
        "k stays lowered for the queries that follow: begin each query with the k that was asked for.": carried(),
        "The query without a positive counts as 0: it stays out of the mean.": mean(among=queries),
        "Two things: k is not lowered, and the query without a positive counts as 0.": mean(lambda ranks: k, queries),
        "k is lowered to the number of positives. The protocol lowers it to the number of photographs down to the last one, "
        "wrong ones included.": mean(lambda ranks: min(k, len(ranks))),
        "One too low: ranks begin at 0, so down to a positive at rank r there are r + 1 "
        "photographs.": mean(lambda ranks: min(k, ranks[-1])),
        "One too many: the first k photographs have the ranks 0 to k - 1.": mean(more=1),
        "You divide by the number of positives, which gives recall. Precision divides by k.": mean(over=len),
        "A fraction between 0 and 1 is asked for, not a percentage.": 100 * right,
    }, "Not yet. For each query with positives: lower k to the number of photographs down to its last one, and take the share "
       "of the first k that is right.",
       around=rephrased(stays_out, IndexError, ZeroDivisionError, ValueError))  # fmt: skip
    passed("k is lowered for each query, and a query without positives stays out of the mean.")


@exercise(
    "5.4",
    "`search` gives similarities as well as positions: they are the weights, before alpha.",
    "A similarity below 0 becomes 0 before the power. `database[found]` is [Q, n, D], so the weights need one "
    "more axis.",
    "Query plus the sum of weight times match, brought back to length 1. The query's own weight is 1, whatever "
    "alpha is.",
)
def weighted_expansion(answer: Answer) -> None:
    """Exercise 5.4: queries expanded by their best matches, weighted by similarity.

    Args:
        answer: (queries [Q, D], database [N, D], n, alpha) -> expanded queries [Q, D] of length 1.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(3)
    queries = normalize(torch.randn(4, 6, generator=generator), dim=1)
    database = normalize(torch.randn(12, 6, generator=generator), dim=1)
    # The second query has one similar photograph; the others of its n best point away from it.
    database = torch.where((database @ queries[1] > 0)[:, None], -database, database)
    database[3] = normalize(queries[1] + 0.5 * queries[0], dim=0)
    n, alpha = 3, 2.5
    similarity, found = (queries @ database.T).topk(n, dim=1)
    lowest, furthest = (queries @ database.T).topk(n, dim=1, largest=False)
    positive = similarity.clamp(min=0)
    weights = positive.pow(alpha)

    def expanded(weights: Tensor, own: float | Tensor = 1.0, found: Tensor = found) -> Tensor:
        return own * queries + (weights[:, :, None] * database[found]).sum(dim=1)

    right = expanded(weights)
    mistakes = {
        "All matches count alike, as in the notebook: weigh each by its similarity to the power "
        "alpha.": expanded(torch.ones_like(positive)),
        "The query itself is missing: it counts with weight 1.": expanded(weights, own=0.0),
        "The weights are the similarities: raise them to the power alpha.": expanded(positive),
        "alpha multiplies the similarities here: it is their exponent.": expanded(alpha * positive),
        "The matches are averaged before the query is added, which gives it too much weight: add their weighted "
        "sum.": expanded(weights / n),
        "The weights of the matches are made to sum to 1: take the powers as they are, a bad match adds "
        "little.": expanded(weights / weights.sum(dim=1, keepdim=True)),
        "The query is weighed as its first match is: it counts with weight 1.": expanded(weights, own=weights[:, :1]),
        "The absolute value lets a match that points away count as if it were similar: clamp at "
        "0.": expanded(similarity.abs().pow(alpha)),
        "The weights went through a softmax: take the powers as they are.": expanded(weights.softmax(dim=1)),
        "These are the least similar photographs: take those with the largest dot "
        "product.": expanded(lowest.abs().pow(alpha), found=furthest),
        "The queries come back as they were: add their best matches.": queries,
    }  # fmt: skip
    nan = "a negative similarity to the power 2.5 is nan. A match that points away should count nothing: clamp at 0."
    rows = normalize(right, dim=1)
    examine(answer, (queries, database, n, alpha), lambda value: tensor(value, (4, 6), "the result", nan), rows, {
        "The sum is right, but its length is not one: divide each row by its length.": right,
        "The sum is right, but each column was brought to length one: divide each row by its length.": normalize(right, dim=0),
        **{hint: (wrong, normalize(wrong, dim=1)) for hint, wrong in mistakes.items()},
    }, "Not yet. To each query add its n best matches, each times its similarity (at least 0) to the power alpha; then length "
       "one.")  # fmt: skip
    passed("Near matches count more than far ones, and every expanded query has length one.")
