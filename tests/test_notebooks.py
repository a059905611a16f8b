"""Every notebook follows the pattern of the course, was executed, and has cells whose output is checked."""

import itertools
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
APPENDICES = sorted((ROOT / "notebooks").glob("appendix_*.ipynb"))
PATHS = LESSONS + APPENDICES
MAX_BYTES = 2_500_000
MIN_CHECKED = 5

# A score that is shown as a fraction.
FRACTION = re.compile(r"(?:\bm?AP|\bm?P@\d+|precision|\bscore)\b[ =:]*[01]?\.\d\d+(?!\d* ?%)")

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
each_appendix = pytest.mark.parametrize("path", APPENDICES, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def text_of(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def test_the_lessons_are_numbered_without_a_gap_and_the_appendices_lettered():
    assert [path.name[:3] for path in LESSONS] == [f"{number:02d}_" for number in range(len(LESSONS))]
    assert len(LESSONS) >= 6
    letters = "abcdefgh"[: len(APPENDICES)]
    assert [path.name[:11] for path in APPENDICES] == [f"appendix_{letter}_" for letter in letters]
    assert sorted((ROOT / "notebooks").glob("*.ipynb")) == PATHS


@each_notebook
def test_the_readme_links_to_it(path):
    assert f"(notebooks/{path.name})" in (ROOT / "README.md").read_text(encoding="utf-8")


@each_notebook
def test_it_was_executed_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path) if "nbval-skip" not in tags(cell)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_output_is_an_error(path):
    failed = [
        output.ename
        for cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "error" and not {"raises-exception", "nbval-raises-exception"} & set(tags(cell))
    ]
    assert failed == []


@each_notebook
def test_enough_cells_have_their_output_checked(path):
    checked = [cell for cell in code_cells(path) if "nbval-check-output" in tags(cell)]
    assert len(checked) >= MIN_CHECKED
    assert all(cell.outputs for cell in checked), "a cell without output checks nothing"


@each_notebook
def test_it_is_small_enough_to_be_shown_on_a_code_host(path):
    assert path.stat().st_size < MAX_BYTES


@each_notebook
def test_it_opens_with_a_title_and_a_promise(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    title, _, rest = first.source.strip().partition("\n")
    assert re.match(r"# \S", title)
    promise = rest.strip().split("\n\n")[0]
    assert len(promise.split()) >= 15
    assert not promise.startswith(("#", "-", "*", "|"))


@each_lesson
def test_it_has_the_parts_of_the_pattern_in_order(path):
    text = text_of(path)
    parts = ["Objectives", "Prerequisites", "Run time", "Recap", "Quiz", "References"]
    places = [re.search(rf"^(#+ |\*\*){part}\b", text, re.MULTILINE | re.IGNORECASE) for part in parts]
    assert [part for part, place in zip(parts, places, strict=True) if place is None] == []
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts)


@each_appendix
def test_an_appendix_answers_each_section_and_asks_nothing_of_the_reader(path):
    """At most 1,500 words; no objectives, exercises or quizzes."""
    page, text = read(path), text_of(path)
    letter = path.name[len("appendix_")].upper()
    assert page.cells[0].source.startswith(f"# Appendix {letter}. ")
    assert "**Run time**: about " in text and re.search(r"^## References$", text, re.MULTILINE)
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:-1]
    assert sections and all(section.rstrip().split("\n\n")[-1].startswith("**Answer.** ") for section in sections)
    assert not re.search(r"^#+ (?:Objectives|Exercise|Quiz)\b", text, re.MULTILINE)
    assert not any({"rdistill", "nbgrader"} & set(cell.metadata) for cell in page.cells)
    assert len(text.split()) <= 1500


@each_lesson
def test_it_names_three_to_five_objectives(path):
    section = re.split(r"(?:^|\n)(?:#+ |\*\*)Objectives\b.*\n", text_of(path), maxsplit=1, flags=re.IGNORECASE)[1]
    listed = re.match(r"(?:.*\n)*?((?:(?:[-*]|\d+\.) .*\n(?:  +.*\n|\n(?=[-*] |\d+\. ))*)+)", section + "\n")
    assert listed
    assert 3 <= len(re.findall(r"^(?:[-*]|\d+\.) ", listed.group(1), re.MULTILINE)) <= 5


