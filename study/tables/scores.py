"""Tables of scores: what each method reaches."""

from __future__ import annotations

import inspect
from typing import Any

import pandas

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.settings import Training
from rdistill_helpers.score.uncertainty import Interval
from study.compare import curve, precision, reported
from study.methods import METHODS, PRIMARY_SEEDS, SEEDS, SIZES, STUDENTS, mixed, named
from study.methods import blocks as all_blocks
from study.search import MANY, TUNED_ON
from study.settings import LARGER, SMALL, Settings

PROTOCOLS = ["easy", "medium", "hard"]
SECONDS = {SMALL: 60.0, LARGER: 360.0, "course": 170.0}  # of 500 steps on one of two busy cores
OURS = "listwise+regression"
COURSE_OURS, COURSE_LABELS = "course-listwise+regression", "course-supervised-contrastive"


def percent(row: Any) -> str:
    """Print a mean with its interval.

    Args:
        row: with mean, low, high as fractions, and seeds, a row of `compare.curve` and the like.

    Returns:
        Percent or points, and the number of seeds where it is small.
    """
    few = "" if row.seeds >= len(SEEDS) else f", {row.seeds} seed{'' if row.seeds == 1 else 's'}"
    return f"{Interval(row.mean, row.low, row.high)}{few}"


def levels(runs: pandas.DataFrame) -> dict[str, float]:
    """What depends on no photographs.

    Args:
        runs: of the store.

    Returns:
        Medium mAP, a fraction, of the teacher and of the student before training.
    """
    return {METHODS[name].label: float(precision(runs, name, 0)[0].mean()) for name in ("teacher", "untrained")}


def curves(runs: pandas.DataFrame, names: list[str]) -> dict[str, pandas.DataFrame]:
    """Curves to draw.

    Args:
        runs: of the store.
        names: of methods.

    Returns:
        `compare.curve` by the label of the method; methods without a run are left out.
    """
    there = set(reported(runs)["method"])
    return {METHODS[name].label: curve(reported(runs), name) for name in names if name in there}


def plain(group: str = "losses") -> list[str]:
    """Methods without mixtures.

    Args:
        group: of methods.

    Returns:
        Their names.
    """
    return [name for name in named(group) if name not in mixed(group)]


