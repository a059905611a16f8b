"""In which regime do interpolated samples help? A wide search with the students of `fast_student.py`.

    python benchmarks/regimes.py --list                       # the questions, and how many settings each has
    python benchmarks/regimes.py few-images order --seeds 1000 1001 --jobs 2
    python benchmarks/regimes.py --summary                    # mean medium mAP of every setting

Every run is one row of benchmarks/results/regimes.csv, whatever came of it. A row that is there is not computed again.
Seeds from 1000 on search; what is reported is confirmed with seeds 0 to 4 by `study.py`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

from data_efficiency import TUNING_SEED, append, as_row, as_text, read
from fast_student import DEFAULT, LARGER, data, in_processes, kept_student, score, score_of_teacher

RESULTS = Path(__file__).parent / "results" / "regimes.csv"


def row(changes: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train, score, describe; changes: what differs from `DEFAULT`. Without a loss, the teacher itself."""
    settings = DEFAULT | changes
    data()
    began = time.perf_counter()
    report = score(kept_student(settings, seed)[0]) if settings["loss"] else score_of_teacher(settings["teacher"])
    return as_row(name_of(settings), settings["images"], seed, report, time.perf_counter() - began, changes)


def name_of(settings: dict[str, Any]) -> str:
    """The loss, and what stands beside it."""
    if not settings["loss"]:
        return "teacher"
    beside = "+regression" if settings["regression"] else ""
    return settings["loss"] + beside + ("+interpolated" if settings["mixtures"] else "")


def with_and_without(**changes: Any) -> list[dict[str, Any]]:
    """A setting without mixtures and with 48 of them."""
    return [changes, {**changes, "mixtures": 48}]


def with_all_mixtures(**changes: Any) -> list[dict[str, Any]]:
    """A setting without mixtures, with 48 of descriptors and with 16 of maps."""
    return [*with_and_without(**changes), {**changes, "mixtures": 16, "mixed": "maps"}]


LABELLED = ["supervised-contrastive", "supervised-multi-similarity"]
TUNED = ["regression", "rkd_distance", "rkd", "darkrank_hard", "similarity_preserving", "pkt", "listwise"]
TUNED += ["listmle", *LABELLED]
LOWER = ["regression", "rkd_distance", "rkd", "similarity_preserving", "pkt", *LABELLED]
FEW, MANY = 50, 3020  # photographs
LISTS = {"regression": 2.0}  # beside the list of the default


def tuning_of(loss: str) -> list[dict[str, Any]]:
    """What a loss is tried with, the baselines as carefully as ours; with labels a short training may be the best."""
    lengths: list[dict[str, Any]] = [{}]
    if loss.startswith("supervised"):
        lengths = [{"steps": 150}, {"steps": 500}]
    elif loss == "darkrank_hard":  # its list may be longer, and rates below the others' suit it
        lengths = [{}, {"loss_settings": {"length": 12}}]
    rates = (3e-5, 1e-4, 3e-4) if loss in ("darkrank_hard", *LABELLED) else (1e-4, 3e-4, 1e-3)
    found = [{"loss": loss, "lr": lr, **more} for lr in rates for more in lengths]
    if loss in LOWER:  # the best of these was the lowest
        found.append({"loss": loss, "lr": 1e-5 if loss in LABELLED else 3e-5, **lengths[-1]})
    return found


def tuning_few_of(loss: str) -> list[dict[str, Any]]:
    """What a loss is tried with on few photographs, which a long training learns by heart."""
    found: list[dict[str, Any]] = [{"lr": 3e-4}, {"lr": 1e-4}, {"lr": 3e-4, "steps": 150}]
    if loss in LABELLED:
        found = [{"lr": lr, "steps": steps} for lr in (1e-4, 3e-5) for steps in (150, 50)]
    elif loss == "darkrank_hard":
        found = [{"lr": lr, "loss_settings": {"length": length}} for lr in (3e-5, 1e-4) for length in (4, 12)]
    return [{"loss": loss, **settings, "images": FEW} for settings in found]


