"""The shell commands: `python -m rdistill_helpers download`, `train`, `extract` and others; `--help` explains each."""

import argparse
import sys
import warnings

from rdistill_helpers import RDistillError, command_export, command_index, commands, download
from rdistill_helpers.parallel import rank


def parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands.

    Returns:
        A parser whose result has `run`, the function to call with that result.
    """
    parser = argparse.ArgumentParser(prog="python -m rdistill_helpers", description="Tools of the rdistill package.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    command = subparsers.add_parser("download", help="get a benchmark, distractors, training photographs or a network")
    command.add_argument("name", help="roxford5k, rparis6k, revisitop1m, sfm120k or the name of a published network")
    command.add_argument("--root", **commands.ROOT)
    command.add_argument("--parts", nargs="+", metavar="PART", help="archives of revisitop1m, or ids of photographs")
    command.add_argument("--mirror", nargs="+", metavar="URL", default=[], help="addresses or folders to try first")
    command.add_argument("--keep", action="store_true", help="keep archives that were unpacked or picked from")
    command.set_defaults(run=lambda given: download(given.name, given.root, given.parts, given.mirror, keep=given.keep))
    for name, add, run, meaning in (
        ("train", commands.add_train, commands.run_train, "distil a student, alone or under torchrun"),
        ("extract", commands.add_extract, commands.run_extract, "write descriptors to a file, alone or under torchrun"),
        ("export", command_export.add_export, command_export.run_export, "write a student as ONNX, in float32 or int8"),
        (
            "serve-teacher", commands.add_serve_teacher, commands.run_serve_teacher,
            "answer others over HTTP, with a key and a budget each",
        ),
        ("index", command_index.add_index, command_index.run_index, "index photographs, to search them"),
        ("search", command_index.add_search, command_index.run_search, "find photographs in an index"),
        ("teacher-key", commands.add_teacher_key, commands.run_teacher_key, "make a key for serve-teacher"),
    ):  # fmt: skip
        command = subparsers.add_parser(name, help=meaning)
        add(command)
        command.set_defaults(run=run)
    return parser


def _said(message: Warning | str, *where: object) -> None:
    """A warning as a line of its own, of process 0 alone."""
    if rank() == 0:
        print(message, file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command and its arguments; by default those of the shell.

    Returns:
        The exit status: 0, 1 after an error, which is one line on stderr, or 130 after an interruption.
    """
    given = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _said  # type: ignore[assignment]
            given.run(given)
    except RDistillError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
