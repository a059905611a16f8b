"""Checks of notebook 4: batches by the teacher's neighbours, the body of a training step, and a verdict from seeds."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_course.checks.hints import alike, ask, passed, tensor
from rdistill_course.checks.runner import Answer, judge, parts, tell
from rdistill_course.checks.steps import exercise
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.batches import teacher_neighbours
from rdistill_helpers.distil.interpolate import interpolate


@exercise(
    "4.1",
    "Labels and the student's rows are not yours to use: the teacher's rows say which photographs are similar.",
    "Put all anchors into the batch first. Then go from anchor to anchor, each with the order in which the "
    "teacher ranks all photographs.",
    "For each anchor walk down its order and take the first k photographs that are in the batch neither as "
    "anchors nor as neighbours of an earlier anchor.",
)
def batch(answer: Answer) -> None:
    """Exercise 4.1: a batch of given anchors, each with its nearest neighbours that are not in the batch yet.

    Args:
        answer: (anchors [A] int64, k, teacher_rows [N, Dt], student_rows [N, Ds], labels [N]) -> int64 [A * (1 + k)]: the
            anchors, then k photographs for each of them in turn.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(9)
    labels = torch.arange(40) // 8
    centres = torch.randn(5, 6, generator=generator)
    # Rooms that the teacher mixes up, so that a choice by the labels is another one.
    teacher_rows = F.normalize(centres[labels] + 1.5 * torch.randn(40, 6, generator=generator), dim=1)
    student_rows = F.normalize(torch.randn(40, 5, generator=generator), dim=1)
    similarity, k = teacher_rows @ teacher_rows.T, 3
    # The third is among the nearest of the first, and the first two have neighbours in common with others.
    first = int(teacher_neighbours(teacher_rows, 1)[0, 0])
    anchors = torch.tensor([0, 17, first, 34])
    wanted = _greedy(anchors, k, similarity)
    size = len(wanted)

    given = tensor(ask(answer, anchors, k, teacher_rows, student_rows, labels), (None,), "the batch")
    nearest = similarity.clone().fill_diagonal_(-2)[anchors].topk(k).indices.flatten()
    again = len(given) - len(given.unique())
    tell({
        "The batch holds numbers of photographs: give integers.": given.is_floating_point(),
        "The batch holds numbers of photographs, from 0 to N - 1.": not bool(((given >= 0) & (given < 40)).all()),
        "The batch begins with the anchors, in the order in which they are given.": not torch.equal(given[:4], anchors),
        "A photograph stands in the batch twice: one anchor is a neighbour of another, or two anchors have a neighbour in "
        "common. Take the next nearest instead.": torch.equal(given[4:], nearest),
        "An anchor is its own neighbour: nothing is more similar to it than itself, leave it "
        "out.": torch.equal(given[4:], similarity[anchors].topk(k).indices.flatten()),
        f"The batch must have {size} photographs, {k} for each anchor beside the anchors; yours has "
        f"{len(given)}.": len(given) > size,
        f"The batch holds {again} photographs a second time: {given.tolist()}.": again > 0,
        f"The batch has {len(given)} photographs in place of {size}: where a neighbour is in the batch already, the next "
        "nearest of the same anchor takes its place.": len(given) < size,
    })  # fmt: skip
    # The order within one anchor's neighbours does not matter.
    sorted_rows = [x[4:].view(4, k).sort(dim=1).values for x in (given, wanted)]
    off = int((sorted_rows[0] != sorted_rows[1]).any(1).sum())
    others = {
        "These are neighbours by the student, whose order is what has to be learned: ask the teacher's "
        "descriptors.": _greedy(anchors, k, student_rows @ student_rows.T),
        "These are the least similar photographs of each anchor: take the most similar "
        "ones.": _greedy(anchors, k, -similarity.clone().fill_diagonal_(-2)),
        "All anchors took their first neighbour, then their second: here each anchor takes all of its own in "
        "turn.": _greedy(anchors, k, similarity, columns=True),
    }  # fmt: skip
    chosen, by_label = set(given.tolist()), labels[given[4:].view(4, k)] == labels[anchors, None]
    tell({hint: off > 0 and set(other.tolist()) == chosen for hint, other in others.items()} | {
        "These are photographs with the label of their anchor: in this setting the student has no "
        "labels.": off > 0 and bool(by_label.float().mean() > 0.9),
        "Something else than the next nearest photographs fills the places of those that are in the batch "
        "already.": off > 0 and chosen >= {*anchors.tolist(), *nearest.tolist()},
        f"{off} of 4 anchors do not have the neighbours that they should: go through the anchors in order, and give each the "
        "most similar photographs, by the teacher, that are not in the batch yet.": off > 0,
    })  # fmt: skip
    passed(f"{size} different photographs: {len(anchors)} anchors and {k} neighbours of each.")


