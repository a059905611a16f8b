"""Descriptors of many photographs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.data.read_ahead import read_ahead
from rdistill_helpers.embed.backbones import unwrapped
from rdistill_helpers.embed.folding import folded
from rdistill_helpers.embed.pooling import GeM, power_mean
from rdistill_helpers.embed.sizes import resized
from rdistill_helpers.errors import BadInput
from rdistill_helpers.memory import keep_freed_memory, moved

Photo = Image.Image | Path | str

WORTH_FOLDING = 16  # images; folding a network takes the time of two or three
CPU_CHUNK = 8  # images at once in a processor's caches: more of them are slower


def extract(
    net: nn.Module,
    images: Tensor | Sequence[Photo],
    scales: Sequence[float] = (1,),
    batch_size: int = 32,
    progress: bool = True,
    device: str | torch.device | None = None,
) -> Tensor:
    """L2-normalised descriptors of images.

    Args:
        net: maps float images [B, 3, H, W] in [0, 1] to [B, D], as RetrievalNet does. It runs in eval mode; every module
            gets its own mode back afterwards.
        images: uint8 [N, 3, H, W], or a sequence of N PIL images and paths. Images of a sequence keep their own size,
            those of equal size share batches.
        scales: factors of the image size; with several, the descriptors are averaged as `multi_scale` says.
        batch_size: how many images go through the network at once, at most; a processor takes fewer where that is faster.
        progress: whether to show a progress bar.
        device: where to run; the network moves there. None: where the network is.

    Returns:
        Descriptors [N, D], float32, on the CPU, in the order of the images.

    Raises:
        BadInput: no images, images or files that cannot be read as such, unusable settings, or a network that gives
            anything but one finite descriptor for each image.
        DataMissing: a path leads to no file.
    """
    check_settings(images, scales, batch_size)
    bar = tqdm(total=len(images), desc="descriptors", unit="image", disable=not progress)
    with bar, ready(net, device, len(images)) as describing:
        return described(describing, images, range(len(images)), scales, batch_size, bar)


@contextmanager
def ready(net: nn.Module, device: str | torch.device | None, count: int) -> Iterator[nn.Module]:
    """The network on its device and in eval mode; every module gets its own mode back afterwards.

    Args:
        net: the network.
        device: where it moves; None leaves it where it is.
        count: how many images it is to describe.

    Yields:
        The network that describes: a folded copy where that pays.
    """
    keep_freed_memory()
    if device is not None:
        net.to(device)
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield folded(net) if count >= WORTH_FOLDING else net
    finally:
        for module, training in modes:
            module.training = training


def described(
    net: nn.Module,
    images: Tensor | Sequence[Photo],
    which: range,
    scales: Sequence[float],
    batch_size: int,
    bar: tqdm | None = None,
) -> Tensor:
    """The descriptors of some of the images, by a network that is `ready`.

    Args:
        net: as in `extract`.
        images: as in `extract`.
        which: numbers of the n images to describe, ascending, without gaps, at least one.
        scales: as in `extract`.
        batch_size: as in `extract`.
        bar: advanced by one for each image.

    Returns:
        L2-normalised descriptors [n, D], float32, on the CPU.

    Raises:
        BadInput: an image that cannot be read, or a network that gives anything but one finite descriptor for each.
        DataMissing: a path leads to no file.
    """
    descriptors = torch.empty(0)
    if next(net.parameters(), descriptors).device.type == "cpu":
        batch_size = min(batch_size, CPU_CHUNK)
    for indices, batch in _one_late(_outputs(net, images, which, scales, batch_size)):
        batch = batch.cpu()
        _check_finite(batch, indices, images)
        if not len(descriptors):
            descriptors = torch.empty(len(which), batch.shape[1])
        # By NumPy: PyTorch would do it in threads, and wait for those of onnxruntime.
        descriptors.numpy()[indices.numpy() - which.start] = batch.numpy()
        if bar is not None:
            bar.update(len(indices))
    return descriptors


def _outputs(
    net: nn.Module, images: Tensor | Sequence[Photo], which: range, scales: Sequence[float], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (indices [B], descriptors [B, D] on the network's device), batch by batch."""
    for indices, pixels in _batches(images, which, batch_size):
        # Only the forward pass runs in inference mode: tensors made in it could never meet a gradient later.
        with torch.inference_mode():
            batch = F.normalize(multi_scale(net, _as_input(net, pixels, scales), scales).float())
        yield indices, batch


