"""Tables of runs: what is read, what is paired with what, and what is left out."""

import csv
import json
from pathlib import Path

import pytest
import torch

from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.score.runs_table import (
    changes,
    curve,
    gains,
    gains_over_sizes,
    matched,
    methods,
    paired_precision,
    precision,
    read_runs,
    reported,
)
from rdistill_helpers.score.uncertainty import bootstrap, paired_bootstrap

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def ap_of(method, images, seed, queries=6):
    """Invented precision of each query; a seed and a query do the same to every method."""
    of_query = torch.rand(queries, generator=torch.Generator().manual_seed(7)) * 0.3
    return of_query + 0.0001 * images + 0.01 * seed + (0.02 if "+interpolated" in method else 0.0)


def run(method, images, seed, settings=None, ap=None):
    ap = ap_of(method, images, seed) if ap is None else ap
    return {
        "method": method, "images": images, "teacher_queries": images, "seed": seed, "easy": 0.5,
        "medium": float(ap.nanmean()), "hard": 0.1, "seconds": 12.5, "settings": json.dumps(settings or {}),
        "medium_ap": " ".join(f"{value:.4f}" for value in ap.tolist()),
    }  # fmt: skip


def written(path, rows, without=()):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name not in without], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


ROWS = [
    *(run("listwise", images, seed) for images in (25, 300) for seed in (2, 0, 1)),
    *(run("listwise+interpolated", 300, seed) for seed in (0, 1, 3)),
    run("listwise+interpolated", 25, 9),
]


@pytest.fixture
def runs(tmp_path):
    return read_runs(written(tmp_path / "runs.csv", ROWS))


def test_a_row_comes_back_as_it_was_written(tmp_path):
    ap = torch.tensor([0.25, torch.nan, 1.0])
    (row,) = read_runs(
        written(tmp_path / "a.csv", [run("listwise", 25, 3, {"lr": 1e-4, "rooms": None}, ap)])
    ).itertuples()
    assert (row.method, row.images, row.teacher_queries, row.seed, row.seconds) == ("listwise", 25, 25, 3, 12.5)
    assert row.settings == {"lr": 1e-4, "rooms": None}
    assert torch.equal(row.medium_ap.nan_to_num(-1), ap.nan_to_num(-1))


def test_seeds_that_searched_are_no_results(tmp_path):
    rows = [run("listwise", 300, seed) for seed in (0, 999, 1000, 1001)]
    assert reported(read_runs(written(tmp_path / "a.csv", rows)))["seed"].tolist() == [0, 999]


def test_the_line_that_is_being_written_is_left_out(tmp_path):
    path = written(tmp_path / "a.csv", ROWS)
    with path.open("a", encoding="utf-8") as file:
        file.write("listwise,300,300,4,0.5,0.")
    assert len(read_runs(path)) == len(ROWS)


def test_a_table_without_rows_has_its_columns(tmp_path):
    path = written(tmp_path / "a.csv", ROWS)
    path.write_text(path.read_text(encoding="utf-8").split("\n")[0] + "\n", encoding="utf-8")
    runs = read_runs(path)
    assert len(runs) == 0 and methods(runs) == []
    assert len(curve(runs, "listwise")) == len(gains(runs)) == 0


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "method,images,seed,easy,medium,hard,settings\nx,many,0,0,0,0,{}\n"]
)
def test_another_table_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="no table of runs"):
        read_runs(tmp_path / "a.csv")


@pytest.mark.parametrize("settings", ["no json", "[1]"])
def test_settings_that_are_none_are_refused(tmp_path, settings):
    with pytest.raises(BadInput, match="no table of runs"):
        read_runs(written(tmp_path / "a.csv", [{**ROWS[0], "settings": settings}]))


def test_a_missing_table_says_how_to_make_it(tmp_path):
    with pytest.raises(DataMissing, match="make study"):
        read_runs(tmp_path / "none.csv")


def test_precision_is_sorted_by_seed(runs):
    ap, seeds = precision(runs, "listwise", 300)
    assert seeds == [0, 1, 2]
    assert torch.allclose(ap, torch.stack([ap_of("listwise", 300, seed) for seed in seeds]), atol=1e-4)


def test_of_a_seed_that_is_there_twice_the_later_row_counts(tmp_path):
    again = run("listwise", 25, 0, {"lr": 1.0}, torch.full((6,), 0.9))
    ap, seeds = precision(read_runs(written(tmp_path / "a.csv", [*ROWS, again])), "listwise", 25)
    assert seeds == [0, 1, 2]
    assert ap[0].tolist() == pytest.approx([0.9] * 6)


