"""What the study found, in sentences with their numbers, for the pages and the first lines of the notebooks.

Each finding takes the runs of the store and reads what else it needs from the results beside it. Differences are paired by
seed and query, with intervals of 95 %.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import Interval, paired_bootstrap, ratio_bootstrap
from study import primary, tables
from study.compare import ASYMMETRIC, asymmetric, curve, paired_precision, precision, reported
from study.methods import BY_DESCRIPTORS, CANDIDATES, HARDER, METHODS, PRIMARY_SEEDS
from study.runs import NO_RUNS
from study.search import MANY, TUNED_ON
from study.tables import teachers
from study.tables.gains import MEAN, MIXED, OTHER_WAY, SPENT
from study.tables.scores import COURSE_LABELS, COURSE_OURS, OURS, levels, share

NOT_YET = f"*{NO_RUNS}*"
PARTS = ("train", "validation", "test")  # of the rooms, none of which the stranger saw
LOSSES = ("rkd-distance-angle", "similarity-preserving", "pkt", "darkrank", "regression", "order")


def _start(runs: pandas.DataFrame) -> str:
    """What the student of the course reaches, between the untrained student and the teacher."""
    level = levels(runs)
    ours, labels = (_mean(runs, name, TUNED_ON) for name in (COURSE_OURS, COURSE_LABELS))
    return (
        f"With {TUNED_ON} photographs, {TUNED_ON} answers of the teacher and no label, the student of the course, a "
        f"SqueezeNet, goes from {_percent(level['untrained student'])} to {_percent(ours)} medium mAP on rooms that it has "
        f"never seen. With the labels of the same photographs it reaches {_percent(labels)}; the teacher itself reaches "
        f"{_percent(level['teacher'])}."
    )


def _teacher(runs: pandas.DataFrame) -> str:
    """What the teacher knows, and what one that learned by heart forgets on new rooms."""
    measured = teachers.read()
    medium = {
        name: _of_teachers(measured, "scores", name, "test", "medium") for name in ("teacher", "untrained student")
    }
    found = {
        name: [_of_teachers(measured, "same-room", name, part) for part in ("train", "test")]
        for name in ("memoriser", "teacher")
    }
    said = {name: " and ".join(f"{value:.1f} %" for value in own) for name, own in found.items()}
    return (
        f"On the test rooms the teacher reaches {medium['teacher']:.1f} % medium mAP, the untrained student "
        f"{medium['untrained student']:.1f} %. In an easier test, where each photograph is the query for the others of its "
        f"room, a network that learned the student's rooms by heart has {said['memoriser']} mAP on these rooms and on new "
        f"ones; the teacher has {said['teacher']}."
    )


def _by_heart(runs: pandas.DataFrame) -> str:
    """How far teacher and memoriser stand from the stranger, which saw none of the rooms."""
    measured = teachers.read()
    ahead = {
        name: [
            _of_teachers(measured, "same-room", name, part) - _of_teachers(measured, "same-room", "stranger", part)
            for part in PARTS
        ]
        for name in ("teacher", "memoriser")
    }
    said = {
        name: "{:+.1f} points on *train*, {:+.1f} on *validation* and {:+.1f} on *test*".format(*own)
        for name, own in ahead.items()
    }
    return f"Compared with the stranger the teacher has {said['teacher']}; the memoriser has {said['memoriser']}."


def _taught(runs: pandas.DataFrame) -> str:
    """What students of each teacher reach on validation, beside labels."""
    measured = teachers.read()
    own = measured[measured["measure"] == "students"]
    labels, recipe = own[own["detail"] == teachers.LABELS], own[own["detail"] == OURS]
    by = {name: f"{recipe.loc[recipe['network'] == name, 'mean'].mean():.1f} %" for name in recipe["network"].unique()}
    return (
        f"Cheap students with {TUNED_ON} photographs, {own['seed'].nunique()} seeds, on the validation rooms: "
        f"{by['teacher']} taught by the teacher, {by['stranger']} by the stranger, {by['memoriser']} by the memoriser, "
        f"{labels['mean'].mean():.1f} % with labels and no teacher."
    )


def _losses(runs: pandas.DataFrame) -> str:
    """What the listwise loss taught with 300 photographs, beside the loss that came nearest on the validation rooms."""
    reached = primary.searched_best(runs, LOSSES, TUNED_ON)
    nearest = _tried(primary.highest(reached))
    lists, other, _ = paired_precision(reported(runs), "listwise", nearest, TUNED_ON)
    return (
        f"The listwise loss taught the cheap student {_percent(float(lists.mean()))} medium mAP from {TUNED_ON} photographs; "
        f"{METHODS[nearest].label}, the best of {len(LOSSES)} other losses on the validation rooms, "
        f"{_percent(float(other.mean()))}: {_told(paired_bootstrap(lists, other))}. With regression, the recipe of this "
        f"course, the listwise loss reaches {_percent(_mean(runs, OURS, TUNED_ON))}."
    )


def _seeds(runs: pandas.DataFrame) -> str:
    """What mixtures gave the student of notebook 4, seed by seed."""
    own = reported(runs)
    mixed, plain, drawn = paired_precision(own, f"lesson{BY_DESCRIPTORS}", "lesson", TUNED_ON)
    each = ", ".join(f"{100 * float(gain):+.1f}" for gain in (mixed - plain).mean(1))
    return (
        f"The same two students with seeds {drawn[0]} to {drawn[-1]}: mixtures of descriptors gave "
        f"{each} points, on average "
        f"{_told(paired_bootstrap(mixed, plain))}."
    )


def _asymmetry(runs: pandas.DataFrame) -> str:
    """What the teacher's database gives the student's queries."""
    both = asymmetric(reported(runs))
    to_teacher, own, _ = paired_precision(both, OURS + ASYMMETRIC, OURS, TUNED_ON)
    return (
        f"The cheap student, trained on {TUNED_ON} photographs, finds {_percent(float(own.mean()))} in a database that "
        "it has described itself, and "
        f"{_percent(float(to_teacher.mean()))} in one that the teacher has described: "
        f"{_told(paired_bootstrap(to_teacher, own))}."
    )


def _efficiency(runs: pandas.DataFrame) -> str:
    """How far few photographs go, without labels and with them."""
    own = reported(runs)
    points = {row.images: row.mean for row in curve(own, OURS).itertuples()}
    labels = _tried(primary.best_labels(runs, TUNED_ON))
    gain = paired_bootstrap(*paired_precision(own, OURS, labels, TUNED_ON)[:2])
    few, many = min(points), max(points)
    return (
        f"Without a label the cheap student climbs from {_percent(points[few])} with {few} photographs to "
        f"{_percent(points[TUNED_ON])} with "
        f"{TUNED_ON} and {_percent(points[many])} with {many:,}. On {TUNED_ON} photographs the "
        f"difference to {METHODS[labels].label}, the best of three losses with labels on the validation rooms, is "
        f"{_told(gain)}."
    )


def _enough(runs: pandas.DataFrame) -> str:
    """How much of what all photographs give the student has after 300."""
    before, few, many = levels(runs)["untrained student"], _mean(runs, OURS, TUNED_ON), _mean(runs, OURS, MANY)
    return (
        f"The cheap student, untrained at {_percent(before)}, has {_percent(few)} with {TUNED_ON} photographs. This is "
        f"{_part(runs, OURS, TUNED_ON)} of the {_percent(many)} that {MANY:,} photographs give."
    )


def _verdict(runs: pandas.DataFrame) -> str:
    """What interpolation added to the recipe: three of the primary comparisons."""
    found = primary.tested(runs)
    questions = {
        "mixtures of descriptors": "descriptor mixtures",
        "mixtures of feature maps": "map mixtures",
        f"the best of {len(CANDIDATES)} other ways to mix, by the validation rooms,": "the best other mixtures",
    }
    said = "; ".join(
        f"{name} {_told(found[question].interval, primary.LEVEL, found[question].verdict)}"
        for name, question in questions.items()
    )
    return (
        f"Added to the recipe (cheap student, {TUNED_ON} photographs, {len(PRIMARY_SEEDS)} seeds): {said}. Each of the "
        f"{len(primary.QUESTIONS)} questions of the study has an interval of {primary.LEVEL}, so that all hold together "
        "with 95 %."
    )


def _paying(runs: pandas.DataFrame) -> str:
    """What choosing photographs and an assistant gave."""
    own = reported(runs)
    centre = paired_bootstrap(*paired_precision(own, "paid-k-centre", "paid-random", TUNED_ON)[:2])
    helped, plain, _ = paired_precision(own, "assisted-300", OURS, MANY, TUNED_ON)
    every = _mean(runs, OURS, MANY)
    return (
        f"With an assistant that learned {TUNED_ON} answers and describes all photographs, the cheap student reaches "
        f"{_percent(float(helped.mean()))}: {_told(paired_bootstrap(helped, plain))}. This is "
        f"{_part(runs, 'assisted-300', MANY)} of the {_percent(every)} that {MANY:,} teacher queries give. "
        f"Choosing the {TUNED_ON} photographs by k-centre instead of at random: {_told(centre)}."
    )


def _everywhere(runs: pandas.DataFrame) -> str:
    """What mixtures gave in the mean of all methods and teachers."""
    found, said = tables.verdict(runs), []
    for panel in MIXED:
        own = found[found["panel"] == panel]
        mean = own[own["method"] == MEAN].iloc[0]
        gain = _told(Interval(mean["mean"], mean["low"], mean["high"]))
        methods = int((~own["method"].str.startswith(OTHER_WAY)).sum()) - 1
        said.append(f"mixtures of {panel} with {methods} methods: {gain}")
    return f"On average, {'; '.join(said)}."


def _choosing(runs: pandas.DataFrame) -> str:
    """What each choice of photographs gave."""
    own, said = reported(runs), []
    for what, pair in SPENT.items():
        both = paired_precision(own, pair.method, pair.other, pair.images, pair.other_images)[:2]
        said.append(f"{what}: {_told(paired_bootstrap(*both))}")
    return f"With {TUNED_ON} queries, {'; '.join(said)}."


def _assistants(runs: pandas.DataFrame) -> str:
    """What the student reaches with few queries and an assistant, and without one; and what the teacher's answers are worth."""
    helped = {row.images: row.mean for row in tables.by_queries(runs)["the larger assistant"].itertuples()}
    said = ", ".join(f"{_percent(mean)} with {queries:,} queries" for queries, mean in helped.items())
    alone = " and ".join(f"{_percent(_mean(runs, OURS, images))} with {images:,}" for images in (TUNED_ON, MANY))
    asked = paired_bootstrap(*paired_precision(reported(runs), "assisted-300", "assisted-by-labels-300", MANY)[:2])
    return (
        f"A cheap student of the larger assistant reaches {said}; one of the teacher alone {alone}. An assistant that asked "
        f"the teacher about {TUNED_ON} photographs, against one that learned from their labels: {_told(asked)}."
    )


