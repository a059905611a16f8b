"""What runs say: what is paired with what, and what is left out."""

import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import Interval, bootstrap, paired_bootstrap
from study.compare import (
    Comparison,
    Tested,
    asymmetric,
    corrected,
    curve,
    gains,
    holm,
    paired_precision,
    precision,
    reported,
    searched,
)
from study.runs import COLUMNS, SEARCH, read
from study.settings import Settings

MIXED = {"listwise+mixtures": "listwise"}


def ap_of(method, images, seed, queries=6):
    """Invented precision of each query; a seed and a query do the same to every method."""
    of_query = torch.rand(queries, generator=torch.Generator().manual_seed(7)) * 0.3
    return of_query + 0.0001 * images + 0.01 * seed + (0.02 if "+mixtures" in method else 0.0)


def run(method, images, seed, settings=None, ap=None):
    ap = ap_of(method, images, seed) if ap is None else ap
    own = [method, images, images, seed, 0.5, float(ap.nanmean()), 0.1, 12.5, settings or Settings(images=images), ap]
    return dict(zip(COLUMNS, ["version", "today", "data", "teacher 0", *own, float("nan"), None], strict=True))


ROWS = [
    *(run("listwise", images, seed) for images in (25, 300) for seed in (2, 0, 1)),
    *(run("listwise+mixtures", 300, seed) for seed in (0, 1, 3)),
    run("listwise+mixtures", 25, 9),
]


@pytest.fixture
def runs():
    return pandas.DataFrame(ROWS)


def test_seeds_that_searched_are_no_results_and_neither_is_a_search():
    rows = [run("listwise", 300, seed) for seed in (0, 999, 1000, 1001)] + [run(SEARCH, 300, 3)]
    assert reported(pandas.DataFrame(rows))["seed"].tolist() == [0, 999]
    assert searched(pandas.DataFrame(rows))["seed"].tolist() == [3]


def test_a_store_without_runs_has_no_curve_and_no_gain(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    nothing = read(tmp_path / "a.csv")
    assert len(curve(nothing, "listwise")) == len(gains(nothing, MIXED)) == 0


def test_precision_is_sorted_by_seed(runs):
    ap, seeds = precision(runs, "listwise", 300)
    assert seeds == [0, 1, 2]
    assert torch.allclose(ap, torch.stack([ap_of("listwise", 300, seed) for seed in seeds]), atol=1e-4)


def test_of_a_seed_that_is_there_twice_the_later_run_counts():
    again = run("listwise", 25, 0, ap=torch.full((6,), 0.9))
    ap, seeds = precision(pandas.DataFrame([*ROWS, again]), "listwise", 25)
    assert seeds == [0, 1, 2]
    assert ap[0].tolist() == pytest.approx([0.9] * 6)


def test_runs_that_are_not_there_are_named(runs):
    with pytest.raises(BadInput, match="'listwise' on 50 photographs: there are listwise, listwise\\+mixtures"):
        precision(runs, "listwise", 50)
    with pytest.raises(BadInput, match="with seed 3"):
        precision(runs, "listwise", 300, [0, 3])
    with pytest.raises(BadInput, match="no seed in common"):
        paired_precision(runs, "listwise", "listwise+mixtures", 25)


def test_only_seeds_that_both_methods_have_are_paired(runs):
    mixed, plain, seeds = paired_precision(runs, "listwise+mixtures", "listwise", 300)
    assert seeds == [0, 1]
    assert (mixed - plain).flatten().tolist() == pytest.approx([0.02] * 12, abs=2e-4)


def test_methods_on_different_numbers_of_photographs_pair_by_seed(runs):
    many, few, seeds = paired_precision(runs, "listwise", "listwise", 300, 25)
    assert seeds == [0, 1, 2]
    assert (many - few).mean().item() == pytest.approx(0.0275, abs=2e-4)


def test_a_curve_is_the_bootstrap_of_each_number_of_photographs(runs):
    found = curve(runs, "listwise")
    assert found["images"].tolist() == [25, 300] and found["seeds"].tolist() == [3, 3]
    interval = bootstrap(precision(runs, "listwise", 300)[0])
    assert found.loc[1, ["mean", "low", "high"]].tolist() == [interval.mean, interval.low, interval.high]


def test_gains_are_paired_and_leave_out_what_has_no_partner(runs):
    (row,) = gains(runs, MIXED).itertuples()  # on 25 photographs no seed is in both
    assert (row.method, row.other, row.images, row.seeds) == ("listwise+mixtures", "listwise", 300, 2)
    mixed, plain, _ = paired_precision(runs, "listwise+mixtures", "listwise", 300)
    assert row.low == paired_bootstrap(mixed, plain).low
    assert (row.mean, row.high - row.low) == pytest.approx((0.02, 0), abs=2e-4)
    assert gains(runs, {"listwise": "listwise"})["mean"].tolist() == [0, 0]


def slow_holm(p):
    """Step down by hand: a test is as sure as the least sure of those before it, each times the tests that are left."""
    found = []
    for value in p:
        before = [other for other in p if other <= value]
        steps = [min(1.0, (len(p) - sum(other < each for other in p)) * each) for each in before]
        found.append(max(steps))
    return found


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=9, unique=True))
def test_holms_correction_equals_the_steps_by_hand(p):
    assert holm(p) == pytest.approx(slow_holm(p))


