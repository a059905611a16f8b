"""Gives hostile inputs to a reader: each must be read, or refused by the package's own error.

A reader passes when it returns, or raises an RDistillError of one short line, and has written nothing outside its folder.
Memory is limited (Linux), so that a file that unfolds to more than its reader should take fails as well.

"SystemError: deallocated bytearray object" in between is a note of Python's own, on a pickle that asked for more memory than
there is; it was refused like the others.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from rdistill_helpers import (
    RDistillError,
)
from reliability.hostile_inputs.making import Reader, check_message

MEMORY_GIB = 3  # above what the process holds already


def files_in(folder: Path) -> set[str]:
    """Lists a folder, links not followed."""
    return {path.name for path in folder.iterdir()}


def attack(reader: Reader, inputs: int, start: int) -> tuple[int, int]:
    """Gives inputs to a reader.

    Args:
        reader: The reader.
        inputs: How many inputs.
        start: Seed of the inputs.

    Returns:
        How many inputs there were, and how many of them the reader refused.

    Raises:
        AssertionError: An error was not one short line, or something was written outside the folder.
        Exception: Whatever else the reader raised, for the smallest input that raises it.
    """
    counts = {"tried": 0, "refused": 0}
    # A hundred thousand small files wear no disk where there is a folder in memory.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as outside:
        folder = Path(outside) / "data"

        @seed(start)
        @settings(
            max_examples=inputs,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(reader.inputs)
        def run(content: Any) -> None:
            counts["tried"] += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                with warnings.catch_warnings(action="ignore"):
                    reader.read(content, folder)
            except RDistillError as error:
                counts["refused"] += 1
                check_message(error)
            assert files_in(Path(outside)) == {"data"}, "something was written outside of the folder"

        run()
    return counts["tried"], counts["refused"]


@contextmanager
def limited_memory(gib: float = MEMORY_GIB) -> Iterator[None]:
    """Limits memory to so much above what is taken now, where the system can."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(status.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (int(taken + gib * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
