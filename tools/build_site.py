"""Builds the site: the notebooks as they are, executed, the guides and the reference of the package, as HTML in build/site.

`make site`, or `python tools/build_site.py`. Nothing is executed and nothing is fetched; the pages ask no other host for
anything and work from a disk. Needs the extra `site`: python -m pip install --editable ".[site]".
"""

import argparse
import base64
import copy
import html
import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


CONF = ROOT / "tools" / "site"
WIDGET = "application/vnd.jupyter.widget-view+json"
CHART = re.compile(r"^(!\[[^\]]*\]\(\S+\.png\))$", re.MULTILINE)
PICTURE = re.compile(
    r'<picture>\s*<source media="[^"]*dark[^"]*" srcset="([^"]+)">\s*<img src="([^"]+)" alt="([^"]*)">\s*</picture>'
)
# Widgets that play.js has for pages without a kernel, by how the sentence about them begins.
PLAYS = {"Move lambda": "mixing", "Choose a query, a protocol": "protocol", "Choose a loss": "losses"}
NOT_PROSE = re.compile(
    r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<[^>]+>|^#.*?$|^\|.*?$)",
    re.DOTALL | re.MULTILINE,
)
PAGE = 20  # the grey of dark pages
# Pages beside the notebooks and docs/*.md; the others are offered as files where a page links to them.
ABOUT = [
    "CONTRIBUTING.md",
    "LICENSE-text.md",
    "data/README.md",
    "data/CREDITS.md",
    "data/models/MODEL_CARD.md",
    "study/PROTOCOL.md",
]
# Reference pages: title, and the modules whose public functions and classes they list; of rdistill_helpers where not told.
REFERENCE = {
    "data": ("Data", ["data.benchmark", "data.rooms", "data.folders", "data.images", "data.sfm", "data.ground_truth"]),
    "fetch": ("Fetch", ["fetch.download"]),
    "embed": (
        "Embed",
        ["embed.network", "embed.published", "embed.pooling", "embed.extract", "embed.to_file", "embed.black_box",
         "embed.harder", "embed.hub", "embed.vit", "embed.whitening", "descriptors"],
    ),
    "distil": (
        "Distil",
        ["distil.interpolate", "distil.losses", "distil.losses.orders", "distil.losses.relations", "distil.batches",
         "distil.settings", "distil.distill", "distil.baselines", "distil.loop", "distil.history", "distil.tensorboard",
         "distil.choose"],
    ),
    "score": (
        "Score",
        ["score.report", "score.ranks", "score.search", "score.expansion", "score.uncertainty"],
    ),
    "ship": (
        "Ship",
        ["ship.to_onnx", "ship.onnx_student", "ship.projection", "ship.indexing", "ship.photo_index", "ship.results"],
    ),
    "serve": ("Serve", ["serve.client", "serve.server", "serve.keys"]),
    "plots": ("Plots", ["plots.charts", "plots.style"]),
    "course": (
        "Course",
        ["rdistill_course.doctor", "rdistill_course.closing_table", "rdistill_course.diagrams", "rdistill_course.loss_figures", "rdistill_course.whitening",
         "rdistill_course.toy",
         "rdistill_course.cost", "rdistill_course.published", "rdistill_course.maps", "rdistill_course.progress",
         "rdistill_course.embeddings", "rdistill_course.mixtures", "rdistill_course.sets",
         "rdistill_course.photographs", "rdistill_course.pictures", "rdistill_course.tiles", "rdistill_course.runs", "rdistill_course.shipping",
         "rdistill_course.style",
         "rdistill_course.widgets.mixing", "rdistill_course.widgets.protocols", "rdistill_course.widgets.losses",
         "rdistill_course.widgets.map_points", "rdistill_course.widgets.photographs", "rdistill_course.widgets.search_page",
         "rdistill_course.widgets.quiz"],
    ),
    "check": (
        "Exercise checks",
        ["rdistill_course.checks.hints", "rdistill_course.checks.runner", "rdistill_course.checks.embeddings", "rdistill_course.checks.interpolation",
         "rdistill_course.checks.ranking_losses", "rdistill_course.checks.training", "rdistill_course.checks.scoring",
         "rdistill_course.checks.few_images", "rdistill_course.checks.shipping"],
    ),
    "common": ("Errors and processes", ["errors", "parallel"]),
}  # fmt: skip


