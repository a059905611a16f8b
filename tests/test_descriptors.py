import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rdistill_helpers.descriptors import check_descriptors, open_descriptors, save_descriptors
from rdistill_helpers.errors import BadInput, DataMissing


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
    expected = array.astype(np.float64)
    if dtype == np.float16:  # rounding moved their lengths
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_descriptors_that_were_normalised_in_a_reduced_type_get_length_1(dtype):
    rows = torch.randn(2000, 37, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = rows / rows.norm(dim=1, keepdim=True)
    assert rows.dtype == dtype and (rows.float().norm(dim=1) - 1).abs().max() > 1e-4
    checked = check_descriptors(rows, "queries")
    assert checked.dtype == torch.float32
    torch.testing.assert_close(checked.norm(dim=1), torch.ones(2000), rtol=0, atol=1e-6)
    torch.testing.assert_close(checked, rows.float(), rtol=1e-2, atol=0)


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
        (torch.ones(3), r"not \[3\]"),
        (torch.ones(0, 3), "are empty"),
        (torch.ones(3, 0), "are empty"),
        (torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]), "NaN or infinite values, first in descriptor 1"),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("-inf"), 0.0]]), "first in descriptor 2"),
        (torch.tensor([[1.0, 0.0], [0.6, 0.9]]), "not L2-normalised, descriptor 1 has length 1.08"),
        (torch.tensor([[0.0, 0.0]]), "descriptor 0 has length 0"),
        (torch.tensor([[1e30, 1e30]]), "not L2-normalised, descriptor 0 has length inf"),
    ],
)
def test_bad_descriptors_are_refused_in_one_sentence(rows, words):
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


def test_half_precision_descriptors_may_be_off_by_two_roundings():
    rows = unit_rows()
    rows[2] *= 1 + 1.5e-3
    check_descriptors(rows.half(), "queries")
    with pytest.raises(BadInput, match="descriptor 2 has length 1.00"):
        check_descriptors(rows, "queries")
    rows[2] *= 1 + 1.5e-3
    with pytest.raises(BadInput, match="descriptor 2 has length 1.00"):
        check_descriptors(rows.half().numpy(), "queries")


def test_rows_divided_by_their_length_in_half_precision_count_as_normalised():
    rows = torch.randn(2000, 256, generator=torch.Generator().manual_seed(0)).half()
    check_descriptors(rows / rows.norm(dim=1, keepdim=True), "queries")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_stored_rows_come_back_memory_mapped(tmp_path, dtype):
    path = save_descriptors(tmp_path / "new" / "rows.bin", unit_rows().requires_grad_(), dtype)
    rows = open_descriptors(path)
    assert isinstance(rows, np.memmap) and not rows.flags.writeable
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, unit_rows().numpy().astype(dtype))
    assert [file.name for file in path.parent.iterdir()] == ["rows.bin"]


def test_unusable_descriptors_are_not_stored(tmp_path):
    with pytest.raises(BadInput, match="descriptors are not L2-normalised"):
        save_descriptors(tmp_path / "rows.npy", 2 * unit_rows())
    with pytest.raises(BadInput, match="float16 or float32"):
        save_descriptors(tmp_path / "rows.npy", unit_rows(), "int8")
    assert list(tmp_path.iterdir()) == []


def test_files_without_descriptors_are_refused(tmp_path):
    with pytest.raises(DataMissing, match=r"No descriptors at .*gone.npy"):
        open_descriptors(tmp_path / "gone.npy")
    path = save_descriptors(tmp_path / "cut.npy", unit_rows())
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "text.npy").write_text("something else")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "objects.npy", np.array([None]))
    np.savez(tmp_path / "many.npz", rows=np.ones((3, 1)))
    for name in ("cut.npy", "text.npy", "empty.npy", "objects.npy", "many.npz"):
        with pytest.raises(BadInput, match=f"{name} is no whole .npy file"):
            open_descriptors(tmp_path / name)
    np.save(tmp_path / "line.npy", np.ones(3, np.float32))
    np.save(tmp_path / "double.npy", np.ones((3, 1)))
    for name in ("line.npy", "double.npy"):
        with pytest.raises(BadInput, match=f"{name} holds float.*, not float16 or float32 descriptors"):
            open_descriptors(tmp_path / name)