def test_holms_correction_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.02, 0.02]) == [0.04, 0.04] and holm([]) == []


def test_comparisons_are_tested_together_and_those_that_are_missing_count():
    noise = torch.randn(6, generator=torch.Generator().manual_seed(1)) * 0.02
    rows = [run(name, 300, seed, ap=ap_of("listwise", 300, seed) + add) for seed in range(5) for name, add in
            (("a", 0.0), ("sure", 0.05 + noise / 10), ("unsure", 0.002 + noise))]  # fmt: skip
    pairs = {name: Comparison(name, 300, "a", 300) for name in ("unsure", "sure", "missing")}
    found = corrected(pandas.DataFrame(rows), pairs, planned=3)
    assert list(found) == ["unsure", "sure"] and not corrected(pandas.DataFrame(rows), pairs, 3, seeds=range(8))
    assert found["sure"].corrected == pytest.approx(3 * found["sure"].p)
    assert found["unsure"].corrected == pytest.approx(min(1.0, 2 * found["unsure"].p))
    first, other, _ = paired_precision(pandas.DataFrame(rows), "sure", "a", 300)
    assert found["sure"].interval == paired_bootstrap(first, other, 1 - 0.05 / 3)
    first, other, _ = paired_precision(pandas.DataFrame(rows), "unsure", "a", 300)
    assert found["unsure"].interval == paired_bootstrap(first, other, 1 - 0.05 / 3)
    assert found["sure"].verdict == "higher" and found["unsure"].verdict == "no clear difference"


def test_a_verdict_follows_the_corrected_p_value():
    clear = Interval(0.02, 0.01, 0.03)
    assert [Tested(0.01, p, clear).verdict for p in (0.049, 0.05)] == ["higher", "no clear difference"]
    assert Tested(0.001, 0.01, Interval(-0.02, -0.03, -0.01)).verdict == "lower"


def test_runs_of_two_settings_are_not_one_method():
    rows = [run("listwise", 300, 0), {**run("listwise", 300, 1), "settings": Settings(loss="pkt", images=300)}]
    with pytest.raises(BadInput, match="runs of different settings"):
        precision(pandas.DataFrame(rows), "listwise", 300)


def test_queries_in_the_teachers_database_are_a_method_of_their_own():
    both = [{**run("listwise", 300, 0), "to_teacher": 0.7, "to_teacher_ap": torch.full((6,), 0.7)}, run("pkt", 300, 0)]
    found = asymmetric(pandas.DataFrame(both))
    assert found["method"].tolist() == ["listwise", "pkt", "listwise@teacher"]
    assert precision(found, "listwise@teacher", 300)[0].tolist() == [pytest.approx([0.7] * 6)]
    assert found["medium"].iloc[2] == 0.7 and len(asymmetric(pandas.DataFrame(ROWS))) == len(ROWS)
