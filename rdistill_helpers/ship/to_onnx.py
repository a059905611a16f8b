"""A student as an ONNX file: photographs in, L2-normalised descriptors out, everything between them inside of the graph."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers.embed.backbones import unwrapped
from rdistill_helpers.embed.extract import Photo, check_photos
from rdistill_helpers.embed.folding import folded
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.embed.pooling import GeM
from rdistill_helpers.embed.sizes import least_side
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import written_whole
from rdistill_helpers.ship.digest import network_digest
from rdistill_helpers.ship.extra import needed
from rdistill_helpers.ship.int8 import LEAST_PHOTOGRAPHS, quantised
from rdistill_helpers.ship.onnx_student import INPUT, OUTPUTS, session_of

OPSET = 18  # of ONNX: what onnxruntime understands since 1.14, in browsers as well
SAME_DESCRIPTOR = 1e-4  # what numbers of a descriptor may differ by from PyTorch's
SAME = "Conv2dSame"  # timm's: it pads by its input's size, as auto_pad=SAME_UPPER of ONNX does


def export(
    student: nn.Module,
    path: str | Path,
    size: tuple[int, int] = (120, 160),
    projection: nn.Linear | None = None,
    int8: Tensor | Sequence[Photo] | None = None,
    progress: bool = True,
) -> Path:
    """Write a student as an ONNX file for `OnnxStudent`, for onnxruntime in any language and for a browser.

    Its input `images` is float32 [B, 3, H, W], RGB in [0, 1], of any number and size; enlargement, padding of small images and
    normalisation are part of the graph. Its output `descriptors` is [B, dim]. The file's metadata say which student it is.

    Args:
        student: a RetrievalNet.
        path: the file to write; its folder is made.
        size: height and width of usual photographs in pixels, kept in the metadata; other sizes work as well.
        projection: from the student's to the teacher's dimension, as `distill` trained it; adds the output `projected`, to be
            compared with descriptors of the teacher.
        int8: photographs to calibrate with, uint8 [N, 3, H, W] or a sequence of images and paths, without labels: weights and
            maps become 8-bit numbers; None keeps float32.
        progress: whether to show a progress bar of the calibration.

    Returns:
        The path.

    Raises:
        BadInput: another kind of network, a projection or size that does not fit, a network that cannot be written as ONNX, too
            few photographs, int8 of a network without convolutions, such as a ViT, or a file that cannot be written.
        InUse: another process is writing the file.
    """
    needed("onnx")  # whichever is missing is said before any work
    needed("onnxruntime")
    needed("onnxscript")  # torch.onnx.export writes with it
    net = unwrapped(student)
    if not isinstance(net, RetrievalNet):
        raise BadInput(
            f"export writes a RetrievalNet, not {type(net).__name__}: give the student that distill returned."
        )
    if min(size) < 1:
        raise BadInput(
            f"Photographs of {size[0]} x {size[1]} pixels are not usable: give a height and width in pixels."
        )
    if projection is not None and projection.in_features != net.dim:
        takes = f"{projection.in_features} numbers, the student gives {net.dim}"
        raise BadInput(f"The projection takes {takes}: give the one that was trained with this student.")
    if int8 is not None:
        check_photos(int8, "int8 calibration takes", "calibrate with")
        if len(int8) < LEAST_PHOTOGRAPHS:
            got = f"{len(int8)} photographs show too little of what maps hold"
            raise BadInput(f"{got}: give at least {LEAST_PHOTOGRAPHS} for int8, such as the training photographs.")
        if sum(isinstance(module, nn.Conv2d) for module in net.modules()) < 2:
            raise BadInput(f"{net.backbone} has hardly a convolution, and nothing else becomes int8: give int8=None.")
    modes = [(module, module.training) for module in net.modules()]
    try:
        model = _graph(folded(net.eval()), projection, size)
    finally:
        for module, training in modes:
            module.training = training
    path = Path(path)
    with written_whole(path) as unfinished:
        if int8 is not None:
            model = quantised(model, int8, progress)
        told = metadata(net, projection, size, "float32" if int8 is None else "int8")
        unfinished.write_bytes(_labelled(model, told))
    return path


def metadata(net: RetrievalNet, projection: nn.Linear | None, size: tuple[int, int], precision: str) -> dict[str, str]:
    """What an ONNX file says of the student in it.

    Args:
        net: the student.
        projection: as in `export`.
        size: as in `export`.
        precision: "float32" or "int8".

    Returns:
        Texts by name; see `network_digest` for the digest.
    """
    told: dict[str, Any] = {
        "rdistill": version("rdistill"), "backbone": net.backbone, "pooling": net.pooling, "dim": net.dim,
        "scale": net.scale, "height": size[0], "width": size[1], "precision": precision, "digest": network_digest(net),
        "projected_dim": 0 if projection is None else projection.out_features,
        # what descriptors of several image scales are averaged by, see `multi_scale`
        "power": net.pool.p.item() if isinstance(net.pool, GeM) and net.whiten is None else 1.0,
    }  # fmt: skip
    return {name: str(value) for name, value in told.items()}


class _Graph(nn.Module):
    """The forward pass of a RetrievalNet for sizes that are not known when it is traced."""

    def __init__(self, net: RetrievalNet, projection: nn.Linear | None) -> None:
        super().__init__()
        self.net, self.projection = net, projection
        self.least = least_side(net.backbone, net.features)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.net.scale != 1:
            images = F.interpolate(images, scale_factor=self.net.scale, mode="bilinear", align_corners=False)
        # As `padded` does, which asks for the size of the images where this leaves the question to the graph.
        lacking: list[Any] = [torch.sym_max(0, self.least - images.shape[dim]) for dim in (3, 2)]
        images = F.pad(images, [part for more in lacking for part in (more // 2, more - more // 2)], "replicate")
        rows = self.net.describe_maps((images - self.net.mean) / self.net.std, 0)
        return rows if self.projection is None else (rows, F.normalize(self.projection(rows), dim=1))


def _graph(net: Any, projection: nn.Linear | None, size: tuple[int, int]) -> Any:
    """A float32 model of the onnx package."""
    graph = copy.deepcopy(_Graph(net, projection)).cpu().eval()
    free = torch.export.Dim.DYNAMIC
    same = [name for name, module in graph.named_modules() if type(module).__name__ == SAME]
    for name in same:
        _pad_by_number(graph, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            program = torch.onnx.export(
                graph, (torch.zeros(2, 3, *size),), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=[INPUT], output_names=OUTPUTS[: 1 if projection is None else 2],
                dynamic_shapes=({0: free, 2: free, 3: free},),
            )  # fmt: skip
    except Exception as error:  # of what cannot be traced or written, the exporter raises a dozen kinds
        raise _not_written(net, " ".join(str(error).split())[:200]) from error
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1].removesuffix(".weight") in same:
            kept = [part for part in node.attribute if part.name not in ("auto_pad", "pads")]
            del node.attribute[:]
            node.attribute.extend([*kept, needed("onnx").helper.make_attribute("auto_pad", "SAME_UPPER")])
    _compare(net, model, size)
    return model


@torch.no_grad()
def _compare(net: Any, model: Any, size: tuple[int, int]) -> None:
    """Refuse a graph that gives other descriptors than the network: tracing can take what hangs on a size for a constant."""
    session = session_of(model.SerializeToString(), 1)
    generator = torch.Generator().manual_seed(0)
    for height, width in (size, size[::-1], (size[0] + 37, 3 * size[1] // 2)):
        images = torch.rand(1, 3, height, width, generator=generator)
        try:
            found = torch.from_numpy(session.run([OUTPUTS[0]], {INPUT: images.numpy()})[0])
        except Exception as error:  # of onnxruntime, which has no class for it
            raise _not_written(net, "it holds for some sizes of photographs only") from error
        difference = float((found - net(images.to(net.mean.device)).cpu()).abs().max())
        if not difference <= SAME_DESCRIPTOR:
            raise _not_written(net, f"its descriptors would differ by {difference:.2g}")


def _not_written(net: Any, reason: str) -> BadInput:
    return BadInput(f"{net.backbone} with {net.pooling} pooling cannot be written as ONNX ({reason}): export another.")


def _pad_by_number(graph: nn.Module, name: str) -> None:
    """Put a plain convolution in the place of one that pads by its input's size.

    Its maps have the same size; sizes worked out from sizes, layer after layer, would take the exporter minutes.
    """
    old: Any = graph.get_submodule(name)
    padding = tuple((side - 1) * step // 2 for side, step in zip(old.kernel_size, old.dilation, strict=True))
    plain = nn.Conv2d(
        old.in_channels, old.out_channels, old.kernel_size, old.stride, padding, old.dilation, old.groups, old.bias is not None
    )  # fmt: skip
    plain.weight, plain.bias = old.weight, old.bias
    parent, _, last = name.rpartition(".")
    setattr(graph.get_submodule(parent), last, plain)


def _labelled(model: Any, told: dict[str, str]) -> bytes:
    """An ONNX file with metadata, and without what tracing left in it: names of source files and lines."""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del part.metadata_props[:]
    needed("onnx").helper.set_model_props(model, told)
    labelled: bytes = model.SerializeToString()
    return labelled
