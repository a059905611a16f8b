"""The student edition differs from the complete one in its solutions alone, and nbgrader releases, checks and grades it."""

import os
import re
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from exercise_cells import PATHS, answer_from, is_check, is_solution, place, read, reduced, solution_of
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.nbgraderformat import ValidationError
from nbgrader.validator import Validator
from traitlets.config import PyFileConfigLoader

from rdistill_course import check

ROOT = Path(__file__).resolve().parents[1]
STUB = "    # YOUR CODE HERE\n    raise NotImplementedError()"
GRADED = 1  # the notebook that kernels execute and nbgrader grades; the others differ in their exercises alone
numbers = pytest.mark.parametrize("number", range(len(PATHS)), ids=[path.stem for path in PATHS])
with_exercises = pytest.mark.parametrize("number", range(1, len(PATHS)), ids=[path.stem for path in PATHS[1:]])


@pytest.fixture(scope="module")
def student(load_script):
    return load_script("tools/student_edition.py")


@numbers
def test_exactly_the_solutions_are_gone(student, number):
    complete = read(number)
    edition = student.student_edition(complete)
    assert {k: v for k, v in edition.items() if k != "cells"} == {k: v for k, v in complete.items() if k != "cells"}
    assert len(edition.cells) == len(complete.cells)
    for before, after in zip(complete.cells, edition.cells, strict=True):
        if "nbgrader" not in before.metadata:
            assert after == before
            continue
        assert after.outputs == []
        assert after.execution_count is None
        assert "SOLUTION" not in after.source
        region = re.compile(r"    ### BEGIN SOLUTION\n.*\n    ### END SOLUTION", re.DOTALL)
        assert after.source == (region.sub(STUB, before.source) if is_solution(before) else before.source)
        added = {k: v for k, v in after.metadata["nbgrader"].items() if k not in before.metadata["nbgrader"]}
        assert set(added) == {"checksum", "cell_type"}
        others = {k: v for k, v in after.metadata.items() if k != "nbgrader"}
        locks = {"deletable": False} | ({"editable": False} if is_check(before) else {})
        assert others == {k: v for k, v in before.metadata.items() if k != "nbgrader"} | locks


def test_the_complete_edition_is_left_as_it_is(student):
    before = deepcopy(read(GRADED))
    student.student_edition(read(GRADED))
    assert read(GRADED) == before


def test_a_grade_id_that_repeats_is_refused(student):
    notebook = deepcopy(read(GRADED))
    notebook.cells[place(notebook, "check-1-2")].metadata["nbgrader"]["grade_id"] = "check-1-1"
    with pytest.raises(ValidationError):
        student.student_edition(notebook)


def test_a_solution_outside_of_a_solution_cell_is_refused(student):
    notebook = deepcopy(read(GRADED))
    del notebook.cells[place(notebook, "exercise-1-1")].metadata["nbgrader"]
    with pytest.raises(RuntimeError, match="non-solution cell"):
        student.student_edition(notebook)


def shipped_settings():
    """The settings that an instructor adds to those of a course."""
    return PyFileConfigLoader("nbgrader_config.py", str(ROOT / "tools")).load_config()


