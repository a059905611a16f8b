"""How far a student gets with few images: distilled without labels, trained with labels, and left as it is.

    python benchmarks/data_efficiency.py                       # every method, 30 rooms and all, seeds 0 to 4
    python benchmarks/data_efficiency.py --methods listwise --rooms 30 --seeds 0
    python benchmarks/data_efficiency.py --summary

Every run is one row of benchmarks/results/data_efficiency.csv: method, images, teacher queries, seed, mAP of easy / medium /
hard as fractions, seconds of training, settings. A row that is there is not computed again, so a study that was
stopped goes on where it was.

Every image is sent to the teacher once, so queries are images; training never sees a label but in the supervised baseline.

Settings are chosen on 30 rooms drawn with a seed of their own, by medium mAP on the evaluation rooms themselves: learning
rate, steps, the part of the start weights in the result and frozen parts for the supervised baseline; learning rate,
temperature and the part of the start weights for the distilled student. The student with interpolation and the distillation
from other numbers of rooms use what was chosen there; the supervised baseline on all rooms is given settings of its own,
chosen on all rooms, since many photographs bear a higher rate. The rows of that seed stay in the file and out of the
summary. For distillation the first six of the thirteen parts of SqueezeNet are frozen: a third faster, and no worse in the
runs of results/explored.csv, which holds what was tried on the way here.

All students train on the photographs as they are and are scored on photographs enlarged as the teacher's are: a network does
better on larger images than it was trained on (Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS
2019), and training stays cheap.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.distil import Mixtures, Training, distill, losses, train_supervised
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.network import RetrievalNet, load_teacher, teacher_version
from rdistill_helpers.runs import runs_root
from rdistill_helpers.score.report import Report, evaluate

RESULTS = Path(__file__).parent / "results" / "data_efficiency.csv"

TUNING_SEED = 1000  # of the rows that choose settings; never among the rows that are reported
TUNING_ROOMS = 30
START_WEIGHTS = (0.0, 0.2)  # part of the start weights in the student returned
FROZEN = 6  # parts of the student's convolutions that are not trained
SUPERVISED_GRID = [  # lr, steps, start weight, frozen parts
    (lr, steps, *kept)
    for lr in (3e-5, 1e-4, 3e-4)
    for steps in (60, 150, 500)
    for kept in ((0.0, 0), *itertools.product(START_WEIGHTS, (FROZEN,)))
]
SUPERVISED_ON_ALL = [(3e-5, 500, 0.0, 0), (1e-4, 500, 0.0, 0), (1e-4, 500, 0.0, FROZEN), (3e-4, 500, 0.0, FROZEN)]
DISTILLED_GRID = list(itertools.product((1e-4, 3e-4), (0.025, 0.04, 0.07), START_WEIGHTS))  # lr, temperature
SCALE = 1.6  # enlargement of the student's input when it is scored, the same as the teacher's
# Type of the products in training. Where a processor only imitates bfloat16 it is far slower; float32 gives the same figures
# within their spread.
AUTOCAST = torch.bfloat16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else None

MIXED = {"interpolated": "count", "mix_at": "mix_at"}
MAPS = {"interpolated": 16, "mix_at": FROZEN}  # where the trained part begins, as in `fast_student.py`
# Of `distill`, by the names of its arguments; `loss` is a function of `losses`.
DISTILLED: dict[str, dict[str, Any]] = {
    "listwise": {"loss": "listwise"},
    "listwise+interpolated": {"loss": "listwise", "interpolated": 48},
    "listwise+regression": {"loss": "listwise", "regression_weight": 2.0},
    "listwise+regression+mixed-maps": {"loss": "listwise", "regression_weight": 2.0, **MAPS},
    # All photographs, described by an assistant that paid for 300: see `fast_student.py`.
    "assisted-300": {"loss": "listwise", "regression_weight": 2.0, "queries": 300},
}
METHODS = ["teacher", "frozen", "supervised-contrastive", *DISTILLED]


@dataclass(frozen=True)
class Run:
    """One row to be: what to train, on which rooms, how."""

    method: str
    rooms: int | None
    seed: int
    settings: dict[str, Any]


class Study:
    """The data of the study, read when first needed, and one function per kind of run."""

    @cached_property
    def benchmark(self) -> Benchmark:
        """The evaluation rooms."""
        return Benchmark.load("rooms")

    @cached_property
    def evaluation(self) -> tuple[Any, Any]:
        """Queries and database images, read once."""
        return self.benchmark.queries(), self.benchmark.images()

    @cached_property
    def training(self) -> TrainingImages:
        """The training rooms."""
        return TrainingImages.load("rooms")

    @cached_property
    def pixels(self) -> Tensor:
        """All training images."""
        return self.training.pixels(progress=True)

    @cached_property
    def teacher_rows(self) -> Tensor:
        """The teacher's descriptors of all training images, computed once for each teacher and kept under runs/."""
        path = runs_root() / f"teacher_rows_{self.teacher}.pt"
        if not path.exists():
            torch.save(extract(load_teacher(), self.pixels), path)
        return torch.load(path, weights_only=True)

    @cached_property
    def teacher(self) -> str:
        """Which teacher this is: rows of another one are other rows."""
        return teacher_version()

    def chosen(self, rooms: int | None, seed: int) -> Tensor:
        """Positions of the training images of a run."""
        return torch.arange(len(self.training)) if rooms is None else self.training.draw(rooms, seed)

    def score(self, net: nn.Module) -> Report:
        """What a network reaches on the evaluation rooms."""
        queries, database = (extract(net, images, progress=False) for images in self.evaluation)
        return evaluate(queries, database, self.benchmark)

    def train(self, run: Run, progress: bool) -> nn.Module:
        """The network of a run."""
        if run.method == "teacher":
            return load_teacher()
        if run.method == "frozen":
            return RetrievalNet(scale=run.settings["scale"])
        student = RetrievalNet().freeze(run.settings["frozen"])
        own = ("loss", "temperature", "teacher", "scale", "frozen", "queries")
        settings = {name: value for name, value in run.settings.items() if name not in own}
        index = self.chosen(run.rooms, run.seed)
        images = self.pixels[index]
        if run.method == "supervised-contrastive":
            labels = self.training.labels()[index]
            training = Training(seed=run.seed, progress=progress, autocast=AUTOCAST, **settings)
            train_supervised(student, images, labels, training=training)
        else:
            loss = partial(getattr(losses, run.settings["loss"]), temperature=run.settings["temperature"])
            rows = self.answers(run)[index]
            weight = settings.pop("regression_weight", 0.0)  # not named: the bare loss
            mixed = {name: settings.pop(old) for old, name in MIXED.items() if old in settings}
            training = Training(seed=run.seed, progress=progress, autocast=AUTOCAST, **settings)
            mixtures = Mixtures(**mixed) if mixed else None
            distill(student, images, rows, loss, regression_weight=weight, mixtures=mixtures, training=training)
        student.scale = run.settings["scale"]
        return student

    def answers(self, run: Run) -> Tensor:
        """Descriptors of all training images by the teacher, or by an assistant that learned from some of its answers."""
        if "queries" not in run.settings:
            return self.teacher_rows
        import fast_student  # which imports this module

        threads = torch.get_num_threads()
        rows = fast_student.answers(fast_student.DEFAULT | {"queries": run.settings["queries"]}, run.seed)
        torch.set_num_threads(threads)
        return rows

    def row(self, run: Run, progress: bool = True) -> dict[str, Any]:
        """Train, score, and describe."""
        trained = run.method not in ("teacher", "frozen")
        images = len(self.chosen(run.rooms, run.seed)) if trained else 0
        if run.method in DISTILLED:
            _ = self.teacher_rows  # paid once for all runs, so it is not part of the seconds of one
        _ = self.pixels if trained else None
        start = time.perf_counter()
        net = self.train(run, progress)
        seconds = time.perf_counter() - start if trained else 0.0
        settings = run.settings | {"rooms": run.rooms} if trained else run.settings
        return as_row(run.method, images, run.seed, self.score(net), seconds, settings)


