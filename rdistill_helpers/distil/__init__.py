"""Stage 3, distil: a student learns to rank as the teacher does, from the teacher's descriptors alone."""

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.choose import cluster_centres, k_centre
from rdistill_helpers.distil.interpolate import JointSpace, interpolate, mix, mix_maps
from rdistill_helpers.distil.train import History, augmented, distill, fit, train_on_pairs, train_supervised
from rdistill_helpers.distil.tuples import class_batches, hard_negatives, teacher_neighbours, tuple_batches

__all__ = [
    "History",
    "JointSpace",
    "augmented",
    "class_batches",
    "cluster_centres",
    "distill",
    "fit",
    "hard_negatives",
    "interpolate",
    "k_centre",
    "losses",
    "mix",
    "mix_maps",
    "teacher_neighbours",
    "train_on_pairs",
    "train_supervised",
    "tuple_batches",
]
