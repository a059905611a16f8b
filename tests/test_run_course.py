"""`make course` on two tiny notebooks."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
WRITES_SCORES = """
from rdistill_course.closing_table import write_scores
write_scores([{"name": "teacher", "easy": 0.5, "medium": 0.25, "hard": 0.125}])
"""


def run(folder: Path, **sources: str) -> subprocess.CompletedProcess:
    (folder / "notebooks").mkdir()
    for name, source in sources.items():
        cells = [new_markdown_cell("# A notebook"), new_code_cell("first = 1"), new_code_cell(source)]
        nbformat.write(new_notebook(cells=cells), folder / "notebooks" / f"{name}.ipynb")
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "run_course.py"]
        + ["--notebooks", folder / "notebooks", "--copies", folder / "copies"],
        env=os.environ | {"RDISTILL_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_runs_all_in_order_and_ends_with_the_table(tmp_path):
    done = run(
        tmp_path, b_second=WRITES_SCORES + "print(open('left.txt').read())", a_first="open('left.txt', 'w').write('x')"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[1/2] a_first.ipynb")
    assert lines[1].startswith("[2/2] b_second.ipynb")
    assert lines[0].endswith(" s")
    assert lines[-1].split() == ["teacher", "50.0", "25.0", "12.5"]
    executed = nbformat.read(tmp_path / "copies" / "b_second.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "x\n"
    assert nbformat.read(tmp_path / "notebooks" / "b_second.ipynb", as_version=4).cells[2].outputs == []


def test_a_failing_cell_is_named_and_stops_the_run(tmp_path):
    done = run(tmp_path, a_first="1 / 0", b_second=WRITES_SCORES)
    assert done.returncode == 1
    assert "a_first.ipynb failed in code cell 2: ZeroDivisionError: division by zero" in done.stderr
    assert "1 / 0" in done.stderr
    assert "b_second" not in done.stdout
    assert (tmp_path / "copies" / "a_first.ipynb").is_file()


def test_an_old_table_does_not_pass_for_a_new_one(tmp_path):
    scores = tmp_path / "runs" / "course" / "scores.json"
    scores.parent.mkdir(parents=True)
    scores.write_text("[]")
    done = run(tmp_path, a_first="print('no scores here')")
    assert done.returncode == 1
    assert "run notebook 04" in done.stderr


def test_a_clone_without_notebooks_says_so(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 1
    assert "No notebooks in" in done.stderr
