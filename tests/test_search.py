"""Exact and FAISS neighbours."""

import faiss
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.descriptors import open_descriptors, save_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score import search as search_module
from rdistill_helpers.score import stacked
from rdistill_helpers.score.search import build_index, recall, search


def rows(count, dim=16, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_blocks_give_the_full_sort(monkeypatch):
    monkeypatch.setattr(stacked, "SIMILARITIES", 5 * 64)  # 64 descriptors of the database for five queries
    monkeypatch.setattr(stacked, "NUMBERS", 1)
    queries, database = rows(5), torch.cat([rows(100, seed=1), rows(100, seed=1)])  # every row twice: ties
    similarities, positions = search(queries, database, k=12)
    expected = (queries @ database.T).sort(dim=1, descending=True, stable=True)
    torch.testing.assert_close(similarities, expected.values[:, :12])
    torch.testing.assert_close(similarities, (queries @ database.T).gather(1, positions))
    assert all(len(set(row)) == 12 for row in positions.tolist())


def test_flat_index_finds_the_exact_neighbours():
    queries, database = rows(5), rows(100, seed=1)
    similarities, positions = search(queries, None, k=4, index=build_index(database))
    exact = search(queries, database, k=4)
    torch.testing.assert_close(similarities, exact[0])
    assert positions.tolist() == exact[1].tolist()


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_approximate_indexes_find_most_neighbours(kind):
    database = rows(3000, seed=1)
    queries = F.normalize(database[:50] + 0.05 * rows(50, seed=2), dim=1)
    _, positions = search(queries, None, k=10, index=build_index(database, kind))
    assert sum(i in row for i, row in enumerate(positions.tolist())) >= 40


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 60))
def test_ties_rank_by_position_whatever_the_block(seed, k, at_once):
    g = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0.6, 0.8, 0]])
    queries, database = (corners[torch.randint(0, 5, (n,), generator=g)] for n in (3, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "TILE", 1)
        patch.setattr(stacked, "SIMILARITIES", at_once)
        _, positions = search(queries, database, k)
    order = (queries @ database.T).sort(dim=1, descending=True, stable=True).indices
    assert positions.tolist() == order[:, :k].tolist()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_an_index_is_built_from_shards_on_disk_in_blocks(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(search_module, "ADDED_AT_ONCE", 700)
    monkeypatch.setattr(search_module, "LEARNED_FROM", 2600)
    database = rows(3000, seed=1)
    shards = [
        open_descriptors(save_descriptors(tmp_path / f"{i}.npy", part, "float32"))
        for i, part in enumerate(database.split([1100, 1, 1899]))
    ]
    queries = F.normalize(database[:50] + 0.05 * rows(50, seed=2), dim=1)
    exact = search(queries, database, k=10)[1]
    found = search(queries, None, k=10, index=build_index(shards, kind))[1]
    assert recall(found, exact) >= {"flat": 1.0, "hnsw": 0.9, "ivfpq": 0.3}[kind]
    again = search(queries, None, k=10, index=build_index(shards, kind))[1]
    assert kind == "hnsw" or torch.equal(found, again)  # the graph grows in several threads


def test_a_bad_row_of_a_shard_is_named():
    database = rows(3000, seed=1)
    database[2000] = torch.nan
    with pytest.raises(BadInput, match=r"database\[1\] hold NaN or infinite values, first in descriptor 500"):
        build_index([database[:1500], database[1500:]], "ivfpq")


def test_several_indexes_are_one_behind_the_other():
    queries, database = rows(5), rows(100, seed=1)
    parts = [build_index(part) for part in database.split([30, 3, 67])]
    for one, several in zip(search(queries, database), search(queries, None, index=parts), strict=True):
        torch.testing.assert_close(one, several)
    assert search(queries, None, k=100, index=parts)[1].sort(1).values.tolist() == [list(range(100))] * 5
    with pytest.raises(BadInput, match="101 neighbours cannot be found among 100"):
        search(queries, None, k=101, index=parts)


@pytest.mark.parametrize("kind", ["IndexFlatL2", "IndexHNSWFlat"])
def test_an_index_of_distances_finds_the_same_as_one_of_similarities(kind):
    queries, database = rows(5), rows(100, seed=1)
    near, far = (getattr(faiss, kind)(16, *([32] if "HNSW" in kind else [])) for _ in range(2))
    near.add(database[:60].numpy())
    far.add(database[60:].numpy())
    assert near.metric_type == faiss.METRIC_L2
    values, found = search(queries, None, index=[near, far])
    best, order = search(queries, database)
    torch.testing.assert_close(values, best, rtol=0, atol=1e-5)
    assert torch.equal(found, order)
    _, found = search(queries, None, index=[near, build_index(database[60:])])
    assert torch.equal(found, order)


def test_an_index_of_another_metric_is_refused():
    index = faiss.IndexFlat(16, faiss.METRIC_L1)
    index.add(rows(6).numpy())
    with pytest.raises(BadInput, match="gives no similarities"):
        search(rows(2), None, k=1, index=index)


def test_recall_is_the_share_of_exact_neighbours_found():
    assert recall(torch.tensor([[3, 1, -1], [0, 1, 2]]), torch.tensor([[1, 2, 3], [2, 1, 0]])) == pytest.approx(5 / 6)


def test_a_database_may_lie_in_several_arrays():
    queries, database = rows(5), rows(50, seed=1)
    parts = [database[:20], database[20:21].numpy(), database[21:]]
    for one, several in zip(search(queries, database), search(queries, parts), strict=True):
        assert torch.equal(one, several)


def test_rows_with_gradients_can_be_searched():
    learned = rows(6).requires_grad_()
    assert search(learned, learned, k=1)[1][:, 0].tolist() == list(range(6))
    assert search(learned, None, k=1, index=build_index(learned))[1][:, 0].tolist() == list(range(6))


def test_impossible_requests_are_refused():
    with pytest.raises(BadInput, match="8 dimensions where 16"):
        search(rows(2, dim=8), None, k=1, index=build_index(rows(6)))
    with pytest.raises(BadInput, match="7 neighbours"):
        search(rows(2), rows(6), k=7)
    with pytest.raises(BadInput, match="neither a database nor an index"):
        search(rows(2), None)
    with pytest.raises(BadInput, match="kind"):
        build_index(rows(6), "tree")
    with pytest.raises(BadInput, match="2560"):
        build_index(rows(6), "ivfpq")
