"""Photographs decoded by other threads while the network describes those before them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from rdistill_helpers.data.images import read_image


def read_ahead(
    images: Sequence[Image.Image | Path | str], which: range, ahead: int
) -> Iterator[tuple[int, Image.Image]]:
    """Photographs of a sequence in their order, decoded in advance.

    Paths are decoded by several threads. A sequence of another kind may read files of its own whenever it is asked for an
    item, so one thread alone asks it, unless it says by an attribute `threads` that several may.

    Args:
        images: N images and paths.
        which: numbers of the photographs to read.
        ahead: how many may wait decoded.

    Yields:
        The number and the RGB image of each photograph.

    Raises:
        BadInput: a photograph that cannot be read, after those before it were given.
        DataMissing: a path leads to no file.
    """
    plain = getattr(images, "threads", False) or (
        isinstance(images, list | tuple) and all(isinstance(image, str | Path) for image in images)
    )
    waiting: deque[tuple[int, Future[Image.Image]]] = deque()
    numbers = iter(which)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1) if plain else 1, "photographs") as pool:
        try:
            while True:
                while len(waiting) < ahead and (number := next(numbers, None)) is not None:
                    waiting.append((number, pool.submit(lambda i: read_image(images[i]), number)))
                if not waiting:
                    return
                number, decoded = waiting.popleft()
                yield number, decoded.result()
        finally:
            for _, unused in waiting:
                unused.cancel()