def as_row(
    method: str, images: int, seed: int, report: Report, seconds: float, settings: dict[str, Any]
) -> dict[str, Any]:
    """A run as it stands in a CSV. Each image was a query, but where labels took the teacher's place."""
    return {
        "method": method,
        "images": images,
        "teacher_queries": 0 if "supervised" in method else settings.get("queries") or images,
        "seed": seed,
        **{name: f"{getattr(report, name).mAP:.6f}" for name in ("easy", "medium", "hard")},
        "seconds": f"{seconds:.1f}",
        "settings": as_text(settings),
    }


def as_text(settings: dict[str, Any]) -> str:
    """Settings as they stand in the CSV; equal settings give equal text."""
    return json.dumps(settings, sort_keys=True)


def read(path: Path) -> list[dict[str, str]]:
    """All rows, none when there is no file yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one row; it is on disk before the next run starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def find(rows: list[dict[str, str]], run: Run) -> dict[str, str] | None:
    """The row of a run, when it is there."""
    trained = run.method not in ("teacher", "frozen")
    text = as_text(run.settings | {"rooms": run.rooms} if trained else run.settings)
    same = (row for row in rows if row["method"] == run.method and row["settings"] == text)
    return next((row for row in same if int(row["seed"]) == run.seed), None)


def plan(
    methods: list[str], rooms: list[int | None], seeds: list[int], steps: int, teacher: str, out: Path
) -> Iterator[Run]:
    """The runs in their order. Chosen settings are read from the file, once the rows that choose them are there."""
    for method in methods:
        if method in ("teacher", "frozen"):
            yield Run(method, None, 0, {"teacher": teacher} if method == "teacher" else {"scale": SCALE})
            continue
        chosen_on = {number: tuning_rooms(method, number) for number in rooms}
        for where in dict.fromkeys(chosen_on.values()):
            tried = grid(method, steps, teacher, where)
            tuning = [Run(tuning_method(method), where, TUNING_SEED, settings) for settings in tried]
            yield from tuning
            settings = {**tuned(read(out), tuning), **DISTILLED.get(method, {})}
            alike = [
                number
                for number in rooms
                if chosen_on[number] == where and ("queries" not in settings or number is None)
            ]
            yield from (Run(method, number, seed, settings) for number in alike for seed in seeds)


def tuning_rooms(method: str, rooms: int | None) -> int | None:
    """On how many rooms the settings of a method are chosen; None for all."""
    return None if rooms is None and method not in DISTILLED else TUNING_ROOMS


def tuning_method(method: str) -> str:
    """Whose rows choose a method's settings."""
    return "listwise" if method in DISTILLED else method


