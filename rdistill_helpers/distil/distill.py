"""Distillation: a student learns to relate images as the teacher does."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.batches import tuple_batches
from rdistill_helpers.distil.fingerprint import of_function, of_tensor
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.interpolate import JointSpace, draw_mixtures, joint_space, mix, mix_maps
from rdistill_helpers.distil.loop import Forward, device_of, fit, products
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.distil.views import KeptMaps, Photographs, as_views
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.errors import BadInput
from rdistill_helpers.parallel import world_size

Loss = Callable[..., Tensor]


def distill(
    student: nn.Module,
    images: Tensor | Photographs | KeptMaps,
    teacher_rows: Tensor,
    loss: Loss = losses.listwise,
    anchors: int = 8,
    neighbours: int = 5,
    regression_weight: float = 2.0,
    projection: nn.Linear | None = None,
    mixtures: Mixtures | None = None,
    training: Training = Training(),  # noqa: B008 - frozen
    checkpoint: str | Path | None = None,
    callback: Callable[[History], None] | None = None,
) -> tuple[nn.Module, History]:
    """Train a student to relate images as the teacher does, in place.

    Args:
        student: float images [B, 3, H, W] in [0, 1] -> L2-normalised descriptors [B, Ds].
        images: uint8 [N, 3, H, W], or maps of them that the student's frozen parts gave.
        teacher_rows: [N, Dt] L2-normalised, what the teacher answered for each image.
        loss: a function of `losses` (settings by functools.partial), or any other of the same signature.
        anchors: images in each batch that bring their neighbours along, see `tuple_batches`.
        neighbours: nearest images of each anchor by the teacher, in the same batch.
        regression_weight: weight of `losses.regression` in addition to the loss, on the real rows: a list tells where the
            others stand, regression where the row itself stands. 0 for the bare loss. Where the loss is
            `losses.regression` itself it is not added again, and the history records 0.
        projection: from the student's dimension to the teacher's, trained together with the student: by regression, and by a
            loss that takes a `projection`. Without one, regression_weight makes its own; the history holds either.
            `project` and `export` take it, so that a student searches among the teacher's descriptors.
        mixtures: which mixtures each batch gets; None for none. Mixtures of maps take a RetrievalNet, and one process.
        training: how to train.
        checkpoint: a file to go on from when it is there, written as the training goes; a resumed run equals an
            uninterrupted one, on the CPU bit for bit.
        callback: called with the history after every step, to draw or log it while it grows.

    Returns:
        The student in eval mode, and the history of its training.

    Raises:
        BadInput: for rows, images, settings or a checkpoint that do not fit.
    """
    device = device_of(student, training.device)
    teacher_rows = check_descriptors(teacher_rows, "teacher rows").detach()
    views = as_views(images, len(teacher_rows), "teacher rows", training, device)
    if not 0 <= regression_weight < math.inf:
        raise BadInput(f"regression_weight={regression_weight} is not usable: give 0 or a positive number.")
    if _bare(loss) is losses.regression:
        regression_weight = 0.0
    depths = () if mixtures is None else mixtures.depths
    forwards = {depth: forward_from(student, views.parts, depth) for depth in depths or (None,)}
    settings = {
        "loss": of_function(loss), "anchors": anchors, "neighbours": neighbours, "regression_weight": regression_weight,
        "mixtures": None if mixtures is None else asdict(mixtures), "images": views.fingerprint(),
        "teacher_rows": of_tensor(teacher_rows),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(training.seed)
    batches = tuple_batches(teacher_rows, anchors, neighbours, training.steps, generator)
    teacher_rows = teacher_rows.to(device)
    if mixtures is not None and mixtures.row_weight and not regression_weight:
        raise BadInput(
            "Regression of mixtures shares the projection of the real rows: give a regression_weight above 0, and another loss "
            "than regression."
        )
    takes = "projection" in signature(getattr(_bare(loss), "forward", _bare(loss))).parameters
    if projection is not None and not takes and not regression_weight:
        raise BadInput(
            "The projection learns from nothing: give a regression_weight, or a loss that takes a projection."
        )
    for_loss = {"projection": projection} if projection is not None and takes else {}
    if regression_weight and projection is None:
        projection = projection_to(teacher_rows.shape[1], dimension_of(student, views), training.seed)

    at = next(iter(forwards))  # where the maps of this step are mixed

    def forward(inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        nonlocal at
        if len(depths) > 1:
            at = depths[int(torch.randint(len(depths), (), generator=generator))]
        return forwards[at](inputs)

    def described(maps: Tensor) -> Tensor:
        assert isinstance(student, RetrievalNet) and at is not None
        with products(device, training.autocast):
            return student.describe_maps(maps, at).float()

    def batch_loss(rows: Tensor, maps: Tensor | None, index: Tensor) -> Tensor:
        target = teacher_rows[index]
        value = loss(rows, target, **for_loss)
        if regression_weight:
            value = value + regression_weight * losses.regression(rows, target, projection=projection)
        if mixtures is not None:
            joint = _joint_space(target, rows, maps, mixtures, described, generator)
            if mixtures.joint_weight:
                joint_loss = loss(joint.student, joint.teacher, comparable=joint.comparable, **for_loss)
                value = value + mixtures.joint_weight * joint_loss
            if mixtures.row_weight:
                mixed, wanted = joint.student[len(index) :], joint.teacher[len(index) :]
                value = value + mixtures.row_weight * losses.regression(mixed, wanted, projection=projection)
        return value

    history = fit(
        student, views.read, batches, batch_loss, generator, training, forward, projection, settings, checkpoint, callback
    )  # fmt: skip
    history.projection = projection
    return student, history


def forward_from(student: nn.Module, parts: int, mix_at: int | None = None) -> Forward:
    """The way of a batch through a student, with the maps that are to be mixed on the way.

    Args:
        student: the network.
        parts: how many of its parts the inputs have passed; 0 for images.
        mix_at: after how many parts maps are mixed; None for no maps.

    Returns:
        A function: inputs -> (descriptors [B, D], maps [B, C, h, w] or None).

    Raises:
        BadInput: for a student without such parts, maps to be mixed that the inputs have passed already, frozen or not
            there, and mixtures of maps in several processes.
    """
    if mix_at is None and parts == 0:
        return lambda images: (student(images), None)
    if not isinstance(student, RetrievalNet) or not parts < len(student.parts):
        raise BadInput(f"Maps of {parts} parts cannot be described by this student: give a RetrievalNet of more parts.")
    if mix_at is None:
        return lambda maps: (student.describe_maps(maps, parts), None)
    if not max(1, parts) <= mix_at < len(student.parts):
        raise BadInput(
            f"mix_at={mix_at} names no maps of this student to mix: give a number from {max(1, parts)} to "
            f"{len(student.parts) - 1}, or None to mix descriptors."
        )
    if world_size() > 1:
        raise BadInput(f"mix_at={mix_at} mixes maps of one process, not of {world_size()}: train in one, or give None.")

    def forward(inputs: Tensor) -> tuple[Tensor, Tensor]:
        maps = student.parts[parts:mix_at](inputs) if parts else student.maps(inputs, mix_at)
        return student.describe_maps(maps, mix_at), maps

    return forward


def _joint_space(
    teacher: Tensor,
    student: Tensor,
    maps: Tensor | None,
    mixtures: Mixtures,
    described: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> JointSpace:
    """The joint space of a batch: mixtures of descriptors, or of maps where there are maps."""
    pairs, weight = draw_mixtures(teacher, mixtures.count, mixtures.pairs, mixtures.alpha, generator)
    mixed = mix(student, pairs, weight) if maps is None else described(mix_maps(maps, pairs, weight))
    return joint_space(teacher, student, mixed, pairs, weight)


def dimension_of(student: nn.Module, views: Photographs | KeptMaps) -> int:
    """The size of a student's descriptors.

    Args:
        student: the network.
        views: what it is trained on.

    Returns:
        Ds.
    """
    if isinstance(student, RetrievalNet):
        return student.dim
    assert isinstance(views, Photographs)  # or `forward_from` had refused
    return extract(student, views.images[:1], progress=False).shape[1]


def projection_to(teacher_dim: int, dim: int, seed: int = 0) -> nn.Linear:
    """A new projection to the teacher's space, the same for the same seed whatever was drawn before.

    Args:
        teacher_dim: size of the teacher's descriptors.
        dim: size of the student's.
        seed: draws the weights.

    Returns:
        The layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(dim, teacher_dim)


def project(rows: Tensor, projection: nn.Linear) -> Tensor:
    """Take a student's descriptors to the teacher's space, for a search among the teacher's descriptors.

    Args:
        rows: [N, Ds].
        projection: as `distill` trained it.

    Returns:
        [N, Dt], L2-normalised.
    """
    with torch.no_grad():
        return F.normalize(projection(rows.to(projection.weight)), dim=1).cpu()


def _bare(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose settings functools.partial has bound."""
    return _bare(loss.func) if isinstance(loss, functools.partial) else loss
