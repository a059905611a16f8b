"""The one check that descriptors pass wherever they enter the package, and the files that they are kept in."""

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import written_whole

ALIKE = 0.9  # median cosine of unlike photographs; networks that fit have 0.1 to 0.6
LENGTH_TOLERANCE = 1e-3  # of an L2-normalised descriptor
# A descriptor that was divided by its length in a reduced type is off by two roundings, of the length and of the quotient, each
# up to 2**-11 in float16 and 2**-8 in bfloat16; one that was normalised in float32 and stored as float16, by one.
REDUCED_TOLERANCE = {torch.float16: 2e-3, np.dtype(np.float16): 2e-3, torch.bfloat16: 1e-2}


def check_descriptors(descriptors: Any, name: str, dim: int | None = None, normalised: bool = True) -> Tensor:
    """Checks descriptors and gives them as float32.

    Args:
        descriptors: Tensor or NumPy array [N, D].
        name: What an error calls them, a plural such as "queries".
        dim: The D that they must have.
        normalised: Whether each must have length 1, within 1e-3 or, for float16, 2e-3 and, for bfloat16, 1e-2.

    Returns:
        The descriptors, float32 [N, D], on their device and with their gradient. Those of a reduced type that must have length
        1 have it within float32.

    Raises:
        BadInput: They are not real numbers [N, D], are empty, have another dimension, hold NaN or infinite values, or are not
            normalised.
    """
    check_shape(descriptors, name, dim)
    tolerance = length_tolerance(descriptors)
    if isinstance(descriptors, np.ndarray):
        descriptors = torch.from_numpy(np.require(descriptors, dtype=np.float32, requirements=["C", "W"]))
    descriptors = descriptors.float()
    check_values(descriptors, name, tolerance if normalised else None)
    return F.normalize(descriptors, dim=1) if normalised and tolerance > LENGTH_TOLERANCE else descriptors


def warn_if_alike(descriptors: Any, name: str, at_most: int = 1000) -> None:
    """Warns where similarities say nothing: all photographs look alike to the network, so it was made for others.

    Args:
        descriptors: L2-normalised, tensor or NumPy array [N, D].
        name: What the warning calls them, a plural at the start of a sentence.
        at_most: How many, evenly spread, are compared with each other.
    """
    some = descriptors[:: -(-len(descriptors) // at_most)]
    some = (some if isinstance(some, Tensor) else torch.from_numpy(np.array(some))).float()
    pairs = (some @ some.T)[torch.triu(torch.ones(len(some), len(some)), 1) > 0]
    if len(pairs) and (middle := float(pairs.median())) > ALIKE:
        warnings.warn(f"{name} are all alike (cosine {middle:.2f} in the middle): try another network.", stacklevel=2)


def check_shape(descriptors: Any, name: str, dim: int | None = None) -> None:
    """Checks type and shape of descriptors without reading their values.

    Args:
        descriptors: Tensor or NumPy array [N, D].
        name: What an error calls them, a plural such as "queries".
        dim: The D that they must have.

    Raises:
        BadInput: They are not real numbers [N, D], are empty, or have another dimension.
    """
    array, tensor = isinstance(descriptors, np.ndarray), isinstance(descriptors, Tensor)
    if not (array and descriptors.dtype.kind in "fiu") and not (tensor and not descriptors.is_complex()):
        kind = f"{type(descriptors).__name__} of {descriptors.dtype}" if array or tensor else type(descriptors).__name__
        raise BadInput(f"{name} must be a tensor or numpy array of real numbers, not a {kind}: give [N, D].")
    if descriptors.ndim != 2:
        raise BadInput(f"{name} must have the shape [N, D], not {list(descriptors.shape)}: give one for each image.")
    if 0 in descriptors.shape:
        raise BadInput(f"{name} of shape {list(descriptors.shape)} are empty: give at least one descriptor.")
    if dim is not None and descriptors.shape[1] != dim:
        raise BadInput(f"{name} have {descriptors.shape[1]} dimensions where {dim} are needed: use the same network.")


def length_tolerance(descriptors: Tensor | np.ndarray) -> float:
    """Gives the tolerance on the length of L2-normalised descriptors.

    Args:
        descriptors: Tensor or NumPy array; only its dtype counts.

    Returns:
        How far from 1 a length may be.
    """
    return REDUCED_TOLERANCE.get(descriptors.dtype, LENGTH_TOLERANCE)


def check_values(descriptors: Tensor, name: str, tolerance: float | None, first: int = 0) -> None:
    """Checks the values of descriptors.

    Args:
        descriptors: float32 [N, D].
        name: What an error calls them, a plural such as "queries".
        tolerance: How far from 1 their lengths may be; None for any length.
        first: The number of the first descriptor, for the error.

    Raises:
        BadInput: A descriptor is not finite or not normalised.
    """
    lengths = torch.linalg.vector_norm(descriptors.detach(), dim=1)
    # Lengths take one pass over the data; only a descriptor of infinite length is read again.
    for number in (~lengths.isfinite()).nonzero()[:, 0].tolist():
        if not bool(descriptors[number].isfinite().all()):
            raise BadInput(
                f"{name} hold NaN or infinite values, first in descriptor {first + number}: look at its image and network."
            )
    if tolerance is not None:
        wrong = ~((lengths - 1).abs() <= tolerance)
        if bool(wrong.any()):
            number = int(wrong.nonzero()[0, 0])
            raise BadInput(
                f"{name} are not L2-normalised, descriptor {first + number} has length {float(lengths[number]):.4g}: "
                "divide each by its length (torch.nn.functional.normalize(descriptors, dim=1))."
            )


def save_descriptors(
    path: str | Path, descriptors: Tensor | np.ndarray, dtype: Literal["float16", "float32"] = "float16"
) -> Path:
    """Writes descriptors to a .npy file, whole or not at all. `open_descriptors` and numpy.load read it.

    Args:
        path: The file.
        descriptors: Tensor or NumPy array [N, D], L2-normalised.
        dtype: Of the file. "float16" halves it and moves similarities by about 1e-4.

    Returns:
        The path.

    Raises:
        BadInput: `check_descriptors` refuses the descriptors, the dtype is unknown, or the file cannot be written.
    """
    check_stored(dtype)
    array = check_descriptors(descriptors, "descriptors").detach().cpu().numpy().astype(dtype)
    path = Path(path)
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path


def check_stored(dtype: str) -> None:
    """Checks the dtype of a descriptor file.

    Args:
        dtype: Its name.

    Raises:
        BadInput: It is neither float16 nor float32.
    """
    if dtype not in ("float16", "float32"):
        raise BadInput(f"Descriptors are not stored as {dtype}: choose float16 or float32.")


def open_descriptors(path: str | Path) -> np.ndarray:
    """Opens a .npy file of descriptors, memory-mapped: they are read when they are used.

    Args:
        path: The file.

    Returns:
        The descriptors [N, D], float16 or float32.

    Raises:
        BadInput: The file is not whole, or holds something else.
        DataMissing: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"No descriptors at {path}: write them there with save_descriptors or extract_to_file.")
    try:
        descriptors = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its header is a Python literal, and a damaged one fails in any way
        raise BadInput(f"{path} is no whole .npy file ({error}): write it again with save_descriptors.") from error
    if descriptors.ndim != 2 or descriptors.dtype not in (np.float16, np.float32):
        found = f"{descriptors.dtype} {list(descriptors.shape)}"
        raise BadInput(f"{path} holds {found}, not float16 or float32 descriptors [N, D]: give another file.")
    return descriptors
