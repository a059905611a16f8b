"""Checks of notebook 6: photographs needed for a level of mAP, a paired interval, photographs chosen beside those paid for."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_course.checks.hints import Hint, alike, ask, numbers, passed, tensor


def photographs_needed(answer: Callable[..., Any]) -> None:
    """Checks the number of photographs at which a curve reaches a level.

    answer: (images [K] ascending, mAP [K], level) -> the smallest number of photographs, a float, with straight lines
    between the points of the logarithmic axis; the first number where it is reached there already, inf where it is never.
    Raises Hint, or prints [OK].
    """
    images = torch.tensor([25, 50, 100, 300])
    mean = torch.tensor([0.15, 0.21, 0.25, 0.31], dtype=torch.float64)
    given = _number(ask(answer, images, mean, 0.29))
    right = 100 * 3 ** (2 / 3)
    mistakes = {
        100 + 200 * 2 / 3: "The line is straight in the number of photographs: interpolate their logarithms.",
        300.0: "This is the first measured number that reaches the level: the curve gets there before it.",
        100.0: "This is the last measured number below the level: the curve gets there after it.",
        100 * 3 ** (1 / 3): "The part of the way is taken from the wrong end: at the lower mAP it is 0.",
        math.log(right): "This is the logarithm of the number: come back from it with the exponential.",
        math.log10(right): "This is the logarithm of the number: come back from it with the power of 10.",
        math.log2(right): "This is the logarithm of the number: come back from it with the power of 2.",
        100
        * 3 ** (math.log(0.29 / 0.25) / math.log(0.31 / 0.25)): "mAP has a linear axis: only the number of photographs "
        "is taken as its logarithm.",
        25
        * 12 ** (0.14 / 0.16): "The line runs from the first point to the last: use the two points around the level.",
    }
    _tell(
        given,
        right,
        mistakes,
        "Look at the two points around the level, and at which part of the way between their mAP it lies.",
    )

    if math.isfinite(given := _number(ask(answer, images, mean, 0.4))):
        if alike(torch.tensor(given), 300.0):
            raise Hint("The curve never reaches 0.4, but you return its last number: the answer is inf.")
        raise Hint(
            "The curve never reaches 0.4, so nothing was measured there: the answer is inf, not a line drawn on."
        )
    if given < 0:
        raise Hint("A level that is never reached needs more photographs than any number: inf, not -inf.")
    given = _number(ask(answer, images, mean, 0.1))
    _tell(
        given,
        25.0,
        {math.inf: "The first point is above this level already: the answer is its number of photographs."},
        "The first point is above this level already, and nothing was measured with fewer: return its number.",
    )
    given = _number(ask(answer, images, mean, 0.25))
    _tell(
        given,
        100.0,
        {math.inf: "A level that a point has exactly is reached there: compare with >=."},
        "A level that a point has exactly is reached at that point.",
    )
    dip = torch.tensor([0.15, 0.27, 0.24, 0.31], dtype=torch.float64)
    given = _number(ask(answer, images, dip, 0.26))
    last = 100 * 3 ** (2 / 7)
    down = 50 * 2 ** (1 / 3)
    _tell(
        given,
        25 * 2 ** (11 / 12),
        {
            last: "This curve dips and reaches the level twice: the first time counts.",
            down: "This is where the curve falls below the level: look for where it comes up to it.",
        },
        "This curve rises, dips and rises again, so its mAP is not sorted: find the first point that reaches the level.",
    )
    passed(f"A level of 0.29 needs {right:.0f} photographs here, and one that is never reached none that was measured.")


def _number(value: Any) -> float:
    """The learner's single number; inf and -inf are numbers here."""
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Hint(f"The answer must be a single number, yours is a {type(value).__name__}.") from None
    if math.isnan(found):
        raise Hint("The answer is nan: look for a division of 0 by 0 or the logarithm of a negative number.")
    return found


def _tell(given: float, right: float, mistakes: dict[float, str], otherwise: str) -> None:
    """Raises the hint that belongs to a wrong number; numbers may be rounded to a thousandth."""
    if math.isclose(given, right, rel_tol=1e-3):
        return
    for wrong, hint in mistakes.items():
        if math.isclose(given, wrong, rel_tol=1e-3):
            raise Hint(hint)
    raise Hint(otherwise)


DRAWS = 10_000


