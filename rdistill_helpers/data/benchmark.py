"""A retrieval benchmark: queries with boxes, database images and ground truth, the same class for every set."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from rdistill_helpers.data.ground_truth import check_ground_truth, read_ground_truth
from rdistill_helpers.data.images import ENDINGS, crop_box, query_size, read_image, resize_longest
from rdistill_helpers.data.paths import data_root, name_problem
from rdistill_helpers.data.rooms import read_member, verify_archive
from rdistill_helpers.errors import BadInput, DataMissing, shown

REVISITED = ("roxford5k", "rparis6k")


@dataclass(frozen=True)
class Benchmark:
    """Queries, database and ground truth.

    Attributes:
        name: of the set.
        query_names: of the Q queries.
        image_names: of the N database photographs.
        ground_truth: for each query {bbx, easy, hard, junk}, as `read_ground_truth` gives them: a box in pixels or None,
            and positions in `image_names`.
        read: gives the whole photograph, RGB, of a name.
    """

    name: str
    query_names: list[str]
    image_names: list[str]
    ground_truth: list[dict[str, Any]]
    read: Callable[[str], Image.Image] = field(repr=False)

    @classmethod
    def load(cls, name: str = "rooms", root: str | Path | None = None) -> "Benchmark":
        """A benchmark of the data folder.

        Args:
            name: "rooms" (embedded), "roxford5k" or "rparis6k" (see data/README.md).
            root: the data folder (see `data_root`).

        Returns:
            The benchmark; photographs are decoded when they are asked for.

        Raises:
            DataMissing: the set, or one of its photographs, is not there.
            BadInput: an unknown name, or damaged files.
        """
        folder = data_root(root)
        if name == "rooms":
            archive = folder / "rooms.zip"
            verify_archive(archive)
            truth = read_ground_truth(io.BytesIO(read_member(archive, "gnd_rooms.pkl")), "gnd_rooms.pkl")
            return cls(name, truth["qimlist"], truth["imlist"], truth["gnd"], partial(_read_from_archive, archive))
        if name in REVISITED:
            return cls.from_pickle(folder / name / f"gnd_{name}.pkl", folder / name / "jpg", name=name)
        raise BadInput(f"The benchmark {name!r} is not known: choose rooms, {' or '.join(REVISITED)}, or from_folder.")

    @classmethod
    def from_pickle(cls, path: str | Path, images: str | Path | None = None, name: str | None = None) -> "Benchmark":
        """Any ground-truth file in the layout of revisited Oxford/Paris.

        Args:
            path: the file, a pickle.
            images: folder of the photographs; None: scores can be computed, photographs not shown.
            name: of the benchmark; None takes the file's name.

        Returns:
            The benchmark.

        Raises:
            DataMissing: the file, or a photograph that it names, is not there.
            BadInput: the file carries code or breaks the layout.
        """
        path = Path(path)
        truth = read_ground_truth(path)
        return cls._from_truth(name or path.stem, truth, None if images is None else Path(images))

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Benchmark":
        """A benchmark of your own photographs: a folder with gnd.json or gnd.pkl, or one sub-folder for each place.

        With sub-folders, the first photograph of each place that has at least three is the query (whole frame), the others
        are its easy positives; photographs of smaller places are distractors. These are turned upright as their EXIF data
        say; with a ground truth, whose boxes are in stored pixels, photographs are read as they are stored.

        Args:
            folder: the folder.

        Returns:
            The benchmark, named as the folder.

        Raises:
            DataMissing: the folder, or a photograph that its ground truth names, is not there.
            BadInput: the ground truth is damaged, or there is none and no sub-folder with three photographs.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataMissing(f"The folder {folder} is not there: check the path.")
        if (folder / "gnd.pkl").is_file():
            return cls.from_pickle(folder / "gnd.pkl", folder, name=folder.name)
        written = folder / "gnd.json"
        if written.is_file():
            try:
                loaded = json.loads(written.read_text(encoding="utf-8-sig"))
            except (ValueError, RecursionError, OSError) as error:
                raise BadInput(f"{written} is not readable JSON ({error}): mend the file.") from error
            return cls._from_truth(folder.name, check_ground_truth(loaded, str(written)), folder)
        truth = check_ground_truth(_truth_of_places(folder), str(folder))
        return cls._from_truth(folder.name, truth, folder, upright=True)

    @classmethod
    def _from_truth(cls, name: str, truth: dict[str, Any], images: Path | None, upright: bool = False) -> "Benchmark":
        if images is not None:
            missing = [n for n in truth["qimlist"] + truth["imlist"] if _find(images, n) is None]
            if missing:
                some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
                raise DataMissing(f"{len(missing)} images of {name} are not in {images} ({some}): see data/README.md.")
        return cls(name, truth["qimlist"], truth["imlist"], truth["gnd"], partial(_read_from_folder, images, upright))

    def query(self, i: int, crop: bool = True, imsize: int | None = None) -> Image.Image:
        """One query.

        Args:
            i: its number.
            crop: whether to cut it to its box.
            imsize: longer side of the whole photograph in pixels, the crop keeps the scale that this gives; None keeps its
                size.

        Returns:
            The query, RGB.

        Raises:
            DataMissing: the photograph is not there, or the benchmark was made without photographs.
            BadInput: the photograph is damaged, its box lies outside, or `imsize` is below 1.
        """
        full = self.read(self.query_names[i])
        box = self.ground_truth[i]["bbx"]
        image = crop_box(full, box, self.query_names[i]) if crop and box is not None else full
        return image if imsize is None else resize_longest(image, query_size(image.size, full.size, imsize))

    def image(self, i: int, imsize: int | None = None) -> Image.Image:
        """One database photograph.

        Args:
            i: its number.
            imsize: longer side in pixels to which it is made smaller; None keeps its size.

        Returns:
            The photograph, RGB.

        Raises:
            DataMissing: the photograph is not there, or the benchmark was made without photographs.
            BadInput: the photograph is damaged, or `imsize` is below 1.
        """
        image = self.read(self.image_names[i])
        return image if imsize is None else resize_longest(image, imsize)

    def queries(self, imsize: int | None = None, progress: bool = False) -> list[Image.Image]:
        """All queries, cut to their boxes.

        Args:
            imsize: as in `query`.
            progress: whether to show a progress bar.

        Returns:
            Q images, RGB.

        Raises:
            DataMissing: as in `query`.
            BadInput: as in `query`.
        """
        numbers = tqdm(range(len(self.query_names)), "queries", disable=not progress)
        return [self.query(i, imsize=imsize) for i in numbers]

    def images(self, imsize: int | None = None, progress: bool = False) -> list[Image.Image]:
        """All database photographs, decoded once; for sets that do not fit into memory see `lazy_images`.

        Args:
            imsize: as in `image`.
            progress: whether to show a progress bar.

        Returns:
            N images, RGB.

        Raises:
            DataMissing: as in `image`.
            BadInput: as in `image`.
        """
        return [self.image(i, imsize) for i in tqdm(range(len(self.image_names)), "images", disable=not progress)]

    def lazy_images(self, imsize: int | None = None) -> "LazyImages":
        """All database photographs, each read when it is asked for: what `extract` takes for sets of any size.

        Args:
            imsize: as in `image`.

        Returns:
            A sequence of N images.
        """
        return LazyImages(self, imsize)


