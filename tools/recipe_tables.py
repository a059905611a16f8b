"""Fills the tables of docs/recipe.md from the tables of runs in benchmarks/results/ and from the defaults of `distill`.

The page stands between marks, <!-- table: NAME --> and <!-- /table -->; what lies between them is written here, the rest by
hand. With --check nothing is written: it fails where the page is out of date.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from rdistill_helpers.distil import Training, distill, losses
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.runs_table import (
    MIXED,
    SEARCHING,
    changes,
    curve,
    gains,
    gains_over_sizes,
    matched,
    methods,
    paired_precision,
    precision,
    read_runs,
    reported,
)
from rdistill_helpers.score.uncertainty import Interval, paired_bootstrap

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "recipe.md"
RESULTS = ROOT / "benchmarks" / "results"
MARKS = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
SEEDS = 5

# Of the search (`fast_student.DEFAULT`), where its rows name them.
DEFAULT = {
    "loss": "listwise", "images": 300, "lr": 3e-4, "per_room": 10, "regression": 0.0, "views": 6, "steps": 500,
    "temperature": 0.04, "start_weight": 0.2, "anchors": 8, "neighbours": 5, "dim": None, "whiten": "random",
    "augmentation": "usual", "bank": 0, "unpaid": 0.0, "teacher": "fine-tuned",
}  # fmt: skip
OTHERWISE = ("paid-", "larger", "assisted-")  # begin the names of methods that differ in more than the loss
MIXED_OF = {"interpolated": "48 of descriptors", "mixed-maps": "16 of maps"}  # by the end of a method's name
MIXING = ("mixtures", "pairs", "lam", "parts", "joint", "joint_weight", "mask", "mixed", "regress_mixed")
SAID = {
    "per_room": "views of each room", "choice": "chosen", "regression": "regression, weight", "lam": "lambda",
    "images": "photographs", "joint": "joint space", "joint_weight": "weight of the joint space", "loss": "",
    "mask": "mask of shared parts", "mixed": "mixed", "regress_mixed": "regression of mixtures",
    "parts": "parts of a mixture", "dim": "dimension of the student", "lr": "learning rate",
    "views": "kept views", "bank": "memory bank of", "unpaid": "views of unpaid photographs, weight",
    "teacher": "teacher of",
}  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown; one line instead where there is no row yet."""
    if not rows:
        return "*No run of this kind is in the table yet.*\n"
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def runs_of(name: str, results: Path) -> pandas.DataFrame:
    return read_runs(results / f"{name}.csv")


class Gain(NamedTuple):
    """A difference as `percent` says it."""

    mean: float
    low: float
    high: float
    seeds: int


def percent(row: Any) -> str:
    """Mean and interval of a row, in percent or points, and its seeds where they are few."""
    few = "" if row.seeds >= SEEDS else f", {row.seeds} seed{'' if row.seeds == 1 else 's'}"
    return f"{Interval(row.mean, row.low, row.high)}{few}"


def told(settings: dict[str, Any]) -> str:
    parts = []
    for name, value in settings.items():
        if isinstance(value, dict):
            parts.append(told(value))
        else:
            parts.append(f"{SAID.get(name, name.replace('_', ' '))} {value}".strip())
    return ", ".join(parts)


def of_seeds(found: pandas.DataFrame, with_rest: bool = False) -> list[list[str]]:
    """A line for each change of `matched`: what changed, gains of its seeds in points, their mean."""
    lines: dict[str, list[float]] = {}
    for row in found.itertuples():
        name = told(row.change) + (f" ({told(row.rest)})" if with_rest and row.rest else "")
        lines.setdefault(name, []).append(row.gain)
    return [[name, ", ".join(map(points, own)), points(sum(own) / len(own))] for name, own in lines.items()]


def points(gain: float) -> str:
    """A difference of mAP with its sign; none where it rounds to 0."""
    text = f"{100 * gain:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


FREE = {"anchors", "neighbours", "regression", "images"}  # what a condition is compared under
GAIN_HEAD = ["change", "gain in points, each seed", "mean"]


