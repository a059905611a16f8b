"""Making an index: photographs described by a network, resumable, or the answers that a teacher was paid for."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from rdistill_helpers.data.folders import photographs
from rdistill_helpers.data.images import read_image, resize_longest
from rdistill_helpers.data.paths import name_problem
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.descriptors import open_descriptors
from rdistill_helpers.embed.black_box import BlackBoxTeacher, ledger_owner
from rdistill_helpers.embed.extract import check_settings
from rdistill_helpers.embed.to_file import extract_to_file
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import only_writer, writing, written_whole
from rdistill_helpers.ship.digest import network_digest
from rdistill_helpers.ship.photo_index import (
    BEGUN,
    DESCRIPTORS,
    FORMAT,
    INDEX,
    PhotoIndex,
    fingerprint,
    read_description,
)

SKIPPED, DESCRIBED = "skipped.jsonl", "described.npy"  # of an unfinished index
IN_PLACE = Image.new("RGB", (64, 64))  # described in the place of a photograph that is left out, and then dropped


def index_photographs(
    net: nn.Module,
    folder: str | Path,
    out: str | Path,
    name: str,
    imsize: int = 320,
    scales: Sequence[float] = (1,),
    skip_bad: bool = False,
    batch_size: int = 32,
    progress: bool = True,
    device: str | torch.device | None = None,
    at_once: int = 256,
) -> PhotoIndex:
    """Indexes the photographs of a folder. After an interruption the same call goes on behind what is finished.

    Args:
        net: as in `extract`.
        folder: the photographs, as of `photographs`; sub-folders included.
        out: folder of the index.
        name: what the index calls the network, such as its path.
        imsize: longer side in pixels to which photographs are made smaller.
        scales: as in `extract`.
        skip_bad: leave out photographs that cannot be read; `PhotoIndex.skipped` names them.
        batch_size: as in `extract`.
        progress: whether to show a progress bar.
        device: as in `extract`.
        at_once: as in `extract_to_file`.

    Returns:
        The index.

    Raises:
        DataMissing: there is no such folder, or a photograph has gone.
        BadInput: a folder without photographs, a photograph that cannot be read, settings that cannot be used, or an index
            that is there already or was begun with another network, folder or settings. What is finished stays.
        InUse: another process makes the same index.
    """
    folder, out = Path(folder), Path(out)
    wanted = _described_by({"name": name, "digest": network_digest(net), "answers": False}, folder, imsize, scales)
    with only_writer(out / "index"):
        listed = [path.relative_to(folder).as_posix() for path in photographs(folder)]
        if (out / INDEX).exists():
            return _finished(out, wanted, listed)
        names = _begun(out / BEGUN, wanted, listed)
        if not (out / DESCRIBED).exists():
            images = _Photographs(folder, names, imsize, out / SKIPPED if skip_bad else None)
            extract_to_file(net, images, out / DESCRIBED, "float16", scales, batch_size, progress, device, at_once)
        return _finish(out, wanted, names, open_descriptors(out / DESCRIBED), _skipped(out / SKIPPED))


def index_answers(
    answers: str | Path,
    folder: str | Path,
    out: str | Path,
    imsize: int = 320,
    scales: Sequence[float] = (1,),
    size: tuple[int, int] | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> PhotoIndex:
    """Indexes photographs by what a teacher answered about them; no network runs.

    Students search such an index by their projection to the teacher's space.

    Args:
        answers: the ledger of a BlackBoxTeacher; or a .npy file of descriptors, with the photographs' names in the folder
            as a JSON list beside it in FILE.names.json, as `python -m rdistill_helpers extract` writes both.
        folder: as in `index_photographs`.
        out: as in `index_photographs`.
        imsize: longer side in pixels to which the photographs of queries are made smaller.
        scales: image scales of queries, as in `extract`.
        size: height and width in pixels of the grey ground on which the teacher of a ledger saw the photographs, as of
            `TrainingImages.pixels`; None for photographs as they are.
        skip_bad: leave out photographs that cannot be read, are not there or have no answer; `PhotoIndex.skipped` names them.
        progress: whether to show a progress bar.

    Returns:
        The index.

    Raises:
        DataMissing: there are no such answers, or no such folder.
        BadInput: a folder without photographs, damaged answers, a photograph without one, or an index that is there already
            or was begun with others.
        InUse: another process makes the same index.
    """
    answers, folder, out = Path(answers), Path(folder), Path(out)
    if answers.suffix == ".npy":
        owner, (names, rows, skipped) = answers.name, _of_file(answers, folder)
    else:
        owner = ledger_owner(answers)
        names, rows, skipped = _of_ledger(answers, owner, folder, size, progress)
    if skipped and not skip_bad:
        first, why = next(iter(skipped.items()))
        what = f"{len(skipped)} photographs of {folder} cannot be indexed, first {first} ({why.removesuffix('.')})"
        raise BadInput(
            f"{what}: mend it, give --size as when the teacher was asked, or leave such out with --skip-bad."
        )
    network = {"name": owner, "digest": fingerprint(rows) if len(rows) else "", "answers": True}
    wanted = _described_by(network, folder, imsize, scales)
    with only_writer(out / "index"):
        if (out / INDEX).exists():
            return _finished(out, wanted, [*names, *skipped])
        return _finish(out, wanted, _begun(out / BEGUN, wanted, names), rows, skipped)


@dataclass(frozen=True)
class _Photographs(Sequence[Image.Image]):
    """Photographs of a folder, each read when it is asked for; the bad ones are noted in the file `skipped`, if given."""

    folder: Path
    names: list[str]
    imsize: int
    skipped: Path | None
    threads = True

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> Any:
        try:
            if problem := name_problem(self.names[i]):
                raise BadInput(f"The name {self.names[i]} {problem}: rename the photograph.")
            return resize_longest(read_image(self.folder / self.names[i], imsize=self.imsize), self.imsize)
        except (BadInput, DataMissing) as error:
            if self.skipped is None:
                advice = ", or leave such photographs out with skip_bad (--skip-bad)."
                raise type(error)(str(error).removesuffix(".") + advice) from error
            # On the disk before the descriptor that stands in its place counts as finished.
            with writing(self.skipped), self.skipped.open("a", encoding="utf-8") as file:
                file.write(json.dumps([self.names[i], str(error)]) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return IN_PLACE


def _described_by(network: dict[str, Any], folder: Path, imsize: int, scales: Sequence[float]) -> dict[str, Any]:
    """What makes an index besides the photographs' names: an index that is there or was begun must agree in all of it."""
    resize_longest(IN_PLACE, imsize)  # refuses sizes that cannot be used
    check_settings([IN_PLACE], scales, batch_size=1)
    photographs = str(folder.resolve())
    return {"format": FORMAT, "photographs": photographs, "network": network, "imsize": imsize, "scales": [*scales]}


