"""The methods of the study by name, what they are called in print, and with how many photographs they are run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rdistill_helpers.distil.settings import Mixtures
from rdistill_helpers.errors import BadInput
from study.runs import Run
from study.search import COURSE, FEW, LARGE, MANY, TUNED_ON, of_loss, tuning
from study.settings import LARGER, SMALL, TEACHER, WITH_LABELS, Settings, as_text, but

SIZES = (25, 50, 100, TUNED_ON, 1000, MANY)  # photographs
SEEDS = (0, 1, 2, 3, 4)
IN_A_BATCH = 48  # photographs; where there are fewer, a batch has fewer anchors
# End the name of a method that is the one before with mixtures added.
BY_DESCRIPTORS, BY_MAPS = "+mixtures", "+map-mixtures"
STUDENTS = {SMALL: "SqueezeNet", LARGER: "EfficientNet-Lite0", TEACHER: "the teacher"}
LOSSES = {  # what is not here is called by its own name
    "contrastive": "labels, contrastive", "multi_similarity": "labels, multi-similarity",
    "rkd_distance": "RKD, distance", "rkd": "RKD, distance and angle", "darkrank_hard": "DarkRank",
    "similarity_preserving": "similarity-preserving", "pkt": "PKT", "listmle": "ListMLE", "pair_order": "order of pairs",
    "smooth_ap": "smooth AP",
}  # fmt: skip
SETTINGS = {  # what is not here is called by its own name
    "images": "photographs", "per_room": "views of each room", "choice": "chosen", "regression_weight": "regression, weight",
    "dim": "dimension of the student", "lr": "learning rate", "views": "kept views", "teacher": "teacher of",
    "whitening": "its layer from",
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """A method of the study.

    Attributes:
        label: how figures and tables print it.
        group: "losses" on the cheap student; "choices" of photographs; "assistants" and larger students; "course" for the
            student of the course; "levels" for what is only scored.
        settings: what is fixed; the training and the settings of the loss are chosen, see `settings_of`.
        sizes: numbers of photographs that it is run with.
        assistant: the method that describes all photographs, having learned from `TUNED_ON` of them.
    """

    label: str
    group: str
    settings: Settings
    sizes: tuple[int, ...] = SIZES
    assistant: str | None = None


def untrained(student: str, teacher: str = "fine-tuned") -> Settings:
    """Settings of a network that is scored as it is.

    Args:
        student: its name.
        teacher: which teacher, where the student is "teacher".

    Returns:
        The settings.
    """
    return Settings(student=student, teacher=teacher, loss=None, images=0, regression_weight=0.0)


def told(changes: Mapping[str, Any]) -> str:
    """Settings as a reader says them.

    Args:
        changes: values by the name of the setting, as `settings.differences` gives them.

    Returns:
        "learning rate 0.001, kept views 1" and the like.
    """
    return ", ".join(
        _told(name, value) for name, value in changes.items() if name != "views" or "augment" not in changes
    )


def _told(name: str, value: Any) -> str:
    """One setting."""
    if name == "loss":
        return LOSSES.get(value, str(value).replace("_", " "))
    if name == "loss_settings":
        return ", ".join(f"{each} {own}" for each, own in value.items())
    if name == "augment":
        return "augmentation" if value else "no augmentation"
    if name == "mixtures" and value is not None:
        more = [f"{value.count} mixtures{'' if value.mix_at is None else ' of maps'}"]
        more += [f"pairs of {value.pairs}"] * (value.pairs != "random")
        more += [f"lambda of Beta {value.alpha}"] * (value.alpha != "uniform")
        more += [f"weight of the joint space {value.joint_weight}"] * (value.joint_weight != 1)
        return ", ".join(more)
    return f"{SETTINGS.get(name, name.replace('_', ' '))} {value}"


def _with_mixtures(methods: dict[str, Method]) -> dict[str, Method]:
    """The methods, each followed by those that add mixtures to it."""
    three = (FEW, 100, TUNED_ON)
    both: dict[str, dict[str, tuple[int, ...]]] = {
        "listwise+regression": {BY_DESCRIPTORS: three, BY_MAPS: SIZES},
        "listwise": {BY_DESCRIPTORS: SIZES, BY_MAPS: SIZES},
        "short-lists": {BY_DESCRIPTORS: (TUNED_ON,), BY_MAPS: (TUNED_ON,)},
        "order": {BY_DESCRIPTORS: three},
        "darkrank": {BY_DESCRIPTORS: (TUNED_ON,)},
        "pkt": {BY_DESCRIPTORS: (TUNED_ON,)},
        "course-listwise": {BY_DESCRIPTORS: (TUNED_ON,)},
        "course-listwise+regression": {BY_MAPS: (TUNED_ON,)},
    }
    found = {}
    for name, method in methods.items():
        found[name] = method
        for ending, sizes in both.get(name, {}).items():
            where = method.settings.frozen if ending == BY_MAPS else None  # where the trained part begins
            mixtures = Mixtures(count=48) if where is None else Mixtures(count=16, mix_at=where)
            label = f"{method.label}, mixtures of {'descriptors' if where is None else 'maps'}"
            found[name + ending] = Method(label, method.group, but(method.settings, mixtures=mixtures), sizes)
    return found


def _of(loss: str, own: Settings | None = None, group: str = "losses", sizes: tuple[int, ...] = SIZES) -> Method:
    """A loss without regression beside it."""
    return Method(told({"loss": loss}), group, of_loss(loss, own), sizes)


_LISTS = Settings()
_ALL, _SOME, _BUDGETS = (MANY,), (TUNED_ON,), (100, TUNED_ON)
METHODS: dict[str, Method] = _with_mixtures(
    {
        "teacher": Method("teacher", "levels", untrained(TEACHER), (0,)),
        "untrained": Method("untrained student", "levels", untrained(SMALL), (0,)),
        "larger-untrained": Method("untrained larger student", "levels", but(untrained(LARGER), frozen=7), (0,)),
        "listwise+regression": Method("listwise + regression", "losses", _LISTS),
        "listwise": _of("listwise"),
        "short-lists": Method("listwise, short lists", "losses", of_loss("listwise", anchors=2, neighbours=3), _SOME),
        "order": Method("order (ListMLE)", "losses", of_loss("listmle"), (FEW, 100, TUNED_ON)),
        "supervised-contrastive": _of("contrastive"),
        "supervised-multi-similarity": _of("multi_similarity"),
        "regression": _of("regression"),
        "rkd-distance": _of("rkd_distance"),
        "rkd-distance-angle": _of("rkd"),
        "darkrank": _of("darkrank_hard"),
        "similarity-preserving": _of("similarity_preserving"),
        "pkt": _of("pkt"),
        # Which photographs to pay for: the best method on a choice among all of them, made without the teacher. Who has yet to
        # take the photographs can take few of each place: three of a room instead of ten, so of more rooms.
        "paid-random": Method("random", "choices", but(_LISTS, choice="random"), _BUDGETS),
        "paid-k-centre": Method("k-centre", "choices", but(_LISTS, choice="k-centre"), _BUDGETS),
        "paid-clusters": Method("clusters", "choices", but(_LISTS, choice="clusters"), _BUDGETS),
        "paid-few-views": Method("few views of each room", "choices", but(_LISTS, per_room=3), _BUDGETS),
        # A student with more room, alone and as the assistant of a SqueezeNet; controls with a SqueezeNet as the assistant, and
        # with an assistant that learned from labels.
        "larger": Method("larger student", "assistants", LARGE, (TUNED_ON, MANY)),
        "larger-supervised-contrastive": Method(
            "larger student, labels, contrastive", "assistants", of_loss("contrastive", LARGE), _SOME
        ),
        "assisted-300": Method("the larger assistant", "assistants", _LISTS, _ALL, "larger"),
        "assisted-by-itself-300": Method(
            "a SqueezeNet as assistant", "assistants", _LISTS, _ALL, "listwise+regression"
        ),
        "assisted-by-labels-300": Method(
            "an assistant with labels of 300", "assistants", _LISTS, _ALL, "larger-supervised-contrastive"
        ),
        "course-supervised-contrastive": _of("contrastive", COURSE, "course", (TUNED_ON, MANY)),
        "course-listwise": _of("listwise", COURSE, "course", (TUNED_ON, MANY)),
        "course-listwise+regression": Method("listwise + regression", "course", COURSE, (TUNED_ON, MANY)),
        "course-assisted-300": Method("the larger assistant", "course", COURSE, _ALL, "larger"),
    }
)


def named(*groups: str) -> list[str]:
    """Select methods.

    Args:
        *groups: see `Method.group`.

    Returns:
        Their names, in the order of print.
    """
    return [name for name, method in METHODS.items() if method.group in groups]


def mixed(*groups: str, ending: str = "") -> dict[str, str]:
    """Pair methods with mixtures and the same without.

    Args:
        *groups: see `Method.group`.
        ending: `BY_DESCRIPTORS` or `BY_MAPS` for one of both kinds.

    Returns:
        Method with mixtures -> the same without them.
    """
    both = {name: name.rpartition("+")[0] for name in named(*groups) if name.endswith((BY_DESCRIPTORS, BY_MAPS))}
    return {name: plain for name, plain in both.items() if name.endswith(ending)}


def settings_of(name: str, images: int, tried: Mapping[str, float]) -> Settings:
    """The settings of a method with a number of photographs.

    Args:
        name: of the method.
        images: how many photographs.
        tried: medium mAP of the runs that choose, by the text of their settings; see `search.tried`.

    Returns:
        What is fixed of the method, with the training and the settings of its loss that were best.

    Raises:
        BadInput: when nothing was tried yet.
    """
    method = METHODS[name]
    if method.settings.loss is None:
        return method.settings
    best = _chosen(name, images, tried)
    more: dict[str, Any] = {}
    if images < IN_A_BATCH and method.settings.loss not in WITH_LABELS:
        more["anchors"] = images // (1 + method.settings.neighbours)
    if method.assistant is not None:
        more["assistant"] = settings_of(method.assistant, TUNED_ON, tried)
    return but(
        method.settings,
        images=images,
        frozen=best.frozen,
        loss_settings=best.loss_settings,
        training=best.training,
        **more,
    )


def plan(
    tried: Mapping[str, float], names: list[str], sizes: list[int] | None = None, seeds: tuple[int, ...] = SEEDS
) -> Iterator[Run]:
    """The runs of the study: all methods of a seed before the next, so that a study that was stopped compares what it has.

    Args:
        tried: see `settings_of`.
        names: of the methods.
        sizes: numbers of photographs; None for all that a method is run with.
        seeds: of methods that are trained; the others have seed 0.

    Yields:
        The runs.
    """
    for seed in seeds:
        for images in (0, *SIZES) if sizes is None else sizes:
            for name in names:
                if images in METHODS[name].sizes and (images or seed == seeds[0]):
                    yield Run(name, settings_of(name, images, tried), seed if images else 0)


def _chosen(name: str, images: int, tried: Mapping[str, float]) -> Settings:
    """The best of the settings that a method is tuned among, on the seed that only chooses."""
    own = METHODS[name].settings
    wanted = tuning(own, images)
    if len(wanted) == 1:  # nothing to choose from
        return wanted[0]
    found = [each for each in wanted if as_text(each) in tried]
    if not found and images != TUNED_ON:  # not tried on so few or so many
        return _chosen(name, TUNED_ON, tried)
    if not found:
        raise BadInput(f"The settings of {name!r} have to be chosen first: run `python -m study search`.")
    return max(found, key=lambda each: tried[as_text(each)])
