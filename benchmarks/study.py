"""The study: how far each method gets with how few photographs, and whether interpolated samples help.

    make study                                                # all of it, some hours on two cores; goes on where it was
    python benchmarks/study.py --methods listwise --images 300 --seeds 0 1 --jobs 2
    python benchmarks/study.py --summary                      # means, intervals and paired tests of what is there

The students are those of `fast_student.py`. Every run is one row of benchmarks/results/study.csv with the average precision of
each query beside the means, so that intervals can be drawn over seeds and queries. Rows that are there are not computed again.

Settings of every method are chosen by medium mAP on photographs drawn with a seed of their own: 300 of them for 300 (the
question `tuning` of `regimes.py`), 50 for 100 and less (`tuning-few`), all for 1,000 and more (`tuning-many`). A batch is
smaller where there are fewer than 48 photographs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import regimes
from data_efficiency import TUNING_SEED, append, as_row, as_text, read
from fast_student import DEFAULT, LARGER, SMALL, data, in_processes, kept_student, score
from tqdm.auto import tqdm

from rdistill_helpers import RetrievalNet
from rdistill_helpers.score.runs_table import gains, paired_precision, precision, read_runs
from rdistill_helpers.score.uncertainty import Interval, bootstrap, sign_flip_test

RESULTS = Path(__file__).parent / "results" / "study.csv"
SIZES = [25, 50, 100, 300, 1000, 3020]
TUNED_ON = 300  # photographs; fewer and more of them have settings of their own
SEEDS = [0, 1, 2, 3, 4]
OURS = {"loss": "listwise", "regression": 2.0}
ORDER = {"loss": "listmle"}
MIXTURES = {"mixtures": 48}
MAPS = {"mixtures": 16, "mixed": "maps"}
LARGE = {"student": LARGER}
SHORT = {"loss": "listwise", "anchors": 2, "neighbours": 3}  # eight photographs in a batch

# What is fixed of each method; the rest is chosen among the rows of `regimes.py` with the same loss.
METHODS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "supervised-contrastive": {"loss": "supervised-contrastive"},
    "supervised-multi-similarity": {"loss": "supervised-multi-similarity"},
    "listwise": {"loss": "listwise"},
    "listwise+interpolated": {"loss": "listwise", **MIXTURES},
    "listwise+mixed-maps": {"loss": "listwise", **MAPS},
    "listwise+regression": OURS,
    "listwise+regression+interpolated": {**OURS, **MIXTURES},
    "listwise+regression+mixed-maps": {**OURS, **MAPS},
    "short-lists": SHORT,
    "short-lists+interpolated": {**SHORT, **MIXTURES},
    "short-lists+mixed-maps": {**SHORT, **MAPS},
    "order": ORDER,
    "order+interpolated": {**ORDER, **MIXTURES},
    # Which photographs to pay for: the best method on a choice among all of them, made without the teacher.
    "paid-random": {**OURS, "choice": "random"},
    "paid-k-centre": {**OURS, "choice": "k-centre"},
    "paid-clusters": {**OURS, "choice": "clusters"},
    # Who has yet to take the photographs can take few of each place: three of a room instead of ten, so of more rooms.
    "paid-few-views": {**OURS, "per_room": 3},
    # A student with more room, EfficientNet-Lite0, alone and as the assistant that answers for a SqueezeNet: all photographs,
    # few queries.
    "larger-frozen": LARGE,
    "larger": {**OURS, **LARGE},
    "larger-supervised-contrastive": {"loss": "supervised-contrastive", **LARGE},
    "assisted-300": {**OURS, "queries": 300},
    # The same with a SqueezeNet as the assistant of a SqueezeNet, and with an assistant that learned from labels instead.
    "assisted-by-itself-300": {**OURS, "queries": 300, "assistant": "itself"},
    "assisted-by-labels-300": {**OURS, "queries": 300, "assistant": "labels"},
    "regression": {"loss": "regression"},
    "rkd-distance": {"loss": "rkd_distance"},
    "rkd-distance-angle": {"loss": "rkd"},
    "darkrank": {"loss": "darkrank_hard"},
    "darkrank+interpolated": {"loss": "darkrank_hard", **MIXTURES},
    "similarity-preserving": {"loss": "similarity_preserving"},
    "pkt": {"loss": "pkt"},
    "pkt+interpolated": {"loss": "pkt", **MIXTURES},
}

# With how many photographs; short lists and mixtures beside other losses are looked at on 300.
KEY = ["supervised-contrastive", "listwise", "listwise+interpolated", "listwise+mixed-maps"]
KEY += ["listwise+regression", "listwise+regression+mixed-maps", "supervised-multi-similarity", "regression"]
KEY += ["rkd-distance", "rkd-distance-angle", "darkrank", "similarity-preserving", "pkt"]
SIZES_OF = {name: [100, 300] if name.startswith("paid-") else [300] for name in METHODS}
SIZES_OF |= {name: [50, 100, 300] for name in ("order", "order+interpolated", "listwise+regression+interpolated")}
SIZES_OF |= dict.fromkeys(KEY, SIZES)
SIZES_OF["larger"] = [300, 3020]
SIZES_OF |= {name: [3020] for name in METHODS if name.startswith("assisted-")}
FROZEN_STUDENTS = {"frozen": SMALL, "larger-frozen": LARGER}  # not trained at all


@cache
def chosen(method: str, images: int) -> dict[str, Any]:
    """The settings of a method: the best of its loss in the search, on the seed that only chooses."""
    loss = METHODS[method].get("loss")
    wanted = regimes.tuning_of(loss)
    if METHODS[method].get("student") == LARGER:
        wanted = regimes.tuning_larger_of(loss, None if images <= TUNED_ON else regimes.MANY)
    elif images != TUNED_ON:
        wanted = regimes.tuning_few_of(loss) if images < TUNED_ON else regimes.tuning_many_of(loss)
    if len(wanted) == 1:  # nothing to choose from
        return {**wanted[0], **METHODS[method]}
    tried = [
        (float(row["medium"]), json.loads(row["settings"]))
        for row in read(regimes.RESULTS)
        if int(row["seed"]) == TUNING_SEED
    ]
    own = [(medium, found) for medium, found in tried if found in wanted]
    if not own and images != TUNED_ON:  # not tried on so few or so many
        return chosen(method, TUNED_ON)
    if not own:
        raise SystemExit(
            f"The settings of {method} have to be chosen first: run benchmarks/regimes.py tuning tuning-few ..."
        )
    best = max(own, key=lambda pair: pair[0])[1]
    return {**best, **METHODS[method]}


def settings_of(method: str, images: int) -> dict[str, Any]:
    """What differs from `DEFAULT` in a run."""
    if method in FROZEN_STUDENTS:
        return METHODS[method]
    fewer = {"anchors": images // (1 + DEFAULT["neighbours"])} if images < 48 else {}
    return {**chosen(method, images), **fewer, "images": images}


def row(method: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train, score, describe."""
    data()
    if method in FROZEN_STUDENTS:
        net, seconds = RetrievalNet(FROZEN_STUDENTS[method]).eval(), 0.0
    else:
        net, seconds = kept_student(DEFAULT | settings, seed)
    report = score(net)
    found = as_row(method, settings.get("images", 0), seed, report, seconds, settings)
    if settings.get("assistant") == "labels":
        found["teacher_queries"] = 0
    return found | {"medium_ap": " ".join(f"{value:.4f}" for value in report.medium.ap.tolist())}


