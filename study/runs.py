"""The store of the study: every run is a line of one CSV, written as soon as the run ends and never changed.

Columns: version (of the settings), made (the day), data (which photographs, see `students.Rooms.source`; one store holds one
data), teacher (which was asked, and eight digits of its file; empty where none was; one store holds one file of each), method,
images, teacher_queries, seed, mAP of easy / medium / hard as fractions, seconds of training, settings, medium_ap (the average
precision of each query under the medium protocol, with spaces between), and the same of the student's queries in the teacher's
database: to_teacher and to_teacher_ap (empty where the student has no projection to the teacher's space).
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
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
NO_RUNS = "The study has no runs for this yet."
COLUMNS = ["version", "made", "data", "teacher", "method", "images", "teacher_queries", "seed"]
COLUMNS += ["easy", "medium", "hard", "seconds", "settings", "medium_ap", "to_teacher", "to_teacher_ap"]
Source = tuple[str, str]  # data and teacher of a run, as the store has them
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


def line(run: Run, report: Report, seconds: float, source: Source, to_teacher: Report | None = None) -> dict[str, Any]:
    """Describe a run that is done.

    Args:
        run: the run.
        report: what its student reaches.
        seconds: of its training.
        source: names of the photographs and of the teacher.
        to_teacher: what its queries reach in the teacher's database; None without a projection.

    Returns:
        A value for each of `COLUMNS`.
    """
    own = run.settings
    asymmetric = None if to_teacher is None else to_teacher.medium
    return {
        "version": version(),
        "made": date.today().isoformat(),
        "data": source[0],
        "teacher": source[1],
        "method": run.method,
        "images": own.images,
        "teacher_queries": own.queries,
        "seed": run.seed,
        **{name: f"{getattr(report, name).mAP:.6f}" for name in ("easy", "medium", "hard")},
        "seconds": f"{seconds:.1f}",
        "settings": as_text(own),
        "medium_ap": _numbers(report.medium.ap),
        "to_teacher": "" if asymmetric is None else f"{asymmetric.mAP:.6f}",
        "to_teacher_ap": "" if asymmetric is None else _numbers(asymmetric.ap),
    }


def _numbers(ap: Any) -> str:
    """Average precision of each query as the store has it."""
    return " ".join(f"{value:.4f}" for value in ap.tolist())


def read(path: Path = STORE) -> pandas.DataFrame:
    """Read all runs of a store, in their order.

    Args:
        path: the store. A last line that is still being written, or was cut off, is left out.

    Returns:
        A frame with the columns of the store; settings are `Settings`, medium_ap and to_teacher_ap float tensors [Q] or None.

    Raises:
        DataMissing: when there is no such file.
        BadInput: for another file, and for a store with runs of another version of the settings, of two data, or of two
            files of a teacher.
    """
    if not path.is_file():
        raise DataMissing(f"There is no store of runs at {path}: make it with `make study`.")
    rows = _lines(path, path.read_text(encoding="utf-8"))
    try:
        runs = pandas.DataFrame(rows, columns=COLUMNS)
        runs = runs.astype(dict.fromkeys(["images", "teacher_queries", "seed"], int))
        runs["to_teacher"] = [text or "nan" for text in runs["to_teacher"]]
        runs = runs.astype(dict.fromkeys(["easy", "medium", "hard", "seconds", "to_teacher"], float))
        known = {text: from_text(text) for text in set(runs["settings"])}
        runs["settings"] = pandas.Series([known[text] for text in runs["settings"]], dtype=object, index=runs.index)
        for column in ("medium_ap", "to_teacher_ap"):
            kept = [torch.tensor([float(value) for value in text.split()]) if text else None for text in runs[column]]
            runs[column] = pandas.Series(kept, dtype=object, index=runs.index)
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
            _check_sources(path, [*map(_source, there), _source(done)])
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
    wanted: Iterable[Run],
    work: Callable[[Run], dict[str, Any]],
    source: Callable[[Settings], Source],
    jobs: int = 1,
    path: Path = STORE,
) -> int:
    """Make the runs that are missing in a store; what was stopped goes on where it was.

    Args:
        wanted: the runs, in their order.
        work: trains and scores a run, and gives its `line`. With more than one job it is called in other processes.
        source: gives the names of the photographs and of the teacher that settings take.
        jobs: how many processes.
        path: the store.

    Returns:
        How many runs were added.

    Raises:
        BadInput: for a store that cannot be used, or that holds runs of other data or of another file of a teacher: nothing
            is trained then.
    """
    wanted, there = list(wanted), keys(path)
    sources = [source(run.settings) for run in wanted]
    _check_sources(path, sources)
    if path.is_file():  # what is added meanwhile is checked by `append`
        _check_sources(path, [*map(_source, _lines(path, path.read_text(encoding="utf-8"))), *sources])
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
    with ProcessPoolExecutor(jobs, context, _alone) as pool:
        for future in as_completed([pool.submit(work, run) for run in missing]):
            yield future.result()


def _alone() -> None:
    """Of a process that makes runs: one thread for the numbers, and no life after the study that started it was killed."""
    torch.set_num_threads(1)
    study = multiprocessing.parent_process()

    def follow() -> None:
        if study is not None:
            study.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


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
    _check_sources(path, map(_source, rows))
    others = {row["version"] for row in rows} - {version()}
    if others:
        raise BadInput(
            f"{path} holds runs of other settings (version {', '.join(sorted(others))}, here {version()}): move it away and "
            "make the runs again with `make study`, or go back to the study that wrote it."
        )
    return rows


def _source(row: Mapping[str, Any]) -> Source:
    """The photographs and the teacher of a line."""
    return row["data"], row["teacher"]


def _check_sources(path: Path, sources: Iterable[Source]) -> None:
    """BadInput for runs of two sets of photographs, or of two files of one teacher."""
    found: dict[str, dict[str, None]] = {}
    for data, teacher in sources:
        found.setdefault("photographs", {})[data] = None
        if teacher:
            found.setdefault(f"the {teacher.split()[0]}", {})[teacher] = None
    for what, names in found.items():
        if len(names) > 1:
            raise BadInput(
                f"{path} holds runs of other data: for {what} there are {', '.join(names)}. Move it away and make the runs "
                "again with `make study`, or go back to the data that they were made with."
            )


def _no_store(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path} is no store of runs ({error}): give a CSV that `python -m study run` wrote.")
