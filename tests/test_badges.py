"""Run times from the JUnit file, and links that need the repository's address."""

from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
JUNIT = """<testsuites><testsuite>
<testcase classname="notebooks.00_a.ipynb" name="::Cell 0" time="6.5"/>
<testcase classname="notebooks.00_a.ipynb" name="::Cell 1" time="6.0"/>
<testcase classname="notebooks.01_b.ipynb" name="::Cell 0" time="200"/>{more}</testsuite></testsuites>"""
PROJECT = '[project]\nversion = "1.2"\n'
ADDRESS = 'urls = {Repository = "https://github.com/somebody/rdistill"}\n'


@pytest.fixture(scope="module")
def badges(load_script):
    return load_script("tools/badges.py")


@pytest.fixture
def clone(tmp_path) -> Path:
    for folder in ("docs", "notebooks"):
        (tmp_path / folder).mkdir()
    for name, title in {"00_a": "# 0. First\n\nText", "01_b": "# 1. Second"}.items():
        nbformat.write(new_notebook(cells=[new_markdown_cell(title)]), tmp_path / "notebooks" / f"{name}.ipynb")
    (tmp_path / "README.md").write_text("# Title\n\n<!-- badges -->\nold\n<!-- /badges -->\n\nText\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "junit.xml").write_text(JUNIT.format(more=""))
    return tmp_path


def test_run_times_are_summed_by_notebook(badges, clone):
    badges.main(clone / "junit.xml", clone)
    table = (clone / "docs" / "run-times.md").read_text()
    assert "| [0. First](../notebooks/00_a.ipynb) | 10 s |" in table
    assert "| [1. Second](../notebooks/01_b.ipynb) | 3.3 min |" in table
    assert "| all | 3.5 min |" in table
    readme = (clone / "README.md").read_text()
    assert "Run time of all notebooks: 3.5 min" in readme and "old" not in readme and readme.endswith("\n\nText\n")
    badge = ElementTree.fromstring((clone / "docs" / "run-time.svg").read_text())
    assert badge.get("aria-label") == "course runs in: 3.5 min"


def test_without_an_address_there_is_no_link_and_with_one_links_name_the_tag(badges, clone):
    badges.main(clone / "junit.xml", clone)
    assert "http" not in (clone / "README.md").read_text() + (clone / "docs" / "run-times.md").read_text()
    (clone / "pyproject.toml").write_text(PROJECT + ADDRESS)
    badges.main(clone / "junit.xml", clone)
    table = (clone / "docs" / "run-times.md").read_text()
    assert "https://mybinder.org/v2/gh/somebody/rdistill/v1.2?urlpath=lab%2Ftree%2Fnotebooks%2F01_b.ipynb" in table
    assert "https://colab.research.google.com/github/somebody/rdistill/blob/v1.2/notebooks/01_b.ipynb" in table
    assert "--branch v1.2 https://github.com/somebody/rdistill rdistill\n" in table  # the cell that Colab needs
    assert "Open in Colab" in (clone / "README.md").read_text()


def test_where_nothing_was_measured_times_stay_and_links_come(badges, clone):
    """So whoever copies the repository writes one address and needs no run of the tests."""
    badges.main(clone / "junit.xml", clone)
    (clone / "pyproject.toml").write_text(PROJECT + ADDRESS)
    badges.main(clone / "junit.xml", clone)
    names = [clone / name for name in ("README.md", "docs/run-times.md", "docs/run-time.svg")]
    written = [path.read_text() for path in names]
    badges.main(clone / "gone.xml", clone)
    assert [path.read_text() for path in names] == written
    (clone / "pyproject.toml").write_text(PROJECT + ADDRESS.replace("somebody", "another"))
    badges.main(clone / "gone.xml", clone)
    assert [path.read_text() for path in names] == [text.replace("somebody", "another") for text in written]


def test_notebooks_say_what_was_measured(badges, clone):
    first, second = (clone / "notebooks" / f"{name}.ipynb" for name in ("00_a", "01_b"))
    table = "| notebook | what | run time |\n|---|---|---|\n| [0. First](00_a.ipynb) | of 3 | 99 s |\n"
    table += "| [1. Second](01_b.ipynb) | 99 | 7 s |\n| Appendix | more | |\n| all | | 106 s |"
    cells = [
        new_markdown_cell("# 0. First\n\n**Run time**: about 9.9 min on two CPU cores."),
        new_markdown_cell(table),
    ]
    nbformat.write(new_notebook(cells=cells), first)
    sentence = "# 1. Second\n\n**Run time**: about a minute on two CPU cores; shorter the second time."
    nbformat.write(new_notebook(cells=[new_markdown_cell(sentence)]), second)
    for _ in range(2):
        badges.main(clone / "junit.xml", clone)
        head, shown = nbformat.read(first, as_version=4).cells
        assert head.source == "# 0. First\n\n**Run time**: about 10 s on two CPU cores."
        assert shown.source == table.replace("99 s", "10 s").replace("7 s", "3.3 min").replace("106 s", "3.5 min")
        (cell,) = nbformat.read(second, as_version=4).cells
        assert cell.source == sentence.replace("a minute", "3.3 min")


def test_half_a_run_gives_no_run_times(badges, clone):
    failed = '<testcase classname="notebooks.01_b.ipynb" name="::Cell 1" time="1"><failure/></testcase>'
    (clone / "junit.xml").write_text(JUNIT.format(more=failed))
    with pytest.raises(RuntimeError, match="cell that failed"):
        badges.main(clone / "junit.xml", clone)
    (clone / "junit.xml").write_text('<testsuites><testcase classname="notebooks.00_a.ipynb" time="1"/></testsuites>')
    with pytest.raises(RuntimeError, match="no run time of 01_b"):
        badges.main(clone / "junit.xml", clone)
    with pytest.raises(RuntimeError, match="no run time of 00_a, 01_b .* run make test"):
        badges.main(clone / "gone.xml", clone)


def test_the_table_names_every_notebook():
    table = (ROOT / "docs" / "run-times.md").read_text(encoding="utf-8")
    missing = [path.name for path in (ROOT / "notebooks").glob("*.ipynb") if f"notebooks/{path.name})" not in table]
    assert missing == [], "run make test and make badges"