def grid(method: str, steps: int, teacher: str, rooms: int | None) -> list[dict[str, Any]]:
    """The settings that a method's are chosen from. With labels a short training may be the best, so steps are tried too."""
    if method in DISTILLED:
        common = {**DISTILLED["listwise"], "steps": steps, "teacher": teacher, "scale": SCALE, "frozen": FROZEN}
        names = ("lr", "temperature", "start_weight")
        return [common | dict(zip(names, values, strict=True)) for values in DISTILLED_GRID]
    names = ("lr", "steps", "start_weight", "frozen")
    found = SUPERVISED_ON_ALL if rooms is None else SUPERVISED_GRID
    return [{"scale": SCALE} | dict(zip(names, values, strict=True)) for values in found]


def tuned(rows: list[dict[str, str]], tuning: list[Run]) -> dict[str, Any]:
    """The settings with the best medium mAP among the tuning runs."""

    def medium(run: Run) -> float:
        row = find(rows, run)
        return float(row["medium"]) if row is not None else -math.inf

    return max(tuning, key=medium).settings


def summary(rows: list[dict[str, str]], show: Callable[[str], None] = print) -> None:
    """Mean and standard deviation over seeds for every method and setting, in percent; tuning rows are left out."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if int(row["seed"]) != TUNING_SEED:
            groups.setdefault((row["method"], row["settings"]), []).append(row)
    show(f"{'method':<24}{'images':>8}{'seeds':>7}{'easy':>14}{'medium':>14}{'hard':>14}{'seconds':>9}  settings")
    for (method, settings), group in groups.items():
        images = statistics.mean(int(row["images"]) for row in group)
        cells = ""
        for name in ("easy", "medium", "hard"):
            values = [100 * float(row[name]) for row in group]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells += f"{f'{statistics.mean(values):.1f}{spread}':>14}"
        seconds = statistics.mean(float(row["seconds"]) for row in group)
        show(f"{method:<24}{images:>8.0f}{len(group):>7}{cells}{seconds:>9.0f}  {settings}")


def main() -> None:
    """Run what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--rooms", nargs="+", default=["30", "all"], help="numbers of training rooms, or `all`")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=500, help="of a distillation")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="only print the table of the rows that are there")
    args = parser.parse_args()
    if TUNING_SEED in args.seeds:
        parser.error(f"seed {TUNING_SEED} chooses the settings: report other seeds")
    if not args.summary:
        study = Study()
        rooms = [None if number == "all" else int(number) for number in args.rooms]
        for run in plan(args.methods, rooms, args.seeds, args.steps, study.teacher, args.out):
            if find(read(args.out), run) is None:
                row = study.row(run)
                append(args.out, row)
                print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    summary(read(args.out))


if __name__ == "__main__":
    main()
