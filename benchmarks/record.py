"""What the benchmarks of docs/performance.md share: options, the machine in words, and the files of their figures."""

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rdistill_course.cost import processor

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
QUICK = ROOT / "build" / "quick"  # where figures go that only show that a benchmark runs


def options(description: str | None, device: bool = False) -> argparse.ArgumentParser:
    """A parser with the options that all of these benchmarks have.

    Args:
        description: The docstring of the benchmark.
        device: Whether it can also run on a GPU.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, to try it: the figures go to build/quick")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, help="folder of the figures, by default benchmarks/results")
    if device:
        parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser


def parsed(parser: argparse.ArgumentParser, arguments: list[str] | None = None, **quick: Any) -> argparse.Namespace:
    """Reads the options and sets the number of threads.

    Args:
        parser: What `options` gave, with the benchmark's own options.
        arguments: In place of the command line.
        **quick: Values of options with --quick.

    Returns:
        The values.
    """
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**quick)
    args = parser.parse_args(arguments)
    args.results = args.results or (QUICK if args.quick else RESULTS)
    torch.set_num_threads(args.threads)
    if getattr(args, "device", "cpu") == "cuda" and not torch.cuda.is_available():
        parser.exit(0, "skipped: there is no GPU that PyTorch can use.\n")
    return args


def waiting(device: str) -> Callable[[], None]:
    """What waits until a device has finished.

    Args:
        device: "cpu" or "cuda".

    Returns:
        The function, to be called before the clock is read.
    """
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def machine(threads: int, device: str = "cpu") -> str:
    """What a benchmark ran on, in words: no date, so that equal figures make equal pages.

    Args:
        threads: Threads of PyTorch.
        device: "cpu" or "cuda".

    Returns:
        Processor, its features for products, threads, versions; and the GPU.
    """
    gpu = f"; {torch.cuda.get_device_name()}" if device == "cuda" else ""
    version, library = torch.__version__.split("+")[0], platform.libc_ver()[0] or platform.system()
    return f"{processor()}, {threads} of {os.cpu_count()} cores{gpu}; PyTorch {version}, {library}"


def save(args: argparse.Namespace, name: str, figures: dict[str, Any]) -> None:
    """Writes the figures of one benchmark.

    Args:
        args: What `parsed` gave.
        name: Of the benchmark.
        figures: Plain numbers and texts; ratios are rounded to three digits.
    """
    device = getattr(args, "device", "cpu")
    path = args.results / (f"{name}.json" if device == "cpu" else f"{name}_{device}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(args.threads, device), **rounded(figures)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Numbers with three digits that count, inside of dictionaries and lists too.

    Args:
        value: Plain numbers, texts, dictionaries and lists.

    Returns:
        The same with rounded floats.
    """
    if isinstance(value, dict):
        return {str(key): rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{float(value):.3g}") if isinstance(value, float) else value
