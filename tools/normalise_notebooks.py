"""Removes from notebooks what changes with every run and says nothing, so that a diff shows what somebody wrote.

`python tools/normalise_notebooks.py [FILE ...]` rewrites the files that need it (all of notebooks/ by default) and names
them; with --check it only names them. The exit status is 1 where there was something to do. Text, code and outputs stay;
what a cell printed in pieces becomes one.
"""

import argparse
import copy
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What cells keep of their metadata. Timestamps, the state of the reader's window and marks of editors go.
KEPT = ("tags", "rdistill", "nbgrader", "slideshow")


def normalised(notebook: NotebookNode) -> NotebookNode:
    """A copy with one kernel, no timestamps, no saved state of widgets, no marks of editors, and printed text in one piece."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({name: cell.metadata[name] for name in KEPT if name in cell.metadata})
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = in_one_piece(cell.outputs)
    return notebook


def in_one_piece(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs with what was printed in a row as one: where a kernel cuts it differs from run to run."""
    joined: list[NotebookNode] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if before and output.output_type == before.output_type == "stream" and output.name == before.name:
            before.text += output.text
        else:
            joined.append(output)
    return joined


def written(notebook: NotebookNode) -> str:
    """The text of the file."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def main(paths: list[Path], check: bool) -> int:
    """Rewrites the files, or only names them; gives the exit status."""
    changed = 0
    for path in paths:
        before = path.read_text(encoding="utf-8")
        after = written(normalised(nbformat.reads(before, as_version=4)))
        if after != before:
            changed += 1
            print(f"{path}: {'not normalised, run python tools/normalise_notebooks.py' if check else 'normalised'}")
            if not check:
                path.write_text(after, encoding="utf-8")
    return int(changed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="notebooks; all of the course by default")
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    sys.exit(main(arguments.files or sorted((ROOT / "notebooks").glob("*.ipynb")), arguments.check))
