"""Freed memory stays in the process, where glibc would give it back after every layer; copies that a GPU need not wait for."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform

import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput

VARIABLE = "RDISTILL_KEEP_MEMORY"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names of glibc's malloc.h
log = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Tell glibc, once in a process, to keep freed memory for the next layer.

    A network frees large blocks after each layer. glibc takes such blocks from the kernel and gives them back; the kernel
    clears every page anew, which can cost as much time as the arithmetic. `extract` and every training call this. On macOS,
    on Windows and with another C library it changes nothing.

    Returns:
        Whether glibc has been told: the environment variable RDISTILL_KEEP_MEMORY=0 leaves it as it was.

    Raises:
        BadInput: for another value of the variable than 0 or 1.
    """
    wanted = os.environ.get(VARIABLE) or "1"
    if wanted not in ("0", "1"):
        raise BadInput(f"The environment variable {VARIABLE} is {wanted!r}: set it to 0 or 1, or unset it.")
    return wanted == "1" and _told()


@functools.cache
def _told() -> bool:
    """Whether this process's C library took the settings."""
    library, version = platform.libc_ver()
    if library != "glibc":
        log.info("Freed memory is left to the system: the C library is not glibc.")
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        log.info("Freed memory is left to the system: the C library has no mallopt.")
        return False
    # No block comes from mmap, and none at the end of the heap is given back.
    told = bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
    log.info("Freed memory stays in this process (glibc %s); %s=0 gives it back.", version, VARIABLE)
    return told


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to where it is needed; to a GPU through pinned memory, so that the processor goes on meanwhile.

    Args:
        values: the tensor.
        device: where it is needed.

    Returns:
        The tensor on the device; itself where it is there already.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type == "cuda")
