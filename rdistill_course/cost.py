"""What a network costs: parameters and multiply-adds, counted without computing anything, and milliseconds, measured."""

import platform
import time
from pathlib import Path

from torch import Tensor, nn

from rdistill_helpers.embed.backbones import run_on_shapes
from rdistill_helpers.embed.extract import extract

FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "asimd",
    "sve",
)  # of processors, that decide on a product's speed


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


def milliseconds(net: nn.Module, images: Tensor, repeats: int = 3) -> float:
    """How long this machine takes to describe a photograph.

    Args:
        net: a network.
        images: uint8 [N, 3, H, W], a batch.
        repeats: runs, of which the fastest counts: the others were held up by something else.

    Returns:
        Milliseconds for each photograph.
    """
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        extract(net, images, progress=False)
        times.append(1000 * (time.perf_counter() - start) / len(images))
    return min(times)


def processor() -> str:
    """The processor at hand, with the features that decide on the speed of its products.

    Returns:
        Its name and features, such as "AMD EPYC (avx2, avx512_vnni)".
    """
    info = Path("/proc/cpuinfo")
    lines = [line.split(":", 1) for line in info.read_text().splitlines() if ":" in line] if info.is_file() else []
    told = {name.strip(): value.strip() for name, value in lines}
    name = told.get("model name") or platform.processor() or platform.machine()
    has = set((told.get("flags") or told.get("Features") or "").split())
    features = ", ".join(feature for feature in FEATURES if feature in has) or "no features known"
    return f"{name} ({features})"
