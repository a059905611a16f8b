"""Where the course keeps what it computes: ledgers, checkpoints, trained students, scores."""

import os
from pathlib import Path

from rdistill_helpers.files import writing


def runs_root(root: str | Path | None = None) -> Path:
    """The folder for computed files, made when it is not there.

    root: the folder to use; without it the environment variable RDISTILL_RUNS, and without that `runs/` of the clone
    that the package was installed from (or of the current folder, when it was not installed from a clone). So every
    notebook and script finds the same files, whatever folder it runs in. Raises BadInput when it cannot be made.
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
