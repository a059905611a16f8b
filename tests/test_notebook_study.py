"""Notebook 6 reads a study while it grows: it runs with few rows, and knows the settings of the search."""

import ast
import csv
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "notebooks" / "06_how_little_is_enough.ipynb"
RESULTS = ROOT / "benchmarks" / "results"


def test_the_defaults_of_the_search_are_those_of_its_student(load_script, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    student = load_script("benchmarks/fast_student.py").DEFAULT
    cells = [cell.source for cell in nbformat.read(PAGE, as_version=4).cells if cell.cell_type == "code"]
    (source,) = [source for source in cells if source.startswith("DEFAULT = ")]
    told = ast.literal_eval(ast.parse(source).body[0].value)
    assert told == {name: student[name] for name in told}
    # What a row of the search says although it is the default must be known, or the row finds no partner.
    with (RESULTS / "regimes.csv").open(newline="", encoding="utf-8") as file:
        settings = [json.loads(row["settings"]) for row in csv.DictReader(file)]
    said = {name for own in settings for name, value in own.items() if student.get(name) == value}
    assert said <= set(told)


@pytest.mark.slow
def test_it_runs_with_one_seed_of_three_methods(tmp_path, monkeypatch):
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    for name in ("regimes", "data_efficiency"):
        shutil.copy(RESULTS / f"{name}.csv", results)
    ap = " ".join(f"{value / 100:.4f}" for value in range(70))
    methods = ("listwise", "listwise+regression", "listwise+interpolated")
    rows = [[name, 50, 50, 0, 0.4, 0.345, 0.1, 9.0, "{}", ap] for name in methods]
    head = ["method", "images", "teacher_queries", "seed", "easy", "medium", "hard", "seconds", "settings", "medium_ap"]
    with (results / "study.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    try:
        (tmp_path / "data").symlink_to(ROOT / "data", target_is_directory=True)
    except OSError:  # Windows without the right to make links
        pytest.skip("links cannot be made here")
    monkeypatch.setenv("RDISTILL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(PAGE, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        output.get("text") or output.get("data", {}).get("text/markdown") or ""
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert any("1 of 5 seeds" in text for text in shown)
    assert any("**1 comparisons: 1 not told apart.**" in text for text in shown)
    assert any(text.startswith("No run of the choices") for text in shown)
