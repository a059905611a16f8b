"""The students of the study: what they are trained on, who answers for it, and what they reach.

All of them learn from the photographs as they are and are scored on photographs enlarged as the teacher's are: a network does
better on larger images than it was trained on (Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019),
and training stays cheap. Students with kept views have their frozen part computed once. An assistant describes all
photographs in the teacher's place, having learned from a few of its answers (Mirzadeh et al., "Improved Knowledge Distillation
via Teacher Assistant", AAAI 2020).

What several runs need is kept under runs/study: whoever changes how students are trained deletes that folder.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock
from PIL import Image
from torch import Tensor, nn

from rdistill_course.runs import runs_root
from rdistill_helpers import (
    Benchmark,
    Report,
    RetrievalNet,
    TrainingImages,
    distill,
    evaluate,
    extract,
    load_teacher,
    losses,
    pca_whitening,
    teacher_version,
    train_supervised,
)
from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.rooms import EDITION
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.choose import cluster_centres, k_centre
from rdistill_helpers.distil.views import KeptMaps
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import written_whole
from study.runs import SEARCH, Run, line
from study.settings import LARGER, SMALL, TEACHER, VIEWS, WITH_LABELS, Settings, as_text, version

SCALE = 1.6  # enlargement of a student's input when it is scored or describes for another, the same as the teacher's
BATCH = 48  # photographs, with labels as without
# Type of the products in training. Where a processor only imitates bfloat16 it is far slower; float32 gives the same figures
# within their spread. The depthwise convolutions of the larger student are slower in bfloat16.
AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
AUTOCAST = {SMALL: torch.bfloat16 if AVX512 else None, LARGER: None}


class Rooms:
    """The data of the study, each part read when it is first needed."""

    @cached_property
    def name(self) -> str:
        """What tells these photographs and this teacher from others, in the store and in the names of kept files: the edition
        of the rooms, eight digits of the archive and the version of the teacher.
        """
        archive = (data_root() / "rooms.zip.sha256").read_text(encoding="utf-8")
        return f"edition-{EDITION}-{archive[:8]}-{teacher_version()}"

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """The rooms that settings are chosen on, "validation", and those that score what was chosen, "test"."""
        return {"validation": Benchmark.load("rooms-validation"), "test": Benchmark.load("rooms")}

    @cached_property
    def scored(self) -> dict[str, list[Image.Image]]:
        """Of both benchmarks the queries, then the database."""
        return {part: [*own.queries(), *own.images()] for part, own in self.benchmarks.items()}

    @cached_property
    def pixels(self) -> Tensor:
        """All training photographs, uint8 [N, 3, H, W]."""
        return TrainingImages.load("rooms").pixels()

    @cached_property
    def labels(self) -> Tensor:
        """The room of every training photograph, int64 [N]."""
        return TrainingImages.load("rooms").labels()

    @cached_property
    def teacher_rows(self) -> Tensor:
        """The teacher's descriptors of all training photographs, [N, Dt]."""
        return _kept(self, "teacher", lambda: extract(load_teacher(), self.pixels, progress=False))


@cache
def rooms() -> Rooms:
    """The embedded rooms, read once by each process.

    Returns:
        The data.
    """
    return Rooms()


def work(run: Run) -> dict[str, Any]:
    """Train and score a run on the embedded rooms.

    Args:
        run: the run.

    Returns:
        Its line of the store.
    """
    return done(run, rooms())


def done(run: Run, data: Rooms) -> dict[str, Any]:
    """Train a run, and score it: on validation where it tries settings, else on test.

    Args:
        run: the run.
        data: the photographs.

    Returns:
        Its line of the store.

    Raises:
        BadInput: for settings that do not fit the data.
    """
    net, seconds = student_of(run.settings, run.seed, data)
    part = "validation" if run.method == SEARCH else "test"
    return line(run, score(net, run.settings, data, part), seconds, data.name)


def student_of(own: Settings, seed: int, data: Rooms) -> tuple[RetrievalNet, float]:
    """The student of a run.

    Args:
        own: the settings.
        seed: of the run.
        data: the photographs.

    Returns:
        The student and the seconds of its training. A larger one, which may be an assistant as well, is trained once and kept.

    Raises:
        BadInput: for settings that do not fit the data.
    """
    if own.student == TEACHER:
        return load_teacher(), 0.0
    if own.loss is None:
        return _untrained(own, seed, data), 0.0
    if own.student == SMALL:
        return _trained(own, seed, data)

    def made() -> dict[str, Any]:
        net, seconds = _trained(own, seed, data)
        return {"state": net.state_dict(), "seconds": seconds}

    name = hashlib.sha256((version() + as_text(own)).encode()).hexdigest()[:12]
    found = _kept(data, f"student_{name}_{seed}", made)
    net = RetrievalNet(own.student, dim=own.dim, weights=None)
    net.load_state_dict(found["state"])
    return net.eval(), found["seconds"]


