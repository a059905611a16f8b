"""Checks of notebook 7: photographs chosen in addition to those paid for, and who answers for the rest."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_course.checks.hints import ask, numbers, passed, tensor
from rdistill_course.checks.runner import Answer, judge, tell
from rdistill_course.checks.steps import exercise


@exercise(
    "7.1",
    "For each photograph ask how similar it is to the nearest photograph that is paid for. Which one do you pay "
    "for next?",
    "The next one is the photograph whose similarity to its nearest paid one is smallest. Then it counts as paid,"
    " and may be the nearest one of others.",
    "Keep one number for each photograph, the largest similarity to a paid one. Take the smallest, update by the "
    "maximum with the similarities to the new one, and set what is paid to infinity, so that copies are never "
    "taken twice.",
)
def choose_more(answer: Answer) -> None:
    """Exercise 7.1: further photographs beside those that are paid for.

    Args:
        answer: (rows [N, D] of length 1, paid int64 [P], count) -> positions [count], in the order of choosing: each is the
            photograph whose most similar one among the paid and the chosen is least similar.

    Raises:
        Hint: the answer is not right.
    """
    # Descriptors of six places with ten photographs each; three photographs are paid for.
    generator = torch.Generator().manual_seed(2)
    places = torch.randn(6, 1, 4, generator=generator)
    rows = F.normalize((places + 0.45 * torch.randn(6, 10, 4, generator=generator)).view(60, 4), dim=1)
    paid, count = torch.tensor([3, 14, 5]), 6
    right = _choose(rows, paid, count)
    nearest = (rows @ rows[paid].T).amax(1).index_fill(0, paid, torch.inf)

    given = _choice(ask(answer, rows, paid, count), len(rows), paid.tolist(), count)
    place = next((k for k, (mine, ours) in enumerate(zip(given, right, strict=True)) if mine != ours), count)
    judge(given, right, {
        "The nearest photographs are chosen, which the paid ones show already: take the "
        "furthest.": _choose(rows, paid, count, sign=-1),
        "The similarities are not updated after a choice: what was just chosen counts as paid "
        "for.": nearest.argsort()[:count].tolist(),
        "Each photograph is the furthest from the last chosen one only: what counts is the nearest of all that are paid for "
        "or chosen.": _choose(rows, paid, count, keep="last"),
        "The mean over the paid photographs decides: what counts is the most similar one "
        "alone.": _choose(rows, paid, count, keep="mean"),
        "Each photograph's *least* similar paid one decides: what counts is its most similar "
        "one.": _choose(rows, paid, count, keep="min"),
        "What is paid for already is left out of the comparison, or only its first photograph is in "
        "it.": _choose(rows, paid[:1], count),
        "Of what is paid for only the last photograph is in the comparison.": _choose(rows, paid[-1:], count),
        "The photographs are the right ones, but not in the order of choosing.": sorted(right),
    }, f"Up to place {place} your choice is right; the next photograph is not the furthest one. Of each photograph take the "
       "similarity to its most similar one among the paid and the chosen, then the photograph with the smallest.")  # fmt: skip
    # Three different photographs, each of them three times: in the end only copies are left.
    copies = rows[[0, 20, 40]].repeat(3, 1)
    wanted = " Here some photographs are copies of others, and all nine are wanted in the end."
    _choice(ask(answer, copies, torch.tensor([0]), 8), 9, [0], 8, wanted)
    passed(f"Your {count} photographs are the furthest ones, each in its turn.")


def _choice(value: Any, size: int, paid: list[int], count: int, where: str = "") -> list[int]:
    """The learner's choice of `count` photographs among `size`, without the paid ones."""
    given = numbers(value, "the chosen photographs")
    bought = min(set(given) & set(paid), default=None)
    again = next((one for one in given if given.count(one) > 1), None)
    tell({
        f"{count} photographs were to be chosen, you return {len(given)}: the paid ones are not among "
        f"them.{where}": len(given) != count,
        f"Positions lie between 0 and {size - 1}, yours are {given}.{where}": not all(0 <= one < size for one in given),
        f"Photograph {bought} is paid for already: leave such photographs out.{where}": bought is not None,
        f"Photograph {again} is chosen twice: what was chosen must not come again.{where}": again is not None,
    })  # fmt: skip
    return given


def _choose(rows: Tensor, paid: Tensor, count: int, sign: int = 1, keep: str = "max") -> list[int]:
    """The choice, and its typical mistakes: each keyword makes one."""
    similarity = rows @ rows.T
    taken = paid.tolist()
    for _ in range(count):
        table = similarity[:, taken[-1:] if keep == "last" else taken]
        score = sign * (table.mean(1) if keep == "mean" else table.amin(1) if keep == "min" else table.amax(1))
        score[taken] = torch.inf
        taken.append(int(score.argmin()))
    return taken[len(paid) :]


