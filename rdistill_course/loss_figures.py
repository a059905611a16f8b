"""Figures on losses: what they compare, what they give up, where they pull, and why mixtures carry no new facts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rdistill_course.style import ARMS, looks
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil.interpolate import mix
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import COLOURS, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Directions of the photographs a, b and x in degrees, for the teacher and for a student that is not there yet.
TEACHER, NOT_YET = (150.0, 65.0, 20.0), (170.0, 100.0, 0.0)
TURN = 250.0  # the student that has the teacher's similarities is its mirror image, turned
SHARES = torch.linspace(0, 1, 21)


def compared_figure(teacher: Tensor, student: Tensor, temperature: float = 0.04) -> "Figure":
    """What three losses compare: similarities, relative distances and probabilities of the same images in both spaces.

    Args:
        teacher: [B, Dt], L2-normalised.
        student: [B, Ds], L2-normalised, of the same images.
        temperature: of the probabilities.

    Returns:
        The figure: above the teacher's tables, below the student's.

    Raises:
        BadInput: descriptors that are not those of the same images.
    """
    from matplotlib.figure import Figure

    spaces = {"teacher": check_descriptors(teacher, "teacher"), "student": check_descriptors(student, "student")}
    if len(teacher) != len(student):
        raise BadInput(
            f"{len(teacher)} descriptors of the teacher and {len(student)} of the student: give the same images."
        )
    itself = torch.eye(len(teacher), dtype=torch.bool)
    fig = Figure(figsize=(7.2, 4.7), layout="constrained")
    axes = fig.subplots(2, 3)
    for row, (name, points) in zip(axes, spaces.items(), strict=True):
        similarities, distances = points @ points.T, torch.cdist(points, points)
        tables = {
            "similarity: pairs": similarities,
            "RKD: distance / mean distance": distances / distances[~itself].mean(),
            "listwise: probabilities of each list": (similarities / temperature)
            .masked_fill(itself, -torch.inf)
            .softmax(1),
        }
        for ax, (title, table) in zip(row, tables.items(), strict=True):
            near = -table if title.startswith("RKD") else table  # in all tables light is near
            ax.pcolormesh(near.masked_fill(itself, torch.nan).flip(0), cmap="cividis")
            numbers = range(1, len(table) + 1)
            ax.set_xticks([number - 0.5 for number in numbers], numbers, fontsize=7)
            ax.set_yticks([number - 0.5 for number in numbers], numbers[::-1], fontsize=7)
            ax.set_aspect("equal")
            ax.tick_params(length=0)
            low, high = near[~itself].aminmax()
            for i, j in (~itself).nonzero().tolist():
                light = near[i, j] > (low + high) / 2
                ax.text(
                    j + 0.5, len(table) - i - 0.5, f"{round(float(table[i, j]), 2) + 0.0:.2f}",
                    ha="center", va="center", fontsize=7, color="black" if light else "white",
                )  # fmt: skip
            if name == "teacher":
                ax.set_title(title, fontsize=9)
            ax.grid(False)
        row[0].set_ylabel(name)
    fig.set_label(
        f"Two rows of three tables of {len(teacher)} images, the teacher's above and the student's below: similarities of "
        "pairs, distances divided by their mean, and the probabilities of each list, where a row sums to 1. There one or "
        "two images of a list have nearly everything."
    )
    return fig


def circles_figure(points: Mapping[str, Tensor], groups: Tensor, kept: Mapping[str, float], k: int = 5) -> "Figure":
    """Points on circles after training with several losses, and the neighbours that each kept.

    Args:
        points: [B, 2] by name, L2-normalised, at most eight.
        groups: [B] whole numbers.
        kept: by name, the part of the k nearest by the teacher that are among the k nearest.
        k: the neighbours that were counted.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(points) // 4)
    fig = Figure(figsize=(9, 2.6 * rows + 0.7), layout=ConstrainedLayoutEngine(h_pad=0.12))
    panels = fig.subplots(rows, 4, squeeze=False)
    for ax in panels.flat[len(points) :]:
        ax.axis("off")
    for ax, (name, own) in zip(panels.flat, points.items(), strict=False):
        draw_points(ax, own, groups, f"{name}\n{k} neighbours kept {100 * kept[name]:.0f} %")
    fig.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    said = ", ".join(f"{name} {100 * kept[name]:.0f} %" for name in points)
    fig.set_label(
        f"{len(points)} circles with {len(groups)} points in {len(groups.unique())} groups, each of a space or of a student "
        f"after training with a loss. The {k} nearest neighbours kept: {said}."
    )
    return fig


