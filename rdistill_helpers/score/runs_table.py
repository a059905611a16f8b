"""The tables of a study: one row for each training, in a CSV, and what can be read off them.

Columns: method, images, teacher_queries, seed, easy / medium / hard mAP as fractions, seconds of training, settings as JSON
and, where it was kept, medium_ap, the average precision of each query under the medium protocol with spaces between. Seeds
from `SEARCHING` on chose settings and are no results; `reported` leaves them out. All mAP here is that of the medium protocol.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.score.uncertainty import Interval, bootstrap, paired_bootstrap

if TYPE_CHECKING:
    import pandas

SEARCHING = 1000  # seeds from here on searched or tuned
MIXED = ("+interpolated", "+mixed-maps")  # end the name of a method that is the one before with mixtures added
COLUMNS = ("method", "images", "seed", "easy", "medium", "hard", "settings")


def read_runs(path: str | Path) -> pandas.DataFrame:
    """All rows of a table in their order; settings become dicts, medium_ap float tensors [Q] (None where it was not kept).

    A last line that is still being written is left out. Raises DataMissing when there is no file, BadInput for another table.
    """
    import csv

    import pandas

    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"There is no table of runs at {path}: make it with the study in benchmarks/, `make study`.")
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = whole.split("\n")
    try:
        rows = list(csv.DictReader(lines))
        runs = pandas.DataFrame(rows, columns=rows[0].keys() if rows else next(csv.reader(lines)))
        missing = [name for name in COLUMNS if name not in runs]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        for name in ("images", "seed", "teacher_queries"):
            if name in runs:
                runs[name] = runs[name].astype(int)
        for name in ("easy", "medium", "hard", "seconds"):
            if name in runs:
                runs[name] = runs[name].astype(float)
        runs["settings"] = [_settings(text) for text in runs["settings"]]
        kept = runs["medium_ap"] if "medium_ap" in runs else [""] * len(runs)
        runs["medium_ap"] = pandas.Series([_precision(text) for text in kept], dtype=object, index=runs.index)
    except (ValueError, TypeError, StopIteration, csv.Error) as error:
        raise BadInput(
            f"{path} is no table of runs ({error}): give a CSV that the study in benchmarks/ wrote."
        ) from error
    return runs


def reported(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The rows that are results: those of seeds that chose no settings."""
    return runs[runs["seed"] < SEARCHING]


def methods(runs: pandas.DataFrame) -> list[str]:
    """Names of the methods in the order of their first row."""
    return list(dict.fromkeys(runs["method"]))


def precision(
    runs: pandas.DataFrame, method: str, images: int, seeds: Iterable[int] | None = None
) -> tuple[Tensor, list[int]]:
    """Average precision [S, Q] of a method on a number of photographs, and its S seeds in ascending order.

    seeds: only these, all of which must be there. A seed that is there twice counts by its later row. In a table without
    the precision of queries this is [S, 1], the mAP of each seed, so that an interval speaks of seeds alone.
    Raises BadInput where there is no such row.
    """
    chosen = runs[(runs["method"] == method) & (runs["images"] == images)]
    rows = {int(row.seed): row for row in chosen.itertuples()}
    wanted = sorted(rows if seeds is None else seeds)
    missing = [seed for seed in wanted if seed not in rows]
    if not wanted or missing:
        which = f" with seed {missing[0]}" if missing else ""
        raise BadInput(
            f"The table has no run of {method!r} on {images} photographs{which}: it holds {', '.join(methods(runs))}."
        )
    values = [rows[seed].medium_ap for seed in wanted]
    if any(value is None for value in values):
        values = [torch.tensor([rows[seed].medium]) for seed in wanted]
    return torch.stack(values), wanted


def paired_precision(
    runs: pandas.DataFrame, method: str, other: str, images: int, other_images: int | None = None
) -> tuple[Tensor, Tensor, list[int]]:
    """Average precision [S, Q] of two methods for the seeds that both have, and these seeds.

    other_images: the number of photographs of the other method, by default the same. Raises BadInput when no seed is in both.
    """
    other_images = images if other_images is None else other_images
    both = sorted(set(precision(runs, method, images)[1]) & set(precision(runs, other, other_images)[1]))
    if not both:
        raise BadInput(
            f"{method!r} on {images} photographs and {other!r} on {other_images} have no seed in common: run the same seeds."
        )
    return precision(runs, method, images, both)[0], precision(runs, other, other_images, both)[0], both


def curve(runs: pandas.DataFrame, method: str) -> pandas.DataFrame:
    """mAP of a method against the number of photographs: columns images, seeds (how many), mean, low, high (95 %)."""
    sizes = sorted(runs.loc[runs["method"] == method, "images"].unique().tolist())
    found = [precision(runs, method, size) for size in sizes]
    return _table(["images"], [[size] for size in sizes], [(len(s), bootstrap(ap)) for ap, s in found])


