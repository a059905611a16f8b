"""Descriptors of more photographs than fit into memory or into one sitting: written to a file as they are made."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from rdistill_helpers.descriptors import check_stored, open_descriptors
from rdistill_helpers.embed.extract import Photo, check_settings, described, ready
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import only_writer, writing, written_whole
from rdistill_helpers.parallel import barrier, broadcast, own_share, rank, world_size

# How far the last finished row may lie from the row of its image now. Half precision in the network and batches of another
# size move rows by less, another network or another image by much more.
SAME_ROW = 0.02


def extract_to_file(
    net: nn.Module,
    images: Tensor | Sequence[Photo],
    path: str | Path,
    dtype: Literal["float16", "float32"] = "float16",
    scales: Sequence[float] = (1,),
    batch_size: int = 32,
    progress: bool = True,
    device: str | torch.device | None = None,
    at_once: int = 1024,
) -> Path:
    """Writes the descriptors that `extract` gives to a .npy file for `open_descriptors`, and gives its path.

    Rows are written for `at_once` images at a time, among which those of equal size share batches. Until all are there, the
    file is called `path`.part, and `path`.part.rows says how many of its rows are finished; after an interruption the same
    call goes on behind them. Only the last finished image is described once more: BadInput when its row has changed, for then
    network, settings or images have. Raises BadInput also when `path` is there already, when an unfinished file was begun for
    another number of images or another dtype, when the disk is full, and for what `extract` refuses; what is finished is not
    lost by it. Raises InUse while another process writes the same file.

    Under `parallel.processes` each process describes its share of the images, in whole blocks of `at_once` so that batches are
    those of one process, into `path`.R-of-W.part; process 0 joins them to the one file. All must see one folder, and as many
    processes go on after an interruption as began.
    """
    check_settings(images, scales, batch_size)
    check_stored(dtype)
    if at_once < 1:
        raise BadInput(f"{at_once} images at once are not usable: give a positive number.")
    path = Path(path)
    parts = [path.with_name(f"{path.name}.{turn}-of-{world_size()}.part") for turn in range(world_size())]
    if world_size() == 1:
        parts = [path.with_name(path.name + ".part")]
    share, part = own_share(len(images), at_once), parts[rank()]
    with only_writer(part), ready(net, device):
        if path.exists():
            raise BadInput(f"{path} is there already: delete it, or write to another path.")
        if share:
            _write_share(net, images, share, part, np.dtype(dtype), scales, batch_size, at_once, progress)
        if world_size() == 1:
            with writing(path):
                part.replace(path)
                _count_of(part).unlink()
    if world_size() > 1:
        barrier()  # nobody goes on before all have come here
        broadcast(lambda: _join([part for part in parts if part.exists()], path, len(images)))
    return path


def _write_share(
    net: nn.Module,
    images: Tensor | Sequence[Photo],
    share: range,
    part: Path,
    dtype: np.dtype,
    scales: Sequence[float],
    batch_size: int,
    at_once: int,
    progress: bool,
) -> None:
    """Writes the rows of the images `share` to the file `part`, behind those that are finished."""
    total, counted = len(share), _count_of(part)
    finished, last = _finished(part, counted, total, dtype)
    shown = progress and rank() == 0
    with tqdm(total=total, initial=finished, desc="descriptors", unit="image", disable=not shown) as bar:
        if last is not None:
            image = share[finished - 1]
            ((_, now),) = described(net, images, range(image, image + 1), scales, 1)
            _check_same(last, now[0], part, finished - 1)
        for start in range(finished, total, at_once):
            which = share[start : start + at_once]
            block = None
            for indices, batch in described(net, images, which, scales, batch_size):
                if block is None:
                    block = np.empty((len(which), batch.shape[1]), dtype)
                block[indices - which.start] = batch
                bar.update(len(indices))
            assert block is not None
            with writing(part):
                _write(part, start, block, total)
                new = counted.with_name(counted.name + ".new")
                new.write_text(f"{start + len(which)}\n", encoding="utf-8")
                new.replace(counted)


def _count_of(part: Path) -> Path:
    """The file that says how many rows of an unfinished file are finished."""
    return part.with_name(part.name + ".rows")


def _join(parts: Sequence[Path], path: Path, total: int) -> None:
    """Writes the rows of all parts, one behind the other, to the one file, and removes the parts."""
    rows = [open_descriptors(part) for part in parts]
    if sum(map(len, rows)) != total or len({array.shape[1] for array in rows}) != 1:
        raise DataMissing(
            f"{path.parent} has {sum(map(len, rows))} of the {total} rows of {path.name}: give all processes one folder, and "
            "the same command."
        )
    with written_whole(path) as unfinished:
        joined = np.lib.format.open_memmap(unfinished, "w+", rows[0].dtype, (total, rows[0].shape[1]))
        start = 0
        for array in rows:
            joined[start : start + len(array)] = array
            start += len(array)
        joined.flush()
    for part in parts:
        part.unlink()
        _count_of(part).unlink()


def _finished(part: Path, counted: Path, total: int, dtype: np.dtype) -> tuple[int, Tensor | None]:
    """How many rows an earlier run finished, and the last of them."""
    if not part.is_file() or not counted.is_file():
        counted.unlink(missing_ok=True)  # it tells of a file that was deleted
        return 0, None
    try:
        with part.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, begun = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
        rows = int(counted.read_text(encoding="utf-8"))
        if not 1 <= rows <= shape[0]:
            raise ValueError(f"{rows} of its {shape[0]} rows are finished")
        last = np.memmap(part, begun, "r", start, (rows, shape[1]))[-1].astype(np.float32)
    except Exception as error:  # a damaged file fails in any way
        raise BadInput(f"{part} was not written by extract_to_file ({error}): delete it to start again.") from error
    if shape[0] != total or begun != dtype:
        raise BadInput(
            f"{part} was begun for {shape[0]} rows of {begun}, not for {total} of {dtype}: "
            "go on with the same images and dtype, or delete it to start again."
        )
    return rows, torch.from_numpy(last)


def _check_same(before: Tensor, now: Tensor, part: Path, row: int) -> None:
    """Raise BadInput when the row of an image is not what it was."""
    if before.shape != now.shape or bool(torch.linalg.vector_norm(before - now) > SAME_ROW):
        raise BadInput(
            f"{part} was begun with another network, other settings or other images, for row {row} is not what it was: "
            "go on with the same, or delete the file to start again."
        )


def _write(part: Path, start: int, block: np.ndarray, total: int) -> None:
    """Puts rows [n, D] at row `start` of the unfinished file, which begins with the first of them, safely onto the disk."""
    with part.open("r+b" if start else "wb") as file:
        if start == 0:
            header = {"descr": block.dtype.str, "fortran_order": False, "shape": (total, block.shape[1])}
            np.lib.format.write_array_header_1_0(file, header)
        else:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
        # What an interrupted write left behind the finished rows is written over.
        file.seek(start * block.shape[1] * block.itemsize, os.SEEK_CUR)
        file.write(block.tobytes())
        file.flush()
        os.fsync(file.fileno())
