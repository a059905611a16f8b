"""Checks the links between files: every relative link of a Markdown file or notebook leads to a file, every anchor to a heading.

`python tools/check_links.py [FILE ...]`, all of the repository by default. Links to other hosts are not followed.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat

ROOT = Path(__file__).resolve().parents[1]


def markdown_of(path: Path) -> str:
    """The Markdown of a file without its code; of a notebook, that of its text cells and printed tables."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        parts = []
        for cell in nbformat.reads(text, as_version=4).cells:
            if cell.cell_type == "markdown":
                parts.append(cell.source)
            parts += [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
        text = "\n\n".join(parts)
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(path: Path) -> set[str]:
    """Anchors that code hosts give to the headings of a file."""
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else markdown_of(path)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        unique = anchor
        while unique in anchors:
            unique, number = f"{anchor}-{number}", number + 1
        anchors.add(unique)
    return anchors


def broken_links(path: Path) -> list[str]:
    """The relative links of a file that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", markdown_of(path)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path.resolve()
        lost = not target.exists()
        if not lost and anchor and target.suffix in (".md", ".ipynb"):
            lost = anchor not in anchors_of(target)
        if lost:
            broken.append(link)
    return broken


def pages() -> list[Path]:
    """Every Markdown file and notebook that belongs to the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.ipynb"]
    named = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in named if name and (ROOT / name).is_file()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="Markdown files and notebooks; all by default")
    lost = [(path, link) for path in parser.parse_args().files or pages() for link in broken_links(path)]
    for path, link in lost:
        print(f"{path}: {link} leads nowhere")
    sys.exit(bool(lost))
