"""Writes the tables, figures and findings of the study into README.md, docs, the protocol, the model card and the notebooks.

A page has its tables between marks, <!-- table: NAME --> and <!-- /table -->, its findings between <!-- finding: NAME --> and
<!-- /finding -->, its figures between <!-- figure: NAME PATH --> and <!-- /figure -->, and between <!-- data --> and
<!-- /data --> the sentence that says of which photographs they are. What lies between marks is written here, the rest by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pandas

from rdistill_course.style import drawn, use_style
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import written_whole
from study import findings, students, tables
from study.figures import gain_rows
from study.tables import teachers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(
    ROOT / name
    for name in (
        "README.md",
        "docs/evidence.md",
        "docs/recipe.md",
        "data/models/MODEL_CARD.md",
        "study/PROTOCOL.md",
    )
) + tuple(sorted((ROOT / "notebooks").glob("*.ipynb")))
MARKS = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
SENTENCES = re.compile(r"(<!-- finding: ([\w-]+) -->\n).*?(<!-- /finding -->)", re.DOTALL)
PICTURES = re.compile(r"(<!-- figure: ([\w-]+) (\S+) -->\n).*?(<!-- /figure -->)", re.DOTALL)
DATA = re.compile(r"(<!-- data -->\n).*?(<!-- /data -->)", re.DOTALL)


TABLES: dict[str, Callable[[pandas.DataFrame], pandas.DataFrame]] = {
    "front": tables.front,
    "targets": tables.targets,
    "by-size": tables.by_size,
    "claims": tables.claims,
    "controls": tables.controls,
    "larger": tables.larger,
    "assisted": tables.assisted,
    "choices": tables.choices,
    "students": tables.students,
    "mixed-by-size": tables.mixed_by_size,
    "made": tables.made,
    "primary": tables.primary,
    "validated": tables.validated,
    "explored": tables.explored,
    "search-in": tables.search_in,
}
FIGURES: dict[str, Callable[[pandas.DataFrame], Figure]] = {"verdict": lambda runs: gain_rows(tables.verdict(runs))}
OF_TEACHERS: dict[str, Callable[[pandas.DataFrame], pandas.DataFrame]] = {
    "teacher-scores": teachers.scores,
    "same-room": teachers.same_room,
    "teacher-students": teachers.students,
    "teacher-curves": teachers.curves,
}


def filled(page: str, runs: pandas.DataFrame) -> str:
    """Make the tables and findings of a page anew, the descriptions of its figures, and the sentence about their data.

    Args:
        page: its text.
        runs: of the store.

    Returns:
        The text with what belongs between its marks.

    Raises:
        KeyError: for a mark that names no table, figure or finding.
    """
    page = SENTENCES.sub(lambda mark: f"{mark[1]}{findings.told(mark[2], runs)}\n{mark[3]}", page)
    page = DATA.sub(lambda mark: f"{mark[1]}{made_with(runs)}\n{mark[2]}", page)
    page = PICTURES.sub(lambda mark: f"{mark[1]}{_described(mark[2], mark[3], runs)}\n{mark[4]}", page)
    return MARKS.sub(lambda mark: f"{mark[1]}\n{markdown(_table(mark[2], runs))}\n\n{mark[3]}", page)


def _table(name: str, runs: pandas.DataFrame) -> pandas.DataFrame:
    return OF_TEACHERS[name](teachers.read()) if name in OF_TEACHERS else TABLES[name](runs)


def _figure(name: str, runs: pandas.DataFrame) -> Figure | None:
    """A figure; None where the store has no runs for it."""
    try:
        return FIGURES[name](runs)
    except BadInput:
        return None


def _described(name: str, path: str, runs: pandas.DataFrame) -> str:
    """A picture with its description as a page has it."""
    figure = _figure(name, runs)
    return findings.NOT_YET if figure is None else f"![{figure.get_label()}]({path})"


def _draw(page: Path, text: str, runs: pandas.DataFrame) -> None:
    """Writes the pictures that a page shows."""
    use_style()
    for _, name, path, _ in PICTURES.findall(text):
        if (figure := _figure(name, runs)) is not None:
            with written_whole(page.parent / path) as unfinished:
                unfinished.write_bytes(drawn(figure)[1])


def made_with(runs: pandas.DataFrame) -> str:
    """Say of which photographs and of whose answers figures are.

    Args:
        runs: of the store.

    Returns:
        A sentence.
    """
    if not len(runs):
        return "No run of the study is in the store yet."
    rooms, data = students.rooms(), runs["data"].iloc[0]
    said = f"All figures of the study were made with edition {data.split('-')[1]} of the rooms and its teacher"
    asked = {name for name in runs["teacher"] if name}
    return (
        f"{said}."
        if data == rooms.name
        and asked == {f"{name} {rooms.version(name)}" for name in (one.split()[0] for one in asked)}
        else f"{said}, not with those that ship now: they wait to be made anew."
    )


def markdown(table: pandas.DataFrame) -> str:
    """Print a table.

    Args:
        table: the table.

    Returns:
        Markdown; one line instead where there is no row yet.
    """
    if not len(table):
        return findings.NOT_YET
    return table.to_markdown(index=False, disable_numparse=True)


def fill(runs: pandas.DataFrame, check: bool = False) -> list[Path]:
    """Bring the tables, figures and findings of the pages up to date.

    Args:
        runs: of the store.
        check: write nothing.

    Returns:
        The pages that were out of date.
    """
    outdated = []
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        new = filled_notebook(page, runs) if path.suffix == ".ipynb" else filled(page, runs)
        if new != page:
            outdated.append(path)
            if not check:
                _draw(path, new, runs)
                with written_whole(path) as unfinished:
                    unfinished.write_text(new, encoding="utf-8")
    return outdated


def filled_notebook(page: str, runs: pandas.DataFrame) -> str:
    """Make the findings of a notebook anew.

    Args:
        page: the notebook's JSON.
        runs: of the store.

    Returns:
        The JSON with what belongs between the marks in its Markdown cells.
    """
    if "<!-- finding" not in page:
        return page
    notebook = nbformat.reads(page, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = filled(cell.source, runs)
    return nbformat.writes(notebook).rstrip("\n") + "\n"
