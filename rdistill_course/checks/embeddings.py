"""Checks of notebook 1: pooling to a descriptor, a budget of teacher queries, search in blocks, what only the teacher finds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from rdistill_course.checks.hints import Hint, alike, ask, numbers, passed, tensor
from rdistill_course.checks.runner import Answer, examine, judge, parts, rephrased, tell
from rdistill_course.checks.steps import exercise


@exercise(
    "1.1",
    "Start from the GeM of section 1, which has one exponent for all channels. Which line has to know that there "
    "are C of them?",
    "Features are [B, C, H, W]. An exponent of shape [C, 1, 1] goes with the channels; the root comes after the "
    "mean, where the shape is [B, C].",
    "Clamp to a small positive number, raise channel c to the power p[c], take the mean over all places, take the"
    " p[c]-th root, and divide each row by its length.",
)
def gem_per_channel(answer: Answer) -> None:
    """Exercise 1.1: GeM with one exponent for each channel.

    Args:
        answer: (features [B, C, H, W], p [C]) -> descriptors [B, C] of length 1.

    Raises:
        Hint: the answer is not right.
    """
    # As many columns as channels, so that exponents along the wrong axis give a wrong number and no error.
    features = torch.randn(2, 4, 3, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    p = torch.tensor([1.0, 2.0, 3.0, 4.5])
    positive, each = features.clamp(min=1e-6), p[:, None, None]

    def gem(
        x: Tensor = positive, power: Any = each, pool: Any = torch.mean, dim: Any = (2, 3), root: Any = 1 / p
    ) -> Tensor:
        return pool(x.pow(power), dim=dim).pow(root)

    mistakes = {
        "The root is missing: after the mean, each channel takes its own p-th root.": gem(root=1),
        "The exponents run along the columns of the map, not along the channels: give p two axes of size one at its "
        "end.": gem(power=p),
        "This is a sum over the places. GeM takes their mean, or else the size of the map changes the "
        "descriptor.": gem(pool=torch.sum),
        "The mean runs over the wrong axes: pool over rows and columns of the map, the last two of [B, C, H, W], and keep "
        "the channels.": gem(dim=(1, 2)),
        "The absolute value lets a strong negative number count as a strong find. A channel that is negative has found "
        "nothing: clamp it.": gem(features.abs()),
        "Every channel is pooled with p = 3: use the exponents that are given.": gem(power=3, root=1 / 3),
        "This is the plain mean of each channel: the power comes before the mean, the root after it.": gem(power=1, root=1),
        "This is the maximum of each channel: GeM with a finite p lies below it.": positive.amax(dim=(2, 3)),
    }  # fmt: skip
    nan = "a negative number to the power 4.5 is nan. Features can be negative: lift them to a small positive number first."
    right = normalize(gem(), dim=1)
    examine(answer, (features, p), lambda value: tensor(value, (2, 4), "the result", nan), right, {
        "The pooled values are right, but a descriptor has length one: divide each row by its length.": gem(),
        "Each channel was divided by its length over the batch: the length of a descriptor runs over its "
        "channels.": normalize(gem(), dim=0),
        **{hint: (wrong, normalize(wrong, dim=1)) for hint, wrong in mistakes.items()},
    }, "Not GeM yet. For one channel with exponent p: clamp, power p, mean over all places, root; then the length of the "
       "row.")  # fmt: skip
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


@exercise(
    "1.2",
    "Make a key of each photograph first: something that is equal for equal pixels, such as their bytes.",
    "Walk through the photographs in order and collect those that are new, each once, for as long as answers in "
    "the ledger and new ones together stay within the budget.",
    "Send the collected photographs in one call, write their answers into `paid`, and then answer every position "
    "whose key is in `paid`. Ask nothing where nothing is new.",
)
def what_fits(answer: Answer) -> None:
    """Exercise 1.2: a ledger that pays for each photograph once and keeps the budget.

    Args:
        answer: (embed, images, paid, budget) -> (positions [A], answers [A, D]) of the photographs that have an answer.

    Raises:
        Hint: the answer is not right.
    """
    teacher, paid = _Service(), dict[Any, Any]()

    def query(asked: list[int], budget: int) -> tuple[list[int], Any]:
        try:
            value = ask(answer, teacher, teacher.photographs(asked), paid, budget)
        finally:  # also where the answer stops, for it does not find what it looks for
            tell({
                "The keys of `paid` are tensors, and two tensors of the same numbers are two keys: no photograph is found "
                "again. Make the key of its bytes, as LedgerByHand does.": any(isinstance(key, Tensor) for key in paid),
            })  # fmt: skip
        both = "Return two things: the positions of the photographs that have an answer, and the answers."
        positions, rows = parts(value, 2, both)
        return numbers(positions, "the positions"), rows

    def compare_rows(value: Any, expected: list[int]) -> None:
        rows, right = tensor(value, (None, 3), "the answers"), teacher.rows(expected)
        judge(rows, right, {
            f"{len(expected)} photographs have an answer, yours are {len(rows)} rows: one row for each position, also where "
            "a photograph stands twice.": len(rows) != len(right),
            "The answers are right but in another order: row i belongs to the photograph at "
            "positions[i].": lambda rows: alike(rows.sort(dim=0).values, right.sort(dim=0).values),
        }, "Some rows are answers for other photographs: look up each photograph by its own key.")  # fmt: skip

    positions, rows = query([5, 3, 5, 7], budget=10)
    same = " Two different photographs have the same key." if len(teacher.sent) < 3 else ""
    tell({
        "A photograph that stands twice in one call was paid for twice: it needs one answer.": teacher.sent.count(5) > 1,
        f"Of four photographs three are different, and {len(teacher.sent)} were sent to the "
        f"teacher.{same}": sorted(teacher.sent) != [3, 5, 7],
        f"All four photographs have an answer, so the positions are 0 to 3; yours are {positions}.": positions != [0, 1, 2, 3],
    })  # fmt: skip
    compare_rows(rows, [5, 3, 5, 7])
    unpaid = "The ledger `paid` is still empty after a call: write every answer into it, or the next call pays again."
    tell({unpaid: not paid})

    positions, rows = query([7, 1, 5], budget=10)
    tell({
        "Photographs were sent again that an earlier call had paid for: look into `paid` before you "
        "ask.": len(teacher.sent) > 4,
        "New or already paid for, each of the three photographs has an answer; your positions are "
        f"{positions}.": positions != [0, 1, 2],
    })  # fmt: skip
    compare_rows(rows, [7, 1, 5])
    free = "{hint}. Here the budget is used up and both photographs are paid for: their answers are free."
    with rephrased(free, Exception):
        query([1, 3], budget=4)

    before = len(teacher.sent)
    fits = "{hint}. Here three photographs are new and the budget pays for two: answer what fits."
    with rephrased(fits, Exception):
        positions, rows = query([2, 8, 5, 9, 2, 3], budget=6)  # four are paid for, and two more may be: 2 and 8
    new = teacher.sent[before:]
    tell({
        f"Overspent: the budget paid for two more photographs, and {len(new)} were sent.": len(new) > 2,
        "Nothing was sent, though the budget pays for two of the three new photographs: answer what fits.": not new,
        "Only one photograph was sent, though the budget pays for two more. Does `budget` count what was paid "
        "before?": len(new) < 2,
        "The budget goes to the new photographs that come first, and others were sent.": sorted(new) != [2, 8],
    })  # fmt: skip
    judge(positions, [0, 1, 2, 4, 5], {
        "You stop at the first photograph that cannot be paid for. Those behind it may be in the ledger: they are "
        "free.": [0, 1, 2],
        "These are the new photographs alone: those that were paid for before have an answer too.": [0, 1],
    }, f"All but the photograph at position 3 have an answer, and your positions are {positions}.")  # fmt: skip
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


@exercise(
    "1.3",
    "What must you remember of the blocks that you have left behind? The best k so far, and where they stand.",
    "Positions inside a block count from its start: add the start. Join the best so far with the block along dim "
    "1 and take topk again; `gather` keeps positions in step.",
    "Begin with two empty tensors [Q, 0]. For each block: join its similarities and positions to the kept ones, "
    "take the topk of min(k, number of columns), and keep these.",
)
def search_in_blocks(answer: Answer) -> None:
    """Exercise 1.3: the best k of a database that is multiplied block by block.

    Args:
        answer: (queries [Q, D], database [N, D], k, block) -> (similarities [Q, k], positions [Q, k]), best first.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(1)
    queries = normalize(torch.randn(7, 4, generator=generator), dim=1)
    database = normalize(torch.randn(23, 4, generator=generator), dim=1)
    full = queries @ database.T  # [7, 23], not a multiple of the block
    k, block, blocks, rest = 3, 5, 5, 3
    start = block * (blocks - 1)  # of the last block
    right = full.topk(k, dim=1)

    with _LargestResult() as largest:
        value = parts(
            ask(answer, queries, database, k, block), 2, "Return two tensors: the similarities and the positions."
        )
    found, positions = (torch.as_tensor(one) if isinstance(one, list | np.ndarray) else one for one in value)
    if isinstance(found, Tensor):
        tell({
            "The first of the two are whole numbers: return similarities first, then positions.": not found.is_floating_point(),
            f"You return the best {k} of every block: of all these, keep only the best "
            f"{k}.": found.shape[1:] in ((k * blocks,), (k * (blocks - 1),)),
        })  # fmt: skip
    found, positions = tensor(found, (7, k), "the similarities"), tensor(positions, (7, k), "the positions")
    judge(found, right.values, {
        "The best must come first.": right.values.flip(1),
        "These are the least similar: the largest dot product is the best match.": full.topk(k, largest=False).values,
        "Only the last block is left: carry the best ones so far from block to block.": full[:, start:].topk(k).values,
        "Only the first block counts: after joining blocks, look for the best again.": full[:, :block].topk(k).values,
        f"The last block is shorter, for {len(database)} is no multiple of {block}; you left it "
        "out.": full[:, :start].topk(k).values,
    }, "The similarities are not those of the best k. Carry the best so far along, join them with each block's, and cut to k "
       "again.")  # fmt: skip
    at = right.indices
    judge(positions, at, {
        "The positions count from the start of each block: add the number of rows before the block.": at % block,
        "The positions are right but for those in the last block: it is shorter, and you count the blocks before it as if "
        "they had its length.": torch.where(at >= start, at - start + (blocks - 1) * rest, at),
    }, "The similarities are right, the positions are not: keep both in step, for instance by gather with the same "
       "indices.")  # fmt: skip
    tell({
        f"Right, but somewhere a tensor of {largest.numel} numbers stood, as large as all similarities together: multiply "
        "with one block of the database at a time, and keep no more than the best of each.": largest.numel >= full.numel(),
    })  # fmt: skip
    examine(
        answer, (queries, database, 4, 3), lambda value: tensor(value[0], (7, 4), "the similarities"),
        full.topk(4, dim=1).values, {}, "Right, until a block is smaller than k (k = 4, block = 3): what gets lost?",
        around=rephrased("Right, until a block is smaller than k: {hint}"),
    )  # fmt: skip
    passed("The best k are found block by block, exactly as in one go.")


