"""Exact ranks without sorting, and the measures that are computed from them."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput

AT_ONCE = 2**22  # similarities held in memory at a time: with their keys, about 120 MB


def blocks(rows: int, largest: int) -> Iterator[slice]:
    """Ranges that cover `rows` rows, each at most `largest` long and all of nearly the same length.

    A narrow last block would take another path through the matrix product and round its similarities otherwise.
    """
    length = math.ceil(rows / math.ceil(rows / largest))
    for start in range(0, rows, length):
        yield slice(start, min(start + length, rows))


def order_keys(similarities: Tensor, rows: Tensor) -> Tensor:
    """Whole numbers that order as a ranked list does: by similarity and, where it is equal, the lower row number first.

    similarities: float32 [Q, N]; rows: int64 [N] or [Q, N], the database row of each. Returns int64 [Q, N]: larger is earlier
    in the list, and rows that differ never have the same key. The row number is `-key & 0xFFFFFFFF`.
    """
    # Read as whole numbers, the bits of floats order as the floats do, once the negative ones are mirrored.
    bits = similarities.contiguous().view(torch.int32)
    return (torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits).to(torch.int64) << 32) - rows


def count_ranks(queries: Tensor, database: Tensor, wanted: Sequence[Tensor], block: int | None = None) -> list[Tensor]:
    """Rank of the wanted database rows for each query: the number of rows that are more similar.

    queries [Q, D], database [N, D], wanted: Q tensors of row numbers. Equal similarities rank by row number, the lower
    first. Returns Q int64 tensors, 0-based ranks in the order of `wanted`. Counting over blocks of `block` database rows needs
    memory for one block of similarities only, and its counts are exactly the positions of a stable full sort.
    """
    longest = max(map(len, wanted), default=0)
    if longest == 0:
        return [torch.zeros(0, dtype=torch.int64) for _ in wanted]
    parts = list(blocks(len(database), block or max(1, AT_ONCE // len(queries))))
    only = queries @ database.T if len(parts) == 1 else None

    # The wanted rows' similarities come from the products that they are compared with: another shape may round otherwise.
    own = torch.full((len(wanted), longest), torch.iinfo(torch.int64).max)  # no key is larger than the filling
    for part in parts:
        similarities = queries @ database[part].T if only is None else only
        for q, rows in enumerate(wanted):
            inside = (rows >= part.start) & (rows < part.stop)
            found = rows[inside]
            own[q, : len(rows)][inside] = order_keys(similarities[q, found - part.start], found)
    own, order = own.sort(dim=1)

    beaten = torch.zeros(len(wanted), longest + 1, dtype=torch.int64)
    for part in parts:
        similarities = queries @ database[part].T if only is None else only
        keys = order_keys(similarities, torch.arange(part.start, part.stop))
        # How many wanted rows each database row stands above; from these counts, how many rows stand above each wanted one.
        places = torch.searchsorted(own, keys)
        beaten += torch.stack([torch.bincount(line, minlength=longest + 1) for line in places])
    ranks = torch.empty_like(order).scatter_(1, order, len(database) - beaten.cumsum(1)[:, :-1])
    return [line[: len(rows)] for line, rows in zip(ranks, wanted, strict=True)]


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
