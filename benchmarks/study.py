"""The study: how far each method gets with how few photographs, and whether interpolated samples help.

    make study                                                # all of it, some hours on two cores; goes on where it was
    python benchmarks/study.py --methods listwise --images 300 --seeds 0 1 --jobs 2
    python benchmarks/study.py --summary                      # means, intervals and paired tests of what is there

The student is that of `fast_student.py`. Every run is one row of benchmarks/results/study.csv with the average precision of
each query beside the means, so that intervals can be drawn over seeds and queries. Rows that are there are not computed again.

Settings of every method are chosen on 300 photographs drawn with a seed of their own (the question `tuning` of
`regimes.py`) by medium mAP, and stay the same for all numbers of photographs; a batch is smaller where there are fewer than 48.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import regimes
import torch
from data_efficiency import append, as_text, read
from fast_student import DEFAULT, data, prepared, score, train
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers import RetrievalNet
from rdistill_helpers.score.uncertainty import bootstrap, paired_bootstrap, sign_flip_test

RESULTS = Path(__file__).parent / "results" / "study.csv"
SIZES = [25, 50, 100, 300, 1000, 3020]
SEEDS = [0, 1, 2, 3, 4]
OURS = {"loss": "listwise", "regression": 2.0}
ORDER = {"loss": "listmle"}
MIXED = {"mixtures": 48}

# What is fixed of each method; the rest is chosen among the rows of `regimes.py` with the same loss.
METHODS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "supervised-contrastive": {"loss": "supervised-contrastive"},
    "supervised-multi-similarity": {"loss": "supervised-multi-similarity"},
    "listwise": {"loss": "listwise"},
    "listwise+interpolated": {"loss": "listwise", **MIXED},
    "listwise+regression": OURS,
    "listwise+regression+interpolated": {**OURS, **MIXED},
    "order": ORDER,
    "order+interpolated": {**ORDER, **MIXED},
    # Which photographs to pay for: the best method on a choice among all of them, made without the teacher.
    "paid-random": {**OURS, "choice": "random"},
    "paid-k-centre": {**OURS, "choice": "k-centre"},
    "paid-clusters": {**OURS, "choice": "clusters"},
    "regression": {"loss": "regression"},
    "rkd-distance": {"loss": "rkd_distance"},
    "rkd-distance-angle": {"loss": "rkd"},
    "darkrank": {"loss": "darkrank_hard"},
    "darkrank+interpolated": {"loss": "darkrank_hard", **MIXED},
    "similarity-preserving": {"loss": "similarity_preserving"},
    "pkt": {"loss": "pkt"},
    "pkt+interpolated": {"loss": "pkt", **MIXED},
}


def chosen(method: str) -> dict[str, Any]:
    """The settings of a method: the best of its loss in the search, on the seed that only chooses."""
    loss = METHODS[method].get("loss")
    tried = [
        (float(row["medium"]), json.loads(row["settings"]))
        for row in read(regimes.RESULTS)
        if int(row["seed"]) == regimes.TUNING_SEED
    ]
    own = [(medium, found) for medium, found in tried if found in regimes.tuning_of(loss)]
    best = max(own, key=lambda pair: pair[0])[1] if own else {}
    return {**best, **METHODS[method]}


def settings_of(method: str, images: int) -> dict[str, Any]:
    """What differs from `DEFAULT` in a run."""
    if method == "frozen":
        return {}
    fewer = {"anchors": images // (1 + DEFAULT["neighbours"])} if images < 48 else {}
    return {**chosen(method), **fewer, "images": images}


def row(method: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train, score, describe."""
    data()
    began = time.perf_counter()
    frozen = method == "frozen"
    net = RetrievalNet().eval() if frozen else train(DEFAULT | settings, seed)
    seconds = 0.0 if frozen else time.perf_counter() - began
    report = score(net)
    images = settings.get("images", 0)
    return {
        "method": method,
        "images": images,
        "teacher_queries": 0 if method.startswith("supervised") else images,
        "seed": seed,
        **{name: f"{getattr(report, name).mAP:.6f}" for name in ("easy", "medium", "hard")},
        "seconds": f"{seconds:.1f}",
        "settings": as_text(settings),
        "medium_ap": " ".join(f"{value:.4f}" for value in report.medium.ap.tolist()),
    }


def plan(methods: list[str], sizes: list[int], seeds: list[int]) -> Iterator[tuple[str, dict[str, Any], int]]:
    """The runs: all methods of a seed before the next seed, so that a study that was stopped compares what it has."""
    for seed in seeds:
        for images in sizes:
            for method in methods:
                if method != "frozen":
                    yield method, settings_of(method, images), seed
    if "frozen" in methods:
        yield "frozen", {}, 0


def run(wanted: list[tuple[str, dict[str, Any], int]], jobs: int, out: Path) -> None:
    """What is missing, in `jobs` processes."""
    prepared()
    known = {(found["method"], found["settings"], int(found["seed"])) for found in read(out)}
    missing = [run for run in wanted if (run[0], as_text(run[1]), run[2]) not in known]
    with (
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc="study", unit="run") as bar,
    ):
        for done in as_completed([pool.submit(row, *each) for each in missing]):
            append(out, done.result())
            bar.update()


def precision_of_queries(rows: list[dict[str, str]]) -> dict[tuple[str, int], dict[int, Tensor]]:
    """For each method and number of photographs: seed -> average precision of each query [Q], medium."""
    found: dict[tuple[str, int], dict[int, Tensor]] = {}
    for entry in rows:
        values = torch.tensor([float(value) for value in entry["medium_ap"].split()])
        found.setdefault((entry["method"], int(entry["images"])), {})[int(entry["seed"])] = values
    return found


def summary(rows: list[dict[str, str]]) -> None:
    """Medium mAP with intervals, and each method with mixtures against the same method without."""
    found = precision_of_queries(rows)
    for (method, images), of_seed in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        print(f"{images:>6} {method:<34} {len(of_seed)} seeds {bootstrap(torch.stack(list(of_seed.values())))}")
    print("\nmixtures, paired")
    for (method, images), of_seed in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        plain = found.get((method.removesuffix("+interpolated"), images), {})
        seeds = sorted(of_seed.keys() & plain.keys())
        if method.endswith("+interpolated") and seeds:
            mixed, without = (torch.stack([table[seed] for seed in seeds]) for table in (of_seed, plain))
            p = sign_flip_test(mixed, without)
            print(f"{images:>6} {method:<34} {len(seeds)} seeds {paired_bootstrap(mixed, without)}  p {p:.3f}")


def main() -> None:
    """Run what is missing, then print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--images", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="only print")
    args = parser.parse_args()
    if not args.summary:
        run(list(plan(args.methods, args.images, args.seeds)), args.jobs, args.out)
    summary(read(args.out))


if __name__ == "__main__":
    main()
