"""Exact ranks without sorting, and the measures that are computed from them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers.errors import BadInput
from rdistill_helpers.parallel import all_reduce
from rdistill_helpers.score.stacked import StackedDescriptors

CELLS = 2**23  # of the tables by which similarities are placed, all queries together: 32 MB


def order_bits(similarities: Tensor) -> Tensor:
    """Gives whole numbers that order as similarities do; -0 and 0 have the same.

    Args:
        similarities: float32, any shape.

    Returns:
        Numbers of 32 bits, int64 of the same shape.
    """
    # Read as whole numbers, the bits of floats order as the floats do, once the negative ones are mirrored.
    bits = similarities.contiguous().view(torch.int32)
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits).to(torch.int64)


def order_keys(similarities: Tensor, positions: Tensor) -> Tensor:
    """Gives whole numbers that order as a ranked list does: by similarity, and of equal ones the lower position first.

    Args:
        similarities: float32 [Q, N].
        positions: In the database, int64 [N] or [Q, N].

    Returns:
        Keys int64 [Q, N], different for different positions; larger is earlier in the list. The position is
        `-key & 0xFFFFFFFF`.
    """
    return (order_bits(similarities) << 32) - positions


def count_ranks(
    queries: Tensor, database: Tensor | StackedDescriptors, wanted: Sequence[Tensor], block: int | None = None
) -> list[Tensor]:
    """Ranks the wanted descriptors of the database for each query: counts how many are more similar.

    Counting in blocks needs memory for one block of similarities only, and gives exactly the ranks of a stable full sort.
    Descriptors behind the block with the last wanted one are read once, the others twice.

    A count over all descriptors is the sum of the counts over parts of them. So under `parallel.processes` each process reads
    and counts its own part of the blocks, the counts are summed, and every process has the ranks.

    Args:
        queries: float32 [Q, D].
        database: [N, D].
        wanted: Q tensors of positions in the database.
        block: The most descriptors in a block.

    Returns:
        Q int64 tensors of 0-based ranks in the order of `wanted`. Equal similarities rank by position, the lower first.

    Raises:
        BadInput: A descriptor is not finite or, where the database demands it, not normalised.
    """
    stacked = (
        database
        if isinstance(database, StackedDescriptors)
        else StackedDescriptors([("database", database)], normalised=False)
    )
    longest = max(map(len, wanted), default=0)
    if longest == 0:
        return [torch.zeros(0, dtype=torch.int64) for _ in wanted]
    # At least one filling in each line: its places are then its own, also where all lines stand behind one another.
    numbers = F.pad(torch.nn.utils.rnn.pad_sequence(list(wanted), batch_first=True, padding_value=-1), (0, 1), value=-1)
    behind = int(numbers.max()) + 1  # from here on, none is wanted

    # The wanted similarities come from the products that they are compared with: another shape may round otherwise.
    mine = stacked.own_part(len(queries), block)
    own = torch.zeros(numbers.shape)
    for part, similarities in stacked.similarities(queries, block, min(behind, mine.stop), mine.start):
        inside = (numbers >= part.start) & (numbers < part.stop)
        places = (numbers - part.start).clamp(0, similarities.shape[1] - 1)
        own = torch.where(inside, similarities.gather(1, places), own)
    own = all_reduce(own).masked_fill_(numbers < 0, torch.inf)  # each is one process's, and zero for the others
    keys = torch.where(
        numbers < 0, torch.iinfo(torch.int64).max, order_keys(own, numbers)
    )  # larger than every other key
    keys, order = keys.sort(dim=1)
    places_behind = _Places(own.gather(1, order), len(stacked) - behind)

    # For each descriptor, how many wanted ones it ranks above; from these counts, how many rank above each wanted one.
    first = torch.arange(len(keys))[:, None] * keys.shape[1]
    beaten = torch.zeros(keys.numel(), dtype=torch.int64)
    for part, similarities in stacked.similarities(queries, block, mine.stop, mine.start):
        before = min(max(0, behind - part.start), part.stop - part.start)
        if before:
            numbered = order_keys(similarities[:, :before], torch.arange(part.start, part.start + before))
            places = torch.searchsorted(keys, numbered) + first
            beaten += torch.bincount(places.flatten(), minlength=len(beaten))
        if part.stop > behind:
            beaten += torch.bincount(places_behind(similarities[:, before:].contiguous()), minlength=len(beaten))
    beaten = all_reduce(beaten)
    ranks = torch.empty_like(order).scatter_(1, order, len(stacked) - beaten.view(keys.shape).cumsum(1))
    return [line[: len(found)] for line, found in zip(ranks, wanted, strict=True)]


class _Places:
    """Counts how many of a query's ascending own similarities lie below others: torch.searchsorted, several times as fast.

    A table answers for cells of equal width in which no own similarity lies. Multiplication by a power of two and rounding
    towards zero keep the order of floats exactly, so a similarity of another cell than an own one is on the same side of it
    as its cell is. Only the few similarities that share a cell with an own one are searched for.

    own: float32 [Q, L], ascending. expected: How many similarities a query will have, by which the table is sized.
    """

    def __init__(self, own: Tensor, expected: int) -> None:
        count, length = own.shape
        # cells in each of (-1, 0) and (0, 1), a power of two
        self.scale = 2 ** max(1, (min(CELLS // count, expected) // 2).bit_length() - 1)
        width = 2 * self.scale + 1
        self.first = torch.arange(count, dtype=torch.int32)[:, None] * width + self.scale
        cells = self._cells(own)
        held = torch.zeros(count * width, dtype=torch.int32)
        held.scatter_add_(0, cells.to(torch.int64), torch.ones_like(cells))
        held = held.view(count, width)
        # A place counts from the beginning of the first query's own similarities.
        table = (
            held.cumsum(1, dtype=torch.int32).sub_(held).add_(torch.arange(count, dtype=torch.int32)[:, None] * length)
        )
        table.masked_fill_(held > 0, -1)
        table[:, [0, -1]] = -1  # all that lies outside of [-1, 1] is in these
        self.table = table.flatten()
        self.own = (order_bits(own) + (torch.arange(count)[:, None] << 32)).flatten()

    def _cells(self, similarities: Tensor) -> Tensor:
        """The cell of each similarity, int32, all queries' cells behind one another."""
        return (similarities * self.scale).clamp_(-self.scale, self.scale).to(torch.int32).add_(self.first).flatten()

    def __call__(self, similarities: Tensor) -> Tensor:
        """The place of each of [Q, N] similarities among the own ones of all queries behind one another, int32 [Q * N]."""
        places = self.table.index_select(0, self._cells(similarities))
        shared = torch.from_numpy(np.flatnonzero(places.numpy() < 0))
        keys = order_bits(similarities.flatten()[shared]) + (shared // similarities.shape[1] << 32)
        places[shared] = torch.searchsorted(self.own, keys, out_int32=True)
        return places


def remove_ignored(positives: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Removes the ignored images from the list.

    Args:
        positives: Ranks of the positives in the full list, in any order.
        ignored: Ranks of the ignored images in the full list, in any order.

    Returns:
        Ascending ranks of the positives in the shorter list, int64 [P].
    """
    positives = np.sort(np.asarray(positives, np.int64))
    return positives - np.searchsorted(np.sort(np.asarray(ignored, np.int64)), positives)


def _check(ranks: np.ndarray) -> np.ndarray:
    ranks = np.asarray(ranks, np.int64)
    if ranks.ndim != 1 or (len(ranks) and ranks[0] < 0) or (np.diff(ranks) <= 0).any():
        raise BadInput("Ranks must be a list of ascending 0-based positions without repetition: sort them first.")
    return ranks


def average_precision(ranks: Sequence[int] | np.ndarray, positives: int | None = None) -> float:
    """Computes the average precision of one query, in the trapezoid form of the revisited protocol.

    Args:
        ranks: Ascending 0-based ranks of the positives after junk removal.
        positives: Number of positives, where a cut list shows only some of them.

    Returns:
        A fraction in [0, 1], nan without positives.

    Raises:
        BadInput: The ranks are negative, repeated or not ascending.

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
    """Computes the share of positives among the first k, with k lowered to the 1-based rank of the last positive.

    Args:
        ranks: As for `average_precision`.
        k: The cut-off.
        positives: As for `average_precision`.

    Returns:
        A fraction in [0, 1], 0 for a cut list without a positive, nan without positives.

    Raises:
        BadInput: The ranks are negative, repeated or not ascending.

    Source: Radenovic et al., "Revisiting Oxford and Paris", CVPR 2018.
    """
    found = _check(np.asarray(ranks))
    if (len(found) if positives is None else positives) == 0:
        return float("nan")
    if len(found) == 0:
        return 0.0
    complete = positives is None or len(found) == positives
    depth = min(k, int(found[-1]) + 1) if complete else k
    return float((found < depth).sum() / depth)
