"""The store of the study: every run is a line of one CSV, written as soon as the run ends and never changed.

Columns: version (of the settings), made (the day, or the name of an earlier loop), data (photographs and teacher, see
`students.Rooms.name`; one store holds one data), method, images, teacher_queries, seed, mAP
of easy / medium / hard as fractions, seconds of training, settings, and medium_ap, the average precision of each query under
the medium protocol with spaces between (empty where it was not kept).
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas
import torch
from tqdm.auto import tqdm

from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import SECONDS_TO_WAIT, only_writer
from rdistill_helpers.score.report import Report
from study.settings import Settings, as_text, from_text, version

STORE = Path(__file__).parent / "results" / "runs.csv"
COLUMNS = ["version", "made", "data", "method", "images", "teacher_queries", "seed"]
COLUMNS += ["easy", "medium", "hard", "seconds", "settings", "medium_ap"]
SEARCH = "search"  # the method of a run that tries settings: its scores are of the validation rooms
SEARCHING = 1000  # seeds from here on tried or chose settings and are no results


@dataclass(frozen=True)
class Run:
    """A run to be made.

    Attributes:
        method: a name of `methods.METHODS`, or `SEARCH`.
        settings: what to train.
        seed: of the photographs and of the training.
    """

    method: str
    settings: Settings
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What the line of this run is found by."""
        return self.method, as_text(self.settings), self.seed


def line(run: Run, report: Report, seconds: float, data: str) -> dict[str, Any]:
    """Describe a run that is done.

    Args:
        run: the run.
        report: what its student reaches.
        seconds: of its training.
        data: name of the photographs and the teacher.

    Returns:
        A value for each of `COLUMNS`.
    """
    own = run.settings
    return {
        "version": version(),
        "made": date.today().isoformat(),
        "data": data,
        "method": run.method,
        "images": own.images,
        "teacher_queries": own.queries,
        "seed": run.seed,
        **{name: f"{getattr(report, name).mAP:.6f}" for name in ("easy", "medium", "hard")},
        "seconds": f"{seconds:.1f}",
        "settings": as_text(own),
        "medium_ap": " ".join(f"{value:.4f}" for value in report.medium.ap.tolist()),
    }


def read(path: Path = STORE) -> pandas.DataFrame:
    """Read all runs of a store, in their order.

    Args:
        path: the store. A last line that is still being written, or was cut off, is left out.

    Returns:
        A frame with the columns of the store; settings are `Settings`, medium_ap is a float tensor [Q] or None.

    Raises:
        DataMissing: when there is no such file.
        BadInput: for another file, and for a store with runs of another version of the settings, or of two data.
    """
    if not path.is_file():
        raise DataMissing(f"There is no store of runs at {path}: make it with `make study`.")
    rows = _lines(path, path.read_text(encoding="utf-8"))
    try:
        runs = pandas.DataFrame(rows, columns=COLUMNS)
        runs = runs.astype(dict.fromkeys(["images", "teacher_queries", "seed"], int))
        runs = runs.astype(dict.fromkeys(["easy", "medium", "hard", "seconds"], float))
        known = {text: from_text(text) for text in set(runs["settings"])}
        runs["settings"] = pandas.Series([known[text] for text in runs["settings"]], dtype=object, index=runs.index)
        kept = [torch.tensor([float(value) for value in text.split()]) if text else None for text in runs["medium_ap"]]
        runs["medium_ap"] = pandas.Series(kept, dtype=object, index=runs.index)
    except (TypeError, ValueError) as error:
        raise _no_store(path, error) from error
    return runs


def keys(path: Path = STORE) -> set[tuple[str, str, int]]:
    """Tell which runs are there.

    Args:
        path: the store; there may be no such file yet.

    Returns:
        The key of each run, see `Run.key`.

    Raises:
        BadInput: as `read` does.
    """
    if not path.is_file():
        return set()
    runs = read(path)
    return {(row.method, as_text(row.settings), row.seed) for row in runs.itertuples()}


