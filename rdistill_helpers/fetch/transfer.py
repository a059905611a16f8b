"""One file from the network or a mirror: resumed where it broke, checked, and put in place whole or not at all.

On requests, not on pooch: a broken transfer of many gigabytes has to go on where it stopped, and pooch (1.9) starts again.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError

from rdistill_helpers.errors import BadInput, DownloadFailed
from rdistill_helpers.fetch.sources import File
from rdistill_helpers.files import only_writer, written_whole

LOCK_FILE = "downloads.lock.json"
ATTEMPTS = 4  # at each address, within one call
PAUSE = 1.0  # seconds before the second attempt, doubled before every further one
TIMEOUT = (15, 60)  # seconds to connect, and to wait for a byte
CHUNK = 1 << 16


class NotOffered(DownloadFailed):
    """No address has the file at all."""


class _Refused(Exception):
    """This address does not give the file; another one may."""


class _Absent(_Refused):
    """This address has no such file."""


class _Broken(Exception):
    """The transfer broke; the same address may go on with it."""


def fetch(
    file: File,
    root: Path,
    lock: Mapping[str, Mapping[str, Any]],
    mirrors: Sequence[str | Path],
    session: requests.Session,
    progress: bool,
    check: Callable[[Path], object] | None = None,
) -> str:
    """The SHA-256 of `root / file.path`, which is downloaded unless it is there.

    A broken transfer leaves NAME.part and, saying where that came from, NAME.state.part; the next call goes on from there.

    Args:
        file: what to download, and where it goes.
        root: the data folder.
        lock: what `read_lock` gives.
        mirrors: addresses or local folders, tried in order, the file's own address last.
        session: sends the requests.
        progress: whether to show a progress bar.
        check: called with a downloaded file before it is put in place; a BadInput from it refuses the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        NotOffered: no address has the file.
        DownloadFailed: no address gives the whole file with the checksum that is known or recorded, the file in place has
            another one, or the disk is full.
        InUse: another process downloads it.
    """
    target = root / file.path
    recorded = lock.get(file.path, {})
    file = replace(file, **recorded)
    if target.is_file():
        try:
            return _verify(target, file)
        except _Refused as error:
            raise DownloadFailed(f"{target} is there, but {error}: delete it to download it again.") from None
    part = target.with_name(target.name + ".part")
    reasons = []
    failure: type[DownloadFailed] = NotOffered
    try:
        with alone(root / file.path.replace("/", "-")):  # not next to the file: no folder is made for what nobody has
            for source in [*(_below(mirror, file.path) for mirror in mirrors), file.url]:
                try:
                    _transfer(source, file, part, session, progress)
                    digest = _verified(part, file, check)
                    part.replace(target)
                    _forget(part)
                    return digest
                except _Refused as error:
                    reasons.append(f"{source}: {error}")
                    failure = failure if isinstance(error, _Absent) else DownloadFailed
    except OSError as error:
        raise DownloadFailed(f"{target} cannot be written ({error}): check disk and rights of the folder.") from error
    advice = f", or remove its entry from {LOCK_FILE} if the file was meant to change" if recorded else ""
    raise failure(f"{file.path} could not be downloaded ({'; '.join(reasons)}): call again or try a mirror{advice}.")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from downloading to the same place.

    Args:
        path: the file or folder that is being downloaded.

    Yields:
        Nothing.

    Raises:
        InUse: another process downloads to it.
        DownloadFailed: its folder cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(path))
        except BadInput as error:
            raise DownloadFailed(str(error)) from error
        yield


def need_space(folder: Path, needed: int, purpose: str) -> None:
    """Check that the disk of a folder has space.

    Args:
        folder: the folder, which exists.
        needed: bytes.
        purpose: begins the sentence, as in "Downloading a file".

    Raises:
        DownloadFailed: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        sizes = f"{needed / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free"
        raise DownloadFailed(f"{purpose} needs {sizes}: free some space or choose another data folder.")


def read_lock(root: Path) -> dict[str, dict[str, Any]]:
    """What downloads.lock.json records of every file that was once downloaded well.

    Args:
        root: the data folder.

    Returns:
        {path: {sha256, size}}, the size in bytes; empty where there is no record yet.

    Raises:
        BadInput: the record is damaged.
    """
    path = root / LOCK_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: {"sha256": str(e["sha256"]), "size": int(e["size"])} for name, e in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(f"{path} is not a readable record ({error!r}): restore it, or delete it.") from error


def record(root: Path, digests: Mapping[str, str]) -> None:
    """Add files to downloads.lock.json, which is replaced whole; what stands there stays.

    Args:
        root: the data folder.
        digests: {path: SHA-256} of files that are in place.

    Raises:
        BadInput: the record is damaged or cannot be written.
        InUse: another process is writing it.
    """
    new = {path: {"sha256": digest, "size": (root / path).stat().st_size} for path, digest in digests.items()}
    with written_whole(root / LOCK_FILE) as unfinished:
        text = json.dumps({**new, **read_lock(root)}, indent=1, sort_keys=True)
        unfinished.write_text(text + "\n", encoding="utf-8")


def _below(mirror: str | Path, path: str) -> str:
    """The place of a file at a mirror."""
    text = str(mirror)
    return f"{text.rstrip('/')}/{path}" if "://" in text else str(Path(text).expanduser() / path)


