"""In which regime do interpolated samples help? A wide search with a student that is cheap to train.

    python benchmarks/regimes.py --list                       # the questions, and how many runs each has
    python benchmarks/regimes.py few-images order --seeds 1000 1001 --jobs 2
    python benchmarks/regimes.py --summary                    # every setting against its own twin without mixtures

The student is SqueezeNet with the first nine of its thirteen parts frozen. What they give for six augmented views of each
photograph is computed once and kept under runs/, so that a training of 500 steps takes less than a minute on one core; three
such views are as good as new ones (see the question `views`). Its figures are therefore not those of
`data_efficiency.py`, which trains more of the network on new views: what is found here is confirmed there.

Every run is one row of benchmarks/results/regimes.csv, also those that failed. A row that is there is not computed again.
Seeds from 1000 on search; what is reported is confirmed with seeds 0 to 4.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from data_efficiency import SCALE, append, as_text, read
from torch import Tensor, nn

from rdistill_helpers import (
    Benchmark,
    RetrievalNet,
    TrainingImages,
    evaluate,
    extract,
    load_teacher,
    losses,
    teacher_version,
)
from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.distil.train import augmented, average_weights, schedule
from rdistill_helpers.distil.tuples import tuple_batches
from rdistill_helpers.runs import runs_root

RESULTS = Path(__file__).parent / "results" / "regimes.csv"
FROZEN = 9  # parts of the student whose output is kept
VIEWS = 6  # augmented views of each photograph that are kept

DEFAULT: dict[str, Any] = {
    "images": 300,
    "per_room": 10,  # photographs of each room that is drawn; 0: any photographs, whatever their room
    "loss": "listwise",
    "temperature": 0.04,
    "steps": 500,
    "lr": 3e-4,
    "anchors": 8,
    "neighbours": 5,
    "start_weight": 0.2,
    "regression": 0.0,  # weight of regression beside the loss
    "views": VIEWS,
    "bank": 0,  # other rows of the last steps that each list is compared with besides
    "teacher": "fine-tuned",
    "mixtures": 0,
    "pairs": "random",
    "lam": "uniform",
    "parts": 2,  # rows in a mixture
    "mask": True,  # leave out what shares a row
    "joint": "beside",  # the loss of the joint space beside that of the real rows, or "alone"
    "joint_weight": 1.0,
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


ORDINAL = {"listmle": listmle, "pair_order": pair_order, "smooth_ap": smooth_ap}


def loss_named(settings: dict[str, Any]) -> Callable[..., Tensor]:
    """The loss of a run."""
    name = settings["loss"]
    if name == "listwise":
        return partial(losses.listwise, temperature=settings["temperature"])
    return ORDINAL[name] if name in ORDINAL else getattr(losses, name)


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


def joint_space(settings: dict[str, Any], student: Tensor, teacher: Tensor, generator: torch.Generator) -> Any:
    """Student rows, teacher rows and which of them may be compared."""
    weights = torch.cat([torch.eye(len(teacher)), mixing(settings, teacher, student, generator)])
    mixed = [F.normalize(weights @ rows, dim=1) for rows in (student, teacher)]
    there = (weights != 0).float()
    comparable = there @ there.T == 0 if settings["mask"] else ~torch.eye(len(weights), dtype=torch.bool)
    return mixed[0], mixed[1], comparable


def head_and_tail(net: RetrievalNet) -> tuple[nn.Module, nn.Module]:
    """The frozen part of a student and the trained one, which ends in L2-normalised rows."""
    return net.features[:FROZEN], net.features[FROZEN:]


@torch.no_grad()
def frozen_maps(net: RetrievalNet, images: Tensor, scale: float = 1.0) -> Tensor:
    """float images [B, 3, H, W] in [0, 1] -> float16 [B, C, h, w]."""
    if scale != 1:
        images = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
    return head_and_tail(net)[0]((images - net.mean) / net.std).half()


def prepared() -> Path:
    """The file with everything that does not depend on a run; written once."""
    path = runs_root() / f"regimes_{teacher_version()}.pt"
    if path.exists():
        return path
    net = RetrievalNet().to(memory_format=torch.channels_last).eval()
    training, benchmark = TrainingImages.load("rooms"), Benchmark.load("rooms")
    pixels = training.pixels(progress=True)
    generator = torch.Generator().manual_seed(0)
    views = [
        torch.cat([frozen_maps(net, augmented(block, generator)) for block in pixels.split(64)]) for _ in range(VIEWS)
    ]
    photographs = [*benchmark.queries(), *benchmark.images()]
    maps = [frozen_maps(net, to_tensor([photo]).float() / 255, SCALE)[0] for photo in photographs]
    rows = {"fine-tuned": extract(load_teacher(), pixels)}
    torch.save({"views": torch.stack(views, 1), "maps": maps, "rows": rows}, path)
    return path


@cache
def data() -> Any:
    """What `prepared` wrote, and the benchmark; each process reads it once, without copying it into its memory."""
    torch.set_num_threads(1)
    return (
        torch.load(prepared(), mmap=True, weights_only=True),
        Benchmark.load("rooms"),
        TrainingImages.load("rooms").labels(),
    )


def drawn(labels: Tensor, count: int, per_room: int, seed: int) -> Tensor:
    """`count` training photographs, `per_room` of each room that is drawn, or any when that is 0."""
    generator = torch.Generator().manual_seed(seed)
    if not per_room:
        return torch.randperm(len(labels), generator=generator)[:count].sort().values
    rooms = torch.randperm(int(labels.max()) + 1, generator=generator)
    chosen: list[int] = []
    for room in rooms.tolist():
        own = (labels == room).nonzero()[:, 0]
        chosen += own[torch.randperm(len(own), generator=generator)[:per_room]].tolist()
        if len(chosen) >= count:
            break
    return torch.tensor(sorted(chosen[:count]))


def train(settings: dict[str, Any], seed: int) -> RetrievalNet:
    """The student of a run, its frozen part left out of the computation."""
    cached, _, labels = data()
    index = drawn(labels, settings["images"], settings["per_room"], seed)
    views, teacher = cached["views"][index], cached["rows"][settings["teacher"]][index]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = RetrievalNet()
    tail, pool = head_and_tail(net)[1].to(memory_format=torch.channels_last).train(), net.pool
    start = {name: value.clone() for name, value in net.state_dict().items()}
    projection = nn.Linear(512, teacher.shape[1]) if settings["regression"] else None
    lr, loss = settings["lr"], loss_named(settings)
    groups = [
        {"params": list(tail.parameters()), "peak": lr, "weight_decay": 1e-4},
        {"params": list(pool.parameters()), "peak": 10 * lr, "weight_decay": 0.0},
        {"params": list(projection.parameters()) if projection else [], "peak": 10 * lr, "weight_decay": 1e-4},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    bank: list[tuple[Tensor, Tensor]] = []
    batches = tuple_batches(teacher, settings["anchors"], settings["neighbours"], settings["steps"], generator)
    for step, batch in enumerate(batches):
        view = torch.randint(settings["views"], (len(batch),), generator=generator)
        maps = views[batch, view].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            rows = tail(maps.bfloat16())
        rows, target = F.normalize(pool(rows.float()), dim=1), teacher[batch]
        if bank:
            rows, target = (
                torch.cat([new, *old]) for new, old in zip((rows, target), zip(*bank, strict=True), strict=True)
            )
        value = 0.0
        if settings["joint"] == "beside" or not settings["mixtures"]:
            value = loss(rows, target)
        if settings["mixtures"]:
            mixed, mixed_target, comparable = joint_space(settings, rows, target, generator)
            value = value + settings["joint_weight"] * loss(mixed, mixed_target, comparable=comparable)
        if projection:
            value = value + settings["regression"] * losses.regression(rows, target, projection=projection)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(step, settings["steps"])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        if settings["bank"]:
            bank = [(rows[: len(batch)].detach(), target[: len(batch)]), *bank][: settings["bank"] // len(batch)]
    average_weights(net, start, settings["start_weight"])
    return net.eval()


@torch.no_grad()
def score(net: RetrievalNet) -> dict[str, str]:
    """Easy, medium and hard mAP of a trained student."""
    cached, benchmark, _ = data()
    tail = head_and_tail(net)[1]
    rows = torch.empty(len(cached["maps"]), 512)
    of_shape: dict[tuple[int, ...], list[int]] = {}
    for place, kept in enumerate(cached["maps"]):
        of_shape.setdefault(tuple(kept.shape), []).append(place)
    for places in of_shape.values():
        for block in itertools.batched(places, 32) if hasattr(itertools, "batched") else _blocks(places, 32):
            maps = torch.stack([cached["maps"][place] for place in block]).float()
            rows[list(block)] = F.normalize(net.pool(tail(maps.contiguous(memory_format=torch.channels_last))), dim=1)
    queries = len(benchmark.query_names)
    report = evaluate(rows[:queries], rows[queries:], benchmark)
    return {name: f"{getattr(report, name).mAP:.6f}" for name in ("easy", "medium", "hard")}


def _blocks(values: list[int], size: int) -> Iterator[list[int]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def row(changes: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train, score, describe; a run that fails says so in its settings and has no scores."""
    settings = DEFAULT | changes
    data()
    began = time.perf_counter()
    images = settings["images"]
    about = {"method": name_of(settings), "images": images, "teacher_queries": images, "seed": seed}
    scores = score(train(settings, seed))
    return about | scores | {"seconds": f"{time.perf_counter() - began:.1f}", "settings": as_text(changes)}


