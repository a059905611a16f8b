"""Things to move: a slider over the mixing weight, and an explorer of ranked lists.

Both draw one picture with Pillow, not with matplotlib, so that they answer at once, and say the same in words below it.
They are dead on a page without a kernel: draw the static figure first (`filmstrip`, `ranked_list`).
"""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil.interpolate import mix
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.report import PROTOCOLS, evaluate_ranking
from rdistill_helpers.show.figures import first_of_list, outcomes
from rdistill_helpers.show.style import MARKS, PALETTE

if TYPE_CHECKING:
    import ipywidgets

TILE = (160, 120)  # pixels of one photograph
GAP, CAPTION, FRAME = 8, 20, 4  # pixels
INK, PAPER = "#202020", "#FFFFFF"
Place = tuple[str, Image.Image, str | None]  # caption, tile, and the outcome or the colour that frames it


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
    beforehand, so that moving the slider costs nothing. The widget's children are slider, picture and words.
    """
    import ipywidgets

    if not spaces or steps < 2:
        raise BadInput(
            f"A slider over {len(spaces)} spaces in {steps} steps is none: give a space and two steps or more."
        )
    weights = torch.linspace(0, 1, steps)
    found = {name: nearest_to_mixtures(rows, pair, weights, k).tolist() for name, rows in spaces.items()}
    tile = lru_cache(maxsize=None)(lambda i: _tile(image(i)))
    ends = (("first (weight 1)", tile(pair[0])), ("second (weight 0)", tile(pair[1])))

    def picture(step: int) -> bytes:
        lines: list[list[Place | None]] = [
            [(f"{name} {place}", tile(i), None) for place, i in enumerate(by_step[step], 1)]
            for name, by_step in found.items()
        ]
        for number, (caption, end) in enumerate(ends):
            lines[0].insert(number, (caption, end, PALETTE["blue"]))
            for line in lines[1:]:
                line.insert(number, None)
        return _png(_compose(lines))

    def words(step: int) -> str:
        parts = [f"{name}: photographs {', '.join(map(str, rows[step]))}" for name, rows in found.items()]
        mixture = f"λ = {weights[step]:.2f} of photograph {pair[0]}, the rest of photograph {pair[1]}"
        return f"{mixture}. Nearest: {'; '.join(parts)}."

    pictures, texts = [picture(step) for step in range(steps)], [words(step) for step in range(steps)]
    slider = ipywidgets.SelectionSlider(
        options=[(f"{weight:.2f}", step) for step, weight in enumerate(weights.tolist())],
        value=steps // 2,
        description="λ (weight of the first photograph)",
        style={"description_width": "initial"},
        layout={"width": "480px"},
    )
    view = ipywidgets.Image(format="png", value=pictures[slider.value])
    text = ipywidgets.HTML(value=texts[slider.value])

    def show(change: dict[str, Any]) -> None:
        view.value, text.value = pictures[change["new"]], texts[change["new"]]

    slider.observe(show, names="value")
    return _column([slider, view, text])


def result_explorer(benchmark: Benchmark, ranking: Any, k: int = 10) -> "ipywidgets.VBox":
    """A slider over the queries and a switch of protocols: the first k results of each, framed by what they are.

    ranking: [Q, n] database positions, best first, as `search` gives them; the AP shown is that of these lists. The
    widget's children are the controls (slider and switch), picture and words.
    """
    import ipywidgets

    first_of_list(benchmark, 0, ranking, k)
    lists = np.asarray(ranking)
    report = evaluate_ranking(lists, benchmark)

    @lru_cache(maxsize=512)
    def tile(i: int) -> Image.Image:
        return _tile(benchmark.image(i))

    def picture(query: int, protocol: str) -> bytes:
        order = first_of_list(benchmark, query, lists, k)
        kinds = outcomes(benchmark, query, order, protocol)
        tiles = [(f"{place}", tile(i), kind) for place, (i, kind) in enumerate(zip(order, kinds, strict=True), 1)]
        half = -(-k // 2) if k > 6 else k
        lines: list[list[Place | None]] = [[("query", _query_tile(benchmark, query), PALETTE["blue"]), *tiles[:half]]]
        if tiles[half:]:
            lines.append([None, *tiles[half:]])
        return _png(_compose(lines))

    def words(query: int, protocol: str) -> str:
        ap = float(getattr(report, protocol).ap[query])
        said = "no positives under this protocol" if np.isnan(ap) else f"AP {100 * ap:.1f} %"
        kinds = outcomes(benchmark, query, first_of_list(benchmark, query, lists, k), protocol)
        listed = ", ".join(f"{place} {MARKS[kind].meaning}" for place, kind in enumerate(kinds, 1))
        return f"Query {query} ({benchmark.query_names[query]}), {protocol}: {said}. Results: {listed}."

    slider = ipywidgets.IntSlider(
        value=0, min=0, max=len(lists) - 1, description="Query", continuous_update=True, layout={"width": "420px"}
    )
    switch = ipywidgets.ToggleButtons(
        options=list(PROTOCOLS),
        value="medium",
        description="Protocol",
        tooltips=[f"positives: {' and '.join(positive)}" for positive, _ in PROTOCOLS.values()],
        style={"button_width": "80px"},
    )
    view = ipywidgets.Image(format="png", value=picture(0, "medium"))
    text = ipywidgets.HTML(value=words(0, "medium"))

    def show(_: dict[str, Any]) -> None:
        view.value, text.value = picture(slider.value, switch.value), words(slider.value, switch.value)

    slider.observe(show, names="value")
    switch.observe(show, names="value")
    return _column([ipywidgets.HBox([slider, switch]), view, text])


def _column(children: list[Any]) -> "ipywidgets.VBox":
    """The parts of a widget below each other; a page without a kernel shows its one sentence instead."""
    import ipywidgets

    class Column(ipywidgets.VBox):
        def __repr__(self) -> str:
            return "<a widget to move: run this notebook to see it>"

    return Column(children)


def _tile(image: Image.Image) -> Image.Image:
    """The photograph, fitted into a tile on a white ground."""
    image.draft("RGB", TILE)  # a large JPEG is decoded at an eighth of its size where that is enough
    small = image.convert("RGB")
    scale = min(TILE[0] / small.width, TILE[1] / small.height)
    small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    ground = Image.new("RGB", TILE, PAPER)
    ground.paste(small, ((TILE[0] - small.width) // 2, (TILE[1] - small.height) // 2))
    return ground


def _query_tile(benchmark: Benchmark, query: int) -> Image.Image:
    """The whole query photograph with its box."""
    full = benchmark.query(query, crop=False)
    tile = _tile(full)
    box = benchmark.ground_truth[query]["bbx"]
    if box is not None:
        scale = min(TILE[0] / full.width, TILE[1] / full.height)
        left, top = (TILE[0] - full.width * scale) / 2, (TILE[1] - full.height * scale) / 2
        x1, y1, x2, y2 = (float(value) * scale for value in box)
        place = (left + x1, top + y1, min(left + x2, TILE[0] - 1), min(top + y2, TILE[1] - 1))
        draw = ImageDraw.Draw(tile)
        draw.rectangle(place, outline=PAPER, width=4)
        draw.rectangle(place, outline=PALETTE["blue"], width=2)
    return tile


def _compose(lines: list[list[Place | None]]) -> Image.Image:
    """Rows of places; None leaves one empty."""
    width, height = TILE[0] + GAP + 2 * FRAME, TILE[1] + CAPTION + GAP + 2 * FRAME
    sheet = Image.new("RGB", (max(map(len, lines)) * width, len(lines) * height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, line in enumerate(lines):
        for column, place in enumerate(line):
            if place is None:
                continue
            caption, tile, kind = place
            x, y = column * width + GAP // 2, row * height
            draw.text((x + FRAME, y), caption, fill=INK, font=font)
            y += CAPTION
            sheet.paste(tile, (x + FRAME, y + FRAME))
            if kind is not None:
                colour = MARKS[kind].colour if kind in MARKS else kind
                box = (x, y, x + TILE[0] + 2 * FRAME - 1, y + TILE[1] + 2 * FRAME - 1)
                draw.rectangle(box, outline=colour, width=FRAME)
                if kind in MARKS:
                    _cut(draw, box, {"negative": 24, "ignored": 8}.get(kind))
                    _sign(draw, kind, x + TILE[0] + FRAME - 16, y - CAPTION + 2)
    return sheet


def _cut(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], dash: int | None) -> None:
    """Cuts gaps into a frame, so that it is dashed or dotted: outcomes differ by line as well as by colour."""
    if dash is None:
        return
    left, top, right, bottom = box
    for x in range(left + dash, right - dash // 2, 2 * dash):
        for y in (top, bottom - FRAME + 1):
            draw.rectangle((x, y, x + dash // 2, y + FRAME - 1), fill=PAPER)
    for y in range(top + dash, bottom - dash // 2, 2 * dash):
        for x in (left, right - FRAME + 1):
            draw.rectangle((x, y, x + FRAME - 1, y + dash // 2), fill=PAPER)


def _sign(draw: ImageDraw.ImageDraw, kind: str, x: int, y: int) -> None:
    """A tick, a cross or a bar, drawn with lines, as the default font lacks them."""
    strokes = {
        "positive": [(0, 8, 5, 13), (5, 13, 14, 1)],
        "negative": [(1, 1, 13, 13), (13, 1, 1, 13)],
        "ignored": [(1, 7, 13, 7)],
    }[kind]
    for x1, y1, x2, y2 in strokes:
        draw.line((x + x1, y + y1, x + x2, y + y2), fill=MARKS[kind].colour, width=3)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    # Level 1: a picture that is looked at once is not worth the time of a smaller file.
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
