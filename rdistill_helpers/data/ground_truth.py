"""The ground-truth file of revisited Oxford and Paris: a pickle of plain lists and dicts, read without running code."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdistill_helpers.data.paths import name_problem
from rdistill_helpers.data.pickles import is_list, is_whole_number, read_plain_pickle
from rdistill_helpers.errors import BadInput, shown

LISTS = ("easy", "hard", "junk")


def read_ground_truth(source: str | Path | BinaryIO, name: str | None = None) -> dict[str, Any]:
    """The content of a ground-truth file, read without running code and checked.

    Args:
        source: a path or an open file.
        name: what errors call it; None takes the path.

    Returns:
        {imlist, qimlist, gnd}: names of the database images and of the queries, and for each query gnd[i] = {bbx, easy,
        hard, junk}. bbx: four floats (x1, y1, x2, y2 in pixels) or None for the whole frame; the lists: int64 arrays of
        positions in imlist.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file carries code or breaks the layout, for example by a name that leads out of its folder.
    """
    label = name or (str(source) if isinstance(source, str | Path) else "the ground truth")
    return check_ground_truth(read_plain_pickle(source, label), label)


def check_ground_truth(loaded: Any, label: str) -> dict[str, Any]:
    """Ground truth from anywhere, checked.

    Args:
        loaded: {imlist, qimlist, gnd} in the layout of revisited Oxford and Paris.
        label: what errors call it.

    Returns:
        The same content, its lists as int64 arrays; see `read_ground_truth`.

    Raises:
        BadInput: the layout is broken; the message names `label` and the query.
    """
    if not isinstance(loaded, Mapping) or not {"imlist", "qimlist", "gnd"} <= loaded.keys():
        raise BadInput(f"{label} lacks imlist, qimlist or gnd: give the layout of revisited Oxford/Paris.")
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
            raise BadInput(f"{where}: bbx {shown(box)} is not a box: give x1 < x2 and y1 < y2.")
        result["bbx"] = box
    seen: set[int] = set()
    for key in LISTS:
        values: Any = entry.get(key)
        if not is_list(values) or not all(map(is_whole_number, values)):
            raise BadInput(f"{where}: {key} must be a list of whole numbers, positions in imlist; it may be empty.")
        positions = [int(v) for v in values]
        wrong = next((v for v in positions if not 0 <= v < images), None)
        if wrong is not None:
            raise BadInput(f"{where}: {key} names image {shown(wrong)}, but imlist has {images}: correct the index.")
        if len(set(positions)) < len(positions) or seen & set(positions):
            raise BadInput(f"{where}: an image stands twice in easy, hard and junk; keep it in one list only.")
        seen |= set(positions)
        result[key] = np.array(positions, np.int64)
    return result