@exercise(
    "7.2",
    "Who may be asked about which photographs? The teacher costs a query for each photograph of each call.",
    "Three lines: the teacher answers for the paid photographs, an assistant learns from these answers, and the assistant "
    "describes photographs. Which ones?",
    "The assistant describes all photographs, the paid ones too: its descriptors and the teacher's lie in different spaces, "
    "and a list of the student cannot hold both.",
)
def answers_for_all(answer: Answer) -> None:
    """Exercise 7.2: what an assisted student is distilled from.

    Args:
        answer: (teacher, learn, images [N, 3, H, W], paid int64 [P]) -> rows [N, D]. teacher: photographs -> descriptors, and
            each photograph is a query; learn: (photographs, answers) -> an assistant, photographs -> descriptors.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (12, 3, 4, 5), dtype=torch.uint8, generator=generator)
    paid = torch.tensor([7, 2, 9, 4])
    # The spaces have one dimension, so that no shape gives a mixture of both away.
    spaces = torch.randn(2, 60, 6, generator=generator)
    world = _World(images, spaces)
    rows = tensor(ask(answer, world.teacher, world.learn, images, paid), (None, 6), "the rows")
    extra = sorted(set(world.asked) - set(paid.tolist()))
    tell({
        f"The teacher was asked about {len(extra)} photographs that nobody pays for.": bool(extra),
        "The teacher was asked more than once about a photograph, and each time is a query: ask once and keep the "
        "answers.": len(world.asked) > len(set(world.asked)),
        "Not all paid photographs were sent to the teacher.": len(world.asked) < len(paid),
        "No assistant has learned anything: call learn(photographs, answers).": not world.learned,
    })  # fmt: skip
    shown, answers = world.learned[-1]
    wanted = world.of_teacher[shown]
    tell({
        "The assistant learned from photographs without an answer of the teacher: show it the paid ones "
        "alone.": bool(set(shown) - set(paid.tolist())),
        "The assistant learned from its answers in another order than its photographs: row k is the answer for photograph "
        "k.": answers.shape != wanted.shape or not torch.allclose(answers, wanted, atol=1e-5),
        "The assistant learned from a part of the paid photographs: show it all of them.": len(shown) < len(paid),
    })  # fmt: skip
    right = world.of_assistant
    mixed, unpaid = right.clone(), torch.tensor([place for place in range(len(images)) if place not in paid.tolist()])
    mixed[paid] = world.of_teacher[paid]
    judge(rows, right, {
        "The rows of the paid photographs are the teacher's answers, the others the assistant's descriptors: two spaces, whose "
        "similarities mean nothing. Let the assistant describe the paid photographs too.": (
            mixed, torch.cat([world.of_teacher[paid], right[unpaid]]),
        ),
        "Only the paid photographs are described: the student of an assistant learns from all.": (
            right[paid], world.of_teacher[paid],
        ),
        "The paid photographs are left out: the assistant describes them like any other.": right[unpaid],
        "The rows are right, but in another order: row k describes photograph k.": torch.cat([right[paid], right[unpaid]]),
    }, "The rows must be the assistant's descriptors of all photographs, in their order.")  # fmt: skip
    passed(f"{len(images)} photographs have an answer, {len(paid)} of them were paid for.")


class _World:
    """A teacher that counts its queries, and an assistant that can be taught.

    Args:
        images: all photographs, no two alike.
        spaces: [2, pixels, D], what teacher and assistant make of a photograph.
    """

    def __init__(self, images: Tensor, spaces: Tensor) -> None:
        self.images = images
        self.of_teacher, self.of_assistant = (self._rows(images, space) for space in spaces)
        self.asked: list[int] = []
        self.learned: list[tuple[list[int], Tensor]] = []

    def teacher(self, images: Tensor) -> Tensor:
        """Answers, and charges."""
        places = self.places(images)
        self.asked += places
        return self.of_teacher[places]

    def learn(self, images: Tensor, answers: Tensor) -> Callable[[Tensor], Tensor]:
        """An assistant."""
        self.learned.append((self.places(images), torch.as_tensor(answers).float()))
        return lambda more: self.of_assistant[self.places(more)]

    def places(self, images: Any) -> list[int]:
        """Which of all photographs these are."""
        return [int((self.images == one).flatten(1).all(1).nonzero()[0]) for one in torch.as_tensor(images)]

    @staticmethod
    def _rows(images: Tensor, space: Tensor) -> Tensor:
        return F.normalize((images.float() - 127.5).flatten(1) @ space, dim=1)