def tuning_many_of(loss: str) -> list[dict[str, Any]]:
    """What a loss is tried with on all photographs, which bear a higher rate."""
    rates = (1e-4, 3e-4, 1e-3) if loss in LABELLED else (1e-4, 3e-4)
    more: dict[str, Any] = {"steps": 500} if loss in LABELLED else {}
    if loss == "darkrank_hard":
        more = {"loss_settings": {"length": 12}}
    return [{"loss": loss, "lr": lr, **more, "images": MANY} for lr in rates]


def tuning_larger_of(loss: str, images: int | None = None) -> list[dict[str, Any]]:
    """What a loss is tried with on the larger student, with 300 photographs or another number of them."""
    few = images is None
    if loss in LABELLED:
        found = [{"lr": lr, "steps": 500} for lr in (1e-4, 3e-4)]
        if few:
            found = [{"lr": lr, "steps": 150} for lr in (1e-4, 3e-4)]
    else:
        found = [{**LISTS, "lr": lr, "steps": 250} for lr in (3e-4, 1e-4)] if few else [{**LISTS, "lr": 3e-4}]
    return [{"student": LARGER, "loss": loss, **settings, **({} if few else {"images": images})} for settings in found]


QUESTIONS: dict[str, list[dict[str, Any]]] = {
    # Which photographs: whole rooms, halves of rooms, a view of each.
    "draw": [{"per_room": number, "regression": weight} for number in (10, 5, 3) for weight in (0.0, 2.0)]
    + [{"choice": "random", "regression": weight} for weight in (0.0, 2.0)],
    "few-images": [changes for images in (50, 100, 1000) for changes in with_and_without(images=images)],
    "order": [
        changes
        for loss in ("listmle", "pair_order", "smooth_ap", "darkrank_hard")
        for changes in with_and_without(loss=loss)
    ],
    "short-list": [
        changes
        for anchors, neighbours in ((2, 3), (4, 3))
        for changes in with_and_without(anchors=anchors, neighbours=neighbours)
    ],
    "losses": [
        changes
        for loss in ("rkd_distance", "similarity", "pkt", "similarity_preserving")
        for changes in with_and_without(loss=loss)
    ],
    # DarkRank is the ranking loss with the least in its list: is what mixtures bring it left when it is tuned?
    "darkrank": [
        changes
        for lr, own in itertools.product((3e-5, 3e-4), ({"length": 12}, {"length": 4, "alpha": 12.0, "beta": 2.0}))
        for changes in with_and_without(loss="darkrank_hard", lr=lr, loss_settings=own)
    ]
    + with_and_without(loss="darkrank_hard", lr=3e-5),
    "augmentation": [
        changes
        for found in ({"views": 1}, {"augmentation": "none"}, {"augmentation": "heavy"})
        for changes in with_all_mixtures(**found)
    ],
    # Lists made longer by the rows of past batches.
    "memory-bank": [
        changes
        for found in ({"bank": 96}, {"anchors": 2, "neighbours": 3, "bank": 40})
        for changes in with_and_without(**found)
    ],
    # Photographs that were not paid for, for which two views have to agree.
    "unpaid": [{"unpaid": weight, "regression": 2.0, **few} for few in ({}, {"images": 100}) for weight in (0.3, 1.0)],
    # A worse teacher, and what it reaches itself.
    "teacher": [
        changes
        for name in ("64 numbers", "16 numbers")
        for changes in ({"loss": None, "teacher": name}, *with_all_mixtures(teacher=name))
    ],
    # Descriptors shorter and longer than the teacher's 1,280 numbers.
    "dimension": [
        {**changes, "regression": weight}
        for dim in (32, 2048)
        for changes in with_and_without(dim=dim)
        for weight in (0.0, 2.0)
    ]
    + [{"dim": dim, "whiten": "components", "regression": 2.0} for dim in (32, 128)]
    + [{"dim": 128, "regression": 2.0}],
    # Losses of the order alone, for which orders among mixtures may say what no order of photographs does.
    "order-again": [
        {**changes, **more}
        for changes in (
            {"loss": "listmle", "lr": 1e-4},
            {"loss": "listmle", "loss_settings": {"scale": 50.0}},
            {"loss": "pair_order", "loss_settings": {"scale": 10.0}},
            {"loss": "listmle", "images": 100},
            {"loss": "listmle", "anchors": 4, "neighbours": 3},
        )
        for more in ({}, {"mixtures": 48}, {"mixtures": 48, "pairs": "neighbours"})
    ],
    # Mixtures of the maps that the trained part of the student starts from: inputs that it has not seen.
    "maps": [
        {"mixtures": number, "mixed": "maps", **changes}
        for changes in ({"images": 50}, {}, {"images": 50, "regression": 2.0}, {"regression": 2.0})
        for number in (16, 48)
    ],
    # What of such mixtures matters, and whether as many more photographs in a batch do the same.
    "maps-kinds": [
        {"regression": 2.0, **changes}
        for changes in (
            {"anchors": 16},
            *(
                {"mixtures": 48, "mixed": "maps", **kind}
                for kind in (
                    {"regress_mixed": True},
                    {"pairs": "neighbours"},
                    {"lam": "middle"},
                )
            ),
        )
    ],
    # The default's own settings: those of the list alone may not be the best with regression beside it.
    "default": [
        {"regression": 2.0, **changes}
        for changes in (
            {"lr": 1e-4},
            {"lr": 1e-3},
            {"steps": 250},
            {"steps": 1000},
            {"temperature": 0.03},
            {"temperature": 0.055},
            {"start_weight": 0.0},
            {"start_weight": 0.4},
        )
    ],
    "regression-weight": [{"regression": weight} for weight in (1.0, 2.0, 5.0, 10.0)],
    "tuning-few": [changes for loss in TUNED if loss != "listmle" for changes in tuning_few_of(loss)],
    "tuning-many": [changes for loss in TUNED if loss != "listmle" for changes in tuning_many_of(loss)],
    "tuning": [changes for loss in TUNED for changes in tuning_of(loss)],
    # The larger student is slow, and neither half a point by twice the steps of a distillation nor 0.2 points by three times
    # those of a training with labels, on the one seed that chose, paid for the time.
    "larger-steps": [{"student": LARGER, "loss": "listwise", **LISTS, "lr": lr} for lr in (3e-4, 1e-3)]
    + [{"student": LARGER, "loss": "supervised-contrastive", "lr": lr, "steps": 500} for lr in (3e-5, 1e-4)],
    "tuning-larger": [
        *tuning_larger_of("listwise"),
        *tuning_larger_of("supervised-contrastive"),
    ],
    "mixing": [
        {"mixtures": 48, **changes}
        for changes in (
            {},
            {"pairs": "neighbours"},
            {"pairs": "far"},
            {"pairs": "disagreement"},
            {"lam": "ends"},
            {"lam": "middle"},
            {"lam": "beyond"},
            {"parts": 3},
            {"parts": 5},
            {"mixtures": 12},
            {"mixtures": 192},
            {"joint_weight": 0.25},
            {"joint": "alone"},
            {"mask": False},
        )
    ],
}


