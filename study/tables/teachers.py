"""Tables of the teachers: what tools/measure_teachers.py wrote of them."""

from __future__ import annotations

from pathlib import Path

import pandas

from study.methods import METHODS

RESULTS = Path(__file__).resolve().parents[1] / "results" / "teachers.csv"
COLUMNS = ["network", "version", "measure", "part", "detail", "seed", "mean", "low", "high"]
PROTOCOLS = ("easy", "medium", "hard")
LABELS = "supervised-contrastive"  # the method of a student that nobody teaches


def read(path: Path = RESULTS) -> pandas.DataFrame:
    """Read what was measured.

    Args:
        path: what the script wrote.

    Returns:
        Columns network, version, measure, part, detail, seed, mean, low, high; the last three in percent.
    """
    return pandas.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(("mean", "low", "high"), ""))


def scores(measured: pandas.DataFrame) -> pandas.DataFrame:
    """What each network reaches on validation and test.

    Args:
        measured: see `read`.

    Returns:
        Columns network, part, easy, medium, hard, with intervals over queries.
    """
    own = _printed(measured[measured["measure"] == "scores"])
    wide = own.pivot_table(index=["part", "network"], columns="detail", values="printed", aggfunc="first", sort=False)
    return wide[list(PROTOCOLS)].reset_index()


def same_room(measured: pandas.DataFrame) -> pandas.DataFrame:
    """How well each network finds the other photographs of a room, part by part.

    Args:
        measured: see `read`.

    Returns:
        Columns network, private, train, validation, test, with intervals over rooms.
    """
    own = _printed(measured[measured["measure"] == "same-room"])
    return own.pivot_table(index="network", columns="part", values="printed", aggfunc="first", sort=False).reset_index()


def students(measured: pandas.DataFrame) -> pandas.DataFrame:
    """What cheap students of each teacher reach on validation from 300 photographs.

    Args:
        measured: see `read`.

    Returns:
        Columns teacher, method, medium: the mean over seeds, the least and the most.
    """
    own = measured[measured["measure"] == "students"]
    rows = []
    for (network, method), found in own.groupby(["network", "detail"], sort=False):
        told = f"{found['mean'].mean():.1f} ({found['mean'].min():.1f} to {found['mean'].max():.1f})"
        teacher = "no teacher" if method == LABELS else network
        rows.append({"teacher": teacher, "method": METHODS[method].label, "medium": told})
    return pandas.DataFrame(rows, columns=["teacher", "method", "medium"])


def curves(measured: pandas.DataFrame) -> pandas.DataFrame:
    """What the networks reached on validation while they were trained.

    Args:
        measured: see `read`.

    Returns:
        Columns training, steps, easy, medium, hard.
    """
    own = measured[measured["measure"] == "curve"].assign(steps=lambda rows: rows["seed"].astype(int))
    wide = own.pivot_table(index=["network", "steps"], columns="detail", values="mean", sort=False).round(1)
    return wide[list(PROTOCOLS)].reset_index().rename(columns={"network": "training"})


def _printed(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows with their mean and interval as one text."""
    texts = [f"{row.mean:.1f} ({row.low:.1f} to {row.high:.1f})" for row in rows.itertuples()]
    return rows.assign(printed=texts)
