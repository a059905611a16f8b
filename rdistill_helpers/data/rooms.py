"""Training photographs: the embedded rooms, one archive read in place with its labels, and one's own folder."""

import csv
import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers.data.folders import photographs
from rdistill_helpers.data.images import letterboxed, read_image, to_tensor
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.errors import BadInput, DataMissing, shown

EDITION = 2  # of the embedded rooms, the only one that goes with this version
RESTORE = "restore it with `git checkout -- data`"
MAX_MEMBER_BYTES = 100_000_000  # of one file in an archive; a small one can unfold to far more


def verify_archive(path: str | Path) -> None:
    """Check an archive against its checksum file, `path`.sha256, once for each state of the file.

    Args:
        path: the archive.

    Raises:
        DataMissing: the archive or its checksum file is not there.
        BadInput: the archive is damaged.
    """
    path = Path(path)
    checksum = path.with_name(path.name + ".sha256")
    for needed in (path, checksum):
        if not needed.is_file():
            raise DataMissing(f"{needed} is missing: {RESTORE}.")
    expected = checksum.read_text(encoding="utf-8", errors="replace").split()[:1]
    state = path.stat()
    if [_sha256(path, state.st_size, state.st_mtime_ns)] != expected:
        raise BadInput(f"{path} is damaged (its SHA-256 is not the one in {checksum.name}): {RESTORE}.")