def paired_interval(answer: Callable[..., Any]) -> None:
    """Checks a paired bootstrap over seeds and queries.

    answer: (first [S, Q], second [S, Q], draws, generator) -> (mean, low, high) of second - first and its interval of 95 %,
    as fractions; seeds and queries are drawn anew with replacement in each of the draws. Raises Hint, or prints [OK].
    """
    first, second = _two_methods()
    difference = second - first
    given, again = (_three(ask(answer, first, second, DRAWS, torch.Generator().manual_seed(3))) for _ in range(2))
    mean = float(difference.mean())
    if not alike(given[0], mean):
        wrong = {
            -mean: "The difference is second - first: yours has the other sign.",
            100 * mean: "Return fractions, as the average precisions are: yours are in percent.",
            float(second.mean()): "This is the mean of the second method: take the difference of the two.",
            float(difference.median()): "This is the median of the differences: take their mean.",
            float(difference[0].mean()): "Only the first seed counts in your mean: take all.",
        }
        for value, hint in wrong.items():
            if alike(given[0], value):
                raise Hint(hint)
        raise Hint(
            "The first of the three numbers must be the mean of second - first over all seeds and queries, as it was "
            "measured: neither a draw nor the mean of the draws."
        )
    if given[1] > given[2]:
        raise Hint("The lower end is above the upper one: return mean, low, high.")
    drawn = _draws_of(first, second)
    right, spread = drawn["right"], float(drawn["right"].std())
    # A quantile of the draws is itself a little random: this is about four of its standard errors.
    tolerance = 0.11 * spread
    if _near(given[1:], _ends(right), tolerance):
        if not torch.equal(given, again):
            raise Hint("Two calls with the same seed differ: draw all seeds and queries with `generator`.")
        return passed(f"Your interval has the width of the reference, {float(given[2] - given[1]):.3f}.")
    deviation = float(right.std())
    one_end = "the ends are the quantiles 0.025 and 0.975 of the draws, with half of the 5 % on each side."
    mistakes: dict[str, Tensor] = {
        "The two methods are drawn apart, so that what seeds and queries do to both does not cancel: use the same draw "
        "for both.": _ends(drawn["unpaired"]),
        "Only seeds are drawn: other queries would give another mean too, so draw both.": _ends(drawn["seeds"]),
        "Only queries are drawn: other seeds would give another mean too, so draw both.": _ends(drawn["queries"]),
        "Single cells are drawn: a seed that is drawn brings all its queries, and a query all its seeds.": _ends(
            drawn["cells"]
        ),
        "This interval is the mean and 1.96 standard deviations of the draws on each side, always symmetric: take quantiles "
        "of the draws.": mean + torch.tensor([-1.96, 1.96]) * deviation,
        "This interval is the mean and one standard deviation on each side: take quantiles of the draws.": mean
        + torch.tensor([-1.0, 1.0]) * deviation,
        f"This is an interval of 90 %: {one_end}": _ends(right, 0.05),
        "This interval is the smallest and the largest draw, which grows with the number of draws: take quantiles.": _ends(
            right, 0.0
        ),
    }
    if float(given[2] - given[1]) < 0.05 * spread:
        raise Hint(
            "The interval has next to no width. Draw with replacement, so that some seeds and queries come twice and others "
            "not at all, and do not divide the spread by the number of draws."
        )
    if alike(given[1], float(right.min()), 0.05) and alike(given[2], float(right.max()), 0.05):
        raise Hint(list(mistakes)[-1])
    for hint, wrong_ends in mistakes.items():
        if _near(given[1:], wrong_ends, max(tolerance, 0.03 * float(wrong_ends.diff()))):
            raise Hint(hint)
    # The two intervals are wide, and so is what chance does to the differences of their ends.
    if _near(given[1:], _ends(drawn["second"]) - _ends(drawn["first"]), 4 * tolerance):
        raise Hint(
            "These are the differences of the ends of two intervals: take the difference first, then one interval."
        )
    wide = float(given[2] - given[1]) > float(_ends(right)[1] - _ends(right)[0])
    raise Hint(
        f"The interval is too {'wide' if wide else 'narrow'}, or not in its place. In each draw take S seeds and Q queries "
        "with replacement, the mean of the differences in these rows and columns; then the quantiles 0.025 and 0.975 of them."
    )


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


def _near(given: Tensor, ends: Tensor, tolerance: float) -> bool:
    return bool(((given.double() - ends.double()).abs() <= tolerance).all())


def _three(value: Any) -> Tensor:
    """The learner's mean, low, high."""
    if isinstance(value, list | tuple):
        value = [float(one) if isinstance(one, Tensor) and one.numel() == 1 else one for one in value]
    return tensor(value, (3,), "the answer (mean, low, high)")