def score(net: RetrievalNet, own: Settings, data: Rooms, part: str) -> Report:
    """What a network reaches.

    Args:
        net: the network.
        own: its settings.
        data: the photographs.
        part: "validation" or "test".

    Returns:
        The scores under all three protocols.
    """
    rows = described(net, own, data, part)
    if own.student == TEACHER:
        rows = weaker(own.teacher, rows, data)
    benchmark = data.benchmarks[part]
    queries = len(benchmark.query_names)
    return evaluate(rows[:queries], rows[queries:], benchmark)


def described(net: RetrievalNet, own: Settings, data: Rooms, what: str) -> Tensor:
    """Describe enlarged photographs.

    Args:
        net: the network.
        own: its settings; with kept views its frozen part is not computed again.
        data: the photographs.
        what: "validation" or "test" for queries and database, "training" for the training photographs.

    Returns:
        Descriptors [N, D].
    """
    if own.views is None or own.student == TEACHER:
        if own.student != TEACHER:
            net.scale = SCALE
        return extract(net, data.pixels if what == "training" else data.scored[what], progress=False)
    maps = maps_of(own, data)[what]
    rows = torch.empty(len(maps), net.dim)
    places: dict[tuple[int, ...], list[int]] = {}
    for place, own_maps in enumerate(maps):
        places.setdefault(tuple(own_maps.shape), []).append(place)
    with torch.no_grad():
        for alike in places.values():  # photographs of one size share batches
            for block in torch.tensor(alike).split(32):
                batch = torch.stack([maps[int(place)] for place in block]).float()
                rows[block] = net.describe_maps(batch.contiguous(memory_format=torch.channels_last), own.frozen)
    return rows


def answers(own: Settings, seed: int, data: Rooms) -> Tensor:
    """Who answers for the training photographs of a run: the teacher, or its assistant.

    Args:
        own: the settings.
        seed: of the run, and of the assistant's.
        data: the photographs.

    Returns:
        Descriptors [N, Dt] of all training photographs.
    """
    if own.assistant is None:
        return weaker(own.teacher, data.teacher_rows, data)
    assistant, _ = student_of(own.assistant, seed, data)
    return described(assistant, own.assistant, data, "training")


def weaker(teacher: str, rows: Tensor, data: Rooms) -> Tensor:
    """What a teacher answers where the fine-tuned one answers `rows`.

    Args:
        teacher: "fine-tuned", or "16 numbers" for one that has lost all but the first directions of the training photographs.
        rows: [N, Dt].
        data: the photographs.

    Returns:
        Descriptors [N, Dt], or fewer numbers.
    """
    if teacher == "fine-tuned":
        return rows
    directions = torch.linalg.svd(data.teacher_rows, full_matrices=False).Vh[: int(teacher.split()[0])]
    return F.normalize(rows @ directions.T, dim=1)


