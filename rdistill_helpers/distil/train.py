"""The training loop, and its uses: `distill` from a teacher's rows, `train_supervised` from labels, `train_on_pairs`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.interpolate import interpolate, mix_maps
from rdistill_helpers.distil.tuples import class_batches, hard_negatives, tuple_batches
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.embed.pooling import GeM
from rdistill_helpers.errors import BadInput, DataMissing, RDistillError
from rdistill_helpers.files import refuse_packed, written_whole
from rdistill_helpers.parallel import (
    all_reduce,
    average_gradients,
    broadcast,
    broadcast_parameters,
    gather,
    own_share,
    rank,
    world_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEIGHT_DECAY = 1e-4
FAST = 10.0  # learning rate of GeM's p and of a new projection, as a multiple of the network's
CHECKPOINT_EVERY = 100  # steps
START_WEIGHT = 0.2  # of the weights a training started with, in the student that it returns


@dataclass
class History:
    """What a training did: one entry per step in each list, and the settings that it ran with.

    seconds counts from the start of the training and leaves out the time between an interruption and its resume.
    """

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, at once or not at all."""
        with written_whole(Path(path)) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote; BadInput when it is something else, DataMissing when there is no such file."""
        try:
            return cls._checked(json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise DataMissing(f"There is no history at {path}: write it with History.save.") from error
        except (OSError, RecursionError, TypeError, ValueError) as error:
            raise BadInput(f"{path} is no saved history ({error}): write it with History.save.") from error

    @classmethod
    def _checked(cls, content: Any) -> History:
        """The history with this content; TypeError or ValueError when it is none."""
        history = cls(**content)
        lists = (history.step, history.loss, history.lr, history.seconds)
        if not isinstance(history.settings, dict) or not all(isinstance(values, list) for values in lists):
            raise TypeError("it needs four lists and settings")
        if any(len(values) != len(history.step) for values in lists):
            raise ValueError("its lists differ in length")
        if not all(isinstance(value, int | float) for values in lists for value in values):
            raise TypeError("its lists hold something else than numbers")
        if not all(isinstance(name, str) for name in history.settings):
            raise TypeError("its settings have no names")
        json.dumps(history.settings)  # settings are plain values, which can be compared
        return history

    def plot(self, ax: Axes | None = None, window: int = 25) -> Axes:
        """Draw the loss of every step and its mean over `window` steps; returns the axes."""
        import matplotlib.pyplot as plt

        if ax is None:
            ax = plt.gca()
        ax.plot(self.step, self.loss, color="0.75", linewidth=0.8, label="loss of a step")
        if len(self.loss) >= window:
            sums = np.cumsum([0.0, *self.loss])
            ax.plot(
                self.step[window - 1 :],
                (sums[window:] - sums[:-window]) / window,
                color="#0072B2",
                label=f"mean of {window}",
            )
        ax.set(xlabel="step", ylabel="loss")
        ax.legend(frameon=False)
        return ax


def distill(
    student: nn.Module,
    images: Tensor,
    teacher_rows: Tensor,
    loss: Callable[..., Tensor] = losses.listwise,
    steps: int = 500,
    anchors: int = 8,
    neighbours: int = 5,
    lr: float = 3e-4,
    interpolated: int = 0,
    pairs: str = "random",
    alpha: str | float = "uniform",
    joint_weight: float = 1.0,
    mix_at: int | None = None,
    regression_weight: float = 2.0,
    augment: bool = True,
    start_weight: float = START_WEIGHT,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    autocast: torch.dtype | None = None,
    projection: nn.Linear | None = None,
    callback: Callable[[History], None] | None = None,
) -> tuple[nn.Module, History]:
    """Train a student to relate images as the teacher does; it is trained in place, and returned in eval mode.

    student: float images [B, 3, H, W] in [0, 1] -> L2-normalised rows [B, Ds].
    images: uint8 [N, 3, H, W], teacher_rows: [N, Dt] L2-normalised, what the teacher answered for each image.
    loss: a function of `losses` (settings by functools.partial), or any other of the same signature.
    anchors, neighbours: batches as in `tuple_batches`.
    interpolated: mixtures in each batch, 0 for none; then the loss of a batch is loss(real rows) + joint_weight *
        loss(joint space). pairs, alpha: which mixtures, see `interpolate`.
    mix_at: None mixes the student's descriptors. A number k mixes the maps that the first k of its `parts` give,
        and the student describes what it has not seen; the teacher's rows are mixed in both cases. See `mix_maps`. Takes a
        RetrievalNet, and one process.
    regression_weight: weight of `losses.regression` beside the loss, on the real rows: a list tells where the others stand,
        regression where the row itself stands. Needs no equal dimensions, see projection. 0 for the bare loss; a loss
        that is `losses.regression` itself stays alone, and the history says 0.
    augment: show each image flipped, cropped and exposed at random; see `augmented`.
    start_weight: w, from 0 to below 1; the student returned has (1 - w) * trained + w * start for each of its weights, which
        takes back some of what training on few images forgets. Source: Wortsman et al., "Robust fine-tuning of
        zero-shot models", CVPR 2022.
    checkpoint: a file to go on from when it is there, written as the training goes; a resumed run equals an
        uninterrupted one, on the CPU bit for bit.
    device: where to train, by default where the student is.
    autocast: type of the student's matrix products, such as torch.bfloat16 where the processor computes with it;
        weights, pooling and loss stay float32. None for float32 throughout.
    projection: from the student's dimension to the teacher's, trained along and given to the loss as `projection`, which
        `losses.regression` takes. Without one, regression_weight makes its own.
    callback: called with the history after every step, to draw it while it grows.
    Raises BadInput for rows, images, settings or a checkpoint that do not fit.
    """
    device = torch.device(device) if device is not None else _device(student)
    teacher_rows = check_descriptors(teacher_rows, "teacher rows").detach()
    _check_images(images, len(teacher_rows), "teacher rows")
    if interpolated < 0:
        raise BadInput(f"interpolated={interpolated} mixtures in a batch cannot be made: give 0 or more.")
    if not 0 <= regression_weight < math.inf:
        raise BadInput(f"regression_weight={regression_weight} is not usable: give 0 or a positive number.")
    if _function(loss) is losses.regression:
        regression_weight = 0.0
    settings = {
        "loss": _name(loss), "anchors": anchors, "neighbours": neighbours, "interpolated": interpolated,
        "pairs": pairs, "alpha": alpha, "joint_weight": joint_weight, "mix_at": mix_at,
        "regression_weight": regression_weight,
        "targets": _digest(teacher_rows),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    batches = tuple_batches(teacher_rows, anchors, neighbours, steps, generator)
    teacher_rows = teacher_rows.to(device)
    extra = {} if projection is None else {"projection": projection}
    if regression_weight and projection is None:
        own_dimension = extract(student, images[:1], progress=False).shape[1]
        projection = _projection(own_dimension, teacher_rows.shape[1], seed).to(device)

    def of_maps(mixed: Tensor, weight: Tensor) -> Tensor:
        assert isinstance(student, RetrievalNet) and mix_at is not None  # or `_part` had refused
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            return student.describe_maps(mix_maps(maps.pop(), mixed, weight), mix_at).float()

    def batch_loss(rows: Tensor, index: Tensor) -> Tensor:
        target = teacher_rows[index]
        value = loss(rows, target, **extra)
        if regression_weight:
            value = value + regression_weight * losses.regression(rows, target, projection=projection)
        if interpolated:
            joint = interpolate(target, rows, interpolated, pairs, alpha, generator)
            if mix_at is not None:
                joint = replace(
                    joint, student=torch.cat([rows, of_maps(joint.parts[len(rows) :], joint.weight[len(rows) :])])
                )
            joint_loss = loss(joint.student, joint.teacher, comparable=joint.comparable, **extra)
            value = value + joint_weight * joint_loss
        return value

    maps: list[Tensor] = []  # of the last batch
    with contextlib.ExitStack() as stack:
        if interpolated and mix_at is not None:
            hook = _part(student, mix_at).register_forward_hook(lambda module, given, output: maps.append(output))
            stack.callback(hook.remove)
        history = fit(
            student, images, batches, batch_loss, generator, steps=steps, lr=lr, augment=augment,
            start_weight=start_weight, beside=projection, device=device, autocast=autocast, settings=settings,
            progress=progress, checkpoint=checkpoint, callback=callback,
        )  # fmt: skip
    return student, history


def _part(student: nn.Module, mix_at: int) -> nn.Module:
    """The part of the convolutions whose maps are mixed; BadInput where there is none, or several processes."""
    if not isinstance(student, RetrievalNet) or not 1 <= mix_at < len(student.parts):
        raise BadInput(
            f"mix_at={mix_at} names no maps of this student to mix: give a RetrievalNet and the number of one of its parts "
            "but the last, or None to mix descriptors."
        )
    if world_size() > 1:
        raise BadInput(
            f"mix_at={mix_at} mixes maps of one process, here are {world_size()}: train in one, or give None."
        )
    return student.parts[mix_at - 1]


def train_supervised(
    student: nn.Module,
    images: Tensor,
    labels: Tensor | np.ndarray,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "contrastive",
    steps: int = 150,
    lr: float = 3e-5,
    classes: int = 12,
    per_class: int = 4,
    augment: bool = True,
    start_weight: float = START_WEIGHT,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    autocast: torch.dtype | None = None,
    callback: Callable[[History], None] | None = None,
) -> tuple[nn.Module, History]:
    """The baseline that needs labels: metric learning on batches of `classes` places with `per_class` images each.

    labels: [N] integers, the place of each image. loss: "contrastive" (distance of positive pairs plus what negative
    pairs lack to the margin 0.85 in Euclidean distance), "multi_similarity" (Wang et al., CVPR 2019), both from
    pytorch-metric-learning, or a function of (rows, labels). The rest as in `distill`, with the same loop underneath.
    """
    device = torch.device(device) if device is not None else _device(student)
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or labels.is_floating_point():
        raise BadInput(f"The labels are {labels.dtype} {list(labels.shape)}: give one integer for each image, [N].")
    _check_images(images, len(labels), "labels")
    settings = {
        "loss": loss if isinstance(loss, str) else _name(loss), "classes": classes, "per_class": per_class,
        "targets": _digest(labels),
    }  # fmt: skip
    metric_loss = _metric_loss(loss) if isinstance(loss, str) else loss
    generator = torch.Generator().manual_seed(seed)
    batches = class_batches(labels, classes, per_class, steps, generator)
    labels = labels.to(device)
    history = fit(
        student, images, batches, lambda rows, index: metric_loss(rows, labels[index]), generator, steps=steps, lr=lr,
        augment=augment, start_weight=start_weight, device=device, autocast=autocast, settings=settings,
        progress=progress, checkpoint=checkpoint, callback=callback,
    )  # fmt: skip
    return student, history


def train_on_pairs(
    student: nn.Module,
    images: Tensor,
    clusters: Tensor,
    queries: Tensor,
    positives: Tensor,
    steps: int = 150,
    lr: float = 3e-5,
    tuples: int = 5,
    negatives: int = 5,
    pool: int = 20_000,
    mine_every: int = 100,
    margin: float = 0.85,
    augment: bool = True,
    start_weight: float = START_WEIGHT,
    seed: int = 0,
    progress: bool = True,
    device: str | torch.device | None = None,
    autocast: torch.dtype | None = None,
    callback: Callable[[History], None] | None = None,
) -> tuple[nn.Module, History]:
    """The baseline for sets that know matching pairs, such as SfM-120k: contrastive loss with hard negatives.

    clusters: int64 [N], photographs of different clusters show different places. queries, positives: int64 [P], positions
    of matching pairs. A batch holds `tuples` tuples of a query, its positive and `negatives` hard negatives, which are
    searched anew every `mine_every` steps with the student's own descriptors among `pool` random images.
    margin: Euclidean distance that negatives are pushed to. The rest as in `distill`, but without a checkpoint.
    Source: Radenovic, Tolias and Chum, TPAMI 2019.
    Raises BadInput for lists that do not fit, and for too few clusters.
    """
    device = torch.device(device) if device is not None else _device(student)
    _check_images(images, len(clusters), "clusters")
    if len(queries) != len(positives) or len(queries) < 1 or tuples < 1 or mine_every < 1:
        raise BadInput(
            f"{len(queries)} queries, {len(positives)} positives, {tuples} tuples in a batch, mined every {mine_every} "
            "steps: give as many positives as queries, and one or more of each."
        )
    both = torch.cat([queries, positives])
    if not 0 <= int(both.min()) <= int(both.max()) < len(images):
        raise BadInput(f"A pair names an image beyond the {len(images)} given: give positions in `images`.")
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Tensor]:
        for start in range(0, steps, mine_every):
            count = min(mine_every, steps - start)
            drawn = torch.randint(len(queries), (count * tuples,), generator=generator)
            among = torch.randperm(len(images), generator=generator)[:pool]
            asked, place = queries[drawn].unique(return_inverse=True)
            rows, pool_rows = (_described(student, images, index) for index in (asked, among))
            mined = hard_negatives(rows, clusters[asked], pool_rows, clusters[among], negatives)
            whole = torch.cat([queries[drawn, None], positives[drawn, None], among[mined[place]]], dim=1)
            yield from whole.view(count, tuples * (2 + negatives))

    def batch_loss(rows: Tensor, index: Tensor) -> Tensor:
        tuple_rows = rows.view(tuples, 2 + negatives, -1)
        distance = (tuple_rows[:, 1:] - tuple_rows[:, :1]).norm(dim=2)
        return (distance[:, 0].pow(2).sum() + (margin - distance[:, 1:]).clamp(min=0).pow(2).sum()) / (2 * tuples)

    settings = {
        "loss": f"contrastive({margin})", "tuples": tuples, "negatives": negatives, "pool": pool,
        "mine_every": mine_every,
    }  # fmt: skip
    history = fit(
        student, images, batches(), batch_loss, generator, steps=steps, lr=lr, augment=augment,
        start_weight=start_weight, device=device, autocast=autocast, settings=settings, progress=progress, callback=callback,
    )  # fmt: skip
    return student, history


def fit(
    student: nn.Module,
    images: Tensor,
    batches: Iterator[Tensor],
    batch_loss: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
    *,
    steps: int,
    lr: float,
    augment: bool = True,
    start_weight: float = START_WEIGHT,
    beside: nn.Module | None = None,
    device: str | torch.device = "cpu",
    autocast: torch.dtype | None = None,
    settings: dict[str, Any] | None = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
    callback: Callable[[History], None] | None = None,
) -> History:
    """The training loop under all trainings here; trains in place and leaves the student in eval mode.

    batches: yields at least `steps` index tensors [B] into `images`; batch_loss(rows [B, D], index [B]) -> scalar.
    generator: the one source of chance for batches, augmentation and loss, so that its state is all there is to resume.
    beside: something else to train along, such as a projection that the loss uses.
    settings: what the caller set, kept in the history beside the loop's own and compared with a checkpoint's. For the
        rest see `distill`.
    Under `parallel.processes` each process describes its share of every batch; the loss is that of the whole batch.
    """
    if steps < 1 or not lr > 0:
        raise BadInput(f"{steps} steps with learning rate {lr} train nothing: give steps >= 1 and lr > 0.")
    if not 0 <= start_weight < 1:
        raise BadInput(f"start_weight={start_weight} leaves nothing of the training: give 0 or more, and less than 1.")
    device = torch.device(device)
    student.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for module in student.modules():
        # Batches are made of look-alikes: their statistics are not those of the images the student will see.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    broadcast_parameters(student)
    if beside is not None:
        broadcast_parameters(beside)
    optimizer = torch.optim.AdamW(parameter_groups(student, beside, lr))
    own = {
        "steps": steps, "lr": lr, "augment": augment, "seed": generator.initial_seed(), "images": len(images),
        "autocast": str(autocast), "start_weight": start_weight,
    }  # fmt: skip
    start_state = {name: value.clone() for name, value in student.state_dict().items()} if start_weight else {}
    history = History(settings=own | (settings or {}))
    # Layers with chance of their own, such as dropout, draw from torch's global state: give it back as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator.initial_seed())
        state = None if checkpoint is None else broadcast(lambda: _saved(checkpoint))
        if checkpoint is not None and state is not None:
            history, start_state = _resume(checkpoint, state, student, beside, optimizer, generator, history.settings)
        done = len(history.step)
        start = time.perf_counter() - (history.seconds[-1] if done else 0.0)
        bar = tqdm(total=steps, initial=done, desc="training", unit="step", disable=not progress or rank() > 0)
        for step, index in zip(range(done, steps), batches, strict=False):
            index, mine = _shared(index)
            if world_size() > 1:  # each process has noise of its own in dropout, the same again after a resume
                torch.manual_seed(generator.initial_seed() + step * world_size() + rank())
            pixels = images[index[mine]].to(device)
            pixels = augmented(pixels, generator, len(index), mine) if augment else _as_float(pixels)
            with torch.autocast(device.type, autocast, enabled=autocast is not None):
                rows = student(pixels)
            if autocast is not None:
                rows = rows.float()
            rows = gather(rows, len(index))
            if step == done:
                check_descriptors(rows, "the student's rows")
            loss = batch_loss(rows, index)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step, steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            average_gradients(p for group in optimizer.param_groups for p in group["params"])
            optimizer.step()

            value = loss.item()
            if not math.isfinite(value):
                raise RDistillError(
                    f"The loss became {value} at step {step}: train with a smaller learning rate than {lr}."
                )
            history.step.append(step)
            history.loss.append(value)
            history.lr.append(lr * schedule(step, steps))
            history.seconds.append(time.perf_counter() - start)
            due = (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps
            if checkpoint is not None and due and rank() == 0:
                _save(checkpoint, student, start_state, beside, optimizer, generator, history)
            if callback is not None:
                callback(history)
            bar.update()
            bar.set_postfix(loss=f"{value:.4f}", refresh=False)
        bar.close()
    if start_weight:
        average_weights(student, start_state, start_weight)
    student.eval()
    return history


def average_weights(net: nn.Module, start: Mapping[str, Tensor], start_weight: float = START_WEIGHT) -> None:
    """Replace every weight by (1 - start_weight) * itself + start_weight * that of `start`, in place.

    start: a state dict with the same names; entries that are no floating-point numbers stay as they are.
    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name].to(value), start_weight)


