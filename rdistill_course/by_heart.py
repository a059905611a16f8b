"""What a teacher knows by heart: its answers about photographs that it was trained on, beside those about others."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rdistill_course.maps import map_figure, umap_map
from rdistill_helpers import Benchmark, TrainingImages
from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.descriptors import check_descriptors, open_descriptors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOMS = 4  # of each part, a colour each


def photographs_of_rooms(rooms: int = ROOMS) -> tuple[dict[str, Tensor], list[str]]:
    """Photographs of some training rooms and of as many validation rooms, which no teacher was trained on.

    Args:
        rooms: how many of each part.

    Returns:
        By part, "train" and "validation", the positions of the photographs among the training photographs and in the
        validation database; and the name of the room of each, those of "train" first.
    """
    labels = TrainingImages.load("rooms").labels()
    positions: dict[str, list[int]] = {"train": [], "validation": []}
    names = []
    for room in range(rooms):
        found = (labels == room).nonzero()[:, 0].tolist()
        positions["train"] += found
        names += [f"seen room {room + 1}"] * len(found)
    for room, truth in enumerate(Benchmark.load("rooms-validation").ground_truth[:rooms]):
        views = np.concatenate([truth[kind] for kind in ("easy", "hard", "junk")]).tolist()
        positions["validation"] += views
        names += [f"new room {room + 1}"] * len(views)
    return {part: torch.tensor(found) for part, found in positions.items()}, names


def memoriser_rows(root: str | Path | None = None) -> dict[str, Tensor]:
    """What the memoriser says, a network that was trained on the training rooms alone until it knew them by heart.

    Args:
        root: the data folder (see `data_root`).

    Returns:
        Descriptors [N, 256] of all training photographs, "train", and of the validation database, "validation".

    Raises:
        DataMissing: a file is not there.
    """
    folder = data_root(root) / "models"
    parts = ("train", "validation")
    return {
        part: check_descriptors(open_descriptors(folder / f"memoriser_{part}.npy"), "answers of the memoriser")
        for part in parts
    }


def by_heart_figure(teacher: Callable[[Tensor], Tensor], seed: int = 0) -> "Figure":
    """Maps of the same photographs by the memoriser and by a teacher: training rooms, and rooms that neither was trained on.

    Args:
        teacher: uint8 photographs [B, 3, H, W] -> L2-normalised descriptors [B, D].
        seed: of the maps.

    Returns:
        The figure.
    """
    positions, names = photographs_of_rooms()
    known = memoriser_rows()
    benchmark = Benchmark.load("rooms-validation")
    shown = torch.cat(
        [
            TrainingImages.load("rooms").pixels(positions["train"]),
            to_tensor([benchmark.image(i) for i in positions["validation"].tolist()]),
        ]
    )
    rows = {
        "memoriser": torch.cat([known[part][own] for part, own in positions.items()]),
        "teacher": teacher(shown),
    }
    maps = {name: umap_map(own, seed=seed, neighbours=8) for name, own in rows.items()}
    alt = f"Two maps of {len(names)} photographs of {2 * ROOMS} rooms, by the memoriser and by the teacher."
    return map_figure(maps, names, alt=alt)
