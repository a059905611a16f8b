"""Readers of weight files that may come from anybody: whatever is in them, no code is run and no memory is filled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdistill_helpers.data.pickles import ARRAYS, PlainArray, PlainType
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import refuse_packed


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file.

    Args:
        path: the file.

    Returns:
        The tensors by name, and the texts of the header by name.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    _check_there(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not a whole safetensors file ({error}): fetch it again.") from error


def read_pth(path: Path) -> dict[str, Any]:
    """The dict in a file of `torch.save`; no code in it is run, plain numpy arrays are allowed.

    Args:
        path: the file.

    Returns:
        What was saved, its tensors on the CPU.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file is damaged, compressed, holds code, tensors larger than the file, or no dict.
    """
    _check_there(path)
    allowed: list[Any] = [PlainArray, PlainType]
    allowed += [(stand_in, f"{module}.{name}") for (module, name), stand_in in ARRAYS.items()]
    refuse_packed(path)
    try:
        with torch.serialization.safe_globals(allowed):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        _check_views(loaded)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not what it seems
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path} is not a whole file of plain weights ({reason}): fetch it again.") from error
    if not isinstance(loaded, dict):
        raise BadInput(f"{path} holds a {type(loaded).__name__} instead of a dict of weights: give a state dict.")
    return loaded


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file: safetensors where its name ends so, else a file of `torch.save`.

    Args:
        path: the file.

    Returns:
        The tensors by name.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file cannot be read, or holds something else than tensors.
    """
    return check_state(read_safetensors(path)[0] if path.suffix == ".safetensors" else read_pth(path), path)


def check_state(state: Any, path: Path) -> dict[str, Tensor]:
    """The state dict that was read from a file.

    Args:
        state: anything read from a file.
        path: the file, for the message.

    Returns:
        The tensors by the names that the network itself has: wrappers such as DataParallel put "module." in front of all.

    Raises:
        BadInput: it is no mapping from names to tensors.
    """
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise BadInput(f"{path} holds something else than weights: give the file of a state dict, or fetch it again.")
    for prefix in ("module.", "_orig_mod."):
        if state and all(name.startswith(prefix) for name in state):
            return check_state({name.removeprefix(prefix): value for name, value in state.items()}, path)
    return dict(state)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise DataMissing(f"The network file {path} is not there: check the path.")


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
