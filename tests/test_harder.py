"""Teachers that answer less than they know: the answers, what they cost, and settings that are refused."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.interpolate import interpolate
from rdistill_helpers.embed.black_box import BlackBoxTeacher
from rdistill_helpers.embed.harder import noisy, order_only, rounded, top_only, truncated
from rdistill_helpers.errors import BadInput, BudgetExceeded

DIM = 12


def photos(count, seed=0):
    return torch.randint(0, 256, (count, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def embed(images):
    """A teacher that projects the pixels at random, always the same way."""
    if isinstance(images, list):
        images = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    projection = torch.randn(72, DIM, generator=torch.Generator().manual_seed(9))
    return normalize((images.flatten(1).float() - 128) @ projection)


def unit(numbers):
    length = math.sqrt(sum(number**2 for number in numbers))
    return [number / length for number in numbers]


CATALOGUE = embed(photos(9, seed=3))
ALL = {
    "rounded": rounded(embed, 1),
    "noisy": noisy(embed, 0.5),
    "truncated": truncated(embed, 5),
    "order": order_only(embed, CATALOGUE),
    "top": top_only(embed, CATALOGUE, 3),
}


def test_rounding_each_number_of_each_row_by_hand_gives_the_same():
    for digits in (1, 2, 3):
        rows = rounded(embed, digits)(photos(5))
        slow = [unit([round(number, digits) for number in row]) for row in embed(photos(5)).double().tolist()]
        torch.testing.assert_close(rows, torch.tensor(slow), atol=1e-6, rtol=1e-5)
    assert not rounded(embed, 1)(photos(5)).allclose(embed(photos(5)), atol=1e-3)


def test_truncated_rows_are_the_first_numbers_at_length_1():
    slow = [unit(row[:5]) for row in embed(photos(4)).tolist()]
    torch.testing.assert_close(truncated(embed, 5)(photos(4)), torch.tensor(slow))
    torch.testing.assert_close(truncated(embed, DIM)(photos(4)), embed(photos(4)))


def test_the_dot_product_of_two_orders_is_the_rank_correlation_of_spearman():
    rows = order_only(embed, CATALOGUE)(photos(4))
    ranks = []
    for row in embed(photos(4)):
        scores = [float(row @ entry) for entry in CATALOGUE]
        ranks.append([sum(other > score for other in scores) for score in scores])
    n = len(CATALOGUE)
    for one in range(4):
        for two in range(4):
            squares = sum((a - b) ** 2 for a, b in zip(ranks[one], ranks[two], strict=True))
            assert float(rows[one] @ rows[two]) == pytest.approx(1 - 6 * squares / (n * (n * n - 1)), abs=1e-5)
    assert rows.argsort(descending=True).equal((embed(photos(4)) @ CATALOGUE.T).argsort(descending=True))


def test_an_order_tells_nothing_of_the_scores():
    """A teacher whose scores are others but stand in the same order cannot be told from the first."""
    catalogue = torch.eye(3)
    one, two = torch.tensor([[0.9, 0.3, 0.1]]), torch.tensor([[0.5, 0.4, 0.3]])
    answers = [order_only(lambda _, rows=rows: normalize(rows), catalogue)(photos(1)) for rows in (one, two)]
    assert answers[0].equal(answers[1])


def test_only_the_best_k_scores_come_back_and_each_in_its_place():
    for k in (1, 3, len(CATALOGUE)):
        rows = top_only(embed, CATALOGUE, k)(photos(6))
        for row, own in zip(rows, embed(photos(6)), strict=True):
            scores = [float(own @ entry) for entry in CATALOGUE]
            named = sorted(range(len(scores)), key=lambda place: -scores[place])[:k]
            slow = [max(score, 0) if place in named else 0 for place, score in enumerate(scores)]
            torch.testing.assert_close(row, torch.tensor(unit(slow)), atol=1e-6, rtol=1e-5)


def test_the_same_photograph_gets_the_same_noise_in_any_batch_and_form():
    images, teacher = photos(4), noisy(embed, 0.5, seed=1)
    rows = teacher(images)
    assert teacher(images).equal(rows)
    torch.testing.assert_close(teacher(images[[2, 0]]), rows[[2, 0]])
    as_pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    torch.testing.assert_close(teacher(as_pil), rows)
    assert not noisy(embed, 0.5, seed=2)(images).allclose(rows, atol=1e-2)
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 1
    assert abs(float((teacher(changed)[0] * rows[0]).sum())) < 0.999
    assert noisy(embed, 0)(images).allclose(embed(images), atol=1e-6)


def test_noise_is_as_long_as_it_was_asked_for():
    """The cosine of 1 / sqrt(1 + noise**2), on average over many photographs in many dimensions."""
    row = normalize(torch.ones(1, 2000))
    for noise in (0.3, 1.0, 2.0):
        rows = noisy(lambda images: row.expand(len(images), -1), noise)(photos(40))
        assert float((rows @ row[0]).mean()) == pytest.approx(1 / math.sqrt(1 + noise**2), abs=0.02)
        others = rows - (rows @ row[0])[:, None] * row
        alike = normalize(others) @ normalize(others).T
        assert float((alike - torch.eye(40)).abs().max()) < 0.15


@pytest.mark.parametrize("name", ALL)
def test_budget_and_ledger_hold_as_for_any_teacher(name, tmp_path):
    teacher = ALL[name]
    with BlackBoxTeacher(teacher, budget=7, ledger=tmp_path / "ledger.sqlite", name=name, batch_size=3) as black_box:
        rows = black_box.query(photos(7), progress=False)
        assert (black_box.spent, black_box.left) == (7, 0)
        assert black_box.query(photos(7)[[4, 1]], progress=False).equal(rows[[4, 1]])
        with pytest.raises(BudgetExceeded):
            black_box.query(photos(1, seed=1), progress=False)
    torch.testing.assert_close(rows, teacher(photos(7)))
    with pytest.raises(BadInput, match="another|own"):
        BlackBoxTeacher(embed, budget=7, ledger=tmp_path / "ledger.sqlite", name="teacher")


@pytest.mark.parametrize("name", ALL)
def test_losses_and_mixtures_take_the_answers(name):
    teacher_rows, student_rows = ALL[name](photos(7)), embed(photos(7)).requires_grad_()
    joint = interpolate(teacher_rows, student_rows, count=4, generator=torch.Generator().manual_seed(0))
    for loss in (losses.listwise, losses.listmle, losses.similarity):
        value = loss(joint.student, joint.teacher, comparable=joint.comparable)
        assert value.isfinite() and torch.autograd.grad(value, student_rows, retain_graph=True)[0].abs().sum() > 0


def test_harder_teachers_can_be_put_around_each_other():
    rows = top_only(rounded(noisy(embed, 0.2), 2), CATALOGUE, 2)(photos(3))
    assert ((rows != 0).sum(1) <= 2).all()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


class NeverAsked:
    def __call__(self, images):
        raise AssertionError("the teacher was asked")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda e: rounded(e, -1), "digits=-1"),
        (lambda e: rounded(e, 1.5), "digits=1.5"),
        (lambda e: noisy(e, -0.1), "noise=-0.1"),
        (lambda e: noisy(e, math.nan), "noise=nan"),
        (lambda e: noisy(e, math.inf), "noise=inf"),
        (lambda e: truncated(e, 0), "dim=0"),
        (lambda e: truncated(e, 2.5), "dim=2.5"),
        (lambda e: order_only(e, CATALOGUE[:1]), "1 has no order"),
        (lambda e: order_only(e, 2 * CATALOGUE), "catalogue are not L2-normalised"),
        (lambda e: order_only(e, ["a", "b"]), "catalogue must be a tensor"),
        (lambda e: top_only(e, CATALOGUE, 0), "k=0"),
        (lambda e: top_only(e, CATALOGUE, 10), "k=10"),
        (lambda e: top_only(e, CATALOGUE, True), "k=True"),
    ],
)
def test_impossible_settings_are_refused_before_the_teacher_is_asked(make, told):
    with pytest.raises(BadInput, match=told) as caught:
        make(NeverAsked())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        (truncated(embed, DIM + 1), f"{DIM} numbers"),
        (order_only(embed, torch.eye(3)), "dimensions"),
        (top_only(embed, torch.eye(3), 2), "dimensions"),
        (top_only(embed, -embed(photos(1)), 1), "larger catalogue"),
        (rounded(lambda images: torch.full((len(images), 100), 0.1), 0), "more digits"),
        (truncated(lambda images: torch.eye(4)[3:].expand(len(images), -1), 2), "larger dim"),
        (rounded(lambda images: 2 * embed(images), 1), "L2-normalised"),
    ],
)
def test_what_only_an_answer_can_tell_is_refused_and_not_charged(teacher, told, tmp_path):
    with BlackBoxTeacher(teacher, budget=3, ledger=tmp_path / "ledger.sqlite", name="harder") as black_box:
        with pytest.raises(BadInput, match=told) as caught:
            black_box.query(photos(1), progress=False)
        assert black_box.spent == 0 and "\n" not in str(caught.value)
