"""What a student costs and keeps outside of PyTorch: exported to ONNX in float32 and in int8, beside PyTorch and the teacher.

    python -m benchmarks.shipping                                       # the student that ships
    python -m benchmarks.shipping --student runs/course/student.safetensors
    python -m benchmarks.shipping --quick                               # to try it

Every way describes the same uint8 photographs of 160 x 120 by extract(), with one thread and with two: teacher and student
in PyTorch and in onnxruntime, the student in int8 too, calibrated on training photographs. "Bare" is the session of
onnxruntime on float batches that are ready, nothing else. The best round of each counts. Memory is the peak that loading the
network and describing the photographs add, in a process of its own for each way. Medium mAP is that of the rooms' test part.
Exit status 1 when extract() is below 0.9 of bare, or float32 descriptors differ from PyTorch's by more than 1e-4.
"""

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.record import options, parsed, save
from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers import Benchmark, OnnxStudent, TrainingImages, evaluate, export, extract, load_network
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.embed.network import RetrievalNet, load_teacher, save_network

SHIPPED = data_root() / "models" / "student_squeezenet_gem.safetensors"
LEAST = 0.90
SAME = 1e-4
THREADS = (1, 2)
CALIBRATION = 300  # photographs
BATCH = 8  # of the bare session, the same as extract() takes
FILES = {
    "teacher, PyTorch": "teacher.safetensors",
    "teacher, onnxruntime": "teacher.onnx",
    "student, PyTorch": "student.safetensors",
    "student, onnxruntime": "student.onnx",
    "student, onnxruntime, int8": "int8.onnx",
}
FIRST, STUDENT, FLOAT, INT8 = (
    "teacher, PyTorch",
    "student, PyTorch",
    "student, onnxruntime",
    "student, onnxruntime, int8",
)


def network(path: Path, threads: int) -> nn.Module:
    """The network of a file."""
    return OnnxStudent(path, threads) if path.suffix == ".onnx" else load_network(path)


def describe(net: nn.Module, images: Tensor, threads: int) -> Tensor:
    """All of extract()."""
    torch.set_num_threads(threads)
    return extract(net, images, progress=False)


def bare(path: Path, images: Tensor, threads: int) -> Callable[[], None]:
    """A session of onnxruntime over batches that are ready."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    batches = [(batch / 255).numpy() for batch in images.split(BATCH)]

    def run() -> None:
        for batch in batches:
            session.run(["descriptors"], {"images": batch})

    return run


def added_memory(path: Path, images: Tensor) -> float:
    """MiB that a network and the description of photographs add, at the peak; to be called in a process of its own."""
    torch.set_num_threads(1)
    images.float().div_(255).sum()  # PyTorch's own first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    extract(network(path, 1), images, progress=False)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def measured_apart(path: Path, images: Tensor) -> float:
    """`added_memory` in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(added_memory, (path, images))


def written(student: RetrievalNet, folder: Path) -> None:
    """All files, each with its network."""
    teacher = load_teacher()
    pixels = TrainingImages.load("rooms").pixels(range(CALIBRATION))
    save_network(teacher, folder / "teacher.safetensors", half=True)
    save_network(student, folder / "student.safetensors", half=True)
    student = load_network(folder / "student.safetensors")  # as all ways have it, in half precision
    export(teacher, folder / "teacher.onnx")
    export(student, folder / "student.onnx")
    export(student, folder / "int8.onnx", int8=pixels, progress=False)


def speeds(folder: Path, images: Tensor, rounds: int) -> dict[str, dict[str, float]]:
    """By number of threads, how many times as fast as the teacher in PyTorch each way is; prints milliseconds too."""
    calls: dict[str, Callable[[], object]] = {}
    for threads in THREADS:
        for name, file in FILES.items():
            calls[f"{name} {threads}"] = partial(describe, network(folder / file, threads), images, threads)
        for name in (FLOAT, INT8):
            calls[f"{name}, bare {threads}"] = bare(folder / FILES[name], images, threads)
    best = alternate(calls, rounds).min() / len(images)
    found = {}
    for threads in THREADS:
        own = best[[name for name in best.index if name.endswith(f" {threads}")]]
        own.index = own.index.str.removesuffix(f" {threads}")
        show(f"milliseconds a photograph, {threads} thread(s), best of {rounds} rounds", ratios(own, [FIRST]))
        found[str(threads)] = (own[FIRST] / own).to_dict()
    return found


def kept(folder: Path, images: Tensor) -> dict[str, dict[str, float]]:
    """Medium mAP of each student, and how far the descriptors of photographs are from those of PyTorch."""
    benchmark, figures = Benchmark.load("rooms"), {}
    expected = extract(load_network(folder / FILES[STUDENT]), images, progress=False)
    for name in (STUDENT, FLOAT, INT8):
        net = network(folder / FILES[name], torch.get_num_threads())
        rows = extract(net, images, progress=False)
        queries, database = (extract(net, part, progress=False) for part in (benchmark.queries(), benchmark.images()))
        figures[name] = {
            "medium": evaluate(queries, database, benchmark).medium.mAP,
            "largest difference": float((rows - expected).abs().max()),
            "least cosine": float((rows * expected).sum(1).min()),
        }
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Prints and keeps size, memory, speed and scores; fails beyond a limit."""
    parser = options(__doc__)
    parser.add_argument(
        "--student", type=Path, default=SHIPPED, help="a .safetensors file; by default the one that ships"
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parsed(parser, arguments, images=16, rounds=1)
    student = load_network(args.student)
    images = torch.randint(256, (args.images, 3, 120, 160), generator=torch.Generator().manual_seed(0)).byte()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(student, folder)
        figures = {
            "student": args.student.stem,
            "photographs": args.images,
            "MB": {name: (folder / file).stat().st_size / 1e6 for name, file in FILES.items()},
            "MiB": {name: measured_apart(folder / file, images) for name, file in FILES.items()},
            "speed": speeds(folder, images, args.rounds),
            "kept": kept(folder, TrainingImages.load("rooms").pixels(range(args.images))),
        }
    save(args, "shipping", figures)
    least = min(own[way] / own[f"{way}, bare"] for own in figures["speed"].values() for way in (FLOAT, INT8))
    difference = figures["kept"][FLOAT]["largest difference"]
    print(f"extract to bare: {least:.2f} (at least {LEAST}); largest difference {difference:.1e} (at most {SAME:g})")
    sys.exit((least < LEAST and not args.quick) or difference > SAME)


if __name__ == "__main__":
    main()
