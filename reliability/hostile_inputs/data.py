"""Readers of data sets: ground truths, training lists, photographs, archives, and what a download server answers."""

import functools
import gzip
import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import requests
import torch
from hypothesis import strategies as st
from PIL import Image

from rdistill_helpers import (
    Benchmark,
    RDistillError,
    SfMImages,
    TrainingImages,
)
from rdistill_helpers.data.folders import photographs as photographs_in
from rdistill_helpers.data.images import read_image
from rdistill_helpers.data.rooms import EDITION, open_archive
from rdistill_helpers.fetch import transfer
from rdistill_helpers.fetch.sources import File
from rdistill_helpers.fetch.unpack import pick, unpack
from reliability.hostile_inputs.making import Reader, changed, check_message, jsoned, names, pickled, put
from reliability.samples import photographs

GND = {
    "imlist": ["a", "b", "d/c"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [1.0, 2.0, 5.0, 6.0], "easy": [0], "hard": [1], "junk": [2]}],
}
GND_ARRAYS = {**GND, "gnd": [{**GND["gnd"][0], "easy": np.array([0]), "bbx": np.array([1.0, 2.0, 5.0, 6.0])}]}
SFM = {"train": {"cids": ["abcdef1", "abcdef2", "abcdef3"], "cluster": [0, 0, 1], "qidxs": [0], "pidxs": [1]}}


def picture(kind: str, mode: str = "RGB", **settings: Any) -> bytes:
    """Makes a small picture as a file."""
    buffer = io.BytesIO()
    pixels = photographs(1, (16, 24))[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **settings)
    return buffer.getvalue()


def kinds() -> list[str]:
    """Returns the kinds of photographs that this Pillow writes: HEIC and AVIF not everywhere."""
    Image.init()
    return [kind for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "MPO", "JPEG2000", "AVIF", "HEIF", "ICO",
                              "DDS", "PCX", "SGI", "QOI") if kind in Image.SAVE]  # fmt: skip


@st.composite
def damaged_exif(draw: Callable[..., Any]) -> bytes:
    """Makes a sound JPEG, PNG or WEBP with EXIF data that lie."""
    exif = Image.Exif()
    exif[274], exif[271], exif[282] = draw(st.integers(0, 9)), "Camera", 72.0
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    content = exif.tobytes()
    return picture(draw(st.sampled_from(["JPEG", "PNG", "WEBP"])), exif=content[:6] + draw(changed(content[6:])))


def read_truth(content: bytes, folder: Path) -> object:
    """Reads a ground truth beside its photographs."""
    for name in ("a", "b", "d/c", "q"):
        put(folder, f"{name}.jpg", b"")
    return Benchmark.from_pickle(put(folder, "gnd.pkl", content), folder)


def read_truth_json(content: bytes, folder: Path) -> object:
    """Reads a folder of one's own photographs with a ground truth."""
    put(folder, "gnd.json", content)
    for name in ("a", "b", "d/c", "q"):
        put(folder, f"{name}.jpg", b"")
    return Benchmark.from_folder(folder)


def read_pairs(content: bytes, folder: Path) -> object:
    """Reads the list of training photographs."""
    put(folder, "train/dbs/retrieval-SfM-120k.pkl", content)
    found = SfMImages.load("train", folder)
    return found.missing(), found.draw(1), found.pairs_within(torch.tensor([0]))


def read_photograph(content: bytes, folder: Path) -> object:
    """Reads a photograph and turns it upright, whole and made smaller."""
    with suppress(RDistillError):
        read_image(content, imsize=4)
    return read_image(content)


def read_sound(content: bytes, folder: Path) -> object:
    """Reads a photograph whose pixels are sound, which nothing beside them may hide."""
    try:
        return read_image(content)
    except RDistillError as error:
        raise AssertionError(f"a sound photograph was refused: {error}") from error


