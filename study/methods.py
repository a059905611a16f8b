"""The methods of the study by name, what they are called in print, and with how many photographs they are run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rdistill_helpers.distil.settings import Mixtures
from rdistill_helpers.errors import BadInput
from study.runs import SEARCH, Run
from study.search import (
    CONFIRMING_SEED,
    COURSE,
    FEW,
    FEW_PAID,
    LARGE,
    MANY,
    TUNED_ON,
    TUNING_SEED,
    best,
    of_loss,
    tries,
)
from study.settings import LARGER, PARTS, SMALL, TEACHER, WITH_LABELS, Settings, but, differences

SIZES = (25, 50, 100, TUNED_ON, 1000, MANY)  # photographs
SEEDS = (0, 1, 2, 3, 4)
PRIMARY_SEEDS = (*SEEDS, 5, 6, 7)  # of what a primary comparison compares
IN_A_BATCH = 48  # photographs; where there are fewer, a batch has fewer anchors
# End the name of a method that is the one before with mixtures added.
BY_DESCRIPTORS, BY_MAPS = "+mixtures", "+map-mixtures"
STUDENTS = {SMALL: "SqueezeNet", LARGER: "EfficientNet-Lite0", TEACHER: "the teacher"}
LOSSES = {  # what is not here is called by its own name
    "contrastive": "labels, contrastive", "multi_similarity": "labels, multi-similarity",
    "proxy_anchor": "labels, proxy-anchor",
    "rkd_distance": "RKD, distance", "rkd": "RKD, distance and angle", "darkrank_hard": "DarkRank",
    "similarity_preserving": "similarity-preserving", "pkt": "PKT", "listmle": "ListMLE", "pair_order": "order of pairs",
    "smooth_ap": "smooth AP",
}  # fmt: skip
SETTINGS = {  # what is not here is called by its own name
    "images": "photographs", "per_room": "views of each room", "choice": "chosen", "regression_weight": "regression, weight",
    "dim": "dimension of the student", "lr": "learning rate", "views": "kept views",
    "whitening": "its layer from",
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """A method of the study.

    Attributes:
        label: how figures and tables print it.
        group: "losses" on the cheap student; "choices" of photographs; "candidates" for mixing and "starts", with what they are
            compared with; "assistants" and larger students; "course" for the student of the course, "lesson" for the one that
            notebook 4 trains; "stranger" for the other teacher; "levels" for what is only scored.
        settings: what is fixed; the training and what is tried beside it are chosen, see `settings_of`.
        sizes: numbers of photographs that it is run with.
        assistant: the method that describes all photographs.
        assistant_images: how many of them it has learned from.
        like: the method whose choice of settings it takes; None for one of its own.
        chosen: whether the search chooses settings; else they are all fixed.
    """

    label: str
    group: str
    settings: Settings
    sizes: tuple[int, ...] = SIZES
    assistant: str | None = None
    assistant_images: int = TUNED_ON
    like: str | None = None
    chosen: bool = True


def untrained(student: str, teacher: str = "teacher") -> Settings:
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
    if name == "teacher":
        return str(value)
    if name == "augment":
        return "augmentation" if value else "no augmentation"
    if name == "mixtures" and value is not None:
        more = [f"{value.count} mixtures{'' if value.mix_at is None else ' of feature maps'}"]
        more += [f"pairs of {value.pairs}"] * (value.pairs != "random")
        more += [f"lambda of Beta {value.alpha}"] * (value.alpha != "uniform")
        more += [f"weight of the joint space {value.joint_weight}"] * (value.joint_weight != 1)
        return ", ".join(more)
    return f"{SETTINGS.get(name, name.replace('_', ' '))} {value}"


def _with_mixtures(methods: dict[str, Method]) -> dict[str, Method]:
    """The methods, each followed by those that add mixtures to it."""
    some = (FEW, 100, TUNED_ON, MANY)
    both: dict[str, dict[str, tuple[int, ...]]] = {
        "listwise+regression": {BY_DESCRIPTORS: some, BY_MAPS: some},
        "order": {BY_MAPS: _SOME},
        "long": {BY_MAPS: _SOME},
        "stranger": {BY_DESCRIPTORS: _SOME, BY_MAPS: _SOME},
        "lesson": {BY_DESCRIPTORS: _SOME},
    }
    found = {}
    for name, method in methods.items():
        found[name] = method
        for ending, sizes in both.get(name, {}).items():
            where = method.settings.frozen if ending == BY_MAPS else None  # where the trained part begins
            mixtures = Mixtures(count=48) if where is None else Mixtures(count=16, mix_at=where)
            label = f"{method.label}, mixtures of {'descriptors' if where is None else 'feature maps'}"
            like = None if method.like is None else f"{method.like}{ending}"
            own = but(method.settings, mixtures=mixtures)
            found[name + ending] = Method(label, method.group, own, sizes, like=like, chosen=method.chosen)
    return found


def _of(loss: str, own: Settings | None = None, group: str = "losses", sizes: tuple[int, ...] = SIZES) -> Method:
    """A loss without regression beside it."""
    return Method(told({"loss": loss}), group, of_loss(loss, own), sizes)


def _beside(label: str, name: str, **own: float) -> Method:
    """A candidate with a further loss beside the recipe's."""
    return Method(label, "candidates", but(_LISTS, beside=name, beside_settings=own), _SOME)


