"""Writes docs/objectives.md, the map objective -> section -> exercise -> check, from the metadata of the notebooks' cells.

With --check nothing is written: it fails where the map has a gap or the page is out of date.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from rdistill_course import check
from rdistill_course.quizzes import all_quizzes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "objectives.md"
INTRODUCTION = """\
# What each notebook teaches, and where you practise it

An objective is taught in a section, and practised in an exercise whose check answers at once, or in a quiz question. Quiz
questions count because some objectives ask you to explain something, and no program can check that: the quiz
answers at once, and says of every wrong option why it is wrong. Notebook 0 has no exercises.

This page is made from the notebooks by `python tools/objectives_map.py`; change the notebooks, not the page. A test fails where an
objective lacks its section, or has neither exercise nor question.
"""


@dataclass
class Exercise:
    """One exercise: its number as in the notebook, title, the objectives that it practises, the check's name if it has one."""

    number: str
    title: str
    objectives: list[str]
    check: str | None


def marks(cell: NotebookNode) -> dict:
    """The course's own metadata of a cell."""
    return dict(cell.metadata.get("rdistill", {}))


def is_exercise(cell: NotebookNode) -> bool:
    return "exercise" in marks(cell)


def objectives_of(notebook: NotebookNode) -> dict[str, str]:
    """Objectives by their id."""
    return {
        number: text
        for cell in notebook.cells
        if not is_exercise(cell)
        for number, text in marks(cell).get("objectives", {}).items()
    }


def listed_objectives(notebook: NotebookNode) -> list[str]:
    """The numbered list that the reader sees below the heading Objectives, without the punctuation at each end."""
    for cell in notebook.cells:
        found = re.search(r"^## Objectives\n(.*?)(?=^## |\Z)", cell.source, re.MULTILINE | re.DOTALL)
        if cell.cell_type == "markdown" and found:
            items = re.findall(r"^\d+\. (.*(?:\n +.*)*)", found.group(1), re.MULTILINE)
            return [" ".join(item.split()).rstrip(";.") for item in items]
    return []


def sections_of(notebook: NotebookNode) -> list[tuple[str, list[str]]]:
    """Numbered sections in order: title with its number, and the objectives that it teaches."""
    found = []
    for cell in notebook.cells:
        heading = re.match(r"## (\d+\. .+)", cell.source)
        if cell.cell_type == "markdown" and heading:
            found.append((heading.group(1).strip(), list(marks(cell).get("teaches", []))))
    return found


def exercises_of(notebook: NotebookNode) -> list[Exercise]:
    """Exercises in order; the check is the one of the third cell, where that is a graded cell."""
    found = []
    for place, cell in enumerate(notebook.cells):
        if is_exercise(cell):
            title = re.match(r"### Exercise [\d.]+: (.+)", cell.source)
            third = notebook.cells[place + 2] if place + 2 < len(notebook.cells) else None
            graded = third is not None and third.metadata.get("nbgrader", {}).get("grade")
            found.append(
                Exercise(
                    marks(cell)["exercise"],
                    title.group(1).strip() if title else "",
                    list(marks(cell).get("objectives", [])),
                    marks(third).get("check") if graded else None,
                )
            )
    return found


def quiz_of(notebook: NotebookNode) -> dict[str, list[str]]:
    """The objectives that each quiz question asks about, by the question's number."""
    for cell in notebook.cells:
        if isinstance(quiz := marks(cell).get("quiz"), dict):
            return {number: list(objectives) for number, objectives in quiz.items()}
    return {}


def gaps(notebook: NotebookNode, number: int) -> list[str]:
    """What is missing or out of step in the notebook of this number, one sentence each; none when the map is whole."""
    objectives, sections, exercises, quiz = (
        objectives_of(notebook),
        sections_of(notebook),
        exercises_of(notebook),
        quiz_of(notebook),
    )
    found = []
    if list(objectives) != [f"{number}.{k + 1}" for k in range(len(objectives))] or not objectives:
        found.append(f"its objectives are numbered {list(objectives)}, not {number}.1 and so on")
    if list(objectives.values()) != listed_objectives(notebook):
        found.append("the list of objectives that is shown differs from the metadata of its cell")
    for title, taught in sections:
        if not taught:
            found.append(f"section {title!r} teaches no objective")
    for cell in notebook.cells:
        if "teaches" in marks(cell) and not re.match(r"## \d+\. ", cell.source):
            found.append(f"cell {cell.id} says what it teaches, and is no heading of a section")
    places = {
        **{f"section {title!r}": taught for title, taught in sections},
        **{f"exercise {one.number}": one.objectives for one in exercises},
        **{f"quiz question {question}": asked for question, asked in quiz.items()},
    }
    for place, named in places.items():
        if unknown := [one for one in named if one not in objectives]:
            found.append(f"{place} names objectives that the notebook does not have: {unknown}")
        if not named and not place.startswith("section"):
            found.append(f"{place} belongs to no objective")
    for objective in objectives:
        if not any(objective in taught for _, taught in sections):
            found.append(f"objective {objective} has no section")
        if not any(objective in named for place, named in places.items() if not place.startswith("section")):
            found.append(f"objective {objective} has neither exercise nor quiz question")
    found += _gaps_of_exercises(notebook, number, exercises)
    shown = [str(question.number) for question in all_quizzes()[number].questions]
    if list(quiz) != shown or not quiz:
        found.append(f"the quiz shows the questions {shown}, and its metadata has {list(quiz)}")
    return found


