"""The tables of the study as data frames, printed alike in README, docs and notebooks.

Every table takes the runs of the store, see `runs.read`. Figures are medium mAP, in percent or in points, with intervals of
95 % over seeds and queries.
"""

from study.tables.gains import (
    assisted,
    choices,
    claims,
    controls,
    explored,
    front,
    mixed_by_size,
    primary,
    search_in,
    spent,
    targets,
    validated,
    verdict,
)
from study.tables.scores import (
    by_queries,
    by_size,
    curves,
    intervals,
    larger,
    levels,
    made,
    students,
)

__all__ = [
    "assisted",
    "by_queries",
    "by_size",
    "choices",
    "claims",
    "controls",
    "curves",
    "explored",
    "front",
    "intervals",
    "larger",
    "levels",
    "made",
    "mixed_by_size",
    "primary",
    "search_in",
    "spent",
    "students",
    "targets",
    "validated",
    "verdict",
]
