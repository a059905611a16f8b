"""The shell commands `train` and `extract`, which also run under torchrun, and `serve-teacher` and `teacher-key`."""

import argparse
import copy
import hashlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdistill_helpers.command_images import images_to_describe, score_by_places, training_images
from rdistill_helpers.data.benchmark import EMBEDDED, REVISITED, Benchmark
from rdistill_helpers.descriptors import check_descriptors, open_descriptors, warn_if_alike
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.fingerprint import of_tensor
from rdistill_helpers.distil.loop import products
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.distil.tensorboard import TensorBoardLogger
from rdistill_helpers.embed.black_box import BlackBoxTeacher
from rdistill_helpers.embed.extract import extract, recommended_scales
from rdistill_helpers.embed.network import (
    TEACHERS,
    RetrievalNet,
    load_network,
    load_teacher,
    save_network,
    teacher_version,
)
from rdistill_helpers.embed.published import load_published
from rdistill_helpers.embed.to_file import extract_to_file
from rdistill_helpers.errors import BadInput
from rdistill_helpers.fetch.sources import PUBLISHED
from rdistill_helpers.files import written_whole
from rdistill_helpers.parallel import broadcast, own_device, processes, rank
from rdistill_helpers.ship.onnx_student import OnnxStudent
from rdistill_helpers.ship.projection import save_projection

# those that need no projection
LOSSES = [
    "listwise", "similarity", "rkd_distance", "rkd_angle", "darkrank_hard", "darkrank_soft", "similarity_preserving", "pkt",
]  # fmt: skip
ROOT: dict[str, Any] = {"metavar": "DIR", "help": "the data folder (default: $RDISTILL_DATA, else data/ of the clone)"}
TYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
KEY = "RDISTILL_TEACHER_KEY"  # no argument: all users of a machine can read the arguments of all processes
NETWORK = "'teacher' or 'stranger' (the course's), a .safetensors file of save_network, a published network's name or .pth file"
DESCRIBING = f"{NETWORK}, or an .onnx file of export"


SERVER_LIMITS = [
    ("max_request_bytes", int, "of one request"),
    ("max_images", int, "of one request"),
    ("requests_per_minute", float, "of one key"),
    ("max_connections", int, "at once"),
    ("header_seconds", float, "for the head of a request to arrive"),
    ("body_seconds", float, "for its body"),
]


