"""The one check that descriptors pass wherever they enter the package."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.errors import BadInput

LENGTH_TOLERANCE = 1e-3  # of an L2-normalised row; half precision stays well inside


def check_descriptors(rows: Any, name: str, dim: int | None = None, normalised: bool = True) -> Tensor:
    """The descriptors as a float32 tensor [N, D], on their device and with their gradient, once they are usable.

    rows: tensor or numpy array [N, D]; name: what the error calls them, a plural such as "queries"; dim: the D they
    must have; normalised: whether every row must have length 1 within 1e-3.
    Raises BadInput when they are no such array, are empty, hold NaN or infinite values, have another dimension, or are
    not normalised.
    """
    if isinstance(rows, np.ndarray) and rows.dtype.kind in "fiu":
        rows = torch.from_numpy(np.require(rows, dtype=np.float32, requirements=["C", "W"]))
    if not isinstance(rows, Tensor) or rows.is_complex():
        kind = f"{type(rows).__name__} of {rows.dtype}" if hasattr(rows, "dtype") else type(rows).__name__
        raise BadInput(
            f"{name} must be a tensor or numpy array of real numbers, not a {kind}: give [N, D] descriptors."
        )
    if rows.ndim != 2:
        raise BadInput(
            f"{name} must have two dimensions [N, D], not the shape {list(rows.shape)}: give one row for each image."
        )
    if rows.numel() == 0:
        raise BadInput(f"{name} of shape {list(rows.shape)} are empty: give at least one row of at least one number.")
    if dim is not None and rows.shape[1] != dim:
        raise BadInput(
            f"{name} have {rows.shape[1]} dimensions where {dim} are needed: extract both sides with the same network."
        )
    rows = rows.float()
    lengths = torch.linalg.vector_norm(rows.detach(), dim=1)
    # The length of a row tells most of it in one pass over the data; only a suspicious row is looked at closely.
    for row in (~lengths.isfinite()).nonzero()[:, 0].tolist():
        if not bool(rows[row].isfinite().all()):
            raise BadInput(
                f"{name} hold NaN or infinite values, first in row {row}: "
                "look at the image of this row and at the network that described it."
            )
    if normalised:
        wrong = ~((lengths - 1).abs() <= LENGTH_TOLERANCE)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise BadInput(
                f"{name} are not L2-normalised, row {row} has length {float(lengths[row]):.4g}: "
                "divide every row by its length (torch.nn.functional.normalize(rows, dim=1))."
            )
    return rows
