"""Exercises and quizzes of every notebook follow one pattern, so that a learner who knows one knows all."""

import ast
import re

import nbformat
import pytest
from exercise_cells import PATHS, grade_ids, is_check, is_solution, names_of
from exercise_cells import solution as own_answer

from rdistill_course import check
from rdistill_course.checks.steps import EXERCISES
from rdistill_course.quizzes import quiz_of

WITHOUT_EXERCISES = {"00_start_here"}

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path):
    return nbformat.read(path, as_version=4).cells


def triples(path):
    """Task, solution and check of each exercise."""
    page = cells(path)
    return [page[i : i + 3] for i, cell in enumerate(page) if "exercise" in cell.metadata.get("rdistill", {})]


def body_of(solution):
    return solution.source.split("### BEGIN SOLUTION\n")[1].split("    ### END SOLUTION")[0]


@each_notebook
def test_it_has_two_to_four_exercises(path):
    assert 2 <= len(triples(path)) <= 4 or (path.stem in WITHOUT_EXERCISES and not triples(path))


@each_notebook
def test_an_exercise_is_a_task_a_solution_and_a_check(path):
    for task, solution, checked in triples(path):
        number = task.metadata["rdistill"]["exercise"]
        assert [task.cell_type, solution.cell_type, checked.cell_type] == ["markdown", "code", "code"]
        assert len(task.source.partition("\n")[2].split()) >= 15, f"exercise {number} says too little"
        tag = number.replace(".", "-")
        common = {"schema_version": 3, "task": False}
        assert solution.metadata["nbgrader"] == {
            "grade_id": f"exercise-{tag}", "grade": False, "solution": True, "locked": False, **common,
        }  # fmt: skip
        assert checked.metadata["nbgrader"] == {
            "grade_id": f"check-{tag}", "grade": True, "solution": False, "locked": True, "points": 1, **common,
        }  # fmt: skip


@each_notebook
def test_a_solution_is_one_documented_function_with_a_marked_body(path):
    for _, solution, _ in triples(path):
        (function,) = ast.parse(solution.source).body
        assert isinstance(function, ast.FunctionDef)
        assert len(ast.get_docstring(function).split()) >= 5
        assert solution.source.count("    ### BEGIN SOLUTION\n") == solution.source.count("    ### END SOLUTION") == 1
        assert solution.source.rstrip().endswith("    ### END SOLUTION")
        before = solution.source.split("    ### BEGIN SOLUTION")[0]
        assert before.rstrip().endswith('"""'), "code above the solution would stand in the stub"


@each_notebook
def test_a_check_is_one_call_and_its_kept_output_is_a_pass(path):
    for _, solution, checked in triples(path):
        (function,) = ast.parse(solution.source).body
        assert checked.source.strip() == f"check.{checked.metadata['rdistill']['check']}({function.name})"
        assert checked.metadata["rdistill"]["check"] in check.__all__
        assert {output.output_type for output in checked.outputs} == {"stream"}
        assert re.fullmatch(r"\[OK\] .+\n", "".join(output.text for output in checked.outputs))


@pytest.mark.parametrize(
    ("number", "exercise", "checked"),
    [
        (number, task.metadata["rdistill"]["exercise"], cell.metadata["rdistill"]["check"])
        for number, path in enumerate(PATHS)
        for task, _, cell in triples(path)
    ],
)
def test_the_solution_of_the_notebook_passes_its_check(number, exercise, checked, capsys):
    getattr(check, checked)(own_answer(number, exercise))
    assert capsys.readouterr().out.startswith("[OK] ")


@each_notebook
def test_grade_ids_are_unique(path):
    page = nbformat.read(path, as_version=4)
    assert len(set(grade_ids(page))) == len(grade_ids(page)) == 2 * len(triples(path))


@each_notebook
def test_no_other_cell_depends_on_an_answer(path):
    """So a notebook runs to its end while an exercise is still open; nor does an answer's name hide another's."""
    page = cells(path)
    for _, solution, checked in triples(path):
        answers = names_of(solution.source)[0]
        for cell in page:
            if cell.cell_type == "code" and cell.id not in (solution.id, checked.id):
                bound, read = names_of(cell.source)
                assert not answers & (bound | read), f"{cell.id} uses or binds {answers & (bound | read)}"


@each_notebook
def test_no_solution_stands_elsewhere_in_the_notebook(path):
    page = cells(path)
    for _, solution, _ in triples(path):
        body = "".join(re.sub(r"#.*", "", body_of(solution)).split())
        for cell in page:
            if cell.id != solution.id:
                assert body not in "".join(re.sub(r"#.*", "", cell.source).split())
        assert not any("BEGIN SOLUTION" in cell.source for cell in page if not is_solution(cell))


@each_notebook
def test_no_cell_is_graded_by_hand(path):
    """Only solutions and checks belong to nbgrader."""
    assert all(is_solution(cell) != is_check(cell) for cell in cells(path) if "nbgrader" in cell.metadata)


@each_notebook
def test_it_asks_the_quiz_of_its_number(path):
    """By quiz(number) in the cell below the heading; the questions stand in their file alone."""
    number, page = int(path.name[:2]), cells(path)
    (place,) = [place for place, cell in enumerate(page) if "quiz" in cell.metadata.get("rdistill", {})]
    assert page[place].source.startswith("## Quiz\n")
    assert page[0].source.startswith(f"# {number}. {quiz_of(number).title}\n")
    assert page[place + 1].source.strip() == f"quiz({number})"


@each_notebook
def test_each_exercise_has_hints_that_lead_to_its_idea_and_no_code(path):
    for task, solution, checked in triples(path):
        own = EXERCISES[task.metadata["rdistill"]["exercise"]]
        assert own.check == checked.metadata["rdistill"]["check"]
        assert len(own.hints) == 3
        assert all(8 <= len(hint.split()) <= 60 for hint in own.hints)
        lines = [line.strip() for line in body_of(solution).splitlines() if len(line.strip()) > 12]
        assert not any(line in hint for line in lines for hint in own.hints)


def test_no_hint_belongs_to_an_exercise_that_is_gone():
    there = {task.metadata["rdistill"]["exercise"] for path in PATHS for task, _, _ in triples(path)}
    assert set(EXERCISES) == there
