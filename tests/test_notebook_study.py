"""Notebooks 6 and 7 read a study while it grows: they run with few runs in the store, and with none that is a result."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from study import runs
from study.findings import NOT_YET
from study.methods import METHODS
from study.settings import as_text, but

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "notebooks" / f"{name}.ipynb" for name in ("06_how_little_is_enough", "07_few_queries")]
FEW = (
    "teacher",
    "untrained",
    "listwise+regression",
    "supervised-contrastive",
    "supervised-multi-similarity",  # the best labels on the validation rooms
    "listwise+regression+mixtures",
    "paid-random",
)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Gives what a notebook shows with a store that holds the search and these methods, on 300 photographs and one seed."""
    shutil.copytree(ROOT / "study", tmp_path / "study", ignore=shutil.ignore_patterns("__pycache__"))
    store = tmp_path / "study" / "results" / runs.STORE.name
    searched = [line for line in runs.STORE.read_text(encoding="utf-8").splitlines() if f",{runs.SEARCH}," in line]
    source = runs.read()[["data", "teacher"]].iloc[0]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))

    def execute(page, methods):
        store.write_text("\n".join([",".join(runs.COLUMNS), *searched]) + "\n", encoding="utf-8")
        ap = " ".join(f"{value / 100:.4f}" for value in range(70))
        for name in methods:
            own = METHODS[name].settings
            own = but(own, images=300) if own.images else own
            values = [runs.version(), "today", *source, name, own.images, own.queries, 0]
            values += [0.4, 0.345, 0.1, 9.0, as_text(own), ap, "", ""]
            runs.append(dict(zip(runs.COLUMNS, values, strict=True)), store)
        notebook = nbformat.read(page, as_version=4)
        where = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        texts = [output.get("text") or output.get("data", {}).get("text/markdown") or "" for output in outputs]
        return texts + [about.get("alt", "") for one in outputs for about in one.get("metadata", {}).values()]

    return execute


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_runs_with_one_seed_of_few_methods(shown, page):
    texts = shown(page, FEW)
    expected = {
        "06": [
            "300 photographs, 1 seed",
            "descriptors: listwise + regression +0.0",
            "no labels, against labels, multi-similarity",
        ],
        "07": ["random, against ten of each room +0.0", "no assistant 34.5 at 300", "34.5 ("],
    }[page.stem[:2]]
    assert [part for part in expected if not any(part in text for text in texts)] == []
    assert (NOT_YET in texts) == (page.stem[:2] == "06")  # the primary comparisons wait for all seeds


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_runs_before_the_first_result(shown, page):
    assert shown(page, ()).count(NOT_YET) >= 3
