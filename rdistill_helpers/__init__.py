"""Data-efficient ranking distillation for image retrieval: data -> embed -> distil -> score, and plots."""

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.folders import photographs
from rdistill_helpers.data.images import read_image, to_tensor
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.data.sfm import SfMImages
from rdistill_helpers.descriptors import check_descriptors, open_descriptors, save_descriptors
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.baselines import train_on_pairs, train_supervised
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.interpolate import JointSpace, interpolate
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.distil.tensorboard import TensorBoardLogger
from rdistill_helpers.embed.black_box import BlackBoxTeacher
from rdistill_helpers.embed.extract import extract, recommended_scales
from rdistill_helpers.embed.network import (
    RetrievalNet,
    imagenet_teacher,
    load_network,
    load_teacher,
    save_network,
    teacher_version,
)
from rdistill_helpers.embed.published import load_published, load_whitening
from rdistill_helpers.embed.to_file import extract_to_file
from rdistill_helpers.embed.whitening import LearnedWhitening, learn_whitening, pca_whitening
from rdistill_helpers.errors import (
    BadInput,
    BudgetExceeded,
    DataMissing,
    DownloadFailed,
    InUse,
    RDistillError,
    TeacherUnavailable,
)
from rdistill_helpers.fetch.download import download
from rdistill_helpers.score.expansion import augment_database, expand_queries
from rdistill_helpers.score.report import Report, evaluate, evaluate_ranking
from rdistill_helpers.score.search import build_index, recall, search

__all__ = [
    "BadInput",
    "Benchmark",
    "BlackBoxTeacher",
    "BudgetExceeded",
    "DataMissing",
    "DownloadFailed",
    "History",
    "InUse",
    "JointSpace",
    "LearnedWhitening",
    "Mixtures",
    "RDistillError",
    "Report",
    "RetrievalNet",
    "SfMImages",
    "TeacherUnavailable",
    "TensorBoardLogger",
    "Training",
    "TrainingImages",
    "augment_database",
    "build_index",
    "check_descriptors",
    "distill",
    "download",
    "evaluate",
    "evaluate_ranking",
    "expand_queries",
    "extract",
    "extract_to_file",
    "imagenet_teacher",
    "interpolate",
    "learn_whitening",
    "load_network",
    "load_published",
    "load_teacher",
    "load_whitening",
    "losses",
    "open_descriptors",
    "pca_whitening",
    "photographs",
    "read_image",
    "recall",
    "recommended_scales",
    "save_descriptors",
    "save_network",
    "search",
    "teacher_version",
    "to_tensor",
    "train_on_pairs",
    "train_supervised",
]
