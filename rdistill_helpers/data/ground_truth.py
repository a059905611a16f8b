"""The ground-truth file of revisited Oxford and Paris: a pickle of plain lists and dicts, read without running code."""

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdistill_helpers.data.paths import name_problem
from rdistill_helpers.data.pickles import is_list, is_whole_number, read_plain_pickle
from rdistill_helpers.errors import BadInput, shown
from rdistill_helpers.files import written_whole

LISTS = ("easy", "hard", "junk")


def read_ground_truth(source: str | Path | BinaryIO, name: str | None = None) -> dict[str, Any]:
    """{imlist, qimlist, gnd} of a ground-truth file, checked; gnd[i] = {bbx, easy, hard, junk}.

    bbx: four floats (x1, y1, x2, y2 in pixels) or None for the whole frame; lists: int64 positions in imlist.
    Raises DataMissing where there is no such file, BadInput when it carries code or breaks the layout; names in it that
    lead out of a folder break it.
    """
    label = name or (str(source) if isinstance(source, str | Path) else "the ground truth")
    return check_ground_truth(read_plain_pickle(source, label), label)


def check_ground_truth(loaded: Any, label: str) -> dict[str, Any]:
    """The same content with lists as int64 arrays; BadInput (naming `label` and the query) where it breaks the layout."""
    if not isinstance(loaded, Mapping) or not {"imlist", "qimlist", "gnd"} <= loaded.keys():
        raise BadInput(f"{label} has not the layout of revisited Oxford/Paris: it needs imlist, qimlist and gnd.")
    names = {}
    for key in ("imlist", "qimlist"):
        if not is_list(loaded[key]) or not all(isinstance(n, str) and n for n in loaded[key]):
            raise BadInput(f"{label}: {key} must be a list of image names.")
        for name in loaded[key]:
            if problem := name_problem(name):
                raise BadInput(f"{label}: {key} names an image {shown(name)}, which {problem}; correct the name.")
        names[key] = list(loaded[key])
    entries = loaded["gnd"]
    if not is_list(entries) or len(entries) != len(names["qimlist"]):
        raise BadInput(f"{label}: gnd must have one entry for each of the {len(names['qimlist'])} queries.")
    checked = [_check_entry(entry, i, len(names["imlist"]), label) for i, entry in enumerate(entries)]
    return {**names, "gnd": checked}


def _check_entry(entry: Any, query: int, images: int, label: str) -> dict[str, Any]:
    where = f"{label}, query {query}"
    if not isinstance(entry, Mapping):
        raise BadInput(f"{where}: an entry of gnd must be a dict with bbx, easy, hard and junk.")
    result: dict[str, Any] = {"bbx": None}
    if entry.get("bbx") is not None:
        try:
            box = [float(v) for v in entry["bbx"]]
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"{where}: bbx must be four numbers x1, y1, x2, y2.") from error
        if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
            raise BadInput(f"{where}: bbx {shown(box)} is no box, it needs x1 < x2 and y1 < y2.")
        result["bbx"] = box
    seen: set[int] = set()
    for key in LISTS:
        values: Any = entry.get(key)
        if not is_list(values) or not all(map(is_whole_number, values)):
            raise BadInput(f"{where}: {key} must be a list of whole numbers, positions in imlist; it may be empty.")
        positions = [int(v) for v in values]
        wrong = next((v for v in positions if not 0 <= v < images), None)
        if wrong is not None:
            raise BadInput(
                f"{where}: {key} names image {shown(wrong)}, but imlist has {images} images; correct the index."
            )
        if len(set(positions)) < len(positions) or seen & set(positions):
            raise BadInput(f"{where}: an image stands twice in easy, hard and junk; keep it in one list only.")
        seen |= set(positions)
        result[key] = np.array(positions, np.int64)
    return result


def write_ground_truth(
    path: str | Path, imlist: Sequence[str], qimlist: Sequence[str], gnd: Sequence[Mapping[str, Any]]
) -> None:
    """Write a ground-truth file of plain Python objects that `read_ground_truth`, and any other tool, reads."""
    checked = check_ground_truth({"imlist": list(imlist), "qimlist": list(qimlist), "gnd": list(gnd)}, str(path))
    plain = [{"bbx": g["bbx"], **{k: g[k].tolist() for k in LISTS}} for g in checked["gnd"]]
    with written_whole(Path(path)) as unfinished:
        unfinished.write_bytes(pickle.dumps({**checked, "gnd": plain}, protocol=2))
