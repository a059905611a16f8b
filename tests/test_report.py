"""The revisited protocol end to end, against a full sort in plain loops, on made-up and on real ground truth."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.descriptors import check_values, open_descriptors, save_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score import stacked
from rdistill_helpers.score.report import PROTOCOLS, evaluate, evaluate_ranking


def make_benchmark(images=30, queries=4, seed=0):
    rng = np.random.default_rng(seed)
    gnd = []
    for i in range(queries):
        easy, hard, junk = np.split(rng.permutation(images)[:9], [3, 6])
        gnd.append({"bbx": None, "easy": easy if i else easy[:0], "hard": hard, "junk": junk})
    return Benchmark("made up", [f"q{i}" for i in range(queries)], [f"d{i}" for i in range(images)], gnd, read=None)


def rows(count, dim=8, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def slow_scores(order, benchmark, ks):
    """{protocol: (mAP, [mP@k], [ap])} by walking down each sorted list."""
    result = {}
    for protocol, (positive, ignored) in PROTOCOLS.items():
        aps, precisions = [], []
        for gnd, ranked in zip(benchmark.ground_truth, order, strict=True):
            good = {int(v) for k in positive for v in gnd[k]}
            skip = {int(v) for k in ignored for v in gnd[k]}
            if not good:
                aps.append(float("nan"))
                continue
            cleaned = [v for v in ranked if v not in skip]
            found, area, last = 0, 0.0, 0
            for rank, image in enumerate(cleaned):
                if image in good:
                    before = found / rank if rank else 1.0
                    found += 1
                    area += (before + found / (rank + 1)) / 2
                    last = rank + 1
            aps.append(area / len(good))
            precisions.append([sum(v in good for v in cleaned[: min(k, last)]) / min(k, last) for k in ks])
        known = [ap for ap in aps if ap == ap]
        mean = sum(known) / len(known) if known else float("nan")
        means = [sum(p) / len(p) for p in zip(*precisions, strict=True)] or [float("nan")] * len(ks)
        result[protocol] = (mean, means, np.array(aps))
    return result


def assert_equal(report, expected, ks):
    for protocol, (mean, precisions, aps) in expected.items():
        measures = getattr(report, protocol)
        assert measures.mAP == pytest.approx(mean, abs=1e-9, nan_ok=True)
        assert [measures.mP[k] for k in ks] == pytest.approx(precisions, abs=1e-9, nan_ok=True)
        np.testing.assert_allclose(measures.ap, aps, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_descriptors_and_ranked_lists_score_as_the_full_sort(seed):
    benchmark, ks = make_benchmark(seed=seed), (1, 5, 10)
    queries, database = rows(4, seed=seed), rows(30, seed=seed + 100)
    order = (queries @ database.T).sort(dim=1, descending=True, stable=True).indices
    expected = slow_scores(order.tolist(), benchmark, ks)
    assert_equal(evaluate(queries, database, benchmark, ks), expected, ks)
    assert_equal(evaluate_ranking(order.numpy(), benchmark, ks), expected, ks)


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_descriptors_score_as_the_full_sort_on_real_ground_truth(name):
    folder = os.environ.get("RDISTILL_REAL_GND")
    if not folder:
        pytest.skip("the real ground truth is not part of the project: set RDISTILL_REAL_GND to a folder that has it")
    benchmark, ks = Benchmark.from_pickle(Path(folder) / f"gnd_{name}.pkl"), (1, 5, 10)
    # rows of few, exact values: products are exact, and most similarities are shared by thousands of images
    g = torch.Generator().manual_seed(0)
    queries, database = (
        torch.randint(0, 2, (n, 16), generator=g) * 0.5 - 0.25 for n in (70, len(benchmark.image_names))
    )
    order = (queries @ database.T).sort(dim=1, descending=True, stable=True).indices
    assert_equal(evaluate(queries, database, benchmark, ks), slow_scores(order.tolist(), benchmark, ks), ks)


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_real_ground_truth_scores_as_the_full_sort(name):
    folder = os.environ.get("RDISTILL_REAL_GND")
    if not folder:
        pytest.skip("the real ground truth is not part of the project: set RDISTILL_REAL_GND to a folder that has it")
    benchmark = Benchmark.from_pickle(Path(folder) / f"gnd_{name}.pkl")
    assert len(benchmark.query_names) == 70
    count, ks = len(benchmark.image_names), (1, 5, 10)
    order = np.stack([np.random.default_rng(i).permutation(count) for i in range(70)])
    for i in range(0, 70, 2):  # half of the queries do better than chance
        good = np.concatenate([benchmark.ground_truth[i][k] for k in ("easy", "hard", "junk")])
        order[i] = np.concatenate([good, np.setdiff1d(order[i], good)])
    assert_equal(evaluate_ranking(order, benchmark, ks), slow_scores(order.tolist(), benchmark, ks), ks)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 5))
def test_any_ground_truth_and_many_ties_score_as_the_full_sort(seed, images, distractors):
    rng = np.random.default_rng(seed)
    gnd = []
    for _ in range(3):
        ends = np.sort(rng.integers(0, images + 1, 3))
        easy, hard, junk, _ = np.split(rng.permutation(images), ends)
        gnd.append({"bbx": None, "easy": easy, "hard": hard, "junk": junk})
    benchmark = Benchmark("made up", ["q0", "q1", "q2"], [f"d{i}" for i in range(images)], gnd, read=None)
    directions = F.normalize(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0.6, 0.8], [0.8, 0.6]]), dim=1)
    queries, database = (directions[rng.integers(0, 5, n)] for n in (3, images + distractors))
    order = (queries @ database.T).sort(dim=1, descending=True, stable=True).indices.tolist()
    expected = slow_scores(order, benchmark, (1, 3, 10))
    assert_equal(evaluate(queries, database, benchmark, (1, 3, 10)), expected, (1, 3, 10))
    assert_equal(evaluate_ranking(order, benchmark, (1, 3, 10)), expected, (1, 3, 10))
    if distractors:
        split = evaluate(queries, database[:images], benchmark, (1, 3, 10), distractors=database[images:])
        assert_equal(split, expected, (1, 3, 10))


def test_a_list_cut_behind_the_last_positive_scores_as_the_whole_list():
    benchmark = make_benchmark()
    order = (rows(4) @ rows(30, seed=1).T).argsort(dim=1, descending=True).numpy()
    whole = evaluate_ranking(order, benchmark)
    for i, gnd in enumerate(benchmark.ground_truth):
        last = max(order[i].tolist().index(v) for v in [*gnd["easy"], *gnd["hard"]])
        cut = evaluate_ranking(order[:, : last + 1], benchmark)
        assert cut.medium.ap[i] == pytest.approx(whole.medium.ap[i], abs=1e-12)


def test_filling_at_the_end_of_a_list_is_nothing():
    benchmark, order = make_benchmark(), np.tile(np.arange(20), (4, 1))
    filled = np.concatenate([order, np.full((4, 3), -1)], axis=1)
    assert str(evaluate_ranking(filled, benchmark)) == str(evaluate_ranking(order, benchmark))


def test_a_short_list_gives_the_precision_of_the_whole_list():
    benchmark, ks = make_benchmark(), (1, 5, 10)
    order = (rows(4) @ rows(30, seed=1).T).argsort(dim=1, descending=True).numpy()
    # ten images that count and at most six that are ignored
    assert evaluate_ranking(order[:, :16], benchmark, ks).medium.mP == evaluate_ranking(order, benchmark, ks).medium.mP


def test_a_query_without_positives_is_nan_and_stays_out_of_the_mean():
    report = evaluate(rows(4), rows(30, seed=1), make_benchmark())
    assert np.isnan(report.easy.ap[0])
    assert report.easy.mAP == pytest.approx(np.mean(report.easy.ap[1:]))


def test_distractors_behind_the_database_can_only_lower_the_score():
    benchmark, queries, database = make_benchmark(), rows(4), rows(30, seed=1)
    alone = evaluate(queries, database, benchmark)
    crowded = evaluate(queries, torch.cat([database, rows(500, seed=2)]), benchmark)
    assert (crowded.medium.ap <= alone.medium.ap + 1e-12).all()
    assert crowded.medium.mAP < alone.medium.mAP


def stored(path, descriptors, dtype):
    return open_descriptors(save_descriptors(path, descriptors, dtype))


def figures(report):
    return [[m.mAP, *m.mP.values(), *m.ap.tolist()] for m in (report.medium, report.hard)]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_distractors_score_as_one_array_however_they_are_stored(tmp_path, monkeypatch, dtype):
    benchmark, queries = make_benchmark(), rows(4)
    database, others = (rows(n, seed=n).numpy().astype(dtype) for n in (30, 700))
    others[300:330] = database  # the benchmark's own images once more
    whole = np.concatenate([database, others])
    monkeypatch.setattr(stacked, "NUMBERS", 64 * 8)  # blocks of 64, which end within the arrays
    monkeypatch.setattr(stacked, "SIMILARITIES", 4 * 128)
    expected = figures(evaluate(queries, whole.astype(np.float32), benchmark))
    first, second = stored(tmp_path / "a.npy", others, dtype), stored(tmp_path / "b.npy", others[101:500], dtype)
    assert isinstance(first, np.memmap) and first.dtype == dtype
    assert figures(evaluate(queries, whole, benchmark)) == expected
    assert figures(evaluate(queries, whole[:50], benchmark, distractors=first[20:])) == expected
    for distractors in [
        others,
        first,
        [others[:100], torch.from_numpy(others[100:101]), second, first[500:]],
        (first[:300], first[300:]),
        np.asfortranarray(others),
        others[::-1].copy()[::-1],
        others.astype(others.dtype.newbyteorder()),
    ]:
        assert figures(evaluate(queries, database, benchmark, distractors=distractors)) == expected


def test_a_twin_of_a_positive_among_the_distractors_ranks_behind_it():
    benchmark, queries, database = make_benchmark(), rows(4, dim=32), rows(30, dim=32, seed=1)
    alone = evaluate(queries, database, benchmark)
    wanted = np.concatenate([benchmark.ground_truth[1]["easy"], benchmark.ground_truth[1]["hard"]])
    best = wanted[(queries[1] @ database[wanted].T).argmax()]
    for place in (0, 77, 199):
        distractors = -queries[1].repeat(200, 1)  # nothing is less similar to the query
        distractors[place] = database[best]
        crowded = evaluate(queries, database, benchmark, distractors=distractors)
        assert crowded.medium.mP[1] == alone.medium.mP[1]
        if alone.medium.ap[1] < 1:
            assert crowded.medium.ap[1] < alone.medium.ap[1]


def test_distractors_are_read_once(monkeypatch):
    monkeypatch.setattr(stacked, "NUMBERS", 64 * 8)  # blocks of 64, of which the first has the benchmark's own
    read = {"database": np.zeros(30, int), "distractors": np.zeros(1000, int)}

    def watched(descriptors, name, tolerance, first=0):
        read[name][first : first + len(descriptors)] += 1
        check_values(descriptors, name, tolerance, first)

    monkeypatch.setattr(stacked, "check_values", watched)
    evaluate(rows(4), rows(30), make_benchmark(), distractors=rows(1000, seed=1))
    assert (read["database"] == 2).all() and (read["distractors"][:34] == 2).all()
    assert (read["distractors"][34:] == 1).all()


def test_what_was_read_of_a_mapped_file_does_not_stay_in_memory(tmp_path):
    smaps = Path("/proc/self/smaps")
    if not smaps.is_file():
        pytest.skip("this system does not tell what is resident of a file")
    file = stored(tmp_path / "many.npy", rows(20_000, dim=64, seed=1), "float16")
    evaluate(rows(4, dim=64), rows(30, dim=64), make_benchmark(), distractors=file)
    about_it = smaps.read_text().split("many.npy")[1]
    resident = int(about_it.split("Rss:")[1].split()[0]) * 1024
    assert resident < file.nbytes / 4


def test_a_copy_on_write_mapping_keeps_what_was_written_to_it(tmp_path):
    save_descriptors(tmp_path / "rows.npy", rows(5000), "float32")
    file = np.load(tmp_path / "rows.npy", mmap_mode="c")
    file[1234] = file[0]
    evaluate(rows(4), rows(30), make_benchmark(), distractors=file)
    assert np.array_equal(file[1234], file[0])


def spoiled(count, row, value):
    distractors = rows(count, seed=3).half()
    distractors[row] *= value
    return distractors


@pytest.mark.parametrize(
    ("distractors", "message"),
    [
        (spoiled(100, 97, float("nan")), "^distractors hold NaN or infinite values, first in descriptor 97:"),
        (
            [rows(90), spoiled(100, 3, float("inf"))],
            r"^distractors\[1\] hold NaN or infinite values, first in descriptor 3:",
        ),
        (spoiled(100, 99, 1.01), "^distractors are not L2-normalised, descriptor 99 has length 1.01:"),
        ([rows(90), rows(10, dim=7)], r"^distractors\[1\] have 7 dimensions where 8 are needed:"),
        ([rows(90), [1.0, 2.0]], r"^distractors\[1\] must be a tensor or numpy array"),
        ("many.npy", "^distractors must be a tensor or numpy array of real numbers, not a str:"),
        (rows(10)[:0], "^distractors of shape .* are empty:"),
    ],
)
def test_distractors_that_cannot_be_compared_are_refused_by_name(distractors, message):
    with pytest.raises(BadInput, match=message):
        evaluate(rows(4), rows(30), make_benchmark(), distractors=distractors)


def test_an_error_names_the_file_of_mapped_distractors(tmp_path):
    np.save(tmp_path / "bad.npy", spoiled(100, 42, 0.0).numpy())
    bad = open_descriptors(tmp_path / "bad.npy")
    with pytest.raises(
        BadInput, match=r"^distractors\[1\] \(.*bad.npy\) are not L2-normalised, descriptor 42 has length 0:"
    ):
        evaluate(rows(4), rows(30), make_benchmark(), distractors=[rows(9), bad])


@pytest.mark.parametrize("ks", [(), (0, 1)])
def test_cut_offs_are_looked_at_before_the_work(ks):
    with pytest.raises(BadInput, match="cut-offs"):
        evaluate("not looked at", "not looked at", make_benchmark(), ks)


def test_a_cut_list_keeps_the_full_number_of_positives():
    benchmark = make_benchmark(queries=2)
    best = benchmark.ground_truth[1]["easy"][:1]
    report = evaluate_ranking(np.stack([best, best]), benchmark)
    assert report.easy.ap[1] == pytest.approx(1 / 3)


def test_report_prints_percentages_and_becomes_a_frame():
    report = evaluate(rows(4), rows(30, seed=1), make_benchmark(), ks=(1, 5))
    assert f"{100 * report.medium.mAP:.1f}" in str(report) and "mP@5" in report._repr_html_()
    assert f"medium mAP {100 * report.medium.mAP:.1f} %" in repr(report) and "\n" not in repr(report)
    frame = report.to_frame()
    assert list(frame.index) == ["easy", "medium", "hard"] and frame.loc["hard", "mAP"] == report.hard.mAP


@pytest.mark.parametrize(
    ("queries", "database", "message"),
    [
        (rows(3), rows(30), "3 and 30 descriptors"),
        (rows(4), rows(29), "4 and 29 descriptors"),
        (rows(4, dim=7), rows(30), "7"),
        (2 * rows(4), rows(30), "normalise"),
        (rows(4) * torch.tensor([1.0, 1, float("nan"), 1])[:, None], rows(30), "descriptor 2"),
    ],
)
def test_descriptors_that_cannot_be_compared_are_refused(queries, database, message):
    with pytest.raises(BadInput, match=message):
        evaluate(queries, database, make_benchmark())


def test_rankings_may_be_of_different_lengths_and_come_one_by_one():
    benchmark = make_benchmark()
    ranking = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(seed)) for seed in range(4)])
    lists = [line[:length].tolist() for line, length in zip(ranking, (30, 7, 0, 12), strict=True)]
    filled = np.full((4, 30), -1)
    for line, short in zip(filled, lists, strict=True):
        line[: len(short)] = short
    expected = evaluate_ranking(filled, benchmark).to_frame()
    for same in (lists, (line for line in lists), [np.array(line, np.int64) for line in lists]):
        assert evaluate_ranking(same, benchmark).to_frame().equals(expected)


@pytest.mark.parametrize(
    "ranking",
    [[[0, 0]] * 4, [[-1, 2]] * 4, [[0.5, 1]] * 4, [[0, 1]] * 3, 7, None, [3] * 4, ["ab"] * 4, [[[0], [1, 2]]] * 4],
)
def test_rankings_that_are_none_are_refused(ranking):
    with pytest.raises(BadInput, match="ranking"):
        evaluate_ranking(ranking, make_benchmark())
