"""Tables of differences: what one method gains over another, paired by seed and query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import Interval, paired_bootstrap
from study import primary as protocol
from study.compare import (
    Comparison,
    asymmetric,
    corrected,
    curve,
    gains,
    gains_over_sizes,
    paired_precision,
    precision,
    reported,
)
from study.methods import BY_MAPS, METHODS, SIZES, mixed
from study.search import MANY, TUNED_ON
from study.tables.scores import COURSE_LABELS, COURSE_OURS, OURS, levels, percent
from study.tables.search import by_seed, of_regression

HELPS = {"above": "helps", "below": "hurts", "not told apart": "not told apart"}
HIGHER = {"above": "higher", "below": "lower", "not told apart": "not told apart"}


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
        "difference in points (95 %)": percent(row) + star(ap.shape[1]),
        "so it is": HIGHER[interval.side],
        "first divided by second": f"{100 * ap.mean() / other.mean():.0f} %",
    }


class Gain(NamedTuple):
    """A difference as `percent` prints it."""

    mean: float
    low: float
    high: float
    seeds: int


def star(queries: int) -> str:
    """Mark an interval that speaks of seeds alone.

    Args:
        queries: how many values a seed has.

    Returns:
        " *" where it has only its mean.
    """
    return " *" if queries == 1 else ""


def compared(runs: pandas.DataFrame, pairs: Mapping[str, Comparison]) -> pandas.DataFrame:
    """A table of comparisons.

    Args:
        runs: of the store.
        pairs: by what the table says of them; those without runs are left out.

    Returns:
        Columns comparison, difference in points (95 %), so it is, first divided by second.
    """
    found = {said: difference(runs, pair) for said, pair in pairs.items()}
    rows = [{"comparison": said, **own} for said, own in found.items() if own is not None]
    return pandas.DataFrame(rows)


def targets(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The student of the course as a part of its teacher, and of what all photographs give.

    Args:
        runs: of the store.

    Returns:
        Columns method, photographs, medium mAP in %, of the teacher's, of what all photographs give.
    """
    teacher = levels(runs)["teacher"]
    rows = [["teacher", "", f"{100 * teacher:.1f}", "", ""]]
    for name in ("course-listwise", COURSE_OURS):
        own = {row.images: row for row in curve(reported(runs), name).itertuples()}
        for images, row in own.items():
            of_all = f"{100 * row.mean / own[MANY].mean:.0f} %" if MANY in own and images < MANY else ""
            share = f"{100 * row.mean / teacher:.0f} %"
            rows.append([METHODS[name].label, f"{images:,}", f"{100 * row.mean:.1f}", share, of_all])
    head = ["method", "photographs", "medium mAP in %", "of the teacher's", f"of what {MANY:,} photographs give"]
    return pandas.DataFrame(rows, columns=head)


