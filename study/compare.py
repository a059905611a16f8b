"""What the runs of a store say: precision, curves, paired gains, gains of a search. All mAP is of the medium protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.uncertainty import Interval, bootstrap, bootstrap_test, paired_bootstrap
from study.runs import SEARCH, SEARCHING
from study.settings import as_text

ASYMMETRIC = "@teacher"  # ends the name of a method whose queries search in the teacher's database
ALPHA = 0.05  # of all primary comparisons together


class Comparison(NamedTuple):
    """Two methods, and on how many photographs."""

    method: str
    images: int
    other: str
    other_images: int


class Tested(NamedTuple):
    """A comparison among several.

    Attributes:
        p: of the comparison alone.
        corrected: p after Holm's correction.
        interval: of the difference; those of all comparisons hold together.
    """

    p: float
    corrected: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """As `Interval.verdict`, by the corrected p-value."""
        if self.corrected >= ALPHA:
            return "no clear difference"
        return "higher" if self.interval.mean > 0 else "lower"


def reported(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Select the runs that are results.

    Args:
        runs: as `runs.read` gives them.

    Returns:
        Those of methods, with seeds that chose no settings.
    """
    return runs[(runs["seed"] < SEARCHING) & (runs["method"] != SEARCH)]


def searched(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Select the runs of the search.

    Args:
        runs: as `runs.read` gives them.

    Returns:
        Those that try settings.
    """
    return runs[runs["method"] == SEARCH]


def asymmetric(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Add what students' queries reach in their teacher's database, as methods of their own.

    Args:
        runs: the runs.

    Returns:
        The runs, and below each one with a projection to its teacher's space once more: the name ends in `ASYMMETRIC`, medium
        and medium_ap are those of the teacher's database.
    """
    also = runs[runs["to_teacher"].notna()]
    also = also.assign(method=also["method"] + ASYMMETRIC, medium=also["to_teacher"], medium_ap=also["to_teacher_ap"])
    return pandas.concat([runs, also], ignore_index=True)


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values of several tests, so that the chance of any false finding stays below what each is compared with.

    Args:
        p: of each test.

    Returns:
        The corrected ones, in the same order: the smallest times the number of tests, the next times one less, and so on; none
        below the one before it and none above 1.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    found, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        found[place] = largest
    return found


def corrected(
    runs: pandas.DataFrame, pairs: Mapping[str, Comparison], planned: int, seeds: Collection[int] = ()
) -> dict[str, Tested]:
    """Test several comparisons together, by seed and query.

    Args:
        runs: of the store.
        pairs: by name.
        planned: how many comparisons there are to be; those that cannot be made yet count with p = 1.
        seeds: that both sides of a comparison must have, so that no verdict comes before all of them are run.

    Returns:
        By name. Every interval has the level 1 - `ALPHA` / planned.
    """
    own = asymmetric(reported(runs))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, pair in pairs.items():
        try:
            ap, other, there = paired_precision(own, pair.method, pair.other, pair.images, pair.other_images)
        except BadInput:  # not run yet
            continue
        if set(seeds) <= set(there):
            found[name] = ap, other
    p = {name: bootstrap_test(*both) for name, both in found.items()}
    after = holm([*p.values(), *[1.0] * (planned - len(p))])
    return {
        name: Tested(p[name], value, paired_bootstrap(*found[name], 1 - ALPHA / planned))
        for name, value in zip(p, after, strict=False)
    }


def precision(
    runs: pandas.DataFrame, method: str, images: int, seeds: Iterable[int] | None = None
) -> tuple[Tensor, list[int]]:
    """Average precision of a method, by seed and query.

    Args:
        runs: the runs. Of a seed that is there twice the later run counts.
        method: its name.
        images: with how many photographs.
        seeds: only these, all of which must be there.

    Returns:
        Float [S, Q], and the S seeds in ascending order.

    Raises:
        BadInput: where there is no such run, and for runs with other settings among them.
    """
    chosen = runs[(runs["method"] == method) & (runs["images"] == images)]
    if len({as_text(own) for own in chosen["settings"]}) > 1:
        raise BadInput(
            f"{method!r} on {images} photographs has runs of different settings, because the search chose anew: remove the "
            "older ones from the store."
        )
    rows = {int(row.seed): row for row in chosen.itertuples()}
    wanted = sorted(rows if seeds is None else seeds)
    missing = [seed for seed in wanted if seed not in rows]
    if not wanted or missing:
        which = f" with seed {missing[0]}" if missing else ""
        there = ", ".join(dict.fromkeys(runs["method"]))
        raise BadInput(
            f"There is no run of {method!r} on {images} photographs{which}: there are {there or 'none at all'}."
        )
    return torch.stack([rows[seed].medium_ap for seed in wanted]), wanted


def paired_precision(
    runs: pandas.DataFrame, method: str, other: str, images: int, other_images: int | None = None
) -> tuple[Tensor, Tensor, list[int]]:
    """Average precision of two methods on the seeds that both have.

    Args:
        runs: the runs.
        method: the one method.
        other: what it is compared with.
        images: with how many photographs.
        other_images: the number of the other method; None for the same.

    Returns:
        Two float [S, Q], and the S seeds.

    Raises:
        BadInput: when no seed is in both.
    """
    other_images = images if other_images is None else other_images
    both = sorted(set(precision(runs, method, images)[1]) & set(precision(runs, other, other_images)[1]))
    if not both:
        raise BadInput(
            f"{method!r} on {images} photographs and {other!r} on {other_images} have no seed in common: run the same seeds."
        )
    return precision(runs, method, images, both)[0], precision(runs, other, other_images, both)[0], both


def curve(runs: pandas.DataFrame, method: str) -> pandas.DataFrame:
    """mAP of a method against the number of photographs.

    Args:
        runs: the runs.
        method: its name.

    Returns:
        A frame with columns images, seeds (how many), mean, low, high (95 %); empty where there is no run.
    """
    sizes = sorted(runs.loc[runs["method"] == method, "images"].unique().tolist())
    found = [precision(runs, method, size) for size in sizes]
    return _frame(["images"], [[size] for size in sizes], [(len(s), bootstrap(ap)) for ap, s in found])


def gains(runs: pandas.DataFrame, pairs: Mapping[str, str]) -> pandas.DataFrame:
    """What methods gain over others on the same photographs, paired by seed and query.

    Args:
        runs: the runs.
        pairs: method -> what it is compared with. What has no seed in common is left out.

    Returns:
        A frame with columns method, other, images, seeds (how many both have), and mean, low, high (95 %) of the difference.
    """
    keys: list[list[Any]] = []
    values: list[tuple[int, Interval]] = []
    for method, other in pairs.items():
        for size in _seeds_of_both(runs, method, other):
            ap, without, seeds = paired_precision(runs, method, other, size)
            keys.append([method, other, size])
            values.append((len(seeds), paired_bootstrap(ap, without)))
    return _frame(["method", "other", "images"], keys, values)


def _seeds_of_both(runs: pandas.DataFrame, method: str, other: str) -> dict[int, set[int]]:
    """The seeds that both methods have, by the number of photographs, ascending; numbers without one are left out."""
    first, second = (
        {size: set(group["seed"]) for size, group in runs[runs["method"] == name].groupby("images")}
        for name in (method, other)
    )
    both = {size: first[size] & second.get(size, set()) for size in sorted(first)}
    return {size: seeds for size, seeds in both.items() if seeds}


def _frame(names: list[str], keys: list[list[Any]], values: list[tuple[int, Interval]]) -> pandas.DataFrame:
    rows = [[*key, seeds, each.mean, each.low, each.high] for key, (seeds, each) in zip(keys, values, strict=True)]
    return pandas.DataFrame(rows, columns=[*names, "seeds", "mean", "low", "high"])
