"""Exercises of notebook 5: each typical mistake gets its own hint, other right answers pass."""

import numpy as np
import pytest
import torch
from exercise_cells import changed, solution

from rdistill_course import check
from rdistill_course.checks import Hint


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        ((" if int(image) not in ignored]", "]"), "medium protocol, junk was not removed"),
        (("not in ignored]", 'not in ignored - set(truth["junk"].tolist())]'), "medium protocol, junk was not removed"),
        (("not in ignored]", 'not in set(truth["junk"].tolist())]'), "easy protocol, hard photographs count as wrong"),
        (("PROTOCOLS[protocol]", 'PROTOCOLS["medium"]'), "easy protocol, hard photographs count as right"),
        (("PROTOCOLS[protocol]", 'PROTOCOLS[{"easy": "hard", "hard": "easy"}.get(protocol, protocol)]'),
         "the hard protocol's answer to the easy one"),
        (("enumerate(left)", "enumerate(left, start=1)"), "count from 1"),
        (("[rank for rank, image in enumerate(left) if image in positive]",
          "[left.index(image) for kind in PROTOCOLS[protocol][0] for image in truth[kind].tolist()]"),
         "order of the ground truth"),
        (("if image in positive]", "if image in positive][:2]"), "has positives at 5 ranks; yours are"),
    ],
)  # fmt: skip
def test_a_mistake_with_the_protocols_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.protocol_ranks(changed(5, "5.1")(*replacements))


def test_only_the_hard_protocol_wrong_is_told_apart():
    right = solution(5, "5.1")

    def easy_as_wrong(ranking, truth, protocol):
        if protocol == "hard":
            ranking = [n for n in ranking if n not in truth["junk"]]
            return [rank for rank, n in enumerate(ranking) if n in truth["hard"]]
        return right(ranking, truth, protocol)

    with pytest.raises(Hint, match="Under the hard protocol, easy photographs count as wrong"):
        check.protocol_ranks(easy_as_wrong)


def test_nothing_removed_where_two_kinds_are_ignored_is_told_apart():
    right = solution(5, "5.1")

    def keeps_all(ranking, truth, protocol):
        if protocol == "easy":
            return [rank for rank, n in enumerate(ranking) if n in truth["easy"]]
        return right(ranking, truth, protocol)

    with pytest.raises(Hint, match="Under the easy protocol, nothing was removed"):
        check.protocol_ranks(keeps_all)


def test_ranks_by_counting_pass():
    def counts(ranking, truth, protocol):
        positive = {"easy": ["easy"], "medium": ["easy", "hard"], "hard": ["hard"]}[protocol]
        ignored = {"easy": ["hard", "junk"], "medium": ["junk"], "hard": ["easy", "junk"]}[protocol]
        place = np.argsort(ranking)  # of each image
        out = place[np.concatenate([truth[kind] for kind in ignored])]
        places = np.sort(place[np.concatenate([truth[kind] for kind in positive])])
        return torch.tensor([int(p - (out < p).sum()) for p in places])

    check.protocol_ranks(counts)


BEFORE = "j / rank if rank else 1.0"
AREA = "(before + (j + 1) / (rank + 1)) / 2"
RANKS = "in enumerate(ranks)"


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        ((AREA, "(j + 1) / (rank + 1)"), "rectangles, as in scikit-learn"),
        (("area / positives", "area / len(ranks)"), "You divide by the 3 positives in the list"),
        ((RANKS, "in enumerate(rank + 1 for rank in ranks)"), "The ranks count from 0"),
        ((BEFORE, "j / rank if rank else 0.0"), "as 1, not as 0"),
        ((BEFORE, "j / rank"), "you divide by 0"),
        ((AREA, "before"), "just before each positive alone"),
        (((") / 2"), ")"), "a factor 1/2"),
        (("area / positives", "100 * area / positives"), "not a percentage"),
        ((AREA, "(j + 1) / (rank + 1)", "area / positives", "area / len(ranks)"), "Two things: these are rectangles"),
        (("return area / positives", "return area / positives if area else float('nan')"), "shows none .* holds nan"),
        (("return area / positives", "return area / positives if area else 1.0"), "shows none of three positives has"),
        (("return area / positives", "return area / 5"), "not for a whole one"),
        ((BEFORE, "1.0"), "Not yet. The 3 positives"),
    ],
)
def test_a_mistake_in_average_precision_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.average_precision(changed(5, "5.2")(*replacements))