def test_a_graded_cell_has_the_time_that_a_cell_of_a_tested_notebook_has(student):
    assert shipped_settings().Execute.timeout >= student.CELL_SECONDS > 30
    assert "tools/nbgrader_config.py" in (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")


def failed_cells(notebook, folder):
    """Sources of the cells that nbgrader's validator finds failing, from a file as a learner would validate it."""
    path = folder / "notebook.ipynb"
    nbformat.write(notebook, path)
    result = Validator(config=shipped_settings()).validate(str(path))
    assert set(result) <= {"failed"}, f"the validator complains: {result}"
    return [cell["source"] for cell in result.get("failed", [])]


@with_exercises
def test_each_check_fails_on_its_stub(student, number):
    """The code between the exercises is the same in both editions and runs in the tests of the notebooks."""
    edition = student.student_edition(read(number))
    checks = [cell for cell in edition.cells if is_check(cell)]
    assert len(checks) >= 2
    for cell in checks:
        exercise = cell.metadata["nbgrader"]["grade_id"].removeprefix("check-").replace("-", ".")
        stub = edition.cells[place(edition, cell.metadata["nbgrader"]["grade_id"].replace("check", "exercise"))].source
        with pytest.raises((NotImplementedError, check.Hint)):
            getattr(check, cell.metadata["rdistill"]["check"])(answer_from(number, exercise, stub))


@pytest.mark.slow
def test_it_fails_at_its_stubs_and_nowhere_else(student, tmp_path):
    assert student.problems(student.student_edition(reduced(read(GRADED))), tmp_path) == []


@pytest.mark.slow
def test_nbgrader_validates_it_and_names_the_checks(student, tmp_path):
    stubs = student.student_edition(reduced(read(GRADED)))
    assert failed_cells(stubs, tmp_path) == [cell.source for cell in stubs.cells if is_check(cell)]


@pytest.mark.slow
def test_nbgrader_finds_the_solved_edition_right(student, tmp_path):
    solved = student.student_edition(reduced(read(GRADED)))
    for cell in solved.cells:
        if is_solution(cell):
            exercise = cell.metadata["nbgrader"]["grade_id"].removeprefix("exercise-").replace("-", ".")
            cell.source = solution_of(GRADED, exercise)
    assert failed_cells(solved, tmp_path) == []


@pytest.mark.slow
def test_a_notebook_that_fails_elsewhere_or_passes_on_a_stub_is_told(student, tmp_path):
    notebook = nbformat.v4.new_notebook()
    grade = {
        "grade": True,
        "grade_id": "check-1-1",
        "locked": True,
        "points": 1,
        "schema_version": 3,
        "solution": False,
    }
    notebook.cells = [
        nbformat.v4.new_code_cell("1 / 0", id="set-up"),
        nbformat.v4.new_code_cell("print('[OK]')", id="check-1-1", metadata={"nbgrader": grade | {"task": False}}),
    ]
    told = student.problems(notebook, tmp_path)
    assert [("set-up" in one, "check-1-1" in one) for one in told] == [(True, False), (False, True)]


def test_the_command_writes_every_notebook(student, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["student_edition.py", "--out", str(tmp_path / "out")])
    assert student.main() == 0
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    everything = (ROOT / "notebooks").glob("*.ipynb")
    assert written == sorted([*(path.name for path in everything), "nbgrader_config.py"])
    written = nbformat.read(tmp_path / "out" / PATHS[GRADED].name, as_version=4)
    del written.metadata[student.MARK]
    assert written == student.student_edition(read(GRADED))
    assert "4 exercises" in capsys.readouterr().out


def test_a_second_run_keeps_what_a_learner_has_written_and_nothing_else(student, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["student_edition.py", "--out", str(tmp_path)])
    student.main()
    answered, noted, executed, outdated, damaged = (tmp_path / PATHS[number].name for number in (1, 2, 3, 4, 5))
    fresh = outdated.read_bytes()

    def edit(path, change):
        notebook = nbformat.read(path, as_version=4)
        change(notebook)
        nbformat.write(notebook, path)

    def answer(notebook):
        cell = notebook.cells[place(notebook, "exercise-1-1")]
        cell.source = cell.source.replace(STUB, "    return features")

    def execute(notebook):
        notebook.cells[place(notebook, "exercise-3-1")].execution_count = 7

    def age(notebook):
        notebook.cells[0].source = "# A title of an earlier version"
        notebook.metadata[student.MARK] = student.fingerprint(notebook)

    edit(answered, answer)
    edit(noted, lambda notebook: notebook.cells.append(nbformat.v4.new_markdown_cell("Ask about this.")))
    edit(executed, execute)
    edit(outdated, age)
    damaged.write_text("no notebook")
    mine = {path: path.read_bytes() for path in (answered, noted, damaged)}
    capsys.readouterr()

    assert student.main() == 0
    assert {path: path.read_bytes() for path in mine} == mine
    assert outdated.read_bytes() == fresh
    assert nbformat.read(executed, as_version=4).cells == student.student_edition(read(3)).cells
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if "kept" in line and ".ipynb" in line] == [p.name for p in mine]
    assert "move or delete it" in lines[-1]


def test_a_file_of_an_earlier_version_without_a_mark_is_kept_where_its_text_differs(student, tmp_path):
    edition = student.student_edition(read(GRADED))
    path = tmp_path / "notebook.ipynb"
    assert not student.changed_by_a_learner(path, edition)
    nbformat.write(edition, path)
    assert not student.changed_by_a_learner(path, edition)
    edition.cells[0].source += " Ask about this."
    nbformat.write(edition, path)
    assert student.changed_by_a_learner(path, student.student_edition(read(GRADED)))


def test_a_folder_without_notebooks_is_told(student, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["student_edition.py", "--notebooks", str(tmp_path)])
    assert student.main() == 1
    assert "--notebooks" in capsys.readouterr().out


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder of nbgrader's, with the complete notebooks as the source of one assignment, released."""
    with pytest.MonkeyPatch.context() as patch:
        # nbgrader starts alembic by its name alone, which an environment that is not activated does not find.
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield released_course(tmp_path_factory.mktemp("course"))


