"""Exercises of notebook 8: each typical mistake gets its own hint, other right answers pass."""

import numpy as np
import pytest
import torch
from exercise_cells import changed, hint_of, solution
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_course import check
from rdistill_helpers import search

# --- 8.1: a layer in whole numbers

LARGEST = "weight.abs().amax(dim=(1, 2, 3))"
STEP = "torch.where(largest > 0, largest / 127, 1.0)"
WHOLE = "(weight / step[:, None, None, None]).round()"
BOUND = "torch.where(largest > 0, weight[0].numel() * step / 2, 0.0)"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((LARGEST, "weight.abs().max().expand(len(weight))"), "one step for the whole layer"),
        (("largest / 127", "largest / 128"), "divide by 127"),
        (("largest / 127", "largest / 255"), "as if all weights were positive"),
        ((STEP, "127 / largest"), "the other way round"),
        ((LARGEST, "weight.amax(dim=(1, 2, 3))"), "in one channel it is negative"),
        ((LARGEST, "(weight.amax(dim=(1, 2, 3)) - weight.amin(dim=(1, 2, 3))) * 127 / 255"), "zero must stay zero"),
        ((LARGEST, "weight.abs().mean(dim=(1, 2, 3))"), "are not the largest absolute weight"),
        ((".round()", ".trunc()"), "fractions are cut off"),
        ((".round()", ".floor()"), "fractions are cut off"),
        ((WHOLE, f"{WHOLE} * step[:, None, None, None]"), "as fractions"),
        ((".round()", ""), "not rounded"),
        ((WHOLE, f"2 * {WHOLE}"), "lie above 127"),
        (("* step / 2", "* step"), "by half a step at most"),
        (("weight[0].numel() * step / 2", "step / 2"), "error of a single weight"),
        (("weight[0].numel()", "weight.shape[1]"), "*and* places of the kernel"),
        (("weight[0].numel()", "weight[0, 0].numel()"), "*and* places of the kernel"),
        ((BOUND, "(weight - whole * step[:, None, None, None]).abs().sum(dim=(1, 2, 3))"), "wherever weights fall"),
        (("weight[0].numel()", "weight[0].numel() ** 0.5"), "worst case"),
        (("return whole, step, bound", "return whole, step, bound.max().expand(len(bound))"), "for each output channel"),
        (("return whole, step, bound", "return whole, step"), "three things"),
        ((STEP, "largest / 127"), "A channel of zeros has no largest weight"),
        ((BOUND, "torch.where(largest > 0, weight[0].numel() * step / 2, 6.0)"), "stays a channel of zeros"),
    ],
)  # fmt: skip
def test_quantised_layers_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.quantised_layer, changed(8, "8.1")(*replacements))


def test_loops_in_numpy_and_integers_pass(capsys):
    def loops(weight):
        whole, steps, bounds = [], [], []
        for channel in weight.numpy():
            top = float(np.abs(channel).max())
            step = top / 127 if top else 0.0
            whole.append(np.rint(channel / step).astype(np.int8) if top else np.zeros(channel.shape, np.int8))
            steps.append(step)
            bounds.append(channel.size * step / 2)
        return np.stack(whole), np.array(steps), np.array(bounds)

    check.quantised_layer(loops)
    assert capsys.readouterr().out.startswith("[OK] ")


@given(seed=st.integers(0, 10**6), size=st.sampled_from([1e-4, 1.0, 50.0]))
@settings(max_examples=25, deadline=None)
def test_no_result_of_the_solutions_layer_is_off_by_more_than_its_bound(seed, size):
    generator = torch.Generator().manual_seed(seed)
    weight = size * torch.randn(5, 3, 3, 3, generator=generator, dtype=torch.float64)
    images = 2 * torch.rand(2, 3, 6, 6, generator=generator, dtype=torch.float64) - 1
    whole, step, bound = solution(8, "8.1")(weight)
    restored = whole * step[:, None, None, None]
    off = torch.nn.functional.conv2d(images, weight) - torch.nn.functional.conv2d(images, restored)
    assert (off.abs().amax(dim=(0, 2, 3)) <= bound * (1 + 1e-9)).all()
    assert whole.abs().max() == 127