def name_of(settings: dict[str, Any]) -> str:
    """The loss, and what stands beside it."""
    beside = "+regression" if settings["regression"] else ""
    return settings["loss"] + beside + ("+interpolated" if settings["mixtures"] else "")


def with_and_without(**changes: Any) -> list[dict[str, Any]]:
    """A setting without mixtures and with 48 of them."""
    return [changes, {**changes, "mixtures": 48}]


QUESTIONS: dict[str, list[dict[str, Any]]] = {
    # Which photographs: whole rooms, halves of rooms, a view of each.
    "draw": [{"per_room": number, "regression": weight} for number in (10, 5, 3, 0) for weight in (0.0, 2.0)],
    "views": [{"views": number} for number in (1, 3, 6)],
    "few-images": [
        changes
        for images in (50, 100, 1000)
        for changes in with_and_without(images=images)
    ],
    "order": [changes for loss in ("listmle", "pair_order", "smooth_ap", "darkrank_hard") for changes in with_and_without(loss=loss)],
    "short-list": [
        changes
        for anchors, neighbours in ((2, 3), (4, 3))
        for changes in with_and_without(anchors=anchors, neighbours=neighbours)
    ],
    "losses": [changes for loss in ("rkd_distance", "similarity", "pkt", "similarity_preserving") for changes in with_and_without(loss=loss)],
}  # fmt: skip


