"""Students that are cheap to train: the frozen part of them is computed once for six views of every photograph.

SqueezeNet with the first nine of its thirteen parts frozen, or EfficientNet-Lite0 with the first seven of twenty. Everything
else is as in `distill`: batches, losses, schedule, the part of the start weights in the result. A training of SqueezeNet in
500 steps takes less than a minute on one core, a third of what it takes with the default of the course, which trains more of
the network on new views in every step and ends about 1.5 points of medium mAP higher; EfficientNet-Lite0 takes some minutes.
`regimes.py` searches with them, `study.py` compares with them.

The larger one is also an *assistant* (`queries`): distilled from the teacher's answers for a few photographs, it describes all
the others in the teacher's place, and a SqueezeNet is distilled from that. Source of the idea: Mirzadeh et al., "Improved
Knowledge Distillation via Teacher Assistant", AAAI 2020.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from data_efficiency import AUTOCAST, SCALE, Study, as_text
from filelock import FileLock
from pytorch_metric_learning.losses import ContrastiveLoss, MultiSimilarityLoss
from torch import Tensor, nn

from rdistill_helpers import (
    Benchmark,
    Report,
    RetrievalNet,
    TrainingImages,
    evaluate,
    extract,
    load_teacher,
    losses,
    pca_whitening,
    teacher_version,
)
from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.distil import cluster_centres, k_centre
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.batches import class_batches, tuple_batches
from rdistill_helpers.distil.loop import average_weights, parameter_groups, schedule
from rdistill_helpers.files import written_whole
from rdistill_helpers.runs import runs_root

SMALL, LARGER = "squeezenet1_1", "tf_efficientnet_lite0"
FROZEN = {SMALL: 9, LARGER: 7}  # parts of a student whose output is kept
# The depthwise convolutions of the larger one are slower in bfloat16.
HALF = {SMALL: AUTOCAST, LARGER: None}
VIEWS = 6  # augmented views of each photograph that are kept

DEFAULT: dict[str, Any] = {
    "student": SMALL,
    "queries": None,  # None: the teacher answers for every photograph; a number: an assistant that learned from so many
    "assistant": "larger",  # one of ASSISTANTS
    "images": 300,
    "choice": "rooms",  # see `drawn`
    "per_room": 10,  # photographs of each room that is drawn
    "loss": "listwise",
    "loss_settings": {},
    "temperature": 0.04,
    "steps": 500,
    "lr": 3e-4,
    "anchors": 8,
    "neighbours": 5,
    "start_weight": 0.2,
    "regression": 0.0,  # weight of regression beside the loss
    "views": VIEWS,
    "augmentation": "usual",  # of the views: as in `distill`, "none", or "heavy", the usual one three times over
    "bank": 0,  # other rows of the last steps that each list is compared with besides
    "unpaid": 0.0,  # weight of `two_views_agree` on photographs that the teacher never saw
    "teacher": "fine-tuned",  # or a weaker one: see `teacher_rows`
    "dim": None,  # of the student's descriptors; None: the 512 channels as they are
    "whiten": "random",  # start of the layer to `dim`, or "components", the principal ones of all photographs
    "mixtures": 0,
    "pairs": "random",
    "lam": "uniform",
    "parts": 2,  # rows in a mixture
    "mask": True,  # leave out what shares a row
    "mixed": "rows",  # of the student: its rows, or the "maps" that its trained part starts from
    "regress_mixed": False,  # regression of the mixed rows as well
    "joint": "beside",  # the loss of the joint space beside that of the real rows, or "alone"
    "joint_weight": 1.0,
}

# Who describes photographs in the teacher's place, each trained on few as `study.py` trains it.
ASSISTANTS: dict[str, dict[str, Any]] = {
    "larger": {"student": LARGER, "loss": "listwise", "regression": 2.0, "lr": 3e-4, "steps": 250},
    "itself": {"loss": "listwise", "regression": 2.0, "lr": 3e-4},  # a SqueezeNet as well
    "labels": {"student": LARGER, "loss": "supervised-contrastive", "lr": 1e-4, "steps": 150},  # asks no teacher
}


def listmle(student: Tensor, teacher: Tensor, *, comparable: Tensor | None = None, scale: float = 25.0) -> Tensor:
    """Minus the log-likelihood of the teacher's whole order of the comparable rows, mean over places and rows."""
    pairs = ~torch.eye(len(student), dtype=torch.bool) if comparable is None else comparable
    order = (teacher @ teacher.T).masked_fill(~pairs, -torch.inf).argsort(1, descending=True)
    there = pairs.gather(1, order)
    scores = (student @ student.T * scale).gather(1, order).masked_fill(~there, -1e4)
    rest = scores.flip(1).logcumsumexp(1).flip(1)
    return ((rest - scores) * there).sum() / there.sum()