def read_folder(content: list[tuple[str, bytes]], folder: Path) -> object:
    """Reads a folder in which files have any name and any content."""
    for name, file in content:
        with suppress(OSError, ValueError):  # a name that this system refuses
            put(folder, "/".join(part for part in name.split("/") if part not in ("", "..")), file)
    for read in (photographs_in, TrainingImages.from_folder, Benchmark.from_folder):
        try:
            read(folder)
        except RDistillError as error:
            check_message(error)
    return Benchmark.from_folder(folder, queries="all")


@st.composite
def tar_archives(draw: Callable[..., Any]) -> tuple[bytes, bool]:
    """Makes a .tar.gz of photographs with entries of any kind, name and length, or with changed bytes."""
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
    """Unpacks it as an archive of training photographs and as one of a benchmark."""
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
    """Makes a rooms set of one photograph."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.txt", "one\n")
        archive.writestr("images/one.webp", picture("WEBP"))
        archive.writestr("edition.txt", f"{EDITION}\n")
        archive.writestr("gnd_rooms.pkl", pickle.dumps({**GND, "imlist": ["one"] * 3, "qimlist": ["one"]}))
    return buffer.getvalue()


def read_rooms(content: tuple[bytes, bytes], folder: Path) -> object:
    """Reads the embedded set, whose archive, checksum and labels somebody replaced."""
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


LOCK = {"networks/a.pth": {"sha256": "00", "size": 5}}


@dataclass
class Answer:
    """What a server sends: the part of a response that the package reads."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def raw(self) -> "Answer":
        """Itself."""
        return self

    def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
        """Gives the content in pieces."""
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
    """Gives a server's answers, one after another, and then the last one again."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = list(answers)

    def get(self, url: str, headers: dict[str, str], **settings: Any) -> Answer:
        """Checks the request as the library would, and gives the next answer."""
        requests.Request("GET", url, headers=headers).prepare()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def read_answers(content: tuple[list[Answer], bytes, bytes, bytes], folder: Path) -> object:
    """Downloads a file; the server, the notes of an earlier download and the record of checksums all lie."""
    served, beginning, state, lock = content
    put(folder, "networks/a.pth.part", beginning)
    put(folder, "networks/a.pth.state.part", state)
    put(folder, transfer.LOCK_FILE, lock)
    file, session = File("networks/a.pth", "http://here/a"), Session(served)
    with patch.object(transfer, "PAUSE", 0):
        return transfer.fetch(file, folder, transfer.read_lock(folder), [], session, False)  # type: ignore[arg-type]


def readers() -> dict[str, Reader]:
    """Returns the readers by what they read."""
    pictures = [picture(kind) for kind in kinds()] + [picture("PNG", "P")]
    files = st.one_of(st.sampled_from(pictures), st.sampled_from(pictures).flatmap(changed))
    inside = st.tuples(st.sampled_from(["", "tower/", "@eaDir/", "tower/x.jpg/"]), names).map("".join)
    labels = b"image,room\none,3\n"
    beginnings, lock = st.sampled_from([b"", b"\x80wh"]), st.one_of(st.just(b"{}"), jsoned(LOCK))
    return {
        "ground truth (pickle)": Reader(st.one_of(pickled(GND), pickled(GND_ARRAYS)), read_truth, 110),
        "ground truth (JSON)": Reader(jsoned(GND), read_truth_json, 80),
        "training list (pickle)": Reader(pickled(SFM), read_pairs, 80),
        "photograph": Reader(st.sampled_from(pictures).flatmap(changed), read_photograph, 110),
        "photograph with damaged EXIF": Reader(damaged_exif(), read_sound, 25),
        "folder of photographs": Reader(st.lists(st.tuples(inside, files), max_size=8), read_folder, 15),
        "archive (tar.gz)": Reader(tar_archives(), unpack_archive, 60),
        "archive (zip)": Reader(
            st.tuples(changed(rooms()), st.one_of(st.just(labels), changed(labels))), read_rooms, 40
        ),
        "answers of a server": Reader(st.tuples(answers, beginnings, jsoned(STATE), lock), read_answers, 40),
    }
