"""The six kinds of work that are killed, each with what must be true of its folder whenever it dies."""

import hashlib
import io
import json
import os
import pickle
import re
import sqlite3
import tarfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from rdistill_helpers import BadInput, BlackBoxTeacher, distill, download, extract_to_file
from rdistill_helpers.distil import checkpoint
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.embed.black_box import image_key
from rdistill_helpers.fetch import sources, transfer
from rdistill_helpers.fetch.transfer import read_lock
from rdistill_helpers.ship.indexing import index_photographs
from reliability.processes import Work
from reliability.samples import colours, photographs

SIZE = (8, 12)  # of the photographs
PAUSE = 0.003  # seconds that each batch of a killed process takes, so that there are many moments to kill it


class Colours(nn.Module):
    """A network: mean colours and their squares, slow enough to be killed at work."""

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, 3, H, W] -> [B, 6]."""
        time.sleep(PAUSE)
        mean = images.mean(dim=(2, 3))
        return torch.cat([mean, mean**2], dim=1)


def expected_descriptors(images: Tensor) -> np.ndarray:
    """Computes at once what an undisturbed extraction writes."""
    mean = (images.float() / 255).mean(dim=(2, 3))
    return F.normalize(torch.cat([mean, mean**2], dim=1)).numpy()


EXTRACTED = photographs(120, SIZE)


def run_extraction(folder: Path) -> None:
    """Writes descriptors of 120 photographs, ten at a time."""
    try:
        extract_to_file(
            Colours(), EXTRACTED, folder / "descriptors.npy", "float32", batch_size=5, at_once=10, progress=False
        )
    except BadInput as error:
        # It died between its last two operations, or another process was faster; the check looks at what is there.
        if "is there already" not in str(error):
            raise


def check_extraction(folder: Path, failures: Counter, done: bool) -> None:
    """Counts wrong ones among the finished descriptors; the file has its name only when it is whole."""
    path, wrong = folder / "descriptors.npy", 0
    part, counted = (folder / f"descriptors.npy.part{end}" for end in ("", ".rows"))
    expected = expected_descriptors(EXTRACTED)
    if path.exists():
        found = np.load(path)
        wrong = (
            int((np.abs(found - expected).max(axis=1) > 1e-6).sum()) if found.shape == expected.shape else len(expected)
        )
    elif done:
        wrong = len(expected)
    elif part.exists() and counted.exists():
        finished = int(counted.read_text())
        found = np.fromfile(part, np.float32, offset=128)[: finished * expected.shape[1]]
        if found.size < finished * expected.shape[1]:
            wrong = finished
        else:
            wrong = int((np.abs(found.reshape(-1, expected.shape[1]) - expected[:finished]).max(axis=1) > 1e-6).sum())
    failures["descriptors lost or wrong"] += wrong


INDEXED = photographs(60, SIZE, seed=3)
DAMAGED = (7, 40)  # of them


def write_photographs(folder: Path) -> None:
    """Makes a folder, and beside those of all runs one of photographs, two of them cut off."""
    make(folder)
    if not (shown := folder.parent / "photographs").exists():
        shown.mkdir()
        for number, pixels in enumerate(INDEXED):
            path = shown / f"{number:03}.png"
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
            path.write_bytes(path.read_bytes()[: -30 if number in DAMAGED else None])


def run_index(folder: Path) -> None:
    """Indexes the photographs, ten at a time, and leaves the damaged ones out."""
    index_photographs(
        Colours(), folder.parent / "photographs", folder / "index", "colours", skip_bad=True, batch_size=5, at_once=10,
        progress=False,
    )  # fmt: skip


def check_index(folder: Path, failures: Counter, done: bool) -> None:
    """Counts photographs that are missing, twice or wrong in a finished index, and damaged ones that are in it."""
    described = folder / "index" / "index.json"
    if not described.exists():
        failures["descriptors lost or wrong"] += len(INDEXED) if done else 0
        return
    names = json.loads(described.read_text())["names"]
    right = dict(zip([f"{i:03}.png" for i in range(len(INDEXED))], expected_descriptors(INDEXED), strict=True))
    found = dict(zip(names, np.load(folder / "index" / "descriptors.npy"), strict=True))
    failures["descriptors lost or wrong"] += (
        len(names)
        - len(found)
        + sum(
            (name in found) == (i in DAMAGED) or (name in found and np.abs(found[name] - right[name]).max() > 1e-3)
            for i, name in enumerate(right)
        )
    )


def make(folder: Path) -> None:
    """Makes an empty folder."""
    folder.mkdir(parents=True)


ASKED = photographs(120, SIZE, seed=1)
KEYS = [image_key(image) for image in ASKED]
ANSWERS = colours(ASKED)
BATCH = 4


def answer(folder: Path, images: Tensor) -> Tensor:
    """A teacher that notes each image it is sent, in a file that no kill undoes, before it answers."""
    note = os.open(folder / "sent", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, b"".join(map(image_key, images)))
    os.close(note)
    time.sleep(PAUSE)
    return colours(images)


def run_queries(folder: Path) -> None:
    """Asks about 120 photographs with just enough budget."""
    with BlackBoxTeacher(
        partial(answer, folder), len(ASKED), folder / "ledger", "colours", batch_size=BATCH
    ) as teacher:
        teacher.query(ASKED, progress=False)


def sent(folder: Path) -> list[bytes]:
    """Reads which images the teacher was sent, in their order, as it noted them."""
    notes = (folder / "sent").read_bytes() if (folder / "sent").exists() else b""
    return [notes[start : start + 32] for start in range(0, len(notes), 32)]


def paid(folder: Path, name: str = "ledger") -> dict[bytes, np.ndarray]:
    """Reads a ledger without the package."""
    if not (folder / name).exists():
        return {}
    database = sqlite3.connect(folder / name, timeout=60)
    try:
        return {key: np.frombuffer(row, "<f4") for key, row in database.execute("SELECT image, row FROM paid")}
    except sqlite3.OperationalError:  # it died before there was a table
        return {}
    finally:
        database.close()


def check_queries(folder: Path, failures: Counter, done: bool) -> None:
    """Counts paid answers that are gone, wrong or were asked for again."""
    ledger, notes = paid(folder), sent(folder)
    seen = folder.parent / f"{folder.name}.seen"  # how much was sent, and what was paid, when it was looked at last
    before, already = pickle.loads(seen.read_bytes()) if seen.exists() else (0, set())
    failures["teacher queries paid twice"] += len(already & set(notes[before:]))
    failures["teacher queries lost"] += len(already - ledger.keys())
    right = dict(zip(KEYS, ANSWERS.numpy(), strict=True))
    failures["descriptors lost or wrong"] += sum(not np.array_equal(row, right[key]) for key, row in ledger.items())
    failures["budget overspent"] += max(0, len(ledger) - len(ASKED))
    if done:
        failures["teacher queries lost"] += len(set(KEYS) - ledger.keys())
        seen.unlink(missing_ok=True)
    else:
        seen.write_bytes(pickle.dumps((len(notes), set(ledger))))


class Student(nn.Module):
    """A small convolutional student with dropout, whose noise must resume too."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolution, self.dropout, self.head = nn.Conv2d(3, 8, 3), nn.Dropout(0.2), nn.Linear(8, 6)
        self.register_buffer("ballast", torch.zeros(1_000_000))  # so that writing a checkpoint takes its time
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, 3, H, W] -> [B, 6]."""
        return F.normalize(self.head(self.dropout(self.convolution(images).relu().mean(dim=(2, 3)))))


STEPS = 30
TRAINED = photographs(40, SIZE, seed=2)


def run_training(folder: Path) -> None:
    """Trains for 30 steps with a checkpoint after every third, and writes the last weights."""
    checkpoint.EVERY = 3
    teacher_rows = F.normalize(TRAINED.float().mean(dim=(2, 3)) - 120)
    student, _ = distill(
        Student(), TRAINED, teacher_rows, anchors=3, neighbours=2, mixtures=Mixtures(count=4),
        training=Training(steps=STEPS, lr=1e-2, progress=False), checkpoint=folder / "student.ckpt",
        callback=lambda history: time.sleep(PAUSE),
    )  # fmt: skip
    weights = torch.cat([parameter.detach().flatten() for parameter in student.parameters()])
    (folder / "weights").write_bytes(weights.numpy().tobytes())


def check_training(folder: Path, failures: Counter, done: bool) -> None:
    """Counts damaged checkpoints, and last weights that differ from the undisturbed run's in any bit."""
    if (folder / "student.ckpt").exists():
        try:
            state = torch.load(folder / "student.ckpt", weights_only=True)
            whole = len(state["history"]["step"]) % 3 == 0
        except Exception:
            whole = False
        failures["wrong or unfinished files in place"] += not whole
    if done:
        undisturbed = folder.parent / "undisturbed" / "weights"
        failures["trainings that end with other weights"] += (
            undisturbed.read_bytes() != (folder / "weights").read_bytes()
        )