def _gaps_of_exercises(notebook: NotebookNode, number: int, exercises: list[Exercise]) -> list[str]:
    found = []
    if [one.number for one in exercises] != [f"{number}.{k + 1}" for k in range(len(exercises))]:
        found.append(f"its exercises are numbered {[one.number for one in exercises]}, not {number}.1 and so on")
    owned = set()
    for place, cell in enumerate(notebook.cells):
        if not is_exercise(cell):
            continue
        name = marks(cell)["exercise"]
        if not cell.source.startswith(f"### Exercise {name}: "):
            found.append(f"the heading of exercise {name} shows another number")
        solution, graded = ([*notebook.cells[place + 1 : place + 3], None, None])[:2]
        if solution is None or not solution.metadata.get("nbgrader", {}).get("solution"):
            found.append(f"exercise {name} is not followed by its solution")
            continue
        if graded is None or not graded.metadata.get("nbgrader", {}).get("grade"):
            found.append(f"exercise {name} has no check")
            continue
        owned |= {solution.id, graded.id}
        function = marks(graded).get("check")
        call = re.fullmatch(r"check\.(\w+)\((\w+)\)", graded.source.strip())
        if not call or call.group(1) != function:
            found.append(f"the check of exercise {name} calls something else than check.{function}")
        elif f"def {call.group(2)}(" not in solution.source:
            found.append(f"the check of exercise {name} looks at {call.group(2)}, which its solution does not define")
        if function not in check.__all__:
            found.append(f"exercise {name} has the check {function}, which the package does not offer")
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata and cell.id not in owned:
            found.append(f"cell {cell.id} is a solution or a check without an exercise")
    return found


def unused_checks(notebooks: list[NotebookNode]) -> list[str]:
    """Checks of the package that no exercise uses."""
    used = {one.check for notebook in notebooks for one in exercises_of(notebook)}
    return sorted(set(check.__all__) - {"Hint", "hint"} - used)


def page(paths: list[Path]) -> str:
    """The page for these notebooks, as Markdown."""
    parts = [INTRODUCTION]
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        title = re.match(r"# (.+)", notebook.cells[0].source)
        name = title.group(1).strip() if title else path.stem
        parts.append(f"## [{name}](../notebooks/{path.name})\n\n{_table(notebook)}")
    return "\n".join(parts)


def _table(notebook: NotebookNode) -> str:
    exercises, quiz = exercises_of(notebook), quiz_of(notebook)
    lines = ["| objective | section | exercise | check | quiz |", "|---|---|---|---|---|"]
    for objective, text in objectives_of(notebook).items():
        sections = [title for title, taught in sections_of(notebook) if objective in taught]
        practised = [one for one in exercises if objective in one.objectives]
        asked = [question for question, named in quiz.items() if objective in named]
        cells = [
            f"{objective} {text}",
            "<br>".join(sections),
            "<br>".join(f"{one.number} {one.title}" for one in practised),
            "<br>".join(f"`check.{one.check}`" for one in practised),
            ", ".join(asked),
        ]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on gaps or a page out of date")
    arguments = parser.parse_args()
    paths = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    found = [
        f"{path.name}: {gap}"
        for number, (path, notebook) in enumerate(zip(paths, notebooks, strict=True))
        for gap in gaps(notebook, number)
    ]
    found += [f"check.{name} belongs to no exercise" for name in unused_checks(notebooks)]
    text = page(paths)
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        found.append(f"{PAGE.relative_to(ROOT)} is out of date: run python tools/objectives_map.py")
    print(
        "\n".join(found) or f"{PAGE.relative_to(ROOT)}: every objective has its section and its exercise or question."
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