_LISTS = Settings()
_ALL, _SOME, _BOTH = (MANY,), (TUNED_ON,), (TUNED_ON, MANY)
_LEARNED = 9  # parts before the trained part of the cheap student
METHODS: dict[str, Method] = _with_mixtures(
    {
        "teacher": Method("teacher", "levels", untrained(TEACHER), (0,)),
        "stranger-itself": Method("stranger", "levels", untrained(TEACHER, "stranger"), (0,)),
        "untrained": Method("untrained student", "levels", untrained(SMALL), (0,)),
        "larger-untrained": Method("untrained larger student", "levels", but(untrained(LARGER), frozen=7), (0,)),
        "listwise+regression": Method("listwise + regression", "losses", _LISTS),
        "listwise": _of("listwise", sizes=_BOTH),
        "order": Method("order (ListMLE)", "losses", of_loss("listmle"), _SOME),
        "supervised-contrastive": _of("contrastive"),
        "supervised-multi-similarity": _of("multi_similarity"),
        "supervised-proxy-anchor": _of("proxy_anchor"),
        "regression": _of("regression", sizes=_BOTH),
        "rkd-distance-angle": _of("rkd", sizes=_BOTH),
        "darkrank": _of("darkrank_hard", sizes=_SOME),
        "similarity-preserving": _of("similarity_preserving", sizes=_SOME),
        "pkt": _of("pkt", sizes=_SOME),
        # The teacher that one can buy.
        "stranger": Method(
            "stranger's student", "stranger", but(_LISTS, teacher="stranger"), _BOTH, like="listwise+regression"
        ),
        # The training with mixtures, without them: the recipe and its mixtures chose different temperatures.
        "unmixed": Method(
            "listwise + regression at the temperature of its mixtures", "candidates", _LISTS, _SOME,
            like="listwise+regression+mixtures",
        ),
        "stranger-unmixed": Method(
            "stranger's student at the temperature of its mixtures", "candidates", but(_LISTS, teacher="stranger"), _SOME,
            like="listwise+regression+mixtures",
        ),
        # Which photographs to pay for: the best method on a choice among all of them, made without the teacher. Who has yet to
        # take the photographs can take few of each place: three of a room instead of ten, so of more rooms.
        **{
            f"paid-{name}": Method(label, "choices", but(_LISTS, **changes), _SOME, like="listwise+regression")
            for name, label, changes in (
                ("random", "random", {"choice": "random"}),
                ("k-centre", "k-centre", {"choice": "k-centre"}),
                ("clusters", "clusters", {"choice": "clusters"}),
                ("few-views", "few views of each room", {"per_room": 3}),
            )
        },
        # Other ways to mix. Who asks the student to be straight between photographs says nothing of lists.
        "straight": Method(
            "feature maps, mixtures by regression alone", "candidates",
            but(_LISTS, mixtures=Mixtures(count=16, mix_at=_LEARNED, joint_weight=0.0, row_weight=2.0)), _SOME,
        ),
        "random-depth": Method(
            "feature maps, random depth, Beta(2, 2)", "candidates",
            but(_LISTS, mixtures=Mixtures(count=16, mix_at=tuple(range(_LEARNED, PARTS[SMALL])), alpha=2.0)), _SOME,
        ),
        "unpaid-mixed": _beside("consistency, unpaid mixed with paid", "consistency"),
        "unpaid": _beside("consistency, unpaid as they are", "consistency", mixed=0),
        "columns-mixed": _beside("columns, hard mixtures", "columns"),
        "columns": _beside("columns, hard rows", "columns", mixed=0),
        "long": Method("longer training", "candidates", but(_LISTS, steps=1500), _SOME),
        # 100 photographs and 300 queries.
        "paid-mixed": Method("100 photographs, 200 mixed", "candidates", but(_LISTS, made=200), (FEW_PAID,)),
        "paid-crops": Method(
            "100 photographs, 200 crops", "candidates", but(_LISTS, made=200, made_by="crops"), (FEW_PAID,)
        ),
        # Starts and ends that ask nothing.
        "ridge": Method("projection from ridge regression", "starts", but(_LISTS, projection="ridge"), _SOME),
        "probe": Method("projection from a linear probe", "starts", but(_LISTS, projection="probe"), _SOME),
        "whitened": Method("answers whitened", "starts", but(_LISTS, whitened=True), _SOME),
        "averaged": Method("weights averaged along", "starts", but(_LISTS, averaged=0.3), _SOME),
        # A student with more room, alone and as the assistant of a SqueezeNet; controls with a SqueezeNet as the assistant, and
        # with an assistant that learned from labels.
        "larger": Method("larger student", "assistants", LARGE, (100, TUNED_ON, 1000, MANY)),
        "larger-supervised-contrastive": Method(
            "larger student, labels, contrastive", "assistants", of_loss("contrastive", LARGE), _SOME
        ),
        **{
            name: Method(label, "assistants", _LISTS, _ALL, assistant, images, like="listwise+regression")
            for name, label, assistant, images in (
                ("assisted-100", "the larger assistant, 100 queries", "larger", 100),
                ("assisted-300", "the larger assistant", "larger", TUNED_ON),
                ("assisted-1000", "the larger assistant, 1,000 queries", "larger", 1000),
                ("assisted-by-itself-300", "a SqueezeNet as assistant", "listwise+regression", TUNED_ON),
                ("assisted-by-labels-300", "an assistant with labels of 300", "larger-supervised-contrastive", TUNED_ON),
            )
        },
        "course-supervised-contrastive": _of("contrastive", COURSE, "course", _BOTH),
        "course-listwise+regression": Method("listwise + regression", "course", COURSE, _BOTH),
        "lesson": Method("student of notebook 4", "lesson", but(COURSE, steps=100), _SOME, chosen=False),
        "course-assisted-300": Method(
            "the larger assistant", "course", COURSE, _ALL, "larger", like="course-listwise+regression"
        ),
    }
)  # fmt: skip
LABELS = tuple(name for name in METHODS if name.startswith("supervised-"))
CANDIDATES = (
    "straight",
    "random-depth",
    "unpaid-mixed",
    "columns-mixed",
    "long+map-mixtures",
    "paid-mixed",
    "order+map-mixtures",
)
CONTROLS = {  # what a candidate's mixtures are compared with, apart from the recipe
    "unpaid-mixed": "unpaid", "columns-mixed": "columns", "paid-mixed": "paid-crops", "long+map-mixtures": "long",
    "order+map-mixtures": "order", "straight": "listwise+regression", "random-depth": "listwise+regression+map-mixtures",
}  # fmt: skip
STARTS = ("ridge", "probe", "whitened", "averaged")
HARDER = {  # versions of a teacher, as a reader says them
    "rounded 2": "rounded to 2 digits", "noisy 1": "noise as long as the row", "truncated 64": "the first 64 numbers",
    "order": "an order alone", "top 10": "the best 10, with scores", "16 directions": "16 principal directions",
}  # fmt: skip
EXPLORED = {
    "teacher": "teacher",
    **{f"teacher ({kind})": said for kind, said in HARDER.items()},
    "stranger": "stranger",
}
KINDS = ("listwise+regression", f"listwise+regression{BY_DESCRIPTORS}", f"listwise+regression{BY_MAPS}")
BESIDE_MIXTURES = ("listwise", "regression", "rkd-distance-angle", "darkrank", "similarity-preserving", "pkt", "order")


