"""Maps: descriptors laid out in the plane by UMAP."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import COLOURS, GREY, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 5  # descriptors below which there is no neighbourhood to draw


def umap_map(descriptors: Any, seed: int = 0, neighbours: int = 15, min_dist: float = 0.1) -> np.ndarray:
    """Places in the plane for descriptors, so that those similar by cosine lie together.

    The same seed gives the same map on the same machine, not on every machine. Only neighbourhoods carry meaning: distances
    between groups, directions and axes carry none.

    Args:
        descriptors: [N, D], L2-normalised, at least five.
        seed: decides between maps that are equally good.
        neighbours: how many nearest descriptors each keeps near.
        min_dist: how tightly points may be packed, in units of the map.

    Returns:
        float32 [N, 2].

    Raises:
        BadInput: fewer than five descriptors, fewer than two neighbours, or unusable descriptors.

    Source: McInnes, Healy and Melville, UMAP, 2018.
    """
    values = check_descriptors(descriptors, "descriptors of the map").detach().cpu().numpy()
    if len(values) < FEWEST or neighbours < 2:
        raise BadInput(
            f"A map of {len(values)} descriptors with {neighbours} neighbours each cannot be drawn: "
            f"give at least {FEWEST} descriptors and 2 neighbours."
        )
    if "umap" not in sys.modules:
        print(f"Laying out {len(values)} descriptors with UMAP; its first call compiles for about 10 s.")
    with warnings.catch_warnings():
        # Any seed makes UMAP warn that it gives up parallelism, which is what a seed is for.
        warnings.filterwarnings("ignore", message=".*n_jobs value .* overridden to 1.*")
        warnings.filterwarnings("ignore", message=".*k >= N.*")  # UMAP copes with a tiny map in another way
        from umap import UMAP

        threads = torch.get_num_threads()
        layout = UMAP(
            n_neighbors=min(neighbours, len(values) - 1),
            min_dist=min_dist,
            metric="cosine",
            random_state=seed,
            init="spectral" if len(values) > 4 * FEWEST else "random",
        )
        try:
            return np.asarray(layout.fit_transform(values), np.float32)
        finally:
            torch.set_num_threads(threads)  # numba's threads, which UMAP sets, may be torch's as well


def map_figure(
    points: np.ndarray | Mapping[str, np.ndarray],
    groups: Sequence[Any] | np.ndarray | torch.Tensor,
    background: str | None = None,
    alt: str | None = None,
) -> "Figure":
    """Points in the plane, each group with a colour and a marker of its own.

    Args:
        points: one map [N, 2], or several by their titles, drawn side by side with the same groups.
        groups: [N] names or numbers.
        background: the group, such as the mixtures, that is drawn small and grey below the others.
        alt: the figure's description; without it, one is made from what it shows.

    Returns:
        The figure.

    Raises:
        BadInput: a map that does not have one point for each group.
    """
    from matplotlib.figure import Figure

    panels = dict(points) if isinstance(points, Mapping) else {"": points}
    labels = np.asarray([str(group) for group in np.asarray(groups)])
    for title, places in panels.items():
        if np.ndim(places) != 2 or np.shape(places) != (len(labels), 2):
            raise BadInput(
                f"The map {title!r} has the shape {list(np.shape(places))} for {len(labels)} groups: "
                "give one point [x, y] and one group for each row."
            )
    names = list(dict.fromkeys(labels.tolist()))
    fig = Figure(figsize=(3.6 * len(panels), 3.9), layout="constrained")
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, places) in zip(axes, panels.items(), strict=True):
        _scatter(ax, np.asarray(places), labels, names, background)
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
        ax.set_aspect("equal", adjustable="datalim")
        for spine in ax.spines.values():
            spine.set(visible=True, color="0.8")
    if len(names) <= 12:
        handles, texts = axes[0].get_legend_handles_labels()
        fig.legend(handles, texts, loc="outside lower center", ncols=min(len(names), 6), fontsize=8, frameon=False)
    said = f", titled {' and '.join(panels)}" if len(panels) > 1 else ""
    maps = "A map" if len(panels) == 1 else f"{len(panels)} maps"
    fig.set_label(alt or f"{maps} of {len(labels)} descriptors in {len(names)} groups{said}.")
    return fig


def _scatter(ax: "Axes", places: np.ndarray, labels: np.ndarray, names: list[str], background: str | None) -> None:
    """Draws each group of points; the background first, small and grey."""
    if background in names:
        x, y = places[labels == background].T
        ax.scatter(x, y, s=7, color=GREY, marker="o", linewidths=0, label=background)
    for number, name in enumerate(name for name in names if name != background):
        x, y = places[labels == name].T
        ax.scatter(
            x,
            y,
            s=26,
            color=COLOURS[number % len(COLOURS)],
            # There is one marker more than colours, so that groups of one colour differ by it.
            marker=MARKERS[number % len(MARKERS)],
            edgecolors="white",
            linewidths=0.4,
            label=name,
        )
