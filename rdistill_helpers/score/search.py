"""Nearest neighbours: exact in blocks, or through a FAISS index."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.ranks import order_keys
from rdistill_helpers.score.rows import Array, Rows, each_named


def search(
    queries: Array, database: Array | Sequence[Array] | None, k: int = 10, index: Any = None
) -> tuple[Tensor, Tensor]:
    """The k most similar database rows of each query, best first: (similarities [Q, k], positions int64 [Q, k]).

    queries [Q, D], database [N, D], rows L2-normalised; the database may be a list of arrays, one behind the other, and
    memory-mapped. Exact, in blocks of the database; equal similarities rank by position, the lower first. With an `index` of
    `build_index` the database is not needed and may be None; an approximate index that finds fewer than k fills the line
    with position -1.
    """
    q = check_descriptors(queries, "queries").detach().cpu()
    if index is not None:
        check_count(k, index.ntotal)
        if index.d != q.shape[1]:
            raise BadInput(
                f"queries have {q.shape[1]} dimensions where {index.d} are needed: use the network that made the index."
            )
        similarities, positions = index.search(np.ascontiguousarray(q.numpy()), k)
        return torch.from_numpy(similarities), torch.from_numpy(positions)
    if database is None:
        raise BadInput("There is neither a database nor an index to search: give one of them.")
    rows = Rows(each_named("database", database), dim=q.shape[1])
    check_count(k, len(rows))
    return nearest(q, rows, k)


def check_count(k: int, size: int) -> None:
    """Raise BadInput unless a database of this size has k rows to be found."""
    if not 1 <= k <= size:
        raise BadInput(f"{k} neighbours cannot be found among {size} database rows: give a number from 1 to {size}.")


def nearest(queries: Tensor, rows: Rows, k: int) -> tuple[Tensor, Tensor]:
    """What `search` gives, of checked queries."""
    best = torch.empty(len(queries), 0, dtype=torch.int64)
    values = torch.empty(len(queries), 0)
    for part, similarities in rows.similarities(queries):
        keys = order_keys(similarities, torch.arange(part.start, part.stop))
        found, places = keys.topk(min(k, keys.shape[1]), dim=1)
        best, order = torch.cat([best, found], 1).topk(min(k, best.shape[1] + found.shape[1]), dim=1)
        values = torch.cat([values, similarities.gather(1, places)], 1).gather(1, order)
    return values, -best & 0xFFFFFFFF


def build_index(database: Tensor | np.ndarray, kind: str = "flat") -> Any:
    """A FAISS index of L2-normalised rows [N, D] by inner product.

    kind: "flat" (exact), "hnsw" (graph) or "ivfpq" (compressed; needs some thousand rows to learn from).
    """
    import faiss

    rows = np.ascontiguousarray(check_descriptors(database, "database").detach().cpu().numpy())
    count, dim = rows.shape
    if kind == "flat":
        index: Any = faiss.IndexFlatIP(dim)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    elif kind == "ivfpq":
        parts = next((m for m in (64, 32, 16, 8, 4, 2, 1) if dim % m == 0 and dim // m >= 4), 1)
        if count < 10 * 256:
            raise BadInput(
                f"An ivfpq index cannot be learned from {count} rows: give at least 2560, or take kind='flat'."
            )
        index = faiss.IndexIVFPQ(
            faiss.IndexFlatIP(dim), dim, max(1, count // 256), parts, 8, faiss.METRIC_INNER_PRODUCT
        )
        index.nprobe = 16
        index.train(rows)
    else:
        raise BadInput(f"The index kind {kind!r} is not known: choose flat, hnsw or ivfpq.")
    index.add(rows)
    return index
