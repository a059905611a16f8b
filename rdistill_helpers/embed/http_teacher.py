"""A teacher behind HTTP, as a function from images to rows that `BlackBoxTeacher` takes."""

import email.utils
import json
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.embed.teacher_wire import HEADER, ROWS, arrived_whole, digest, packed, unpacked
from rdistill_helpers.errors import BadInput, BudgetExceeded, TeacherUnavailable, shown

MAY_PASS = {408, 429, 502, 503, 504}  # answers after which the same request can succeed
LARGEST_DIM = 1 << 16
LONGEST_SENTENCE = 300  # of a server's own words in an error
SECONDS_FOR_AN_ANSWER = 600  # to arrive as a whole, once it has begun


class HttpTeacher:
    """Asks a served teacher: `BlackBoxTeacher(HttpTeacher(url, key), budget, ledger)`.

    url, key: what the owner of the teacher gave (see docs/http-teacher.md). The key is sent to this address only, and no error
        and no representation shows it. A warning says where it would travel readable for others.
    tries: of each request, the first one included; only what may pass is tried again: no connection, no answer in time, an
        answer that is cut off or changed, and the server's 408, 429, 502, 503 and 504.
    timeout: seconds to connect, and to wait for an answer. pause: seconds before the second try, doubled before each further
        one up to longest_pause, and shortened at random by up to a half, so that many who were turned away do not come back at
        once. A server that says when to come back (Retry-After) is obeyed, up to ten times longest_pause.
    seed: of the random pauses; None for other ones in every process. progress: a bar for each call of more than a second.

    Called with uint8 [B, 3, H, W] or a list of B PIL images it gives float32 rows [B, D], having sent images of one size
    together, as many at once as the server takes. Raises BudgetExceeded when the key's budget on the server is too small,
    TeacherUnavailable after the last try, BadInput for a key that is not known and for anything else that is refused.
    """

    def __init__(
        self,
        url: str,
        key: str,
        tries: int = 6,
        timeout: tuple[float, float] = (10, 180),
        pause: float = 0.5,
        longest_pause: float = 30,
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise BadInput(
                "The teacher's address is not usable: give it as https://host or http://host:port, without a key."
            )
        if not re.fullmatch(r"[\x21-\x7e]{1,1000}", key.strip()):
            raise BadInput("The key for the teacher is no key: give the characters that its owner gave, in one line.")
        if tries < 1 or pause < 0 or longest_pause < pause:
            raise BadInput(
                f"{tries} tries with pauses of {pause} to {longest_pause} s are not usable: give larger ones."
            )
        if parts.scheme == "http" and not _stays_here(parts.hostname):
            warnings.warn(
                f"The key travels to {parts.hostname} readable for everybody on the way: use https where it is offered.",
                stacklevel=2,
            )
        self.url = url.rstrip("/")
        self.tries, self.timeout, self.pause, self.longest_pause = tries, timeout, pause, longest_pause
        self.progress = progress
        self._random = random.Random(seed)
        self._session = requests.Session()
        self._key = key.strip()
        self._limits: tuple[int, int] | None = None  # bytes and images of a request
        self._spent: int | None = None  # as far as answers told

    def __repr__(self) -> str:
        return f"HttpTeacher({self.url!r})"

    def __call__(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """float32 [B, D] of uint8 [B, 3, H, W] or B PIL images, in their order."""
        rows: Tensor | None = None
        with tqdm(
            total=len(images), desc=f"asking {self.url}", unit="image", leave=False, delay=1, disable=not self.progress
        ) as bar:
            for indices, pixels in self._requests(images):
                answer = self._descriptors(pixels, bar)
                if rows is None:
                    rows = torch.empty(len(images), answer.shape[1])
                if answer.shape[1] != rows.shape[1]:
                    raise BadInput(
                        f"The teacher at {self.url} gave rows of {rows.shape[1]} and of {answer.shape[1]} numbers."
                    )
                rows[indices] = answer
                bar.update(len(indices))
        if rows is None:
            raise BadInput("There are no images to ask the teacher about: give at least one.")
        return rows

    def account(self) -> dict[str, Any]:
        """What the server says of this key: name and dim of the teacher, budget, spent, left, and the limits of a request."""
        body = self._asked("GET", "/v1/teacher", None, 1 << 16, _account)
        self._limits = body["max_request_bytes"], body["max_images"]
        self._spent = body["spent"]
        return body

    def _requests(self, images: Tensor | Sequence[Image.Image]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Pairs (image numbers, uint8 [b, 3, H, W]), each of one size and no larger than the server takes."""
        most_bytes, most_images = self._limits or self._ask_limits()
        waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        for index in range(len(images)):
            image = images[index]
            pixels = (image.cpu() if isinstance(image, Tensor) else to_tensor([image])[0]).numpy()
            room = min((most_bytes - HEADER) // max(1, pixels.nbytes), most_images)
            if room < 1:
                size = f"{pixels.shape[2]} x {pixels.shape[1]}"
                raise BadInput(
                    f"An image of {size} pixels is larger than the {most_bytes:,} bytes of a request that the teacher at "
                    f"{self.url} takes: make it smaller."
                )
            alike = waiting.setdefault(pixels.shape, [])
            alike.append((index, pixels))
            if len(alike) == room:
                yield _stacked(waiting.pop(pixels.shape))
        for alike in waiting.values():
            yield _stacked(alike)

    def _ask_limits(self) -> tuple[int, int]:
        self.account()
        assert self._limits is not None
        return self._limits

    def _descriptors(self, pixels: np.ndarray, bar: tqdm) -> Tensor:
        """The rows [b, D] of one request."""

        def rows(body: bytes) -> Tensor:
            found = torch.from_numpy(unpacked(body, ROWS, 2).astype(np.float32))
            if len(found) != len(pixels):
                raise ValueError(f"it has {len(found)} rows for {len(pixels)} images")
            return check_descriptors(found, "the rows")

        most = len(pixels) * LARGEST_DIM * ROWS.itemsize + HEADER
        return self._asked("POST", "/v1/descriptors", packed(pixels), most, rows, bar)

    def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None,
        most: int,
        read: Callable[[bytes], Any],
        bar: tqdm | None = None,
    ) -> Any:
        """What `read` makes of the body of the answer, of at most so many bytes; tried again as long as it may help."""
        reason, wait = "", None
        for attempt in range(self.tries):
            if attempt:
                pause = min(self.longest_pause, self.pause * 2 ** (attempt - 1)) * (1 - self._random.random() / 2)
                pause = max(pause, wait or 0.0)
                if bar is not None:
                    bar.set_postfix_str(f"{reason}: try {attempt + 1} of {self.tries} in {pause:.0f} s")
                time.sleep(pause)
            try:
                answer = self._once(method, path, body, most)
                if answer.status == 200:
                    content = _usable(read, answer.body)
                    self._spent = answer.spent if answer.spent is not None else self._spent
                    return content
            except _NotReached as error:
                reason, wait = str(error), None
                continue
            if answer.status not in MAY_PASS and answer.code != "garbled":
                raise self._refusal(answer)
            reason, wait = f"HTTP {answer.status}", answer.wait
            if wait is not None and wait > 10 * self.longest_pause:
                reason += f", to come back in {wait:.0f} s"
                break
        spent = "" if not self._spent else f"{self._spent} queries are paid there, and "
        raise TeacherUnavailable(
            f"The teacher at {self.url} gave no answer in {attempt + 1} tries, at last because of this: {reason}; {spent}"
            "everything that it has charged is kept and free when it is asked again: make the same call later."
        )

    def _once(self, method: str, path: str, body: bytes | None, most: int) -> "_Answer":
        """One try. Raises _NotReached when no whole answer came."""
        headers = {"Accept-Encoding": "identity"}
        if body is not None:
            headers |= {"Content-Type": "application/x-npy", "Content-Digest": digest(body)}
        try:
            with self._session.request(
                method, self.url + path, data=body, headers=headers, auth=self._signed, timeout=self.timeout, stream=True,
                allow_redirects=False,
            ) as response:  # fmt: skip
                content, until = bytearray(), time.monotonic() + SECONDS_FOR_AN_ANSWER
                for piece in response.iter_content(1 << 16):
                    content += piece
                    if len(content) > most or time.monotonic() > until:
                        raise _NotReached("its answer has no end")
                if not arrived_whole(content, response.headers.get("Content-Digest")):
                    raise _NotReached("its answer was changed on the way")
                return _Answer(response, bytes(content))
        except requests.exceptions.SSLError as error:
            raise BadInput(
                f"The certificate of {self.url} cannot be trusted: check the address, nothing was sent."
            ) from _without_request(error)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _NotReached(f"no connection ({type(error).__name__})") from _without_request(error)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise _NotReached("its answer was cut off") from _without_request(error)
        except requests.RequestException as error:
            raise BadInput(
                f"{self.url} cannot be asked ({type(error).__name__}): check the address."
            ) from _without_request(error)

    def _signed(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the key to a request; as `auth`, for otherwise a .netrc of the user would take its place."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _refusal(self, answer: "_Answer") -> Exception:
        """The error for an answer that would be the same again."""
        said = f" ({answer.sentence})" if answer.sentence else ""
        if answer.status == 402:
            return BudgetExceeded(
                answer.sentence or f"The budget of this key at {self.url} is too small: ask its owner."
            )
        if answer.status == 401:
            return BadInput(f"The teacher at {self.url} does not know this key: check it, or ask its owner for one.")
        if 300 <= answer.status < 400:
            return BadInput(f"{self.url} leads elsewhere, where the key is not sent: give the address it leads to.")
        if answer.status >= 500:
            return TeacherUnavailable(f"The teacher at {self.url} failed, HTTP {answer.status}{said}: tell its owner.")
        return BadInput(
            f"The teacher at {self.url} refused the request, HTTP {answer.status}{said}: check address and images."
        )


class _NotReached(Exception):
    """No answer, or none that is whole."""


class _Answer:
    """So much of a response as is used, every part of it checked."""

    def __init__(self, response: requests.Response, body: bytes) -> None:
        self.status = response.status_code
        self.body = body
        self.wait = _seconds(response.headers.get("Retry-After", ""))
        spent = response.headers.get("RDistill-Spent", "")
        self.spent = int(spent) if re.fullmatch("[0-9]{1,12}", spent) else None
        self.sentence = self.code = ""
        if self.status != 200:
            try:
                said = json.loads(body)
                self.sentence, self.code = str(said["error"])[:LONGEST_SENTENCE], str(said.get("code", ""))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                pass  # of something between the teacher and here, or no teacher at all


def _usable(read: Callable[[bytes], Any], body: bytes) -> Any:
    """What `read` makes of an answer; an answer that it cannot take is one that did not arrive."""
    try:
        return read(body)
    except ValueError as error:  # BadInput of rows that are none as well
        raise _NotReached(f"its answer is not usable, {error}") from error


def _account(body: bytes) -> dict[str, Any]:
    """An account, once its numbers are numbers. Raises ValueError."""
    try:
        content = json.loads(body)
        numbers = [content[name] for name in ("budget", "spent", "left", "max_request_bytes", "max_images")]
        usable = all(type(number) is int and 0 <= number <= 10**15 for number in numbers) and isinstance(
            content["name"], str
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"it is no account ({type(error).__name__})") from error
    if not usable:
        raise ValueError(f"it is no account ({shown(content)})")
    return content


def _seconds(value: str) -> float | None:
    """How long a Retry-After header tells to wait, which is a number or a date."""
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _stacked(alike: list[tuple[int, np.ndarray]]) -> tuple[list[int], np.ndarray]:
    return [index for index, _ in alike], np.stack([pixels for _, pixels in alike])


def _stays_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _without_request(error: requests.RequestException) -> requests.RequestException:
    """The error without the request that it keeps, whose headers hold the key."""
    error.request = error.response = None
    return error
