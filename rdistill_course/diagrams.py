"""Diagrams: the way through the course, the ledger, a mixture on the circle, the joint space, and the three protocols.

Each function gives a matplotlib Figure that carries its description, as those of `figures` do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rdistill_course.style import ARMS, MARKS
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import PALETTE
from rdistill_helpers.score.report import PROTOCOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
INK = "0.3"


def course_map() -> "Figure":
    """The stages from a photograph to a score, each with the notebooks that treat it.

    Returns:
        The figure.
    """
    fig, ax = _canvas((8.4, 3.3), (-0.5, 5.2), (-0.15, 2.4))
    stages = [
        ("photographs", 0, 1, PALETTE["sky"], "notebook 0"),
        ("student", 1.1, 1.7, ARMS["distilled"].colour, "notebooks 1, 4"),
        ("teacher\n(black box)", 1.1, 0.3, ARMS["teacher"].colour, "notebooks 1, 7"),
        ("two sets of\ndescriptors", 2.3, 1, PALETTE["sky"], "notebook 1,\nappendix B"),
        ("joint space, twice:\nreal + interpolated", 3.5, 1.7, PALETTE["sky"], "notebook 2"),
        ("ranking\nloss", 4.7, 1.7, PALETTE["purple"], "notebooks 3, 4,\nappendix A"),
        ("score\nE / M / H", 3.5, 0.3, PALETTE["yellow"], "notebooks 5, 6"),
        ("ship the\nstudent", 4.7, 0.3, ARMS["distilled"].colour, "notebook 8"),
    ]
    _boxes(ax, [(text, x, y, colour) for text, x, y, colour, _ in stages], size=10)
    for _, x, y, _, notebooks in stages:
        ax.text(x, y - 0.36, notebooks, ha="center", va="center", fontsize=8, color="0.35")
    ways: list[tuple[Point, Point]] = [
        ((0.35, 1.2), (0.8, 1.57)),
        ((0.35, 0.8), (0.7, 0.48)),
        ((1.4, 1.57), (1.95, 1.25)),
        ((1.5, 0.48), (1.95, 0.75)),
        ((2.65, 1.25), (3.0, 1.5)),
        ((2.65, 0.75), (3.1, 0.48)),
        ((4.05, 1.7), (4.37, 1.7)),
        ((3.9, 0.3), (4.3, 0.3)),
    ]
    for start, end in ways:
        _arrow(ax, start, end)
    _arrow(ax, (4.7, 1.95), (1.1, 1.9), colour=PALETTE["purple"], bend=0.1)
    ax.text(2.9, 2.27, "gradient: trains the student, never the teacher", ha="center", fontsize=9, color="0.25")
    fig.set_label(
        "Photographs go to the student and to the teacher; both give descriptors, in two spaces; in each, real and "
        "interpolated samples make a joint space; a ranking loss compares both spaces, and its gradient trains the "
        "student; descriptors are scored under three protocols, and the student is shipped."
    )
    return fig


def ledger_diagram() -> "Figure":
    """The way of a photograph through the ledger of a teacher that costs.

    Returns:
        The figure.
    """
    fig, ax = _canvas((8.4, 2.2), (-0.5, 5.1), (-0.2, 1.2))
    _boxes(
        ax,
        [
            ("photograph", 0, 0.5, PALETTE["sky"]),
            ("hash of\nits pixels", 1.1, 0.5, PALETTE["sky"]),
            ("in the\nledger?", 2.2, 0.5, PALETTE["yellow"]),
            ("descriptor\nfrom the file", 4.5, 0.95, PALETTE["green"]),
            ("ask the\nteacher", 3.3, 0.05, ARMS["teacher"].colour),
            ("write answer\nand charge", 4.5, 0.05, PALETTE["orange"]),
        ],
        size=9,
    )
    ways: list[tuple[Point, Point]] = [
        ((0.4, 0.5), (0.75, 0.5)),
        ((1.45, 0.5), (1.85, 0.5)),
        ((2.5, 0.65), (4.0, 0.95)),
        ((2.5, 0.35), (2.95, 0.1)),
        ((3.65, 0.05), (4.0, 0.05)),
        ((4.5, 0.28), (4.5, 0.7)),
    ]
    for start, end in ways:
        _arrow(ax, start, end)
    for text, x, y, side in (("yes: free", 3.2, 0.94, "right"), ("no", 2.68, 0.34, "left")):
        ax.text(x, y, text, ha=side, fontsize=8, color="0.25")
    fig.set_label(
        "The hash of a photograph's pixels is looked up in the ledger; if it is there, the descriptor comes from the "
        "file, free; if not, the teacher is asked, answer and charge are written, and then the descriptor comes from "
        "the file."
    )
    return fig


def mixture_diagram(weight: float = 0.3, degrees: float = 100.0) -> "Figure":
    """Two descriptors on the circle, their mixture on the chord between them, and the same brought back to length 1.

    Args:
        weight: lambda of a, between 0 and 1.
        degrees: the angle between a and b, more than 0 and less than 180.

    Returns:
        The figure.

    Raises:
        BadInput: another weight or angle.
    """
    if not 0 <= weight <= 1 or not 0 < degrees < 180:
        raise BadInput(
            f"A mixture with lambda {weight} at {degrees} degrees cannot be drawn: give a lambda from 0 to 1 and an angle "
            "between 0 and 180."
        )
    half = np.deg2rad(degrees) / 2
    a, b = (np.array([np.sin(angle), np.cos(angle)]) for angle in (-half, half))
    chord = weight * a + (1 - weight) * b
    back = chord / np.linalg.norm(chord)
    fig, ax = _canvas((5.6, 2.3), (-1.75, 1.75), (-0.08, 1.3))
    ax.set_aspect("equal")
    around = np.linspace(-np.pi / 2, np.pi / 2, 200)
    ax.plot(np.sin(around), np.cos(around), color="0.8", linestyle="-", linewidth=1)
    ax.plot(*zip(a, b, strict=True), color=PALETTE["black"], linestyle=":", linewidth=1.5)
    # From the chord outwards to the circle: what renormalising does.
    ax.plot(*zip(np.zeros(2), back, strict=True), color=PALETTE["orange"], linestyle="--", linewidth=1.5)
    for end in (a, b):
        _arrow(ax, (0, 0), (float(end[0]), float(end[1])), colour=PALETTE["blue"])
    ax.plot(*chord, marker="o", markerfacecolor="white", markeredgecolor=PALETTE["orange"], markersize=8)
    ax.plot(*back, marker="s", color=PALETTE["orange"], markersize=8)
    for text, (x, y) in (("a", 1.1 * a), ("b", 1.1 * b)):
        ax.text(float(x), float(y), text, ha="center", va="center", color=PALETTE["blue"])
    length, away = float(np.linalg.norm(chord)), -0.08 if back[0] >= 0 else 0.08
    near, far = ("right", "left") if away < 0 else ("left", "right")
    ax.text(
        float(chord[0]) + away,
        float(chord[1]) + 0.05,
        f"mixture, λ = {weight:g},\nlength {length:.2f}",
        ha=near,
        va="bottom",
        size=9,
    )
    ax.text(float(back[0]), float(back[1]) + 0.08, "brought back to length 1", ha=far, va="bottom", size=9)
    fig.set_label(
        f"Two arrows of length one, a and b, {degrees:.0f} degrees apart on a circle. Their mixture with lambda "
        f"{weight:g} lies on the straight line between their tips, inside the circle, with length {length:.2f}; brought "
        "back to length one it lies on the circle, in the same direction, nearer to the heavier of the two."
    )
    return fig


def joint_space_diagram(weight: float = 0.65) -> "Figure":
    """The same photographs and the same mixtures in two spaces, and what a loss compares.

    Args:
        weight: lambda of the mixture drawn with its numbers, between 0 and 1.

    Returns:
        The figure.

    Raises:
        BadInput: another weight.
    """
    if not 0 <= weight <= 1:
        raise BadInput(f"A mixture with lambda {weight} cannot be drawn: give a number from 0 to 1.")
    places = {"teacher": ((0.3, 1.55), (1.75, 1.75), (0.55, 0.45), (1.9, 0.6))}
    places["student"] = ((5.9, 1.75), (4.4, 1.2), (4.4, 0.4), (5.75, 0.75))
    mixtures = ((0, 1, weight), (2, 3, 0.4), (0, 2, 0.5))
    fig, ax = _canvas((8.4, 3.3), (-0.15, 6.35), (-0.62, 2.45))
    drawn = {}
    for (name, points), dimension in zip(places.items(), ("D_t", "D_s"), strict=True):
        left = 0.0 if name == "teacher" else 4.0
        ax.plot(*zip(*_frame(left, 0.15, 2.2, 1.95), strict=True), color="0.75", linestyle="-", linewidth=1)
        ax.text(left + 1.1, 2.2, f"{name}'s space, ${dimension}$ numbers each", ha="center", fontsize=10)
        for first, second, share in mixtures:
            a, b = np.array(points[first]), np.array(points[second])
            ax.plot(*zip(a, b, strict=True), color="0.6", linestyle=":", linewidth=1.2)
            drawn[name, first, second] = share * a + (1 - share) * b
        for number, (x, y) in enumerate(points):
            ax.plot(x, y, marker="o", markersize=17, color=PALETTE["blue"], markeredgecolor="white")
            ax.text(x, y, str(number + 1), color="white", ha="center", va="center", fontsize=10, weight="bold")
        hollow: dict[str, Any] = {"marker": "D", "markersize": 9, "color": "white", "markeredgewidth": 2}
        for first, second, _ in mixtures:
            ax.plot(*drawn[name, first, second], markeredgecolor=PALETTE["red"], **hollow)
    ends = [drawn[name, 0, 1] for name in places]
    ax.plot(*zip(*ends, strict=True), color=PALETTE["red"], linestyle="--", linewidth=1.2, zorder=0)
    same = f"the same pair (1, 2)\nand the same λ = {weight:g}\nin both spaces"
    ax.text(3.1, 1.76, same, ha="center", va="bottom", fontsize=9)
    apart = "no row of one space is ever\ncompared with one of the other"
    ax.text(3.1, 0.62, apart, ha="center", va="center", fontsize=9, color="0.3")
    table = "similarities among all rows,\nreal and mixed"
    _boxes(
        ax,
        [
            (table, 1.1, -0.35, PALETTE["sky"]),
            ("ranking loss", 3.1, -0.35, PALETTE["purple"]),
            (table, 5.1, -0.35, PALETTE["sky"]),
        ],
        9,
    )
    _arrow(ax, (1.9, -0.35), (2.7, -0.35))
    _arrow(ax, (4.3, -0.35), (3.5, -0.35))
    for x in (1.1, 5.1):
        _arrow(ax, (x, 0.13), (x, -0.1))
    fig.set_label(
        "Two frames, the teacher's space and the student's. In both lie the same four photographs, differently arranged, "
        "and three mixtures on the lines between the same pairs. A dashed line ties a mixture of photographs 1 and 2 in one "
        f"space to the mixture of the same two with the same lambda, {weight:g}, in the other. Similarities are taken among "
        "all rows, real and mixed, within each space, and a ranking loss compares the two tables."
    )
    return fig


def protocol_diagram(ranked: str = "EJ-HE-JH--E-") -> "Figure":
    """One ranked list under the three protocols: what is right, wrong or taken out, and the ranks that are left.

    Args:
        ranked: a letter for each result, best first: E easy, H hard, J junk, - for another place.

    Returns:
        The figure.

    Raises:
        BadInput: an empty list, or another letter.
    """
    names = {"E": "easy", "H": "hard", "J": "junk", "-": "other"}
    if not ranked or set(ranked) - set(names):
        raise BadInput(f"The list {ranked!r} cannot be drawn: give one of the letters E, H, J and - for each result.")
    fig, ax = _canvas((min(9.5, 1.6 + 0.68 * len(ranked)), 2.6), (-1.35, len(ranked)), (-2.55, 1.0))
    said = []
    for row, (protocol, (positive, ignored)) in enumerate(PROTOCOLS.items()):
        ax.text(-0.15, -row, protocol, ha="right", va="center", fontsize=10)
        rank, right = 0, []
        for place, letter in enumerate(ranked):
            kind = "positive" if names[letter] in positive else "ignored" if names[letter] in ignored else "negative"
            _cell(ax, place, -row, kind, "" if kind == "ignored" else f"{rank}")
            right += [rank] if kind == "positive" else []
            rank += kind != "ignored"
        said.append(f"{protocol}: {', '.join(map(str, right)) or 'none'}")
    for place, letter in enumerate(ranked):
        ax.text(place + 0.5, 0.55, names[letter], ha="center", va="bottom", fontsize=9, color="0.25")
    fig.set_label(
        f"One ranked list of {len(ranked)} results ({', '.join(names[letter] for letter in ranked)}) under three protocols. "
        "Right results have a tick, wrong ones a cross, ignored ones a bar and no rank. Ranks of the right results: "
        f"{'; '.join(said)}."
    )
    return fig


def _cell(ax: "Axes", x: float, y: float, kind: str, rank: str) -> None:
    """One result under one protocol: filled where right, hatched where wrong, dotted and empty where taken out."""
    from matplotlib.patches import Rectangle

    mark = MARKS[kind]
    corner = (x + 0.06, y - 0.4)
    strength = {"positive": "40", "negative": "18", "ignored": "00"}[kind]
    look: dict[str, Any] = {"linewidth": 1.6, "linestyle": mark.line, "edgecolor": mark.colour}
    ax.add_patch(Rectangle(corner, 0.88, 0.8, facecolor=mark.colour + strength, **look))
    if kind == "negative":
        hatch: dict[str, Any] = {"hatch": "//", "edgecolor": mark.colour + "30", "linewidth": 0}
        ax.add_patch(Rectangle(corner, 0.88, 0.8, fill=False, **hatch))
    ax.text(x + 0.5, y, f"{mark.sign} {rank}".strip(), ha="center", va="center", fontsize=10)


def _frame(left: float, bottom: float, width: float, height: float) -> list[Point]:
    """The corners of a rectangle, the first one twice."""
    right, top = left + width, bottom + height
    return [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]


def _canvas(size: Point, across: Point, up: Point) -> tuple["Figure", "Axes"]:
    """An empty figure without axes, of a size in inches, that shows these ranges."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=size, layout="constrained")
    ax = fig.subplots()
    ax.set(xlim=across, ylim=up)
    ax.axis("off")
    return fig, ax


def _boxes(ax: "Axes", boxes: Sequence[tuple[str, float, float, str]], size: float) -> None:
    """Texts in rounded boxes: (text, x, y, colour)."""
    for text, x, y, colour in boxes:
        frame = {"boxstyle": "round,pad=0.42", "facecolor": colour + "55", "edgecolor": colour}
        ax.text(x, y, text, ha="center", va="center", fontsize=size, linespacing=1.1, bbox=frame)


def _arrow(ax: "Axes", start: Point, end: Point, colour: str = INK, bend: float = 0) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops={**look, "connectionstyle": f"arc3,rad={bend}"})
