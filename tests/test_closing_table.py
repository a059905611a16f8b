import json
from types import SimpleNamespace

import pytest

from rdistill_course.closing_table import course_scores_path, format_scores, read_scores, score_row, write_scores
from rdistill_course.pictures import scores_plot
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.runs import runs_root

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


def test_the_table_shows_percent_in_aligned_columns():
    lines = format_scores(ROWS).splitlines()
    assert lines[0].split() == ["mAP", "in", "percent", "Easy", "Medium", "Hard"]
    assert lines[2].split() == ["teacher", "70.0", "55.0", "30.1"]
    assert lines[3].endswith("100.0    40.0     0.0")
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    "row",
    [{"name": "x", "easy": 0.1, "medium": 0.1}, {"name": "x", "easy": 55.0, "medium": 0.1, "hard": 0.1}, "x",
     {"name": "x", "easy": float("nan"), "medium": 0.1, "hard": 0.1}],
    ids=["no hard", "percent", "no row", "nan"],
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
