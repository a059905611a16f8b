"""Figures of notebook 8, and what it says of the processor."""

import re

import numpy as np
import pytest
import torch
from tiny_sets import photograph

from rdistill_course import found_figure, rounding_figure
from rdistill_course.cost import processor
from rdistill_helpers import BadInput, DataMissing
from rdistill_helpers.ship.photo_index import Found


def uneven_layer() -> torch.Tensor:
    """Weights of four channels, the third a hundredth as large as the others."""
    weight = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    return weight * torch.tensor([1.0, 1.0, 0.01, 1.0])[:, None, None, None]


def test_rounding_shows_the_smallest_channel_and_what_is_left_of_it():
    weight = uneven_layer()
    fig = rounding_figure(weight)
    tops = (float(weight.abs().max()), float(weight[2].abs().max()))
    for ax, top in zip(fig.axes, tops, strict=True):
        values, rounded = ax.lines[0].get_data()
        np.testing.assert_allclose(np.sort(values), np.sort(weight[2].flatten()), rtol=1e-6)
        step = top / 127
        np.testing.assert_allclose(rounded, [step * round(value / step) for value in values], atol=1e-8)
        assert np.abs(values - rounded).max() <= step / 2 * (1 + 1e-6)
        assert ax.lines[1].get_slope() == 1
    shared, own = (int(re.search(r"(\d+) different", ax.get_title())[1]) for ax in fig.axes)
    assert shared <= 5 < own and f"{shared} different numbers" in fig.get_label()


@pytest.mark.parametrize("weight", [torch.ones(4, 6), torch.zeros(2, 1, 3, 3)])
def test_weights_without_channels_to_draw_are_refused(weight):
    with pytest.raises(BadInput, match="Weights"):
        rounding_figure(weight)


def test_what_a_search_found_is_drawn_in_order_with_the_box(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(number))
    found = [Found(f"{i}.jpg", tmp_path / f"{i}.jpg", value) for i, value in ((2, 0.9), (0, 0.5), (1, 0.25))]
    fig = found_figure(found, photograph(5), box=[10, 20, 50, 60])
    assert [ax.get_title() for ax in fig.axes] == ["query", "1: 0.900", "2: 0.500", "3: 0.250"]
    assert all(part.get_bbox().bounds == (10, 20, 40, 40) for part in fig.axes[0].patches)
    assert "1 2.jpg 0.900, 2 0.jpg 0.500, 3 1.jpg 0.250" in fig.get_label()
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(DataMissing):
        found_figure(found, photograph(5))


def test_the_processor_is_named_with_its_features():
    assert re.fullmatch(r".+ \((no features known|\w+(, \w+)*)\)", processor())
