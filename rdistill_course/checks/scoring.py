"""Checks of notebook 5: ranks under three protocols, average precision of a cut list, mean precision at k, expansion."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from rdistill_course.checks.hints import Hint, ask, compare, numbers, passed, tensor
from rdistill_helpers.score.ranks import average_precision, precision_at, remove_ignored

Answer = Callable[..., Any]
IGNORED = {"easy": ("junk", "hard"), "medium": ("junk",), "hard": ("junk", "easy")}
POSITIVE = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}


def protocol_ranks(answer: Answer) -> None:
    """Exercise 5.1: answer(ranking [N], truth, protocol) -> ascending 0-based ranks of the positives, ignored ones removed."""
    ranking = np.array([8, 3, 12, 5, 0, 9, 2, 7, 11, 1, 6, 10, 4])
    truth = {"easy": np.array([11, 5]), "hard": np.array([10, 3, 9]), "junk": np.array([12, 2, 8])}
    place = {int(image): where for where, image in enumerate(ranking)}

    def ranks(positive: Sequence[str], ignored: Sequence[str]) -> list[int]:
        positives, out = ([place[int(i)] for part in group for i in truth[part]] for group in (positive, ignored))
        return [int(rank) for rank in remove_ignored(np.array(positives), np.array(out))]

    for protocol in ("medium", "easy", "hard"):
        positive, ignored = POSITIVE[protocol], IGNORED[protocol]
        right = ranks(positive, ignored)
        value = numbers(
            ask(answer, ranking, {kind: images.copy() for kind, images in truth.items()}, protocol), "the ranks"
        )
        if value == right:
            continue
        at = f"Under the {protocol} protocol, "
        other = "hard" if protocol == "easy" else "easy"
        left = [image for image in ranking if not any(image in truth[part] for part in ignored)]
        by_truth = [left.index(image) for part in positive for image in truth[part]]
        mistakes = [
            (ranks(positive, [part for part in ignored if part != "junk"]), at + "junk was not removed from the list."),
            (
                ranks(positive, ()),
                at + "nothing was removed: the ignored photographs leave the list before ranks are counted.",
            ),
            (ranks(positive, ("junk",)), at + f"{other} photographs count as wrong: they are ignored, as junk is."),
            (
                ranks(POSITIVE["medium"], ("junk",)),
                at + f"{other} photographs count as right: they are ignored, as junk is.",
            ),
            (
                [rank + 1 for rank in right],
                at + "the ranks count from 1: the first photograph that is left has rank 0.",
            ),
            (by_truth, at + "the ranks stand in the order of the ground truth: go through the list, the best first."),
        ]
        if protocol != "medium":
            mistakes.append(
                (
                    ranks(POSITIVE[other], IGNORED[other]),
                    f"This is the {other} protocol's answer to the {protocol} one.",
                )
            )
            mistakes.append((ranks((other,), ignored), at + f"the {other} photographs were taken for the positives."))
        for wrong, hint in mistakes:
            if value == wrong:
                raise Hint(hint)
        raise Hint(f"{at}the list without ignored photographs has positives at {len(right)} ranks; yours are {value}.")
    passed("Every protocol ignores what it should, and the ranks count what is left.")


def cut_average_precision(answer: Answer) -> None:
    """Exercise 5.2: answer(places, ignored, positives) -> AP of a list that shows only some of the positives."""
    places, ignored, positives = [0, 4, 9], [1, 3, 12], 5

    def trapezoids(ranks: Sequence[int], total: int, at_zero: float = 1.0) -> float:
        pairs = ((at_zero if rank == 0 else j / rank) + (j + 1) / (rank + 1) for j, rank in enumerate(ranks))
        return sum(pairs) / 2 / total

    def steps(ranks: Sequence[int], total: int) -> float:
        return sum((j + 1) / (rank + 1) for j, rank in enumerate(ranks)) / total

    ranks = [int(rank) for rank in remove_ignored(np.array(places), np.array(ignored))]
    right = average_precision(ranks, positives)
    try:
        value = tensor(ask(answer, places, ignored, positives), (), "the average precision")
    except Hint as hint:
        if isinstance(hint.__cause__, ZeroDivisionError):
            raise Hint(
                "A positive at rank 0 has nothing before it, and you divide by 0: its first fraction counts as 1."
            ) from hint
        raise
    missing = positives - len(places)
    late = [max(place - len(ignored), 0) for place in places]
    compare(
        value,
        right,
        [
            (
                steps(ranks, positives),
                "These are rectangles, as in scikit-learn: the protocol takes the mean of the precision "
                "just before each positive and the precision with it.",
            ),
            (
                trapezoids(ranks, len(places)),
                f"You divide by the {len(places)} positives in the list. There are {positives}: those "
                f"that the cut has lost count with 0, or a shorter list would score better.",
            ),
            (
                trapezoids(places, positives),
                "The places still count ignored photographs: lower each by the number of ignored ones before it.",
            ),
            (
                trapezoids(ranks, positives, at_zero=0.0),
                "A positive at rank 0 has nothing before it: its first fraction counts as 1, not as 0.",
            ),
            (
                steps(ranks, len(places)),
                f"Two things: these are rectangles instead of trapezoids, and you divide by {len(places)} instead "
                f"of {positives}.",
            ),
            (
                trapezoids(places, len(places)),
                f"Two things: the places still count ignored photographs, and you divide by {len(places)} instead "
                f"of {positives}.",
            ),
            (
                steps(places, positives),
                "Two things: the places still count ignored photographs, and these are rectangles instead of "
                "trapezoids.",
            ),
            (
                trapezoids([rank + 1 for rank in ranks], positives),
                "The ranks count from 1 here, and the formula's count from 0.",
            ),
            (2 * right, "The trapezoid is the mean of two fractions: there is a factor 1/2."),
            (
                trapezoids(late, positives),
                "Every place is lowered by all ignored photographs: only those before it move a positive up.",
            ),
            (100 * right, "A fraction between 0 and 1 is asked for, not a percentage."),
        ],
        f"Not yet. In the list without ignored photographs the {len(places)} positives have ranks {ranks}, and "
        f"{missing} more were cut off.",
    )
    try:
        empty = tensor(ask(answer, [], [0, 1], 3), (), "the average precision of a list without a positive")
    except Hint as hint:
        raise Hint(f"Right, but not when the list shows none of three positives: {hint}") from hint
    compare(empty, 0.0, [], "Right, but a list that shows none of three positives has an average precision of 0.")
    compare(
        tensor(ask(answer, [0, 2, 5], [], 3), (), "the average precision"),
        average_precision([0, 2, 5]),
        [],
        "Right for a cut list, but not for a list that is whole and has nothing to ignore.",
    )
    passed("Trapezoids, over all positives, in the list without ignored photographs.")


def mean_precision(answer: Answer) -> None:
    """Exercise 5.3: answer(ranks_of_queries, k) -> mP@k, k lowered for each query, queries without positives left out."""
    queries: list[list[int]] = [[0, 2, 5, 11, 13, 14], [1, 3], [], [4, 5, 6, 30], [1]]
    k = 5
    kept = [ranks for ranks in queries if ranks]

    def mean(depth: Callable[[list[int]], int], among: list[list[int]] = kept) -> float:
        shares = [
            sum(rank < depth(ranks) for rank in ranks) / max(depth(ranks), 1) if ranks else 0.0 for ranks in among
        ]
        return sum(shares) / len(shares)

    def lowered(ranks: list[int]) -> int:
        return min(k, ranks[-1] + 1)

    right = float(np.mean([precision_at(ranks, k) for ranks in kept]))
    try:
        value = ask(answer, queries, k)
    except Hint as hint:
        if isinstance(hint.__cause__, IndexError | ZeroDivisionError | ValueError):
            raise Hint(f"{hint}. One of the queries has no positive: it stays out of the mean.") from hint
        raise
    compare(
        tensor(
            value, (), "the value of mP@k", nan="a query without a positive has no precision, it stays out of the mean."
        ),
        right,
        [
            (
                mean(lambda ranks: k),
                f"k is {k} for every query, so one with a single positive could never reach 1: lower k to the "
                "number of photographs down to the query's last positive.",
            ),
            (mean(lowered, queries), "The query without a positive counts as 0: it stays out of the mean."),
            (
                mean(lambda ranks: k, queries),
                "Two things: k is not lowered, and the query without a positive counts as 0.",
            ),
            (
                mean(lambda ranks: min(k, len(ranks))),
                "k is lowered to the number of positives. The protocol lowers it to the number of photographs down to the "
                "last one, wrong ones included.",
            ),
            (
                mean(lambda ranks: min(k, ranks[-1])),
                "One too low: ranks begin at 0, so down to a positive at rank r there are r + 1 photographs.",
            ),
            (
                sum(sum(rank <= lowered(ranks) for rank in ranks) / lowered(ranks) for ranks in kept) / len(kept),
                "One too many: the first k photographs have the ranks 0 to k - 1.",
            ),
            (
                sum(sum(rank < lowered(ranks) for rank in ranks) / len(ranks) for ranks in kept) / len(kept),
                "You divide by the number of positives, which gives recall. Precision divides by k.",
            ),
            (100 * right, "A fraction between 0 and 1 is asked for, not a percentage."),
        ],
        "Not yet. For each query with positives: lower k to the number of photographs down to its last one, and "
        "take the share of the first k that is right.",
    )
    passed("k is lowered for each query, and a query without positives stays out of the mean.")


def weighted_expansion(answer: Answer) -> None:
    """Exercise 5.4: answer(queries [Q, D], database [N, D], n, alpha) -> expanded queries [Q, D], matches weighted."""
    generator = torch.Generator().manual_seed(3)
    queries = normalize(torch.randn(4, 6, generator=generator), dim=1)
    database = normalize(torch.randn(12, 6, generator=generator), dim=1)
    # The second query has one similar photograph; the others of its n best point away from it.
    database = torch.where((database @ queries[1] > 0)[:, None], -database, database)
    database[3] = normalize(queries[1] + 0.5 * queries[0], dim=0)
    n, alpha = 3, 2.5
    similarity, found = (queries @ database.T).topk(n, dim=1)

    def expanded(weights: torch.Tensor, own: float = 1.0) -> torch.Tensor:
        return own * queries + (weights[:, :, None] * database[found]).sum(dim=1)

    positive = similarity.clamp(min=0)
    right = expanded(positive.pow(alpha))
    value = tensor(
        ask(answer, queries, database, n, alpha),
        (4, 6),
        "the result",
        nan="a negative similarity to the power 2.5 is nan. A match that points away should count nothing: clamp at 0.",
    )
    least = (queries @ database.T).topk(n, dim=1, largest=False)
    mistakes = [
        (
            expanded(torch.ones_like(positive)),
            "All matches count alike, as in the notebook: weigh each by its similarity to the power alpha.",
        ),
        (expanded(positive.pow(alpha), own=0.0), "The query itself is missing: it counts with weight 1."),
        (expanded(positive), "The weights are the similarities: raise them to the power alpha."),
        (expanded(alpha * positive), "alpha multiplies the similarities here: it is their exponent."),
        (
            expanded(positive.pow(alpha) / n),
            "The matches are averaged before the query is added, which gives it too much weight: add "
            "their weighted sum.",
        ),
        (
            expanded(positive.pow(alpha) / positive.pow(alpha).sum(dim=1, keepdim=True)),
            "The weights of the matches are made to sum to 1: take the powers as they are, a bad match adds little.",
        ),
        (
            expanded(positive.pow(alpha), own=0.0) + positive[:, :1].pow(alpha) * queries,
            "The query is weighed as its first match is: it counts with weight 1.",
        ),
        (
            expanded(similarity.abs().pow(alpha)),
            "The absolute value lets a match that points away count as if it were similar: clamp at 0.",
        ),
        (
            expanded(positive.pow(alpha).softmax(dim=1)),
            "The weights went through a softmax: take the powers as they are.",
        ),
        (
            queries + (least.values.abs().pow(alpha)[:, :, None] * database[least.indices]).sum(dim=1),
            "These are the least similar photographs: take those with the largest dot product.",
        ),
        (queries, "The queries come back as they were: add their best matches."),
    ]
    compare(
        value,
        normalize(right, dim=1),
        [
            (right, "The sum is right, but its length is not one: divide each row by its length."),
            (
                normalize(right, dim=0),
                "The sum is right, but each column was brought to length one: divide each row by its length.",
            ),
            *mistakes,
            *((normalize(wrong, dim=1), hint) for wrong, hint in mistakes),
        ],
        "Not yet. To each query add its n best matches, each times its similarity (at least 0) to the power "
        "alpha; then length one.",
    )
    passed("Near matches count more than far ones, and every expanded query has length one.")
