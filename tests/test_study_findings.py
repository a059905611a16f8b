"""The findings say what the runs say, and a notebook holds them between its marks."""

import re

import nbformat
import pandas
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_study_recipe import PER_QUERY, better, frame, reached, searched

from study import findings, recipe
from study.methods import BY_DESCRIPTORS, BY_MAPS, PRIMARY_SEEDS
from study.search import FEW_PAID, MANY, TUNED_ON
from study.tables import teachers


def two_seeds(method, images, gain=0.0):
    return [
        reached(method, images, seed, 0.1 + gain + seed / 10, [value + gain + seed / 10 for value in PER_QUERY])
        for seed in (0, 1)
    ]


def test_the_verdict_tells_three_primary_comparisons_once_all_seeds_are_run():
    rows = [*searched(), *(reached("listwise+regression", TUNED_ON, seed, 0.1, PER_QUERY) for seed in PRIMARY_SEEDS)]
    for name, gain in ((BY_DESCRIPTORS, 0.02), (BY_MAPS, 0.0)):
        own = [value + gain for value in PER_QUERY]
        rows += [reached(f"listwise+regression{name}", TUNED_ON, seed, 0.1, own) for seed in PRIMARY_SEEDS]
    own = [value - 0.01 for value in PER_QUERY]
    rows += [reached("straight", TUNED_ON, seed, 0.1, own) for seed in PRIMARY_SEEDS]
    descriptors, maps, other = findings.told("verdict", frame(*rows)).split("; ")
    assert descriptors.endswith("8 seeds): mixtures of descriptors +2.0 points (99.4 %: +2.0 to +2.0), higher")
    assert maps.startswith("mixtures of feature maps +0.0 points") and maps.endswith("no clear difference")
    assert other.startswith("the best of 7 other ways to mix, by the validation rooms, -1.0 points")
    assert findings.told("verdict", frame(*rows[:-1])) == findings.NOT_YET


def test_the_listwise_loss_stands_beside_the_one_that_the_validation_rooms_put_next():
    rows = better(searched(), "pkt", TUNED_ON, 0.3) + two_seeds("listwise", TUNED_ON, 0.02) + two_seeds("pkt", TUNED_ON)
    said = findings.told("losses", frame(*rows, *two_seeds("listwise+regression", TUNED_ON, 0.03)))
    assert "; PKT, the best of 6 other losses on the validation rooms, " in said
    assert ": +2.0 points (95 %: +2.0 to +2.0), higher." in said


def test_an_assistant_is_measured_against_the_same_queries_and_as_a_share_of_all():
    rows = two_seeds("listwise+regression", TUNED_ON) + two_seeds("listwise+regression", MANY, 0.1)
    rows += two_seeds("assisted-300", MANY, 0.05) + two_seeds("paid-random", TUNED_ON)
    rows += two_seeds("paid-k-centre", TUNED_ON, -0.01)
    said = findings.told("paying", frame(*rows))
    mean = sum(PER_QUERY) / len(PER_QUERY) + 0.05
    assert "+5.0 points (95 %: +5.0 to +5.0), higher" in said
    part, whole = (float(value) for value in re.search(r"This is (\d+) % \(.*?\) of the (\S+) % that", said).groups())
    reached_by_all = 100 * float(re.search(r"reaches (\S+) %", said)[1]) / part
    assert reached_by_all == pytest.approx(whole, rel=0.01) and whole == pytest.approx(100 * (mean + 0.1), abs=0.06)
    assert "at random: -1.0 points (95 %: -1.0 to -1.0), lower." in said


def test_a_few_photographs_are_a_part_of_the_way():
    rows = [reached("untrained", 0, 0, 0.1, [0.1] * 20), reached("teacher", 0, 0, 0.5, [0.5] * 20)]
    rows += [reached("listwise+regression", TUNED_ON, 0, 0.2, [0.2] * 20)]
    rows += [reached("listwise+regression", MANY, 0, 0.3, [0.3] * 20)]
    said = findings.told("enough", frame(*rows))
    assert said.startswith("The cheap student, untrained at 10.0 %, has 20.0 % with 300 photographs.")
    assert said.endswith("This is 67 % (95 %: 67 to 67) of the 30.0 % that 3,020 photographs give.")


def test_the_mean_of_all_mixtures_counts_its_methods():
    rows = [row for name in ("listwise+regression", "stranger", "order") for row in two_seeds(name, TUNED_ON)]
    for name, gain in (("listwise+regression", 0.03), ("stranger", 0.01)):
        rows += two_seeds(f"{name}{BY_DESCRIPTORS}", TUNED_ON, gain)
    assert findings.told("everywhere", frame(*rows)) == findings.NOT_YET  # no maps
    rows += two_seeds(f"listwise+regression{BY_MAPS}", TUNED_ON)
    rows += two_seeds(f"order{BY_MAPS}", TUNED_ON, -0.02)
    said = findings.told("everywhere", frame(*rows))
    assert "mixtures of descriptors with 2 methods: +2.0 points (95 %: +2.0 to +2.0), higher" in said
    assert "mixtures of feature maps with 2 methods: -1.0 points" in said


