"""What hostile inputs are made of: valid files with changed bytes, and valid syntax around values that lie."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from rdistill_helpers import (
    RDistillError,
)

LONGEST_MESSAGE = 1100
# Pieces that mean something to one reader or another.
TOKENS = [
    b"", b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"-1", b"1e999", b"NaN", b"null", b"[" * 2000, b"{}",
    b"..", b"../", b"..\\", b"/", b"C:", b"\n", b"9" * 5000, b"a" * 300, b"os\nsystem\n", b"cposix\nsystem\n(S'true'\ntR.",
    b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy.core.numeric\n_frombuffer\n", b"\x96",
    b"(", b")", b"R", b"b", b"\x80\x04", b"\x81", b"2", b"0", b".",
    b"Content-Length: ", b"Content-Range: bytes 0-1/", b"O", b"|O", b"<f8", b"True", b"SQLite format 3\0",
]  # fmt: skip
NAMES = [
    "a", "b.jpg", "../out.jpg", "/tmp/out.jpg", "..\\out.jpg", "C:out.jpg", "C:\\out.jpg", "x/../../out.jpg", "new\nline.jpg",
    "n" * 300 + ".jpg", "d/" * 600 + "e.jpg", "nul\0.jpg", "", ".", "..", "ü 学生.jpg", "\ud800.jpg", "a.jpg/b.jpg", "a.jpg",
    "A.JPG",
]  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=12))
numbers = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30, 0.5, float("nan"), float("inf"), -0.0, True, None]),
    st.just(5000).map(lambda digits: 10**digits),  # more digits than Python prints, not even for hypothesis
)
values = st.recursive(
    st.one_of(numbers, names, st.binary(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
json_values = st.recursive(
    st.one_of(numbers, names),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)


def json_text(value: Any) -> bytes:
    """Writes JSON that Python reads, with numbers of any length and lone surrogates."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**4000:
        return b"9" * 5000  # more digits than Python prints
    if isinstance(value, list):
        return b"[" + b",".join(map(json_text, value)) + b"]"
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(name).encode() + b":" + json_text(v) for name, v in value.items()) + b"}"
    return json.dumps(value).encode()


@st.composite
def changed(draw: Callable[..., Any], whole: bytes, most: int = 6) -> bytes:
    """Makes a few changes to a file: bytes, pieces moved or repeated, tokens put in, the end cut off."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.integers(0, 5))
        if kind <= 1 and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == 2:
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == 3:
            token = draw(st.sampled_from(TOKENS))
            content[at : at + len(token) * draw(st.integers(0, 1))] = token
        elif kind == 4:
            start = draw(st.integers(0, max(0, len(content) - 1)))
            content[at:at] = content[start : start + draw(st.integers(1, 200))]
        elif draw(st.booleans()):
            del content[at:]
    return bytes(content)


@st.composite
def altered(draw: Callable[..., Any], whole: Any, inside: SearchStrategy[Any]) -> Any:
    """Replaces or leaves out parts of nested dicts and lists, or adds some."""
    if isinstance(whole, dict):
        kept = {name: draw(altered(part, inside)) for name, part in whole.items() if draw(st.integers(0, 15))}
        return kept if draw(st.integers(0, 15)) else {**kept, draw(names): draw(inside)}
    if isinstance(whole, list) and draw(st.integers(0, 7)):
        return [draw(altered(part, inside)) for part in whole]
    return draw(inside) if draw(st.integers(0, 5)) == 0 else whole


def pickled(whole: Any) -> SearchStrategy[bytes]:
    """Makes pickles of several protocols with changed bytes, or of changed values."""
    damaged = st.sampled_from([0, 2, 4, 5]).flatmap(lambda protocol: changed(pickle.dumps(whole, protocol)))
    return st.one_of(damaged, st.builds(pickle.dumps, altered(whole, values), st.sampled_from([2, 4, 5])))


def jsoned(whole: Any) -> SearchStrategy[bytes]:
    """Makes JSON with changed bytes, or of changed values."""
    return st.one_of(changed(json.dumps(whole).encode()), altered(whole, json_values).map(json_text))


def put(folder: Path, name: str, content: bytes) -> Path:
    """Writes a file in a folder, with the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@dataclass(frozen=True)
class Reader:
    """A reader of files that somebody else wrote.

    inputs: Its inputs.
    read: Reads one, in an empty folder each time.
    share: How many of a thousand inputs it gets in a full run; slow readers get fewer.
    """

    inputs: SearchStrategy[Any]
    read: Callable[[Any, Path], object]
    share: int


def check_message(error: RDistillError) -> None:
    """Raises AssertionError unless the error is one short line."""
    text = str(error)
    assert text and "\n" not in text and len(text) <= LONGEST_MESSAGE, f"not one sentence: {text[:300]!r}"
    text.encode()  # lone surrogates could not be printed
