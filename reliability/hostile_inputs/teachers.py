"""Readers around the teacher: its ledger, and what a served teacher and its client send each other."""

import functools
import hashlib
import http.client
import io
import json
import logging
import os
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import numpy as np
import torch
from hypothesis import strategies as st
from requests import Session
from safetensors.numpy import save

from rdistill_helpers import BadInput, BlackBoxTeacher, check_descriptors
from rdistill_helpers.serve import HttpTeacher, TeacherServer, read_keys
from rdistill_helpers.serve.wire import unpacked
from reliability.hostile_inputs.making import Reader, changed, jsoned, names, put
from reliability.samples import colours, photographs


@functools.cache
def ledger() -> bytes:
    """Makes a ledger of three answers."""
    with tempfile.TemporaryDirectory() as folder:
        with BlackBoxTeacher(colours, 9, Path(folder) / "ledger", "colours") as teacher:
            teacher.query(photographs(3), progress=False)
        return (Path(folder) / "ledger").read_bytes()


LEDGER_LIES = [
    "UPDATE paid SET row = 'text'", "UPDATE paid SET row = x'00'", "UPDATE paid SET row = zeroblob(12)",
    "UPDATE paid SET row = x'0000c07f0000c07f0000c07f'", "UPDATE teacher SET dim = 'many'", "UPDATE teacher SET dim = -1",
    "UPDATE teacher SET dim = 4000000000", "UPDATE teacher SET name = 5", "DELETE FROM teacher", "DROP TABLE paid",
    "ALTER TABLE paid RENAME TO sold", "INSERT INTO teacher SELECT * FROM teacher", "UPDATE paid SET image = 5 WHERE rowid = 1",
    "CREATE TRIGGER t BEFORE INSERT ON paid BEGIN DELETE FROM paid; END", "PRAGMA user_version = 7",
    "ALTER TABLE paid ADD COLUMN x INT NOT NULL DEFAULT 5", "PRAGMA application_id = 0",
]  # fmt: skip


@st.composite
def ledgers(draw: Callable[..., Any]) -> tuple[bytes, list[str]]:
    """Makes a ledger with changed bytes, or statements that someone ran on it."""
    if draw(st.booleans()):
        return draw(changed(ledger())), []
    return ledger(), draw(st.lists(st.sampled_from(LEDGER_LIES), min_size=1, max_size=3))


def ask_with_ledger(content: tuple[bytes, list[str]], folder: Path) -> object:
    """Asks a teacher with a ledger of somebody else."""
    path = put(folder, "ledger", content[0])
    if content[1]:
        database = sqlite3.connect(path)
        for statement in content[1]:
            with suppress(sqlite3.Error):  # what an earlier statement has removed
                database.execute(statement)
        database.commit()
        database.close()
    with BlackBoxTeacher(colours, 9, path, "colours") as teacher:
        rows = teacher.query(photographs(4), progress=False)
        assert rows.isfinite().all() and rows.shape == (4, 3), "a ledger gave something that is no descriptor"
        return repr(teacher)


KEY_FILE = {"anna": {"sha256": hashlib.sha256(b"key").hexdigest(), "budget": 10**9}}


@functools.cache
def served(process: int) -> tuple[str, tempfile.TemporaryDirectory]:
    """Where a served teacher of this process listens, and the folder of its ledger, which is deleted at the end."""
    folder = tempfile.TemporaryDirectory()
    limits: Any = {"max_request_bytes": 4096, "max_images": 4, "requests_per_minute": 10**9, "log": lambda line: None}
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a line for each damaged head
    server = TeacherServer(colours, KEY_FILE, folder.name, header_seconds=0.05, body_seconds=0.05, **limits)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.url, folder


@functools.cache
def images_file() -> bytes:
    """Two photographs as they travel."""
    return save({"images": photographs(2).numpy()})


@st.composite
def array_files(draw: Callable[..., Any]) -> bytes:
    """An array as .safetensors of any type and shape, with a header that may lie."""
    array = np.zeros(
        draw(st.lists(st.integers(0, 4), max_size=5)), draw(st.sampled_from(["u1", "<f4", "<f8", "<i8", "?"]))
    )
    content = save(draw(st.dictionaries(st.text(max_size=5), st.just(array), min_size=1, max_size=2)))
    shape = json.dumps(array.shape, separators=(",", ":"))
    lie = draw(st.sampled_from([shape, "[-1]", "[9999999999,9999999999,9]", "null", "[1,1,1,1,1,1]", '["1"]']))
    return draw(changed(content.replace(shape.encode(), lie.encode(), 1)))


