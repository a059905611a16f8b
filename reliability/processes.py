"""Processes that work in a folder and are killed at seeded moments, and the failures that are counted."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

FILE_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None

# What must never happen; the report says how often it did.
FAILURES = (
    "teacher queries paid twice",
    "teacher queries lost",
    "budget overspent",
    "descriptors lost or wrong",
    "wrong or unfinished files in place",
    "trainings that end with other weights",
    "runs that could not be resumed",
    "images charged twice by a served teacher",
    "answers of a served teacher lost",
    "readers that crashed",
)


@dataclass
class Work:
    """What a process does in a folder, and what must be true of the folder whenever the process dies.

    Attributes:
        name: What it is called in the report.
        prepare: Makes the folder.
        run: Does the work, in the process that is killed.
        check: Called with folder, failures and whether the work is done; counts what is wrong.
        operations: File operations of an undisturbed run.
        seconds: Duration of an undisturbed run.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    check: Callable[[Path, Counter, bool], None]
    operations: int = 0
    seconds: float = 0.0


def start(run: Callable[[Path], None], folder: Path, die_at: int | None = None) -> BaseProcess:
    """Starts a process that does the work and kills itself at its file operation number `die_at` in the folder."""
    assert FORK is not None
    process = FORK.Process(target=_child, args=(run, folder, die_at), daemon=True)
    process.start()
    return process


def _child(run: Callable[[Path], None], folder: Path, die_at: int | None) -> None:
    """Does the work in its process and counts file operations in the folder; an error is written to a file."""
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


def ended(process: BaseProcess, folder: Path, failures: Counter) -> bool:
    """Waits for a process; returns whether it finished, False when it was killed."""
    process.join(120)
    if process.exitcode is None:
        process.kill()
        process.join()
        print(f"{folder.name}: hangs", file=sys.stderr)
        failures["runs that could not be resumed"] += 1
        return False
    if process.exitcode == 1:
        print(Path(f"{folder}.failure").read_text(encoding="utf-8"), file=sys.stderr)
        failures["runs that could not be resumed"] += 1
    return process.exitcode == 0


def measure(work: Work, folder: Path) -> None:
    """Measures how long undisturbed work takes and how many file operations it has."""
    failures: Counter = Counter()
    work.prepare(folder)
    begun = time.perf_counter()
    whole = ended(start(work.run, folder, die_at=10**9), folder, failures)
    work.seconds = time.perf_counter() - begun
    work.operations = int(Path(f"{folder}.operations").read_text()) if whole else 1
    work.check(folder, failures, True)
    if any(failures.values()):
        raise SystemExit(f"{work.name} fails without any kill: {dict(failures)}")


def kill(work: Work, kills: int, rng: random.Random, folder: Path, failures: Counter) -> Counter:
    """Kills the work so often, resumes it each time, and lets it finish at last; returns counts of kills and ends."""
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
        done = ended(process, place, failures)
        if process.exitcode == -signal.SIGKILL:
            counts["kills"] += 1
            counts["by the clock" if by_clock else "at a file operation"] += 1
        work.check(place, failures, done)
        if process.exitcode == 1:
            break
        if done:
            counts["ends"] += 1
            begun = False
            shutil.rmtree(place)
    if begun:
        work.check(place, failures, ended(start(work.run, place), place, failures))
        counts["ends"] += 1
    return counts


def maybe_kill(pair: list[BaseProcess], seconds: float, turn: int, rng: random.Random, counts: Counter) -> None:
    """Kills one of two processes at a random moment, in odd turns."""
    if turn % 2:
        victim = rng.choice(pair)
        victim.join(rng.uniform(0, seconds))
        victim.kill()
        victim.join()
        counts["kills"] += victim.exitcode == -signal.SIGKILL
