"""A faulty proxy on loopback: it drops, cuts off, changes, repeats or delays single requests, as it is told.

Each connection carries one request, as those of a served teacher do. The tests of the served teacher use it too.
"""

import re
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

FAULTS = (
    "dropped at once",  # the connection ends before anything is read
    "dropped before it arrived",  # the request is read and never passed on
    "dropped after it was answered",  # the request is passed on, its answer is not
    "answer cut off",
    "answer changed",  # one byte of it
    "request cut off",
    "request changed",  # one byte of its body
    "request repeated",  # passed on twice; the second answer is passed back
    "turned away",  # HTTP 503 from something in between
    "delayed",  # the answer waits
)
PASSED = "passed on"


class FaultyProxy(socketserver.ThreadingTCPServer):
    """Passes connections on to a port of this machine, each with the next of `faults`, then without any.

    faults: names of FAULTS, or PASSED. delay: seconds that "delayed" waits. `done` counts what happened.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, faults: Iterable[str] = (), delay: float = 0.05) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port, self.delay = port, delay
        self.faults = iter(faults)
        self.done: Counter = Counter()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> str:
        """What happens to the next connection."""
        with self._lock:
            fault = next(self.faults, PASSED)
            self.done[fault] += 1
        return fault

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: connections that end are its trade."""


class _Connection(socketserver.BaseRequestHandler):
    """One request and its answer."""

    server: FaultyProxy

    def handle(self) -> None:
        fault = self.server.next_fault()
        if fault == "dropped at once":
            return
        head, body = self._request()
        if fault == "dropped before it arrived":
            return
        if fault == "turned away":
            self.request.sendall(
                b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 0\r\nConnection: close\r\n\r\n"
            )
            return
        if fault == "request cut off":
            body = body[: len(body) // 2]
        if fault == "request changed" and body:
            body = _changed(body)
        if fault == "request repeated":
            self._ask(head + body)
        answer = self._ask(head + body, cut=fault == "request cut off")
        if fault == "delayed":
            time.sleep(self.server.delay)
        if fault == "answer cut off":
            answer = answer[: -max(1, len(answer) // 3)]
        if fault == "answer changed":
            start = answer.index(b"\r\n\r\n") + 4
            answer = answer[:start] + _changed(answer[start:])
        if fault != "dropped after it was answered":
            self.request.sendall(answer)

    def _request(self) -> tuple[bytes, bytes]:
        """Head and body of the request, whole."""
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._more()
        head, body = got.split(b"\r\n\r\n", 1)
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        while length and len(body) < int(length[1]):
            body += self._more()
        return head + b"\r\n\r\n", body

    def _more(self) -> bytes:
        piece = self.request.recv(1 << 16)
        if not piece:
            raise ConnectionError("the client has gone")
        return piece

    def _ask(self, request: bytes, cut: bool = False) -> bytes:
        """The whole answer of the server."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as connection:
            connection.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            if cut:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        return answer


def _changed(content: bytes) -> bytes:
    """With one byte changed, near the end."""
    at = len(content) * 9 // 10
    return content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :]
