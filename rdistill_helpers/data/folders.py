"""Which files of a folder are photographs: the one listing that every reader of folders uses."""

import os
import warnings
from collections import Counter
from pathlib import Path

from PIL import UnidentifiedImageError

from rdistill_helpers.data.images import open_image
from rdistill_helpers.errors import BadInput, DataMissing

# What network drives, archives and systems put beside photographs.
SYSTEM = {
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found",
    "system volume information", "thumbs.db", "desktop.ini",
}  # fmt: skip
# Pillow would read the small preview in such a file.
RAW = {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}


def photographs(folder: str | Path) -> list[Path]:
    """The photographs in a folder and its sub-folders, judged by content; a warning counts what was left out, and why.

    Left out are hidden files and folders, those that network drives and systems make (`@eaDir`), raw files of cameras, and
    files that `read_image` cannot open.

    Args:
        folder: where to look; links are followed, each folder once.

    Returns:
        Their paths, sorted.

    Raises:
        DataMissing: there is no such folder.
        BadInput: it holds no photograph; the message says what it holds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataMissing(f"The folder {folder} is not there: check the path.")
    found, left, seen = [], Counter[str](), set()

    def closed(error: OSError) -> None:
        left["folders that cannot be opened"] += 1

    for place, inner, files in os.walk(folder, onerror=closed, followlinks=True):
        status = Path(place).stat()
        if (itself := (status.st_dev, status.st_ino)) in seen:
            inner.clear()  # a link to a folder above, or to one that was listed already
            continue
        seen.add(itself)
        ours = [name for name in inner if not _of_the_system(name)]
        left["hidden or of the system, such as @eaDir"] += len(inner) - len(ours)
        inner[:] = sorted(ours)
        for path in (Path(place, name) for name in files):
            why = _why_not(path)
            if why is None:
                found.append(path)
            else:
                left[why] += 1
    reasons = "; ".join(f"{count} {why}" for why, count in left.most_common() if count)
    if not found:
        raise BadInput(f"{folder} holds no photograph ({reasons or 'it is empty'}): give another folder.")
    if reasons:
        warnings.warn(f"{folder}: {len(found)} photographs; left out: {reasons}.", stacklevel=2)
    return sorted(found)


def _of_the_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _why_not(path: Path) -> str | None:
    """Why a file is not taken for a photograph; None for one that is."""
    if _of_the_system(path.name):
        return "hidden or of the system, such as @eaDir"
    if path.suffix.lower() in RAW:
        return "raw files of cameras, to be developed first"
    if not path.is_file():
        return "no files, or links to none"
    try:
        open_image(path).close()
    except UnidentifiedImageError as error:
        return f"{path.suffix.lower() or 'without ending'} ({error})"
    except Exception as error:  # a damaged file makes its decoder fail in any way
        return f"damaged ({path.name}: {error})"
    return None
