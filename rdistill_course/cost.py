"""What a network costs: its parameters and its multiply-adds, counted without computing anything."""

from torch import nn

from rdistill_helpers.embed.backbones import run_on_shapes


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

    run_on_shapes(net, (1, 3, *size))  # on its first small image a network also finds the least size that it takes
    with FlopCounterMode(display=False) as counter:
        run_on_shapes(net, (1, 3, *size))
    return int(counter.get_total_flops()) // 2
