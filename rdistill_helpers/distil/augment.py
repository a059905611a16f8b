"""Augmentation: what a training shows in place of a photograph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augmented(
    images: Tensor, generator: torch.Generator | None = None, count: int | None = None, which: slice = slice(None)
) -> Tensor:
    """Each image mirrored or not, cropped to 80-100 % of its sides, with new brightness and contrast (+-20 %).

    Mirror, crop and resize are one bilinear sampling of the whole batch.

    Args:
        images: uint8 [B, 3, H, W].
        generator: where the draws come from; None draws from the global state of torch.
        count: images in the batch that these are a part of; None for all of them.
        which: the part of that batch. An image changes as it would in the whole batch.

    Returns:
        Float [B, 3, H, W] in [0, 1], channels_last.
    """
    height, width = images.shape[2:]
    count = len(images) if count is None else count

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(count, *shape, generator=generator))[which].to(images.device)

    mirrored = (torch.rand(count, 1, generator=generator) < 0.5)[which].to(images.device)
    zoom = uniform(0.8, 1.0, 1)
    # The corners of an axis-aligned crop need no general affine grid: positions along x and along y are enough.
    x = (mirrored * -2.0 + 1.0) * zoom * _pixel_centres(width, images) + uniform(-1, 1, 1) * (1 - zoom)
    y = zoom * _pixel_centres(height, images) + uniform(-1, 1, 1) * (1 - zoom)
    # A processor takes three times as long to sample from right to left: mirrored pixels are turned round afterwards.
    x = torch.where(mirrored, x.flip(1), x)
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3)
    pixels = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    pixels = torch.where(mirrored[:, :, None, None], pixels.flip(3), pixels)
    brightness, contrast = uniform(0.8, 1.2, 1, 1, 1) / 255, uniform(0.8, 1.2, 1, 1, 1)
    grey = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels.mul_(brightness * contrast).add_(grey * brightness * (1 - contrast)).clamp_(0, 1)
    return pixels.contiguous(memory_format=torch.channels_last)


def as_float(images: Tensor) -> Tensor:
    """Images as they are, in the form that networks take.

    Args:
        images: uint8 [B, 3, H, W].

    Returns:
        Float [B, 3, H, W] in [0, 1], channels_last.
    """
    return images.contiguous(memory_format=torch.channels_last).float() / 255


def _pixel_centres(size: int, like: Tensor) -> Tensor:
    """Positions of `size` pixels in [-1, 1], as grid_sample counts them."""
    return (torch.arange(size, device=like.device) * 2 + 1) / size - 1