# --- 8.2: the agreement of two rankings

COMMON = "len({*first[:d]} & {*second[:d]}) / d"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        (("return sum(shares) / k", "return shares[-1]"), "the mean over all depths"),
        ((COMMON, "(first[d - 1] == second[d - 1])"), "is still found"),
        ((COMMON, COMMON.replace("/ d", "/ k")), "not of k"),
        (("return sum(shares) / k", "return sum(shares)"), "take their mean"),
        ((COMMON, "len({*first[:d]} & {*second[:d]}) / len({*first[:d]} | {*second[:d]})"), "either list has there"),
        (("ranking[:k]", "ranking", "{*second[:d]}", "{*second}"), "both are cut at d"),
        (("range(1, k + 1)", "range(1, k)"), "the last one is missing"),
        (("ranking[:k]", "ranking", "range(1, k + 1)", "range(1, len(first) + 1)", "/ k", "/ len(first)"), "depths end at k"),
        (("return sum(shares) / k", "return 100 * sum(shares) / k"), "not a percentage"),
        (("return sum(shares) / k", "return sum(shares) / k / 3"), "Not yet"),
        (("[int(number) for number in ranking[:k]]", "list(ranking[:k])"), "two tensors of one number"),
    ],
)  # fmt: skip
def test_agreements_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.agreement, changed(8, "8.2")(*replacements))


def test_agreements_take_numpy(capsys):
    def with_numpy(first, second, k):
        first, second = np.asarray(first), np.asarray(second)
        return np.mean([len(np.intersect1d(first[:d], second[:d])) / d for d in range(1, k + 1)])

    check.agreement(with_numpy)
    assert capsys.readouterr().out.startswith("[OK] ")


# --- 8.3: a student's queries among a teacher's answers

MOVED = "normalize(queries @ weight.T + bias, dim=1)"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((MOVED, "queries"), "are not projected"),
        ((MOVED, "queries @ weight.T + bias"), "do not have length one"),
        ((MOVED, "normalize(queries @ weight.T, dim=1)"), "The bias is missing"),
        (("weight.T", "weight"), "the wrong way round"),
        ((MOVED, "queries", "moved @ answers.T", "moved @ normalize(answers @ weight.T + bias, dim=1).T"),
         "the queries go to them"),
        ((MOVED, "normalize(queries @ weight.T, dim=1) + bias"), "add first"),
        (("bias, dim=1", "bias, dim=0"), "each query has its own length"),
        (("topk(k, dim=1)", "topk(k, dim=1, largest=False)"), "least similar"),
        ((".topk(k, dim=1)", ".topk(k, dim=1)[0].flip(1), None"), "best must come first"),
        ((MOVED, "normalize(2 * queries @ weight.T + bias, dim=1)"), "Not yet"),
        (("return (moved @ answers.T).topk(k, dim=1)", "v, i = (moved @ answers.T).topk(k, dim=1)\n    return v, i + 1"),
         "count from 0"),
        (("return (moved @ answers.T).topk(k, dim=1)", "v, i = (moved @ answers.T).topk(k, dim=1)\n    return v, i.flip(1)"),
         "keep both in step"),
        (("return (moved @ answers.T).topk(k, dim=1)", "return (moved @ answers.T).topk(k, dim=1)[1]"), "Return two tensors"),
    ],
)  # fmt: skip
def test_asymmetric_searches_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.asymmetric_search, changed(8, "8.3")(*replacements))


def test_asymmetric_searches_take_a_linear_layer_and_the_search_of_the_package(capsys):
    def package(queries, answers, weight, bias, k):
        rows = torch.nn.functional.linear(queries, weight, bias)
        return search(rows / rows.norm(dim=1, keepdim=True), answers, k=k)

    check.asymmetric_search(package)
    assert capsys.readouterr().out.startswith("[OK] ")