def schedule(step: int, steps: int) -> float:
    """The learning rate of a step as a part of its peak: linear over the first 4 % of the steps, then half a cosine."""
    warm_up = max(1, steps // 25)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def augmented(
    images: Tensor, generator: torch.Generator | None = None, count: int | None = None, which: slice = slice(None)
) -> Tensor:
    """Each image mirrored or not, cropped to 80-100 % of its sides, with new brightness and contrast (+-20 %).

    uint8 [B, 3, H, W] -> float [B, 3, H, W] in [0, 1], channels_last. Mirror, crop and resize are one bilinear sampling
    of the whole batch. count, which: the images are these of a batch of `count`, and change as they would in it.
    """
    height, width = images.shape[2:]
    count = len(images) if count is None else count

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(count, *shape, generator=generator))[which].to(images.device)

    mirror = (torch.rand(count, 1, generator=generator) < 0.5)[which].to(images.device) * -2.0 + 1.0
    zoom = uniform(0.8, 1.0, 1)
    # The corners of an axis-aligned crop need no general affine grid: positions along x and along y are enough.
    x = mirror * zoom * _pixel_centres(width, images) + uniform(-1, 1, 1) * (1 - zoom)
    y = zoom * _pixel_centres(height, images) + uniform(-1, 1, 1) * (1 - zoom)
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3)
    pixels = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    brightness, contrast = uniform(0.8, 1.2, 1, 1, 1) / 255, uniform(0.8, 1.2, 1, 1, 1)
    grey = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels.mul_(brightness * contrast).add_(grey * brightness * (1 - contrast)).clamp_(0, 1)
    return pixels.contiguous(memory_format=torch.channels_last)


