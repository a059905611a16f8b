"""What the losses share: which pairs count, and distances with gradients that stay finite."""

from __future__ import annotations

import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput


def compared_pairs(student_rows: Tensor, teacher_rows: Tensor, comparable: Tensor | None) -> Tensor:
    """The pairs of different rows that count.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool; None for all.

    Returns:
        [B, B] bool, False on the diagonal.

    Raises:
        BadInput: when shapes do not fit together.
    """
    if student_rows.ndim != 2 or teacher_rows.ndim != 2 or len(student_rows) != len(teacher_rows):
        raise BadInput(
            f"A loss takes student rows [B, Ds] and teacher rows [B, Dt] of the same images, but got "
            f"{list(student_rows.shape)} and {list(teacher_rows.shape)}: give one row for each image on both sides."
        )
    count = len(student_rows)
    different = ~torch.eye(count, dtype=torch.bool, device=student_rows.device)
    if comparable is None:
        return different
    if comparable.shape != (count, count) or comparable.dtype != torch.bool:
        raise BadInput(
            f"`comparable` says for each pair of rows whether they may be compared, but it is {comparable.dtype} "
            f"{list(comparable.shape)}: give a bool tensor [{count}, {count}]."
        )
    return comparable & different


def with_diagonal(pairs: Tensor) -> Tensor:
    """The pairs, and each row with itself.

    Args:
        pairs: [B, B] bool.

    Returns:
        [B, B] bool.
    """
    return pairs | torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is true, 0 when that is nowhere.

    Args:
        values: any shape.
        mask: bool, of the same shape.

    Returns:
        A scalar.
    """
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def squared_distances(rows: Tensor) -> Tensor:
    """Squared Euclidean distances, exactly 0 where rows are closer than rounding can tell.

    Args:
        rows: [B, D].

    Returns:
        [B, B].
    """
    rows = rows - rows.mean(0)  # distances do not see the shift, and the differences below lose fewer digits
    length = rows.square().sum(1)
    squared = length[:, None] + length - 2 * (rows @ rows.T)
    return squared.masked_fill(squared <= 8 * torch.finfo(rows.dtype).eps * (length[:, None] + length), 0)


def distances_of(rows: Tensor) -> Tensor:
    """Euclidean distances, with gradient 0 instead of infinity where they are 0.

    Args:
        rows: [B, D].

    Returns:
        [B, B].
    """
    squared = squared_distances(rows)
    zero = squared == 0
    return squared.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)