def _greedy(anchors: Tensor, k: int, similarity: Tensor, columns: bool = False) -> Tensor:
    """The anchors, then for each in turn the k most similar photographs not there yet; columns: one for each, k times."""
    chosen = anchors.tolist()
    turns = [(anchor, 1) for _ in range(k) for anchor in anchors] if columns else [(anchor, k) for anchor in anchors]
    for anchor, count in turns:
        order = similarity[anchor].argsort(descending=True).tolist()
        chosen += [one for one in order if one not in chosen][:count]
    return torch.tensor(chosen)


class _Student(nn.Module):
    """A small network: one linear layer, and rows of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.layer(pixels.flatten(1)), dim=1)


STEPS, MIXTURES, WEIGHT, SEED = 3, 10, 2.0, 13


@exercise(
    "4.2",
    "The order is that of every step: rows of the student, losses, gradients to zero, backward, step. The student describes "
    "its photographs once.",
    "Regression is 1 minus the cosine of the projected rows and the targets, a mean over the batch. `interpolate` mixes the "
    "teacher's rows and the student's in one call; the joint space brings its mask `comparable`.",
    "The list, plus `weight` times regression, plus the list of the joint space goes backward. Return the three without "
    "the weight, as numbers.",
)
def training_step(answer: Answer) -> None:
    """Exercise 4.2: the body of a training step, judged by the weights after three steps.

    Args:
        answer: (student, projection, optimizer, pixels [B, 3, H, W], target [B, Dt], weight, mixtures, generator) -> (listed,
            answered, mixed): the listwise loss of the photographs, regression before its weight, and the listwise loss of the
            joint space.

    Raises:
        Hint: the answer is not right.
    """
    weights, seen, drawn, counts = _three_steps(lambda *inputs: ask(answer, *inputs))
    right, terms, expected, _ = _three_steps(_step)

    def same(one: Tensor, other: Tensor) -> bool:
        return alike(one, other, tolerance=1e-3)

    def stepped(**mistake: Any) -> Callable[[Any], bool]:
        """Whether the weights are those after steps with this mistake."""
        return lambda _: alike(weights, _three_steps(lambda *inputs: _step(*inputs, **mistake))[0])

    well, moved = alike(weights, right), "The weights are right"
    tell({
        f"Each step describes its photographs once: in {STEPS} steps your function asked the student {counts['asked']} "
        "times.": counts["asked"] != STEPS,
        "The mixtures are not drawn from `generator`: hand it to `interpolate`, so that a run can be "
        "repeated.": torch.equal(drawn, torch.Generator().manual_seed(SEED).get_state()),
        "More is drawn from `generator` than one set of mixtures in each step: one call of `interpolate` mixes the same pairs "
        "in both spaces.": not torch.equal(drawn, expected),
    })  # fmt: skip
    if well and same(seen, terms):
        return passed("After three steps the weights are those of the package's loop.")
    tell({
        "No gradient reaches the student: backward() is not called on the loss, or the rows are detached from "
        "it.": not counts["differentiated"],
        "optimizer.step() is missing, or called more than once: it changes the weights, once in each "
        "step.": counts["stepped"] != STEPS,
        "The gradients are set to zero between backward() and step(), so that nothing is left to step by: zero_grad() comes "
        "before backward().": alike(weights, _start()),
        "The loss of your joint space is exactly 0: the student's mixtures are made of the teacher's rows, so they teach the "
        "student nothing.": not seen[:, 2].any(),
        "Gradients of earlier steps are still there: backward() adds to them, so zero_grad() comes before "
        "it.": stepped(zero=False),
        "`weight` is not used: regression counts with it.": stepped(weight_of=1.0),
        "`weight` weighs the lists as well: it belongs to regression alone.": stepped(all_by=WEIGHT),
        "`weight` weighs the list of the photographs instead of regression.": stepped(list_by=WEIGHT, weight_of=1.0),
        "`weight` weighs the joint space instead of regression.": stepped(joint_by=WEIGHT, weight_of=1.0),
        "Regression moves no weight: it is missing from the sum that is differentiated.": stepped(weight_of=0.0),
        "Regression trains the projection alone: its rows are detached from the student.": stepped(cut=True),
        "The joint space moves no weight: its loss is missing from the sum that is differentiated, or its student rows are "
        "detached from the network.": stepped(joint_by=0.0),
        "The joint space and regression replace the list of the photographs: add all three.": stepped(list_by=0.0),
        "Regression pushes the rows away from the teacher's answers: the loss is 1 minus the cosine, not the "
        "cosine.": stepped(weight_of=-WEIGHT),
        "Regression is a sum over the batch: take the mean.": stepped(weight_of=8 * WEIGHT),
        "`comparable` is not handed to the loss: rows that share a photograph are compared.": stepped(mask=False),
        "Teacher and student are swapped in the loss of the joint space: the student's rows come "
        "first.": stepped(turned=True),
        f"{moved}. Return regression as it is, before its weight.": well and same(seen, terms * torch.tensor([1, WEIGHT, 1])),
        f"{moved}. Return the three in this order: list, regression, joint "
        "space.": well and same(seen.sort(1).values, terms.sort(1).values),
        f"{moved}, but what you return is not the three losses of the step, before the weight.": well,
        "The list of the first step is not the listwise loss of student rows against the "
        "targets.": not same(seen[0, 0], terms[0, 0]),
        "Regression of the first step is not right: 1 minus the cosine of projection(rows) and target, its mean over the "
        "batch.": not same(seen[0, 1], terms[0, 1]),
        "The joint space's loss of the first step is not right: the listwise loss of its student's rows against its teacher's, "
        "with `comparable`.": not same(seen[0, 2], terms[0, 2]),
        "The losses of the first step are right, the weights afterwards are not: zero_grad(), then backward() on the sum, then "
        "step().": True,
    })  # fmt: skip


def _start() -> Tensor:
    """The weights of student and projection before the first step."""
    return 0.5 * torch.randn(5 * 12 + 6 * 5, generator=torch.Generator().manual_seed(10))


def _three_steps(step: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor, Counter[str]]:
    """Weights after three steps, the three losses of each step [3, 3], the generator's state, and what happened how often.

    Counted are "asked" (forward passes), "differentiated" (gradients that reached the student), "stepped" (optimizer steps).
    """
    data = torch.Generator().manual_seed(11)
    pixels = torch.rand(STEPS, 8, 3, 2, 2, generator=data)
    target = F.normalize(torch.randn(STEPS, 8, 6, generator=data), dim=2)
    student, projection = _Student(), nn.Linear(5, 6, bias=False)
    trained = [student.layer.weight, projection.weight]
    nn.utils.vector_to_parameters(_start(), trained)
    optimizer = torch.optim.SGD(trained, lr=0.02)
    counts: Counter[str] = Counter()
    student.register_forward_hook(lambda *_: counts.update(["asked"]))
    student.layer.weight.register_hook(lambda _: counts.update(["differentiated"]))
    optimizer.register_step_post_hook(lambda *_: counts.update(["stepped"]))
    generator = torch.Generator().manual_seed(SEED)
    seen = []
    for number in range(STEPS):
        value = step(student, projection, optimizer, pixels[number], target[number], WEIGHT, MIXTURES, generator)
        seen.append(tensor(value, (3,), "what the function returns, (listed, answered, mixed),").detach())
    return nn.utils.parameters_to_vector(trained).detach().clone(), torch.stack(seen), generator.get_state(), counts


def _step(
    student: nn.Module, projection: nn.Linear, optimizer: torch.optim.Optimizer, pixels: Tensor, target: Tensor,
    weight: float, mixtures: int, generator: torch.Generator, *, zero: bool = True, weight_of: float | None = None,
    all_by: float = 1.0, list_by: float = 1.0, joint_by: float = 1.0, cut: bool = False, mask: bool = True,
    turned: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One step as the package takes it, and its typical mistakes: each keyword makes one."""
    rows = student(pixels)
    listed = losses.listwise(rows, target)
    answered = losses.regression(rows.detach() if cut else rows, target, projection=projection)
    space = interpolate(target, rows, mixtures, generator=generator)
    sides = (space.teacher, space.student) if turned else (space.student, space.teacher)
    mixed = losses.listwise(*sides, comparable=space.comparable if mask else None)
    share = weight if weight_of is None else weight_of
    if zero:
        optimizer.zero_grad()
    (all_by * (list_by * listed + joint_by * mixed) + share * answered).backward()
    optimizer.step()
    return listed.detach(), answered.detach(), mixed.detach()


