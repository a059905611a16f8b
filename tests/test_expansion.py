"""Query expansion and database-side augmentation against plain loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.descriptors import open_descriptors, save_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score import expansion as module
from rdistill_helpers.score.expansion import augment_database, expand_queries


def rows(count, dim=6, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_mean(own, database, n, alpha, without=None):
    """One expanded row, number by number."""
    candidates = [(-dot(own, row), i) for i, row in enumerate(database) if i != without]
    total = list(own)
    for negative, i in sorted(candidates)[:n]:
        similarity = -negative
        weight = 1.0 if alpha == 0 else max(similarity, 0.0) ** alpha
        total = [t + weight * x for t, x in zip(total, database[i], strict=True)]
    length = math.sqrt(dot(total, total))
    return [t / length for t in total]


@settings(deadline=None, max_examples=30, derandomize=True)  # no tie within rounding
@given(st.integers(0, 10_000), st.integers(1, 19), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.sampled_from([1, 3, 1024]))
def test_expansion_and_augmentation_equal_plain_loops(seed, n, alpha, at_once):
    # with up to 19 of 20 neighbours, many similarities are negative
    queries, database = rows(4, seed=seed), rows(20, seed=seed + 1)
    plain = database.double().tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUERIES", at_once)
        expanded, augmented = expand_queries(queries, database, n, alpha), augment_database(database, n, alpha)
    expected = [slow_mean(q, plain, n, alpha) for q in queries.double().tolist()]
    np.testing.assert_allclose(expanded, expected, atol=2e-5)
    expected = [slow_mean(row, plain, n, alpha, without=i) for i, row in enumerate(plain)]
    np.testing.assert_allclose(augmented, expected, atol=2e-5)


def test_neighbours_of_negative_similarity_count_in_the_plain_mean_only():
    queries, database = torch.tensor([[1.0, 0.0]]), torch.tensor([[-0.6, 0.8]])
    assert torch.equal(expand_queries(queries, database, 1, alpha=0.5), queries)
    torch.testing.assert_close(expand_queries(queries, database, 1), F.normalize(torch.tensor([[0.4, 0.8]]), dim=1))


def test_a_query_that_its_neighbour_cancels_out_stays():
    queries = torch.tensor([[0.6, 0.8]])
    assert torch.equal(expand_queries(queries, -queries, 1), queries)


def test_a_row_among_more_equal_ones_than_neighbours_is_not_its_own_neighbour():
    database = rows(1).repeat(9, 1)
    torch.testing.assert_close(augment_database(database, 2), database)


def test_a_database_in_several_arrays_on_disk_gives_the_same(tmp_path):
    queries, database = rows(3), rows(40, seed=1).half()
    save_descriptors(tmp_path / "rows.npy", database[10:])
    parts = [database[:10].numpy(), open_descriptors(tmp_path / "rows.npy")]
    assert torch.equal(expand_queries(queries, parts, 5, 3.0), expand_queries(queries, database.float(), 5, 3.0))
    assert torch.equal(augment_database(parts, 5, 3.0), augment_database(database.float(), 5, 3.0))


def test_rows_with_gradients_can_be_expanded():
    learned = rows(6).requires_grad_()
    assert not expand_queries(learned, learned, 2).requires_grad
    assert not augment_database(learned, 2).requires_grad


@pytest.mark.parametrize(
    ("n", "alpha", "message"),
    [
        (0, 0.0, "0 neighbours .* from 1 to"),
        (21, 0.0, "21 neighbours .* from 1 to"),
        (2, -1.0, "alpha=-1"),
        (2, float("nan"), "alpha=nan"),
    ],
)
def test_expansions_that_cannot_be_computed_are_refused(n, alpha, message):
    with pytest.raises(BadInput, match=message):
        expand_queries(rows(2), rows(20), n, alpha)
    with pytest.raises(BadInput, match=message):
        augment_database(rows(20), n, alpha)


def test_rows_that_are_no_descriptors_are_refused():
    with pytest.raises(BadInput, match="database have 5 dimensions where 6"):
        expand_queries(rows(2), rows(20, dim=5), 2)
    with pytest.raises(BadInput, match=r"database\[1\] are not L2-normalised, descriptor 3"):
        augment_database([rows(4), rows(4) * torch.tensor([1.0, 1, 1, 3])[:, None]], 2)
    with pytest.raises(BadInput, match="20 neighbours .* from 1 to 19"):
        augment_database(rows(20), 20)
