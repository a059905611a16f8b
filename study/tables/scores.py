"""Tables of scores: what each method reaches."""

from __future__ import annotations

from typing import Any

import pandas

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import Interval, bootstrap, paired_bootstrap, ratio_bootstrap
from study.compare import curve, paired_precision, precision, reported, searched
from study.methods import METHODS, SEEDS, SIZES, STUDENTS, mixed, named
from study.search import MANY, TUNED_ON

PROTOCOLS = ["easy", "medium", "hard"]
OF_TEACHER = "of the teacher's (95 %)"
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


def share(ratio: Interval, before: str = "") -> str:
    """Print which part of another method's mAP one reaches, in whole percent.

    Args:
        ratio: of the two.
        before: what stands before the ends of the interval.

    Returns:
        The part and its interval.
    """
    mean, low, high = (f"{100 * value:.0f}" for value in (ratio.mean, ratio.low, ratio.high))
    return f"{mean} % ({before}{low} to {high})"


def of_teacher(runs: pandas.DataFrame, method: str, images: int) -> str:
    """Which part of its teacher's mAP a method reaches.

    Args:
        runs: of the store.
        method: its name.
        images: with how many photographs.

    Returns:
        As `share`; empty where the teacher was not scored.
    """
    own = reported(runs)
    if not (own["method"] == "teacher").any():
        return ""
    teacher = precision(own, "teacher", 0)[0]
    return share(ratio_bootstrap(precision(own, method, images)[0], teacher))


def levels(runs: pandas.DataFrame) -> dict[str, float]:
    """What depends on no photographs.

    Args:
        runs: of the store.

    Returns:
        Medium mAP, a fraction, of the teacher and of the student before training, as far as they were scored.
    """
    own = reported(runs)
    there = [name for name in ("teacher", "untrained") if (own["method"] == name).any()]
    return {METHODS[name].label: float(precision(own, name, 0)[0].mean()) for name in there}


def students(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The networks that the course speaks of by name, with 300 photographs where they are trained.

    Args:
        runs: of the store; networks without a run are left out.

    Returns:
        Columns name, what it is, medium mAP in %.
    """
    own = reported(runs)
    lines = [
        ("untrained student", "SqueezeNet as it came from ImageNet", "untrained", 0),
        ("student of notebook 4", "as the student of the course, 100 steps", "lesson", TUNED_ON),
        (
            "cheap student",
            "its last four of 13 parts, 500 steps, six variants of each photograph, made once",
            OURS,
            TUNED_ON,
        ),
        (
            "student of the course",
            "its last seven of 13 parts, 500 steps, a new variant in each step",
            COURSE_OURS,
            TUNED_ON,
        ),
        ("larger student", "EfficientNet-Lite0", "larger", TUNED_ON),
        ("teacher", "EfficientNet-Lite2", "teacher", 0),
    ]
    there = set(zip(own["method"], own["images"], strict=True))
    rows = [
        [name, said, f"{100 * precision(own, method, images)[0].mean():.1f}"]
        for name, said, method, images in lines
        if (method, images) in there
    ]
    return pandas.DataFrame(rows, columns=["name", "what it is", "medium mAP in %"])


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


def made(runs: pandas.DataFrame) -> pandas.DataFrame:
    """How many runs the study has, and how long their trainings took.

    Args:
        runs: of the store.

    Returns:
        Columns scored on, runs, hours of training: on one thread.
    """
    parts = {"validation": searched(runs), "test": reported(runs), "both": runs}
    return pandas.DataFrame(
        [[part, f"{len(own):,}", f"{own['seconds'].sum() / 3600:.1f}"] for part, own in parts.items() if len(own)],
        columns=["scored on", "runs", "hours of training"],
    )


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


def larger(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The larger student, and SqueezeNet with and without it as an assistant.

    Args:
        runs: of the store.

    Returns:
        Columns student, learns from, photographs, teacher queries, medium mAP in %, of the teacher's.
    """
    lines = [
        ("nothing", "larger-untrained", 0),
        ("the teacher", "larger", TUNED_ON),
        ("the teacher", "larger", MANY),
        ("labels, contrastive", "larger-supervised-contrastive", TUNED_ON),
        ("the teacher", OURS, TUNED_ON),
        *((METHODS[name].label, name, MANY) for name in named("assistants") if METHODS[name].assistant is not None),
        ("the teacher", OURS, MANY),
    ]
    rows = []
    for learns_from, name, images in lines:
        own = reported(runs)[(reported(runs)["method"] == name) & (reported(runs)["images"] == images)]
        for found in curve(own, name).itertuples():
            said = percent(found) if images else f"{100 * found.mean:.1f}"  # an untrained network has no seeds
            queries = int(own["teacher_queries"].iloc[0])
            student = STUDENTS[METHODS[name].settings.student]
            part = of_teacher(runs, name, images)
            rows.append([student, learns_from, f"{images:,}", f"{queries:,}", said, part])
    head = ["student", "learns from", "photographs", "teacher queries", "medium mAP in %", OF_TEACHER]
    return pandas.DataFrame(rows, columns=head)


def by_queries(runs: pandas.DataFrame) -> dict[str, pandas.DataFrame]:
    """Curves of the cheap student against the number of queries, by who answers for the photographs.

    Args:
        runs: of the store.

    Returns:
        As `curves`, with queries in the column images.
    """
    alone = curves(runs, [OURS])
    found = {"no assistant": alone[METHODS[OURS].label]} if alone else {}
    for said, names in (
        ("the larger assistant", ("assisted-100", "assisted-300", "assisted-1000")),
        ("a SqueezeNet as assistant", ("assisted-by-itself-300",)),
    ):
        points = [
            frame.assign(images=METHODS[name].assistant_images)
            for name in names
            for frame in curves(runs, [name]).values()
        ]
        if points:
            found[said] = pandas.concat(points, ignore_index=True)
    return found


def intervals(runs: pandas.DataFrame, method: str, other: str, images: int) -> pandas.DataFrame:
    """Two methods and their difference, with the interval that each drawn by itself would give, and the paired one.

    Args:
        runs: of the store.
        method: the one method.
        other: the other.
        images: with how many photographs.

    Returns:
        Columns "", and medium mAP in % (95 %); empty where they have no seed in common.
    """
    try:
        first, second, seeds = paired_precision(reported(runs), method, other, images)
    except BadInput:
        return pandas.DataFrame()
    alone = [bootstrap(ap, seed=number) for number, ap in enumerate((first, second), 1)]
    half = sum(((each.high - each.low) / 2) ** 2 for each in alone) ** 0.5
    paired = paired_bootstrap(first, second)
    rows = [[f"{METHODS[name].label}", f"{each}"] for name, each in zip((method, other), alone, strict=True)]
    rows.append(["difference, unpaired", f"{Interval(paired.mean, paired.mean - half, paired.mean + half)}"])
    rows.append(["difference, paired", f"{paired}"])
    return pandas.DataFrame(
        rows,
        columns=[f"{images} photographs, {len(seeds)} seed{'' if len(seeds) == 1 else 's'}", "medium mAP in % (95 %)"],
    )
