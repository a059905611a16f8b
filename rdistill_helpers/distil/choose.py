"""Which photographs to pay the teacher for, when there are more of them than queries.

Nothing here asks the teacher: the choice is made on descriptors that cost nothing, such as those of the untrained student.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput


def k_centre(rows: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose rows so that no row is far from its nearest chosen one.

    The first is random; each next one is the row that is furthest from all chosen so far. The largest distance that is left is
    at most twice the smallest possible. Every prefix is the choice for a smaller budget.

    Args:
        rows: [N, D], L2-normalised.
        count: how many to choose.
        generator: where the draw comes from; None draws from the global state of torch.

    Returns:
        Positions int64 [count], in the order of choosing.

    Raises:
        BadInput: when there are fewer rows than `count`.

    Source:
        Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985; for choosing training images, Sener and
        Savarese, ICLR 2018.
    """
    rows = _checked(rows, count)
    chosen = [int(torch.randint(len(rows), (), generator=generator))]
    nearest = rows @ rows[chosen[0]]  # similarity of every row to the most similar chosen one
    for _ in range(count - 1):
        # A chosen row has similarity 1 up to rounding, which equal rows have too: it must not come again.
        nearest[chosen[-1]] = torch.inf
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, rows @ rows[chosen[-1]])
    return torch.tensor(chosen)


def cluster_centres(rows: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose the rows nearest to the centres of k-means clusters.

    Dense places get more of the budget than with `k_centre`, and no outlier is paid for.

    Args:
        rows: [N, D], L2-normalised.
        count: how many clusters.
        generator: where the seed of k-means comes from; None draws from the global state of torch.

    Returns:
        Positions int64 [count], ascending.

    Raises:
        BadInput: when there are fewer different rows than `count`.
    """
    from sklearn.cluster import KMeans

    rows = _checked(rows, count)
    if len(rows.unique(dim=0)) < count:
        raise BadInput(f"{count} clusters cannot be found among fewer different rows: ask for fewer.")
    seed = int(torch.randint(2**31, (), generator=generator))
    kmeans = KMeans(count, n_init=1, random_state=seed).fit(rows.numpy())
    distance = torch.cdist(torch.from_numpy(kmeans.cluster_centers_), rows)  # [count, N]
    own = torch.from_numpy(kmeans.labels_).long()[None] == torch.arange(count)[:, None]
    return distance.masked_fill(~own, torch.inf).argmin(1).sort().values


def _checked(rows: Tensor, count: int) -> Tensor:
    rows = check_descriptors(rows, "rows to choose from").detach().cpu()
    if not 1 <= count <= len(rows):
        raise BadInput(f"{count} photographs cannot be chosen from {len(rows)}: give a number from 1 to {len(rows)}.")
    return rows
