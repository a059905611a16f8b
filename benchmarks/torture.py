"""Proof by killing that no work is lost, and by hostile files that bad input is refused; writes docs/reliability.md.

    make torture                                              # the full run: 600 kills, 120,000 inputs
    python benchmarks/torture.py --kills 20 --inputs 1600     # to try it, with --report and --results somewhere else
    python benchmarks/torture.py --only scaling               # one part again, the others as they were measured

Kills. Five kinds of work run in processes of their own, forked from this one, and die by SIGKILL at seeded moments: after a
random time, or at a random file operation (opening, renaming or deleting a file, making or deleting a folder), so that the
moments between two operations are met as well. What is on the disk is compared with an undisturbed run after each kill, and
once more after the same call went on to its end.

Processes at once. Two processes share one ledger whose budget is too small for both, one descriptor file, one checkpoint and
one download; in every second round one of them is killed.

Network. Two processes with one key ask a served teacher through a proxy that drops, cuts off, changes, repeats and delays
requests and answers (faulty_proxy.py); the budget is just enough. In every second round the server is killed and starts again.

Hostile inputs. See hostile_inputs.py.

Scaling. Two processes of torchrun against one, see many_processes.py; wants a machine with nothing else to do.

Exit status 1 when anything was lost, wrong, paid twice or overspent. Needs a system that can fork (no Windows).
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import platform
import random
import re
import shutil
import signal
import sqlite3
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers import (
    BadInput,
    BlackBoxTeacher,
    BudgetExceeded,
    HttpTeacher,
    InUse,
    distill,
    download,
    extract_to_file,
)
from rdistill_helpers.data import sources, transfer
from rdistill_helpers.data.ground_truth import write_ground_truth
from rdistill_helpers.data.transfer import read_lock
from rdistill_helpers.distil import train
from rdistill_helpers.embed.serve_teacher import TeacherServer
from rdistill_helpers.embed.teacher import image_key
from rdistill_helpers.embed.teacher_keys import Key

REPORT = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
RESULTS = Path(__file__).resolve().parent / "results" / "reliability.json"
PAUSE = 0.003  # seconds that each batch of a killed process takes, so that there are many moments to kill it
FILE_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None

# What may never happen; each is counted, and the report says how often.
FAULTS = (
    "teacher queries paid twice",
    "teacher queries lost",
    "budget overspent",
    "rows lost, wrong or half",
    "files in place that are wrong or half",
    "trainings that end with other weights",
    "runs that could not go on",
    "charged twice by a served teacher",
    "answers of a served teacher lost",
    "readers that crashed",
)


@dataclass
class Work:
    """Something that a process does in a folder, and what must be true of the folder whenever that process dies.

    prepare: makes the folder. run: does the work, in the process that is killed. check(folder, faults, done): counts what is
    wrong; done: whether the work came to its end. operations: file operations of an undisturbed run, seconds: its duration.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    check: Callable[[Path, Counter, bool], None]
    operations: int = 0
    seconds: float = 0.0


# --- Processes


def start(run: Callable[[Path], None], folder: Path, die_at: int | None = None) -> BaseProcess:
    """A process that does the work; it kills itself at its file operation number `die_at`, counted in that folder."""
    assert FORK is not None
    process = FORK.Process(target=_child, args=(run, folder, die_at), daemon=True)
    process.start()
    return process


def _child(run: Callable[[Path], None], folder: Path, die_at: int | None) -> None:
    """What a process does: the work, counting file operations in the folder; its failure is left in a file."""
    torch.set_num_threads(1)
    count, place = 0, os.fspath(folder)

    def audit(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in FILE_OPERATIONS and str(arguments[0]).startswith(place):
            count += 1
            if count == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if die_at is not None:
        sys.addaudithook(audit)
    try:
        run(folder)
    except BaseException:
        Path(f"{folder}.failure").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)
    if die_at is not None:
        Path(f"{folder}.operations").write_text(str(count), encoding="utf-8")
    os._exit(0)


