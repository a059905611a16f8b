"""Notebooks 1 and 5 on a dozen invented photographs in the layout of the real sets: one line changed, nothing else."""

import hashlib
import re
import shutil
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from tiny_sets import photograph, published_meta, write_ground_truth
from torch import nn

from rdistill_helpers import RetrievalNet, save_network, teacher_version
from rdistill_helpers.fetch.sources import PUBLISHED
from rdistill_helpers.ship.projection import save_projection

ROOT = Path(__file__).resolve().parents[1]
DATABASE, QUERIES = [f"place_{i:06d}" for i in range(12)], [f"query_{i:06d}" for i in range(3)]
pytestmark = pytest.mark.slow
TEACHER = "rSfM120k-tl-resnet101-gem-w"  # the name of a published network, and here the file of a small one


def write_photographs(folder: Path) -> None:
    """Of both shapes."""
    folder.mkdir(parents=True)
    for number, name in enumerate([*DATABASE, *QUERIES]):
        (folder / f"{name}.jpg").write_bytes(photograph(number, (96, 72) if number % 3 else (72, 96)))


def write_rooms(folder: Path, rooms: int) -> None:
    """The rooms set with so many training rooms: the notebooks describe every training photograph, or draw 30 rooms."""
    lines = (ROOT / "data" / "rooms_train_labels.csv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines[1:] if int(line.split(",")[1]) < rooms]
    (folder / "rooms_train_labels.csv").write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
    names = [line.split(",")[0] for line in kept]
    with zipfile.ZipFile(ROOT / "data" / "rooms.zip") as whole, zipfile.ZipFile(folder / "rooms.zip", "w") as part:
        for name in whole.namelist():
            if "train" not in name or Path(name).stem in names:
                part.writestr(name, whole.read(name))
        part.writestr("train.txt", "\n".join(names) + "\n")
    digest = hashlib.sha256((folder / "rooms.zip").read_bytes()).hexdigest()
    (folder / "rooms.zip.sha256").write_text(f"{digest}  rooms.zip\n")


def write_published(path: Path) -> None:
    """Random weights and a learned whitening to 300 dimensions, in the format of cnnimageretrieval-pytorch."""
    torch.manual_seed(0)
    learned = {"m": np.zeros((512, 1)), "P": np.random.default_rng(0).normal(size=(300, 512))}
    meta = published_meta("squeezenet1_1", 512, Lw={"retrieval-SfM-120k": {"ss": learned, "ms": learned}})
    path.parent.mkdir()
    torch.save({"meta": meta, "state_dict": RetrievalNet(weights=None).state_dict()}, path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A data folder with the rooms, a tiny roxford5k and a published network, and a folder of runs with a student."""
    data, runs = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs")
    write_rooms(data, rooms=31)
    shutil.copytree(ROOT / "data" / "models", data / "models")
    write_photographs(data / "roxford5k" / "jpg")
    gnd = [
        {"bbx": [4.0, 4.0, 60.0, 64.0], "easy": [0, 1], "hard": [2], "junk": [3]},
        {"bbx": [10.0, 8.0, 70.0, 70.0], "easy": [4], "hard": [5, 6], "junk": []},
        {
            "bbx": [0.0, 0.0, 71.5, 40.0],
            "easy": [7, 8],
            "hard": [],
            "junk": [9, 10],
        },  # no score under the hard protocol
    ]
    write_ground_truth(data / "roxford5k" / "gnd_roxford5k.pkl", DATABASE, QUERIES, gnd)
    write_published(data / "networks" / Path(PUBLISHED[TEACHER]).name)
    save_network(RetrievalNet(), runs / "course" / f"student_of_{teacher_version()}.safetensors", steps=0)
    save_projection(nn.Linear(512, 1280), runs / "course" / f"projection_of_{teacher_version()}.safetensors")
    return data, runs


def executed(name: str, folders: tuple[Path, Path], monkeypatch) -> str:
    """What a notebook prints and shows on roxford5k, as text."""
    monkeypatch.setenv("RDISTILL_DATA", str(folders[0]))
    monkeypatch.setenv("RDISTILL_RUNS", str(folders[1]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    swap = re.compile(r'^(DATASET = \(?\s*)"rooms"', re.MULTILINE)
    changed = [swap.subn(r'\1"roxford5k"', cell.source) for cell in notebook.cells]
    assert sum(count for _, count in changed) == 1, "DATASET must be the one line to change"
    for cell, (source, _) in zip(notebook.cells, changed, strict=True):
        cell.source = source
    where = {"metadata": {"path": str(folders[1])}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_notebook_1_takes_a_published_teacher_and_a_real_set(folders, monkeypatch):
    shown = executed("01_teacher_embeddings", folders, monkeypatch)
    assert "teacher            database [12, 300]  queries [3, 300]" in shown
    # What was paid to the rooms' teacher must not answer for this one.
    assert [path.name for path in (folders[1] / "course").glob("*.sqlite")] == [f"ledger_of_300_{TEACHER}.sqlite"]


def test_notebook_5_scores_a_real_set_beside_the_published_figures(folders, monkeypatch):
    shown = executed("05_score_it", folders, monkeypatch)
    assert "roxford5k: 3 queries, 12 database images" in shown
    assert "roxford5k: ready" in shown
    assert "rparis6k: not here" in shown
    assert "the student of notebook 4, trained for 0 steps" in shown
    assert "queries in the teacher's space: True" in shown
    assert "hard    sorting 2 queries by hand agrees with counting" in shown
    assert re.search(r"^measured here +\d+\.\d +\d+\.\d +NaN +NaN", shown, re.MULTILINE)
