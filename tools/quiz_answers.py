"""Writes docs/quiz-answers.md, the right letters of every quiz for the instructor, from the quiz cells of the notebooks."""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "quiz-answers.md"
HEAD = """# Answers of the quizzes

The right letter of every question. Why it is right, and why each other option is wrong, stands folded below the question in the
notebook. This page is made by `python tools/quiz_answers.py`; change the notebooks, not the page.

"""


def answers_of(notebook: nbformat.NotebookNode) -> list[str]:
    """The letters in the order of the questions. Raises ValueError where a question has no letter in its answer."""
    letters = []
    for cell in notebook.cells:
        if not cell.metadata.get("rdistill", {}).get("quiz"):
            continue
        for question in re.split(r"^(?=\*\*\d+\.\*\*)", cell.source, flags=re.MULTILINE)[1:]:
            found = re.search(r"</summary>\s*\*\*([A-D])\.?\*\*", question)
            if found is None:
                raise ValueError(f"This question's answer does not begin with its letter in bold: {question[:80]!r}")
            letters.append(found[1])
    return letters


def page(notebooks: Path) -> str:
    """The page, one row for each notebook."""
    rows = {}
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        rows[f"[{title}](../notebooks/{path.name})"] = answers_of(notebook)
    count = max(map(len, rows.values()))
    lines = [f"| notebook | {' | '.join(str(n) for n in range(1, count + 1))} |", "|---" * (count + 1) + "|"]
    lines += [f"| {title} | {' | '.join(letters)} |" for title, letters in rows.items()]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(ROOT / "notebooks"), encoding="utf-8")
