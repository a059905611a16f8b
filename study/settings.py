"""What a run of the study is: a student, its photographs, who answers for them, a loss, and how to train."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import Any

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.settings import Mixtures, Training, settings
from rdistill_helpers.errors import BadInput, shown

SMALL, LARGER, TEACHER = "squeezenet1_1", "tf_efficientnet_lite0", "teacher"
PARTS = {SMALL: 13, LARGER: 20}  # of each student's convolutions
VIEWS = 6  # of each photograph whose maps are kept
WITH_LABELS = ("contrastive", "multi_similarity", "proxy_anchor")  # losses of `train_supervised`
CHOICES = ("rooms", "random", "k-centre", "clusters")
TEACHERS = ("teacher", "stranger")
HARDER = r"rounded \d+|noisy \d+(?:\.\d+)?|truncated [1-9]\d*|order|top [1-9]\d*|[1-9]\d* directions"
MADE = ("mixed", "crops")  # photographs made of the paid ones
STARTS = ("random", "ridge", "probe")  # of the projection
BESIDES = ("consistency", "columns")  # see `study.mixing`
BESIDE = ("seed", "device", "autocast", "progress")  # of Training: the seed of a run, and how a machine computes it


@settings
class Settings:
    """The settings of a run, in the words of `distill`; the defaults are the recipe on a student that is cheap to train.

    Attributes:
        student: "squeezenet1_1", "tf_efficientnet_lite0", or "teacher", which is only scored.
        dim: of the student's descriptors; None for its channels.
        whitening: how the layer to `dim` starts: "random", or from the principal "components" of all photographs.
        frozen: how many of the student's parts are not trained.
        views: views of each photograph whose maps are kept, computed once by the frozen parts; None shows a new view in each
            step, as the student of the course does.
        images: photographs to learn from; 0 for a network that is scored as it is.
        choice: "rooms" takes `per_room` photographs of each room that is drawn; "random", "k-centre" and "clusters" choose
            among all photographs without a label.
        per_room: photographs of each room.
        made: photographs made of those, which the teacher is asked about too.
        made_by: how: "mixed" of two photographs, or "crops" of one.
        teacher: "teacher" or "stranger", see `load_teacher`; or a harder version of one, as in "stranger (rounded 2)": rounded,
            noisy, truncated, order and top of `rdistill_helpers.embed.harder`, and directions, the first principal ones.
        whitened: learn from the answers after whitening, fitted on the answers themselves.
        assistant: who describes the photographs in the teacher's place, itself a run on fewer of them; None for the teacher.
        loss: a function of `losses`; "contrastive" or "multi_similarity", which need labels; None for no training.
        loss_settings: arguments of the loss.
        anchors: of a batch.
        neighbours: of each anchor.
        regression_weight: of regression beside the loss.
        projection: how the projection of the regression starts: "random", from "ridge" regression of the answers on the
            untrained student's descriptors, or after a linear "probe", in which it is trained alone.
        mixtures: of each batch; None for none.
        beside: a further loss, "consistency" or "columns" of `study.mixing`; None for none.
        beside_settings: its arguments.
        averaged: the last part of the steps whose weights are averaged; 0 takes the weights of the last step.
        training: steps, learning rate, augmentation, start weight. Its seed stands beside the settings, in the run.

    Raises:
        BadInput: for an unknown setting, and for settings that contradict each other.
    """

    student: str = SMALL
    dim: int | None = None
    whitening: str = "random"
    frozen: int = 9
    views: int | None = VIEWS
    images: int = 300
    choice: str = "rooms"
    per_room: int = 10
    made: int = 0
    made_by: str = "mixed"
    teacher: str = "teacher"
    whitened: bool = False
    assistant: Settings | None = None
    loss: str | None = "listwise"
    loss_settings: Mapping[str, float] = field(default_factory=dict)
    anchors: int = 8
    neighbours: int = 5
    regression_weight: float = 2.0
    projection: str = "random"
    mixtures: Mixtures | None = None
    beside: str | None = None
    beside_settings: Mapping[str, float] = field(default_factory=dict)
    averaged: float = 0.0
    training: Training = Training()

    def __post_init__(self) -> None:
        for wrong in (*_of_the_student(self), *_of_the_photographs(self), *_of_the_loss(self)):
            raise BadInput(wrong)

    @property
    def queries(self) -> int:
        """How many photographs the teacher is asked about."""
        if self.loss is None or self.loss in WITH_LABELS:
            return 0
        return self.images + self.made if self.assistant is None else self.assistant.queries

    @property
    def asked(self) -> str | None:
        """Which teacher is asked, one of `TEACHERS`, or None."""
        asks = self.queries or self.student == TEACHER
        return (self.assistant or self).teacher.split(" (")[0] if asks else None

    @property
    def harder(self) -> str | None:
        """What makes the teacher harder, as in "noisy 0.5", or None."""
        return self.teacher.partition(" (")[2].rstrip(")") or None


def _of_the_student(own: Settings) -> list[str]:
    """What contradicts itself in the network of a run."""
    wrong = []
    if own.student not in (*PARTS, TEACHER):
        wrong.append(f"The student {own.student!r} is not known: give {', '.join(PARTS)} or {TEACHER}.")
    elif own.student == TEACHER and own.loss is not None:
        wrong.append(f"The teacher is trained on nothing here, but loss={own.loss!r}: give loss=None.")
    elif own.student != TEACHER and not 0 <= own.frozen < PARTS[own.student]:
        wrong.append(f"frozen={own.frozen} leaves nothing of {own.student}: give 0 to {PARTS[own.student] - 1}.")
    if own.views is not None and (not 1 <= own.views <= VIEWS or own.frozen < 1):
        wrong.append(
            f"views={own.views} with frozen={own.frozen} keeps no maps: give 1 to {VIEWS} views of 1 or more frozen parts, or "
            "views=None for new views in each step."
        )
    if own.views is not None and own.views > 1 and not own.training.augment:
        wrong.append(f"views={own.views} without augmentation are all the same: give views=1 or augment=True.")
    if own.whitening not in ("random", "components") or (own.whitening != "random" and own.dim is None):
        wrong.append(
            f"whitening={own.whitening!r} with dim={own.dim} starts no layer: give 'random', or 'components' and a dim."
        )
    if own.mixtures is not None and own.mixtures.mix_at is not None:
        parts, depths = PARTS.get(own.student, 0), own.mixtures.depths
        if not own.frozen <= min(depths) <= max(depths) < parts:
            wrong.append(
                f"mix_at={own.mixtures.mix_at} lies outside of the trained part of {own.student}: give {own.frozen} to "
                f"{parts - 1}, or None to mix descriptors."
            )
    return wrong


def _of_the_photographs(own: Settings) -> list[str]:
    """What contradicts itself in the photographs of a run and in who answers for them."""
    wrong = []
    if own.choice not in CHOICES:
        wrong.append(f"The choice {own.choice!r} of photographs is not known: give one of {', '.join(CHOICES)}.")
    if own.per_room < 1 or (own.choice != "rooms" and own.per_room != Settings.per_room):
        wrong.append(f"per_room={own.per_room} means nothing with choice={own.choice!r}: leave it out.")
    if not re.fullmatch(rf"({'|'.join(TEACHERS)})( \(({HARDER})\))?", own.teacher):
        wrong.append(
            f"The teacher {own.teacher!r} is not known: give {' or '.join(map(repr, TEACHERS))}, or one made harder, as in "
            "'stranger (noisy 0.5)'."
        )
    if own.made_by not in MADE or own.made < 0 or (own.made_by != MADE[0] and not own.made):
        wrong.append(f"made={own.made} made_by={own.made_by!r} are not known: give a number and {' or '.join(MADE)}.")
    if own.made and (own.views is None or own.assistant is not None or not own.training.augment):
        wrong.append(f"made={own.made} photographs need kept views with augmentation and no assistant.")
    if (own.images < 1) != (own.loss is None) or own.images < 0:
        wrong.append(
            f"images={own.images} with loss={own.loss!r} trains nothing: give photographs and a loss, or 0 and None."
        )
    if own.assistant is not None and own.assistant.images > own.images:
        wrong.append(
            f"The assistant asks about {own.assistant.images} photographs, more queries than the {own.images} images there "
            "are: give it fewer."
        )
    if own.assistant is not None and own.assistant.loss is None:
        wrong.append("An assistant that is not trained describes nothing of the teacher's: give it a loss.")
    return wrong


def _of_the_loss(own: Settings) -> list[str]:
    """What contradicts itself in the loss of a run and in how it is trained."""
    wrong = []
    if own.loss is not None and own.loss not in (*WITH_LABELS, *losses.__all__):
        wrong.append(
            f"The loss {own.loss!r} is not known: give one of {', '.join(losses.__all__)}, or for labels "
            f"{' or '.join(WITH_LABELS)}."
        )
    alone = own.loss is None or own.loss in WITH_LABELS or own.loss == "regression"
    if own.regression_weight and alone:
        wrong.append(
            f"regression_weight={own.regression_weight} has no list to stand beside with loss={own.loss!r}: give 0."
        )
    if own.projection not in STARTS or (own.projection != STARTS[0] and not projects(own)):
        wrong.append(f"projection={own.projection!r} starts nothing: give one of {', '.join(STARTS)}, with regression.")
    if own.beside not in (None, *BESIDES) or (own.beside_settings and own.beside is None):
        wrong.append(f"beside={own.beside!r} is not known: give one of {', '.join(BESIDES)}, or None and no settings.")
    if own.beside is not None and (own.mixtures is not None or own.views is None or not own.regression_weight):
        wrong.append(f"beside={own.beside!r} needs kept views and regression, and stands without mixtures.")
    if not 0 <= own.averaged < 1:
        wrong.append(f"averaged={own.averaged} is no part of the steps: give from 0 to below 1.")
    if not 0 <= own.regression_weight < float("inf"):
        wrong.append(f"regression_weight={own.regression_weight} is not usable: give 0 or a positive number.")
    if own.loss is None or own.loss in WITH_LABELS:
        plain = Settings()
        asks = ["made", "whitened", "mixtures", "assistant", "loss_settings", "anchors", "neighbours"]
        for name in asks if own.student == TEACHER else [*asks, "teacher"]:
            if getattr(own, name) != getattr(plain, name):
                wrong.append(
                    f"{name}={shown(getattr(own, name))} asks a teacher, and loss={own.loss!r} asks none: leave it out."
                )
    for name in BESIDE:
        if getattr(own.training, name) != getattr(Training(), name):
            wrong.append(f"training.{name} does not say what a run is: give it to the run, and leave it out here.")
    return wrong


def projects(own: Settings) -> bool:
    """Tell whether a run trains a projection to its teacher's space.

    Args:
        own: the settings.

    Returns:
        Whether there is regression in it.
    """
    return bool(own.regression_weight) or own.loss == "regression"


def but(own: Settings, **changes: Any) -> Settings:
    """Change some settings.

    Args:
        own: the settings to start from; they stay as they are.
        **changes: new values by the names of `Settings`, or of `Training` for what lies in `training`.

    Returns:
        The changed settings.

    Raises:
        BadInput: for a name of neither, and for settings that contradict each other.
    """
    known = {each.name for each in fields(Training)} - set(BESIDE)
    training = {name: changes.pop(name) for name in known & set(changes)}
    named = {each.name: getattr(own, each.name) for each in fields(own)}
    if training:
        changes["training"] = replace(changes.get("training", own.training), **training)
    return Settings(**(named | changes))


def differences(own: Settings, base: Settings) -> dict[str, Any]:
    """Tell two settings apart.

    Args:
        own: the settings.
        base: what they are compared with.

    Returns:
        The values of `own` that differ, by name; those of `training` stand beside the others.
    """
    found: dict[str, Any] = {}
    for each in fields(own):
        mine, other = getattr(own, each.name), getattr(base, each.name)
        if each.name == "training":
            found |= {
                one.name: getattr(mine, one.name)
                for one in fields(mine)
                if getattr(mine, one.name) != getattr(other, one.name)
            }
        elif mine != other:
            found[each.name] = mine
    return found


def as_text(own: Settings) -> str:
    """Write settings as JSON: what is not the default. Equal settings give equal text.

    Args:
        own: the settings.

    Returns:
        One line, which `from_text` reads.
    """
    return json.dumps(_plain(own), sort_keys=True)


def from_text(text: str) -> Settings:
    """Read what `as_text` wrote.

    Args:
        text: JSON.

    Returns:
        The settings.

    Raises:
        BadInput: for another text, and for settings that are unknown or contradict each other.
    """
    try:
        return _settings(json.loads(text))
    except (TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise BadInput(
            f"{shown(text)} are no settings of a run ({error}): give what study.settings.as_text wrote."
        ) from error


def version() -> str:
    """Tell the settings of this study from those of another one.

    Returns:
        A digest of the names and the defaults of all settings; texts of another version mean something else.
    """
    known = []
    for cls in (Settings, Training, Mixtures):
        own = cls()
        known.append([cls.__name__, *([each.name, repr(getattr(own, each.name))] for each in fields(own))])
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]


def _plain(own: Any) -> Any:
    """A value of settings as JSON has it."""
    if not is_dataclass(own):
        return dict(own) if isinstance(own, Mapping) else own
    kind: Any = type(own)
    default = kind()
    changed = (each.name for each in fields(own) if getattr(own, each.name) != getattr(default, each.name))
    return {name: _plain(getattr(own, name)) for name in changed}


def _settings(plain: dict[str, Any]) -> Settings:
    """The settings that `_plain` gave."""
    kinds: dict[str, Any] = {"assistant": _settings, "training": lambda own: Training(**own), "mixtures": _mixtures}
    return Settings(
        **{name: kinds[name](value) if name in kinds and value is not None else value for name, value in plain.items()}
    )


def _mixtures(plain: dict[str, Any]) -> Mixtures:
    """JSON has lists for tuples."""
    own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return Mixtures(**own)
