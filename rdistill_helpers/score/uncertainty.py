"""How sure a mean average precision is: intervals over seeds and queries, and whether two methods differ.

Everything takes the average precision of each query, for each training of a method: [S, Q], S seeds and Q queries, as
`Report.medium.ap` gives it for one. Queries without positives are nan and stay out, as in the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its interval, as fractions."""

    mean: float
    low: float
    high: float

    @property
    def side(self) -> str:
        """Of a difference: "above", "below" or "not told apart" from 0."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "not told apart"

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def bootstrap(ap: Tensor, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """The mean of [S, Q] values and its percentile interval, seeds and queries both drawn anew with replacement.

    Says where the mean would lie with other seeds and other queries of the same kind; with a single seed it can only
    speak of other queries. Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    Raises BadInput for values that are not [S, Q] or none at all, and for a level outside of (0, 1).
    """
    values = _known(ap)
    if not 0 < level < 1 or draws < 1:
        raise BadInput(
            f"An interval of level {level} from {draws} draws does not exist: give 0 < level < 1, draws >= 1."
        )
    generator = torch.Generator().manual_seed(seed)
    seeds, queries = values.shape
    means = torch.empty(draws, dtype=torch.float64)
    for start in range(0, draws, 1000):  # how often each seed and each query was drawn is all that a mean needs
        count = min(1000, draws - start)
        of_seeds = _times_drawn(count, seeds, generator)
        of_queries = _times_drawn(count, queries, generator)
        means[start : start + count] = ((of_seeds @ values) * of_queries).sum(1) / (seeds * queries)
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return Interval(float(values.mean()), low, high)


def paired_bootstrap(ap: Tensor, other: Tensor, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """The mean of ap - other, both [S, Q] with the same seeds and queries in the same order, and its interval.

    What a seed or a query does to both methods cancels, so this interval is narrower than the two intervals look.
    Raises BadInput when the two do not pair.
    """
    return bootstrap(_difference(ap, other), level, draws, seed)


def sign_flip_test(ap: Tensor, other: Tensor, draws: int = 10_000, seed: int = 0) -> float:
    """p-value, two-sided, of "neither method is better on any query": signs of the queries' differences drawn at random.

    ap, other: [S, Q], paired. The seeds of a query are averaged first, so this asks about other queries for these
    trainings; look at `paired_bootstrap` for both. Source: Fisher's randomisation test, as in Smucker, Allan and Carterette,
    "A comparison of statistical significance tests for information retrieval evaluation", CIKM 2007.
    """
    of_query = _known(_difference(ap, other)).mean(0)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (draws, len(of_query)), generator=generator).double() * 2 - 1
    flipped = (signs @ of_query).abs()
    as_large = int((flipped >= of_query.sum().abs() - 1e-12).sum())
    return (as_large + 1) / (draws + 1)  # the observed signs are one of the possible draws


def _known(ap: Tensor) -> Tensor:
    """float64 [S, Q'] without the queries that are nan; BadInput when nothing is left or a query is nan for some seeds."""
    if ap.ndim != 2 or not ap.is_floating_point():
        raise BadInput(f"The average precisions are {ap.dtype} {list(ap.shape)}: give float [seeds, queries].")
    known = ap[:, ~ap.isnan().all(0)].double()
    if not known.numel() or not known.isfinite().all():
        raise BadInput(
            "The average precisions are nan for a query of some seeds, or for all: give the same queries for all."
        )
    return known


def _difference(ap: Tensor, other: Tensor) -> Tensor:
    if ap.shape != other.shape:
        raise BadInput(
            f"Average precisions {list(ap.shape)} and {list(other.shape)} do not pair: give the same seeds and queries."
        )
    return ap - other


def _times_drawn(draws: int, count: int, generator: torch.Generator) -> Tensor:
    """How often each of `count` things is drawn in `count` draws with replacement, float64 [draws, count]."""
    chosen = torch.randint(count, (draws, count), generator=generator)
    return torch.zeros(draws, count, dtype=torch.float64).scatter_add(1, chosen, torch.ones(draws, count).double())
