"""The one check that descriptors pass wherever they enter the package, and the files that they are kept in."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import written_whole

LENGTH_TOLERANCE = 1e-3  # of an L2-normalised row
# A row that was divided by its length in half precision is off by two roundings, of the length and of the quotient, each
# up to 2**-11; a row that was normalised in float32 and stored as float16, by one.
HALF_TOLERANCE = 2e-3


def check_descriptors(rows: Any, name: str, dim: int | None = None, normalised: bool = True) -> Tensor:
    """The descriptors as a float32 tensor [N, D], on their device and with their gradient, once they are usable.

    rows: tensor or numpy array [N, D]; name: what the error calls them, a plural such as "queries"; dim: the D they
    must have; normalised: whether every row must have length 1, within 1e-3 or, for float16, within 2e-3.
    Raises BadInput when they are no such array, are empty, hold NaN or infinite values, have another dimension, or are
    not normalised.
    """
    check_shape(rows, name, dim)
    tolerance = length_tolerance(rows)
    if isinstance(rows, np.ndarray):
        rows = torch.from_numpy(np.require(rows, dtype=np.float32, requirements=["C", "W"]))
    rows = rows.float()
    check_values(rows, name, tolerance if normalised else None)
    return rows


def check_shape(rows: Any, name: str, dim: int | None = None) -> None:
    """Raise BadInput unless these are descriptors by their looks, without reading one: real numbers [N, D], N and D > 0."""
    numbers = rows.dtype.kind in "fiu" if isinstance(rows, np.ndarray) else isinstance(rows, Tensor)
    if not numbers or (isinstance(rows, Tensor) and rows.is_complex()):
        kind = f"{type(rows).__name__} of {rows.dtype}" if hasattr(rows, "dtype") else type(rows).__name__
        raise BadInput(
            f"{name} must be a tensor or numpy array of real numbers, not a {kind}: give [N, D] descriptors."
        )
    if rows.ndim != 2:
        raise BadInput(
            f"{name} must have two dimensions [N, D], not the shape {list(rows.shape)}: give one row for each image."
        )
    if 0 in rows.shape:
        raise BadInput(f"{name} of shape {list(rows.shape)} are empty: give at least one row of at least one number.")
    if dim is not None and rows.shape[1] != dim:
        raise BadInput(
            f"{name} have {rows.shape[1]} dimensions where {dim} are needed: extract both sides with the same network."
        )


def length_tolerance(rows: Tensor | np.ndarray) -> float:
    """How far from 1 the length of an L2-normalised row of this type may be."""
    return HALF_TOLERANCE if rows.dtype in (torch.float16, np.float16) else LENGTH_TOLERANCE


def check_values(rows: Tensor, name: str, tolerance: float | None, first: int = 0) -> None:
    """Raise BadInput for a float32 row that is not finite or, unless tolerance is None, has not length 1 within it.

    first: the number that the error gives to the first of these rows.
    """
    lengths = torch.linalg.vector_norm(rows.detach(), dim=1)
    # The length of a row tells most of it in one pass over the data; only a suspicious row is looked at closely.
    for row in (~lengths.isfinite()).nonzero()[:, 0].tolist():
        if not bool(rows[row].isfinite().all()):
            raise BadInput(
                f"{name} hold NaN or infinite values, first in row {first + row}: "
                "look at the image of this row and at the network that described it."
            )
    if tolerance is not None:
        wrong = ~((lengths - 1).abs() <= tolerance)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise BadInput(
                f"{name} are not L2-normalised, row {first + row} has length {float(lengths[row]):.4g}: "
                "divide every row by its length (torch.nn.functional.normalize(rows, dim=1))."
            )


def save_descriptors(
    path: str | Path, rows: Tensor | np.ndarray, dtype: Literal["float16", "float32"] = "float16"
) -> Path:
    """Writes L2-normalised descriptors [N, D] to a .npy file, at once or not at all, and gives its path.

    dtype: "float16" halves the file and moves similarities by about 1e-4. `open_descriptors` reads it, as does numpy.load.
    Raises BadInput for rows that are no descriptors.
    """
    check_stored(dtype)
    array = check_descriptors(rows, "rows").detach().cpu().numpy().astype(dtype)
    path = Path(path)
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path


def check_stored(dtype: str) -> None:
    """Raise BadInput unless descriptor files can have this type."""
    if dtype not in ("float16", "float32"):
        raise BadInput(f"Descriptors are not stored as {dtype}: choose float16 or float32.")


def open_descriptors(path: str | Path) -> np.ndarray:
    """The descriptors [N, D] of a .npy file, float16 or float32, memory-mapped: rows are read when they are used.

    Raises DataMissing when there is no such file, BadInput when it is not whole or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"No descriptors at {path}: write them there with save_descriptors or extract_to_file.")
    try:
        rows = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its header is a Python literal, and a damaged one fails in any way
        raise BadInput(f"{path} is no whole .npy file ({error}): write it again with save_descriptors.") from error
    if rows.ndim != 2 or rows.dtype not in (np.float16, np.float32):
        raise BadInput(
            f"{path} holds {rows.dtype} {list(rows.shape)}, not float16 or float32 descriptors [N, D]: give another file."
        )
    return rows
