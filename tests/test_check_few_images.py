"""Exercises of notebook 6: each typical mistake gets its own hint, other right answers pass."""

import math

import numpy as np
import pytest
import torch
from exercise_cells import changed, hint_of, solution

from rdistill_course import check
from rdistill_helpers.score.uncertainty import paired_bootstrap
from study.compare import holm

# --- 6.1: photographs for a level


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((".double().log()", ".double()", ".exp())", ")"), "straight in the number of photographs"),
        ((".exp())", ")"), "logarithm of the number: come back from it with the exponential"),
        ((".log()", ".log2()", ".exp())", ")"), "power of 2"),
        ((".log()", ".log10()", ".exp())", ")"), "power of 10"),
        (("start + share", "end - share"), "from the wrong end"),
        (("return float((start + share * (end - start)).exp())", "return float(images[k])"), "gets there before it"),
        (("return float((start + share * (end - start)).exp())", "return float(images[k - 1])"), "gets there after it"),
        (("(level - mean[k - 1]) / (mean[k] - mean[k - 1])",
          "(level / mean[k - 1]).log() / (mean[k] / mean[k - 1]).log()"), "mAP has a linear axis"),
        (('return float("inf")', "return float(images[-1])"), "you return its last number"),
        (('return float("inf")', "return 500.0"), "nothing was measured there"),
        (('return float("inf")', 'return -float("inf")'), "not -inf"),
        (('return float("inf")', 'return float("nan")'), "The answer is nan"),
        (("return float(images[0])", 'return float("inf")'), "first point is above this level already"),
        (("return float(images[0])", "return 12.5"), "nothing was measured with fewer"),
        (("mean >= level", "mean > level"), None),
        (("reached[0]", "(mean < level).nonzero()[-1] + 1 if bool((mean < level).any()) else 0"), "the first time counts"),
        (("start, end = images", "return images\n    start, end = images"), "single number"),
    ],
)  # fmt: skip
def test_levels_tell_mistakes_apart(replacements, words, capsys):
    answer = changed(6, "6.1")(*replacements)
    if words is None:  # between two points the strict comparison gives the same number
        check.photographs_needed(answer)
        assert capsys.readouterr().out.startswith("[OK] ")
    else:
        assert words in hint_of(check.photographs_needed, answer)


def test_levels_take_loops_in_numpy(capsys):
    def loops(images, mean, level):
        if mean[0] >= level:
            return float(images[0])
        for k in range(1, len(images)):
            if mean[k] >= level:
                x = np.interp(level, [float(mean[k - 1]), float(mean[k])], np.log2(images[k - 1 : k + 1].numpy()))
                return np.exp2(x)
        return math.inf

    check.photographs_needed(loops)
    assert capsys.readouterr().out.startswith("[OK] ")


def test_a_search_among_sorted_levels_is_told_of_the_dip():
    def sorted_levels(images, mean, level):
        if level > mean.max():
            return math.inf
        return float(np.exp(np.interp(level, mean.sort().values.numpy(), images.double().log().numpy())))

    assert "not sorted" in hint_of(check.photographs_needed, sorted_levels)


# --- 6.2: the paired interval

SEEDS = "s = torch.randint(seeds, (seeds,), generator=generator)"
QUERIES = "q = torch.randint(queries, (queries,), generator=generator)"
DRAW = "means.append(difference[s][:, q].mean())"
QUANTILES = "low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975]))"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        (("second - first\n", "first - second\n"), "the other sign"),
        (("second - first\n", "100 * (second - first)\n"), "yours are in percent"),
        (("return difference.mean()", "return second.mean()"), "mean of the second method"),
        (("return difference.mean()", "return torch.stack(means).mean()"), "neither a draw nor the mean of the draws"),
        ((QUERIES, "q = slice(None)"), "Only seeds are drawn"),
        ((SEEDS, "s = slice(None)"), "Only queries are drawn"),
        ((DRAW, "s2 = torch.randint(seeds, (seeds,), generator=generator)\n"
                "        q2 = torch.randint(queries, (queries,), generator=generator)\n"
                "        means.append(second[s][:, q].mean() - first[s2][:, q2].mean())"), "are drawn apart"),
        ((DRAW, "c = torch.randint(seeds * queries, (seeds * queries,), generator=generator)\n"
                "        means.append(difference.flatten()[c].mean())"), "Single cells are drawn"),
        ((QUANTILES, "m = torch.stack(means)\n    low, high = m.mean() - 1.96 * m.std(), m.mean() + 1.96 * m.std()"),
         "1.96 standard deviations"),
        ((QUANTILES, "m = torch.stack(means)\n    low, high = m.mean() - m.std(), m.mean() + m.std()"),
         "one standard deviation"),
        ((QUANTILES, "m = torch.stack(means)\n    e = m.std() / draws**0.5\n    low, high = m.mean() - e, m.mean() + e"),
         "next to no width"),
        (("[0.025, 0.975]", "[0.05, 0.95]"), "interval of 90 %"),
        (("[0.025, 0.975]", "[0.0, 1.0]"), "smallest and the largest draw"),
        (("[0.025, 0.975]", "[0.975, 0.025]"), "lower end is above"),
        (("[0.025, 0.975]", "[0.2, 0.8]"), "too narrow"),
        ((SEEDS, "s = torch.randperm(seeds, generator=generator)",
          QUERIES, "q = torch.randperm(queries, generator=generator)"), "Draw with replacement"),
        (("(seeds,), generator=generator", "(seeds,)"), "Two calls with the same seed differ"),
        (("return difference.mean(), low, high", "return low, high"), "must have shape [3]"),
    ],
)  # fmt: skip
def test_intervals_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.paired_interval, changed(6, "6.2")(*replacements))


