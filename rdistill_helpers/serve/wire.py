"""What a served teacher and its clients send: one array as .safetensors, and a digest that shows whether it was changed.

The library checks that a header promises no more than follows. Nothing is compressed: the length of a request is the memory
that it takes, while a PNG of 100 bytes can unfold to gigabytes.
"""

import base64
import hashlib

import numpy as np
import safetensors.numpy


def unpacked(body: bytes, dtype: type, dimensions: int) -> np.ndarray:
    """Return the array that a file holds.

    Args:
        body: The file.
        dtype: Type of the numbers.
        dimensions: Number of dimensions, none of them 0.

    Raises:
        ValueError: The file holds anything else.
    """
    try:
        (array,) = safetensors.numpy.load(body).values()
    except Exception as error:  # a damaged file fails in any way
        raise ValueError(f"it is not one array as .safetensors ({str(error)[:200]})") from error
    if array.dtype != dtype or array.ndim != dimensions or not array.size:
        raise ValueError(f"it holds {array.dtype} {list(array.shape)}, not {dimensions} dimensions of {dtype.__name__}")
    return array


def digest(body: bytes | bytearray) -> str:
    """Return the header field Content-Digest (RFC 9530) of a body.

    Args:
        body: What a request or an answer carries.
    """
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