@dataclass(frozen=True)
class LazyImages(Sequence[Image.Image]):
    """The database photographs of a benchmark as a sequence that keeps none of them in memory.

    Attributes:
        benchmark: whose photographs they are.
        imsize: longer side in pixels to which they are made smaller; None keeps their size.
    """

    benchmark: Benchmark
    imsize: int | None = None

    def __len__(self) -> int:
        return len(self.benchmark.image_names)

    def __getitem__(self, i: Any) -> Any:
        """Photograph i, or a list of them; IndexError after the last."""
        chosen = range(len(self))[i]
        if isinstance(chosen, range):
            return [self.benchmark.image(j, self.imsize) for j in chosen]
        return self.benchmark.image(chosen, self.imsize)


def _truth_of_places(folder: Path) -> dict[str, Any]:
    """Ground truth from one sub-folder for each place; BadInput where no place has three photographs."""
    queries: list[str] = []
    database: list[str] = []
    gnd: list[dict[str, Any]] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
        names = [file.relative_to(folder).as_posix() for file in files]
        if len(names) >= 3:
            queries.append(names.pop(0))
            positives = list(range(len(database), len(database) + len(names)))
            gnd.append({"bbx": None, "easy": positives, "hard": [], "junk": []})
        database += names
    if not queries:
        raise BadInput(f"{folder} has no sub-folder of three photographs or more: make one for each place.")
    return {"imlist": database, "qimlist": queries, "gnd": gnd}


def _read_from_archive(archive: Path, name: str) -> Image.Image:
    return read_image(read_member(archive, f"images/{name}.webp"), name)


def _find(folder: Path, name: str) -> Path | None:
    """The file of an image name, which may lack its ending; never outside the folder."""
    if problem := name_problem(name):
        raise BadInput(f"The image name {shown(name)} {problem}: use short names inside {folder}.")
    path = folder / name
    return next((p for p in (path, *(folder / f"{name}{ending}" for ending in ENDINGS)) if p.is_file()), None)


def _read_from_folder(folder: Path | None, upright: bool, name: str) -> Image.Image:
    path = None if folder is None else _find(folder, name)
    if path is None:
        raise DataMissing(f"The image {name} is not there: give the folder, from_pickle(path, images=folder).")
    return read_image(path, upright=upright)
