"""Several processes that train, extract or score as one: torchrun starts them, torch.distributed lets them talk.

In a process that is alone every function here gives back what it was given, so callers need no second path. Plain
torch.distributed is enough: a loss of relations needs the rows of all processes, which no wrapper of the network gathers, and
what Lightning Fabric or Accelerate would take over beside that is `processes` and `average_gradients`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rdistill_helpers.errors import BadInput, RDistillError

Made = TypeVar("Made")

# One process may ask a slow teacher while the others wait. Nobody waits for a dead one: torchrun ends them all.
PATIENCE = timedelta(days=1)


@contextmanager
def processes() -> Iterator[None]:
    """Inside, the processes that torchrun started work as one; without torchrun, or with one process, nothing changes."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or world() > 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(own_device())
    # Counts and pixels travel between processors, rows and gradients between accelerators.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def world() -> int:
    """How many processes work together: 1 for a process that is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; process 0 writes the files."""
    return dist.get_rank() if world() > 1 else 0


def own_device() -> torch.device:
    """The accelerator that torchrun gives to this process of its machine, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def own_share(count: int, unit: int = 1) -> range:
    """The numbers below `count` that are this process's: one range for each, in order, equal but for one unit.

    unit: ranges begin at multiples of it. With fewer units than processes some get an empty range.
    """
    units = -(-count // unit)
    start, stop = (units * turn // world() * unit for turn in (rank(), rank() + 1))
    return range(min(start, count), min(stop, count))


def added(values: Tensor) -> Tensor:
    """The sum of the tensors of all processes, which have one shape; `values` itself becomes it."""
    if world() > 1:
        with _together():
            dist.all_reduce(values)
    return values


def gather_rows(own: Tensor, count: int) -> Tensor:
    """All `count` rows [count, ...] in every process, of which each gives those of its `own_share`; a gradient flows back.

    It gathers by adding: each process puts its rows among zeros, and the sum of zeros and one row is the row. The gradient of
    an own row is the sum over the losses of all processes, so that after `average_gradients` it is that of their mean: if all
    compute the same loss of all rows, exactly that of one process with the whole batch, for the network in front of
    `gather_rows` and for layers behind it alike.
    """
    return own if world() == 1 else _Gather.apply(own, own_share(count), count)


class _Gather(torch.autograd.Function):
    """`gather_rows` among several processes."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: range, count: int) -> Tensor:
        if len(own) != len(share):
            raise BadInput(f"Process {rank()} has {len(own)} rows of {count}: each gives those of its own_share.")
        ctx.own = slice(share.start, share.stop)
        rows = own.new_zeros((count, *own.shape[1:]))
        rows[ctx.own] = own
        return added(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return added(gradients[0].clone(memory_format=torch.contiguous_format))[ctx.own], None, None


def stacked(values: Tensor) -> Tensor:
    """The tensors of all processes, which have one shape, in their order: [...] -> [processes, ...]."""
    return gather_rows(values[None], world())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes its mean over the processes; all parameters must have one type."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world() == 1 or not gradients:
        return
    mean = added(torch.cat([gradient.flatten() for gradient in gradients])) / world()
    for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def from_first(make: Callable[[], Made]) -> Made:
    """What process 0 makes, in every process; an error of this package is raised in every process too.

    It travels by pickle; tensors must be on the CPU.
    """
    if world() == 1:
        return make()
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [make()]
        except RDistillError as error:
            outcome = [error]
    with _together():
        dist.broadcast_object_list(outcome)
    if isinstance(outcome[0], RDistillError):
        raise outcome[0]
    return outcome[0]


def start_alike(module: nn.Module) -> None:
    """Parameters and buffers become those of process 0."""
    if world() > 1:
        module.load_state_dict(from_first(lambda: {name: value.cpu() for name, value in module.state_dict().items()}))


@contextmanager
def _together() -> Iterator[None]:
    """What all processes do at once; if one has ended, one sentence instead of the transport's own words."""
    try:
        yield
    except RuntimeError as error:
        raise RDistillError(
            f"Process {rank()} of {world()} lost the others ({str(error).splitlines()[0][:200]}): see the message of the one "
            "that ended first, then give the same command again."
        ) from error
