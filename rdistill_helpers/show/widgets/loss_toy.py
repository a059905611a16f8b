"""A loss on points of a circle: its value, the pull on every point, and the loss along the way of one of them."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil import losses as all_losses
from rdistill_helpers.errors import BadInput
from rdistill_helpers.show.style import COLOURS, MARKERS, PALETTE, SHOWN_DPI
from rdistill_helpers.show.widgets.parts import column, img, keys, said, slider, view

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Loss = Callable[..., Tensor]
TEMPERATURES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.2, 0.5, 1.0)
LONGEST = 0.55  # length of the arrow of the strongest pull, in radii
STEPS, RATE = 10, 0.05  # of one press of the button: the steps and the rate that notebook 3 trains with
SHARP = 1.5  # drawn pixels for one of the page
DIRECTIONS = 121  # places along the circle at which the loss is drawn


def toy_losses(points: int) -> dict[str, Loss]:
    """The losses of the toy by name, with the settings that suit lists of points - 1 others."""
    return {
        "listwise": all_losses.listwise,
        "similarity": all_losses.similarity,
        "RKD": lambda s, t: all_losses.rkd_distance(s, t) + 2 * all_losses.rkd_angle(s, t, chunk=len(s)),
        "DarkRank, hard": partial(all_losses.darkrank_hard, length=points - 1),
        "similarity-preserving": all_losses.similarity_preserving,
        "PKT": all_losses.pkt,
    }


def toy_figure(
    teacher: Tensor,
    student: Tensor,
    groups: Tensor,
    loss: str = "listwise",
    temperature: float = 0.04,
    point: int = 0,
    losses: Mapping[str, Loss] | None = None,
    alt: str | None = None,
) -> "Figure":
    """The teacher's points, the student's with an arrow for the pull on each, and the loss while one point goes round.

    teacher: [B, D], student: [B, 2], both L2-normalised; groups: [B] whole numbers; point: the one that goes round.
    losses: by name, each loss(student, teacher), with `temperature=` where it takes one; by default those of `toy_losses`.
    Arrows are minus the gradient along the circle; the longest always has the same length.
    """
    toy = _Toy(teacher, student, groups, losses)
    drawing = _Drawing(toy)
    said_of_it = drawing.update(loss, temperature, point)
    drawing.fig.set_label(alt or said_of_it)
    return drawing.fig


def loss_explorer(
    teacher: Tensor, student: Tensor, groups: Tensor, losses: Mapping[str, Loss] | None = None
) -> "ipywidgets.VBox":
    """Choose a loss and a temperature, move any point of the student along the circle, or let all of them follow the pull.

    Arguments as for `toy_figure`, whose picture it redraws. The widget's children are the controls (loss and temperature;
    point and its direction; two buttons), picture, words and keys.
    """
    import ipywidgets

    toy = _Toy(teacher, student, groups, losses)
    drawing = _Drawing(toy)
    wide = {"description_width": "initial"}
    name = ipywidgets.Dropdown(options=list(toy.losses), description="Loss", style=wide, layout={"width": "260px"})
    heat = ipywidgets.SelectionSlider(
        options=[(f"{t:g}", t) for t in TEMPERATURES],
        value=0.04,
        description="Temperature",
        style=wide,
        layout={"width": "320px"},
    )
    chosen = slider(range(1, len(toy.angle) + 1), 1, "Point", "260px")
    direction = slider(range(360), toy.degrees(0), "Direction of this point in degrees", "420px")
    down = ipywidgets.Button(description=f"{STEPS} steps downhill", tooltip="every point follows its arrow")
    again = ipywidgets.Button(description="Start again", tooltip="back to the points of the start")
    picture, words = view(), view()
    quiet = False  # while the direction slider follows another control, and must not move a point

    def redraw() -> None:
        state = drawing.update(name.value, heat.value, chosen.value - 1)
        heat.disabled = not toy.takes_temperature(name.value)
        picture.value = img(drawing.picture(), state, photographs=False, scale=SHARP)
        words.value = said(drawing.state)

    def follow(_: Any = None) -> None:
        nonlocal quiet
        quiet = True
        direction.value = toy.degrees(chosen.value - 1)
        quiet = False
        redraw()

    def turn(change: dict[str, Any]) -> None:
        if not quiet:
            toy.angle[chosen.value - 1] = np.deg2rad(change["new"])
            redraw()

    def descend(_: Any) -> None:
        toy.descend(name.value, heat.value)
        follow()

    def restart(_: Any) -> None:
        toy.restart()
        follow()

    redraw()
    for control in (name, heat):
        control.observe(lambda _: redraw(), names="value")
    chosen.observe(follow, names="value")
    direction.observe(turn, names="value")
    down.on_click(descend)
    again.on_click(restart)
    rows = [ipywidgets.HBox(row) for row in ([name, heat], [chosen, direction], [down, again])]
    for row in rows:
        row.layout.flex_flow = "row wrap"
    return column([*rows, picture, words, keys("slider", "list", "button")])


class _Toy:
    """Points of teacher and student, and what a loss says of them."""

    def __init__(self, teacher: Tensor, student: Tensor, groups: Tensor, losses: Mapping[str, Loss] | None) -> None:
        self.teacher = check_descriptors(teacher, "the toy's teacher")
        start = check_descriptors(student, "the toy's student")
        if start.shape[1] != 2 or not len(start) == len(self.teacher) == len(groups) > 2:
            raise BadInput(
                f"A toy of {len(self.teacher)} teacher rows, student rows {list(start.shape)} and {len(groups)} groups "
                "cannot be drawn: give at least three rows on both sides, the student's of dimension 2, and a group for each."
            )
        self.groups = torch.as_tensor(groups)
        self.start = torch.atan2(start[:, 1], start[:, 0])
        self.angle = self.start.clone()  # [B] radians
        self.losses = dict(losses) if losses is not None else toy_losses(len(start))

    def restart(self) -> None:
        """Back to the points that the student came with."""
        self.angle = self.start.clone()

    def degrees(self, point: int) -> int:
        """The direction of a point in whole degrees, 0 to 359."""
        return round(float(self.angle[point].rad2deg())) % 360

    def takes_temperature(self, name: str) -> bool:
        """Whether this loss has a temperature to choose."""
        return "temperature" in inspect.signature(self.losses[name]).parameters

    def value(self, name: str, temperature: float, angle: Tensor) -> Tensor:
        """The loss of the student whose points have these directions."""
        settings = {"temperature": temperature} if self.takes_temperature(name) else {}
        return self.losses[name](_circle(angle), self.teacher, **settings)

    def pull(self, name: str, temperature: float) -> tuple[float, np.ndarray]:
        """The loss, and minus its gradient along the circle for each point, anticlockwise positive: [B]."""
        angle = self.angle.clone().requires_grad_()
        loss = self.value(name, temperature, angle)
        loss.backward()
        assert angle.grad is not None
        return float(loss.detach()), -angle.grad.numpy()

    def round_trip(self, name: str, temperature: float, point: int) -> tuple[np.ndarray, np.ndarray]:
        """The loss while one point goes round and the others stay: degrees and losses, [DIRECTIONS] each."""
        turns = np.linspace(0, 360, DIRECTIONS)
        angle = self.angle.clone()
        found = []
        with torch.no_grad():
            for degrees in turns:
                angle[point] = np.deg2rad(degrees)
                found.append(float(self.value(name, temperature, angle)))
        return turns, np.array(found)

    def descend(self, name: str, temperature: float) -> None:
        """A few steps of Adam on the points, as notebook 3 trains them."""
        points = _circle(self.angle).requires_grad_()
        optimizer = torch.optim.Adam([points], lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            unit = F.normalize(points, dim=1)
            self.value(name, temperature, torch.atan2(unit[:, 1], unit[:, 0])).backward()
            optimizer.step()
        self.angle = torch.atan2(points[:, 1], points[:, 0]).detach()


class _Drawing:
    """The three panels on one canvas, kept: an update moves what is there, which costs a fraction of a new figure."""

    def __init__(self, toy: _Toy) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyArrowPatch

        self.toy, self.state = toy, ""
        # Fixed margins: a layout engine would measure all texts again at every update.
        self.fig = Figure(figsize=(9.4, 3.5), dpi=SHOWN_DPI * SHARP, layout="none")
        self.canvas = FigureCanvasAgg(self.fig)
        beside = {"width_ratios": (1, 1, 1.1), "left": 0.01, "right": 0.985, "bottom": 0.19, "top": 0.9, "wspace": 0.12}
        wanted, own, along = self.fig.subplots(1, 3, gridspec_kw=beside)
        # The teacher's points in the plane that holds most of them.
        plane = toy.teacher @ torch.linalg.svd(toy.teacher, full_matrices=False).Vh[:2].T
        self._points(wanted, plane, "teacher")
        self.students = self._points(own, _circle(toy.angle), "student, with its pulls")
        self.arrows = [
            FancyArrowPatch((0, 0), (0, 0), arrowstyle="-|>", mutation_scale=9, color="0.25", linewidth=1, zorder=4)
            for _ in range(len(toy.angle))
        ]
        for arrow in self.arrows:
            own.add_patch(arrow)
        ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "color": "black", "linestyle": "none"}
        (self.ring,) = own.plot([], [], **ring)
        (self.other_ring,) = wanted.plot([], [], **ring)
        (self.curve,) = along.plot([], [], color=PALETTE["blue"], linestyle="-")
        (self.here,) = along.plot([], [], marker="o", color="black", linestyle="none")
        along.set(xlim=(0, 360), xticks=[0, 90, 180, 270, 360], xlabel="direction of the ringed point in degrees")
        along.set_title("loss while the ringed point goes round", fontsize=9)
        along.tick_params(labelsize=8)
        self.along, self.plane = along, plane
        handles, names = wanted.get_legend_handles_labels()
        self.fig.legend(
            handles, names, loc="lower left", bbox_to_anchor=(0.02, 0.0), ncols=min(6, len(names)), fontsize=8,
            frameon=False, columnspacing=1, handletextpad=0.2,
        )  # fmt: skip

    def _points(self, ax: "Axes", points: Tensor, title: str) -> list[Any]:
        from matplotlib.patches import Circle

        ax.add_patch(Circle((0, 0), 1, fill=False, color="0.8"))
        drawn = []
        for number, group in enumerate(self.toy.groups.unique().tolist()):
            look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            mine = points[self.toy.groups == group]
            drawn.append(
                ax.scatter(*mine.T, s=34, edgecolors="white", linewidths=0.5, label=f"group {number + 1}", zorder=3, **look)
            )
        ax.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
        ax.set_title(title, fontsize=9)
        ax.axis("off")
        return drawn

    def update(self, name: str, temperature: float, point: int) -> str:
        """Moves points, arrows and curve to the toy's state, and describes the picture."""
        if name not in self.toy.losses:
            raise BadInput(f"The toy has no loss {name!r}: choose {', '.join(self.toy.losses)}.")
        if not 0 <= point < len(self.toy.angle):
            raise BadInput(f"The toy has no point {point}: choose 0 to {len(self.toy.angle) - 1}.")
        places = _circle(self.toy.angle).numpy()
        for drawn, group in zip(self.students, self.toy.groups.unique(), strict=True):
            drawn.set_offsets(places[self.toy.groups == group])
        loss, pull = self.toy.pull(name, temperature)
        strongest = float(np.abs(pull).max())
        along_circle = np.stack([-places[:, 1], places[:, 0]], axis=1)  # anticlockwise
        tips = places + along_circle * (pull / max(strongest, 1e-12) * LONGEST)[:, None]
        for arrow, tail, tip, size in zip(self.arrows, places, tips, np.abs(pull), strict=True):
            arrow.set_positions(tail, tip)
            arrow.set_visible(bool(size > 0.03 * strongest))
        turns, losses = self.toy.round_trip(name, temperature, point)
        self.curve.set_data(turns, losses)
        self.here.set_data([np.rad2deg(float(self.toy.angle[point])) % 360], [loss])
        low, high = min(losses.min(), loss), max(losses.max(), loss)
        room = 0.06 * (high - low) or 1e-3
        self.along.set_ylim(low - room, high + room)
        self.ring.set_data(*places[point, :, None])
        self.other_ring.set_data(*self.plane[point, :, None].numpy())
        self._say(name, temperature, point, loss, pull)
        return (
            f"Three panels: {len(places)} points of the teacher on a circle, those of the student with an arrow for the pull "
            f"on each, and the loss while one point goes round. {self.state}"
        )

    def _say(self, name: str, temperature: float, point: int, loss: float, pull: np.ndarray) -> None:
        at = f" at temperature {temperature:g}" if self.toy.takes_temperature(name) else ""
        weak = abs(pull[point]) <= 0.03 * float(np.abs(pull).max())
        way = "not pulled" if weak else "pulled anticlockwise" if pull[point] > 0 else "pulled clockwise"
        group = int((self.toy.groups.unique() == self.toy.groups[point]).nonzero()) + 1
        self.state = (
            f"Loss {name}{at}: {loss:.4f}. Point {point + 1} of group {group} is at {self.toy.degrees(point)} degrees, {way}; "
            f"the strongest pull is on point {int(np.abs(pull).argmax()) + 1}."
        )

    def picture(self) -> Image.Image:
        """What the canvas shows now."""
        self.canvas.draw()
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")


def _circle(angle: Tensor) -> Tensor:
    """Points of the unit circle: [B] radians -> [B, 2]."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)