def _transfer(source: str, file: File, part: Path, session: requests.Session, progress: bool) -> None:
    """Complete the part file from one source, in a few attempts."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            if "://" in source:
                return _request(source, file, part, session, progress)
            return _copy(Path(source), file, part, progress)
        except _Broken as error:
            reason = f"{error}, the last of {ATTEMPTS} attempts"
    raise _Refused(reason)


def _copy(source: Path, file: File, part: Path, progress: bool) -> None:
    """Copy from a local folder."""
    if not source.is_file():
        raise _Absent("no such file")
    total = _expected(source.stat().st_size, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    _forget(part)
    with source.open("rb") as content:
        _write(iter(lambda: content.read(CHUNK), b""), file, part, 0, total, progress)


def _request(url: str, file: File, part: Path, session: requests.Session, progress: bool) -> None:
    """One request: for the whole file, or for what the part file from the same address lacks."""
    state = _read_state(part)
    offset = part.stat().st_size if part.is_file() and state.get("url") == url else 0
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges are those of the file as it is stored
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if state.get("validator"):
            headers["If-Range"] = state["validator"]
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            start, total = start_and_total(response)
            total = _expected(total, file)
            if start is None and total == offset:  # whole already, only never put in place
                return
            if start not in (0, offset) or (start and state.get("total") not in (None, total)):
                _forget(part)
                raise _Broken("the file there changes")
            if not start:
                _forget(part)  # first of all: old bytes with a new state would be taken for a beginning
            part.parent.mkdir(parents=True, exist_ok=True)
            state = {"url": url, "validator": _validator(response), "total": total}
            _state_path(part).write_text(json.dumps(state), encoding="utf-8")
            # Undecoded: an archive that the server calls "compressed for the transfer" must arrive as an archive.
            _write(response.raw.stream(CHUNK, decode_content=False), file, part, start or 0, total, progress)
    except requests.TooManyRedirects:
        raise _Refused("its redirects go round in a circle") from None
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Broken(f"no connection ({type(error).__name__})") from error
    except HTTPError as error:
        raise _Broken(f"the connection broke ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise _Refused(f"no usable address ({type(error).__name__})") from error


def start_and_total(response: requests.Response) -> tuple[int | None, int | None]:
    """What an answer holds of a file.

    Args:
        response: the answer to a request for a file or for its end.

    Returns:
        The byte of the file that the answer starts with, None where the range asked for is past the end; and the length of
        the whole file, None where the answer does not say it.

    Raises:
        _Broken: the server cannot answer now; ask again.
        _Absent: it gives no such file.
    """
    code = response.status_code
    if code == 200:  # the whole file: none or no range was asked for, or the file is another one by now
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if re.fullmatch("[0-9]{1,15}", length) else None
    if code in (206, 416):
        stated = response.headers.get("Content-Range", "")
        found = re.match(r"bytes (?:([0-9]{1,15})-[0-9]+|\*)/([0-9]{1,15})(?![0-9])", stated)
        return (int(found[1]) if found and found[1] else None), (int(found[2]) if found else None)
    if code in (408, 429) or code >= 500:
        raise _Broken(f"HTTP {code}")
    raise _Absent(f"HTTP {code}")


def _expected(total: int | None, file: File) -> int | None:
    """The length to expect, from what the source says and what is known."""
    if file.size is not None and total not in (None, file.size):
        raise _Refused(f"{total:,} bytes instead of {file.size:,}")
    return total if file.size is None else file.size


def _write(pieces: Iterable[bytes], file: File, part: Path, offset: int, total: int | None, progress: bool) -> None:
    """Write pieces to the part file from `offset` on; raises _Broken when they end too early."""
    if total is not None:
        unpacked = total if file.unpacked else 0  # photographs are compressed already: they stay as large
        need_space(part.parent, total - offset + unpacked, f"Downloading {file.path}")
    bar = tqdm(total=total, initial=offset, desc=part.stem, unit="B", unit_scale=True, disable=not progress)
    with part.open("ab" if offset else "wb") as out, bar:
        for piece in pieces:
            offset += len(piece)
            if total is not None and offset > total:
                break
            out.write(piece)
            bar.update(len(piece))
    if total is not None and offset > total:
        _forget(part)
        raise _Refused(f"more than {total:,} bytes")
    if total is not None and offset < total:
        raise _Broken(f"it ended after {offset:,} of {total:,} bytes")


def _verify(path: Path, file: File, check: Callable[[Path], object] | None = None) -> str:
    """The SHA-256 of a file; _Refused unless length, checksum and content are right as far as they are known."""
    with path.open("rb") as content:
        beginning = content.read(256).lstrip()
        content.seek(0)
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if not beginning or beginning.startswith(b"<"):  # what servers send in place of a file
        raise _Refused("it is a web page" if beginning else "it is empty")
    _expected(path.stat().st_size, file)
    if not digest.startswith(file.sha256):
        raise _Refused(f"its SHA-256 {digest[:16]}... is not {file.sha256[:16]}...")
    try:
        if check is not None:
            check(path)
    except BadInput as error:
        raise _Refused(str(error)) from error
    return digest


def _verified(part: Path, file: File, check: Callable[[Path], object] | None) -> str:
    """The SHA-256 of a complete part file, which is deleted when it is wrong: there is nothing to go on from."""
    try:
        return _verify(part, file, check)
    except _Refused:
        _forget(part)
        raise


def _validator(response: requests.Response) -> str:
    """What tells this version of a file from others: a strong ETag or the date of its last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _state_path(part: Path) -> Path:
    return part.with_suffix(".state.part")


def _read_state(part: Path) -> dict[str, Any]:
    """Address, validator and length that a part file belongs to; empty where nothing readable says so."""
    try:
        state = json.loads(_state_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    known = isinstance(state, dict) and all(isinstance(state.get(key), str) for key in ("url", "validator"))
    return state if known else {}


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)