NETWORK = b"\x80" + np.random.default_rng(0).bytes(1_500_000)


class Server(BaseHTTPRequestHandler):
    """Serves one file slowly, whole or from a byte on."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Logs nothing."""

    def do_GET(self) -> None:
        """Answers a request."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        self.send_response(206 if asked and first < len(NETWORK) else 416 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(NETWORK) - 1}/{len(NETWORK)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(NETWORK) - first))
        self.end_headers()
        for start in range(first, len(NETWORK), 40_000):
            self.wfile.write(NETWORK[start : start + 40_000][: len(NETWORK) - start])
            time.sleep(PAUSE)


def serve(address: Any) -> None:
    """Runs the server in its process and sends the port that it listens on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]  # the other side was killed
    address.send(server.server_port)
    server.serve_forever()


def run_download(port: int, folder: Path) -> None:
    """Downloads one published network."""
    file = sources.network_file(f"gl18/torture-{hashlib.sha256(NETWORK).hexdigest()[:7]}.pth")
    sources.SOURCES["torture"] = [replace(file, url=f"http://127.0.0.1:{port}/{file.path}")]
    transfer.PAUSE = 0.05
    download("torture", folder, progress=False)


def check_download(folder: Path, failures: Counter, done: bool) -> None:
    """Counts files that are not whole, and unfinished ones that are not its beginning."""
    files = [path for path in folder.rglob("torture-*") if path.suffix == ".pth"]
    failures["wrong or unfinished files in place"] += sum(path.read_bytes() != NETWORK for path in files)
    failures["wrong or unfinished files in place"] += done and len(files) != 1
    failures["wrong or unfinished files in place"] += sum(
        not NETWORK.startswith(part.read_bytes()) for part in folder.rglob("torture-*.pth.part")
    )