def pair_order(student: Tensor, teacher: Tensor, *, comparable: Tensor | None = None, scale: float = 25.0) -> Tensor:
    """Logistic loss on whether two rows stand in the teacher's order as seen from a third, whatever the gap."""
    pairs = ~torch.eye(len(student), dtype=torch.bool) if comparable is None else comparable
    own, target = student @ student.T, teacher @ teacher.T
    both = pairs[:, :, None] & pairs[:, None, :]
    nearer = (target[:, :, None] > target[:, None, :]) & both
    return (F.softplus(scale * (own[:, None, :] - own[:, :, None])) * nearer).sum() / nearer.sum()


def smooth_ap(
    student: Tensor, teacher: Tensor, *, comparable: Tensor | None = None, scale: float = 50.0, top: int = 5
) -> Tensor:
    """1 - smoothed average precision of each row's list, its `top` nearest by the teacher being the positives.

    Source: Brown et al., "Smooth-AP", ECCV 2020.
    """
    pairs = ~torch.eye(len(student), dtype=torch.bool) if comparable is None else comparable
    order = (teacher @ teacher.T).masked_fill(~pairs, -torch.inf).topk(top, 1).indices
    own = student @ student.T
    above = torch.sigmoid(scale * (own[:, None, :] - own.gather(1, order)[:, :, None]))  # [B, top, B]
    above = above * pairs[:, None, :]
    above = above.scatter(2, order[:, :, None], 0.0)
    positive = torch.zeros_like(pairs).scatter(1, order, True)[:, None, :]
    return 1 - ((1 + (above * positive).sum(2)) / (1 + above.sum(2))).mean()


