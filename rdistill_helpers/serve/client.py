"""A served teacher as a function from images to descriptors, which `BlackBoxTeacher` takes.

tenacity keeps the tries, their growing random pauses and their end. requests leaves it to us to end an answer that is too large
or too slow as a whole, and to take one that was cut off or changed for none.
"""

import json
import logging
import re
import time
import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
import tenacity
import torch
from PIL import Image
from safetensors.numpy import save
from torch import Tensor
from urllib3.exceptions import HTTPError

from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput, BudgetExceeded, TeacherUnavailable
from rdistill_helpers.serve.wire import digest, unpacked

HEADER = 256  # bytes in front of the numbers of a request, at most
LARGEST_ANSWER, SECONDS_FOR_AN_ANSWER = 1 << 28, 600  # bytes, and seconds from its head to its end
NUMBERS = ("budget", "spent", "left", "max_request_bytes", "max_images")


class HttpTeacher:
    """Asks a served teacher: `BlackBoxTeacher(HttpTeacher(url, key), budget, ledger, name)`.

    Args:
        url: Where it is. The key goes to this address only; a warning says where others could read it on the way.
        key: What the owner of the teacher gave. No error shows it.
        tries: Of each request; docs/http-teacher.md says after which failures.
        timeout: Seconds to connect, and to wait for an answer.
        pause: Seconds before the second try, doubled before each further one, shortened at random by up to a half.
        longest_pause: Seconds. A longer Retry-After is obeyed, up to ten times as long.

    Raises:
        BadInput: The address or the key is not usable.
    """

    def __init__(
        self, url: str, key: str, tries: int = 6, timeout: tuple[float, float] = (10, 180), pause: float = 0.5,
        longest_pause: float = 30,
    ) -> None:  # fmt: skip
        """Check address and key; the first question connects."""
        at, key = urlsplit(url), key.strip()
        if at.scheme not in ("http", "https") or not at.hostname or at.username or at.query or at.fragment:
            raise BadInput("The teacher's address is not usable: give https://host or http://host:port, without a key.")
        if not re.fullmatch(r"[\x21-\x7e]{1,1000}", key):
            raise BadInput("The key for the teacher is not usable: give what its owner gave, in one line.")
        if at.scheme == "http" and not re.fullmatch(r"localhost|::1|127(\.[0-9]+){3}", at.hostname):
            warnings.warn(f"The key is readable on the way to {at.hostname}: use https if it is offered.", stacklevel=2)
        self.url, self.timeout = url.rstrip("/"), timeout
        self._limits, self._wait = (0, 0), 0  # bytes and images of a request; seconds, as the server asked last
        self._session = requests.Session()
        self._session.headers.update({"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"})
        self._session.auth = lambda request: request  # without it, a .netrc of the user would replace the key
        self._session.trust_env = at.scheme == "https"  # without TLS, a proxy of the environment would read the key
        half: dict[str, Any] = {"multiplier": pause / 2, "max": longest_pause / 2}
        pauses = tenacity.wait_exponential(**half) + tenacity.wait_random_exponential(**half)
        self._tried = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_MayPass),
            wait=lambda state: max(pauses(state), self._wait),
            stop=lambda state: state.attempt_number >= tries or self._wait > 10 * longest_pause,
            before_sleep=tenacity.before_sleep_log(logging.getLogger(__name__), logging.WARNING),
            reraise=True,
        )

    def __call__(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """Return float32 descriptors [B, D]; images of one size go together, as many at once as the server takes.

        Args:
            images: uint8 [B, 3, H, W] or B PIL images.

        Raises:
            BudgetExceeded: The key's budget on the server is too small.
            TeacherUnavailable: No usable answer came; what was charged is free in the next call.
            BadInput: The server does not know the key, or refuses the images.
        """
        if not self._limits[0]:
            self.account()
        pixels = [(i.cpu() if isinstance(i, Tensor) else to_tensor([i])[0]).numpy() for i in images]
        order = sorted(range(len(pixels)), key=lambda i: pixels[i].shape)
        parts = []
        for (_, height, width), same in groupby(order, key=lambda i: pixels[i].shape):
            alike = [pixels[i] for i in same]
            room = min((self._limits[0] - HEADER) // max(1, 3 * height * width), self._limits[1])
            if room < 1:
                most = f"{self._limits[0]:,} bytes"
                raise BadInput(f"A request takes {most}: make the image of {width} x {height} pixels smaller.")
            for start in range(0, len(alike), room):
                body = save({"images": np.stack(alike[start : start + room])})
                parts.append(self._tried(self._once, "/v1/descriptors", body))
        if sum(map(len, parts)) != len(order) or len({part.shape[1] for part in parts}) != 1:
            raise BadInput(f"{self.url} gave {len(order)} images no descriptor of one size each: tell its owner.")
        return torch.cat(parts)[torch.tensor(order).argsort()]

    def account(self) -> dict[str, Any]:
        """Return what the server says of this key: name, dim, budget, spent, left, max_request_bytes and max_images."""
        said = self._tried(self._once, "/v1/teacher", b"")
        self._limits = said["max_request_bytes"], said["max_images"]
        return said

    def _once(self, path: str, body: bytes) -> Any:
        """Descriptors, or without a body the account. Raises _MayPass where another try may help."""
        try:
            with self._session.request(
                "POST" if body else "GET", self.url + path, data=body, headers={"Content-Digest": digest(body)},
                timeout=self.timeout, stream=True, allow_redirects=False,
            ) as answer:  # fmt: skip
                content, until = bytearray(), time.monotonic() + SECONDS_FOR_AN_ANSWER
                while piece := answer.raw.read1(1 << 16):
                    content += piece
                    if len(content) > LARGEST_ANSWER or time.monotonic() > until:
                        raise self._lost("its answer has no end")
        except (requests.RequestException, HTTPError) as error:
            error.request = None  # type: ignore[union-attr]  # its headers hold the key
            raise self._lost(f"no whole answer came ({type(error).__name__})") from error
        if answer.headers.get("Content-Digest", found := digest(content)) != found:
            raise self._lost("its answer was changed on the way")
        status, wait = answer.status_code, answer.headers.get("Retry-After", "")
        if status in (408, 429, 502, 503, 504) or (status != 200 and wait):
            raise self._lost(f"HTTP {status}", int(wait) if re.fullmatch("[0-9]{1,9}", wait) else 0)
        if status != 200:
            kind = BudgetExceeded if status == 402 else TeacherUnavailable if status > 499 else BadInput
            raise kind(f"HTTP {status} from {self.url} ({content[:300].decode(errors='replace')}): ask its owner.")
        try:
            if body:
                return check_descriptors(torch.from_numpy(unpacked(bytes(content), np.float32, 2)), "the descriptors")
            said = json.loads(content)
            return said | {"name": str(said["name"])} | {name: int(said[name]) for name in NUMBERS}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise self._lost(f"its answer is not usable, {error}") from error

    def _lost(self, reason: str, wait: int = 0) -> "_MayPass":
        """What to raise where the same request can succeed, after the seconds that the server asks for."""
        self._wait = wait
        when = f" in {wait} s" if wait else ""
        return _MayPass(f"{self.url} gives no answer, {reason}; what it charged is kept and free: ask again{when}.")


class _MayPass(TeacherUnavailable): ...