def bargain_figure(
    points: Mapping[str, Tensor],
    groups: Tensor,
    near: Mapping[str, Sequence[float]],
    far: Mapping[str, Sequence[float]],
) -> "Figure":
    """What students give up that are too small: their points in one draw, and two measures of many draws.

    Args:
        points: by name [B, 2] of one draw.
        groups: [B] whole numbers.
        near: by loss, the part of the neighbours that was kept, in each draw.
        far: by loss, the correlation of all similarities with the teacher's, in each draw.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(10, 3.1), layout="constrained")
    *circles, cloud = fig.subplots(1, len(points) + 1, width_ratios=[1] * len(points) + [1.35])
    for ax, (name, own) in zip(circles, points.items(), strict=True):
        draw_points(ax, own, groups, name)
    for number, name in enumerate(near):
        look = {"marker": MARKERS[number], "edgecolors": "black", "facecolors": ("white", "black", "0.6")[number % 3]}
        cloud.scatter(far[name], [100 * value for value in near[name]], s=22, label=name, **look)
    draws = len(next(iter(near.values())))
    cloud.set(xlabel="correlation", ylabel="3 neighbours kept in %", ylim=(0, 100))
    cloud.set_title(f"{draws} draws", fontsize=9)
    cloud.legend(loc="lower left")
    fig.legend(*circles[0].get_legend_handles_labels(), loc="outside lower left", ncols=6)
    said = "; ".join(f"{name} {100 * sum(near[name]) / draws:.0f} % and {sum(far[name]) / draws:.2f}" for name in near)
    fig.set_label(
        f"Circles with {len(groups)} points in {len(groups.unique())} groups: {', '.join(points)}. Next to them the neighbours "
        f"kept against the correlation in {draws} draws, a cloud for each loss; their means: {said}."
    )
    return fig


def draw_points(ax: "Axes", points: Tensor, groups: Tensor, title: str) -> None:
    """Points on a circle, a colour and a marker for each group.

    Args:
        ax: where to draw.
        points: [B, 2].
        groups: [B] whole numbers.
        title: of the circle.
    """
    from matplotlib.patches import Circle

    ax.add_patch(Circle((0, 0), 1, fill=False, color="0.8"))
    for number, group in enumerate(groups.unique().tolist()):
        look: dict[str, Any] = {"color": COLOURS[number], "marker": MARKERS[number], "edgecolors": "white"}
        x, y = points[groups == group].T
        ax.scatter(x, y, s=34, linewidths=0.5, label=f"group {number + 1}", **look)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    ax.set_title(title, fontsize=9)
    ax.axis("off")


def temperature_figure(probabilities: Mapping[float, Sequence[float]], shares: Mapping[str, float]) -> "Figure":
    """What the temperature does to the probabilities of a list, and where the pull of losses goes.

    Args:
        probabilities: by temperature, the mean probability of each of the first places.
        shares: by loss, the part of its pull that goes to the first five places; "listwise, " and each temperature is one.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = fig.subplots(1, 2)
    styles = dict(zip(shares, looks(shares), strict=True))
    for temperature, by_place in probabilities.items():
        look = styles[f"listwise, {temperature:g}"]
        drawn: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "markersize": 4}
        left.plot(range(1, len(by_place) + 1), by_place, label=f"{temperature:g}", **drawn)
    left.set(xlabel="place in the teacher's list", ylabel="probability, mean of all lists")
    left.legend(title="temperature")
    for number, (name, share) in enumerate(shares.items()):
        right.barh(name, 100 * share, color=styles[name].colour, hatch=styles[name].hatch, edgecolor="white")
        right.text(100 * share + 1, number, f"{100 * share:.0f} %", va="center", fontsize=9)
    right.invert_yaxis()
    right.set(xlabel="part of the pull on the first five places, in %", xlim=(0, 100))
    said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    first = ", ".join(f"{temperature:g}: {float(by_place[0]):.2f}" for temperature, by_place in probabilities.items())
    fig.set_label(
        "Left: the teacher's probabilities by place of the list at several temperatures; the lower one is, the more the "
        f"first place has ({first}). Right: the part of the pull that goes to the first five places: {said}."
    )
    return fig


