"""What a distillation step costs beside its network: sampling, data, augmentation and loss against forward + backward.

    python benchmarks/step_overhead.py

The student is SqueezeNet 1.1 with GeM, a step holds 48 images of 160 x 120. Rounds of the bare step (forward, backward and
optimiser on a batch that is ready) and of each added part alternate in one run, so that a busy machine slows all
of them; the share is the sum of the parts' medians over the bare step's median. Without and with 48 mixtures.
Ends with exit status 1 when a share is above 10 %.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from rdistill_helpers.distil import augmented, interpolate, losses, tuple_batches
from rdistill_helpers.embed.networks import RetrievalNet

LIMIT = 0.10
IMAGES, TEACHER_DIM = 300, 1280


def parts_of_a_step(mixtures: int, seed: int = 0) -> tuple[Callable[[], object], dict[str, Callable[[], object]]]:
    """The bare step, and what `distill` adds to it, each as a function without arguments."""
    generator = torch.Generator().manual_seed(seed)
    # The weights do not change the time, random ones spare the benchmark its files.
    student = RetrievalNet("squeezenet1_1", weights=None).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-6)
    images = torch.randint(256, (IMAGES, 3, 120, 160), dtype=torch.uint8, generator=generator)
    teacher_rows = F.normalize(torch.randn(IMAGES, TEACHER_DIM, generator=generator), dim=1)
    batches = tuple_batches(teacher_rows, anchors=8, neighbours=5, steps=10**9, generator=generator)
    index = next(batches)
    pixels = images[index]
    ready = augmented(pixels, generator)
    gradient = torch.randn(len(index), student.dim, generator=generator) / len(index)
    rows = student(ready).detach().requires_grad_()

    def bare() -> None:
        optimizer.zero_grad(set_to_none=True)
        student(ready).backward(gradient)
        optimizer.step()

    def loss() -> None:
        target = teacher_rows[index]
        value = losses.listwise(rows, target)
        if mixtures:
            joint = interpolate(target, rows, mixtures, generator=generator)
            value = value + losses.listwise(joint.student, joint.teacher, comparable=joint.comparable)
        value.backward()
        rows.grad = None

    parts: dict[str, Callable[[], object]] = {
        "sampling": lambda: next(batches),
        "data": lambda: images[index],
        "augmentation": lambda: augmented(pixels, generator),
        "loss": loss,
    }
    return bare, parts


def milliseconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Measure, print one table for each setting, fail above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    failed = False
    for mixtures in (0, 48):
        bare, parts = parts_of_a_step(mixtures)
        times: dict[str, list[float]] = {"bare step": [], **{name: [] for name in parts}}
        for round_ in range(-2, args.rounds):  # two rounds to warm up
            for name, function in {"bare step": bare, **parts}.items():
                spent = milliseconds(function)
                if round_ >= 0:
                    times[name].append(spent)
        medians = {name: statistics.median(spent) for name, spent in times.items()}
        share = sum(medians[name] for name in parts) / medians["bare step"]
        failed |= share > LIMIT
        print(f"48 images, {mixtures} mixtures, {args.threads} thread(s)")
        for name, median in medians.items():
            print(f"  {name:<13}{median:9.2f} ms {100 * median / medians['bare step']:6.1f} %")
        print(f"  added in all{'':13} {100 * share:6.1f} %  (at most {100 * LIMIT:.0f} %)")
    sys.exit(failed)


if __name__ == "__main__":
    main()
