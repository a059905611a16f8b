"""Checks of notebook 6: photographs needed for a level of mAP, a paired interval, p-values corrected together."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_course.checks.hints import Hint, alike, ask, passed, tensor
from rdistill_course.checks.runner import Answer, examine, judge, tell
from rdistill_course.checks.steps import exercise

DRAWS = 10_000


@exercise(
    "6.1",
    "Find the first point that is at the level or above. What if it is the very first, and what if there is none?",
    "The axis is logarithmic: between two points go along a straight line in the logarithm of the number of "
    "photographs.",
    "Share of the way: (level - mean before) / (mean there - mean before). Take that share of the way between the"
    " two logarithms, and go back with exp.",
)
def photographs_needed(answer: Answer) -> None:
    """Exercise 6.1: the number of photographs at which a curve reaches a level.

    Args:
        answer: (images [K] ascending, mAP [K], level) -> the smallest number of photographs, a float, with straight lines
            between the points of the logarithmic axis; the first number where it is reached there already, inf where it is
            never.

    Raises:
        Hint: the answer is not right.
    """
    images = torch.tensor([25, 50, 100, 300])
    curve, dip = torch.tensor([[0.15, 0.21, 0.25, 0.31], [0.15, 0.27, 0.24, 0.31]], dtype=torch.float64)

    def reaches(mean: Tensor, level: float, right: float, mistakes: dict[str, Any], otherwise: str) -> None:
        examine(answer, (images, mean, level), _number, right, mistakes, otherwise, tolerance=1e-3)

    right = 100 * 3 ** (2 / 3)
    logarithm = "This is the logarithm of the number: come back from it with the"
    reaches(curve, 0.29, right, {
        "The line is straight in the number of photographs: interpolate their logarithms.": 100 + 200 * 2 / 3,
        "This is the first measured number that reaches the level: the curve gets there before it.": 300.0,
        "This is the last measured number below the level: the curve gets there after it.": 100.0,
        "The part of the way is taken from the wrong end: at the lower mAP it is 0.": 100 * 3 ** (1 / 3),
        f"{logarithm} exponential.": math.log(right),
        f"{logarithm} power of 10.": math.log10(right),
        f"{logarithm} power of 2.": math.log2(right),
        "mAP has a linear axis: only the number of photographs is taken as its "
        "logarithm.": 100 * 3 ** (math.log(0.29 / 0.25) / math.log(0.31 / 0.25)),
        "The line runs from the first point to the last: use the two points around the level.": 25 * 12 ** (0.14 / 0.16),
    }, "Look at the two points around the level, and at which part of the way between their mAP it lies.")  # fmt: skip
    reaches(curve, 0.4, math.inf, {
        "The curve never reaches 0.4, but you return its last number: the answer is inf.": 300.0,
        "A level that is never reached needs more photographs than any number: inf, not -inf.": -math.inf,
    }, "The curve never reaches 0.4, so nothing was measured there: the answer is inf, not a line drawn on.")  # fmt: skip
    reaches(curve, 0.1, 25.0, {
        "The first point is above this level already: the answer is its number of photographs.": math.inf,
    }, "The first point is above this level already, and nothing was measured with fewer: return its number.")  # fmt: skip
    reaches(curve, 0.25, 100.0, {
        "A level that a point has exactly is reached there: compare with >=.": math.inf,
    }, "A level that a point has exactly is reached at that point.")  # fmt: skip
    reaches(dip, 0.26, 25 * 2 ** (11 / 12), {
        "This curve dips and reaches the level twice: the first time counts.": 100 * 3 ** (2 / 7),
        "This is where the curve falls below the level: look for where it comes up to it.": 50 * 2 ** (1 / 3),
    }, "This curve rises, dips and rises again, so its mAP is not sorted: find the first point that reaches the "
       "level.")  # fmt: skip
    passed(
        f"A level of 29 % needs {right:.0f} photographs here; for a level that is never reached the function says inf."
    )


def _number(value: Any) -> Tensor:
    """The learner's single number; inf and -inf are numbers here."""
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Hint(f"The answer must be a single number, yours is a {type(value).__name__}.") from None
    tell({"The answer is nan: look for a division of 0 by 0 or the logarithm of a negative number.": math.isnan(found)})
    return torch.tensor(found)


