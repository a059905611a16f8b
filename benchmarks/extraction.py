"""How near extract() comes to what the processor can compute, beside other ways to describe the same photographs.

    python -m benchmarks.extraction
    python -m benchmarks.extraction --quick    # to try it
    python -m benchmarks.extraction --device cuda

The limit is what remains when only arithmetic takes time: the multiply-adds of the network at its scale, as fast as a
product of two large float32 matrices does them (on a GPU with TensorFloat-32, which convolutions use there). Every way
starts from uint8 photographs of 160 x 120, but bare, onnxruntime and plain PyTorch find float batches ready in memory:

- extract: everything that extract() does; batches of 32 are offered on a processor, of 256 on a GPU;
- bare: the forward pass alone, of the folded network, with freed memory kept and the better of several batches and layouts;
- onnxruntime: the network exported to ONNX, on float batches of 8, where onnxruntime is installed;
- plain PyTorch: float batches of 32 through the network as it is, in a process that has not been told to keep freed memory;
- one at a time: the loop that the field's published extraction scripts describe: a loader gives one photograph, the network
  gives its descriptor without a gradient, which is copied into a column of a matrix; in such a process too.

The best round of each counts, which other work on the machine disturbs least. Exit status 1 when extract() is below 0.9
of bare.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.record import options, parsed, save, waiting
from benchmarks.rounds import Functions, alternate, elsewhere
from rdistill_course.cost import multiply_adds
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.folding import folded
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.errors import BadInput
from rdistill_helpers.ship.onnx_student import OnnxStudent
from rdistill_helpers.ship.to_onnx import export

LEAST = 0.90
NETWORKS = {
    "student": ("squeezenet1_1", 1.0),
    "student at scale 1.6": ("squeezenet1_1", 1.6),
    "teacher": ("tf_efficientnet_lite2", 1.6),
}
SIZE = (120, 160)
ONNX_BATCH = 8
PRODUCT = {"cpu": 1024, "cuda": 8192}  # sides of the matrices whose product is the limit


def network(name: str) -> RetrievalNet:
    """A network in eval mode; the weights do not change the time, and random ones need no file."""
    torch.manual_seed(0)
    backbone, scale = NETWORKS[name]
    return RetrievalNet(backbone, weights=None, scale=scale).eval()


def photographs(count: int) -> Tensor:
    """uint8 [count, 3, H, W]."""
    return torch.randint(256, (count, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def forward(net: nn.Module, batches: list[Tensor]) -> None:
    """The forward pass over ready float batches, nothing else."""
    with torch.inference_mode():
        for batch in batches:
            net(batch)


def one_at_a_time(net: RetrievalNet, images: Tensor) -> Tensor:
    """Descriptors [D, N] by a loader of single photographs."""
    loader = torch.utils.data.DataLoader([image.float() / 255 for image in images], batch_size=1)
    described = torch.zeros(net.dim, len(images))
    with torch.no_grad():
        for i, image in enumerate(loader):
            described[:, i] = net(image).cpu().data.squeeze()
    return described


def without_kept_memory(name: str, count: int, threads: int) -> Functions:
    """What runs in a process that leaves glibc as it is."""
    torch.set_num_threads(threads)
    net, images = network(name), photographs(count)
    return {
        "plain PyTorch": partial(forward, net, [batch / 255 for batch in images.split(32)]),
        "one at a time": partial(one_at_a_time, net, images),
    }


def bare_ways(net: nn.Module, images: Tensor, device: str) -> dict[str, Callable[[], object]]:
    """Forward passes of the folded network over batches of several sizes and layouts."""
    net = folded(net).to(device)
    ready = (images.to(device) / 255).contiguous(memory_format=torch.channels_last)
    sizes = (8, 32) if device == "cpu" else (64, 256)
    ways: dict[str, Callable[[], object]] = {
        f"bare, {size}": partial(forward, net, list(ready.split(size))) for size in sizes
    }
    return {**ways, f"bare, {sizes[1]}, planes": partial(forward, net, list(ready.contiguous().split(sizes[1])))}


def by_onnxruntime(net: RetrievalNet, images: Tensor, threads: int, folder: Path) -> Callable[[], object] | str:
    """The network in onnxruntime, or why it is left out."""
    try:
        describing = OnnxStudent(export(net, folder / "network.onnx"), threads)
    except BadInput as error:
        return str(error).rstrip(".")
    return partial(forward, describing, [batch / 255 for batch in images.split(ONNX_BATCH)])


def measure(name: str, count: int, rounds: int, threads: int, device: str) -> dict[str, object]:
    """Shares of the limit for one network, and what was left out."""
    net, images = network(name), photographs(count)
    side = PRODUCT[device]
    matrix = torch.randn(side, side, device=device)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    ways = {
        "limit": lambda: matrix @ matrix,
        **bare_ways(net, images, device),
        "extract": partial(
            extract, net, images, batch_size=32 if device == "cpu" else 256, progress=False, device=device
        ),
    }
    figures: dict[str, object] = {"multiply-adds": multiply_adds(network(name), SIZE)}
    with tempfile.TemporaryDirectory() as folder:
        if device == "cuda":
            best = alternate(ways, rounds, wait=waiting(device)).min()
        else:
            peer = by_onnxruntime(net, images, threads, Path(folder))
            if isinstance(peer, str):
                figures["onnxruntime"] = peer
            else:
                ways["onnxruntime"] = peer
            with elsewhere(without_kept_memory, name, count, threads) as others:
                best = alternate({**ways, **others}, rounds).min()
    bare = [way for way in best.index if way.startswith("bare")]
    figures["best of bare"] = best[bare].idxmin().removeprefix("bare, ")
    best["bare"] = best[bare].min()
    best = best.drop(bare)
    limit = best.pop("limit") / side**3 * multiply_adds(network(name), SIZE) * count
    figures["share of the limit"] = {way: float(limit / best[way]) for way in best.sort_values().index}
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Prints and keeps the shares for each network; fails below the limit."""
    parser = options(__doc__, device=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help="by default 128, on a GPU 2,048")
    args = parsed(parser, arguments, rounds=1, images=16, networks=["student"])
    count = args.images or (128 if args.device == "cpu" else 2048)
    networks, least = {}, 1.0
    for name in args.networks:
        networks[name] = figures = measure(name, count, args.rounds, args.threads, args.device)
        shares = figures["share of the limit"]
        print(
            f"{name}, shares of the limit: " + ", ".join(f"{way} {share:.2f}" for way, share in shares.items()),
            flush=True,
        )
        least = min(least, shares["extract"] / shares["bare"])
    save(args, "extraction", {"networks": networks})
    print(f"extract to bare: {least:.2f} (at least {LEAST})")
    sys.exit(least < LEAST and not args.quick)


if __name__ == "__main__":
    main()