def append(done: dict[str, Any], path: Path = STORE) -> bool:
    """Add a run to a store; it is on disk when this returns. Processes that add to the same store take turns.

    A last line that was cut off when a process died is dropped first.

    Args:
        done: what `line` gives.
        path: the store, made with its folder where there is none.

    Returns:
        Whether the run was added: one that another process has added meanwhile is not added again.

    Raises:
        BadInput: for a store that `read` refuses or that holds runs of other data, or one that cannot be written.
        InUse: when another process writes the store for a minute.
    """
    with only_writer(path, SECONDS_TO_WAIT):
        path.touch()
        with path.open("r+", newline="", encoding="utf-8") as file:
            whole, newline, _ = file.read().rpartition("\n")
            there = _lines(path, whole + newline)
            _check_data(path, (row["data"] for row in there), done["data"])
            if any(all(row[name] == str(done[name]) for name in ("method", "settings", "seed")) for row in there):
                return False
            file.seek(len((whole + newline).encode()))
            file.truncate()
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if not whole:
                writer.writeheader()
            writer.writerow(done)
            file.flush()
            os.fsync(file.fileno())
    return True


def make(
    wanted: Iterable[Run], work: Callable[[Run], dict[str, Any]], data: str, jobs: int = 1, path: Path = STORE
) -> int:
    """Make the runs that are missing in a store; what was stopped goes on where it was.

    Args:
        wanted: the runs, in their order.
        work: trains and scores a run, and gives its `line`. With more than one job it is called in other processes.
        data: name of the photographs and the teacher that it takes.
        jobs: how many processes.
        path: the store.

    Returns:
        How many runs were added.

    Raises:
        BadInput: for a store that cannot be used, or that holds runs of other data: nothing is trained then.
    """
    _check_data(path, read(path)["data"] if path.is_file() else (), data)
    there = keys(path)
    missing = list({run.key: run for run in wanted if run.key not in there}.values())
    with tqdm(total=len(missing), desc="study", unit="run", disable=not missing) as bar:
        added = 0
        for done in _done(missing, work, jobs):
            added += append(done, path)
            bar.update()
    return added


def _done(missing: list[Run], work: Callable[[Run], dict[str, Any]], jobs: int) -> Iterator[dict[str, Any]]:
    """The lines of runs as they end."""
    if jobs == 1 or len(missing) < 2:
        yield from map(work, missing)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(work, run) for run in missing]):
            yield future.result()


def _lines(path: Path, text: str) -> list[dict[str, str]]:
    """The lines of a store that are whole; BadInput for another file and for lines of other settings."""
    whole, _, _ = text.rpartition("\n")
    try:
        reader = csv.DictReader(io.StringIO(whole))
        if whole and reader.fieldnames != COLUMNS:
            raise ValueError(f"its columns are {', '.join(reader.fieldnames or [])}")
        rows = list(reader)
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a line has another number of values")
    except (ValueError, csv.Error) as error:
        raise _no_store(path, error) from error
    _check_data(path, (row["data"] for row in rows), rows[0]["data"] if rows else "")
    others = {row["version"] for row in rows} - {version()}
    if others:
        raise BadInput(
            f"{path} holds runs of other settings (version {', '.join(sorted(others))}, here {version()}): move it away and "
            "make the runs again with `make study`, or go back to the study that wrote it."
        )
    return rows


def _check_data(path: Path, there: Iterable[str], data: str) -> None:
    """BadInput for a store with runs of other photographs, or of another teacher."""
    others = sorted(set(there) - {data})
    if others:
        raise BadInput(
            f"{path} holds runs of other photographs or of another teacher ({', '.join(others)} beside {data}): move it away "
            "and make the runs again with `make study`, or go back to the data that they were made with."
        )


def _no_store(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path} is no store of runs ({error}): give a CSV that `python -m study run` wrote.")
