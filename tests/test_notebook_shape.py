"""The shape of a lesson: short, results said aloud, plots in functions, an open exercise."""

import re
from pathlib import Path

import nbformat
import pytest
from exercise_cells import PATHS, is_solution

PLOTTING = re.compile(
    r"\b(?:ax|axes|plt|fig|figure|panel)\b(?:\.|\[|, )|\.(?:imshow|scatter|plot|annotate|set_title)\("
)
WORDS = {6: 2000}  # at most; others 2,500
FIGURES = {6: 6}

each_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def lines_of(cell: nbformat.NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


@each_lesson
def test_it_is_short(path):
    words = sum(len(cell.source.split()) for cell in cells(path, "markdown"))
    assert words <= WORDS.get(int(path.name[:2]), 2500)
    figures = [
        output for cell in cells(path, "code") for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert len(figures) <= FIGURES.get(int(path.name[:2]), 12)


@each_lesson
def test_it_opens_with_what_was_found(path):
    """With a number that a command or a cell has written."""
    page = nbformat.read(path, as_version=4).cells[:6]
    text = "\n".join(cell.source for cell in page if cell.cell_type == "markdown")
    shown = "\n".join(
        str(output.get("data", {}).get("text/markdown", "")) for c in page for output in c.get("outputs", [])
    )
    assert "**What we found" in text + shown
    assert "<!-- finding: " in text or "**What we found" in shown


@each_lesson
def test_every_section_ends_with_an_answer(path):
    text = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    sections = re.split(r"^## (?=\d+\. )", text, flags=re.MULTILINE)[1:]
    sections = [re.split(r"^## ", section, flags=re.MULTILINE)[0] for section in sections]
    assert [section.partition("\n")[0] for section in sections if not re.search(r"\*\*Answers?\b", section)] == []


@each_lesson
def test_imports_and_plots_take_few_lines(path):
    every, plotting = 0, 0
    for cell in cells(path, "code"):
        lines = lines_of(cell)
        imported = re.findall(r"^(?:from|import) [^(\n]*(?:\([^)]*\))?", cell.source, re.MULTILINE)
        assert sum(one.count("\n") + 1 for one in imported) <= 12, cell.source[:80]
        plots = sum(bool(PLOTTING.search(line)) for line in lines)
        assert plots <= 12, cell.source[:80]
        if not is_solution(cell):
            every, plotting = every + len(lines), plotting + plots
    assert plotting < 0.2 * every


@pytest.mark.parametrize("path", PATHS[2:8], ids=lambda path: path.stem)
def test_one_exercise_is_open(path):
    text = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    tried = re.findall(r"^### Try it: .+?(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(tried) == 1 and "three seeds" in tried[0]
