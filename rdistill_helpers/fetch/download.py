"""Downloads of the real benchmarks, distractors, training photographs and published networks into the data folder."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import requests
from tqdm.auto import tqdm

from rdistill_helpers.data.benchmark import REVISITED
from rdistill_helpers.data.ground_truth import read_ground_truth
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.errors import BadInput, DownloadFailed, RDistillError
from rdistill_helpers.fetch import sources
from rdistill_helpers.fetch.sources import File
from rdistill_helpers.fetch.transfer import NotOffered, alone, fetch, read_lock, record
from rdistill_helpers.fetch.unpack import pick, unpack

Fetch = Callable[..., str]


def download(
    name: str,
    root: str | Path | None = None,
    parts: Sequence[int | str] | None = None,
    mirrors: Sequence[str | Path] = (),
    progress: bool = True,
    keep: bool = False,
) -> Path:
    """Download a data set or a network into the data folder, except for what is there.

    A broken transfer goes on where it stopped. Checksums of first downloads are recorded in downloads.lock.json, and later
    downloads must agree.

    Args:
        name: "roxford5k" or "rparis6k" (for `Benchmark.load`), "revisitop1m", "sfm120k", or a name in PUBLISHED (for
            `load_published`).
        root: the data folder (see `data_root`).
        parts: of revisitop1m the numbers of its archives, 1 to 100 (all when None); of sfm120k the ids of photographs, which
            come in addition to its two lists of pairs: one by one where a mirror or the server has them so, else picked out
            of the one archive of all photographs, train/ims/ims.tar.gz, which is used where it is if it is there already.
        mirrors: addresses or local folders that have the files under the same names as the data folder; they come before
            the official address.
        progress: whether to show progress bars and a closing line.
        keep: leave the archives where they are once they are unpacked.

    Returns:
        The folder of the data set, or the file of the network.

    Raises:
        BadInput: a name or part that does not exist, or a record of checksums that is damaged or cannot be written.
        DataMissing: there is no data folder.
        DownloadFailed: something could not be had; then nothing is left half done.
        InUse: another process downloads the same.
    """
    folder = data_root(root)
    if name not in sources.SOURCES:
        raise BadInput(f"{name!r} cannot be downloaded: choose one of {', '.join(sources.SOURCES)}.")
    files = _wanted(name, parts)
    with requests.Session() as session:
        get = partial(fetch, root=folder, lock=read_lock(folder), mirrors=mirrors, session=session, progress=progress)
        if name in REVISITED:
            place = folder / name
            changed = _benchmark(files, place, folder, get, keep)
        elif name == "revisitop1m":
            place = folder / name / "jpg"
            changed = False
            for file in files:  # each archive into a folder of its own, so that each is complete or absent
                shard = place / Path(file.path).name.removesuffix(".tar.gz")
                changed |= _photographs([file], shard, folder, get, keep)
        elif name == "sfm120k":
            place = folder / "train"
            local = any(Path(mirror, sources.SFM_ARCHIVE.path).expanduser().is_file() for mirror in mirrors)
            changed = _training_set(files, folder, get, keep, progress, local)
        else:
            place = folder / files[0].path
            changed = _plain_files(files, folder, get)
    if progress:
        print(f"{name}: {'downloaded to' if changed else 'nothing to download, everything is in place in'} {place}")
    return place


def _wanted(name: str, parts: Sequence[int | str] | None) -> list[File]:
    """The files that a name and its parts stand for."""
    files = sources.SOURCES[name]
    if parts is None:
        return files
    if isinstance(parts, str) or name not in ("revisitop1m", "sfm120k"):
        raise BadInput(f"parts={parts!r} cannot be used: give a list, and only with revisitop1m or sfm120k.")
    chosen = list(dict.fromkeys(str(part) for part in parts))
    known = re.compile(r"[1-9]\d?|100" if name == "revisitop1m" else r"[0-9A-Za-z_-]{6,64}")
    wrong = next((part for part in chosen if not known.fullmatch(part)), None)
    if wrong is not None:
        kind = "an archive from 1 to 100" if name == "revisitop1m" else "the id of a photograph"
        raise BadInput(f"The part {wrong!r} of {name} does not exist: each must be {kind}.")
    if name == "revisitop1m":
        return [files[int(part) - 1] for part in chosen]
    return [*files, *(sources.sfm_image(part) for part in chosen)]


def _plain_files(files: Iterable[File], root: Path, get: Fetch) -> bool:
    """Download files that stay as they are; whether there was anything to do."""
    digests, recorded, changed = {}, read_lock(root), False
    try:
        for file in files:
            new = not (root / file.path).is_file()
            digest = get(file)
            changed |= new
            if new or file.path not in recorded:  # a call that was killed may have come no further than the file
                digests[file.path] = digest
    finally:
        if digests:
            # Nothing new in a folder that cannot be written is no reason to fail.
            with nullcontext() if changed else suppress(RDistillError):
                record(root, digests)
    return changed


def _benchmark(files: Sequence[File], folder: Path, root: Path, get: Fetch, keep: bool) -> bool:
    """Ground truth first, for it tells whether the archives hold every photograph."""
    truth, *archives = files
    changed = _plain_files([truth], root, partial(get, check=read_ground_truth))
    listed = read_ground_truth(root / truth.path)
    names = set(listed["imlist"] + listed["qimlist"])

    def complete(photographs: Path) -> None:
        missing = sorted(names - {n for path in photographs.iterdir() for n in (path.name, path.stem)})
        if missing:
            where = f"in {photographs}" if photographs == folder / "jpg" else "in its archives"
            first = f"({', '.join(missing[:3])}...)"
            what = f"{len(missing)} photographs of {folder.name} are not {where} {first}"
            raise DownloadFailed(f"{what}: delete these and download again.")

    return _photographs(archives, folder / "jpg", root, get, keep, flat=True, check=complete) or changed


def _training_set(files: Sequence[File], root: Path, get: Fetch, keep: bool, progress: bool, local: bool) -> bool:
    """Files one by one; photographs that nobody offers so out of the archive. local: a mirror on this disk has that."""
    archive = sources.SFM_ARCHIVE
    in_place = (root / archive.path).is_file()
    lists = len(sources.SOURCES["sfm120k"])
    there = [file for file in files[lists:] if (root / file.path).is_file()]
    lacking = [file for file in files[lists:] if not (root / file.path).is_file()]
    changed = _plain_files([*files[:lists], *there], root, get) or bool(lacking)
    many = len(lacking) > 10  # one progress bar for all of them, then
    if not in_place:
        bar = tqdm(lacking, "files", disable=not (progress and many))
        try:
            _plain_files(bar, root, partial(get, progress=False) if many else get)
        except DownloadFailed as error:
            if not (isinstance(error, NotOffered) or local):
                raise
        lacking = [file for file in lacking if not (root / file.path).is_file()]
    if lacking:
        with alone(root / archive.path):
            digest = get(archive)
            missing = pick(root / archive.path, {Path(file.path).name: root / file.path for file in lacking}, progress)
            record(root, {archive.path: digest})
            if not (keep or in_place):
                (root / archive.path).unlink()
        if missing:
            what = f"{len(missing)} photographs are not in {archive.path} ({', '.join(missing[:3])}...)"
            raise DownloadFailed(f"{what}: check their ids; the others are in place.")
    return changed


def _photographs(
    archives: Sequence[File],
    folder: Path,
    root: Path,
    get: Fetch,
    keep: bool,
    flat: bool = False,
    check: Callable[[Path], None] | None = None,
) -> bool:
    """Download archives and unpack them together as a new folder; whether there was anything to do."""

    def in_place() -> bool:
        if not (folder.is_dir() and any(folder.iterdir())):
            return False
        if check is not None:
            check(folder)
        return True

    if in_place():
        return False
    with alone(folder):
        if in_place():  # by another process, since
            return False
        digests = {archive.path: get(archive) for archive in archives}

        def check_and_record(photographs: Path) -> None:
            if check is not None:
                check(photographs)
            record(root, digests)  # before the folder is in place: once it is, nobody looks at the archives again

        unpack([root / path for path in digests], folder, flat, check_and_record)
        if not keep:
            for path in digests:
                (root / path).unlink()
    return True