def _differing(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    return " and ".join(name for name, value in wanted.items() if told.get(name) != value)


def _finished(out: Path, wanted: Mapping[str, Any], names: Sequence[str]) -> PhotoIndex:
    """The index that is there already, if it is the one that is wanted."""
    index, told = PhotoIndex.open(out), read_description(out / INDEX)
    if differing := _differing(told, wanted):
        raise BadInput(f"{out} is an index with another {differing} already: write to another folder, or delete it.")
    if set(names) != {*index.names, *index.skipped}:
        raise BadInput(f"{out} is an index of {index.photographs} as it was: delete it to index what is there now.")
    _clear(out)
    return index


def _begun(path: Path, wanted: Mapping[str, Any], listed: list[str]) -> list[str]:
    """The names of the photographs that an unfinished index is of; those listed now where none was begun."""
    if not path.exists():
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps({**wanted, "names": listed}), encoding="utf-8")
        return listed
    told = read_description(path, finished=False)
    if differing := _differing(told, wanted):
        raise BadInput(f"{path.parent} was begun with another {differing}: go on with the same, or delete the folder.")
    if new := set(listed) - set(told["names"]):
        warnings.warn(f"{len(new)} photographs came after {path.parent} was begun: they are not in it.", stacklevel=3)
    return told["names"]


