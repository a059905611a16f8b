"""The store of the study: one line for each run, whoever writes it and whenever it is killed."""

import math
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest
import torch

from rdistill_helpers.errors import BadInput, DataMissing
from study import runs
from study.runs import COLUMNS, Run, append, keys, line, make, read
from study.settings import Settings, version

# A forked process need not import torch again; not every system can fork.
PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")

SOURCE = ("edition-2-0fac3075", "teacher 7eac4e12")


def report(medium=0.25, ap=(0.25, float("nan"), 1.0)):
    protocol = type("Protocol", (), {"mAP": medium, "ap": torch.tensor(ap)})
    return type("Report", (), dict.fromkeys(("easy", "medium", "hard"), protocol))


def run(images=300, seed=0, method="listwise"):
    return Run(method, Settings(images=images), seed)


def source(own):
    return SOURCE


def work(own):
    return line(own, report(own.seed / 100), 1.5, SOURCE)


WANTED = [run(images, seed) for images in (25, 50) for seed in range(4)]


def seeds(path):
    return [(row.images, row.seed) for row in read(path).itertuples()]


def test_a_run_comes_back_as_it_was_made(tmp_path):
    assert append(line(run(50, 3), report(), 12.5, SOURCE), tmp_path / "runs.csv")
    (row,) = read(tmp_path / "runs.csv").itertuples()
    assert (row.method, row.images, row.teacher_queries, row.seed, row.seconds) == ("listwise", 50, 50, 3, 12.5)
    assert (row.easy, row.medium, row.hard, row.version, row.data) == (0.25, 0.25, 0.25, version(), SOURCE[0])
    assert row.settings == Settings(images=50)
    assert torch.equal(row.medium_ap.nan_to_num(-1), torch.tensor([0.25, -1.0, 1.0]))
    assert len(row.made) == len("2026-01-01")


def test_what_is_missing_is_made_and_nothing_twice(tmp_path):
    path = tmp_path / "deep" / "runs.csv"
    made = []

    def counted(own):
        made.append(own)
        return work(own)

    assert make([*WANTED[:3], WANTED[0]], counted, source, path=path) == 3
    assert make(WANTED, counted, source, path=path) == 5
    assert make(WANTED, counted, source, path=path) == 0
    assert sorted(seeds(path)) == sorted((own.settings.images, own.seed) for own in WANTED)
    assert len(made) == len(WANTED)


@pytest.mark.slow
def test_processes_share_the_runs(tmp_path):
    assert make(WANTED, work, source, jobs=2, path=tmp_path / "runs.csv") == len(WANTED)
    assert sorted(seeds(tmp_path / "runs.csv")) == sorted((own.settings.images, own.seed) for own in WANTED)


