"""The embedded rooms set: one archive, read in place, and the labels of its training part."""

import csv
import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers.data.images import read_image, to_tensor
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.errors import BadInput, DataMissing

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


@dataclass(frozen=True)
class TrainingImages:
    """Unlabelled training photographs; their labels lie in another file, read only by `labels` and `draw`.

    Attributes:
        name: of the set.
        names: of the N photographs.
        archive: the file that holds them.
        labels_file: the table of their rooms.
    """

    name: str
    names: list[str]
    archive: Path
    labels_file: Path

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
            BadInput: another name, or a damaged archive.
        """
        if name != "rooms":
            raise BadInput(f"The training set {name!r} is not known: the embedded one is 'rooms'.")
        folder = data_root(root)
        verify_archive(folder / "rooms.zip")
        names = read_member(folder / "rooms.zip", "train.txt").decode(errors="replace").split()
        return cls(name, names, folder / "rooms.zip", folder / "rooms_train_labels.csv")

    def __len__(self) -> int:
        return len(self.names)

    def image(self, i: int) -> Image.Image:
        """One photograph.

        Args:
            i: its number.

        Returns:
            The photograph, RGB.

        Raises:
            DataMissing: it is not in the archive.
            BadInput: the archive or the photograph is damaged.
        """
        return read_image(read_member(self.archive, f"images/{self.names[i]}.webp"), self.names[i])

    def pixels(self, indices: Sequence[int] | np.ndarray | Tensor | None = None, progress: bool = False) -> Tensor:
        """Photographs as one tensor.

        Args:
            indices: numbers of n photographs; None takes all.
            progress: whether to show a progress bar.

        Returns:
            uint8 [n, 3, H, W], in the order of `indices`.

        Raises:
            DataMissing: a photograph is not in the archive.
            BadInput: the archive or a photograph is damaged, or `indices` is empty.
        """
        chosen = range(len(self)) if indices is None else [int(i) for i in indices]
        return to_tensor([self.image(i) for i in tqdm(chosen, "decoding", unit="image", disable=not progress)])

    def labels(self) -> Tensor:
        """The room of every photograph. For supervised baselines only.

        Returns:
            int64 [N].

        Raises:
            DataMissing: the table of rooms is not there.
            BadInput: it is damaged or lacks a photograph.
        """
        if not self.labels_file.is_file():
            raise DataMissing(f"{self.labels_file} is missing: {RESTORE}.")
        try:
            with self.labels_file.open(newline="", encoding="utf-8") as file:
                rooms = {row["image"]: int(row["room"]) for row in csv.DictReader(file)}
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{self.labels_file} is not a table of image,room ({error}): {RESTORE}.") from error
        missing = next((name for name in self.names if name not in rooms), None)
        if missing is not None:
            raise BadInput(f"{self.labels_file} has no room for {missing}: {RESTORE}.")
        try:
            return torch.tensor([rooms[name] for name in self.names])
        except (OverflowError, RuntimeError, ValueError):
            raise BadInput(f"{self.labels_file} holds a number that is too large: {RESTORE}.") from None

    def draw(self, rooms: int = 30, seed: int = 0) -> Tensor:
        """All photographs of some random rooms: the few-samples setting.

        Args:
            rooms: how many rooms.
            seed: of the draw.

        Returns:
            Their positions, ascending, int64 [n].

        Raises:
            DataMissing: the table of rooms is not there.
            BadInput: it is damaged, or there are fewer rooms.
        """
        labels = self.labels()
        known = labels.unique()
        if not 1 <= rooms <= len(known):
            raise BadInput(f"{rooms} rooms cannot be drawn from {len(known)}: give a number from 1 to {len(known)}.")
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
        return torch.isin(labels, known[order[:rooms]]).nonzero()[:, 0]
