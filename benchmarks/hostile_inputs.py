"""Damaged and hostile files for every parser of outside files: each must be read, or refused by the package's own error.

    python benchmarks/hostile_inputs.py --inputs 2000           # of each kind; `benchmarks/torture.py` runs them all

An input is made by hypothesis: a valid file whose bytes are changed, moved, cut off or multiplied, or valid syntax around
values that lie (huge and negative numbers, NaN, texts as numbers, names that lead out of the folder). A parser passes when it
returns, or raises an RDistillError of one short line, and has written nothing outside the folder that it was given. Memory is
limited (Linux), so that a file that unfolds to more than its parser should take fails as well.

"SystemError: deallocated bytearray object" in between is a note of Python's own, on a pickle that asked for more memory than
there is; it was refused like the others.
"""

import argparse
import functools
import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import requests
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image
from safetensors.torch import save as safetensors_bytes
from torch import nn

from rdistill_course.closing_table import read_scores
from rdistill_helpers import (
    BadInput,
    Benchmark,
    BlackBoxTeacher,
    History,
    HttpTeacher,
    RDistillError,
    RetrievalNet,
    SfMImages,
    TrainingImages,
    check_descriptors,
    distill,
    extract_to_file,
    load_network,
    load_published,
    load_whitening,
    open_descriptors,
)
from rdistill_helpers.data.images import read_image
from rdistill_helpers.data.rooms import open_archive
from rdistill_helpers.embed.serve_teacher import TeacherServer
from rdistill_helpers.embed.teacher_keys import Key, read_keys
from rdistill_helpers.embed.teacher_wire import ROWS, packed, unpacked
from rdistill_helpers.fetch import transfer
from rdistill_helpers.fetch.sources import File
from rdistill_helpers.fetch.unpack import pick, unpack

LONGEST_MESSAGE = 1100
MEMORY_GIB = 3  # above what the process holds already

# --- What inputs are made of

