"""What the study tries beside the losses of the package: a further loss on unpaid photographs or on columns, photographs made
of paid ones. What helps goes into the package; what does not stays here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rdistill_helpers import RetrievalNet, losses, project
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.interpolate import draw_mixtures, mix, mix_maps
from rdistill_helpers.distil.loop import products

Loss = Callable[..., Tensor]
DECAY = 0.99  # of the moving average
RAMP = 0.4  # part of the steps in which the weight of the consistency grows
SAME = 1 - 1e-5  # similarity from which on two answers of a teacher are of one photograph


class Consistency:
    """A loss, and the consistency of the student on mixtures of feature maps with photographs that nobody paid for.

    In each step `count` unpaid photographs are each mixed with a paid one. The student's mixture, projected, should be the
    mixture of the teacher's answer and of what a moving average of the student says of the unpaid one. The weight grows as
    exp(-5 (1 - t)^2) over the first part of the steps.

    Args:
        loss: of the paid rows.
        net: the student, trained elsewhere.
        projection: to the teacher's space, trained elsewhere.
        parts: that the maps have passed.
        maps: [N, V, C, h, w] of all photographs.
        paid: int64 [P], which of them are paid for.
        answers: [P, Dt].
        steps: of the training.
        generator: where the draws come from.
        autocast: type of the products.
        weight: of the consistency beside the loss.
        count: mixtures in each step.
        mixed: 1; 0 is the control, which shows the unpaid photographs unmixed.

    Source:
        Verma et al., "Interpolation consistency training", IJCAI 2019, where both photographs are unpaid and inputs are mixed.
    """

    def __init__(
        self, loss: Loss, net: RetrievalNet, projection: nn.Linear, parts: int, maps: Tensor, paid: Tensor, answers: Tensor,
        steps: int, generator: torch.Generator, autocast: torch.dtype | None, weight: float = 2.0, count: float = 16,
        mixed: float = 1,
    ) -> None:  # fmt: skip
        self.loss, self.net, self.projection, self.parts = loss, net, projection, parts
        self.maps, self.paid, self.answers = maps, paid, answers
        self.steps, self.generator, self.autocast = steps, generator, autocast
        self.weight, self.count, self.mixed = weight, int(count), mixed
        unpaid = torch.ones(len(maps), dtype=torch.bool)
        unpaid[paid] = False
        self.unpaid = unpaid.nonzero()[:, 0]
        self.average, self.average_projection = copy.deepcopy(net).eval(), copy.deepcopy(projection)
        self.done = 0

    def __call__(self, student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
        """The loss of a batch, as every loss is called."""
        decay = min(DECAY, (1 + self.done) / (10 + self.done))  # the first steps forget the start
        follow(self.average, self.net, decay)
        follow(self.average_projection, self.projection, decay)
        self.done += 1
        value = self.loss(student_rows, teacher_rows, comparable=comparable)
        return value + self.weight * ramped(self.done, RAMP * self.steps) * self.consistency()

    def consistency(self) -> Tensor:
        """1 - cosine between the student's mixtures and their targets, mean over `count` mixtures."""
        first, said = self._of_unpaid()
        which = torch.randint(len(self.paid), (self.count,), generator=self.generator)
        second, answers = self._maps(self.paid[which]), self.answers[which]
        both = torch.stack([torch.arange(self.count), self.count + torch.arange(self.count)], 1)
        _, weight = draw_mixtures(said, self.count, alpha=2.0, generator=self.generator)
        # Of a mixture the paid photograph is the larger half.
        weight = torch.minimum(weight, 1 - weight) if self.mixed else torch.ones_like(weight)
        with products(torch.device("cpu"), self.autocast):
            rows = self.net.describe_maps(mix_maps(torch.cat([first, second]), both, weight), self.parts).float()
        target = mix(torch.cat([said, answers]), both, weight)
        return losses.regression(rows, target, projection=self.projection)

    def _of_unpaid(self) -> tuple[Tensor, Tensor]:
        """Maps of some unpaid photographs, and what the averaged student says of them in the teacher's space."""
        maps = self._maps(self.unpaid[torch.randint(len(self.unpaid), (self.count,), generator=self.generator)])
        with torch.no_grad(), products(torch.device("cpu"), self.autocast):
            rows = self.average.describe_maps(maps, self.parts).float()
        return maps, project(rows, self.average_projection)

    def _maps(self, index: Tensor) -> Tensor:
        view = torch.randint(self.maps.shape[1], (len(index),), generator=self.generator)
        return self.maps[index, view].float().contiguous(memory_format=torch.channels_last)


