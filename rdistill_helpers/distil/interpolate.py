"""Interpolated samples: the same mixtures of the same rows in the teacher's space and in the student's.

A mixture costs no teacher query and no image: it is made of final descriptors alone. How pairs are drawn and how
lambda is distributed are choices of this course, tested against each other; the source for the idea is Laskar and
Kannala, "Data-Efficient Ranking Distillation for Image Retrieval", ACCV 2020 (arXiv 2007.05299).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers.errors import BadInput

NEIGHBOURS = 5  # partners that pairs="neighbours" draws from


@dataclass(frozen=True)
class JointSpace:
    """Real rows followed by mixtures of them, in both spaces.

    Attributes:
        teacher: [B+K, Dt]; the first B rows are the real ones.
        student: [B+K, Ds], in the same order.
        parts: [B+K, 2] int64, the real rows that each row is made of; (i, i) for real row i.
        weight: [B+K], lambda of the first part; 1 for real rows.
    """

    teacher: Tensor
    student: Tensor
    parts: Tensor
    weight: Tensor

    @property
    def comparable(self) -> Tensor:
        """[B+K, B+K] bool: which rows a loss may compare, those that share no part.

        False on the diagonal, between a mixture and its own two rows, and between mixtures with a row in common: those
        similarities say more of lambda than of what a network has learned, and would fill the top of each ranking.
        """
        parts = self.parts
        return (parts[:, None, :, None] != parts[None, :, None, :]).all(dim=3).all(dim=2)


def mix(rows: Tensor, pairs: Tensor, weight: Tensor) -> Tensor:
    """Mixtures weight * a + (1 - weight) * b of pairs of rows, scaled back to length 1.

    A chord of the unit sphere passes below its surface: without the last step a mixture would be shorter than the row of a
    photograph, and its similarities smaller in proportion.

    Args:
        rows: [B, D], L2-normalised.
        pairs: int64 [K, 2].
        weight: [K].

    Returns:
        [K, D], L2-normalised.
    """
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    weight = weight.to(rows.dtype)[:, None]
    return F.normalize(weight * first + (1 - weight) * second, dim=1)


def mix_maps(maps: Tensor, pairs: Tensor, weight: Tensor) -> Tensor:
    """Mixtures weight * a + (1 - weight) * b of pairs of feature maps, place by place.

    What follows in the network is not linear, so its descriptor of mixed maps is not the mixture of its descriptors: a
    mixture of maps is an input that the network has not seen, where a mixture of descriptors follows from what it has.

    Args:
        maps: [B, C, h, w].
        pairs: int64 [K, 2].
        weight: [K].

    Returns:
        [K, C, h, w], of the type of `maps`.

    Source:
        Verma et al., "Manifold Mixup", ICML 2019, which mixes labels where we mix the teacher's rows.
    """
    weight = weight.to(maps.dtype)[:, None, None, None]
    return weight * maps[pairs[:, 0]] + (1 - weight) * maps[pairs[:, 1]]


def interpolate(
    teacher: Tensor,
    student: Tensor,
    count: int,
    pairs: str | Tensor = "random",
    alpha: str | float | Tensor = "uniform",
    generator: torch.Generator | None = None,
) -> JointSpace:
    """The joint space of a batch: its B rows and `count` mixtures, with the same pairs and lambdas in both spaces.

    Args:
        teacher: [B, Dt], L2-normalised.
        student: [B, Ds], L2-normalised, row i of the same image as row i of the teacher; gradients flow through its mixtures.
        count: how many mixtures, K.
        pairs: "random" (two different rows), "neighbours" (a row and one of its 5 nearest in the batch, by the teacher), or
            int64 [K, 2].
        alpha: the distribution of lambda: "uniform" on [0, 1], a number a > 0 for Beta(a, a), or the lambdas [K] (outside of
            [0, 1] they extrapolate).
        generator: where the draws come from, on the CPU; None draws from the global state of torch.

    Returns:
        The joint space.

    Raises:
        BadInput: for rows, counts, pairs or lambdas that do not fit.
    """
    if teacher.ndim != 2 or student.ndim != 2 or len(teacher) != len(student):
        raise BadInput(
            f"interpolate takes teacher rows [B, Dt] and student rows [B, Ds] of the same images, but got "
            f"{list(teacher.shape)} and {list(student.shape)}: give one row for each image on both sides."
        )
    chosen, weight = draw_mixtures(teacher, count, pairs, alpha, generator)
    return joint_space(teacher, student, mix(student, chosen, weight), chosen, weight)


def draw_mixtures(
    teacher: Tensor,
    count: int,
    pairs: str | Tensor = "random",
    alpha: str | float | Tensor = "uniform",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Which rows of a batch are mixed, and how much of each.

    Args:
        teacher: [B, Dt].
        count: how many mixtures, K.
        pairs: as in `interpolate`.
        alpha: as in `interpolate`.
        generator: where the draws come from.

    Returns:
        Pairs of rows int64 [K, 2], and lambdas [K] of the first of each pair, where the teacher's rows are.

    Raises:
        BadInput: for fewer than two rows, counts, pairs or lambdas that do not fit.
    """
    if len(teacher) < 2 or count < 1:
        raise BadInput(f"There are no {count} mixtures of {len(teacher)} rows: give at least 2 rows and a count >= 1.")
    return _pairs(teacher, count, pairs, generator).to(teacher.device), _weights(count, alpha, generator).to(teacher)


