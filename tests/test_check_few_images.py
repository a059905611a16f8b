"""Exercises of notebook 6: each typical mistake gets its own hint, other right answers pass."""

import math

import numpy as np
import pytest
import torch
from exercise_cells import changed, hint_of, solution

from rdistill_course import check
from rdistill_helpers.distil.choose import k_centre
from rdistill_helpers.score.uncertainty import paired_bootstrap

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


# --- 6.3: what else to pay for

UPDATE = "nearest = torch.maximum(nearest, rows @ rows[furthest])"
TAKEN = '        nearest[furthest] = float("inf")\n'


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        (("nearest.argmin()", "nearest.masked_fill(nearest == torch.inf, -2).argmax()"), "nearest photographs are chosen"),
        ((UPDATE, "pass"), "not updated after a choice"),
        ((UPDATE, "pass", TAKEN, ""), "is chosen twice"),
        ((TAKEN, ""), "Here some photographs are copies"),
        ((UPDATE, "gone = nearest == torch.inf\n        nearest = (rows @ rows[furthest]).masked_fill(gone, torch.inf)",
          "(rows @ rows[paid].T).amax(dim=1)", "rows @ rows[paid[-1]]"), "from the last chosen one only"),
        (("(rows @ rows[paid].T).amax(dim=1)", "rows @ rows[paid[0]]"), "only its first photograph"),
        (("return torch.tensor(more)", "return torch.tensor(sorted(more))"), "not in the order of choosing"),
        (("return torch.tensor(more)", "return torch.cat([paid, torch.tensor(more)])"), "the paid ones are not among them"),
        (('    nearest[paid] = float("inf")\n', "", "nearest.argmin()", "nearest.argmax()"),
         "paid for already"),
        (("range(count)", "range(count - 1)"), "you return 5"),
    ],
)  # fmt: skip
def test_choices_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.choose_more, changed(6, "6.3")(*replacements))


@pytest.mark.parametrize(
    ("way", "words"), [("mean", "The mean over the paid"), ("amin", "*least* similar paid one decides")]
)
def test_other_ways_to_be_far_are_told_apart(way, words):
    def answer(rows, paid, count):
        taken = paid.tolist()
        for _ in range(count):
            score = getattr(rows @ rows[taken].T, way)(1)
            score[taken] = torch.inf
            taken.append(int(score.argmin()))
        return taken[len(paid) :]

    assert words in hint_of(check.choose_more, answer)


def test_a_random_choice_is_told_where_it_goes_wrong():
    def answer(rows, paid, count):
        rest = [one for one in range(len(rows)) if one not in paid.tolist()]
        return rest[:count]

    assert "Up to place 0" in hint_of(check.choose_more, answer)


def test_choices_take_distances_and_loops(capsys):
    def distances(rows, paid, count):
        taken = paid.tolist()
        for _ in range(count):
            nearest = [min(math.dist(a, rows[k].tolist()) for k in taken) for a in rows.tolist()]
            rest = [one for one in range(len(rows)) if one not in taken]
            taken.append(max(rest, key=lambda one: nearest[one]))
        return np.array(taken[len(paid) :])

    check.choose_more(distances)
    assert capsys.readouterr().out.startswith("[OK] ")


def test_beside_one_paid_photograph_it_is_the_choice_of_the_package():
    rows = torch.nn.functional.normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    chosen = k_centre(rows, 12, torch.Generator().manual_seed(3))
    assert solution(6, "6.3")(rows, chosen[:1], 11).tolist() == chosen[1:].tolist()
