"""Several processes that train, extract or score as one: torchrun starts them, torch.distributed connects them.

With one process every function here returns its input unchanged, so callers need no second path. The package uses plain
torch.distributed: a ranking loss needs the descriptors of all processes, which no wrapper of the network gathers, and
`processes` and `average_gradients` are all that Lightning Fabric or Accelerate would replace.
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
    """Connects the processes that torchrun started, for the length of a `with` block.

    Without torchrun, with one process, or inside another such block it does nothing.

    Yields:
        Nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or world_size() > 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(own_device())
    # Counts and pixels travel between processors, descriptors and gradients between accelerators.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Returns the number of processes that work together, 1 outside `processes`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0; process 0 writes the files."""
    return dist.get_rank() if world_size() > 1 else 0


def own_device() -> torch.device:
    """Returns the accelerator that torchrun gives to this process, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def own_share(count: int, unit: int = 1) -> range:
    """Divides `count` items into one contiguous range per process, equal to within one unit.

    Args:
        count: Number of items.
        unit: Every range starts at a multiple of it. With fewer units than processes, some ranges are empty.

    Returns:
        The item numbers of this process.
    """
    units = -(-count // unit)
    start, stop = (units * turn // world_size() * unit for turn in (rank(), rank() + 1))
    return range(min(start, count), min(stop, count))


def all_reduce(values: Tensor) -> Tensor:
    """Sums `values` over all processes, in place.

    Args:
        values: A tensor that has the same shape in every process.

    Returns:
        `values`.

    Raises:
        RDistillError: Another process has ended.
    """
    if world_size() > 1:
        with _connected():
            dist.all_reduce(values)
    return values


def gather(own: Tensor, count: int) -> Tensor:
    """Gathers the items of all processes, with a gradient.

    The gradient of an own item is the sum over the losses of all processes. If all processes compute the same loss of all
    items, `average_gradients` then gives exactly the gradients of one process with the whole batch, for layers before and
    behind `gather` alike.

    Args:
        own: The items of this process [len(own_share(count)), ...]; for one item each, give `values[None]` and `world_size()`.
        count: Number of items of all processes.

    Returns:
        All items [count, ...], in every process.

    Raises:
        BadInput: `own` is not as long as `own_share(count)`.
        RDistillError: Another process has ended.
    """
    return own if world_size() == 1 else _Gather.apply(own, own_share(count), count)


class _Gather(torch.autograd.Function):
    """`gather` among several processes: each adds its items to the zeros of the others."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: range, count: int) -> Tensor:
        if len(own) != len(share):
            raise BadInput(f"Process {rank()} has {len(own)} of {count} items, own_share is {len(share)}: give those.")
        ctx.own = slice(share.start, share.stop)
        items = own.new_zeros((count, *own.shape[1:]))
        items[ctx.own] = own
        return all_reduce(items)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return all_reduce(gradients[0].clone(memory_format=torch.contiguous_format))[ctx.own], None, None


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over all processes.

    Args:
        parameters: Parameters of one dtype, the same in every process; those without a gradient are skipped.

    Raises:
        RDistillError: Another process has ended.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    mean = all_reduce(torch.cat([gradient.flatten() for gradient in gradients])) / world_size()
    for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def barrier() -> None:
    """Waits until every process has come here.

    Raises:
        RDistillError: Another process has ended.
    """
    all_reduce(torch.zeros(1))


def broadcast(make: Callable[[], Made]) -> Made:
    """Calls `make` in process 0 and gives its result to every process.

    Args:
        make: What process 0 calls. The result travels by pickle, with tensors on the CPU.

    Returns:
        The result, in every process.

    Raises:
        RDistillError: Raised by `make`, then in every process; or another process has ended.
    """
    if world_size() == 1:
        return make()
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [make()]
        except RDistillError as error:
            outcome = [error]
    with _connected():
        dist.broadcast_object_list(outcome)
    if isinstance(outcome[0], RDistillError):
        raise outcome[0]
    return outcome[0]


def broadcast_parameters(module: nn.Module) -> None:
    """Copies the parameters and buffers of process 0 to every process.

    Args:
        module: A module of the same structure in every process.

    Raises:
        RDistillError: Another process has ended.
    """
    if world_size() > 1:
        module.load_state_dict(broadcast(lambda: {name: value.cpu() for name, value in module.state_dict().items()}))


@contextmanager
def _connected() -> Iterator[None]:
    """Turns the transport's error about a process that has ended into one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise RDistillError(
            f"Process {rank()} of {world_size()} lost the others ({str(error).splitlines()[0][:200]}): see the message of the "
            "one that ended first, then give the same command again."
        ) from error
