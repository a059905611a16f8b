"""What a distillation step costs beside its network: sampling, data, augmentation and loss against forward + backward.

    python -m benchmarks.step_overhead
    python -m benchmarks.step_overhead --rounds 1    # to try it

The student is SqueezeNet 1.1 with GeM, a step holds 48 images of 160 x 120. The bare step (forward, backward and optimiser on a
batch that is ready) and each added part alternate; the share is the sum of the parts' medians over the bare step's median.
Without mixtures, and with 48 of descriptors. Exit status 1 when all parts together are above 10 %, or the joint space alone
above 3 %. Mixtures of maps are no such part: the student describes them, so the last table says what 16 of them add to a step.
"""

import argparse
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers.distil import augmented, interpolate, losses, mix_maps, tuple_batches
from rdistill_helpers.embed.network import RetrievalNet

LIMIT = 0.10
JOINT_LIMIT = 0.03
MIX_AT = 9  # parts of the student before its mixed maps
IMAGES, TEACHER_DIM = 300, 1280


def parts_of_a_step(mixtures: int, seed: int = 0) -> dict[str, Callable[[], object]]:
    """The bare step, and what `distill` adds to it, each as a function without arguments."""
    generator = torch.Generator().manual_seed(seed)
    # The weights do not change the time; random ones need no file.
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
        losses.listwise(rows, teacher_rows[index]).backward()
        rows.grad = None

    def joint_space() -> None:
        joint = interpolate(teacher_rows[index], rows, mixtures, generator=generator)
        losses.listwise(joint.student, joint.teacher, comparable=joint.comparable).backward()
        rows.grad = None

    return {
        "bare step": bare,
        "sampling": lambda: next(batches),
        "data": lambda: images[index],
        "augmentation": lambda: augmented(pixels, generator),
        "loss": loss,
        **({"joint space": joint_space} if mixtures else {}),
    }


def steps_with_maps(mixtures: int = 16, seed: int = 0) -> dict[str, Callable[[], object]]:
    """Forward and backward of a batch, and of the same batch whose maps are mixed and described."""
    generator = torch.Generator().manual_seed(seed)
    student = RetrievalNet("squeezenet1_1", weights=None).to(memory_format=torch.channels_last).train()
    pixels = torch.rand(48, 3, 120, 160, generator=generator).contiguous(memory_format=torch.channels_last)
    pairs, weight = torch.randint(48, (mixtures, 2), generator=generator), torch.rand(mixtures, generator=generator)

    def plain() -> None:
        student(pixels).sum().backward()

    def mixed() -> None:
        maps = student.features[:MIX_AT](pixels)
        (
            student.describe_maps(maps, MIX_AT).sum()
            + student.describe_maps(mix_maps(maps, pairs, weight), MIX_AT).sum()
        ).backward()

    return {"without": plain, f"{mixtures} mixtures": mixed}


def main() -> None:
    """Prints one table for each setting; fails above the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    failed = False
    for mixtures in (0, 48):
        table = ratios(alternate(parts_of_a_step(mixtures), args.rounds, warm_up=2).median(), ["bare step"])
        shares = table["to bare step"].drop("bare step")
        failed |= shares.sum() > LIMIT or shares.get("joint space", 0.0) > JOINT_LIMIT
        show(f"48 images, {mixtures} mixtures of descriptors, {args.threads} thread(s)", table)
        print(f"all parts together: {100 * shares.sum():.1f} % of the bare step (at most {100 * LIMIT:.0f} %)")
    table = ratios(alternate(steps_with_maps(), args.rounds, warm_up=2).median(), ["without"])
    show(f"48 images, mixtures of maps, forward and backward, {args.threads} thread(s)", table)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
