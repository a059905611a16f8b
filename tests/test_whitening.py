import numpy as np
import pytest
import torch
from torch import nn

from rdistill_helpers.embed.whitening import LearnedWhitening, learn_whitening, pca_whitening
from rdistill_helpers.errors import BadInput


def matching(places=60, dim=6, seed=0):
    """Rows [2 * places, dim] of two photographs of each place, and the pairs; some directions vary more than others."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randn(places, dim, generator=generator) * torch.linspace(1, 3, dim) + 2
    noise = torch.randn(2, places, dim, generator=generator) * torch.linspace(2, 0.3, dim)
    mixing = torch.randn(dim, dim, generator=generator)
    rows = ((place + noise).reshape(-1, dim) @ mixing).float()
    return rows, torch.arange(places), torch.arange(places) + places


def outer_products(vectors):
    """Mean of x x^T over vectors, one product at a time."""
    dim = len(vectors[0])
    total = np.zeros((dim, dim))
    for vector in vectors:
        for i in range(dim):
            for j in range(dim):
                total[i, j] += vector[i] * vector[j]
    return total / len(vectors)


def same_up_to_signs(projection, expected):
    assert projection.shape == expected.shape
    signs = np.sign((projection.numpy() * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(projection.numpy(), signs * expected, rtol=2e-4, atol=1e-5)


def test_learn_whitening_equals_a_slow_computation():
    rows, queries, positives = matching()
    whitening = learn_whitening(rows, queries, positives)
    x = rows.double().numpy()
    mean = sum(x[q] for q in queries) / len(queries)
    within = outer_products([x[q] - x[p] for q, p in zip(queries, positives, strict=True)])
    # Another square root than the package's, by Cholesky: the rotation makes both the same.
    root = np.linalg.inv(np.linalg.cholesky(within))
    values, vectors = np.linalg.eigh(outer_products([root @ (row - mean) for row in x]))
    np.testing.assert_allclose(whitening.mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    same_up_to_signs(whitening.projection, vectors[:, values.argsort()[::-1]].T @ root)


def test_differences_of_pairs_get_identity_covariance():
    rows, queries, positives = matching()
    differences = (rows[queries] - rows[positives]) @ learn_whitening(rows, queries, positives).projection.T
    torch.testing.assert_close(differences.T @ differences / len(queries), torch.eye(6), rtol=0, atol=1e-4)


def test_dimensions_of_learned_whitening_come_in_descending_order():
    rows, queries, positives = matching()
    whitening = learn_whitening(rows, queries, positives)
    moments = ((rows - whitening.mean) @ whitening.projection.T).square().mean(dim=0)
    assert (moments.diff() < 0).all()


def test_learned_whitening_brings_matching_images_together():
    def found(descriptors):
        descriptors = nn.functional.normalize(descriptors)
        return (descriptors[queries] @ descriptors[positives].T).argmax(dim=1).eq(queries).float().mean()

    rows, queries, positives = matching(places=200)
    whitening = learn_whitening(rows, queries[:100], positives[:100])
    assert found(whitening(rows)) > found(rows)


def test_order_of_pairs_changes_nothing():
    rows, queries, positives = matching()
    order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(1))
    one, other = (
        learn_whitening(rows, queries, positives),
        learn_whitening(rows, queries[order], positives[order].tolist()),
    )
    torch.testing.assert_close(other.mean, one.mean)
    torch.testing.assert_close(other.projection, one.projection, rtol=1e-4, atol=1e-5)


def test_blocks_change_nothing(monkeypatch):
    rows, queries, positives = matching()
    whole = learn_whitening(rows, queries, positives), pca_whitening(rows)
    monkeypatch.setattr("rdistill_helpers.embed.whitening.BLOCK", 7)
    for one, other in zip(whole, (learn_whitening(rows, queries, positives), pca_whitening(rows)), strict=True):
        torch.testing.assert_close(other.mean, one.mean)
        torch.testing.assert_close(other.projection, one.projection, rtol=1e-4, atol=1e-5)


def test_pairs_of_an_image_with_itself_are_left_out_with_a_warning():
    rows, queries, positives = matching()
    plain = learn_whitening(rows, queries, positives)
    with pytest.warns(UserWarning, match="2 of 62 pairs match an image with itself"):
        cleaned = learn_whitening(rows, [3, *queries.tolist(), 5], [3, *positives.tolist(), 5])
    torch.testing.assert_close(cleaned.mean, plain.mean)
    torch.testing.assert_close(cleaned.projection, plain.projection)
    with pytest.raises(BadInput, match="All pairs match an image with itself"):
        learn_whitening(rows, queries, queries)


def test_channels_that_never_vary_are_left_out():
    rows, queries, positives = matching()
    dead = torch.cat([rows[:, :2], torch.full((len(rows), 1), 0.5), rows[:, 2:], torch.zeros(len(rows), 1)], dim=1)
    alive = [0, 1, 3, 4, 5, 6]
    pairs = learn_whitening(rows, queries, positives), learn_whitening(dead, queries, positives)
    for plain, whitening in (pairs, (pca_whitening(rows), pca_whitening(dead))):
        assert whitening.projection.shape == (6, 8)
        torch.testing.assert_close(whitening(dead), plain(rows), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(whitening.projection[:, alive], plain.projection, rtol=1e-3, atol=1e-4)


def test_pairs_too_few_for_the_dimensions_are_refused():
    rows, queries, positives = matching()
    with pytest.raises(BadInput, match=r"The 5 pairs differ in 5 directions only.* \(D = 6\)"):
        learn_whitening(rows, queries[:5], positives[:5])
    learn_whitening(rows, queries[:6], positives[:6])
    with pytest.raises(BadInput, match="60 pairs differ in 1 directions only"):
        learn_whitening(rows, [0] * 60, [60] * 60)
    with pytest.raises(BadInput, match="differ in 0 directions only"):
        learn_whitening(torch.ones(4, 3), [0, 1], [2, 3])


def test_pca_whitening_equals_a_slow_computation():
    rows, _, _ = matching()
    whitening = pca_whitening(rows)
    x = rows.double().numpy()
    mean = sum(x) / len(x)
    values, vectors = np.linalg.eigh(outer_products([row - mean for row in x]))
    order = values.argsort()[::-1]
    np.testing.assert_allclose(whitening.mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    same_up_to_signs(whitening.projection, np.array([vectors[:, i] / np.sqrt(values[i]) for i in order]))


@pytest.mark.parametrize("power", [0, 0.25, 1])
def test_the_power_of_pca_whitening_divides_each_direction(power):
    rows, _, _ = matching()
    whole = pca_whitening(rows)
    spread = ((rows - whole.mean) @ whole.projection.T).std(dim=0, correction=0)  # 1 each
    values = 1 / whole.projection.norm(dim=1) ** 2  # of unit eigenvectors divided by the square root of their value
    expected = whole.projection * (values ** (0.5 - power))[:, None]
    torch.testing.assert_close(spread, torch.ones(6), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(pca_whitening(rows, power).projection, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(BadInput, match="from 0 to 1"):
        pca_whitening(rows, 1 + power + 0.1)


def test_rows_get_identity_covariance_by_pca_whitening():
    rows, _, _ = matching()
    whitening = pca_whitening(rows)
    white = (rows - whitening.mean) @ whitening.projection.T
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(white.T @ white / len(rows), torch.eye(6), rtol=0, atol=1e-4)


def test_pca_whitening_of_few_rows_keeps_the_directions_they_span():
    rows, _, _ = matching()
    assert pca_whitening(rows[:4]).projection.shape == (3, 6)
    white = pca_whitening(rows[:4])(rows[:4])
    assert white.isfinite().all()
    with pytest.raises(BadInput, match="all equal"):
        pca_whitening(rows[:1].expand(5, 6))


def test_whitened_rows_are_shortened_before_they_are_normalised():
    rows, _, _ = matching()
    whitening = pca_whitening(rows)
    assert whitening(rows).norm(dim=1).sub(1).abs().max() < 1e-4
    for dim in (1, 3, 6):
        short = [whitening.projection[:dim] @ (row - whitening.mean) for row in rows]
        expected = torch.stack([row / (row.square().sum().sqrt() + 1e-6) for row in short])
        torch.testing.assert_close(whitening(rows, dim), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [0, -1, 4])
def test_dimensions_that_a_whitening_does_not_have_are_refused(dim):
    with pytest.raises(BadInput, match=f"up to 3 dimensions: dim={dim}"):
        LearnedWhitening(torch.zeros(4), torch.eye(4)[:3])(torch.rand(5, 4), dim)


def test_rows_of_another_network_are_refused():
    with pytest.raises(BadInput, match="5 dimensions where 4 are needed"):
        LearnedWhitening(torch.zeros(4), torch.eye(4))(torch.rand(2, 5))


@pytest.mark.parametrize(
    ("queries", "positives", "message"),
    [
        ([], [], "queries must be a list of whole numbers"),
        ([0, 1], [[2, 3]], "positives must be a list of whole numbers"),
        ([0.0, 1.0], [2, 3], "queries must be a list of whole numbers"),
        ([True, False], [2, 3], "queries must be a list of whole numbers"),
        ([0, 1], [2], "2 queries and 1 positives are not pairs"),
        ([0, 1], [2, 120], "positives hold positions from 2 to 120, but there are 120 descriptors"),
        ([-1, 1], [2, 3], "queries hold positions from -1 to 1"),
    ],
)
def test_indices_that_are_no_pairs_are_refused(queries, positives, message):
    with pytest.raises(BadInput, match=message):
        learn_whitening(matching()[0], queries, positives)


def test_rows_that_are_no_descriptors_are_refused():
    rows = matching()[0]
    rows[3, 2] = float("nan")
    for learn in (pca_whitening, lambda r: learn_whitening(r, [0], [1])):
        with pytest.raises(BadInput, match="descriptors hold NaN or infinite values, first in descriptor 3"):
            learn(rows)
