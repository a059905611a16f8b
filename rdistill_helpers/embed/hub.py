"""Teachers of today by name: networks of timm and of transformers, as callables that `BlackBoxTeacher` asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from rdistill_helpers.embed.backbones import load_classifier
from rdistill_helpers.embed.black_box import Embed
from rdistill_helpers.embed.pooling import l2_normalize, power_mean
from rdistill_helpers.embed.vit import first_sentence, timm_model
from rdistill_helpers.errors import BadInput, shown

POOLINGS = ("own", "cls", "mean", "gem")
FIRST = Image.new("RGB", (64, 48), "grey")  # tells what a model gives before anybody pays


def timm_teacher(
    name: str, pooling: str = "own", weights: str | Path | None = None, device: str | torch.device = "cpu"
) -> Embed:
    """A pretrained network of timm as a teacher. Photographs are prepared as its own configuration says, crop included.

    Args:
        name: such as "vit_small_patch14_dinov2.lvd142m"; `timm.list_pretrained()` lists all.
        pooling: "own" for what the network itself gives in front of its classifier, or of its last layer "cls" for the class
            token, "mean" and "gem" (p = 3, of the positive part of each channel) over the patches alone.
        weights: path of a state dict (.pth or .safetensors); None fetches the weights from the hub.
        device: where the network runs.

    Returns:
        The teacher: images as `BlackBoxTeacher.query` sends them -> L2-normalised descriptors [B, D], float32, on the CPU.

    Raises:
        BadInput: an unknown name or pooling, a pooling that the network has no tokens for, or weights that do not fit or cannot
            be fetched.
        DataMissing: the file of weights is not there.
    """
    import timm

    _check_pooling(pooling)
    if not timm.is_model(name):
        raise BadInput(f"timm has no model {shown(name)}: give one of timm.list_pretrained().")
    model = timm_model(name, pretrained=weights is None)
    if weights is not None:
        load_classifier(model, Path(weights))
    model.reset_classifier(0)
    model.eval().to(device)
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def describe(images: list[Image.Image]) -> Tensor:
        found = model.forward_features(torch.stack([prepare(image) for image in images]).to(device))
        if pooling == "own":
            return model.forward_head(found, pre_logits=True)
        if found.ndim == 4:  # maps, of some networks with their channels last
            found = (found.movedim(1, 3) if found.shape[1] == model.num_features else found).flatten(1, 2)
        prefix = getattr(model, "num_prefix_tokens", 0)
        return _pooled(found, pooling, prefix, getattr(model, "cls_token", None) is not None, name)

    return _teacher(describe)


def transformers_teacher(name: str | Path, pooling: str = "own", device: str | torch.device = "cpu") -> Embed:
    """A pretrained network of transformers as a teacher. Photographs are prepared by its own image processor.

    Args:
        name: on the hub, such as "facebook/dinov2-small", "google/siglip2-base-patch16-224" or
            "openai/clip-vit-base-patch32", or a folder with what `save_pretrained` of the model and of its image processor
            wrote. Weights are read from safetensors, and no code of a model is run.
        pooling: "own" for what the network itself gives: the class token of DINO, the attention pooling of SigLIP, CLIP's
            projection. "cls", "mean" and "gem" as in `timm_teacher`, of `last_hidden_state`.
        device: where the network runs.

    Returns:
        The teacher, as `timm_teacher` gives it.

    Raises:
        BadInput: transformers is not installed, the network cannot be had, or it has nothing for such a pooling.
    """
    _check_pooling(pooling)
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError as error:
        advice = 'run pip install ".[teachers]" in the clone'
        raise BadInput(f"transformers, which transformers_teacher needs, is not installed: {advice}.") from error
    try:
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        model, loaded = AutoModel.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        advice = (
            "give a name of the hub whose licence you have accepted, or a folder of save_pretrained with its processor"
        )
        raise BadInput(f"transformers cannot load {shown(str(name))} ({first_sentence(error)}): {advice}.") from error
    # A pooling that was never published would be made at random.
    lacking = [key for key in sorted(loaded["missing_keys"]) if pooling == "own" or not key.startswith("pooler.")]
    if lacking:
        raise BadInput(
            f"{name} has no weights of {lacking[0]} for the pooling {pooling!r}: give 'cls' or another model."
        )
    model.eval().to(device)
    vision = getattr(model, "vision_model", model)

    def describe(images: list[Image.Image]) -> Tensor:
        inputs = processor(images=images, return_tensors="pt").to(device)
        if pooling == "own":
            own = getattr(getattr(model, "get_image_features", model)(**inputs), "pooler_output", None)
            if own is None:
                raise BadInput(f"{name} has no pooling of its own: give 'mean', 'gem' or 'cls'.")
            return own.flatten(1)
        found, side = vision(**inputs).last_hidden_state, getattr(vision.config, "patch_size", None)
        if found.ndim != 3 or not isinstance(side, int):
            raise BadInput(f"{name} gives no tokens of patches for the pooling {pooling!r}: give 'own'.")
        height, width = inputs["pixel_values"].shape[2:]
        prefix = found.shape[1] - (height // side) * (width // side)
        return _pooled(found, pooling, prefix, prefix > 0, str(name))

    return _teacher(describe)


def _teacher(describe: Callable[[list[Image.Image]], Tensor]) -> Embed:
    """The teacher that describes PIL images so; one that cannot says so now."""

    @torch.inference_mode()
    def answer(images: Any) -> Tensor:
        if isinstance(images, Tensor):
            images = [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]
        return l2_normalize(describe(list(images)).float()).cpu()

    answer([FIRST])
    return answer


def _pooled(tokens: Tensor, pooling: str, prefix: int, has_class: bool, name: str) -> Tensor:
    """[B, D] of tokens [B, prefix + patches, D]."""
    if pooling == "cls":
        if not has_class:
            raise BadInput(f"{name} has no class token for the pooling 'cls': give 'own', 'mean' or 'gem'.")
        return tokens[:, 0]
    patches = tokens[:, prefix:]
    return patches.mean(1) if pooling == "mean" else power_mean(patches, 3.0, 1, 1e-6)


def _check_pooling(pooling: str) -> None:
    if pooling not in POOLINGS:
        raise BadInput(f"The pooling {shown(pooling)} is not known: choose one of {', '.join(POOLINGS)}.")
