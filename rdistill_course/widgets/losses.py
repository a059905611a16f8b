"""An explorer of losses on the toy: choose a loss, move a point, follow the pulls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from rdistill_course.toy import SHARP, STEPS, Loss, Toy, ToyDrawing
from rdistill_course.widgets.parts import column, img, keys, said, slider, view

if TYPE_CHECKING:
    import ipywidgets

TEMPERATURES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.2, 0.5, 1.0)


def loss_explorer(teacher: Tensor, student: Tensor, groups: Tensor, losses: Mapping[str, Loss]) -> "ipywidgets.VBox":
    """Choose a loss and a temperature, move any point of the student along the circle, or let all of them follow the pull.

    The widget redraws the picture of `toy_figure`. Its children are the controls (loss; temperature, point and its direction;
    two buttons), picture, words and keys.

    Args:
        teacher: [B, D], L2-normalised.
        student: [B, 2], L2-normalised.
        groups: [B] whole numbers.
        losses: by name, each loss(student, teacher), with `temperature=` where it takes one.

    Returns:
        The widget.

    Raises:
        BadInput: points and groups that do not fit together.
    """
    import ipywidgets

    toy = Toy(teacher, student, groups, losses)
    drawing = ToyDrawing(toy)
    wide = {"description_width": "initial"}
    # Buttons, not a list to drop down: JupyterLab takes the up and down keys that such a list needs.
    name = ipywidgets.ToggleButtons(options=list(toy.losses), description="Loss", style={"button_width": "auto"})
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
    rows = [ipywidgets.HBox(row) for row in ([name], [heat, chosen, direction], [down, again])]
    for row in rows:
        row.layout.flex_flow = "row wrap"
    about = "Choose a loss, move a point of the student round the circle, or let all of them follow their pulls."
    return column([*rows, picture, words, keys("slider", "button")], about)
