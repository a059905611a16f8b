"""The training loop: one, under every training of this package."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil import checkpoint as checkpoints
from rdistill_helpers.distil.fingerprint import of_network
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.settings import Training
from rdistill_helpers.embed.pooling import GeM
from rdistill_helpers.errors import BadInput, RDistillError
from rdistill_helpers.memory import keep_freed_memory, moved
from rdistill_helpers.parallel import (
    all_reduce,
    average_gradients,
    broadcast,
    broadcast_parameters,
    gather,
    own_share,
    rank,
    world_size,
)

WEIGHT_DECAY = 1e-4
FAST = 10.0  # learning rate of GeM's p and of a new projection, as a multiple of the network's

Read = Callable[[Tensor, slice, torch.Generator], Tensor]
Forward = Callable[[Tensor], tuple[Tensor, Tensor | None]]
BatchLoss = Callable[[Tensor, Tensor | None, Tensor], Tensor]


def fit(
    student: nn.Module,
    read: Read,
    batches: Iterator[Tensor],
    batch_loss: BatchLoss,
    generator: torch.Generator,
    training: Training,
    forward: Forward | None = None,
    extra: nn.Module | None = None,
    settings: Mapping[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    callback: Callable[[History], None] | None = None,
) -> History:
    """Train a student in place, and leave it in eval mode.

    Under `parallel.processes` each process describes its share of every batch; the loss is that of the whole batch.

    Args:
        student: the network.
        read: (index [B], share, generator) -> inputs [b, ...] of the images index[share], such as `Photographs.read`.
        batches: yields int64 [B], at least `training.steps` times.
        batch_loss: (descriptors [B, D], maps of this process or None, index [B]) -> scalar.
        generator: the one source of chance for batches, reading and loss, so that its state is all there is to resume.
        training: how to train.
        forward: inputs -> (descriptors [b, D], maps [b, C, h, w] that the loss mixes, or None); None calls the student.
        extra: another module trained together with the student, such as a projection that the loss uses.
        settings: what the caller set; kept in the history with the loop's own and compared with a checkpoint's.
        checkpoint: a file to go on from when it is there, written as the training goes.
        callback: called with the history after every step.

    Returns:
        The history.

    Raises:
        BadInput: for a `read` or a student that gives another number of images than it was asked for, a batch smaller than
            the number of processes, and a checkpoint of another training.
        RDistillError: when the loss is not finite.
    """
    keep_freed_memory()
    device = device_of(student, training.device)
    forward = forward or (lambda inputs: (student(inputs), None))
    state = _prepared(student, extra, generator, training, device, settings or {})
    # Layers with chance of their own, such as dropout, draw from torch's global state: give it back as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator.initial_seed())
        content = None if checkpoint is None else broadcast(lambda: checkpoints.read(checkpoint))
        if checkpoint is not None and content is not None:
            state.restore(content, checkpoint)
        history, steps, done = state.history, training.steps, len(state.history.step)
        start = time.perf_counter() - (history.seconds[-1] if done else 0.0)
        bar = tqdm(total=steps, initial=done, desc="training", unit="step", disable=not training.progress or rank() > 0)
        for step, index in zip(range(done, steps), batches, strict=False):
            index, share = _shared(index)
            if world_size() > 1:  # each process has noise of its own in dropout, the same again after a resume
                torch.manual_seed(generator.initial_seed() + step * world_size() + rank())
            inputs = moved(_checked(read(index, share, generator), len(index[share])), device)
            with products(device, training.autocast):
                descriptors, maps = forward(inputs)
            if step == done:
                check_descriptors(descriptors, "the student's descriptors")
            descriptors = gather(descriptors.float(), len(index))
            value = _step(batch_loss(descriptors, maps, index), state.optimizer, schedule(step, steps))
            if not math.isfinite(value):
                raise RDistillError(f"The loss became {value} at step {step}: use a learning rate below {training.lr}.")
            history.step.append(step)
            history.loss.append(value)
            history.lr.append(training.lr * schedule(step, steps))
            history.seconds.append(time.perf_counter() - start)
            due = (step + 1) % checkpoints.EVERY == 0 or step + 1 == steps
            if checkpoint is not None and due and rank() == 0:
                state.save(checkpoint)
            if callback is not None:
                callback(history)
            bar.update()
            bar.set_postfix(loss=f"{value:.4f}", refresh=False)
        bar.close()
    if training.start_weight:
        average_weights(student, state.start, training.start_weight)
    student.eval()
    return history


def _prepared(
    student: nn.Module,
    extra: nn.Module | None,
    generator: torch.Generator,
    training: Training,
    device: torch.device,
    settings: Mapping[str, Any],
) -> checkpoints.State:
    """Everything of a training before its first step."""
    student.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for module in student.modules():
        # Batches are made of look-alikes: their statistics are not those of the images the student will see.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    extra = nn.Module() if extra is None else extra.to(device)
    broadcast_parameters(student)
    broadcast_parameters(extra)
    own = {
        "steps": training.steps, "lr": training.lr, "seed": generator.initial_seed(),
        "autocast": str(training.autocast), "start_weight": training.start_weight, "student": of_network(student),
    }  # fmt: skip
    start = {name: value.clone() for name, value in student.state_dict().items()} if training.start_weight else {}
    optimizer = torch.optim.AdamW(parameter_groups(student, extra, training.lr))
    return checkpoints.State(student, extra, optimizer, generator, start, History(settings={**own, **settings}))


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, part: float) -> float:
    """One step of the optimiser at this part of each group's peak rate; gives the loss."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * part
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(p for group in optimizer.param_groups for p in group["params"])
    optimizer.step()
    return loss.item()


