"""Whitening of finished descriptors: learned from matching pairs, or from the descriptors alone."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.embed.pooling import l2_normalize
from rdistill_helpers.errors import BadInput

BLOCK = 4096  # rows held in float64 at once: 200,000 descriptors of 2,048 dimensions would be 3 GB
# Variance of a direction, over the mean squared length of the rows, below which it holds rounding errors of float32 alone.
ROUNDING = 1e-13


@dataclass(frozen=True)
class LearnedWhitening:
    """Whitening learned after training and applied to finished descriptors, as published beside some checkpoints.

    mean: [D]; projection: [D', D], its rows in descending order of importance.
    """

    mean: Tensor
    projection: Tensor

    def __call__(self, rows: Tensor, dim: int | None = None) -> Tensor:
        """[N, D] -> [N, dim or D'], L2-normalised: L2(P[:dim] (x - m)).

        Raises BadInput for rows of another dimension and for a dim that is not between 1 and D'.
        """
        rows = check_descriptors(rows, "rows to whiten", dim=len(self.mean), normalised=False)
        if dim is not None and not 1 <= dim <= len(self.projection):
            raise BadInput(f"This whitening gives up to {len(self.projection)} dimensions: dim={dim} is not possible.")
        return l2_normalize((rows - self.mean) @ self.projection[:dim].T)


def learn_whitening(
    rows: Tensor, queries: Tensor | Sequence[int], positives: Tensor | Sequence[int]
) -> LearnedWhitening:
    """Whitening that shrinks the directions in which matching images differ, learned from pairs of them.

    rows: [N, D], the descriptors of the training images; queries, positives: [P] ints, positions of matching images in
    `rows`. With S the mean of (q - p)(q - p)^T over all pairs and m the mean of the queries, the projection is
    U^T S^(-1/2), where U holds the eigenvectors of the mean of y y^T, y = S^(-1/2) (x - m) over all rows, the largest
    eigenvalue first. Computed in float64 on the CPU, returned in float32; the sign of each direction is that which
    makes its largest weight positive.
    Pairs of an image with itself say nothing: they are left out, with a warning that counts them. Directions in which
    no row varies, such as dead channels, are left out of the projection, so that D' may be smaller than D.
    Raises BadInput for indices that are none of `rows`, and for pairs too few to learn from: their differences must
    span all directions in which the rows vary, which takes at least D pairs.
    Source: Mikolajczyk, Matas, "Improving Descriptors for Fast Tree Matching by Optimal Linear Projection", ICCV 2007,
    in the form of Radenovic, Tolias, Chum, TPAMI 2019.
    """
    rows = check_descriptors(rows, "rows", normalised=False).detach().cpu()
    queries, positives = _pairs(queries, positives, len(rows))
    mean = _mean(rows[part] for part in queries.split(BLOCK))
    within = _second_moment(
        rows[q].double() - rows[p].double() for q, p in zip(queries.split(BLOCK), positives.split(BLOCK), strict=True)
    )
    overall = _second_moment(part.double() - mean for part in rows.split(BLOCK))
    values, vectors = _eigen(within)
    seen = _varies(values, rows)
    unseen = vectors[:, ~seen]
    if bool(_varies((unseen.T @ overall @ unseen).diagonal(), rows).any()) or not bool(seen.any()):
        raise BadInput(
            f"The {len(queries)} pairs differ in {int(seen.sum())} directions only, the rows in more (D = {rows.shape[1]}): "
            "give at least as many different pairs as dimensions, or take pca_whitening(rows)."
        )
    # Any square root of S^-1 does: they differ by a rotation, which U undoes.
    whiten = (vectors[:, seen] / values[seen].sqrt()).T
    _, rotation = _eigen(whiten @ overall @ whiten.T)
    return _whitening(mean, rotation.T @ whiten)


def pca_whitening(rows: Tensor, power: float = 0.5) -> LearnedWhitening:
    """Whitening by principal components: rows get mean 0 and, before the L2 normalisation, identity covariance.

    rows: [N, D], the descriptors of training images. The projection holds the eigenvectors of their covariance (the
    mean of (x - m)(x - m)^T), each divided by its eigenvalue to the power, the largest first; a power of 0 shortens rows
    by their principal components and whitens nothing. Precision, sign and directions in which no row varies: as in
    `learn_whitening`; N rows vary in at most N - 1 directions.
    Raises BadInput when all rows are equal, and for a power that is not between 0 and 1.
    Source: Jegou, Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening",
    ECCV 2012.
    """
    rows = check_descriptors(rows, "rows", normalised=False).detach().cpu()
    if not 0 <= power <= 1:
        raise BadInput(f"power={power} is no power of a whitening: give a number from 0 to 1.")
    mean = _mean(rows.split(BLOCK))
    values, vectors = _eigen(_second_moment(part.double() - mean for part in rows.split(BLOCK)))
    kept = _varies(values, rows)
    if not bool(kept.any()):
        raise BadInput(f"The {len(rows)} rows are all equal, there is nothing to whiten: give different descriptors.")
    return _whitening(mean, (vectors[:, kept] / values[kept] ** power).T)


def _whitening(mean: Tensor, projection: Tensor) -> LearnedWhitening:
    """In float32, each direction with the sign that makes its largest weight positive."""
    largest = projection.gather(1, projection.abs().argmax(dim=1, keepdim=True))
    return LearnedWhitening(mean=mean.float(), projection=(projection * largest.sign()).float())


def _mean(blocks: Iterable[Tensor]) -> Tensor:
    """Mean of all rows in the blocks, float64 [D]."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for block in blocks:
        total, count = total + block.double().sum(dim=0), count + len(block)
    return total / count


def _second_moment(blocks: Iterable[Tensor]) -> Tensor:
    """Mean of x x^T over all rows x in the float64 blocks, [D, D]."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for block in blocks:
        total, count = total + block.T @ block, count + len(block)
    return total / count


def _eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [D], descending, and eigenvectors [D, D], one in each column."""
    values, vectors = torch.linalg.eigh(symmetric)
    return values.flip(0), vectors.flip(1)


def _varies(variances: Tensor, rows: Tensor) -> Tensor:
    """Which of these variances are more than rounding errors of the rows."""
    squared_length = _mean(part.double().square().sum(dim=1, keepdim=True) for part in rows.split(BLOCK))
    return variances > ROUNDING * squared_length


def _pairs(queries: Tensor | Sequence[int], positives: Tensor | Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Indices of matching images, checked, without the pairs of an image with itself."""
    queries, positives = _indices(queries, "queries", count), _indices(positives, "positives", count)
    if len(queries) != len(positives):
        raise BadInput(
            f"{len(queries)} queries and {len(positives)} positives make no pairs: give one positive for each."
        )
    alone = queries == positives
    if bool(alone.all()):
        raise BadInput("All pairs match an image with itself, which says nothing: give pairs of different images.")
    if bool(alone.any()):
        warnings.warn(
            f"{int(alone.sum())} of {len(alone)} pairs match an image with itself: they say nothing and are left out.",
            stacklevel=3,
        )
    return queries[~alone], positives[~alone]


def _indices(values: Tensor | Sequence[int], name: str, count: int) -> Tensor:
    """Positions in `count` rows, int64 on the CPU."""
    indices = torch.as_tensor(values, device="cpu")
    if indices.ndim != 1 or len(indices) == 0 or indices.dtype == torch.bool or indices.is_floating_point():
        raise BadInput(
            f"{name} must be a list of whole numbers with at least one entry, but got {indices.dtype} of shape "
            f"{list(indices.shape)}: give positions in the rows."
        )
    if not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise BadInput(
            f"{name} hold positions from {int(indices.min())} to {int(indices.max())}, but there are {count} rows: "
            f"give numbers from 0 to {count - 1}."
        )
    return indices.long()
