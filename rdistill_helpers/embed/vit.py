"""A ViT of timm as a chain of parts, as other backbones are: what passes between them are maps [B, C, T, 1] of its T tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rdistill_helpers.errors import BadInput, shown

PREFIX = "timm/"  # of the names of such backbones


def vit_classifier(backbone: str, pretrained: bool) -> Any:
    """A ViT of timm that takes images of any size, its head included.

    Args:
        backbone: "timm/" and the name of a plain ViT, such as "timm/vit_small_patch14_dinov2.lvd142m".
        pretrained: whether its weights are fetched from the hub.

    Returns:
        The VisionTransformer.

    Raises:
        BadInput: timm has no such ViT, or the weights cannot be fetched.
    """
    import timm

    name = backbone.removeprefix(PREFIX)
    if name.partition(".")[0] not in timm.list_models(module="vision_transformer"):
        advice = "give one of timm.list_models(module='vision_transformer'), such as timm/vit_small_patch14_dinov2"
        raise BadInput(f"{shown(backbone)} is no plain ViT of timm: {advice}.")
    return timm_model(name, pretrained, dynamic_img_size=True, dynamic_img_pad=True)


def timm_model(name: str, pretrained: bool, **settings: Any) -> Any:
    """A network of timm.

    Args:
        name: as timm calls it.
        pretrained: whether its weights are fetched from the hub.
        **settings: as timm takes them.

    Returns:
        The network.

    Raises:
        BadInput: timm knows no such weights, or they cannot be fetched.
    """
    import timm

    try:
        return timm.create_model(name, pretrained, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        advice = "connect to the network, accept the licence where the hub asks for that, or give weights=PATH"
        raise BadInput(f"The weights of {name} cannot be had ({first_sentence(error)}): {advice}.") from error


def first_sentence(error: Exception) -> str:
    """What a library says first.

    Args:
        error: what it raised.

    Returns:
        One line of at most 200 characters.
    """
    return " ".join(str(error).split()).partition(". ")[0][:200]


def vit_parts(vit: Any) -> nn.Sequential:
    """The parts of a ViT up to its last tokens: the embedding, the blocks, and the patches.

    Args:
        vit: the VisionTransformer; its blocks and its last normalisation are taken out of it.

    Returns:
        The chain, images [B, 3, H, W] -> maps [B, C, T, 1] of the T patches, row by row.
    """
    vit.reset_classifier(0, "")
    # A ViT that normalises after its own pooling would be pooled here as it leaves the last block.
    norm = vit.fc_norm if isinstance(vit.norm, nn.Identity) else vit.norm
    blocks = [Block(block) for block in vit.blocks]
    vit.blocks, vit.norm, vit.fc_norm = nn.Sequential(), nn.Identity(), nn.Identity()
    return nn.Sequential(Embedding(vit), *blocks, Patches(norm, vit.num_prefix_tokens))


class Embedding(nn.Module):
    """Images [B, 3, H, W] become maps [B, C, T, 1] of tokens that know their places, those of class and registers first.

    Args:
        vit: a VisionTransformer without blocks.
    """

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: float [B, 3, H, W].

        Returns:
            Maps [B, C, T, 1].
        """
        return _as_maps(self.vit.forward_features(images))


class Block(nn.Module):
    """A block of a ViT, maps [B, C, T, 1] to maps of the same shape.

    Args:
        block: tokens [B, T, C] to tokens.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the block.

        Args:
            maps: [B, C, T, 1].

        Returns:
            Maps [B, C, T, 1].
        """
        return _as_maps(self.block(_as_tokens(maps)))


class Patches(nn.Module):
    """The last normalisation; the tokens of class and registers are dropped.

    Args:
        norm: of tokens [B, T, C].
        prefix: how many tokens stand in front of the patches.
    """

    def __init__(self, norm: nn.Module, prefix: int) -> None:
        super().__init__()
        self.norm = norm
        self.prefix = prefix

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise and drop.

        Args:
            maps: [B, C, prefix + T, 1].

        Returns:
            Maps [B, C, T, 1].
        """
        return _as_maps(self.norm(_as_tokens(maps)[:, self.prefix :]))


def _as_maps(tokens: Tensor) -> Tensor:
    """[B, T, C] -> [B, C, T, 1], channels last in memory as tokens are."""
    return tokens.transpose(1, 2)[..., None]


def _as_tokens(maps: Tensor) -> Tensor:
    return maps[..., 0].transpose(1, 2)