def joint_space(teacher: Tensor, student: Tensor, mixed: Tensor, pairs: Tensor, weight: Tensor) -> JointSpace:
    """The joint space of a batch whose mixtures the student has described.

    Args:
        teacher: [B, Dt]; its rows are mixed here.
        student: [B, Ds].
        mixed: [K, Ds], the student's mixtures: of its rows (`mix`), or described from mixed maps (`mix_maps`).
        pairs: int64 [K, 2], the rows that each mixture is made of.
        weight: [K], lambda of the first.

    Returns:
        The joint space.
    """
    real = torch.arange(len(teacher), device=teacher.device)
    return JointSpace(
        teacher=torch.cat([teacher, mix(teacher, pairs, weight)]),
        student=torch.cat([student, mixed]),
        parts=torch.cat([real[:, None].expand(-1, 2), pairs]),
        weight=torch.cat([weight.new_ones(len(teacher)), weight]),
    )


def _pairs(teacher: Tensor, count: int, pairs: str | Tensor, generator: torch.Generator | None) -> Tensor:
    """[count, 2] int64 on the CPU or where one's own pairs are."""
    size = len(teacher)
    if isinstance(pairs, Tensor):
        if pairs.shape != (count, 2) or pairs.dtype != torch.int64 or pairs.min() < 0 or pairs.max() >= size:
            raise BadInput(
                f"The pairs are {pairs.dtype} {list(pairs.shape)}: give int64 [{count}, 2], from 0 to {size - 1}."
            )
        return pairs
    first = torch.randint(size, (count,), generator=generator)
    if pairs == "random":
        step = 1 + torch.randint(size - 1, (count,), generator=generator)
        return torch.stack([first, (first + step) % size], dim=1)
    if pairs == "neighbours":
        nearness = (teacher @ teacher.T).fill_diagonal_(-torch.inf)
        nearest = nearness.topk(min(NEIGHBOURS, size - 1)).indices.cpu()
        choice = torch.randint(nearest.shape[1], (count,), generator=generator)
        return torch.stack([first, nearest[first, choice]], dim=1)
    raise BadInput(f"The pairs {pairs!r} are not known: give 'random', 'neighbours' or an int64 tensor [{count}, 2].")


def _weights(count: int, alpha: str | float | Tensor, generator: torch.Generator | None) -> Tensor:
    """[count] lambdas."""
    if isinstance(alpha, Tensor):
        if alpha.shape != (count,) or not alpha.is_floating_point() or not alpha.isfinite().all():
            raise BadInput(f"The lambdas are {alpha.dtype} {list(alpha.shape)}: give finite floats [{count}].")
        return alpha
    if alpha == "uniform":
        return torch.rand(count, generator=generator)
    if isinstance(alpha, str) or not 0 < alpha < float("inf"):
        raise BadInput(f"alpha={alpha!r} is not usable: give 'uniform', a positive number for Beta, or the lambdas.")
    # torch's Beta takes no generator; numpy's does, and takes its seed from ours.
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count))
