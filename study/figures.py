"""Figures of a study: mAP against the number of photographs, paired gains with intervals, gains of single seeds.

Each takes what `study.compare` and `study.tables` make of the runs; mAP goes in as a fraction and is drawn in percent.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rdistill_course.style import ARMS, Look, looks
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import COLOURS, GREY, MARKERS, PALETTE
from rdistill_helpers.score.uncertainty import Interval

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 14  # of a figure, at most: more could not be read on a slide
SEEDS = 5  # of a point that is drawn filled; one with fewer is drawn hollow
# How a gain is drawn by the side of 0 on which its interval lies: colour, marker, meaning.
SIDES = {
    "above": (PALETTE["green"], "^", "better"),
    "not told apart": ("0.35", "o", "not told apart"),
    "below": (PALETTE["red"], "v", "worse"),
}


def efficiency_plot(
    curves: Mapping[str, "pandas.DataFrame"],
    levels: Mapping[str, float] | None = None,
    xlabel: str = "photographs",
    bands: bool = True,
    alt: str | None = None,
) -> "Figure":
    """mAP of several methods against the number of photographs, on a logarithmic axis, with a band for each interval.

    Args:
        curves: by the name in the key, a frame with columns images, seeds, mean, low, high; empty ones are passed over.
        levels: mAP of what does not depend on photographs, such as the teacher, by name; drawn as horizontal lines.
        xlabel: what the horizontal axis counts.
        bands: False for many curves, whose bands would hide each other.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: no curve has a point.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    drawn = {name: frame.sort_values("images") for name, frame in curves.items() if len(frame)}
    if not drawn:
        raise BadInput("There is no curve to draw: give at least one with a point.")
    fig = Figure(figsize=(8.2, 4.4), layout="constrained")
    ax = fig.subplots()
    for look, (name, frame) in zip(looks(drawn), drawn.items(), strict=True):
        _curve(ax, look, name, frame, bands)
    for number, (name, value) in enumerate((levels or {}).items()):
        colour = ARMS[name].colour if name in ARMS else GREY
        ax.axhline(100 * value, color=colour, linestyle=("--", ":", "-.")[number % 3], linewidth=1.2, zorder=0)
        ax.annotate(
            f"{name} {100 * value:.1f}",
            (1, 100 * value), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
            ha="right", va="bottom", fontsize=8, color="0.35",
        )  # fmt: skip
    ticks = sorted({size for frame in drawn.values() for size in frame["images"].tolist()})
    ax.set(xscale="log", xlabel=f"{xlabel} (logarithmic)", ylabel="medium mAP in %")
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(x=0.06)
    hollow = any((frame["seeds"] < SEEDS).any() for frame in drawn.values())
    title = f"hollow: fewer than {SEEDS} seeds" if hollow else None
    fig.legend(loc="outside right upper", fontsize=8, frameon=False, handlelength=3.5, title=title, title_fontsize=8)
    said = "; ".join(
        f"{name} " + ", ".join(f"{100 * row.mean:.1f} at {row.images:,}" for row in frame.itertuples())
        for name, frame in drawn.items()
    )
    lines = "".join(f" Horizontal line: {name} {100 * value:.1f}." for name, value in (levels or {}).items())
    fig.set_label(
        alt or f"Medium mAP in percent against {xlabel}{', with bands of 95 %' if bands else ''}: {said}.{lines}"
    )
    return fig


def _curve(ax: "Axes", look: Look, name: str, frame: "pandas.DataFrame", bands: bool) -> None:
    """One method: its points, hollow where seeds are few, and its intervals."""
    colour, line, marker, _ = look
    sizes, mean = frame["images"].to_numpy(float), 100 * frame["mean"].to_numpy()
    low, high = 100 * frame["low"].to_numpy(), 100 * frame["high"].to_numpy()
    if bands and len(sizes) > 1:
        ax.fill_between(sizes, low, high, color=colour, alpha=0.12, linewidth=0)
    elif bands:  # a single point has no band
        ax.vlines(sizes, low, high, color=colour, linewidth=1.2, alpha=0.6)
    ax.plot(sizes, mean, color=colour, linestyle=line, marker=marker, markersize=5, label=name)
    few = frame["seeds"].to_numpy() < SEEDS
    ax.plot(sizes[few], mean[few], color=colour, linestyle="none", marker=marker, markersize=5, mfc="white")


