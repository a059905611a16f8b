"""Ten thousand photographs indexed by the shell command, which is killed five times; every photograph once, and peak memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from tqdm import tqdm

from rdistill_helpers import RetrievalNet, TrainingImages, extract, load_network, save_network
from rdistill_helpers.ship.photo_index import PhotoIndex

ROOT = Path(__file__).resolve().parents[1]
FEW = 500  # photographs whose index shows what memory the program itself takes
COMPARED = 200  # photographs that are described once more
KILLS = 5
SHAPES = [(160, 120), (120, 160), (160, 90), (120, 120)]  # as cameras have a few


def write_photographs(folder: Path, count: int, rng: random.Random) -> None:
    """Writes the training photographs of the rooms again and again, each time turned, cut and exposed otherwise."""
    rooms = TrainingImages.load("rooms")
    for number in tqdm(range(count), "photographs", unit="image"):
        image = rooms.image(number % len(rooms))
        image = ImageOps.mirror(image) if rng.random() < 0.5 else image
        left, top, right, bottom = (rng.uniform(0, 0.15) for _ in range(4))
        wide, high = image.size
        image = image.crop(
            (round(left * wide), round(top * high), round(wide - right * wide), round(high - bottom * high))
        )
        image = ImageOps.fit(image, SHAPES[number % len(SHAPES)])
        path = folder / f"{number % 100:02}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3)).save(path, quality=90)


def finished(out: Path) -> int:
    """Counts the photographs that an unfinished index has described."""
    counted = out / "described.npy.part.rows"
    try:
        return int(counted.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def index(photographs: Path, net: Path, out: Path, kill_at: float = float("inf")) -> tuple[int, int]:
    """Runs the command, and kills it once so many photographs are described; returns exit status and peak KiB."""
    command = [sys.executable, "-m", "rdistill_helpers", "index", str(photographs), "--network", str(net)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--out", str(out), "--quiet"], stdout=subprocess.DEVNULL, env=environment)
    ended, status, used = os.wait4(process.pid, os.WNOHANG)
    while not ended:
        if finished(out) >= kill_at:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.01)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_maxrss // (1024 if sys.platform == "darwin" else 1)  # bytes on macOS, else KiB


def large_index(photographs: int, rng: random.Random, folder: Path, failures: Counter) -> dict[str, Any]:
    """Indexes so many photographs, killed five times on the way; returns counts and peak memory in MiB."""
    net = folder / "net.safetensors"
    save_network(RetrievalNet("squeezenet1_1"), net)
    write_photographs(folder / "few", FEW, rng)
    write_photographs(folder / "many", photographs, rng)
    of_few = index(folder / "few", net, folder / "index of few")
    moments = sorted(rng.sample(range(1, photographs * 9 // 10), KILLS))
    runs = [index(folder / "many", net, folder / "index of many", moment) for moment in (*moments, float("inf"))]
    failures["runs that could not be resumed"] += (of_few[0] != 0) + (runs[-1][0] != 0)
    return {
        "photographs": photographs, "kills": sum(status == -signal.SIGKILL for status, _ in runs),
        "indexed": check(folder / "index of many", folder / "many", net, rng, failures),
        "peak MiB": round(max(used for _, used in runs) / 1024), "peak MiB of few": round(of_few[1] / 1024), "few": FEW,
        "compared": min(COMPARED, photographs),
    }  # fmt: skip


def check(out: Path, photographs: Path, net: Path, rng: random.Random, failures: Counter) -> int:
    """Counts photographs that are missing, twice or wrong in a finished index; returns how many are in it."""
    there = {path.relative_to(photographs).as_posix() for path in photographs.rglob("*.jpg")}
    names = json.loads((out / "index.json").read_text(encoding="utf-8"))["names"]
    failures["descriptors lost or wrong"] += len(there ^ set(names)) + len(names) - len(set(names))
    index = PhotoIndex.open(out)
    some = rng.sample(range(len(index)), min(COMPARED, len(index)))
    images = [Image.open(photographs / index.names[i]) for i in some]
    again = extract(load_network(net), images, progress=False).numpy()
    failures["descriptors lost or wrong"] += int((np.abs(again - index.descriptors[some]).max(1) > 0.01).sum())
    return len(index)