@exercise(
    "6.2",
    "Take the difference first, so that both methods get the same draws.",
    "For each draw: S seeds and Q queries with replacement, and the mean of the differences at these rows and "
    "columns. Seeds and queries are drawn anew each time, the seeds first.",
    "The mean is that of all differences. The interval is the 2.5 % and the 97.5 % quantile of the means of the "
    "draws, not the mean plus or minus something.",
)
def paired_interval(answer: Answer) -> None:
    """Exercise 6.2: a paired bootstrap over seeds and queries.

    Args:
        answer: (first [S, Q], second [S, Q], draws, generator) -> (mean, low, high) of second - first and its interval of
            95 %, as fractions; seeds and queries are drawn anew with replacement in each of the draws.

    Raises:
        Hint: the answer is not right.
    """
    first, second = _two_methods()
    difference = second - first
    given, again = (_three(ask(answer, first, second, DRAWS, torch.Generator().manual_seed(3))) for _ in range(2))
    measured, (low, high) = given[0], given[1:]
    mean = difference.mean()
    judge(measured, mean, {
        "The difference is second - first: yours has the other sign.": -mean,
        "Return fractions, as the average precisions are: yours are in percent.": 100 * mean,
        "This is the mean of the second method: take the difference of the two.": second.mean(),
        "This is the median of the differences: take their mean.": difference.median(),
        "Only the first seed counts in your mean: take all.": difference[0].mean(),
    }, "The first of the three numbers must be the mean of second - first over all seeds and queries, as it was measured: "
       "neither a draw nor the mean of the draws.")  # fmt: skip
    tell({"The lower end is above the upper one: return mean, low, high.": bool(low > high)})
    drawn = _draws_of(first, second)
    right, wide = drawn["right"], float(high - low)
    deviation = float(right.std())
    # A quantile of the draws is itself a little random: this is about four of its standard errors.
    tolerance = 0.11 * deviation

    def near(ends: Tensor, most: float = tolerance) -> bool:
        return bool(((given[1:].double() - ends.double()).abs() <= most).all())

    if near(_ends(right)):
        tell({
            "Two calls with the same seed differ: draw all seeds and queries with `generator`.": not torch.equal(given, again)
        })  # fmt: skip
        return passed(f"Your interval has the width of the reference, {100 * wide:.1f} points.")
    ends_are = "the ends are the quantiles 0.025 and 0.975 of the draws, with half of the 5 % on each side."
    extremes = (
        "This interval is the smallest and the largest draw, which grows with the number of draws: take quantiles."
    )
    tell({
        "The interval has next to no width. Draw with replacement, so that some seeds and queries come twice and others not "
        "at all, and do not divide the spread by the number of draws.": wide < 0.05 * deviation,
        extremes: alike(low, right.min(), 0.05) and alike(high, right.max(), 0.05),
    })  # fmt: skip
    sides = torch.tensor([-1.0, 1.0]) * deviation
    tell(
        {
            hint: near(wrong, max(tolerance, 0.03 * float(wrong.diff())))
            for hint, wrong in {
                "The two methods are drawn apart, so that what seeds and queries do to both does not cancel: use the same "
                "draw for both.": _ends(drawn["unpaired"]),
                "Only seeds are drawn: other queries would give another mean too, so draw both.": _ends(drawn["seeds"]),
                "Only queries are drawn: other seeds would give another mean too, so draw both.": _ends(drawn["queries"]),
                "Single cells are drawn: a seed that is drawn brings all its queries, and a query all its "
                "seeds.": _ends(drawn["cells"]),
                "This interval is the mean and 1.96 standard deviations of the draws on each side, always symmetric: take "
                "quantiles of the draws.": mean + 1.96 * sides,
                "This interval is the mean and one standard deviation on each side: take quantiles of the "
                "draws.": mean + sides,
                f"This is an interval of 90 %: {ends_are}": _ends(right, 0.05),
                extremes: _ends(right, 0.0),
            }.items()
        }
    )  # fmt: skip
    # The two intervals are wide, and so is what chance does to the differences of their ends.
    apart = _ends(drawn["second"]) - _ends(drawn["first"])
    tell({
        "These are the differences of the ends of two intervals: take the difference first, then one "
        "interval.": near(apart, 4 * tolerance),
        f"The interval is too {'wide' if wide > float(_ends(right).diff()) else 'narrow'}, or not in its place. In each draw "
        "take S seeds and Q queries with replacement, the mean of the differences in these rows and columns; then the "
        "quantiles 0.025 and 0.975 of them.": True,
    })  # fmt: skip


def _two_methods() -> tuple[Tensor, Tensor]:
    """Average precision [4, 20] of two methods. Seeds and queries move both; one query gains much, so the draws are skewed."""
    generator = torch.Generator().manual_seed(11)
    shared = 0.2 + 0.5 * torch.rand(1, 20, generator=generator) + torch.tensor([-0.06, 0.05, 0.02, -0.01])[:, None]
    gain = torch.zeros(1, 20)
    gain[0, 7] = 0.3
    of_seed = torch.tensor([-0.015, 0.015, 0.009, -0.009])[:, None]
    noise = 0.004 * torch.randn(4, 20, generator=generator)
    return shared, shared + gain + of_seed + noise


