"""The photographs that the commands work on, and what a student is worth on photographs that were kept out of its training."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rdistill_helpers.data.benchmark import EMBEDDED, REVISITED, Benchmark
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.data.sfm import SfMImages
from rdistill_helpers.embed.extract import Photo, extract
from rdistill_helpers.errors import BadInput
from rdistill_helpers.parallel import gather, own_share, rank, world_size
from rdistill_helpers.score.report import evaluate
from rdistill_helpers.score.uncertainty import Interval, bootstrap


def score_by_places(net: nn.Module, held_out: Benchmark, imsize: int) -> Interval:
    """The medium mAP of a network, and its interval over places: photographs of one place are no independent queries.

    Args:
        net: as in `extract`.
        held_out: the benchmark; the folder in a query's name is its place, or else each query is one.
        imsize: longer side in pixels to which photographs are reduced.

    Returns:
        The mean over places of the mean average precision of their queries, and its 95 % interval.
    """
    queries = extract(net, held_out.queries(imsize), progress=False)
    database = extract(net, held_out.lazy_images(imsize), progress=False)
    places: dict[str, list[float]] = {}
    for name, ap in zip(held_out.query_names, evaluate(queries, database, held_out).medium.ap, strict=True):
        places.setdefault(name.rpartition("/")[0] or name, []).append(float(ap))
    return bootstrap(torch.tensor([[sum(aps) / len(aps) for aps in places.values()]]))


def _training_set(given: argparse.Namespace) -> tuple[Callable[..., Tensor], list[int], list[str]]:
    """What gives the pixels of photographs, the photographs that are chosen, and their names."""
    size: dict[str, Any] = {} if given.size is None else {"size": (given.size[0], given.size[1])}
    if given.images in EMBEDDED:
        rooms = TrainingImages.load(given.images, given.root)
        chosen = range(len(rooms)) if given.draw is None else rooms.draw(given.draw, given.seed).tolist()
        return rooms.pixels, list(chosen), [rooms.names[i] for i in chosen]
    if given.images == "sfm120k":
        sfm = SfMImages.load("train", given.root)
        chosen = range(len(sfm)) if given.draw is None else sfm.draw(given.draw, given.seed).tolist()
        return partial(sfm.pixels, **size), list(chosen), [sfm.names[i] for i in chosen]
    own = TrainingImages.from_folder(given.images, **size)
    count = len(own) if given.draw is None else given.draw
    if not 1 <= count <= len(own):
        raise BadInput(f"{count} photographs cannot be drawn from {len(own)}: give a number from 1 to {len(own)}.")
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(given.seed))
    chosen = order[:count].sort().values.tolist()
    return own.pixels, chosen, [own.names[i] for i in chosen]


def training_images(given: argparse.Namespace) -> tuple[Tensor, list[str]]:
    """The training images of `train`: each process decodes its share, and all get all.

    Args:
        given: the arguments of the command.

    Returns:
        uint8 [N, 3, H, W], and N names.

    Raises:
        BadInput: an image cannot be read, or there are too few.
        DataMissing: the images are not there.
    """
    pixels, chosen, names = _training_set(given)
    if len(chosen) < world_size():
        raise BadInput(f"{len(chosen)} images cannot be shared by {world_size()} processes: start fewer or give more.")
    own = [chosen[i] for i in own_share(len(chosen))]
    return gather(pixels(own, progress=rank() == 0 and not given.quiet), len(chosen)), names


def images_to_describe(given: argparse.Namespace) -> tuple[Tensor | Sequence[Photo], list[str]]:
    """What `extract` describes.

    Args:
        given: the arguments of the command.

    Returns:
        The images, and their names.

    Raises:
        BadInput: an image cannot be read, or there is no such part.
        DataMissing: the images are not there.
    """
    if given.part == "training":
        return training_images(given)
    if given.images == "sfm120k":
        raise BadInput("sfm120k has training images only: give --part training, or the folder of its photographs.")
    if given.images in (*EMBEDDED, *REVISITED):
        benchmark = Benchmark.load(given.images, given.root)
    elif given.part is None:
        own = TrainingImages.from_folder(given.images)
        benchmark = Benchmark(own.name, [], own.names, [], own.read, reduces=True)
    else:
        benchmark = Benchmark.from_folder(given.images)
    if given.part == "queries":
        return benchmark.queries(given.imsize), benchmark.query_names
    return benchmark.lazy_images(given.imsize), benchmark.image_names
