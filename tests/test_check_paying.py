"""Exercises of notebook 7: each typical mistake gets its own hint, other right answers pass."""

import math

import numpy as np
import pytest
import torch
from exercise_cells import changed, hint_of, solution

from rdistill_course import check
from rdistill_helpers.distil.choose import k_centre

# --- 7.1: what else to pay for

UPDATE = "nearest = torch.maximum(nearest, rows @ rows[furthest])"
TAKEN = '        nearest[furthest] = float("inf")\n'


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        (("nearest.argmin()", "nearest.masked_fill(nearest == torch.inf, -2).argmax()"), "nearest photographs are chosen"),
        ((UPDATE, "pass"), "not updated after a choice"),
        ((UPDATE, "pass", TAKEN, ""), "is chosen twice"),
        ((TAKEN, ""), "Here some photographs are copies"),
        ((UPDATE, "gone = nearest == torch.inf\n        nearest = (rows @ rows[furthest]).masked_fill(gone, torch.inf)",
          "(rows @ rows[paid].T).amax(dim=1)", "rows @ rows[paid[-1]]"), "from the last chosen one only"),
        (("(rows @ rows[paid].T).amax(dim=1)", "rows @ rows[paid[0]]"), "only its first photograph"),
        (("return torch.tensor(more)", "return torch.tensor(sorted(more))"), "not in the order of choosing"),
        (("return torch.tensor(more)", "return torch.cat([paid, torch.tensor(more)])"), "the paid ones are not among them"),
        (('    nearest[paid] = float("inf")\n', "", "nearest.argmin()", "nearest.argmax()"),
         "paid for already"),
        (("range(count)", "range(count - 1)"), "you return 5"),
    ],
)  # fmt: skip
def test_choices_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.choose_more, changed(7, "7.1")(*replacements))


@pytest.mark.parametrize(
    ("way", "words"), [("mean", "The mean over the paid"), ("amin", "*least* similar paid one decides")]
)
def test_other_ways_to_be_far_are_told_apart(way, words):
    def answer(rows, paid, count):
        taken = paid.tolist()
        for _ in range(count):
            score = getattr(rows @ rows[taken].T, way)(1)
            score[taken] = torch.inf
            taken.append(int(score.argmin()))
        return taken[len(paid) :]

    assert words in hint_of(check.choose_more, answer)


def test_a_random_choice_is_told_where_it_goes_wrong():
    def answer(rows, paid, count):
        rest = [one for one in range(len(rows)) if one not in paid.tolist()]
        return rest[:count]

    assert "Up to place 0" in hint_of(check.choose_more, answer)


def test_choices_take_distances_and_loops(capsys):
    def distances(rows, paid, count):
        taken = paid.tolist()
        for _ in range(count):
            nearest = [min(math.dist(a, rows[k].tolist()) for k in taken) for a in rows.tolist()]
            rest = [one for one in range(len(rows)) if one not in taken]
            taken.append(max(rest, key=lambda one: nearest[one]))
        return np.array(taken[len(paid) :])

    check.choose_more(distances)
    assert capsys.readouterr().out.startswith("[OK] ")


def test_beside_one_paid_photograph_it_is_the_choice_of_the_package():
    rows = torch.nn.functional.normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    chosen = k_centre(rows, 12, torch.Generator().manual_seed(3))
    assert solution(7, "7.1")(rows, chosen[:1], 11).tolist() == chosen[1:].tolist()


# --- 7.2: who answers for the unpaid photographs

ASK, LEARN, ALL = (
    "answers = teacher(images[paid])",
    "assistant = learn(images[paid], answers)",
    "return assistant(images)",
)


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((ASK, "answers = teacher(images)[paid]"), "asked about 8 photographs that nobody pays for"),
        ((LEARN, "assistant = learn(images[paid], teacher(images[paid]))"), "more than once"),
        ((ASK, "answers = teacher(images[paid[:3]])", "learn(images[paid], answers)", "learn(images[paid[:3]], answers)"),
         "Not all paid photographs"),
        ((LEARN, "assistant = teacher", ALL, "return answers"), "No assistant has learned"),
        ((LEARN, "assistant = learn(images, answers.repeat(3, 1))"), "without an answer of the teacher"),
        ((LEARN, "assistant = learn(images[paid.sort().values], answers)"), "in another order than its photographs"),
        ((LEARN, "assistant = learn(images[paid[:2]], answers[:2])"), "a part of the paid photographs"),
        ((ALL, "rows = assistant(images)\n    rows[paid] = answers\n    return rows"), "two spaces"),
        ((ALL, "return assistant(images[paid])"), "Only the paid photographs are described"),
        ((ALL, "return answers"), "Only the paid photographs are described"),
        ((ALL, "rest = [k for k in range(len(images)) if k not in paid.tolist()]\n    return assistant(images[rest])"),
         "The paid photographs are left out"),
        ((ALL, "rest = [k for k in range(len(images)) if k not in paid.tolist()]\n"
          "    return assistant(images[paid.tolist() + rest])"), "in another order: row k"),
        ((ALL, "return assistant(images) * 2"), "in their order"),
    ],
)  # fmt: skip
def test_answers_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.answers_for_all, changed(7, "7.2")(*replacements))


def test_answers_in_another_order_and_in_batches_pass(capsys):
    def batches(teacher, learn, images, paid):
        order = paid.sort().values
        answers = torch.cat([teacher(images[one][None]) for one in order])
        assistant = learn(images[order], answers)
        return torch.cat([assistant(block) for block in images.split(5)]).numpy()

    check.answers_for_all(batches)
    assert capsys.readouterr().out.startswith("[OK] ")
