"""Checks of notebook 1: pooling to a descriptor, a budget of teacher queries, search in blocks, what only the teacher finds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from rdistill_course.checks.hints import Hint, alike, ask, compare, numbers, passed, tensor

Answer = Callable[..., Any]


def gem_per_channel(answer: Answer) -> None:
    """Exercise 1.1: answer(features [B, C, H, W], p [C]) -> descriptors [B, C], GeM with one exponent for each channel."""
    generator = torch.Generator().manual_seed(0)
    # As many columns as channels, so that exponents along the wrong axis give a wrong number and no error.
    features = torch.randn(2, 4, 3, 4, generator=generator) + 0.5
    p = torch.tensor([1.0, 2.0, 3.0, 4.5])
    each = p[:, None, None]
    positive = features.clamp(min=1e-6)
    pooled = positive.pow(each).mean(dim=(2, 3)).pow(1 / p)
    value = tensor(
        ask(answer, features, p),
        (2, 4),
        "the result",
        nan="a negative number to the power 4.5 is nan. Features can be negative: lift them to a small positive number first.",
    )
    mistakes = [
        (
            positive.pow(each).mean(dim=(2, 3)),
            "The root is missing: after the mean, each channel takes its own p-th root.",
        ),
        (
            positive.pow(p).mean(dim=(2, 3)).pow(1 / p),
            "The exponents run along the columns of the map, not along the channels: "
            "give p two axes of size one at its end.",
        ),
        (
            positive.pow(each).sum(dim=(2, 3)).pow(1 / p),
            "This is a sum over the places. GeM takes their mean, or else the size of the map changes the descriptor.",
        ),
        (
            positive.pow(each).mean(dim=(1, 2)).pow(1 / p),
            "The mean runs over the wrong axes: pool over rows and columns of the "
            "map, the last two of [B, C, H, W], and keep the channels.",
        ),
        (
            features.abs().pow(each).mean(dim=(2, 3)).pow(1 / p),
            "The absolute value lets a strong negative number count as a "
            "strong find. A channel that is negative has found nothing: clamp it.",
        ),
        (
            positive.pow(3).mean(dim=(2, 3)).pow(1 / 3),
            "Every channel is pooled with p = 3: use the exponents that are given.",
        ),
        (
            positive.mean(dim=(2, 3)),
            "This is the plain mean of each channel: the power comes before the mean, the root after it.",
        ),
        (positive.amax(dim=(2, 3)), "This is the maximum of each channel: GeM with a finite p lies below it."),
    ]
    if alike(value, pooled):
        raise Hint("The pooled values are right, but a descriptor has length one: divide each row by its length.")
    if alike(value, normalize(pooled, dim=0)):
        raise Hint(
            "Each channel was divided by its length over the batch: the length of a descriptor runs over its channels."
        )
    compare(
        value,
        normalize(pooled, dim=1),
        mistakes + [(normalize(wrong, dim=1), hint) for wrong, hint in mistakes],
        "Not GeM yet. For one channel with exponent p: clamp, power p, mean over all places, root; then the "
        "length of the row.",
    )
    passed("Each channel is pooled with its own exponent, and every descriptor has length one.")


class _Service:
    """A teacher for a check: tells photographs apart by one pixel, and writes down which it was sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    @staticmethod
    def rows(numbers: list[int]) -> Tensor:
        """The answers for these photographs, [n, 3]."""
        return normalize(torch.tensor([[1.0 + n, 2.0, 3.0 - n] for n in numbers]), dim=1)

    @staticmethod
    def photographs(numbers: list[int]) -> Tensor:
        """uint8 [n, 3, 20, 20], a different photograph for each number.

        All have the same sum, and the same text: torch leaves out the middle of a tensor of more than 1,000 numbers.
        """
        noise = torch.randint(0, 256, (1, 3, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        images = noise.repeat(20, 1, 1, 1)
        images[:, 0, 10, 10], images[:, 0, 10, 11] = torch.arange(20), torch.arange(19, -1, -1)
        return images[numbers]

    def __call__(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor) or images.ndim != 4:
            shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise Hint(
                f"The teacher takes photographs [n, 3, H, W], and was sent {shape}: a single one is images[i : i + 1]."
            )
        if len(images) == 0:
            raise Hint("The teacher was sent an empty batch: when nothing is new, do not ask at all.")
        asked = images[:, 0, 10, 10].tolist()
        self.sent += asked
        return self.rows(asked)


def what_fits(answer: Answer) -> None:
    """Exercise 1.2: answer(embed, images, paid, budget) -> (positions [A], answers [A, D]), each photograph paid for once."""
    teacher = _Service()
    paid: dict[Any, Any] = {}

    def query(asked: list[int], budget: int) -> tuple[list[int], Any]:
        try:
            value = ask(answer, teacher, teacher.photographs(asked), paid, budget)
        finally:  # also where the answer stops, for it does not find what it looks for
            if any(isinstance(key, Tensor) for key in paid):
                raise Hint(
                    "The keys of `paid` are tensors, and two tensors of the same numbers are two keys: no photograph is "
                    "found again. Make the key of its bytes, as LedgerByHand does."
                )
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise Hint("Return two things: the positions of the photographs that have an answer, and the answers.")
        return numbers(value[0], "the positions"), value[1]

    def compare_rows(value: Any, expected: list[int]) -> None:
        rows = tensor(value, (None, 3), "the answers")
        right = teacher.rows(expected)
        if len(rows) != len(right):
            raise Hint(
                f"{len(expected)} photographs have an answer, yours are {len(rows)} rows: one row for each position, "
                "also where a photograph stands twice."
            )
        if not alike(rows, right):
            same = alike(rows.sort(dim=0).values, right.sort(dim=0).values)
            raise Hint(
                "The answers are right but in another order: row i belongs to the photograph at positions[i]."
                if same
                else "Some rows are answers for other photographs: look up each photograph by its own key."
            )

    positions, rows = query([5, 3, 5, 7], budget=10)
    if teacher.sent.count(5) > 1:
        raise Hint("A photograph that stands twice in one call was paid for twice: it needs one answer.")
    if sorted(teacher.sent) != [3, 5, 7]:
        same = " Two different photographs have the same key." if len(teacher.sent) < 3 else ""
        raise Hint(f"Of four photographs three are different, and {len(teacher.sent)} were sent to the teacher.{same}")
    if positions != [0, 1, 2, 3]:
        raise Hint(f"All four photographs have an answer, so the positions are 0 to 3; yours are {positions}.")
    compare_rows(rows, [5, 3, 5, 7])
    if not paid:
        raise Hint(
            "The ledger `paid` is still empty after a call: write every answer into it, or the next call pays again."
        )

    before = len(teacher.sent)
    positions, rows = query([7, 1, 5], budget=10)
    if len(teacher.sent) - before > 1:
        raise Hint("Photographs were sent again that an earlier call had paid for: look into `paid` before you ask.")
    if positions != [0, 1, 2]:
        raise Hint(
            f"New or already paid for, each of the three photographs has an answer; your positions are {positions}."
        )
    compare_rows(rows, [7, 1, 5])
    try:
        query([1, 3], budget=4)
    except Hint as hint:
        if hint.__cause__ is None:
            raise
        raise Hint(
            f"{hint}. Here the budget is used up and both photographs are paid for: their answers are free."
        ) from hint

    before = len(teacher.sent)
    asked = [2, 8, 5, 9, 2, 3]  # four are paid for, and two more may be: 2 and 8
    try:
        positions, rows = query(asked, budget=6)
    except Hint as hint:
        if hint.__cause__ is None:
            raise
        raise Hint(f"{hint}. Here three photographs are new and the budget pays for two: answer what fits.") from hint
    new = teacher.sent[before:]
    if len(new) > 2:
        raise Hint(f"Overspent: the budget paid for two more photographs, and {len(new)} were sent.")
    if not new:
        raise Hint("Nothing was sent, though the budget pays for two of the three new photographs: answer what fits.")
    if len(new) < 2:
        raise Hint(
            "Only one photograph was sent, though the budget pays for two more. Does `budget` count what was "
            "paid before?"
        )
    if sorted(new) != [2, 8]:
        raise Hint("The budget goes to the new photographs that come first, and others were sent.")
    if positions == [0, 1, 2]:
        raise Hint(
            "You stop at the first photograph that cannot be paid for. Those behind it may be in the ledger: "
            "they are free."
        )
    if positions == [0, 1]:
        raise Hint("These are the new photographs alone: those that were paid for before have an answer too.")
    if positions != [0, 1, 2, 4, 5]:
        raise Hint(f"All but the photograph at position 3 have an answer, and your positions are {positions}.")
    compare_rows(rows, [2, 8, 5, 2, 3])
    passed("No photograph is paid for twice, the budget is kept and used up, and the answers are in order.")


class _LargestResult(TorchFunctionMode):
    """Remembers how many numbers the largest tensor holds that torch gives back meanwhile."""

    numel = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.numel = max(self.numel, one.numel())
        return result


def search_in_blocks(answer: Answer) -> None:
    """Exercise 1.3: answer(queries, database, k, block) -> (similarities [Q, k], positions [Q, k]), best first."""
    generator = torch.Generator().manual_seed(1)
    queries = normalize(torch.randn(7, 4, generator=generator), dim=1)
    database = normalize(torch.randn(23, 4, generator=generator), dim=1)
    full = queries @ database.T  # [7, 23], not a multiple of the block
    k, block = 3, 5
    right = full.topk(k, dim=1)

    with _LargestResult() as largest:
        value = ask(answer, queries, database, k, block)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Hint("Return two tensors: the similarities and the positions.")
    found, positions = (torch.as_tensor(one) if isinstance(one, list | np.ndarray) else one for one in value)
    if isinstance(found, Tensor) and not found.is_floating_point():
        raise Hint("The first of the two are whole numbers: return similarities first, then positions.")
    blocks = -(-len(database) // block)
    if isinstance(found, Tensor) and found.shape[1:] in ((k * blocks,), (k * (blocks - 1),)):
        raise Hint(f"You return the best {k} of every block: of all these, keep only the best {k}.")
    found, positions = tensor(found, (7, k), "the similarities"), tensor(positions, (7, k), "the positions")

    start_of_last, rest = block * (blocks - 1), len(database) % block
    in_last = right.indices >= start_of_last
    lowest = full.topk(k, dim=1, largest=False)
    last = full[:, block * (blocks - 1) :].topk(k, dim=1)
    without_rest = full[:, : block * (blocks - 1)].topk(k, dim=1)
    first = full[:, :block].topk(k, dim=1)
    compare(
        found,
        right.values,
        [
            (right.values.flip(1), "The best must come first."),
            (lowest.values, "These are the least similar: the largest dot product is the best match."),
            (last.values, "Only the last block is left: carry the best ones so far from block to block."),
            (first.values, "Only the first block counts: after joining blocks, look for the best again."),
            (
                without_rest.values,
                f"The last block is shorter, for {len(database)} is no multiple of {block}; you left it out.",
            ),
        ],
        "The similarities are not those of the best k. Carry the best so far along, join them with each block's, "
        "and cut to k again.",
    )
    compare(
        positions,
        right.indices,
        [
            (
                right.indices % block,
                "The positions count from the start of each block: add the number of rows before the block.",
            ),
            (
                torch.where(in_last, right.indices - start_of_last + (blocks - 1) * rest, right.indices),
                "The positions are right but for those in the last block: it is shorter, and you count the blocks before it "
                "as if they had its length.",
            ),
        ],
        "The similarities are right, the positions are not: keep both in step, for instance by gather with the "
        "same indices.",
    )
    if largest.numel >= full.numel():
        raise Hint(
            f"Right, but somewhere a tensor of {largest.numel} numbers stood, as large as all similarities together: "
            "multiply with one block of the database at a time, and keep no more than the best of each."
        )

    try:
        found = tensor(ask(answer, queries, database, 4, 3)[0], (7, 4), "the similarities")
    except Hint as hint:
        raise Hint(f"Right, until a block is smaller than k: {hint}") from hint
    compare(
        found,
        full.topk(4, dim=1).values,
        [],
        "Right, until a block is smaller than k (k = 4, block = 3): what gets lost?",
    )
    passed("The best k are found block by block, exactly as in one go.")


def only_the_teacher_finds(answer: Answer) -> None:
    """Exercise 1.4: answer(teacher_list, student_list, truth, k) -> photographs that are right, found by the teacher alone."""
    # Chosen so that each of the mistakes below gives another list.
    truth = {"easy": np.array([4, 11, 2, 14]), "hard": np.array([7, 9, 13, 5]), "junk": np.array([1, 6, 12])}
    teacher_list = np.array([9, 17, 12, 2, 4, 7, 13, 10, 16, 6, 11, 0, 14, 8, 15, 5, 1, 3])
    student_list = np.array([1, 0, 4, 16, 5, 10, 7, 15, 9, 14, 3, 8, 11, 2, 12, 13, 17, 6])
    k = 6

    def first(ranking: np.ndarray, ignored: tuple[str, ...] = ("junk",), cut: int | None = k) -> list[int]:
        out = {n for part in ignored for n in truth[part].tolist()}
        return [n for n in ranking.tolist() if n not in out][:cut]

    positives = {*truth["easy"].tolist(), *truth["hard"].tolist()}
    mine, yours = first(teacher_list), first(student_list)

    def alone(one: list[int], other: list[int], wanted: set[int]) -> list[int]:
        return [n for n in one if n in wanted and n not in other]

    value = numbers(ask(answer, teacher_list, student_list, truth, k), "the photographs")
    right = alone(mine, yours, positives)
    all_in = first(teacher_list, ()), first(student_list, ())
    junk_right = positives | set(truth["junk"].tolist())
    everything = set(range(len(teacher_list)))
    only_right = [[n for n in first(ranking, cut=None) if n in positives] for ranking in (teacher_list, student_list)]
    mistakes = [
        (
            alone(mine, yours, everything),
            "Wrong photographs are among them: only those count that the ground truth names easy or hard.",
        ),
        (
            alone(*all_in, everything),
            "Wrong photographs and junk are among them: only those count that the ground truth names easy or hard.",
        ),
        (alone(*all_in, junk_right), "Junk counts as right here. The medium protocol ignores it."),
        (
            alone(*all_in, positives),
            "Junk still takes up places among the first k: it leaves both lists before they are cut.",
        ),
        (alone(mine, all_in[1], positives), "Junk still takes up places in the student's list: it leaves both lists."),
        (alone(all_in[0], yours, positives), "Junk still takes up places in the teacher's list: it leaves both lists."),
        (
            alone(only_right[0][:k], only_right[1][:k], positives),
            "Wrong photographs left the lists before they were cut, so that the first k are all right: only junk leaves them.",
        ),
        (
            alone(mine, yours, set(truth["easy"].tolist())),
            "Hard photographs are missing: under the medium protocol they are right too.",
        ),
        (
            alone(mine, yours, set(truth["hard"].tolist())),
            "Easy photographs are missing: under the medium protocol they are right too.",
        ),
        (alone(yours, mine, positives), "These are found by the student alone: the two lists are exchanged."),
        (
            alone(mine, [], positives),
            "These are all that the teacher finds: leave out those that the student finds as well.",
        ),
        (
            alone(mine, first(student_list, cut=None), positives),
            "Cut the student's list to its first k too: further down, it holds every photograph.",
        ),
        (alone(first(teacher_list, cut=None), yours, positives), "Cut the teacher's list to its first k too."),
    ]
    if value != right:
        for wrong, hint in mistakes:
            if value == wrong:
                raise Hint(hint)
        if sorted(value) == sorted(right):
            raise Hint("The photographs are right, the order is not: as in the teacher's list, the best first.")
        raise Hint(f"The teacher alone finds {len(right)} right photographs here, yours are {value}.")
    passed("Junk left both lists, and what remains is what only the teacher finds.")
