"""Static int8: weights and maps as 8-bit numbers, whose steps are set by the maps of some photographs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from rdistill_helpers.data.images import read_image, to_tensor
from rdistill_helpers.embed.extract import Photo
from rdistill_helpers.ship.extra import needed
from rdistill_helpers.ship.onnx_student import INPUT

LEAST_PHOTOGRAPHS = 16
# An activation has to be among them: alone, it would make the map in front of it a second set of steps.
QUANTISED = ["Conv", "Relu", "Clip", "Add", "MaxPool", "Concat"]


def quantised(model: Any, photographs: Tensor | Sequence[Photo], progress: bool) -> Any:
    """A float32 model in int8, by onnxruntime's quantiser: one step for each channel of a weight, one for each map.

    Only the convolutions and what lies between them change. Resizing and normalisation in front of them, pooling and whitening
    behind them stay float32: they hold few of the operations and lose most.

    Args:
        model: of the onnx package, with the input `images`.
        photographs: to calibrate with, uint8 [N, 3, H, W] or a sequence of images and paths.
        progress: whether to show a progress bar.

    Returns:
        Another model of the onnx package.
    """
    quantization, onnx = needed("onnxruntime.quantization"), needed("onnx")
    quantization.quant_utils.add_pre_process_metadata(model)  # or the quantiser warns: this graph is folded already
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantization.quantize_static(
            model, path, _Reader(photographs, progress), quantization.QuantFormat.QDQ, QUANTISED, per_channel=True,
            # 7 bits for weights: processors without instructions for products of 8 bits, such as VNNI, add two of them in 16
            # bits, which larger ones overflow.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=_between_convolutions(model), extra_options={"CalibStridedMinMax": 1},
        )  # fmt: skip
        return onnx.load(path)


def _between_convolutions(model: Any) -> list[str]:
    """Names of the nodes from the first convolution to the last, and of those right behind it that finish its map."""
    nodes = list(model.graph.node)
    places = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
    behind = itertools.takewhile(lambda node: node.op_type in QUANTISED, nodes[places[-1] + 1 :])
    inside = (node for node in nodes[places[0] : places[-1] + 1] if node.op_type in QUANTISED)
    return [node.name for node in (*inside, *behind)]


class _Reader:
    """Photographs, one after another, as the quantiser asks for them."""

    def __init__(self, photographs: Tensor | Sequence[Photo], progress: bool) -> None:
        self.photographs, self.range = photographs, iter(range(0))
        self.bar = tqdm(total=len(photographs), desc="calibration", unit="image", disable=not progress)

    def __len__(self) -> int:
        return len(self.photographs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The next photographs to read: all of them at once would keep all of their maps in memory."""
        self.range = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next photograph as the input of the graph."""
        number = next(self.range, None)
        if number is None:
            return None
        photo: Any = self.photographs[number]
        pixels = photo[None] if isinstance(photo, Tensor) else to_tensor([read_image(photo)])
        self.bar.update()
        return {INPUT: (pixels.to(torch.float32) / 255).numpy()}
