"""The shell command `export`."""

import argparse
from pathlib import Path

import torch

from rdistill_helpers.commands import ROOT
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.embed.network import load_network
from rdistill_helpers.errors import BadInput
from rdistill_helpers.ship.projection import load_projection
from rdistill_helpers.ship.to_onnx import export


def add_export(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `export`.

    Args:
        command: Its parser.
    """
    command.add_argument("student", type=Path, help="the .safetensors file that train or save_network wrote")
    command.add_argument("out", type=Path, help="the .onnx file to write")
    command.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), default=(120, 160),
        help="of usual photographs, for those who read the file; others work as well (default: 120 160)",
    )  # fmt: skip
    command.add_argument(
        "--projection", type=Path, metavar="FILE",
        help="projection.safetensors that train wrote beside the student: searches among the teacher's answers need it",
    )  # fmt: skip
    command.add_argument(
        "--int8", metavar="PHOTOS", help="write int8, calibrated on rooms or on a folder of photographs"
    )
    command.add_argument("--photographs", type=int, metavar="N", default=300, help="to calibrate with (default: 300)")
    command.add_argument("--seed", type=int, default=0, help="draws them (default: 0)")
    command.add_argument("--root", **ROOT)
    command.add_argument("--quiet", action="store_true", help="show no progress")


def run_export(given: argparse.Namespace) -> None:
    """Writes a student as an ONNX file.

    Args:
        given: The arguments of `export`.

    Raises:
        BadInput: A file, a photograph or an argument cannot be used.
        DataMissing: The student or the photographs are not there.
        InUse: Another process is writing the file.
    """
    if given.out.suffix != ".onnx":
        raise BadInput(f"{given.out} is no name for an ONNX file: let it end with .onnx.")
    student, calibration = load_network(given.student), None
    if given.int8 is not None:
        rooms = given.int8 == "rooms"
        images = TrainingImages.load("rooms", given.root) if rooms else TrainingImages.from_folder(given.int8)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(given.seed))
        calibration = images.pixels(order[: given.photographs].tolist(), progress=not given.quiet)
    projection = None if given.projection is None else load_projection(given.projection)
    export(student, given.out, tuple(given.size), projection, int8=calibration, progress=not given.quiet)
    kind = "float32" if calibration is None else f"int8, calibrated on {len(calibration)} photographs"
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB, {student.backbone} in {kind}")
