"""What travels between a served teacher and those who ask it: .npy files, and a digest that tells a changed one.

Images travel as they are in memory, uint8 [B, 3, H, W]. PNG would make them smaller, but the receiver would have to unfold
what a stranger packed, and 100 bytes can unfold to gigabytes; here the length of a request is the memory that it takes.
JPEG would change the pixels, and with them the descriptors and what an image is known by. The header of a .npy file is a
literal that says type and shape; it is read without pickle, so nothing in it can run.
"""

import base64
import hashlib
import io
import math

import numpy as np

from rdistill_helpers.errors import shown

IMAGES, ROWS = np.dtype("u1"), np.dtype("<f4")  # [B, 3, H, W] and [B, D]
HEADER = 256  # bytes in front of the numbers, at most
Body = bytes | bytearray


def packed(array: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def unpacked(body: Body, dtype: np.dtype, dimensions: int) -> np.ndarray:
    """The array of a .npy file of this type and number of dimensions; it shares the memory of `body`.

    Nothing is taken that the header only promises: ValueError, saying what is wrong, unless the numbers are there.
    """
    file = io.BytesIO(body[: 1 << 16])  # numpy takes no longer header
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("its version is not 1.0")
        shape, fortran, found = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # its header is a Python literal, and a damaged one fails in any way
        raise ValueError(f"it is no .npy file ({str(error)[:200]})") from error
    if found != dtype or fortran or len(shape) != dimensions or not all(type(n) is int and n > 0 for n in shape):
        wanted = f"{dimensions} dimensions of {dtype} in C order, none of them 0"
        raise ValueError(f"it holds {shown(found)} {shown(shape)}, not {wanted}")
    if math.prod(shape) * dtype.itemsize != len(body) - file.tell():
        raise ValueError(f"its header says {shown(shape)}, which does not fit its length")
    return np.frombuffer(body, dtype, offset=file.tell()).reshape(shape)


def digest(body: Body) -> str:
    """The header field Content-Digest of a body (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def arrived_whole(body: Body, stated: str | None) -> bool:
    """Whether a body is the one that its Content-Digest was made of; without one nobody can tell, so it counts as whole."""
    return stated is None or stated == digest(body)
