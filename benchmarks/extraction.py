"""How much of the bare network's throughput is left in extract().

    python benchmarks/extraction.py

Bare is the strictest reading: the forward pass alone, in inference mode, on float batches that are ready in memory, in
the memory layout that is faster here. extract() starts from uint8 images: conversion, copies, checks and progress bar are
its own. Rounds of both alternate in one run and each counts with its best one, which a busy machine disturbs least.
Ends with exit status 1 when a ratio is below 90 %.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.network import RetrievalNet

LIMIT = 0.90
BACKBONES = {"squeezenet1_1": 1.0, "tf_efficientnet_lite2": 1.6}  # student and teacher, with their input scales


def bare_forward(net: nn.Module, batches: list[Tensor]) -> None:
    """The forward pass over ready float batches, nothing else."""
    with torch.inference_mode():
        for batch in batches:
            net(batch)


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Measure, print one line for each network, fail below the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (args.images, 3, 120, 160), dtype=torch.uint8, generator=generator)
    print(f"{args.images} images of 160 x 120 in batches of {args.batch}, {args.threads} thread(s), images a second")
    failed = False
    for backbone in args.networks:
        # The weights do not change the time, random ones spare the benchmark its files.
        net = RetrievalNet(backbone, weights=None, scale=BACKBONES[backbone]).eval()
        plain = [batch / 255 for batch in images.split(args.batch)]
        last = [batch.contiguous(memory_format=torch.channels_last) for batch in plain]
        ways: dict[str, Callable[[], object]] = {
            "bare": partial(bare_forward, net, plain),
            "bare, channels last": partial(bare_forward, net, last),
            "extract": partial(extract, net, images, batch_size=args.batch),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(-1, args.rounds):  # one round to warm up
            for name, function in ways.items():
                spent = seconds(function)
                if round_ >= 0:
                    times[name].append(spent)
        speed = {name: args.images / min(spent) for name, spent in times.items()}
        ratio = speed["extract"] / max(speed["bare"], speed["bare, channels last"])
        failed |= ratio < LIMIT
        speeds = ", ".join(f"{name} {value:.1f}" for name, value in speed.items())
        print(f"{backbone}: {speeds}; ratio {100 * ratio:.1f} % (at least {100 * LIMIT:.0f} %)")
    sys.exit(failed)


if __name__ == "__main__":
    main()