def default(results: Path) -> str:
    """The defaults that make the recipe, read from the function."""
    there = dict(inspect.signature(distill).parameters) | dict(inspect.signature(Training).parameters)
    names = [
        "loss",
        "steps",
        "anchors",
        "neighbours",
        "lr",
        "mixtures",
        "regression_weight",
        "augment",
        "start_weight",
    ]
    rows = []
    for name in names:
        value = there[name].default
        rows.append([f"`{name}`", f"`{value.__name__}`" if callable(value) else f"{value}"])
        if value is losses.listwise:
            rows.append(["its `temperature`", inspect.signature(value).parameters["temperature"].default])
    return table(["setting", "default"], rows)


def temperature(results: Path) -> str:
    """Medium mAP of the search of the course's student: temperature by rate and start weight."""
    found: dict[tuple[float, float], dict[float, str]] = {}
    for row in runs_of("data_efficiency", results).itertuples():
        own = row.settings
        if row.seed >= SEARCHING and row.method == "listwise":
            key = (own["lr"], own["start_weight"])
            found.setdefault(key, {})[own["temperature"]] = f"{100 * row.medium:.1f}"
    columns = sorted({column for own in found.values() for column in own})
    rows = [
        [f"{lr:g}", weight, *[own.get(column, "") for column in columns]] for (lr, weight), own in sorted(found.items())
    ]
    return table(["learning rate", "start weight", *[f"temperature {column:g}" for column in columns]], rows)


def start_weight(results: Path) -> str:
    """Medium mAP against the part of the start weights, few and all photographs; plain augmentation and batches."""
    found: dict[tuple[int, int, float, int], dict[float, str]] = {}
    usual = {"frozen", "loss", "lr", "rooms", "scale", "start_weight", "steps", "teacher", "temperature"}
    for row in runs_of("explored", results).itertuples():
        own = row.settings
        if row.seed >= SEARCHING and set(own) == usual and own["loss"] == "listwise" and own["temperature"] == 0.04:
            key = (row.images, own["frozen"], own["lr"], row.seed)
            found.setdefault(key, {})[own["start_weight"]] = f"{100 * row.medium:.1f}"
    columns = sorted({column for own in found.values() for column in own})
    rows = [
        [f"{images:,}", frozen, f"{lr:g}", seed, *[own.get(column, "") for column in columns]]
        for (images, frozen, lr, seed), own in sorted(found.items())
        if len(own) > 1
    ]
    return table(
        ["photographs", "parts frozen", "rate", "seed", *[f"start weight {column:g}" for column in columns]], rows
    )


def all_losses(results: Path) -> str:
    """Medium mAP of every method of the study without mixtures."""
    runs = reported(runs_of("study", results))
    runs = runs[runs["images"] > 0]
    names = [name for name in methods(runs) if not name.endswith(MIXED) and not name.startswith(OTHERWISE)]
    sizes = sorted({int(size) for size in runs.loc[runs["method"].isin(names), "images"]})
    rows = []
    for name in names:
        own = {row.images: percent(row) for row in curve(runs, name).itertuples()}
        rows.append([name, *[own.get(size, "") for size in sizes]])
    return table(["medium mAP in %", *[f"{size:,} photographs" for size in sizes]], rows)