def named(*groups: str) -> list[str]:
    """Select methods.

    Args:
        *groups: see `Method.group`.

    Returns:
        Their names, in the order of print.
    """
    return [name for name, method in METHODS.items() if method.group in groups]


def mixed(*groups: str, ending: str = "", of: str = "") -> dict[str, str]:
    """Pair methods with mixtures and the same without.

    Args:
        *groups: see `Method.group`; none for all.
        ending: `BY_DESCRIPTORS` or `BY_MAPS` for one of both kinds.
        of: the method without; "" for any.

    Returns:
        Method with mixtures -> the same without them.
    """
    both = {name: name.rpartition("+")[0] for name in METHODS if name.endswith((BY_DESCRIPTORS, BY_MAPS))}
    return {
        name: plain
        for name, plain in both.items()
        if name.endswith(ending) and of in ("", plain) and (not groups or METHODS[name].group in groups)
    }


def settings_of(name: str, images: int, tried: Mapping[str, float]) -> Settings:
    """The settings of a method with a number of photographs.

    Args:
        name: of the method.
        images: how many photographs.
        tried: medium mAP of the runs that choose, by the text of their settings; see `search.tried`.

    Returns:
        What is fixed of the method, with the training and what else was tried with it as it was best.

    Raises:
        BadInput: when nothing was tried yet.
    """
    method = METHODS[name]
    if method.settings.loss is None or not method.chosen:
        return method.settings
    chosen = _chosen(name, images, tried)
    more: dict[str, Any] = {}
    if images < IN_A_BATCH and method.settings.loss not in WITH_LABELS:
        more["anchors"] = images // (1 + method.settings.neighbours)
    if method.assistant is not None:
        more["assistant"] = settings_of(method.assistant, method.assistant_images, tried)
    return but(chosen, images=images, **more)


