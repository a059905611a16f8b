"""python -m study: make the runs of the study, and write and show what they say.

    python -m study search                      what chooses settings, on the validation rooms
    python -m study run                         every method, on seeds that chose nothing and the test rooms
    python -m study run listwise --images 300 --seeds 0 1 --jobs 2
    python -m study tables                      the tables of README.md and docs; --check only looks
    python -m study ship                        train the student that ships, and write its files and its card
    python -m study summary                     how many runs there are, and what they say

Runs that are in the store are not made again, so a study that was stopped goes on where it was. All of it takes hours on two
cores; PROTOCOL.md says how many and which. `make study` is search, run and tables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rdistill_helpers.errors import BadInput, RDistillError
from study import methods, primary, recipe, runs, search, ship, students, tables
from study.settings import but


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: of the command line; None for those of this process.

    Returns:
        0, or 1 where pages are out of date or something cannot be used, which is said in one sentence.
    """
    args = _parser().parse_args(arguments)
    try:
        return int(args.command(args) or 0)
    except RDistillError as error:
        print(error, file=sys.stderr)
        return 1


def _search(args: argparse.Namespace) -> None:
    source = students.rooms().source
    for block in (
        lambda _: methods.tuning(),
        methods.confirming,
        methods.exploring,
    ):  # each needs the choices before it
        found = search.tried(runs.read(args.store)) if args.store.is_file() else {}
        runs.make(block(found), students.work, source, args.jobs, args.store)


def _run(args: argparse.Namespace) -> None:
    if args.seeds and max(args.seeds) >= runs.SEARCHING:
        raise RDistillError(f"Seeds from {runs.SEARCHING} on choose settings: report smaller ones.")
    found = runs.read(args.store)
    wanted = methods.plan(
        search.tried(found), args.methods or list(methods.METHODS), args.images, tuple(args.seeds), primary.cells(found)
    )
    runs.make(wanted, students.work, students.rooms().source, args.jobs, args.store)


def _tables(args: argparse.Namespace) -> int:
    outdated = recipe.fill(runs.read(args.store), args.check)
    if args.check and outdated:
        print(
            f"{', '.join(path.name for path in outdated)} out of date: run `python -m study tables`.", file=sys.stderr
        )
    return int(args.check and bool(outdated))


def _ship(args: argparse.Namespace) -> None:
    try:
        own = methods.settings_of(args.method, args.images, search.tried(runs.read(args.store)))
    except BadInput:  # no search under the protocol yet: the defaults
        own = but(methods.METHODS[args.method].settings, images=args.images)
    print(ship.make(own, methods.METHODS[args.method].label, args.seeds, students.rooms(), args.folder))


def _summary(args: argparse.Namespace) -> None:
    found = runs.read(args.store)
    print(f"{len(found)} runs, {int((found['method'] == runs.SEARCH).sum())} of them of the search")
    print("made:", ", ".join(f"{made} {count}" for made, count in found["made"].value_counts().items()))
    for table in (tables.primary, tables.validated, tables.claims, tables.search_in, tables.by_size, tables.verdict):
        print(f"\n{table(found).to_string(index=False)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    def command(name: str, call: object, described: str, jobs: bool = False) -> argparse.ArgumentParser:
        own = commands.add_parser(name, help=described)
        own.set_defaults(command=call)
        own.add_argument("--store", type=Path, default=runs.STORE, help="the CSV of the runs")
        if jobs:
            own.add_argument("--jobs", type=int, default=2, help="processes")
        return own

    command("search", _search, "try settings", jobs=True)
    own = command("run", _run, "train and score methods", jobs=True)
    own.add_argument("methods", nargs="*", choices=[[], *methods.METHODS], metavar="METHOD")
    own.add_argument("--images", nargs="+", type=int, help="numbers of photographs; 0 for what is only scored")
    own.add_argument("--seeds", nargs="+", type=int, default=list(methods.SEEDS))
    own = command("tables", _tables, "write the tables of the pages")
    own.add_argument("--check", action="store_true", help="write nothing, fail where a page is out of date")
    own = command("ship", _ship, "train the student that ships")
    own.add_argument("--method", choices=[*methods.METHODS], default=ship.METHOD, metavar="METHOD")
    own.add_argument("--images", type=int, default=search.TUNED_ON, help="photographs, a query each (default: 300)")
    own.add_argument("--seeds", nargs="+", type=int, default=list(methods.SEEDS))
    own.add_argument("--folder", type=Path, help="of the files (default: models of the data folder)")
    command("summary", _summary, "show what is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
