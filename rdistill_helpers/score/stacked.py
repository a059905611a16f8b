"""Descriptors that need not fit into memory: several arrays as one, read and multiplied block by block."""

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

SIMILARITIES = (
    2**21
)  # of the queries with a range of descriptors, 8 MB: with all that is computed from them, about 60 MB
NUMBERS = 2**21  # of a block of descriptors, 8 MB: conversion, check and product find it in the cache
TILE = 64  # descriptors; products are computed in whole tiles


class StackedDescriptors:
    """Several arrays of descriptors as one [N, D], read in blocks as float32. Values are checked when they are read.

    Each block is copied into a buffer of one shape, which is multiplied as a whole: how a product is rounded can depend on its
    shape, and so similarities depend on the numbers of queries and descriptors alone, not on how these are spread over arrays.

    Args:
        arrays: Pairs of a name, for errors, and an array [N_i, D], one behind the other.
        dim: The D that they must have.
        normalised: Whether every descriptor must have length 1.
        device: Where products are computed, in float32; they come back to the CPU. None for the CPU.

    Raises:
        BadInput: The arrays are not descriptors by type and shape, or differ in D.
    """

    def __init__(
        self,
        arrays: Sequence[tuple[str, Array]],
        dim: int | None = None,
        normalised: bool = True,
        device: str | torch.device | None = None,
    ) -> None:
        self.arrays = list(arrays)
        self.starts = [0]
        for name, array in self.arrays:
            check_shape(array, name, dim)
            dim = array.shape[1]
            self.starts.append(self.starts[-1] + len(array))
        assert dim is not None
        self.dim, self.normalised = dim, normalised
        self.device = None if device is None else torch.device(device)
        # What needs no conversion in NumPy becomes a tensor at once; nothing is read or copied by that.
        self.views = [array if _needs_numpy(array) else _as_tensor(array) for _, array in self.arrays]

    def __len__(self) -> int:
        return self.starts[-1]

    def block_length(self, most: int) -> int:
        """Chooses how many descriptors are multiplied at a time: so few that they stay in the cache.

        Args:
            most: The most that there may be.

        Returns:
            Whole tiles.
        """
        step = min(most, whole_tiles(NUMBERS // self.dim, down=True))
        return min(step, whole_tiles(math.ceil(len(self) / math.ceil(len(self) / step))))  # blocks of nearly one length

    def own_part(self, queries: int, most: int | None = None) -> range:
        """Divides the descriptors among the processes, in whole blocks of `similarities`.

        Args:
            queries: Number of queries.
            most: As for `similarities`.

        Returns:
            The numbers of those that this process reads, as of `parallel.own_share`.
        """
        return own_share(len(self), self.block_length(most or _most(queries)))

    def similarities(
        self, queries: Tensor, most: int | None = None, end: int | None = None, start: int = 0
    ) -> Iterator[tuple[slice, Tensor]]:
        """Multiplies the queries with ranges of descriptors.

        Args:
            queries: float32 [Q, D].
            most: The most descriptors in a range; by default what `SIMILARITIES` allows.
            end: Stop with the block that holds descriptor end - 1; by default with the last one.
            start: Begin here, at the first of a block as in `own_part`.

        Yields:
            Pairs of a range and its dot products, float32 [Q, how many]. The next products overwrite them.

        Raises:
            BadInput: A descriptor is not finite or not normalised; the message names its array and its number there.
        """
        most = most or _most(len(queries))
        step = self.block_length(most)
        # A product that ends within a tile may round its last columns otherwise, and equal descriptors would differ.
        on_gpu = self.device is not None and self.device.type == "cuda"
        block = torch.zeros(whole_tiles(step), self.dim, pin_memory=on_gpu)
        queries = queries if self.device is None else queries.to(self.device)
        length = step * min(most // step, math.ceil(len(self) / step))
        products = torch.empty(len(queries), length + len(block) - step)
        end = len(self) if end is None else end
        for first in range(start, end, length):
            last = first
            while last < min(first + length, end):
                at, last = last, min(last + step, len(self))
                self._read(slice(at, last), block)
                self._multiply(queries, block, products[:, at - first : at - first + len(block)])
            yield slice(first, last), products[:, : last - first]

    def _multiply(self, queries: Tensor, block: Tensor, products: Tensor) -> None:
        """Put the dot products of queries [Q, D] with a block [B, D] into `products` [Q, B]."""
        if self.device is None:
            torch.mm(queries, block.T, out=products)
            return
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # TensorFloat-32 would round similarities to three digits
        try:
            products.copy_(queries @ block.to(self.device, non_blocking=True).T)  # waits: the block is read into again
        finally:
            torch.set_float32_matmul_precision(precision)

    def blocks(self, most: int) -> Iterator[Tensor]:
        """Reads all descriptors in order.

        Args:
            most: The most in a block.

        Yields:
            Blocks, float32 [at most `most`, D]. The next block overwrites the last one.

        Raises:
            BadInput: A descriptor is not finite or not normalised.
        """
        buffer = torch.empty(min(most, len(self)), self.dim)
        for start in range(0, len(self), most):
            stop = min(start + most, len(self))
            self._read(slice(start, stop), buffer)
            yield buffer[: stop - start]

    def take(self, numbers: Tensor) -> Tensor:
        """Reads single descriptors, unchecked.

        Args:
            numbers: int64 [M].

        Returns:
            float32 [M, D].
        """
        taken = torch.empty(len(numbers), self.dim)
        for (_, array), start, stop in zip(self.arrays, self.starts, self.starts[1:], strict=False):
            inside = (numbers >= start) & (numbers < stop)
            places = numbers[inside] - start
            found = _as_tensor(array[places.numpy()] if isinstance(array, np.ndarray) else array[places])
            taken[inside] = found.float().cpu()
        return taken

    def _read(self, part: slice, buffer: Tensor) -> None:
        """Copies the descriptors of `part`, checked, to the beginning of the buffer."""
        for (name, array), view, start in zip(self.arrays, self.views, self.starts, strict=False):
            first, last = max(part.start, start), min(part.stop, start + len(array))
            if first >= last:
                continue
            copy = buffer[first - part.start : last - part.start]
            copy.copy_(_as_tensor(view[first - start : last - start]))
            check_values(copy, name, length_tolerance(array) if self.normalised else None, first - start)
            _let_go(array[first - start : last - start])


def named(name: str, array: Array) -> tuple[str, Array]:
    """Names an array for errors.

    Args:
        name: Its name.
        array: Descriptors [N, D].

    Returns:
        The name, with the file that the array is mapped from, and the array.
    """
    return (f"{name} ({array.filename})" if isinstance(array, np.memmap) and array.filename else name), array


def each_named(name: str, arrays: Array | Sequence[Array]) -> list[tuple[str, Array]]:
    """Names one array, or each of a list.

    Args:
        name: Their name.
        arrays: Descriptors [N, D], or a list of such arrays.

    Returns:
        Pairs of a name, `name` or `name`[i], and an array.
    """
    if isinstance(arrays, list | tuple):
        return [named(f"{name}[{i}]", array) for i, array in enumerate(arrays)]
    return [named(name, arrays)]  # type: ignore[arg-type]


def whole_tiles(count: int, down: bool = False) -> int:
    """Rounds a number of descriptors to whole tiles.

    Args:
        count: The number.
        down: Round down, but to one tile at least, instead of up.

    Returns:
        The rounded number.
    """
    return TILE * (max(1, count // TILE) if down else math.ceil(count / TILE))


def _most(queries: int) -> int:
    """The most descriptors that so many queries are multiplied with at a time, by default."""
    return whole_tiles(SIMILARITIES // queries, down=True)


def _needs_numpy(array: Array) -> bool:
    """Whether PyTorch cannot read the array in place: another type, byte order or layout."""
    return isinstance(array, np.ndarray) and (
        array.dtype not in (np.float16, np.float32) or not (array.flags.c_contiguous and array.flags.aligned)
    )


def _as_tensor(array: Array) -> Tensor:
    """The array as a tensor, copied only if PyTorch could not read it."""
    if isinstance(array, Tensor):
        return array.detach()
    array = np.require(array, np.float16 if array.dtype == np.float16 else np.float32, ["C", "A"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # it is only read
        return torch.from_numpy(array)


def _let_go(array: Array) -> None:
    """Takes the pages of a memory-mapped file that were just read out of this process's memory; the file is not changed.

    Else they would stay in it until the system runs short, and the whole file would count as this process's memory.
    """
    mapped: object = array
    mode = None
    while isinstance(mapped, np.ndarray):
        mode = getattr(mapped, "mode", None) or mode
        mapped = mapped.base
    # What was written to a copy-on-write mapping would be lost with its pages. Windows has no such call.
    if not isinstance(mapped, mmap.mmap) or mode not in ("r", "r+", "w+") or not hasattr(mapped, "madvise"):
        return
    assert isinstance(array, np.ndarray)
    if array.flags.c_contiguous:
        offset = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        start = offset - offset % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, start, offset + array.nbytes - start)
