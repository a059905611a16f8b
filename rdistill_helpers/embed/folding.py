"""BatchNorm folded into the convolution in front of it, in a copy of a network that only describes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

PLAIN = ("Conv2d", "Conv2dSame")  # the second is timm's: it pads by itself, then convolves


class _Tracer(fx.Tracer):
    """Follows a network down to its convolutions and BatchNorms; layers with an activation inside stay whole."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, _BatchNorm | nn.Conv2d) or super().is_leaf_module(module, qualified_name)


def folded(net: nn.Module) -> nn.Module:
    """A network that describes as `net` does, with fewer layers.

    In eval mode a BatchNorm multiplies and adds fixed numbers, which the weights of the convolution in front of it can hold.
    What cannot be folded stays as it is: a BatchNorm in training mode or without statistics of its own, a layer that is used
    twice, a convolution whose output is needed elsewhere too.

    Args:
        net: the network. It is never changed.

    Returns:
        A copy with folded layers; the network itself where nothing can be folded.
    """
    pairs = list(_pairs(net))
    if not pairs:
        return net
    copied = copy.deepcopy(net)
    for convolution_name, norm_name in pairs:
        convolution, norm = copied.get_submodule(convolution_name), copied.get_submodule(norm_name)
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None and norm.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, last = norm_name.rpartition(".")
        # timm's BatchNorm has its activation inside.
        rest = [layer for name in ("drop", "act") if isinstance(layer := getattr(norm, name, None), nn.Module)]
        setattr(copied.get_submodule(parent), last, nn.Sequential(*rest))
    return copied


def _pairs(net: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the convolutions and of the BatchNorms behind them that can be folded."""
    features = getattr(net, "features", net)
    prefix = "features." if features is not net else ""
    if not any(isinstance(module, _BatchNorm) for module in features.modules()):
        return
    try:
        graph = _Tracer().trace(features)
    except Exception:  # a forward pass that depends on its input cannot be traced; the network is right as it is
        return
    modules = dict(features.named_modules())
    used = Counter(node.target for node in graph.nodes if node.op == "call_module")
    names = Counter(id(module) for module in modules.values())
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(norm := modules[str(node.target)], _BatchNorm):
            continue
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        convolution = modules[str(before.target)]
        once = used[node.target] == used[before.target] == names[id(norm)] == names[id(convolution)] == 1
        plain = type(convolution).__name__ in PLAIN and not convolution.training and not norm.training
        if once and plain and norm.running_mean is not None and _one_type(convolution, norm):
            yield prefix + str(before.target), prefix + str(node.target)


def _one_type(convolution: nn.Conv2d, norm: _BatchNorm) -> bool:
    """Whether weights and statistics have one type and one device, so that they can be multiplied."""
    tensors = [convolution.weight, *norm.parameters(), *(b for b in norm.buffers() if b.is_floating_point())]
    return len({(tensor.dtype, tensor.device) for tensor in tensors}) == 1 and convolution.weight.dtype == torch.float32
