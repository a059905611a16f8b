"""Choosing photographs: k-centre against brute force, clusters that are far apart, and what cannot be chosen."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from rdistill_helpers.distil.choose import cluster_centres, k_centre
from rdistill_helpers.errors import BadInput


def random_rows(count=40, dim=6, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def radius(rows, chosen):
    """The largest distance from a row to its nearest chosen one."""
    return float(torch.cdist(rows, rows[list(chosen)]).min(1).values.max())


def test_each_next_centre_is_the_row_furthest_from_all_before():
    rows = random_rows()
    chosen = k_centre(rows, 10, torch.Generator().manual_seed(1)).tolist()
    for place in range(1, 10):
        distance = torch.cdist(rows, rows[chosen[:place]]).min(1).values
        assert distance[chosen[place]] == pytest.approx(float(distance.max()), abs=1e-5)


def test_k_centre_is_within_twice_the_best_possible_radius():
    rows = random_rows(count=12, dim=3)
    best = min(radius(rows, subset) for subset in itertools.combinations(range(12), 3))
    for seed in range(5):
        assert radius(rows, k_centre(rows, 3, torch.Generator().manual_seed(seed)).tolist()) <= 2 * best + 1e-5


def test_a_smaller_budget_is_a_prefix_of_a_larger_one():
    rows = random_rows()
    large, small = (k_centre(rows, count, torch.Generator().manual_seed(2)) for count in (20, 7))
    assert torch.equal(large[:7], small)


def test_no_photograph_is_paid_twice_even_among_equal_rows():
    rows = random_rows(count=5)[[0, 0, 0, 1, 1, 2, 3, 4]]
    for count in (5, 8):
        assert len(k_centre(rows, count).unique()) == count


def test_each_of_well_separated_clusters_is_paid_once():
    centres = torch.eye(6)
    noise = 0.02 * torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    rows = F.normalize(centres.repeat_interleave(10, 0) + noise, dim=1)
    for choose in (k_centre, cluster_centres):
        chosen = choose(rows, 6, torch.Generator().manual_seed(0))
        assert sorted((chosen // 10).tolist()) == list(range(6))


def test_a_cluster_is_paid_for_its_most_central_row():
    noise = 0.2 * torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    rows = F.normalize(torch.tensor([[1.0, 0, 0, 0]]) + noise, dim=1)
    nearest = (rows - rows.mean(0)).norm(dim=1).argmin()
    assert cluster_centres(rows, 1).tolist() == [int(nearest)]


@pytest.mark.parametrize("choose", [k_centre, cluster_centres])
def test_the_generator_decides(choose):
    rows = random_rows(count=60)
    first, again, other = (choose(rows, 9, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize("choose", [k_centre, cluster_centres])
@pytest.mark.parametrize("count", [0, 41])
def test_more_than_there_are_or_none_is_refused(choose, count):
    with pytest.raises(BadInput, match="cannot be chosen from 40"):
        choose(random_rows(), count)


def test_more_clusters_than_different_rows_are_refused():
    with pytest.raises(BadInput, match="fewer different rows"):
        cluster_centres(random_rows(count=3)[[0, 0, 1, 1, 2]], 4)
