"""The training set retrieval-SfM-120k: photographs in clusters, and pairs of them that show the same place.

Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers.data.images import letterboxed, read_image, to_tensor
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.pickles import is_list, is_whole_number, read_plain_pickle
from rdistill_helpers.errors import BadInput, DataMissing, shown

SFM_FILE = Path("train", "dbs", "retrieval-SfM-120k.pkl")


@dataclass(frozen=True)
class SfMImages:
    """The photographs of retrieval-SfM-120k in the file's order, and which of them are matching pairs.

    Attributes:
        name: of the set and its split.
        names: ids of the N photographs.
        clusters: int64 [N], the 3-D model that each belongs to: photographs of different clusters show different places; of
            one cluster, not necessarily the same part of it.
        queries: int64 [P], positions of the first photographs of the pairs that share enough 3-D points.
        positives: int64 [P], positions of the second ones.
        dropped: how many pairs of the file are left out, since their query is its own positive and they teach nothing.
        root: the data folder.
    """

    name: str
    names: list[str]
    clusters: Tensor
    queries: Tensor
    positives: Tensor
    dropped: int
    root: Path

    @classmethod
    def load(cls, split: str = "train", root: str | Path | None = None) -> "SfMImages":
        """One split of the downloaded list; photographs are looked for when they are read.

        Args:
            split: "train" or "val".
            root: the data folder (see `data_root`).

        Returns:
            The photographs, not yet decoded.

        Raises:
            DataMissing: the list is not there.
            BadInput: it has no such split, or breaks its layout.
        """
        folder = data_root(root)
        path = folder / SFM_FILE
        loaded = read_plain_pickle(path, f"The list of photographs {path}")
        part = loaded.get(split) if isinstance(loaded, dict) else None
        if not isinstance(part, dict):
            raise BadInput(f"{path} has no split {split!r}: choose train or val.")
        names = _column(part, "cids", path)
        # Names become paths, so nothing but letters and digits may be in them.
        wrong = next((n for n in names if not (isinstance(n, str) and 6 <= len(n) <= 64 and n.isalnum())), None)
        if wrong is not None:
            raise BadInput(f"{path}: {shown(wrong)} is not the id of a photograph: get the file again.")
        clusters = _positions(part, "cluster", path, None)
        queries, positives = (_positions(part, key, path, len(names)) for key in ("qidxs", "pidxs"))
        if len(clusters) != len(names) or len(queries) != len(positives):
            raise BadInput(f"{path}: its lists differ in length, {split} is damaged: get the file again.")
        same = queries == positives
        split_name = f"retrieval-SfM-120k {split}"
        return cls(split_name, names, clusters, queries[~same], positives[~same], int(same.sum()), folder)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"SfMImages({self.name!r}: {len(self)} photographs in {len(self.clusters.unique())} clusters, "
            f"{len(self.queries)} pairs, {self.dropped} dropped since query and positive were the same)"
        )

    def path(self, i: int) -> Path:
        """The file of a photograph.

        Args:
            i: its number.

        Returns:
            The path, whether or not the file is there.
        """
        return self.root / sfm_path(self.names[i])

    def image(self, i: int) -> Image.Image:
        """One photograph.

        Args:
            i: its number.

        Returns:
            The photograph, RGB, with the official pixels, as they are stored.

        Raises:
            DataMissing: it is not on this disk; the message says how to fetch it.
            BadInput: its file is damaged.
        """
        path = self.path(i)
        if not path.is_file():
            call = f"download('sfm120k', parts=[{self.names[i]!r}])"
            raise DataMissing(f"Photograph {self.names[i]} of {self.name} is not at {path}: fetch it with {call}.")
        return read_image(path, self.names[i], upright=False)

    def missing(self, indices: Sequence[int] | Tensor | None = None) -> list[str]:
        """The photographs that are not on this disk.

        Args:
            indices: numbers of the photographs to look for; None takes all.

        Returns:
            Their ids, which `download` takes as parts.
        """
        chosen = range(len(self)) if indices is None else [int(i) for i in indices]
        return [self.names[i] for i in chosen if not self.path(i).is_file()]

    def pixels(
        self, indices: Sequence[int] | Tensor, size: tuple[int, int] = (272, 362), progress: bool = False
    ) -> Tensor:
        """Photographs as one tensor: each whole and in its own shape, in the middle of a grey ground.

        One size for all, so that they can meet in a batch. For descriptors in their own shape give `extract` the paths.

        Args:
            indices: numbers of n photographs.
            size: height and width in pixels.
            progress: whether to show a progress bar.

        Returns:
            uint8 [n, 3, height, width], in the order of `indices`.

        Raises:
            DataMissing: a photograph is not on this disk.
            BadInput: its file is damaged, `indices` is empty, or a size is below 1.
        """
        chosen = tqdm(indices, "decoding", unit="image", disable=not progress)
        return to_tensor([letterboxed(self.image(int(i)), size) for i in chosen])

    def draw(self, images: int, seed: int = 0) -> Tensor:
        """Photographs of random clusters: the few-samples setting.

        Clusters are taken whole as long as they fit; the last one that does not is cut to fill the number.

        Args:
            images: how many photographs, n.
            seed: of the draw.

        Returns:
            Their positions, ascending, int64 [n].

        Raises:
            BadInput: n is not between 1 and the number of photographs.
        """
        if not 1 <= images <= len(self):
            raise BadInput(f"{images} photographs cannot be drawn from {len(self)}: give from 1 to {len(self)}.")
        generator = torch.Generator().manual_seed(seed)
        known, members = self.clusters.unique(return_inverse=True)
        order = torch.randperm(len(known), generator=generator)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(known)))
        # Photographs by the turn of their cluster; the sort is stable, so each cluster keeps its own order.
        return place[members].argsort(stable=True)[:images].sort().values

    def pairs_within(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The matching pairs whose photographs are both among some photographs.

        Args:
            indices: their numbers, int64 [n].

        Returns:
            Queries and positives, int64 [p] each, as positions in `indices`.
        """
        place = torch.full((len(self),), -1).index_put((indices,), torch.arange(len(indices)))
        queries, positives = place[self.queries], place[self.positives]
        both = (queries >= 0) & (positives >= 0)
        return queries[both], positives[both]


def sfm_path(cid: str) -> str:
    """Where a photograph lies in the data folder: three folders are named by the last six characters of its id.

    Args:
        cid: the id of the photograph.

    Returns:
        The path in the data folder, with forward slashes.
    """
    return f"train/ims/{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


def _column(part: dict[str, Any], key: str, path: Path) -> list[Any]:
    column: Any = part.get(key)
    if not is_list(column) or len(column) == 0:
        raise BadInput(f"{path}: {key} is not a list: get the file again.")
    return list(column)


def _positions(part: dict[str, Any], key: str, path: Path, count: int | None) -> Tensor:
    """A column of whole numbers; positions below `count` where that is given."""
    column = _column(part, key, path)
    if not all(map(is_whole_number, column)):
        raise BadInput(f"{path}: {key} is not a list of whole numbers: get the file again.")
    try:
        numbers = torch.tensor([int(v) for v in column])
    except (OverflowError, RuntimeError, ValueError):
        raise BadInput(f"{path}: {key} holds a number that is too large: get the file again.") from None
    if count is not None and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        raise BadInput(f"{path}: {key} names photographs beyond the {count} of its list: get the file again.")
    return numbers
