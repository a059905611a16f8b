"""Neighbours in the teacher's space, and the batches made of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdistill_helpers.distil.batches import class_batches, hard_negatives, teacher_neighbours, tuple_batches
from rdistill_helpers.errors import BadInput

SEEDS = st.integers(0, 2**31)


def unit_rows(count, dim=5, seed=0):
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(SEEDS, st.integers(1, 6), st.sampled_from([1, 3, 7, 100]))
@settings(max_examples=30, deadline=None)
def test_neighbours_equal_a_full_sort(seed, k, block):
    rows = unit_rows(11, seed=seed)
    for i, found in enumerate(teacher_neighbours(rows, k, block).tolist()):
        others = sorted((j for j in range(11) if j != i), key=lambda j: -float(rows[i] @ rows[j]))
        assert found == others[:k]


def test_duplicates_are_neighbours_but_no_row_is_its_own():
    rows = unit_rows(1).repeat(5, 1)
    nearest = teacher_neighbours(rows, 4)
    assert all(i not in row for i, row in enumerate(nearest.tolist()))


@given(SEEDS, st.integers(1, 5), st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_batches_hold_anchors_with_all_their_neighbours_and_no_image_twice(seed, anchors, neighbours):
    rows = unit_rows(25, seed=seed)
    nearest = teacher_neighbours(rows, neighbours).tolist() if neighbours else [[]] * 25
    batches = list(tuple_batches(rows, anchors, neighbours, steps=4, generator=seeded(seed)))
    assert len(batches) == 4
    for batch in batches:
        assert batch.dtype == torch.int64
        images = batch.tolist()
        assert len(images) == len(set(images)) == anchors * (1 + neighbours)
        assert all(set(nearest[anchor]) <= set(images) for anchor in images[:anchors])


def test_overlapping_neighbourhoods_are_filled_up_with_other_images():
    rows = torch.cat([unit_rows(1).repeat(6, 1), unit_rows(14, seed=1)])  # six copies: any two of them share neighbours
    sizes = {len(set(batch.tolist())) for batch in tuple_batches(rows, 3, 5, steps=30, generator=seeded())}
    assert sizes == {18}


def test_as_many_images_as_a_batch_holds_are_enough():
    (batch,) = tuple_batches(unit_rows(12), 3, 3, steps=1, generator=seeded())
    assert sorted(batch.tolist()) == list(range(12))


def test_every_image_becomes_an_anchor_sooner_or_later():
    batches = tuple_batches(unit_rows(20), 4, 2, steps=100, generator=seeded())
    assert {anchor for batch in batches for anchor in batch[:4].tolist()} == set(range(20))


def test_the_generators_state_is_all_there_is_to_resume():
    rows, generator = unit_rows(40), seeded(3)
    batches = tuple_batches(rows, 4, 3, steps=6, generator=generator)
    for _ in range(3):
        next(batches)
    resumed = torch.Generator()
    resumed.set_state(generator.get_state())
    rest = list(tuple_batches(rows, 4, 3, steps=3, generator=resumed))
    assert all(torch.equal(a, b) for a, b in zip(batches, rest, strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tuple_batches(unit_rows(47), 8, 5), "needs 48 images, but there are 47"),
        (lambda: tuple_batches(unit_rows(47), 0, 5), "anchors >= 1"),
        (lambda: teacher_neighbours(unit_rows(4), 4), "1 <= k < 4"),
        (lambda: teacher_neighbours(unit_rows(4), 0), "1 <= k < 4"),
        (lambda: class_batches(torch.arange(30), 4, 2), "from 0 classes"),
        (lambda: class_batches(torch.arange(30) // 10, 4, 2), "classes <= 3"),
        (lambda: class_batches(torch.arange(30) // 10, 3, 1), "per_class >= 2"),
    ],
)
def test_too_few_images_are_refused_at_once(call, words):
    with pytest.raises(BadInput, match=words):
        call()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_class_batches_hold_the_classes_and_images_asked_for(seed):
    labels = torch.randperm(40, generator=seeded(seed)) % 8
    labels[0] = 99  # alone in its class
    for batch in class_batches(labels, 5, 3, steps=5, generator=seeded(seed)):
        found, counts = labels[batch].unique(return_counts=True)
        assert len(found) == 5
        assert (counts == 3).all()
        assert 99 not in found
        assert len(set(batch.tolist())) == 15


def negatives_in_loops(rows, clusters, pool_rows, pool_clusters, count):
    chosen = []
    for row, cluster in zip(rows, clusters.tolist(), strict=True):
        taken, line = {cluster}, []
        for i in sorted(range(len(pool_rows)), key=lambda i: -float(row @ pool_rows[i])):
            if pool_clusters[i].item() not in taken and len(line) < count:
                line.append(i)
                taken.add(pool_clusters[i].item())
        chosen.append(line)
    return chosen


@pytest.mark.parametrize("block", [3, 1024])
def test_hard_negatives_equal_the_loop_over_sorted_rows(block):
    generator = torch.Generator().manual_seed(0)
    rows, pool = (torch.nn.functional.normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (8, 40))
    clusters, pool_clusters = torch.randint(7, (8,), generator=generator), torch.randint(7, (40,), generator=generator)
    mined = hard_negatives(rows, clusters, pool, pool_clusters, 4, block)
    assert mined.tolist() == negatives_in_loops(rows, clusters, pool, pool_clusters, 4)


def test_too_few_clusters_for_the_negatives_are_said():
    rows, clusters = torch.eye(6), torch.tensor([0, 0, 1, 1, 2, 2])
    assert hard_negatives(rows, clusters, rows, clusters, 2).shape == (6, 2)
    with pytest.raises(BadInput, match="pool of 3 clusters has no 3 negatives"):
        hard_negatives(rows, clusters, rows, clusters, 3)
