"""What a distillation step costs beside its network: the whole step, and its parts, against forward, backward and optimiser.

    python -m benchmarks.step_overhead
    python -m benchmarks.step_overhead --quick    # to try it
    python -m benchmarks.step_overhead --device cuda
    python -m benchmarks.step_overhead --compile    # whether torch.compile pays within 100 steps

The student is SqueezeNet 1.1 with GeM, a step holds 48 images of 160 x 120. The bare step is forward, backward and
optimiser on a batch that is ready. Whole steps of `distill` and bare steps of another student take turns; so do the bare
step and each part, whose share is its median over the bare step's median. Without mixtures, and with 48 of descriptors.
Exit status 1 when all parts together are above 10 %, or the joint space alone above 3 %. Mixtures of maps are no such
part: the student describes them, so a figure of their own says what 16 of them add to a step.
"""

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import options, parsed, save, waiting
from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.batches import tuple_batches
from rdistill_helpers.distil.checkpoint import EVERY
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.interpolate import interpolate, mix_maps
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.memory import keep_freed_memory

LIMIT = 0.10
JOINT_LIMIT = 0.03
MIX_AT = 9  # parts of the student before its mixed maps
IMAGES, TEACHER_DIM = 300, 1280


SETTINGS: dict[str, dict[str, Any]] = {
    "the list alone": {"regression_weight": 0},
    "the list with regression": {},
    "with 48 mixtures of descriptors": {"mixtures": Mixtures()},
}


def student_of(device: str) -> RetrievalNet:
    """A student that trains; the weights do not change the time, and random ones need no file."""
    torch.manual_seed(0)
    net = RetrievalNet("squeezenet1_1", weights=None)
    return net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]