def test_the_difference_of_two_intervals_is_no_interval():
    def ends(first, second, draws, generator):
        def one(ap):
            s = torch.randint(4, (draws, 4), generator=torch.Generator().manual_seed(1))
            q = torch.randint(20, (draws, 20), generator=torch.Generator().manual_seed(2))
            means = ap[s[:, :, None], q[:, None, :]].mean((1, 2))
            return means.quantile(torch.tensor([0.025, 0.975]))

        low, high = sorted((one(second) - one(first)).tolist())
        return float((second - first).mean()), low, high

    assert "differences of the ends" in hint_of(check.paired_interval, ends)


@pytest.mark.parametrize("seed", range(3))
def test_the_package_and_numpy_pass_whatever_their_seed(seed, capsys):
    def package(first, second, draws, generator):
        found = paired_bootstrap(second, first, draws=draws, seed=generator.initial_seed() + seed)
        return [found.mean, found.low, found.high]

    def with_numpy(first, second, draws, generator):
        rng = np.random.default_rng(generator.initial_seed() + 10 * seed)
        values = (second - first).double().numpy()
        means = [values[np.ix_(rng.integers(4, size=4), rng.integers(20, size=20))].mean() for _ in range(draws)]
        return np.array([values.mean(), *np.quantile(means, [0.025, 0.975])])

    check.paired_interval(package)
    check.paired_interval(with_numpy)
    assert capsys.readouterr().out.count("[OK] ") == 2


# --- 6.3: p-values corrected together

SORTED = "rising = (torch.arange(len(p), 0, -1) * p[order]).cummax(0).values.clamp(max=1)"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((SORTED, "rising = (len(p) * p[order]).clamp(max=1)"), "Bonferroni"),
        ((".cummax(0).values", ""), "running maximum"),
        ((".clamp(max=1)", ""), "cut at 1"),
        (("found[order] = rising", "found = rising"), "in ascending order"),
        (("torch.arange(len(p), 0, -1)", "torch.arange(1, len(p) + 1)"), "the smallest p-value gets the largest factor"),
        (("torch.arange(len(p), 0, -1)", "torch.arange(len(p) - 1, -1, -1)"), "The last factor is 0"),
        (("order = p.argsort()", "order = torch.arange(len(p))"), "sort them first"),
        ((SORTED, "k = torch.arange(1, len(p) + 1)\n    "
          "rising = (len(p) / k * p[order]).flip(0).cummin(0).values.flip(0).clamp(max=1)"), "Benjamini"),
        (("return found", "return p"), "as they were"),
        (("return found", "return found[:-1]"), "must have shape [6]"),
        (("return found", "return found / 2"), "Multiply them by m, m - 1"),
    ],
)  # fmt: skip
def test_corrections_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.corrected_together, changed(6, "6.3")(*replacements))


def test_the_correction_of_the_study_passes_and_so_do_lists(capsys):
    check.corrected_together(lambda p: holm(p.tolist()))
    check.corrected_together(lambda p: np.array(holm(p.tolist())))
    assert capsys.readouterr().out.count("[OK] ") == 2
    p = torch.rand(9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert solution(6, "6.3")(p).tolist() == pytest.approx(holm(p.tolist()))
