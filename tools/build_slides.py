"""Makes slides of every lesson in build/slides: one HTML file each, with reveal.js inside, for any browser offline.

`make slides`, or `python tools/build_slides.py`. Needs the extra `site`: python -m pip install --editable ".[site]".
Which cells become slides follows from the pattern of the course; see `slides_of`. A cell whose metadata hold Jupyter's own
{"slideshow": {"slide_type": ...}} (slide, subslide, fragment, notes or skip) is taken as that and left whole.
"""

import argparse
import ast
import copy
import itertools
import re
import sys
from importlib import resources
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "site"))

from formulas import formulas_in  # noqa: E402

from rdistill_course.quizzes import as_markdown, quiz_of  # noqa: E402

LINES = 14  # longer code is for the notebook, but for what is written by hand, which comes in parts
PART = 20  # lines of code on a slide
ROWS = 12  # of a table on a slide
SHOWN = ("image/png", "image/jpeg", "text/html", "text/markdown")
LEFT_OUT = ("## Prerequisites", "## Quiz", "## References")
WHOLE = ("## Objectives", "## Recap")
CAPTION = re.compile(r"\*What to see: [^*]*\*")  # in italics, below a figure and about nothing else


def slides_of(notebook: NotebookNode) -> NotebookNode:
    """The notebook as slides.

    Slides: the title with its promise, the objectives, the heading and first paragraph of each section, exercises (without
    their solutions), the recap, and each quiz question, whose answer comes with one more key. Below a section's slide stand
    its formulas, lists and tables, functions of at most 14 lines with what they print, those written by hand (train_by_hand) in
    parts of at most 20, and figures and tables that cells show, tables in parts of 12 rows, with the line in italics that says
    what to see in a figure. All other text goes to the speaker's notes (key S).
    """
    cells: list[NotebookNode] = []
    section = ""
    for cell in notebook.cells:
        chosen = cell.metadata.get("slideshow", {}).get("slide_type")
        if chosen:
            cells.append(copy.deepcopy(cell))
        elif asked := re.fullmatch(r"quiz\((\d+)\)", cell.source.strip()):
            cells += _quiz_slides(as_markdown(quiz_of(int(asked[1]))))
        elif cell.cell_type == "code":
            cells += _code_slides(cell, section)
        elif cell.cell_type == "markdown":
            # A cell may hold several headings; each begins a part.
            for part in re.split(r"\n(?=##? )", cell.source.strip()):
                heading = re.match(r"##? (.*)", part)
                section = heading[1] if heading else section
                cells += _text_slides(part, section, exercise="exercise" in cell.metadata.get("rdistill", {}))
    notebook = copy.deepcopy(notebook)
    notebook.metadata.title = re.match(r"#+ (.*)", notebook.cells[0].source)[1]
    for number, cell in enumerate(cells):
        cell.id = f"slide-{number}"  # a cell may have become several
    notebook.cells = cells
    return notebook


def _slide(source: str, kind: str) -> NotebookNode:
    return new_markdown_cell(source.strip(), metadata={"slideshow": {"slide_type": kind}})


def _text_slides(part: str, section: str, exercise: bool) -> list[NotebookNode]:
    if exercise:  # one with several questions, each led in by bold words, has a slide for each
        task, *questions = re.split(r"\n\n(?=\*\*)", part)
        heading = part.partition("\n")[0]
        return [_slide(task, "slide"), *(_slide(f"{heading}\n\n{question}", "subslide") for question in questions)]
    if CAPTION.fullmatch(part):
        return [_slide(f'<p class="caption">{part.strip("*")}</p>', "-")]
    if not part.startswith("#"):
        return _blocks(part, section)
    if part.startswith(LEFT_OUT):
        return []
    return [_slide(part, "slide")] if part.startswith(WHOLE) else _section_slides(part)


def _section_slides(part: str) -> list[NotebookNode]:
    heading, _, rest = part.partition("\n")
    first, _, rest = rest.strip().partition("\n\n")
    while rest.startswith("$$"):  # a formula stays with the sentence that it ends
        formula, _, rest = rest.partition("\n\n")
        first += f"\n\n{formula}"
    return [_slide(f"{heading}\n\n{first}", "slide"), *_blocks(rest, re.sub(r"^#+ ", "", heading))]


