"""Whitening of finished descriptors: learned from matching pairs, or from the descriptors alone."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.embed.pooling import l2_normalize
from rdistill_helpers.errors import BadInput

BLOCK = 4096  # descriptors held in float64 at once: 200,000 of 2,048 dimensions would be 3 GB
# Variance of a direction, over the mean squared length of the descriptors, below which it holds rounding errors of float32.
ROUNDING = 1e-13


@dataclass(frozen=True)
class LearnedWhitening:
    """Whitening learned after training and applied to finished descriptors, as some published checkpoints bring it.

    Attributes:
        mean: the mean m, [D].
        projection: the matrix P, [D', D], its rows in descending order of importance.
    """

    mean: Tensor
    projection: Tensor

    def __call__(self, descriptors: Tensor, dim: int | None = None) -> Tensor:
        """Whitened descriptors: L2(P[:dim] (x - m)) for each descriptor x.

        Args:
            descriptors: [N, D].
            dim: how many dimensions to keep, 1 to D'; None keeps all.

        Returns:
            L2-normalised descriptors [N, dim], or [N, D'].

        Raises:
            BadInput: descriptors of another dimension or with values that are not finite, or an unusable `dim`.
        """
        descriptors = check_descriptors(descriptors, "descriptors to whiten", dim=len(self.mean), normalised=False)
        if dim is not None and not 1 <= dim <= len(self.projection):
            raise BadInput(f"This whitening gives up to {len(self.projection)} dimensions: dim={dim} is not possible.")
        return l2_normalize((descriptors - self.mean) @ self.projection[:dim].T)


def learn_whitening(
    descriptors: Tensor, queries: Tensor | Sequence[int], positives: Tensor | Sequence[int]
) -> LearnedWhitening:
    """Whitening that shrinks the directions in which matching images differ, learned from pairs of them.

    With S the mean of (q - p)(q - p)^T over all pairs and m the mean of the queries, the projection is U^T S^(-1/2), where
    U holds the eigenvectors of the mean of y y^T, y = S^(-1/2) (x - m) over all descriptors x, the largest eigenvalue
    first. Computed in float64 on the CPU; the sign of each direction is that which makes its largest weight positive.
    Directions in which no descriptor varies, such as dead channels, are left out of the projection, so that D' may be
    smaller than D. Pairs of an image with itself say nothing: they are left out, with a warning that counts them.

    Args:
        descriptors: those of the training images, [N, D].
        queries: [P] whole numbers, positions in `descriptors`.
        positives: [P] whole numbers, for each query the position of an image that matches it.

    Returns:
        The whitening, in float32.

    Raises:
        BadInput: descriptors that are not finite, positions that are not among them, or pairs too few to learn from: their
            differences must span all directions in which the descriptors vary, which takes at least D pairs.

    Source: Mikolajczyk, Matas, "Improving Descriptors for Fast Tree Matching by Optimal Linear Projection", ICCV 2007,
    in the form of Radenovic, Tolias, Chum, TPAMI 2019.
    """
    descriptors = check_descriptors(descriptors, "descriptors", normalised=False).detach().cpu()
    queries, positives = _pairs(queries, positives, len(descriptors))
    mean = _mean(descriptors[part] for part in queries.split(BLOCK))
    within = _second_moment(
        descriptors[q].double() - descriptors[p].double()
        for q, p in zip(queries.split(BLOCK), positives.split(BLOCK), strict=True)
    )
    overall = _second_moment(part.double() - mean for part in descriptors.split(BLOCK))
    values, vectors = _eigen(within)
    seen = _varies(values, descriptors)
    unseen = vectors[:, ~seen]
    if bool(_varies((unseen.T @ overall @ unseen).diagonal(), descriptors).any()) or not bool(seen.any()):
        raise BadInput(
            f"The {len(queries)} pairs differ in {int(seen.sum())} directions only, the descriptors in more "
            f"(D = {descriptors.shape[1]}): give pairs of more photographs and places, or take pca_whitening."
        )
    # Any square root of S^-1 does: they differ by a rotation, which U undoes.
    whiten = (vectors[:, seen] / values[seen].sqrt()).T
    _, rotation = _eigen(whiten @ overall @ whiten.T)
    return _whitening(mean, rotation.T @ whiten)


def pca_whitening(descriptors: Tensor, power: float = 0.5) -> LearnedWhitening:
    """Whitening by principal components: mean 0 and, before the L2 normalisation, identity covariance.

    The projection holds the eigenvectors of the descriptors' covariance (the mean of (x - m)(x - m)^T), each divided by
    its eigenvalue to the power, the largest first. Precision, sign and directions in which no descriptor varies: as in
    `learn_whitening`; N descriptors vary in at most N - 1 directions.

    Args:
        descriptors: those of training images, [N, D].
        power: from 0 to 1; 0.5 whitens, 0 only shortens descriptors to their principal components.

    Returns:
        The whitening, in float32.

    Raises:
        BadInput: descriptors that are not finite or all equal, or a power that is not between 0 and 1.

    Source: Jegou, Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening",
    ECCV 2012.
    """
    descriptors = check_descriptors(descriptors, "descriptors", normalised=False).detach().cpu()
    if not 0 <= power <= 1:
        raise BadInput(f"power={power} is not the power of a whitening: give a number from 0 to 1.")
    mean = _mean(descriptors.split(BLOCK))
    values, vectors = _eigen(_second_moment(part.double() - mean for part in descriptors.split(BLOCK)))
    kept = _varies(values, descriptors)
    if not bool(kept.any()):
        raise BadInput(f"The {len(descriptors)} descriptors are all equal: give different ones to whiten.")
    return _whitening(mean, (vectors[:, kept] / values[kept] ** power).T)


def _whitening(mean: Tensor, projection: Tensor) -> LearnedWhitening:
    """In float32, each direction with the sign that makes its largest weight positive."""
    largest = projection.gather(1, projection.abs().argmax(dim=1, keepdim=True))
    return LearnedWhitening(mean=mean.float(), projection=(projection * largest.sign()).float())


def _mean(blocks: Iterable[Tensor]) -> Tensor:
    """Mean of all vectors x in the blocks, float64 [D]."""
    return _average((block.double().sum(dim=0), len(block)) for block in blocks)


def _second_moment(blocks: Iterable[Tensor]) -> Tensor:
    """Mean of x x^T over all vectors x in the float64 blocks, [D, D]."""
    return _average((block.T @ block, len(block)) for block in blocks)


def _average(sums: Iterable[tuple[Tensor, int]]) -> Tensor:
    """The mean over all blocks, from the sum and the count of each; one block at a time is in memory."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for part, size in sums:
        total, count = total + part, count + size
    return total / count


def _eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [D], descending, and eigenvectors [D, D], one in each column."""
    values, vectors = torch.linalg.eigh(symmetric)
    return values.flip(0), vectors.flip(1)


def _varies(variances: Tensor, descriptors: Tensor) -> Tensor:
    """Which of these variances are more than rounding errors of the descriptors."""
    squared_length = _mean(part.double().square().sum(dim=1, keepdim=True) for part in descriptors.split(BLOCK))
    return variances > ROUNDING * squared_length


def _pairs(queries: Tensor | Sequence[int], positives: Tensor | Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Indices of matching images, checked, without the pairs of an image with itself."""
    queries, positives = _indices(queries, "queries", count), _indices(positives, "positives", count)
    if len(queries) != len(positives):
        raise BadInput(f"{len(queries)} queries and {len(positives)} positives are not pairs: give one for each.")
    alone = queries == positives
    if bool(alone.all()):
        raise BadInput("All pairs match an image with itself, which says nothing: give pairs of different images.")
    if bool(alone.any()):
        some = f"{int(alone.sum())} of {len(alone)} pairs match an image with itself"
        warnings.warn(f"{some}: they say nothing and are left out.", stacklevel=3)
    return queries[~alone], positives[~alone]


def _indices(values: Tensor | Sequence[int], name: str, count: int) -> Tensor:
    """Positions among `count` descriptors, int64 on the CPU."""
    indices = torch.as_tensor(values, device="cpu")
    if indices.ndim != 1 or len(indices) == 0 or indices.dtype == torch.bool or indices.is_floating_point():
        got = f"{indices.dtype} of shape {list(indices.shape)}"
        raise BadInput(f"{name} must be a list of whole numbers, at least one, but got {got}: give positions.")
    if not 0 <= int(indices.min()) <= int(indices.max()) < count:
        span = f"{int(indices.min())} to {int(indices.max())}"
        raise BadInput(f"{name} hold positions from {span}, but there are {count} descriptors: give 0 to {count - 1}.")
    return indices.long()
