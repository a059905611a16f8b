"""Losses of relations between rows: similarities, distances and angles; and regression of the rows themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers.distil.losses.geometry import (
    compared_pairs,
    distances_of,
    masked_mean,
    with_diagonal,
)
from rdistill_helpers.errors import BadInput


def regression(
    student_rows: Tensor,
    teacher_rows: Tensor,
    *,
    comparable: Tensor | None = None,
    projection: nn.Linear | None = None,
) -> Tensor:
    """1 - cosine of each projected student row and its teacher row, mean over rows.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool; changes nothing, for no two rows are compared with each other.
        projection: Ds -> Dt, trained together with the student; None needs Ds == Dt.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, and for different dimensions without a projection.

    Source:
        Hinton-style feature regression as in FitNets (Romero et al., ICLR 2015), on final descriptors.
    """
    compared_pairs(student_rows, teacher_rows, comparable)
    predicted = student_rows if projection is None else projection(student_rows)
    if predicted.shape != teacher_rows.shape:
        raise BadInput(
            f"Regression compares rows of dimension {predicted.shape[1]} with teacher rows of dimension "
            f"{teacher_rows.shape[1]}: give projection=nn.Linear({student_rows.shape[1]}, {teacher_rows.shape[1]})."
        )
    return (1 - F.cosine_similarity(predicted, teacher_rows, dim=1)).mean()


def similarity(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Squared difference of the two dot products of a pair of rows, mean over all pairs of two different rows.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit.
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
    difference = student_rows @ student_rows.T - teacher_rows @ teacher_rows.T
    return masked_mean(difference.square(), pairs)


def rkd_distance(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Smooth-L1 between the pairwise distances, each divided by the mean positive distance of its own space.

    The average runs over the whole matrix, its zero diagonal included.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit.

    Source:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, eq. 4-5.
    """
    kept = with_diagonal(compared_pairs(student_rows, teacher_rows, comparable))
    own, target = (_relative_distances(rows, kept) for rows in (student_rows, teacher_rows))
    return masked_mean(F.smooth_l1_loss(own, target, reduction="none"), kept)


def rkd_angle(
    student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None, chunk: int = 8
) -> Tensor:
    """Smooth-L1 between the cosines of the angles that every two rows make at every third, averaged over B^3 triples.

    Degenerate triples count with cosine 0 on both sides, as in the authors' code. With `comparable`, a triple counts when all
    of its pairs do. The gradient is found in the forward pass, so there is no second derivative.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        chunk: vertices handled at a time; memory grows as chunk * B^2, not B^3.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit.

    Source:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, eq. 6-7.
    """
    kept = with_diagonal(compared_pairs(student_rows, teacher_rows, comparable))
    own, target = (_gram_and_inverse_distances(rows) for rows in (student_rows, teacher_rows))
    learning = torch.is_grad_enabled() and student_rows.requires_grad
    leaves = [matrix.detach().requires_grad_(learning) for matrix in own]
    slopes = [torch.zeros_like(matrix) for matrix in own]
    total, triples = student_rows.new_zeros(()), 0
    for start in range(0, len(student_rows), chunk):
        vertices = slice(start, start + chunk)
        counted = kept[vertices, :, None] & kept[vertices, None, :] & kept
        part = _angle_chunk(leaves[0], leaves[1], target[0], target[1], counted, vertices)
        triples += int(counted.sum())
        total += part.detach()
        if learning:  # a chunk is differentiated at once: keeping all of them would take B^3 memory after all
            for slope, of_part in zip(slopes, torch.autograd.grad(part, leaves), strict=True):
                slope += of_part
    if learning:
        # Adds zero to the value, and to the gradient what the chunks have found.
        total = total + sum(((value - value.detach()) * slope).sum() for value, slope in zip(own, slopes, strict=True))
    return total / triples


def rkd(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """`rkd_distance` + 2 * `rkd_angle`, the weights of the authors.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit.

    Source:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, section 4.
    """
    angle = rkd_angle(student_rows, teacher_rows, comparable=comparable)
    return rkd_distance(student_rows, teacher_rows, comparable=comparable) + 2 * angle


def similarity_preserving(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Squared difference of the Gram matrices, the rows of each scaled to length 1 first, mean over all entries.

    The authors multiply it by 3,000.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit.

    Source:
        Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, eq. 2-4.
    """
    kept = with_diagonal(compared_pairs(student_rows, teacher_rows, comparable))
    own, target = (F.normalize(rows @ rows.T * kept, dim=1) for rows in (student_rows, teacher_rows))
    return masked_mean((own - target).square(), kept)


def pkt(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """KL divergence from the teacher's to the student's neighbour distributions, (cos + 1) / 2 scaled to sum 1.

    Averaged over all entries of the matrix, as in the authors' code, which multiplies it by 30,000.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit.

    Source:
        Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018.
    """
    kept = with_diagonal(compared_pairs(student_rows, teacher_rows, comparable))
    own, target = (_cosine_distribution(rows, kept) for rows in (student_rows, teacher_rows))
    eps = 1e-7  # opposite rows have probability 0, whose logarithm would be infinite; the authors' value
    return masked_mean(target * ((target + eps) / (own + eps)).log(), kept)


def _relative_distances(rows: Tensor, kept: Tensor) -> Tensor:
    """[B, B] distances of the kept pairs over the mean of the positive ones."""
    distances = distances_of(rows)
    mean = masked_mean(distances, kept & (distances > 0))
    return distances / mean.clamp(min=torch.finfo(rows.dtype).tiny)


def _gram_and_inverse_distances(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Dot products of the centred rows and 1 / distance (0 where the distance is 0), both [B, B]."""
    rows = rows - rows.mean(0)
    distances = distances_of(rows)
    zero = distances == 0
    return rows @ rows.T, distances.masked_fill(zero, 1).reciprocal().masked_fill(zero, 0)


def _angle_chunk(
    gram: Tensor, inverse: Tensor, target_gram: Tensor, target_inverse: Tensor, counted: Tensor, vertices: slice
) -> Tensor:
    """Sum of smooth-L1 over the counted triples [chunk, B, B] at some vertices."""

    def cosines(gram: Tensor, inverse: Tensor) -> Tensor:  # (j - i) . (k - i) / |j - i| |k - i| as [chunk, B, B]
        products = gram - gram[vertices, :, None] - gram[vertices, None, :] + gram.diagonal()[vertices, None, None]
        return products * inverse[vertices, :, None] * inverse[vertices, None, :]

    difference = F.smooth_l1_loss(cosines(gram, inverse), cosines(target_gram, target_inverse), reduction="none")
    return (difference * counted).sum()


def _cosine_distribution(rows: Tensor, kept: Tensor) -> Tensor:
    rows = F.normalize(rows, dim=1)
    positive = ((rows @ rows.T + 1) / 2).clamp(min=0) * kept
    return positive / positive.sum(1, keepdim=True)
