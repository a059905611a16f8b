"""Writes measured run times, and links that open a notebook elsewhere, from what `make test` measured.

`make badges` reads build/notebooks.xml, the JUnit file of the notebook tests, and writes docs/run-times.md (a table),
docs/run-time.svg (the badge of the README), the run time at the head of each notebook and the table of notebook 0; where no
tests were run, the times stay those of the table. With an address of
the repository in pyproject.toml it also writes links to Binder and Colab, by the tag of the version, into the table and
between the marks <!-- badges --> of README.md, and the cell that a notebook needs on Colab.
"""

import argparse
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import nbformat

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- badges -->", "<!-- /badges -->"
COLAB = """\

A notebook that is opened on Colab comes without the repository. Put this into a cell above all others and run it once; PyTorch is
there already:

```text
!git clone --quiet --depth 1 --branch {tag} {address} rdistill
%cd rdistill/notebooks
%pip install --quiet --editable ..
import sys
sys.path.insert(0, "..")  # this kernel was started before the installation
```
"""


def seconds_of(junit: Path) -> dict[str, float]:
    """Seconds of each notebook, by its name without ending: the sum over its cells in the JUnit file.

    Raises RuntimeError where a cell failed or was not run: a run time of half a notebook is none.
    """
    seconds: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(junit).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            raise RuntimeError(
                f"{junit} tells of a cell that failed ({case.get('name')}): mend it and run make test again."
            )
        seconds[case.get("classname", "").removesuffix(".ipynb").split(".")[-1]] += float(case.get("time", 0))
    return dict(seconds)


def in_words(seconds: float) -> str:
    """As one says it: 13 s becomes "15 s", 75 s "75 s", 214 s "3.6 min"."""
    return f"{max(5, 5 * round(seconds / 5))} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def links(address: str | None, tag: str, notebook: str) -> tuple[str, str] | None:
    """Addresses that open a notebook on Binder and on Colab, for a repository on GitHub; None without an address."""
    place = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", address or "")
    if not place:
        return None
    path = f"notebooks/{notebook}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{place[1]}/{tag}?urlpath={quote(f'lab/tree/{path}', safe='')}"
    return binder, f"https://colab.research.google.com/github/{place[1]}/blob/{tag}/{path}"


def times_of(seconds: dict[str, float]) -> dict[str, str]:
    """The run time of each notebook in words, and of "all" of them."""
    return {name: in_words(value) for name, value in seconds.items()} | {"all": in_words(sum(seconds.values()))}


def kept_times(page: str) -> dict[str, str]:
    """The run times that docs/run-times.md holds, as `times_of` gives them."""
    rows = re.findall(r"^\| (?:\[.*\]\(\.\./notebooks/(.+)\.ipynb\)|all) \| ([^|]+) \|", page, re.MULTILINE)
    return {name or "all": words for name, words in rows}


def write_into_notebooks(folder: Path, seconds: dict[str, float]) -> None:
    """The sentence on run time in each notebook, and the last column of tables whose rows begin with links to notebooks."""
    times = times_of(seconds)
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        before = nbformat.writes(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                said = rf"\g<1>{times[path.stem]}\g<2>"
                cell.source = re.sub(r"(\*\*Run time\*\*: about ).*?( on two CPU cores)", said, cell.source)
                cell.source = _with_times(cell.source, times)
        if nbformat.writes(notebook) != before:
            path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")


def _with_times(text: str, times: dict[str, str]) -> str:
    for name, words in times.items():
        row = "all" if name == "all" else rf"\[[^\]\n]*\]\({re.escape(name)}\.ipynb\)"
        text = re.sub(rf"^(\| {row} \|.*\| )[^|\n]*( \|)$", rf"\g<1>{words}\g<2>", text, flags=re.MULTILINE)
    return text


def table(times: dict[str, str], titles: dict[str, str], address: str | None, tag: str) -> str:
    """docs/run-times.md."""
    elsewhere = links(address, tag, "") is not None
    lines = [
        "# Run times",
        "",
        "Seconds from a fresh kernel on two CPU cores, as the test run measured them, with the teacher's answers not yet paid for",
        "where a notebook asks for them first. Older or busy machines take longer. `make badges` writes this page from",
        "`build/notebooks.xml`, which `make test` leaves.",
        "",
        f"| notebook | run time |{' open on |' if elsewhere else ''}",
        f"|---|---|{'---|' if elsewhere else ''}",
    ]
    for name, title in titles.items():
        line = f"| [{title}](../notebooks/{name}.ipynb) | {times[name]} |"
        if opened := links(address, tag, name):
            line += f" [Binder]({opened[0]}), [Colab]({opened[1]}) |"
        lines.append(line)
    whole = f"| all | {times['all']} |"
    page = "\n".join([*lines, whole + (" |" if elsewhere else "")]) + "\n"
    return page + (COLAB.format(tag=tag, address=address) if elsewhere else "")


def badge(label: str, value: str) -> str:
    """A badge as SVG: text on two fields, white on dark, readable in grey."""
    left, right = (int(7 * len(text) + 14) for text in (label, value))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}: {value}">\n'
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="#1b5e9e"/>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        f'<text x="{left / 2:g}" y="14">{label}</text><text x="{left + right / 2:g}" y="14">{value}</text></g></svg>\n'
    )


def with_badges(readme: str, total: str, address: str | None, tag: str) -> str:
    """The README with what stands between the marks written anew."""
    line = f"[![Run time of all notebooks: {total}](docs/run-time.svg)](docs/run-times.md)"
    if opened := links(address, tag, "00_start_here"):
        line += f" [Open in Binder]({opened[0]}) · [Open in Colab]({opened[1]})"
    if START not in readme or END not in readme:
        raise RuntimeError(f"README.md has no marks {START} and {END}: put them where the badges belong.")
    before, rest = readme.split(START, 1)
    return f"{before}{START}\n{line}\n{END}{rest.split(END, 1)[1]}"


def main(junit: Path, root: Path) -> None:
    """Writes them all."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address, tag = project.get("urls", {}).get("Repository"), f"v{project['version']}"
    titles = {
        path.stem: nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        for path in sorted((root / "notebooks").glob("*.ipynb"))
    }
    page = root / "docs" / "run-times.md"
    seconds = {}
    if junit.is_file():
        seconds = {name: value for name, value in seconds_of(junit).items() if name in titles}
        times = times_of(seconds)
    else:
        times = kept_times(page.read_text(encoding="utf-8")) if page.is_file() else {}
    if missing := set(titles) - set(times):
        raise RuntimeError(
            f"There is no run time of {', '.join(sorted(missing))} in {junit if junit.is_file() else page}: "
            "run make test, it measures them."
        )
    if seconds:
        write_into_notebooks(root / "notebooks", seconds)
    page.write_text(table(times, titles, address, tag), encoding="utf-8")
    (root / "docs" / "run-time.svg").write_text(badge("course runs in", times["all"]), encoding="utf-8")
    readme = root / "README.md"
    readme.write_text(with_badges(readme.read_text(encoding="utf-8"), times["all"], address, tag), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--junit", type=Path, default=ROOT / "build" / "notebooks.xml")
    try:
        main(parser.parse_args().junit, ROOT)
    except RuntimeError as error:
        sys.exit(str(error))
