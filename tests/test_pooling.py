import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.embed.pooling import MAC, RMAC, GeM, SPoC, gem, l2_normalize, rmac, rmac_regions


def features(seed=0, shape=(2, 5, 3, 4)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gem_in_loops(maps, p, eps=1e-6):
    pooled = torch.zeros(maps.shape[:2], dtype=maps.dtype)
    for image in range(maps.shape[0]):
        for channel in range(maps.shape[1]):
            values = [max(float(value), eps) ** p for value in maps[image, channel].flatten()]
            pooled[image, channel] = (sum(values) / len(values)) ** (1 / p)
    return pooled


@settings(max_examples=25, deadline=None)
@given(p=st.floats(0.5, 8), seed=st.integers(0, 1000))
def test_gem_equals_plain_loops(p, seed):
    torch.testing.assert_close(gem(features(seed), p), gem_in_loops(features(seed), p))


def test_gem_is_the_mean_for_p_1_and_nears_the_maximum_for_large_p():
    maps = features().abs() + 0.1
    torch.testing.assert_close(gem(maps, 1.0), maps.mean(dim=(2, 3)))
    torch.testing.assert_close(gem(maps, 200.0), maps.amax(dim=(2, 3)), rtol=0.02, atol=0)


@settings(max_examples=25, deadline=None)
@given(low=st.floats(0.5, 6), more=st.floats(0.01, 3), seed=st.integers(0, 1000))
def test_gem_grows_with_p(low, more, seed):
    maps = features(seed)
    assert (gem(maps, low + more) >= gem(maps, low) - 1e-12).all()


@pytest.mark.parametrize("reduced", [torch.bfloat16, torch.float16])
def test_gem_of_a_reduced_type_is_computed_in_float32(reduced):
    maps = features().to(reduced)
    torch.testing.assert_close(gem(maps, 3.0), gem(maps.float(), 3.0), rtol=0, atol=0)


@pytest.mark.parametrize("p", [18.0, 81.0, 1000.0])
def test_gem_is_finite_for_any_exponent_and_so_are_its_gradients(p):
    maps = torch.stack([torch.tensor([0.0, 1, 2, 3]), torch.tensor([0.0, 0, 0, 250]), torch.full((4,), 1e-3)])
    maps = maps.reshape(1, 3, 2, 2).requires_grad_()
    exponent = torch.tensor([p], requires_grad=True)
    pooled = gem(maps, exponent)
    # A single largest value counts as (1/4)**(1/p) of itself, and four equal ones as themselves.
    expected = torch.tensor([[3.0, 250.0, 1e-3]]) * torch.tensor([[0.25 ** (1 / p), 0.25 ** (1 / p), 1.0]])
    torch.testing.assert_close(pooled, expected, rtol=5e-3 if p < 50 else 1e-5, atol=0)
    pooled.sum().backward()
    assert maps.grad.isfinite().all() and exponent.grad.isfinite().all()


def test_gem_of_an_all_negative_map_is_eps():
    torch.testing.assert_close(gem(-features().abs(), 3.0), torch.full((2, 5), 1e-6, dtype=torch.float64))


def test_gem_layer_starts_at_three_and_learns_p():
    layer = GeM()
    assert layer.p.shape == (1,)
    assert layer.p.item() == 3
    layer(features().float()).sum().backward()
    assert layer.p.grad is not None
    assert layer.p.grad.abs().item() > 0


def test_gradients_of_gem_agree_with_differences():
    maps = (features(shape=(1, 2, 2, 3)).abs() + 0.2).requires_grad_()
    p = torch.tensor([2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gem, (maps, p))


def test_mac_and_spoc_are_maximum_and_mean():
    maps = features()
    for image, channel in ((0, 0), (1, 4)):
        values = maps[image, channel].flatten().tolist()
        assert MAC()(maps)[image, channel].item() == max(values)
        assert SPoC()(maps)[image, channel].item() == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("reduced", [torch.bfloat16, torch.float16])
def test_lengths_of_a_reduced_type_are_those_of_float32(reduced):
    vectors = features(shape=(500, 7)).to(reduced)
    torch.testing.assert_close(l2_normalize(vectors).norm(dim=1), torch.ones(500), rtol=0, atol=1e-5)


def test_l2_normalize_gives_unit_rows_and_leaves_zero_rows_finite():
    rows = torch.cat([features(shape=(3, 7)), torch.zeros(1, 7, dtype=torch.float64)])
    unit = l2_normalize(rows)
    for row, original in zip(unit[:3].tolist(), rows[:3].tolist(), strict=True):
        length = math.sqrt(sum(value**2 for value in original))
        assert row == pytest.approx([value / (length + 1e-6) for value in original])
    assert unit[3].eq(0).all()


def rmac_in_loops(maps):
    """R-MAC of [B, C, H, W] from the paper's rule of regions, one cell at a time."""
    batch, channels, height, width = maps.shape
    short, long = min(height, width), max(height, width)

    # The largest regions are squares as high as the map's shorter edge. Their number along the longer edge is the one
    # that makes two neighbours overlap by the share of their area that is closest to 40 %.
    along = 1
    if long > short:
        closest = None
        for count in range(2, 8):
            step = Fraction(long - short, count - 1)
            overlap = (short - step) * short / Fraction(short * short)
            distance = abs(overlap - Fraction(40, 100))
            if closest is None or distance < closest:
                closest, along = distance, count
    squares = []
    for level in (1, 2, 3):
        side = math.floor(Fraction(2 * short, level + 1))
        rows = level + along - 1 if height > width else level
        columns = level + along - 1 if width > height else level
        if side > 0:
            for row in range(rows):
                top = math.floor(Fraction(height - side, rows - 1) * row) if rows > 1 else 0
                for column in range(columns):
                    left = math.floor(Fraction(width - side, columns - 1) * column) if columns > 1 else 0
                    squares.append((top, top + side, left, left + side))

    out = torch.zeros(batch, channels, dtype=maps.dtype)
    for image in range(batch):
        for top, bottom, left, right in [(0, height, 0, width), *squares]:
            vector = [
                max(float(maps[image, channel, y, x]) for y in range(top, bottom) for x in range(left, right))
                for channel in range(channels)
            ]
            length = math.sqrt(sum(value**2 for value in vector))
            for channel, value in enumerate(vector):
                out[image, channel] += value / (length + 1e-6)
    return out, squares


SIZES = [(1, 1), (1, 5), (2, 2), (2, 3), (3, 2), (4, 4), (5, 9), (6, 8), (8, 6), (3, 11), (2, 16), (10, 12), (12, 7)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rmac_equals_plain_loops(height, width):
    maps = features(shape=(2, 3, height, width))
    expected, squares = rmac_in_loops(maps)
    assert [(top, top + side, left, left + side) for top, left, side in rmac_regions(height, width)] == squares
    torch.testing.assert_close(rmac(maps), expected)
    torch.testing.assert_close(RMAC()(maps), expected)


def test_rmac_has_the_papers_number_of_regions():
    # A square map has 1 + 4 + 9; one of 4 : 3 gets one more along its longer edge, 1 x 2 + 2 x 3 + 3 x 4.
    assert len(rmac_regions(24, 24)) == 14
    assert len(rmac_regions(24, 32)) == len(rmac_regions(32, 24)) == 20


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_rmac_regions_lie_on_the_map_and_reach_its_edges(height, width):
    regions = rmac_regions(height, width)
    assert all(top >= 0 and left >= 0 for top, left, _ in regions)
    assert max(top + side for top, _, side in regions) == height
    assert max(left + side for _, left, side in regions) == width
    assert sorted(rmac_regions(width, height)) == sorted((left, top, side) for top, left, side in regions)


def test_rmac_of_a_constant_map_points_where_its_cells_do():
    cell = features(shape=(1, 5, 1, 1))
    torch.testing.assert_close(
        l2_normalize(rmac(cell.expand(1, 5, 6, 9))), l2_normalize(cell[..., 0, 0]), rtol=0, atol=1e-5
    )


def test_rmac_has_no_parameters_and_passes_gradients():
    maps = features(shape=(1, 2, 4, 5)).requires_grad_()
    assert not list(RMAC().parameters())
    assert torch.autograd.gradcheck(rmac, (maps,))
