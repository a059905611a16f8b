"""A slider over the mixing weight: which photographs lie nearest to the mixture of two."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from rdistill_course.widgets.parts import column, img, keys, said, view
from rdistill_course.widgets.photographs import Place, sheet, tile_of
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil.interpolate import mix
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots.style import PALETTE

if TYPE_CHECKING:
    import ipywidgets


def nearest_to_mixtures(rows: Tensor, pair: tuple[int, int], weights: Tensor, k: int = 3) -> Tensor:
    """The k rows most similar to each mixture weight * first + (1 - weight) * second: int64 [W, k], nearest first.

    rows: [N, D] L2-normalised; pair: the two mixed rows, which are left out of the result, for near its ends a mixture is
    always nearest to them; weights: [W], lambda of the first. k is at most N - 2.
    """
    rows = check_descriptors(rows, "rows")
    first, second = pair
    if not (0 <= first < len(rows) and 0 <= second < len(rows)) or first == second:
        raise BadInput(f"Rows {first} and {second} cannot be mixed: give two different rows from 0 to {len(rows) - 1}.")
    if not 1 <= k <= len(rows) - 2:
        raise BadInput(f"There are no {k} neighbours among {len(rows)} rows without the mixed two: give less.")
    mixtures = mix(rows, torch.tensor([pair]).expand(len(weights), 2), weights)
    similarity = mixtures @ rows.T
    similarity[:, list(pair)] = -torch.inf
    return similarity.topk(k, dim=1).indices


def lambda_slider(
    spaces: Mapping[str, Tensor],
    image: Callable[[int], Image.Image],
    pair: tuple[int, int],
    k: int = 5,
    steps: int = 21,
) -> "ipywidgets.VBox":
    """A slider over lambda: the k photographs nearest to the mixture of two, one row for each space.

    spaces: descriptors [N, D] by name, such as {"teacher": ..., "student": ...}, of the same N photographs; image(i) gives
    photograph i, as `benchmark.image` does; pair: positions of the two mixed photographs. All `steps` pictures are made
    beforehand, so that moving the slider costs nothing. The widget's children are slider, picture, words and keys.
    """
    import ipywidgets

    if not spaces or steps < 2:
        raise BadInput(
            f"A slider over {len(spaces)} spaces in {steps} steps is none: give a space and two steps or more."
        )
    weights = torch.linspace(0, 1, steps)
    found = {name: nearest_to_mixtures(rows, pair, weights, k).tolist() for name, rows in spaces.items()}
    tile = lru_cache(maxsize=None)(lambda i: tile_of(image(i)))
    ends = (("first (weight 1)", tile(pair[0])), ("second (weight 0)", tile(pair[1])))

    def words(step: int) -> str:
        parts = [f"{name}: photographs {', '.join(map(str, rows[step]))}" for name, rows in found.items()]
        mixture = f"λ = {weights[step]:.2f} of photograph {pair[0]}, the rest of photograph {pair[1]}"
        return f"{mixture}. Nearest: {'; '.join(parts)}."

    def picture(step: int) -> str:
        lines: list[list[Place | None]] = [
            [(f"{name} {place}", tile(i), None) for place, i in enumerate(by_step[step], 1)]
            for name, by_step in found.items()
        ]
        for number, (caption, end) in enumerate(ends):
            lines[0].insert(number, (caption, end, PALETTE["blue"]))
            for line in lines[1:]:
                line.insert(number, None)
        return img(sheet(lines), f"The two mixed photographs and those nearest to their mixture. {words(step)}")

    pictures, texts = [picture(step) for step in range(steps)], [said(words(step)) for step in range(steps)]
    slider = ipywidgets.SelectionSlider(
        options=[(f"{weight:.2f}", step) for step, weight in enumerate(weights.tolist())],
        value=steps // 2,
        description="λ (weight of the first photograph)",
        style={"description_width": "initial"},
        layout={"width": "480px"},
    )
    shown, text = view(pictures[slider.value]), view(texts[slider.value])

    def show(change: dict[str, Any]) -> None:
        shown.value, text.value = pictures[change["new"]], texts[change["new"]]

    slider.observe(show, names="value")
    return column([slider, shown, text, keys("slider")])