def gain_map(gains: "pandas.DataFrame", columns: int = 5, alt: str | None = None) -> "Figure":
    """Paired gains: a panel for each method, a row for each number of photographs, a point with its interval, a line at 0.

    Green and pointing up: the whole interval lies above 0; red and pointing down: below; grey and round: 0 lies in it. Hollow:
    fewer than 5 seeds.

    Args:
        gains: as `compare.gains` gives it, with columns method (the title), images, seeds, mean, low, high.
        columns: panels beside each other, at most.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: there is no gain.
    """
    from matplotlib.figure import Figure

    if not len(gains):
        raise BadInput("There is no gain to draw: give at least one row.")
    names, sizes = list(dict.fromkeys(gains["method"])), sorted(set(gains["images"]))
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    fig = Figure(
        figsize=(min(9.2, 1.2 + 1.9 * columns), rows * (0.75 + 0.24 * len(sizes)) + 0.55), layout="constrained"
    )
    panels = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, ax in enumerate(panels.flat):
        if place >= len(names):
            ax.axis("off")
        elif place + columns >= len(names):  # nothing below it
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("points", fontsize=9)
    said, seen = [], set()
    for ax, name in zip(panels.flat, names, strict=False):
        ax.axvline(0, color="black", linewidth=1)
        for row in gains[gains["method"] == name].itertuples():
            seen.add(side := Interval(row.mean, row.low, row.high).side)
            _gain(ax, len(sizes) - 1 - sizes.index(row.images), row, side)
            ends = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
            said.append(f"{' '.join(name.split())}, {row.images:,}: {100 * row.mean:+.1f} ({ends}), {SIDES[side][2]}")
        ax.set_title(name, fontsize=9)
        ax.set_yticks(range(len(sizes)), [f"{size:,}" for size in sizes[::-1]])
        ax.set_ylim(-0.6, len(sizes) - 0.4)
        ax.grid(axis="y", visible=False)
    for ax in panels[:, 0]:
        ax.set_ylabel("photographs")
    fig.suptitle("gain in points of medium mAP, with its interval of 95 %", fontsize=10)
    _key(fig, [SIDES[side] for side in SIDES if side in seen], bool((gains["seeds"] < SEEDS).any()))
    fig.set_label(alt or f"Paired gains in points of medium mAP with intervals of 95 %: {'; '.join(said)}.")
    return fig


def _gain(ax: "Axes", place: int, row: Any, side: str) -> None:
    """One gain with its interval, by the side of 0 on which that lies."""
    colour, marker, _ = SIDES[side]
    ax.plot([100 * row.low, 100 * row.high], [place, place], color=colour, linestyle="-", linewidth=1.6)
    face = "white" if row.seeds < SEEDS else colour
    ax.plot(100 * row.mean, place, color=colour, marker=marker, markersize=6.5, mfc=face, linestyle="none")


