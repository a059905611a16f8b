"""Figures of a study: mAP against the number of photographs, paired gains with intervals, scores of queries and of teachers.

Each takes what `study.compare` and `study.tables` make of the runs; mAP goes in as a fraction and is drawn in percent.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rdistill_course.style import ARMS, Look, looks
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import GREY, PALETTE
from rdistill_helpers.score.uncertainty import Interval, paired_bootstrap
from study.compare import paired_precision, reported
from study.methods import METHODS
from study.runs import NO_RUNS

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 14  # of a figure, at most: more could not be read on a slide
# The parts of the rooms that each teacher was trained on.
LEARNED_FROM = {"teacher": ("private", "train"), "stranger": ("private",), "memoriser": ("train",)}
SEEDS = 5  # of a point that is drawn filled; one with fewer is drawn hollow
# How a gain is drawn by what its interval says: colour and marker.
VERDICTS = {"higher": (PALETTE["green"], "^"), "no clear difference": ("0.35", "o"), "lower": (PALETTE["red"], "v")}


def efficiency_plot(
    curves: Mapping[str, "pandas.DataFrame"],
    levels: Mapping[str, float] | None = None,
    xlabel: str = "photographs",
    alt: str | None = None,
) -> "Figure":
    """mAP of several methods against the number of photographs, on a logarithmic axis.

    The first method has a band for its interval; several bands would hide each other.

    Args:
        curves: by the name in the key, a frame with columns images, seeds, mean, low, high; empty ones are passed over.
        levels: mAP of what does not depend on photographs, such as the teacher, by name; drawn as horizontal lines.
        xlabel: what the horizontal axis counts.
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
    for number, (look, (name, frame)) in enumerate(zip(looks(drawn), drawn.items(), strict=True)):
        _curve(ax, look, name if number else f"{name}, with its interval of 95 %", frame, band=not number)
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
    fig.set_label(alt or f"Medium mAP in percent against {xlabel}, with a band of 95 % for the first: {said}.{lines}")
    return fig


