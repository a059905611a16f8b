"""Global pooling: one vector for each image from the last feature map of a convolutional network."""

import torch
from torch import Tensor, nn


def gem(features: Tensor, p: Tensor | float, eps: float = 1e-6) -> Tensor:
    """Generalised mean over all positions: (mean of max(x, eps)**p)**(1/p).

    features: [B, C, H, W] -> [B, C]. p = 1 is the average of the positive part, p -> infinity the maximum.
    Computed in float32 when the features are of a reduced type, for powers lose most there.
    Source: Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    return features.clamp(min=eps).pow(p).mean(dim=(-2, -1)).pow(1.0 / p)


class GeM(nn.Module):
    """GeM pooling with one learned exponent `p` (shape [1], as in the published checkpoints)."""

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), float(p)))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return gem(features, self.p, self.eps)

    def extra_repr(self) -> str:
        """The exponent, for the printed network."""
        return f"p={self.p.item():.3f}, eps={self.eps}"


class MAC(nn.Module):
    """Maximum activation of each channel. Source: Tolias, Sicre, Jegou, ICLR 2016."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return features.amax(dim=(-2, -1))


class SPoC(nn.Module):
    """Average activation of each channel. Source: Babenko, Lempitsky, ICCV 2015 (without its centre prior)."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return features.mean(dim=(-2, -1))


def l2_normalize(rows: Tensor, eps: float = 1e-6) -> Tensor:
    """Rows divided by (their Euclidean length + eps): [N, D] -> [N, D].

    Adding eps, rather than clamping at it, is what the published networks were trained with.
    """
    lengths: Tensor = rows.norm(dim=-1, keepdim=True)
    return rows / (lengths + eps)
