"""Two processes at the same work, on one disk and through a faulty proxy."""

import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from rdistill_helpers import BlackBoxTeacher, BudgetExceeded, InUse
from rdistill_helpers.serve import HttpTeacher, TeacherServer
from reliability.processes import FORK, ended, maybe_kill, measure, start
from reliability.proxy import FAULTS, PASSED, FaultyProxy
from reliability.works import ANSWERS, ASKED, BATCH, KEYS, answer, make, paid, sent, works

# --- On one disk


def run_half(part: slice, budget: int, folder: Path) -> None:
    """Asks about some of the photographs with a budget for fewer."""
    with BlackBoxTeacher(partial(answer, folder), budget, folder / "ledger", "colours", batch_size=BATCH) as teacher:
        try:
            teacher.query(ASKED[part], progress=False)
        except BudgetExceeded:
            Path(folder / f"refused {part.start}").touch()


def unless_in_use(run: Callable[[Path], None], folder: Path) -> None:
    """Does work that another process may be doing, once that one is done or dead."""
    for _ in range(1000):
        try:
            return run(folder)
        except InUse:
            time.sleep(0.02)
    raise TimeoutError("the other process never ends")


def together(port: int, rounds: int, rng: random.Random, folder: Path, failures: Counter) -> Counter:
    """Runs two processes at the same work and kills one in every second round; returns counts of rounds and kills."""
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
            ended(process, place, failures)
        ledger, notes = paid(place), sent(place)
        failures["budget overspent"] += max(0, len(ledger) - budget)
        lost = Counter(notes) - Counter(ledger.keys())  # sent by the killed process, its answer was on its way
        failures["teacher queries paid twice"] += max(0, sum(lost.values()) - BATCH * (turn % 2))
        failures["teacher queries lost"] += len(ledger.keys() - set(notes))
        right = dict(zip(KEYS, ANSWERS.numpy(), strict=True))
        failures["descriptors lost or wrong"] += sum(not np.array_equal(row, right[key]) for key, row in ledger.items())
        work = shared[turn % len(shared)]
        place = folder / work.name / str(turn)
        work.prepare(place)
        pair = [start(partial(unless_in_use, work.run), place) for _ in range(2)]
        maybe_kill(pair, work.seconds / 2, turn, rng, counts)
        done = [ended(process, place, failures) for process in pair]
        work.check(place, failures, any(done))
        counts["rounds"] += 2
    return counts


# --- Through a faulty proxy

KEY = "torture"
OWNER = "tester"
CLIENTS = slice(0, 80), slice(40, 120)  # of the photographs


def serve_teacher(port: int, place: Path, address: Any) -> None:
    """Serves a teacher in its process and sends the port that it listens on."""
    torch.set_num_threads(1)
    keys = {OWNER: {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "budget": len(ASKED)}}
    limits: dict[str, Any] = {"max_images": BATCH, "requests_per_minute": 10**9, "log": lambda line: None}
    server = TeacherServer(partial(answer, place), keys, place, port=port, **limits)
    address.send(urlsplit(server.url).port)
    server.serve_forever()


def start_teacher(port: int, place: Path) -> tuple[BaseProcess, int]:
    """Starts a served teacher; returns its process and, once it listens, its port."""
    assert FORK is not None
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=serve_teacher, args=(port, place, sender), daemon=True)
    process.start()
    return process, receiver.recv()


def disturb(port: int, seed: int, line: Any) -> None:
    """Runs a faulty proxy in its process; sends its address, and what it did when it is told to end."""
    rng = random.Random(seed)
    with FaultyProxy(port, iter(lambda: rng.choice(FAULTS) if rng.random() < 0.4 else PASSED, None)) as proxy:
        line.send(proxy.url)
        line.recv()
        line.send(proxy.done)


def run_client(part: slice, url: str, folder: Path) -> None:
    """Asks a served teacher about some of the photographs, with a ledger of its own."""
    logging.disable()  # a line for each request that is tried again
    client = HttpTeacher(url, KEY, tries=100, pause=0.005, longest_pause=0.1, timeout=(10, 10))
    with BlackBoxTeacher(client, len(ASKED), folder / f"own {part.start}", "colours", batch_size=2 * BATCH) as teacher:
        teacher.query(ASKED[part], progress=False)


def check_served(folder: Path, failures: Counter, killed: int) -> None:
    """Counts answers that are missing in the server's or the client's ledger, and images that were charged twice.

    killed: How often the server was killed. Each time it may have lost one request that it had not charged yet.
    """
    right = dict(zip(KEYS, ANSWERS.numpy(), strict=True))
    ledger, notes = paid(folder, f"ledger-{OWNER}.sqlite"), sent(folder)
    again = Counter(notes) - Counter(ledger.keys())
    failures["images charged twice by a served teacher"] += max(0, sum(again.values()) - BATCH * killed)
    failures["budget overspent"] += max(0, len(ledger) - len(ASKED))
    held = [(KEYS, ledger), *((KEYS[part], paid(folder, f"own {part.start}")) for part in CLIENTS)]
    failures["answers of a served teacher lost"] += sum(
        not np.array_equal(rows.get(key, ()), right[key]) for keys, rows in held for key in keys
    )


def network(rounds: int, rng: random.Random, folder: Path, failures: Counter) -> Counter:
    """Lets two processes ask a served teacher through a faulty proxy; returns counts of faults and of kills."""
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
            ended(process, place, failures)
        ours.send("end")
        counts.update(ours.recv())
        server.kill()
        server.join()
        proxy.kill()
        proxy.join()
        check_served(place, failures, killed=turn % 2)
        counts["rounds"] += 1
    return counts