def larger(results: Path) -> str:
    """The larger student of the study, with and without labels, and SqueezeNet with and without it as an assistant."""
    runs = reported(runs_of("study", results))
    lines = [
        ("EfficientNet-Lite0", "nobody: not trained", "larger-frozen", 0),
        ("EfficientNet-Lite0", "the teacher", "larger", 300),
        ("EfficientNet-Lite0", "the teacher", "larger", 3020),
        ("EfficientNet-Lite0", "labels, contrastive", "larger-supervised-contrastive", 300),
        ("SqueezeNet", "the teacher", "listwise+regression", 300),
        ("SqueezeNet", "a SqueezeNet as assistant", "assisted-by-itself-300", 3020),
        ("SqueezeNet", "an assistant with labels of 300", "assisted-by-labels-300", 3020),
        ("SqueezeNet", "the larger assistant", "assisted-300", 3020),
        ("SqueezeNet", "the teacher", "listwise+regression", 3020),
    ]
    rows = []
    for student, target, name, images in lines:
        own = runs[(runs["method"] == name) & (runs["images"] == images)]
        for found in curve(own, name).itertuples():
            queries = int(own["teacher_queries"].iloc[0])
            said = percent(found) if images else f"{100 * found.mean:.1f}"  # an untrained network has no seeds
            rows.append([student, target, f"{images:,}", f"{queries:,}", said])
    return table(["student", "learns from", "photographs", "teacher queries", "medium mAP in %"], rows)


def assisted(results: Path) -> str:
    """What an assistant brings a SqueezeNet, paired, and what the larger student does with a tenth of the photographs."""
    runs = reported(runs_of("study", results))
    small, large = "listwise+regression", "larger"
    lines = [
        ("SqueezeNet, 300 queries: with an assistant, against without", "assisted-300", 3020, small, 300),
        ("SqueezeNet, 300 queries: with a SqueezeNet as assistant, against without",
         "assisted-by-itself-300", 3020, small, 300),
        ("the larger assistant against a SqueezeNet", "assisted-300", 3020, "assisted-by-itself-300", 3020),
        ("the larger assistant against one with labels", "assisted-300", 3020, "assisted-by-labels-300", 3020),
        ("SqueezeNet, 300 queries with an assistant, against 3,020 queries", "assisted-300", 3020, small, 3020),
        ("SqueezeNet, 300 queries with an assistant, against labels on 3,020, contrastive",
         "assisted-300", 3020, "supervised-contrastive", 3020),
        ("SqueezeNet, 300 queries with an assistant, against labels on 3,020, multi-similarity",
         "assisted-300", 3020, "supervised-multi-similarity", 3020),
        ("EfficientNet-Lite0: 300 photographs against 3,020", large, 300, large, 3020),
        ("EfficientNet-Lite0: 300 photographs against labels on the same",
         large, 300, "larger-supervised-contrastive", 300),
        ("student of the course, 300 queries: with an assistant, against without *", "assisted-300", 3020, small, 300),
        ("student of the course, 300 queries with an assistant, against 3,020 queries *",
         "assisted-300", 3020, small, 3020),
        ("student of the course, 300 queries with an assistant, against labels on 3,020 *",
         "assisted-300", 3020, "supervised-contrastive", 3020),
    ]  # fmt: skip
    course = reported(runs_of("data_efficiency", results))
    rows = []
    for what, method, images, other, other_images in lines:
        own = course if what.endswith("*") else runs
        try:
            ap, against, seeds = paired_precision(own, method, other, images, other_images)
        except BadInput:
            continue
        interval = paired_bootstrap(ap, against)
        share = f"{100 * ap.mean() / against.mean():.0f} %"
        rows.append([what, percent(Gain(interval.mean, interval.low, interval.high, len(seeds))), share])
    return table(["comparison", "difference in points", "first divided by second"], rows)


def mixtures(results: Path) -> str:
    """Paired gains of mixtures in the study, and with the student of the course."""
    rows = []
    for source, name in (("study", "study"), ("student of the course *", "data_efficiency")):
        for row in gains(reported(runs_of(name, results))).itertuples():
            mixed = MIXED_OF[row.method.rpartition("+")[2]]
            rows.append([source, row.other, mixed, f"{row.images:,}", percent(row), verdict(row)])
    return table(["where", "beside", "mixtures", "photographs", "gain in points (95 %)", "so it"], rows)


def over_sizes(results: Path) -> str:
    """Paired gains of mixtures in the study, all numbers of photographs together."""
    rows = []
    for row in gains_over_sizes(reported(runs_of("study", results))).itertuples():
        mixed = MIXED_OF[row.method.rpartition("+")[2]]
        rows.append([row.other, mixed, row.sizes, percent(row), verdict(row)])
    return table(["beside", "mixtures", "numbers of photographs", "gain in points (95 %)", "so it"], rows)


