"""Prints docs/cheat-sheet.md on one page, as docs/cheat-sheet.pdf; needs the extra `site`, playwright and Chromium.

python tools/cheat_sheet.py
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "site"))

from formulas import formulas_in  # noqa: E402

SHEET = ROOT / "docs" / "cheat-sheet.md"
STYLE = """
@page { size: A4; margin: 12mm; }
body { font: 9pt/1.35 "DejaVu Sans", Verdana, sans-serif; color: #202020; }
h1 { font-size: 15pt; margin: 0 0 4pt; }
pre, code { font: 8.5pt "DejaVu Sans Mono", monospace; }
table { border-collapse: collapse; width: 100%; margin: 6pt 0; }
th, td { border-bottom: 0.5pt solid #999; padding: 2.5pt 5pt 2.5pt 0; text-align: left; vertical-align: top; }
thead:not(:has(th:not(:empty))) { display: none; }
.formula-spoken { display: none; }
a { color: inherit; text-decoration: none; }
"""


def mark(markdown: str) -> str:
    """What the title of the PDF says of the text that it was printed from."""
    return hashlib.sha256(markdown.encode()).hexdigest()[:12]


def page(markdown: str) -> str:
    """The sheet as HTML."""
    body = formulas_in(MarkdownIt().enable("table").render(markdown))
    title = f"rdistill cheat sheet {mark(markdown)}"
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>{body}</html>'


def main() -> None:
    """Prints it."""
    from playwright.sync_api import sync_playwright

    browser = os.environ.get("RDISTILL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("There is no Chromium here: install it, or name it in the variable RDISTILL_CHROMIUM.")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-dev-shm-usage"])
        window = running.new_page()
        window.set_content(page(SHEET.read_text(encoding="utf-8")))
        window.pdf(path=SHEET.with_suffix(".pdf"), prefer_css_page_size=True)
        running.close()


if __name__ == "__main__":
    main()
