"""Scores with a million distractors: the memory that evaluate() needs, and what ranking costs beside the product.

    python -m benchmarks.scoring_at_scale                                  # RParis6k's images and a million more, 4 GB on disk
    python -m benchmarks.scoring_at_scale --images 50000 --dim 256         # to try it; the limits are for the full size

The file holds seeded random descriptors in float16. The first ones are the benchmark's own, the others distractors;
each query is a mixture of its 300 easy, hard and junk images, from which it takes from much to nothing, so that some of them
stand on top of the list and others among the distractors. Three things are compared over the same file, each by its best round:

- bare: blocks of the same size, read, converted to float32 and multiplied with the queries, and nothing else;
- evaluate: everything that evaluate() does, its checks of each descriptor included;
- full sort: a stable sort of every query's similarities to all descriptors, ready in memory, and the same measures from the
  positions of the wanted images in it. The faster of NumPy's and PyTorch's stable sorts counts.

Memory is the peak of a process of its own that opens the file and calls evaluate() once, imports included. Exit status 1 when
the peak is above 1.5 GiB, evaluate takes more than 1.3 times as long as bare, or what it adds to bare is not at least 3 times
faster than the full sort.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers import Benchmark, evaluate, open_descriptors
from rdistill_helpers.score.ranks import average_precision, remove_ignored
from rdistill_helpers.score.stacked import StackedDescriptors

MOST_GIB, MOST_RATIO, LEAST_SPEEDUP = 1.5, 1.3, 3.0
PARTS = {"easy": 100, "hard": 80, "junk": 120}  # wanted images of a query


def write_descriptors(path: Path, images: int, dim: int) -> None:
    """A file of seeded random descriptors, made piece by piece."""
    generator = torch.Generator().manual_seed(0)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(images, dim))
    for start in range(0, images, 8192):
        piece = torch.randn(min(8192, images - start), dim, generator=generator)
        rows[start : start + len(piece)] = F.normalize(piece, dim=1).half().numpy()
    rows.flush()


def make_benchmark(queries: int, own: int) -> Benchmark:
    """A benchmark without photographs: each query's easy, hard and junk images are drawn from the own ones."""
    rng = np.random.default_rng(0)
    ends = np.cumsum(list(PARTS.values()))
    ground_truth = [
        {"bbx": None, **dict(zip(PARTS, np.split(rng.permutation(own)[: ends[-1]], ends[:-1]), strict=True))}
        for _ in range(queries)
    ]
    names = [[f"{kind}{i}" for i in range(count)] for kind, count in (("q", queries), ("d", own))]
    return Benchmark("made up", *names, ground_truth, read=None)


def make_queries(database: np.ndarray, benchmark: Benchmark) -> Tensor:
    """Mixtures of each query's wanted images, weights from 1 down to 0."""
    mixtures = []
    for gnd in benchmark.ground_truth:
        rows = torch.from_numpy(database[np.concatenate([gnd[part] for part in PARTS])].astype(np.float32))
        mixtures.append(torch.linspace(1, 0, len(rows)) @ rows)
    return F.normalize(torch.stack(mixtures), dim=1)


def peak_gib() -> float:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; what getrusage says there may be the memory of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def bare(rows: np.ndarray, queries: Tensor, block: int) -> None:
    """The blocked product, nothing else."""
    buffer, products = torch.empty(block, rows.shape[1]), torch.empty(len(queries), block)
    for start in range(0, len(rows), block):
        piece = rows[start : start + block]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # it is only read
            buffer[: len(piece)].copy_(torch.from_numpy(piece))
        torch.mm(queries, buffer.T, out=products)


def full_sort(similarities: Tensor, benchmark: Benchmark, sort: Callable[[Tensor], np.ndarray]) -> list[float]:
    """Average precision under the medium protocol of each query, from the whole order of its similarities."""
    scores = []
    places = np.empty(similarities.shape[1], np.int64)
    for line, gnd in zip(similarities, benchmark.ground_truth, strict=True):
        places[sort(line)] = np.arange(len(places))
        positives = np.concatenate([places[gnd["easy"]], places[gnd["hard"]]])
        scores.append(average_precision(remove_ignored(positives, places[gnd["junk"]])))
    return scores


