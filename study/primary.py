"""The primary comparisons of the protocol: which they are, and what the validation rooms choose among."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas

from rdistill_helpers.errors import BadInput
from study.compare import ALPHA, ASYMMETRIC, Comparison, Tested, corrected, searched
from study.methods import (
    BESIDE_MIXTURES,
    BY_DESCRIPTORS,
    BY_MAPS,
    CANDIDATES,
    CONTROLS,
    EXPLORED,
    KINDS,
    LABELS,
    METHODS,
    PRIMARY_SEEDS,
    STARTS,
    settings_of,
    untrained,
)
from study.search import CONFIRMING_SEED, FEW_PAID, MANY, TUNED_ON, TUNING_SEED, best, confirmed, tried, tries
from study.settings import TEACHER, as_text, but

QUESTIONS = {  # of the primary comparisons, and as a reader says them
    "no labels": f"{TUNED_ON} photographs: the teacher's answers against labels",
    "no labels, 300 queries": f"{TUNED_ON} queries and an assistant, against labels of all {MANY:,}",
    "descriptor mixtures": "with mixtures of descriptors",
    "map mixtures": "with mixtures of feature maps",
    "descriptor mixtures, stranger": "with mixtures of descriptors, second teacher",
    "the best other mixtures": f"with the best of {len(CANDIDATES)} other ways to mix",
    "the best start": f"with the best of {len(STARTS)} other starts of training",
    "queries in the teacher's database": "queries projected into the teacher's database, against the student's",
}
LEVEL = f"{100 * (1 - ALPHA / len(QUESTIONS)):.1f} %"  # of each interval, so that all hold together
RECIPE, ASSISTED, STRANGER = "listwise+regression", "assisted-300", "stranger"


def validation(runs: pandas.DataFrame, names: tuple[str, ...]) -> dict[str, float]:
    """What methods reach on the validation rooms with 300 queries, or labels of 300 photographs.

    Args:
        runs: of the store.
        names: of the methods; those that were not confirmed yet are left out.

    Returns:
        Mean medium mAP of the two seeds of the search, by method.
    """
    chosen, found = tried(runs), confirmed(runs)
    reached = {}
    for name in names:
        try:
            own = as_text(settings_of(name, photographs(name), chosen))
        except BadInput:  # not tried yet
            continue
        if own in found:
            reached[name] = found[own]
    return reached


def comparisons(runs: pandas.DataFrame) -> dict[str, Comparison]:
    """The primary comparisons, by their question; those that wait for a choice on validation are left out.

    Args:
        runs: of the store.

    Returns:
        In the order of `QUESTIONS`.
    """
    three, all_ = TUNED_ON, MANY
    found = {
        "descriptor mixtures": Comparison(RECIPE + BY_DESCRIPTORS, three, RECIPE, three),
        "map mixtures": Comparison(RECIPE + BY_MAPS, three, RECIPE, three),
        "descriptor mixtures, stranger": Comparison(STRANGER + BY_DESCRIPTORS, three, STRANGER, three),
        "queries in the teacher's database": Comparison(RECIPE + ASYMMETRIC, three, RECIPE, three),
    }
    if labels := best_labels(runs, three):
        found["no labels"] = Comparison(RECIPE, three, labels, three)
    if labels := best_labels(runs, all_):
        found["no labels, 300 queries"] = Comparison(ASSISTED, all_, labels, all_)
    for question, names in (("the best other mixtures", CANDIDATES), ("the best start", STARTS)):
        if name := highest(validation(runs, names)):
            found[question] = Comparison(name, photographs(name), RECIPE, three)
    return {question: found[question] for question in QUESTIONS if question in found}


def tested(runs: pandas.DataFrame) -> dict[str, Tested]:
    """The primary comparisons, tested together.

    Args:
        runs: of the store.

    Returns:
        By question; those without all of their seeds are left out.
    """
    return corrected(runs, comparisons(runs), len(QUESTIONS), PRIMARY_SEEDS)


def cells(runs: pandas.DataFrame) -> set[tuple[str, int]]:
    """Methods and numbers of photographs that the primary comparisons need.

    Args:
        runs: of the store.

    Returns:
        Pairs of a method and a number.
    """
    sides = [side for own in comparisons(runs).values() for side in (own[:2], own[2:])]
    return {(str(name).removesuffix(ASYMMETRIC), int(images)) for name, images in sides}


def validated(runs: pandas.DataFrame) -> list[dict[str, Any]]:
    """Candidates and starts on the validation rooms.

    Args:
        runs: of the store.

    Returns:
        A row for each that was confirmed, see `study.tables.validated`.
    """
    names = (RECIPE, RECIPE + BY_DESCRIPTORS, *CANDIDATES, *CONTROLS.values(), *STARTS)
    reached = validation(runs, tuple(dict.fromkeys(names)))
    first = searched_best(runs, [name for name in reached if METHODS[name].like is None], TUNED_ON)
    second = {name: 2 * value - first[name] for name, value in reached.items() if name in first}

    def gain(scores: dict[str, float], name: str, other: str | None) -> str:
        there = other != name and name in scores and other in scores
        return f"{100 * (scores[name] - scores[str(other)]):+.1f}" if there else ""

    return [
        {
            "method": METHODS[name].label,
            "medium mAP in %": f"{100 * value:.1f}",
            "gain over the recipe in points": gain(reached, name, RECIPE),
            "on the second seed": gain(second, name, RECIPE),
            "gain over its control in points": gain(reached, name, CONTROLS.get(name)),
        }
        for name, value in reached.items()
    ]


def by_teacher(runs: pandas.DataFrame) -> list[dict[str, Any]]:
    """Where mixtures help: the recipe under each teacher, and other losses under both.

    Args:
        runs: of the store.

    Returns:
        A row for each that was tried, see `study.tables.explored`.
    """
    chosen = tried(runs)
    try:
        recipe = [settings_of(name, TUNED_ON, chosen) for name in KINDS]
        losses = {name: settings_of(name, TUNED_ON, chosen) for name in BESIDE_MIXTURES}
    except BadInput:  # nothing was chosen yet
        return []
    lines = [(teacher, METHODS[RECIPE].label, [but(own, teacher=teacher) for own in recipe]) for teacher in EXPLORED]
    lines += [
        (teacher, METHODS[name].label, [but(own, teacher=teacher, mixtures=each.mixtures) for each in recipe])
        for name, own in losses.items()
        for teacher in ("teacher", "stranger")
    ]
    own = searched(runs)
    found: dict[tuple[str, int], Any] = {(as_text(row.settings), row.seed): row.medium for row in own.itertuples()}
    rows = []
    for teacher, said, three in lines:
        reached: list[list[Any]] = [
            [found.get((as_text(own), seed)) for seed in (TUNING_SEED, CONFIRMING_SEED)] for own in three
        ]
        seeds = [place for place in (0, 1) if all(each[place] is not None for each in reached)]
        if seeds:
            plain, *mixed = (sum(each[place] for place in seeds) / len(seeds) for each in reached)
            itself = found.get((as_text(untrained(TEACHER, teacher)), TUNING_SEED))
            rows.append(
                {
                    "teacher": EXPLORED[teacher],
                    "itself": "" if itself is None else f"{100 * itself:.1f}",
                    "loss": said,
                    "student": f"{100 * plain:.1f}",
                    **{
                        what: f"{100 * (value - plain):+.1f}"
                        for what, value in zip(("gain by descriptors", "gain by maps"), mixed, strict=True)
                    },
                    "seeds": str(len(seeds)),
                }
            )
    return rows


def searched_best(runs: pandas.DataFrame, names: Iterable[str], images: int) -> dict[str, float]:
    """What methods reach on the validation rooms with their best settings, on the seed that chooses.

    Args:
        runs: of the store.
        names: of the methods; those that were not tried are left out.
        images: for how many photographs settings were chosen.

    Returns:
        Medium mAP by method.
    """
    chosen, reached = tried(runs), {}
    for name in names:
        found = best(tries(METHODS[name].settings, images), chosen)
        if found is not None:
            reached[name] = chosen[as_text(found)]
    return reached


def best_labels(runs: pandas.DataFrame, images: int) -> str | None:
    """The loss with labels that reached most on the validation rooms.

    Args:
        runs: of the store.
        images: how many photographs; on 300 the mean of two seeds decides, else one seed.

    Returns:
        Its name; None where none was tried.
    """
    return highest(validation(runs, LABELS) if images == TUNED_ON else searched_best(runs, LABELS, images))


def photographs(name: str) -> int:
    """How many photographs a method has where it has 300 queries.

    Args:
        name: of the method.

    Returns:
        The number.
    """
    return FEW_PAID if METHODS[name].settings.made else TUNED_ON


def highest(reached: dict[str, float]) -> str | None:
    """The method that reached most.

    Args:
        reached: what each reached, by its name.

    Returns:
        Its name; None where there is none.
    """
    return max(reached, key=lambda name: reached[name], default=None)