def test_two_studies_on_one_store_write_every_run_once(tmp_path):
    both = [PROCESSES.Process(target=make, args=(WANTED, work, source, 1, tmp_path / "runs.csv")) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert sorted(seeds(tmp_path / "runs.csv")) == sorted((own.settings.images, own.seed) for own in WANTED)


def test_a_store_that_grows_while_a_study_begins_is_no_error(tmp_path, monkeypatch):
    path, plain = tmp_path / "runs.csv", runs.keys
    make(WANTED[:2], work, source, path=path)

    def and_then_another_adds(path):
        there = plain(path)
        append(work(WANTED[5]), path)
        return there

    monkeypatch.setattr(runs, "keys", and_then_another_adds)
    assert make(WANTED, work, source, path=path) == len(WANTED) - 3
    assert sorted(seeds(path)) == sorted((own.settings.images, own.seed) for own in WANTED)


@pytest.mark.parametrize("left", ["", "ab", "version,made,meth"])
def test_a_store_that_was_killed_in_its_first_line_begins_again(tmp_path, left):
    path = tmp_path / "runs.csv"
    path.write_text(left, encoding="utf-8")
    assert keys(path) == set() and len(read(path)) == 0
    assert make(WANTED[:2], work, source, path=path) == 2
    assert len(read(path)) == 2


def test_a_line_that_was_cut_off_is_dropped_and_made_again(tmp_path):
    path = tmp_path / "runs.csv"
    make(WANTED, work, source, path=path)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in (last + 1, last + 20, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert len(read(path)) == len(WANTED) - 1
        assert make(WANTED, work, source, path=path) == 1
        assert path.read_bytes().count(b"\n") == len(WANTED) + 1
        assert sorted(seeds(path)) == sorted((own.settings.images, own.seed) for own in WANTED)


MANY = [run(25, seed) for seed in range(300)]


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_has_every_run_once(tmp_path):
    path = tmp_path / "runs.csv"
    chance = random.Random(0)
    for _ in range(10):
        study = PROCESSES.Process(target=make, args=(MANY, work, source, 1, path))
        study.start()
        had = path.stat().st_size if path.exists() else 0
        while study.is_alive() and (not path.exists() or path.stat().st_size <= had):
            time.sleep(0.001)
        time.sleep(chance.random() / 20)
        study.kill()
        study.join()
    before = len(read(path))
    assert 0 < before < len(MANY)
    assert make(MANY, work, source, path=path) == len(MANY) - before
    assert sorted(seeds(path)) == [(25, own.seed) for own in MANY]


def endless(own):
    """Work that tells who does it and never ends."""
    (Path(os.environ["WORKERS"]) / str(os.getpid())).touch()
    time.sleep(600)


def alive(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split(")")[1]
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_processes_of_a_study_that_is_killed_end_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKERS", str(tmp_path))
    study = PROCESSES.Process(target=make, args=(WANTED, endless, source, 2, tmp_path / "runs.csv"))
    study.start()
    until = time.monotonic() + 300
    while len(workers := [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    study.kill()
    study.join()
    while any(map(alive, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_store_of_other_settings_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "runs.csv"
    make(WANTED, work, source, path=path)
    text = path.read_text(encoding="utf-8").replace(version(), "0badc0de", 1)
    path.write_text(text, encoding="utf-8")
    for use in (
        lambda: read(path),
        lambda: keys(path),
        lambda: make([run(100)], work, source, path=path),
        lambda: append(work(run()), path),
    ):
        with pytest.raises(
            BadInput, match=r"runs\.csv holds runs of other settings .*0badc0de.*`make study`"
        ) as refused:
            use()
        assert "\n" not in str(refused.value)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (("edition-3-0fac3076", SOURCE[1]), "for photographs there are edition-2-0fac3075, edition-3-0fac3076"),
        ((SOURCE[0], "teacher 12345678"), "for the teacher there are teacher 7eac4e12, teacher 12345678"),
    ],
)
def test_runs_of_other_photographs_or_of_another_teacher_are_never_mixed(tmp_path, other, says):
    path = tmp_path / "runs.csv"
    make(WANTED, work, source, path=path)
    text = path.read_text(encoding="utf-8")
    trained = []
    with pytest.raises(BadInput, match=rf"{says}.*`make study`") as refused:
        make([run(100)], trained.append, lambda own: other, path=path)
    assert "\n" not in str(refused.value) and trained == []
    with pytest.raises(BadInput, match=says):
        append(line(run(100), report(), 1.5, other), path)
    assert path.read_text(encoding="utf-8") == text
    path.write_text(text.replace(",".join(SOURCE), ",".join(other), 1), encoding="utf-8")
    for use in (lambda: read(path), lambda: keys(path), lambda: append(work(run(100)), path)):
        with pytest.raises(BadInput, match="holds runs of other data"):
            use()


def test_runs_of_two_teachers_and_of_none_share_a_store(tmp_path):
    names = {0: "teacher 7eac4e12", 1: "stranger 12345678", 2: ""}
    for seed, teacher in names.items():
        append(line(run(seed=seed), report(), 1.5, (SOURCE[0], teacher)), tmp_path / "runs.csv")
    assert read(tmp_path / "runs.csv")["teacher"].tolist() == list(names.values())


def test_queries_in_the_teachers_database_are_kept_beside(tmp_path):
    append(line(run(seed=0), report(), 1.5, SOURCE, report(0.5, (0.25, 0.75))), tmp_path / "runs.csv")
    append(line(run(seed=1), report(), 1.5, SOURCE), tmp_path / "runs.csv")
    first, second = read(tmp_path / "runs.csv").itertuples()
    assert first.to_teacher == 0.5 and first.to_teacher_ap.tolist() == [0.25, 0.75]
    assert math.isnan(second.to_teacher) and second.to_teacher_ap is None


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        ",".join(COLUMNS) + "\n1,2\n",
        ",".join(COLUMNS) + f"\n{version()},x,d,t,m,many,0,0,0,0,0,0,{{}},,,\n",
        ",".join(COLUMNS) + f"\n{version()},x,d,t,m,300,0,0,0,0,0,0,no json,,,\n",
        ",".join(COLUMNS) + f"\n{version()},x,d,t,m,300,0,0,0,0,0,0,{{}},0.1 x,,\n",
    ],
    ids=["other columns", "too few values", "images", "settings", "precision"],
)
def test_another_file_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="no store of runs") as refused:
        read(tmp_path / "a.csv")
    assert "\n" not in str(refused.value)


def test_a_missing_store_says_how_to_make_it(tmp_path):
    with pytest.raises(DataMissing, match="make study"):
        read(tmp_path / "none.csv")