# Pieces that mean something to one parser or another.
TOKENS = [
    b"", b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"-1", b"1e999", b"NaN", b"null", b"[" * 2000, b"{}",
    b"..", b"../", b"..\\", b"/", b"C:", b"\n", b"9" * 5000, b"a" * 300, b"os\nsystem\n", b"cposix\nsystem\n(S'true'\ntR.",
    b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"(", b")", b"R", b"b", b"\x80\x04", b"\x81", b"2", b"0", b".",
    b"Content-Length: ", b"Content-Range: bytes 0-1/", b"O", b"|O", b"<f8", b"True", b"SQLite format 3\0",
]  # fmt: skip
NAMES = [
    "a", "b.jpg", "../out.jpg", "/tmp/out.jpg", "..\\out.jpg", "C:out.jpg", "C:\\out.jpg", "x/../../out.jpg", "new\nline.jpg",
    "n" * 300 + ".jpg", "d/" * 600 + "e.jpg", "nul\0.jpg", "", ".", "..", "ü 学生.jpg", "\ud800.jpg", "a.jpg/b.jpg", "a.jpg",
    "A.JPG",
]  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=12))
numbers = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30, 0.5, float("nan"), float("inf"), -0.0, True, None]),
    st.just(5000).map(lambda digits: 10**digits),  # more digits than Python prints, not even for hypothesis
)
values = st.recursive(
    st.one_of(numbers, names, st.binary(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
json_values = st.recursive(
    st.one_of(numbers, names),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)


def json_text(value: Any) -> bytes:
    """JSON that Python's reader takes, numbers of any length and lone surrogates included."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**4000:
        return b"9" * 5000  # more digits than Python prints
    if isinstance(value, list):
        return b"[" + b",".join(map(json_text, value)) + b"]"
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(name).encode() + b":" + json_text(v) for name, v in value.items()) + b"}"
    return json.dumps(value).encode()


@st.composite
def changed(draw: Callable[..., Any], whole: bytes, most: int = 6) -> bytes:
    """A file with a few changes: bytes, pieces of it moved or repeated, tokens written over or put in, the end cut off."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.integers(0, 5))
        if kind <= 1 and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == 2:
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == 3:
            token = draw(st.sampled_from(TOKENS))
            content[at : at + len(token) * draw(st.integers(0, 1))] = token
        elif kind == 4:
            start = draw(st.integers(0, max(0, len(content) - 1)))
            content[at:at] = content[start : start + draw(st.integers(1, 200))]
        elif draw(st.booleans()):
            del content[at:]
    return bytes(content)


@st.composite
def altered(draw: Callable[..., Any], whole: Any, inside: SearchStrategy[Any]) -> Any:
    """Nested dicts and lists with some parts replaced by other values, left out or repeated."""
    if isinstance(whole, dict):
        kept = {name: draw(altered(part, inside)) for name, part in whole.items() if draw(st.integers(0, 15))}
        return kept if draw(st.integers(0, 15)) else {**kept, draw(names): draw(inside)}
    if isinstance(whole, list) and draw(st.integers(0, 7)):
        return [draw(altered(part, inside)) for part in whole]
    return draw(inside) if draw(st.integers(0, 5)) == 0 else whole


def photographs(count: int, size: tuple[int, int] = (6, 8)) -> torch.Tensor:
    """Seeded photographs, uint8 [count, 3, H, W]."""
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def picture(kind: str, mode: str = "RGB") -> bytes:
    """A small picture as a file."""
    buffer = io.BytesIO()
    pixels = photographs(1, (16, 24))[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def colours(batch: Any) -> torch.Tensor:
    """A teacher, and the rows of `Colours`: the mean colour."""
    if isinstance(batch, list):
        batch = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in batch])
    return F.normalize(batch.float().mean(dim=(2, 3)))


class Colours(nn.Module):
    """A student with one linear layer on the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(12.0).view(4, 3) / 12 - 0.4)
            self.layer.bias.fill_(0.1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float [B, 3, H, W] -> [B, 4]."""
        return F.normalize(self.layer(images.mean(dim=(2, 3))))


# --- The parsers: what a valid file is, how inputs are made of it, and what reads it


@dataclass(frozen=True)
class Parser:
    """A reader of outside files. inputs: the strategy; read(input, folder) is called with an empty folder each time.

    share: how many of a thousand inputs it gets in a full run; slow readers get fewer.
    """

    inputs: SearchStrategy[Any]
    read: Callable[[Any, Path], object]
    share: int


GND = {
    "imlist": ["a", "b", "d/c"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [1.0, 2.0, 5.0, 6.0], "easy": [0], "hard": [1], "junk": [2]}],
}
GND_ARRAYS = {**GND, "gnd": [{**GND["gnd"][0], "easy": np.array([0]), "bbx": np.array([1.0, 2.0, 5.0, 6.0])}]}
SFM = {"train": {"cids": ["abcdef1", "abcdef2", "abcdef3"], "cluster": [0, 0, 1], "qidxs": [0], "pidxs": [1]}}


def pickled(whole: Any) -> SearchStrategy[bytes]:
    """Pickles of all protocols with changed bytes, or of changed values."""
    old = st.sampled_from([0, 2, 4]).flatmap(lambda protocol: changed(pickle.dumps(whole, protocol)))
    return st.one_of(old, altered(whole, values).map(pickle.dumps))


def jsoned(whole: Any) -> SearchStrategy[bytes]:
    """JSON with changed bytes, or of changed values."""
    return st.one_of(changed(json.dumps(whole).encode()), altered(whole, json_values).map(json_text))


def put(folder: Path, name: str, content: bytes) -> Path:
    """A file in a folder, with the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read_truth(content: bytes, folder: Path) -> object:
    """A ground truth beside its photographs."""
    for name in ("a", "b", "d/c", "q"):
        put(folder, f"{name}.jpg", b"")
    return Benchmark.from_pickle(put(folder, "gnd.pkl", content), folder)


def read_truth_json(content: bytes, folder: Path) -> object:
    """One's own photographs with a ground truth."""
    put(folder, "gnd.json", content)
    for name in ("a", "b", "d/c", "q"):
        put(folder, f"{name}.jpg", b"")
    return Benchmark.from_folder(folder)


def read_pairs(content: bytes, folder: Path) -> object:
    """The list of training photographs."""
    put(folder, "train/dbs/retrieval-SfM-120k.pkl", content)
    found = SfMImages.load("train", folder)
    return found.missing(), found.draw(1), found.pairs_within(torch.tensor([0]))


def read_photograph(content: bytes, folder: Path) -> object:
    """A photograph, turned or not."""
    return read_image(content, upright=True)


@functools.cache
def array_file(dtype: str) -> bytes:
    """A .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, F.normalize(torch.arange(1.0, 13.0).view(4, 3)).numpy().astype(dtype))
    return buffer.getvalue()


@st.composite
def array_files(draw: Callable[..., Any]) -> bytes:
    """A .npy file with changed bytes, or with a header that lies."""
    if draw(st.booleans()):
        return draw(changed(array_file(draw(st.sampled_from(["float16", "float32"])))))
    shape = draw(st.one_of(st.tuples(numbers, numbers), st.lists(numbers, max_size=3).map(tuple)))
    descr = draw(st.sampled_from(["<f4", "<f2", "|O", "<f8", ">f4", "<U3", "bad", [("a", "<f4")], 5, None]))
    order = draw(st.sampled_from([False, True, 0, "F"]))
    big = {10**5000: 10**300}  # no number of 5000 digits is printed
    header = repr({"descr": descr, "fortran_order": order, "shape": tuple(big.get(n, n) for n in shape)}).encode()
    length = draw(st.sampled_from([len(header) + 1, 0, 65535]))
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + header + b"\n" + array_file("float32")[128:]


def read_rows(content: bytes, folder: Path) -> object:
    """A file of descriptors, whose rows are then used."""
    return check_descriptors(open_descriptors(put(folder, "rows.npy", content)), "rows")


def go_on_with_rows(content: tuple[bytes, bytes], folder: Path) -> object:
    """An extraction that was interrupted."""
    put(folder, "rows.npy.part", content[0])
    put(folder, "rows.npy.part.rows", content[1])
    extract_to_file(Colours(), photographs(4), folder / "rows.npy", "float32", progress=False)
    return check_descriptors(open_descriptors(folder / "rows.npy"), "rows", normalised=False)


@st.composite
def arrays(draw: Callable[..., Any]) -> Any:
    """Arrays of any type and shape, and things that are none."""
    if not draw(st.integers(0, 9)):
        return draw(values)
    dtype = draw(st.sampled_from(["f2", "f4", "f8", "i4", "u1", "?", "O", "U2", "c8"]))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    filled = np.full(shape, draw(st.sampled_from([0, 1, 0.5])), dtype)
    if filled.size and dtype in ("f2", "f4", "f8"):
        filled.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1.0, 1e-30]))
    torch_too = dtype not in ("O", "U2")
    return torch.from_numpy(filled) if torch_too and draw(st.booleans()) else filled


@functools.cache
def network() -> RetrievalNet:
    """The smallest network."""
    torch.manual_seed(0)
    return RetrievalNet(weights=None)


@functools.cache
def architecture() -> dict[str, Any]:
    """What a saved network says of itself."""
    mean = [0.5, 0.5, 0.5]
    return {"backbone": "squeezenet1_1", "pooling": "gem", "dim": None, "mean": mean, "std": mean, "scale": 1.0}


@st.composite
def network_files(draw: Callable[..., Any]) -> bytes:
    """A safetensors file of few weights: its bytes changed, its lengths lying, or its description."""
    weights = {"whiten.weight": torch.ones(3, 2), "pool.p": torch.ones(1)}
    header = {name: draw(st.one_of(st.just(value), json_values)) for name, value in architecture().items()}
    header = {name: value for name, value in header.items() if draw(st.integers(0, 30))}
    content = safetensors_bytes(weights, {name: json_text(value).decode() for name, value in header.items()})
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return draw(changed(content))
    if kind == 1:
        length = draw(st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1, len(content)]))
        return length.to_bytes(8, "little") + content[8:]
    return content


def read_network(content: bytes, folder: Path) -> object:
    """A network that save_network should have written."""
    return load_network(put(folder, "net.safetensors", content))


@st.composite
def checkpoints(draw: Callable[..., Any]) -> bytes:
    """A published checkpoint: its description changed, tensors that are views of less, or the bytes of the file changed."""
    whole = {"architecture": "squeezenet1_1", "pooling": "gem", "whitening": False, "mean": [0.5] * 3, "std": [0.5] * 3}
    meta = draw(altered({**whole, "Lw": {"train": {"ss": {"m": [0.0], "P": [[1.0]]}}}}, values))
    tensors = st.sampled_from(
        [
            torch.ones(3),
            torch.ones(()),
            torch.ones(1).expand(10**6, 10**6),
            torch.ones(1).expand(10**12),
            torch.full((2, 2), torch.nan),
        ]
    )
    state = draw(
        st.dictionaries(st.sampled_from(["whiten.weight", "features.1.weight", "pool.p"]), tensors, max_size=2)
    )
    content = draw(st.one_of(st.just({"meta": meta, "state_dict": state}), altered({"m": state, "P": meta}, values)))
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=draw(st.booleans()))
    kept = buffer.getvalue()
    return kept if draw(st.integers(0, 1)) else draw(changed(kept, 3))


def read_checkpoint(content: bytes, folder: Path) -> object:
    """A published network, or whitening."""
    path = put(folder, "net.pth", content)
    try:
        load_whitening(path)
    except RDistillError as error:
        check_message(error)
    return load_published(path)


TRAINING = {"steps": 4, "anchors": 2, "neighbours": 1, "augment": False, "progress": False}


def training(folder: Path) -> object:
    """A training of four steps that goes on from folder/ckpt."""
    images = photographs(8)
    return distill(Colours(), images, colours(images), checkpoint=folder / "ckpt", **TRAINING)  # type: ignore[arg-type]


@functools.cache
def trained() -> bytes:
    """The checkpoint of this training."""
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder))
        return (Path(folder) / "ckpt").read_bytes()


@st.composite
def training_checkpoints(draw: Callable[..., Any]) -> bytes:
    """A checkpoint with changed bytes or values."""
    if draw(st.booleans()):
        return draw(changed(trained(), 3))
    state = torch.load(io.BytesIO(trained()), weights_only=True)
    lies = st.one_of(values, st.sampled_from([torch.zeros(0), torch.ones(3), torch.zeros(5, dtype=torch.uint8)]))
    buffer = io.BytesIO()
    torch.save(draw(altered(state, lies)), buffer)
    return buffer.getvalue()


def resume_training(content: bytes, folder: Path) -> object:
    """A training that was interrupted."""
    put(folder, "ckpt", content)
    return training(folder)


@functools.cache
def ledger() -> bytes:
    """A ledger of three answers."""
    with tempfile.TemporaryDirectory() as folder:
        with BlackBoxTeacher(colours, 9, Path(folder) / "ledger") as teacher:
            teacher.query(photographs(3), progress=False)
        return (Path(folder) / "ledger").read_bytes()


LEDGER_LIES = [
    "UPDATE paid SET row = 'text'", "UPDATE paid SET row = x'00'", "UPDATE paid SET row = zeroblob(12)",
    "UPDATE paid SET row = x'0000c07f0000c07f0000c07f'", "UPDATE teacher SET dim = 'many'", "UPDATE teacher SET dim = -1",
    "UPDATE teacher SET dim = 4000000000", "UPDATE teacher SET name = 5", "DELETE FROM teacher", "DROP TABLE paid",
    "ALTER TABLE paid RENAME TO sold", "INSERT INTO teacher SELECT * FROM teacher", "UPDATE paid SET image = 5 WHERE rowid = 1",
    "CREATE TRIGGER t BEFORE INSERT ON paid BEGIN DELETE FROM paid; END", "PRAGMA user_version = 7",
    "ALTER TABLE paid ADD COLUMN x INT NOT NULL DEFAULT 5", "PRAGMA application_id = 0",
]  # fmt: skip


@st.composite
def ledgers(draw: Callable[..., Any]) -> tuple[bytes, list[str]]:
    """A ledger with changed bytes, and statements that someone ran on it."""
    if draw(st.booleans()):
        return draw(changed(ledger())), []
    return ledger(), draw(st.lists(st.sampled_from(LEDGER_LIES), min_size=1, max_size=3))


def ask_with_ledger(content: tuple[bytes, list[str]], folder: Path) -> object:
    """A teacher whose answers are in a ledger of somebody else."""
    path = put(folder, "ledger", content[0])
    if content[1]:
        database = sqlite3.connect(path)
        for statement in content[1]:
            with suppress(sqlite3.Error):  # what an earlier statement has removed
                database.execute(statement)
        database.commit()
        database.close()
    with BlackBoxTeacher(colours, 9, path) as teacher:
        rows = teacher.query(photographs(4), progress=False)
        assert rows.isfinite().all() and rows.shape == (4, 3), "rows that are none came out of a ledger"
        return repr(teacher)


@st.composite
def tar_archives(draw: Callable[..., Any]) -> tuple[bytes, bool]:
    """A .tar.gz of photographs with entries of any kind, name and length, or with changed bytes."""
    buffer = io.BytesIO()
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    kinds = st.sampled_from(
        [tarfile.REGTYPE] * 5
        + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    )
    lie = draw(st.integers(0, 9)) == 0
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for _ in range(draw(st.integers(0, 4))):
            member = tarfile.TarInfo(draw(names).replace("\0", ""))
            member.type = draw(kinds)
            member.linkname = draw(st.sampled_from(["../out.jpg", "/etc/passwd", "a.jpg"]))
            content = b"p" * draw(st.integers(0, 600))
            member.size = len(content) if member.isreg() else 0
            if form == tarfile.PAX_FORMAT and draw(st.integers(0, 5)) == 0:
                member.pax_headers = {
                    draw(st.sampled_from(["path", "size", "linkpath", "GNU.sparse.major"])): draw(names)
                }
            with suppress(ValueError):  # a name that the writer refuses
                tar.addfile(member, io.BytesIO(content))
    plain = bytearray(buffer.getvalue())
    if lie and len(plain) > 512:  # a length far beyond the archive, with its checksum made right
        plain[124:136] = b"%011o\0" % draw(st.sampled_from([2**33 - 1, 10**6, 513]))
        plain[148:156] = b" " * 8
        plain[148:156] = b"%06o\0 " % sum(plain[:512])
    content = draw(changed(bytes(plain), 3)) if draw(st.integers(0, 3)) == 0 else bytes(plain)
    packed = gzip.compress(content, 1, mtime=0)
    return (draw(changed(packed, 2)) if draw(st.integers(0, 5)) == 0 else packed), draw(st.booleans())


def unpack_archive(content: tuple[bytes, bool], folder: Path) -> object:
    """An archive of a benchmark, and of training photographs."""
    packed, flat = content
    archive = put(folder, "in/a.tar.gz", packed)
    try:
        pick(archive, {"a.jpg": folder / "in/picked/a.jpg"})
    except RDistillError as error:
        check_message(error)
    unpack([put(folder, "in/a.tar.gz", packed)], folder / "in/jpg", flat)
    return None


@functools.cache
def rooms() -> bytes:
    """A rooms set of one photograph."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.txt", "one\n")
        archive.writestr("images/one.webp", picture("WEBP"))
        archive.writestr("gnd_rooms.pkl", pickle.dumps({**GND, "imlist": ["one"] * 3, "qimlist": ["one"]}))
    return buffer.getvalue()


