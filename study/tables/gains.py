"""Tables of differences: what one method gains over another, paired by seed and query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import bootstrap, paired_bootstrap, ratio_bootstrap
from study import primary as protocol
from study.compare import (
    ASYMMETRIC,
    Comparison,
    asymmetric,
    curve,
    gains,
    paired_precision,
    precision,
    reported,
)
from study.methods import BY_DESCRIPTORS, BY_MAPS, CONTROLS, LABELS, METHODS, mixed
from study.search import FEW, FEW_PAID, MANY, TUNED_ON
from study.tables.scores import COURSE_LABELS, COURSE_OURS, OF_TEACHER, OURS, levels, of_teacher, percent, share

# What is mixed, and how the names of methods end that mix it.
MIXED = {"descriptors": BY_DESCRIPTORS, "feature maps": BY_MAPS}
MEAN = "mean without the other ways"
GROUP = 8  # queries that follow each other, about as many as rooms that share floors, wallpapers and furniture
# Other ways to mix: as the figure names them, and the same training without.
RATIO = "first / second (95 %)"
OTHER_WAY = "other way"
OTHER_WAYS = {
    "straight": (f"{OTHER_WAY}: regression alone", OURS),
    "random-depth": (f"{OTHER_WAY}: random depth", OURS),
    "unpaid-mixed": (f"{OTHER_WAY}: with unpaid ones", CONTROLS["unpaid-mixed"]),
    "columns-mixed": (f"{OTHER_WAY}: columns", CONTROLS["columns-mixed"]),
}
SPENT = {  # the comparison is with photographs of whole rooms where nothing else is said
    "k-centre, against random": Comparison("paid-k-centre", TUNED_ON, "paid-random", TUNED_ON),
    "clusters, against random": Comparison("paid-clusters", TUNED_ON, "paid-random", TUNED_ON),
    "random, against ten of each room": Comparison("paid-random", TUNED_ON, OURS, TUNED_ON),
    "three of each room, against ten": Comparison("paid-few-views", TUNED_ON, OURS, TUNED_ON),
    "100 and 200 mixtures of them, against 300": Comparison("paid-mixed", FEW_PAID, OURS, TUNED_ON),
    "100 and 200 crops of them, against 300": Comparison("paid-crops", FEW_PAID, OURS, TUNED_ON),
}


def difference(runs: pandas.DataFrame, pair: Comparison) -> dict[str, str] | None:
    """The difference between two methods, paired by seed and query, as a reader says it.

    Args:
        runs: of the store.
        pair: the methods.

    Returns:
        Values of the columns of a table; None where a method has no run.
    """
    try:
        ap, other, seeds = paired_precision(
            asymmetric(reported(runs)), pair.method, pair.other, pair.images, pair.other_images
        )
    except BadInput:
        return None
    interval = paired_bootstrap(ap, other)
    row = Gain(interval.mean, interval.low, interval.high, len(seeds))
    return {
        "difference in points (95 %)": percent(row),
        "verdict": interval.verdict,
        RATIO: share(ratio_bootstrap(ap, other)),
    }


class Gain(NamedTuple):
    """A difference as `percent` prints it."""

    mean: float
    low: float
    high: float
    seeds: int


def compared(runs: pandas.DataFrame, pairs: Mapping[str, Comparison]) -> pandas.DataFrame:
    """A table of comparisons.

    Args:
        runs: of the store.
        pairs: by what the table says of them; those without runs are left out.

    Returns:
        Columns comparison, difference in points (95 %), verdict, first / second (95 %), their ratio.
    """
    found = {said: difference(runs, pair) for said, pair in pairs.items()}
    rows = [{"comparison": said, **own} for said, own in found.items() if own is not None]
    return pandas.DataFrame(rows)


def targets(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The student of the course, with labels and without, as a part of its teacher, and of what all photographs give.

    Args:
        runs: of the store.

    Returns:
        Columns method, photographs, medium mAP in %, of the teacher's, of what all photographs give.
    """
    teacher = levels(runs).get("teacher")
    if teacher is None:
        return pandas.DataFrame()
    rows = [["teacher", "", f"{100 * teacher:.1f}", "", ""]]
    for name in (COURSE_LABELS, COURSE_OURS):
        for row in curve(reported(runs), name).itertuples():
            of_all = difference(runs, Comparison(name, row.images, name, MANY)) if row.images < MANY else None
            rows.append(
                [
                    METHODS[name].label,
                    f"{row.images:,}",
                    f"{100 * row.mean:.1f}",
                    of_teacher(runs, name, row.images),
                    of_all[RATIO] if of_all else "",
                ]
            )
    head = ["method", "photographs", "medium mAP in %", OF_TEACHER, f"of what {MANY:,} photographs give (95 %)"]
    return pandas.DataFrame(rows, columns=head)


