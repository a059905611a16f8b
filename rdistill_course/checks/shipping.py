"""Checks of notebook 8: a layer in whole numbers, the agreement of two rankings, a student's query in a teacher's database."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from rdistill_course.checks.hints import ask, numbers, passed, tensor
from rdistill_course.checks.runner import Answer, examine, judge, parts, rephrased, tell
from rdistill_course.checks.steps import exercise

LARGEST = 127


@exercise(
    "8.1",
    "The step of a channel is its largest weight, without sign, divided by 127. What do you divide by where all "
    "weights are 0?",
    "Rounding moves a weight by at most half a step. A result adds up as many weights as a channel has, each "
    "times a number between -1 and 1.",
    "Whole numbers: the weights divided by their channel's step, rounded. The bound: the number of weights of a "
    "channel times half its step; 0 for a channel of zeros.",
)
def quantised_layer(answer: Answer) -> None:
    """Exercise 8.1: weights as whole numbers, the step of each channel, and how far the layer's results can be off.

    Args:
        answer: (weight [O, I, h, w]) -> (whole [O, I, h, w] between -127 and 127, step [O], bound [O]): the bound holds for
            inputs between -1 and 1.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(0)
    # Channels of very different size, the largest weight of the second one negative.
    weight = torch.randn(4, 3, 2, 2, generator=generator) * torch.tensor([1.0, 0.1, 3.0, 0.02])[:, None, None, None]
    weight[1, 0, 0, 0] = -0.5
    largest = weight.abs().amax(dim=(1, 2, 3))
    step, inputs = largest / LARGEST, 12
    scaled = weight / step[:, None, None, None]

    value = ask(answer, weight)
    whole, own_step, bound = parts(value, 3, "Return three things: the whole numbers, the steps, and the bounds.")
    own_step = tensor(own_step, (4,), "the steps").detach()
    judge(own_step, step, {
        "There is one step for the whole layer: each output channel has its own, or small channels lose "
        "everything.": (weight.abs().max() / LARGEST).expand(4),
        "The largest weight becomes 128, which eight bits with a sign do not hold: divide by 127.": largest / 128,
        "A step of max / 255 counts as if all weights were positive: with a sign the largest whole number is "
        "127.": largest / 255,
        "These are the factors from weights to whole numbers: the step is the other way round.": 1 / step,
        "The largest weight without its sign decides: in one channel it is "
        "negative.": weight.amax(dim=(1, 2, 3)) / LARGEST,
        "The step comes from the span between the smallest and the largest weight: zero must stay zero here, so take the "
        "largest absolute value.": (weight.amax(dim=(1, 2, 3)) - weight.amin(dim=(1, 2, 3))) / 255,
    }, "The steps are not the largest absolute weight of each output channel divided by 127.")  # fmt: skip
    found = tensor(whole, tuple(weight.shape), "the whole numbers").detach().float()
    judge(found, scaled.round(), {
        "The fractions are cut off: round to the nearest whole number, or the error is up to a whole "
        "step.": (scaled.trunc(), scaled.floor(), scaled.ceil()),
        "These are the rounded weights as fractions: return the whole numbers "
        "themselves.": scaled.round() * step[:, None, None, None],
        "The weights are divided but not rounded: whole numbers are asked for.": scaled,
        "The numbers lie above 127: eight bits with a sign end there.": lambda given: bool(given.abs().max() > LARGEST),
    }, "The steps are right, the whole numbers are not: each weight divided by its channel's step, rounded.")  # fmt: skip
    limit = tensor(bound, (4,), "the bounds").detach()
    judge(limit, inputs * step / 2, {
        "Rounding to the nearest is off by half a step at most, not by a whole one.": inputs * step,
        "This is the error of a single weight: each result sums over all weights of its channel.": step / 2,
        "A result sums over all input channels *and* places of the kernel.": (3 * step / 2, 4 * step / 2),
        "This is what rounding did to these weights: the bound must hold wherever weights fall, so take half a step for "
        "each.": (weight - scaled.round() * step[:, None, None, None]).abs().sum(dim=(1, 2, 3)),
        "Errors that add up like independent ones are an expectation: a bound is the worst case, so they add up "
        "in full.": inputs**0.5 * step / 2,
        "One number for each output channel is asked for, not the largest of all.": (inputs * step / 2).max().expand(4),
    }, "The bound is half a step for each weight that a result sums over, times the largest input, 1.")  # fmt: skip
    silent = torch.cat([weight[:1], torch.zeros(1, 3, 2, 2)])
    zero = "A channel of zeros has no largest weight to divide by, and {hint}"
    with rephrased(zero):
        value = parts(ask(answer, silent), 3, "three things are asked for.")
        found = tensor(value[0], tuple(silent.shape), "the whole numbers").detach().float()
        limits = tensor(value[2], (2,), "the bounds")
    off = bool(found[1].any()) or bool(limits[1] > 1)
    tell({"A channel of zeros stays a channel of zeros, with nothing that could be off.": off})
    passed(f"{weight.numel()} weights are whole numbers now, and no result is off by more than its bound.")


