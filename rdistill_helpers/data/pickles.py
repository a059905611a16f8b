"""Pickles of plain data, read without running what is in them."""

import codecs
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdistill_helpers.errors import BadInput, DataMissing

# What numpy writes its arrays and numbers with; rebuilding them runs no code of the file's. NumPy 1 and 2 name the first
# two functions differently.
_FUNCTIONS = {"_reconstruct": np.zeros(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
ARRAYS: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", name): f for core in ("core", "_core") for name, f in _FUNCTIONS.items()},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class and function but numpy's arrays, so that a pickle can hold data and do nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ARRAYS:
            return ARRAYS[module, name]
        raise BadInput(f"it carries code ({module}.{name})")


def read_plain_pickle(source: str | Path | BinaryIO, label: str) -> Any:
    """The dicts, lists, texts, numbers and numpy arrays of a pickle; `label` is what errors call it.

    Raises DataMissing where there is no such file, BadInput when it carries code or is no pickle.
    """
    try:
        if isinstance(source, str | Path):
            with Path(source).open("rb") as file:
                return _PlainUnpickler(file).load()
        return _PlainUnpickler(source).load()
    except FileNotFoundError as error:
        raise DataMissing(f"{label} is not there: see data/README.md for where to get it.") from error
    except BadInput as error:
        raise BadInput(f"{label} was refused because {error}: write it with plain lists and numbers.") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise BadInput(f"{label} is no readable pickle ({type(error).__name__}): get the file again.") from error


def is_list(value: Any) -> bool:
    """Whether this is a list, tuple or array; a text is none, though one can walk through it."""
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def is_whole_number(value: Any) -> bool:
    """Whether this is an int of Python or NumPy; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
