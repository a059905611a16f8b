"""Figures on losses: they show what they say, and what training makes of points."""

import io
import re

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from rdistill_course.loss_figures import (
    bargain_figure,
    circles_figure,
    compared_figure,
    no_new_facts_figure,
    temperature_figure,
)
from rdistill_course.toy import neighbours_kept, trained_points
from rdistill_course.whitening import whitening_figure
from rdistill_helpers import BadInput, losses


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def drawn(fig: Figure) -> str:
    """Draws the figure, which must not fail, and gives its description."""
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    return fig.get_label()


def test_the_tables_hold_what_the_losses_compare():
    teacher, student = unit(4, 6), unit(4, 3, seed=1)
    fig = compared_figure(teacher, student)
    assert "three tables of 4 images" in drawn(fig)
    numbers = [[float(text.get_text()) for text in ax.texts] for ax in fig.axes]
    others = ~torch.eye(4, dtype=torch.bool)
    assert numbers[0] == pytest.approx((teacher @ teacher.T)[others].tolist(), abs=0.051)
    chances = torch.tensor(numbers[5]).view(4, 3)
    assert chances.sum(1).tolist() == pytest.approx([1] * 4, abs=0.2)
    distances = torch.cdist(student, student)[others]
    assert numbers[4] == pytest.approx((distances / distances.mean()).tolist(), abs=0.051)
    with pytest.raises(BadInput, match="give the same images"):
        compared_figure(teacher, student[:3])


def test_in_a_student_with_the_similarities_those_of_all_mixtures_follow():
    fig = no_new_facts_figure(0.3)
    said = drawn(fig)
    assert "largest difference 0.00" in said
    assert float(re.search(r"differs by up to (\d\.\d+)", said)[1]) > 0.1
    facts = [ax.texts[-1].get_text() for ax in fig.axes[:2]]
    assert facts[0] == facts[1]
    with pytest.raises(BadInput, match="between 0 and 1"):
        no_new_facts_figure(1.0)


def test_figures_of_the_toy_say_what_was_kept():
    groups, points = torch.arange(6) // 2, {"teacher": unit(6, 2), "listwise": unit(6, 2, seed=1)}
    said = drawn(circles_figure(points, groups, {"teacher": 1.0, "listwise": 0.5}, k=2))
    assert said.startswith("2 circles with 6 points in 3 groups") and said.endswith("teacher 100 %, listwise 50 %.")
    near, far = {"similarity": [0.25, 0.75], "listwise": [1.0, 0.5]}, {"similarity": [0.5, 0.5], "listwise": [0.1, 0.3]}
    said = drawn(bargain_figure(points, groups, near, far))
    assert said.endswith("their means: similarity 50 % and 0.50; listwise 75 % and 0.20.")


def test_the_figure_of_temperatures_has_a_look_for_each():
    chances = {0.04: [0.9, 0.1], 1.0: [0.5, 0.5]}
    fig = temperature_figure(chances, {"similarity": 0.1, "listwise, 0.04": 0.8, "listwise, 1": 0.3})
    assert "similarity 10 %, listwise, 0.04 80 %, listwise, 1 30 %" in drawn(fig)
    lines = [(line.get_color(), line.get_linestyle()) for line in fig.axes[0].lines]
    assert len(set(lines)) == 2


def test_whitening_is_drawn_by_photographs():
    scores = {"components": {100: 10.0, 300: 12.5}, "pairs": {300: 14.0}}
    fig = whitening_figure([3.0, 1.0, 1.0], scores, 13.0)
    assert "components: 100 photographs 10.0, 300 photographs 12.5; pairs: 300 photographs 14.0" in drawn(fig)
    assert fig.axes[0].get_title() == "1 of 3 directions hold half of the variance"
    assert len({(line.get_color(), line.get_linestyle()) for line in fig.axes[1].lines}) == 3
    with pytest.raises(BadInput, match="nothing to draw"):
        whitening_figure([1.0], {"components": {}}, 13.0)


def test_training_brings_points_where_the_loss_is_small_and_regression_gets_a_projection():
    teacher, start = unit(8, 5), unit(8, 2, seed=1)
    for loss in (losses.similarity, losses.listwise):
        moved = trained_points(loss, teacher, start, steps=40)
        assert loss(moved, teacher) < loss(start, teacher)
        assert moved.norm(dim=1).tolist() == pytest.approx([1] * 8)
    assert trained_points(losses.regression, teacher, start, steps=2).shape == (8, 2)


def test_neighbours_that_are_kept_are_counted():
    teacher = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), dim=1)
    assert neighbours_kept(teacher, teacher, 1) == 1
    assert neighbours_kept(teacher[[0, 2, 1, 3]], teacher, 1) == 0