class Columns:
    """A loss whose lists are lengthened by hard rows of earlier batches, or by mixtures of two of them; no such row has a list.

    Args:
        loss: takes `comparable`, and leaves out lists that have nothing to compare.
        generator: where the draws come from.
        size: rows that are remembered.
        count: columns that are added.
        first: hard rows are those from this rank on, in the teacher's order as seen from a random row of the batch.
        last: up to this rank.
        mixed: 1; 0 is the control, which adds the rows themselves.

    Source:
        Kalantidis et al., "Hard negative mixing for contrastive learning", NeurIPS 2020, on a teacher's order.
    """

    def __init__(
        self, loss: Loss, generator: torch.Generator, size: float = 256, count: float = 48, first: float = 5,
        last: float = 20, mixed: float = 1,
    ) -> None:  # fmt: skip
        self.loss, self.generator, self.mixed = loss, generator, mixed
        self.size, self.count, self.first, self.last = int(size), int(count), int(first), int(last)
        self.student = self.teacher = torch.empty(0)

    def __call__(self, student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
        """The loss of a batch, as every loss is called."""
        if len(self.teacher) >= self.last + self.size // 2:
            value = self._lengthened(student_rows, teacher_rows)
        else:
            value = self.loss(student_rows, teacher_rows, comparable=comparable)
        keep = (student_rows.detach(), self.student), (teacher_rows, self.teacher)
        self.student, self.teacher = (torch.cat([new, old.reshape(-1, new.shape[1])])[: self.size] for new, old in keep)
        return value

    def _lengthened(self, student_rows: Tensor, teacher_rows: Tensor) -> Tensor:
        similarity = teacher_rows @ self.teacher.T
        same = similarity > SAME
        order = similarity.masked_fill(same, -torch.inf).argsort(1, descending=True)[:, self.first : self.last]
        seen_from = torch.randint(len(order), (self.count,), generator=self.generator)
        pick = torch.rand(self.count, order.shape[1], generator=self.generator).argsort(1)[:, :2]  # two different ranks
        parts = order[seen_from].gather(1, pick)
        _, weight = draw_mixtures(teacher_rows, self.count, generator=self.generator)
        weight = weight if self.mixed else torch.ones_like(weight)
        parts = parts if self.mixed else parts[:, :1].expand(-1, 2)
        size = len(student_rows) + self.count
        mask = torch.zeros(size, size, dtype=torch.bool)
        mask[: len(student_rows), : len(student_rows)] = True
        mask[: len(student_rows), len(student_rows) :] = ~same[:, parts].any(2)
        rows = (torch.cat([new, mix(old, parts, weight)]) for new, old in
                ((student_rows, self.student), (teacher_rows, self.teacher)))  # fmt: skip
        return self.loss(*rows, comparable=mask)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move an average towards a network: decay * average + (1 - decay) * network, in place.

    Args:
        average: the average.
        net: the network.
        decay: from 0 to 1.
    """
    own = average.state_dict()
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            own[name].lerp_(value, 1 - decay)


def ramped(done: int, steps: float) -> float:
    """A weight that grows to 1.

    Args:
        done: steps that are done.
        steps: in which it grows.

    Returns:
        exp(-5 (1 - done / steps)^2), then 1.
    """
    return math.exp(-5 * max(0.0, 1 - done / max(1.0, steps)) ** 2)


def made_of(images: Tensor, count: int, how: str, generator: torch.Generator) -> Tensor:
    """Photographs made of others, for a teacher to answer about.

    Args:
        images: uint8 [N, 3, H, W].
        count: how many.
        how: "mixed": weight * a + (1 - weight) * b of two of them, weight of Beta(2, 2); "crops": views of one, as in training.
        generator: where the draws come from.

    Returns:
        uint8 [count, 3, H, W].
    """
    if how == "crops":
        views = augmented(images[torch.randint(len(images), (count,), generator=generator)], generator)
    else:
        pairs, weight = draw_mixtures(torch.empty(len(images), 1), count, "random", 2.0, generator)
        views = mix_maps(images.float() / 255, pairs, weight)
    return (views * 255).round().to(torch.uint8).contiguous()
