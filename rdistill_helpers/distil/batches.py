"""Which images meet in a batch: anchors with their nearest neighbours in the teacher's space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput


def teacher_neighbours(teacher_rows: Tensor, k: int, block: int = 1024) -> Tensor:
    """The k most similar other rows of every row, most similar first.

    Args:
        teacher_rows: [N, Dt], L2-normalised.
        k: how many.
        block: rows compared with all others at a time, so memory is block * N similarities.

    Returns:
        int64 [N, k].

    Raises:
        BadInput: unless 1 <= k < N.
    """
    count = len(teacher_rows)
    if not 1 <= k < count:
        raise BadInput(f"{count} images have no {k} neighbours each: give 1 <= k < {count}, or more images.")
    nearest = []
    for start in range(0, count, block):
        similarity = teacher_rows[start : start + block] @ teacher_rows.T
        similarity.diagonal(start).fill_(-torch.inf)
        nearest.append(similarity.topk(k).indices)
    return torch.cat(nearest)


def tuple_batches(
    teacher_rows: Tensor,
    anchors: int = 8,
    neighbours: int = 5,
    steps: int = 500,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Batches of image numbers: random anchors, then their nearest neighbours by the teacher.

    Where neighbourhoods overlap, random other images fill the places. Batches need no label, and no state but the generator's,
    so a run that restores the generator goes on with the same batches.

    Args:
        teacher_rows: [N, Dt], L2-normalised.
        anchors: random images in each batch.
        neighbours: nearest images of each anchor.
        steps: how many batches.
        generator: where the draws come from; None draws from the global state of torch.

    Returns:
        An iterator of int64 [anchors * (1 + neighbours)], no image twice.

    Raises:
        BadInput: for an empty batch, and when there are fewer images than a batch holds.
    """
    count, size = len(teacher_rows), anchors * (1 + neighbours)
    if anchors < 1 or neighbours < 0:
        raise BadInput(f"{anchors} anchors, {neighbours} neighbours are no batch: give anchors >= 1, neighbours >= 0.")
    if count < size:
        raise BadInput(
            f"A batch of {anchors} anchors with {neighbours} neighbours each needs {size} images, but there are "
            f"{count}: give more images, or fewer anchors or neighbours."
        )
    nearest = (
        teacher_neighbours(teacher_rows, neighbours).cpu() if neighbours else torch.empty(count, 0, dtype=torch.int64)
    )
    return (_tuple_batch(nearest, anchors, size, generator) for _ in range(steps))


def _tuple_batch(nearest: Tensor, anchors: int, size: int, generator: torch.Generator | None) -> Tensor:
    shuffled = torch.randperm(len(nearest), generator=generator)[:size]  # its first `anchors` are the anchors
    wanted = torch.cat([shuffled[:anchors], nearest[shuffled[:anchors]].flatten(), shuffled[anchors:]])
    return torch.tensor(list(dict.fromkeys(wanted.tolist()))[:size])


def numbered(labels: Any, what: str) -> Tensor:
    """Labels as numbers, the same for equal ones.

    Args:
        labels: [N] integers or texts, in a tensor, an array or a list.
        what: what an error calls them.

    Returns:
        int64 [N]; texts are numbered in their order.

    Raises:
        BadInput: for anything else.
    """
    found = labels.cpu().numpy() if isinstance(labels, Tensor) else np.array(labels, None if len(labels) else int)
    if found.dtype.kind == "U":
        found = np.unique(found, return_inverse=True)[1]
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise BadInput(f"The {what} are {found.dtype} {list(found.shape)}: give one integer or text per image, [N].")
    return torch.from_numpy(found.astype(np.int64))


def class_batches(
    labels: Tensor,
    classes: int = 12,
    per_class: int = 4,
    steps: int = 150,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Batches for training with labels: random classes, a few random images of each.

    Args:
        labels: [N] integers; classes with a single image give no positive pair and are left out.
        classes: classes in each batch.
        per_class: images of each, fewer where a class has fewer.
        steps: how many batches.
        generator: where the draws come from; None draws from the global state of torch.

    Returns:
        An iterator of int64 [at most classes * per_class], no image twice.

    Raises:
        BadInput: when there are fewer such classes than a batch holds.
    """
    groups = [group for label in labels.unique() if len(group := (labels == label).nonzero()[:, 0]) > 1]
    if per_class < 2 or not 1 <= classes <= len(groups):
        raise BadInput(
            f"A batch of {classes} classes with {per_class} images each cannot be drawn from {len(groups)} classes of "
            f"two images or more: give classes <= {len(groups)} and per_class >= 2, or more labelled images."
        )

    def batch() -> Tensor:
        drawn = [groups[i] for i in torch.randperm(len(groups), generator=generator)[:classes].tolist()]
        return torch.cat([group[torch.randperm(len(group), generator=generator)[:per_class]] for group in drawn])

    return (batch() for _ in range(steps))


def hard_negatives(
    rows: Tensor, clusters: Tensor, pool_rows: Tensor, pool_clusters: Tensor, count: int, block: int = 1024
) -> Tensor:
    """The most similar pool rows of each row, of other clusters than its own and no two of one.

    Taking a cluster once keeps near-duplicates from filling the list.

    Args:
        rows: [Q, D], L2-normalised.
        clusters: int64 [Q].
        pool_rows: [N, D], L2-normalised.
        pool_clusters: int64 [N].
        count: negatives of each row.
        block: rows compared with the pool at a time.

    Returns:
        int64 [Q, count], positions in the pool.

    Raises:
        BadInput: when the pool has not `count` other clusters for every row.

    Source:
        Radenovic, Tolias and Chum, TPAMI 2019.
    """
    available = len(pool_clusters.unique())
    own = torch.isin(clusters, pool_clusters)
    if count < 1 or available - int(own.any()) < count:
        raise BadInput(
            f"A pool of {available} clusters has no {count} negatives for each: give more, or ask for fewer."
        )
    chosen = []
    for start in range(0, len(rows), block):
        similarity = rows[start : start + block] @ pool_rows.T
        similarity[clusters[start : start + block, None] == pool_clusters] = -torch.inf
        picks = []
        for _ in range(count):
            best = similarity.argmax(1)
            picks.append(best)
            similarity[pool_clusters[best][:, None] == pool_clusters] = -torch.inf
        chosen.append(torch.stack(picks, 1))
    return torch.cat(chosen)
