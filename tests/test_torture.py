"""The harness of `make torture` notices every loss; the kills themselves depend on moments and run there alone."""

import importlib
import json
import os
import re
import sqlite3
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rdistill_helpers import BadInput

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")


@pytest.fixture(scope="module", autouse=True)
def benchmarks_folder():
    """The files of the harness import each other, as they do when one of them is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield


@pytest.fixture(scope="module")
def torture(load_script):
    return load_script("benchmarks/torture.py")


@pytest.fixture(scope="module")
def works():
    return importlib.import_module("torture_works")


@pytest.fixture(scope="module")
def pairs():
    return importlib.import_module("torture_pairs")


@pytest.mark.skipif(not (ROOT / "docs" / "reliability.md").exists(), reason="`make torture` writes the report")
def test_the_report_is_that_of_a_full_run(torture):
    report = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    lines = {name: int(n.replace(",", "")) for name, n in re.findall(r"^\| (.+?) \| ([\d,]+) \|", report, re.MULTILINE)}
    assert lines["processes killed"] >= 200 and lines["bad inputs tried"] >= 100_000
    assert lines["requests dropped by the network"] >= 100 and lines["rounds of two processes at once"] >= 50
    assert all(lines[fault] == 0 for fault in importlib.import_module("torture_processes").FAULTS)
    works = {work.name for work in torture.works(port=0)}
    assert (
        works <= set(lines) and sum(lines[work] for work in works) >= 200 and min(lines[work] for work in works) >= 40
    )
    assert report == torture.report(json.loads(torture.RESULTS.read_text(encoding="utf-8")))


def faults_of(check, folder, done=False):
    faults = Counter()
    check(folder, faults, done)
    return {name: count for name, count in faults.items() if count}


def test_wrong_and_half_rows_are_noticed(works, tmp_path):
    assert faults_of(works.check_extraction, tmp_path) == {}
    assert faults_of(works.check_extraction, tmp_path, done=True) == {"rows lost, wrong or half": 120}
    rows = works.expected_rows(works.EXTRACTED)
    rows[3] = rows[4]
    np.save(tmp_path / "rows.npy", rows)
    assert faults_of(works.check_extraction, tmp_path) == {"rows lost, wrong or half": 1}
    whole = (tmp_path / "rows.npy").read_bytes()
    (tmp_path / "rows.npy").unlink()
    (tmp_path / "rows.npy.part").write_bytes(whole)
    (tmp_path / "rows.npy.part.rows").write_text("3\n")
    assert faults_of(works.check_extraction, tmp_path) == {}
    (tmp_path / "rows.npy.part.rows").write_text("20\n")
    assert faults_of(works.check_extraction, tmp_path) == {"rows lost, wrong or half": 1}
    (tmp_path / "rows.npy.part").write_bytes(whole[:400])
    assert faults_of(works.check_extraction, tmp_path) == {"rows lost, wrong or half": 20}


def test_an_extraction_that_another_process_has_finished_is_no_fault_and_a_strange_file_is_one(
    works, tmp_path, monkeypatch
):
    monkeypatch.setattr(works, "PAUSE", 0)
    for _ in range(2):
        works.run_extraction(tmp_path)
        assert faults_of(works.check_extraction, tmp_path, done=True) == {}
    (tmp_path / "rows.npy").rename(tmp_path / "rows.npy.part")
    (tmp_path / "rows.npy.part.rows").write_text("999")
    with pytest.raises(BadInput, match="999 of its 120 rows"):
        works.run_extraction(tmp_path)


def test_queries_paid_twice_lost_and_wrong_are_noticed(works, tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)
    folder = tmp_path / "ledger"
    folder.mkdir()
    works.run_queries(folder)
    assert faults_of(works.check_queries, folder, done=True) == {}
    assert faults_of(works.check_queries, folder) == {}
    works.answer(folder, works.ASKED[:3])
    assert faults_of(works.check_queries, folder) == {"teacher queries paid twice": 3}
    database = sqlite3.connect(folder / "ledger")
    database.execute("UPDATE paid SET row = zeroblob(12) WHERE image = ?", (works.KEYS[0],))
    database.execute("DELETE FROM paid WHERE image = ?", (works.KEYS[1],))
    database.commit()
    database.close()
    found = {"teacher queries lost": 1, "rows lost, wrong or half": 1}
    assert faults_of(works.check_queries, folder) == found
    monkeypatch.setattr(works, "ASKED", works.ASKED[:100])
    assert faults_of(works.check_queries, folder)["budget overspent"] == 19


def test_half_checkpoints_and_other_weights_are_noticed(works, tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)
    monkeypatch.setattr(works.train, "CHECKPOINT_EVERY", 100)  # run_training sets its own
    for name in ("undisturbed", "other"):
        (tmp_path / name).mkdir()
        works.run_training(tmp_path / name)
    folder = tmp_path / "other"
    assert faults_of(works.check_training, folder, done=True) == {}
    (folder / "weights").write_bytes((folder / "weights").read_bytes()[:-4] + bytes(4))
    assert faults_of(works.check_training, folder, done=True) == {"trainings that end with other weights": 1}
    (folder / "student.ckpt").write_bytes((folder / "student.ckpt").read_bytes()[:1000])
    assert faults_of(works.check_training, folder) == {"files in place that are wrong or half": 1}


def test_half_files_and_missing_photographs_are_noticed(works, tmp_path):
    folder = tmp_path / "data"
    works.offer_set(folder)
    works.run_set(folder)
    assert faults_of(works.check_set, folder, done=True) == {}
    photographs = sorted((folder / "rparis6k" / "jpg").iterdir())
    photographs[0].unlink()
    photographs[1].write_bytes(b"half")
    (photographs[0].parent / "more.jpg").touch()
    assert faults_of(works.check_set, folder) == {"files in place that are wrong or half": 3}
    (tmp_path / "net").mkdir()
    assert faults_of(works.check_download, tmp_path / "net") == {}
    (tmp_path / "net" / "torture-1.pth").write_bytes(works.NETWORK[:100])
    (tmp_path / "net" / "torture-2.pth.part").write_bytes(works.NETWORK[:100])
    assert faults_of(works.check_download, tmp_path / "net") == {"files in place that are wrong or half": 1}
    (tmp_path / "net" / "torture-2.pth.part").write_bytes(works.NETWORK[5:100])
    assert faults_of(works.check_download, tmp_path / "net") == {"files in place that are wrong or half": 2}


def test_requests_charged_twice_and_answers_lost_are_noticed(works, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)

    def ask(part, name):
        with pairs.BlackBoxTeacher(partial(works.answer, tmp_path), 200, tmp_path / name, batch_size=40) as teacher:
            teacher.query(works.ASKED[part], progress=False)

    ask(slice(None), "ledger-tester.sqlite")
    notes = (tmp_path / "sent").read_bytes()
    for part in pairs.CLIENTS:
        ask(part, f"own {part.start}")
    (tmp_path / "sent").write_bytes(notes)
    check = partial(pairs.check_served, killed=0)
    found = Counter()
    check(tmp_path, found)
    assert not any(found.values())
    works.answer(tmp_path, works.ASKED[:5])
    check(tmp_path, found)
    assert +found == {"charged twice by a served teacher": 5}
    found = Counter()
    pairs.check_served(tmp_path, found, killed=1)
    assert +found == {"charged twice by a served teacher": 5 - works.BATCH}
    (tmp_path / "sent").write_bytes(notes)
    database = sqlite3.connect(tmp_path / "own 40")
    database.execute("DELETE FROM paid WHERE image = ?", (works.KEYS[50],))
    database.execute("UPDATE paid SET row = zeroblob(12) WHERE image = ?", (works.KEYS[60],))
    database.commit()
    database.close()
    found = Counter()
    check(tmp_path, found)
    assert +found == {"answers of a served teacher lost": 2}
