"""A teacher that others ask over HTTP, with a key each and a budget that is kept here.

Each key has a ledger of its own, one of `BlackBoxTeacher`: an image is known by its pixels, its descriptor in the ledger is the
charge, and both are written at once. So a request that is repeated, because its answer was lost on the way or for any other
reason, is answered from the ledger and costs nothing, whoever was killed when. The images of a request that are new are
charged together or not at all.

The standard library's HTTP server is enough: every connection carries one request, and what a request may cost is decided from
its head, before its body is read. There is no TLS: outside of one machine a proxy that has it belongs in front.
"""

import io
import json
import math
import os
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.embed.black_box import BlackBoxTeacher, Embed
from rdistill_helpers.embed.teacher_keys import Key, owner_of
from rdistill_helpers.embed.teacher_wire import IMAGES, arrived_whole, digest, packed, unpacked
from rdistill_helpers.errors import BadInput, BudgetExceeded, RDistillError

ACCOUNT, DESCRIPTORS = "/v1/teacher", "/v1/descriptors"
SECONDS_TO_DISCARD = 2.0  # the body of a refused request, so that the refusal is read before the connection ends
SECONDS_BETWEEN_LOOKS = 0.2  # whether the server is to stop


class Refused(Exception):
    """A request that is not answered: the status, one sentence, and what a program should know."""

    def __init__(self, status: int, sentence: str, code: str = "", wait: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.code, self.wait = status, sentence, code, wait


class _EmbedFailed(Exception):
    """The teacher itself failed; its cause says how."""


class TeacherServer(ThreadingHTTPServer):
    """Serves a teacher until `stop` is called in another thread: `with TeacherServer(...) as server: server.serve_forever()`.

    embed: uint8 [B, 3, H, W] -> [B, D], rows L2-normalised, as `BlackBoxTeacher` takes it; called by one thread.
    keys: who may ask, from `read_keys`. folder: for ledger-NAME.sqlite of each key. name: whose descriptors these are.
    host, port: where it listens; port 0 takes a free one, see `url`.
    max_request_bytes, max_images: of one request, refused before it is read and before it is described.
    requests_per_minute: of one key; as many may come at once after a minute without any.
    max_connections: at once; one more is turned away. header_seconds, body_seconds: for the head and the body of a request to
        arrive as a whole, however slowly they trickle. log: gets a line for each request, which never holds a key.
    Raises BadInput for settings that are not usable, an address that cannot be had and ledgers of another teacher.
    """

    request_queue_size = 128
    daemon_threads = False  # a request that is being answered is answered
    allow_reuse_address = os.name != "nt"  # where it would let two servers share one port

    def __init__(
        self,
        embed: Embed,
        keys: Mapping[str, Key],
        folder: str | Path,
        name: str = "teacher",
        host: str = "127.0.0.1",
        port: int = 0,
        max_request_bytes: int = 16 * 2**20,
        max_images: int = 256,
        requests_per_minute: float = 120,
        max_connections: int = 32,
        header_seconds: float = 10,
        body_seconds: float = 60,
        log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        limits = (max_request_bytes, max_images, requests_per_minute, max_connections, header_seconds, body_seconds)
        if not all(limit > 0 for limit in limits) or max_connections < 1 or not 0 <= port < 2**16:
            raise BadInput(f"The limits {limits} or the port {port} are not usable: give positive numbers.")
        self.keys, self.name, self.log = keys, name, log
        self.max_request_bytes, self.max_images, self.requests_per_minute = (
            max_request_bytes,
            max_images,
            requests_per_minute,
        )
        self.header_seconds, self.body_seconds = header_seconds, body_seconds
        self.stopping = threading.Event()
        self._free = threading.BoundedSemaphore(max_connections)
        self._pace_lock = threading.Lock()
        self._tokens = dict.fromkeys(keys, (requests_per_minute, time.monotonic()))
        # One thread asks the teacher and knows the ledgers: a network answers no faster when two ask it.
        self._worker = ThreadPoolExecutor(1, "teacher")
        self._ledgers: dict[str, BlackBoxTeacher] = {}
        try:
            self._worker.submit(self._open, embed, Path(folder)).result()
            self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            super().__init__((host, port), _Request)
        except OSError as error:
            self._close_ledgers()
            raise BadInput(f"{host} port {port} cannot be listened at ({error}): give another address.") from error
        except BaseException:
            self._close_ledgers()
            raise

    @property
    def url(self) -> str:
        """The address for `HttpTeacher`."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}"

    def stop(self) -> None:
        """Ends `serve_forever`: what the teacher is describing is finished and answered, anything else may come again later."""
        self.stopping.set()
        self.shutdown()

    def server_bind(self) -> None:
        """Takes the address; no name is looked up, as HTTPServer would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def server_close(self) -> None:
        """Waits for the requests that are being answered, and closes the ledgers."""
        self.stopping.set()
        super().server_close()
        self._close_ledgers()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a connection, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self._turn_away(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread to be had
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that ended in an error: its kind is enough, for a traceback could show what was sent."""
        error = sys.exc_info()[1]
        self.log(f"- the connection ended: {type(error).__name__}")

    def describe(self, name: str, images: Tensor) -> tuple[Tensor, int, int]:
        """Rows [B, D] of images [B, 3, H, W] for a key, and what is spent and left of it. Raises Refused."""
        return self._in_worker(name, self._describe, images)

    def account(self, name: str) -> dict[str, Any]:
        """What a key may know: the teacher, its own budget, and the limits of a request."""
        dim, spent, left = self._in_worker(name, lambda ledger: (ledger.dim, ledger.spent, ledger.left))
        return {
            "name": self.name,
            "dim": dim,
            "budget": self.keys[name].budget,
            "spent": spent,
            "left": left,
            "max_request_bytes": self.max_request_bytes,
            "max_images": self.max_images,
        }

    def pace(self, name: str) -> None:
        """Raise Refused when a key asks too often."""
        rate = self.requests_per_minute / 60
        with self._pace_lock:
            tokens, then = self._tokens[name]
            now = time.monotonic()
            tokens = min(max(1.0, self.requests_per_minute), tokens + (now - then) * rate)
            self._tokens[name] = (tokens - (tokens >= 1), now)
        if tokens < 1:
            sentence = f"This key has asked {self.requests_per_minute:g} times in a minute: wait before asking again."
            raise Refused(429, sentence, wait=(1 - tokens) / rate)

    def _open(self, embed: Embed, folder: Path) -> None:
        """Opens all ledgers, so that one that is not usable is told at the start."""

        def marked(images: Any) -> Tensor:
            try:
                return embed(images)
            except Exception as error:
                raise _EmbedFailed from error

        for name, key in self.keys.items():
            ledger = folder / f"ledger-{name}.sqlite"
            self._ledgers[name] = BlackBoxTeacher(marked, key.budget, ledger, self.name, batch_size=self.max_images)

    def _close_ledgers(self) -> None:
        """Closes them where they were opened; again, it does nothing."""

        def close() -> None:
            while self._ledgers:
                self._ledgers.popitem()[1].close()

        if self._ledgers:
            self._worker.submit(close).result()
        self._worker.shutdown()

    def _in_worker(self, name: str, do: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a key's ledger gives. Raises Refused; faults of this machine are told to its owner alone."""
        try:
            return self._worker.submit(do, self._ledgers[name], *arguments).result()
        except RDistillError as error:
            self.log(f"{name} {error}")
            raise Refused(500, "The teacher's server has a fault, and nothing was charged: tell its owner.") from None

    def _describe(self, ledger: BlackBoxTeacher, images: Tensor) -> tuple[Tensor, int, int]:
        """`describe`, in the thread of the ledgers."""
        if self.stopping.is_set():
            raise Refused(503, "The teacher is being stopped, and nothing was charged: ask again later.", wait=5)
        try:
            return ledger.query(images, progress=False), ledger.spent, ledger.left
        except BudgetExceeded:
            raise Refused(
                402,
                f"This key has {ledger.left} of its {ledger.budget} queries left, and more of these {len(images)} images "
                "are new: nothing was charged; ask about fewer new images, or ask the teacher's owner for more.",
            ) from None
        except _EmbedFailed as failure:
            cause = failure.__cause__
            if isinstance(cause, RDistillError):  # about these images: it names nothing of this machine
                raise Refused(
                    422, f"The teacher cannot describe these images, and nothing was charged: {cause}"
                ) from None
            self.log(f"the teacher failed: {cause!r}")
            raise Refused(500, "The teacher failed on these images, and nothing was charged: tell its owner.") from None

    def _turn_away(self, connection: socket.socket) -> None:
        """Answers a connection too many without reading it."""
        body = _sentence("Too many connections are open: ask again in a moment.")
        head = f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        try:
            connection.settimeout(1)
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        except OSError:
            pass
        self.log("- 503 too many connections")
        self.shutdown_request(connection)


def _sentence(text: str, code: str = "") -> bytes:
    """An error as it travels."""
    return json.dumps({"error": text, **({"code": code} if code else {})}).encode()


class _Timely(io.RawIOBase):
    """What a connection sends, until a deadline; a socket's own timeout would begin anew with every byte."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self.connection, self.stopping, self.deadline = connection, stopping, 0.0

    def readable(self) -> bool:
        """For BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes. Raises TimeoutError at the deadline, and when the server stops."""
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0 or self.stopping.is_set():
                raise TimeoutError
            self.connection.settimeout(min(left, SECONDS_BETWEEN_LOOKS))
            try:
                return self.connection.recv_into(buffer)
            except TimeoutError:
                pass


class _Request(BaseHTTPRequestHandler):
    """One request, which is one connection."""

    server: TeacherServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Reads through `_Timely`."""
        super().setup()
        self._timely = _Timely(self.connection, self.server.stopping)
        self._timely.deadline = time.monotonic() + self.server.header_seconds
        self.rfile = io.BufferedReader(self._timely, 1 << 16)
        self._unread = 0  # of the body

    def do_GET(self) -> None:
        """The account of a key."""
        self._answer(ACCOUNT, lambda name: (json.dumps(self.server.account(name)).encode(), "application/json", {}))

    def do_POST(self) -> None:
        """Descriptors of images."""
        self._answer(DESCRIPTORS, self._descriptors)

    def _answer(self, path: str, make: Callable[[str], tuple[bytes, str, dict[str, str]]]) -> None:
        """Sends what `make` gives to the one who asks, or why not."""
        name = "-"
        try:
            self._unread = self._length()
            if self.path != path:
                raise Refused(404, f"There is nothing here: GET {ACCOUNT} or POST {DESCRIPTORS}.")
            name = self._owner()
            self.server.pace(name)
            body, kind, headers = make(name)
        except Refused as refusal:
            self._refuse(refusal, name)
        else:
            self._send(200, body, kind, headers)
            self.server.log(f"{name} 200 {self.command} {headers.get('RDistill-Spent', '')}".rstrip())

    def _length(self) -> int:
        """Bytes of the body. Raises Refused where the head does not say so in one way only."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.command == "GET" and not lengths:
            return 0
        if len(lengths) != 1 or "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,15}", lengths[0]):
            raise Refused(411, "The request does not say how long it is: give one Content-Length.")
        return int(lengths[0])

    def _owner(self) -> str:
        """Whose key was given."""
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        name = owner_of(key.strip(), self.server.keys)
        if scheme.lower() != "bearer" or name is None:
            raise Refused(401, "This key is not known: give one of the teacher's owner as Authorization: Bearer KEY.")
        return name

    def _descriptors(self, name: str) -> tuple[bytes, str, dict[str, str]]:
        """The answer to images."""
        images = torch.from_numpy(self._images())
        rows, spent, left = self.server.describe(name, images)
        body = packed(rows.numpy().astype("<f4"))
        return body, "application/x-npy", {"RDistill-Spent": str(spent), "RDistill-Left": str(left)}

    def _images(self) -> np.ndarray:
        """The images of a request, uint8 [B, 3, H, W]. Raises Refused."""
        most = self.server.max_request_bytes
        if self._unread > most:
            raise Refused(
                413, f"The request has {self._unread:,} bytes, more than {most:,}: send fewer images at once."
            )
        self._timely.deadline = time.monotonic() + self.server.body_seconds
        if self.headers.get("Expect", "").lower() == "100-continue":  # it waits for a word before it sends the body
            self.send_response_only(100)
            self.end_headers()
        body = bytearray(self._unread)
        try:
            while self._unread:
                count = self.rfile.readinto1(memoryview(body)[-self._unread :])
                if not count:
                    self._unread = 0
                    raise Refused(
                        400, "The request ended before its end, and nothing was charged: send it again.", "garbled"
                    )
                self._unread -= count
        except TimeoutError:
            if self.server.stopping.is_set():
                raise Refused(
                    503, "The teacher is being stopped, and nothing was charged: ask later.", wait=5
                ) from None
            raise Refused(
                408, "The request came too slowly, and nothing was charged: send fewer images at once."
            ) from None
        if not arrived_whole(body, self.headers.get("Content-Digest")):
            raise Refused(
                400, "The images were changed on their way, and nothing was charged: send them again.", "garbled"
            )
        try:
            images = unpacked(body, IMAGES, 4)
        except ValueError as error:
            raise Refused(400, f"The request holds no images: {error}; send uint8 [B, 3, H, W] as .npy.") from None
        if images.shape[1] != 3 or len(images) > self.server.max_images:
            raise Refused(
                400,
                f"The request holds an array {list(images.shape)}: send [B, 3, H, W], B at most {self.server.max_images}.",
            )
        return images

    def _refuse(self, refusal: Refused, name: str) -> None:
        headers = {}
        if refusal.wait is not None:
            headers["Retry-After"] = str(max(1, math.ceil(refusal.wait)))
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        self._send(refusal.status, _sentence(refusal.sentence, refusal.code), "application/json", headers)
        self.server.log(f"{name} {refusal.status} {self.command}")
        self._discard()

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.connection.settimeout(self.server.body_seconds)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Digest", digest(body))
        self.send_header("Connection", "close")  # what follows in it could be the rest of a refused body
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _discard(self) -> None:
        """Reads on for a moment what was refused unread: a connection that is closed before takes the answer with it."""
        self._timely.deadline = time.monotonic() + SECONDS_TO_DISCARD
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while self._unread > 0 and (piece := self.rfile.read1(1 << 16)):
                self._unread -= len(piece)
        except OSError:
            pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library finds wrong with a head, without repeating what was sent."""
        self.command = getattr(self, "command", None) or "-"
        self._refuse(Refused(code, "The request cannot be understood: see docs/http-teacher.md."), "-")

    def version_string(self) -> str:
        """What the server calls itself: no version, which would help nobody but those who look for old ones."""
        return "rdistill"

    def handle_expect_100(self) -> bool:
        """Not yet: the word to send the body comes when it is known that it will be taken."""
        return True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the server's log has its own lines, and these repeat what was sent."""