def ended(process: BaseProcess, folder: Path, faults: Counter) -> bool:
    """Waits for a process; whether it came to its end, False when it was killed."""
    process.join(120)
    if process.exitcode is None:
        process.kill()
        process.join()
        print(f"{folder.name}: hangs", file=sys.stderr)
        faults["runs that could not go on"] += 1
        return False
    if process.exitcode == 1:
        print(Path(f"{folder}.failure").read_text(encoding="utf-8"), file=sys.stderr)
        faults["runs that could not go on"] += 1
    return process.exitcode == 0


def measure(work: Work, folder: Path) -> None:
    """How long undisturbed work takes, and how many file operations it has."""
    faults: Counter = Counter()
    work.prepare(folder)
    begun = time.perf_counter()
    whole = ended(start(work.run, folder, die_at=10**9), folder, faults)
    work.seconds = time.perf_counter() - begun
    work.operations = int(Path(f"{folder}.operations").read_text()) if whole else 1
    work.check(folder, faults, True)
    if any(faults.values()):
        raise SystemExit(f"{work.name} fails without any kill: {dict(faults)}")


def kill(work: Work, kills: int, rng: random.Random, folder: Path, faults: Counter) -> Counter:
    """Kills the work so often, letting it go on each time, and at last to its end; counts of kills and of ends."""
    measure(work, folder / "undisturbed")
    counts: Counter = Counter()
    place, begun = folder / "0", False
    while counts["kills"] < kills:
        if not begun:
            place = folder / str(counts["ends"])
            work.prepare(place)
            begun = True
        by_clock = rng.random() < 0.5
        process = start(work.run, place, None if by_clock else rng.randint(1, max(1, work.operations // 2)))
        if by_clock:
            process.join(rng.uniform(0, work.seconds / 2))
            process.kill()
        done = ended(process, place, faults)
        if process.exitcode == -signal.SIGKILL:
            counts["kills"] += 1
            counts["by the clock" if by_clock else "at a file operation"] += 1
        work.check(place, faults, done)
        if process.exitcode == 1:
            break
        if done:
            counts["ends"] += 1
            begun = False
            shutil.rmtree(place)
    if begun:
        work.check(place, faults, ended(start(work.run, place), place, faults))
        counts["ends"] += 1
    return counts


# --- What is killed


def photographs(count: int, size: tuple[int, int] = (8, 12), seed: int = 0) -> Tensor:
    """Seeded photographs, uint8 [count, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


class Colours(nn.Module):
    """Rows [B, 6] from mean colours and their squares; slow, so that there is time to kill it."""

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, 3, H, W] -> [B, 6]."""
        time.sleep(PAUSE)
        mean = images.mean(dim=(2, 3))
        return torch.cat([mean, mean**2], dim=1)


def expected_rows(images: Tensor) -> np.ndarray:
    """What the file of an undisturbed extraction holds, computed at once."""
    mean = (images.float() / 255).mean(dim=(2, 3))
    return F.normalize(torch.cat([mean, mean**2], dim=1)).numpy()


EXTRACTED = photographs(120)


def run_extraction(folder: Path) -> None:
    """Descriptors of 120 photographs, ten at a time."""
    try:
        extract_to_file(Colours(), EXTRACTED, folder / "rows.npy", "float32", batch_size=5, at_once=10, progress=False)
    except BadInput as error:
        # It died between its last two operations, or another process was faster; the check looks at what is there.
        if "is there already" not in str(error):
            raise


def check_extraction(folder: Path, faults: Counter, done: bool) -> None:
    """All rows that count as finished are right; the file has its name only when it is whole."""
    path, wrong = folder / "rows.npy", 0
    part, counted = (folder / f"rows.npy.part{end}" for end in ("", ".rows"))
    rows = expected_rows(EXTRACTED)
    if path.exists():
        found = np.load(path)
        wrong = int((np.abs(found - rows).max(axis=1) > 1e-6).sum()) if found.shape == rows.shape else len(rows)
    elif done:
        wrong = len(rows)
    elif part.exists() and counted.exists():
        finished = int(counted.read_text())
        found = np.fromfile(part, np.float32, offset=128)[: finished * rows.shape[1]]
        if found.size < finished * rows.shape[1]:
            wrong = finished
        else:
            wrong = int((np.abs(found.reshape(-1, rows.shape[1]) - rows[:finished]).max(axis=1) > 1e-6).sum())
    faults["rows lost, wrong or half"] += wrong


def make(folder: Path) -> None:
    """An empty folder."""
    folder.mkdir(parents=True)


ASKED = photographs(120, seed=1)
KEYS = [image_key(image) for image in ASKED]
ANSWERS = F.normalize(ASKED.float().mean(dim=(2, 3)))
BATCH = 4


def answer(folder: Path, images: Tensor) -> Tensor:
    """A teacher that notes each image it is sent, in a file that no kill undoes, before it answers."""
    note = os.open(folder / "sent", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, b"".join(map(image_key, images)))
    os.close(note)
    time.sleep(PAUSE)
    return F.normalize(images.float().mean(dim=(2, 3)))


def run_queries(folder: Path) -> None:
    """Questions about 120 photographs, with just enough budget."""
    with BlackBoxTeacher(partial(answer, folder), len(ASKED), folder / "ledger", batch_size=BATCH) as teacher:
        teacher.query(ASKED, progress=False)


def sent(folder: Path) -> list[bytes]:
    """The images that the teacher was sent, in their order, as it noted them."""
    notes = (folder / "sent").read_bytes() if (folder / "sent").exists() else b""
    return [notes[start : start + 32] for start in range(0, len(notes), 32)]


def paid(folder: Path, name: str = "ledger") -> dict[bytes, np.ndarray]:
    """What a ledger holds, read without the package."""
    if not (folder / name).exists():
        return {}
    database = sqlite3.connect(folder / name, timeout=60)
    try:
        return {key: np.frombuffer(row, "<f4") for key, row in database.execute("SELECT image, row FROM paid")}
    except sqlite3.OperationalError:  # it died before there was a table
        return {}
    finally:
        database.close()


def check_queries(folder: Path, faults: Counter, done: bool) -> None:
    """Nothing that was paid is gone or was sent again; every answer in the ledger is right."""
    ledger, notes = paid(folder), sent(folder)
    seen = folder.parent / f"{folder.name}.seen"  # how much was sent, and what was paid, when it was looked at last
    before, already = pickle.loads(seen.read_bytes()) if seen.exists() else (0, set())
    faults["teacher queries paid twice"] += len(already & set(notes[before:]))
    faults["teacher queries lost"] += len(already - ledger.keys())
    right = dict(zip(KEYS, ANSWERS.numpy(), strict=True))
    faults["rows lost, wrong or half"] += sum(not np.array_equal(row, right[key]) for key, row in ledger.items())
    faults["budget overspent"] += max(0, len(ledger) - len(ASKED))
    if done:
        faults["teacher queries lost"] += len(set(KEYS) - ledger.keys())
        seen.unlink(missing_ok=True)
    else:
        seen.write_bytes(pickle.dumps((len(notes), set(ledger))))


class Student(nn.Module):
    """A small convolutional student with dropout: its noise must go on where it stopped as well."""

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
TRAINED = photographs(40, seed=2)


def run_training(folder: Path) -> None:
    """A training of 30 steps, with a checkpoint after every third; the weights that it ends with are written down."""
    train.CHECKPOINT_EVERY = 3
    teacher_rows = F.normalize(TRAINED.float().mean(dim=(2, 3)) - 120)
    student, _ = distill(
        Student(), TRAINED, teacher_rows, steps=STEPS, anchors=3, neighbours=2, interpolated=4, lr=1e-2, progress=False,
        checkpoint=folder / "student.ckpt", callback=lambda history: time.sleep(PAUSE),
    )  # fmt: skip
    weights = torch.cat([parameter.detach().flatten() for parameter in student.parameters()])
    (folder / "weights").write_bytes(weights.numpy().tobytes())


def check_training(folder: Path, faults: Counter, done: bool) -> None:
    """A checkpoint that is there is whole; at the end the weights are those of the undisturbed run, bit for bit."""
    if (folder / "student.ckpt").exists():
        try:
            state = torch.load(folder / "student.ckpt", weights_only=True)
            whole = len(state["history"]["step"]) % 3 == 0
        except Exception:
            whole = False
        faults["files in place that are wrong or half"] += not whole
    if done:
        undisturbed = folder.parent / "undisturbed" / "weights"
        faults["trainings that end with other weights"] += undisturbed.read_bytes() != (folder / "weights").read_bytes()


NETWORK = b"\x80" + np.random.default_rng(0).bytes(1_500_000)


class Server(BaseHTTPRequestHandler):
    """Serves one file, whole or from a byte on, slowly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """The answer to a request."""
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
    """The server's process; sends the port that it listens on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]  # the other side was killed
    address.send(server.server_port)
    server.serve_forever()


def run_download(port: int, folder: Path) -> None:
    """One published network."""
    file = sources.network_file(f"gl18/torture-{hashlib.sha256(NETWORK).hexdigest()[:7]}.pth")
    sources.SOURCES["torture"] = [replace(file, url=f"http://127.0.0.1:{port}/{file.path}")]
    transfer.PAUSE = 0.05
    download("torture", folder, progress=False)


def check_download(folder: Path, faults: Counter, done: bool) -> None:
    """The file is there whole or not at all, and what there is of it is its beginning."""
    files = [path for path in folder.rglob("torture-*") if path.suffix == ".pth"]
    faults["files in place that are wrong or half"] += sum(path.read_bytes() != NETWORK for path in files)
    faults["files in place that are wrong or half"] += done and len(files) != 1
    faults["files in place that are wrong or half"] += sum(
        not NETWORK.startswith(part.read_bytes()) for part in folder.rglob("torture-*.pth.part")
    )


SHOWN = {f"paris_{i:03d}.jpg": np.random.default_rng(i).bytes(20_000) for i in range(40)}


def offer_set(folder: Path) -> None:
    """A folder, and beside it one that offers a small set as RParis6k."""
    make(folder)
    offered = folder.with_name(f"{folder.name}.offered") / "rparis6k"
    offered.mkdir(parents=True)
    names = [name.removesuffix(".jpg") for name in SHOWN]
    entry: dict[str, Any] = {"bbx": [0, 0, 5, 5], "easy": [0], "hard": [1], "junk": []}
    write_ground_truth(offered / "gnd_rparis6k.pkl", names[1:], names[:1], [entry])
    halves = list(SHOWN.items())[:20], list(SHOWN.items())[20:]
    for number, half in enumerate(halves, 1):
        with tarfile.open(offered / f"paris_{number}-v1.tgz", "w:gz") as tar:
            for name, content in half:
                member = tarfile.TarInfo(f"paris/x/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def run_set(folder: Path) -> None:
    """A benchmark with two archives, which are unpacked."""
    download("rparis6k", folder, mirrors=[folder.with_name(f"{folder.name}.offered")], progress=False)


def check_set(folder: Path, faults: Counter, done: bool) -> None:
    """The folder of photographs is there with all of them, or not at all."""
    photos = folder / "rparis6k" / "jpg"
    if photos.exists() or done:
        found = {path.name: path.read_bytes() for path in photos.iterdir()} if photos.exists() else {}
        wrong = sum(found.get(name) != content for name, content in SHOWN.items()) + len(found.keys() - SHOWN.keys())
        faults["files in place that are wrong or half"] += wrong
    if done:
        recorded = {"rparis6k/gnd_rparis6k.pkl", "rparis6k/paris_1-v1.tgz", "rparis6k/paris_2-v1.tgz"}
        faults["files in place that are wrong or half"] += len(recorded - read_lock(folder).keys())


def works(port: int) -> list[Work]:
    """All that is killed. port: of the server."""
    return [
        Work("extraction to a file", make, run_extraction, check_extraction),
        Work("teacher queries", make, run_queries, check_queries),
        Work("training", make, run_training, check_training),
        Work("download", make, partial(run_download, port), check_download),
        Work("unpacking a set", offer_set, run_set, check_set),
    ]


# --- Processes at once


def run_half(part: slice, budget: int, folder: Path) -> None:
    """Questions about some of the photographs with a budget for fewer."""
    with BlackBoxTeacher(partial(answer, folder), budget, folder / "ledger", batch_size=BATCH) as teacher:
        try:
            teacher.query(ASKED[part], progress=False)
        except BudgetExceeded:
            Path(folder / f"refused {part.start}").touch()


def unless_in_use(run: Callable[[Path], None], folder: Path) -> None:
    """Work that another process may be doing: then it goes on when that one is done or dead."""
    for _ in range(1000):
        try:
            return run(folder)
        except InUse:
            time.sleep(0.02)
    raise TimeoutError("the other process never ends")


def together(port: int, rounds: int, rng: random.Random, folder: Path, faults: Counter) -> Counter:
    """Two processes at the same things, in every second round one of them killed; counts of rounds and kills."""
    counts: Counter = Counter()
    shared = [work for work in works(port) if work.name != "teacher queries"]
    for work in shared:
        measure(work, folder / work.name / "undisturbed")
    for turn in range(rounds):
        place = folder / "teacher queries" / str(turn)
        make(place)
        budget = rng.randint(40, 110)
        pair = [start(partial(run_half, part, budget), place) for part in (slice(0, 80), slice(40, 120))]
        maybe_kill(pair, 0.1, turn, rng, counts)
        for process in pair:
            ended(process, place, faults)
        ledger, notes = paid(place), sent(place)
        faults["budget overspent"] += max(0, len(ledger) - budget)
        lost = Counter(notes) - Counter(ledger.keys())  # sent by the killed process, its answer was on its way
        faults["teacher queries paid twice"] += max(0, sum(lost.values()) - BATCH * (turn % 2))
        faults["teacher queries lost"] += len(ledger.keys() - set(notes))
        right = dict(zip(KEYS, ANSWERS.numpy(), strict=True))
        faults["rows lost, wrong or half"] += sum(not np.array_equal(row, right[key]) for key, row in ledger.items())
        work = shared[turn % len(shared)]
        place = folder / work.name / str(turn)
        work.prepare(place)
        pair = [start(partial(unless_in_use, work.run), place) for _ in range(2)]
        maybe_kill(pair, work.seconds / 2, turn, rng, counts)
        done = [ended(process, place, faults) for process in pair]
        work.check(place, faults, any(done))
        counts["rounds"] += 2
    return counts


def maybe_kill(pair: list[BaseProcess], seconds: float, turn: int, rng: random.Random, counts: Counter) -> None:
    """Kills one of two processes at a random moment, in odd turns."""
    if turn % 2:
        victim = rng.choice(pair)
        victim.join(rng.uniform(0, seconds))
        victim.kill()
        victim.join()
        counts["kills"] += victim.exitcode == -signal.SIGKILL


# --- A network that does harm

KEY = "torture"
OWNER = "tester"
CLIENTS = slice(0, 80), slice(40, 120)  # of the photographs


def serve_teacher(port: int, place: Path, address: Any) -> None:
    """A served teacher's process, which sends the port that it listens on."""
    torch.set_num_threads(1)
    keys = {OWNER: Key(hashlib.sha256(KEY.encode()).hexdigest(), len(ASKED))}
    limits: dict[str, Any] = {"max_images": BATCH, "requests_per_minute": 10**9, "log": lambda line: None}
    with TeacherServer(partial(answer, place), keys, place, port=port, **limits) as server:
        address.send(server.server_port)
        server.serve_forever()


def start_teacher(port: int, place: Path) -> tuple[BaseProcess, int]:
    """The process of a served teacher, once it listens, and its port."""
    assert FORK is not None
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=serve_teacher, args=(port, place, sender), daemon=True)
    process.start()
    return process, receiver.recv()


def disturb(port: int, seed: int, line: Any) -> None:
    """The process of a faulty proxy: sends its address, and when it is told to end, what it did."""
    from faulty_proxy import FAULTS as HARM
    from faulty_proxy import PASSED, FaultyProxy

    rng = random.Random(seed)
    with FaultyProxy(port, iter(lambda: rng.choice(HARM) if rng.random() < 0.4 else PASSED, None)) as proxy:
        line.send(proxy.url)
        line.recv()
        line.send(proxy.done)


def run_client(part: slice, url: str, folder: Path) -> None:
    """Questions about some of the photographs to a served teacher, with a ledger of one's own."""
    settings: dict[str, Any] = {
        "tries": 100,
        "pause": 0.005,
        "longest_pause": 0.1,
        "timeout": (10, 10),
        "progress": False,
    }
    client = HttpTeacher(url, KEY, seed=part.start, **settings)
    with BlackBoxTeacher(client, len(ASKED), folder / f"own {part.start}", batch_size=2 * BATCH) as teacher:
        teacher.query(ASKED[part], progress=False)


def check_served(folder: Path, faults: Counter, killed: int) -> None:
    """All answers are in the server's ledger, none of them asked for twice, and each client's are in its own.

    killed: how often the server was: it may have been asking the teacher then, about one request, which it had not charged.
    """
    right = dict(zip(KEYS, ANSWERS.numpy(), strict=True))
    ledger, notes = paid(folder, f"ledger-{OWNER}.sqlite"), sent(folder)
    again = Counter(notes) - Counter(ledger.keys())
    faults["charged twice by a served teacher"] += max(0, sum(again.values()) - BATCH * killed)
    faults["budget overspent"] += max(0, len(ledger) - len(ASKED))
    held = [(KEYS, ledger), *((KEYS[part], paid(folder, f"own {part.start}")) for part in CLIENTS)]
    faults["answers of a served teacher lost"] += sum(
        not np.array_equal(rows.get(key, ()), right[key]) for keys, rows in held for key in keys
    )


def network(rounds: int, rng: random.Random, folder: Path, faults: Counter) -> Counter:
    """Two processes ask a served teacher through a faulty proxy; counts of what was done to requests, and of kills."""
    assert FORK is not None
    counts: Counter = Counter()
    for turn in range(rounds):
        place = folder / str(turn)
        make(place)
        server, port = start_teacher(0, place)
        ours, theirs = FORK.Pipe()
        proxy = FORK.Process(target=disturb, args=(port, rng.randrange(2**32), theirs), daemon=True)
        proxy.start()
        url = ours.recv()
        pair = [start(partial(run_client, part, url), place) for part in CLIENTS]
        if turn % 2:
            pair[0].join(rng.uniform(0, 0.5))
            server.kill()
            server.join()
            counts["kills"] += 1
            server, port = start_teacher(port, place)
        for process in pair:
            ended(process, place, faults)
        ours.send("end")
        counts.update(ours.recv())
        server.kill()
        server.join()
        proxy.kill()
        proxy.join()
        check_served(place, faults, killed=turn % 2)
        counts["rounds"] += 1
    return counts


# --- The whole run


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine() -> str:
    """What this ran on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} CPU cores, {memory:.0f} GiB memory; Python "
        f"{platform.python_version()}, PyTorch {torch.__version__.split('+')[0]}, NumPy {np.__version__}"
    )


def part_kills(args: argparse.Namespace, folder: Path, port: int, faults: Counter) -> dict[str, Any]:
    """Kills by kind of work."""
    rng = random.Random(args.seed)
    tasks, killed = works(port), {}
    for number, work in enumerate(tasks):
        share = args.kills // len(tasks) + (number < args.kills % len(tasks))
        make(folder / work.name)
        killed[work.name] = dict(kill(work, share, rng, folder / work.name, faults))
        print(f"{work.name}: {killed[work.name]['kills']} kills", flush=True)
    return killed


def part_scaling(args: argparse.Namespace, folder: Path, port: int, faults: Counter) -> dict[str, Any]:
    """One process against two."""
    import many_processes

    return many_processes.compare(folder, many_processes.parser().parse_args(["--rounds", str(args.scaling)]))


PARTS: dict[str, Callable[[argparse.Namespace, Path, int, Counter], Any]] = {
    "kills": part_kills,
    "together": lambda args, folder, port, faults: together(port, args.pairs, random.Random(args.seed), folder, faults),
    "network": lambda args, folder, port, faults: network(args.networks, random.Random(args.seed), folder, faults),
    "inputs": lambda args, folder, port, faults: hostile_inputs(args.inputs, args.seed, faults),
    "scaling": part_scaling,
}


def main() -> None:
    """Torture everything, write the report, fail when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=600, help="processes killed one at a time, over five kinds of work"
    )
    parser.add_argument("--pairs", type=int, default=40, help="rounds of two processes at once on each of two things")
    parser.add_argument("--networks", type=int, default=20, help="rounds of two clients behind a faulty proxy")
    parser.add_argument("--inputs", type=int, default=120_000, help="hostile inputs, over all parsers")
    parser.add_argument("--scaling", type=int, default=3, help="rounds of one process and of two")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="do these parts again; the report keeps the others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go, and those of others are")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    args = parser.parse_args()
    if FORK is None:
        parser.error("this system cannot fork processes: run it on Linux or macOS")
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports half of PyTorch, else once in every process
    receiver, sender = FORK.Pipe(duplex=False)
    server = FORK.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    port = receiver.recv()
    results = json.loads(args.results.read_text(encoding="utf-8")) if args.only and args.results.exists() else {}
    for name in args.only or PARTS:
        begun, faults = time.perf_counter(), Counter()
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](args, Path(folder), port, faults)
        seconds = time.perf_counter() - begun
        lost = {fault: count for fault, count in faults.items() if count}
        results[name] = {"figures": figures, "faults": lost, "seconds": round(seconds), "machine": machine()}
        print(f"{name}: {seconds:.0f} s, {lost or 'nothing was lost'}", flush=True)
        for path, text in ((args.results, json.dumps(results, indent=1)), (args.report, report(results))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n", encoding="utf-8")
    server.kill()
    sys.exit(any(results[name]["faults"] for name in results))


def hostile_inputs(total: int, seed: int, faults: Counter) -> list[tuple[str, int, int]]:
    """(parser, inputs, refused) of each, by their shares of the total; as many at once as there are processors."""
    import hostile_inputs as hostile

    assert FORK is not None
    shares = {name: parser.share for name, parser in hostile.parsers().items()}
    tasks = [(name, -(-total * share // sum(shares.values())), seed) for name, share in shares.items()]
    results = []
    with FORK.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, tried, refused in pool.imap(attack, tasks, chunksize=1):
            if tried:
                results.append((name, tried, refused))
                print(f"{name}: {tried:,} inputs", flush=True)
            else:
                faults["readers that crashed"] += 1
    return results


def attack(task: tuple[str, int, int]) -> tuple[str, int, int]:
    """Inputs of one parser, and how many of them it refused; none where it crashed, which is printed."""
    import hostile_inputs as hostile

    name, inputs, seed = task
    try:
        with hostile.limited_memory():
            return (name, *hostile.attack(hostile.parsers()[name], inputs, seed))
    except Exception:
        traceback.print_exc()
        return name, 0, 0


def report(results: dict[str, Any]) -> str:
    """The text of docs/reliability.md, from what was measured so far."""
    figures = {name: results.get(name, {}).get("figures", {}) for name in PARTS}
    killed, inputs = figures["kills"], figures["inputs"]
    pairs, net = Counter(figures["together"]), Counter(figures["network"])
    kills = sum(counts["kills"] for counts in killed.values()) + pairs["kills"] + net["kills"]
    harm = {name: count for name, count in net.items() if name not in ("kills", "rounds", "passed on")}
    late = net["delayed"] + net["request repeated"]
    lost = sum(harm.values()) - late  # the request or its answer did not arrive as it was sent
    ratios = [
        (work, *measured["seconds"], *measured["processor seconds"]) for work, measured in figures["scaling"].items()
    ]
    summary: list[tuple[str, object]] = [
        ("processes killed", kills),
        ("rounds of two processes at once", pairs["rounds"]),
        ("requests dropped by the network", f"{lost:,}"),
        ("bad inputs tried", f"{sum(tried for _, tried, _ in inputs):,}"),
        *((fault, sum(part["faults"].get(fault, 0) for part in results.values())) for fault in FAULTS),
        *((f"two processes against one (speed ratio), {work}", f"{one / two:.2f}") for work, one, two, *_ in ratios),
    ]
    by_work = [
        (work, *(counts.get(kind, 0) for kind in ("kills", "by the clock", "at a file operation", "ends")))
        for work, counts in killed.items()
    ]
    by_reader = [(name, f"{tried:,}", f"{refused:,}") for name, tried, refused in inputs]
    scaling = [
        (work, f"{one:.2f} to {two:.2f}", f"{one / two:.2f}", f"{busy:.2f} to {half:.2f}", f"{busy / half:.2f}")
        for work, one, two, busy, half in ratios
    ]
    minutes = ", ".join(f"{name} {part['seconds'] / 60:.1f}" for name, part in results.items())
    machines = "; or ".join(sorted({part["machine"] for part in results.values()}))
    return f"""# Reliability, measured

`make torture` wrote this page. It kills processes while they work, lets two of them work on the same files, asks a served
teacher over a network that loses and changes what is sent, and feeds damaged and hostile files to everything that reads
files of others. `benchmarks/torture.py` says how, and does single parts again with `--only`.

Machine: {machines}.

Minutes of each part, on a machine that may have had other work: {minutes}.

{table(("what", "how often"), summary)}

## Killed processes

Each was killed by SIGKILL, after a random time or at a random file operation, and the same call was made again. "Came to their
end" counts the runs, each killed several times, that in the end held the same files, rows and weights as an undisturbed run,
bit for bit.

{table(("work", "kills", "by the clock", "at a file operation", "came to their end"), by_work)}

A query is paid when its answer is in the ledger. A process that dies while the teacher is answering has nothing in its ledger
yet and asks again, one batch at most. A [served teacher](http-teacher.md) tells such a repeated request from a new one and
does not charge it.

## Requests over a network that does harm

In each of {net["rounds"]} rounds two processes with one key asked a served teacher about 120 photographs, for which the
budget was just enough. {net["passed on"]:,} requests went through, {lost:,} came to nothing, or their answers did, and
{late:,} were repeated or delayed. The server was killed and started again {net["kills"]} times. "Charged twice" counts
images that the teacher described again although the ledger had their answer, "lost" those whose answer was not in both
ledgers in the end, the server's and the client's.

{table(("what happened to a request", "how often"), sorted(harm.items()))}

## Bad inputs

Read, or refused by an error of one line that says what is wrong; nothing was written outside the given folder.

{table(("reader", "inputs", "refused"), by_reader)}

## Two processes against one

Seconds and processor seconds (of the busier process) of one process and of two, each the best of its rounds, and their
ratios, 2 at best. On a machine that has other work to do, seconds say little; see [many-machines.md](many-machines.md).
`python benchmarks/torture.py --only scaling` measures these rows again.

{table(("work", "seconds", "ratio", "processor seconds", "ratio"), scaling)}
"""


if __name__ == "__main__":
    main()
