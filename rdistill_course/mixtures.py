"""Mixtures in pictures: their length on the chord, what lies between two photographs, maps of both spaces, and the mask."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rdistill_course.pictures import filmstrip
from rdistill_course.widgets.mixing import nearest_to_mixtures
from rdistill_helpers.distil.interpolate import mix
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import COLOURS, GREY, LINES, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSINES = (0.9, 0.5, 0.0, -0.5, -0.9)  # of the curves
STOPS = (0.9, 0.7, 0.5, 0.3, 0.1)  # lambdas of a strip
ROOMS = ("the first room", "the second room", "a third room")


def length_figure(lam: Tensor, lengths: Tensor) -> "Figure":
    """How long mixtures are before they are brought back to length 1: real ones as dots, curves for some cosines of the pair.

    Args:
        lam: [K], lambda of each mixture.
        lengths: [K].

    Returns:
        The figure.

    Raises:
        BadInput: not one length for each lambda.
    """
    from matplotlib.figure import Figure

    if lam.shape != lengths.shape or lam.ndim != 1:
        raise BadInput(f"There are {list(lam.shape)} lambdas and {list(lengths.shape)} lengths: give [K] twice.")
    fig = Figure(figsize=(7.0, 3.6), layout="constrained")
    ax = fig.subplots()
    along = np.linspace(0, 1, 101)
    for colour, line, cosine in zip(COLOURS, LINES, COSINES, strict=False):
        lengths_of_curve = np.sqrt(along**2 + (1 - along) ** 2 + 2 * along * (1 - along) * cosine)
        ax.plot(along, lengths_of_curve, color=colour, linestyle=line, label=f"cosine {cosine:g}")
    ax.scatter(lam, lengths, s=8, color="0.6", label="real pairs", zorder=1)
    ax.set(xlabel="lambda", ylabel="length on the straight line", ylim=(0, 1.04))
    fig.legend(loc="outside right center")
    fig.set_label(
        f"Length of a mixture on the straight line against lambda, a curve for each cosine of the pair: "
        f"{', '.join(f'{cosine:g}' for cosine in COSINES)}. All curves are 1 at both ends and lowest in the middle, the lower "
        f"the smaller the cosine. {len(lam)} dots are real pairs; the shortest has length {float(lengths.min()):.2f}."
    )
    return fig


def third_rooms(rows: Tensor, rooms: Tensor) -> tuple[Tensor, Tensor]:
    """By how much a third room leads half way between two photographs of different rooms.

    Left out are the two photographs themselves, and pairs with a photograph whose nearest shows another room: they say more of
    this photograph than of mixing.

    Args:
        rows: descriptors [N, D].
        rooms: [N], the room of each photograph.

    Returns:
        Pairs int64 [P, 2], and for each how much more similar the nearest photograph of a third room is than the nearest of the
        two rooms, [P]; above 0 a third room is nearest.
    """
    at_home = rooms[(rows @ rows.T).fill_diagonal_(-1).argmax(1)] == rooms
    pairs = torch.triu_indices(len(rows), len(rows), 1).T
    pairs = pairs[(rooms[pairs[:, 0]] != rooms[pairs[:, 1]]) & at_home[pairs].all(1)]
    similarity = mix(rows, pairs, torch.full((len(pairs),), 0.5)) @ rows.T
    similarity[torch.arange(len(pairs))[:, None], pairs] = -1
    of_the_two = (rooms == rooms[pairs[:, 0]][:, None]) | (rooms == rooms[pairs[:, 1]][:, None])
    third, own = (similarity.masked_fill(out, -1).amax(1) for out in (of_the_two, ~of_the_two))
    return pairs, third - own


def room_strip(
    rows: Tensor, pair: tuple[int, int], rooms: Tensor, image: Callable[[int], Image.Image], title: str
) -> "Figure":
    """A filmstrip from one photograph to another: the two nearest to each of five mixtures, framed by their room.

    Args:
        rows: descriptors [N, D].
        pair: positions of the two photographs.
        rooms: [N].
        image: gives photograph i.
        title: stands above the strip.

    Returns:
        The figure.
    """
    lists = nearest_to_mixtures(rows, pair, torch.tensor(STOPS), k=2).tolist()
    ends = [int(rooms[i]) for i in pair]
    places = [[[*ends, int(rooms[i])].index(int(rooms[i])) for i in column] for column in lists]
    said = ", ".join(f"{lam:g} {ROOMS[column[0]]}" for lam, column in zip(STOPS, places, strict=True))
    return filmstrip(
        STOPS,
        [[image(i) for i in column] for column in lists],
        ends=(image(pair[0]), image(pair[1])),
        places=places,
        title=title,
        alt=f"Filmstrip, {title}: two photographs at the sides, and between them, for five values of lambda, the two nearest "
        f"photographs. The nearest one shows, for lambda {said}.",
    )


def mixtures_on_maps(
    maps: Mapping[str, np.ndarray], rooms: Sequence[str], photographs: int, way: Sequence[int]
) -> "Figure":
    """Maps of the same photographs and mixtures, side by side, with one way from a photograph to another.

    Args:
        maps: by title, places [N, 2]: the photographs, then mixtures.
        rooms: [N], the room of each photograph, and of each mixture that of its heavier part.
        photographs: how many of the rows are photographs.
        way: rows from one photograph over mixtures to another.

    Returns:
        The figure.

    Raises:
        BadInput: a map that does not have one place for each row.
    """
    from matplotlib.figure import Figure

    for title, places in maps.items():
        if places.shape != (len(rooms), 2):
            raise BadInput(
                f"The map {title!r} has the shape {list(places.shape)}: give a place for all {len(rooms)} rows."
            )
    names, labels = list(dict.fromkeys(rooms[:photographs])), np.asarray(rooms)
    fig = Figure(figsize=(4.6 * len(maps), 4.6), layout="constrained")
    axes = fig.subplots(1, len(maps), squeeze=False)[0]
    for ax, (title, places) in zip(axes, maps.items(), strict=True):
        for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
            own = labels == name
            ax.scatter(*places[photographs:][own[photographs:]].T, s=9, color=colour, alpha=0.45, linewidths=0)
            look = {"s": 46, "color": colour, "marker": marker, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
            ax.scatter(*places[:photographs][own[:photographs]].T, label=name, **look)
        steps: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "white", "markevery": slice(1, -1)}
        ax.plot(
            *places[list(way)].T, color=PALETTE["black"], linestyle="-", label="mixtures of one pair", zorder=4, **steps
        )
        ax.scatter([], [], s=9, color=GREY, linewidths=0, label="mixtures, in the colour of the heavier part")
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set(visible=True, color="0.8")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    fig.set_label(
        f"{len(maps)} maps, {' and '.join(maps)}, of the same {photographs} photographs of {len(names)} rooms and "
        f"{len(rooms) - photographs} mixtures of them. A line goes from a photograph to another over "
        f"{len(way) - 2} mixtures."
    )
    return fig


def mask_figure(comparable: Tensor, photographs: int) -> "Figure":
    """The mask of a joint space as a table: light where two rows may be compared, dark where they may not.

    Args:
        comparable: bool [N, N].
        photographs: how many of the rows are photographs; the others are mixtures.

    Returns:
        The figure.

    Raises:
        BadInput: a table that is not square, or fewer rows than photographs.
    """
    from matplotlib.figure import Figure

    count = len(comparable)
    if comparable.shape != (count, count) or not 0 < photographs < count:
        raise BadInput(f"A mask {list(comparable.shape)} with {photographs} photographs cannot be drawn: give [N, N].")
    fig = Figure(figsize=(4.6, 4.2), layout="constrained")
    ax = fig.subplots()
    edges = np.arange(count + 1)
    ax.pcolormesh(edges, edges, comparable.numpy(), cmap="cividis", edgecolors="0.5", linewidth=0.2)
    for draw in (ax.axhline, ax.axvline):
        draw(photographs, color=PALETTE["red"], linewidth=2)
    middles, names = [photographs / 2, (photographs + count) / 2], ["photographs", "mixtures"]
    ax.set_xticks(middles, names)
    ax.set_yticks(middles, names, rotation=90, va="center")
    ax.invert_yaxis()
    ax.grid(False)
    dark = float((~comparable).float().mean())
    ax.set(title=f"light: may be compared; dark: left out ({100 * dark:.0f} %)", aspect="equal")
    fig.set_label(
        f"Square table of {photographs} photographs and {count - photographs} mixtures. Dark cells, left out, are "
        f"{100 * dark:.0f} %: the diagonal, two cells for each mixture where it meets its photographs, and some where "
        "two mixtures share a photograph. All other cells are light."
    )
    return fig
