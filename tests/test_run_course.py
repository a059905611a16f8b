"""`make course` on two tiny notebooks."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from rdistill_course.closing_table import course_scores_path, write_scores

ROOT = Path(__file__).resolve().parents[1]
WRITES_SCORES = """
import os, pathlib, shutil
folder = pathlib.Path(os.environ["RDISTILL_RUNS"], "course")
folder.mkdir(parents=True, exist_ok=True)
shutil.copy("../scores.json", folder)
"""


@pytest.fixture
def run(load_script, tmp_path, monkeypatch, capsys):
    """Runs notebooks of this text; gives the exit status, and the lines of both outputs."""
    monkeypatch.setenv("RDISTILL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_scores([{"name": "teacher", "easy": 0.5, "medium": 0.25, "hard": 0.125}], tmp_path / "scores.json")

    def run(**sources: str) -> tuple[int, list[str], list[str]]:
        (tmp_path / "notebooks").mkdir()
        for name, source in sources.items():
            cells = [new_markdown_cell("# A notebook"), new_code_cell("first = 1"), new_code_cell(source)]
            nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / f"{name}.ipynb")
        status = load_script("tools/run_course.py").run_course(tmp_path / "notebooks", tmp_path / "copies")
        return status, *(text.splitlines() for text in capsys.readouterr())

    return run


def test_it_runs_all_in_order_and_ends_with_the_table(run, tmp_path):
    status, lines, errors = run(
        b_second=WRITES_SCORES + "print(open('left.txt').read())", a_first="open('left.txt', 'w').write('x')"
    )
    assert status == 0, errors
    assert lines[0].startswith("[1/2] a_first.ipynb")
    assert lines[1].startswith("[2/2] b_second.ipynb")
    assert lines[0].endswith(" s")
    assert lines[-3].split() == ["teacher", "50.0", "25.0", "12.5"]
    assert "one seed" in lines[-1]  # the table ranks nothing
    executed = nbformat.read(tmp_path / "copies" / "b_second.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "x\n"
    assert nbformat.read(tmp_path / "notebooks" / "b_second.ipynb", as_version=4).cells[2].outputs == []


def test_a_failing_cell_is_named_and_stops_the_run(run, tmp_path):
    status, lines, errors = run(a_first="1 / 0", b_second=WRITES_SCORES)
    assert status == 1
    assert any(line.startswith("a_first.ipynb failed in code cell 2: ZeroDivisionError") for line in errors)
    assert "1 / 0" in errors
    assert not any("b_second" in line for line in lines)
    assert (tmp_path / "copies" / "a_first.ipynb").is_file()


def test_an_old_table_does_not_pass_for_a_new_one(run):
    write_scores([{"name": "old", "easy": 0.5, "medium": 0.5, "hard": 0.5}])
    assert course_scores_path().is_file()
    status, _, errors = run(a_first="print('no scores here')")
    assert status == 1
    assert "notebook 04" in errors[-1]


@pytest.mark.slow
def test_the_command_tells_of_a_clone_without_notebooks(tmp_path):
    command = [sys.executable, ROOT / "tools" / "run_course.py", "--notebooks", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 1
    assert "No notebooks in" in done.stderr