def _blocks(source: str, section: str) -> list[NotebookNode]:
    """Formulas, lists and tables, with the line that leads to them, on slides; other text in the notes of the slide above."""
    shown, spoken = [], []
    for block in re.split(r"\n\s*\n", source.strip()):
        if re.match(r"\$\$|[-*] |\d+\. |\|", block):
            leads = spoken and (spoken[-1].rstrip().endswith(":") or block.startswith("$$"))
            lead = spoken.pop() + "\n\n" if leads else ""
            shown.append(lead + block)
        elif block.strip():
            spoken.append(block)
    notes = [_slide("\n\n".join(spoken), "notes")] if spoken else []
    return notes + [_slide(f"### {section}\n\n{block}", "subslide") for block in shown]


def _code_slides(cell: NotebookNode, section: str) -> list[NotebookNode]:
    if cell.metadata.get("nbgrader"):
        return []
    outputs = [output for output in cell.outputs if any(kind in output.get("data", {}) for kind in SHOWN)]
    slides = []
    by_hand = re.search(r"^(?:def|class) \w*(?:_by_hand|ByHand)\b", cell.source, re.MULTILINE)
    if by_hand or ("def " in cell.source and len(cell.source.splitlines()) <= LINES):
        parts = parts_of_code(cell.source)
        printed = [output for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"]
        for number, part in enumerate(parts, 1):
            code = copy.deepcopy(cell)
            code.source, code.outputs = part, printed if number == len(parts) else []
            slides += [_slide(f"### {section}", "subslide"), code]
    for output in itertools.chain.from_iterable(map(_in_parts, outputs)):
        picture = copy.deepcopy(cell)
        picture.source = ""
        picture.outputs = [output]
        slides += [_slide(f"### {section}", "subslide"), picture]
    for slide in slides:
        slide.metadata.setdefault("slideshow", NotebookNode(slide_type="-"))
    return slides


def parts_of_code(source: str) -> list[str]:
    """Code in parts of at most 20 lines, cut between statements; a longer statement stays whole."""
    lines = source.splitlines()
    starts = set()
    for node in ast.parse(source).body:
        inside = node.body if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        for statement in [node, *inside[1:]]:
            start = statement.lineno - 1
            while start and lines[start - 1].lstrip().startswith("#"):  # a comment belongs to what follows
                start -= 1
            starts.add(start)
    cuts, ends = [0], sorted(starts - {0}) + [len(lines)]
    for end, following in itertools.pairwise(ends):
        if following - cuts[-1] > PART:
            cuts.append(end)
    return ["\n".join(lines[start:end]).rstrip() for start, end in itertools.pairwise([*cuts, len(lines)])]


def _in_parts(output: NotebookNode) -> list[NotebookNode]:
    """An output; a Markdown table of many rows as several, each with the head."""
    table = output.data.get("text/markdown", "").splitlines()
    if len(table) <= ROWS + 2 or not table[0].startswith("|"):
        return [output]
    parts = []
    for start in range(2, len(table), ROWS):
        part = copy.deepcopy(output)
        part.data["text/markdown"] = "\n".join(table[:2] + table[start : start + ROWS])
        parts.append(part)
    return parts


def _quiz_slides(quiz: str) -> list[NotebookNode]:
    slides = []
    for number, question in enumerate(re.split(r"\n(?=\*\*\d+\.\*\*)", quiz)[1:], 1):
        asked, _, rest = question.partition("<details>")
        answer = re.sub(r"^\s*<summary>.*?</summary>|</details>.*", "", rest, flags=re.DOTALL)
        kind = "slide" if number == 1 else "subslide"
        slides += [_slide(f"### Quiz\n\n{asked}", kind), _slide(answer, "fragment")]
    return slides


def page(notebook: NotebookNode) -> str:
    """The slides as one HTML page."""
    reveal = resources.files("sphinx_revealjs") / "_static" / "revealjs"
    # Its themes bring fonts as files, so slides.css takes their place with the fonts of the system.
    exporter = SlidesExporter(template_name="slides", extra_template_basedirs=[str(ROOT / "tools")])
    inside = {
        "reveal_css": (reveal / "dist" / "reveal.css").read_text("utf-8"),
        "slides_css": (ROOT / "tools" / "slides" / "slides.css").read_text(encoding="utf-8"),
        "reveal_js": (reveal / "dist" / "reveal.js").read_text("utf-8"),
        "notes_js": (reveal / "plugin" / "notes" / "notes.js").read_text("utf-8"),
    }
    body, _ = exporter.from_notebook_node(slides_of(notebook), resources=inside)
    return formulas_in(body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "slides", help="folder of the finished slides")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        made = arguments.out / f"{path.stem}.html"
        made.write_text(page(nbformat.read(path, as_version=4)), encoding="utf-8")
        print(made)
