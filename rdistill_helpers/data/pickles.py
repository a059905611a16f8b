"""Pickles of plain data, read without running what is in them."""

import codecs
import pickle
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from rdistill_helpers.errors import BadInput, DataMissing


class PlainType:
    """In place of numpy.dtype: numbers and texts of fixed size, and nothing but their byte order is taken from a pickle.

    NumPy's own would take flags as well, and those can make it follow the bytes of an array as addresses.

    Args:
        kind: NumPy's short name of the type, such as "f4".
        align: given by pickles, not used.
        copy: given by pickles, not used.

    Raises:
        BadInput: another type than numbers and texts of fixed size.
    """

    def __init__(self, kind: Any, align: object = False, copy: object = True) -> None:
        if not (isinstance(kind, str) and re.fullmatch(r"b1|[iu][1248]|f[248]|[SU]\d{1,4}", kind)):
            raise BadInput("it holds arrays of something else than numbers and texts")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])

    def of(self, data: Any) -> np.ndarray:
        """The values in a string of bytes.

        Args:
            data: bytes, a buffer of protocol 5, or a text of Python 2, which stands for bytes.

        Returns:
            A flat array.

        Raises:
            BadInput: `data` is something else.
        """
        if isinstance(data, str):
            data = data.encode("latin1")
        if not isinstance(data, bytes | bytearray):
            raise BadInput("it holds an array whose content is not bytes")
        return np.frombuffer(data, self.dtype)


class PlainArray(np.ndarray):
    """In place of numpy.ndarray: filled from bytes of a PlainType alone."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        values = PlainType.of(kind, data).reshape(shape, order="F" if fortran else "C")
        super().__setstate__((1, values.shape, values.dtype, False, values.tobytes()))  # type: ignore[arg-type]


class _Marker:
    """In place of the class that NumPy names when it rebuilds an array, which no pickle may call."""

    def __new__(cls, *arguments: object) -> Self:
        raise BadInput("it calls numpy.ndarray")


def rebuilt(*arguments: object) -> PlainArray:
    """In place of NumPy's _reconstruct: an array that is yet to be filled.

    Args:
        *arguments: given by pickles, not used.

    Returns:
        An empty array.
    """
    return PlainArray((0,))


def from_buffer(data: Any, kind: PlainType, shape: Any, order: Any) -> np.ndarray:
    """In place of NumPy's _frombuffer, by which protocol 5 of pickle writes an array.

    Args:
        data: the bytes of the array.
        kind: the type of its numbers or texts.
        shape: its shape.
        order: "C" or "F", how its bytes stand in it.

    Returns:
        The array.
    """
    return PlainType.of(kind, data).reshape(shape, order=order)


def number(kind: PlainType, data: Any) -> Any:
    """In place of NumPy's scalar.

    Args:
        kind: the type of the number.
        data: its bytes, or a text of Python 2.

    Returns:
        The number.

    Raises:
        BadInput: `data` is something else.
    """
    return PlainType.of(kind, data)[0]


def encoded(text: str, encoding: str = "latin1") -> bytes:
    """In place of codecs.encode, by which Python 2 and 3 exchange bytes.

    Args:
        text: the text that stands for bytes.
        encoding: only "latin1" is allowed.

    Returns:
        The bytes.

    Raises:
        BadInput: another encoding.
    """
    if encoding != "latin1":
        raise BadInput(f"it encodes a text as {encoding[:20]}")
    return codecs.encode(text, "latin1")


def nothing() -> bytes:
    """In place of bytes(), which is what an empty array holds in old protocols."""
    return b""


# What NumPy writes its arrays and numbers with, and what rebuilds them here. NumPy 1 and 2 name three of them differently.
ARRAYS: dict[tuple[str, str], Any] = {
    **{
        (f"numpy.{core}.{place}", name): stand_in
        for core in ("core", "_core")
        for place, name, stand_in in (
            ("multiarray", "_reconstruct", rebuilt),
            ("multiarray", "scalar", number),
            ("numeric", "_frombuffer", from_buffer),
        )
    },
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): PlainType,
    ("_codecs", "encode"): encoded,
    ("__builtin__", "bytes"): nothing,
}


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class and function but numpy's arrays, so that a pickle can hold data and do nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ARRAYS:
            return ARRAYS[module, name]
        raise BadInput(f"it carries code ({module}.{name})")


def read_plain_pickle(source: str | Path | BinaryIO, label: str) -> Any:
    """The dicts, lists, texts, numbers and numpy arrays of a pickle, read without running code.

    Args:
        source: a path or an open file.
        label: what errors call it.

    Returns:
        What the pickle holds.

    Raises:
        DataMissing: there is no such file.
        BadInput: the pickle is damaged or carries code.
    """
    try:
        with Path(source).open("rb") if isinstance(source, str | Path) else nullcontext(source) as file:
            return _PlainUnpickler(file).load()
    except FileNotFoundError as error:
        raise DataMissing(f"{label} is not there: see data/README.md for where to get it.") from error
    except BadInput as error:
        raise BadInput(f"{label} was refused because {error}: write it with plain lists and numbers.") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise BadInput(f"{label} is not a readable pickle ({type(error).__name__}): get the file again.") from error


def is_list(value: Any) -> bool:
    """Whether this is a list, tuple or array; a text is not, though one can walk through it.

    Args:
        value: anything.

    Returns:
        True or False.
    """
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def is_whole_number(value: Any) -> bool:
    """Whether this is an int of Python or NumPy; True and False are not.

    Args:
        value: anything.

    Returns:
        True or False.
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
