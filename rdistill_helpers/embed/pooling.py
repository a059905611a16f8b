"""Global pooling: one vector for each image from the last feature map of a convolutional network."""

import torch
from torch import Tensor, nn

SAFE = 60  # exponents of e: float32 ends at 88


def gem(features: Tensor, p: Tensor | float, eps: float = 1e-6) -> Tensor:
    """Generalised mean over all positions: (mean of max(x, eps)**p)**(1/p), in float32 for maps of a reduced type.

    Args:
        features: maps [B, C, H, W].
        p: the exponent, a positive number or a tensor [1] or [C]; 1 is the average of the positive part, and towards
            infinity it comes close to the maximum.
        eps: smaller values are raised to it.

    Returns:
        Vectors [B, C], not L2-normalised.

    Source: Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
    """
    # Positions in the middle are a view where channels come last.
    return power_mean(features.permute(0, 2, 3, 1).flatten(1, 2), p, 1, eps)


def power_mean(values: Tensor, p: Tensor | float, dim: int, eps: float) -> Tensor:
    """(mean of max(x, eps)**p)**(1/p) over one dimension, for any p that is positive.

    Args:
        values: numbers of any shape, of a reduced type in float32.
        p: the exponent, a positive number or a tensor for the last dimension.
        dim: the dimension.
        eps: smaller values are raised to it.

    Returns:
        The means, without the dimension.
    """
    # exp and log are cheaper to differentiate than a power. Where powers would overflow or all vanish, those of the values as
    # parts of the largest are taken; it cancels out, so it needs no gradient.
    logs = (values if values.dtype == torch.float64 else values.float()).clamp(min=eps).log()
    largest = logs.detach().amax(dim, keepdim=True)
    largest = largest.where(largest.abs() * p > SAFE, 0.0)
    return ((logs - largest) * p).exp().mean(dim).pow(1.0 / p) * largest.squeeze(dim).exp()


class GeM(nn.Module):
    """GeM pooling with one learned exponent; `gem` says how it is computed.

    Args:
        p: the exponent to start with.
        eps: smaller values are raised to it.

    Attributes:
        p: the exponent, a parameter [1] as in the published checkpoints.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), float(p)))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Pool maps.

        Args:
            features: maps [B, C, H, W].

        Returns:
            Vectors [B, C].
        """
        return gem(features, self.p, self.eps)

    def extra_repr(self) -> str:
        """The exponent, for the printed network."""
        return f"p={self.p.item():.3f}, eps={self.eps}"


class MAC(nn.Module):
    """Maximum activation of each channel. Source: Tolias, Sicre, Jegou, ICLR 2016."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool maps.

        Args:
            features: maps [B, C, H, W].

        Returns:
            Vectors [B, C].
        """
        return features.amax(dim=(-2, -1))


class SPoC(nn.Module):
    """Average activation of each channel. Source: Babenko, Lempitsky, ICCV 2015 (without its centre prior)."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool maps.

        Args:
            features: maps [B, C, H, W].

        Returns:
            Vectors [B, C].
        """
        return features.mean(dim=(-2, -1))


def rmac(features: Tensor, levels: int = 3) -> Tensor:
    """The sum of the L2-normalised maximum activations of the whole map and of all regions of `rmac_regions`.

    The whole map counts as one more region, as in cnnimageretrieval-pytorch; regions are not whitened.

    Args:
        features: maps [B, C, H, W].
        levels: how many sizes of regions.

    Returns:
        Vectors [B, C], not L2-normalised.

    Source: Tolias, Sicre, Jegou, "Particular object retrieval with integral max-pooling of CNN activations", ICLR 2016.
    """
    total = l2_normalize(features.amax(dim=(-2, -1)))
    for top, left, side in rmac_regions(features.shape[-2], features.shape[-1], levels):
        total = total + l2_normalize(features[..., top : top + side, left : left + side].amax(dim=(-2, -1)))
    return total


def rmac_regions(height: int, width: int, levels: int = 3) -> list[tuple[int, int, int]]:
    """The grid of square regions that R-MAC pools on a map of this size.

    At level l the side is floor(2 min(H, W) / (l + 1)), with l regions along the shorter edge of the map and l + m - 1
    along the longer one, spread evenly. m, between 2 and 7, brings the overlap of neighbours at level 1 closest to 40 %;
    it is 1 on a square map. Levels whose regions would hold no cell are left out.

    Args:
        height: of the map, in cells.
        width: of the map, in cells.
        levels: how many sizes of regions.

    Returns:
        (top, left, side) of each region, in cells.

    Source: Tolias, Sicre, Jegou, ICLR 2016, section 4.
    """
    short, long = sorted((height, width))
    more = 0  # m - 1, regions that the longer edge has beyond the shorter one
    if long > short:
        # |overlap - 40 %| = |1 - (long - short) / (more * short) - 2 / 5|, times 5 and as one fraction: so the values of
        # two grids equally close are equal in floating point as well, and the one of fewer regions is taken.
        more = min(range(1, 7), key=lambda n: abs(3 * n * short - 5 * (long - short)) / (n * short))
    regions = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side == 0:
            break
        tops = _spread(height - side, level + (more if height > width else 0))
        lefts = _spread(width - side, level + (more if width > height else 0))
        regions += [(top, left, side) for top in tops for left in lefts]
    return regions


def _spread(room: int, count: int) -> list[int]:
    """`count` starting places from 0 to `room`, as evenly as whole cells allow."""
    return [place * room // max(1, count - 1) for place in range(count)]


class RMAC(nn.Module):
    """Regional maximum activations, summed: `rmac` with three levels."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool maps.

        Args:
            features: maps [B, C, H, W].

        Returns:
            Vectors [B, C].
        """
        return rmac(features)


def l2_normalize(vectors: Tensor, eps: float = 1e-6) -> Tensor:
    """Vectors divided by (their Euclidean length + eps).

    Adding eps, rather than clamping at it, is what the published networks were trained with.

    Args:
        vectors: [N, D].
        eps: added to each length, so that a zero vector stays one.

    Returns:
        Vectors [N, D] of length 1, as far as they are long against eps; of a reduced type in float32, for lengths would be
        off by half a percent there.
    """
    vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
    lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / (lengths + eps)
