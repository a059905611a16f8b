"""Fingerprints of what makes a training: two trainings with equal ones end with the same student."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, type(None))
HASHED_BYTES = 64 * 2**20  # of a tensor; of a larger one, entries spread evenly over the whole


def of_tensor(values: Tensor) -> str:
    """Tell whether two tensors hold the same values.

    Args:
        values: any tensor. Of a large one, rows spread evenly over the whole are read, 64 MiB of them.

    Returns:
        16 hexadecimal digits.
    """
    size = values.element_size() * values.numel()
    digest = hashlib.sha256(f"{values.dtype} {list(values.shape)}".encode())
    if values.ndim and size > HASHED_BYTES:
        kept = max(1, int(len(values) * HASHED_BYTES / size))
        values = values[torch.linspace(0, len(values) - 1, kept).long()]
    digest.update(values.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def of_network(net: nn.Module) -> str:
    """Tell whether two networks are built alike, whatever their weights: layers, sizes, plain settings, what is frozen.

    Args:
        net: the network. Its weights are left out: a new layer may start at random, and a checkpoint brings them back.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(net).encode())
    for name, parameter in net.named_parameters():
        digest.update(f"{name} {list(parameter.shape)} {parameter.requires_grad}".encode())
    saved = net.state_dict().keys()
    for name, buffer in net.named_buffers():
        if name not in saved:  # input statistics and the like, which no checkpoint brings back
            digest.update(f"{name} {of_tensor(buffer)}".encode())
    for name, module in net.named_modules():
        plain = {key: value for key, value in vars(module).items() if key != "training" and isinstance(value, PLAIN)}
        digest.update(f"{name} {sorted(plain.items(), key=lambda entry: entry[0])}".encode())
    return digest.hexdigest()[:16]


def of_function(function: Callable[..., Any]) -> str:
    """A readable name of a function that includes the settings bound by functools.partial.

    Args:
        function: a loss. One that was made inside of another function or as a lambda also gets a digest of its code and of
            what it has bound, for such functions share their names.

    Returns:
        The name.
    """
    if isinstance(function, functools.partial):
        bound = [_value(value) for value in function.args]
        bound += [f"{name}={_value(value)}" for name, value in function.keywords.items()]
        return f"{of_function(function.func)}({', '.join(bound)})"
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(function, "__code__", None)
    if code is None or "<" not in getattr(function, "__qualname__", ""):
        return name if code is not None or not isinstance(function, nn.Module) else f"{name} {of_network(function)}"
    cells = [_value(cell.cell_contents) for cell in function.__closure__ or ()]
    defaults = [_value(value) for value in (function.__defaults__ or ())]
    told = f"{code.co_code!r} {code.co_names} {[_value(value) for value in code.co_consts]} {cells} {defaults}"
    return f"{name} {hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _value(value: Any) -> str:
    """A value as text that is the same in every process."""
    if isinstance(value, Tensor):
        return of_tensor(value)
    if isinstance(value, np.ndarray):
        return of_tensor(torch.from_numpy(value))
    if callable(value):
        return of_function(value)
    return repr(value) if isinstance(value, (*PLAIN, tuple)) else type(value).__name__