def read_rooms(content: tuple[bytes, bytes], folder: Path) -> object:
    """The embedded set, whose archive, checksum and labels somebody exchanged."""
    put(folder, "rooms.zip", content[0])
    put(folder, "rooms.zip.sha256", f"{hashlib.sha256(content[0]).hexdigest()}  rooms.zip\n".encode())
    put(folder, "rooms_train_labels.csv", content[1])
    try:
        images = TrainingImages.load("rooms", folder)
        for read in (images.pixels, images.labels):
            try:
                read()
            except RDistillError as error:
                check_message(error)
        return Benchmark.load("rooms", folder).query(0)
    finally:
        open_archive.cache_clear()  # or a later archive of the same time would be taken for this one


HISTORY = {"step": [0, 1], "loss": [0.5, 0.4], "lr": [0.1, 0.1], "seconds": [1.0, 2.0], "settings": {"loss": "pkt"}}
SCORES = [{"name": "teacher", "easy": 0.5, "medium": 0.4, "hard": 0.2}]
LOCK = {"networks/a.pth": {"sha256": "00", "size": 5}}


def read_history(content: bytes, folder: Path) -> object:
    """A saved history, drawn."""
    history = History.load(put(folder, "history.json", content))
    return list(map(float, history.loss))


@dataclass
class Answer:
    """What a server sends: so much of a response as the package looks at."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def raw(self) -> "Answer":
        """The stream."""
        return self

    def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
        """The content in pieces."""
        for start in range(0, len(self.content), 100):
            yield self.content[start : start + 100]

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *error: object) -> None:
        pass


header_values = st.one_of(
    st.sampled_from(
        ["5", "0", "-1", "9" * 5000, "²", "٣", "1e3", "bytes 0-4/5", "bytes */5", "bytes 3-4/5", "bytes 9-4/²"]
    ),
    st.sampled_from([f"bytes 0-4/{'9' * 400}", f"bytes {'9' * 5000}-4/5", '"tag"', 'W/"tag"', ""]),
    st.text(max_size=10),
)
answers = st.lists(
    st.builds(
        Answer,
        st.sampled_from([200, 200, 206, 416, 404, 429, 500, 302, 999, 0]),
        st.dictionaries(st.sampled_from(["Content-Length", "Content-Range", "ETag", "Last-Modified"]), header_values),
        st.one_of(st.just(b"\x80whole"[:5]), st.binary(max_size=300), st.just(b"<html>")),
    ),
    min_size=1,
    max_size=5,
)
STATE = {"url": "http://here/a", "validator": '"tag"', "total": 5}


class Session:
    """A server's answers, one after another, the last one for ever."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = list(answers)

    def get(self, url: str, headers: dict[str, str], **settings: Any) -> Answer:
        """The next answer, to a request that the library itself would make."""
        requests.Request("GET", url, headers=headers).prepare()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def read_answers(content: tuple[list[Answer], bytes, bytes, bytes], folder: Path) -> object:
    """A download in which server, the notes of an earlier one and the record of checksums all lie."""
    served, beginning, state, lock = content
    put(folder, "networks/a.pth.part", beginning)
    put(folder, "networks/a.pth.state.part", state)
    put(folder, transfer.LOCK_FILE, lock)
    file, session = File("networks/a.pth", "http://here/a"), Session(served)
    with patch.object(transfer, "PAUSE", 0):
        return transfer.fetch(file, folder, transfer.read_lock(folder), [], session, False)  # type: ignore[arg-type]


