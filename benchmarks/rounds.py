"""Functions timed in alternating rounds of one run, so that other work on the machine slows all of them alike."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pandas

Functions = Mapping[str, Callable[[], object]]


def alternate(
    functions: Functions, rounds: int, warm_up: int = 1, wait: Callable[[], None] = lambda: None
) -> pandas.DataFrame:
    """Calls each function once in every round.

    Args:
        functions: What is timed, by name.
        rounds: Number of rounds that count.
        warm_up: Number of rounds before them.
        wait: Called before the clock is read, where a GPU may still compute.

    Returns:
        Milliseconds of each call: one line for each round, one column for each function.
    """
    times = pandas.DataFrame(0.0, index=range(warm_up + rounds), columns=list(functions))
    for turn in times.index:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            wait()
            times.loc[turn, name] = 1000 * (time.perf_counter() - start)
    return times[warm_up:]


@contextmanager
def elsewhere(make: Callable[..., Functions], *arguments: Any) -> Iterator[Functions]:
    """Functions that run in a process of their own, with a memory of its own settings, and are waited for here.

    Args:
        make: Makes the functions there; a function of a module.
        *arguments: What it is given.

    Yields:
        Functions of the same names.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, make, arguments), daemon=True)
    process.start()
    there.close()

    def asked(name: str) -> Callable[[], object]:
        return lambda: (here.send(name), here.recv())

    try:
        yield {name: asked(name) for name in here.recv()}
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, make: Callable[..., Functions], arguments: tuple[Any, ...]) -> None:
    functions = make(*arguments)
    pipe.send(list(functions))
    while True:
        functions[pipe.recv()]()
        pipe.send(None)


def ratios(milliseconds: pandas.Series, to: Sequence[str]) -> pandas.DataFrame:
    """Compares functions.

    Args:
        milliseconds: Of each function, for instance the median or the minimum over the rounds.
        to: Names of the functions that the others are compared with.

    Returns:
        One line for each function: `ms`, and a column `to NAME` for each of `to`.
    """
    return pandas.DataFrame({"ms": milliseconds, **{f"to {name}": milliseconds / milliseconds[name] for name in to}})


def show(title: str, table: pandas.DataFrame) -> None:
    """Prints a table.

    Args:
        title: The line above it.
        table: What `ratios` gives, and columns that name their unit.
    """
    formats = {name: "{:.3f}".format if name.startswith("to ") else "{:.2f}".format for name in table}
    print(f"\n{title}\n{table.to_string(formatters=formats, na_rep='')}", flush=True)