def test_choices_and_assistants_are_said_with_their_numbers():
    rows = two_seeds("listwise+regression", TUNED_ON) + two_seeds("listwise+regression", MANY, 0.1)
    rows += two_seeds("paid-random", TUNED_ON) + two_seeds("paid-k-centre", TUNED_ON, -0.01)
    rows += two_seeds("paid-clusters", TUNED_ON, 0.01) + two_seeds("paid-few-views", TUNED_ON, 0.02)
    rows += two_seeds("assisted-100", MANY, 0.03) + two_seeds("assisted-300", MANY, 0.05)
    rows += two_seeds("assisted-by-labels-300", MANY, 0.04)
    rows += two_seeds("paid-mixed", FEW_PAID, -0.04) + two_seeds("paid-crops", FEW_PAID, -0.03)
    runs = frame(*rows)
    assert "k-centre, against random: -1.0 points" in findings.told("choosing", runs)
    assert "three of each room, against ten: +2.0 points" in findings.told("choosing", runs)
    assert "100 and 200 crops of them, against 300: -3.0 points" in findings.told("choosing", runs)
    mean = 100 * (sum(PER_QUERY) / len(PER_QUERY) + 0.05)
    said = findings.told("assistants", runs)
    levels = [float(value) for value in re.findall(r"([\d.]+) % with", said)]
    assert levels == pytest.approx([mean + 3, mean + 5, mean, mean + 10], abs=0.06)
    assert said.startswith("A cheap student of the larger assistant reaches") and "% with 3,020." in said
    assert said.endswith("against one that learned from their labels: +1.0 points (95 %: +1.0 to +1.0), higher.")


def test_harder_teachers_are_told_by_what_their_students_lose(monkeypatch):
    rows = [("teacher", "27.0"), ("an order alone", "20.0"), ("rounded to 2 digits", "26.5"), ("stranger", "10.0")]
    explored = pandas.DataFrame([*rows, ("teacher", "1.0")], columns=["teacher", "student"])
    monkeypatch.setattr(findings.tables, "explored", lambda runs: explored)
    said = findings.told("harder", frame())
    assert said.startswith("A student of the teacher reaches 27.0 % on the validation rooms, mean of two seeds.")
    assert said.endswith(
        "compared with it: rounded to 2 digits -0.5, an order alone -7.0. "
        "With two seeds a difference of two or three points may be chance."
    )


@pytest.mark.parametrize("name", sorted(set(findings.FINDINGS) - {"teacher", "by_heart", "taught"}))
def test_without_runs_a_finding_says_so(name):
    assert findings.told(name, frame()) == findings.NOT_YET


def test_a_notebook_is_filled_in_its_text_alone():
    marks = "<!-- finding: {} -->\nold\n<!-- /finding -->"
    cells = [
        new_markdown_cell(f"**What we found.** {marks.format('verdict')}"),
        new_code_cell(f"'''{marks.format('x')}'''"),
    ]
    page = nbformat.writes(new_notebook(cells=cells))
    filled = nbformat.reads(recipe.filled_notebook(page, frame()), as_version=4)
    assert filled.cells[0].source == f"**What we found.** {marks.format('verdict')}".replace("old", findings.NOT_YET)
    assert filled.cells[1].source == cells[1].source
    with pytest.raises(KeyError):
        recipe.filled(marks.format("unheard-of"), frame())


def test_what_is_known_by_heart_is_told_beside_the_stranger():
    rows = [line.split(",") for line in teachers.RESULTS.read_text(encoding="utf-8").splitlines()]
    mean = {(row[0], row[3]): float(row[6]) for row in rows if row[2] == "same-room"}
    said = findings.told("by_heart", frame())
    for name in ("teacher", "memoriser"):
        for part in ("train", "validation", "test"):
            assert f"{mean[name, part] - mean['stranger', part]:+.1f}" in said


def test_what_each_teacher_taught_is_the_mean_of_its_students():
    rows = [line.split(",") for line in teachers.RESULTS.read_text(encoding="utf-8").splitlines()]
    means = {}
    for network, _, measure, _, detail, _, mean, *_ in rows:
        if measure == "students" and detail in ("listwise+regression", teachers.LABELS):
            means.setdefault(network, []).append(float(mean))
    said = findings.told("taught", frame())
    assert {len(values) for values in means.values()} == {5}
    assert re.findall(r"(\d+\.\d) %", said) == [f"{sum(values) / 5:.1f}" for values in means.values()]
