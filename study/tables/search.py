"""Tables of the search: gains of single seeds, which are too few for an interval, and what settings reached."""

from __future__ import annotations

from typing import Any

import numpy
import pandas

from study.compare import gains, matched, reported, searched
from study.methods import told
from study.search import COURSE, LIST, TUNED_ON, TUNING_SEED
from study.settings import Settings, differences
from study.tables.scores import OURS, percent

CHOICES = {"paid-few-views": OURS, "paid-k-centre": "paid-random", "paid-clusters": "paid-random"}
SAID = {
    "paid-few-views": "three views of each room against ten",
    "paid-k-centre": "k-centre against random",
    "paid-clusters": "clusters against random",
}


def of_mixtures(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Kinds of mixtures of descriptors beside the list alone on 300 photographs.

    Args:
        runs: of the store.

    Returns:
        Columns name, seed, gain: a difference in mAP, a fraction, to the run of the same seed without the change.
    """
    found = _mixed(runs)
    return _named(found[~found["of maps"] & (found["rest"] == "")])


def of_maps(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Mixtures of maps, and a batch that is larger by photographs instead.

    Args:
        runs: of the store.

    Returns:
        As `of_mixtures`.
    """
    found, larger = _mixed(runs), _matched(runs, anchors=8)
    return _named(pandas.concat([found[found["of maps"]], larger[larger["change"] == {"anchors": 16}]]))


def under_mixtures(runs: pandas.DataFrame) -> pandas.DataFrame:
    """48 plain mixtures of descriptors under other losses, lists, dimensions and numbers of photographs.

    Args:
        runs: of the store.

    Returns:
        As `of_mixtures`, by what is other than the list alone on 300 photographs.
    """
    found = _mixed(runs)
    found = found[(found["said"] == "48 mixtures") & (found["rest"] != "")]
    return _named(found.assign(said=found["rest"], rest=""))


def of_training(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Other settings of training than those of the recipe, one at a time.

    Args:
        runs: of the store.

    Returns:
        As `of_mixtures`.
    """
    found = _matched(runs, Settings(), lr=3e-4, steps=500, start_weight=0.2, loss_settings={})
    known = [set(differences(other, Settings())) <= {"images"} for other in found["other"]]
    return _named(found[numpy.array(known, bool)])


def of_regression(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Regression beside the list.

    Args:
        runs: of the store.

    Returns:
        As `of_mixtures`.
    """
    return _named(_matched(runs, regression_weight=0.0))


def of_photographs(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Which photographs: few views of many rooms, and photographs drawn at random.

    Args:
        runs: of the store.

    Returns:
        As `of_mixtures`.
    """
    return _named(_matched(runs, per_room=10, choice="rooms"))


def of_conditions(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Other views of the photographs and weaker teachers, without mixtures.

    Args:
        runs: of the store.

    Returns:
        As `of_mixtures`.
    """
    found = _matched(runs, views=6, augment=True, teacher="teacher")
    return _named(found[numpy.array([other.mixtures is None for other in found["other"]], bool)])


def with_teachers(runs: pandas.DataFrame) -> pandas.DataFrame:
    """As `by_seed` of `of_conditions`, with what a weaker teacher reaches itself.

    Args:
        runs: of the store.

    Returns:
        Columns change, gain in points, each seed, mean, medium mAP of this teacher itself in %.
    """
    own = searched(runs)
    teachers = {told({"teacher": row.settings.teacher}): row.medium for row in own.itertuples() if not row.images}
    found = by_seed(of_conditions(runs))
    reached = [f"{100 * teachers[name]:.1f}" if name in teachers else "" for name in found["change"]]
    return found.assign(**{"medium mAP of this teacher itself in %": reached})


def by_seed(found: pandas.DataFrame, change: str = "change") -> pandas.DataFrame:
    """Print gains of single seeds.

    Args:
        found: as `of_mixtures` gives them.
        change: head of the first column.

    Returns:
        Columns change, gain in points, each seed, mean.
    """
    own = found.groupby("name", sort=False)["gain"]
    rows = [[name, ", ".join(map(_points, values)), _points(values.mean())] for name, values in own]
    return pandas.DataFrame(rows, columns=[change, "gain in points, each seed", "mean"])


def choices(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Which photographs, in the search and, under a budget, in the study.

    Args:
        runs: of the store.

    Returns:
        Columns where, photographs, gain in points.
    """
    found = by_seed(of_photographs(runs)).itertuples(index=False)
    rows = [["search", name, f"{mean} (seeds: {seeds})"] for name, seeds, mean in found]
    for row in gains(reported(runs), CHOICES).itertuples():
        rows.append(["study", f"{SAID[row.method]}, {row.images:,} queries", percent(row)])
    return pandas.DataFrame(rows, columns=["where", "photographs", "gain in points"])


def lists(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Short lists: few photographs in a batch.

    Args:
        runs: of the store.

    Returns:
        Columns photographs in a batch, anchors, neighbours, medium mAP in %, each seed.
    """
    found = sorted(_of_values(runs, "anchors", "neighbours").items())
    rows = [[anchors * (1 + neighbours), anchors, neighbours, said] for (anchors, neighbours), said in found]
    return pandas.DataFrame(
        rows, columns=["photographs in a batch", "anchors", "neighbours", "medium mAP in %, each seed"]
    )


def dimensions(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Students of other dimensions: how their layer started, with and without regression.

    Args:
        runs: of the store.

    Returns:
        Columns dimension of the student, its layer starts from, list, medium mAP in %, each seed.
    """
    found = _of_values(runs, "dim", "whitening", "regression_weight")
    rows = [
        [dim, whitening, "and regression" if weight else "alone", said]
        for (dim, whitening, weight), said in sorted((key, said) for key, said in found.items() if key[0])
    ]
    head = ["dimension of the student", "its layer starts from", "list", "medium mAP in %, each seed"]
    return pandas.DataFrame(rows, columns=head)


def temperatures(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The search that chose for the student of the course: temperature by learning rate and start weight.

    Args:
        runs: of the store.

    Returns:
        Medium mAP in percent, a column for each temperature; learning rate and start weight are the index.
    """
    rows = []
    known = {"regression_weight", "lr", "start_weight", "loss_settings"}
    for row in searched(runs).itertuples():
        own = row.settings
        if row.seed == TUNING_SEED and set(differences(own, COURSE)) <= known and not own.regression_weight:
            at = own.loss_settings.get("temperature", 0.04)
            rows.append((own.training.lr, own.training.start_weight, at, 100 * row.medium))
    found = pandas.DataFrame(rows, columns=["learning rate", "start weight", "temperature", "medium"])
    return found.pivot(index=["learning rate", "start weight"], columns="temperature", values="medium")


def temperature(runs: pandas.DataFrame) -> pandas.DataFrame:
    """As `temperatures`, as a page prints it.

    Args:
        runs: of the store.

    Returns:
        Columns learning rate, start weight, and one for each temperature.
    """
    found = temperatures(runs)
    rows = [
        [f"{lr:g}", weight, *[f"{value:.1f}" for value in row]]
        for (lr, weight), row in zip(found.index, found.to_numpy(), strict=True)
    ]
    return pandas.DataFrame(rows, columns=[*found.index.names, *[f"temperature {at:g}" for at in found.columns]])


def tried(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The learning rates that each loss was tried with on 300 photographs, on the seed that chose.

    Args:
        runs: of the store.

    Returns:
        Medium mAP in percent: a row for each loss, a column for each rate.
    """
    found: dict[str, dict[float, str]] = {}
    own = searched(runs)
    for row in own[(own["seed"] == TUNING_SEED) & (own["images"] == TUNED_ON)].itertuples():
        more = differences(row.settings, LIST)
        rate, loss = more.pop("lr", LIST.training.lr), more.pop("loss", LIST.loss)
        if set(more) <= {"steps", "loss_settings"}:
            found.setdefault(told({"loss": loss, **more}), {})[rate] = f"{100 * row.medium:.1f}"
    rates = sorted({rate for own in found.values() for rate in own})
    rows = [[said, *[own.get(rate, "") for rate in rates]] for said, own in found.items() if len(own) > 1]
    return pandas.DataFrame(rows, columns=["loss, medium mAP in %", *[f"rate {rate:g}" for rate in rates]])


def _matched(runs: pandas.DataFrame, base: Settings = LIST, **plain: Any) -> pandas.DataFrame:
    """As `matched` in the search, with the columns said, the change in words, and rest, what else differs from `base`."""
    found = matched(searched(runs), plain)
    rest = [
        {name: value for name, value in differences(other, base).items() if name not in plain}
        for other in found["other"]
    ]
    return found.assign(said=[told(change) for change in found["change"]], rest=[told(own) for own in rest])


def _mixed(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Runs of the search with mixtures, beside those without; the column of maps says which kind."""
    found = _matched(runs, mixtures=None)
    return found.assign(**{"of maps": [change["mixtures"].mix_at is not None for change in found["change"]]})


def _named(found: pandas.DataFrame) -> pandas.DataFrame:
    """What figures and `by_seed` take."""
    names = [said + (f" ({rest})" if rest else "") for said, rest in zip(found["said"], found["rest"], strict=True)]
    return found.assign(name=names)[["name", "seed", "gain"]]


def _of_values(runs: pandas.DataFrame, *names: str) -> dict[tuple[Any, ...], str]:
    """Medium mAP, each seed, of the runs of the search that change none but these settings, by their values."""
    found: dict[tuple[Any, ...], dict[int, str]] = {}
    for row in searched(runs).itertuples():
        if set(differences(row.settings, LIST)) <= set(names):
            key = tuple(getattr(row.settings, name) for name in names)
            found.setdefault(key, {})[row.seed] = f"{100 * row.medium:.1f}"
    return {values: ", ".join(own[seed] for seed in sorted(own)) for values, own in found.items()}


def _points(gain: float) -> str:
    """A difference of mAP with its sign; none where it rounds to 0."""
    text = f"{100 * gain:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
