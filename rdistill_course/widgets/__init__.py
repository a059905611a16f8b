"""Things to move, for a running notebook: a mixing weight, a protocol, a loss on a toy, a point of a map, a search,
a quiz.

Each widget is a column of labelled controls, one picture with a description in words, the same state as text, and the
keys that move it. They answer at once because photographs are decoded once and pictures are drawn with Pillow, or on one
matplotlib canvas that is kept. They are dead on a page without a kernel: draw the static figure first, which is
`filmstrip`, `ranked_list`, `toy_figure`, `map_figure` and `found_figure`.
"""

from rdistill_course.widgets.losses import loss_explorer
from rdistill_course.widgets.map_points import map_explorer
from rdistill_course.widgets.mixing import lambda_slider, nearest_to_mixtures
from rdistill_course.widgets.protocols import protocol_explorer
from rdistill_course.widgets.quiz import quiz
from rdistill_course.widgets.search_page import search_page

__all__ = [
    "lambda_slider",
    "loss_explorer",
    "map_explorer",
    "nearest_to_mixtures",
    "protocol_explorer",
    "quiz",
    "search_page",
]
