"""Intervals and tests of average precision, against scipy's and against counting by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import Interval, bootstrap, bootstrap_test, paired_bootstrap, ratio_bootstrap


def random_ap(seeds=5, queries=40, seed=0, mean=0.4):
    generator = torch.Generator().manual_seed(seed)
    of_query = torch.rand(1, queries, generator=generator) * 0.4
    return (mean - 0.2 + of_query + 0.05 * torch.randn(seeds, queries, generator=generator)).clamp(0, 1)


def test_with_one_seed_it_is_the_percentile_bootstrap_over_queries():
    ap = random_ap(seeds=1)
    ours = bootstrap(ap, draws=20_000)
    theirs = stats.bootstrap(
        (ap[0].double().numpy(),), np.mean, n_resamples=20_000, method="percentile", random_state=1
    ).confidence_interval
    assert ours.mean == pytest.approx(float(ap.mean()))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)


def test_seeds_and_queries_are_drawn_independently():
    """The slow version: index the table with drawn seeds and drawn queries."""
    ap = random_ap(seeds=3, queries=12)
    rng = np.random.default_rng(0)
    means = [
        ap.double().numpy()[np.ix_(rng.integers(3, size=3), rng.integers(12, size=12))].mean() for _ in range(20_000)
    ]
    ours = bootstrap(ap, level=0.9, draws=20_000)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), abs=2e-3)


def test_what_both_methods_share_cancels_in_the_paired_interval():
    first = random_ap()
    second = first + 0.01
    paired = paired_bootstrap(second, first)
    assert (paired.mean, paired.low, paired.high) == pytest.approx((0.01, 0.01, 0.01), abs=1e-6)
    alone = bootstrap(second)
    assert alone.high - alone.low > 0.05


def test_the_p_value_is_that_of_the_widest_interval_without_zero():
    """The slow version: draw seeds and queries, and count on which side of 0 the means fall."""
    first, second = random_ap(seeds=3, queries=30, seed=1), random_ap(seeds=3, queries=30, seed=2)
    second = second + (first - second).mean() - 0.012  # a small difference
    difference, rng = (first - second).double().numpy(), np.random.default_rng(0)
    means = np.array(
        [difference[np.ix_(rng.integers(3, size=3), rng.integers(30, size=30))].mean() for _ in range(20_000)]
    )
    expected = 2 * min((means <= 0).mean(), (means >= 0).mean())
    p = bootstrap_test(first, second, draws=20_000)
    assert p == pytest.approx(expected, abs=0.02) and 0.001 < p < 0.9
    assert paired_bootstrap(first, second, level=1 - 1.1 * p, draws=20_000).verdict == "higher"
    assert paired_bootstrap(first, second, level=1 - 0.9 * p, draws=20_000).verdict == "no clear difference"


def test_equal_methods_are_not_told_apart_and_unequal_ones_are():
    first = random_ap(queries=70)
    noise = 0.02 * torch.randn(first.shape, generator=torch.Generator().manual_seed(3))
    assert bootstrap_test(first, first) == 1.0
    assert bootstrap_test(first + 0.05 + noise, first) < 0.01
    assert paired_bootstrap(first + noise - noise.mean(), first).low < 0


def test_queries_without_positives_stay_out():
    ap = random_ap()
    with_nan = torch.cat([ap, torch.full((5, 2), torch.nan)], 1)
    assert bootstrap(with_nan) == bootstrap(ap)
    assert bootstrap_test(with_nan, with_nan * 0.5) == bootstrap_test(ap, ap * 0.5)


def test_the_seed_decides_the_draws():
    assert bootstrap(random_ap(), seed=1) == bootstrap(random_ap(), seed=1)
    assert bootstrap(random_ap(), seed=1) != bootstrap(random_ap(), seed=2)


def test_a_ratio_is_of_means_over_the_same_drawn_seeds_and_queries():
    """The slow version: index both tables with the same drawn seeds and queries, and divide the means."""
    first, second = random_ap(seeds=3, queries=12), random_ap(seeds=3, queries=12, seed=1, mean=0.5)
    second[:, 4] = first[:, 4] = torch.nan  # a query without positives
    rng, ratios = np.random.default_rng(0), []
    known = [table[:, ~table[0].isnan()].double().numpy() for table in (first, second)]
    for _ in range(20_000):
        drawn = np.ix_(rng.integers(3, size=3), rng.integers(11, size=11))
        ratios.append(known[0][drawn].mean() / known[1][drawn].mean())
    ours = ratio_bootstrap(first, second, level=0.9, draws=20_000)
    assert ours.mean == pytest.approx(float(first.nanmean() / second.nanmean()))
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(ratios, [0.05, 0.95])), abs=5e-3)
    assert ratio_bootstrap(first, first).low == ratio_bootstrap(first, first).high == 1


def test_a_method_without_seeds_is_the_same_for_each_seed():
    first, second = random_ap(seeds=3), random_ap(seeds=1, seed=1)
    for compare in (paired_bootstrap, ratio_bootstrap):
        assert compare(first, second) == compare(first, second.expand(3, -1))


@pytest.mark.parametrize("ap", [torch.rand(5), torch.rand(0, 3), torch.ones(2, 2).long()])
def test_values_that_are_none_are_refused(ap):
    with pytest.raises(BadInput):
        bootstrap(ap)


def test_a_query_known_to_some_seeds_only_is_refused():
    ap = random_ap()
    ap[0, 3] = torch.nan
    with pytest.raises(BadInput, match="same queries"):
        bootstrap(ap)


def test_methods_that_do_not_pair_are_refused():
    with pytest.raises(BadInput, match="do not pair"):
        paired_bootstrap(random_ap(seeds=4), random_ap(seeds=5))
    with pytest.raises(BadInput, match="do not pair"):
        ratio_bootstrap(random_ap(seeds=4), random_ap(seeds=4, queries=3))


def test_an_interval_prints_in_percent():
    assert str(Interval(0.312, 0.2987, 0.3251)) == "31.2 (29.9 to 32.5)"


def test_a_difference_says_on_which_side_of_0_it_lies():
    verdicts = [
        Interval(0.1, low, high).verdict for low, high in ((0.01, 0.2), (-0.2, -0.01), (-0.01, 0.2), (0.0, 0.2))
    ]
    assert verdicts == ["higher", "lower", "no clear difference", "no clear difference"]


def test_a_protocol_without_positives_has_neither_a_mean_nor_a_difference():
    nothing = torch.full((2, 3), torch.nan)
    for interval in (bootstrap(nothing), paired_bootstrap(nothing, nothing), ratio_bootstrap(nothing, nothing)):
        assert all(math.isnan(value) for value in (interval.mean, interval.low, interval.high))
        assert str(interval) == "-" and interval.verdict == "no clear difference"
    assert math.isnan(bootstrap_test(nothing, nothing))
