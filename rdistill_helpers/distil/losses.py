"""Distillation losses: how far the student's rows are from the teacher's, as one scalar.

All have the same signature, `loss(student_rows, teacher_rows, *, comparable=None, **settings)`:

- student_rows [B, Ds] and teacher_rows [B, Dt], row i of both from the same image. All but `regression` compare
  relations between rows, so Ds and Dt may differ. Rows are used as they come, nothing is normalised on the way in
  (PKT and regression are made of cosines by definition); the result has the rows' dtype.
- comparable [B, B] bool, symmetric: the pairs of rows that may be compared, see `JointSpace.comparable`. None means
  every pair. A row's relation to itself is part of the formula of RKD, SP and PKT and stays in whatever the diagonal
  of `comparable` says; in the others it is always left out.

Gradients are finite also where rows coincide. The weights that the authors give (RKD distance : angle = 1 : 2,
SP 3,000, PKT 30,000) are not applied: with Adam a constant factor changes nothing, in a sum multiply by them.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers.errors import BadInput


def regression(
    student_rows: Tensor,
    teacher_rows: Tensor,
    *,
    comparable: Tensor | None = None,
    projection: nn.Linear | None = None,
) -> Tensor:
    """1 - cosine of each projected student row and its teacher row, mean over rows.

    projection: Ds -> Dt, trained beside the student; None needs Ds == Dt. No two rows are compared with each other, so
    `comparable` changes nothing.
    Source: Hinton-style feature regression as in FitNets (Romero et al., ICLR 2015), on final descriptors.
    """
    _check(student_rows, teacher_rows, comparable)
    predicted = student_rows if projection is None else projection(student_rows)
    if predicted.shape != teacher_rows.shape:
        raise BadInput(
            f"Regression compares rows of dimension {predicted.shape[1]} with teacher rows of dimension "
            f"{teacher_rows.shape[1]}: give projection=nn.Linear({student_rows.shape[1]}, {teacher_rows.shape[1]})."
        )
    return (1 - F.cosine_similarity(predicted, teacher_rows, dim=1)).mean()


def similarity(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Squared difference of the two dot products of a pair of rows, mean over all pairs of two different rows."""
    pairs = _check(student_rows, teacher_rows, comparable)
    difference = student_rows @ student_rows.T - teacher_rows @ teacher_rows.T
    return _masked_mean(difference.square(), pairs)


