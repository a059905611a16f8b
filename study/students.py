"""The students of the study: what they are trained on, who answers for it, and what they reach.

All of them learn from the photographs as they are and are scored on photographs enlarged as the teacher's are: a network does
better on larger images than it was trained on (Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019),
and training stays cheap. Students with kept views have their frozen part computed once. An assistant describes all
photographs in the teacher's place, having learned from a few of its answers (Mirzadeh et al., "Improved Knowledge Distillation
via Teacher Assistant", AAAI 2020). A student with a projection to its teacher's space is scored a second time, with its queries
in the teacher's database.

What several runs need is kept under runs/study: whoever changes how students are trained deletes that folder.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

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
    project,
    teacher_version,
    train_supervised,
)
from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.rooms import EDITION
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.choose import cluster_centres, k_centre
from rdistill_helpers.distil.distill import projection_to
from rdistill_helpers.distil.views import KeptMaps
from rdistill_helpers.embed import harder
from rdistill_helpers.embed.black_box import Embed
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import written_whole
from study.mixing import Columns, Consistency, made_of
from study.runs import SEARCH, Run, Source, line
from study.settings import LARGER, SMALL, TEACHER, VIEWS, WITH_LABELS, Settings, as_text, projects, version
from study.starts import AverageAlong, start_projection

SCALE = 1.6  # enlargement of a student's input when it is scored or describes for another, the same as the teacher's
CATALOGUE = 256  # photographs that a teacher ranks which gives an order
WHITENING = 0.25  # power: with 0.5 some hundred answers would all be equally far from each other
BATCH = 48  # photographs, with labels as without
# Type of the products in training. Where a processor only imitates bfloat16 it is far slower; float32 gives the same figures
# within their spread. The depthwise convolutions of the larger student are slower in bfloat16.
AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
AUTOCAST = {SMALL: torch.bfloat16 if AVX512 else None, LARGER: None}


class Rooms:
    """The data of the study, each part read when it is first needed."""

    @cached_property
    def name(self) -> str:
        """What tells these photographs from others, in the store and in the names of kept files: the edition of the rooms, and
        eight digits of the archive.
        """
        archive = (data_root() / "rooms.zip.sha256").read_text(encoding="utf-8")
        return f"edition-{EDITION}-{archive[:8]}"

    def network(self, teacher: str) -> nn.Module:
        """A teacher, as `load_teacher` gives it.

        Args:
            teacher: its name.

        Returns:
            The network.
        """
        return load_teacher(teacher)

    @cache  # noqa: B019 one object lives as long as the process
    def version(self, teacher: str) -> str:
        """What tells the file of a teacher from others.

        Args:
            teacher: its name.

        Returns:
            The eight digits of `teacher_version`.
        """
        return teacher_version(teacher).removeprefix(f"{teacher}-")

    def source(self, own: Settings) -> Source:
        """The names of the photographs and of the teacher of a run, as the store has them.

        Args:
            own: the settings of the run.

        Returns:
            Both names; the teacher's is empty where none is asked.
        """
        return self.name, f"{own.asked} {self.version(own.asked)}" if own.asked else ""

    def images(self, part: str) -> Any:
        """The photographs of a part.

        Args:
            part: "training", "validation" or "test".

        Returns:
            uint8 [N, 3, H, W] for training; else a list of pictures, the queries first.
        """
        return self.pixels if part == "training" else self.scored[part]

    def rows(self, teacher: str, part: str) -> Tensor:
        """What a teacher that nothing makes harder answers for a part.

        Args:
            teacher: its name.
            part: see `images`.

        Returns:
            Descriptors [N, Dt].
        """
        name = f"{teacher}_{self.version(teacher)}_{part}"
        return _kept(self, name, lambda: extract(self.network(teacher), self.images(part), progress=False))

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
    own = run.settings
    made = student_of(own, run.seed, data)
    part = "validation" if run.method == SEARCH else "test"
    report, to_teacher = score(made, own, data, part)
    return line(run, report, made.seconds, data.source(own), to_teacher)


class Student(NamedTuple):
    """A student of a run.

    Attributes:
        net: the network.
        seconds: of its training.
        projection: to its teacher's space; None where none was trained.
    """

    net: Any
    seconds: float = 0.0
    projection: nn.Linear | None = None


def student_of(own: Settings, seed: int, data: Rooms) -> Student:
    """The student of a run.

    Args:
        own: the settings.
        seed: of the run.
        data: the photographs.

    Returns:
        The student. A larger one, which may be an assistant as well, is trained once and kept.

    Raises:
        BadInput: for settings that do not fit the data.
    """
    if own.student == TEACHER:
        assert own.asked is not None
        return Student(data.network(own.asked))
    if own.loss is None:
        return Student(_untrained(own, seed, data))
    if own.student == SMALL:
        return _trained(own, seed, data)

    def made() -> dict[str, Any]:
        trained = _trained(own, seed, data)
        projection = None if trained.projection is None else trained.projection.state_dict()
        return {"state": trained.net.state_dict(), "seconds": trained.seconds, "projection": projection}

    name = hashlib.sha256(f"{version()}{as_text(own)}{data.source(own)}".encode()).hexdigest()[:12]
    found = _kept(data, f"student_{name}_{seed}", made)
    net, projection = RetrievalNet(own.student, dim=own.dim, weights=None), None
    net.load_state_dict(found["state"])
    if found["projection"] is not None:
        projection = projection_to(*found["projection"]["weight"].shape)
        projection.load_state_dict(found["projection"])
    return Student(net.eval(), found["seconds"], projection)


def score(made: Student, own: Settings, data: Rooms, part: str) -> tuple[Report, Report | None]:
    """What a student reaches.

    Args:
        made: the student.
        own: its settings.
        data: the photographs.
        part: "validation" or "test".

    Returns:
        The scores under all three protocols: of the student's queries in its own database, and in the teacher's. The latter is
        None without a projection, and for a student of an assistant, whose projection leads to the assistant's space.
    """
    rows = answers_for(own, part, data) if own.student == TEACHER else described(made.net, own, data, part)
    benchmark = data.benchmarks[part]
    queries = len(benchmark.query_names)
    report = evaluate(rows[:queries], rows[queries:], benchmark)
    if made.projection is None or own.assistant is not None or own.whitened:
        return report, None
    database = answers_for(own, part, data)[queries:]
    return report, evaluate(project(rows[:queries], made.projection), database, benchmark)


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
    if own.views is None:
        net.scale = SCALE
        return extract(net, data.images(what), progress=False)
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
        return answers_for(own, "training", data)
    assistant = student_of(own.assistant, seed, data)
    return described(assistant.net, own.assistant, data, "training")


def answers_for(own: Settings, part: str, data: Rooms) -> Tensor:
    """What the teacher of a run answers for a part.

    Args:
        own: the settings; their teacher counts.
        part: see `Rooms.images`.
        data: the photographs.

    Returns:
        Descriptors [N, Dt].
    """
    return harder_answers(own, data.images(part), data.rows(_name(own), part), data)


def harder_answers(own: Settings, images: Any, rows: Tensor, data: Rooms) -> Tensor:
    """What the teacher of a run answers where the one that nothing makes harder answers `rows`.

    Args:
        own: the settings; their teacher counts.
        images: the N photographs.
        rows: [N, Dt].
        data: the photographs that a catalogue and principal directions are made of: those of training.

    Returns:
        Descriptors [N, Dt], or of another number of dimensions.
    """
    kind, _, value = (own.harder or "").partition(" ")
    if kind.isdigit():
        directions = torch.linalg.svd(data.rows(_name(own), "training"), full_matrices=False).Vh[: int(kind)]
        return F.normalize(rows @ directions.T, dim=1)
    makes: dict[str, Callable[[Embed], Embed]] = {
        "": lambda embed: embed,
        "rounded": lambda embed: harder.rounded(embed, int(value)),
        "noisy": lambda embed: harder.noisy(embed, float(value)),
        "truncated": lambda embed: harder.truncated(embed, int(value)),
        "order": lambda embed: harder.order_only(embed, _catalogue(own, data)),
        "top": lambda embed: harder.top_only(embed, _catalogue(own, data), int(value)),
    }
    return makes[kind](lambda _: rows)(images)


def _name(own: Settings) -> str:
    """The teacher of a run, without what makes it harder."""
    return own.teacher.split(" (")[0]


def _catalogue(own: Settings, data: Rooms) -> Tensor:
    """What a teacher that gives an order ranks: training photographs, evenly spread."""
    rows = data.rows(_name(own), "training")
    return rows[:: max(1, len(rows) // CATALOGUE)][:CATALOGUE]


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
        views = _views(net, data.pixels, own.frozen, VIEWS, generator)
        net.scale = SCALE
        return {
            "views": views,
            "training": torch.cat(
                [net.maps(block.float() / 255, own.frozen).half() for block in data.pixels.split(32)]
            ),
            **{
                part: [net.maps(to_tensor([one]).float() / 255, own.frozen)[0].half() for one in photographs]
                for part, photographs in data.scored.items()
            },
        }

    return _kept(data, f"maps_{own.student}_{own.frozen}", made)


def _trained(own: Settings, seed: int, data: Rooms) -> Student:
    """The student of a run."""
    index = drawn(own, seed, data)
    images, net = _views_of(own, index, data), _untrained(own, seed, data).freeze(own.frozen)
    start_weight = 0.0 if own.averaged else own.training.start_weight  # an average along the run comes before the start
    training = replace(
        own.training, seed=seed, progress=False, autocast=AUTOCAST[own.student], start_weight=start_weight
    )
    average = AverageAlong(net, own.training.steps, own.averaged) if own.averaged else None
    projection = None
    if own.loss in WITH_LABELS:
        labels = data.labels[index]
        places = min(12, len(labels.unique()))  # few places: more photographs of each
        each = max(4, BATCH // places)
        began = time.perf_counter()
        train_supervised(
            net, images, labels, own.loss, classes=places, per_class=each, training=training, callback=average
        )
    else:
        target = answers(own, seed, data)[index]
        if own.made:
            assert isinstance(images, KeptMaps)
            images, target = _with_made(own, seed, data, index, images, target)
        if own.whitened:
            target = pca_whitening(target, power=WHITENING)(target)
        loss: Callable[..., Tensor] = partial(getattr(losses, str(own.loss)), **own.loss_settings)
        began = time.perf_counter()
        start = projection_to(target.shape[1], net.dim, seed)
        if own.projection != "random":
            start_projection(start, own.projection, _described(net, images), target)
        generator = torch.Generator().manual_seed(seed)
        if own.beside == "columns":
            loss = Columns(loss, generator, **own.beside_settings)
        elif own.beside == "consistency":
            loss = Consistency(
                loss, net, start, own.frozen, maps_of(own, data)["views"], index, target[: len(index)],
                own.training.steps, generator, AUTOCAST[own.student], **own.beside_settings,
            )  # fmt: skip
        _, history = distill(
            net, images, target, loss, own.anchors, own.neighbours, own.regression_weight, start if projects(own) else None,
            own.mixtures, training, callback=average,
        )  # fmt: skip
        projection = history.projection
    if average is not None:
        average.finish(own.training.start_weight)
    return Student(net, time.perf_counter() - began, projection)


def _with_made(
    own: Settings, seed: int, data: Rooms, index: Tensor, images: KeptMaps, target: Tensor
) -> tuple[KeptMaps, Tensor]:
    """The photographs of a run and their answers, followed by photographs made of them and what the teacher says of those."""
    generator = torch.Generator().manual_seed(seed)
    pixels = made_of(data.pixels[index], own.made, own.made_by, generator)
    rows = extract(data.network(_name(own)), pixels, progress=False)
    maps = _views(_network(own.student), pixels, own.frozen, own.views or 1, generator)
    more = harder_answers(own, pixels, rows, data)
    return KeptMaps(torch.cat([images.maps, maps]), own.frozen), torch.cat([target, more])


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


@torch.no_grad()
def _views(net: RetrievalNet, pixels: Tensor, parts: int, views: int, generator: torch.Generator) -> Tensor:
    """Maps float16 [N, V, C, h, w] of augmented views of photographs."""

    def view() -> Tensor:
        return torch.cat([net.maps(augmented(block, generator), parts).half() for block in pixels.split(64)])

    return torch.stack([view() for _ in range(views)], 1)


@torch.no_grad()
def _described(net: RetrievalNet, images: Tensor | KeptMaps) -> Tensor:
    """Descriptors [N, D] of photographs, or of a view of each."""
    if isinstance(images, Tensor):
        return extract(net, images, progress=False)
    return torch.cat([net.describe_maps(block.float(), images.parts) for block in images.maps[:, 0].split(64)])


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
    return _described(_network(own.student), KeptMaps(maps_of(own, data)["views"][:, :1], own.frozen))


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
