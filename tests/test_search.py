"""Exact and FAISS neighbours."""

import pytest
import torch
import torch.nn.functional as F

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score import search as module
from rdistill_helpers.score.search import build_index, search


def rows(count, dim=16, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_blocks_give_the_full_sort(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    queries, database = rows(5), torch.cat([rows(20, seed=1), rows(20, seed=1)])  # every row twice: ties
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


def test_impossible_requests_are_refused():
    with pytest.raises(BadInput, match="7 neighbours"):
        search(rows(2), rows(6), k=7)
    with pytest.raises(BadInput, match="kind"):
        build_index(rows(6), "tree")
    with pytest.raises(BadInput, match="2560"):
        build_index(rows(6), "ivfpq")
