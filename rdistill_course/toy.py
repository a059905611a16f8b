"""A loss on points of a circle: its value, its pull on every point, the loss along the way of one, and training."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from rdistill_course.style import SHOWN_DPI
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import COLOURS, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Loss = Callable[..., Tensor]
LONGEST = 0.6  # of the arrows, in radians
WEAK = 0.03  # part of the strongest pull below which a point gets no arrow
STEPS, RATE = 10, 0.05  # of one descent; the rate that notebook 3 trains with
SHARP = 1.5  # drawn pixels for one of a page
DIRECTIONS = 49  # places along the circle at which the loss is drawn


def toy_figure(
    teacher: Tensor,
    student: Tensor,
    groups: Tensor,
    losses: Mapping[str, Loss],
    loss: str = "listwise",
    temperature: float = 0.04,
    point: int = 0,
    alt: str | None = None,
) -> "Figure":
    """The teacher's points, the student's with an arrow for the pull on each, and the loss while one point goes round.

    The teacher's circle is turned or mirrored to where it fits the student's points best: losses leave that free. Arrows are
    minus the gradient along the circle; the longest always has the same length.

    Args:
        teacher: [B, D], L2-normalised.
        student: [B, 2], L2-normalised.
        groups: [B] whole numbers.
        losses: by name, each loss(student, teacher), with `temperature=` where it takes one.
        loss: the name of the one that is drawn.
        temperature: of the loss, where it takes one.
        point: the one that goes round.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: points and groups that do not fit together, or a loss or point that does not exist.
    """
    toy = Toy(teacher, student, groups, losses)
    drawing = ToyDrawing(toy)
    said_of_it = drawing.update(loss, temperature, point)
    drawing.fig.set_label(alt or said_of_it)
    return drawing.fig


def trained_points(loss: Loss, teacher: Tensor, start: Tensor, steps: int = 200) -> Tensor:
    """Moves points downhill on a loss, with Adam, and brings them back to length 1.

    Args:
        loss: loss(student, teacher), with `projection=` where it needs one, which is trained together with the points.
        teacher: [B, Dt], L2-normalised.
        start: [B, Ds].
        steps: of the optimiser.

    Returns:
        The points, [B, Ds].
    """
    points, settings = start.clone().requires_grad_(), {}
    trained = [points]
    if "projection" in inspect.signature(loss).parameters:
        settings["projection"] = nn.Linear(start.shape[1], teacher.shape[1], bias=False)
        trained.append(nn.init.eye_(settings["projection"].weight))
    optimizer = torch.optim.Adam(trained, lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(F.normalize(points, dim=1), teacher, **settings).backward()
        optimizer.step()
    return F.normalize(points.detach(), dim=1)


def neighbours_kept(student: Tensor, teacher: Tensor, k: int) -> float:
    """The part of each row's k nearest by the teacher that are among its k nearest by the student.

    Args:
        student: [B, Ds], L2-normalised.
        teacher: [B, Dt], L2-normalised.
        k: how many neighbours count.

    Returns:
        A fraction, 1 where all neighbours are kept.
    """
    own, wanted = ((x @ x.T).fill_diagonal_(-torch.inf).topk(k).indices for x in (student, teacher))
    return float((own[:, :, None] == wanted[:, None, :]).any(2).float().mean())


class Toy:
    """Points of teacher and student, and what a loss says of them.

    Args:
        teacher: [B, D], L2-normalised.
        student: [B, 2], L2-normalised.
        groups: [B] whole numbers.
        losses: by name, each loss(student, teacher), with `temperature=` where it takes one.

    Raises:
        BadInput: points and groups that do not fit together.
    """

    def __init__(self, teacher: Tensor, student: Tensor, groups: Tensor, losses: Mapping[str, Loss]) -> None:
        self.teacher = check_descriptors(teacher, "the toy's teacher")
        start = check_descriptors(student, "the toy's student")
        if start.shape[1] != 2 or not len(start) == len(self.teacher) == len(groups) > 2:
            raise BadInput(
                f"A toy of {len(self.teacher)} points of the teacher, {list(start.shape)} of the student and {len(groups)} "
                "groups cannot be drawn: give at least 3 points on both sides, the student's of dimension 2, a group for each."
            )
        self.groups = torch.as_tensor(groups)
        self.start = torch.atan2(start[:, 1], start[:, 0])
        self.angle = self.start.clone()  # [B] radians
        self.losses = dict(losses)
        self._with_temperature = {
            name for name, loss in self.losses.items() if "temperature" in inspect.signature(loss).parameters
        }
        self._trip: tuple[str, float, int, Tensor, np.ndarray] | None = (
            None  # the last round trip and what it was made of
        )

    def restart(self) -> None:
        """Back to the points that the student came with."""
        self.angle = self.start.clone()

    def degrees(self, point: int) -> int:
        """The direction of a point.

        Args:
            point: its number.

        Returns:
            Whole degrees, 0 to 359.
        """
        return round(float(self.angle[point].rad2deg())) % 360

    def takes_temperature(self, name: str) -> bool:
        """Whether a loss has a temperature to choose.

        Args:
            name: the loss.

        Returns:
            True where it takes `temperature=`.
        """
        return name in self._with_temperature

    def value(self, name: str, temperature: float, angle: Tensor) -> Tensor:
        """The loss of the student whose points have these directions.

        Args:
            name: the loss.
            temperature: of the loss, where it takes one.
            angle: [B] radians.

        Returns:
            A scalar, with its gradient.
        """
        settings = {"temperature": temperature} if self.takes_temperature(name) else {}
        return self.losses[name](_circle(angle), self.teacher, **settings)

    def pull(self, name: str, temperature: float) -> tuple[float, np.ndarray]:
        """How strongly, and which way, a loss pulls each point along the circle.

        Args:
            name: the loss.
            temperature: of the loss, where it takes one.

        Returns:
            The loss, and minus its gradient for each point, anticlockwise positive: [B].
        """
        angle = self.angle.clone().requires_grad_()
        loss = self.value(name, temperature, angle)
        loss.backward()
        assert angle.grad is not None
        return float(loss.detach()), -angle.grad.numpy()

    def round_trip(self, name: str, temperature: float, point: int) -> tuple[np.ndarray, np.ndarray]:
        """The loss while one point goes round and the others stay.

        Args:
            name: the loss.
            temperature: of the loss, where it takes one.
            point: the one that goes round.

        Returns:
            Degrees and losses, [DIRECTIONS] each.
        """
        turns = np.linspace(0, 360, DIRECTIONS)
        angle = self.angle.clone()
        angle[point] = 0
        if self._trip is not None and self._trip[:3] == (name, temperature, point) and angle.equal(self._trip[3]):
            return turns, self._trip[4]  # only the point itself was moved, which does not change its way round
        of_others, found = angle.clone(), []
        with torch.no_grad():
            for degrees in turns:
                angle[point] = np.deg2rad(degrees)
                found.append(float(self.value(name, temperature, angle)))
        self._trip = (name, temperature, point, of_others, np.array(found))
        return turns, self._trip[4]

    def descend(self, name: str, temperature: float) -> None:
        """A few steps of Adam on the points, as notebook 3 trains them.

        Args:
            name: the loss.
            temperature: of the loss, where it takes one.
        """
        points = _circle(self.angle).requires_grad_()
        optimizer = torch.optim.Adam([points], lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            unit = F.normalize(points, dim=1)
            self.value(name, temperature, torch.atan2(unit[:, 1], unit[:, 0])).backward()
            optimizer.step()
        self.angle = torch.atan2(points[:, 1], points[:, 0]).detach()


class ToyDrawing:
    """The three panels on one canvas. What stays is drawn once and kept; an update draws only what moves, above it.

    Args:
        toy: what is drawn.
    """

    def __init__(self, toy: Toy) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure

        self.toy, self.state = toy, ""
        self.kept: Any = None  # the pixels of what stays
        # Fixed margins: a layout engine would move what was kept.
        self.fig = Figure(figsize=(9.4, 3.5), dpi=SHOWN_DPI * SHARP, layout=None)
        self.fig.set_layout_engine("none")
        self.canvas = FigureCanvasAgg(self.fig)
        margins = {"left": 0.01, "right": 0.985, "bottom": 0.15, "top": 0.91, "wspace": 0.14}
        wanted, own, along = self.fig.subplots(1, 3, gridspec_kw={"width_ratios": (1, 1, 1.1), **margins})
        # The teacher's points in the plane that holds most of them, turned and mirrored to the student's (Procrustes).
        plane = toy.teacher @ torch.linalg.svd(toy.teacher, full_matrices=False).Vh[:2].T
        left, _, right = torch.linalg.svd(plane.T @ _circle(toy.start))
        self.plane = plane @ left @ right
        self._points(wanted, self.plane, "teacher")
        self.students = self._points(own, _circle(toy.angle), "student, and the pull on each point")
        self.arrows = PolyCollection([], facecolors="0.25", edgecolors="0.25", linewidths=0.5)
        own.add_collection(self.arrows)
        ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "color": "black", "linestyle": "none"}
        self.rings = [ax.plot([], [], zorder=5, **ring)[0] for ax in (wanted, own)]
        (self.curve,) = along.plot([], [], color=PALETTE["blue"], linestyle="-")
        (self.here,) = along.plot([], [], marker="o", color="black", linestyle="none")
        # Losses are drawn from 0, the lowest, to 1, the highest, and these two texts say which they are.
        self.ends = [along.text(-8, height, "", ha="right", va="center", fontsize=8) for height in (0, 1)]
        along.set(xlim=(0, 360), ylim=(-0.06, 1.06), xticks=[0, 90, 180, 270, 360], yticks=[0, 1], yticklabels=[])
        along.set_xlabel("direction of the ringed point in degrees", fontsize=9)
        along.set_title("loss while the ringed point goes round", fontsize=9)
        along.tick_params(labelsize=8)
        handles, names = wanted.get_legend_handles_labels()
        self.fig.legend(handles, names, loc="lower left", ncols=min(6, len(names)), fontsize=8, frameon=False)
        self.moving = [self.arrows, *self.students, *self.rings, self.curve, self.here, *self.ends]

    def _points(self, ax: "Axes", points: Tensor, title: str) -> list[Any]:
        from matplotlib.patches import Circle

        ax.add_patch(Circle((0, 0), 1, fill=False, color="0.8"))
        drawn = []
        for number, group in enumerate(self.toy.groups.unique().tolist()):
            look: dict[str, Any] = {
                "color": COLOURS[number % len(COLOURS)],
                "marker": MARKERS[number % len(MARKERS)],
                "zorder": 3,
            }
            x, y = points[self.toy.groups == group].T
            drawn.append(
                ax.scatter(x, y, s=34, edgecolors="white", linewidths=0.5, label=f"group {number + 1}", **look)
            )
        ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
        ax.set_title(title, fontsize=9)
        ax.axis("off")
        return drawn

    def update(self, name: str, temperature: float, point: int) -> str:
        """Moves points, arrows and curve to the toy's state.

        Args:
            name: the loss.
            temperature: of the loss, where it takes one.
            point: the one that is ringed and goes round.

        Returns:
            A description of the picture.

        Raises:
            BadInput: a loss or point that does not exist.
        """
        if name not in self.toy.losses:
            raise BadInput(f"The toy has no loss {name!r}: choose {', '.join(self.toy.losses)}.")
        if not 0 <= point < len(self.toy.angle):
            raise BadInput(f"The toy has no point {point}: choose 0 to {len(self.toy.angle) - 1}.")
        angle = self.toy.angle.numpy()
        places = _circle(self.toy.angle).numpy()
        for drawn, group in zip(self.students, self.toy.groups.unique(), strict=True):
            drawn.set_offsets(places[self.toy.groups == group])
        loss, pull = self.toy.pull(name, temperature)
        share = pull / max(float(np.abs(pull).max()), 1e-12)
        self.arrows.set_verts([_arrow(a, s * LONGEST) for a, s in zip(angle, share, strict=True) if abs(s) > WEAK])
        turns, losses = self.toy.round_trip(name, temperature, point)
        low, high = min(losses.min(), loss), max(losses.max(), loss)
        height = (high - low) or 1.0
        self.curve.set_data(turns, (losses - low) / height)
        self.here.set_data([np.rad2deg(angle[point]) % 360], [(loss - low) / height])
        for text, end in zip(self.ends, (low, high), strict=True):
            text.set_text(f"{end:.3g}")
        for ring, (x, y) in zip(self.rings, (self.plane[point].tolist(), places[point]), strict=True):
            ring.set_data([x], [y])
        at = f" at temperature {temperature:g}" if self.toy.takes_temperature(name) else ""
        way = "hardly pulled" if abs(share[point]) <= WEAK else f"pulled {'anti' if share[point] > 0 else ''}clockwise"
        group = int((self.toy.groups.unique() == self.toy.groups[point]).nonzero()) + 1
        self.state = (
            f"Loss {name}{at}: {loss:.4g}. Point {point + 1} of group {group} is at {self.toy.degrees(point)} degrees, {way}; "
            f"the strongest pull is on point {int(np.abs(pull).argmax()) + 1}."
        )
        return (
            f"Three panels: {len(places)} points of the teacher on a circle; those of the student with an arrow for the pull "
            "on each, outside the circle where it is anticlockwise, inside where it is clockwise; and the loss while one "
            f"point goes round, from {low:.3g} to {high:.3g}. {self.state}"
        )

    def picture(self) -> Image.Image:
        """What the canvas shows now.

        Returns:
            The picture.
        """
        if self.kept is None:
            for artist in self.moving:
                artist.set_visible(False)
            self.canvas.draw()
            self.kept = self.canvas.copy_from_bbox(self.fig.bbox)
            for artist in self.moving:
                artist.set_visible(True)
        self.canvas.restore_region(self.kept)
        for artist in self.moving:
            self.fig.draw_artist(artist)
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")


def _arrow(angle: float, turn: float) -> np.ndarray:
    """An arrow that bends along the circle, outside it when it turns anticlockwise, inside otherwise: its corners [P, 2]."""
    side = 1.0 if turn > 0 else -1.0
    radius, head = 1 + 0.1 * side, min(abs(turn), 0.11) * side
    shaft, neck = angle + np.linspace(0, turn - head, 9), angle + turn - head
    wide = 0.41 * abs(head)  # a short arrow has a small head
    corners = [
        *((radius - 0.008, a) for a in shaft),
        *((radius - wide, neck), (radius, angle + turn), (radius + wide, neck)),
        *((radius + 0.008, a) for a in shaft[::-1]),
    ]
    radii, angles = np.array(corners).T
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _circle(angle: Tensor) -> Tensor:
    """Points of the unit circle: [B] radians -> [B, 2]."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)
