"""An index of photographs for use: a folder of descriptors and names, made by a network or of a teacher's answers.

The folder holds `descriptors.npy` (see `open_descriptors`) and `index.json`: the photographs' names in the order of the
descriptors, the network that made them, and how photographs are read. It is finished when `index.json` is there.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdistill_helpers.data.images import Source, crop_box, query_size, read_image, resize_longest
from rdistill_helpers.data.paths import name_problem
from rdistill_helpers.descriptors import open_descriptors
from rdistill_helpers.distil.fingerprint import of_tensor
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.network import MAX_SCALE
from rdistill_helpers.errors import BadInput, DataMissing, shown
from rdistill_helpers.score.search import build_index, search
from rdistill_helpers.ship.digest import network_digest

FORMAT = "rdistill index 1"
INDEX, DESCRIPTORS = "index.json", "descriptors.npy"
BEGUN = "begun.json"  # of an unfinished index


@dataclass(frozen=True)
class Found:
    """A photograph that a search found.

    Attributes:
        name: of the photograph in the folder that was indexed.
        path: where it is.
        similarity: to the query, a dot product of L2-normalised descriptors.
    """

    name: str
    path: Path
    similarity: float


@dataclass(frozen=True)
class PhotoIndex:
    """An index that `index_photographs` or `index_answers` made.

    Attributes:
        folder: of the index.
        photographs: the folder of the photographs.
        names: of the N photographs in it.
        descriptors: [N, D], memory-mapped.
        network: `name` and `digest` of the network that made the descriptors, or of the teacher whose `answers` they are.
        imsize: longer side in pixels to which photographs are made smaller.
        scales: image scales, as in `extract`.
        skipped: why photographs were left out, by name.
    """

    folder: Path
    photographs: Path
    names: list[str]
    descriptors: np.ndarray
    network: dict[str, Any]
    imsize: int
    scales: tuple[float, ...]
    skipped: dict[str, str]

    @classmethod
    def open(cls, folder: str | Path) -> "PhotoIndex":
        """Opens an index.

        Args:
            folder: of the index.

        Returns:
            The index, its descriptors not yet read.

        Raises:
            DataMissing: there is no index, or none that is finished.
            BadInput: the index is damaged.
        """
        folder = Path(folder)
        if not (folder / INDEX).is_file():
            what = "an unfinished index" if (folder / BEGUN).is_file() else "no index"
            raise DataMissing(f"{folder} holds {what}: run `python -m rdistill_helpers index` with --out {folder}.")
        told = read_description(folder / INDEX)
        descriptors = open_descriptors(folder / DESCRIPTORS)
        if len(told["names"]) != len(descriptors) or told["descriptors"] != fingerprint(descriptors):
            raise BadInput(f"The descriptors in {folder} are not those of its {INDEX}: delete it and make it again.")
        return cls(
            folder, Path(told["photographs"]), told["names"], descriptors, told["network"], told["imsize"],
            tuple(told["scales"]), told["skipped"],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def faiss(self) -> Any:
        """The FAISS index by inner product over the descriptors, exact; built once, when it is first needed."""
        return build_index(self.descriptors)

    def describe(self, net: nn.Module, photo: Source, box: Sequence[float] | None = None) -> Tensor:
        """The descriptor of a query, read as the photographs of the index were.

        Args:
            net: the network that made the index.
            photo: the query, any photograph.
            box: x1, y1, x2, y2 in pixels of the upright photograph; the query is cut to it and keeps its scale.

        Returns:
            L2-normalised descriptor [1, D].

        Raises:
            DataMissing: there is no such photograph.
            BadInput: it cannot be read, the box lies outside, or another network made the index.
        """
        whole = read_image(photo, imsize=self.imsize if box is None else None)
        query = whole if box is None else crop_box(whole, box, shown(photo) if isinstance(photo, bytes) else str(photo))
        query = resize_longest(query, query_size(query.size, whole.size, self.imsize))
        if not self.network["answers"] and network_digest(net) != self.network["digest"]:
            raise BadInput(f"{self.folder} was made by another network, {self.network['name']}: search with that one.")
        return extract(net, [query], self.scales, progress=False)

    def search(self, net: nn.Module, photo: Source, box: Sequence[float] | None = None, count: int = 10) -> list[Found]:
        """Finds the photographs that are most similar to a query.

        Args:
            net: as in `describe`.
            photo: as in `describe`.
            box: as in `describe`.
            count: how many photographs to find; fewer come where the index has fewer.

        Returns:
            What was found, best first.

        Raises:
            DataMissing: as in `describe`.
            BadInput: as in `describe`; a count below 1, or damaged descriptors.
        """
        query = self.describe(net, photo, box)
        values, numbers = search(query, None, min(count, len(self)), self.faiss)
        found = zip(values[0].tolist(), numbers[0].tolist(), strict=True)
        return [Found(self.names[i], self.photographs / self.names[i], value) for value, i in found]


def fingerprint(descriptors: np.ndarray) -> str:
    """What tells whether descriptors are those that an index was finished with.

    Args:
        descriptors: [N, D], memory-mapped.

    Returns:
        16 hexadecimal digits.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # it is only read
        return of_tensor(torch.from_numpy(descriptors))


def read_description(path: Path, finished: bool = True) -> dict[str, Any]:
    """What a file says of an index; it may come from somebody else.

    Args:
        path: the file.
        finished: whether it is that of a finished index, or else of one that was begun.

    Returns:
        Its entries.

    Raises:
        BadInput: the file is damaged, or another one.
    """
    texts = {"format": str, "photographs": str, "network": dict, "imsize": int, "scales": list, "names": list}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in {**texts, **({"descriptors": str, "skipped": dict} if finished else {})}.items():
            if not isinstance(told.get(name), kind):
                raise ValueError(f"{name} is {shown(told.get(name))}")
        if told["format"] != FORMAT:
            raise ValueError(f"its format is {shown(told['format'])}, not {FORMAT!r}")
        if told["imsize"] < 1 or not told["scales"] or not all(0 < scale <= MAX_SCALE for scale in told["scales"]):
            raise ValueError("its sizes are none")
        if not isinstance(told["network"].get("name"), str) or not isinstance(told["network"].get("answers"), bool):
            raise ValueError(f"network is {shown(told['network'])}")
        if finished and not all(isinstance(why, str) for why in told["skipped"].values()):
            raise ValueError("reasons are no texts")
        for name in told["names"]:
            if not isinstance(name, str) or (finished and name_problem(name)):
                raise ValueError(f"{shown(name)} is no photograph's name")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{path} does not describe an index ({error}): delete {path.parent} and make it again."
        ) from error
    return told
