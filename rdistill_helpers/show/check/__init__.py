"""Checks of the exercises, one function for each: prints [OK], or raises a `Hint` about the particular mistake."""

from rdistill_helpers.show.check.hints import Hint
from rdistill_helpers.show.check.interpolation import bill, comparable, similarity_to_mixture, three_parts
from rdistill_helpers.show.check.ranking_losses import gradient, listwise, mixed_similarities, predictions
from rdistill_helpers.show.check.training import batch, layer_cost, training_step, verdict

__all__ = [
    "Hint",
    "batch",
    "bill",
    "comparable",
    "gradient",
    "layer_cost",
    "listwise",
    "mixed_similarities",
    "predictions",
    "similarity_to_mixture",
    "three_parts",
    "training_step",
    "verdict",
]
