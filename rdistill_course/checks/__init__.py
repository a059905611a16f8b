"""Checks of the exercises, one function for each: prints [OK], or raises a `Hint` about the mistake; `hint` helps on."""

from rdistill_course.checks.embeddings import (
    gem_per_channel,
    only_the_teacher_finds,
    search_in_blocks,
    what_fits,
)
from rdistill_course.checks.few_images import corrected_together, paired_interval, photographs_needed
from rdistill_course.checks.hints import Hint
from rdistill_course.checks.interpolation import comparable, mixtures, similarity_to_mixture
from rdistill_course.checks.paying import answers_for_all, choose_more
from rdistill_course.checks.ranking_losses import listwise, mixed_similarities, predictions
from rdistill_course.checks.scoring import (
    average_precision,
    mean_precision,
    protocol_ranks,
    weighted_expansion,
)
from rdistill_course.checks.shipping import agreement, asymmetric_search, quantised_layer
from rdistill_course.checks.steps import hint
from rdistill_course.checks.training import batch, training_step, verdict

__all__ = [
    "Hint",
    "agreement",
    "answers_for_all",
    "asymmetric_search",
    "average_precision",
    "batch",
    "choose_more",
    "comparable",
    "corrected_together",
    "gem_per_channel",
    "hint",
    "listwise",
    "mean_precision",
    "mixed_similarities",
    "mixtures",
    "only_the_teacher_finds",
    "paired_interval",
    "photographs_needed",
    "predictions",
    "protocol_ranks",
    "quantised_layer",
    "search_in_blocks",
    "similarity_to_mixture",
    "training_step",
    "verdict",
    "weighted_expansion",
    "what_fits",
]
