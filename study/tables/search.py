"""Tables of the search: what settings reached on the seed that chooses."""

from __future__ import annotations

import pandas

from study.compare import searched
from study.search import COURSE, TUNING_SEED
from study.settings import differences


def temperatures(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The search that chose for the student of the course: temperature by learning rate and start weight.

    Args:
        runs: of the store.

    Returns:
        Medium mAP in percent, a column for each temperature; learning rate and start weight are the index.
    """
    rows = []
    known = {"regression_weight", "lr", "start_weight", "loss_settings"}
    for row in searched(runs).itertuples():
        own = row.settings
        if row.seed == TUNING_SEED and set(differences(own, COURSE)) <= known and not own.regression_weight:
            at = own.loss_settings.get("temperature", 0.04)
            rows.append((own.training.lr, own.training.start_weight, at, 100 * row.medium))
    found = pandas.DataFrame(rows, columns=["learning rate", "start weight", "temperature", "medium"])
    return found.pivot(index=["learning rate", "start weight"], columns="temperature", values="medium")
