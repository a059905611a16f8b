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
    from matplotlib.figure import Figure

FEWEST = 5  # rows below which there is no neighbourhood to draw


def umap_map(rows: Any, seed: int = 0, neighbours: int = 15, min_dist: float = 0.1) -> np.ndarray:
    """Places in the plane for descriptors [N, D], so that those similar by cosine lie together: float32 [N, 2].

    neighbours: how many nearest rows each keeps near; min_dist: how tightly they may be packed. The same seed gives the
    same map on the same machine, not on every machine. Only neighbourhoods carry meaning: distances between groups,
    directions and axes carry none. Source: McInnes, Healy and Melville, UMAP, 2018.
    Raises BadInput for fewer than five rows or unusable ones.
    """
    values = check_descriptors(rows, "rows of the map").detach().cpu().numpy()
    if len(values) < FEWEST or neighbours < 2:
        raise BadInput(
            f"A map of {len(values)} rows with {neighbours} neighbours each cannot be drawn: "
            f"give at least {FEWEST} rows and 2 neighbours."
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
    """Points [N, 2] in the plane, each group with a colour and a marker of its own.

    points: one map, or several by their titles, drawn side by side with the same groups. groups: [N] names or numbers.
    background: the group, such as the mixtures, drawn small and grey below the others.
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
    shown = [name for name in names if name != background]
    fig = Figure(figsize=(3.6 * len(panels), 3.9), layout="constrained")
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, places) in zip(axes, panels.items(), strict=True):
        if background in names:
            chosen = labels == background
            ax.scatter(*np.asarray(places)[chosen].T, s=7, color=GREY, marker="o", linewidths=0, label=background)
        for number, name in enumerate(shown):
            chosen = labels == name
            ax.scatter(
                *np.asarray(places)[chosen].T,
                s=26,
                color=COLOURS[number % len(COLOURS)],
                # Colours repeat after eight groups; from there on another marker tells a group from its namesake.
                marker=MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
                edgecolors="white",
                linewidths=0.4,
                label=name,
            )
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
