"""Where the data folder is."""

import os
from pathlib import Path, PureWindowsPath

from rdistill_helpers.errors import DataMissing

# What Windows opens in place of a file of this name, whatever its folder and ending.
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789")}


def data_root(root: str | Path | None = None) -> Path:
    """The data folder: `root` where given, else $RDISTILL_DATA, else data/ next to the package or above the working folder.

    Args:
        root: the folder; None looks for it.

    Returns:
        The path of a folder that exists.

    Raises:
        DataMissing: there is no such folder.
    """
    given = root if root is not None else os.environ.get("RDISTILL_DATA")
    if given:
        folder = Path(given).expanduser()
        if folder.is_dir():
            return folder
        raise DataMissing(f"The data folder {folder} is not there: check the path, or unset RDISTILL_DATA.")
    beside_package = Path(__file__).resolve().parents[2]
    for place in (beside_package, Path.cwd(), *Path.cwd().parents):
        if (place / "data" / "rooms_train_labels.csv").is_file():
            return place / "data"
    raise DataMissing("There is no data folder: work inside a clone of the project, or set RDISTILL_DATA to its data/.")


def name_problem(name: str, windows: bool = os.name == "nt") -> str | None:
    """What keeps a name from somebody else's file from being a path inside a folder.

    Args:
        name: a path with slashes of either kind.
        windows: whether it is to be opened on Windows, which cannot open every name.

    Returns:
        The end of a sentence that begins with the name, as in "leads out of the folder"; None if nothing is wrong.
    """
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or (windows and PureWindowsPath(name).drive):
        return "leads out of the folder"
    if windows and any(_closed_on_windows(part) for part in parts):
        return "cannot be opened on Windows"
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError:
        return "holds half of a character"
    if "\0" in name:
        return "holds a zero byte"
    # The first bound is that of most file systems.
    return "is too long" if longest > 255 or len(name) > 1000 or len(parts) > 30 else None


def _closed_on_windows(part: str) -> bool:
    device = part.split(".")[0].rstrip().upper() in DEVICES
    return device or part.rstrip(" .") not in (part, "") or any(c in '<>:"|?*' or c < " " for c in part)