def assisted(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What an assistant brings, and what the larger student does with a tenth of the photographs.

    Args:
        runs: of the store.

    Returns:
        As `compared`.
    """
    helped, course_helped = "assisted-300", "course-assisted-300"
    small, of_course = f"SqueezeNet, {TUNED_ON} queries", f"student of the course, {TUNED_ON} queries"
    return compared(
        runs,
        {
            f"{small}: with an assistant, against without": Comparison(helped, MANY, OURS, TUNED_ON),
            f"{small}: with a SqueezeNet as assistant, against without":
                Comparison("assisted-by-itself-300", MANY, OURS, TUNED_ON),
            "the larger assistant against a SqueezeNet": Comparison(helped, MANY, "assisted-by-itself-300", MANY),
            "the larger assistant against one with labels": Comparison(helped, MANY, "assisted-by-labels-300", MANY),
            f"100 queries with an assistant, against {TUNED_ON} without": Comparison("assisted-100", MANY, OURS, TUNED_ON),
            f"{TUNED_ON} queries with an assistant, against {MANY:,} without": Comparison(helped, MANY, OURS, MANY),
            f"1,000 queries with an assistant, against {MANY:,} without": Comparison("assisted-1000", MANY, OURS, MANY),
            **{
                f"{TUNED_ON} queries with an assistant, against {METHODS[name].label} on {MANY:,}":
                    Comparison(helped, MANY, name, MANY)
                for name in LABELS
            },
            f"EfficientNet-Lite0: {TUNED_ON} photographs against {MANY:,}": Comparison("larger", TUNED_ON, "larger", MANY),
            f"EfficientNet-Lite0: {TUNED_ON} photographs against labels on the same":
                Comparison("larger", TUNED_ON, "larger-supervised-contrastive", TUNED_ON),
            f"{of_course}: with an assistant, against without": Comparison(course_helped, MANY, COURSE_OURS, TUNED_ON),
            f"{of_course} with an assistant, against {MANY:,} queries": Comparison(course_helped, MANY, COURSE_OURS, MANY),
            f"{of_course} with an assistant, against labels on {MANY:,}": Comparison(course_helped, MANY, COURSE_LABELS, MANY),
        },
    )  # fmt: skip


def verdict(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What mixtures gained with each method and each teacher on 300 photographs; the mean of those first.

    Args:
        runs: of the store.

    Returns:
        Columns panel, see `MIXED`, method, seeds, mean, low, high: differences in mAP, as fractions. The mean is of the methods
        with mixtures and without, on the seeds that all of them have; other ways to mix come last.
    """
    own, mean, rows, others = reported(runs), [], [], []
    for panel in MIXED:
        found = {}
        for name, plain in mixed().items():
            if _panel(name) == panel and (gain := _gain(own, Comparison(name, TUNED_ON, plain, TUNED_ON))):
                found[name] = gain
                rows.append([panel, METHODS[plain].label, len(gain[1]), *_ends(gain[0])])
        for name, (said, plain) in OTHER_WAYS.items():
            if _panel(name) == panel and (gain := _gain(own, Comparison(name, TUNED_ON, plain, TUNED_ON))):
                others.append([panel, said, len(gain[1]), *_ends(gain[0])])
        common = set.intersection(*(set(seeds) for _, seeds in found.values())) if len(found) > 1 else set()
        if common:
            alike = [gain[[seed in common for seed in seeds]] for gain, seeds in found.values()]
            mean.append([panel, MEAN, len(common), *_ends(torch.stack(alike).mean(0))])
    return pandas.DataFrame([*mean, *rows, *others], columns=["panel", "method", "seeds", "mean", "low", "high"])


def _gain(own: pandas.DataFrame, pair: Comparison) -> tuple[Tensor, list[int]] | None:
    """Differences by seed and query, and the seeds; None where no seed is in common."""
    try:
        ap, other, seeds = paired_precision(own, pair.method, pair.other, pair.images, pair.other_images)
    except BadInput:
        return None
    return ap - other, seeds


def mixed_by_size(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What mixtures gained over the recipe with few and with many photographs.

    Args:
        runs: of the store.

    Returns:
        A row for each kind of mixtures, a column for each number of photographs.
    """
    rows = {}
    for panel, ending in MIXED.items():
        found = gains(reported(runs), {OURS + ending: OURS})
        if len(found):
            rows[f"mixtures of {panel}"] = {row.images: percent(row) for row in found.itertuples()}
    sizes = sorted({size for own in rows.values() for size in own})
    return pandas.DataFrame(
        [[said, *(own.get(size, "") for size in sizes)] for said, own in rows.items()],
        columns=["gain in points (95 %), by photographs", *[f"{size:,}" for size in sizes]],
    )


def _panel(name: str) -> str:
    """What a method mixes. The columns of a table of similarities are descriptors."""
    own = METHODS[name].settings
    maps = own.beside != "columns" if own.mixtures is None else own.mixtures.mix_at is not None
    return "feature maps" if maps else "descriptors"


def _ends(gain: Tensor) -> list[float]:
    interval = bootstrap(gain)
    return [interval.mean, interval.low, interval.high]


def spent(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What other photographs for 300 queries gain.

    Args:
        runs: of the store.

    Returns:
        Columns method, seeds, mean, low, high: differences in mAP, as fractions; a row for each of `SPENT` that has runs.
    """
    rows = []
    for said, pair in SPENT.items():
        if gain := _gain(reported(runs), pair):
            rows.append([said, len(gain[1]), *_ends(gain[0])])
    return pandas.DataFrame(rows, columns=["method", "seeds", "mean", "low", "high"])


def choices(runs: pandas.DataFrame) -> pandas.DataFrame:
    """As `spent`, in words.

    Args:
        runs: of the store.

    Returns:
        As `compared`.
    """
    return compared(runs, SPENT)


def front(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The primary comparisons as the README has them.

    Args:
        runs: of the store.

    Returns:
        Columns question, gain in points of medium mAP (at the level that holds for all together), verdict.
    """
    found = protocol.tested(runs)
    rows = [[protocol.QUESTIONS[question], f"{own.interval}", own.verdict] for question, own in found.items()]
    return pandas.DataFrame(rows, columns=["question", f"gain in points of medium mAP ({protocol.LEVEL})", "verdict"])


def controls(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What mixtures gained over a training that differs in nothing else, or in little else, and not over the recipe.

    Args:
        runs: of the store.

    Returns:
        As `compared`.
    """
    same = "against the same training without"
    pairs = {
        f"mixtures of {panel}, {same}": Comparison(OURS + ending, TUNED_ON, "unmixed", TUNED_ON)
        for panel, ending in MIXED.items()
    }
    pairs |= {
        f"mixtures of {panel}, stranger, {same}": Comparison(
            f"stranger{ending}", TUNED_ON, "stranger-unmixed", TUNED_ON
        )
        for panel, ending in MIXED.items()
    }
    pairs[f"{METHODS['straight'].label}, {same}"] = Comparison("straight", TUNED_ON, "unmixed", TUNED_ON)
    for name, control in CONTROLS.items():
        if name != "straight":
            images = protocol.photographs(name)
            pairs[f"{METHODS[name].label}, against {METHODS[control].label}"] = Comparison(
                name, images, control, images
            )
    longer = f"{METHODS['random-depth'].label}, against {METHODS['long'].label}"
    return compared(runs, pairs | {longer: Comparison("random-depth", TUNED_ON, "long", TUNED_ON)})


def claims(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What the paper's abstract claims, and what was measured here.

    Args:
        runs: of the store.

    Returns:
        A column claim before those of `compared`. Labels are those of the loss that the validation rooms chose for as many
        photographs.
    """
    pairs: dict[tuple[str, str], Comparison] = {
        ("2: interpolation", f"mixtures of descriptors, {METHODS[name].label}, {TUNED_ON} photographs"):
            Comparison(name + BY_DESCRIPTORS, TUNED_ON, name, TUNED_ON)
        for name in (OURS, "stranger")
    }  # fmt: skip
    for images in (25, 50, 100, TUNED_ON):
        chosen = [protocol.best_labels(runs, on) for on in ((FEW, TUNED_ON) if images == 100 else (images,))]
        for labels in filter(None, chosen):
            said = f"{images} photographs, no labels, against {METHODS[labels].label}"
            pairs["3: few samples", said] = Comparison(OURS, images, labels, images)
            if images == TUNED_ON:
                pairs["3: few samples", f"{said}; the stranger's answers"] = Comparison(
                    "stranger", images, labels, images
                )
    if name := protocol.best_labels(runs, MANY):
        said = f"{TUNED_ON} queries{{}}, against {METHODS[name].label} on {MANY:,}"
        pairs["4: full supervision", said.format("")] = Comparison(OURS, TUNED_ON, name, MANY)
        pairs["4: full supervision", said.format(" and an assistant")] = Comparison("assisted-300", MANY, name, MANY)
    found = {key: difference(runs, pair) for key, pair in pairs.items()}
    return pandas.DataFrame(
        [{"claim": claim, "measured here": said, **own} for (claim, said), own in found.items() if own is not None]
    )


def primary(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The primary comparisons of the protocol, each once all of its seeds are run.

    Args:
        runs: of the store.

    Returns:
        Columns question, comparison, difference in points (at the level that holds for all together), verdict, p, corrected p,
        of each seed, by groups of queries (95 %).
    """
    pairs = protocol.comparisons(runs)
    rows = []
    for question, own in protocol.tested(runs).items():
        pair = pairs[question]
        ap, other, _ = paired_precision(
            asymmetric(reported(runs)), pair.method, pair.other, pair.images, pair.other_images
        )
        grouped = torch.stack([queries.nanmean(1) for queries in (ap - other).split(GROUP, 1)], 1)
        rows.append(
            {
                "question": protocol.QUESTIONS[question],
                "comparison": f"{told_of(pair.method, pair.images)} against {told_of(pair.other, pair.other_images)}",
                f"difference in points ({protocol.LEVEL})": f"{own.interval}",
                "verdict": own.verdict,
                "p": f"{own.p:.4f}",
                "corrected p": f"{own.corrected:.4f}",
                "of each seed": " ".join(f"{100 * float(gain):+.1f}" for gain in (ap - other).nanmean(1)),
                f"by groups of {GROUP} queries (95 %)": f"{bootstrap(grouped)}",
            }
        )
    return pandas.DataFrame(rows)


def told_of(method: str, images: int) -> str:
    """A method as a reader says it.

    Args:
        method: its name, with or without `ASYMMETRIC`.
        images: how many photographs.

    Returns:
        Its label, the number of photographs, and where its queries search.
    """
    name = method.removesuffix(ASYMMETRIC)
    return f"{METHODS[name].label}, {images:,}{'' if name == method else ' in the database of its teacher'}"


def search_in(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Whose descriptors the queries and the database have: student and student, student and teacher, teacher and teacher.

    Args:
        runs: of the store.

    Returns:
        Columns method, photographs, and medium mAP in % of the three, and the paired difference of the first two.
    """
    own = reported(runs)
    level = {
        name: f"{100 * row.mean:.1f}"
        for name in ("teacher", "stranger-itself")
        for row in curve(own, name).itertuples()
    }
    rows = []
    for name, method in METHODS.items():
        there = own[(own["method"] == name) & own["to_teacher"].notna()]
        for images in sorted(there["images"].unique().tolist()):
            both = asymmetric(there[there["images"] == images])
            found = difference(both, Comparison(name + ASYMMETRIC, images, name, images))
            assert found is not None
            means = [
                f"{100 * float(precision(both, each, images)[0].mean()):.1f}" for each in (name, name + ASYMMETRIC)
            ]
            teacher = level.get("stranger-itself" if method.settings.teacher == "stranger" else "teacher", "")
            rows.append([method.label, f"{images:,}", *means, teacher, found["difference in points (95 %)"]])
    head = [
        "student in student",
        "student in teacher",
        "teacher in teacher",
        "difference of the first two in points (95 %)",
    ]
    return pandas.DataFrame(rows, columns=["method", "photographs", *head])


def validated(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Candidates and starts on the validation rooms, mean of the two seeds of the search: what chose the primary comparisons.

    Args:
        runs: of the store.

    Returns:
        Columns method, medium mAP in %, gain over the recipe in points, the same on the second seed alone, which chose nothing,
        and gain over its control in points.
    """
    return pandas.DataFrame(protocol.validated(runs))


def explored(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Where mixtures help, on 300 photographs and the validation rooms: under each teacher, beside other losses.

    Args:
        runs: of the store.

    Returns:
        Columns teacher, itself (medium mAP in %), loss, student, and gains by mixtures in points, mean of the seeds.
    """
    return pandas.DataFrame(protocol.by_teacher(runs))
