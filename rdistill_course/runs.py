"""Where the course keeps what it computes: ledgers, checkpoints, trained students, scores."""

import os
from pathlib import Path

from rdistill_helpers.files import writing


def runs_root(root: str | Path | None = None) -> Path:
    """Gives the folder for computed files and creates it if needed.

    Every notebook and script finds the same folder, whatever folder it runs in.

    Args:
        root: The folder. By default that of the environment variable RDISTILL_RUNS; without it, `runs/` in the clone that
            the package was installed from, or in the current folder when it was not installed from a clone.

    Returns:
        The folder.

    Raises:
        BadInput: The folder cannot be created.
    """
    if root is None:
        root = os.environ.get("RDISTILL_RUNS") or None
    if root is None:
        clone = Path(__file__).resolve().parents[1]
        root = (clone if (clone / "pyproject.toml").is_file() else Path.cwd()) / "runs"
    folder = Path(root).expanduser()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