def seed_gains(gains: "pandas.DataFrame") -> list["Figure"]:
    """Gains of single seeds: a row for each name, a mark for each seed, a bar at their mean, a line at 0.

    For searches with too few seeds for an interval.

    Args:
        gains: a frame with columns name, seed, gain (mAP, a fraction).

    Returns:
        Figures of at most 14 rows with one axis in common, each with its description.

    Raises:
        BadInput: there is no gain.
    """
    if not len(gains):
        raise BadInput("There is no gain to draw: give at least one row.")
    names = list(dict.fromkeys(gains["name"]))
    parts = np.array_split(names, -(-len(names) // ROWS))
    room = 0.05 * float(gains["gain"].max() - gains["gain"].min()) + 0.001
    ends = min(float(gains["gain"].min()), 0) - room, max(float(gains["gain"].max()), 0) + room
    seeds = sorted(set(gains["seed"]))
    return [_seed_rows(gains, part.tolist(), seeds, ends) for part in parts]


def _seed_rows(
    gains: "pandas.DataFrame", names: Sequence[str], seeds: Sequence[int], ends: tuple[float, float]
) -> "Figure":
    """One figure of `seed_gains`: these names, on an axis with these ends."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    fig = Figure(figsize=(7.6, 0.95 + 0.24 * len(names)), layout="constrained")
    ax = fig.subplots()
    ax.axvline(0, color="black", linewidth=1)
    said: list[str] = []
    for place, name in enumerate(reversed(names)):
        own = gains[gains["name"] == name]
        mean = 100 * float(own["gain"].mean())
        ax.plot([mean, mean], [place - 0.3, place + 0.3], color="black", linestyle="-", linewidth=2.2)
        for seed, gain in zip(own["seed"], own["gain"], strict=True):
            number = seeds.index(seed)
            ax.plot(
                100 * gain, place, color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
                linestyle="none", markersize=6, mfc="none", mew=1.6,
            )  # fmt: skip
        said.insert(0, f"{name} {mean:+.1f}")
    ax.set_yticks(range(len(names)), names[::-1], fontsize=8)
    ax.set(ylim=(-0.7, len(names) - 0.3), xlim=(100 * ends[0], 100 * ends[1]))
    ax.set_xlabel("gain in points of medium mAP (bar: mean)", fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=4))
    ax.grid(axis="y", visible=False)
    _key(
        fig,
        [(COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)], f"seed {s}") for n, s in enumerate(seeds)],
        face="none",
    )
    fig.set_label(f"Gains in points of medium mAP, mean of the seeds: {'; '.join(said)}.")
    return fig


def choice_figure(points: np.ndarray, chosen: Mapping[str, np.ndarray], alt: str | None = None) -> "Figure":
    """Which points of the plane are chosen, a panel for each way of choosing; numbers give the order.

    Args:
        points: [N, 2].
        chosen: by title, int positions [K] in the order of choosing.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: points of another shape, or no choice.
    """
    from matplotlib.figure import Figure

    places = np.asarray(points)
    if places.ndim != 2 or places.shape[1] != 2 or not chosen:
        raise BadInput(f"Points of shape {list(places.shape)} cannot be drawn: give [N, 2] and at least one choice.")
    fig = Figure(figsize=(3.1 * len(chosen), 3.3), layout="constrained")
    panels = fig.subplots(1, len(chosen), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, order) in zip(panels, chosen.items(), strict=True):
        ax.scatter(*places.T, s=9, color="0.7", linewidths=0)
        taken = places[np.asarray(order)]
        ax.scatter(*taken.T, s=95, color=PALETTE["orange"], edgecolors="black", linewidths=0.8, marker="o")
        for number, (x, y) in enumerate(taken, 1):
            ax.text(x, y, str(number), ha="center", va="center", fontsize=7)
        ax.set(title=title, xticks=[], yticks=[], aspect="equal")
        ax.grid(False)
        ax.spines[:].set(visible=True, color="0.8")
    fig.set_label(
        alt or f"{len(places)} points in the plane, and which of them are chosen: {', '.join(chosen)}, side by side."
    )
    return fig


def _key(fig: "Figure", marks: list[tuple[str, str, str]], hollow: bool = False, face: str | None = None) -> None:
    """A key below the axes: (colour, marker, text); hollow: whether some marks are, for lack of seeds."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, marker=m, mfc=face or c, linestyle="none", label=text) for c, m, text in marks]
    if hollow:
        label = f"hollow: fewer than {SEEDS} seeds"
        handles.append(Line2D([], [], color="0.35", marker="o", mfc="none", linestyle="none", label=label))
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
