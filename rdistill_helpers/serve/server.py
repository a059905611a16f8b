"""A teacher that others ask over HTTP, each with a key and a budget that is kept here.

Each key has a ledger of `BlackBoxTeacher`: the descriptor of an image in it *is* the charge. So a repeated request is answered
from the ledger and free, whoever was killed when; the new images of a request are charged together or not at all.

Starlette refuses a body that is too long and hands on others as they come, so a key is refused before its images are read.
uvicorn bounds heads and connections, reads over what was refused, and finishes what is asked at a stop. Ours, for lack of it:
- the deadlines of a head, of a whole body, and of an answer that nobody takes;
- requests of a key in a minute.
"""

import asyncio
import hashlib
import json
import math
import socket
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from safetensors.numpy import save
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from torch import Tensor
from uvicorn.protocols.http.h11_impl import H11Protocol

from rdistill_helpers.embed.black_box import BlackBoxTeacher, Embed
from rdistill_helpers.errors import BadInput, BudgetExceeded, RDistillError
from rdistill_helpers.serve.wire import digest, unpacked


class TeacherServer(uvicorn.Server):
    """Serves a teacher, once, with `serve_forever`; another thread ends it with `should_exit = True`.

    Args:
        embed: uint8 [B, 3, H, W] -> L2-normalised [B, D], as `BlackBoxTeacher` takes it; called by one thread.
        keys: Who may ask, from `read_keys`.
        folder: Where ledger-NAME.sqlite of each key is.
        name: Whose descriptors these are.
        host: Address to listen at.
        port: 0 takes a free one; see `url`.
        max_request_bytes: Of one request; a longer one is refused unread.
        max_images: Of one request.
        requests_per_minute: Of one key; as many may come at once after a minute without any.
        max_connections: At once; one more is turned away.
        header_seconds: For the head of a request to arrive.
        body_seconds: For its body to arrive as a whole, and for the answer to be taken.
        log: Takes a line for each question and each fault, which never holds a key.

    Raises:
        BadInput: A setting is not usable, the address cannot be had, or a ledger is another teacher's.
    """

    def __init__(
        self, embed: Embed, keys: Mapping[str, Mapping[str, Any]], folder: str | Path, name: str = "teacher",
        host: str = "127.0.0.1", port: int = 0, max_request_bytes: int = 16 * 2**20, max_images: int = 256,
        requests_per_minute: float = 120, max_connections: int = 32, header_seconds: float = 10, body_seconds: float = 60,
        log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:  # fmt: skip
        """Open the ledgers, and listen."""
        limits = (max_request_bytes, max_images, requests_per_minute, max_connections, header_seconds, body_seconds)
        if min(limits) <= 0 or not 0 <= port < 2**16:
            raise BadInput(f"The limits {limits} or the port {port} are not usable: give positive numbers.")
        self.embed, self.log, self.body_seconds, self._rate = embed, log, body_seconds, requests_per_minute / 60
        self.about: dict[str, Any] = {"name": name, "max_request_bytes": max_request_bytes, "max_images": max_images}
        self._names = {key["sha256"]: name for name, key in keys.items()}
        self._tokens = dict.fromkeys(keys, (requests_per_minute, time.monotonic()))
        self._thread = ThreadPoolExecutor(1)  # of the teacher and the ledgers
        self._ledgers: dict[str, BlackBoxTeacher] = {}
        for owner, key in keys.items():
            settings: Any = self._embedded, key["budget"], Path(folder) / f"ledger-{owner}.sqlite", name, max_images
            self._ledgers[owner] = self._thread.submit(BlackBoxTeacher, *settings).result()
        try:
            self._socket = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            raise BadInput(f"{host} port {port} cannot be listened at ({error}): give another address.") from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._socket.getsockname()[1]}"
        routes = [Route("/v1/teacher", self._answer), Route("/v1/descriptors", self._answer, methods=["POST"])]
        super().__init__(uvicorn.Config(
            Starlette(routes=routes, max_body_size=max_request_bytes), http=_timed(header_seconds, body_seconds),
            ws="none", lifespan="off", loop="asyncio", log_config=None, proxy_headers=False, server_header=False,
            limit_concurrency=max_connections + 1,
        ))  # fmt: skip

    def serve_forever(self) -> None:
        """Answer until the end, also SIGTERM or SIGINT in the main thread; uvicorn raises the signal again afterwards."""
        self.run([self._socket])
        self._thread.map(BlackBoxTeacher.close, self._ledgers.values())
        self._thread.shutdown()

    async def _answer(self, request: Request) -> Response:
        """Descriptors of the images in a request, or the account of its key."""
        name = "-"
        try:
            name = self._owner(request.headers.get("Authorization", ""))
            images = await self._images(request) if request.method == "POST" else None
            content, spent = await asyncio.wrap_future(self._thread.submit(self._ask, self._ledgers[name], images))
        except HTTPException as refusal:
            self.log(f"{name} {refusal.status_code} {request.method}")
            raise
        self.log(f"{name} 200 {request.method} {spent}")
        return Response(content, headers={"Content-Digest": digest(content), "Connection": "close"})

    def _owner(self, authorization: str) -> str:
        """Whose key came, unless it comes too often."""
        scheme, _, key = authorization.partition(" ")
        name = self._names.get(hashlib.sha256(key.strip().encode()).hexdigest())
        if scheme.lower() != "bearer" or name is None:
            raise HTTPException(401, "This key is not known.", {"WWW-Authenticate": "Bearer"})
        (tokens, then), now = self._tokens[name], time.monotonic()
        tokens = min(max(1.0, 60 * self._rate), tokens + (now - then) * self._rate)
        self._tokens[name] = tokens - (tokens >= 1), now
        if tokens < 1:
            wait = str(math.ceil((1 - tokens) / self._rate))
            raise HTTPException(429, "This key asks too often: wait before asking again.", {"Retry-After": wait})
        return name

    async def _images(self, request: Request) -> Tensor:
        """The images of a request, uint8 [B, 3, H, W]."""
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await request.body()
            if request.headers.get("Content-Digest", found := digest(body)) != found:
                raise HTTPException(400, "The request was changed on its way.", {"Retry-After": "0"})
            images = unpacked(body, np.uint8, 4)
            if images.shape[1] != 3 or len(images) > self.about["max_images"]:
                raise ValueError(f"it is {list(images.shape)}, B at most {self.about['max_images']}")
        except (TimeoutError, ClientDisconnect):
            raise HTTPException(408, "The request came too slowly; nothing was charged: send fewer images.") from None
        except ValueError as error:
            raise HTTPException(400, f"The request holds no images, {error}: send uint8 [B, 3, H, W].") from None
        return torch.from_numpy(images)

    def _ask(self, ledger: BlackBoxTeacher, images: Tensor | None) -> tuple[bytes, int]:
        """Content of an answer, and the queries that are paid; in the thread of the ledgers."""
        try:
            if self.should_exit:
                raise HTTPException(503, "The teacher stops; nothing was charged: ask later.", {"Retry-After": "5"})
            if images is not None:
                return save({"": ledger.query(images, progress=False).numpy()}), ledger.spent
            account = {"dim": ledger.dim, "budget": ledger.budget, "spent": ledger.spent, "left": ledger.left}
            return json.dumps(self.about | account).encode(), ledger.spent
        except BudgetExceeded:
            raise HTTPException(
                402, f"{ledger.left} of {ledger.budget} queries are left; nothing was charged."
            ) from None
        except HTTPException:
            raise
        except Exception as error:  # it can name things of this machine
            self.log(f"the teacher or its ledger failed: {error!r}")
            raise HTTPException(500, "The teacher failed; nothing was charged.") from None

    def _embedded(self, images: Any) -> Tensor:
        try:
            return self.embed(images)
        except RDistillError as error:
            raise HTTPException(422, f"The teacher refuses these images; nothing was charged: {error}") from None


def _timed(header_seconds: float, body_seconds: float) -> type[H11Protocol]:
    """Connections that end where no head comes, and where nobody takes an answer."""

    class Connection(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(header_seconds, lambda: self.cycle or transport.abort())

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.loop.call_later(body_seconds, lambda: self.cycle.response_complete and self.transport.abort())  # type: ignore

    return Connection
