"""How much of the bare network's throughput is left in extract().

    python -m benchmarks.extraction
    python -m benchmarks.extraction --networks squeezenet1_1 --images 8 --batch 4 --rounds 1    # to try it

Bare is the strictest reading: the forward pass alone, in inference mode, on float batches that are ready in memory, in the
memory layout that is faster here. extract() starts from uint8 images: conversion, copies, checks and progress bar are its own.
The best round of each counts, which other work on the machine disturbs least. Exit status 1 when a ratio is below 90 %.
"""

import argparse
import sys
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.network import RetrievalNet

LIMIT = 0.90
BACKBONES = {"squeezenet1_1": 1.0, "tf_efficientnet_lite2": 1.6}  # student and teacher, with their input scales


def bare_forward(net: nn.Module, batches: list[Tensor]) -> None:
    """The forward pass over ready float batches, nothing else."""
    with torch.inference_mode():
        for batch in batches:
            net(batch)


def main() -> None:
    """Prints a table for each network; fails below the limit."""
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
    worst = 1.0
    for backbone in args.networks:
        # The weights do not change the time; random ones need no file.
        net = RetrievalNet(backbone, weights=None, scale=BACKBONES[backbone]).eval()
        plain = [batch / 255 for batch in images.split(args.batch)]
        last = [batch.contiguous(memory_format=torch.channels_last) for batch in plain]
        ways = {
            "bare": partial(bare_forward, net, plain),
            "bare, channels last": partial(bare_forward, net, last),
            "extract": partial(extract, net, images, batch_size=args.batch),
        }
        best = alternate(ways, args.rounds).min()
        table = ratios(best, [best[["bare", "bare, channels last"]].idxmin()])
        table["images a second"] = 1000 * args.images / best
        share = best[["bare", "bare, channels last"]].min() / best["extract"]
        worst = min(worst, share)
        show(
            f"{backbone}, {args.images} images of 160 x 120 in batches of {args.batch}, {args.threads} thread(s)", table
        )
        print(f"throughput left: {100 * share:.1f} % (at least {100 * LIMIT:.0f} %)")
    sys.exit(bool(worst < LIMIT))


if __name__ == "__main__":
    main()