def _draws_of(first: Tensor, second: Tensor, draws: int = 20_000) -> dict[str, Tensor]:
    """[draws] means, drawn in the right way and in the wrong ones."""
    generator = torch.Generator().manual_seed(5)
    seeds, queries = first.shape
    difference = (second - first).double()

    def times(count: int) -> Tensor:
        """How often each of `count` things is drawn in each draw, as shares: [draws, count]."""
        chosen = torch.randint(count, (draws, count), generator=generator)
        return F.one_hot(chosen, count).double().mean(1)

    def means(values: Tensor, of_seeds: Tensor, of_queries: Tensor) -> Tensor:
        return ((of_seeds @ values.double()) * of_queries).sum(1)

    of_seeds, of_queries = times(seeds), times(queries)
    others = times(seeds), times(queries)
    cells = torch.randint(seeds * queries, (draws, seeds * queries), generator=generator)
    return {
        "right": means(difference, of_seeds, of_queries),
        "unpaired": means(second, *others) - means(first, of_seeds, of_queries),
        "first": means(first, of_seeds, of_queries),
        "second": means(second, of_seeds, of_queries),
        "seeds": of_seeds @ difference.mean(1),
        "queries": of_queries @ difference.mean(0),
        "cells": difference.flatten()[cells].mean(1),
    }


def _ends(means: Tensor, tail: float = 0.025) -> Tensor:
    return means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))


def _three(value: Any) -> Tensor:
    """The learner's mean, low, high."""
    if isinstance(value, list | tuple):
        value = [float(one) if isinstance(one, Tensor) and one.numel() == 1 else one for one in value]
    return tensor(value, (3,), "the answer (mean, low, high)")


@exercise(
    "6.3",
    "Begin with the smallest p-value. Among how many tests is it the smallest? And the next one, once that test is done?",
    "In ascending order multiply the p-values by m, m - 1, ..., 1. A test cannot be surer than the one before it, and no "
    "probability is above 1.",
    "Sort with argsort; multiply by m, m - 1, ..., 1; take the running maximum (torch.cummax) and cut at 1; put each value "
    "back into the place from which it came.",
)
def corrected_together(answer: Answer) -> None:
    """Exercise 6.3: Holm's correction of several p-values.

    Args:
        answer: p-values [m] in any order -> the corrected ones [m], in the same order.

    Raises:
        Hint: the answer is not right.
    """
    # In no order of size; the correction of the third smallest falls below that of the second, and the largest are above 1.
    p = torch.tensor([0.04, 0.001, 0.6, 0.022, 0.025, 0.9], dtype=torch.float64)
    count, order = len(p), p.argsort()
    factors = torch.arange(count, 0, -1, dtype=torch.float64)
    ascending = (factors * p[order]).cummax(0).values.clamp(max=1)

    def back(values: Tensor) -> Tensor:
        return torch.empty_like(values).scatter(0, order, values)

    ranks = torch.arange(1, count + 1, dtype=torch.float64)
    false_rate = (count / ranks * p[order]).flip(0).cummin(0).values.flip(0).clamp(max=1)
    examine(answer, (p,), lambda value: tensor(value, (count,), "the corrected p-values"), back(ascending), {
        "The p-values are as they were: correct them.": p,
        "All are multiplied by the number of tests (Bonferroni). That is valid and needlessly strict: the smallest is one of m "
        "tests, the next one of m - 1.": ((count * p).clamp(max=1), count * p),
        "The values are right, but in ascending order: put each into the place of its p-value.": ascending,
        "A p-value above 1 is none: cut at 1.": back((factors * p[order]).cummax(0).values),
        "A larger p-value came out smaller than one before it: take the running maximum in ascending "
        "order.": (back((factors * p[order]).clamp(max=1)), back(factors * p[order])),
        "The factors go up with the size of p: the smallest p-value gets the largest factor, m.": (
            back((ranks * p[order]).clamp(max=1)), back((ranks * p[order]).cummax(0).values.clamp(max=1)),
        ),
        "The factors follow the order in which the p-values came: sort them first.": (
            (factors * p).clamp(max=1), (factors * p).cummax(0).values.clamp(max=1),
        ),
        "The last factor is 0: they go from m down to 1.": back(((factors - 1) * p[order]).cummax(0).values.clamp(max=1)),
        "This is Benjamini and Hochberg's correction, which bounds the share of false findings: here the chance of any false "
        "finding is to be small.": back(false_rate),
    }, "Sort the p-values. Multiply them by m, m - 1, ..., 1, take the running maximum, cut at 1, and go back to the order "
       "that came in.")  # fmt: skip
    equal = torch.full((3,), 0.03, dtype=torch.float64)
    examine(answer, (equal,), lambda value: tensor(value, (3,), "the corrected p-values"), 3 * equal, {},
            "Equal p-values are equally sure: three of 0.03 are all 0.09 after the correction.")  # fmt: skip
    passed("Of six p-values, four of them below 0.05, one stays below it.")
