"""Query expansion and database-side augmentation: descriptors averaged with their nearest neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.search import check_count, nearest
from rdistill_helpers.score.stacked import Array, StackedDescriptors, each_named

QUERIES = 1024  # expanded at a time


def expand_queries(queries: Array, database: Array | Sequence[Array], n: int, alpha: float = 0.0) -> Tensor:
    """Averages each query with its n most similar descriptors of the database.

    The query has weight 1, a neighbour its similarity to the power alpha; one of negative similarity has weight 0 unless alpha
    is 0. A query that its neighbours cancel out stays as it is.

    Args:
        queries: Descriptors [Q, D], L2-normalised.
        database: Descriptors [N, D], L2-normalised, or a list of such arrays, one behind the other; memory-mapped ones
            included.
        n: Number of neighbours, from 1 to N.
        alpha: 0 gives the plain mean (average query expansion); the larger it is, the less do dissimilar neighbours count.

    Returns:
        The expanded queries, float32 [Q, D], L2-normalised.

    Raises:
        BadInput: n neighbours cannot be found, alpha is negative, or the descriptors cannot be compared.

    Source: Chum et al., "Total Recall", ICCV 2007; alpha: Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human
    Annotation", TPAMI 2019.
    """
    q = check_descriptors(queries, "queries").detach().cpu()
    stacked = StackedDescriptors(each_named("database", database), dim=q.shape[1])
    check_count(n, len(stacked))
    _check_exponent(alpha)
    expanded = [_mean(part, *nearest(part, stacked, n), stacked, alpha) for part in q.split(QUERIES)]
    return torch.cat(expanded)


def augment_database(database: Array | Sequence[Array], n: int, alpha: float = 0.0) -> Tensor:
    """Averages each descriptor of the database with its n most similar others, by the weights of `expand_queries`.

    Args:
        database: Descriptors [N, D], L2-normalised, or a list of such arrays, one behind the other; memory-mapped ones
            included. All are compared with all.
        n: Number of neighbours, from 1 to N - 1.
        alpha: As for `expand_queries`.

    Returns:
        The augmented database, float32 [N, D], L2-normalised.

    Raises:
        BadInput: n neighbours cannot be found, alpha is negative, or the descriptors cannot be compared.

    Source: Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
    """
    stacked = StackedDescriptors(each_named("database", database))
    check_count(n, len(stacked) - 1)
    _check_exponent(alpha)
    augmented = []
    for numbers in torch.arange(len(stacked)).split(QUERIES):
        part = stacked.take(numbers)
        similarities, found = nearest(part, stacked, n + 1)
        # None is its own neighbour. Among many equal ones it may be missing; then the last one found is left out.
        others = found != numbers[:, None]
        others[others.all(dim=1), -1] = False
        kept = [values[others].view(-1, n) for values in (similarities, found)]
        augmented.append(_mean(part, kept[0], kept[1], stacked, alpha))
    return torch.cat(augmented)


def _mean(own: Tensor, similarities: Tensor, found: Tensor, stacked: StackedDescriptors, alpha: float) -> Tensor:
    """The normalised weighted means of the own descriptors [Q, D] and those found [Q, n]."""
    weights = similarities.clamp(min=0) ** alpha  # 0 ** 0 is 1
    total = own.clone()
    for weight, numbers in zip(weights.T, found.T, strict=True):
        total += weight[:, None] * stacked.take(numbers)
    lengths = torch.linalg.vector_norm(total, dim=1, keepdim=True)
    return torch.where(lengths > 1e-6, total / lengths, own)


def _check_exponent(alpha: float) -> None:
    """Raise BadInput for an exponent that gives no weights."""
    if not 0 <= alpha < float("inf"):
        raise BadInput(f"The exponent alpha={alpha} is not usable: give 0 for the plain mean, or a positive number.")
