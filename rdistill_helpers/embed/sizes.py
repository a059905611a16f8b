"""Images of a size that a network takes: enlarged or reduced, and padded where they are too small."""

from bisect import bisect_left
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ENOUGH = 128  # pixels: every backbone takes an image of this size
_LEAST_SIDE: dict[str, int] = {}


def resized(images: Tensor, factor: float) -> Tensor:
    """Images enlarged or reduced (bilinear), never to less than one pixel.

    Args:
        images: float [B, 3, H, W].
        factor: of height and width.

    Returns:
        The images, float [B, 3, factor * H, factor * W] with fractions of a pixel cut off.
    """
    if factor == 1:
        return images
    if min(images.shape[-2:]) * factor < 1:
        return F.interpolate(images, [max(1, int(side * factor)) for side in images.shape[-2:]], mode="bilinear")
    return F.interpolate(images, scale_factor=factor, mode="bilinear", align_corners=False)


def least_side(backbone: str, features: nn.Module) -> int:
    """The least height and width of an image of which a backbone makes a map.

    Args:
        backbone: its name, by which the answer is kept.
        features: its convolutions.

    Returns:
        Pixels, from 1 to ENOUGH.
    """

    def works(side: int) -> bool:
        try:  # two images: BatchNorm in training mode takes no single value
            return run_on_shapes(features, (2, 3, side, side)).numel() > 0
        except RuntimeError:
            return False

    if backbone not in _LEAST_SIDE:
        _LEAST_SIDE[backbone] = 1 + bisect_left(range(1, ENOUGH), True, key=works)
    return _LEAST_SIDE[backbone]


def padded(images: Tensor, backbone: str, features: nn.Module) -> Tensor:
    """Images padded with the pixels of their edges to the least size that a backbone takes.

    Args:
        images: float [B, 3, H, W].
        backbone: as in `least_side`.
        features: as in `least_side`.

    Returns:
        The images, where they are large enough the same.
    """
    if min(images.shape[-2:]) >= ENOUGH:
        return images
    lacking = [max(0, least_side(backbone, features) - side) for side in (images.shape[3], images.shape[2])]
    return F.pad(images, [part for more in lacking for part in (more // 2, more - more // 2)], "replicate")


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