@exercise(
    "4.3",
    "Take the difference within each seed first; everything else is done with these S numbers.",
    "`tensor.std()` has S - 1 in the denominator already. Divide it by the root of S. Points are 100 times a fraction.",
    "Mean of the differences, their standard error, and the question whether the mean's absolute value is more "
    "than as many errors as the text asks for S seeds; with one seed the answer is False.",
)
def verdict(answer: Answer) -> None:
    """Exercise 4.3: what several seeds say about the difference of two students.

    Args:
        answer: (first [S], second [S]: mAP as fractions, entry s of both from seed s) -> (mean, error, supported): mean and
            standard error of second - first in points, and whether the mean is further from 0 than S seeds ask.

    Raises:
        Hint: the answer is not right.
    """
    first = 0.31 + torch.tensor([0.021, -0.018, 0.003, -0.011, 0.014])
    gain = torch.tensor([0.007, 0.004, 0.008, 0.006, 0.005])
    second = first + gain
    mean, spread, root = 100 * gain.mean(), 100 * gain.std(), 5**0.5
    error = spread / root
    own_mean, own_error, supported = _verdict(answer, first, second)
    judge(own_mean, mean, {
        "The sign of the mean is wrong: it is second minus first, positive where the second student is better.": -mean,
        "The mean is a fraction: give it in points, of which 1.0 has 100.": mean / 100,
    }, "The mean is not that of second minus first over the seeds, in points.", 1e-3)  # fmt: skip
    judge(own_error, error, {
        "The error treats the two students as if they had nothing in common: take the difference of each seed first. What "
        "both owe to the seed cancels in it.": 100 * (first.var() / 5 + second.var() / 5).sqrt(),
        "The error is the spread over the seeds: the error of a mean is smaller by the root of their number.": spread,
        "The error is the spread divided by the number of seeds: divide by its root.": spread / 5,
        "The squares are divided by S: for a spread from few seeds divide by S - 1 (torch's std does so by "
        "default).": error * 0.8**0.5,
        "The error is a fraction: give it in points, as the mean.": error / 100,
        "The error is squared: take the root.": error**2,
        "The error is that of the first student alone.": 100 * first.std() / root,
        "The error is that of the second student alone.": 100 * second.std() / root,
    }, "The error is not the standard error of the differences: their spread divided by the root of S.", 1e-3)  # fmt: skip
    # A mean of 0.6 points again, but an error of 0.25: between two and 2.8 errors. Of three seeds one between 2.8 and 4.3.
    loose = torch.tensor([0.013, -0.001, 0.009, 0.006, 0.003])
    three = torch.tensor([0.010, 0.006, 0.004])
    tell({
        "The mean is far more than 2.8 errors away from 0 in this case: the seeds support the difference.": not supported,
        "A second student that is worse is a difference as well: compare the size of the mean, without its "
        "sign.": lambda _: not _verdict(answer, second, first)[2],
        f"With a mean of {100 * loose.mean():.2f} and an error of {100 * loose.std() / root:.2f} points the seeds do not "
        "support the difference: five seeds take more than 2.8 errors.": lambda _: _verdict(answer, first, first + loose)[2],
        "Three seeds take more than 4.3 errors, because so few say little about the error itself: the limit depends on the "
        "number of seeds.": lambda _: _verdict(answer, first[:3], first[:3] + three)[2],
        "With a single seed nothing is known about the error, so no difference is supported: give "
        "False.": lambda _: _verdict(answer, first[:1], second[:1], alone=True)[2],
    })  # fmt: skip
    passed(
        f"{mean:.2f} points with an error of {error:.2f} count as a difference; the same mean with a larger error does not."
    )


def _verdict(answer: Answer, first: Tensor, second: Tensor, alone: bool = False) -> tuple[Tensor, Tensor, bool]:
    """What the learner's function says; alone: of a single seed, whose error may be anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the spread of a single number
        given = ask(answer, first, second)
    three = "Return three things: the mean, the standard error, and whether the difference is supported."
    mean, error, supported = parts(given, 3, three)
    if alone:
        mean = error = 0.0
    return tensor(mean, (), "the mean").detach(), tensor(error, (), "the standard error").detach(), bool(supported)
