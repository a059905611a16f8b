"""Descriptors that need not fit into memory: arrays behind one another, read and multiplied block by block."""

import math
import mmap
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_shape, check_values, length_tolerance
from rdistill_helpers.parallel import own_share

Array = Tensor | np.ndarray

SIMILARITIES = 2**21  # of the queries with a range of rows, 8 MB: with all that is computed from them, about 60 MB
NUMBERS = 2**21  # of a block of rows, 8 MB: conversion, check and product find it in the cache
TILE = 64  # rows; products are made in whole tiles


class Rows:
    """Arrays of descriptors behind one another, as one list of rows [N, D] whose float32 values are read in blocks.

    Each block is copied into a buffer of one shape, which is multiplied as a whole: how a product is rounded can depend on its
    shape, and so similarities depend on the numbers of queries and rows alone, not on how the rows are spread over arrays.
    """

    def __init__(self, arrays: Sequence[tuple[str, Array]], dim: int | None = None, normalised: bool = True) -> None:
        """arrays: names, for errors, and [N_i, D] arrays; dim: the D they must have; normalised: whether rows have length 1.

        The values are looked at when they are read. Raises BadInput for arrays that are none or differ in D.
        """
        self.arrays = list(arrays)
        self.starts = [0]
        for name, array in self.arrays:
            check_shape(array, name, dim)
            dim = array.shape[1]
            self.starts.append(self.starts[-1] + len(array))
        assert dim is not None
        self.dim, self.normalised = dim, normalised
        # What needs no conversion in NumPy becomes a tensor at once; nothing is read or copied by that.
        self.views = [array if _needs_numpy(array) else _as_tensor(array) for _, array in self.arrays]

    def __len__(self) -> int:
        return self.starts[-1]

    def block_length(self, most: int) -> int:
        """How many rows are multiplied at a time, where it may be `most`: so few that they stay in the cache."""
        step = min(most, whole_tiles(NUMBERS // self.dim, down=True))
        return min(step, whole_tiles(math.ceil(len(self) / math.ceil(len(self) / step))))  # blocks of nearly one length

    def own_part(self, queries: int, most: int | None = None) -> range:
        """The rows that this process reads of all, whole blocks of `similarities`: see `parallel.own_share`."""
        return own_share(len(self), self.block_length(most or _most(queries)))

    def similarities(
        self, queries: Tensor, most: int | None = None, end: int | None = None, start: int = 0
    ) -> Iterator[tuple[slice, Tensor]]:
        """The dot products of the queries [Q, D] with ranges of rows: pairs (which rows, float32 [Q, how many]).

        most: rows in a range, at most; by default what `SIMILARITIES` allows. start, end: begin with row `start`, which must be
        the first of a block, as in `own_part`, and stop with the block of row end - 1.
        The next range is written over the last one: copy what is to be kept.
        Raises BadInput, with the array and the row in it, for rows that are not finite or not normalised.
        """
        most = most or _most(len(queries))
        step = self.block_length(most)
        # A product that ends within a tile may round its last columns otherwise, and equal rows would differ.
        block = torch.zeros(whole_tiles(step), self.dim)
        length = step * min(most // step, math.ceil(len(self) / step))
        products = torch.empty(len(queries), length + len(block) - step)
        end = len(self) if end is None else end
        for first in range(start, end, length):
            last = first
            while last < min(first + length, end):
                at, last = last, min(last + step, len(self))
                self._read(slice(at, last), block)
                torch.mm(queries, block.T, out=products[:, at - first : at - first + len(block)])
            yield slice(first, last), products[:, : last - first]

    def blocks(self, most: int) -> Iterator[Tensor]:
        """All rows in order, checked, as float32 [at most `most`, D]; the next block is written over the last one."""
        buffer = torch.empty(min(most, len(self)), self.dim)
        for start in range(0, len(self), most):
            stop = min(start + most, len(self))
            self._read(slice(start, stop), buffer)
            yield buffer[: stop - start]

    def take(self, numbers: Tensor) -> Tensor:
        """The rows with these numbers, int64 [M], as float32 [M, D]."""
        taken = torch.empty(len(numbers), self.dim)
        for (_, array), start, stop in zip(self.arrays, self.starts, self.starts[1:], strict=False):
            inside = (numbers >= start) & (numbers < stop)
            places = numbers[inside] - start
            found = _as_tensor(array[places.numpy()] if isinstance(array, np.ndarray) else array[places])
            taken[inside] = found.float().cpu()
        return taken

    def _read(self, part: slice, buffer: Tensor) -> None:
        """Copies the rows of `part`, checked, to the beginning of the buffer."""
        for (name, array), view, start in zip(self.arrays, self.views, self.starts, strict=False):
            first, last = max(part.start, start), min(part.stop, start + len(array))
            if first >= last:
                continue
            copy = buffer[first - part.start : last - part.start]
            copy.copy_(_as_tensor(view[first - start : last - start]))
            check_values(copy, name, length_tolerance(array) if self.normalised else None, first - start)
            _let_go(array[first - start : last - start])


def named(name: str, array: Array) -> tuple[str, Array]:
    """The array with the name that errors give it, which tells the file that it is mapped from."""
    return (f"{name} ({array.filename})" if isinstance(array, np.memmap) and array.filename else name), array


def each_named(name: str, arrays: Array | Sequence[Array]) -> list[tuple[str, Array]]:
    """One array or a list of them, each with a name: `name`, or `name`[i]."""
    if isinstance(arrays, list | tuple):
        return [named(f"{name}[{i}]", array) for i, array in enumerate(arrays)]
    return [named(name, arrays)]  # type: ignore[arg-type]


def whole_tiles(rows: int, down: bool = False) -> int:
    """The number of rows rounded up to whole tiles, or down to at least one."""
    return TILE * (max(1, rows // TILE) if down else math.ceil(rows / TILE))


def _most(queries: int) -> int:
    """How many rows are multiplied by so many queries at a time, unless told."""
    return whole_tiles(SIMILARITIES // queries, down=True)


def _needs_numpy(array: Array) -> bool:
    """Whether PyTorch cannot read the array in place: another type, byte order or layout."""
    return isinstance(array, np.ndarray) and (
        array.dtype not in (np.float16, np.float32) or not (array.flags.c_contiguous and array.flags.aligned)
    )


def _as_tensor(rows: Array) -> Tensor:
    """The rows as a tensor, copied only if PyTorch could not read them."""
    if isinstance(rows, Tensor):
        return rows.detach()
    rows = np.require(rows, np.float16 if rows.dtype == np.float16 else np.float32, ["C", "A"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # it is only read
        return torch.from_numpy(rows)


def _let_go(rows: Array) -> None:
    """Takes the pages of a memory-mapped file that were just read out of this process's memory; the file is not changed.

    Else they would stay in it until the system runs short, and the whole file would count as this process's memory.
    """
    mapped: object = rows
    mode = None
    while isinstance(mapped, np.ndarray):
        mode = getattr(mapped, "mode", None) or mode
        mapped = mapped.base
    # What was written to a copy-on-write mapping would be lost with its pages. Windows has no such call.
    if not isinstance(mapped, mmap.mmap) or mode not in ("r", "r+", "w+") or not hasattr(mapped, "madvise"):
        return
    assert isinstance(rows, np.ndarray)
    if rows.flags.c_contiguous:
        offset = rows.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        start = offset - offset % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, start, offset + rows.nbytes - start)
