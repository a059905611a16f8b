"""What a loss costs: forward and backward of every loss here beside those of pytorch-metric-learning and of a plain loop.

    python -m benchmarks.losses                     # batches of 64, 256 and 1,024 descriptors of 2,048 dimensions
    python -m benchmarks.losses --quick             # to try it

Every ratio is of medians of alternating rounds: to the two tables of dot products that no relational loss can do without,
forward and backward; to pytorch-metric-learning's MultiSimilarityLoss on the same descriptors with labels (it has none of these
losses, so a peer of the same kind stands in: one table of similarities, weighed by exponentials); and to the listwise loss in a
loop over its rows. "joint" adds half as many mixtures as descriptors and the same loss on the joint space, `interpolate`
included. Memory is the peak that forward and backward add, in a process of its own for each loss. RKD-angle compares triples:
its largest batch has 512 descriptors, and there it must stay below 1 GiB. Exit status 1 when it does not.
"""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import MultiSimilarityLoss
from torch import Tensor

from benchmarks.record import options, parsed, save
from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.interpolate import interpolate

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
ANGLE_BATCH = 512  # the largest batch of RKD-angle
ANGLE_GIB = 1.0
Loss = Callable[[Tensor, Tensor], Tensor]


def bare(student: Tensor, teacher: Tensor) -> Tensor:
    """Both tables of dot products, and nothing done with them."""
    return (student @ student.T).sum() + (teacher @ teacher.T).sum()


def multi_similarity(student: Tensor, _: Tensor) -> Tensor:
    """The peer, with four descriptors a label."""
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
    """The loss on the descriptors and on their joint space, as `distill` adds them."""

    def both(student: Tensor, teacher: Tensor) -> Tensor:
        space = interpolate(teacher, student, len(student) // 2)
        return loss(student, teacher) + loss(space.student, space.teacher, comparable=space.comparable)

    return both


def descriptors(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random descriptors of student and teacher."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (F.normalize(torch.randn(count, DIM, generator=generator), dim=1) for _ in range(2))
    return student.requires_grad_(), teacher


def forward_and_backward(loss: Loss, student: Tensor, teacher: Tensor) -> None:
    """One of each."""
    loss(student, teacher).backward()
    student.grad = None


def added_memory(loss: Loss, count: int) -> float:
    """Peak memory that forward and backward add, in GiB; to be called in a process of its own."""
    torch.set_num_threads(1)
    student, teacher = descriptors(count)
    forward_and_backward(bare, student, teacher)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forward_and_backward(loss, student, teacher)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def measured_apart(loss: Loss, count: int) -> float:
    """`added_memory` in a fresh process."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=lambda: send.send(added_memory(loss, count)))
    process.start()
    value = receive.recv()
    process.join()
    return value


def measure(count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Prints and gives the ratios and the memory of one batch size."""
    student, teacher = descriptors(count)
    timed: dict[str, Loss] = {"dot products": bare, "PML": multi_similarity}
    if count <= 256:
        timed["loop"] = listwise_in_a_loop
    peers = list(timed)
    for name, loss in OURS.items():
        if name == "rkd_angle" and count > ANGLE_BATCH:
            continue
        timed[name] = loss
        if name not in ("regression", "rkd_angle"):
            timed[f"{name}, joint"] = with_joint_space(loss)
    calls = {name: partial(forward_and_backward, loss, student, teacher) for name, loss in timed.items()}
    table = ratios(alternate(calls, rounds).median(), peers)
    table["MiB"] = [1024 * measured_apart(loss, count) for loss in timed.values()]
    threads = torch.get_num_threads()
    show(f"{count} descriptors of {DIM} dimensions, {threads} thread(s), median of {rounds} rounds", table)
    return table.drop(columns="ms").T.to_dict()


def main(arguments: list[str] | None = None) -> None:
    """Prints a table for each batch size; fails when RKD-angle takes too much memory."""
    parser = options(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=10)
    args = parsed(parser, arguments, sizes=[16], rounds=1)
    sizes = {count: measure(count, args.rounds) for count in args.sizes}
    gib = measured_apart(losses.rkd_angle, ANGLE_BATCH)
    print(f"\nRKD-angle with {ANGLE_BATCH} descriptors adds {gib:.2f} GiB (at most {ANGLE_GIB:g})")
    save(args, "losses", {"dimensions": DIM, "sizes": sizes, "rkd_angle GiB": gib, "rkd_angle batch": ANGLE_BATCH})
    sys.exit(gib > ANGLE_GIB)


if __name__ == "__main__":
    main()
