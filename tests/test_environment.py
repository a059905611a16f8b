"""pip and conda install the same things."""

import ast
import re
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = (ROOT / "environment.yml").read_text(encoding="utf-8")
CONDA_NAMES = {
    "torch": "pytorch",
    "playwright": "playwright-python",
}  # where conda-forge calls a package something else than PyPI
ONLY_CONDA = {"python", "pip"}


def split(requirement: str) -> tuple[str, str]:
    name, version = re.fullmatch(r"([A-Za-z0-9._-]+)((?:[<>=!~].*)?)", requirement.strip()).groups()
    return name, version


def environment_lines() -> list[str]:
    return re.findall(r"^  - (.*)$", ENVIRONMENT.split("dependencies:")[1], re.MULTILINE)


def test_both_files_ask_for_the_same_packages_and_versions():
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    by_pip = {CONDA_NAMES.get(name, name): version for name, version in map(split, needed)}
    by_conda = dict(split(line.split("#")[0]) for line in environment_lines())
    assert {name: version for name, version in by_conda.items() if name not in ONLY_CONDA} == by_pip
    assert by_conda["python"] == PROJECT["requires-python"]


def test_every_conda_package_says_why_it_is_there():
    assert [line for line in environment_lines() if not re.search(r"  # .{12,}", line)] == []


def test_the_environment_comes_from_conda_forge_alone():
    assert re.findall(r"^  - (\S+)$", ENVIRONMENT.split("dependencies:")[0], re.MULTILINE) == ["conda-forge"]


MODULES = {
    "pillow": "PIL", "faiss-cpu": "faiss", "umap-learn": "umap", "scikit-learn": "sklearn", "scikit-image": "skimage",
}  # fmt: skip
# What no file imports: programs, plug-ins of pytest and of pandas and a theme, and where each is asked for.
NAMED = {
    "jupyterlab": ("Makefile", "$(BIN)/jupyter lab "),
    "ruff": ("Makefile", "$(BIN)/ruff "),
    "mypy": ("Makefile", "$(BIN)/mypy"),
    "nbdime": ("Makefile", "$(BIN)/nbdime "),
    "pre-commit": ("Makefile", "$(BIN)/pre-commit "),
    "pytest-xdist": ("Makefile", " -n $(TEST_JOBS) "),
    "nbval": ("Makefile", " --nbval-lax "),
    "tabulate": ("study/recipe.py", ".to_markdown("),
    "furo": ("tools/site/conf.py", 'html_theme = "furo"'),
}


def sources() -> list[str]:
    folders = [
        path for path in ROOT.iterdir() if path.is_dir() and path.name not in ("build", "runs") and path.name[0] != "."
    ]
    modules = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    pages = [nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    return modules + [cell.source for page in pages for cell in page.cells if cell.cell_type == "code"]


def imported(source: str) -> set[str]:
    """Top-level names that a piece of code imports, or looks up as the name of a package."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("files", "import_module", "importorskip", "needed"):
                names.add(str(node.args[0].value))
    return {name.split(".")[0] for name in names}


def test_every_package_is_used_somewhere():
    """A dependency that nothing imports and no command names is one to drop."""
    used = set().union(*map(imported, sources()))
    needed = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    names = {split(requirement)[0] for requirement in needed}
    unused = {name for name in names - set(NAMED) if MODULES.get(name, name.replace("-", "_")) not in used}
    assert unused == set()
    assert set(NAMED) <= names
    assert [name for name, (file, text) in NAMED.items() if text not in (ROOT / file).read_text(encoding="utf-8")] == []


def test_a_name_in_a_comment_or_a_text_is_no_use():
    assert imported('# import torch\n"import numpy"\nimport a.b\nfrom c import d\nfiles("e")') == {"a", "c", "e"}