def _pixel_centres(size: int, like: Tensor) -> Tensor:
    """Positions of `size` pixels in [-1, 1], as grid_sample counts them."""
    return (torch.arange(size, device=like.device) * 2 + 1) / size - 1


def _shared(index: Tensor) -> tuple[Tensor, slice]:
    """The batch [B] of process 0, and which of its images this process describes; BadInput when there are too few."""
    if len(index) < world_size():
        raise BadInput(
            f"A batch of {len(index)} images cannot be shared by {world_size()} processes: "
            "give a larger batch or fewer processes."
        )
    if world_size() > 1:  # ties between neighbours may fall otherwise on another processor; the batches must not
        index = all_reduce(index * (rank() == 0))
    share = own_share(len(index))
    return index, slice(share.start, share.stop)


def _described(student: nn.Module, images: Tensor, index: Tensor) -> Tensor:
    """The student's descriptors of images[index], [n, D], each process describing its share."""
    if len(index) < world_size():
        return extract(student, images[index], progress=False)
    share = own_share(len(index))
    return gather(extract(student, images[index[share.start : share.stop]], progress=False), len(index))


def _as_float(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last).float() / 255


def parameter_groups(student: nn.Module, beside: nn.Module | None, lr: float) -> list[dict[str, Any]]:
    """AdamW's groups: the network, GeM's p (faster, no decay), and what is trained beside it (faster)."""
    exponents = [module.p for module in student.modules() if isinstance(module, GeM)]
    network = [p for p in student.parameters() if p.requires_grad and all(p is not other for other in exponents)]
    groups = [
        {"params": network, "peak": lr, "weight_decay": WEIGHT_DECAY},
        {"params": exponents, "peak": lr * FAST, "weight_decay": 0.0},
        {
            "params": [] if beside is None else list(beside.parameters()),
            "peak": lr * FAST,
            "weight_decay": WEIGHT_DECAY,
        },
    ]
    return [group for group in groups if group["params"]]