@exercise(
    "1.4",
    "Three sets decide: what is right under the medium protocol, what is junk, and what the student has among its"
    " first k.",
    "Junk leaves a list before the list is cut to k; a junk photograph must not take a place.",
    "Take junk out of both lists, cut both to k, and walk along the teacher's list: keep what is easy or hard and"
    " is not in the student's cut list.",
)
def only_the_teacher_finds(answer: Answer) -> None:
    """Exercise 1.4: the right photographs that the teacher alone finds among its first k.

    Args:
        answer: (teacher_list [N], student_list [N], truth, k) -> photographs, in the order of the teacher's list.

    Raises:
        Hint: the answer is not right.
    """
    # Chosen so that each of the mistakes below gives another list.
    truth = {"easy": np.array([4, 11, 2, 14]), "hard": np.array([7, 9, 13, 5]), "junk": np.array([1, 6, 12])}
    lists = (
        np.array([9, 17, 12, 2, 4, 7, 13, 10, 16, 6, 11, 0, 14, 8, 15, 5, 1, 3]),
        np.array([1, 0, 4, 16, 5, 10, 7, 15, 9, 14, 3, 8, 11, 2, 12, 13, 17, 6]),
    )
    k = 6
    easy, hard, junk = ({*truth[part].tolist()} for part in ("easy", "hard", "junk"))
    positives, everything = easy | hard, set(range(len(lists[0])))
    (mine, yours), (mine_with_junk, yours_with_junk) = (
        [[n for n in ranking.tolist() if n not in out][:k] for ranking in lists] for out in (junk, set())
    )
    (mine_whole, yours_whole), (mine_right, yours_right) = (
        [[n for n in ranking.tolist() if n in kept] for ranking in lists] for kept in (everything - junk, positives)
    )

    def alone(one: list[int] = mine, other: list[int] = yours, wanted: set[int] = positives) -> list[int]:
        return [n for n in one if n in wanted and n not in other]

    right, among = alone(), "are among them: only those count that the ground truth names easy or hard."
    given = numbers(ask(answer, *lists, truth, k), "the photographs")
    judge(given, right, {
        f"Wrong photographs {among}": alone(wanted=everything),
        f"Wrong photographs and junk {among}": alone(mine_with_junk, yours_with_junk, everything),
        "Junk counts as right here. The medium protocol ignores "
        "it.": alone(mine_with_junk, yours_with_junk, positives | junk),
        "Junk still takes up places among the first k: it leaves both lists before they are "
        "cut.": alone(mine_with_junk, yours_with_junk),
        "Junk still takes up places in the student's list: it leaves both lists.": alone(mine, yours_with_junk),
        "Junk still takes up places in the teacher's list: it leaves both lists.": alone(mine_with_junk),
        "Wrong photographs left the lists before they were cut, so that the first k are all right: only junk leaves "
        "them.": alone(mine_right[:k], yours_right[:k]),
        "Hard photographs are missing: under the medium protocol they are right too.": alone(wanted=easy),
        "Easy photographs are missing: under the medium protocol they are right too.": alone(wanted=hard),
        "These are found by the student alone: the two lists are exchanged.": alone(yours, mine),
        "These are all that the teacher finds: leave out those that the student finds as well.": alone(mine, []),
        "Cut the student's list to its first k too: further down, it holds every photograph.": alone(mine, yours_whole),
        "Cut the teacher's list to its first k too.": alone(mine_whole),
        "The photographs are right, the order is not: as in the teacher's list, the best "
        "first.": sorted(given) == sorted(right),
    }, f"The teacher alone finds {len(right)} right photographs here, yours are {given}.")  # fmt: skip
    passed("Junk left both lists, and what remains is what only the teacher finds.")