def _harder(runs: pandas.DataFrame) -> str:
    """What harder teachers cost their students."""
    found = tables.explored(runs).drop_duplicates("teacher")
    reached = {row.teacher: float(row.student) for row in found.itertuples()}
    plain = reached["teacher"]
    lost = {name: plain - reached[name] for name in HARDER.values() if name in reached}
    if not lost:
        raise BadInput("There is no run of a harder teacher: make them with `python -m study search`.")
    said = ", ".join(f"{name} {-value:+.1f}" for name, value in lost.items())
    return (
        f"A student of the teacher reaches {plain:.1f} % on the validation rooms, mean of two seeds. Students of harder "
        f"versions, in points compared with it: {said}. With two seeds a difference of two or three points may be chance."
    )


FINDINGS: dict[str, Callable[[pandas.DataFrame], str]] = {
    each.__name__.removeprefix("_"): each
    for each in (
        _start, _teacher, _by_heart, _taught, _losses, _seeds, _asymmetry, _efficiency, _enough, _verdict, _everywhere, _paying,
        _choosing, _assistants, _harder,
    )
}  # fmt: skip


def told(name: str, runs: pandas.DataFrame) -> str:
    """Say a finding.

    Args:
        name: one of `FINDINGS`.
        runs: of the store.

    Returns:
        One sentence or two; `NOT_YET` where runs or measurements are missing.

    Raises:
        KeyError: for another name.
    """
    finding = FINDINGS[name]
    try:
        return finding(runs)
    except (BadInput, KeyError, IndexError, FileNotFoundError):
        return NOT_YET


