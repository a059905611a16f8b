"""What chooses the settings of each method: the same number of tries for all, scored on the validation rooms.

Seeds from `runs.SEARCHING` on search; what is reported is confirmed with other seeds on the test rooms.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas

from study.runs import SEARCH, SEARCHING
from study.settings import LARGER, WITH_LABELS, Settings, as_text, but

TUNING_SEED, CONFIRMING_SEED = (
    SEARCHING,
    SEARCHING + 1,
)  # draw the photographs that settings are chosen and looked at again on
FEW, TUNED_ON, MANY = 50, 300, 3020  # photographs; many are all of the training part but for a room or two
FEW_PAID = 100  # photographs to which others are added that are made of them
TRIES, TRIES_ELSEWHERE = (
    6,
    3,
)  # of every method on 300 photographs; of those that are run on fewer or more, on 50 and on all
LARGE = Settings(student=LARGER, frozen=7)
# The student of the course trains more of the network, on new views in every step.
COURSE = Settings(views=None, frozen=6)
RATES, LOW_RATES = (1e-4, 3e-4, 1e-3), (3e-5, 1e-4, 3e-4)


def of_loss(loss: str, own: Settings | None = None, **changes: Any) -> Settings:
    """Settings of a loss without regression beside it.

    Args:
        loss: its name.
        own: settings to start from; None for the defaults.
        **changes: see `settings.but`.

    Returns:
        The settings.
    """
    return but(own or Settings(), loss=loss, regression_weight=0.0, **changes)


def tries(own: Settings, images: int) -> list[Settings]:
    """What a method is tried with, the baselines as carefully as ours.

    Settings are chosen on 300 photographs for 100 to 999, on 50 for fewer, on all for more.

    Args:
        own: what is fixed of the method.
        images: how many photographs it is to be run with.

    Returns:
        `TRIES` settings for 300 photographs, `TRIES_ELSEWHERE` else; a single one where nothing is chosen.
    """
    if FEW_PAID <= images < 1000:
        base = but(own, images=FEW_PAID if own.made else TUNED_ON)
        return [but(base, **each) for each in _changes(own)]
    if own.views is None and own.loss in WITH_LABELS:
        many = ({"lr": 3e-5, "frozen": 0}, {"lr": 1e-4, "frozen": 0}, {"lr": 1e-4})
        return [but(own, images=MANY, **each) for each in many]
    if own.views is None:
        return []
    if own.student == LARGER:
        return [but(own, images=MANY)]
    if images >= 1000:
        return [but(own, images=MANY, lr=lr) for lr in RATES]
    if own.loss in WITH_LABELS:  # a long training learns few photographs by heart
        few: list[dict[str, Any]] = [{"lr": 3e-5, "steps": 50}, {"lr": 1e-4, "steps": 50}, {"lr": 1e-4, "steps": 150}]
    else:
        few = [{"lr": 1e-4}, {"lr": 3e-4}, {"lr": 3e-4, "steps": 150}]
    return [but(own, images=FEW, **each) for each in few]


def _changes(own: Settings) -> list[dict[str, Any]]:
    """What is tried on 300 photographs: three rates, each with two values of what matters most beside it."""
    rates: tuple[float, ...] = RATES
    also = _also(own)
    if own.views is None:
        rates = (1e-4, 3e-4)
        if own.loss in WITH_LABELS:
            rates = (3e-5, 1e-4)
            also = [{"steps": 150, "frozen": 0}, {"steps": 500, "frozen": 0}, {"steps": 500}]
        else:
            also = [{"loss_settings": {"temperature": at} if at != 0.04 else {}} for at in (0.025, 0.04, 0.07)]
    elif own.loss in WITH_LABELS or own.loss == "darkrank_hard":
        rates = LOW_RATES
    return [{"lr": lr, **each} for lr, each in itertools.product(rates, also)]


def _also(own: Settings) -> list[dict[str, Any]]:
    """Two values of what matters most beside the rate."""
    if own.student == LARGER:
        return [{"steps": 150}, {"steps": 250}]
    if own.beside == "consistency":
        return [{"beside_settings": {**own.beside_settings, "weight": weight}} for weight in (1.0, 4.0)]
    if own.beside == "columns":
        return [{"beside_settings": {**own.beside_settings, "count": count}} for count in (24, 96)]
    if own.training.steps > Settings().training.steps:
        return [{"steps": 1000}, {"steps": own.training.steps}]
    if own.mixtures is not None and own.mixtures.mix_at is None:
        return [{"mixtures": replace(own.mixtures, pairs=pairs)} for pairs in ("random", "neighbours")]
    if own.mixtures is not None:
        return [{"mixtures": replace(own.mixtures, count=count)} for count in (16, 48)]
    if own.averaged:
        return [{"averaged": part} for part in (0.3, 0.6)]
    if own.projection != "random" or own.whitened:
        return [{"start_weight": weight} for weight in (0.0, 0.2)]
    if own.loss in WITH_LABELS:  # a short training may be the best
        return [{"steps": 150}, {"steps": 500}]
    values: dict[str | None, list[dict[str, float]]] = {
        "listwise": [{"temperature": 0.03}, {}],
        "listmle": [{}, {"scale": 50.0}],
        "darkrank_hard": [{}, {"length": 12}],
    }
    if own.loss in values:
        return [{"loss_settings": each} for each in values[own.loss]]
    return [{"steps": 250}, {"steps": 500}]


def tried(runs: pandas.DataFrame) -> dict[str, float]:
    """What the settings that may be chosen reached.

    Args:
        runs: as `runs.read` gives them.

    Returns:
        Medium mAP by the text of the settings, on the seed that chooses.
    """
    return _reached(runs, TUNING_SEED)


def confirmed(runs: pandas.DataFrame) -> dict[str, float]:
    """What the settings that were chosen reached on both seeds of the search.

    Args:
        runs: as `runs.read` gives them.

    Returns:
        Mean medium mAP by the text of the settings.
    """
    first, second = _reached(runs, TUNING_SEED), _reached(runs, CONFIRMING_SEED)
    return {text: (first[text] + second[text]) / 2 for text in first if text in second}


def best(wanted: list[Settings], found: Mapping[str, float]) -> Settings | None:
    """The settings that reached most.

    Args:
        wanted: the settings.
        found: as `tried` gives it.

    Returns:
        The best, of equal ones the first; None where none was tried.
    """
    there = [own for own in wanted if as_text(own) in found]
    return max(there, key=lambda own: found[as_text(own)], default=None)


def _reached(runs: pandas.DataFrame, seed: int) -> dict[str, float]:
    own = runs[(runs["method"] == SEARCH) & (runs["seed"] == seed)]
    return {as_text(row.settings): row.medium for row in own.itertuples()}
