"""Archives of photographs unpacked safely: nothing but photographs, nothing outside the folder, every one whole."""

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from rdistill_helpers.data.paths import name_problem
from rdistill_helpers.errors import DownloadFailed, shown
from rdistill_helpers.fetch.transfer import need_space

ENDINGS = (".jpg", ".jpeg")
# Far above what the real archives hold, far below what fills a disk. SfM-120k has most entries: nearly each of its
# photographs lies in a folder of its own.
MAX_FILES = 1_000_000
MAX_FILE_BYTES = 200_000_000
MAX_TOTAL_BYTES = 20_000_000_000  # written, not read: what is left out costs only time
MAX_NOTE_BYTES = 100_000  # of a note on the next file, such as a long name, which tarfile reads into memory


class _BadArchive(Exception):
    """An archive that must not be unpacked, or cannot be."""


class _Member(tarfile.TarInfo):
    """What tarfile reads at the head of a file, with notes of any size refused."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        notes = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in notes and self.type != tarfile.GNUTYPE_SPARSE and self.size > MAX_NOTE_BYTES:
            raise _BadArchive("a note on one of its files is larger than notes are")
        return super()._proc_member(tar)  # type: ignore[misc]


def unpack(
    archives: Sequence[Path], folder: Path, flat: bool = False, check: Callable[[Path], None] | None = None
) -> None:
    """Unpack the photographs of .tar.gz archives into a new folder, which appears complete or not at all.

    Files that are not photographs are left out.

    Args:
        archives: the archives, unpacked together.
        folder: the new folder.
        flat: without the archives' sub-folders.
        check: called with the unpacked folder before it gets its name; what it raises stops the unpacking.

    Raises:
        DownloadFailed: an archive (then deleted) is damaged, too large, or holds links, devices, paths that lead out or one
            name twice, or the disk is full.
    """
    need_space(archives[0].parent, sum(a.stat().st_size for a in archives), f"Unpacking {archives[0].name}")
    with _aside(archives[0], folder) as aside:

        def place(name: PurePosixPath) -> Path | None:
            photograph = name.suffix.lower() in ENDINGS and not name.name.startswith(".")
            return aside / (name.name if flat else name) if photograph else None

        for archive in archives:
            _unpack_one(archive, place)
        if check is not None:
            check(aside)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            folder.rmdir()  # an empty one, made by hand
        aside.rename(folder)


def pick(archive: Path, targets: Mapping[str, Path], progress: bool = False) -> list[str]:
    """Write single photographs of a .tar.gz archive where they belong.

    The archive is read once, to its end, and nothing else of it is written; photographs appear in their places whole, and
    after all of it was read.

    Args:
        archive: the archive.
        targets: {file name in the archive, in whatever folder: its place}.
        progress: whether to show a progress bar.

    Returns:
        The names that the archive does not hold, sorted.

    Raises:
        DownloadFailed: as in `unpack`; then no photograph was written.
    """
    with _aside(archive, archive.parent) as aside:
        _unpack_one(archive, lambda name: aside / name.name if name.name in targets else None, progress)
        found = [name for name in targets if (aside / name).is_file()]
        for name in found:
            targets[name].parent.mkdir(parents=True, exist_ok=True)
            (aside / name).replace(targets[name])
    return sorted(targets.keys() - set(found))


@contextmanager
def _aside(archive: Path, filled: Path) -> Iterator[Path]:
    """A new folder for what is unpacked, gone at the end; where the disk fails, DownloadFailed names what was to be filled."""
    aside = archive.with_name(archive.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    try:
        aside.mkdir()
        yield aside
    except OSError as error:
        raise DownloadFailed(f"{filled} cannot be filled ({error}): check the disk and the folder's rights.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unpack_one(archive: Path, place: Callable[[PurePosixPath], Path | None], progress: bool = False) -> None:
    """Write the files of an archive where `place` says, None leaves one out; a bad archive is deleted."""
    size = archive.stat().st_size
    try:
        # Not tarfile's own decompression: it takes an archive that was cut between two files for a whole one.
        with (
            tqdm(total=size, desc=f"reading {archive.name}", unit="B", unit_scale=True, disable=not progress) as bar,
            archive.open("rb") as packed,
            gzip.open(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 20, tarinfo=_Member) as tar,
        ):
            count = total = 0
            for member in tar:
                target = place(PurePosixPath(member.name)) if member.isreg() else None
                count, total = count + 1, total + (member.size if target else 0)
                _check_member(member, count, total)
                if target:
                    _write_member(tar, member, target)
                bar.update(packed.tell() - bar.n)
            while plain.read(1 << 20):  # the checksum is compared at the very end
                pass
            bar.update(packed.tell() - bar.n)
    except (_BadArchive, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        archive.unlink()
        raise DownloadFailed(f"{archive.name} was not unpacked and is deleted ({error}): download it again.") from error


def _check_member(member: tarfile.TarInfo, count: int, total: int) -> None:
    """Raise _BadArchive for what no archive of photographs holds."""
    name = member.name
    # On every system: the archives of photographs hold no name that Windows could not open.
    if problem := name_problem(name, windows=True) or ("leads out of the folder" if "\\" in name else None):
        raise _BadArchive(f"the path {shown(name)} {problem}")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise _BadArchive(f"{shown(name)} is not a plain file but a link, a device or the like")
    if member.size > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
        raise _BadArchive(f"{shown(name)} is larger, or makes the archive larger, than archives of photographs are")
    if count > MAX_FILES:
        raise _BadArchive(f"it holds more than {MAX_FILES:,} files")


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # a regular file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            shutil.copyfileobj(content, out, 1 << 20)
    except (FileExistsError, NotADirectoryError):
        raise _BadArchive(f"it holds {target.name} twice") from None
