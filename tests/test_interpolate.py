"""Mixtures, the joint space, and which of its rows may be compared."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.distil.interpolate import NEIGHBOURS, interpolate, mix
from rdistill_helpers.errors import BadInput

SEEDS = st.integers(0, 2**31)


def unit_rows(count, dim, seed):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def joint_space(seed=0, count=6, **settings):
    teacher, student = unit_rows(9, 6, seed), unit_rows(9, 4, seed + 1)
    return interpolate(teacher, student, count, generator=torch.Generator().manual_seed(seed), **settings)


def test_mix_equals_plain_loops():
    rows = unit_rows(5, 3, 0)
    pairs, weight = torch.tensor([[0, 3], [4, 1]]), torch.tensor([0.25, 0.9], dtype=torch.float64)
    for row, (a, b), w in zip(mix(rows, pairs, weight).tolist(), pairs.tolist(), weight.tolist(), strict=True):
        sums = [w * x + (1 - w) * y for x, y in zip(rows[a].tolist(), rows[b].tolist(), strict=True)]
        length = math.sqrt(sum(x * x for x in sums))
        assert row == pytest.approx([x / length for x in sums], abs=1e-12)


@given(SEEDS, st.sampled_from(["random", "neighbours"]), st.sampled_from(["uniform", 0.4, 2.0]))
@settings(max_examples=30, deadline=None)
def test_both_spaces_hold_the_same_mixtures(seed, pairs, alpha):
    joint = joint_space(seed, pairs=pairs, alpha=alpha)
    for rows in (joint.teacher, joint.student):
        real = rows[:9]
        torch.testing.assert_close(rows[9:], mix(real, joint.parts[9:], joint.weight[9:]))
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(15, dtype=rows.dtype))
    assert (joint.parts[9:, 0] != joint.parts[9:, 1]).all()
    assert ((joint.weight >= 0) & (joint.weight <= 1)).all()


def test_real_rows_come_first_and_unchanged():
    teacher, student = unit_rows(9, 6, 0), 3 * unit_rows(9, 4, 1)
    joint = interpolate(teacher, student, 2)
    assert torch.equal(joint.teacher[:9], teacher)
    assert torch.equal(joint.student[:9], student)
    assert joint.parts[:9].tolist() == [[i, i] for i in range(9)]
    assert joint.weight[:9].tolist() == [1.0] * 9


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_rows_that_share_a_part_are_not_comparable(seed):
    joint = joint_space(seed, count=8)
    parts = [set(pair) for pair in joint.parts.tolist()]
    expected = [[not (a & b) for b in parts] for a in parts]
    assert joint.comparable.tolist() == expected
    assert not joint.comparable.diagonal().any()
    assert joint.comparable[:9, :9].sum() == 9 * 8


def test_neighbours_mixes_a_row_with_one_of_its_nearest():
    teacher = unit_rows(30, 6, 3)
    joint = interpolate(teacher, teacher, 50, pairs="neighbours", generator=torch.Generator().manual_seed(0))
    similarity = (teacher @ teacher.T).fill_diagonal_(-2)
    for a, b in joint.parts[30:].tolist():
        assert (similarity[a] > similarity[a, b]).sum() < NEIGHBOURS


def test_own_pairs_and_lambdas_are_taken_as_they_are():
    pairs, weight = torch.tensor([[0, 1], [2, 3]]), torch.tensor([0.5, 1.2])
    joint = joint_space(count=2, pairs=pairs, alpha=weight)
    assert torch.equal(joint.parts[9:], pairs)
    assert joint.weight[9:].tolist() == pytest.approx([0.5, 1.2])
    assert joint.weight.dtype == joint.teacher.dtype


def test_lambda_one_gives_back_the_first_row():
    joint = joint_space(count=1, pairs=torch.tensor([[4, 2]]), alpha=torch.tensor([1.0]))
    torch.testing.assert_close(joint.student[9], joint.student[4])


def test_a_small_beta_parameter_pushes_lambda_to_the_ends():
    middles = [(joint_space(count=400, alpha=alpha).weight[9:] - 0.5).abs().mean() for alpha in (0.1, 10.0)]
    assert middles[0] > 0.35 > 0.2 > middles[1]


def test_the_generator_decides_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = joint_space(1, alpha=0.5), joint_space(1, alpha=0.5), joint_space(2, alpha=0.5)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.student, again.student)
    assert not torch.equal(first.weight, other.weight)


def test_gradients_flow_to_the_student_through_the_mixtures_only_to_their_parts():
    student = unit_rows(9, 4, 1).requires_grad_()
    joint = interpolate(unit_rows(9, 6, 0), student, 1, pairs=torch.tensor([[2, 7]]), alpha=torch.tensor([0.3]))
    joint.student[9].square().sum().sub(joint.student[9, 0]).backward()
    assert student.grad.abs().sum(1).nonzero()[:, 0].tolist() == [2, 7]


def test_opposite_rows_mixed_in_the_middle_stay_finite():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).requires_grad_()
    mixture = mix(rows, torch.tensor([[0, 1]]), torch.tensor([0.5]))
    mixture.sum().backward()
    assert mixture.isfinite().all()
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 0}, "count >= 1"),
        ({"pairs": "best"}, "'random', 'neighbours'"),
        ({"pairs": torch.tensor([[0, 9]])}, "from 0 to 8"),
        ({"pairs": torch.tensor([[0, 1], [1, 2]])}, r"int64 \[1, 2\]"),
        ({"alpha": 0.0}, "positive number"),
        ({"alpha": "beta"}, "positive number"),
        ({"alpha": torch.tensor([float("nan")])}, "give finite floats"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_sentence(settings, words):
    with pytest.raises(BadInput, match=words):
        joint_space(**{"count": 1, **settings})


def test_rows_that_do_not_fit_together_are_refused():
    with pytest.raises(BadInput, match="one row for each image"):
        interpolate(unit_rows(5, 6, 0), unit_rows(4, 6, 0), 1)
    with pytest.raises(BadInput, match="at least 2 rows"):
        interpolate(unit_rows(1, 6, 0), unit_rows(1, 6, 0), 1)
