"""Figures and their style. Nothing else of the package imports them."""

from rdistill_helpers.plots.charts import history_plot
from rdistill_helpers.plots.photographs import image_grid, outcomes, ranked_list
from rdistill_helpers.plots.style import PALETTE, show_figure, use_style

__all__ = [
    "PALETTE",
    "history_plot",
    "image_grid",
    "outcomes",
    "ranked_list",
    "show_figure",
    "use_style",
]