@lru_cache(maxsize=8)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4)
def open_archive(path: Path, modified: int, process: int) -> zipfile.ZipFile:
    """An archive kept open: its table of contents, thousands of entries, is read once and not for every photograph.

    Args:
        path: the archive.
        modified: time of its last change, so that another archive of the same name is opened anew.
        process: id of this process, for a forked worker must not share the position in the open file with its parent.

    Returns:
        The open archive; the same object for the same arguments.
    """
    return zipfile.ZipFile(path)


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file in a zip archive.

    Args:
        archive: the archive.
        member: name of the file in it.

    Returns:
        The content.

    Raises:
        DataMissing: the archive holds no such file.
        BadInput: the archive is not there, is damaged, or the file in it is larger than MAX_MEMBER_BYTES.
    """
    try:
        opened = open_archive(archive, archive.stat().st_mtime_ns, os.getpid())
        if opened.getinfo(member).file_size > MAX_MEMBER_BYTES:
            raise BadInput(f"{member} in {archive} is larger than its files are: {RESTORE}.")
        return opened.read(member)
    except BadInput:
        raise
    except KeyError as error:
        raise DataMissing(f"{member} is not in {archive}: {RESTORE}.") from error
    except Exception as error:  # a damaged archive fails in any way
        raise BadInput(f"{archive} is not a readable archive ({error}): {RESTORE}.") from error


def rooms_archive(root: str | Path | None = None) -> Path:
    """The archive of the embedded rooms, whole and of the edition that goes with this version.

    Args:
        root: the data folder (see `data_root`).

    Returns:
        Its path.

    Raises:
        DataMissing: the archive or its checksum file is not there.
        BadInput: the archive is damaged, or of another edition.
    """
    archive = data_root(root) / "rooms.zip"
    verify_archive(archive)
    try:
        edition = read_member(archive, "edition.txt").decode(errors="replace").strip()
    except DataMissing:  # the first edition did not say so
        edition = "1"
    if edition != str(EDITION):
        raise BadInput(f"{archive} is edition {shown(edition)} of the rooms where {EDITION} is needed: {RESTORE}.")
    return archive


@dataclass(frozen=True)
class TrainingImages:
    """Unlabelled training photographs; their labels are read only by `labels` and `draw`.

    Attributes:
        name: of the set.
        names: of the N photographs.
        read: gives the photograph, RGB, of a name.
        place_of: gives the label of each name, or says why there is none.
        size: height and width of `pixels`; None where all photographs have one size.
    """

    name: str
    names: list[str]
    read: Callable[..., Image.Image] = field(repr=False)
    place_of: Callable[[], dict[str, int]] = field(repr=False)
    size: tuple[int, int] | None = None

    @classmethod
    def load(cls, name: str = "rooms", root: str | Path | None = None) -> "TrainingImages":
        """The training part of the rooms set.

        Args:
            name: "rooms", the only set of this kind.
            root: the data folder (see `data_root`).

        Returns:
            The photographs, not yet decoded.

        Raises:
            DataMissing: the archive is not there.
            BadInput: another name, or an archive that is damaged or of another edition.
        """
        if name != "rooms":
            raise BadInput(f"The training set {name!r} is not known: the embedded one is 'rooms', or give from_folder.")
        archive = rooms_archive(root)
        names = read_member(archive, "train.txt").decode(errors="replace").split()
        rooms = partial(_rooms_of, archive.with_name("rooms_train_labels.csv"), names)
        return cls(name, names, partial(read_room, archive), rooms)

    @classmethod
    def from_folder(cls, folder: str | Path, size: tuple[int, int] = (320, 320)) -> "TrainingImages":
        """Your own photographs: all in a folder and its sub-folders.

        Args:
            folder: the folder. Where each photograph lies in a sub-folder, sub-folders are places and give `labels`, which
                only supervised training needs.
            size: height and width in pixels of `pixels`. A square gives portraits and landscapes the same room.

        Returns:
            The photographs, not yet decoded; see `photographs` for what is left out. `image` gives them whole, turned
            upright and in their own size.

        Raises:
            DataMissing: there is no such folder.
            BadInput: it holds no photograph, or a height or width is below 1.
        """
        folder = Path(folder)
        letterboxed(Image.new("RGB", (1, 1)), size)
        names = [path.relative_to(folder).as_posix() for path in photographs(folder)]
        read = partial(_read_own, folder)
        return cls(folder.name, names, read, partial(_places_of, folder, names), size)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, i: int) -> Image.Image:
        """One photograph.

        Args:
            i: its number.

        Returns:
            The photograph, RGB.

        Raises:
            DataMissing: it is not there.
            BadInput: the archive or the photograph is damaged.
        """
        return self.read(self.names[i])

    def pixels(self, indices: Sequence[int] | np.ndarray | Tensor | None = None, progress: bool = False) -> Tensor:
        """Photographs as one tensor.

        Those of a folder are reduced or enlarged into `size` whole and in their own shape, in the middle of a grey ground
        (`letterboxed`): nothing is cut off or squeezed, and all fit into one batch. Descriptors of photographs in their own
        shape differ, so ask the teacher about these pixels too.

        Args:
            indices: numbers of n photographs; None takes all.
            progress: whether to show a progress bar.

        Returns:
            uint8 [n, 3, H, W], in the order of `indices`.

        Raises:
            DataMissing: a photograph is not there.
            BadInput: the archive or a photograph is damaged, or `indices` is empty.
        """
        chosen = range(len(self)) if indices is None else [int(i) for i in indices]
        read = tqdm(chosen, "decoding", unit="image", disable=not progress)
        if self.size is None:
            return to_tensor(self.image(i) for i in read)
        return to_tensor(letterboxed(self.read(self.names[i], max(self.size)), self.size) for i in read)

    def labels(self) -> Tensor:
        """The place of every photograph, such as its room. For supervised baselines only.

        Returns:
            int64 [N].

        Raises:
            DataMissing: the table of rooms is not there.
            BadInput: it is damaged or lacks a photograph, or photographs of a folder lie in no sub-folder.
        """
        places = self.place_of()
        try:
            return torch.tensor([places[name] for name in self.names])
        except (OverflowError, RuntimeError, ValueError):
            raise BadInput(f"The labels of {self.name} hold a number that is too large: {RESTORE}.") from None

    def draw(self, rooms: int = 30, seed: int = 0) -> Tensor:
        """All photographs of some random rooms, or places: the few-samples setting.

        Args:
            rooms: how many rooms.
            seed: of the draw.

        Returns:
            Their positions, ascending, int64 [n].

        Raises:
            DataMissing: as in `labels`.
            BadInput: as in `labels`, or there are fewer rooms.
        """
        labels = self.labels()
        known = labels.unique()
        if not 1 <= rooms <= len(known):
            raise BadInput(f"{rooms} rooms cannot be drawn from {len(known)}: give a number from 1 to {len(known)}.")
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
        return torch.isin(labels, known[order[:rooms]]).nonzero()[:, 0]


def read_room(archive: Path, name: str) -> Image.Image:
    """A photograph of the rooms set, as it is stored.

    Args:
        archive: the set.
        name: of the photograph.

    Returns:
        The photograph, RGB.

    Raises:
        DataMissing: the archive holds no such photograph.
        BadInput: the archive or the photograph is damaged.
    """
    return read_image(read_member(archive, f"images/{name}.webp"), name, upright=False)


def _rooms_of(table: Path, names: Sequence[str]) -> dict[str, int]:
    """The room of each training photograph of the rooms set."""
    if not table.is_file():
        raise DataMissing(f"{table} is missing: {RESTORE}.")
    try:
        text = table.read_text(encoding="utf-8").removeprefix("\ufeff")  # a spreadsheet puts a byte-order mark in front
        rooms = {row["image"]: int(row["room"]) for row in csv.DictReader(text.splitlines())}
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{table} is not a table of image,room ({error}): {RESTORE}.") from error
    missing = next((name for name in names if name not in rooms), None)
    if missing is not None:
        raise BadInput(f"{table} has no room for {missing}: {RESTORE}.")
    return rooms


def _read_own(folder: Path, name: str, imsize: int | None = None) -> Image.Image:
    return read_image(folder / name, imsize=imsize)


def _places_of(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """The number of each photograph's sub-folder."""
    other = next((name for name in names if name.count("/") != 1), None)
    if other is not None:
        raise BadInput(f"{folder} has no labels, for {other} lies in no sub-folder or deeper: make one for each place.")
    numbers = {place: i for i, place in enumerate(dict.fromkeys(name.split("/")[0] for name in names))}
    return {name: numbers[name.split("/")[0]] for name in names}