def _save(
    path: str | Path,
    student: nn.Module,
    start_state: Mapping[str, Tensor],
    beside: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    history: History,
) -> None:
    """Write a checkpoint; the old one stays until the new one is whole."""
    state = {
        "student": student.state_dict(),
        "start": start_state,
        "beside": {} if beside is None else beside.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "torch": torch.get_rng_state(),
        "history": asdict(history),
    }
    with written_whole(Path(path)) as unfinished:
        torch.save(state, unfinished)


def _saved(path: str | Path) -> dict[str, Any] | None:
    """What is in a checkpoint, None where there is none; BadInput when it cannot be read."""
    if not Path(path).exists():
        return None
    try:
        refuse_packed(Path(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {**state, "start": dict(state["start"]), "history": History._checked(state["history"])}
    except Exception as error:  # torch raises half a dozen kinds for a file that is not what it seems
        raise BadInput(f"The checkpoint {path} cannot be read: delete it to start again.") from error


def _resume(
    path: str | Path,
    state: dict[str, Any],
    student: nn.Module,
    beside: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    settings: dict[str, Any],
) -> tuple[History, dict[str, Tensor]]:
    """Bring everything to where the checkpoint was written; BadInput when it is of another training.

    Returns the history so far and the weights that the training started with.
    """
    history: History = state["history"]
    different = [name for name in settings | history.settings if settings.get(name) != history.settings.get(name)]
    if different:
        raise BadInput(
            f"The checkpoint {path} is of another training ({', '.join(sorted(different))} differ): "
            "give another file or delete it."
        )
    try:
        student.load_state_dict(state["student"])
        if beside is not None:
            beside.load_state_dict(state["beside"])
        optimizer.load_state_dict(state["optimizer"])
        own, start = student.state_dict(), state["start"]
        if settings["start_weight"] and not (
            start.keys() == own.keys() and all(start[name].shape == own[name].shape for name in own)
        ):
            raise ValueError("the weights that it started with are of another network")
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
    except Exception as error:  # each of them fails in its own ways for what it did not write
        raise BadInput(f"The checkpoint {path} is of another student: give another file or delete it.") from error
    return history, start


def _check_images(images: Tensor, count: int, beside: str) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise BadInput(
            f"Training takes the images as uint8 [N, 3, H, W], but got {images.dtype} {list(images.shape)}: "
            "give TrainingImages.pixels() or to_tensor(images)."
        )
    if len(images) != count:
        raise BadInput(f"There are {len(images)} images and {count} {beside}: give one for each image, in their order.")


def _projection(own: int, target: int, seed: int) -> nn.Linear:
    """A new linear map between two dimensions, the same for the same seed whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(own, target)


def _device(student: nn.Module) -> torch.device:
    return next((parameter.device for parameter in student.parameters()), torch.device("cpu"))


def _digest(values: Tensor) -> str:
    """Tells whether two trainings had the same targets."""
    return hashlib.sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _function(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose settings functools.partial has bound."""
    return _function(loss.func) if isinstance(loss, functools.partial) else loss


def _name(loss: Callable[..., Any]) -> str:
    """A readable name that includes the settings bound by functools.partial."""
    if isinstance(loss, functools.partial):
        bound = [str(value) for value in loss.args] + [f"{name}={value}" for name, value in loss.keywords.items()]
        return f"{_name(loss.func)}({', '.join(bound)})"
    return getattr(loss, "__name__", type(loss).__name__)


def _metric_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    from pytorch_metric_learning import losses as metric_losses

    if name == "contrastive":
        return metric_losses.ContrastiveLoss(pos_margin=0.0, neg_margin=0.85)
    if name == "multi_similarity":
        return metric_losses.MultiSimilarityLoss()
    raise BadInput(f"The supervised loss {name!r} is not known: give 'contrastive', 'multi_similarity' or a function.")
