"""The doctor: a line for each part of the installation, and a fix for each that is broken."""

import re
import sys
from types import SimpleNamespace

import pytest
from tiny_sets import write_rooms

from rdistill_course import doctor
from rdistill_helpers import RetrievalNet, save_network


@pytest.fixture
def data_folder(tmp_path):
    """A data folder as the doctor wants it, of the smallest kind."""
    folder = tmp_path / "data"
    (folder / "models").mkdir(parents=True)
    write_rooms(folder)
    net = RetrievalNet("squeezenet1_1", weights=None)
    for name in ("squeezenet1_1", "teacher_lite2_gem"):
        save_network(net, folder / "models" / f"{name}.safetensors")
    return folder


def test_the_doctor_finds_a_whole_installation_well(data_folder, tmp_path, capsys):
    assert doctor(data_folder, tmp_path / "runs") is True
    out = capsys.readouterr().out
    assert "[FAIL]" not in out
    assert out.count("[OK]") == 14
    assert "Everything is ready." in out


@pytest.mark.parametrize(
    ("harm", "part", "fix"),
    [
        (lambda folder: (folder / "rooms.zip").unlink(), "photographs", "git checkout"),
        (lambda folder: (folder / "rooms.zip").write_bytes(b"cut"), "photographs", "git checkout"),
        (lambda folder: write_rooms(folder, edition=None), "photographs", "git checkout"),
        (lambda folder: (folder / "rooms_train_labels.csv").unlink(), "photographs", "git checkout"),
        (lambda folder: (folder / "models/squeezenet1_1.safetensors").unlink(), "student network", "git checkout"),
        (lambda folder: (folder / "models/squeezenet1_1.safetensors").write_bytes(b"cut"), "student network", "git checkout"),
        (lambda folder: (folder / "models/teacher_lite2_gem.safetensors").write_bytes(b"cut"), "teacher", "git checkout"),
    ],
)  # fmt: skip
def test_the_doctor_names_what_is_broken_and_the_fix(data_folder, tmp_path, capsys, harm, part, fix):
    harm(data_folder)
    assert doctor(data_folder, tmp_path / "runs") is False
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[FAIL]")]
    assert len(failed) == 1
    assert part in failed[0]
    assert fix in failed[0]


def test_the_doctor_tells_of_old_python_missing_packages_full_disks_and_closed_folders(
    data_folder, tmp_path, capsys, monkeypatch
):
    import shutil
    from importlib import metadata

    def version(name):
        if name.startswith("faiss"):
            raise metadata.PackageNotFoundError(name)
        return "99.0"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12_000_000))
    (tmp_path / "runs").write_text("a file where the folder should be")
    assert doctor(data_folder, tmp_path / "runs") is False
    failed = re.findall(r"\[FAIL\] (.*?):", capsys.readouterr().out)
    assert failed == ["Python", "timm", "faiss", "folder for results", "free disk"]


FIXES = {
    "Python": "make the environment with Python 3.11 or newer",
    "timm": "install the package again: python -m pip install",
    "faiss": "install the package again: python -m pip install",
    "torch": "install the package again: python -m pip install",
    "photographs": "unset RDISTILL_DATA",
    "student network": "unset RDISTILL_DATA",
    "teacher network": "unset RDISTILL_DATA",
    "folder for results": "RDISTILL_RUNS",
    "free disk": "RDISTILL_RUNS",
}


def test_every_failure_that_the_doctor_finds_comes_with_its_fix(tmp_path, capsys, monkeypatch):
    from importlib import metadata

    def version(name):
        if name.startswith("faiss"):
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "torch" else "99.0"

    import torchvision  # noqa: F401 - its own import asks for versions, which are false below

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2.6", "timm>=1.0", 'pytest>=8; extra == "dev"'])
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setitem(sys.modules, "timm", None)
    (tmp_path / "runs").write_text("a file where the folder should be")
    assert doctor(tmp_path / "no data", tmp_path / "runs") is False
    failed = dict(re.findall(r"\[FAIL\] (.*?): (.*)", capsys.readouterr().out))
    assert set(failed) == set(FIXES)
    assert {part: line for part, line in failed.items() if FIXES[part] not in line} == {}
    assert "1.0 is installed where >=2.6 is needed" in failed["torch"]
