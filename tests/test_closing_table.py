import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rdistill_course.closing_table import course_scores_path, format_scores, read_scores, score_row, write_scores
from rdistill_course.pictures import scores_plot
from rdistill_course.runs import runs_root
from rdistill_helpers import Benchmark, evaluate
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.score.uncertainty import bootstrap

ROWS = [
    {"name": "teacher", "easy": 0.7, "medium": 0.55, "hard": 0.301},
    {"name": "student, distilled", "easy": 1.0, "medium": 0.4, "hard": 0.0},
]


def test_rows_survive_the_file(tmp_path):
    path = write_scores(ROWS, tmp_path / "new" / "scores.json")
    assert read_scores(path) == ROWS
    assert json.loads(path.read_text()) == ROWS
    assert [file.name for file in path.parent.iterdir()] == ["scores.json"]


def test_a_row_is_taken_from_a_report():
    report = SimpleNamespace(
        easy=SimpleNamespace(mAP=0.5), medium=SimpleNamespace(mAP=0.25), hard=SimpleNamespace(mAP=0.125)
    )
    assert score_row("student", report) == {"name": "student", "easy": 0.5, "medium": 0.25, "hard": 0.125}


def test_own_photographs_without_hard_positives_have_a_dash_everywhere(tmp_path):
    random = np.random.default_rng(0)
    for place in "ab":
        (tmp_path / place).mkdir()
        for number in range(3):
            Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / place / f"{number}.png")
    mine = Benchmark.from_folder(tmp_path)
    rows = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    report = evaluate(rows[:2], rows[2:], mine, name="student")
    assert ["hard"] + ["-"] * 4 in [line.split() for line in str(report).splitlines()] and "nan" not in str(report)
    assert "nan" not in repr(report) + report._repr_html_()
    row = score_row("student", report)
    path = write_scores([row, ROWS[0]], tmp_path / "scores.json")
    assert json.loads(path.read_text())[0]["hard"] is None
    read = read_scores(path)
    assert read[0]["medium"] == report.medium.mAP and math.isnan(read[0]["hard"]) and read[1] == ROWS[0]
    lines = format_scores(read).splitlines()
    assert lines[2].split()[-1] == "-" and len({len(line) for line in lines}) == 1
    assert f"student easy {100 * report.easy.mAP:.1f}, medium {100 * report.medium.mAP:.1f}, hard -" in (
        scores_plot(read).get_label()
    )
    assert "hard -" in scores_plot(read[:1]).get_label()
    assert str(bootstrap(report.hard.ap[None])) == "-" and "nan" not in str(bootstrap(report.easy.ap[None]))


def test_the_table_shows_percent_in_aligned_columns():
    lines = format_scores(ROWS).splitlines()
    assert lines[0].split() == ["mAP", "in", "percent", "Easy", "Medium", "Hard"]
    assert lines[2].split() == ["teacher", "70.0", "55.0", "30.1"]
    assert lines[3].endswith("100.0    40.0     0.0")
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    "row",
    [{"name": "x", "easy": 0.1, "medium": 0.1}, {"name": "x", "easy": 55.0, "medium": 0.1, "hard": 0.1}, "x",
     {"name": "x", "easy": float("inf"), "medium": 0.1, "hard": 0.1}],
    ids=["no hard", "percent", "no row", "infinite"],
)  # fmt: skip
def test_a_bad_row_is_refused_before_anything_is_written(row, tmp_path):
    with pytest.raises(BadInput):
        write_scores([row], tmp_path / "scores.json")
    assert not any(tmp_path.iterdir())


def test_a_missing_or_broken_file_says_what_to_run(tmp_path):
    with pytest.raises(DataMissing, match="run notebook 04"):
        read_scores(tmp_path / "scores.json")
    (tmp_path / "scores.json").write_text("[{")
    with pytest.raises(BadInput, match="run notebook 04 again"):
        read_scores(tmp_path / "scores.json")


def test_runs_go_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("RDISTILL_RUNS", str(tmp_path / "elsewhere"))
    assert runs_root() == tmp_path / "elsewhere"
    assert (tmp_path / "elsewhere").is_dir()
    assert course_scores_path() == tmp_path / "elsewhere" / "course" / "scores.json"
    assert runs_root(tmp_path / "given") == tmp_path / "given"


def test_scores_of_a_file_can_be_drawn(tmp_path):
    path = write_scores([{"name": "a", "easy": 0.0, "medium": 1.0, "hard": 0.5}], tmp_path / "scores.json")
    assert "a easy 0.0, medium 100.0, hard 50.0" in scores_plot(read_scores(path)).get_label()
