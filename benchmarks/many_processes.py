"""What two processes of torchrun gain over one, and what FAISS indexes built from shards find of the exact neighbours.

    python -m benchmarks.many_processes
    python -m benchmarks.many_processes --rows 6000 --dim 16 --images 64 --steps 1 --rounds 1    # to try it

Three works are timed in one process and in two, one thread each: steps of distillation, images written to a file of
descriptors, and the exact scores of a file of descriptors. Rounds of one and of two processes alternate, and the best of each
counts. The ratio of the seconds is 2 at best, and near it only where two cores are idle; the ratio of processor seconds, of the
one process to the busier of the two, shows what a busy machine hides: how evenly the work is shared and how much both must do.
The indexes are built from four memory-mapped shards of seeded descriptors in clusters; recall is the share of the 10 exact
neighbours among the 10 that the index finds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.scoring_at_scale import make_benchmark
from rdistill_helpers import (
    RetrievalNet,
    Training,
    build_index,
    distill,
    evaluate,
    extract_to_file,
    open_descriptors,
    recall,
    search,
)
from rdistill_helpers.parallel import barrier, gather, processes, rank, world_size


def clustered(count: int, dim: int, seed: int) -> Tensor:
    """Seeded descriptors [count, dim] around 1,000 centres."""
    centres = torch.randn(1000, dim, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(1000, (count,), generator=generator)
    return F.normalize(centres[which] + 0.7 * torch.randn(count, dim, generator=generator), dim=1)


def works(folder: Path, args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """What is timed; all processes together do each once."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (args.images, 3, 120, 160), generator=generator).to(torch.uint8)
    teacher = F.normalize(torch.randn(args.images, 64, generator=generator), dim=1)
    rows = open_descriptors(folder / "descriptors.npy")
    benchmark, queries = make_benchmark(70, 5000), clustered(70, rows.shape[1], seed=9)
    net, training = RetrievalNet("squeezenet1_1"), Training(steps=args.steps, progress=False)

    def write() -> None:
        extract_to_file(net, images, folder / "images.npy", at_once=64, progress=False)
        barrier()
        if rank() == 0:
            (folder / "images.npy").unlink()
        barrier()

    return {
        "training": lambda: distill(net, images, teacher, regression_weight=0, training=training),
        "extraction": write,
        "exact scores": lambda: evaluate(queries, rows, benchmark),
    }


def timed(folder: Path, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Seconds of each work from when all processes begin until all are done, and processor seconds of the busiest one."""
    seconds = {}
    for name, work in works(folder, args).items():
        for _ in range(2):  # the first time warms up
            barrier()
            start, busy = time.perf_counter(), time.process_time()
            work()
            own = torch.tensor([time.process_time() - busy])
            seconds[name] = (time.perf_counter() - start, float(gather(own[None], world_size()).max()))
    return seconds


def in_processes(count: int, folder: Path, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """`timed` in processes of their own, one thread each."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    settings = ["--images", str(args.images), "--steps", str(args.steps), "--worker", str(folder)]
    command = [sys.executable, *torchrun, "-m", "benchmarks.many_processes", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(done.stdout))


def compare(folder: Path, args: argparse.Namespace) -> dict[str, dict[str, tuple[float, float]]]:
    """{work: {"seconds": (of one process, of two), "processor seconds": ...}}, best of all rounds; leaves descriptors.npy."""
    np.save(folder / "descriptors.npy", clustered(args.rows, args.dim, seed=1).half().numpy())
    rounds = [(in_processes(1, folder, args), in_processes(2, folder, args)) for _ in range(args.rounds)]
    best: dict[str, dict[str, tuple[float, float]]] = {}
    for work in rounds[0][0]:
        for number, kind in enumerate(("seconds", "processor seconds")):
            one, two = (min(times[i][work][number] for times in rounds) for i in range(2))
            best.setdefault(work, {})[kind] = (one, two)
    return best


def indexes(folder: Path) -> None:
    """Builds each index from shards; prints its size and its recall."""
    import faiss

    rows = open_descriptors(folder / "descriptors.npy")
    shards = np.array_split(rows, 4)
    queries = clustered(200, rows.shape[1], seed=10)
    _, exact = search(queries, shards, k=10)
    ways = {
        "ivfpq": lambda: build_index(shards, "ivfpq"),
        "hnsw": lambda: build_index(shards, "hnsw"),
        "one hnsw for each shard": lambda: [build_index(shard, "hnsw") for shard in shards],
    }
    for name, build in ways.items():
        start = time.perf_counter()
        built = build()
        spent = time.perf_counter() - start
        found = search(queries, None, k=10, index=built)[1]
        each = built if isinstance(built, list) else [built]
        size = sum(faiss.serialize_index(index).nbytes for index in each) / len(rows)
        print(f"{name}: recall@10 {recall(found, exact):.3f}, {size:.0f} bytes a descriptor, built in {spent:.0f} s")


def parser() -> argparse.ArgumentParser:
    """The arguments, with the sizes that are usually measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="of the file that is scored and indexed")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)  # a process that is timed
    return parser


def main() -> None:
    """Measures and prints."""
    args = parser().parse_args()
    if args.worker:
        with processes():
            seconds = timed(args.worker, args)
            if rank() == 0:
                print(json.dumps(seconds))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{os.cpu_count()} cores; of one process, of two, and one to two:")
        for work, measured in compare(folder, args).items():
            for kind, (one, two) in measured.items():
                print(f"{work}, {kind}: {one:.2f}, {two:.2f}, {one / two:.2f}")
        indexes(folder)


if __name__ == "__main__":
    main()