KEY_FILE = {"anna": {"sha256": hashlib.sha256(b"key").hexdigest(), "budget": 10**9}}


@functools.cache
def served() -> tuple[TeacherServer, tempfile.TemporaryDirectory]:
    """A served teacher, and the folder of its ledger, which is deleted at the end."""
    folder = tempfile.TemporaryDirectory()
    keys = {name: Key(**entry) for name, entry in KEY_FILE.items()}
    limits = {"max_request_bytes": 4096, "max_images": 4, "requests_per_minute": 10**9}
    return TeacherServer(colours, keys, folder.name, log=lambda line: None, **limits), folder  # type: ignore[arg-type]


class Connection:
    """A connection over which all of a request has come; what is answered is kept."""

    def __init__(self, content: bytes) -> None:
        self.content, self.answer = io.BytesIO(content), b""

    def recv_into(self, buffer: Any) -> int:
        """The next bytes."""
        return self.content.readinto(buffer)

    def sendall(self, content: bytes) -> None:
        """Takes an answer."""
        self.answer += bytes(content)

    def makefile(self, *settings: object) -> io.BytesIO:
        """For the standard library, which is not read from."""
        return io.BytesIO()

    def settimeout(self, seconds: float) -> None:
        """Nothing waits here."""

    def shutdown(self, how: int) -> None:
        """Nothing follows."""


