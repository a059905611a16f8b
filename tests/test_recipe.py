"""docs/recipe.md is in step with the tables of runs, and its tables say what the runs say."""

import csv
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "recipe.md"
HEAD = ["method", "images", "teacher_queries", "seed", "easy", "medium", "hard", "seconds", "settings", "medium_ap"]


@pytest.fixture(scope="module")
def recipe(load_script):
    return load_script("tools/recipe_tables.py")


def row(method, images, seed, medium, ap=None, **settings):
    precision = "" if ap is None else " ".join(f"{value:.4f}" for value in ap)
    return [method, images, images, seed, 0.5, medium, 0.1, 9.0, json.dumps(settings), precision]


def written(folder, **tables):
    for name in ("study", "regimes", "data_efficiency", "explored"):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEAD, *tables.get(name, [])])
    return folder


def test_the_page_is_in_step_with_the_tables_of_runs(recipe):
    page = PAGE.read_text(encoding="utf-8")
    assert recipe.filled(page) == page, "run python tools/recipe_tables.py"


def test_the_page_holds_every_table_once(recipe):
    named = re.findall(r"<!-- table: ([\w-]+) -->", PAGE.read_text(encoding="utf-8"))
    assert sorted(named) == sorted(recipe.TABLES)


def test_the_text_between_the_tables_holds_no_figure(recipe):
    text = recipe.MARKS.sub("", PAGE.read_text(encoding="utf-8"))
    assert re.findall(r"\d+\.\d+|\d+ ?%", re.sub(r"95 %", "", text)) == []


def test_the_page_says_where_each_kind_of_evidence_is_kept(recipe):
    text = recipe.MARKS.sub("", PAGE.read_text(encoding="utf-8"))
    for name in ("study", "data_efficiency", "regimes", "explored"):
        assert f"`{name}.csv`" in text
        assert (ROOT / "benchmarks" / "results" / f"{name}.csv").is_file()


def test_the_defaults_are_those_of_distill(recipe, tmp_path):
    said = recipe.default(tmp_path)
    assert "| `loss` | `listwise` |\n" in said
    assert "| `steps` | 500 |\n" in said
    assert "| `regression_weight` | 2.0 |\n" in said


def test_mixtures_are_told_by_the_side_of_their_interval(recipe, tmp_path):
    low = [0.1 + 0.001 * k for k in range(20)]
    rows = [row("pkt", 50, seed, 0.1, low) for seed in range(5)]
    rows += [row("pkt+interpolated", 50, seed, 0.2, [value + 0.02 for value in low]) for seed in range(5)]
    rows += [row("order", 25, 0, 0.1, low), row("order+interpolated", 25, 0, 0.2, [value - 0.01 for value in low])]
    rows += [
        row("pkt+interpolated", 50, 1000, 0.9, [0.9] * 20),
        row("pkt", 50, 1000, 0.1, low),
    ]  # chose, and is no result
    course = [row("pkt", 300, 0, 0.3), row("pkt+mixed-maps", 300, 0, 0.33)]
    assert recipe.mixtures(written(tmp_path, study=rows, data_efficiency=course)).splitlines()[2:] == [
        "| study | pkt | 48 of descriptors | 50 | 2.0 (2.0 to 2.0) | helps |",
        "| study | order | 48 of descriptors | 25 | -1.0 (-1.0 to -1.0), 1 seed | hurts |",
        "| student of the course * | pkt | 16 of maps | 300 | 3.0 (3.0 to 3.0), 1 seed | helps |",
    ]


def test_gains_of_the_search_stand_beside_the_same_run_without(recipe, tmp_path):
    rows = [
        row("listwise", 300, 1000, 0.30), row("listwise", 300, 1001, 0.28, lr=3e-4, steps=500),
        row("m", 300, 1000, 0.29, mixtures=48), row("m", 300, 1001, 0.2796, mixtures=48),
        row("m", 300, 1000, 0.26, mixtures=48, lam="ends"), row("pkt", 300, 1000, 0.2, loss="pkt"),
        row("m", 300, 1000, 0.23, loss="pkt", mixtures=48), row("listwise", 300, 1000, 0.25, anchors=2, neighbours=3),
    ]  # fmt: skip
    folder = written(tmp_path, regimes=rows)
    assert recipe.kinds(folder).splitlines()[2:] == [
        "| mixtures 48 | -1.0, 0.0 | -0.5 |",
        "| mixtures 48, lambda ends | -4.0 | -4.0 |",
    ]
    assert recipe.regimes(folder).splitlines()[2:] == ["| pkt | +3.0 | +3.0 |"]
    assert recipe.lists(folder).splitlines()[2:] == ["| 8 | 2 | 3 | 25.0 |", "| 48 | 8 | 5 | 30.0, 28.0 |"]


def test_students_of_other_dimensions_say_how_their_layer_started(recipe, tmp_path):
    rows = [
        row("m", 300, 1000, 0.30), row("m", 300, 1001, 0.13, dim=32), row("m", 300, 1000, 0.12, dim=32),
        row("m", 300, 1000, 0.15, dim=32, whiten="components", regression=2.0),
        row("m", 300, 1000, 0.1, dim=32, mixtures=48),
    ]  # fmt: skip
    assert recipe.dimensions(written(tmp_path, regimes=rows)).splitlines()[2:] == [
        "| 32 | components | and regression | 15.0 |",
        "| 32 | random | alone | 12.0, 13.0 |",
    ]