def run_all(names: list[str], seeds: list[int], jobs: int, out: Path) -> None:
    """What is missing of the questions, in `jobs` processes."""
    known = {(row["settings"], int(row["seed"])) for row in read(out)}
    wanted = dict.fromkeys((as_text(changes), seed) for seed in seeds for name in names for changes in QUESTIONS[name])
    missing = [(text, seed) for text, seed in wanted if (text, seed) not in known]
    settings = {as_text(changes): changes for name in names for changes in QUESTIONS[name]}
    runs = [(settings[text], seed) for text, seed in missing]
    for place, done in enumerate(in_processes(jobs, row, runs), 1):
        append(out, done)
        print(f"{place}/{len(runs)}", *(f"{name} {value}" for name, value in done.items()), flush=True)


def summary(rows: list[dict[str, str]]) -> None:
    """Mean medium mAP of every setting."""
    groups: dict[str, list[float]] = {}
    for entry in rows:
        groups.setdefault(entry["settings"], []).append(100 * float(entry["medium"]))
    for text, values in groups.items():
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        print(f"{statistics.mean(values):5.1f}{spread:<6} {len(values)}  {text}")


def main() -> None:
    """Run what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[TUNING_SEED])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        for name, settings in QUESTIONS.items():
            print(f"{name:<16}{len(settings):>4} settings")
        return
    if not args.summary:
        run_all(args.questions, args.seeds, args.jobs, args.out)
    summary(read(args.out))


if __name__ == "__main__":
    main()
