"""Executes every notebook of the course in order and prints the table of scores: what `make course` runs.

Executed copies go to build/course/; the notebooks themselves stay as they are.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from rdistill_course.closing_table import ONE_SEED, course_scores_path, format_scores, read_scores
from rdistill_helpers.errors import RDistillError

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 900


def execute(path: Path, copy: Path) -> str | None:
    """Executes one notebook in its folder and saves the copy, also when a cell fails; gives what went wrong, or None."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # Its start-up warnings would tear the lines of progress.
        extra_arguments=["--log-level=ERROR"],
    )
    # Cells are counted as a reader counts them: code cells from 1, in the order of the page.
    cell = {"number": 0, "source": ""}

    def remember(cell_index: int, **_: object) -> None:
        before = notebook.cells[: cell_index + 1]
        cell["number"] = sum(c.cell_type == "code" for c in before)
        cell["source"] = notebook.cells[cell_index].source

    client.on_cell_start = remember
    try:
        client.execute()
        return None
    except CellExecutionError as error:
        problem = f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        problem = f"it ran longer than {CELL_SECONDS} s"
    except DeadKernelError:
        problem = "its kernel died, perhaps for lack of memory"
    finally:
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, copy)
    return f"{path.name} failed in code cell {cell['number']}: {problem}\n\n{cell['source']}\n\nAll outputs: {copy}"


def run_course(notebooks: Path, copies: Path) -> int:
    """Runs the course; gives the exit status."""
    paths = sorted(notebooks.glob("*.ipynb"))
    if not paths:
        print(f"No notebooks in {notebooks}: run this from a whole clone of the project.", file=sys.stderr)
        return 1
    # A table left by an earlier run must not pass for this one's.
    course_scores_path().unlink(missing_ok=True)
    width = max(len(path.name) for path in paths)
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.name:<{width}} ", end="", flush=True)
        start = time.perf_counter()
        problem = execute(path, copies / path.name)
        print(f"{time.perf_counter() - start:6.1f} s", flush=True)
        if problem is not None:
            print(f"\n{problem}", file=sys.stderr)
            return 1
    try:
        print(f"\n{format_scores(read_scores())}\n\n{ONE_SEED}")
    except RDistillError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the notebooks")
    parser.add_argument("--copies", type=Path, default=ROOT / "build" / "course", help="folder for the executed copies")
    arguments = parser.parse_args()
    sys.exit(run_course(arguments.notebooks, arguments.copies))
