"""Charts of a training and of scores, each with a description as its label."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rdistill_helpers.distil.history import History
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import COLOURS, LINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def history_plot(
    histories: Mapping[str, History],
    window: int = 25,
    log: bool = False,
    colours: Sequence[str] = COLOURS,
    alt: str | None = None,
) -> "Figure":
    """Loss against step of several trainings: every step faintly, a running mean in full colour.

    Args:
        histories: by the name in the key.
        window: steps of the running mean.
        log: draw losses on a logarithmic axis, for trainings whose losses have different scales.
        colours: of the histories, in their order; they begin again where there are fewer.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: no history, or one without a step.
    """
    from matplotlib.figure import Figure

    if not histories or any(not history.loss for history in histories.values()):
        raise BadInput("There is no loss to draw: give at least one history, each of at least one step.")
    fig = Figure(figsize=(7.0, 3.6), layout="constrained")
    ax = fig.subplots()
    for number, (name, history) in enumerate(histories.items()):
        colour, line = colours[number % len(colours)], LINES[number % len(LINES)]
        loss, wide = np.asarray(history.loss, np.float64), min(window, len(history.loss))
        mean = np.convolve(loss, np.full(wide, 1 / wide), mode="valid")
        ax.plot(history.step, loss, color=colour, linestyle="-", linewidth=0.6, alpha=0.3)
        ax.plot(history.step[wide - 1 :], mean, color=colour, linestyle=line, label=name)
    ax.set(xlabel="step", ylabel="loss", yscale="log" if log else "linear")
    ax.legend(title=f"mean of {window} steps", frameon=False)
    ends = "; ".join(f"{name} from {h.loss[0]:.3g} to {h.loss[-1]:.3g}" for name, h in histories.items())
    fig.set_label(alt or f"Loss against training step: {ends}.")
    return fig
