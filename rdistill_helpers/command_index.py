"""The shell commands `index` and `search`."""

import argparse
import sys
from pathlib import Path

from rdistill_helpers.commands import DESCRIBING, ROOT, chosen_device, describing_network
from rdistill_helpers.descriptors import warn_if_alike
from rdistill_helpers.errors import BadInput, printable
from rdistill_helpers.files import written_whole
from rdistill_helpers.ship.indexing import index_answers, index_photographs
from rdistill_helpers.ship.photo_index import PhotoIndex
from rdistill_helpers.ship.results import as_html, as_json, as_table

NAMED = 10  # photographs that were left out, in the message


def add_index(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `index`.

    Args:
        command: Its parser.
    """
    command.add_argument("photographs", type=Path, help="folder of photographs, with sub-folders or without")
    command.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder of the index")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--network", metavar="NET", help=f"{DESCRIBING}, or a backbone: describes the photographs")
    source.add_argument(
        "--answers", type=Path, metavar="FILE",
        help="a teacher's ledger, or the .npy file that extract wrote with it: no network runs, and a student searches by its "
        "projection to the teacher's space",
    )  # fmt: skip
    command.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"),
        help="of the grey ground on which the teacher of a ledger saw the photographs; 320 320 if `train` asked it "
        "(default: as they are)",
    )  # fmt: skip
    command.add_argument("--imsize", type=int, default=320, help="longer side in pixels of photographs (default: 320)")
    command.add_argument("--scales", type=float, nargs="+", metavar="S", default=[1], help="image scales (default: 1)")
    command.add_argument("--skip-bad", action="store_true", help="name photographs that cannot be indexed, and go on")
    command.add_argument("--batch-size", type=int, default=32)
    _add_common(command)


def run_index(given: argparse.Namespace) -> None:
    """Makes an index of photographs. After an interruption the same command goes on.

    Args:
        given: The arguments of `index`.

    Raises:
        BadInput: An argument, a photograph or the teacher's answers cannot be used, or another index is there.
        DataMissing: The photographs, the network or the answers are not there.
        InUse: Another process makes the same index.
    """
    common = {"imsize": given.imsize, "scales": given.scales, "skip_bad": given.skip_bad, "progress": not given.quiet}
    if given.answers is not None:
        size = None if given.size is None else (given.size[0], given.size[1])
        index = index_answers(given.answers, given.photographs, given.out, size=size, **common)
    else:
        if given.size is not None:
            raise BadInput("--size says how a teacher saw the photographs of --answers: give --imsize with --network.")
        net = describing_network(given.network, given.root)
        name = str(Path(given.network).resolve()) if Path(given.network).is_file() else given.network
        index = index_photographs(
            net, given.photographs, given.out, name, batch_size=given.batch_size, device=chosen_device(given), **common
        )
    for name, why in [*index.skipped.items()][:NAMED]:
        print(printable(f"left out: {name} ({why.removesuffix('.')})"), file=sys.stderr)
    if len(index.skipped) > NAMED:
        print(
            f"left out: {len(index.skipped) - NAMED} more, which {index.folder / 'index.json'} names", file=sys.stderr
        )
    warn_if_alike(index.descriptors, f"The descriptors in {given.out}")
    print(f"{given.out}: {len(index)} photographs indexed, {len(index.skipped)} left out")


def add_search(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of `search`.

    Args:
        command: Its parser.
    """
    command.add_argument("index", type=Path, metavar="DIR", help="folder of the index")
    command.add_argument("photo", type=Path, metavar="PHOTO", help="the query")
    command.add_argument(
        "--box", type=float, nargs=4, metavar=("X1", "Y1", "X2", "Y2"),
        help="part of the query to search for, in pixels of the photograph as it is shown, upright",
    )  # fmt: skip
    command.add_argument("--count", type=int, default=10, help="photographs to find (default: 10)")
    command.add_argument("--network", metavar="NET", help="describes the query (default: the one that made the index)")
    command.add_argument(
        "--format", choices=["table", "json", "html"], default="table", help="html: with small pictures"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="where it goes (default: to the terminal)")
    _add_common(command)


def run_search(given: argparse.Namespace) -> None:
    """Finds the photographs of an index that are most similar to a query.

    Args:
        given: The arguments of `search`.

    Raises:
        BadInput: The index or the query is damaged, the box lies outside, or another network made the index.
        DataMissing: The index, the query or the network is not there.
    """
    index = PhotoIndex.open(given.index)
    if given.network is None and index.network["answers"]:
        raise BadInput(f"{given.index} holds answers of {index.network['name']}: give a student of it by --network.")
    net = describing_network(given.network or index.network["name"], given.root, projected=index.network["answers"])
    net = net.to(chosen_device(given))
    found = index.search(net, given.photo, given.box, given.count)
    if given.format == "html":
        text = as_html(found, given.photo, f"Search for {given.photo.name}", given.box)
    else:
        text = as_table(found) if given.format == "table" else as_json(found, str(given.photo), given.box)
    if given.out is None:
        print(text)
        return
    with written_whole(given.out) as unfinished:
        unfinished.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"{given.out}: {len(found)} photographs")


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="where to compute (default: an accelerator, else the processor)")
    command.add_argument("--root", **ROOT)
    command.add_argument("--quiet", action="store_true", help="show no progress")