def _of_teachers(measured: pandas.DataFrame, measure: str, network: str, part: str, detail: str = "") -> float:
    """What was measured of a network, in percent."""
    wanted = (measured[["measure", "network", "part", "detail"]] == [measure, network, part, detail]).all(axis=1)
    return float(measured.loc[wanted, "mean"].iloc[0])


def _tried(name: str | None) -> str:
    """A method that the search chose; BadInput where it has not yet."""
    if name is None:
        raise BadInput("Nothing was tried yet: run `python -m study search`.")
    return name


def _mean(runs: pandas.DataFrame, method: str, images: int) -> float:
    """Medium mAP of a method, mean over seeds, as a fraction."""
    return float(precision(reported(runs), method, images)[0].mean())


def _part(runs: pandas.DataFrame, method: str, images: int) -> str:
    """Which part a method reaches of what the recipe does with all photographs and a query for each."""
    both = paired_precision(reported(runs), method, OURS, images, MANY)[:2]
    return share(ratio_bootstrap(*both), "95 %: ")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _told(gain: Interval, level: str = "95 %", verdict: str = "") -> str:
    """A difference in points, its interval, and what it means."""
    mean, low, high = (f"{100 * value:+.1f}" for value in (gain.mean, gain.low, gain.high))
    return f"{mean} points ({level}: {low} to {high}), {verdict or gain.verdict}"
