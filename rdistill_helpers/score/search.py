"""Nearest neighbours: exact in blocks, or through a FAISS index."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.parallel import gather, world_size
from rdistill_helpers.score.ranks import order_keys
from rdistill_helpers.score.stacked import Array, StackedDescriptors, each_named

LEARNED_FROM = 2**16  # descriptors, 512 MB of 2,048 dimensions
ADDED_AT_ONCE = 2**15  # descriptors


def search(
    queries: Array,
    database: Array | Sequence[Array] | None,
    k: int = 10,
    index: Any = None,
    device: str | torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Finds the k most similar descriptors of the database for each query.

    Without an index the search is exact, in blocks of the database. Under `parallel.processes` each process searches its own
    part of the blocks, and every process gets the whole result.

    Args:
        queries: Descriptors [Q, D], L2-normalised.
        database: Descriptors [N, D], L2-normalised, or a list of such arrays, one behind the other; memory-mapped ones
            included. None with an index.
        k: Number of neighbours, from 1 to N.
        index: An index of `build_index`, or any other of FAISS by inner product or Euclidean distance, of L2-normalised
            descriptors; or a list of them, one for each part of the database, one behind the other.
        device: Where the similarities of an exact search are computed. None for the CPU.

    Returns:
        Similarities float32 [Q, k] and positions int64 [Q, k], best first; of equal similarities the lower position is first.
        Where an approximate index finds fewer than k, position -1 fills the rest.

    Raises:
        BadInput: The descriptors cannot be compared, k of them cannot be found, or there is nothing to search.
    """
    q = check_descriptors(queries, "queries").detach().cpu()
    if index is not None:
        return _search_indexes(q, index if isinstance(index, list | tuple) else [index], k)
    if database is None:
        raise BadInput("There is neither a database nor an index to search: give one of them.")
    stacked = StackedDescriptors(each_named("database", database), dim=q.shape[1], device=device)
    check_count(k, len(stacked))
    return nearest(q, stacked, k)


def _search_indexes(queries: Tensor, indexes: Sequence[Any], k: int) -> tuple[Tensor, Tensor]:
    """The best of what each FAISS index finds, positions counted through all of them."""
    import faiss

    check_count(k, sum(index.ntotal for index in indexes))
    values, numbers, first = [], [], 0
    for index in indexes:
        if index.d != queries.shape[1]:
            raise BadInput(
                f"queries have {queries.shape[1]} dimensions where {index.d} are needed: use the network that made the index."
            )
        found, positions = map(
            torch.from_numpy, index.search(np.ascontiguousarray(queries.numpy()), min(k, index.ntotal))
        )
        if index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
            raise BadInput(f"An index of metric {index.metric_type} gives no similarities: make it with build_index.")
        # The squared distance of two descriptors of length 1 is 2 - 2 times their similarity.
        values.append(1 - found / 2 if index.metric_type == faiss.METRIC_L2 else found)
        numbers.append(torch.where(positions < 0, positions, positions + first))
        first += index.ntotal
    # What was not found has the lowest similarity there is; the sort is stable, so the lower position stays first.
    best, order = torch.cat(values, 1).sort(dim=1, descending=True, stable=True)
    return best[:, :k], torch.cat(numbers, 1).gather(1, order)[:, :k]


def check_count(k: int, size: int) -> None:
    """Checks a number of neighbours.

    Args:
        k: The number.
        size: Number of descriptors among which they are.

    Raises:
        BadInput: k is not from 1 to `size`.
    """
    if not 1 <= k <= size:
        raise BadInput(f"{k} neighbours cannot be found among {size} descriptors: give a number from 1 to {size}.")


def nearest(queries: Tensor, stacked: StackedDescriptors, k: int) -> tuple[Tensor, Tensor]:
    """Finds the k most similar descriptors for each query, as `search` does.

    Args:
        queries: Checked descriptors, float32 [Q, D] on the CPU.
        stacked: The database.
        k: Number of neighbours, from 1 to N.

    Returns:
        Similarities float32 [Q, k] and positions int64 [Q, k], best first.

    Raises:
        BadInput: A descriptor of the database is not finite or not normalised.
    """
    best = torch.empty(len(queries), 0, dtype=torch.int64)
    values = torch.empty(len(queries), 0)
    mine = stacked.own_part(len(queries))
    for part, similarities in stacked.similarities(queries, None, mine.stop, mine.start):
        keys = order_keys(similarities, torch.arange(part.start, part.stop))
        found, places = keys.topk(min(k, keys.shape[1]), dim=1)
        best, order = torch.cat([best, found], 1).topk(min(k, best.shape[1] + found.shape[1]), dim=1)
        values = torch.cat([values, similarities.gather(1, places)], 1).gather(1, order)
    if world_size() > 1:
        lacking = k - best.shape[1]  # the part of a process may have fewer than k
        best, values = F.pad(best, (0, lacking), value=torch.iinfo(best.dtype).min), F.pad(values, (0, lacking))
        best, order = torch.cat([*gather(best[None], world_size())], 1).topk(k, dim=1)
        values = torch.cat([*gather(values[None], world_size())], 1).gather(1, order)
    return values, -best & 0xFFFFFFFF


def build_index(database: Array | Sequence[Array], kind: str = "flat", seed: int = 0) -> Any:
    """Builds a FAISS index by inner product, reading the database in blocks.

    Args:
        database: Descriptors [N, D], L2-normalised, or a list of such arrays, one behind the other; memory-mapped ones
            included.
        kind: "flat" (exact) and "hnsw" (graph) keep all descriptors as float32. "ivfpq" keeps at most 64 bytes of each and
            learns its codes from all of them, or from 65,536 random ones.
        seed: Of these random ones.

    Returns:
        The index.

    Raises:
        BadInput: The descriptors cannot be compared, an ivfpq index would have fewer than 2,560, or the kind is unknown.
    """
    import faiss

    stacked = StackedDescriptors(each_named("database", database))
    count, dim = len(stacked), stacked.dim
    if kind == "flat":
        index: Any = faiss.IndexFlatIP(dim)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    elif kind == "ivfpq":
        parts = next((m for m in (64, 32, 16, 8, 4, 2, 1) if dim % m == 0 and dim // m >= 4), 1)
        if count < 10 * 256:
            raise BadInput(f"An ivfpq index cannot learn from {count} descriptors: give at least 2560, or kind='flat'.")
        cells = max(1, min(count // 256, LEARNED_FROM // 64))
        index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, cells, parts, 8, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = 16
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:LEARNED_FROM].sort().values
        index.train(stacked.take(drawn).nan_to_num().numpy())  # one that is not finite is reported when it is added
    else:
        raise BadInput(f"The index kind {kind!r} is not known: choose flat, hnsw or ivfpq.")
    for block in stacked.blocks(ADDED_AT_ONCE):
        index.add(block.numpy())
    return index


def recall(found: Tensor, exact: Tensor) -> float:
    """Measures which share of the exact neighbours an index found.

    Args:
        found: Positions [Q, k] from the index.
        exact: Positions [Q, k] from exact search.

    Returns:
        A share in [0, 1].
    """
    return float((found[:, :, None] == exact[:, None, :]).any(1).float().mean())