def choose_more(answer: Callable[..., Any]) -> None:
    """Checks the choice of further photographs beside those that are paid for.

    answer: (rows [N, D] of length 1, paid int64 [P], count) -> positions [count], in the order of choosing: each is the
    photograph whose most similar one among the paid and the chosen is least similar. Raises Hint, or prints [OK].
    """
    rows, paid = _photographs()
    count = 6
    given = numbers(ask(answer, rows, paid, count), "the chosen photographs")
    _is_choice(given, len(rows), paid.tolist(), count)
    right = _choose_more(rows, paid, count)
    if given != right:
        mistakes = {
            "The nearest photographs are chosen, which the paid ones show already: take the furthest.": _choose_more(
                rows, paid, count, sign=-1
            ),
            "The similarities are not updated after a choice: what was just chosen counts as paid for.": _static(
                rows, paid, count
            ),
            "Each photograph is the furthest from the last chosen one only: what counts is the nearest of all that are paid "
            "for or chosen.": _choose_more(rows, paid, count, keep="last"),
            "The mean over the paid photographs decides: what counts is the most similar one alone.": _choose_more(
                rows, paid, count, keep="mean"
            ),
            "Each photograph's *least* similar paid one decides: what counts is its most similar one.": _choose_more(
                rows, paid, count, keep="min"
            ),
            "What is paid for already is left out of the comparison, or only its first photograph is in it.": _choose_more(
                rows, paid[:1], count
            ),
            "Of what is paid for only the last photograph is in the comparison.": _choose_more(rows, paid[-1:], count),
            "The photographs are the right ones, but not in the order of choosing.": sorted(right),
        }
        for hint, wrong in mistakes.items():
            if given == wrong:
                raise Hint(hint)
        place = next(k for k, (mine, ours) in enumerate(zip(given, right, strict=True)) if mine != ours)
        raise Hint(
            f"Up to place {place} your choice is right; the next photograph is not the furthest one. Of each photograph take "
            "the similarity to its most similar one among the paid and the chosen, then the photograph with the smallest."
        )
    # Three different photographs, each of them three times: in the end only copies are left.
    copies = rows[[0, 20, 40]].repeat(3, 1)
    given = numbers(ask(answer, copies, torch.tensor([0]), 8), "the chosen photographs")
    _is_choice(given, 9, [0], 8, " Here some photographs are copies of others, and all nine are wanted in the end.")
    passed(f"Your {count} photographs are the furthest ones, each in its turn.")


def _is_choice(given: list[int], size: int, paid: list[int], count: int, where: str = "") -> None:
    if len(given) != count:
        raise Hint(
            f"{count} photographs were to be chosen, you return {len(given)}: the paid ones are not among them.{where}"
        )
    if not all(0 <= one < size for one in given):
        raise Hint(f"Positions lie between 0 and {size - 1}, yours are {given}.{where}")
    if set(given) & set(paid):
        raise Hint(f"Photograph {min(set(given) & set(paid))} is paid for already: leave such photographs out.{where}")
    if len(set(given)) < count:
        again = next(one for one in given if given.count(one) > 1)
        raise Hint(f"Photograph {again} is chosen twice: what was chosen must not come again.{where}")


def _photographs() -> tuple[Tensor, Tensor]:
    """Descriptors [60, 4] of six places with ten photographs each, and the positions of the three that are paid for."""
    generator = torch.Generator().manual_seed(2)
    places = torch.randn(6, 1, 4, generator=generator)
    views = 0.45 * torch.randn(6, 10, 4, generator=generator)
    return F.normalize((places + views).view(60, 4), dim=1), torch.tensor([3, 14, 5])


def _choose_more(rows: Tensor, paid: Tensor, count: int, sign: int = 1, keep: str = "max") -> list[int]:
    """The choice, and its typical mistakes: each keyword makes one."""
    similarity = rows @ rows.T
    taken = paid.tolist()
    for _ in range(count):
        table = similarity[:, taken[-1:] if keep == "last" else taken]
        score = table.mean(1) if keep == "mean" else table.amin(1) if keep == "min" else table.amax(1)
        score = sign * score
        score[taken] = torch.inf
        taken.append(int(score.argmin()))
    return taken[len(paid) :]


def _static(rows: Tensor, paid: Tensor, count: int) -> list[int]:
    nearest = (rows @ rows[paid].T).amax(1)
    nearest[paid] = torch.inf
    return [int(one) for one in nearest.argsort()[:count]]
