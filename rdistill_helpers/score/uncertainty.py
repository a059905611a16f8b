"""How sure a mean average precision is: intervals over seeds and queries, and whether two methods differ.

Everything takes the average precision of each query, for each training of a method: [S, Q], S seeds and Q queries, as
`Report.medium.ap` gives it for one. Queries without positives are nan and stay out, as in the protocol; where no query has
any, as under the hard protocol of one's own photographs in folders, all results are nan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput


@dataclass(frozen=True)
class Interval:
    """A mean and its interval, as fractions.

    Attributes:
        mean: The mean.
        low: The lower end.
        high: The upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What an interval of a difference says: "higher", "lower", or "no clear difference" where it contains 0."""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "no clear difference"

    def __str__(self) -> str:
        return (
            "-" if math.isnan(self.mean) else f"{100 * self.mean:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"
        )


def bootstrap(ap: Tensor, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Computes a mean and its percentile interval; seeds and queries are both drawn with replacement.

    The interval says where the mean would lie with other seeds and other queries of the same kind; with a single seed, with
    other queries only.

    Args:
        ap: Average precision of each query for each seed, float [S, Q].
        level: Of the interval, between 0 and 1.
        draws: Number of draws.
        seed: Of the draws.

    Returns:
        The mean with its interval.

    Raises:
        BadInput: `ap` is not [S, Q] or is nan for a query of some seeds; or the level is not in (0, 1).

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    values = _known(ap)
    _check(level, draws)
    if not values.numel():
        return Interval(math.nan, math.nan, math.nan)
    return _interval(float(values.mean()), _means(values, draws, seed), level)


def paired_bootstrap(ap: Tensor, other: Tensor, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Computes the mean difference of two methods and its interval.

    What a seed or a query does to both methods cancels, so this interval is narrower than the two separate ones suggest.

    Args:
        ap: Average precision of each query for each seed, float [S, Q].
        other: The same of the other method, with the same seeds and queries in the same order; [1, Q] where it has no seeds.
        level: Of the interval, between 0 and 1.
        draws: Number of draws.
        seed: Of the draws.

    Returns:
        The mean of `ap - other` with its interval.

    Raises:
        BadInput: The two have different shapes, or as for `bootstrap`.
    """
    return bootstrap(ap - _pair(ap, other), level, draws, seed)


def ratio_bootstrap(ap: Tensor, other: Tensor, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Computes which part of another method's mean one method reaches, and its interval.

    Args:
        ap: Average precision of each query for each seed, float [S, Q].
        other: The same of the other method, with the same seeds and queries in the same order; [1, Q] where it has no seeds.
        level: Of the interval, between 0 and 1.
        draws: Number of draws; both methods see the same.
        seed: Of the draws.

    Returns:
        The mean of `ap` divided by that of `other`, with its interval.

    Raises:
        BadInput: The two have other shapes, or as for `bootstrap`.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 10.3 (patch data) and chapter 13.
    """
    _check(level, draws)
    both = torch.stack([ap, _pair(ap, other)])
    known, count = _known(both.flatten(0, 1)), len(ap)
    if not known.numel():
        return Interval(math.nan, math.nan, math.nan)
    first, second = known[:count], known[count:]
    ratios = _means(first, draws, seed) / _means(second, draws, seed)
    return _interval(float(first.mean() / second.mean()), ratios, level)


def bootstrap_test(ap: Tensor, other: Tensor, draws: int = 10_000, seed: int = 0) -> float:
    """Tests whether two methods differ, by the draws of `paired_bootstrap`: other seeds and other queries.

    Args:
        ap: Average precision of each query for each seed, float [S, Q].
        other: The same of the other method, with the same seeds and queries in the same order; [1, Q] where it has no seeds.
        draws: Number of draws.
        seed: Of the draws.

    Returns:
        The two-sided p-value of "neither method is better": 1 less the level of the widest interval that leaves out 0.

    Raises:
        BadInput: The two have different shapes, or as for `bootstrap`.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 15.4 (achieved significance level).
    """
    values = _known(ap - _pair(ap, other))
    if not values.numel():
        return math.nan
    means = _means(values, draws, seed)
    fewer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (draws + 1))  # what was observed is one of the possible draws


def _means(values: Tensor, draws: int, seed: int) -> Tensor:
    """Means of `draws` tables of seeds and queries drawn with replacement from values [S, Q], float64 [draws]."""
    generator = torch.Generator().manual_seed(seed)
    seeds, queries = values.shape
    means = torch.empty(draws, dtype=torch.float64)
    for start in range(0, draws, 1000):  # how often each seed and each query was drawn is all that a mean needs
        count = min(1000, draws - start)
        of_seeds = _times_drawn(count, seeds, generator)
        of_queries = _times_drawn(count, queries, generator)
        means[start : start + count] = ((of_seeds @ values) * of_queries).sum(1) / (seeds * queries)
    return means


def _interval(mean: float, drawn: Tensor, level: float) -> Interval:
    low, high = drawn.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return Interval(mean, low, high)


def _check(level: float, draws: int) -> None:
    if not 0 < level < 1 or draws < 1:
        raise BadInput(f"There is no interval of level {level} from {draws} draws: give 0 < level < 1, draws >= 1.")


def _known(ap: Tensor) -> Tensor:
    """float64 [S, Q'] without the queries that are nan; BadInput when one is nan for some seeds."""
    ap = torch.as_tensor(ap)
    if ap.ndim != 2 or not ap.is_floating_point() or not ap.numel():
        raise BadInput(f"The average precisions are {ap.dtype} {list(ap.shape)}: give float [seeds, queries].")
    known = ap[:, ~ap.isnan().all(0)].double()
    if not known.isfinite().all():
        raise BadInput("The average precisions are nan for a query of some seeds: give the same queries for all.")
    return known


def _pair(ap: Tensor, other: Tensor) -> Tensor:
    """The other method's [S, Q]; one without seeds has the same for each."""
    if other.shape not in (ap.shape, (1, *ap.shape[1:])):
        raise BadInput(f"APs of {list(ap.shape)} and {list(other.shape)} do not pair: give the same seeds and queries.")
    return other.expand_as(ap)


def _times_drawn(draws: int, count: int, generator: torch.Generator) -> Tensor:
    """How often each of `count` things is drawn in `count` draws with replacement, float64 [draws, count]."""
    chosen = torch.randint(count, (draws, count), generator=generator)
    return torch.zeros(draws, count, dtype=torch.float64).scatter_add(1, chosen, torch.ones(draws, count).double())
