"""Descriptors of more photographs than fit into memory or into one sitting: written to a file as they are made."""

import os
from collections.abc import Callable, Sequence
from functools import partial
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

# How far the last finished descriptor may lie from that of its image now. Half precision in the network and batches of
# another size move descriptors by less, another network or another image by much more.
SAME_DESCRIPTOR = 0.02


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
    """Write the descriptors that `extract` gives to a .npy file for `open_descriptors`.

    Until all are there, the file is called `path`.part, and `path`.part.rows says how many descriptors are finished; after
    an interruption the same call goes on behind them, once the last finished image has the same descriptor. Under
    `parallel.processes` each process describes its share of the images into `path`.R-of-W.part, with the batches of one
    process, and process 0 joins the files; all must see one folder, and as many processes go on as began.

    Args:
        net: as in `extract`.
        images: as in `extract`.
        path: the .npy file to write.
        dtype: type of the numbers in the file; "float16" halves it and moves similarities by about 1e-4.
        scales: as in `extract`.
        batch_size: as in `extract`.
        progress: whether to show a progress bar.
        device: as in `extract`.
        at_once: how many images are described between two writes; those of equal size among them share batches.

    Returns:
        The path of the finished file.

    Raises:
        BadInput: `path` is there already, an unfinished file was begun with other images or settings, the disk is full, or
            `extract` refuses what it is given. What is finished stays.
        DataMissing: a path leads to no image, or the shares of other processes are not in the folder.
        InUse: another process writes the same file.
    """
    check_settings(images, scales, batch_size)
    check_stored(dtype)
    if at_once < 1:
        raise BadInput(f"{at_once} images at once are not usable: give a positive number.")
    path, world = Path(path), world_size()
    endings = [f".{turn}-of-{world}.part" for turn in range(world)] if world > 1 else [".part"]
    parts = [path.with_name(path.name + ending) for ending in endings]
    share, part = own_share(len(images), at_once), parts[rank()]
    with only_writer(part), ready(net, device, len(images)) as describing:
        if path.exists():
            raise BadInput(f"{path} is there already: delete it, or write to another path.")
        if share:
            describe = partial(described, describing, images, scales=scales, batch_size=batch_size)
            _write_share(describe, share, part, np.dtype(dtype), at_once, progress)
        if world == 1:
            with writing(path):
                part.replace(path)
                _count_of(part).unlink()
    if world > 1:
        barrier()  # nobody goes on before all have come here
        broadcast(lambda: _join([part for part in parts if part.exists()], path, len(images)))
    return path


def _write_share(
    describe: Callable[..., Tensor], share: range, part: Path, dtype: np.dtype, at_once: int, progress: bool
) -> None:
    """Write the descriptors of the images `share` to the file `part`, behind those that are finished."""
    total, counted = len(share), _count_of(part)
    finished, last = _finished(part, counted, total, dtype)
    if last is not None:
        now = describe(share[finished - 1 : finished])[0]
        if last.shape != now.shape or bool(torch.linalg.vector_norm(last - now) > SAME_DESCRIPTOR):
            why = f"another network, other settings or other images, for descriptor {finished - 1} is not what it was"
            raise BadInput(f"{part} was begun with {why}: go on with the same, or delete it to start again.")
    shown = progress and rank() == 0
    with tqdm(total=total, initial=finished, desc="descriptors", unit="image", disable=not shown) as bar:
        for start in range(finished, total, at_once):
            block = describe(share[start : start + at_once], bar=bar).numpy().astype(dtype)
            with writing(part):
                _write(part, start, block, total)
                new = counted.with_name(counted.name + ".new")
                new.write_text(f"{start + len(block)}\n", encoding="utf-8")
                new.replace(counted)


def _count_of(part: Path) -> Path:
    """The file that says how many descriptors of an unfinished file are finished."""
    return part.with_name(part.name + ".rows")


def _join(parts: Sequence[Path], path: Path, total: int) -> None:
    """Write the descriptors of all parts, one behind the other, to the one file, and remove the parts."""
    shares = [open_descriptors(part) for part in parts]
    if sum(map(len, shares)) != total or len({share.shape[1] for share in shares}) != 1:
        count = sum(map(len, shares))
        raise DataMissing(f"{path.parent} has {count} of {total} descriptors of {path.name}: use one folder for all.")
    with written_whole(path) as unfinished:
        joined = np.lib.format.open_memmap(unfinished, "w+", shares[0].dtype, (total, shares[0].shape[1]))
        np.concatenate(shares, out=joined)
        joined.flush()
    for part in parts:
        part.unlink()
        _count_of(part).unlink()


def _finished(part: Path, counted: Path, total: int, dtype: np.dtype) -> tuple[int, Tensor | None]:
    """How many descriptors an earlier run finished, and the last of them."""
    if not part.is_file() or not counted.is_file():
        counted.unlink(missing_ok=True)  # it tells of a file that was deleted
        return 0, None
    try:
        with part.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, begun = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
        count = int(counted.read_text(encoding="utf-8"))
        if not 1 <= count <= shape[0]:
            raise ValueError(f"{count} of its {shape[0]} descriptors are finished")
        last = np.memmap(part, begun, "r", start, (count, shape[1]))[-1].astype(np.float32)
    except Exception as error:  # a damaged file fails in any way
        raise BadInput(f"{part} was not written by extract_to_file ({error}): delete it to start again.") from error
    if shape[0] != total or begun != dtype:
        begun_for = f"{shape[0]} descriptors of {begun}, not for {total} of {dtype}"
        raise BadInput(f"{part} was begun for {begun_for}: go on with the same, or delete it to start again.")
    return count, torch.from_numpy(last)


def _write(part: Path, start: int, block: np.ndarray, total: int) -> None:
    """Put descriptors [n, D] at place `start` of the unfinished file, which the first of them begins, safely onto the disk."""
    with part.open("r+b" if start else "wb") as file:
        if start == 0:
            header = {"descr": block.dtype.str, "fortran_order": False, "shape": (total, block.shape[1])}
            np.lib.format.write_array_header_1_0(file, header)
        else:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
        # What an interrupted write left behind the finished descriptors is written over.
        file.seek(start * block.shape[1] * block.itemsize, os.SEEK_CUR)
        file.write(block.tobytes())
        file.flush()
        os.fsync(file.fileno())