@functools.cache
def images_file() -> bytes:
    """Two photographs as they travel."""
    return packed(photographs(2).numpy())


lies = st.one_of(st.sampled_from(["0", "-1", "9" * 5000, "1e3", "²", "chunked", "sha-256=:AAAA:", "Bearer key"]), names)


@st.composite
def http_requests(draw: Callable[..., Any]) -> bytes:
    """A request to a served teacher: its bytes changed, the array in it, or its head."""
    kind = draw(st.integers(0, 3))
    body = draw(changed(images_file(), 3)) if kind == 0 else draw(array_files()) if kind == 1 else images_file()
    head = {"Authorization": "Bearer key", "Content-Length": str(len(body))}
    if kind == 2:
        fields = st.sampled_from(
            ["Authorization", "Content-Length", "Content-Digest", "Transfer-Encoding", "Expect", "Connection"]
        )
        head |= draw(st.dictionaries(fields, lies, max_size=3))
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode("utf-8", "surrogatepass")
    whole = b"POST /v1/descriptors HTTP/1.1\r\n" + lines + b"\r\n" + body
    return draw(changed(whole)) if kind == 3 else whole


def ask_server(content: bytes, folder: Path) -> object:
    """A served teacher that is asked so; what it refuses, it must refuse in one sentence."""
    server, connection = served()[0], Connection(content)
    server.RequestHandlerClass(connection, ("127.0.0.1", 1), server)  # type: ignore[arg-type]
    start = max(0, connection.answer.rfind(b"HTTP/1.1 "))
    head, _, body = connection.answer[start:].partition(b"\r\n\r\n")
    if not connection.answer:  # a head that never ended
        raise BadInput("The connection was closed: send a whole request.")
    if b" 200 " in head.split(b"\r\n")[0]:
        return check_descriptors(unpacked(body, ROWS, 2), "the rows")
    raise BadInput(json.loads(body or head)["error"])  # the head is missing where HTTP/0.9 is spoken


