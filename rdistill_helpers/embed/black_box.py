"""A teacher that costs: a black box behind a query budget, and the ledger of what has been paid for.

The ledger is one SQLite file. An image is known by its pixels, and its descriptor in the ledger *is* the charge: the two
cannot come apart, whatever is killed when. Whoever opens the same file again finds everything that was paid for.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers.data.images import read_image, to_tensor
from rdistill_helpers.descriptors import LENGTH_TOLERANCE, check_descriptors
from rdistill_helpers.embed.extract import Photo, check_photos
from rdistill_helpers.errors import BadInput, BudgetExceeded, DataMissing

Embed = Callable[[Any], Tensor]

# Written into the file's header, so that no other SQLite file is taken for a ledger.
LEDGER_ID = 0x52446C31
SECONDS_TO_WAIT = 120  # for another process that pays


class BlackBoxTeacher:
    """Somebody else's network: images go in, descriptors come back, every image costs one query of a budget.

    Args:
        embed: asks the teacher: a batch (uint8 [B, 3, H, W], or a list of B PIL images, as `query` was given) ->
            L2-normalised descriptors [B, D]. `lambda images: extract(net, images, progress=False)` makes a teacher of a
            network.
        budget: how many different images may be sent in all, over all sessions that use this ledger; at least 1.
        ledger: path of a SQLite file, made when it is not there.
        name: whose descriptors the ledger holds, down to the version of the weights; a ledger of another name is refused,
            for the answers of two teachers must never meet.
        batch_size: how many images are sent at once.

    Raises:
        BadInput: a budget or batch size below 1, or a ledger that cannot be opened, is damaged or was made by another
            teacher.
    """

    def __init__(self, embed: Embed, budget: int, ledger: str | Path, name: str, batch_size: int = 64) -> None:
        if budget < 1:
            raise BadInput(f"With a budget of {budget} nothing can be asked: give a budget of at least 1.")
        if batch_size < 1:
            raise BadInput(f"The batch size {batch_size} is not usable: give a positive number.")
        self.embed = embed
        self.budget = budget
        self.ledger = Path(ledger)
        self.name = name
        self.batch_size = batch_size
        try:
            self.ledger.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.ledger, timeout=SECONDS_TO_WAIT, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise BadInput(f"The ledger {self.ledger} cannot be opened ({error}): give the path of a file.") from error
        try:
            self._open()
        except BaseException:
            self._database.close()
            raise

    @property
    def spent(self) -> int:
        """Queries paid for, ever: the number of different images in the ledger.

        Raises:
            BadInput: the ledger is damaged or cannot be used.
        """
        return int(self._execute("SELECT count(*) FROM paid")[0][0])

    @property
    def left(self) -> int:
        """Queries that the budget still allows.

        Raises:
            BadInput: the ledger is damaged or cannot be used.
        """
        return max(0, self.budget - self.spent)

    @property
    def dim(self) -> int | None:
        """Size of the teacher's descriptors, None as long as it was never asked.

        Raises:
            BadInput: the ledger is damaged or cannot be used.
        """
        return self._owner()[1]

    def query(self, images: Tensor | Sequence[Photo], progress: bool = True) -> Tensor:
        """The teacher's descriptors of images; only images never asked before are sent and charged.

        Equal pixels are one image, however given. Each batch is charged when its descriptors are in the ledger, both at
        once: after a failure the finished batches are kept and the unfinished one is not charged.

        Args:
            images: uint8 [N, 3, H, W], or a sequence of N PIL images and paths.
            progress: whether to show a progress bar.

        Returns:
            L2-normalised descriptors [N, D], float32, on the CPU, in the order of the images.

        Raises:
            BudgetExceeded: the images not yet paid for are more than what is left. Nothing was sent or charged; only where
                another process spends the same budget meanwhile can it come after some batches.
            BadInput: no images, images or files that cannot be read as such, an answer that is not one finite,
                L2-normalised descriptor of the ledger's dimension for each image (that batch is not charged), or a ledger
                that is damaged or cannot be used.
            DataMissing: a path leads to no file.

        What `embed` raises comes through.
        """
        check_photos(images, "A teacher is asked with", "ask the teacher about")
        keys = [image_key(images[index]) for index in range(len(images))]
        first_index: dict[bytes, int] = {}
        for index, key in enumerate(keys):
            first_index.setdefault(key, index)
        new = [(key, index) for key, index in first_index.items() if not self._is_paid(key)]
        self._check_budget(len(new))
        with tqdm(total=len(new), desc=f"asking {self.name}", unit="image", disable=not (progress and new)) as bar:
            for start in range(0, len(new), self.batch_size):
                batch = new[start : start + self.batch_size]
                self._pay(batch, images)
                bar.update(len(batch))
        known = {key: self._descriptor(key) for key in first_index}
        return torch.from_numpy(np.stack([known[key] for key in keys]))

    def paid_for(self, image: Photo | Tensor) -> Tensor | None:
        """What the ledger has of an image; nothing is sent.

        Args:
            image: uint8 [3, H, W], a PIL image or a path.

        Returns:
            Its descriptor, float32 [D]; None if it was not paid for.

        Raises:
            BadInput: a file that cannot be read as an image, or a ledger that is damaged or cannot be used.
            DataMissing: a path leads to no file.
        """
        key = image_key(image)
        return torch.from_numpy(self._descriptor(key).copy()) if self._is_paid(key) else None

    def close(self) -> None:
        """Close the ledger; what was paid for stays in it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BlackBoxTeacher({self.name!r}, spent {self.spent} of {self.budget}, ledger {str(self.ledger)!r})"

    def _open(self) -> None:
        """Make the ledger, or check that it is whole and this teacher's."""
        self._execute("PRAGMA trusted_schema = OFF")  # the file may come from somebody else
        self._execute("BEGIN IMMEDIATE")
        with self._database:
            ledger_id = self._execute("PRAGMA application_id")[0][0]
            if ledger_id == 0 and not self._execute("SELECT 1 FROM sqlite_master"):
                self._execute(f"PRAGMA application_id = {LEDGER_ID}")
                self._execute("CREATE TABLE teacher (name TEXT NOT NULL, dim INTEGER)")
                self._execute("CREATE TABLE paid (image BLOB PRIMARY KEY, row BLOB NOT NULL)")
                self._execute("INSERT INTO teacher (name) VALUES (?)", (self.name,))
            elif ledger_id != LEDGER_ID:
                raise BadInput(f"{self.ledger} is a database of something else and not a ledger: give another path.")
            self._execute("COMMIT")
        if self._execute("PRAGMA quick_check(1)") != [("ok",)]:
            raise self._damaged("its check fails")
        if self._execute("SELECT 1 FROM sqlite_master WHERE type IN ('trigger', 'view')"):
            raise self._damaged("it holds statements of its own, which no ledger does")
        owner = self._owner()[0]
        if owner != self.name:
            whose = f"made by the teacher {owner!r}, not by {self.name!r}"
            raise BadInput(f"The ledger {self.ledger} was {whose}: give each teacher a ledger of its own.")

    def _owner(self) -> tuple[str, int | None]:
        """Whose descriptors the ledger holds, and of which dimension."""
        owners = self._execute("SELECT name, dim FROM teacher")
        if len(owners) != 1 or not isinstance(owners[0][0], str) or not isinstance(owners[0][1], int | None):
            raise self._damaged("it does not say whose it is")
        return owners[0]

    def _pay(self, batch: list[tuple[bytes, int]], images: Tensor | Sequence[Photo]) -> None:
        """Send one batch of (key, index) and write descriptors and charge in one transaction."""
        # The ledger is locked from here on: what another process paid for in the meantime is not paid twice.
        self._execute("BEGIN IMMEDIATE")
        with self._database:
            batch = [(key, index) for key, index in batch if not self._is_paid(key)]
            if not batch:
                return
            self._check_budget(len(batch))
            chosen = [index for _, index in batch]
            sent = images[chosen] if isinstance(images, Tensor) else [read_image(images[index]) for index in chosen]
            descriptors = self._checked(self.embed(sent), len(batch))
            self._execute("UPDATE teacher SET dim = ?", (descriptors.shape[1],))
            for (key, _), descriptor in zip(batch, descriptors.numpy().astype("<f4"), strict=True):
                self._execute("INSERT INTO paid (image, row) VALUES (?, ?)", (key, descriptor.tobytes()))
            self._execute("COMMIT")

    def _checked(self, answer: object, count: int) -> Tensor:
        """The teacher's answer as float32 [count, D] on the CPU, or BadInput."""
        try:
            answered = torch.as_tensor(answer).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            kind = type(answer).__name__
            raise BadInput(f"{self.name!r} answered with {kind}, not an array of numbers: return [B, D].") from error
        descriptors = check_descriptors(answered, f"The descriptors that the teacher {self.name!r} gave", dim=self.dim)
        if len(descriptors) != count:
            raise BadInput(f"{self.name!r} answered {count} images with {len(descriptors)} descriptors: give one each.")
        return descriptors

    def _check_budget(self, count: int) -> None:
        """Raise BudgetExceeded when `count` new images are more than what is left."""
        left = self.left
        if count > left:
            what = f"{self.name!r} was not asked about {count} of these images, more than the {left} left of its budget"
            raise BudgetExceeded(f"{what} of {self.budget}: ask about fewer new images, or raise the budget.")

    def _is_paid(self, key: bytes) -> bool:
        return bool(self._execute("SELECT 1 FROM paid WHERE image = ?", (key,)))

    def _descriptor(self, key: bytes) -> np.ndarray:
        """The descriptor [D] of a paid image."""
        found = self._execute("SELECT row FROM paid WHERE image = ?", (key,))
        if len(found) != 1 or not isinstance(found[0][0], bytes) or len(found[0][0]) != 4 * (self.dim or 0):
            raise self._damaged(f"a descriptor is not {self.dim} numbers")
        descriptor = np.frombuffer(found[0][0], dtype="<f4")
        if not abs(float(np.linalg.norm(descriptor)) - 1) <= LENGTH_TOLERANCE:
            raise self._damaged("a descriptor is not finite, or has not length 1")
        return descriptor

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement on the ledger; BadInput where it fails."""
        try:
            return self._database.execute(statement, values).fetchall()
        except (sqlite3.ProgrammingError, sqlite3.OperationalError) as error:
            advice = "see that it can be written and no other program holds it, and open a new BlackBoxTeacher"
            raise BadInput(f"The ledger {self.ledger} cannot be used ({error}): {advice}.") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> BadInput:
        return BadInput(f"The ledger {self.ledger} is damaged ({reason}): restore it, or pay again into another file.")


def ledger_owner(ledger: str | Path) -> str:
    """Whose descriptors a ledger holds: the name to open it with.

    Args:
        ledger: path of the SQLite file.

    Returns:
        The teacher's name.

    Raises:
        DataMissing: there is no such file.
        BadInput: it is no ledger.
    """
    if not Path(ledger).is_file():
        raise DataMissing(f"There is no ledger at {ledger}: check the path.")
    try:
        database = sqlite3.connect(f"{Path(ledger).resolve().as_uri()}?mode=ro", uri=True, timeout=SECONDS_TO_WAIT)
        try:
            database.execute("PRAGMA trusted_schema = OFF")  # as in `_open`
            return str(database.execute("SELECT name FROM teacher").fetchone()[0])
        finally:
            database.close()
    except (sqlite3.Error, TypeError) as error:
        raise BadInput(f"{ledger} is not a ledger of teacher answers ({error}): give another file.") from error


def image_key(image: Photo | Tensor) -> bytes:
    """What an image is known by: SHA-256 over the shape and the bytes of its RGB pixels.

    The same pixels give the same key, whichever they come as.

    Args:
        image: uint8 [3, H, W], a PIL image or a path.

    Returns:
        32 bytes.

    Raises:
        BadInput: a file that cannot be read as an image.
        DataMissing: a path leads to no file.
    """
    pixels = image if isinstance(image, Tensor) else to_tensor([read_image(image)])[0]
    digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    digest.update(pixels.cpu().contiguous().numpy().tobytes())
    return digest.digest()
