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


def nearest_to_mixtures(descriptors: Tensor, pair: tuple[int, int], weights: Tensor, k: int = 3) -> Tensor:
    """The k descriptors most similar to each mixture weight * first + (1 - weight) * second.

    Args:
        descriptors: [N, D], L2-normalised.
        pair: positions of the two that are mixed. They are left out of the result: near its ends a mixture is always nearest to
            them.
        weights: [W], lambda of the first.
        k: how many, at most N - 2.

    Returns:
        int64 [W, k] positions, nearest first.

    Raises:
        BadInput: unusable descriptors, or a pair or a k that there is not.
    """
    descriptors = check_descriptors(descriptors, "descriptors")
    first, second = pair
    if not (0 <= first < len(descriptors) and 0 <= second < len(descriptors)) or first == second:
        raise BadInput(
            f"Descriptors {first} and {second} cannot be mixed: give two different ones from 0 to {len(descriptors) - 1}."
        )
    if not 1 <= k <= len(descriptors) - 2:
        raise BadInput(
            f"There are no {k} neighbours among {len(descriptors)} descriptors without the mixed two: give fewer."
        )
    mixtures = mix(descriptors, torch.tensor([pair]).expand(len(weights), 2), weights)
    similarity = mixtures @ descriptors.T
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

    All pictures are made beforehand, so that moving the slider costs nothing. The widget's children are slider, picture, words
    and keys.

    Args:
        spaces: descriptors [N, D] by name, such as {"teacher": ..., "student": ...}, of the same N photographs.
        image: gives photograph i, as `benchmark.image` does.
        pair: positions of the two mixed photographs.
        k: photographs in a row.
        steps: positions of the slider, at least two.

    Returns:
        The widget.

    Raises:
        BadInput: no space, fewer than two steps, or a pair or a k that there is not.
    """
    import ipywidgets

    if not spaces or steps < 2:
        raise BadInput(
            f"A slider over {len(spaces)} spaces in {steps} steps cannot be made: give a space and two steps or more."
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
    about = "Move lambda, and see which photographs lie nearest to the mixture of the two at the left, in a row for each space."
    return column([slider, shown, text, keys("slider")], about)