def verdict(row: Any) -> str:
    side = Interval(row.mean, row.low, row.high).side
    return {"above": "helps", "below": "hurts", "not told apart": "not told apart"}[side]


def kinds(results: Path) -> str:
    """Kinds of mixtures of descriptors beside the listwise loss on 300 photographs, in the search."""
    found = matched(runs_of("regimes", results), MIXING, DEFAULT)
    plain = (found["rest"] == {}) & ~found["change"].map(lambda change: "mixed" in change)
    return table(GAIN_HEAD, of_seeds(found[plain]))


def maps(results: Path) -> str:
    """Mixtures of maps in the search, and a batch that is larger by photographs instead."""
    runs = runs_of("regimes", results)
    found = matched(runs, MIXING, DEFAULT)
    rows = of_seeds(found[found["change"].map(lambda change: "mixed" in change)], with_rest=True)
    larger = matched(runs, ("anchors",), DEFAULT)
    more = of_seeds(larger[larger["change"] == {"anchors": 16}], with_rest=True)
    return table(GAIN_HEAD, [*rows, *more])


def regimes(results: Path) -> str:
    """48 plain mixtures under other losses, lists, dimensions and numbers of photographs, in the search."""
    found = matched(runs_of("regimes", results), MIXING, DEFAULT)
    found = found[(found["change"] == {"mixtures": 48}) & (found["rest"] != {})]
    return table(["48 mixtures with", *GAIN_HEAD[1:]], of_seeds(found.assign(change=found["rest"])))


def regression(results: Path) -> str:
    """What regression beside the list brings: search, study, and the student of the course."""
    rows = of_seeds(matched(runs_of("regimes", results), ("regression",), DEFAULT), with_rest=True)
    rows = [["search", name, f"{mean} (seeds: {own})"] for name, own, mean in rows]
    sources = (("study", runs_of("study", results)), ("student of the course *", runs_of("data_efficiency", results)))
    for source, runs in sources:
        for row in gains(reported(runs), {"listwise+regression": "listwise"}).itertuples():
            rows.append([source, f"{row.images:,} photographs", percent(row)])
    return table(["where", "regression beside the list", "gain in points"], rows)


def choices(results: Path) -> str:
    """Which photographs: few views of many rooms, and choices under a budget, in the search and in the study."""
    found = matched(runs_of("regimes", results), ("per_room", "choice"), DEFAULT)
    rows = [["search", name, f"{mean} (seeds: {own})"] for name, own, mean in of_seeds(found, with_rest=True)]
    names = {
        "paid-few-views": "three views of each room against ten",
        "paid-k-centre": "k-centre against random",
        "paid-clusters": "clusters against random",
    }
    pairs = dict.fromkeys(names, "paid-random") | {"paid-few-views": "listwise+regression"}
    for row in gains(reported(runs_of("study", results)), pairs).itertuples():
        rows.append(["study", f"{names[row.method]}, {row.images:,} queries", percent(row)])
    return table(["where", "photographs", "gain in points"], rows)


def lists(results: Path) -> str:
    """Short lists: medium mAP with few photographs in a batch."""
    rows = [
        [anchors * (1 + neighbours), anchors, neighbours, medium]
        for (anchors, neighbours), medium in sorted(of_values(results, "anchors", "neighbours").items())
    ]
    return table(["photographs in a batch", "anchors", "neighbours", "medium mAP in %, each seed"], rows)


def of_values(results: Path, *names: str) -> dict[tuple[Any, ...], str]:
    """Medium mAP, each seed, of the runs of the search that change none but these settings, by their values."""
    found: dict[tuple[Any, ...], dict[int, str]] = {}
    for row in runs_of("regimes", results).itertuples():
        if set(changes(row.settings, DEFAULT)) <= set(names):
            own = {**DEFAULT, **row.settings}
            found.setdefault(tuple(own[name] for name in names), {})[row.seed] = f"{100 * row.medium:.1f}"
    return {values: ", ".join(own[seed] for seed in sorted(own)) for values, own in found.items()}


