"""What is measured of the teachers: same-room precision, a table that grows and is not measured twice, its printed tables."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tiny_sets import unit_rows

from study.tables import teachers as tables

TOOLS = Path(__file__).resolve().parents[1] / "tools"
LINE = {"network": "teacher", "version": "1", "measure": "scores", "part": "test", "seed": ""}


@pytest.fixture(scope="module")
def tool(load_script):
    sys.path.insert(0, str(TOOLS))
    yield load_script("tools/measure_teachers.py")
    sys.path.remove(str(TOOLS))


def test_same_room_precision_equals_the_loop(tool, monkeypatch):
    monkeypatch.setattr(tool, "ROOMS_COMPARED", 3)
    monkeypatch.setattr(tool, "VIEWS_COMPARED", 2)
    rooms = torch.tensor([4, 1, 1, -1, 2, 9, 2, 4, 1, 5, 5, 7, 7, 8, 8])  # 9 has one photograph, -1 is unknown
    rows = unit_rows(len(rooms), 8)
    expected = []
    for block in ([1, 2, 4], [5, 7, 8]):
        index = [i for room in block for i in (rooms == room).nonzero()[:2, 0].tolist()]
        for room in block:
            found = []
            for i in [i for i in index if rooms[i] == room]:
                others = sorted((j for j in index if j != i), key=lambda j: -float(rows[i] @ rows[j]))
                rank = [int(rooms[j]) for j in others].index(room)
                found.append(((1 if rank == 0 else 0) + 1 / (rank + 1)) / 2)  # one positive, the trapezoid form
            expected.append(sum(found) / 2)
    assert tool.same_room_precision(rows, rooms).tolist() == pytest.approx(expected)


def test_too_few_rooms_are_refused(tool):
    with pytest.raises(tool.BadInput, match="Only 2 rooms"):
        tool.same_room_precision(unit_rows(12, 4), torch.arange(2).repeat_interleave(6))


class Fixed:
    """Networks that are only names with versions."""

    def __init__(self, **versions):
        self.nets = self.versions = versions

    def version(self, name):
        return self.versions[name]


def test_what_is_measured_is_not_measured_again_unless_the_weights_are_others(tool, tmp_path, monkeypatch):
    calls, path = [], tmp_path / "teachers.csv"

    def tasks(networks, wanted):
        for name in networks.nets:
            for part in ("validation", "test"):
                shared = {**LINE, "network": name, "version": networks.version(name), "part": part}
                measured = {"easy": {"mean": "1", "low": "0", "high": "2"}}
                yield shared, ("easy",), lambda key=(name, part), measured=measured: calls.append(key) or measured

    monkeypatch.setattr(tool, "tasks", tasks)
    tool.write([{**LINE, "measure": tool.CURVE, "network": "teacher", "version": ""}], path)
    tool.measure(Fixed(teacher="a", stranger="b"), ["scores"], path)
    tool.measure(Fixed(teacher="a", stranger="c"), ["scores"], path)
    both = [("teacher", "validation"), ("teacher", "test"), ("stranger", "validation"), ("stranger", "test")]
    assert calls == [*both, *both[2:]]
    assert sorted(line["version"] for line in tool.read(path)) == ["", "a", "a", "c", "c"]  # a curve is of no version


def test_a_measurement_that_was_stopped_keeps_what_it_has(tool, tmp_path, monkeypatch):
    path = tmp_path / "teachers.csv"

    def broken():
        raise KeyboardInterrupt

    done = {"easy": {"mean": "1", "low": "0", "high": "2"}}
    planned = [(LINE, ("easy",), lambda: done), ({**LINE, "part": "validation"}, ("easy",), broken)]
    monkeypatch.setattr(tool, "tasks", lambda networks, wanted: iter(planned))
    with pytest.raises(KeyboardInterrupt):
        tool.measure(Fixed(teacher="1"), ["scores"], path)
    assert [line["part"] for line in tool.read(path)] == ["test"]


def test_another_table_is_refused(tool, tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    record = tmp_path / "stranger.jsonl"
    record.write_text("")
    assert tool.main(["--curves", str(record), "--results", str(other)]) == 1
    assert "is no table of measurements" in capsys.readouterr().err
    assert other.read_text() == "a,b\n1,2\n"


def test_tables_say_what_was_measured(tool, tmp_path):
    path, record = tmp_path / "teachers.csv", tmp_path / "stranger.jsonl"
    record.write_text(
        "".join(json.dumps({"step": s, "easy": 3, "medium": s / 100, "hard": 1}) + "\n" for s in (500, 1000))
    )
    values = {"mean": "50", "low": "45.04", "high": "55"}
    lines = [{**LINE, "detail": protocol, **values} for protocol in tables.PROTOCOLS]
    lines += [{**LINE, "measure": "same-room", "part": part, "detail": "", **values} for part in ("train", "test")]
    student = {**LINE, "measure": "students", "part": "validation", "detail": "listwise", **values}
    lines += [{**student, "seed": "0"}, {**student, "seed": "1", "mean": "40"}]
    tool.write(lines, path)
    for _ in range(2):  # taken over twice, it stands there once
        assert tool.main(["--curves", str(record), "--results", str(path)]) == 0
    measured = tables.read(path)
    assert tables.scores(measured).values.tolist() == [["test", "teacher", *["50.0 (45.0 to 55.0)"] * 3]]
    assert tables.same_room(measured)["train"].tolist() == ["50.0 (45.0 to 55.0)"]
    assert tables.students(measured)["medium"].tolist() == ["45.0 (40.0 to 50.0)"]
    assert tables.curves(measured)[["training", "steps", "medium"]].values.tolist() == [
        ["stranger", 500, 5.0], ["stranger", 1000, 10.0],
    ]  # fmt: skip