def photographs(generator: torch.Generator, height: int) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 3, H, W], and a teacher's descriptors of them."""
    images = torch.randint(256, (IMAGES, 3, height, height * 4 // 3), dtype=torch.uint8, generator=generator)
    return images, F.normalize(torch.randn(IMAGES, TEACHER_DIM, generator=generator), dim=1)


def bare_step(student: nn.Module, ready: Tensor) -> Callable[[], None]:
    """Forward, backward and optimiser on a batch that is ready."""
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-6, fused=True)
    gradient = torch.randn_like(student(ready)) / len(ready)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        student(ready).backward(gradient)
        optimizer.step()

    return step


def parts_of_a_step(mixtures: int, device: str, height: int, seed: int = 0) -> dict[str, Callable[[], object]]:
    """The bare step, and what `distill` adds to it, each as a function without arguments."""
    generator = torch.Generator().manual_seed(seed)
    student = student_of(device)
    images, teacher_rows = photographs(generator, height)
    batches = tuple_batches(teacher_rows, anchors=8, neighbours=5, steps=10**9, generator=generator)
    index = next(batches)
    pixels, teacher_rows = images[index].to(device), teacher_rows.to(device)
    ready = augmented(pixels, generator)
    rows = student(ready).detach().requires_grad_()
    bare = bare_step(student, ready)

    def loss() -> None:
        losses.listwise(rows, teacher_rows[index]).backward()
        rows.grad = None

    def joint_space() -> None:
        joint = interpolate(teacher_rows[index], rows, mixtures, generator=generator)
        losses.listwise(joint.student, joint.teacher, comparable=joint.comparable).backward()
        rows.grad = None

    return {
        "bare step": bare,
        "sampling": lambda: next(batches),
        "data": lambda: images[index].to(device),
        "augmentation": lambda: augmented(pixels, generator),
        "loss": loss,
        **({"joint space": joint_space} if mixtures else {}),
    }


def steps_with_maps(device: str, height: int, mixtures: int = 16, seed: int = 0) -> dict[str, Callable[[], object]]:
    """Forward and backward of a batch, and of the same batch whose maps are mixed and described."""
    generator = torch.Generator().manual_seed(seed)
    student = student_of(device)
    pixels = (
        torch.rand(48, 3, height, height * 4 // 3, generator=generator)
        .to(device)
        .contiguous(memory_format=torch.channels_last)
    )
    pairs, weight = torch.randint(48, (mixtures, 2), generator=generator), torch.rand(mixtures, generator=generator)
    weight = weight.to(device)

    def plain() -> None:
        student(pixels).sum().backward()

    def mixed() -> None:
        maps = student.maps(pixels, MIX_AT)
        both = [maps, mix_maps(maps, pairs, weight)]
        sum(student.describe_maps(some, MIX_AT).sum() for some in both).backward()

    return {"without": plain, f"{mixtures} mixtures": mixed}


def whole_step(rounds: int, device: str, height: int, **settings: Any) -> float:
    """The median step of `distill` over the median bare step; a bare step follows each step of `distill`."""
    generator = torch.Generator().manual_seed(0)
    images, teacher_rows = photographs(generator, height)
    bare, wait = bare_step(student_of(device), augmented(images[:48].to(device), generator)), waiting(device)
    ours, bares, begun = [], [], 0.0

    def turn(_: object) -> None:
        nonlocal begun
        ended = time.perf_counter()
        ours.append(ended - begun)
        bare()
        wait()
        begun = time.perf_counter()
        bares.append(begun - ended)

    training = Training(steps=rounds + 2, device=device, progress=False)
    distill(student_of(device), images, teacher_rows, callback=turn, training=training, **settings)
    return median(ours[2:]) / median(bares[2:])


def checkpoint_share(device: str, milliseconds: float) -> float:
    """What writing a checkpoint costs in each step, over a step of so many milliseconds."""
    student = student_of(device)
    optimizer = torch.optim.AdamW(student.parameters())
    student(torch.rand(2, 3, 120, 160, device=device)).sum().backward()
    optimizer.step()
    weights = [student.state_dict(), copy.deepcopy(student.state_dict()), optimizer.state_dict()]
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            torch.save(weights, Path(folder) / "checkpoint")
            seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds) / EVERY / milliseconds


def compiled(steps: int, device: str, height: int) -> dict[str, object]:
    """What torch.compile makes of the bare step: all steps with compilation, and later steps, over the plain ones."""
    student, wait = student_of(device), waiting(device)
    ready = torch.rand(48, 3, height, height * 4 // 3, device=device).contiguous(memory_format=torch.channels_last)
    ways = {"plain": bare_step(student, ready)}
    milliseconds = alternate(ways, max(3, steps // 4), wait=wait)["plain"].median()
    try:
        start = time.perf_counter()
        # Compiled by the first calls: forward here and in `bare_step`, backward in the first step.
        step = bare_step(torch.compile(student_of(device)), ready)
        step()
        wait()
        first = 1000 * (time.perf_counter() - start)
    except Exception as error:  # no compiler, or one that fails, each in its own way
        return {"reason": f"torch.compile failed here ({type(error).__name__}), as it does without a C++ compiler"}
    later = alternate({"plain": ways["plain"], "compiled": step}, max(1, (steps - 1) // 2), wait=wait).median()
    total = first + (steps - 1) * later["compiled"]
    return {
        "steps": steps,
        "all steps": float(total / (steps * milliseconds)),
        "later steps": float(later["compiled"] / later["plain"]),
        "compilation in plain steps": float(first / milliseconds),
    }


def main(arguments: list[str] | None = None) -> None:
    """Prints and keeps the figures; fails above the limits."""
    parser = options(__doc__, device=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--height", type=int, default=120, help="of the photographs, in pixels")
    parser.add_argument("--compile", action="store_true", help="try torch.compile as well")
    args = parsed(parser, arguments, rounds=2, height=36)
    keep_freed_memory()
    device, wait, failed = args.device, waiting(args.device), False
    parts: dict[str, dict[str, float]] = {}
    for name, mixtures in (("without mixtures", 0), ("48 mixtures", 48)):
        times = alternate(parts_of_a_step(mixtures, device, args.height), args.rounds, warm_up=2, wait=wait).median()
        table = ratios(times, ["bare step"])
        show(f"48 images, {name} of descriptors, {args.threads} thread(s)", table)
        shares = parts[name] = table["to bare step"].drop("bare step").to_dict()
        shares["checkpoint"] = checkpoint_share(device, times["bare step"])
        shares["all parts"] = sum(shares.values())
        failed |= shares["all parts"] > LIMIT or shares.get("joint space", 0.0) > JOINT_LIMIT
        print(f"all parts together: {100 * shares['all parts']:.1f} % of the bare step (at most {100 * LIMIT:.0f} %)")
    whole = {name: whole_step(args.rounds, device, args.height, **settings) for name, settings in SETTINGS.items()}
    print("\nwhole step to bare step: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in whole.items()), flush=True)
    table = ratios(
        alternate(steps_with_maps(device, args.height), args.rounds, warm_up=2, wait=wait).median(), ["without"]
    )
    show(f"48 images, mixtures of maps, forward and backward, {args.threads} thread(s)", table)
    figures = {"whole step": whole, "parts": parts, "mixtures of maps": table["to without"].iloc[-1]}
    if args.compile:
        figures["compile"] = compiled(4 if args.quick else 100, device, args.height)
        print(f"\ntorch.compile: {figures['compile']}")
    save(args, "step_overhead", figures)
    sys.exit(failed and not args.quick)


if __name__ == "__main__":
    main()