def add_train(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `train`.

    Args:
        command: Its parser.
    """
    _add_training_images(command)
    command.add_argument(
        "out", type=Path, help="folder for the files student and projection.safetensors, history.json and checkpoint.pt"
    )
    command.add_argument(
        "--teacher",
        metavar="NET",
        default="teacher",
        help=f"{NETWORK}, or the address of a served one, with your key in the environment as {KEY} (default: teacher)",
    )
    command.add_argument("--teacher-rows", type=Path, metavar="FILE", help=".npy of one descriptor for each image")
    command.add_argument("--ledger", type=Path, metavar="FILE", help="what the teacher was paid for (default: in OUT)")
    command.add_argument("--budget", type=int, help="teacher queries of this ledger, ever (default: one each image)")
    command.add_argument("--student", metavar="NET", default="squeezenet1_1", help=f"{NETWORK}, or a backbone")
    command.add_argument("--dim", type=int, help="descriptor size of a backbone, by a new linear layer")
    command.add_argument("--scale", type=float, default=1.0, help="enlargement in front of a backbone (default: 1)")
    usual = {name: parameter.default for name, parameter in signature(distill).parameters.items()}
    usual |= {"mixtures": 0, "steps": usual["training"].steps, "lr": usual["training"].lr}
    command.add_argument("--loss", choices=LOSSES, default=usual["loss"].__name__)
    for name, kind, meaning in (
        ("steps", int, "of the optimiser"),
        ("anchors", int, "of a batch, of all processes together"),
        ("neighbours", int, "of each anchor, by the teacher"),
        ("mixtures", int, "mixtures of descriptors in each batch, 0 for none"),
        ("regression_weight", float, "of regression, which is added to the loss; 0 for none"),
        ("lr", float, "learning rate, the largest of its schedule"),
    ):
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, type=kind, default=usual[name], help=f"{meaning} (default: {usual[name]})")
    command.add_argument(
        "--held-out", type=Path, metavar="FOLDER",
        help="places that are not trained on, a sub-folder each: print the student's score before and after",
    )  # fmt: skip
    command.add_argument("--tensorboard", type=Path, metavar="DIR", help="also write the history for TensorBoard")
    command.add_argument("--no-augment", action="store_true", help="show the images as they are")
    command.add_argument(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of the student's products; auto: bfloat16 where an accelerator computes with it, else float32",
    )
    _add_common(command)


def run_train(given: argparse.Namespace) -> None:
    """Distils a student and writes it. After an interruption the same command resumes.

    Args:
        given: The arguments of `train`.

    Raises:
        BadInput: An argument, an image or the teacher's answer cannot be used.
        DataMissing: The images or a network are not there.
        BudgetExceeded: The teacher would be asked more often than the budget allows.
        TeacherUnavailable: A served teacher does not answer.
    """
    logger = None if given.tensorboard is None else TensorBoardLogger(given.tensorboard)
    with processes():
        device = chosen_device(given)
        # Process 0 draws a random layer; training starts from its weights everywhere.
        torch.manual_seed(given.seed)
        student = network_named(given.student, dim=given.dim, scale=given.scale, root=given.root).to(device)
        weights = torch.cat([value.flatten().float() for value in student.state_dict().values()])
        vars(student)["began_as"] = of_tensor(weights)  # every run begins anew, so a checkpoint must have begun alike
        images, _ = training_images(given)
        held_out = None if given.held_out is None else Benchmark.from_folder(given.held_out, queries="all")
        precision = given.precision
        if precision == "auto":
            able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bfloat16" if able else "float32"
        training = Training(
            steps=given.steps, lr=given.lr, augment=not given.no_augment, seed=given.seed, device=device,
            autocast=TYPES[precision], progress=not given.quiet,
        )  # fmt: skip
        trained = partial(
            distill, images=images, loss=getattr(losses, given.loss), anchors=given.anchors, neighbours=given.neighbours,
            regression_weight=given.regression_weight, mixtures=Mixtures(count=given.mixtures) if given.mixtures else None,
        )  # fmt: skip

        def score() -> str:
            return str(score_by_places(student, held_out, max(images.shape[2:]))) if held_out is not None else ""

        before = broadcast(score)
        if given.teacher_rows is not None:
            rows = check_descriptors(open_descriptors(given.teacher_rows), str(given.teacher_rows))
        else:
            # One step of a copy, with answers drawn at random: no setting may turn out wrong once the teacher is paid.
            drawn = F.normalize(torch.randn(len(images), 8, generator=torch.Generator().manual_seed(0)), dim=1)
            once = replace(training, steps=1, progress=False)
            trained(copy.deepcopy(student), teacher_rows=drawn, training=once)
            rows = broadcast(lambda: _asked(given, images, device))
        warn_if_alike(rows, "The teacher's answers about these photographs")
        checkpoint = given.out / "checkpoint.pt"
        _, history = trained(student, teacher_rows=rows, training=training, checkpoint=checkpoint, callback=logger)
        after = broadcast(score)
        if rank() == 0:
            save_network(student, given.out / "student.safetensors", training=history.settings)
            if history.projection is not None:
                save_projection(history.projection, given.out / "projection.safetensors")
            history.save(given.out / "history.json")
            print(f"{given.out / 'student.safetensors'}: {len(history.loss)} steps, last loss {history.loss[-1]:.4f}")
            if held_out is not None:
                print(f"{given.held_out}: mAP over places in % (95 % interval) before {before}, after {after}")


def add_extract(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `extract`.

    Args:
        command: Its parser.
    """
    _add_training_images(command, f", or the benchmark {' or '.join((*EMBEDDED[1:], *REVISITED))}")
    command.add_argument("out", type=Path, help="the .npy file; FILE.names.json says which image each row is of")
    command.add_argument(
        "--part",
        choices=["database", "queries", "training"],
        help="of a benchmark, or of a folder with places or gnd.json; training: the images that `train` takes, as it takes "
        "them (default: the database, or all photographs of a folder)",
    )
    command.add_argument("--net", metavar="NET", default="teacher", help=f"{DESCRIBING} (default: teacher)")
    command.add_argument("--imsize", type=int, help="longer side in pixels to which images are reduced")
    command.add_argument("--scales", type=float, nargs="+", metavar="S", help="image scales (default: 1)")
    command.add_argument("--recommended-scales", action="store_true", help="those of the network's published figures")
    command.add_argument("--batch-size", type=int, default=32)
    command.add_argument("--at-once", type=int, default=256, help="images in a block; processes share whole blocks")
    command.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="of the file")
    command.add_argument("--precision", choices=list(TYPES), default="float32", help="of the network's products")
    _add_common(command)