def page_of_notebook(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as a page: widgets play or stand still, photographs lie on white and on dark, solutions are folded."""
    notebook.metadata.pop("widgets", None)
    words = glossary()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            of_others = cell.source.startswith("## References")  # titles of papers stay as they are
            cell.source = with_open_details(cell.source if of_others else with_glossary(cell.source, words))
            continue
        if cell.cell_type != "code":
            continue
        cell.outputs = [shown for output in cell.outputs for shown in outputs_of_page(output)]
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.metadata.setdefault("tags", []).append("hide-input")
            cell.metadata["mystnb"] = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
    return notebook


def glossary() -> dict[str, str]:
    """The words of docs/glossary.md, by word the anchor of its heading."""
    named = re.findall(r"^### (.+)$", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {word: re.sub(r"[^\w\- ]", "", word.lower()).replace(" ", "-") for word in named}


def with_glossary(markdown: str, words: dict[str, str]) -> str:
    """The text with links to the glossary at the first uses of these words; words that were found leave the dict.

    Headings, tables, code, formulas, HTML and other links stay as they are.
    """
    for word, anchor in list(words.items()):
        first, rest = f"[{word[0].upper()}{word[0].lower()}]", re.escape(word[1:])  # mAP is none of the feature maps
        found = re.compile(rf"(?<![\w/-]){first}{rest}s?(?![\w/-])")
        parts = NOT_PROSE.split(markdown)
        for at in range(0, len(parts), 2):
            if use := found.search(parts[at]):
                link = f"[{use[0]}](../docs/glossary.md#{anchor})"
                parts[at] = parts[at][: use.start()] + link + parts[at][use.end() :]
                del words[word]
                break
        markdown = "".join(parts)
    return markdown


def outputs_of_page(output: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """An output as a page shows it; figures with photographs twice, for light pages and for dark ones."""
    data = output.get("data", {})
    if data.pop(WIDGET, None) is not None:
        does = data["text/plain"].removeprefix("<widget: ")
        for begins, play in PLAYS.items():
            if does.startswith(begins):
                data["text/html"] = f'<div class="play" data-play="{play}">\n{data["text/html"]}\n</div>'
    about = output.get("metadata", {}).get("image/jpeg", {})
    if "photographs" not in about:
        return [output]
    dark = copy.deepcopy(output)
    dark.data["image/jpeg"] = on_dark(output.data["image/jpeg"], about["photographs"])
    about["class"], dark.metadata["image/jpeg"]["class"] = "only-light", "only-dark"
    return [output, dark]


def on_dark(picture: str, photographs: list[list[int]]) -> str:
    """A figure in base64 with its lightness reversed, colours and all that lies in these boxes kept."""
    light = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    values = np.asarray(light).astype(int)
    turned = (values + 255 - values.max(2, keepdims=True) - values.min(2, keepdims=True)).clip(PAGE)
    dark = Image.fromarray(turned.astype(np.uint8))
    for box in photographs:
        dark.paste(light.crop(box), box[:2])
    stream = io.BytesIO()
    dark.save(stream, "JPEG", quality=85, subsampling=0, optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def with_open_details(markdown: str) -> str:
    """The text inside <details> on lines of its own, where Markdown reads it: code and formulas work in answers too."""
    markdown = re.sub(r"(<details>\s*<summary>.*?</summary>)", r"\n\1\n\n", markdown, flags=re.DOTALL)
    return re.sub(r"\s*</details>(?:<br>)?", "\n\n</details>\n", markdown)


def page_of_markdown(text: str) -> str:
    """A page of the repository as a page of the site, where the README is the index, and pictures scroll and turn dark."""
    text = CHART.sub(r"```{container} figure chart wide\n\1\n```", PICTURE.sub(_for_both, text))
    return re.sub(r"\]\(((?:\.\./)*)README\.md([#)])", r"](\1index.md\2", text) if "README.md" in text else text


def _for_both(found: re.Match) -> str:
    """A picture that comes light and dark, each in a frame that the theme hides where it does not fit."""
    dark, light, alt = found.groups()
    framed = "```{container} figure wide only-%s\n![%s](%s)\n```\n"
    return "\n".join(framed % (scheme, html.unescape(alt), one) for scheme, one in (("light", light), ("dark", dark)))


def contents(caption: str, pages: list[str]) -> str:
    lines = "\n".join(pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def reference_page(title: str, modules: list[str]) -> str:
    parts = [f"# {title}\n"]
    for name in modules:
        module = name if name.startswith("rdistill_") else f"rdistill_helpers.{name}"
        parts.append(f"## `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n")
    return "\n".join(parts)


def lay_out(source: Path) -> None:
    """Writes the sources of all pages to a fresh folder, laid out as the repository is, so that links between them hold."""
    shutil.rmtree(source, ignore_errors=True)
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    guides = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
    about = [name for name in ABOUT if (ROOT / name).is_file()]
    for path in notebooks:
        copy = source / "notebooks" / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page_of_notebook(nbformat.read(path, as_version=4)), copy)
    for name in [*guides, *about]:
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(page_of_markdown((ROOT / name).read_text(encoding="utf-8")), encoding="utf-8")
    (source / "reference").mkdir()
    for page, (title, modules) in REFERENCE.items():
        (source / "reference" / f"{page}.md").write_text(reference_page(title, modules), encoding="utf-8")
    index = page_of_markdown((ROOT / "README.md").read_text(encoding="utf-8"))
    index += contents("The course", [f"notebooks/{path.stem}" for path in notebooks])
    index += contents("Guides", [name.removesuffix(".md") for name in guides])
    index += contents("Reference", [f"reference/{page}" for page in REFERENCE])
    index += contents("About", [name.removesuffix(".md") for name in about])
    (source / "index.md").write_text(index, encoding="utf-8")
    copy_linked_files(source)


def copy_linked_files(source: Path) -> None:
    """Files of the repository that a page links to and that are no pages themselves, such as LICENSE."""
    for page in source.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text(encoding="utf-8")):
            copy = (page.parent / target).resolve()
            original = ROOT / copy.relative_to(source.resolve()) if copy.is_relative_to(source.resolve()) else None
            if original and original.is_file() and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, copy)


def build(site: Path, source: Path) -> None:
    """Builds the site anew from fresh sources. Raises RuntimeError where Sphinx warns, or where a page is missing."""
    lay_out(source)
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-c", CONF]
    done = subprocess.run([*command, "-d", source.with_name(f"{source.name}-cache"), "-E", source, site])
    pages = [path.relative_to(source) for path in source.rglob("*") if path.suffix in (".md", ".ipynb")]
    missing = [str(page) for page in pages if not (site / page.with_suffix(".html")).is_file()]
    if done.returncode or missing:
        raise RuntimeError(f"The site is not whole, read the lines above; pages that are missing: {missing or 'none'}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=ROOT / "build" / "site", help="folder of the finished pages")
    arguments = parser.parse_args()
    start = time.perf_counter()
    try:
        build(arguments.site, arguments.site.parent / "site-source")
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"{arguments.site / 'index.html'}, built in {time.perf_counter() - start:.0f} s")
