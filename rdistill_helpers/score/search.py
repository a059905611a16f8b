"""Nearest neighbours: exact in blocks, or through a FAISS index."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput

BLOCK = 65_536


def search(
    queries: Tensor | np.ndarray, database: Tensor | np.ndarray | None, k: int = 10, index: Any = None
) -> tuple[Tensor, Tensor]:
    """The k most similar database rows of each query, best first: (similarities [Q, k], positions int64 [Q, k]).

    queries [Q, D], database [N, D], rows L2-normalised. Exact, in blocks of the database; equal similarities rank by
    position, the lower first. With an `index` of `build_index` the database is not needed and may be None.
    """
    q = check_descriptors(queries, "queries")
    size = index.ntotal if index is not None else 0 if database is None else len(database)
    if not 1 <= k <= size:
        raise BadInput(f"{k} neighbours cannot be found among {size} database rows: give k from 1 to {size}.")
    if index is not None:
        similarities, positions = index.search(np.ascontiguousarray(q.numpy()), k)
        return torch.from_numpy(similarities), torch.from_numpy(positions)
    d = check_descriptors(database, "database", dim=q.shape[1])
    best, where = torch.empty(len(q), 0), torch.empty(len(q), 0, dtype=torch.int64)
    for start in range(0, len(d), BLOCK):
        part = q @ d[start : start + BLOCK].T
        both = torch.cat([best, part], 1)
        places = torch.cat([where, torch.arange(start, start + part.shape[1]).expand(len(q), -1)], 1)
        best, order = both.sort(dim=1, descending=True, stable=True)
        best, where = best[:, :k], places.gather(1, order[:, :k])
    return best, where


def build_index(database: Tensor | np.ndarray, kind: str = "flat") -> Any:
    """A FAISS index of L2-normalised rows [N, D] by inner product.

    kind: "flat" (exact), "hnsw" (graph) or "ivfpq" (compressed; needs some thousand rows to learn from).
    """
    import faiss

    rows = np.ascontiguousarray(check_descriptors(database, "database").numpy())
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