def plan(methods: list[str], sizes: list[int], seeds: list[int]) -> Iterator[tuple[str, dict[str, Any], int]]:
    """The runs: all methods of a seed before the next seed, so that a study that was stopped compares what it has."""
    for seed in seeds:
        for images in sizes:
            for method in methods:
                if method not in FROZEN_STUDENTS and images in SIZES_OF[method]:
                    yield method, settings_of(method, images), seed
    for method in FROZEN_STUDENTS:
        if method in methods:
            yield method, settings_of(method, 0), 0


def run(wanted: list[tuple[str, dict[str, Any], int]], jobs: int, out: Path) -> None:
    """What is missing, in `jobs` processes."""
    known = {(found["method"], found["settings"], int(found["seed"])) for found in read(out)}
    missing = [run for run in wanted if (run[0], as_text(run[1]), run[2]) not in known]
    with tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc="study", unit="run") as bar:
        for done in in_processes(jobs, row, missing):
            append(out, done)
            bar.update()


def summary(path: Path) -> None:
    """Medium mAP with intervals, and each method with mixtures against the same method without."""
    runs = read_runs(path)
    points = sorted({(int(images), method) for images, method in zip(runs["images"], runs["method"], strict=True)})
    for images, method in points:
        ap, seeds = precision(runs, method, images)
        print(f"{images:>6} {method:<34} {len(seeds)} seeds {bootstrap(ap)}")
    print("\nmixtures, paired")
    for row in gains(runs).sort_values(["images", "method"]).itertuples():
        interval = Interval(row.mean, row.low, row.high)
        p = sign_flip_test(*paired_precision(runs, row.method, row.other, row.images)[:2])
        print(f"{row.images:>6} {row.method:<34} {row.seeds} seeds {interval}  p {p:.3f}")


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
    summary(args.out)


if __name__ == "__main__":
    main()