def rkd(student: Tensor, teacher: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Distances and angles with the weights of their authors."""
    angle = losses.rkd_angle(student, teacher, comparable=comparable)
    return losses.rkd_distance(student, teacher, comparable=comparable) + 2 * angle


def two_views_agree(first: Tensor, second: Tensor, temperature: float = 0.07) -> Tensor:
    """Each photograph's second view is found among those of the others by its first, and the other way round.

    first, second: rows [B, D] of two views. Needs no teacher. Source: Chen et al., "SimCLR", ICML 2020, without the negatives
    of the same view.
    """
    logits, own = first @ second.T / temperature, torch.arange(len(first))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


OTHER_LOSSES = {"listmle": listmle, "pair_order": pair_order, "smooth_ap": smooth_ap, "rkd": rkd}
LABELS = {  # losses that need them, as in `train_supervised`
    "supervised-contrastive": partial(ContrastiveLoss, pos_margin=0.0, neg_margin=0.85),
    "supervised-multi-similarity": MultiSimilarityLoss,
}


def loss_named(settings: dict[str, Any]) -> Callable[..., Tensor]:
    """The loss of a run."""
    name, own = settings["loss"], settings["loss_settings"]
    if name == "listwise":
        own = {"temperature": settings["temperature"], **own}
    return partial(OTHER_LOSSES[name] if name in OTHER_LOSSES else getattr(losses, name), **own)


def mixing(settings: dict[str, Any], teacher: Tensor, student: Tensor, generator: torch.Generator) -> Tensor:
    """The weights of the mixtures, [K, B]: row k says of which real rows mixture k is made."""
    count, size, kind, lam = settings["mixtures"], len(teacher), settings["pairs"], settings["lam"]
    near, own = ((rows @ rows.T).fill_diagonal_(-torch.inf) for rows in (teacher, student.detach()))
    first = torch.randint(size, (count,), generator=generator)
    if kind == "random":
        others = (
            torch.rand(count, size, generator=generator)
            .scatter(1, first[:, None], -1)
            .topk(settings["parts"] - 1)
            .indices
        )
    elif kind == "neighbours":
        ranked = near[first].topk(5).indices
        chosen = torch.rand(count, 5, generator=generator).topk(settings["parts"] - 1).indices
        others = ranked.gather(1, chosen)
    elif kind == "far":  # a row and one of the half that the teacher finds least similar
        ranked = near[first].argsort(1)[:, 1 : size // 2]
        others = ranked.gather(1, torch.rand(ranked.shape, generator=generator).topk(settings["parts"] - 1).indices)
    elif kind == "disagreement":  # where the student is furthest from the teacher
        gap = (near - own).fill_diagonal_(0).abs()
        flat = gap.triu(1).flatten().topk(count).indices
        first, others = flat // size, (flat % size)[:, None]
    else:
        raise ValueError(kind)
    chosen = torch.cat([first[:, None], others], 1)
    if settings["parts"] > 2:
        weights = -torch.rand(count, settings["parts"], generator=generator).log()  # Dirichlet(1, ..., 1)
        weights = weights / weights.sum(1, keepdim=True)
    else:
        drawn = torch.rand(count, generator=generator)
        lam_of = {"uniform": drawn, "middle": 0.4 + 0.2 * drawn, "ends": 0.1 + 0.2 * drawn, "beyond": 2 * drawn - 0.5}
        weights = torch.stack([lam_of[lam], 1 - lam_of[lam]], 1)
    return torch.zeros(count, size).scatter_add(1, chosen, weights)


def joint_space(
    settings: dict[str, Any], student: Tensor, teacher: Tensor, of_maps: Callable[[Tensor], Tensor], generator: Any
) -> Any:
    """Student rows, teacher rows and which of them may be compared; of_maps: weights -> rows of the mixed maps."""
    weights = mixing(settings, teacher, student, generator)
    mixed = of_maps(weights) if settings["mixed"] == "maps" else F.normalize(weights @ student, dim=1)
    there = torch.cat([torch.eye(len(teacher)), (weights != 0).float()])
    comparable = there @ there.T == 0 if settings["mask"] else ~torch.eye(len(there), dtype=torch.bool)
    return torch.cat([student, mixed]), torch.cat([teacher, F.normalize(weights @ teacher, dim=1)]), comparable


def described(net: RetrievalNet, maps: Tensor) -> Tensor:
    """The student's descriptors [B, D] from kept maps [B, C, h, w]."""
    maps = maps.contiguous(memory_format=torch.channels_last)
    half = HALF[net.backbone] if net.training else None
    with torch.autocast("cpu", half, enabled=half is not None):
        rows = net.parts[FROZEN[net.backbone] :](maps.float() if half is None else maps.to(half))
    rows = F.normalize(net.pool(rows.float()), dim=1)
    return rows if net.whiten is None else F.normalize(net.whiten(rows), dim=1)


def mixed_rows(net: RetrievalNet, maps: Tensor, weights: Tensor) -> Tensor:
    """The student's descriptors [K, D] of mixtures of kept maps [B, C, h, w], weights [K, B]."""
    return described(net, torch.einsum("kb,bchw->kchw", weights, maps.float()))


@torch.no_grad()
def frozen_maps(net: RetrievalNet, images: Tensor, scale: float = 1.0) -> Tensor:
    """float images [B, 3, H, W] in [0, 1] -> float16 [B, C, h, w]."""
    if scale != 1:
        images = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
    return net.parts[: FROZEN[net.backbone]]((images - net.mean) / net.std).half()


def prepared(student: str) -> Path:
    """The file with everything of a student that does not depend on a run; written once."""
    path = runs_root() / f"regimes_{student}_{teacher_version()}.pt"
    if path.exists():
        return path
    net = RetrievalNet(student).to(memory_format=torch.channels_last).eval()
    study = Study()
    generator = torch.Generator().manual_seed(0)
    views = [
        torch.cat([frozen_maps(net, augmented(block, generator)) for block in study.pixels.split(64)])
        for _ in range(VIEWS)
    ]
    queries, database = study.evaluation
    photographs = [*queries, *database]
    maps = [frozen_maps(net, to_tensor([photo]).float() / 255, SCALE)[0] for photo in photographs]
    kept = {"views": torch.stack(views, 1), "maps": maps, "rows": {"fine-tuned": study.teacher_rows}}
    # As an assistant it describes the training photographs too, enlarged as the teacher does.
    kept["whole"] = torch.cat([frozen_maps(net, block.float() / 255, SCALE) for block in study.pixels.split(32)])
    with written_whole(path) as unfinished:
        torch.save(kept, unfinished)
    return path


def in_processes(
    jobs: int, work: Callable[..., dict[str, Any]], runs: list[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """What `work` gives for each run, as they end, computed by `jobs` processes."""
    for student in FROZEN:
        prepared(student)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(work, *run) for run in runs]):
            yield done.result()


@cache
def data(student: str = SMALL) -> Any:
    """What `prepared` wrote, and the benchmark; each process reads it once, without copying it into its memory."""
    torch.set_num_threads(1)
    return (
        torch.load(prepared(student), mmap=True, weights_only=True),
        Benchmark.load("rooms"),
        TrainingImages.load("rooms").labels(),
    )


def drawn(settings: dict[str, Any], seed: int) -> Tensor:
    """Positions [images] of the training photographs of a run, ascending.

    `choice` is "rooms" (per_room of each room that is drawn), or one among all photographs without a label: "random",
    "k-centre" and "clusters" on the descriptors of the untrained student.
    """
    _, _, labels = data()
    count, choice = settings["images"], settings["choice"]
    generator = torch.Generator().manual_seed(seed)
    if choice != "rooms":
        choose = {"k-centre": k_centre, "clusters": cluster_centres}
        if choice in choose:
            return choose[choice](untrained_rows(), count, generator).sort().values
        return torch.randperm(len(labels), generator=generator)[:count].sort().values
    rooms = torch.randperm(int(labels.max()) + 1, generator=generator)
    chosen: list[int] = []
    for room in rooms.tolist():
        own = (labels == room).nonzero()[:, 0]
        chosen += own[torch.randperm(len(own), generator=generator)[: settings["per_room"]]].tolist()
        if len(chosen) >= count:
            break
    return torch.tensor(sorted(chosen[:count]))


@cache
def untrained_rows() -> Tensor:
    """Descriptors of all training photographs by the student before any training, [N, 512]."""
    net = RetrievalNet().to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        return torch.cat([described(net, maps) for maps in data()[0]["views"][:, 0].split(64)])


def views_of(net: RetrievalNet, index: Tensor, settings: dict[str, Any]) -> Tensor:
    """The frozen maps [B, V, C, h, w] of the views that a run shows of its photographs."""
    kind = settings["augmentation"]
    if kind == "usual":
        return data(net.backbone)[0]["views"][index, : settings["views"]]
    images, generator = photographs()[index], torch.Generator().manual_seed(0)

    def view() -> Tensor:
        if kind == "none":
            return images.float() / 255
        once = augmented(images, generator)
        return augmented(augmented(once * 255, generator) * 255, generator)

    count = 1 if kind == "none" else settings["views"]
    return torch.stack([torch.cat([frozen_maps(net, part) for part in view().split(64)]) for _ in range(count)], 1)


@cache
def photographs() -> Tensor:
    """All training photographs."""
    return TrainingImages.load("rooms").pixels()


def teacher_rows(name: str, rows: Tensor) -> Tensor:
    """What a teacher of this name answers where the fine-tuned one gives `rows`.

    A weaker teacher, "16 numbers", has lost all but the first directions of the training photographs.
    """
    if name == "fine-tuned":
        return rows
    kept = int(name.split()[0])
    directions = torch.linalg.svd(data()[0]["rows"]["fine-tuned"], full_matrices=False).Vh[:kept]
    return F.normalize(rows @ directions.T, dim=1)


def score_of_teacher(name: str) -> Report:
    """What a teacher itself reaches on the evaluation rooms."""
    benchmark = data()[1]
    queries, database = (extract(load_teacher(), of()) for of in (benchmark.queries, benchmark.images))
    return evaluate(teacher_rows(name, queries), teacher_rows(name, database), benchmark)


def kept_student(settings: dict[str, Any], seed: int) -> tuple[RetrievalNet, float]:
    """The student of a run and the seconds of its training; a larger one is trained once and kept under runs/.

    Whoever changes how students are trained deletes what is kept.
    """
    if settings["student"] == SMALL:
        target = answers(settings, seed)
        began = time.perf_counter()
        return train(settings, seed, target), time.perf_counter() - began
    name = hashlib.sha256(as_text(settings).encode()).hexdigest()[:12]
    path = runs_root() / f"student_{teacher_version()}_{name}_{seed}.pt"
    with FileLock(path.with_suffix(".training")):  # two runs may ask for it at once
        if not path.exists():
            began = time.perf_counter()
            state = train(settings, seed, answers(settings, seed)).state_dict()
            with written_whole(path) as unfinished:
                torch.save({"state": state, "seconds": time.perf_counter() - began}, unfinished)
    found = torch.load(path, weights_only=True)
    net = RetrievalNet(settings["student"], dim=settings["dim"], weights=None)
    net.load_state_dict(found["state"])
    return net.to(memory_format=torch.channels_last).eval(), found["seconds"]


def answers(settings: dict[str, Any], seed: int) -> Tensor:
    """Rows [N, D] of all training photographs: the teacher's, or those of an assistant that learned from a few of these."""
    if settings["queries"] is None:
        return teacher_rows(settings["teacher"], data()[0]["rows"]["fine-tuned"])
    assistant, _ = kept_student(DEFAULT | ASSISTANTS[settings["assistant"]] | {"images": settings["queries"]}, seed)
    with torch.no_grad():
        return torch.cat([described(assistant, maps) for maps in data(assistant.backbone)[0]["whole"].split(32)])


def batches_of(
    settings: dict[str, Any], teacher: Tensor, labels: Tensor, generator: torch.Generator
) -> Iterator[Tensor]:
    """Anchors with their neighbours by the teacher, or places with their photographs for a loss that has labels."""
    if settings["loss"] not in LABELS:
        return tuple_batches(teacher, settings["anchors"], settings["neighbours"], settings["steps"], generator)
    places = min(12, len(labels.unique()))  # few places: more photographs of each
    return class_batches(labels, places, max(4, 48 // places), settings["steps"], generator)


def train(settings: dict[str, Any], seed: int, target: Tensor) -> RetrievalNet:
    """The student of a run, its frozen part left out of the computation; target: what `answers` gives."""
    cached, _, labels = data(settings["student"])
    index = drawn(settings, seed)
    teacher, labels = target[index], labels[index]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = RetrievalNet(settings["student"], dim=settings["dim"]).freeze(FROZEN[settings["student"]])
    net.to(memory_format=torch.channels_last)
    if settings["whiten"] == "components":
        net.set_whitening(pca_whitening(untrained_rows(), power=0))
    views = views_of(net.eval(), index, settings)
    net.train()
    for module in net.modules():  # as in `fit`
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    start = {name: value.clone() for name, value in net.state_dict().items()}
    alone = settings["loss"] == "regression"
    projection = nn.Linear(net.dim, teacher.shape[1]) if settings["regression"] or alone else None
    loss = None if settings["loss"] in LABELS else loss_named(settings)
    optimizer = torch.optim.AdamW(parameter_groups(net, projection or nn.Module(), settings["lr"]))
    with_labels = LABELS[settings["loss"]]() if loss is None else None
    extra = {"projection": projection} if alone else {}
    bank: list[tuple[Tensor, Tensor]] = []
    unpaid = torch.ones(len(cached["views"]), dtype=torch.bool).index_fill(0, index, False).nonzero()[:, 0]
    for step, batch in enumerate(batches_of(settings, teacher, labels, generator)):
        view = torch.randint(views.shape[1], (len(batch),), generator=generator)
        maps, target = views[batch, view], teacher[batch]
        rows = described(net, maps)
        value = torch.zeros(())
        if with_labels is not None:
            value = with_labels(rows, labels[batch])
        else:
            own_rows, own_target = rows, target
            if bank:
                rows = torch.cat([rows, *(old for old, _ in bank)])
                target = torch.cat([target, *(old for _, old in bank)])
            if settings["joint"] == "beside" or not settings["mixtures"]:
                value = loss(rows, target, **extra)
            if settings["mixtures"]:
                mixed, mixed_target, comparable = joint_space(
                    settings, rows, target, lambda weights, maps=maps: mixed_rows(net, maps, weights), generator
                )
                value = value + settings["joint_weight"] * loss(mixed, mixed_target, comparable=comparable, **extra)
                if settings["regress_mixed"]:
                    own_rows, own_target = mixed, mixed_target
            if settings["regression"]:
                value = value + settings["regression"] * losses.regression(own_rows, own_target, projection=projection)
            if settings["unpaid"]:
                some = unpaid[torch.randperm(len(unpaid), generator=generator)[: len(batch) // 2]]
                two = torch.randperm(VIEWS, generator=generator)[:2]
                pairs = described(net, torch.cat([cached["views"][some, view] for view in two])).chunk(2)
                value = value + settings["unpaid"] * two_views_agree(*pairs)
            if settings["bank"]:
                bank = [(own_rows.detach(), own_target), *bank][: settings["bank"] // len(batch)]
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(step, settings["steps"])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    average_weights(net, start, settings["start_weight"])
    return net.eval()


@torch.no_grad()
def score(net: RetrievalNet) -> Report:
    """What a trained student reaches on the evaluation rooms."""
    cached, benchmark, _ = data(net.backbone)
    rows = torch.empty(len(cached["maps"]), net.dim)
    of_shape: dict[tuple[int, ...], list[int]] = {}
    for place, kept in enumerate(cached["maps"]):
        of_shape.setdefault(tuple(kept.shape), []).append(place)
    for places in of_shape.values():
        for first in range(0, len(places), 32):
            block = places[first : first + 32]
            rows[block] = described(net, torch.stack([cached["maps"][place] for place in block]))
    queries = len(benchmark.query_names)
    return evaluate(rows[:queries], rows[queries:], benchmark)