def _chosen(name: str, images: int, tried: Mapping[str, float]) -> Settings:
    """The settings of a method, its number of photographs and its assistant apart."""
    method = METHODS[name]
    if method.like is not None:
        like = _chosen(method.like, images, tried)
        changed = differences(method.settings, METHODS[method.like].settings)
        return but(like, **changed)
    plain = mixed().get(name)
    if plain is not None and not FEW_PAID <= images < 1000:  # mixtures as on 300, the rest as without them
        return but(_chosen(plain, images, tried), mixtures=_chosen(name, TUNED_ON, tried).mixtures)
    wanted = tries(method.settings, images)
    if len(wanted) == 1:
        return wanted[0]
    if not wanted:
        return _chosen(name, TUNED_ON, tried)
    found = best(wanted, tried)
    if found is None:
        raise BadInput(f"The settings of {name!r} have to be chosen first: run `python -m study search`.")
    return found


def tuning() -> Iterator[Run]:
    """The search: what every method is tried with.

    Yields:
        Runs on the validation rooms; methods may share some.
    """
    for name, method in METHODS.items():
        if method.settings.loss is None or method.like is not None or not method.chosen:
            continue
        sizes = {_where(images) for images in method.sizes}
        if name in mixed():
            sizes &= {TUNED_ON}
        for images in sorted(sizes):
            wanted = tries(method.settings, images)
            yield from (Run(SEARCH, own, TUNING_SEED) for own in (wanted if len(wanted) > 1 else ()))


def _where(images: int) -> int:
    """The number of photographs on which settings for another one are chosen."""
    return TUNED_ON if FEW_PAID <= images < 1000 else FEW if images < FEW_PAID else MANY


def confirming(tried: Mapping[str, float]) -> Iterator[Run]:
    """The second seed of what primary comparisons may compare, with the settings that were best on the first.

    Args:
        tried: see `settings_of`.

    Yields:
        Runs on the validation rooms.
    """
    names = ("listwise+regression", *mixed("losses"), *CANDIDATES, *CONTROLS.values(), *STARTS, *LABELS)
    for name in dict.fromkeys(names):
        for images in METHODS[name].sizes:
            if _where(images) == TUNED_ON and (images == TUNED_ON or METHODS[name].settings.made):
                yield Run(SEARCH, settings_of(name, images, tried), CONFIRMING_SEED)


def exploring(tried: Mapping[str, float]) -> Iterator[Run]:
    """Where mixtures help: other losses, the other teacher and harder teachers, on two seeds; nothing is chosen among these.

    Args:
        tried: see `settings_of`.

    Yields:
        Runs on the validation rooms.
    """
    recipe = [settings_of(name, TUNED_ON, tried) for name in KINDS]
    seeds = (TUNING_SEED, CONFIRMING_SEED)
    for name in EXPLORED:
        yield Run(SEARCH, untrained(TEACHER, name), TUNING_SEED)
        yield from (Run(SEARCH, but(own, teacher=name), seed) for seed in seeds for own in recipe)
    mixtures = [own.mixtures for own in recipe]
    for name in ("teacher", "stranger"):
        for loss in BESIDE_MIXTURES:
            own = but(settings_of(loss, TUNED_ON, tried), teacher=name)
            yield from (Run(SEARCH, but(own, mixtures=each), TUNING_SEED) for each in mixtures)


def plan(
    tried: Mapping[str, float],
    names: list[str],
    sizes: list[int] | None = None,
    seeds: tuple[int, ...] = SEEDS,
    primary: Collection[tuple[str, int]] = (),
) -> Iterator[Run]:
    """The runs of the study: all methods of a seed before the next, so that a study that was stopped compares what it has.

    Args:
        tried: see `settings_of`.
        names: of the methods.
        sizes: numbers of photographs; None for all that a method is run with.
        seeds: of methods that are trained; the others have seed 0.
        primary: methods and numbers of photographs that have `PRIMARY_SEEDS` where all of `SEEDS` are asked for.

    Yields:
        The runs.
    """  # fmt: skip
    more = PRIMARY_SEEDS if seeds == SEEDS else seeds
    for seed in more:
        for images in (0, *SIZES) if sizes is None else sizes:
            for name in names:
                known = images in METHODS[name].sizes and (images or seed == seeds[0])
                if known and (seed in seeds or (name, images) in primary):
                    yield Run(name, settings_of(name, images, tried), seed if images else 0)