def released_course(root):
    source = root / "source" / "distillation"
    source.mkdir(parents=True)
    for number, path in enumerate(PATHS):
        nbformat.write(reduced(read(number)) if number == GRADED else read(number), source / path.name)
    config = shipped_settings()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}"
    api = NbGraderAPI(config=config)
    result = api.generate_assignment("distillation")
    assert result["success"], result["log"]
    return root, api


@pytest.mark.slow
@numbers
def test_nbgrader_releases_what_the_student_edition_holds(student, course, number):
    root, _ = course
    released = nbformat.read(root / "release" / "distillation" / PATHS[number].name, as_version=4)
    edition = student.student_edition(reduced(read(number)) if number == GRADED else read(number))
    for ours, theirs in zip(edition.cells, released.cells, strict=True):
        assert theirs.source == ours.source
        assert theirs.metadata.get("nbgrader") == ours.metadata.get("nbgrader")


@pytest.mark.slow
def test_nbgrader_grades_a_filled_in_copy(course):
    """All solved gives all points; one mistake and one stub cost theirs; a check that was tampered with is restored."""
    root, api = course
    answers = {"all-solved": {}, "some-wrong": {"1.1": None, "1.2": ("len(paid) + len(new) < budget", "True")}}
    name = PATHS[GRADED].name
    for learner, changes in answers.items():
        notebook = nbformat.read(root / "release" / "distillation" / name, as_version=4)
        for cell in notebook.cells:
            if is_solution(cell):
                exercise = cell.metadata["nbgrader"]["grade_id"].removeprefix("exercise-").replace("-", ".")
                change = changes.get(exercise, ("", ""))
                if change is not None:  # None: the stub stays
                    assert change[0] in solution_of(GRADED, exercise)
                    cell.source = (
                        solution_of(GRADED, exercise).replace(*change) if change[0] else solution_of(GRADED, exercise)
                    )
            elif is_check(cell) and cell.metadata["nbgrader"]["grade_id"] == "check-1-1" and learner == "some-wrong":
                cell.source = "print('[OK] trust me')"
        folder = root / "submitted" / learner / "distillation"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / name)
        result = api.autograde("distillation", learner, create=True)
        assert result["success"], result["log"]
    points = {}
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        for learner in answers:
            submission = gradebook.find_submission_notebook(PATHS[GRADED].stem, "distillation", learner)
            points[learner] = {grade.name: grade.score for grade in submission.grades}
            assert submission.max_score == 4
    everything = {f"check-1-{k}": 1.0 for k in (1, 2, 3, 4)}
    assert points == {"all-solved": everything, "some-wrong": everything | {"check-1-1": 0.0, "check-1-2": 0.0}}


def tiny_course(root):
    """An assignment of two exercises in nbgrader's marks, released, and a solved copy of it."""
    marks = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number in "12":
        of_exercise = {**marks, "grade_id": f"exercise-1-{number}", "solution": True}
        of_check = {**marks, "grade_id": f"check-1-{number}", "grade": True, "locked": True, "points": 1}
        answer = f"def f{number}():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
        notebook.cells += [
            nbformat.v4.new_code_cell(answer, metadata={"nbgrader": of_exercise}),
            nbformat.v4.new_code_cell(f"assert f{number}() == 1", metadata={"nbgrader": of_check}),
        ]
    source = root / "source" / "tiny"
    source.mkdir(parents=True)
    nbformat.write(notebook, source / "n.ipynb")
    config = shipped_settings()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}"
    api = NbGraderAPI(config=config)
    assert api.generate_assignment("tiny")["success"]
    solved = nbformat.read(root / "release" / "tiny" / "n.ipynb", as_version=4)
    for cell, number in ((solved.cells[0], 1), (solved.cells[2], 2)):
        cell.source = f"def f{number}():\n    return 1"
    return api, solved


@pytest.mark.slow
def test_copied_cells_and_deleted_checks_cost_what_the_guide_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    api, solved = tiny_course(tmp_path)
    copied, without = deepcopy(solved), deepcopy(solved)
    copied.cells.insert(1, deepcopy(copied.cells[0]))
    copied.cells[1].id = "copy"
    del without.cells[3], without.cells[1]
    points, logs = {}, {}
    for learner, notebook in {"solved": solved, "copied": copied, "without": without}.items():
        folder = tmp_path / "submitted" / learner / "tiny"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / "n.ipynb")
        result = api.autograde("tiny", learner, create=True)
        logs[learner] = result["log"] if not result["success"] else ""
        with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
            points[learner] = gradebook.find_submission_notebook("n", "tiny", learner).score
    assert points == {"solved": 2.0, "copied": 0.0, "without": 0.0}
    assert logs["solved"] == logs["without"] == "" and "nbgrader update" in logs["copied"]
    assert "exists multiple times" in logs["copied"]
