"""Figures of descriptors draw what they say: tips on the circle, shares of places, right photographs against negatives."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tiny_sets import COLOURS, colours, unit_rows

from rdistill_course import descriptor_arrows, pooling_figure, separation_figure
from rdistill_helpers.errors import BadInput


def drawn(fig: Figure) -> str:
    """Draws the figure, which must not fail, and gives its description."""
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    return fig.get_label()


def directions(*degrees):
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_all_arrows_reach_the_circle_and_the_query_has_another_colour():
    rows = directions(20.0, 80.0, 140.0)
    fig = descriptor_arrows(rows, ["query", "A", "B"])
    assert drawn(fig) == "3 arrows of length one: query, A 60 degrees away, B 120 degrees away."
    (ax,) = fig.axes
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    for arrow, row in zip(arrows, rows, strict=True):
        assert np.allclose(arrow.xy, row)
        assert arrow.arrowprops["shrinkA"] == arrow.arrowprops["shrinkB"] == 0  # matplotlib leaves gaps otherwise
    colours_used = [arrow.arrow_patch.get_edgecolor() for arrow in arrows]
    assert colours_used[0] != colours_used[1] == colours_used[2]
    assert drawn(descriptor_arrows(rows, ["q", "a", "b"], alt="in other words")) == "in other words"


@pytest.mark.parametrize("rows", [directions(20.0), 2 * directions(20.0, 30.0), directions(20.0, -30.0)])
def test_arrows_that_do_not_fit_the_half_circle_are_refused(rows):
    with pytest.raises(BadInput, match="in the upper half of a circle"):
        descriptor_arrows(rows, ["query", "A"])


def test_a_strong_place_takes_a_larger_share_with_a_larger_exponent():
    channel = torch.ones(2, 5)
    channel[0, 0] = 3.0
    said = drawn(pooling_figure(torch.zeros(3, 20, 50, dtype=torch.uint8), channel))
    # Of ten places: 3 of 12 at p = 1, 27 of 36 at p = 3, nearly all at p = 10.
    assert "90 % of it come from 9, 7, 1 of 10 places for p = 1, 3, 10" in said


def test_the_curve_of_pooled_values_runs_from_the_mean_to_the_maximum():
    fig = pooling_figure(torch.zeros(3, 20, 50, dtype=torch.uint8), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), alt="x")
    curve, mean, maximum = fig.axes[4].lines
    assert curve.get_ydata()[0] == pytest.approx(2.5) == mean.get_ydata()[0]
    assert 3 < curve.get_ydata()[-1] < maximum.get_ydata()[0] == 4
    assert fig.get_label() == "x"


def test_separation_counts_right_photographs_and_leaves_junk_out():
    benchmark = colours()
    table = torch.zeros(2, COLOURS)
    table[:, ::2] = 0.2
    for query, truth in enumerate(benchmark.ground_truth):
        table[query, [*truth["easy"], *truth["hard"]]] = 0.9
        table[query, [*truth["junk"]]] = -50.0  # would move any mean
    fig = separation_figure({"one": table, "two": unit_rows(2, COLOURS)}, benchmark)
    negatives = torch.cat([row[(row >= 0) & (row < 0.9)] for row in table])
    expected = (0.9 - negatives.mean()) / negatives.std()
    assert f"Separation {expected:.1f} for the one, " in drawn(fig)
    assert fig.get_suptitle() == "8 negatives for each right photograph"
    with pytest.raises(BadInput, match="similarities of one do not fit colours"):
        separation_figure({"one": table[:1]}, benchmark)
