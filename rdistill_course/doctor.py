"""Is everything there that the course needs? One line a part, with the fix where something is not."""

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from rdistill_course.runs import runs_root
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.embed.network import load_network
from rdistill_helpers.errors import BadInput

OLDEST_PYTHON = (3, 11)
FREE_BYTES = 1_000_000_000
INSTALL = "install the package again: python -m pip install --editable ."
# Name of the distribution and of its module. The ones that are imported fail when their parts do not fit together; faiss
# and umap are only looked up, for faiss may not live in one process with torch on macOS, and umap takes seconds.
IMPORTED = {"torch": "torch", "torchvision": "torchvision", "timm": "timm", "ipywidgets": "ipywidgets"}
LOOKED_UP = {
    "faiss": ("faiss-cpu", "faiss"),
    "umap": ("umap-learn",),
    "matplotlib": ("matplotlib",),
    "pandas": ("pandas",),
}
OURS = "rdistill"  # the distribution that says how new the others must be


def doctor(root: str | Path | None = None, runs: str | Path | None = None) -> bool:
    """Checks the installation and prints [OK] or [FAIL] with the fix for each part; it never raises.

    Args:
        root: the data folder; by default the one that the package uses.
        runs: the folder of computed files; by default the one that the package uses.

    Returns:
        Whether all parts are well.
    """
    checks: dict[str, Callable[[], str]] = {
        "Python": _python,
        **{name: lambda name=name: _imported(name) for name in IMPORTED},  # type: ignore[misc]
        **{name: lambda name=name: _looked_up(name) for name in LOOKED_UP},  # type: ignore[misc]
        "photographs": lambda: _photographs(root),
        "student network": lambda: _network(root, "squeezenet1_1.safetensors", load=False),
        "teacher network": lambda: _network(root, "teacher_lite2_gem.safetensors", load=True),
        "folder for results": lambda: _writable(runs),
        "free disk": lambda: _free(runs),
    }
    well = True
    for part, check in checks.items():
        try:
            print(f"[OK]   {part}: {check()}")
        except Exception as error:  # whatever is broken, the other parts still get their line
            well = False
            print(f"[FAIL] {part}: {_one_line(error)}")
    print("Everything is ready." if well else "Some parts are not ready: do what the lines marked [FAIL] say.")
    return well


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise RuntimeError(f"{version} is too old: make the environment with Python 3.11 or newer.")
    return version


def _imported(name: str) -> str:
    try:
        importlib.import_module(IMPORTED[name])
    except Exception as error:
        raise RuntimeError(f"cannot be imported ({_one_line(error)}): {INSTALL}") from error
    return _new_enough(name)


def _new_enough(distribution: str) -> str:
    """Its version. Raises RuntimeError where that is older than this package asks for."""
    version = metadata.version(distribution)
    try:
        needed = [Requirement(line) for line in metadata.requires(OURS) or []]
    except metadata.PackageNotFoundError:  # used from its folder, without an installation
        needed = []
    for requirement in needed:
        if requirement.name == distribution and not requirement.specifier.contains(version, prereleases=True):
            raise RuntimeError(f"{version} is installed where {requirement.specifier} is needed: {INSTALL}")
    return version


def _looked_up(name: str) -> str:
    for distribution in LOOKED_UP[name]:
        try:
            return _new_enough(distribution)
        except metadata.PackageNotFoundError:
            continue
    raise RuntimeError(f"is not installed: {INSTALL}")


def _photographs(root: str | Path | None) -> str:
    archive = data_root(root) / "rooms.zip"
    training = TrainingImages.load("rooms", root)
    training.labels()
    return f"{archive.name} is whole, {len(training)} for training"


def _network(root: str | Path | None, name: str, load: bool) -> str:
    path = data_root(root) / "models" / name
    fix = "restore it with `git checkout -- data`."
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {fix}")
    try:
        if load:
            load_network(path)
        else:
            from safetensors.torch import load_file

            load_file(path)
    except Exception as error:
        raise RuntimeError(f"{path} is damaged ({_one_line(error)}): {fix}") from error
    return name


def _writable(runs: str | Path | None) -> str:
    try:
        folder = runs_root(runs)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"x")
    except (OSError, BadInput) as error:
        raise RuntimeError(
            f"nothing can be written there ({_one_line(error)}): name another folder in the variable RDISTILL_RUNS."
        ) from error
    return "can be written to"


def _free(runs: str | Path | None) -> str:
    try:
        free = shutil.disk_usage(runs_root(runs)).free
    except (OSError, BadInput) as error:
        raise RuntimeError(
            f"cannot be told ({_one_line(error)}): name another folder in the variable RDISTILL_RUNS."
        ) from error
    if free < FREE_BYTES:
        raise RuntimeError(
            f"{free / 1e9:.1f} GB are left where 1 GB is needed: delete something, `make clean` for one."
        )
    return f"{free / 1e9:.0f} GB"
