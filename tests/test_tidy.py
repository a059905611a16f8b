"""The shape of the packages: data -> fetch -> embed -> distil -> score; plots and serve on top; heavy libraries load late."""

import ast
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rdistill_helpers"
# `fetch` fills the data folder: it knows the layouts that `data` reads, while `data` knows no address. `embed` names the
# addresses of published networks that are not there yet.
STAGES = ["data", "fetch", "embed", "distil", "score", "plots", "ship", "serve"]
HEAVY = {
    "umap", "faiss", "matplotlib", "ipywidgets", "pytorch_metric_learning", "starlette", "uvicorn", "tenacity", "onnx",
    "onnxruntime", "onnxscript",
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))
OTHERS = [path for folder in ("rdistill_course", "study") for path in sorted((ROOT / folder).rglob("*.py"))]


def imported_by(path: Path) -> set[str]:
    """Full names of everything of the two packages that a file imports, wherever in the file the import stands."""
    package = ["rdistill_helpers", *path.relative_to(PACKAGE).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("rdistill_helpers", "rdistill_course")}


def stage_of(parts: list[str]) -> str | None:
    return parts[0] if parts and parts[0] in STAGES else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_stages_import_only_earlier_ones_and_nothing_imports_plots_or_serve(path):
    own = stage_of(list(path.relative_to(PACKAGE).parts))
    for name in imported_by(path):
        used = stage_of(name.split(".")[1:])
        if used is None or used == own:
            continue
        assert own != "serve" or used in ("data", "embed"), f"{path.name} imports {name}: serve knows embed only"
        commands = used == "serve" and path.name == "commands.py"
        assert used not in ("plots", "serve") or commands, f"{path.name} imports {name}: only commands import serve"
        if own is not None:
            assert STAGES.index(used) < STAGES.index(own), f"{path.name} imports {name}, a later stage"
        else:
            assert path.name == "__init__.py" or path.name.startswith("command"), (
                f"{path.name} stands below all stages and imports {name}"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_library_imports_nothing_of_the_course(path):
    assert {name for name in imported_by(path) if name.startswith("rdistill_course")} == set()


OF_OTHERS = {"_exit", "_BatchNorm", "_transform_input"}  # of os, PyTorch and torchvision


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.stem)
def test_no_test_names_a_private_part(path):
    """So that whatever the package hides can change without a test."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.alias):
            named.add(node.name.split(".")[-1])
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            named.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            named |= {str(one.value).split(".")[-1] for one in node.args if isinstance(one, ast.Constant)}
    assert {name for name in named if name.startswith("_") and not name.endswith("_")} <= OF_OTHERS


def public_functions(path: Path) -> list[ast.FunctionDef]:
    """The functions of a file and the methods of its classes whose names have no underscore in front."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    found = [*body, *(node for one in classes for node in one.body)]
    return [node for node in found if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", [*MODULES, *OTHERS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_name_every_parameter_and_say_what_is_raised(path):
    """ruff's D417 looks only at docstrings that have an Args section."""
    for function in public_functions(path):
        text, own = ast.get_docstring(function) or "", function.args
        names = [one.arg for one in (*own.posonlyargs, *own.args, *own.kwonlyargs) if one.arg not in ("self", "cls")]
        missing = [name for name in names if not re.search(rf"^ +{name}: \S", text, re.MULTILINE)]
        assert missing == [], f"{function.name} leaves out {missing}"
        inner = {
            node
            for one in ast.walk(function)
            if isinstance(one, ast.FunctionDef) and one is not function
            for node in ast.walk(one)
        }
        raises = any(isinstance(node, ast.Raise) and node.exc and node not in inner for node in ast.walk(function))
        assert "Raises:" in text or not raises, f"{function.name} does not say what it raises"


@pytest.mark.slow
def test_importing_the_package_leaves_the_heavy_libraries_alone():
    modules = ["rdistill_course", "rdistill_helpers", *(f"rdistill_helpers.{stage}" for stage in STAGES[:-1])]
    program = f"import {', '.join(modules)}, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_tests_cannot_reach_the_network():
    with pytest.raises(OSError, match="a test tried to"):
        socket.create_connection(("example.org", 80), timeout=1)
    with socket.socket() as outside, pytest.raises(OSError, match="a test tried to"):
        outside.connect(("192.0.2.1", 80))


def test_loopback_stays_open_for_jupyter_kernels():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname(), timeout=5):
            pass