def test_average_precision_with_numpy_passes():
    def with_arrays(ranks, positives):
        ranks, j = np.array(ranks, int), np.arange(len(ranks))
        before = np.where(ranks == 0, 1, j / np.maximum(ranks, 1))
        return np.sum(before + (j + 1) / (ranks + 1)) / (2 * positives)

    check.average_precision(with_arrays)


DEPTH = "min(k, ranks[-1] + 1)"
EMPTY = "        if len(ranks) == 0:  # no positive under this protocol: stays out of the mean\n            continue\n"
AS_ZERO = "        if len(ranks) == 0:\n            shares.append(0.0)\n            continue\n"


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        ((DEPTH, "k"), "number of photographs down to the query's last positive"),
        ((DEPTH, "min(k, len(ranks))"), "to the number of positives"),
        ((DEPTH, "min(k, ranks[-1])"), "One too low"),
        (("rank < depth", "rank <= depth"), "One too many"),
        ((") / depth", ") / len(ranks)"), "gives recall"),
        ((EMPTY, AS_ZERO), "counts as 0: it stays out"),
        ((EMPTY, AS_ZERO, DEPTH, "k"), "Two things"),
        ((EMPTY, ""), "stops .* IndexError.* has no positive"),
        ((EMPTY, EMPTY.replace("continue", "return float('nan')")), "holds nan: a query without a positive"),
        (("return sum", "return 100 * sum"), "not a percentage"),
        (("depth = min", "k = depth = min"), "stays lowered for the queries that follow"),
        ((DEPTH, "3"), "Not yet. For each query"),
    ],
)
def test_a_mistake_in_mean_precision_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.mean_precision(changed(5, "5.3")(*replacements))


def test_mean_precision_with_nanmean_passes():
    def with_nan(ranks_of_queries, k):
        shares = np.full(len(ranks_of_queries), np.nan)
        for i, ranks in enumerate(map(np.array, ranks_of_queries)):
            if ranks.size:
                depth = min(k, ranks.max() + 1)
                shares[i] = np.mean(np.isin(np.arange(depth), ranks))
        return torch.tensor(np.nanmean(shares))

    check.mean_precision(with_nan)


WEIGHTS = "similarity.clamp(min=0).pow(alpha)"


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        (("return normalize(queries + matches, dim=1)", "return queries + matches"), "its length is not one"),
        ((WEIGHTS, "torch.ones_like(similarity)"), "All matches count alike"),
        ((WEIGHTS, "similarity.clamp(min=0)"), "raise them to the power alpha"),
        ((WEIGHTS, "alpha * similarity.clamp(min=0)"), "it is their exponent"),
        ((WEIGHTS, "similarity.pow(alpha)"), "power 2.5 is nan"),
        ((WEIGHTS, "similarity.abs().pow(alpha)"), "absolute value"),
        ((WEIGHTS, WEIGHTS + ".softmax(dim=1)"), "softmax"),
        (("queries + matches", "matches"), "query itself is missing"),
        (("queries + matches", "weights[:, :1] * queries + matches"), "weighed as its first match"),
        (("pow(alpha)", "pow(alpha); weights = weights / weights.sum(dim=1, keepdim=True)"), "made to sum to 1"),
        (("queries + matches, dim=1", "queries + matches, dim=0"), "each column was brought to length one"),
        ((".sum(dim=1)", ".mean(dim=1)"), "averaged before the query is added"),
        (("(weights[:, :, None] * database[found])", "(0 * database[found])"), "come back as they were"),
        (("rd.search(queries, database, k=n)", "(queries @ database.T).topk(n, dim=1, largest=False)",
          WEIGHTS, "similarity.abs().pow(alpha)"), "least similar"),
        (("k=n", "k=n + 1"), "Not yet. To each query"),
    ],
)  # fmt: skip
def test_a_mistake_in_weighted_expansion_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.weighted_expansion(changed(5, "5.4")(*replacements))


def test_expansion_in_loops_passes():
    def loops(queries, database, n, alpha):
        rows = []
        for query in queries.numpy():
            similarity = database.numpy() @ query
            total = query.copy()
            for match in np.argsort(-similarity)[:n]:
                total += max(similarity[match], 0) ** alpha * database[match].numpy()
            rows.append(total / np.linalg.norm(total))
        return rows

    check.weighted_expansion(loops)
