"""The fault harness notices every loss; the kills themselves depend on moments, and only `make torture` runs them."""

import json
import os
import random
import re
import sqlite3
from collections import Counter
from functools import partial

import numpy as np
import pytest

from rdistill_helpers import BadInput
from reliability import large_index, pairs, works
from reliability.processes import FAILURES
from reliability.report import REPORT, RESULTS, report

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")


def test_the_report_is_that_of_a_full_run():
    text = REPORT.read_text(encoding="utf-8")
    lines = {name: int(n.replace(",", "")) for name, n in re.findall(r"^\| (.+?) \| ([\d,]+) \|", text, re.MULTILINE)}
    assert lines["processes killed"] >= 200 and lines["hostile inputs tried"] >= 100_000
    assert lines["requests dropped by the network"] >= 100 and lines["rounds of two processes at once"] >= 50
    assert all(lines[failure] == 0 for failure in FAILURES)
    kills = [lines[work.name] for work in works.works(port=0)]
    assert sum(kills) >= 200 and min(kills) >= 40
    assert text == report(json.loads(RESULTS.read_text(encoding="utf-8")))


def failures_of(check, folder, done=False):
    failures = Counter()
    check(folder, failures, done)
    return {name: count for name, count in failures.items() if count}


def test_wrong_and_missing_descriptors_are_noticed(tmp_path):
    assert failures_of(works.check_extraction, tmp_path) == {}
    assert failures_of(works.check_extraction, tmp_path, done=True) == {"descriptors lost or wrong": 120}
    expected = works.expected_descriptors(works.EXTRACTED)
    expected[3] = expected[4]
    np.save(tmp_path / "descriptors.npy", expected)
    assert failures_of(works.check_extraction, tmp_path) == {"descriptors lost or wrong": 1}
    whole = (tmp_path / "descriptors.npy").read_bytes()
    (tmp_path / "descriptors.npy").unlink()
    (tmp_path / "descriptors.npy.part").write_bytes(whole)
    (tmp_path / "descriptors.npy.part.rows").write_text("3\n")
    assert failures_of(works.check_extraction, tmp_path) == {}
    (tmp_path / "descriptors.npy.part.rows").write_text("20\n")
    assert failures_of(works.check_extraction, tmp_path) == {"descriptors lost or wrong": 1}
    (tmp_path / "descriptors.npy.part").write_bytes(whole[:400])
    assert failures_of(works.check_extraction, tmp_path) == {"descriptors lost or wrong": 20}


def test_photographs_missing_twice_or_wrong_in_an_index_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)
    folder = tmp_path / "0"
    works.write_photographs(folder)
    assert failures_of(works.check_index, folder) == {}
    assert failures_of(works.check_index, folder, done=True) == {"descriptors lost or wrong": 60}
    works.run_index(folder)
    assert failures_of(works.check_index, folder, done=True) == {}
    described, rows = folder / "index" / "index.json", np.load(folder / "index" / "descriptors.npy")
    told = json.loads(described.read_text())
    rows[3] = rows[4]
    np.save(folder / "index" / "descriptors.npy", rows)
    assert failures_of(works.check_index, folder) == {"descriptors lost or wrong": 1}
    described.write_text(
        json.dumps({**told, "names": [*told["names"][:-1], "000.png"]})
    )  # the last one twice the first
    assert failures_of(works.check_index, folder) == {"descriptors lost or wrong": 4}
    described.write_text(json.dumps({**told, "names": [*told["names"][:-1], "007.png"]}))  # a damaged one
    assert failures_of(works.check_index, folder) == {"descriptors lost or wrong": 3}


@pytest.mark.slow
def test_a_large_index_is_killed_and_ends_whole_and_what_it_lacks_is_noticed(tmp_path, monkeypatch):
    for name, value in (("FEW", 20), ("COMPARED", 10), ("KILLS", 1)):
        monkeypatch.setattr(large_index, name, value)
    failures = Counter()
    figures = large_index.large_index(40, random.Random(0), tmp_path, failures)
    assert not +failures and figures["indexed"] == figures["photographs"] == 40
    described = tmp_path / "index of many" / "index.json"
    told = json.loads(described.read_text())
    described.write_text(json.dumps({**told, "names": [told["names"][1], *told["names"][1:]]}))
    large_index.check(described.parent, tmp_path / "many", tmp_path / "net.safetensors", random.Random(0), failures)
    assert failures["descriptors lost or wrong"] >= 2  # one is missing and one is twice