def _skipped(path: Path) -> dict[str, str]:
    """Why photographs were left out, by name."""
    if not path.exists():
        return {}
    try:
        return dict(sorted(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} is damaged ({error}): delete {path.parent} and begin again.") from error


def _finish(
    out: Path, wanted: Mapping[str, Any], names: Sequence[str], rows: np.ndarray, skipped: Mapping[str, str]
) -> PhotoIndex:
    """Writes the index of all photographs but the skipped ones; `index.json`, which finishes it, last."""
    kept = [i for i, name in enumerate(names) if name not in skipped]
    if not kept:
        why = next(iter(skipped.values()), "it is empty")
        raise BadInput(f"No photograph of {wanted['photographs']} can be indexed, the first for this reason: {why}")
    with written_whole(out / DESCRIPTORS) as unfinished:
        written = np.lib.format.open_memmap(unfinished, "w+", rows.dtype, (len(kept), rows.shape[1]))
        np.take(rows, kept, axis=0, out=written, mode="clip")
        written.flush()
    told = {**wanted, "descriptors": fingerprint(open_descriptors(out / DESCRIPTORS)), "skipped": dict(skipped)}
    with written_whole(out / INDEX) as unfinished:
        unfinished.write_text(json.dumps({**told, "names": [names[i] for i in kept]}), encoding="utf-8")
    _clear(out)
    return PhotoIndex.open(out)


def _clear(out: Path) -> None:
    """Deletes what only an unfinished index needs."""
    for path in (out / BEGUN, out / SKIPPED, *out.glob(f"{DESCRIBED}*")):
        path.unlink(missing_ok=True)


def _of_file(path: Path, folder: Path) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Names, descriptors [N, D] of a file, and why some are left out."""
    rows, beside = open_descriptors(path), path.with_name(path.name + ".names.json")
    if not folder.is_dir():
        raise DataMissing(f"The folder {folder} is not there: check the path.")
    try:
        names = json.loads(beside.read_text(encoding="utf-8"))
        if not isinstance(names, list) or len(names) != len(rows) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"no list of {len(rows)} names")
    except FileNotFoundError:
        raise DataMissing(f"{beside} is not there: write the names of the photographs to it as a JSON list.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{beside} does not name the photographs of {path} ({error}): write it again.") from error
    missing = {name: name_problem(name) or "is not there" for name in names if not _is_in(folder, name)}
    return names, rows, missing


def _is_in(folder: Path, name: str) -> bool:
    return name_problem(name) is None and (folder / name).is_file()


def _of_ledger(
    ledger: Path, owner: str, folder: Path, size: tuple[int, int] | None, progress: bool
) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Names of the photographs that a ledger knows, their descriptors [N, D], and why others are left out."""
    own = TrainingImages.from_folder(folder) if size is None else TrainingImages.from_folder(folder, size)
    found: dict[str, np.ndarray] = {}
    skipped: dict[str, str] = {}
    with BlackBoxTeacher(_nobody, 1, ledger, owner) as teacher:
        for i, name in enumerate(tqdm(own.names, "answers", unit="image", disable=not progress)):
            try:
                image = own.image(i) if size is None else own.pixels([i])[0]
            except (BadInput, DataMissing) as error:
                skipped[name] = str(error)
                continue
            row = teacher.paid_for(image)
            if row is None:
                skipped[name] = f"{ledger} has no answer about it"
            else:
                found[name] = row.numpy()
    return [*found], np.stack([*found.values()]) if found else np.empty((0, 0), np.float32), skipped


def _nobody(images: Any) -> Tensor:
    raise BadInput("Nobody is asked here: the ledger is only read.")