SHOWN = {f"paris_{i:03d}.jpg": np.random.default_rng(i).bytes(20_000) for i in range(40)}


def offer_set(folder: Path) -> None:
    """Makes a folder, and beside it one that offers a small set as RParis6k."""
    make(folder)
    offered = folder.with_name(f"{folder.name}.offered") / "rparis6k"
    offered.mkdir(parents=True)
    names = [name.removesuffix(".jpg") for name in SHOWN]
    entry: dict[str, Any] = {"bbx": [0, 0, 5, 5], "easy": [0], "hard": [1], "junk": []}
    truth = {"imlist": names[1:], "qimlist": names[:1], "gnd": [entry]}
    (offered / "gnd_rparis6k.pkl").write_bytes(pickle.dumps(truth))
    halves = list(SHOWN.items())[:20], list(SHOWN.items())[20:]
    for number, half in enumerate(halves, 1):
        with tarfile.open(offered / f"paris_{number}-v1.tgz", "w:gz") as tar:
            for name, content in half:
                member = tarfile.TarInfo(f"paris/x/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def run_set(folder: Path) -> None:
    """Downloads and unpacks a benchmark of two archives."""
    download("rparis6k", folder, mirrors=[folder.with_name(f"{folder.name}.offered")], progress=False)


def check_set(folder: Path, failures: Counter, done: bool) -> None:
    """Counts photographs that are missing, wrong or too many; the folder has its name only when it is whole."""
    photos = folder / "rparis6k" / "jpg"
    if photos.exists() or done:
        found = {path.name: path.read_bytes() for path in photos.iterdir()} if photos.exists() else {}
        wrong = sum(found.get(name) != content for name, content in SHOWN.items()) + len(found.keys() - SHOWN.keys())
        failures["wrong or unfinished files in place"] += wrong
    if done:
        recorded = {"rparis6k/gnd_rparis6k.pkl", "rparis6k/paris_1-v1.tgz", "rparis6k/paris_2-v1.tgz"}
        failures["wrong or unfinished files in place"] += len(recorded - read_lock(folder).keys())


def works(port: int) -> list[Work]:
    """Lists all that is killed; `port` is the server's."""
    return [
        Work("extraction to a file", make, run_extraction, check_extraction),
        Work("index of photographs", write_photographs, run_index, check_index),
        Work("teacher queries", make, run_queries, check_queries),
        Work("training", make, run_training, check_training),
        Work("download", make, partial(run_download, port), check_download),
        Work("unpacking a set", offer_set, run_set, check_set),
    ]
