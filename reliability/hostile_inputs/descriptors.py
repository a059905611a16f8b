"""Readers of descriptors and of saved scores."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from rdistill_course.closing_table import read_scores
from rdistill_helpers import (
    check_descriptors,
    extract_to_file,
    open_descriptors,
)
from rdistill_helpers.score.search import search
from rdistill_helpers.ship.photo_index import FORMAT, PhotoIndex, fingerprint
from reliability.hostile_inputs.making import Reader, changed, jsoned, numbers, put, values
from reliability.samples import Student, photographs


@functools.cache
def array_file(dtype: str) -> bytes:
    """Makes a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, F.normalize(torch.arange(1.0, 13.0).view(4, 3)).numpy().astype(dtype))
    return buffer.getvalue()


@st.composite
def array_files(draw: Callable[..., Any]) -> bytes:
    """Makes a .npy file with changed bytes, or with a header that lies."""
    if draw(st.booleans()):
        return draw(changed(array_file(draw(st.sampled_from(["float16", "float32"])))))
    shape = draw(st.one_of(st.tuples(numbers, numbers), st.lists(numbers, max_size=3).map(tuple)))
    descr = draw(st.sampled_from(["<f4", "<f2", "|O", "<f8", ">f4", "<U3", "bad", [("a", "<f4")], 5, None]))
    order = draw(st.sampled_from([False, True, 0, "F"]))
    big = {10**5000: 10**300}  # no number of 5000 digits is printed
    header = repr({"descr": descr, "fortran_order": order, "shape": tuple(big.get(n, n) for n in shape)}).encode()
    length = draw(st.sampled_from([len(header) + 1, 0, 65535]))
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + header + b"\n" + array_file("float32")[128:]


def read_descriptors(content: bytes, folder: Path) -> object:
    """Reads a file of descriptors and uses them."""
    return check_descriptors(open_descriptors(put(folder, "descriptors.npy", content)), "descriptors")


def resume_extraction(content: tuple[bytes, bytes], folder: Path) -> object:
    """Resumes an extraction that was interrupted."""
    put(folder, "descriptors.npy.part", content[0])
    put(folder, "descriptors.npy.part.rows", content[1])
    extract_to_file(Student(), photographs(4), folder / "descriptors.npy", "float32", progress=False)
    return check_descriptors(open_descriptors(folder / "descriptors.npy"), "descriptors", normalised=False)


@st.composite
def arrays(draw: Callable[..., Any]) -> Any:
    """Makes arrays of any type and shape, and values of other types."""
    if not draw(st.integers(0, 9)):
        return draw(values)
    dtype = draw(st.sampled_from(["f2", "f4", "f8", "i4", "u1", "?", "O", "U2", "c8"]))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    filled = np.full(shape, draw(st.sampled_from([0, 1, 0.5])), dtype)
    if filled.size and dtype in ("f2", "f4", "f8"):
        filled.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1.0, 1e-30]))
    torch_too = dtype not in ("O", "U2")
    return torch.from_numpy(filled) if torch_too and draw(st.booleans()) else filled


DESCRIBED = {
    "format": FORMAT, "photographs": "photographs", "network": {"name": "net", "digest": "0", "answers": False},
    "imsize": 64, "scales": [1], "descriptors": fingerprint(np.load(io.BytesIO(array_file("float32")))),
    "skipped": {"e.jpg": "damaged"}, "names": ["a.jpg", "b.jpg", "c/d.jpg", "d.jpg"],
}  # fmt: skip


def read_index(content: tuple[bytes, bytes], folder: Path) -> object:
    """Opens an index and searches it."""
    put(folder, "index.json", content[0])
    put(folder, "descriptors.npy", content[1])
    index = PhotoIndex.open(folder)
    found = search(torch.eye(3)[:1], None, 1, index.faiss)
    return index.photographs / index.names[int(found[1])], index.scales


SCORES = [{"name": "teacher", "easy": 0.5, "medium": 0.4, "hard": 0.2}]


def readers() -> dict[str, Reader]:
    """Returns the readers by what they read."""
    counts = st.sampled_from([b"2\n", b"0", b"-1", b"99", b"9" * 5000, b"x"])
    return {
        "descriptor file": Reader(array_files(), read_descriptors, 100),
        "unfinished descriptor file": Reader(st.tuples(array_files(), counts), resume_extraction, 30),
        "index of photographs": Reader(
            st.tuples(jsoned(DESCRIBED), st.one_of(st.just(array_file("float32")), array_files())), read_index, 40
        ),
        "array": Reader(arrays(), lambda array, folder: check_descriptors(array, "array"), 80),
        "scores (JSON)": Reader(jsoned(SCORES), lambda text, folder: read_scores(put(folder, "scores.json", text)), 40),
    }