@exercise(
    "8.2",
    "For one depth d: how many of the first d of one list are among the first d of the other?",
    "Do this for every depth from 1 to k, and divide by d each time.",
    "Two sets of the first d numbers, the size of what they share divided by d, and the mean of this over d = 1 to k.",
)
def agreement(answer: Answer) -> None:
    """Exercise 8.2: how far two rankings agree, their heads more than their tails.

    Args:
        answer: (first [n], second [n]: photograph numbers, best first; k) -> mean over d = 1 to k of the share that the first d
            of both have in common.

    Raises:
        Hint: the answer is not right.
    """
    first, second, k = [7, 3, 9, 1, 4, 8], [3, 7, 2, 9, 11, 1], 4
    shares = [len({*first[:d]} & {*second[:d]}) / d for d in range(1, k + 1)]
    right = sum(shares) / k

    def jaccard(d: int) -> float:
        both, either = {*first[:d]} & {*second[:d]}, {*first[:d]} | {*second[:d]}
        return len(both) / len(either)

    def among(d: int) -> float:
        return len({*first[:d]} & {*second}) / d

    def one(value: Any) -> Tensor:
        return tensor(value, (), "the agreement")

    examine(answer, (first, second, k), one, right, {
        "This is the share that the first k have in common: the mean over all depths 1 to k is asked for, so that the first "
        "place counts most.": shares[-1],
        "These are places with the same photograph in both: a photograph that moved by one place is still "
        "found.": sum(a == b for a, b in zip(first[:k], second[:k], strict=True)) / k,
        "At each depth d the share is of d photographs, not of k.": sum(s * d for d, s in enumerate(shares, 1)) / k / k,
        "The shares are added up: take their mean.": sum(shares),
        "The share at depth d is of d photographs, not of all that either list has "
        "there.": sum(map(jaccard, range(1, k + 1))) / k,
        "The first d of one list are looked for in the whole other list: both are cut at "
        "d.": sum(map(among, range(1, k + 1))) / k,
        "The depths go from 1 to k: the last one is missing.": (sum(shares[:-1]) / (k - 1), sum(shares[:-1]) / k),
        "The whole lists are compared: depths end at k.": sum(
            len({*first[:d]} & {*second[:d]}) / d for d in range(1, 7)) / 6,
        "A fraction between 0 and 1 is asked for, not a percentage.": 100 * right,
    }, "Not yet. For each depth d from 1 to k, the share of d photographs that the first d of both lists have in common; then "
       "the mean.")  # fmt: skip
    examine(
        answer, (torch.tensor(first), torch.tensor(first), 6), one, 1.0, {},
        "A ranking agrees with itself in full, 1.0, also where it comes as a tensor: two tensors of one number are two members "
        "of a set.",
    )  # fmt: skip
    passed(f"These two lists agree to {right:.3f} down to depth {k}, a list with itself to 1.")


@exercise(
    "8.3",
    "A `Linear` multiplies with the transpose of its weight and adds its bias.",
    "A projected query has no length of one any more; a cosine needs it.",
    "Project, bring each row to length 1, multiply with the answers, and take topk.",
)
def asymmetric_search(answer: Answer) -> None:
    """Exercise 8.3: a student's queries among a teacher's answers.

    Args:
        answer: (queries [Q, S], answers [N, T], weight [T, S], bias [T], k) -> (similarities [Q, k], positions [Q, k]), best
            first; queries and answers have length 1.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(4)
    # As many dimensions in both spaces, so that what is the wrong way round gives a wrong number and no error.
    queries = normalize(torch.randn(3, 6, generator=generator), dim=1)
    answers = normalize(torch.randn(20, 6, generator=generator), dim=1)
    weight, bias = torch.randn(6, 6, generator=generator), torch.randn(6, generator=generator)
    k = 4

    def searched(rows: Tensor, database: Tensor = answers, largest: bool = True) -> tuple[Tensor, Tensor]:
        values, places = (rows @ database.T).topk(k, dim=1, largest=largest)
        return values, places

    projected = queries @ weight.T + bias
    right = searched(normalize(projected, dim=1))
    value = parts(
        ask(answer, queries, answers, weight, bias, k), 2, "Return two tensors: the similarities and the positions."
    )
    similar = tensor(value[0], (3, k), "the similarities").detach().float()
    judge(similar, right[0], {
        "The queries are not projected: they are compared in the student's space, the answers lie in the "
        "teacher's.": searched(queries)[0],
        "The projected queries do not have length one: divide each row by its length, or similarities are no "
        "cosines.": searched(projected)[0],
        "The bias is missing: a projection is x W^T + b.": searched(normalize(queries @ weight.T, dim=1))[0],
        "The weight is the wrong way round: it is [T, S], as in nn.Linear, so queries meet its "
        "transpose.": searched(normalize(queries @ weight + bias, dim=1))[0],
        "The teacher's answers are projected: they are where they belong, the queries go to "
        "them.": searched(queries, normalize(answers @ weight.T + bias, dim=1))[0],
        "The length is taken before the bias is added: add first.": searched(normalize(queries @ weight.T, dim=1) + bias)[0],
        "The columns were brought to length one: each query has its own "
        "length.": searched(normalize(projected, dim=0))[0],
        "These are the least similar answers: the largest dot product is the best "
        "match.": searched(normalize(projected, dim=1), largest=False)[0],
        "The best must come first.": right[0].flip(1),
    }, "Not yet. Project the queries, give each length one, multiply with all answers, keep the k largest.")  # fmt: skip
    judge(numbers(tensor(value[1], (3, k), "the positions").flatten(), "the positions"), right[1].flatten().tolist(), {
        "The similarities are right, but positions count from 0.": (right[1] + 1).flatten().tolist(),
    }, "The similarities are right, the positions are not: keep both in step, as topk gives them.")  # fmt: skip
    passed("The student asks, the teacher's answers are searched, and the teacher itself is not needed.")
