import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.embed.pooling import MAC, GeM, SPoC, gem, l2_normalize


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


def test_l2_normalize_gives_unit_rows_and_leaves_zero_rows_finite():
    rows = torch.cat([features(shape=(3, 7)), torch.zeros(1, 7, dtype=torch.float64)])
    unit = l2_normalize(rows)
    for row, original in zip(unit[:3].tolist(), rows[:3].tolist(), strict=True):
        length = math.sqrt(sum(value**2 for value in original))
        assert row == pytest.approx([value / (length + 1e-6) for value in original])
    assert unit[3].eq(0).all()
