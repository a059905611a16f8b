from rdistill_course.published import PUBLISHED_SCORES, published_scores
from rdistill_helpers.fetch.sources import PUBLISHED


def test_every_published_score_is_of_a_network_that_can_be_fetched():
    assert set(PUBLISHED_SCORES) <= set(PUBLISHED)


def test_scores_are_fractions_and_hard_is_below_medium():
    for benchmark in ("roxford5k", "rparis6k"):
        rows = published_scores(benchmark)
        assert len(rows) == len(PUBLISHED_SCORES)
        assert all(0.3 < row["hard"] < row["medium"] < 0.8 for row in rows)
    assert published_scores("rooms") == []