def against_labels(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The student of the course without labels against training with them.

    Args:
        runs: of the store.

    Returns:
        As `compared`.
    """
    return compared(
        runs,
        {
            f"{METHODS[name].label}, {few:,} photographs, against labels on {many:,}": Comparison(
                name, few, COURSE_LABELS, many
            )
            for name in ("course-listwise", COURSE_OURS)
            for few, many in ((TUNED_ON, TUNED_ON), (TUNED_ON, MANY), (MANY, MANY))
        },
    )


def assisted(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What an assistant brings, and what the larger student does with a tenth of the photographs.

    Args:
        runs: of the store.

    Returns:
        As `compared`.
    """
    helped, course_helped = "assisted-300", "course-assisted-300"
    small, of_course = "SqueezeNet, 300 queries", "student of the course, 300 queries"
    return compared(
        runs,
        {
            f"{small}: with an assistant, against without": Comparison(helped, MANY, OURS, TUNED_ON),
            f"{small}: with a SqueezeNet as assistant, against without":
                Comparison("assisted-by-itself-300", MANY, OURS, TUNED_ON),
            "the larger assistant against a SqueezeNet": Comparison(helped, MANY, "assisted-by-itself-300", MANY),
            "the larger assistant against one with labels": Comparison(helped, MANY, "assisted-by-labels-300", MANY),
            f"{small} with an assistant, against {MANY:,} queries": Comparison(helped, MANY, OURS, MANY),
            f"{small} with an assistant, against labels on {MANY:,}, contrastive":
                Comparison(helped, MANY, "supervised-contrastive", MANY),
            f"{small} with an assistant, against labels on {MANY:,}, multi-similarity":
                Comparison(helped, MANY, "supervised-multi-similarity", MANY),
            f"EfficientNet-Lite0: 300 photographs against {MANY:,}": Comparison("larger", TUNED_ON, "larger", MANY),
            "EfficientNet-Lite0: 300 photographs against labels on the same":
                Comparison("larger", TUNED_ON, "larger-supervised-contrastive", TUNED_ON),
            f"{of_course}: with an assistant, against without": Comparison(course_helped, MANY, COURSE_OURS, TUNED_ON),
            f"{of_course} with an assistant, against {MANY:,} queries": Comparison(course_helped, MANY, COURSE_OURS, MANY),
            f"{of_course} with an assistant, against labels on {MANY:,}": Comparison(course_helped, MANY, COURSE_LABELS, MANY),
        },
    )  # fmt: skip


def mixtures(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Paired gains of mixtures, of every method and number of photographs.

    Args:
        runs: of the store.

    Returns:
        Columns student, added to, mixtures, photographs, gain in points (95 %), so it.
    """
    own = reported(runs)
    rows = []
    for group, student in (("losses", "of the study"), ("course", "of the course")):
        for row in gains(own, mixed(group)).itertuples():
            kept = star(precision(own, row.method, row.images)[0].shape[1])
            rows.append([student, *_added(row), f"{row.images:,}", percent(row) + kept, _helps(row)])
    return pandas.DataFrame(
        rows, columns=["student", "added to", "mixtures", "photographs", "gain in points (95 %)", "so it"]
    )


def over_sizes(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Paired gains of mixtures, all numbers of photographs together.

    Args:
        runs: of the store.

    Returns:
        Columns added to, mixtures, numbers of photographs, mean gain in points (95 %), so it.
    """
    rows = [
        [*_added(row), row.sizes, percent(row), _helps(row)]
        for row in gains_over_sizes(reported(runs), mixed("losses")).itertuples()
    ]
    head = ["added to", "mixtures", "numbers of photographs", "mean gain in points (95 %)", "so it"]
    return pandas.DataFrame(rows, columns=head)


def front(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The findings that the README names: few labels, mixtures, an assistant.

    Args:
        runs: of the store.

    Returns:
        Columns comparison, gain in points of medium mAP (95 %), so it is.
    """
    found = compared(
        runs,
        {
            f"{TUNED_ON} photographs and no labels, against labels on the same": Comparison(
                COURSE_OURS, TUNED_ON, COURSE_LABELS, TUNED_ON
            ),
            f"{TUNED_ON} teacher queries and an assistant network, against {TUNED_ON} queries alone": Comparison(
                "course-assisted-300", MANY, COURSE_OURS, TUNED_ON
            ),
        },
    )
    rows = [list(row[:3]) for row in found.itertuples(index=False)]
    for row in gains_over_sizes(reported(runs), mixed("losses")).itertuples():
        label, added = _added(row)
        if row.other in ("listwise", OURS) and added.endswith("descriptors"):
            side = Interval(row.mean, row.low, row.high).side
            rows.append([f"mixtures of descriptors, added to {label}, against none", percent(row), HIGHER[side]])
    return pandas.DataFrame(rows, columns=["comparison", "gain in points of medium mAP (95 %)", "so it is"])


def regression(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What regression beside the list brings: in the search, in the study, and to the student of the course.

    Args:
        runs: of the store.

    Returns:
        Columns where, regression beside the list, gain in points.
    """
    own = reported(runs)
    found = by_seed(of_regression(runs)).itertuples(index=False)
    rows = [["search", name, f"{mean} (seeds: {seeds})"] for name, seeds, mean in found]
    for where, pair in (("study", {OURS: "listwise"}), ("student of the course", {COURSE_OURS: "course-listwise"})):
        for row in gains(own, pair).itertuples():
            kept = star(precision(own, row.method, row.images)[0].shape[1])
            rows.append([where, f"{row.images:,} photographs", percent(row) + kept])
    return pandas.DataFrame(rows, columns=["where", "regression beside the list", "gain in points"])


def claims(runs: pandas.DataFrame) -> pandas.DataFrame:
    """What the paper's abstract claims, beside what was measured here.

    Args:
        runs: of the store.

    Returns:
        A column claim before those of `compared`.
    """
    pairs: dict[tuple[str, str], Comparison] = {}
    with_labels = ["supervised-contrastive", "supervised-multi-similarity"]
    for images in SIZES:
        for name, other in mixed("losses").items():
            if other in ("listwise", OURS):
                what = f"{images:,} photographs, {METHODS[name].label}, against none"
                pairs["2: interpolation", what] = Comparison(name, images, other, images)
    own = reported(runs)
    for images in SIZES:
        there = [name for name in with_labels if ((own["method"] == name) & (own["images"] == images)).any()]
        if there:  # the better of the two, so that the comparison is not an easy one
            name = max(there, key=lambda name: float(precision(own, name, images)[0].mean()))
            what = f"{images:,} photographs, no labels, against {METHODS[name].label} on the same"
            pairs["3: few samples", what] = Comparison(OURS, images, name, images)
    what = "300 photographs, no labels, against labels, contrastive on the same, EfficientNet-Lite0"
    pairs["3: few samples", what] = Comparison("larger", TUNED_ON, "larger-supervised-contrastive", TUNED_ON)
    for helped, images in (("", TUNED_ON), (" and an assistant", MANY)):
        what = f"300 queries{helped}, no labels, against "
        for name in with_labels:
            ours = "assisted-300" if helped else OURS
            pairs["4: full supervision", f"{what}{METHODS[name].label} on {MANY:,}"] = Comparison(
                ours, images, name, MANY
            )
        ours = "course-assisted-300" if helped else COURSE_OURS
        what += f"labels, contrastive on {MANY:,}, student of the course"
        pairs["4: full supervision", what] = Comparison(ours, images, COURSE_LABELS, MANY)
    found = {key: difference(runs, pair) for key, pair in pairs.items()}
    return pandas.DataFrame(
        [{"claim": claim, "measured here": said, **own} for (claim, said), own in found.items() if own is not None]
    )


def _added(row: Any) -> list[str]:
    """To what mixtures were added, and which."""
    own = METHODS[row.method].settings.mixtures
    assert own is not None
    return [METHODS[row.other].label, f"{own.count} of {'maps' if row.method.endswith(BY_MAPS) else 'descriptors'}"]


def _helps(row: Any) -> str:
    return HELPS[Interval(row.mean, row.low, row.high).side]


def primary(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The primary comparisons of the protocol.

    Args:
        runs: of the store.

    Returns:
        Columns question, comparison, difference in points (95 %), corrected interval, p, corrected p, so it is.
    """
    pairs = protocol.comparisons(runs)
    rows = []
    for question, own in corrected(runs, pairs).items():
        pair, found = pairs[question], difference(runs, pairs[question])
        assert found is not None
        rows.append(
            {
                "question": question,
                "comparison": f"{told_of(pair.method, pair.images)} against {told_of(pair.other, pair.other_images)}",
                "difference in points (95 %)": found["difference in points (95 %)"],
                "corrected interval": f"{100 * own.interval.low:.1f} to {100 * own.interval.high:.1f}",
                "p": f"{own.p:.4f}",
                "corrected p": f"{own.corrected:.4f}",
                "so it is": HIGHER[own.interval.side],
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
    name, _, to_teacher = method.partition("@")
    return f"{METHODS[name].label}, {images:,}{' in the database of its teacher' if to_teacher else ''}"


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
            found = difference(both, Comparison(f"{name}@teacher", images, name, images))
            assert found is not None
            means = [
                f"{100 * float(precision(both, each, images)[0].mean()):.1f}" for each in (name, f"{name}@teacher")
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
        Columns method, medium mAP in %, gain over the recipe in points, gain over its control in points.
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
