"""A retrieval benchmark: queries with boxes, database images and ground truth, the same class for every set."""

import io
import json
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from tqdm.auto import tqdm

from rdistill_helpers.data.folders import photographs
from rdistill_helpers.data.ground_truth import check_ground_truth, read_ground_truth
from rdistill_helpers.data.images import ENDINGS, crop_box, query_size, read_image, resize_longest
from rdistill_helpers.data.paths import data_root, name_problem
from rdistill_helpers.data.rooms import read_member, read_room, rooms_archive
from rdistill_helpers.errors import BadInput, DataMissing, shown

EMBEDDED = ("rooms", "rooms-validation")
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
        read: gives the whole photograph, RGB, of a name; those of the known sets with their official pixels, as they are
            stored, and so those that a ground truth has boxes of.
        reduces: whether `read` also takes the longer side to which the photograph will be made smaller, as `read_image`
            does: only for photographs of one's own.
    """

    name: str
    query_names: list[str]
    image_names: list[str]
    ground_truth: list[dict[str, Any]]
    read: Callable[..., Image.Image] = field(repr=False)
    reduces: bool = False

    @classmethod
    def load(cls, name: str = "rooms", root: str | Path | None = None) -> "Benchmark":
        """A benchmark of the data folder.

        Args:
            name: "rooms" (embedded, its test part), "rooms-validation" (the part to choose settings on), "roxford5k" or
                "rparis6k" (see data/README.md).
            root: the data folder (see `data_root`).

        Returns:
            The benchmark; photographs are decoded when they are asked for.

        Raises:
            DataMissing: the set, or one of its photographs, is not there.
            BadInput: an unknown name, damaged files, or rooms of another edition.
        """
        folder = data_root(root)
        if name in EMBEDDED:
            archive, file = rooms_archive(root), f"gnd_{name}.pkl"
            truth = read_ground_truth(io.BytesIO(read_member(archive, file)), file)
            return cls(name, truth["qimlist"], truth["imlist"], truth["gnd"], partial(read_room, archive))
        if name in REVISITED:
            return cls.from_pickle(folder / name / f"gnd_{name}.pkl", folder / name / "jpg", name=name)
        known = ", ".join((*EMBEDDED, *REVISITED))
        raise BadInput(f"The benchmark {name!r} is not known: choose one of {known}, or from_folder.")

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
    def from_folder(cls, folder: str | Path, queries: Literal["first", "all"] = "first") -> "Benchmark":
        """A benchmark of your own photographs: a folder with gnd.json or gnd.pkl, or one sub-folder for each place.

        With sub-folders, all positives are easy, so that medium says the same as easy, and hard has no queries; photographs of
        places that are too small for a query are distractors. Photographs are turned upright as their EXIF data say, unless a
        ground truth has boxes, which are in pixels as they are stored.

        Args:
            folder: the folder.
            queries: with sub-folders, "first" takes the first photograph of each place of three or more as its query, out of
                the database; "all" takes every photograph of each place of two or more, which stays in the database as its
                own query's junk (leave one out).

        Returns:
            The benchmark, named as the folder.

        Raises:
            DataMissing: the folder, or a photograph that its ground truth names, is not there.
            BadInput: the ground truth is damaged or has another name, or there is none and no place large enough.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataMissing(f"The folder {folder} is not there: check the path.")
        for written in (folder / "gnd.pkl", folder / "gnd.json"):
            if written.is_file():
                truth = read_ground_truth(written) if written.suffix == ".pkl" else _read_json(written)
                boxes = any(entry["bbx"] is not None for entry in truth["gnd"])
                return cls._from_truth(folder.name, truth, folder, upright=not boxes)
        for other in sorted(folder.glob("gnd*")):
            if other.suffix in (".json", ".pkl"):
                raise BadInput(f"{other} is not looked for: name it gnd{other.suffix}, or move it out of the folder.")
        truth = check_ground_truth(_truth_of_places(folder, queries), str(folder))
        return cls._from_truth(folder.name, truth, folder, upright=True)

    @classmethod
    def _from_truth(cls, name: str, truth: dict[str, Any], images: Path | None, upright: bool = False) -> "Benchmark":
        files = {} if images is None else _files_of([*truth["qimlist"], *truth["imlist"]], images, name)
        read = partial(_read_file, files, upright)
        return cls(name, truth["qimlist"], truth["imlist"], truth["gnd"], read, reduces=upright)

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
        full = self._whole(self.query_names[i], imsize)
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
        image = self._whole(self.image_names[i], imsize)
        return image if imsize is None else resize_longest(image, imsize)

    def _whole(self, name: str, imsize: int | None) -> Image.Image:
        return self.read(name, imsize) if self.reduces else self.read(name)

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


