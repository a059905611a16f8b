"""Stage 3, distil: a student learns to rank as the teacher does, from the teacher's descriptors alone."""

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.baselines import Pairs, train_on_pairs, train_supervised
from rdistill_helpers.distil.batches import class_batches, hard_negatives, teacher_neighbours, tuple_batches
from rdistill_helpers.distil.choose import cluster_centres, k_centre
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.interpolate import JointSpace, draw_mixtures, interpolate, joint_space, mix, mix_maps
from rdistill_helpers.distil.loop import fit
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.distil.views import KeptMaps, Photographs

__all__ = [
    "History",
    "JointSpace",
    "KeptMaps",
    "Mixtures",
    "Pairs",
    "Photographs",
    "Training",
    "augmented",
    "class_batches",
    "cluster_centres",
    "distill",
    "draw_mixtures",
    "fit",
    "hard_negatives",
    "interpolate",
    "joint_space",
    "k_centre",
    "losses",
    "mix",
    "mix_maps",
    "teacher_neighbours",
    "train_on_pairs",
    "train_supervised",
    "tuple_batches",
]