def run_all(names: list[str], seeds: list[int], jobs: int, out: Path) -> None:
    """What is missing of the questions, in `jobs` processes."""
    prepared()
    known = {(row["settings"], int(row["seed"])) for row in read(out)}
    wanted = dict.fromkeys((as_text(changes), seed) for seed in seeds for name in names for changes in QUESTIONS[name])
    missing = [(text, seed) for text, seed in wanted if (text, seed) not in known]
    settings = {as_text(changes): changes for name in names for changes in QUESTIONS[name]}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(row, settings[text], seed) for text, seed in missing]
        for place, done in enumerate(as_completed(waiting), 1):
            append(out, done.result())
            print(f"{place}/{len(waiting)}", *(f"{name} {value}" for name, value in done.result().items()), flush=True)


def summary(rows: list[dict[str, str]]) -> None:
    """Mean medium mAP of every setting."""
    groups: dict[str, list[float]] = {}
    for entry in rows:
        groups.setdefault(entry["settings"], []).append(100 * float(entry["medium"]))
    for text, values in groups.items():
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        print(f"{statistics.mean(values):5.1f}{spread:<6} {len(values)}  {text}")


def main() -> None:
    """Run what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1000])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        for name, settings in QUESTIONS.items():
            print(f"{name:<16}{len(settings):>4} settings")
        return
    if not args.summary:
        run_all(args.questions, args.seeds, args.jobs, args.out)
    summary(read(args.out))


if __name__ == "__main__":
    main()
