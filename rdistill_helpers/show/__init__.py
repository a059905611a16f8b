"""Figures, diagrams, maps, widgets and the doctor of the environment. May look at everything; nothing imports it."""

from rdistill_helpers.show import check
from rdistill_helpers.show.diagrams import (
    course_map,
    joint_space_diagram,
    ledger_diagram,
    mixture_diagram,
    protocol_diagram,
)
from rdistill_helpers.show.doctor import doctor
from rdistill_helpers.show.figures import (
    filmstrip,
    history_plot,
    image_grid,
    outcomes,
    protocol_examples,
    ranked_list,
    scores_plot,
)
from rdistill_helpers.show.maps import map_figure, umap_map
from rdistill_helpers.show.study_figures import choice_figure, efficiency_plot, gain_map, seed_gains
from rdistill_helpers.show.style import PALETTE, show_figure, use_style
from rdistill_helpers.show.toy import toy_figure
from rdistill_helpers.show.widgets import (
    lambda_slider,
    loss_explorer,
    map_explorer,
    nearest_to_mixtures,
    protocol_explorer,
)

__all__ = [
    "PALETTE",
    "check",
    "choice_figure",
    "course_map",
    "doctor",
    "efficiency_plot",
    "filmstrip",
    "gain_map",
    "history_plot",
    "image_grid",
    "joint_space_diagram",
    "lambda_slider",
    "ledger_diagram",
    "loss_explorer",
    "map_explorer",
    "map_figure",
    "mixture_diagram",
    "nearest_to_mixtures",
    "outcomes",
    "protocol_diagram",
    "protocol_examples",
    "protocol_explorer",
    "ranked_list",
    "scores_plot",
    "seed_gains",
    "show_figure",
    "toy_figure",
    "umap_map",
    "use_style",
]
