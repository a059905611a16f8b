"""What was tried before the study: questions with one or two seeds for each setting, and the choice of each method's settings.

Seeds from `runs.SEARCHING` on search, and are scored on the validation rooms; what is reported is confirmed with other seeds on
the test rooms. A search says where to look and proves nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas

from rdistill_helpers.distil.settings import Mixtures
from study.runs import SEARCH, SEARCHING, Run
from study.settings import LARGER, TEACHER, WITH_LABELS, Settings, as_text, but

TUNING_SEED = SEARCHING  # draws the photographs that settings are chosen on
FEW, TUNED_ON, MANY = 50, 300, 3020  # photographs; many are all of the training part but for a room or two
LARGE = Settings(student=LARGER, frozen=7)
# The student of the course trains more of the network, on new views in every step.
COURSE = Settings(views=None, frozen=6)
START_WEIGHTS = (0.0, 0.2)

MIXED = Mixtures(count=48)
MAPS, MORE_MAPS = Mixtures(count=16, mix_at=9), Mixtures(count=48, mix_at=9)  # where the trained part begins


@dataclass(frozen=True)
class Question:
    """Settings to try, and with which seeds.

    Attributes:
        tries: the settings.
        seeds: of the search.
    """

    tries: list[Settings]
    seeds: tuple[int, ...] = (TUNING_SEED,)


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


def tuning(own: Settings, images: int) -> list[Settings]:
    """What a method is tried with, the baselines as carefully as ours.

    Settings are chosen on 300 photographs for 300, on 50 for fewer, on all for more.

    Args:
        own: the settings of the method; its loss and its student count.
        images: how many photographs it is to be run with.

    Returns:
        Settings of the same loss and student.
    """
    if own.views is None:
        return _tuning_of_the_course(own, images)
    if own.student == LARGER:
        return _tuning_of_the_larger(own, images)
    if images == TUNED_ON:
        return _tuning(own.loss)
    return _tuning_few(own.loss) if images < TUNED_ON else _tuning_many(own.loss)


def _tuning(loss: str | None) -> list[Settings]:
    """On 300 photographs. With labels a short training may be the best."""
    assert loss is not None
    labels, darkrank = loss in WITH_LABELS, loss == "darkrank_hard"
    more: list[dict[str, Any]] = [{}]
    if labels:
        more = [{"steps": 150}, {"steps": 500}]
    elif darkrank:  # its list may be longer, and rates below the others' suit it
        more = [{}, {"loss_settings": {"length": 12}}]
    rates = (3e-5, 1e-4, 3e-4) if labels or darkrank else (1e-4, 3e-4, 1e-3)
    found = [{"lr": lr, **each} for lr in rates for each in more]
    if loss not in ("listwise", "listmle", "darkrank_hard"):  # the best of these was the lowest
        found.append({"lr": 1e-5 if labels else 3e-5, **more[-1]})
    return [of_loss(loss, **each) for each in found]


def _tuning_few(loss: str | None) -> list[Settings]:
    """On few photographs, which a long training learns by heart."""
    assert loss is not None
    found: list[dict[str, Any]] = [{"lr": 3e-4}, {"lr": 1e-4}, {"lr": 3e-4, "steps": 150}]
    if loss in WITH_LABELS:
        found = [{"lr": lr, "steps": steps} for lr in (1e-4, 3e-5) for steps in (150, 50)]
    elif loss == "darkrank_hard":
        found = [{"lr": lr, "loss_settings": {"length": length}} for lr in (3e-5, 1e-4) for length in (4, 12)]
    return [of_loss(loss, images=FEW, **each) for each in found]


def _tuning_many(loss: str | None) -> list[Settings]:
    """On all photographs, which bear a higher rate."""
    assert loss is not None
    rates = (1e-4, 3e-4, 1e-3) if loss in WITH_LABELS else (1e-4, 3e-4)
    more: dict[str, Any] = {"loss_settings": {"length": 12}} if loss == "darkrank_hard" else {}
    return [of_loss(loss, images=MANY, lr=lr, **more) for lr in rates]


def _tuning_of_the_larger(own: Settings, images: int) -> list[Settings]:
    """Of the larger student, which is slow: half the steps on few photographs cost half a point."""
    if images > TUNED_ON:
        return [but(own, images=MANY)]
    if own.loss in WITH_LABELS:
        return [but(own, images=TUNED_ON, lr=lr, steps=150) for lr in (1e-4, 3e-4)]
    return [but(own, images=TUNED_ON, lr=lr, steps=250) for lr in (3e-4, 1e-4)]


def _tuning_of_the_course(own: Settings, images: int) -> list[Settings]:
    """Of the student of the course. What was chosen for its list alone on 300 photographs serves all distillations."""
    if own.loss not in WITH_LABELS:
        return [
            of_loss(
                "listwise", COURSE, lr=lr, start_weight=weight, loss_settings={} if at == 0.04 else {"temperature": at}
            )
            for lr, at, weight in itertools.product((1e-4, 3e-4), (0.025, 0.04, 0.07), START_WEIGHTS)
        ]
    assert own.loss is not None
    if images > TUNED_ON:
        found = [(3e-5, 500, 0.0, 0), (1e-4, 500, 0.0, 0), (1e-4, 500, 0.0, 6), (3e-4, 500, 0.0, 6)]
    else:
        parts = ((0.0, 0), *((weight, 6) for weight in START_WEIGHTS))
        found = [(lr, steps, *kept) for lr in (3e-5, 1e-4, 3e-4) for steps in (60, 150, 500) for kept in parts]
    return [
        of_loss(
            own.loss,
            COURSE,
            images=min(max(images, TUNED_ON), MANY),
            lr=lr,
            steps=steps,
            start_weight=weight,
            frozen=frozen,
        )
        for lr, steps, weight, frozen in found
    ]


TUNED = ["regression", "rkd_distance", "rkd", "darkrank_hard", "similarity_preserving", "pkt", "listwise", *WITH_LABELS]
TWO = (TUNING_SEED, TUNING_SEED + 1)
LIST = of_loss("listwise")  # the list alone


def _and_mixed(*tries: Settings, mixtures: tuple[Mixtures, ...] = (MIXED,)) -> list[Settings]:
    """Each of the settings without mixtures and with them."""
    return [found for own in tries for found in (own, *(but(own, mixtures=each) for each in mixtures))]


QUESTIONS: dict[str, Question] = {
    "tuning": Question([found for loss in (*TUNED, "listmle") for found in _tuning(loss)]),
    "tuning-few": Question([found for loss in TUNED for found in _tuning_few(loss)]),
    "tuning-many": Question([found for loss in TUNED for found in _tuning_many(loss)]),
    "tuning-larger": Question(
        [*_tuning_of_the_larger(LARGE, TUNED_ON), *_tuning_of_the_larger(of_loss("contrastive", LARGE), TUNED_ON)]
    ),
    "tuning-course": Question(
        _tuning_of_the_course(COURSE, TUNED_ON)
        + _tuning_of_the_course(of_loss("contrastive", COURSE), TUNED_ON)
        + _tuning_of_the_course(of_loss("contrastive", COURSE), MANY)
    ),
    # Neither half a point by twice the steps of a distillation nor 0.2 points by three times those of a training with labels,
    # on the one seed that chose, paid for the time.
    "larger-steps": Question(
        [but(LARGE, lr=lr) for lr in (3e-4, 1e-3)] + [of_loss("contrastive", LARGE, lr=lr) for lr in (3e-5, 1e-4)]
    ),
    # The recipe's own settings: those of the list alone may not be the best with regression beside it.
    "training": Question(
        [
            *(but(Settings(), lr=lr) for lr in (3e-4, 1e-4, 1e-3)),
            *(but(Settings(), steps=steps) for steps in (250, 1000)),
            *(but(Settings(), loss_settings={"temperature": at}) for at in (0.03, 0.055)),
            *(but(Settings(), start_weight=weight) for weight in (0.0, 0.4)),
        ]
    ),
    "start-weight-many": Question([but(Settings(), images=MANY, start_weight=weight) for weight in START_WEIGHTS]),
    "regression-weight": Question([but(LIST, regression_weight=weight) for weight in (0.0, 1.0, 2.0, 5.0, 10.0)], TWO),
    # Which photographs: whole rooms, halves of rooms, a view of each.
    "draw": Question(
        [but(LIST, per_room=number, regression_weight=weight) for number in (10, 5, 3) for weight in (0.0, 2.0)]
        + [but(LIST, choice="random", regression_weight=weight) for weight in (0.0, 2.0)],
        TWO,
    ),
    "images": Question(_and_mixed(*(but(LIST, images=images) for images in (50, 100, 1000))), TWO),
    "losses": Question(
        _and_mixed(*map(of_loss, ("rkd_distance", "similarity", "pkt", "similarity_preserving", "darkrank_hard"))), TWO
    ),
    "order": Question(_and_mixed(*map(of_loss, ("listmle", "pair_order", "smooth_ap"))), TWO),
    "short-lists": Question(_and_mixed(*(but(LIST, anchors=anchors, neighbours=3) for anchors in (2, 4))), TWO),
    # DarkRank is the ranking loss with the least in its list: is what mixtures bring it left when it is tuned?
    "darkrank": Question(
        _and_mixed(
            *(
                of_loss("darkrank_hard", lr=lr, loss_settings=own)
                for lr, own in itertools.product(
                    (3e-5, 3e-4), ({"length": 12}, {"length": 4, "alpha": 12.0, "beta": 2.0})
                )
            ),
            of_loss("darkrank_hard", lr=3e-5),
        )
    ),
    # One kept view, and the photograph as it is.
    "augmentation": Question(_and_mixed(but(LIST, views=1), but(LIST, views=1, augment=False), mixtures=(MIXED, MAPS))),
    # A worse teacher, and what it reaches itself.
    "teacher": Question(
        [
            found
            for name in ("64 numbers", "16 numbers")
            for found in (
                Settings(student=TEACHER, teacher=name, loss=None, images=0, regression_weight=0.0),
                *_and_mixed(but(LIST, teacher=name), mixtures=(MIXED, MAPS)),
            )
        ]
    ),
    # Descriptors shorter and longer than the teacher's 1,280 numbers.
    "dimension": Question(
        _and_mixed(*(but(LIST, dim=dim, regression_weight=weight) for dim in (32, 2048) for weight in (0.0, 2.0)))
        + [but(Settings(), dim=dim, whitening="components") for dim in (32, 128)]
        + [but(Settings(), dim=128)]
    ),
    # Losses of the order alone, for which orders among mixtures may say what no order of photographs does.
    "order-again": Question(
        _and_mixed(
            of_loss("listmle", lr=1e-4),
            of_loss("listmle", loss_settings={"scale": 50.0}),
            of_loss("pair_order", loss_settings={"scale": 10.0}),
            of_loss("listmle", images=100),
            of_loss("listmle", anchors=4, neighbours=3),
            mixtures=(MIXED, Mixtures(count=48, pairs="neighbours")),
        )
    ),
    # Mixtures of the maps that the trained part of the student starts from: inputs that it has not seen.
    "maps": Question(
        _and_mixed(
            *(but(LIST, images=images, regression_weight=weight) for images in (50, 300) for weight in (0.0, 2.0)),
            mixtures=(MAPS, MORE_MAPS),
        ),
        TWO,
    ),
    # What of such mixtures matters, and whether as many more photographs in a batch do the same.
    "maps-or-more": Question(
        [but(Settings(), anchors=16), but(Settings(), mixtures=Mixtures(count=48, mix_at=9, pairs="neighbours"))]
    ),
    "mixtures": Question(
        [
            but(LIST, mixtures=each)
            for each in (
                MIXED,
                Mixtures(count=48, pairs="neighbours"),
                Mixtures(count=12),
                Mixtures(count=192),
                Mixtures(count=48, joint_weight=0.25),
            )
        ]
    ),
}


def plan(questions: list[str]) -> Iterator[Run]:
    """The runs of some questions.

    Args:
        questions: names of `QUESTIONS`.

    Yields:
        The runs; questions may share some.
    """
    for name in questions:
        for seed in QUESTIONS[name].seeds:
            for own in QUESTIONS[name].tries:
                yield Run(SEARCH, own, seed)


def tried(runs: pandas.DataFrame) -> dict[str, float]:
    """What the settings that may be chosen reached.

    Args:
        runs: as `runs.read` gives them.

    Returns:
        Medium mAP by the text of the settings, on the seed that chooses.
    """
    own = runs[(runs["method"] == SEARCH) & (runs["seed"] == TUNING_SEED)]
    return {as_text(row.settings): row.medium for row in own.itertuples()}
