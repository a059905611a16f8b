"""Functions timed in alternating rounds of one run, so that other work on the machine slows all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence

import pandas


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> pandas.DataFrame:
    """Calls each function once in every round.

    Args:
        functions: What is timed, by name.
        rounds: Number of rounds that count.
        warm_up: Number of rounds before them.

    Returns:
        Milliseconds of each call: one line for each round, one column for each function.
    """
    times = pandas.DataFrame(0.0, index=range(warm_up + rounds), columns=list(functions))
    for turn in times.index:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times.loc[turn, name] = 1000 * (time.perf_counter() - start)
    return times[warm_up:]


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
