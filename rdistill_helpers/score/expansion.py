"""Query expansion and database-side augmentation: rows averaged with their nearest neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.rows import Array, Rows, each_named
from rdistill_helpers.score.search import check_count, nearest

QUERIES = 1024  # expanded at a time


def expand_queries(queries: Array, database: Array | Sequence[Array], n: int, alpha: float = 0.0) -> Tensor:
    """The queries averaged with their n most similar database rows: float32 [Q, D], L2-normalised.

    queries [Q, D], database [N, D], rows L2-normalised; the database may be a list of arrays, one behind the other, and
    memory-mapped. The query has weight 1, a neighbour its similarity to the power alpha: alpha 0 is average query expansion,
    the plain mean; with a larger alpha a neighbour counts the less the less similar it is, and one of negative similarity not
    at all. A query that its neighbours cancel out stays as it is. Raises BadInput when n rows cannot be found, for a negative
    alpha, and for descriptors that cannot be compared.
    Sources: Chum et al., "Total Recall", ICCV 2007; alpha: Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human
    Annotation", TPAMI 2019.
    """
    q = check_descriptors(queries, "queries").detach().cpu()
    rows = Rows(each_named("database", database), dim=q.shape[1])
    check_count(n, len(rows))
    _check_exponent(alpha)
    expanded = [_mean(part, *nearest(part, rows, n), rows, alpha) for part in q.split(QUERIES)]
    return torch.cat(expanded)


def augment_database(database: Array | Sequence[Array], n: int, alpha: float = 0.0) -> Tensor:
    """The database with each row averaged with its n most similar other rows: float32 [N, D], L2-normalised.

    database [N, D], rows L2-normalised; it may be a list of arrays, one behind the other, and memory-mapped. Weights and
    errors are those of `expand_queries`, with the row in the query's place. All rows are compared with all others.
    Source: Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
    """
    rows = Rows(each_named("database", database))
    check_count(n, len(rows) - 1)
    _check_exponent(alpha)
    augmented = []
    for numbers in torch.arange(len(rows)).split(QUERIES):
        part = rows.take(numbers)
        similarities, found = nearest(part, rows, n + 1)
        # A row is not its own neighbour; among many equal rows it may be missing, and the last one found is left out.
        others = found != numbers[:, None]
        others[others.all(dim=1), -1] = False
        kept = [values[others].view(-1, n) for values in (similarities, found)]
        augmented.append(_mean(part, kept[0], kept[1], rows, alpha))
    return torch.cat(augmented)


def _mean(own: Tensor, similarities: Tensor, found: Tensor, rows: Rows, alpha: float) -> Tensor:
    """The normalised weighted means of own rows [Q, D] and those found [Q, n]."""
    weights = similarities.clamp(min=0) ** alpha  # 0 ** 0 is 1
    total = own.clone()
    for weight, numbers in zip(weights.T, found.T, strict=True):
        total += weight[:, None] * rows.take(numbers)
    lengths = torch.linalg.vector_norm(total, dim=1, keepdim=True)
    return torch.where(lengths > 1e-6, total / lengths, own)


def _check_exponent(alpha: float) -> None:
    """Raise BadInput for an exponent that gives no weights."""
    if not 0 <= alpha < float("inf"):
        raise BadInput(f"The exponent alpha={alpha} is not usable: give 0 for the plain mean, or a positive number.")
