"""What a loss costs: forward and backward of every loss here beside those of pytorch-metric-learning and of a plain loop.

    python benchmarks/losses.py                     # batches of 64, 256 and 1,024 rows of 2,048 dimensions
    python benchmarks/losses.py --sizes 64 256 --rounds 20

Every ratio is of times taken in turns in one run: to the two tables of dot products that no relational loss can do without,
forward and backward; to pytorch-metric-learning's MultiSimilarityLoss on the same rows with labels (it has none of these
losses, so a peer of the same kind stands in: one table of similarities, weighed by exponentials); and to the listwise loss in a
loop over its rows. "joint" adds half as many mixtures as rows and the same loss on the joint space, `interpolate` included.
Memory is the peak that forward and backward add, of a process of its own for each loss. RKD-angle looks at triples: its
batch ends at 512 rows, and there it must stay below 1 GiB. Ends with exit status 1 when it does not.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import MultiSimilarityLoss
from torch import Tensor

from rdistill_helpers.distil import interpolate, losses

DIM = 2048
OURS = {
    "regression": losses.regression,
    "similarity": losses.similarity,
    "rkd_distance": losses.rkd_distance,
    "rkd_angle": losses.rkd_angle,
    "darkrank_hard": losses.darkrank_hard,
    "darkrank_soft": losses.darkrank_soft,
    "similarity_preserving": losses.similarity_preserving,
    "pkt": losses.pkt,
    "listwise": losses.listwise,
}
ANGLE_ROWS = 512  # the largest batch of RKD-angle
ANGLE_GIB = 1.0
Loss = Callable[[Tensor, Tensor], Tensor]


def bare(student: Tensor, teacher: Tensor) -> Tensor:
    """Both tables of dot products, and nothing done with them."""
    return (student @ student.T).sum() + (teacher @ teacher.T).sum()


def multi_similarity(student: Tensor, _: Tensor) -> Tensor:
    """The peer, with four rows a label."""
    return MultiSimilarityLoss()(student, torch.arange(len(student)) // 4)


def listwise_in_a_loop(student: Tensor, teacher: Tensor, temperature: float = 0.04) -> Tensor:
    """The formula row by row."""
    total = student.new_zeros(())
    for i in range(len(student)):
        others = torch.arange(len(student)) != i
        own, target = (F.log_softmax(rows[others] @ rows[i] / temperature, dim=0) for rows in (student, teacher))
        total = total + (target.exp() * (target - own)).sum()
    return total / len(student)


def with_joint_space(loss: Callable[..., Tensor]) -> Loss:
    """The loss on the rows and on their joint space, as `distill` adds them."""

    def both(student: Tensor, teacher: Tensor) -> Tensor:
        space = interpolate(teacher, student, len(student) // 2)
        return loss(student, teacher) + loss(space.student, space.teacher, comparable=space.comparable)

    return both


def rows_of(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random unit rows of student and teacher."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (F.normalize(torch.randn(count, DIM, generator=generator), dim=1) for _ in range(2))
    return student.requires_grad_(), teacher


def seconds(loss: Loss, student: Tensor, teacher: Tensor) -> float:
    """Of one forward and backward."""
    start = time.perf_counter()
    loss(student, teacher).backward()
    student.grad = None
    return time.perf_counter() - start


def added_memory(loss: Loss, count: int) -> float:
    """Peak memory that forward and backward add, in GiB; to be called in a process of its own."""
    torch.set_num_threads(1)
    student, teacher = rows_of(count)
    seconds(bare, student, teacher)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(loss, student, teacher)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def measured_apart(loss: Loss, count: int) -> float:
    """`added_memory` in a fresh process."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=lambda: send.send(added_memory(loss, count)))
    process.start()
    value = receive.recv()
    process.join()
    return value


def table(count: int, rounds: int) -> bool:
    """Print the ratios of one batch size; False when RKD-angle takes too much memory."""
    student, teacher = rows_of(count)
    timed: dict[str, Loss] = {"two tables of dot products": bare, "PML MultiSimilarityLoss": multi_similarity}
    if count <= 256:
        timed["listwise in a loop"] = listwise_in_a_loop
    for name, loss in OURS.items():
        if name == "rkd_angle" and count > ANGLE_ROWS:
            continue
        timed[name] = loss
        if name not in ("regression", "rkd_angle"):
            timed[f"{name}, joint"] = with_joint_space(loss)
    times: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, loss in timed.items():
            if name == "rkd_angle" and number > 2:  # slow enough to need no more
                continue
            taken = seconds(loss, student, teacher)
            if number:  # the first round warms up
                times[name].append(taken)
    middle = {name: statistics.median(values) for name, values in times.items()}
    print(f"\n{count} rows of {DIM} dimensions, {torch.get_num_threads()} threads, median of {rounds} rounds")
    print(f"{'':<30}{'ms':>9}{'to tables':>11}{'to PML':>9}{'to loop':>9}{'MiB':>8}")
    within = True
    for name, value in middle.items():
        gib = measured_apart(timed[name], count)
        to_loop = f"{value / middle['listwise in a loop']:9.3f}" if "listwise in a loop" in middle else f"{'':>9}"
        to_bare, to_peer = value / middle["two tables of dot products"], value / middle["PML MultiSimilarityLoss"]
        print(f"{name:<30}{1000 * value:9.2f}{to_bare:11.2f}{to_peer:9.2f}{to_loop}{1024 * gib:8.0f}", flush=True)
        within &= name != "rkd_angle" or gib <= ANGLE_GIB
    return within


def main() -> None:
    """Print a table for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    within = [table(count, args.rounds) for count in args.sizes]
    gib = measured_apart(losses.rkd_angle, ANGLE_ROWS)
    print(f"\nRKD-angle with {ANGLE_ROWS} rows adds {gib:.2f} GiB (at most {ANGLE_GIB:g})")
    sys.exit(0 if all(within) and gib <= ANGLE_GIB else 1)


if __name__ == "__main__":
    main()