def test_an_extraction_that_another_process_has_finished_is_no_fault_and_a_strange_file_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)
    for _ in range(2):
        works.run_extraction(tmp_path)
        assert failures_of(works.check_extraction, tmp_path, done=True) == {}
    (tmp_path / "descriptors.npy").rename(tmp_path / "descriptors.npy.part")
    (tmp_path / "descriptors.npy.part.rows").write_text("999")
    with pytest.raises(BadInput, match="999 of its 120"):
        works.run_extraction(tmp_path)


def test_queries_paid_twice_lost_and_wrong_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)
    folder = tmp_path / "ledger"
    folder.mkdir()
    works.run_queries(folder)
    assert failures_of(works.check_queries, folder, done=True) == {}
    assert failures_of(works.check_queries, folder) == {}
    works.answer(folder, works.ASKED[:3])
    assert failures_of(works.check_queries, folder) == {"teacher queries paid twice": 3}
    database = sqlite3.connect(folder / "ledger")
    database.execute("UPDATE paid SET row = zeroblob(12) WHERE image = ?", (works.KEYS[0],))
    database.execute("DELETE FROM paid WHERE image = ?", (works.KEYS[1],))
    database.commit()
    database.close()
    found = {"teacher queries lost": 1, "descriptors lost or wrong": 1}
    assert failures_of(works.check_queries, folder) == found
    monkeypatch.setattr(works, "ASKED", works.ASKED[:100])
    assert failures_of(works.check_queries, folder)["budget overspent"] == 19


def test_half_checkpoints_and_other_weights_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)
    monkeypatch.setattr(works.checkpoint, "EVERY", 100)  # run_training sets its own
    for name in ("undisturbed", "other"):
        (tmp_path / name).mkdir()
        works.run_training(tmp_path / name)
    folder = tmp_path / "other"
    assert failures_of(works.check_training, folder, done=True) == {}
    (folder / "weights").write_bytes((folder / "weights").read_bytes()[:-4] + bytes(4))
    assert failures_of(works.check_training, folder, done=True) == {"trainings that end with other weights": 1}
    (folder / "student.ckpt").write_bytes((folder / "student.ckpt").read_bytes()[:1000])
    assert failures_of(works.check_training, folder) == {"wrong or unfinished files in place": 1}


def test_half_files_and_missing_photographs_are_noticed(tmp_path):
    folder = tmp_path / "data"
    works.offer_set(folder)
    works.run_set(folder)
    assert failures_of(works.check_set, folder, done=True) == {}
    photographs = sorted((folder / "rparis6k" / "jpg").iterdir())
    photographs[0].unlink()
    photographs[1].write_bytes(b"half")
    (photographs[0].parent / "more.jpg").touch()
    assert failures_of(works.check_set, folder) == {"wrong or unfinished files in place": 3}
    (tmp_path / "net").mkdir()
    assert failures_of(works.check_download, tmp_path / "net") == {}
    (tmp_path / "net" / "torture-1.pth").write_bytes(works.NETWORK[:100])
    (tmp_path / "net" / "torture-2.pth.part").write_bytes(works.NETWORK[:100])
    assert failures_of(works.check_download, tmp_path / "net") == {"wrong or unfinished files in place": 1}
    (tmp_path / "net" / "torture-2.pth.part").write_bytes(works.NETWORK[5:100])
    assert failures_of(works.check_download, tmp_path / "net") == {"wrong or unfinished files in place": 2}


def test_requests_charged_twice_and_answers_lost_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "PAUSE", 0)

    def ask(part, name):
        with pairs.BlackBoxTeacher(
            partial(works.answer, tmp_path), 200, tmp_path / name, "colours", batch_size=40
        ) as teacher:
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
    assert +found == {"images charged twice by a served teacher": 5}
    found = Counter()
    pairs.check_served(tmp_path, found, killed=1)
    assert +found == {"images charged twice by a served teacher": 5 - works.BATCH}
    (tmp_path / "sent").write_bytes(notes)
    database = sqlite3.connect(tmp_path / "own 40")
    database.execute("DELETE FROM paid WHERE image = ?", (works.KEYS[50],))
    database.execute("UPDATE paid SET row = zeroblob(12) WHERE image = ?", (works.KEYS[60],))
    database.commit()
    database.close()
    found = Counter()
    check(tmp_path, found)
    assert +found == {"answers of a served teacher lost": 2}
