"""Exact ranks without sorting, and the measures that are computed from them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput

BLOCK = 65_536  # database rows compared at a time


def count_ranks(queries: Tensor, database: Tensor, wanted: Sequence[Tensor], block: int = BLOCK) -> list[Tensor]:
    """Rank of the wanted database rows for each query: the number of rows that are more similar.

    queries [Q, D], database [N, D], wanted: Q tensors of row numbers. Equal similarities rank by row number, the lower
    first. Returns Q int64 tensors, 0-based ranks in the order of `wanted`. Counting over blocks needs memory for one block of
    similarities only, and its counts are exactly the positions of a stable full sort.
    """
    # A similarity must be the same number wherever it is computed: matrix products of other shapes round otherwise.
    scores = [torch.empty(len(w)) for w in wanted]
    ranks = [torch.zeros(len(w), dtype=torch.int64) for w in wanted]
    similarities = (
        [queries @ database[start : start + block].T for start in range(0, len(database), block)]
        if len(database) <= block
        else None
    )
    for collect in (True, False):
        for number, start in enumerate(range(0, len(database), block)):
            part = similarities[number] if similarities else queries @ database[start : start + block].T
            for q, rows in enumerate(wanted):
                if collect:
                    inside = (rows >= start) & (rows < start + part.shape[1])
                    scores[q][inside] = part[q, rows[inside] - start]
                    continue
                row = part[q][None]
                own = scores[q][:, None]
                place = torch.arange(start, start + part.shape[1])
                ranks[q] += ((row > own) | ((row == own) & (place[None] < rows[:, None]))).sum(1)
    return ranks


def remove_ignored(positives: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Ascending ranks of the positives after the ignored images left the list: [P] int64.

    positives, ignored: ranks in the full list, any order.
    """
    positives = np.sort(np.asarray(positives, np.int64))
    return positives - np.searchsorted(np.sort(np.asarray(ignored, np.int64)), positives)


def _check(ranks: np.ndarray) -> np.ndarray:
    ranks = np.asarray(ranks, np.int64)
    if ranks.ndim != 1 or (len(ranks) and ranks[0] < 0) or (np.diff(ranks) <= 0).any():
        raise BadInput("Ranks must be a list of ascending 0-based positions without repetition: sort them first.")
    return ranks


def average_precision(ranks: Sequence[int] | np.ndarray, positives: int | None = None) -> float:
    """Average precision of one query, trapezoid form of the revisited protocol, in [0, 1].

    ranks: ascending 0-based ranks of the positives after junk removal. positives: how many there are in all, where a cut
    list shows only some of them. nan when there are none. Raises BadInput for unsorted ranks.
    Source: Radenovic et al., "Revisiting Oxford and Paris", CVPR 2018.
    """
    found = _check(np.asarray(ranks))
    total = len(found) if positives is None else positives
    if total == 0:
        return float("nan")
    j = np.arange(len(found))
    before = np.where(found == 0, 1.0, j / np.maximum(found, 1))
    after = (j + 1) / (found + 1)
    return float((before + after).sum() / (2 * total))


def precision_at(ranks: Sequence[int] | np.ndarray, k: int, positives: int | None = None) -> float:
    """Share of positives among the first k, k lowered to the 1-based rank of the last positive; nan without positives.

    ranks, positives: as for `average_precision`; a cut list that shows no positive gives 0.
    """
    found = _check(np.asarray(ranks))
    if (len(found) if positives is None else positives) == 0:
        return float("nan")
    if len(found) == 0:
        return 0.0
    complete = positives is None or len(found) == positives
    depth = min(k, int(found[-1]) + 1) if complete else k
    return float((found < depth).sum() / depth)
