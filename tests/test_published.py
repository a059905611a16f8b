from types import SimpleNamespace

from rdistill_course.published import PUBLISHED_SCORES, published_scores, published_table, real_sets
from rdistill_helpers.fetch.sources import PUBLISHED


def test_every_published_score_is_of_a_network_that_can_be_fetched():
    assert set(PUBLISHED_SCORES) <= set(PUBLISHED)


def test_scores_are_fractions_and_hard_is_below_medium():
    for benchmark in ("roxford5k", "rparis6k"):
        rows = published_scores(benchmark)
        assert len(rows) == len(PUBLISHED_SCORES)
        assert all(0.3 < row["hard"] < row["medium"] < 0.8 for row in rows)
    assert published_scores("rooms") == []


def test_what_was_measured_stands_below_the_published_rows_of_its_set():
    report = SimpleNamespace(medium=SimpleNamespace(mAP=0.5), hard=SimpleNamespace(mAP=0.25))
    table = published_table(report, "roxford5k")
    assert list(table.index) == [*PUBLISHED_SCORES, "measured here"]
    assert table.loc["measured here", "roxford5k"].tolist() == [50.0, 25.0]
    assert table.loc["measured here", "rparis6k"].isna().all()
    assert list(published_table(report, "rooms").index) == list(PUBLISHED_SCORES)


def test_sets_that_are_not_here_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("RDISTILL_DATA", str(tmp_path))
    said = real_sets()
    assert said.count("not here") == 2 and "python -m rdistill_helpers download" in said and str(tmp_path) not in said