def test_settings_of_training_stand_beside_the_default(recipe, tmp_path):
    rows = [
        row("m", 300, 1000, 0.30, regression=2.0), row("m", 300, 1000, 0.31, regression=2.0, steps=1000),
        row("m", 300, 1000, 0.29), row("m", 300, 1000, 0.2, steps=1000),
    ]  # fmt: skip
    assert recipe.around(written(tmp_path, regimes=rows)).splitlines()[2:] == ["| steps 1000 | +1.0 | +1.0 |"]


def test_mixtures_of_maps_stand_beside_a_larger_batch(recipe, tmp_path):
    rows = [
        row("listwise", 300, 1000, 0.30, regression=2.0), row("m", 300, 1000, 0.31, regression=2.0, anchors=16),
        row("m", 300, 1000, 0.32, regression=2.0, mixtures=16, mixed="maps"), row("m", 300, 1000, 0.2, mixtures=48),
    ]  # fmt: skip
    assert recipe.maps(written(tmp_path, regimes=rows)).splitlines()[2:] == [
        "| mixtures 16, mixed maps (regression, weight 2.0) | +2.0 | +2.0 |",
        "| anchors 16 (regression, weight 2.0) | +1.0 | +1.0 |",
    ]


def test_conditions_stand_beside_the_usual_one_and_a_teacher_beside_its_student(recipe, tmp_path):
    rows = [
        row("listwise", 300, 1000, 0.30), row("listwise", 300, 1000, 0.28, augmentation="heavy"),
        row("m", 300, 1000, 0.2, augmentation="heavy", mixtures=48), row("listwise", 300, 1000, 0.2, teacher="16 numbers"),
        row("teacher", 300, 1000, 0.25, loss=None, teacher="16 numbers"), row("listwise", 300, 1000, 0.22, anchors=2),
        row("listwise", 300, 1000, 0.23, anchors=2, bank=40),
    ]  # fmt: skip
    assert recipe.conditions(written(tmp_path, regimes=rows)).splitlines()[2:] == [
        "| augmentation heavy | -2.0 | -2.0 |  |",
        "| teacher of 16 numbers | -10.0 | -10.0 | 25.0 |",
        "| memory bank of 40 (anchors 2) | +1.0 | +1.0 |  |",
    ]


def test_the_student_of_the_course_is_set_against_labels_seed_by_seed(recipe, tmp_path):
    rows = [row("teacher", 0, 0, 0.4), row("listwise", 300, 0, 0.3), row("listwise", 300, 1, 0.34)]
    rows += [row("supervised-contrastive", 300, seed, 0.29) for seed in (1, 2)]
    said = recipe.targets(written(tmp_path, data_efficiency=rows))
    assert "| listwise, 300 photographs | 32.0 %, 80 % of the teacher's (2 seeds) |" in said
    assert "| listwise, 300 photographs, against labels on 300 | 5.0 (5.0 to 5.0) points (1 seed) * |" in said
    assert "3,020" not in said


def test_an_assistant_stands_beside_the_same_student_without_one(recipe, tmp_path):
    rows = [row("listwise+regression", 300, seed, 0.1, [0.10, 0.20]) for seed in range(5)]
    rows += [row("listwise+regression", 3020, seed, 0.1, [0.20, 0.30]) for seed in range(5)]
    rows += [row("assisted-300", 3020, seed, 0.1, [0.15, 0.25]) for seed in range(5)]
    for assisted in rows[10:]:
        assisted[2] = 300  # queries
    folder = written(tmp_path, study=rows)
    lines = recipe.larger(folder).splitlines()[2:]
    assert [line.split(" | ")[1:4] for line in lines] == [
        ["the teacher", "300", "300"], ["the larger assistant", "3,020", "300"], ["the teacher", "3,020", "3,020"]
    ]  # fmt: skip
    assert recipe.assisted(folder).splitlines()[2:] == [
        "| SqueezeNet, 300 queries: with an assistant, against without | 5.0 (5.0 to 5.0) | 133 % |",
        "| SqueezeNet, 300 queries with an assistant, against 3,020 queries | -5.0 (-5.0 to -5.0) | 80 % |",
    ]
    assert "assisted" not in recipe.all_losses(folder)


def test_a_table_without_runs_says_so(recipe, tmp_path):
    folder = written(tmp_path, data_efficiency=[row("teacher", 0, 0, 0.4)])
    for name, make in recipe.TABLES.items():
        if name not in ("default", "targets"):
            assert make(folder) == "*No run of this kind is in the table yet.*\n"


def test_an_outdated_page_is_found_and_mended(recipe, tmp_path, monkeypatch, capsys):
    page = tmp_path / "recipe.md"
    page.write_text("before\n<!-- table: default -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(recipe, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["recipe_tables.py", "--check"])
    assert recipe.main() == 1
    assert "out of date" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["recipe_tables.py"])
    assert recipe.main() == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- table: default -->\n| setting") and text.endswith("<!-- /table -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["recipe_tables.py", "--check"])
    assert recipe.main() == 0


def test_a_mark_of_no_table_is_an_error(recipe):
    with pytest.raises(KeyError):
        recipe.filled("<!-- table: nothing -->\n<!-- /table -->")
