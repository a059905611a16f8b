"""Scores with a million distractors: the memory that evaluate() needs, and what ranking costs beside the product.

    python -m benchmarks.scoring_at_scale             # 10^4 to 10^6 descriptors of 512 dimensions, 1 GB on disk
    python -m benchmarks.scoring_at_scale --full      # RParis6k's images and a million more, 2,048 dimensions, 4 GB on disk
    python -m benchmarks.scoring_at_scale --quick     # to try it
    python -m benchmarks.scoring_at_scale --device cuda

The file holds seeded random descriptors in float16. The first ones are the benchmark's own, the others distractors;
each query is a mixture of its 300 easy, hard and junk images, from which it takes from much to nothing, so that some of them
stand on top of the list and others among the distractors. Three things are compared over the same file, each by its best round:

- bare: blocks of the same size, read, converted to float32 and multiplied with the queries, and nothing else;
- evaluate: everything that evaluate() does, its checks of each descriptor included;
- full sort: a stable sort of every query's similarities to all descriptors, ready in memory, and the same measures from the
  positions of the wanted images in it. The faster of NumPy's and PyTorch's stable sorts counts.

- with a GPU also evaluate there: its product on the GPU, its counts on the processor.

Smaller numbers of descriptors are the beginning of the same file. Memory is the peak of a process of its own that opens
the file and calls evaluate() once, imports included. With --full the exit status is 1 when the peak is above 1.5 GiB,
evaluate takes more than 1.3 times as long as bare, or what it adds to bare is not at least 3 times faster than the full
sort.
"""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.record import ROOT, options, parsed, save
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


def measure(rows: np.ndarray, benchmark: Benchmark, rounds: int, device: str) -> dict[str, Any]:
    """Prints and gives the ratios for some descriptors."""
    from benchmarks.rounds import alternate, ratios, show  # pandas, which would count in the peak of the other process

    own = len(benchmark.image_names)
    queries = make_queries(rows, benchmark)
    similarities = torch.empty(len(queries), len(rows))
    stacked = StackedDescriptors([("rows", rows)])
    for part, product in stacked.similarities(queries):
        similarities[:, part] = product
    scores = {}

    def scored(name: str, way: Callable[[], list[float]]) -> None:
        scores[name] = way()

    def evaluated(where: str | None) -> list[float]:
        return evaluate(queries, rows[:own], benchmark, distractors=rows[own:], device=where).medium.ap.tolist()

    ways: dict[str, Callable[[], list[float]]] = {
        "evaluate": partial(evaluated, None),
        **({"evaluate on the GPU": partial(evaluated, device)} if device == "cuda" else {}),
        **{f"full sort, {name}": partial(full_sort, similarities, benchmark, sort) for name, sort in SORTS.items()},
    }
    calls = {
        "bare": partial(bare, rows, queries, stacked.block_length(len(rows))),
        **{name: partial(scored, name, ways[name]) for name in ways},
    }
    best = alternate(calls, rounds, warm_up=0).min()
    show(
        f"{len(rows):,} descriptors, best of {rounds} rounds, {torch.get_num_threads()} thread(s)",
        ratios(best, ["bare"]),
    )
    sort = best[[f"full sort, {name}" for name in SORTS]].min()
    figures = {
        "descriptors": len(rows),
        "evaluate to product": best["evaluate"] / best["bare"],
        "product and sort to evaluate": (best["bare"] + sort) / best["evaluate"],
        "sort to what evaluate adds": sort / max(best["evaluate"] - best["bare"], 1e-6),
        "equal": all(scores[name] == scores["evaluate"] for name in ways if not name.endswith("GPU")),
    }
    if device == "cuda":
        figures["evaluate on the GPU to evaluate"] = best["evaluate on the GPU"] / best["evaluate"]
    return figures


def measured_peak(path: Path, own: int, queries: int, threads: int) -> float:
    """`peak_gib` of a process that scores the whole file once."""
    program = (
        f"from benchmarks.scoring_at_scale import score_once; score_once({str(path)!r}, {own}, {queries}, {threads})"
    )
    return float(
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    )


def score_once(path: str, own: int, queries: int, threads: int) -> None:
    """Scores a file and prints this process's peak memory."""
    torch.set_num_threads(threads)
    rows, benchmark = open_descriptors(path), make_benchmark(queries, own)
    evaluate(make_queries(rows, benchmark), rows[:own], benchmark, distractors=rows[own:])
    print(peak_gib())


def main(arguments: list[str] | None = None) -> None:
    """Makes the file, measures, fails beyond a limit."""
    parser = options(__doc__, device=True)
    parser.add_argument("--full", action="store_true", help="the size that the limits are for")
    parser.add_argument("--sizes", nargs="+", type=int, help="descriptors, the benchmark's own included")
    parser.add_argument("--own", type=int, default=6_322, help="images of the benchmark itself")
    parser.add_argument("--dim", type=int)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the file lies meanwhile; by default a temporary folder")
    args = parsed(parser, arguments, own=500, rounds=1, sizes=[1_000, 4_000], dim=64, queries=10)
    sizes = args.sizes or ([1_006_323] if args.full else [10_000, 100_000, 1_000_000])
    dim = args.dim or (2_048 if args.full else 512)
    if not sum(PARTS.values()) <= args.own < min(sizes):
        parser.error(f"--own must be from {sum(PARTS.values())} to less than each of --sizes")
    benchmark = make_benchmark(args.queries, args.own)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "descriptors.npy"
        write_descriptors(path, max(sizes), dim)
        peak = measured_peak(path, args.own, args.queries, args.threads)
        print(f"{args.queries} queries, {dim} dimensions; peak memory {peak:.2f} GiB for {max(sizes):,} descriptors")
        rows = open_descriptors(path)
        figures = [measure(rows[:size], benchmark, args.rounds, args.device) for size in sizes]
    name = "scoring_full" if args.full else "scoring"
    save(args, name, {"queries": args.queries, "dimensions": dim, "peak GiB": peak, "sizes": figures})
    within = all(
        line["equal"]
        and line["evaluate to product"] <= MOST_RATIO
        and line["sort to what evaluate adds"] >= LEAST_SPEEDUP
        for line in figures
    )
    sys.exit(args.full and not (within and peak <= MOST_GIB))


if __name__ == "__main__":
    main()
