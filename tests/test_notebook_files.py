"""Notebook files as they lie in the repository: nothing in them but what somebody wrote and what a cell gave out."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def tool(load_script):
    return load_script("tools/normalise_notebooks.py")


@pytest.fixture
def noisy(tmp_path) -> Path:
    cell = new_code_cell(
        "1 + 1",
        execution_count=1,
        outputs=[new_output("execute_result", {"text/plain": "2"}, execution_count=1)],
        metadata={
            "execution": {"iopub.busy": "2020-01-01"}, "tags": ["nbval-check-output"], "lines_to_next_cell": 2,
            "nbgrader": {"solution": True}, "rdistill": {"check": "x"}, "slideshow": {"slide_type": "skip"},
        },
    )  # fmt: skip
    state = {"application/vnd.jupyter.widget-state+json": {"state": {"a": {}}}}
    metadata = {
        "widgets": state,
        "kernelspec": {"name": "my-env", "display_name": "My env"},
        "language_info": {"name": "python", "version": "3.14"},
    }
    path = tmp_path / "noisy.ipynb"
    nbformat.write(new_notebook(cells=[cell, new_code_cell("", metadata={"tags": []})], metadata=metadata), path)
    return path


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_notebook_is_normalised(tool, path):
    assert tool.main([path], check=True) == 0


def test_what_changes_with_every_run_goes_and_the_rest_stays(tool, noisy):
    before = nbformat.read(noisy, as_version=4)
    assert tool.main([noisy], check=False) == 1
    after = nbformat.read(noisy, as_version=4)
    assert after.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert set(after.cells[0].metadata) == {"tags", "nbgrader", "rdistill", "slideshow"}
    assert after.cells[1].metadata == {}
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert after.cells[0].source == "1 + 1" and after.cells[0].outputs == before.cells[0].outputs
    assert after.cells[0].execution_count == 1


def test_what_was_printed_in_a_row_becomes_one_output(tool):
    def printed(text, name="stdout"):
        return new_output("stream", name=name, text=text)

    picture = new_output("display_data", {"image/png": "iVBORw0KGgo"})
    pieces = [printed("a\n"), printed("b"), printed("!\n", "stderr"), printed("c"), picture, printed("d"), printed("e")]
    (cell,) = tool.normalised(new_notebook(cells=[new_code_cell("x", outputs=pieces)])).cells
    assert cell.outputs == [
        printed("a\nb"), printed("!\n", "stderr"), printed("c"), picture, printed("de"),
    ]  # fmt: skip


def test_a_second_time_changes_nothing(tool, noisy):
    tool.main([noisy], check=False)
    once = noisy.read_bytes()
    assert tool.main([noisy], check=False) == 0
    assert noisy.read_bytes() == once


@pytest.mark.slow
def test_check_names_the_file_and_leaves_it(noisy):
    before = noisy.read_bytes()
    command = [sys.executable, ROOT / "tools" / "normalise_notebooks.py", "--check", noisy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and str(noisy) in done.stdout
    assert noisy.read_bytes() == before


@pytest.mark.slow
def test_a_diff_shows_lines_of_code_and_no_picture(tmp_path):
    """What `git diff` prints in a clone with `make hooks`."""
    pytest.importorskip("nbdime", reason="nbdime is not installed")
    old, new = tmp_path / "old.ipynb", tmp_path / "new.ipynb"
    picture = new_output("display_data", {"image/png": "iVBORw0KGgo" * 2000})
    cell = new_code_cell("a = 1\nb = 2", id="same", outputs=[picture])
    nbformat.write(new_notebook(cells=[cell]), old)
    cell.source = "a = 1\nb = 3"
    cell.outputs = [new_output("display_data", {"image/png": "iVBORw0KGgoAAA" * 2000})]
    nbformat.write(new_notebook(cells=[cell]), new)
    done = subprocess.run(
        [sys.executable, "-m", "nbdime", "diff", "--no-color", old, new], capture_output=True, text=True, cwd=tmp_path
    )
    assert "\n-b = 2\n+b = 3\n" in done.stdout
    assert len(done.stdout.splitlines()) < 40 and "iVBORw0KGgoiVBORw0KGgo" not in done.stdout


def scores_in_figures(path):
    """Scores by method from the descriptions of a notebook's figures of scores."""
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            described = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if described.startswith("mAP in percent of"):
                scores = r"([\w ]+) easy (\d+\.\d), medium (\d+\.\d), hard (\d+\.\d)"
                found |= {name.strip(): tuple(values) for name, *values in re.findall(scores, described)}
    return found


def test_the_student_of_notebook_4_has_the_same_scores_in_notebook_5():
    trained, scored = (scores_in_figures(ROOT / "notebooks" / f"{name}.ipynb") for name in
                       ("04_train_the_student", "05_score_it"))  # fmt: skip
    pairs = {"teacher": "teacher", "untrained student": "untrained student", "distilled": "distilled student"}
    assert {name: trained[name] for name in pairs} == {name: scored[other] for name, other in pairs.items()}