def around(results: Path) -> str:
    """Other settings of training, with regression beside the list as in the default, in the search."""
    found = matched(runs_of("regimes", results), ("lr", "steps", "temperature", "start_weight"), DEFAULT)
    return table(GAIN_HEAD, of_seeds(found[found["rest"] == {"regression": 2.0}]))


def conditions(results: Path) -> str:
    """Augmentation, a memory bank, unpaid photographs and worse teachers, without mixtures; what such a teacher reaches."""
    runs = runs_of("regimes", results)
    of_teacher = {row.settings["teacher"]: row.medium for row in runs.itertuples() if row.method == "teacher"}
    found = matched(runs[runs["method"] != "teacher"], ("views", "augmentation", "bank", "unpaid", "teacher"), DEFAULT)
    own = {f"teacher of {name}": f"{100 * medium:.1f}" for name, medium in of_teacher.items()}
    lines = of_seeds(found[found["rest"].map(lambda rest: set(rest) <= FREE)], with_rest=True)
    rows = [[*line, own.get(line[0], "")] for line in lines]
    return table([*GAIN_HEAD, "medium mAP of this teacher itself in %"], rows)


def dimensions(results: Path) -> str:
    """Students of other dimensions in the search: how their layer started, with and without regression."""
    found = {key: medium for key, medium in of_values(results, "dim", "whiten", "regression").items() if key[0]}
    rows = [
        [dim, whiten, "and regression" if regression else "alone", medium]
        for (dim, whiten, regression), medium in sorted(found.items())
    ]
    return table(["dimension of the student", "its layer starts from", "list", "medium mAP in %, each seed"], rows)


def targets(results: Path) -> str:
    """The student of the course against labels, against all photographs and against its teacher."""
    runs = reported(runs_of("data_efficiency", results))
    teacher = float(precision(runs, "teacher", 0)[0].mean())
    rows: list[list[str]] = [["the teacher itself", f"{100 * teacher:.1f} %"]]
    for name in ("listwise", "listwise+regression"):
        for row in curve(runs, name).itertuples():
            part = f"{100 * row.mean:.1f} %, {100 * row.mean / teacher:.0f} % of the teacher's ({row.seeds} seeds)"
            rows.append([f"{name}, {row.images:,} photographs", part])
        of = {row.images: row for row in curve(runs, name).itertuples()}
        if 300 in of and 3020 in of:
            share = f"{100 * of[300].mean / of[3020].mean:.0f} % ({min(of[300].seeds, of[3020].seeds)} seeds)"
            rows.append([f"{name}, 300 photographs, of what 3,020 give", share])
        for size in (300, 3020):
            try:
                ap, other, seeds = paired_precision(runs, name, "supervised-contrastive", 300, size)
            except ValueError:
                continue
            what = f"{name}, 300 photographs, against labels on {size:,}"
            rows.append(
                [what, f"{paired_bootstrap(ap, other)} points ({len(seeds)} seed{'' if len(seeds) == 1 else 's'}) *"]
            )
    return table(["", "medium mAP"], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "default": default, "targets": targets, "temperature": temperature, "start-weight": start_weight,
    "losses": all_losses, "larger": larger, "assisted": assisted, "around": around, "regression": regression, "mixtures": mixtures, "over-sizes": over_sizes,
    "kinds": kinds, "maps": maps, "regimes": regimes,
    "conditions": conditions, "choices": choices, "lists": lists, "dimensions": dimensions,
}  # fmt: skip


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with all its tables made anew. Raises KeyError for a mark that names no table."""
    return MARKS.sub(lambda mark: f"{mark[1]}{TABLES[mark[2]](results)}{mark[3]}", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where the page is out of date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    new = filled(page)
    if check:
        if new != page:
            print("docs/recipe.md is out of date: run python tools/recipe_tables.py.", file=sys.stderr)
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