def test_without_precision_of_queries_the_means_stand_in(tmp_path):
    runs = read_runs(written(tmp_path / "a.csv", ROWS, without=["medium_ap"]))
    ap, seeds = precision(runs, "listwise", 25)
    assert ap.shape == (3, 1) and seeds == [0, 1, 2]
    assert ap[1].item() == pytest.approx(float(ap_of("listwise", 25, 1).mean()))


def test_runs_that_are_not_there_are_named(runs):
    with pytest.raises(BadInput, match="'listwise' on 50 photographs: it holds listwise, listwise\\+interpolated"):
        precision(runs, "listwise", 50)
    with pytest.raises(BadInput, match="with seed 3"):
        precision(runs, "listwise", 300, [0, 3])
    with pytest.raises(BadInput, match="no seed in common"):
        paired_precision(runs, "listwise", "listwise+interpolated", 25)


def test_only_seeds_that_both_methods_have_are_paired(runs):
    mixed, plain, seeds = paired_precision(runs, "listwise+interpolated", "listwise", 300)
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
    (row,) = gains(runs).itertuples()  # on 25 photographs no seed is in both
    assert (row.method, row.other, row.images, row.seeds) == ("listwise+interpolated", "listwise", 300, 2)
    mixed, plain, _ = paired_precision(runs, "listwise+interpolated", "listwise", 300)
    assert row.low == paired_bootstrap(mixed, plain).low
    assert (row.mean, row.high - row.low) == pytest.approx((0.02, 0), abs=2e-4)
    assert gains(runs, {"listwise": "listwise"})["mean"].tolist() == [0, 0]


def test_gains_over_sizes_are_the_mean_of_the_gains_of_the_seeds_that_all_have(tmp_path):
    drawn = torch.Generator().manual_seed(3)
    tables = {
        (method, images, seed): torch.rand(6, generator=drawn)
        for method in ("pkt", "pkt+interpolated")
        for images, seeds in ((25, (0, 1, 2)), (100, (1, 2, 3)), (300, (1, 2)))
        for seed in seeds
    }
    tables |= {("order", 25, 0): torch.rand(6, generator=drawn), ("order+interpolated", 25, 0): torch.zeros(6)}
    rows = [run(*key, ap=ap) for key, ap in tables.items()]
    (found,) = gains_over_sizes(read_runs(written(tmp_path / "runs.csv", rows))).itertuples()  # order: one size alone
    assert (found.method, found.other, found.sizes, found.seeds) == ("pkt+interpolated", "pkt", 3, 2)
    both = []
    for method in ("pkt+interpolated", "pkt"):  # mean over sizes, query by query, of seeds 1 and 2
        both.append(torch.tensor([[sum(float(tables[method, size, seed][q]) for size in (25, 100, 300)) / 3
                                   for q in range(6)] for seed in (1, 2)]))  # fmt: skip
    expected = paired_bootstrap(*both)
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high), abs=1e-4)


def test_settings_are_told_by_what_is_not_the_default():
    assert changes({"lr": 1, "pairs": "far"}, {"lr": 1, "pairs": "random", "steps": 5}) == {"pairs": "far"}
    assert changes({"new": None}, {}) == {"new": None}


def test_a_changed_run_is_matched_with_the_plain_run_of_its_seed_and_its_other_settings(tmp_path):
    def at(value, seed, **settings):
        return run("listwise", 300, seed, settings, torch.full((4,), value))

    rows = [
        at(0.30, 1000), at(0.20, 1001, lr=3), at(0.25, 1000, loss="pkt"),
        at(0.31, 1000, mixtures=48), at(0.24, 1000, mixtures=48, loss="pkt", pairs="far", lr=3),
        at(0.50, 1002, mixtures=48), at(0.29, 1000, mixtures=0, views=1),
    ]  # fmt: skip
    found = matched(
        read_runs(written(tmp_path / "a.csv", rows)), ("mixtures", "pairs"), {"lr": 3, "mixtures": 0, "views": 6}
    )
    assert found["change"].tolist() == [{"mixtures": 48}, {"mixtures": 48, "pairs": "far"}]
    assert found["rest"].tolist() == [{}, {"loss": "pkt"}]
    assert found["gain"].tolist() == pytest.approx([0.01, -0.01])


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.csv")), ids=lambda path: path.stem)
def test_every_table_of_the_repository_is_read(path):
    runs = read_runs(path)
    assert len(runs) > 0
    assert runs["medium"].between(0, 1).all()
    assert all(isinstance(settings, dict) for settings in runs["settings"])
