"""Charts of a training, and the style of all figures. Nothing else of the package imports them."""

from rdistill_helpers.plots.charts import history_plot
from rdistill_helpers.plots.style import PALETTE, show_figure, use_style

__all__ = [
    "PALETTE",
    "history_plot",
    "show_figure",
    "use_style",
]
