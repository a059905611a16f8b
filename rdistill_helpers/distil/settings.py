"""The settings of a training: how to train, and what to mix. Small frozen dataclasses, checked when they are made."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, dataclass_transform

import torch

from rdistill_helpers.errors import BadInput

T = TypeVar("T")
PAIRS = ("random", "neighbours")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a frozen dataclass of a class, with keyword arguments only and a readable error for an unknown one.

    Args:
        cls: the class with its annotated fields; its `__post_init__` checks their values.

    Returns:
        The dataclass. Its constructor raises BadInput for a name that is no field.
    """
    made = dataclass(frozen=True, kw_only=True)(cls)
    plain: Callable[..., None] = made.__init__
    names = [field.name for field in fields(made)]  # type: ignore[arg-type]

    @functools.wraps(plain)
    def checked(self: Any, **values: Any) -> None:
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                mend = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(names)}."
                raise BadInput(f"{cls.__name__} has no setting {name!r}: {mend}")
        plain(self, **values)

    made.__init__ = checked  # type: ignore[method-assign]
    return made


@settings
class Training:
    """How to train, whatever the loss: the defaults are those of the recipe.

    Attributes:
        steps: steps of the optimiser.
        lr: the largest learning rate of the schedule.
        augment: show each photograph flipped, cropped and exposed at random; see `augmented`.
        start_weight: w, from 0 to below 1. The trained student gets (1 - w) * trained + w * start for each of its weights,
            which takes back some of what training on few photographs forgets.
        seed: of every draw of the training.
        device: where to train; None for where the student is.
        autocast: type of the student's matrix products, such as torch.bfloat16 where the processor computes with it;
            weights, pooling and loss stay float32. None for float32 throughout.
        progress: show a progress bar.

    Raises:
        BadInput: for an unknown setting, or a value that trains nothing.

    Source:
        start_weight: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """

    steps: int = 500
    lr: float = 3e-4
    augment: bool = True
    start_weight: float = 0.2
    seed: int = 0
    device: str | torch.device | None = None
    autocast: torch.dtype | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.lr < math.inf:
            raise BadInput(f"{self.steps} steps with lr={self.lr} train nothing: give steps >= 1 and a positive lr.")
        if not 0 <= self.start_weight < 1:
            raise BadInput(f"start_weight={self.start_weight} leaves nothing of the training: give from 0 to below 1.")


@settings
class Mixtures:
    """Which mixtures a batch gets; the loss of a batch is then loss(real) + joint_weight * loss(joint space).

    Attributes:
        count: mixtures in each batch.
        pairs: "random" for any two of the batch, "neighbours" for one and one of its nearest by the teacher.
        alpha: the distribution of lambda: "uniform" on [0, 1], or a number a > 0 for Beta(a, a).
        joint_weight: weight of the loss of the joint space beside that of the real rows.
        mix_at: None mixes the student's descriptors. A number k mixes the maps that the first k of its `parts` give, and the
            student describes what it has not seen; of several numbers each step draws one. The teacher's descriptors are mixed
            in all cases.
        row_weight: weight of `losses.regression` of the mixtures: the student's mixture should be the teacher's. It says
            more of mixtures of maps than of descriptors, for a projection is nearly linear.

    Raises:
        BadInput: for an unknown setting, or a value that mixes nothing.
    """

    count: int = 48
    pairs: str = "random"
    alpha: str | float = "uniform"
    joint_weight: float = 1.0
    mix_at: int | tuple[int, ...] | None = None
    row_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadInput(f"count={self.count} mixtures in a batch cannot be made: give 1 or more, or no Mixtures.")
        if self.pairs not in PAIRS:
            raise BadInput(f"The pairs {self.pairs!r} are not known: give {' or '.join(map(repr, PAIRS))}.")
        if self.alpha != "uniform" and (isinstance(self.alpha, str) or not 0 < self.alpha < math.inf):
            raise BadInput(f"alpha={self.alpha!r} is not usable: give 'uniform' or a positive number for Beta.")
        for name in ("joint_weight", "row_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"{name}={getattr(self, name)} is not usable: give 0 or a positive number.")
        if self.mix_at is not None and min(self.depths, default=0) < 1:
            raise BadInput(
                f"mix_at={self.mix_at} names no maps: give a part of the student but the last, or None to mix descriptors."
            )

    @property
    def depths(self) -> tuple[int, ...]:
        """The numbers of `mix_at`, of which each step draws one; none for descriptors."""
        if self.mix_at is None:
            return ()
        return self.mix_at if isinstance(self.mix_at, tuple) else (self.mix_at,)