class Spoken:
    """A server's answer to a client of a served teacher, as requests gives it."""

    def __init__(self, status_code: int, headers: dict[str, str], content: bytes) -> None:
        self.status_code, self.headers, self.content = status_code, headers, content

    def iter_content(self, size: int) -> Iterator[bytes]:
        """The content in pieces."""
        for start in range(0, len(self.content), 100):
            yield self.content[start : start + 100]

    def __enter__(self) -> "Spoken":
        return self

    def __exit__(self, *error: object) -> None:
        pass


LIMITS = {"name": "colours", "dim": 3, "budget": 9, "spent": 2, "left": 7, "max_request_bytes": 4096, "max_images": 4}


@functools.cache
def rows_file() -> bytes:
    """The answer to two photographs."""
    return packed(colours(photographs(2)).numpy())


spoken = st.builds(
    Spoken,
    st.sampled_from([200, 200, 200, 401, 402, 404, 429, 500, 503, 302, 999]),
    st.dictionaries(st.sampled_from(["Retry-After", "Content-Digest", "RDistill-Spent", "Location"]), lies, max_size=2),
    st.one_of(
        st.deferred(lambda: changed(rows_file())), st.just(b"").map(lambda _: rows_file()), array_files(),
        jsoned({"error": "No.", "code": "garbled"}), st.binary(max_size=100),
    ),
)  # fmt: skip


