"""Networks that others published: checkpoints of cirtorch and of projects with its format, and their learned whitening."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdistill_helpers.data.paths import data_root
from rdistill_helpers.embed.network import RetrievalNet, network_of
from rdistill_helpers.embed.weight_files import check_state, read_pth
from rdistill_helpers.embed.whitening import LearnedWhitening
from rdistill_helpers.errors import BadInput, DataMissing, shown
from rdistill_helpers.fetch.sources import PUBLISHED, PUBLISHED_URL


def load_published(source: str | Path) -> RetrievalNet:
    """A network of cnnimageretrieval-pytorch (cirtorch), or of a project with its checkpoint format, in eval mode.

    No code in the file is run. Students of asymmetric metric learning (AML; MobileNetV2 and EfficientNet-B3, .pth.tar)
    load by path. Learned whitening stored with the weights is kept as `net.learned_whitening["ss"]` (single scale) and
    `["ms"]`: apply it to the finished descriptors,
    `net.learned_whitening["ms"](extract(net, images, scales=recommended_scales(net)))`.

    Args:
        source: the path of a .pth file, or one of the names in PUBLISHED, looked for under data/networks.

    Returns:
        The network with the published weights.

    Raises:
        DataMissing: the file is not there; the message says where to fetch it.
        BadInput: the file is damaged, no such checkpoint, or of a network that is not supported.

    Source: github.com/filipradenovic/cnnimageretrieval-pytorch; AML: Budnik, Avrithis, CVPR 2021.
    """
    path = _published_path(source)
    checkpoint = read_pth(path)
    meta, state = checkpoint.get("meta"), checkpoint.get("state_dict")
    if not isinstance(meta, Mapping) or not isinstance(state, Mapping) or "architecture" not in meta:
        raise BadInput(f"{path} is not a cirtorch checkpoint (meta and state_dict are missing): give one of its files.")
    for part in ("regional", "local_whitening"):
        if meta.get(part):
            raise BadInput(f"{path} uses {part}, which is not supported: take a checkpoint with plain global pooling.")
    state = check_state(state, path)
    whitening = state.get("whiten.weight")
    if bool(meta.get("whitening")) != (whitening is not None):
        raise BadInput(f"{path} does not fit its own description, its whitening is not what meta says: fetch it again.")
    try:
        backbone, channels, state = _aml_student(meta["architecture"], state)
        dim = None if whitening is None else len(whitening)
        learned = {kind: value for kinds in (meta.get("Lw") or {}).values() for kind, value in kinds.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{path} does not say which network it holds ({shown(error)}): fetch it again.") from error
    architecture = {"backbone": backbone, "pooling": meta.get("pooling", "gem"), "dim": dim, "channels": channels}
    net = network_of({**architecture, "mean": meta.get("mean"), "std": meta.get("std")}, state, path)
    net.learned_whitening = {kind: _as_whitening(value, path) for kind, value in learned.items()}
    return net


def load_whitening(path: str | Path) -> LearnedWhitening:
    """Learned whitening from a file of its own, as cirtorch and AML write it: a dict of `m` [D, 1] and `P` [D', D].

    `torch.save({"m": whitening.mean, "P": whitening.projection}, path)` writes such a file. No code in it is run.

    Args:
        path: the file.

    Returns:
        The whitening, in float32.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file holds no such dict.
    """
    path = Path(path)
    return _as_whitening(read_pth(path), path)


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
        raise BadInput(f"{path} has a mean [{len(mean)}] for a projection {list(projection.shape)}: fetch it again.")
    return LearnedWhitening(mean=mean, projection=projection)


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
        advice = f"run `python -m rdistill_helpers download {name}`, or download {PUBLISHED_URL}{PUBLISHED[name]} to it"
        raise DataMissing(f"{path} is not there: {advice}.")
    return path