def drawn(own: Settings, seed: int, data: Rooms) -> Tensor:
    """The training photographs of a run.

    Args:
        own: the settings.
        seed: of the run.
        data: the photographs.

    Returns:
        Positions [images], ascending.

    Raises:
        BadInput: when there are fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    if own.choice == "rooms":
        chosen: list[int] = []
        for room in torch.randperm(int(data.labels.max()) + 1, generator=generator).tolist():
            views = (data.labels == room).nonzero()[:, 0]
            chosen += views[torch.randperm(len(views), generator=generator)[: own.per_room]].tolist()
            if len(chosen) >= own.images:
                break
        index = torch.tensor(chosen[: own.images])
    elif own.choice == "random":
        index = torch.randperm(len(data.labels), generator=generator)[: own.images]
    else:
        choose = {"k-centre": k_centre, "clusters": cluster_centres}[own.choice]
        index = choose(_untrained_rows(own, data), own.images, generator)
    if len(index) < own.images:
        raise BadInput(
            f"images={own.images} cannot be drawn with choice={own.choice!r} and per_room={own.per_room}: there are only "
            f"{len(index)}."
        )
    return index.sort().values


def maps_of(own: Settings, data: Rooms) -> dict[str, Any]:
    """Maps of a student's frozen part, computed once and kept.

    Args:
        own: the settings; student and frozen parts count.
        data: the photographs.

    Returns:
        float16: "views" [N, V, C, h, w] of augmented training photographs; of enlarged photographs "training" [N, C, H, W], and
        "validation" and "test", lists of [C, H, W].
    """

    @torch.no_grad()
    def made() -> dict[str, Any]:
        net = _network(own.student)
        generator = torch.Generator().manual_seed(0)

        def view(block: Tensor) -> Tensor:
            return net.maps(augmented(block, generator), own.frozen).half()

        views = [torch.cat([view(block) for block in data.pixels.split(64)]) for _ in range(VIEWS)]
        net.scale = SCALE
        return {
            "views": torch.stack(views, 1),
            "training": torch.cat(
                [net.maps(block.float() / 255, own.frozen).half() for block in data.pixels.split(32)]
            ),
            **{
                part: [net.maps(to_tensor([one]).float() / 255, own.frozen)[0].half() for one in photographs]
                for part, photographs in data.scored.items()
            },
        }

    return _kept(data, f"maps_{own.student}_{own.frozen}", made)


def _trained(own: Settings, seed: int, data: Rooms) -> tuple[RetrievalNet, float]:
    """The student of a run and the seconds of its training."""
    index = drawn(own, seed, data)
    images, net = _views_of(own, index, data), _untrained(own, seed, data).freeze(own.frozen)
    training = replace(own.training, seed=seed, progress=False, autocast=AUTOCAST[own.student])
    if own.loss in WITH_LABELS:
        labels = data.labels[index]
        places = min(12, len(labels.unique()))  # few places: more photographs of each
        each = max(4, BATCH // places)
        began = time.perf_counter()
        train_supervised(net, images, labels, own.loss, classes=places, per_class=each, training=training)
    else:
        loss, target = partial(getattr(losses, str(own.loss)), **own.loss_settings), answers(own, seed, data)[index]
        began = time.perf_counter()
        distill(
            net, images, target, loss, own.anchors, own.neighbours, own.regression_weight, _projection(own, net, target, seed),
            own.mixtures, training,
        )  # fmt: skip
    return net, time.perf_counter() - began


def _projection(own: Settings, net: RetrievalNet, target: Tensor, seed: int) -> nn.Linear | None:
    """What a loss of regression alone needs; beside another loss `distill` makes its own."""
    if own.loss != "regression":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(net.dim, target.shape[1])


@torch.no_grad()
def _views_of(own: Settings, index: Tensor, data: Rooms) -> Tensor | KeptMaps:
    """What a run shows of its photographs."""
    if own.views is None:
        return data.pixels[index]
    if own.training.augment:
        return KeptMaps(maps_of(own, data)["views"][index, : own.views], own.frozen)
    net = _network(own.student)
    as_they_are = [net.maps(block.float() / 255, own.frozen).half() for block in data.pixels[index].split(64)]
    return KeptMaps(torch.cat(as_they_are)[:, None], own.frozen)


def _untrained(own: Settings, seed: int, data: Rooms) -> RetrievalNet:
    """The student of a run before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the layer to `dim`
        net = _network(own.student, own.dim)
    if own.whitening == "components":
        net.set_whitening(pca_whitening(_untrained_rows(own, data), power=0))
    return net


def _untrained_rows(own: Settings, data: Rooms) -> Tensor:
    """Descriptors [N, D] of a view of every training photograph by the student before any training, without a last layer."""
    net, maps = _network(own.student), maps_of(own, data)["views"][:, 0]
    with torch.no_grad():
        return torch.cat([net.describe_maps(block.float(), own.frozen) for block in maps.split(64)])


def _network(student: str, dim: int | None = None) -> RetrievalNet:
    return RetrievalNet(student, dim=dim).to(memory_format=torch.channels_last).eval()


def _kept(data: Rooms, name: str, made: Callable[[], Any]) -> Any:
    """What `made` gives, written under runs/ once for all processes and read from there without filling their memory."""
    path = runs_root() / "study" / f"{name}_{data.name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".making")):  # making it takes minutes: a second process that asks for it waits
        if not path.exists():
            found = made()
            with written_whole(path) as unfinished:
                torch.save(found, unfinished)
    return torch.load(path, mmap=True, weights_only=True)
