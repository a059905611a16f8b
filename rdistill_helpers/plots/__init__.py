"""Figures, maps of descriptors and the style of both. Nothing else of the package imports them."""

from rdistill_helpers.plots.charts import history_plot
from rdistill_helpers.plots.maps import map_figure, umap_map
from rdistill_helpers.plots.photographs import image_grid, outcomes, ranked_list
from rdistill_helpers.plots.style import PALETTE, show_figure, use_style

__all__ = [
    "PALETTE",
    "history_plot",
    "image_grid",
    "map_figure",
    "outcomes",
    "ranked_list",
    "show_figure",
    "umap_map",
    "use_style",
]
