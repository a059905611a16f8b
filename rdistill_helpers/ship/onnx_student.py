"""A student in an ONNX file, run by onnxruntime in the place of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdistill_helpers.embed.pooling import GeM
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.ship.extra import needed

INPUT, OUTPUTS = "images", ("descriptors", "projected")  # of the graph
TOLD = {
    "rdistill": str, "backbone": str, "pooling": str, "dim": int, "scale": float, "height": int, "width": int,
    "precision": str, "digest": str, "projected_dim": int, "power": float,
}  # fmt: skip


class OnnxStudent(nn.Module):
    """The student that `export` wrote; `extract`, `evaluate` and `search` take it like any network, on the processor.

    Args:
        path: the ONNX file.
        threads: that describe one batch; None takes as many as PyTorch does.
        projected: give the descriptors that the student's projection makes, to be compared with descriptors of the teacher.

    Attributes:
        path: of the file.
        dim: size of the descriptors.
        backbone: of the student.
        scale: by which the graph enlarges images.
        size: height and width of usual photographs, in pixels.
        precision: "float32" or "int8".
        digest: what `network_digest` says of the student that was exported, the same in both precisions.
        version: of the rdistill that wrote the file.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file is damaged, of another network, has no projection, or needs a newer onnxruntime.
    """

    # `extract` hands over pixels as they are: PyTorch's threads would get in the way of onnxruntime's.
    takes_bytes = True

    def __init__(self, path: str | Path, threads: int | None = None, projected: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        if threads is not None and threads < 1:
            raise BadInput(f"{threads} threads describe nothing: give 1 or more, or None for as many as PyTorch uses.")
        if not self.path.is_file():
            raise DataMissing(f"The network file {path} is not there: check the path.")
        try:
            # From its bytes: a file from anybody may name other files to read.
            self._session = session_of(self.path.read_bytes(), threads or torch.get_num_threads())
        except BadInput:  # the extra is missing
            raise
        except Exception as error:  # a damaged file, or one of a later opset, fails in any way
            reason = " ".join(str(error).split())[:200]
            advice = "get it again, or install a newer onnxruntime"
            raise BadInput(f"onnxruntime cannot run {path} ({reason}): {advice}.") from error
        told = self._session.get_modelmeta().custom_metadata_map
        try:
            found = {name: kind(told[name]) for name, kind in TOLD.items()}
            if self._session.get_inputs()[0].name != INPUT or found["projected_dim"] < 0 < found["dim"]:
                raise ValueError
        except (KeyError, ValueError) as error:
            advice = "write it with `python -m rdistill_helpers export`"
            raise BadInput(f"{self.path} does not say which student it holds: {advice}.") from error
        if projected and not found["projected_dim"]:
            raise BadInput(
                f"{self.path} has no projection to the teacher's space: export it with its projection (--projection)."
            )
        self._output = OUTPUTS[projected]
        self.dim: int = found["projected_dim" if projected else "dim"]
        self.backbone: str = found["backbone"]
        self.scale: float = found["scale"]
        self.size: tuple[int, int] = (found["height"], found["width"])
        self.precision: str = found["precision"]
        self.digest: str = found["digest"] + " projected" * projected
        self.version: str = found["rdistill"]
        if found["power"] != 1 and not projected:
            # `multi_scale` asks for it. No module of this one: there is nothing that moves to another device.
            vars(self)["pool"] = GeM(found["power"])

    def forward(self, images: Tensor) -> Tensor:
        """The descriptors of a batch of images.

        Args:
            images: float images [B, 3, H, W] in [0, 1], or uint8 pixels from 0 to 255.

        Returns:
            L2-normalised descriptors [B, dim].

        Raises:
            BadInput: images of another shape or type, or of a size that the network makes no descriptor of.
        """
        as_bytes = images.dtype == torch.uint8
        if images.ndim != 4 or images.shape[1] != 3 or not (as_bytes or images.is_floating_point()):
            got = f"{images.dtype} {list(images.shape)}"
            raise BadInput(f"A network takes float images [B, 3, H, W] in [0, 1], or uint8, not {got}: convert them.")
        pixels = (images if as_bytes else images.float()).detach().cpu().contiguous().numpy()
        if as_bytes:
            pixels = np.divide(pixels, 255, dtype=np.float32)
        try:
            return torch.from_numpy(self._session.run([self._output], {INPUT: pixels})[0])
        except Exception as error:  # of onnxruntime, which has no class for it
            size, reason = " x ".join(map(str, images.shape[2:])), " ".join(str(error).split())[:200]
            raise BadInput(f"{self.path} cannot describe images of {size} ({reason}): give larger ones.") from error


def session_of(content: bytes, threads: int) -> Any:
    """A graph, ready to run.

    Args:
        content: of an ONNX file.
        threads: that run one batch.

    Returns:
        The session of onnxruntime, on the processor.
    """
    onnxruntime = needed("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4  # what fails is raised; nothing of the library is to be printed as well
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