def ask_through_client(content: tuple[bytes, list[Spoken]], folder: Path) -> object:
    """A client of a served teacher, whose account and whose answers lie."""
    client = HttpTeacher("http://127.0.0.1:9", "key", tries=3, pause=0, longest_pause=0, progress=False)
    said = [Spoken(200, {}, content[0]), *content[1]]
    with patch.object(client._session, "request", lambda *way, **how: said.pop(0) if len(said) > 1 else said[0]):
        return check_descriptors(client(photographs(2)), "rows")


def parsers() -> dict[str, Parser]:
    """All of them, by what they read."""
    pictures = [picture(kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")] + [picture("PNG", "P")]
    lock = st.one_of(st.just(b"{}"), jsoned(LOCK))
    return {
        "ground truth (pickle)": Parser(st.one_of(pickled(GND), pickled(GND_ARRAYS)), read_truth, 110),
        "ground truth (JSON)": Parser(jsoned(GND), read_truth_json, 80),
        "training list (pickle)": Parser(pickled(SFM), read_pairs, 80),
        "photograph": Parser(st.sampled_from(pictures).flatmap(changed), read_photograph, 150),
        "descriptor file": Parser(array_files(), read_rows, 100),
        "unfinished descriptor file": Parser(
            st.tuples(array_files(), st.sampled_from([b"2\n", b"0", b"-1", b"99", b"9" * 5000, b"x"])),
            go_on_with_rows,
            30,
        ),
        "array": Parser(arrays(), lambda rows, folder: check_descriptors(rows, "rows"), 80),
        "network (safetensors)": Parser(network_files(), read_network, 40),
        "checkpoint (published)": Parser(checkpoints(), read_checkpoint, 40),
        "checkpoint (training)": Parser(training_checkpoints(), resume_training, 30),
        "ledger": Parser(ledgers(), ask_with_ledger, 40),
        "archive (tar.gz)": Parser(tar_archives(), unpack_archive, 60),
        "archive (zip)": Parser(
            st.tuples(changed(rooms()), st.one_of(st.just(b"image,room\none,3\n"), changed(b"image,room\none,3\n"))),
            read_rooms,
            40,
        ),
        "history (JSON)": Parser(jsoned(HISTORY), read_history, 40),
        "scores (JSON)": Parser(
            jsoned(SCORES), lambda content, folder: read_scores(put(folder, "scores.json", content)), 40
        ),
        "answers of a server": Parser(
            st.tuples(answers, st.sampled_from([b"", b"\x80wh"]), jsoned(STATE), lock), read_answers, 40
        ),
        "keys of a served teacher (JSON)": Parser(
            jsoned(KEY_FILE), lambda content, folder: read_keys(put(folder, "keys.json", content)), 20
        ),
        "request to a served teacher": Parser(http_requests(), ask_server, 40),
        "answers of a served teacher": Parser(
            st.tuples(
                st.one_of(st.just(json.dumps(LIMITS).encode()), jsoned(LIMITS)),
                st.lists(spoken, min_size=1, max_size=3),
            ),
            ask_through_client,
            40,
        ),
    }


# --- Running them


def check_message(error: RDistillError) -> None:
    """AssertionError unless the error is one short line."""
    text = str(error)
    assert text and "\n" not in text and len(text) <= LONGEST_MESSAGE, f"not one sentence: {text[:300]!r}"
    text.encode()  # lone surrogates could not be printed


def files_in(folder: Path) -> set[str]:
    """What is in a folder, links not followed."""
    return {path.name for path in folder.iterdir()}


def attack(parser: Parser, inputs: int, start: int) -> tuple[int, int]:
    """Give a parser so many inputs; how many there were, and how many of them it refused.

    Raises what the parser raised, when that is none of the package's own errors, for the smallest input that does it.
    """
    counts = {"tried": 0, "refused": 0}
    # A hundred thousand small files wear no disk where there is a folder in memory.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as outside:
        folder = Path(outside) / "data"

        @seed(start)
        @settings(
            max_examples=inputs,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(parser.inputs)
        def run(content: Any) -> None:
            counts["tried"] += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                with warnings.catch_warnings(action="ignore"):
                    parser.read(content, folder)
            except RDistillError as error:
                counts["refused"] += 1
                check_message(error)
            assert files_in(Path(outside)) == {"data"}, "something was written outside of the folder"

        run()
    return counts["tried"], counts["refused"]


@contextmanager
def limited_memory(gib: float = MEMORY_GIB) -> Iterator[None]:
    """So much memory above what is taken now, where the system can limit it."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(status.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (int(taken + gib * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main() -> None:
    """Attack every parser, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="kinds whose name holds this")
    args = parser.parse_args()
    with limited_memory():
        for name, reader in parsers().items():
            if args.only is None or args.only in name:
                begun = time.perf_counter()
                tried, refused = attack(reader, args.inputs, args.seed)
                print(f"{name}: {tried} inputs, {refused} refused, {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
