"""Charts of a training, and the colours of all figures. Nothing else of the package imports them."""

from rdistill_helpers.plots.charts import history_plot
from rdistill_helpers.plots.style import PALETTE

__all__ = ["PALETTE", "history_plot"]