@each_notebook
def test_its_figures_have_alt_text(path):
    without = [
        number
        for number, cell in enumerate(code_cells(path), 1)
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt")
    ]
    assert without == [], "cells whose figure has no alt text: show it with show_figure(fig, alt)"


@each_notebook
def test_a_line_below_each_figure_says_what_to_see_in_it(path):
    """In the first text below it, in the same section."""
    cells, without = read(path).cells, []
    for number, cell in enumerate(cells):
        shown = (kind for output in cell.get("outputs", []) for kind in output.get("data", {}))
        below = next((other.source for other in cells[number + 1 :] if other.cell_type == "markdown"), "")
        if any(kind.startswith("image/") for kind in shown) and not re.search(
            r"^\*?What to see: ", below, re.MULTILINE
        ):
            without.append(cell.source.splitlines()[-1])
    assert without == []


# --- What several notebooks say


def shown_texts(path: Path) -> list[str]:
    """Every text that the outputs hold: printed, in tables, and said of figures."""
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    printed = [output.text for output in outputs if output.output_type == "stream"]
    plain = [text for output in outputs for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return printed + plain


def scores_said(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Systems with their easy, medium and hard mAP, from tables and from what is said of bars."""
    found = []
    for text in shown_texts(path):
        found += re.findall(r"(?:: |; )([^;:]+?) easy (\d+\.\d), medium (\d+\.\d), hard (\d+\.\d)", text)
        if "Easy  Medium    Hard" in text:
            found += re.findall(r"^(\S.*?) +([\d.]+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    return [(name, tuple(values)) for name, *values in found]


def test_a_system_has_the_same_scores_in_all_notebooks():
    said: dict[str, set[tuple[str, ...]]] = {}
    for path in PATHS:
        for name, values in scores_said(path):
            name = {"distilled student": "distilled"}.get(name, name)  # notebook 5 loads what notebook 4 saved
            said.setdefault(name, set()).add(values)
    assert {"teacher", "untrained student", "distilled"} <= set(said)
    assert {name: values for name, values in said.items() if len(values) > 1} == {}


@each_notebook
def test_scores_are_shown_in_percent(path):
    lines = [line for text in shown_texts(path) for line in text.splitlines()]
    assert [line for line in lines if FRACTION.search(line)] == []


def test_the_check_for_percent_sees_a_fraction():
    assert [bool(FRACTION.search(line)) for line in ("AP 0.6548", "P@1  = 1.000", "AP 65.48 %")] == [1, 1, 0]


def test_what_a_network_costs_is_measured_alike_in_all_notebooks_and_stated_in_none():
    timed = [path for path in PATHS if "milliseconds(" in "\n".join(cell.source for cell in code_cells(path))]
    assert len(timed) >= 2
    for path in timed:
        code = "\n".join(cell.source for cell in code_cells(path))
        assert re.search(r"from rdistill_course.cost import [^\n]*milliseconds", code), path.name
        assert "def milliseconds" not in code
    assert [path.name for path in PATHS if re.search(r"\d times as long", text_of(path))] == []


def test_text_below_drawn_photographs_holds_for_any_draw():
    counted = r"\b(?:first|second|third|last) (?:\w+ )?(?:photograph|room|row)|\b(?:two|three|four)\s+others\b"
    for path in PATHS:
        cells = read(path).cells
        below = [after.source for cell, after in itertools.pairwise(cells) if "image_grid(" in cell.source]
        assert [text for text in below if re.search(counted, text)] == [], path.name


def test_bars_of_trained_students_say_that_they_are_of_one_seed():
    (path,) = [path for path in PATHS if path.name.startswith("04_")]
    bars = [cell.source for cell in code_cells(path) if "scores_plot(" in cell.source and "import" not in cell.source]
    assert bars
    assert [source for source in bars if not re.search(r"title=.*\bone seed\b", source)] == []


@each_notebook
def test_text_calls_no_line_of_a_chart_black_or_white(path):
    """Dark pages turn the two round."""
    called = r"\b(?:black|white) (?:star|dot|line|point|ring|arrow|bar)s?\b|\b(?:small|drawn|are|is) (?:and )?(?:black|white)\b"
    text = re.split(r"\n#+ Quiz\b", text_of(path))[0]
    assert re.findall(called, text) == []