lies = st.one_of(st.sampled_from(["0", "-1", "9" * 5000, "1e3", "²", "chunked", "sha-256=:AAAA:", "Bearer key"]), names)


@st.composite
def http_requests(draw: Callable[..., Any]) -> bytes:
    """A request to a served teacher: its bytes changed, the array in it, or its head."""
    kind = draw(st.integers(0, 3))
    body = draw(changed(images_file(), 3)) if kind == 0 else draw(array_files()) if kind == 1 else images_file()
    head = {"Host": "here", "Authorization": "Bearer key", "Content-Length": str(len(body))}
    if kind == 2:
        fields = st.sampled_from(
            ["Authorization", "Content-Length", "Content-Digest", "Transfer-Encoding", "Expect", "Connection"]
        )
        head |= draw(st.dictionaries(fields, lies, max_size=3))
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode("utf-8", "surrogatepass")
    whole = b"POST /v1/descriptors HTTP/1.1\r\n" + lines + b"\r\n" + body
    return draw(changed(whole)) if kind == 3 else whole


def ask_server(content: bytes, folder: Path) -> object:
    """A served teacher that is asked so; what it refuses, it must refuse in one sentence."""
    at = urlsplit(served(os.getpid())[0])
    with socket.create_connection((at.hostname, at.port), timeout=30) as connection, suppress(ConnectionError):
        connection.sendall(content)
        with http.client.HTTPResponse(connection) as answer:
            answer.begin()
            body = answer.read()
        if answer.status == 200:
            return check_descriptors(torch.from_numpy(unpacked(body, np.float32, 2)), "the rows")
        raise BadInput(body.decode())
    raise BadInput("The connection was closed: send a whole request.")


class Spoken:
    """A server's answer to a client of a served teacher, as requests gives it."""

    def __init__(self, status_code: int, headers: dict[str, str], content: bytes) -> None:
        self.status_code, self.headers, self.content = status_code, headers, content

    def __enter__(self) -> "Spoken":
        self.raw = io.BytesIO(self.content)
        return self

    def __exit__(self, *error: object) -> None:
        pass


LIMITS = {"name": "colours", "dim": 3, "budget": 9, "spent": 2, "left": 7, "max_request_bytes": 4096, "max_images": 4}


@functools.cache
def descriptors_file() -> bytes:
    """The answer to two photographs."""
    return save({"descriptors": colours(photographs(2)).numpy()})


spoken = st.builds(
    Spoken,
    st.sampled_from([200, 200, 200, 401, 402, 404, 429, 500, 503, 302, 999]),
    st.dictionaries(st.sampled_from(["Retry-After", "Content-Digest", "Location"]), lies, max_size=2),
    st.one_of(
        st.deferred(lambda: changed(descriptors_file())), st.just(b"").map(lambda _: descriptors_file()), array_files(),
        st.binary(max_size=100),
    ),
)  # fmt: skip


def ask_through_client(content: tuple[bytes, list[Spoken]], folder: Path) -> object:
    """A client of a served teacher, whose account and whose answers lie."""
    client = HttpTeacher("http://127.0.0.1:9", "key", tries=3, pause=0, longest_pause=0)
    said = [Spoken(200, {}, content[0]), *content[1]]
    with patch.object(Session, "request", lambda *way, **how: said.pop(0) if len(said) > 1 else said[0]):
        return check_descriptors(client(photographs(2)), "rows")


def readers() -> dict[str, Reader]:
    """Returns the readers by what they read."""
    account = st.one_of(st.just(json.dumps(LIMITS).encode()), jsoned(LIMITS))
    return {
        "ledger": Reader(ledgers(), ask_with_ledger, 40),
        "keys of a served teacher (JSON)": Reader(
            jsoned(KEY_FILE), lambda text, folder: read_keys(put(folder, "keys.json", text)), 20
        ),
        "request to a served teacher": Reader(http_requests(), ask_server, 40),
        "answers of a served teacher": Reader(
            st.tuples(account, st.lists(spoken, min_size=1, max_size=3)), ask_through_client, 40
        ),
    }
