"""Ranks by counting, and the measures, against slow versions written from the formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score import ranks as module
from rdistill_helpers.score.ranks import (
    average_precision,
    count_ranks,
    order_keys,
    precision_at,
    remove_ignored,
)


def slow_average_precision(ranks):
    total = 0.0
    for j, rank in enumerate(ranks):
        before = 1.0 if rank == 0 else j / rank
        total += (before + (j + 1) / (rank + 1)) / 2
    return total / len(ranks)


rank_lists = st.sets(st.integers(0, 200), min_size=1, max_size=30).map(sorted)


def test_small_case_of_the_protocol():
    assert average_precision([0, 2, 5]) == pytest.approx(0.677778, abs=1e-6)
    assert [precision_at([0, 2, 5], k) for k in (1, 5, 10)] == pytest.approx([1, 0.4, 0.5])


def test_trapezoid_form_is_not_the_average_precision_of_scikit_learn():
    from sklearn.metrics import average_precision_score

    relevant = np.isin(np.arange(6), [0, 2, 5])
    assert average_precision_score(relevant, -np.arange(6)) == pytest.approx(0.722222, abs=1e-6)


def test_junk_above_a_positive_lowers_its_rank():
    assert remove_ignored(np.array([0, 2, 6, 10, 20]), np.array([1, 8, 9, 30])).tolist() == [0, 1, 5, 7, 17]


@given(rank_lists)
def test_average_precision_equals_the_loop(ranks):
    assert average_precision(ranks) == pytest.approx(slow_average_precision(ranks), abs=1e-12)


@given(rank_lists, st.integers(1, 50))
def test_precision_lowers_k_to_the_last_positive(ranks, k):
    depth = min(k, ranks[-1] + 1)
    assert precision_at(ranks, k) == pytest.approx(sum(r < depth for r in ranks) / depth)


@given(st.sets(st.integers(0, 60), max_size=30), st.randoms())
def test_removing_ignored_equals_deleting_them_from_the_list(chosen, random):
    positives = sorted(p for p in chosen if random.random() < 0.5)
    ignored = sorted(chosen - set(positives))
    shown = [i for i in range(61) if i not in ignored]
    assert remove_ignored(np.array(positives, int), np.array(ignored, int)).tolist() == [
        shown.index(p) for p in positives
    ]


def test_no_positive_gives_nan_and_a_cut_list_keeps_the_full_count():
    assert np.isnan(average_precision([])) and np.isnan(precision_at([], 5))
    assert average_precision([0], positives=4) == 0.25
    assert precision_at([], 5, positives=3) == 0.0


@pytest.mark.parametrize("ranks", [[2, 1], [1, 1], [-1, 3]])
def test_unsorted_ranks_are_refused(ranks):
    with pytest.raises(BadInput, match="ascending"):
        average_precision(ranks)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_counting_equals_a_stable_full_sort_with_ties(seed, block):
    g = torch.Generator().manual_seed(seed)
    # small whole numbers: exact products, and many ties
    queries = torch.randint(-2, 3, (4, 3), generator=g).float()
    database = torch.randint(-2, 3, (40, 3), generator=g).float()
    wanted = [torch.randperm(40, generator=g)[: int(n)] for n in torch.randint(0, 9, (4,), generator=g)]
    order = (queries @ database.T).sort(dim=1, descending=True, stable=True).indices
    for ranks, rows, full in zip(count_ranks(queries, database, wanted, block), wanted, order, strict=True):
        assert ranks.tolist() == [full.tolist().index(r) for r in rows.tolist()]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_counting_equals_a_stable_full_sort_of_real_valued_similarities(seed):
    g = torch.Generator().manual_seed(seed)
    queries, database = torch.randn(3, 16, generator=g), torch.randn(200, 16, generator=g)
    database[100:] = database[:100]  # every image twice
    wanted = [torch.randperm(200, generator=g)[:50] for _ in range(3)]
    order = (queries @ database.T).sort(dim=1, descending=True, stable=True).indices
    for ranks, rows, full in zip(count_ranks(queries, database, wanted), wanted, order, strict=True):
        assert torch.equal(full[ranks], rows)


floats = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0])


@given(st.lists(floats, min_size=1, max_size=30), st.integers(0, 10**6))
def test_keys_order_as_the_list_and_hold_the_row(similarities, first):
    rows = torch.arange(first, first + len(similarities))
    keys = order_keys(torch.tensor([similarities]), rows)
    expected = torch.tensor(similarities).sort(descending=True, stable=True).indices
    assert torch.equal(keys[0].argsort(descending=True), expected)
    assert torch.equal(-keys[0] & 0xFFFFFFFF, rows)


def test_queries_without_wanted_rows_have_no_ranks():
    some, none = torch.tensor([1]), torch.tensor([], dtype=torch.int64)
    queries, database = torch.eye(2), torch.eye(2)
    assert [ranks.tolist() for ranks in count_ranks(queries, database, [none, some])] == [[], [0]]
    assert [ranks.tolist() for ranks in count_ranks(queries, database, [none, none])] == [[], []]


def slow_ranks(queries, database, wanted):
    """For each wanted row, in plain loops over float64 products: how many rows are more similar, or as similar and earlier."""
    ranks = []
    for query, numbers in zip(queries.double(), wanted, strict=True):
        scores = [float(row @ query) for row in database.double()]
        ranks.append([sum((-score, i) < (-scores[w], w) for i, score in enumerate(scores)) for w in numbers.tolist()])
    return ranks


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000), st.integers(1, 90), st.integers(1, 12), st.sampled_from([2.0**-11, 2.0**-3, 1.0, 2.0**9])
)
def test_counting_behind_the_wanted_rows_equals_a_slow_full_sort(seed, block, images, unit):
    g = torch.Generator().manual_seed(seed)
    # Small multiples of a power of two: exact products, many ties, similarities within one cell of a table and beyond all.
    queries = torch.randint(-3, 4, (3, 2), generator=g) * unit
    database = torch.randint(-3, 4, (80, 2), generator=g).float()
    wanted = [torch.randperm(images, generator=g)[: int(n)] for n in torch.randint(0, 6, (3,), generator=g)]
    counted = count_ranks(queries, database, wanted, block)
    assert [ranks.tolist() for ranks in counted] == slow_ranks(queries, database, wanted)


@pytest.mark.parametrize("cells", [1, 100, 2**23])
def test_a_table_of_any_size_gives_the_same_ranks(cells, monkeypatch):
    g = torch.Generator().manual_seed(0)
    # multiples of 1/64 with exact products, similarities from -1 to 1 and a little beyond
    queries, database = (torch.randint(-23, 24, (n, 8), generator=g) / 64 for n in (5, 3000))
    database[-5:] = database[:5]  # twins of wanted rows rank behind them
    wanted = [torch.arange(10 * q, 100) for q in range(5)]
    order = (queries.double() @ database.double().T).sort(dim=1, descending=True, stable=True).indices
    monkeypatch.setattr(module, "CELLS", cells)
    for ranks, rows, full in zip(count_ranks(queries, database, wanted), wanted, order, strict=True):
        assert torch.equal(full[ranks], rows)
