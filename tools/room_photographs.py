"""Photographs of rooms with their labels, decoded once into a file that is read in place."""

import csv
import hashlib
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers import TrainingImages
from rdistill_helpers.data.images import read_image
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import written_whole

BLOCK = 500  # photographs that are decoded at once


def read_rooms(sources: list[str], cache: Path) -> tuple[Tensor, Tensor]:
    """All photographs of several sources, uint8 [N, 3, H, W] in a memory-mapped file of `cache`, and their rooms [N].

    A source is "rooms", the training part of the benchmark, or an archive that `tools/rooms/make_rooms.py --private` wrote.
    Rooms are numbered anew, from 0, without a gap.
    """
    sets = [TrainingImages.load("rooms") if source == "rooms" else private_rooms(Path(source)) for source in sources]
    labels, count = [], 0
    for images in sets:
        labels.append(images.labels().unique(return_inverse=True)[1] + count)
        count = int(labels[-1].max()) + 1
    names = "\n".join(f"{source} {name}" for source, images in zip(sources, sets, strict=True) for name in images.names)
    states = [Path(source).stat() for source in sources if source != "rooms"]
    digest = hashlib.sha256(f"{names} {[(state.st_size, state.st_mtime_ns) for state in states]}".encode())
    path = cache / f"photographs_{digest.hexdigest()[:12]}.npy"
    if not path.exists():
        _decode(sets, path)
    return torch.from_numpy(np.load(path, mmap_mode="c")), torch.cat(labels)


def private_rooms(archive: Path) -> TrainingImages:
    """The photographs of an archive that holds images/NAME.webp and labels.csv (image,room)."""
    if not archive.is_file():
        raise DataMissing(f"{archive} is missing: render it with tools/rooms/make_rooms.py --private.")
    try:
        opened = zipfile.ZipFile(archive)
        table = csv.DictReader(opened.read("labels.csv").decode().splitlines())
        rooms = {row["image"]: int(row["room"]) for row in table}
    except Exception as error:  # a damaged archive fails in any way
        raise BadInput(f"{archive} is no archive of rooms with labels ({error}): render it again.") from error
    there = {name.removeprefix("images/").removesuffix(".webp") for name in opened.namelist()} - {"labels.csv"}
    if not rooms or there != rooms.keys():
        alone = sorted(there ^ rooms.keys())
        raise BadInput(
            f"{archive} has {len(there)} photographs and {len(rooms)} labels, and {len(alone)} of them stand alone "
            f"({', '.join(alone[:2]) or 'none'}): render it again."
        )
    return TrainingImages(archive.stem, list(rooms), partial(_photograph, opened), lambda: rooms)


def _photograph(opened: zipfile.ZipFile, name: str):
    try:
        return read_image(opened.read(f"images/{name}.webp"), name, upright=False)
    except zipfile.BadZipFile as error:
        raise BadInput(f"{name} in {opened.filename} is damaged ({error}): render it again.") from error


def _decode(sets: list[TrainingImages], path: Path) -> None:
    """Write all photographs as one array."""
    shape = (sum(map(len, sets)), *sets[0].pixels([0]).shape[1:])
    with written_whole(path) as unfinished, tqdm(total=shape[0], desc="decoding", unit="image") as bar:
        pixels = np.lib.format.open_memmap(unfinished, "w+", np.uint8, shape)
        for images in sets:
            for start in range(0, len(images), BLOCK):
                block = images.pixels(range(start, min(start + BLOCK, len(images))))
                if block.shape[1:] != shape[1:]:
                    raise BadInput(
                        f"Photographs of {images.name} are {list(block.shape[2:])} pixels, others "
                        f"{list(shape[2:])}: render all alike."
                    )
                pixels[bar.n : bar.n + len(block)] = block.numpy()
                bar.update(len(block))
        pixels.flush()