def blocks(runs: pandas.DataFrame) -> pandas.DataFrame:
    """How many runs the study has, and about how long they take.

    Args:
        runs: of the store; they change nothing.

    Returns:
        Columns block, scored on, runs, hours: on two cores, a run on each, by what runs took with the first edition.
    """
    more = (len(PRIMARY_SEEDS) - len(SEEDS)) * 12  # seeds of at most twelve methods, most of the cheap student
    rows: list[tuple[str, str, int, float]] = []
    for name, wanted in all_blocks().items():
        part = "test" if name == "results" else "validation"
        rows.append((name, part, len(wanted), sum(_seconds(run.settings) for run in wanted)))
    rows.append(("further seeds", "test", more, more * SECONDS[SMALL]))
    rows.append(("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows)))
    return pandas.DataFrame(
        [[name, part, f"{count}", f"{seconds / 2 / 3600:.1f}"] for name, part, count, seconds in rows],
        columns=["block", "scored on", "runs", "hours"],
    )


def _seconds(own: Settings) -> float:
    """About how long a run takes on one core."""
    if own.loss is None:
        return 0.0
    each = SECONDS["course"] if own.views is None else SECONDS[own.student]
    return each * own.training.steps / 500


def default(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The settings of the recipe, read from `distill` itself.

    Args:
        runs: of the store.

    Returns:
        Columns setting, default.
    """
    values = {name: each.default for name, each in inspect.signature(distill).parameters.items()} | vars(Training())
    names = ["loss", "anchors", "neighbours", "regression_weight", "mixtures", "steps", "lr", "augment", "start_weight"]
    rows = [(f"`{name}`", f"`{losses.listwise.__name__}`" if name == "loss" else f"{values[name]}") for name in names]
    temperature = inspect.signature(losses.listwise).parameters["temperature"].default
    return pandas.DataFrame(
        [rows[0], ("its `temperature`", str(temperature)), *rows[1:]], columns=["setting", "default"]
    )


def scores(runs: pandas.DataFrame, names: list[str]) -> pandas.DataFrame:
    """Mean and standard deviation over seeds under all three protocols.

    Args:
        runs: of the store.
        names: of methods.

    Returns:
        Columns method (its name), photographs, easy, medium, hard in percent, seeds.
    """
    own = reported(runs).drop_duplicates(["method", "images", "seed"], keep="last")
    rows = []
    for name in names:
        for images, group in own[own["method"] == name].groupby("images"):
            values = 100 * group[PROTOCOLS]
            spread = values.std().map(lambda value: "" if pandas.isna(value) else f" ± {value:.1f}")
            rows.append(
                [name, f"{images:,}", *(f"{values[one].mean():.1f}{spread[one]}" for one in PROTOCOLS), len(group)]
            )
    return pandas.DataFrame(rows, columns=["method", "photographs", *PROTOCOLS, "seeds"])


def course(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The student of the course under all three protocols.

    Args:
        runs: of the store.

    Returns:
        As `scores`, methods by their label.
    """
    found = scores(runs, ["teacher", "untrained", *named("course")])
    return found.assign(method=found["method"].map(lambda name: METHODS[name].label))


def measured(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The table of docs/measurements.md: the student of the course, in the words of a first reader.

    Args:
        runs: of the store.

    Returns:
        Columns "", photographs, easy, medium, hard.
    """
    lines = {
        ("teacher", 0): "teacher",
        ("untrained", 0): "student, not trained",
        (COURSE_LABELS, TUNED_ON): "student with labels, contrastive loss, tuned",
        ("course-listwise", TUNED_ON): "distilled, no labels, 300 teacher queries: list alone",
        ("course-listwise+mixtures", TUNED_ON): "list with 48 mixtures a batch",
        (COURSE_OURS, TUNED_ON): "**list and regression**",
        (COURSE_LABELS, MANY): "student with labels, contrastive loss, tuned on all",
        ("course-listwise", MANY): "distilled, no labels: list alone",
        (COURSE_OURS, MANY): "**list and regression**",
        ("course-assisted-300", MANY): "**the same, 300 teacher queries and an assistant**",
    }
    found = scores(runs, list(dict.fromkeys(name for name, _ in lines))).set_index(["method", "photographs"])
    rows = []
    for (name, images), said in lines.items():
        if (name, f"{images:,}") in found.index:
            rows.append([said, f"{images:,}" if images else "", *found.loc[(name, f"{images:,}"), PROTOCOLS]])
    return pandas.DataFrame(rows, columns=["", "photographs", *PROTOCOLS])


def by_size(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Medium mAP of every method of the study without mixtures.

    Args:
        runs: of the store.

    Returns:
        A row for each method, a column for each number of photographs.
    """
    rows = []
    for label, frame in curves(runs, plain()).items():
        own = {row.images: percent(row) for row in frame.itertuples()}
        rows.append([label, *[own.get(size, "") for size in SIZES]])
    return pandas.DataFrame(rows, columns=["medium mAP in %, by photographs", *[f"{size:,}" for size in SIZES]])


def protocols(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The methods of the study without mixtures on 300 photographs, under all three protocols.

    Args:
        runs: of the store.

    Returns:
        As `scores`, methods by their label.
    """
    found = scores(runs, plain())
    found = found[found["photographs"] == f"{TUNED_ON}"].drop(columns=["photographs", "seeds"]).reset_index(drop=True)
    return found.assign(method=found["method"].map(lambda name: METHODS[name].label))


def larger(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The larger student, and SqueezeNet with and without it as an assistant.

    Args:
        runs: of the store.

    Returns:
        Columns student, learns from, photographs, teacher queries, medium mAP in %.
    """
    lines = [
        ("nobody: not trained", "larger-untrained", 0),
        ("the teacher", "larger", TUNED_ON),
        ("the teacher", "larger", MANY),
        ("labels, contrastive", "larger-supervised-contrastive", TUNED_ON),
        ("the teacher", OURS, TUNED_ON),
        *(
            (METHODS[name].label, name, MANY)
            for name in ("assisted-by-itself-300", "assisted-by-labels-300", "assisted-300")
        ),
        ("the teacher", OURS, MANY),
    ]
    rows = []
    for learns_from, name, images in lines:
        own = reported(runs)[(reported(runs)["method"] == name) & (reported(runs)["images"] == images)]
        for found in curve(own, name).itertuples():
            said = percent(found) if images else f"{100 * found.mean:.1f}"  # an untrained network has no seeds
            queries = int(own["teacher_queries"].iloc[0])
            rows.append([STUDENTS[METHODS[name].settings.student], learns_from, f"{images:,}", f"{queries:,}", said])
    head = ["student", "learns from", "photographs", "teacher queries", "medium mAP in %"]
    return pandas.DataFrame(rows, columns=head)