def _one_late(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches in their order, each when the next one is on its way, so that a GPU need not wait for it to be read."""
    last = next(batches)
    for batch in batches:
        yield last
        last = batch
    yield last


def multi_scale(net: nn.Module, images: Tensor, scales: Sequence[float]) -> Tensor:
    """The power mean of a network's descriptors over image scales, (mean over scales of v**q)**(1/q).

    q is the learned p of GeM if the descriptors are GeM's own. It is 1 for other poolings, and if a whitening follows, for
    whitened values may be negative.

    Args:
        net: maps images to descriptors [B, D]; its `pool` and `whiten` decide on q.
        images: float images [B, 3, H, W] in [0, 1].
        scales: factors of the image size, at least one.

    Returns:
        Descriptors [B, D], not yet L2-normalised; for the scale 1 alone what the network gives.

    Raises:
        BadInput: the network gives anything but [B, D].

    Source: cnnimageretrieval-pytorch, extract_ms.
    """
    if tuple(scales) == (1,):
        return _of_batch(net, images)
    pool = getattr(unwrapped(net), "pool", None)
    found = torch.stack([_of_batch(net, resized(images, scale)) for scale in scales])
    if isinstance(pool, GeM) and getattr(unwrapped(net), "whiten", None) is None:
        return power_mean(found, pool.p, 0, eps=1e-30)
    return found.mean(0)


def recommended_scales(net: nn.Module) -> tuple[float, ...]:
    """The image scales that published figures of such a network were measured with, for `extract`.

    Args:
        net: the network; whether it ends with a whitening (`net.whiten`) decides.

    Returns:
        (1, sqrt(2), 1/sqrt(2)) for a network with its own whitening, (1, 1/sqrt(2), 1/2) for any other, whose finished
        descriptors get a learned whitening; for photographs of 1024 pixels.

    Source: cnnimageretrieval-pytorch, the figures in its README.
    """
    return (1, 2**0.5, 2**-0.5) if getattr(unwrapped(net), "whiten", None) is not None else (1, 2**-0.5, 0.5)


def check_photos(images: Tensor | Sequence[Photo], takes: str, use: str) -> None:
    """Check that there is at least one photograph: uint8 [N, 3, H, W], or a sequence.

    Args:
        images: what a caller was given.
        takes: how the sentences name the caller, as in "extract takes".
        use: what the caller does with images, as in "extract".

    Raises:
        BadInput: no images, a single one, no sequence, or a tensor of another shape or type.
    """
    if isinstance(images, str | Path | Image.Image):
        raise BadInput(f"{takes} many images, but got a single one: put it into a list.")
    listed = hasattr(images, "__len__") and hasattr(images, "__getitem__") and not hasattr(images, "keys")
    if not listed or (hasattr(images, "dtype") and not isinstance(images, Tensor)):
        got = type(images).__name__  # a generator or a set has no order to come back to; an array or a dict has another
        raise BadInput(f"{takes} a tensor or a list of images, but got a {got}: give list(images), or to_tensor of it.")
    if isinstance(images, Tensor) and (images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3):
        got = f"{images.dtype} {list(images.shape)}"
        raise BadInput(f"{takes} uint8 images [N, 3, H, W], but got {got}: give pixels from 0 to 255, as of to_tensor.")
    if len(images) == 0:
        raise BadInput(f"There are no images to {use}: give at least one.")


def check_settings(images: Tensor | Sequence[Photo], scales: Sequence[float], batch_size: int) -> None:
    """Check what `extract` is asked for.

    Args:
        images: as in `extract`.
        scales: as in `extract`.
        batch_size: as in `extract`.

    Raises:
        BadInput: no images, a single one, a tensor that holds none, or scales or a batch size that are not positive.
    """
    check_photos(images, "extract takes", "extract")
    if len(scales) == 0 or not all(scale > 0 for scale in scales):
        raise BadInput(f"The scales {list(scales)} are not usable: give one or more positive factors.")
    if batch_size < 1:
        raise BadInput(f"The batch size {batch_size} is not usable: give a positive number.")


def _of_batch(net: nn.Module, images: Tensor) -> Tensor:
    """The network's descriptors of a batch, checked to be [B, D]."""
    descriptors = net(images)
    if not isinstance(descriptors, Tensor) or descriptors.ndim != 2 or len(descriptors) != len(images):
        got = list(descriptors.shape) if isinstance(descriptors, Tensor) else type(descriptors).__name__
        raise BadInput(f"The network gave {got} for {len(images)} images: it must return one descriptor each, [B, D].")
    return descriptors


def _as_input(net: nn.Module, pixels: Tensor, scales: Sequence[float]) -> Tensor:
    """uint8 [B, 3, H, W] -> floats in [0, 1] on the network's device, channels last: the layout convolutions run best in.

    A network with `takes_bytes` divides by itself, unless the images have to be scaled before.
    """
    if getattr(net, "takes_bytes", False) and tuple(scales) == (1,):
        return pixels
    parameter = next(net.parameters(), torch.zeros(()))
    # The bytes travel, a quarter of the floats. Dividing before the layout changes is twice as fast as after.
    return moved(pixels, parameter.device).to(parameter.dtype).div_(255).contiguous(memory_format=torch.channels_last)


def _batches(images: Tensor | Sequence[Photo], which: range, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (indices [B], uint8 pixels [B, 3, H, W]) that cover the images `which`, each batch of one size."""
    if isinstance(images, Tensor):
        for indices in torch.arange(which.start, which.stop).split(batch_size):
            yield indices, images[indices[0] : indices[-1] + 1]
        return
    waiting: dict[tuple[int, int], list[tuple[int, Image.Image]]] = {}
    for index, image in read_ahead(images, which, batch_size):
        waiting.setdefault(image.size, []).append((index, image))
        full = len(waiting[image.size]) == batch_size
        # Many sizes must not pile up in memory: the fullest batch goes early.
        if full or sum(map(len, waiting.values())) >= 3 * batch_size:
            yield _stack(waiting.pop(max(waiting, key=lambda size: len(waiting[size]))))
    for batch in waiting.values():
        yield _stack(batch)


def _stack(batch: list[tuple[int, Image.Image]]) -> tuple[Tensor, Tensor]:
    """Indices and pixels of images of one size."""
    indices, images = zip(*batch, strict=True)
    return torch.tensor(indices), to_tensor(images)


def _check_finite(descriptors: Tensor, indices: Tensor, images: Tensor | Sequence[Photo]) -> None:
    """Raise BadInput naming the first image whose descriptor is not finite."""
    wrong = ~descriptors.isfinite().all(dim=1)
    if wrong.any():
        index = int(indices[wrong.nonzero()[0, 0]])
        photo = images[index]
        name = f" ({photo})" if isinstance(photo, str | Path) else ""
        raise BadInput(f"The descriptor is not finite for image {index}{name}: check the weights for NaN.")
