"""The map objective -> section -> exercise -> check has no gap, its page is up to date, and every kind of gap is found."""

import re
from copy import deepcopy

import pytest
from exercise_cells import PATHS, ROOT, is_check, is_solution, read

each_notebook = pytest.mark.parametrize("number", range(len(PATHS)), ids=[path.stem for path in PATHS])


@pytest.fixture(scope="module")
def course(load_script):
    return load_script("tools/objectives_map.py")


@each_notebook
def test_the_map_of_a_notebook_has_no_gap(course, number):
    assert course.gaps(read(number), number) == []


def test_every_check_belongs_to_an_exercise(course):
    assert course.unused_checks([read(number) for number in range(len(PATHS))]) == []
    assert "what_fits" in course.unused_checks([read(0)])


def test_the_page_is_up_to_date(course):
    assert course.PAGE.read_text(encoding="utf-8") == course.page(PATHS), "run python tools/objectives_map.py"


def test_the_page_names_every_objective_exercise_and_check(course):
    page = course.PAGE.read_text(encoding="utf-8")
    for number, path in enumerate(PATHS):
        part = page.split(f"(../notebooks/{path.name})")[1].split("\n## ")[0]
        for objective in course.objectives_of(read(number)):
            assert part.count(f"\n| {objective} ") == 1
        for one in course.exercises_of(read(number)):
            assert f"{one.number} {one.title}" in part
            assert f"`check.{one.check}`" in part
    assert re.findall(r"\]\(\.\./(.+?)\)", page) == [path.relative_to(ROOT).as_posix() for path in PATHS]


def cell_with(notebook, key):
    return next(cell for cell in notebook.cells if key in cell.metadata.get("rdistill", {}))


def without_section(notebook):
    for cell in notebook.cells:
        cell.metadata.get("rdistill", {}).pop("teaches", None)


def without_practice(notebook):
    for cell in notebook.cells:
        marks = cell.metadata.get("rdistill", {})
        if "exercise" in marks:
            marks["objectives"] = ["5.1"]
        if "quiz" in marks:
            marks["quiz"] = {question: ["5.1"] for question in marks["quiz"]}


def without_check(notebook):
    notebook.cells.remove(next(cell for cell in notebook.cells if is_check(cell)))


def without_solution(notebook):
    notebook.cells.remove(next(cell for cell in notebook.cells if is_solution(cell)))


def without_task(notebook):
    notebook.cells.remove(cell_with(notebook, "exercise"))


def another_text(notebook):
    cell = cell_with(notebook, "objectives")
    cell.source = cell.source.replace("sort the database images", "sort some images")


def another_order(notebook):
    marks = cell_with(notebook, "objectives").metadata["rdistill"]
    marks["objectives"] = dict(reversed(marks["objectives"].items()))


def another_number(notebook):
    cell = cell_with(notebook, "exercise")
    cell.source = cell.source.replace("Exercise 5.1", "Exercise 5.7")


def a_gap_in_the_numbers(notebook):
    cell_with(notebook, "exercise").metadata["rdistill"]["exercise"] = "5.9"


def an_unknown_objective(notebook):
    cell_with(notebook, "exercise").metadata["rdistill"]["objectives"] = ["5.1", "5.8"]


def no_objective(notebook):
    cell_with(notebook, "exercise").metadata["rdistill"]["objectives"] = []


def another_call(notebook):
    cell_with(notebook, "check").source = "check.gem_per_channel(protocol_ranks)"


def another_function(notebook):
    cell_with(notebook, "check").source = "check.protocol_ranks(positive_ranks)"


def an_unknown_check(notebook):
    cell = cell_with(notebook, "check")
    cell.metadata["rdistill"]["check"], cell.source = "anything", "check.anything(protocol_ranks)"


def a_quiz_without_objectives(notebook):
    cell_with(notebook, "quiz").metadata["rdistill"]["quiz"] = True


def a_question_too_few(notebook):
    cell_with(notebook, "quiz").metadata["rdistill"]["quiz"].pop("5")


def teaching_beside_a_heading(notebook):
    cell = next(cell for cell in notebook.cells if cell.cell_type == "markdown" and not cell.source.startswith("#"))
    cell.metadata["rdistill"] = {"teaches": ["5.1"]}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_section, "objective 5.4 has no section"),
        (without_section, "section '1. What counts as right?' teaches no objective"),
        (without_practice, "objective 5.4 has neither exercise nor quiz question"),
        (without_check, "exercise 5.1 has no check"),
        (without_solution, "exercise 5.1 is not followed by its solution"),
        (without_task, "cell check-5-1 is a solution or a check without an exercise"),
        (without_task, "its exercises are numbered ['5.2', '5.3', '5.4'], not 5.1 and so on"),
        (another_text, "the list of objectives that is shown differs"),
        (another_order, "its objectives are numbered ['5.5'"),
        (another_number, "the heading of exercise 5.1 shows another number"),
        (a_gap_in_the_numbers, "its exercises are numbered ['5.9'"),
        (an_unknown_objective, "exercise 5.1 names objectives that the notebook does not have: ['5.8']"),
        (no_objective, "exercise 5.1 belongs to no objective"),
        (another_call, "the check of exercise 5.1 calls something else than check.protocol_ranks"),
        (another_function, "the check of exercise 5.1 looks at positive_ranks, which its solution does not define"),
        (an_unknown_check, "exercise 5.1 has the check anything, which the package does not offer"),
        (a_quiz_without_objectives, "the quiz shows the questions ['1', '2', '3', '4', '5']"),
        (a_question_too_few, "the quiz shows the questions ['1', '2', '3', '4', '5']"),
        (teaching_beside_a_heading, "says what it teaches, and is no heading of a section"),
    ],
)
def test_a_gap_is_found(course, spoil, sentence):
    notebook = deepcopy(read(5))
    spoil(notebook)
    assert any(sentence in gap for gap in course.gaps(notebook, 5)), course.gaps(notebook, 5)
