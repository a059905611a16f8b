"""What a training reads: photographs, shown anew in each step, or kept maps of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rdistill_helpers.distil.augment import as_float, augmented
from rdistill_helpers.distil.fingerprint import of_tensor
from rdistill_helpers.distil.settings import Training
from rdistill_helpers.errors import BadInput
from rdistill_helpers.memory import moved


@dataclass(frozen=True)
class Photographs:
    """Photographs that each step shows in another random view.

    Attributes:
        images: uint8 [N, 3, H, W].
        augment: show them flipped, cropped and exposed at random; False shows them as they are.
        parts: parts of the student that have been computed already: none.
        device: where the views are made; None for where the images are.

    Raises:
        BadInput: for images of another type or shape.
    """

    images: Tensor
    augment: bool = True
    parts: int = 0
    device: torch.device | None = None

    def __post_init__(self) -> None:
        images = self.images
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            got = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
            raise BadInput(
                f"Training takes the images as uint8 [N, 3, H, W], but got {got}: "
                "give TrainingImages.pixels() or to_tensor(images)."
            )

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: Tensor, share: slice, generator: torch.Generator) -> Tensor:
        """Show a share of a batch.

        Args:
            index: int64 [B], the photographs of the whole batch.
            share: which of them this process shows.
            generator: where the draws come from; they are made for the whole batch.

        Returns:
            Float [b, 3, H, W] in [0, 1].
        """
        pixels = self.images[index[share]]
        pixels = pixels if self.device is None else moved(pixels, self.device)
        return augmented(pixels, generator, len(index), share) if self.augment else as_float(pixels)

    def fingerprint(self) -> str:
        """Tell whether two trainings show the same photographs."""
        return f"{len(self)} images {of_tensor(self.images)}, {'augmented' if self.augment else 'as they are'}"


@dataclass(frozen=True)
class KeptMaps:
    """Maps that the first, frozen parts of a student gave for a few views of each photograph; a step shows one of the views.

    Training from them skips the frozen parts, the larger share of a step.

    Attributes:
        maps: float [N, V, C, h, w], `student.maps(view, parts)` of V views of each photograph.
        parts: how many of the student's parts they have passed.

    Raises:
        BadInput: for maps of another shape.
    """

    maps: Tensor
    parts: int

    def __post_init__(self) -> None:
        if self.maps.ndim != 5 or not self.maps.is_floating_point() or self.parts < 1:
            raise BadInput(
                f"Kept maps are float [N, V, C, h, w] of at least one part, but got {self.maps.dtype} "
                f"{list(self.maps.shape)} of {self.parts}: stack RetrievalNet.maps of a few views of each photograph."
            )

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, index: Tensor, share: slice, generator: torch.Generator) -> Tensor:
        """Draw a view of each photograph of a batch.

        Args:
            index: int64 [B], the photographs of the whole batch.
            share: which of them this process shows.
            generator: where the draws come from; they are made for the whole batch.

        Returns:
            Float [b, C, h, w], channels_last.
        """
        view = torch.randint(self.maps.shape[1], (len(index),), generator=generator)
        return self.maps[index[share], view[share]].float().contiguous(memory_format=torch.channels_last)

    def fingerprint(self) -> str:
        """Tell whether two trainings show the same maps."""
        return f"maps of {len(self)} images {of_tensor(self.maps)}, {self.parts} parts"


def as_views(
    images: Tensor | Photographs | KeptMaps, count: int, what: str, training: Training, device: torch.device
) -> Photographs | KeptMaps:
    """Views of what a training was given, one for each of its targets.

    Args:
        images: uint8 [N, 3, H, W], or views already.
        count: how many targets there are.
        what: what the targets are called in an error, such as "labels".
        training: whether photographs are shown in random views.
        device: where photographs of a tensor are shown.

    Returns:
        The views.

    Raises:
        BadInput: for images of another type or number.
    """
    if not isinstance(images, Photographs | KeptMaps):
        images = Photographs(images, training.augment, device=device)
    if len(images) != count:
        raise BadInput(f"There are {len(images)} images and {count} {what}: give one for each image, in their order.")
    return images
