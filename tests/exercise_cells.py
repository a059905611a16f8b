"""The exercises of the notebooks as tests use them: their cells, and answers made from a solution by changing a line."""

import ast
import builtins
import re
import symtable
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from rdistill_course import check

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@cache
def read(number: int) -> NotebookNode:
    """The notebook of this number."""
    return nbformat.read(PATHS[number], as_version=4)


def is_solution(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_check(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def grade_ids(notebook: NotebookNode) -> list[str]:
    return [cell.metadata["nbgrader"]["grade_id"] for cell in notebook.cells if "nbgrader" in cell.metadata]


def place(notebook: NotebookNode, grade_id: str) -> int:
    """Where the cell with this grade id stands."""
    return next(
        i for i, cell in enumerate(notebook.cells) if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )


def names_of(source: str) -> tuple[set[str], set[str]]:
    """Names that a piece of code binds at its top level, and global names that it reads anywhere, built-in ones left out."""
    table = symtable.symtable(source, "cell", "exec")
    bound = {one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()}
    read, inner = {one.get_name() for one in table.get_symbols() if one.is_referenced()}, table.get_children()
    while inner:
        scope = inner.pop()
        read |= {one.get_name() for one in scope.get_symbols() if one.is_global() and one.is_referenced()}
        inner += scope.get_children()
    return bound, read - set(dir(builtins))


def needed_before(notebook: NotebookNode, end: int, source: str) -> str:
    """The statements of earlier code cells, set-up included, without which `source` would not run, in their order."""
    wanted = names_of(source)[1]
    statements = [
        ast.unparse(statement)
        for cell in notebook.cells[:end]
        if cell.cell_type == "code" and "nbgrader" not in cell.metadata
        for statement in ast.parse(cell.source).body
    ]
    kept = []
    for statement in reversed(statements):
        bound, read = names_of(statement)
        if bound & wanted:
            kept.append(statement)
            wanted = (wanted - bound) | read
    return "\n".join(reversed(kept))


def solution_of(number: int, exercise: str) -> str:
    """Source of the solution cell of an exercise, e.g. "1.2"."""
    notebook = read(number)
    return str(notebook.cells[place(notebook, f"exercise-{exercise.replace('.', '-')}")].source)


def answer_from(number: int, exercise: str, source: str) -> Callable:
    """The function that this source of a solution cell defines, with what its notebook has defined before."""
    notebook = read(number)
    end = place(notebook, f"exercise-{exercise.replace('.', '-')}")
    namespace: dict[str, object] = {}
    exec(needed_before(notebook, end, source), namespace)
    exec(source, namespace)
    name = re.search(r"^def (\w+)", source, re.MULTILINE).group(1)
    return namespace[name]


def solution(number: int, exercise: str) -> Callable:
    """The notebook's own solution, as a function."""
    return answer_from(number, exercise, solution_of(number, exercise))


def changed(number: int, exercise: str) -> Callable[..., Callable]:
    """Gives the maker of wrong answers: called with old, new, old, new, ... it changes the solution's source that way."""

    def make(*replacements: str) -> Callable:
        source = solution_of(number, exercise)
        for old, new in zip(replacements[::2], replacements[1::2], strict=True):
            assert source.count(old) >= 1, f"{old!r} is not in the solution of exercise {exercise}"
            source = source.replace(old, new)
        return answer_from(number, exercise, source)

    return make


def hint_of(checked: Callable, answer: Callable) -> str:
    """What a check tells of a wrong answer; it must tell something."""
    with pytest.raises(check.Hint) as told:
        checked(answer)
    return str(told.value)


def reduced(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the code that its exercises do not need: the same exercises, executed in seconds.

    Of each other code cell the statements are left that an exercise below it needs, of text and outputs everything.
    """
    copy = deepcopy(notebook)
    wanted: set[str] = set()
    kept = []
    for cell in reversed(copy.cells):
        if cell.cell_type == "code" and "nbgrader" in cell.metadata:
            wanted |= names_of(cell.source)[1]
        elif cell.cell_type == "code":
            statements = []
            for statement in map(ast.unparse, reversed(ast.parse(cell.source).body)):
                bound, read = names_of(statement)
                if bound & wanted:
                    statements.insert(0, statement)
                    wanted = (wanted - bound) | read
            if not statements:
                continue
            cell.source = "\n".join(statements)
        kept.insert(0, cell)
    copy.cells = kept
    return copy
