"""Notebook 6 reads a study while it grows: it runs with few runs in the store."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from study import runs
from study.methods import METHODS
from study.settings import as_text, but

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "notebooks" / "06_how_little_is_enough.ipynb"


@pytest.mark.slow
def test_it_runs_with_one_seed_of_three_methods(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "study", tmp_path / "study", ignore=shutil.ignore_patterns("__pycache__"))
    store = tmp_path / "study" / "results" / runs.STORE.name
    shown = runs.STORE if runs.STORE.is_file() else runs.EARLIER
    searched = [line for line in shown.read_text(encoding="utf-8").splitlines() if f",{runs.SEARCH}," in line]
    store.write_text("\n".join([",".join(runs.COLUMNS), *searched]) + "\n", encoding="utf-8")
    ap = " ".join(f"{value / 100:.4f}" for value in range(70))
    for name in ("teacher", "untrained", "listwise", "listwise+regression", "listwise+mixtures"):
        own = METHODS[name].settings
        own = but(own, images=50) if own.images else own
        begin = [runs.version(), "today", *runs.read()[["data", "teacher"]].iloc[0], name]
        values = [*begin, own.images, own.queries, 0, 0.4, 0.345, 0.1, 9.0, as_text(own), ap, "", ""]
        runs.append(dict(zip(runs.COLUMNS, values, strict=True)), store)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
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
    assert any("34.5 (" in text and ", 1 seed" in text for text in shown)
    assert any("**1 comparisons: 1 not told apart.**" in text for text in shown)
    assert any(text.startswith("No run of the choices") for text in shown)