SORTS: dict[str, Callable[[Tensor], np.ndarray]] = {
    "NumPy": lambda line: np.argsort(-line.numpy(), kind="stable"),
    "PyTorch": lambda line: line.sort(descending=True, stable=True).indices.numpy(),
}


def measure(path: Path, benchmark: Benchmark, rounds: int) -> bool:
    """Prints the times and their ratios; whether the results agree and the ratios are within the limits."""
    from benchmarks.rounds import alternate, ratios, show  # pandas, which would count in the peak of the other process

    rows, own = open_descriptors(path), len(benchmark.image_names)
    queries = make_queries(rows, benchmark)
    similarities = torch.empty(len(queries), len(rows))
    for part, product in StackedDescriptors([("rows", rows)]).similarities(queries):
        similarities[:, part] = product
    block = StackedDescriptors([("rows", rows)]).block_length(len(rows))
    scores = {}

    def scored(name: str, way: Callable[[], list[float]]) -> None:
        scores[name] = way()

    ways: dict[str, Callable[[], list[float]]] = {
        "evaluate": lambda: evaluate(queries, rows[:own], benchmark, distractors=rows[own:]).medium.ap.tolist(),
        **{f"full sort, {name}": partial(full_sort, similarities, benchmark, sort) for name, sort in SORTS.items()},
    }
    calls = {"bare": partial(bare, rows, queries, block), **{name: partial(scored, name, ways[name]) for name in ways}}
    best = alternate(calls, rounds, warm_up=0).min()
    show(f"best of {rounds} rounds, {torch.get_num_threads()} thread(s)", ratios(best, ["bare"]))
    equal = all(scores[name] == scores["evaluate"] for name in ways)
    ratio = best["evaluate"] / best["bare"]
    speedup = best[[f"full sort, {name}" for name in SORTS]].min() / max(best["evaluate"] - best["bare"], 1e-6)
    print(f"the same average precisions as the full sort: {equal}")
    print(f"evaluate to bare: {ratio:.2f} (at most {MOST_RATIO})")
    print(f"full sort to what evaluate adds to bare: {speedup:.1f} (at least {LEAST_SPEEDUP})")
    return equal and ratio <= MOST_RATIO and speedup >= LEAST_SPEEDUP


def main() -> None:
    """Makes the file, measures, fails beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_006_323, help="descriptors, the benchmark's own included")
    parser.add_argument("--own", type=int, default=6_322, help="images of the benchmark itself")
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="where the file lies meanwhile; by default a temporary folder")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)  # the process that only measures memory
    args = parser.parse_args()
    if not sum(PARTS.values()) <= args.own < args.images:
        parser.error(f"--own must be from {sum(PARTS.values())} to less than --images")
    torch.set_num_threads(args.threads)
    benchmark = make_benchmark(args.queries, args.own)
    if args.peak_of:
        rows = open_descriptors(args.peak_of)
        queries = make_queries(rows, benchmark)
        evaluate(queries, rows[: args.own], benchmark, distractors=rows[args.own :])
        print(peak_gib())
        return

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "descriptors.npy"
        write_descriptors(path, args.images, args.dim)
        print(
            f"{args.queries} queries, {args.own} images and {args.images - args.own} distractors, {args.dim} dimensions, "
            f"a file of {path.stat().st_size / 2**30:.2f} GiB"
        )
        again = [sys.executable, "-m", "benchmarks.scoring_at_scale", *sys.argv[1:], "--peak-of", str(path)]
        peak = float(subprocess.run(again, check=True, capture_output=True, text=True).stdout)
        print(f"peak memory: {peak:.2f} GiB (at most {MOST_GIB})")
        within = measure(path, benchmark, args.rounds)
    sys.exit(not (within and peak <= MOST_GIB))


if __name__ == "__main__":
    main()