def no_new_facts_figure(share: float = 0.5) -> "Figure":
    """Why mixtures carry no new facts: where the photographs' similarities agree, those of every mixture agree as well.

    Args:
        share: of the photograph a in the mixture that the circles show.

    Returns:
        The figure: the teacher's circle, that of a student with its similarities, and the similarity of a photograph x with
        all mixtures of a and b, for both and for a student that is not there yet.

    Raises:
        BadInput: a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise BadInput(f"A mixture with share {share} cannot be drawn: give a number between 0 and 1.")
    from matplotlib.figure import Figure

    turned = tuple(TURN - degrees for degrees in TEACHER)
    spaces = {"teacher": TEACHER, "student with the same similarities": turned, "student, not there yet": NOT_YET}
    rows = {name: _circle(degrees) for name, degrees in spaces.items()}
    fig = Figure(figsize=(9.6, 3.5), layout="constrained")
    *circles, along = fig.subplots(1, 3, width_ratios=(1, 1, 1.35))
    for ax, (name, points) in zip(circles, list(rows.items())[:2], strict=True):
        _triangle(ax, points, share, name)
    looks: list[dict[str, Any]] = [
        {"color": ARMS["teacher"].colour, "linestyle": ARMS["teacher"].line},
        {"color": ARMS["distilled student"].colour, "linestyle": "none", "marker": "o", "markersize": 5},
        {"color": ARMS["untrained student"].colour, "linestyle": ARMS["untrained student"].line},
    ]
    curves = {name: _to_mixtures(points, SHARES) for name, points in rows.items()}
    for (name, curve), look in zip(curves.items(), looks, strict=True):
        along.plot(SHARES, curve, label=name, **look)
    at = float(_to_mixtures(rows["teacher"], torch.tensor([share])))
    along.plot([share], [at], marker="s", markersize=8, color=PALETTE["red"], linestyle="none")
    along.set(xlabel="λ, the share of a in the mixture", ylabel="similarity of x and the mixture")
    along.set_title("all mixtures of a and b", fontsize=9)
    along.legend(fontsize=8)
    apart = float((curves["teacher"] - curves["student with the same similarities"]).abs().max())
    missed = float((curves["teacher"] - curves["student, not there yet"]).abs().max())
    fig.set_label(
        "Three photographs a, b and x on the teacher's circle, and on that of a student, mirrored and turned, with the same "
        f"three similarities. The mixture of a and b has similarity {at:.2f} to x in both. On the right the similarity of x "
        f"and the mixture for all lambda: the two agree everywhere (largest difference {apart:.2f}); a student that does not "
        f"have the teacher's similarities yet differs by up to {missed:.2f}."
    )
    return fig


def _circle(degrees: Sequence[float]) -> Tensor:
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def _to_mixtures(rows: Tensor, shares: Tensor) -> Tensor:
    """Similarities of the third row with mixtures of the first two."""
    return mix(rows, torch.tensor([[0, 1]]).expand(len(shares), 2), shares) @ rows[2]


def _triangle(ax: "Axes", rows: Tensor, share: float, title: str) -> None:
    """Photographs a, b and x on a circle, the mixture of a and b, and their similarities below."""
    from matplotlib.patches import Circle

    mixture = mix(rows, torch.tensor([[0, 1]]), torch.tensor([share]))[0]
    ax.add_patch(Circle((0, 0), 1, fill=False, color="0.8"))
    ax.plot(*rows[:2].T, color="0.6", linestyle=":", linewidth=1.2)
    ax.plot(*torch.stack([rows[2], mixture]).T, color=PALETTE["red"], linestyle="-", linewidth=1.2)
    for name, place, colour, marker in (
        *(("abx"[k], rows[k], PALETTE["blue"], "o") for k in range(3)),
        ("m", mixture, PALETTE["red"], "s"),
    ):
        ax.plot(*place, color=colour, marker=marker, markersize=8, linestyle="none")
        x, y = (1.2 * place).tolist()
        ax.text(x, y, name, ha="center", va="center", color=colour)
    a, b, third = rows
    facts = f"a·b {a @ b:.2f}, a·x {a @ third:.2f}, b·x {b @ third:.2f}\nso m·x {mixture @ third:.2f}"
    ax.text(0, -1.35, facts.replace("-", "−"), ha="center", va="top", fontsize=9)
    ax.set(xlim=(-1.35, 1.35), ylim=(-1.85, 1.35), aspect="equal")
    ax.set_title(title, fontsize=9)
    ax.axis("off")