def _curve(ax: "Axes", look: Look, name: str, frame: "pandas.DataFrame", band: bool) -> None:
    """One method: its points, hollow where seeds are few, and perhaps the band of its intervals."""
    colour, line, marker, _ = look
    sizes, mean = frame["images"].to_numpy(float), 100 * frame["mean"].to_numpy()
    if band:
        ax.fill_between(sizes, 100 * frame["low"], 100 * frame["high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(sizes, mean, color=colour, linestyle=line, marker=marker, markersize=5, label=name)
    few = frame["seeds"].to_numpy() < SEEDS
    ax.plot(sizes[few], mean[few], color=colour, linestyle="none", marker=marker, markersize=5, mfc="white")


def gain_rows(gains: "pandas.DataFrame", alt: str | None = None) -> "Figure":
    """Paired gains: a row for each method, a panel for each kind of gain, all on one axis, with a line at 0.

    Green and pointing up: the whole interval lies above 0; red and pointing down: below; grey and round: 0 lies in it. Hollow:
    fewer than 5 seeds. A row that begins with "mean" is shaded; "not run" stands where a panel has no such gain.

    Args:
        gains: columns method (the row), seeds, mean, low, high, and panel (its title) where there are several.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: there is no gain, or there are more than 14 rows.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(gains["method"]))
    if not 0 < len(names) <= ROWS:
        raise BadInput(f"There are gains of {len(names)} methods to draw: give 1 to {ROWS}.")
    titles = list(dict.fromkeys(gains["panel"])) if "panel" in gains else [""]
    width = 3.4 + 2.4 * len(titles)
    fig = Figure(figsize=(width, 1.35 + 0.27 * len(names)), layout="constrained")
    said: list[str] = []
    seen: dict[str, list[str]] = {}
    for ax, title in zip(fig.subplots(1, len(titles), sharex=True, sharey=True, squeeze=False)[0], titles, strict=True):
        ax.axvline(0, color="0.35", linewidth=1)
        rows = []
        for row in (gains[gains["panel"] == title] if title else gains).itertuples():
            verdict = Interval(row.mean, row.low, row.high).verdict
            seen.setdefault(verdict, []).append(f"{title}, {row.method}" if title else row.method)
            _gain(ax, len(names) - 1 - names.index(row.method), row, verdict)
            rows.append(f"{row.method} {100 * row.mean:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})")
        said.append(f"{title}: {'; '.join(rows)}" if title else "; ".join(rows))
        there = set(gains.loc[gains["panel"] == title, "method"]) if title else set(names)
        for place, name in enumerate(reversed(names)):
            if name.startswith("mean"):
                ax.axhspan(place - 0.5, place + 0.5, color="0.5", alpha=0.15, linewidth=0)
            if name not in there:
                ax.text(
                    0.03, place, "not run", transform=ax.get_yaxis_transform(), va="center", fontsize=8, color="0.35"
                )
        ax.set_title(f"mixtures of {title}" if title else "", fontsize=10)
        ax.set_yticks(range(len(names)), names[::-1], fontsize=9)
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.set_xlabel("gain in points of medium mAP (95 %)", fontsize=9)
        ax.grid(axis="y", visible=False)
    _key(fig, [(*VERDICTS[each], each) for each in VERDICTS if each in seen], bool((gains["seeds"] < SEEDS).any()))
    clear = [f"{each}: {'; '.join(seen[each])}" for each in ("higher", "lower") if each in seen]
    said.append(f"Clearly {'. Clearly '.join(clear)}" if clear else "No interval leaves out 0")
    fig.set_label(alt or f"Gains in points of medium mAP (95 %). {'. '.join(said)}.")
    return fig


def _gain(ax: "Axes", place: int, row: Any, verdict: str) -> None:
    """One gain with its interval."""
    colour, marker = VERDICTS[verdict]
    ax.hlines(place, 100 * row.low, 100 * row.high, color=colour, linewidth=1.8)
    face = "white" if row.seeds < SEEDS else colour
    ax.scatter(100 * row.mean, place, color=colour, marker=marker, s=42, facecolors=face, zorder=3)


def query_scatter(runs: "pandas.DataFrame", first: str, second: str, images: int) -> "Figure":
    """Average precision of each query, mean over the seeds, by one method against another, with the diagonal.

    Args:
        runs: of the store.
        first: the method of the vertical axis.
        second: that of the horizontal axis.
        images: with how many photographs.

    Returns:
        The figure, with its description.

    Raises:
        BadInput: the two have no seed in common.
    """
    from matplotlib.figure import Figure

    y, x, _ = paired_precision(reported(runs), first, second, images)
    x, y = 100 * x.mean(0), 100 * y.mean(0)
    names = METHODS[first].label, METHODS[second].label
    alike = float(torch.corrcoef(torch.stack([x, y]))[0, 1]) if len(x) > 1 else 1.0
    fig = Figure(figsize=(4.6, 4.3), layout="constrained")
    ax = fig.subplots()
    ax.axline((0, 0), slope=1, color="0.35", linewidth=1)
    ax.scatter(
        x, y, s=26, color=ARMS[names[0]].colour if names[0] in ARMS else PALETTE["blue"], alpha=0.7, linewidths=0
    )
    ax.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    ax.set(xlabel=f"{names[1]}, average precision in %", ylabel=f"{names[0]}, in %")
    ax.set_title(f"{len(x)} queries, correlation {alike:.2f}")
    fig.set_label(
        f"Average precision of {len(x)} queries by {names[0]} against {names[1]}, {images} photographs, correlation "
        f"{alike:.2f}: {int((y > x).sum())} points above the diagonal, {int((y < x).sum())} below it."
    )
    return fig


def teacher_rows(explored: "pandas.DataFrame") -> "Figure":
    """What harder teachers reach themselves, and what students of theirs do.

    Args:
        explored: as `tables.explored` gives it. Of each teacher the first row counts, which is that of the recipe.

    Returns:
        The figure, with its description.

    Raises:
        BadInput: there is no row.
    """
    from matplotlib.figure import Figure

    own = explored.drop_duplicates("teacher") if len(explored) else explored
    if not 0 < len(own) <= ROWS:
        raise BadInput(f"There are {len(own)} teachers to draw: give 1 to {ROWS}.")
    fig = Figure(figsize=(6.6, 1.3 + 0.3 * len(own)), layout="constrained")
    ax = fig.subplots()
    said: list[str] = []
    for place, row in enumerate(own[::-1].to_dict("records")):
        values = {"teacher": row["itself"], "distilled student": row["student"]}
        known = {name: float(value) for name, value in values.items() if value}
        ax.hlines(place, min(known.values()), max(known.values()), color="0.7", linewidth=1.4)
        for name, value in known.items():
            ax.scatter(value, place, color=ARMS[name].colour, marker=ARMS[name].marker, s=42, zorder=3)
        said.insert(0, f"{row['teacher']}: " + ", ".join(f"{name} {value:.1f}" for name, value in known.items()))
    ax.set_yticks(range(len(own)), own["teacher"].tolist()[::-1], fontsize=9)
    ax.set_ylim(-0.6, len(own) - 0.4)
    ax.set_xlabel("medium mAP in %, validation rooms")
    ax.grid(axis="y", visible=False)
    _key(fig, [(ARMS[name].colour, ARMS[name].marker, name) for name in ("teacher", "distilled student")])
    fig.set_label(f"Medium mAP in percent on the validation rooms. {'; '.join(said)}.")
    return fig


def gains_by_seed(
    runs: "pandas.DataFrame", method: str, other: str, images: int, arm: str = "distilled with interpolation"
) -> "Figure":
    """What a method gains over another, seed by seed: a dot for each, and below them the mean with its interval of 95 %.

    Args:
        runs: of the store.
        method: its name.
        other: what it is compared with, on the seeds that both have.
        images: with how many photographs.
        arm: whose colour and marker the dots have.

    Returns:
        The figure; where there are no such runs yet, one that says so.
    """
    from matplotlib.figure import Figure

    try:
        with_it, without, seeds = paired_precision(reported(runs), method, other, images)
    except BadInput:
        fig = Figure(figsize=(7.4, 0.7), layout="constrained")
        fig.text(0.5, 0.5, NO_RUNS, ha="center", va="center", color="0.35")
        fig.set_label(NO_RUNS)
        return fig
    gains = (100 * (with_it - without).mean(1)).tolist()
    found = paired_bootstrap(with_it, without)
    mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
    fig = Figure(figsize=(7.4, 1.0 + 0.27 * (len(seeds) + 1)), layout="constrained")
    ax, look = fig.subplots(), ARMS[arm]
    ax.axvline(0, color="0.2", linewidth=1)
    places = range(len(seeds), 0, -1)
    ax.plot(gains, list(places), color=look.colour, marker=look.marker, linestyle="none", markersize=8)
    for place, gain in zip(places, gains, strict=True):
        ax.annotate(f"{gain:+.1f}", (gain, place), (8, 0), textcoords="offset points", va="center", fontsize=8)
    ax.plot([low, high], [0, 0], color="0.35", linestyle="-", linewidth=2)
    ax.plot(mean, 0, color="0.35", marker="o", linestyle="none", markersize=8)
    ax.annotate(f"{mean:+.1f}", (mean, 0), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    ax.set_yticks([*places, 0], [*(f"seed {seed}" for seed in seeds), "mean, 95 %"])
    ax.set(ylim=(-0.7, len(seeds) + 0.6), xlabel="gain in points of medium mAP")
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
    each = ", ".join(f"seed {seed} {gain:+.1f}" for seed, gain in zip(seeds, gains, strict=True))
    fig.set_label(
        f"Gain in points of medium mAP: {each}; mean {mean:+.1f} with an interval from {low:+.1f} to {high:+.1f}."
    )
    return fig


def same_room_figure(measured: "pandas.DataFrame") -> "Figure":
    """How well each network finds the other photographs of a room, in rooms that it was trained on and in others.

    Args:
        measured: what `study.tables.teachers.read` gives.

    Returns:
        The figure: a row for each part of the rooms, a mark with its interval for each network, filled where it learned from
        that part.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    own = measured[measured["measure"] == "same-room"]
    parts, names = (list(dict.fromkeys(own[column])) for column in ("part", "network"))
    fig = Figure(figsize=(7.4, 1.2 + 0.5 * len(parts)), layout="constrained")
    ax, said, key = fig.subplots(), [], []
    for place, (name, look) in enumerate(zip(names, looks(names), strict=True)):
        for row in own[own["network"] == name].itertuples():
            height = len(parts) - 1 - parts.index(row.part) + 0.22 * (1 - place)
            learned = row.part in LEARNED_FROM[name]
            ax.hlines(height, row.low, row.high, color=look.colour, linewidth=1.8)
            face = look.colour if learned else "white"
            ax.scatter(row.mean, height, color=look.colour, marker=look.marker, s=48, facecolors=face, zorder=3)
            seen = "seen" if learned else "new"
            said.append(f"{name}, {row.part} ({seen}): {row.mean:.1f} ({row.low:.1f} to {row.high:.1f})")
        key.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", label=name))
    ax.set_yticks(range(len(parts)), parts[::-1])
    ax.set(ylim=(-0.5, len(parts) - 0.5), xlabel="same-room mAP in % (95 % over rooms); filled: trained on these rooms")
    ax.grid(axis="y", visible=False)
    fig.legend(handles=key, loc="outside upper center", ncols=len(key), fontsize=9, frameon=False)
    fig.set_label(f"Same-room mAP in percent: {'; '.join(said)}.")
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
        ax.scatter(*taken.T, s=80, color=PALETTE["orange"], edgecolors="black", linewidths=0.8, marker="o")
        for number, (x, y) in enumerate(taken, 1):
            ax.text(x, y, str(number), ha="center", va="center", fontsize=7)
        ax.set(title=title, xticks=[], yticks=[], aspect="equal")
        ax.grid(False)
        ax.spines[:].set(visible=True, color="0.8")
    fig.set_label(
        alt or f"{len(places)} points in the plane, and which of them are chosen: {', '.join(chosen)}, side by side."
    )
    return fig


def _key(fig: "Figure", marks: list[tuple[str, str, str]], hollow: bool = False) -> None:
    """A key below the axes: (colour, marker, text); hollow: whether some marks are, for lack of seeds."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, marker=m, mfc=c, linestyle="none", label=text) for c, m, text in marks]
    if hollow:
        label = f"hollow: fewer than {SEEDS} seeds"
        handles.append(Line2D([], [], color="0.35", marker="o", mfc="none", linestyle="none", label=label))
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
