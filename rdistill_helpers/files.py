"""Files that appear whole or not at all, each written by one process at a time; and a check of compressed files."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rdistill_helpers.errors import BadInput, InUse, RDistillError

SECONDS_TO_WAIT = 60  # for another process that writes the same small file


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Writes a file whole or not at all: a context in which it has another name, and at whose end it takes its own.

    Its folder is created. An earlier file stays in place until the end. Processes that write the same file take turns.

    Args:
        path: The name that the file takes.

    Yields:
        The path to write to, beside `path`.

    Raises:
        BadInput: The file cannot be written; nothing of it is left.
        InUse: Another process has been writing it for a minute.
    """
    unfinished = path.with_name(path.name + ".part")
    with only_writer(path, SECONDS_TO_WAIT), writing(path):
        try:
            yield unfinished
            with unfinished.open("r+b") as file:
                os.fsync(file.fileno())  # a crash of the machine must not leave the new name without its content
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


@contextmanager
def only_writer(path: Path, wait: float = 0) -> Iterator[None]:
    """Keeps other processes away from a file, by a lock beside it. The system frees the lock of a process that dies.

    Args:
        path: The file. Its folder is created.
        wait: Seconds to wait for another process to finish.

    Yields:
        Nothing.

    Raises:
        BadInput: The folder cannot be written.
        InUse: Another process still holds the lock.
    """
    lock = path.with_name(path.name + ".lock")
    with ExitStack() as held:
        try:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(lock, timeout=wait))
            held.callback(_delete, lock)
        except Timeout:
            raise InUse(f"Another process is writing {path}: call again later, or write to another place.") from None
        except NotImplementedError:  # some network file systems know no locks: there it is the user's to take turns
            pass
        yield


def refuse_packed(path: Path) -> None:
    """Refuses a compressed file of weights: `torch.save` writes none, and a small one can fill the memory.

    Args:
        path: A file that torch.load is to read.

    Raises:
        BadInput: It is a damaged or compressed archive, or unpacks to more than its length.
    """
    with path.open("rb") as file:
        try:
            entries = zipfile.ZipFile(file).infolist() if zipfile.is_zipfile(file) else []
        except Exception as error:  # a damaged archive fails in any way
            raise BadInput(f"{path} is no whole file of weights ({error}): get it again.") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise BadInput(f"{path} is compressed, which PyTorch's files never are: get it again.")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BadInput(f"{path} says that it holds more than it is long: get it again.")


def _delete(lock: Path) -> None:
    """Deletes a lock that is held; others that wait for it see that it has no name any more, and begin again."""
    with suppress(OSError):  # Windows deletes no open file; there the lock deletes itself
        lock.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns failures of the disk into one sentence. PyTorch reports them as RuntimeError.

    Args:
        path: The file or folder that the sentence names.

    Yields:
        Nothing.

    Raises:
        BadInput: The disk is full, the folder cannot be written, and the like.
    """
    try:
        yield
    except (RDistillError, NotImplementedError, RecursionError, Timeout):
        raise
    except (OSError, RuntimeError) as error:
        raise BadInput(f"{path} cannot be written ({error}): check the space on the disk and its rights.") from error
