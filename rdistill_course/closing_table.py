"""The closing table of the course: one row a method, its mAP under the easy, medium and hard protocol.

The rows travel between notebooks and scripts as a small JSON file, a list of {"name", "easy", "medium", "hard"} with
mAP as fractions; print shows percent. A protocol under which no query has positives, such as hard with one's own photographs
in folders, has no score: nan in a row, null in the file, a dash where it is shown.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from rdistill_course.runs import runs_root
from rdistill_helpers.errors import BadInput, DataMissing, shown
from rdistill_helpers.files import written_whole
from rdistill_helpers.score.report import percent

Level = Literal["easy", "medium", "hard"]
LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")
ONE_SEED = (
    "One training of each student, with one seed: trained students that are a few points apart may change places with the "
    "next seed."
)


class ScoreRow(TypedDict):
    """mAP of one method, as fractions; nan where a protocol has no positives."""

    name: str
    easy: float
    medium: float
    hard: float


class _HasMAP(Protocol):
    @property
    def mAP(self) -> float: ...


class _ReportLike(Protocol):
    @property
    def easy(self) -> _HasMAP: ...
    @property
    def medium(self) -> _HasMAP: ...
    @property
    def hard(self) -> _HasMAP: ...


def score_row(name: str, report: _ReportLike) -> ScoreRow:
    """The row of one method.

    Args:
        name: how tables and figures call it.
        report: what `evaluate` gave for it.

    Returns:
        Its name and mAP, as fractions.

    Raises:
        BadInput: a score that is no fraction.
    """
    return _checked({"name": name, "easy": report.easy.mAP, "medium": report.medium.mAP, "hard": report.hard.mAP})


def course_scores_path() -> Path:
    """Where notebook 04 leaves the table and `make course` reads it.

    Returns:
        `runs/course/scores.json`.
    """
    return runs_root() / "course" / "scores.json"


def write_scores(rows: Sequence[ScoreRow], path: str | Path | None = None) -> Path:
    """Writes the rows, at once or not at all.

    Args:
        rows: one for each method.
        path: the file, `course_scores_path()` unless another is named.

    Returns:
        The path.

    Raises:
        BadInput: a row that is none, or a path that cannot be written.
    """
    path = course_scores_path() if path is None else Path(path)
    checked = [_checked(row) for row in rows]
    plain = [{name: None if value != value else value for name, value in row.items()} for row in checked]
    text = json.dumps(plain, indent=1)
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
    return path


def read_scores(path: str | Path | None = None) -> list[ScoreRow]:
    """The rows of a file that `write_scores` wrote.

    Args:
        path: the file, `course_scores_path()` unless another is named.

    Returns:
        One row for each method.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file holds no list of rows.
    """
    path = course_scores_path() if path is None else Path(path)
    if not path.is_file():
        raise DataMissing(f"No scores at {path}: run notebook 04, which writes them.")
    try:
        return [_checked(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, RecursionError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is no table of scores ({error}): delete it and run notebook 04 again.") from error


def format_scores(rows: Sequence[ScoreRow]) -> str:
    """The rows as a text table, mAP in percent.

    Args:
        rows: one for each method.

    Returns:
        A head and one line for each method.
    """
    head = "mAP in percent"
    width = max([len(head), *(len(row["name"]) for row in rows)])
    lines = [f"{head:<{width}}  {'Easy':>6}  {'Medium':>6}  {'Hard':>6}", "-" * (width + 24)]
    for row in rows:
        lines.append("  ".join([f"{row['name']:<{width}}", *(f"{percent(row[level]):>6}" for level in LEVELS)]))
    return "\n".join(lines)


def _checked(row: Mapping[str, Any]) -> ScoreRow:
    """The row as plain Python values; BadInput when a part is missing or is no fraction."""
    try:
        name = str(row["name"])
        easy, medium, hard = (math.nan if row[level] is None else float(row[level]) for level in LEVELS)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise BadInput(
            f"A row of scores needs name, easy, medium and hard, and {shown(row)} lacks some of it."
        ) from error
    if not all(math.isnan(value) or 0 <= value <= 1 for value in (easy, medium, hard)):
        raise BadInput(
            f"The scores of {shown(name)} must be mAP as fractions from 0 to 1, not {easy}, {medium}, {hard}."
        )
    return {"name": name, "easy": easy, "medium": medium, "hard": hard}
