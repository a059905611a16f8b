import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput


def unit_rows(count: int = 4, dim: int = 3) -> torch.Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(0)), dim=1)


def test_good_rows_come_back_as_they_are():
    rows = unit_rows()
    assert torch.equal(check_descriptors(rows, "queries", dim=3), rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_arrays_become_float32_tensors(dtype):
    array = unit_rows().numpy().astype(dtype)
    array.flags.writeable = False
    rows = check_descriptors(array, "queries")
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows.numpy(), array, rtol=1e-6)


def test_half_precision_rows_count_as_normalised():
    assert check_descriptors(unit_rows(100, 512).half(), "queries").dtype == torch.float32


def test_gradients_pass_through():
    rows = unit_rows().requires_grad_()
    check_descriptors(rows, "student").sum().backward()
    assert rows.grad is not None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1.0, 0.0]], "not a list"),
        (np.array([["a"]]), "not a ndarray of <U1"),
        (torch.ones(2, 2, dtype=torch.complex64), "complex64"),
        (torch.ones(3), r"not the shape \[3\]"),
        (torch.ones(0, 3), "are empty"),
        (torch.ones(3, 0), "are empty"),
        (torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]), "NaN or infinite values, first in row 1"),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("-inf"), 0.0]]), "first in row 2"),
        (torch.tensor([[1.0, 0.0], [0.6, 0.9]]), "not L2-normalised, row 1 has length 1.08"),
        (torch.tensor([[0.0, 0.0]]), "row 0 has length 0"),
        (torch.tensor([[1e30, 1e30]]), "not L2-normalised, row 0 has length inf"),
    ],
)
def test_bad_rows_are_refused_in_one_sentence(rows, words):
    with pytest.raises(BadInput, match=words) as caught:
        check_descriptors(rows, "queries")
    assert str(caught.value).startswith("queries ")
    assert "\n" not in str(caught.value)


def test_a_wrong_dimension_names_both():
    with pytest.raises(BadInput, match="3 dimensions where 4 are needed"):
        check_descriptors(unit_rows(), "database", dim=4)


def test_lengths_are_free_where_asked():
    rows = 1e30 * unit_rows()
    assert torch.equal(check_descriptors(rows, "student", normalised=False), rows)
    with pytest.raises(BadInput, match="NaN"):
        check_descriptors(torch.full((1, 2), torch.nan), "student", normalised=False)
