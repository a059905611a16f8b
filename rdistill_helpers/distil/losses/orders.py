"""Losses of orders: which rows stand first in each list, and in which order."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers.distil.losses.geometry import compared_pairs, distances_of, masked_mean, squared_distances
from rdistill_helpers.errors import BadInput

LAST = -1e4  # a score behind all others, finite so that nothing becomes nan


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

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        temperature: of both softmaxes; a low one looks at the nearest rows only.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, and for a temperature that is not positive.

    Source:
        ListNet's top-one form (Cao et al., ICML 2007) on descriptor similarities, as in CompRess (Koohpayegani et al.,
        NeurIPS 2020) and SEED (Fang et al., ICLR 2021).
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
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


def listmle(
    student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None, scale: float = 25.0
) -> Tensor:
    """Minus the log-likelihood of the teacher's whole order of the comparable rows, mean over all places of all lists.

    The student draws rows one after another with probabilities proportional to exp(scale * similarity) among those not yet
    placed (Plackett-Luce). Only the teacher's order counts, not its similarities.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        scale: factor of the student's similarities.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, and for a scale that is not positive.

    Source:
        Xia et al., "Listwise approach to learning to rank", ICML 2008, on descriptor similarities.
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
    _check_scale(scale, "ListMLE")
    order = (teacher_rows @ teacher_rows.T).masked_fill(~pairs, -torch.inf).argsort(1, descending=True)
    placed = pairs.gather(1, order)
    scores = (scale * (student_rows @ student_rows.T)).gather(1, order).masked_fill(~placed, LAST)
    not_yet_placed = scores.flip(1).logcumsumexp(1).flip(1)
    return masked_mean(not_yet_placed - scores, placed)


def pair_order(
    student_rows: Tensor, teacher_rows: Tensor, *, comparable: Tensor | None = None, scale: float = 25.0
) -> Tensor:
    """Logistic loss on whether two rows stand in the teacher's order as seen from a third, mean over such triples.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        scale: factor of the student's differences of similarity.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, and for a scale that is not positive.

    Source:
        RankNet (Burges et al., "Learning to rank using gradient descent", ICML 2005) on descriptor similarities.
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
    _check_scale(scale, "the order of pairs")
    own, target = student_rows @ student_rows.T, teacher_rows @ teacher_rows.T
    nearer = (target[:, :, None] > target[:, None, :]) & pairs[:, :, None] & pairs[:, None, :]
    return masked_mean(F.softplus(scale * (own[:, None, :] - own[:, :, None])), nearer)


def smooth_ap(
    student_rows: Tensor,
    teacher_rows: Tensor,
    *,
    comparable: Tensor | None = None,
    scale: float = 50.0,
    top: int = 5,
) -> Tensor:
    """1 - smoothed average precision of each row's list, with its `top` nearest by the teacher as positives; mean over rows.

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        scale: steepness of the sigmoid that counts which rows stand above.
        top: positives of each row.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, for a scale that is not positive, and where a row has
            fewer than `top` to be compared with.

    Source:
        Brown et al., "Smooth-AP: Smoothing the path towards large-scale image retrieval", ECCV 2020.
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
    _check_scale(scale, "smooth AP")
    if not 1 <= top <= int(pairs.sum(1).min()):
        raise BadInput(f"Smooth AP has no top={top} positives for each row: give a larger batch or a smaller top.")
    positives = (teacher_rows @ teacher_rows.T).masked_fill(~pairs, -torch.inf).topk(top, 1).indices
    own = student_rows @ student_rows.T
    above = torch.sigmoid(scale * (own[:, None, :] - own.gather(1, positives)[:, :, None]))  # [B, top, B]
    above = (above * pairs[:, None, :]).scatter(2, positives[:, :, None], 0.0)  # no row stands above itself
    positive = torch.zeros_like(pairs).scatter(1, positives, True)[:, None, :]
    return 1 - ((1 + (above * positive).sum(2)) / (1 + above.sum(2))).mean()


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

    The student draws rows one after another with probabilities proportional to exp(-alpha * distance**beta) among those not
    yet placed (Plackett-Luce).

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        alpha: factor of the scores.
        beta: power of the distances.
        length: how many of each row's nearest are ordered.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, and where a row has fewer than `length` to be compared with.

    Source:
        Chen, Wang, Zhang, "DarkRank", AAAI 2018, eq. 6 (hard transfer).
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
    order = _teacher_order(teacher_rows, pairs, length)
    scores = -alpha * distances_of(student_rows).gather(1, order) ** beta
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

    Scores are -scale * (distance**2)**power; an order's probability is Plackett-Luce's (ListNet over permutations).

    Args:
        student_rows: [B, Ds].
        teacher_rows: [B, Dt].
        comparable: [B, B] bool, the pairs that may be compared; None for all.
        scale: factor of the scores.
        power: power of the squared distances.
        length: how many of each row's nearest are ordered.

    Returns:
        The scalar loss.

    Raises:
        BadInput: for rows or a mask of shapes that do not fit, and where a row has fewer than `length` to be compared with.

    Source:
        Chen, Wang, Zhang, "DarkRank", AAAI 2018, eq. 5 (soft transfer).
    """
    pairs = compared_pairs(student_rows, teacher_rows, comparable)
    order = _teacher_order(teacher_rows, pairs, length)
    permutations = torch.tensor(list(itertools.permutations(range(length))), device=order.device)  # [length!, length]
    own, target = (
        _log_likelihood((-scale * squared_distances(rows).gather(1, order) ** power)[:, permutations])
        for rows in (student_rows, teacher_rows)
    )
    return -(target.exp() * own).sum(1).mean()


def _teacher_order(teacher_rows: Tensor, pairs: Tensor, length: int) -> Tensor:
    """[B, length] each row's nearest comparable rows in the teacher's space, nearest first."""
    fewest = int(pairs.sum(1).min())
    if not 1 <= length <= fewest:
        raise BadInput(
            f"DarkRank orders {length} rows, but one has {fewest} to be compared with: give a larger batch or another `length`."
        )
    distances = squared_distances(teacher_rows).masked_fill(~pairs, torch.inf)
    return distances.topk(length, largest=False, sorted=True).indices


def _log_likelihood(scores: Tensor) -> Tensor:
    """Plackett-Luce log-likelihood of drawing the last dimension in its order: [..., length] -> [...]."""
    not_yet_placed = scores.flip(-1).logcumsumexp(-1).flip(-1)
    return (scores - not_yet_placed).sum(-1)


def _check_scale(scale: float, loss: str) -> None:
    if not scale > 0:
        raise BadInput(f"scale={scale} of {loss} is not usable: give a positive number.")
