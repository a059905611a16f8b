"""The bookkeeping of the study: which runs are made, what chooses their settings, what the summary leaves out."""

import json

import pytest
import torch


@pytest.fixture(scope="module")
def study(load_script):
    return load_script("benchmarks/data_efficiency.py")


def row(run, medium, study):
    trained = run.method not in ("teacher", "frozen")
    settings = run.settings | {"rooms": run.rooms} if trained else run.settings
    return {
        **dict.fromkeys(("teacher_queries", "easy", "hard", "seconds"), "0"),
        "method": run.method,
        "images": 300,
        "seed": run.seed,
        "medium": f"{medium:.6f}",
        "settings": study.as_text(settings),
    }


def all_runs(study, out, methods, medium=lambda run: 0.1):
    """Goes through the plan as main() does, with invented scores."""
    runs = []
    for run in study.plan(methods, [30, None], [0, 1], 500, "abc", out):
        runs.append(run)
        if study.find(study.read(out), run) is None:
            study.append(out, row(run, medium(run), study))
    return runs


def test_the_settings_of_every_method_come_from_the_tuning_rows(study, tmp_path):
    def medium(run):
        labels = (1e-4, 500) if run.rooms is None else (1e-4, 150)
        best = {"supervised-contrastive": labels, "listwise": (3e-4, 500)}[run.method]
        return 0.3 if (run.settings["lr"], run.settings["steps"]) == best else 0.2

    out = tmp_path / "rows.csv"
    methods = ["supervised-contrastive", "listwise", "listwise+interpolated"]
    runs = all_runs(study, out, methods, lambda run: 0.1 if run.method == methods[2] else medium(run))
    reported = [run for run in runs if run.seed != study.TUNING_SEED]
    assert {(r.method, r.rooms, r.seed) for r in reported} == {
        (m, n, s) for m in methods for n in (30, None) for s in (0, 1)
    }
    chosen = {(r.method, r.rooms): (r.settings["lr"], r.settings["steps"]) for r in reported}
    assert (
        chosen
        == {
            ("supervised-contrastive", 30): (1e-4, 150),
            ("supervised-contrastive", None): (1e-4, 500),  # labels on all rooms have settings of their own
            **{(name, number): (3e-4, 500) for name in methods[1:] for number in (30, None)},
        }
    )
    assert {r.settings.get("interpolated", 0) for r in reported if r.method == "listwise+interpolated"} == {48}
    assert all(r.method != "listwise+interpolated" for r in runs if r.seed == study.TUNING_SEED)


def test_rows_that_are_there_are_found_again_and_other_settings_are_not(study, tmp_path):
    out = tmp_path / "rows.csv"
    runs = all_runs(study, out, ["teacher", "frozen", "listwise"])
    rows = study.read(out)
    assert all(study.find(rows, run) is not None for run in runs)
    assert len(rows) == len(runs) == len(all_runs(study, out, ["teacher", "frozen", "listwise"]))
    assert len(study.read(out)) == len(rows)
    other = study.Run("listwise", 30, 0, {**runs[-1].settings, "teacher": "another"})
    assert study.find(rows, other) is None


def test_a_method_that_does_not_name_regression_trains_the_bare_loss(study, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(
        study, "distill", lambda *args, regression_weight, **rest: seen.update({now: regression_weight})
    )
    whole = study.Study()
    whole.pixels, whole.teacher_rows = torch.zeros(3100, 3, 1, 1), torch.zeros(3100, 4)
    monkeypatch.setattr(study.Study, "answers", lambda self, run: self.teacher_rows)
    for run in study.plan(list(study.DISTILLED), [30, None], [0], 500, "abc", tmp_path / "rows.csv"):
        now = run.method
        whole.train(run, progress=False)
    assert seen == {name: own.get("regression_weight", 0) for name, own in study.DISTILLED.items()}
    assert seen["listwise"] == seen["listwise+interpolated"] == 0 and seen["listwise+regression"] == 2.0


def test_an_assistant_serves_all_photographs_only_and_pays_for_few(study, tmp_path):
    runs = [
        run for run in study.plan(["assisted-300"], [30, None], [0], 500, "abc", tmp_path / "rows.csv") if run.seed == 0
    ]
    assert [run.rooms for run in runs] == [None]
    report = type("Report", (), dict.fromkeys(("easy", "medium", "hard"), type("", (), {"mAP": 0.5})))
    assert study.as_row(runs[0].method, 3020, 0, report, 1.0, runs[0].settings)["teacher_queries"] == 300


def test_the_kept_rows_are_those_of_the_plan(study):
    rows = study.read(study.RESULTS)
    teacher = json.loads(next(row["settings"] for row in rows if row["method"] == "teacher"))["teacher"]
    kept = ["teacher", "frozen", "supervised-contrastive", "listwise", "listwise+interpolated", "listwise+regression"]
    for run in study.plan(kept, [30], [0, 1, 2, 3, 4], 500, teacher, study.RESULTS):
        assert study.find(rows, run) is not None, run


def test_the_summary_gives_mean_and_spread_without_the_tuning_rows(study):
    runs = [study.Run("listwise", 30, seed, {"lr": 1e-4}) for seed in (0, 1, study.TUNING_SEED)]
    rows = [{k: str(v) for k, v in row(run, m, study).items()} for run, m in zip(runs, (0.2, 0.3, 0.9), strict=True)]
    lines = []
    study.summary(rows, lines.append)
    assert len(lines) == 2
    assert "25.0 ± 7.1" in lines[1]