def run_extract(given: argparse.Namespace) -> None:
    """Describes images and writes the descriptors to a file. After an interruption the same command resumes.

    Args:
        given: The arguments of `extract`.

    Raises:
        BadInput: An argument or an image cannot be used, or the file exists.
        DataMissing: The images or a network are not there.
        InUse: Another process is writing the file.
    """
    with processes():
        device = chosen_device(given)
        images, names = images_to_describe(given)
        net = describing_network(given.net, given.root)
        scales = given.scales or (recommended_scales(net) if given.recommended_scales else (1,))
        with products(device, TYPES[given.precision]):
            extract_to_file(
                net, images, given.out, given.dtype, scales, given.batch_size, not given.quiet, device, given.at_once
            )
        if rank() == 0:
            with written_whole(given.out.with_name(given.out.name + ".names.json")) as unfinished:
                unfinished.write_text(json.dumps(names, indent=0), encoding="utf-8")
            warn_if_alike(open_descriptors(given.out), f"The descriptors in {given.out}")
            print(f"{given.out}: {len(images)} descriptors")


def add_serve_teacher(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `serve-teacher`.

    Args:
        command: Its parser.
    """
    command.add_argument("keys", type=Path, help="the file of keys and budgets that teacher-key writes")
    command.add_argument("ledgers", type=Path, metavar="FOLDER", help="for ledger-NAME.sqlite of each key")
    command.add_argument("--net", metavar="NET", default="teacher", help=f"{DESCRIBING} (default: teacher)")
    command.add_argument("--scales", type=float, nargs="+", metavar="S", default=[1], help="image scales (default: 1)")
    command.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    command.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: %(default)s)")
    for name, kind, meaning in SERVER_LIMITS:
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, type=kind, default=argparse.SUPPRESS, help=f"{meaning} (see docs/http-teacher.md)")
    command.add_argument("--device", help="where to compute (default: an accelerator, else the processor)")
    command.add_argument("--root", **ROOT)


def run_serve_teacher(given: argparse.Namespace) -> None:
    """Answers until SIGTERM or Ctrl-C; requests in progress are finished first.

    Args:
        given: The arguments of `serve-teacher`.

    Raises:
        BadInput: The file of keys, the network, the address or a limit cannot be used.
        DataMissing: The file of keys or the network is not there.
    """
    from rdistill_helpers.serve import TeacherServer, read_keys

    keys = read_keys(given.keys)
    embed, name = _teacher(given.net, given.root, chosen_device(given), given.scales)
    if tuple(given.scales) != (1,):
        name += f" at scales {' '.join(f'{scale:g}' for scale in given.scales)}"
    limits = {limit: getattr(given, limit) for limit, _, _ in SERVER_LIMITS if hasattr(given, limit)}
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *signal_and_frame: None)  # the server stops, and then raises the signal again
    server = TeacherServer(embed, keys, given.ledgers, name, given.host, given.port, **limits)
    print(f"{name} answers at {server.url}, {len(keys)} keys", flush=True)
    server.serve_forever()
    print("stopped; what was paid is in the ledgers", flush=True)


def add_teacher_key(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `teacher-key`.

    Args:
        command: Its parser.
    """
    command.add_argument("keys", type=Path, help="the file of keys and budgets, made when it is not there")
    command.add_argument("name", help="whose key it is: small letters, digits, - and _")
    command.add_argument("--budget", type=int, required=True, help="different images that it may ask about, ever")


def run_teacher_key(given: argparse.Namespace) -> None:
    """Makes a key, records its hash and its budget, and prints it this once.

    Args:
        given: The arguments of `teacher-key`.

    Raises:
        BadInput: The name or the budget cannot be used, or the name has a key already.
    """
    from rdistill_helpers.serve import new_key

    print(new_key(given.keys, given.name, given.budget))


def _add_training_images(command: argparse.ArgumentParser, others: str = "") -> None:
    command.add_argument("images", help=f"rooms, sfm120k, a folder of photographs{others}")
    command.add_argument("--draw", type=int, metavar="N", help="train with N rooms or photographs, drawn by the seed")
    command.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"),
        help="of training images, which are put whole onto a grey ground of it (default: 320 320, sfm120k 272 362; rooms have "
        "their own)",
    )  # fmt: skip


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", help="where to compute (default: the process's accelerator, else the processor)")
    command.add_argument("--root", **ROOT)
    command.add_argument("--quiet", action="store_true", help="show no progress")


def chosen_device(given: argparse.Namespace) -> torch.device:
    """The device asked for, or this process's own.

    Args:
        given: The arguments of a command.

    Returns:
        The device.

    Raises:
        BadInput: There is none of this name.
    """
    try:
        return own_device() if given.device is None else torch.device(given.device)
    except RuntimeError as error:
        raise BadInput(f"The device {given.device!r} is not known: give cpu, cuda or cuda:0.") from error


def describing_network(name: str, root: str | None, projected: bool = False) -> nn.Module:
    """A network that only describes, by what the shell calls it.

    Args:
        name: As `DESCRIBING` says.
        root: The data folder.
        projected: Whether an .onnx file is to give descriptors in the teacher's space.

    Returns:
        The network.

    Raises:
        BadInput: It cannot be used.
        DataMissing: It is not there.
    """
    return OnnxStudent(name, projected=projected) if name.endswith(".onnx") else network_named(name, root)


def network_named(name: str, root: str | None, **backbone: Any) -> RetrievalNet:
    """A network by what the shell calls it.

    Args:
        name: As `NETWORK` says, or a backbone.
        root: The data folder.
        **backbone: Settings of RetrievalNet, for a backbone.

    Returns:
        The network.

    Raises:
        BadInput: It cannot be used.
        DataMissing: It is not there.
    """
    if name in TEACHERS:
        return load_teacher(name, root)
    if name.endswith(".safetensors"):
        return load_network(name)
    if name in PUBLISHED or name.endswith((".pth", ".pth.tar")):
        return load_published(name)
    return RetrievalNet(name, **backbone)


def _asked(given: argparse.Namespace, images: Tensor, device: torch.device) -> Tensor:
    """The teacher's answers; what the ledger has is not asked again."""
    ledger = given.ledger or given.out / "ledger.sqlite"
    budget = len(images) if given.budget is None else given.budget
    embed, name = _teacher(given.teacher, given.root, device, (1,))
    with BlackBoxTeacher(embed, budget, ledger, name) as black_box:
        return black_box.query(images, progress=not given.quiet)


def _teacher(
    which: str, root: str | None, device: torch.device, scales: Sequence[float]
) -> tuple[Callable[[Any], Tensor], str]:
    """What asks a teacher, on this machine or a served one, and its name in ledgers."""
    if which.startswith(("http://", "https://")):
        from rdistill_helpers.serve import HttpTeacher

        served = HttpTeacher(which, os.environ.get(KEY, ""))
        return served, served.account()["name"]
    net = describing_network(which, root).to(device)
    name = f"{which} {teacher_version(which, root)}" if which in TEACHERS else Path(which).name
    if Path(which).is_file():  # which may hold another network tomorrow
        name += f" {hashlib.sha256(Path(which).read_bytes()).hexdigest()[:8]}"
    return lambda batch: extract(net, batch, scales, progress=False), name