def _checked(inputs: Tensor, wanted: int) -> Tensor:
    """The inputs, once there is one for each image that was asked for."""
    if not isinstance(inputs, Tensor) or len(inputs) != wanted:
        got = f"{len(inputs)} images" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise BadInput(f"`read` gave {got} where {wanted} were asked for: return one input for each of index[share].")
    return inputs


def _shared(index: Tensor) -> tuple[Tensor, slice]:
    """The batch [B] of process 0, and which of its images this process describes; BadInput when there are too few."""
    if len(index) < world_size():
        raise BadInput(
            f"A batch of {len(index)} images cannot be shared by {world_size()} processes: give more, or start fewer."
        )
    if world_size() > 1:  # ties between neighbours may fall otherwise on another processor; the batches must not
        index = all_reduce(index * (rank() == 0))
    share = own_share(len(index))
    return index, slice(share.start, share.stop)


def products(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager[Any]:
    """A context for matrix products of a reduced type.

    Args:
        device: where the products are computed.
        autocast: their type; None changes nothing.

    Returns:
        The context manager.
    """
    return torch.autocast(device.type, autocast, enabled=autocast is not None)


def device_of(student: nn.Module, asked: str | torch.device | None = None) -> torch.device:
    """Where a network is to be trained.

    Args:
        student: the network.
        asked: the device that was asked for, if any.

    Returns:
        That device, else the one of the network's first parameter; the processor for one without parameters.
    """
    if asked is not None:
        return torch.device(asked)
    return next((parameter.device for parameter in student.parameters()), torch.device("cpu"))


def average_weights(net: nn.Module, start: Mapping[str, Tensor], start_weight: float) -> None:
    """Replace every weight by (1 - start_weight) * itself + start_weight * that of `start`, in place.

    Args:
        net: the trained network.
        start: a state dict with the same names; entries that are no floating-point numbers stay as they are.
        start_weight: the part of `start`, from 0 to 1.

    Source:
        Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name].to(value), start_weight)


def schedule(step: int, steps: int) -> float:
    """The learning rate of a step as a part of its peak: linear over the first 4 % of the steps, then half a cosine.

    Args:
        step: number of the step, from 0.
        steps: how many there are.

    Returns:
        A number from 0 to 1.
    """
    warm_up = max(1, steps // 25)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def parameter_groups(student: nn.Module, extra: nn.Module, lr: float) -> list[dict[str, Any]]:
    """AdamW's groups: the network, GeM's p (faster, no decay), and what is trained together with it (faster).

    Args:
        student: the network; frozen parameters are left out.
        extra: the other module.
        lr: the network's peak learning rate.

    Returns:
        Groups with `params`, `peak` (their peak rate) and `weight_decay`; none is empty.
    """
    exponents = [module.p for module in student.modules() if isinstance(module, GeM)]
    network = [p for p in student.parameters() if p.requires_grad and all(p is not other for other in exponents)]
    groups = [
        {"params": network, "peak": lr, "weight_decay": WEIGHT_DECAY},
        {"params": exponents, "peak": lr * FAST, "weight_decay": 0.0},
        {"params": list(extra.parameters()), "peak": lr * FAST, "weight_decay": WEIGHT_DECAY},
    ]
    return [group for group in groups if group["params"]]
