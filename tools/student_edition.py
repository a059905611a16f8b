"""Writes the student edition of the course to build/student/: what `make student` runs.

nbgrader's own steps put a stub in the place of each solution and lock the checks, as they do when an instructor releases an
assignment. Outputs stay, so that a learner can compare, except those of solutions and checks: an [OK] is to be earned.
A notebook that a learner has changed since it was written is kept, with the answers in it: delete it to begin it anew.

With --check every notebook of the student edition is executed as well, and the cells that fail must be exactly the checks.
"""

import argparse
import hashlib
import shutil
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, ClearSolutions, ComputeChecksums, LockCells

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 900
MARK = "rdistill_student_edition"  # in a notebook's metadata: the fingerprint of its text as it was written


def student_edition(notebook: NotebookNode) -> NotebookNode:
    """A copy with stubs in place of solutions, and without the outputs of solutions and checks.

    Raises nbgrader's ValidationError where grade ids repeat or metadata is broken, RuntimeError where a solution has no end.
    """
    copy, resources = deepcopy(notebook), {}
    for step in (LockCells, ClearSolutions, CheckCellMetadata, ComputeChecksums):
        copy, resources = step().preprocess(copy, resources)
    for number, cell in enumerate(copy.cells):
        if "nbgrader" in cell.metadata:
            ClearOutput().preprocess_cell(cell, resources, number)
    return copy


def fingerprint(notebook: NotebookNode) -> str:
    """SHA-256 of the text of all cells. Running a notebook leaves it as it is, an answer or a note changes it."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        digest.update(repr((cell.cell_type, cell.source)).encode())
    return digest.hexdigest()


def changed_by_a_learner(path: Path, edition: NotebookNode) -> bool:
    """Whether a file holds other text than was written into it, or is not known to hold just that.

    What was written is known by a mark in the file; without one, any text but that of `edition` may be a learner's.
    """
    if not path.exists():
        return False
    try:
        there = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError):
        return True  # what cannot be read may still be saved by its owner
    return fingerprint(there) != there.metadata.get(MARK, fingerprint(edition))


def failing_cells(notebook: NotebookNode, folder: Path) -> list[NotebookNode]:
    """Executes a copy of the notebook to its end, errors or not, and gives the cells that raised one."""
    copy = deepcopy(notebook)
    client = NotebookClient(
        copy,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute()
    return [cell for cell in copy.cells if any(one.output_type == "error" for one in cell.get("outputs", []))]


def problems(notebook: NotebookNode, folder: Path) -> list[str]:
    """One sentence for each cell of a student edition that fails and is no check, or is a check and does not fail."""
    failed = {cell.id for cell in failing_cells(notebook, folder)}
    checks = {cell.id for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")}
    return [
        *(f"cell {cell} fails and is no check" for cell in sorted(failed - checks)),
        *(f"check {cell} passes on a stub" for cell in sorted(checks - failed)),
    ]


def main() -> int:
    """Gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the complete edition")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "student", help="folder of the student edition")
    parser.add_argument("--check", action="store_true", help="execute it too: exactly the checks may fail")
    arguments = parser.parse_args()
    paths = sorted(arguments.notebooks.glob("*.ipynb"))
    if not paths:
        print(f"No notebooks in {arguments.notebooks}: name their folder with --notebooks.")
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    wrong, kept = 0, 0
    for path in paths:
        edition = student_edition(nbformat.read(path, as_version=4))
        target = arguments.out / path.name
        mine = changed_by_a_learner(target, edition)
        kept += mine
        if not mine:
            marked = deepcopy(edition)
            marked.metadata[MARK] = fingerprint(edition)
            nbformat.write(marked, target)
        exercises = sum(bool(cell.metadata.get("nbgrader", {}).get("solution")) for cell in edition.cells)
        line = f"{path.name}: {exercises} exercises" + ("; you have changed it, so it is kept" if mine else "")
        if arguments.check:
            found = problems(edition, arguments.out)
            wrong += len(found)
            line += "; " + ("; ".join(found) or f"runs, and fails at its {exercises} checks alone")
        print(line, flush=True)
    print(f"Student edition: {arguments.out}")
    shutil.copy(Path(__file__).with_name("nbgrader_config.py"), arguments.out)  # for `nbgrader validate` there
    if kept:
        print("To begin a notebook anew that was kept, move or delete it, and run this again.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
