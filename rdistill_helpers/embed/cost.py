"""What a network costs: its parameters and its multiply-adds, counted without computing anything."""

from typing import cast

import torch
from torch import Tensor, nn


def parameters_count(net: nn.Module) -> int:
    """The number of parameters.

    Args:
        net: any module.

    Returns:
        The number of single weights, trained and frozen ones.
    """
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, size: tuple[int, int] = (120, 160)) -> int:
    """Multiply-adds (MACs) of one image in the convolutions and linear layers, counted from shapes alone.

    Args:
        net: maps float images [B, 3, H, W] to anything.
        size: height and width of the image in pixels.

    Returns:
        The number of multiply-adds.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run_on_shapes(net, (1, 3, *size))
    return int(counter.get_total_flops()) // 2


def run_on_shapes(net: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """The output of a network on the meta device: a shape without values; nothing of the network changes.

    Args:
        net: the network.
        shape: of the float input.

    Returns:
        The output, on the meta device.
    """
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    on_meta = {name: value.detach().to("meta") for name, value in tensors.items()}
    return cast(Tensor, torch.func.functional_call(net, on_meta, torch.zeros(shape, device="meta")))