def _read_json(path: Path) -> dict[str, Any]:
    """A ground truth in JSON."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise BadInput(f"{path} is not readable JSON ({error}): mend the file.") from error
    return check_ground_truth(loaded, str(path))


def places_of(folder: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """The photographs of each place, which is a sub-folder.

    Args:
        folder: the folder of all.
        files: photographs in it.

    Returns:
        Names of photographs, with forward slashes, by the name of the sub-folder they lie in, in the order of `files`. Those
        that lie in no sub-folder, or deeper, are left out.
    """
    places: dict[str, list[str]] = {}
    for file in files:
        if file.parent.parent == folder:
            places.setdefault(file.parent.name, []).append(file.relative_to(folder).as_posix())
    return places


def _truth_of_places(folder: Path, which: str) -> dict[str, Any]:
    """Ground truth from one sub-folder for each place; BadInput where none is large enough."""
    if which not in ("first", "all"):
        raise BadInput(f"The queries {which!r} are not known: give 'first' or 'all'.")
    files, least = photographs(folder), 3 if which == "first" else 2
    places = places_of(folder, files)
    inside = sum(map(len, places.values()))
    flat = sum(file.parent == folder for file in files)
    elsewhere = f"{flat} photographs lie in no sub-folder, {len(files) - inside - flat} more than one level deep"
    if not any(len(names) >= least for names in places.values()):
        found = f"{elsewhere}, {inside} in {len(places)} places"
        raise BadInput(f"{folder} has no sub-folder of {least} photographs or more ({found}): make one for each place.")
    if inside < len(files):
        warnings.warn(f"{folder}: {elsewhere}, and are left out: make one sub-folder for each place.", stacklevel=3)
    queries: list[str] = []
    database: list[str] = []
    gnd: list[dict[str, Any]] = []
    for names in places.values():
        asked = names if which == "all" else names[:1]
        kept = names if which == "all" or len(names) < least else names[1:]
        members = range(len(database), len(database) + len(kept))
        database += kept
        for i, name in enumerate(asked if len(names) >= least else []):
            itself = [members[i]] if which == "all" else []
            queries.append(name)
            gnd.append({"bbx": None, "easy": [m for m in members if m not in itself], "hard": [], "junk": itself})
    return {"imlist": database, "qimlist": queries, "gnd": gnd}


def _files_of(names: Sequence[str], folder: Path, label: str) -> dict[str, Path]:
    """The file of each image name, which may lack its ending; never outside the folder.

    Where a name is not there letter for letter, a file whose name looks the same is: "ü" has two spellings in Unicode.
    """
    files: dict[str, Path] = {}
    alike: dict[str, Path] | None = None
    for name in names:
        if problem := name_problem(name):
            raise BadInput(f"The image name {shown(name)} {problem}: use short names inside {folder}.")
        spellings = [name, *(f"{name}{ending}" for ending in ENDINGS)]
        path = next((path for path in (folder / spelling for spelling in spellings) if path.is_file()), None)
        if path is None and not name.isascii():
            alike = alike or {_composed(p.relative_to(folder).as_posix()): p for p in folder.rglob("*") if p.is_file()}
            path = next((alike[key] for key in map(_composed, spellings) if key in alike), None)
        if path is not None:
            files[name] = path
    missing = [name for name in names if name not in files]
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataMissing(f"{len(missing)} images of {label} are not in {folder} ({some}): see data/README.md.")
    return files


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _read_file(files: dict[str, Path], upright: bool, name: str, imsize: int | None = None) -> Image.Image:
    if name not in files:
        raise DataMissing(f"The image {name} is not there: give the folder, from_pickle(path, images=folder).")
    return read_image(files[name], upright=upright, imsize=imsize)