def gains(runs: pandas.DataFrame, pairs: Mapping[str, str] | None = None) -> pandas.DataFrame:
    """What methods gain over others on the same photographs, paired by seed and query.

    pairs: method -> the one it is compared with, by default every method with mixtures and the same without. Columns: method,
    other, images, seeds (how many both have), and mean, low, high (95 %) of the difference in mAP. What has no seed in common
    is left out.
    """
    keys: list[list[Any]] = []
    values: list[tuple[int, Interval]] = []
    for method, other in _pairs(runs, pairs).items():
        for size in _seeds_of_both(runs, method, other):
            ap, without, seeds = paired_precision(runs, method, other, size)
            keys.append([method, other, size])
            values.append((len(seeds), paired_bootstrap(ap, without)))
    return _table(["method", "other", "images"], keys, values)


def gains_over_sizes(runs: pandas.DataFrame, pairs: Mapping[str, str] | None = None) -> pandas.DataFrame:
    """As `gains`, but one comparison for each pair: the mean of its gains over all numbers of photographs that both have.

    Many comparisons of one pair miss 0 by chance sooner or later, a single one seldom does. Columns: method, other, sizes
    (how many), seeds (that every size has), mean, low, high. A pair with a single size or no common seed is left out.
    """
    keys: list[list[Any]] = []
    values: list[tuple[int, Interval]] = []
    for method, other in _pairs(runs, pairs).items():
        seeds_of = _seeds_of_both(runs, method, other)
        common = set.intersection(*seeds_of.values()) if len(seeds_of) > 1 else set()
        if not common:
            continue
        ap, without = (
            torch.stack([precision(runs, name, size, common)[0] for size in seeds_of]).mean(dim=0)
            for name in (method, other)
        )
        keys.append([method, other, len(seeds_of)])
        values.append((len(common), paired_bootstrap(ap, without)))
    return _table(["method", "other", "sizes"], keys, values)


def _pairs(runs: pandas.DataFrame, pairs: Mapping[str, str] | None) -> Mapping[str, str]:
    """The pairs given, or every method with mixtures and the same without."""
    if pairs is not None:
        return pairs
    return {name: name.rpartition("+")[0] for name in methods(runs) if name.endswith(MIXED)}


def _seeds_of_both(runs: pandas.DataFrame, method: str, other: str) -> dict[int, set[int]]:
    """The seeds that both methods have, by the number of photographs, ascending; numbers without one are left out."""
    first, second = (
        {size: set(group["seed"]) for size, group in runs[runs["method"] == name].groupby("images")}
        for name in (method, other)
    )
    both = {size: first[size] & second.get(size, set()) for size in sorted(first)}
    return {size: seeds for size, seeds in both.items() if seeds}


def changes(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not the default ones."""
    return {name: value for name, value in settings.items() if name not in defaults or defaults[name] != value}


def matched(runs: pandas.DataFrame, names: Iterable[str], defaults: Mapping[str, Any]) -> pandas.DataFrame:
    """Each run that changes one of the settings `names`, beside the run of the same seed that changes none of them.

    defaults: values of settings that a row need not name. Columns: change (dict, of `names`), rest (dict, what else is not the
    default), seed, medium (mAP), gain (difference in mAP to the other run). Runs without a partner are left out.
    """
    import pandas

    names = set(names)
    plain: dict[str, float] = {}
    changed: list[tuple[dict[str, Any], dict[str, Any], int, float]] = []
    for row in runs.itertuples():
        found = changes(row.settings, defaults)
        change = {name: found[name] for name in found if name in names}
        rest = {name: found[name] for name in found if name not in names}
        if change:
            changed.append((change, rest, int(row.seed), float(row.medium)))
        else:
            plain[_key(rest, row.seed)] = float(row.medium)
    rows = [
        (change, rest, seed, medium, medium - plain[_key(rest, seed)])
        for change, rest, seed, medium in changed
        if _key(rest, seed) in plain
    ]
    return pandas.DataFrame(rows, columns=["change", "rest", "seed", "medium", "gain"])


def _key(settings: Mapping[str, Any], seed: int) -> str:
    return json.dumps([settings, int(seed)], sort_keys=True)


def _settings(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("its settings have no names")
    return found


def _precision(text: str | None) -> Tensor | None:
    return torch.tensor([float(value) for value in text.split()]) if text else None


def _table(names: list[str], keys: list[list[Any]], values: list[tuple[int, Interval]]) -> pandas.DataFrame:
    import pandas

    rows = [[*key, seeds, each.mean, each.low, each.high] for key, (seeds, each) in zip(keys, values, strict=True)]
    return pandas.DataFrame(rows, columns=[*names, "seeds", "mean", "low", "high"])