def rkd_distance(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Smooth-L1 between the pairwise distances, each divided by the mean positive distance of its own space.

    The average runs over the whole matrix, its zero diagonal included. Weight 1 beside `rkd_angle`.
    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, eq. 4-5.
    """
    kept = _with_diagonal(_check(student_rows, teacher_rows, comparable))
    own, target = (_relative_distances(rows, kept) for rows in (student_rows, teacher_rows))
    return _masked_mean(F.smooth_l1_loss(own, target, reduction="none"), kept)


def rkd_angle(
    student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None, chunk: int = 8
) -> Tensor:
    """Smooth-L1 between the cosines of the angles that every two rows make at every third, averaged over B^3 triples.

    Degenerate triples count with cosine 0 on both sides, as in the authors' code. Weight 2 beside `rkd_distance`. With
    `comparable`, a triple counts when all of its pairs do. chunk: vertices handled at a time; memory grows as
    chunk * B^2, not B^3. The gradient is found in the forward pass, so there is no second derivative.
    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, eq. 6-7.
    """
    kept = _with_diagonal(_check(student_rows, teacher_rows, comparable))
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
        total = total + sum(
            ((matrix - matrix.detach()) * slope).sum() for matrix, slope in zip(own, slopes, strict=True)
        )
    return total / triples


def darkrank_hard(
    student_rows: Tensor,
    teacher_rows: Tensor,
    *,
    comparable: Tensor | None = None,
    alpha: float = 3.0,
    beta: float = 3.0,
    length: int = 4,
) -> Tensor:
    """Minus the log-likelihood of the teacher's order of its `length` nearest rows, mean over rows.

    The student draws rows one after another with chances proportional to exp(-alpha * distance**beta) among those not
    yet placed (Plackett-Luce).
    Source: Chen, Wang, Zhang, "DarkRank", AAAI 2018, eq. 6 (hard transfer).
    """
    pairs = _check(student_rows, teacher_rows, comparable)
    order = _teacher_order(teacher_rows, pairs, length)
    scores = -alpha * _distances(student_rows).gather(1, order) ** beta
    return -_log_likelihood(scores).mean()


def darkrank_soft(
    student_rows: Tensor,
    teacher_rows: Tensor,
    *,
    comparable: Tensor | None = None,
    scale: float = 3.0,
    power: float = 1.5,
    length: int = 4,
) -> Tensor:
    """Cross-entropy between teacher and student over all length! orders of the teacher's nearest rows, mean over rows.

    Scores are -scale * (distance**2)**power; an order's chance is Plackett-Luce's (ListNet over permutations).
    Source: Chen, Wang, Zhang, "DarkRank", AAAI 2018, eq. 5 (soft transfer).
    """
    pairs = _check(student_rows, teacher_rows, comparable)
    order = _teacher_order(teacher_rows, pairs, length)
    permutations = torch.tensor(list(itertools.permutations(range(length))), device=order.device)  # [length!, length]
    own, target = (
        _log_likelihood((-scale * _squared_distances(rows).gather(1, order) ** power)[:, permutations])
        for rows in (student_rows, teacher_rows)
    )
    return -(target.exp() * own).sum(1).mean()


def similarity_preserving(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """Squared difference of the Gram matrices, the rows of each brought to length 1 first, mean over all entries.

    The authors multiply it by 3,000.
    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, eq. 2-4.
    """
    kept = _with_diagonal(_check(student_rows, teacher_rows, comparable))
    own, target = (F.normalize(rows @ rows.T * kept, dim=1) for rows in (student_rows, teacher_rows))
    return _masked_mean((own - target).square(), kept)


def pkt(student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None) -> Tensor:
    """KL divergence from the teacher's to the student's neighbour distributions, (cos + 1) / 2 brought to sum 1.

    Averaged over all entries of the matrix, as in the authors' code, which multiplies it by 30,000.
    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018.
    """
    kept = _with_diagonal(_check(student_rows, teacher_rows, comparable))
    own, target = (_cosine_distribution(rows, kept) for rows in (student_rows, teacher_rows))
    eps = 1e-7  # opposite rows have chance 0, whose logarithm would be infinite; the authors' value
    return _masked_mean(target * ((target + eps) / (own + eps)).log(), kept)


def listwise(
    student_rows: Tensor,
    teacher_rows: Tensor,
    *,
    comparable: Tensor | None = None,
    temperature: float = 0.04,
) -> Tensor:
    """KL divergence between softmax(similarity / temperature) over the other rows, teacher against student.

    Mean over the rows that have something to be compared with; 0 exactly when the student gives every row the
    teacher's similarities up to a constant.
    Source: ListNet's top-one form (Cao et al., ICML 2007) on descriptor similarities, as in CompRess (Koohpayegani et
    al., NeurIPS 2020) and SEED (Fang et al., ICLR 2021).
    """
    pairs = _check(student_rows, teacher_rows, comparable)
    if not temperature > 0:
        raise BadInput(f"The temperature {temperature} of the listwise loss is not usable: give a positive number.")
    # A finite stand-in for -inf: rows with nothing to compare, and the products below, stay free of nan.
    left_out = ~pairs
    own, target = (
        F.log_softmax((rows @ rows.T / temperature).masked_fill(left_out, torch.finfo(rows.dtype).min), dim=1)
        for rows in (student_rows, teacher_rows)
    )
    divergence = (target.exp() * (target - own)).masked_fill(left_out, 0).sum(1)
    return divergence.sum() / pairs.any(1).sum().clamp(min=1)


def _check(student_rows: Tensor, teacher_rows: Tensor, comparable: Tensor | None) -> Tensor:
    """The pairs of different rows that count, [B, B] bool; BadInput when shapes do not fit together."""
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


def _with_diagonal(pairs: Tensor) -> Tensor:
    return pairs | torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is true, 0 when that is nowhere."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def _squared_distances(rows: Tensor) -> Tensor:
    """[B, B] squared Euclidean distances, exactly 0 where rows are closer than rounding can tell."""
    rows = rows - rows.mean(0)  # distances do not see the shift, and the differences below lose fewer digits
    length = rows.square().sum(1)
    squared = length[:, None] + length - 2 * (rows @ rows.T)
    return squared.masked_fill(squared <= 8 * torch.finfo(rows.dtype).eps * (length[:, None] + length), 0)


def _distances(rows: Tensor) -> Tensor:
    """[B, B] Euclidean distances, with gradient 0 instead of infinity where they are 0."""
    squared = _squared_distances(rows)
    zero = squared == 0
    return squared.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


def _relative_distances(rows: Tensor, kept: Tensor) -> Tensor:
    """[B, B] distances of the kept pairs over the mean of the positive ones."""
    distances = _distances(rows)
    mean = _masked_mean(distances, kept & (distances > 0))
    return distances / mean.clamp(min=torch.finfo(rows.dtype).tiny)


def _gram_and_inverse_distances(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Dot products of the centred rows and 1 / distance (0 where the distance is 0), both [B, B]."""
    rows = rows - rows.mean(0)
    distances = _distances(rows)
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


def _teacher_order(teacher_rows: Tensor, pairs: Tensor, length: int) -> Tensor:
    """[B, length] each row's nearest comparable rows in the teacher's space, nearest first."""
    fewest = int(pairs.sum(1).min())
    if not 1 <= length <= fewest:
        raise BadInput(
            f"DarkRank orders {length} rows for each row, but one has {fewest} to be compared with: give a larger "
            "batch or another `length`."
        )
    distances = _squared_distances(teacher_rows).masked_fill(~pairs, torch.inf)
    return distances.topk(length, largest=False, sorted=True).indices


def _log_likelihood(scores: Tensor) -> Tensor:
    """Plackett-Luce log-likelihood of drawing the last dimension in its order: [..., length] -> [...]."""
    not_yet_placed = scores.flip(-1).logcumsumexp(-1).flip(-1)
    return (scores - not_yet_placed).sum(-1)


def _cosine_distribution(rows: Tensor, kept: Tensor) -> Tensor:
    rows = F.normalize(rows, dim=1)
    positive = ((rows @ rows.T + 1) / 2).clamp(min=0) * kept
    return positive / positive.sum(1, keepdim=True)
