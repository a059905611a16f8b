"""What only the notebooks use: exercise checks, widgets, diagrams, the doctor and the closing table of scores."""

from rdistill_course import checks as check
from rdistill_course.closing_table import format_scores, read_scores, score_row, write_scores
from rdistill_course.diagrams import (
    course_map,
    joint_space_diagram,
    ledger_diagram,
    mixture_diagram,
    protocol_diagram,
)
from rdistill_course.doctor import doctor
from rdistill_course.embeddings import descriptor_arrows, pooling_figure, separation_figure
from rdistill_course.pictures import filmstrip, protocol_examples, query_by_query, scores_plot
from rdistill_course.progress import course_progress
from rdistill_course.sets import course_set
from rdistill_course.shipping import found_figure, rounding_figure
from rdistill_course.toy import toy_figure
from rdistill_course.widgets import (
    lambda_slider,
    loss_explorer,
    map_explorer,
    nearest_to_mixtures,
    protocol_explorer,
    quiz,
    search_page,
)

__all__ = [
    "check",
    "course_map",
    "course_progress",
    "course_set",
    "descriptor_arrows",
    "doctor",
    "filmstrip",
    "format_scores",
    "found_figure",
    "joint_space_diagram",
    "lambda_slider",
    "ledger_diagram",
    "loss_explorer",
    "map_explorer",
    "mixture_diagram",
    "nearest_to_mixtures",
    "pooling_figure",
    "protocol_diagram",
    "protocol_examples",
    "protocol_explorer",
    "query_by_query",
    "quiz",
    "read_scores",
    "rounding_figure",
    "score_row",
    "scores_plot",
    "search_page",
    "separation_figure",
    "toy_figure",
    "write_scores",
]
