"""docs/performance.md is made of the figures that the benchmarks keep; a quick run of each shows that they run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import page
from benchmarks.record import RESULTS, machine, options, parsed, save
from benchmarks.rounds import elsewhere

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["extraction", "step_overhead", "losses", "scoring_at_scale", "search", "shipping"]


def test_the_page_is_that_of_the_figures():
    assert page.PAGE.read_text(encoding="utf-8") == page.page(RESULTS)


def test_what_was_not_measured_is_named_with_its_command(tmp_path):
    text = page.page(tmp_path)
    assert text.count("Not measured yet: `make performance`") == 7 and text.count("`make gpu`") == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_quick_run_makes_a_section_of_the_page(name, tmp_path):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--threads", "1", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = tmp_path.glob("*.json")
    figures = json.loads(written.read_text(encoding="utf-8"))
    text = page.page(tmp_path)
    assert f"Measured on: {figures['machine']}." in text
    assert not re.search(r"\d (ms|s|seconds)\b", text), "ratios, never times"


def figures_of_a_step(**compiled):
    shares = {"sampling": 0.001, "augmentation": 0.04, "joint space": 0.0071, "all parts": 0.0481}
    return {
        "machine": "a processor", "whole step": {"the list alone": 1.04, "with mixtures": 1.06},
        "parts": {"without": {"sampling": 0.001, "all parts": 0.001}, "48 mixtures": shares},
        "mixtures of maps": 1.25, **({"compile": compiled} if compiled else {}),
    }  # fmt: skip


def test_a_step_shows_the_joint_space_all_parts_and_the_whole():
    text = page.step_overhead(figures_of_a_step())
    for figure in ("0.7 %", "4.8 %", "1.04", "1.06", "1.25"):
        assert figure in text
    assert "torch.compile" not in text


@pytest.mark.parametrize(("ratio", "word"), [(0.93, "`torch.compile` pays"), (1.4, "does not pay")])
def test_a_line_says_whether_compilation_pays(ratio, word):
    steps = {"steps": 100, "all steps": ratio, "later steps": 0.8, "compilation in plain steps": 60.0}
    assert word in page.step_overhead(figures_of_a_step(**steps))


def test_a_peer_that_is_not_installed_is_left_out_with_the_reason():
    shares = {"extract": 0.5, "bare": 0.52, "one at a time": 0.1}
    network = {"multiply-adds": 10**8, "share of the limit": shares, "onnxruntime": "it is not installed"}
    text = page.extraction({"networks": {"teacher": network}})
    assert "onnxruntime is left out: it is not installed." in text and "5.0 times" in text and "96 %" in text


def test_a_browser_is_compared_by_threads():
    text = page.browser({"student": "student.onnx", "browser to onnxruntime": {"1": 8.9, "4": 7.25}})
    assert "student.onnx" in text and "| 1 | 8.90 |" in text and "| 4 | 7.25 |" in text


def test_the_machine_is_named_without_a_date():
    told = machine(2)
    assert "2 of " in told and f"PyTorch {torch.__version__.split('+')[0]}" in told
    assert not re.search(r"\b20\d\d\b", told)


def test_figures_of_a_quick_run_stay_out_of_the_page(tmp_path):
    threads = str(torch.get_num_threads())
    args = parsed(options("x"), ["--quick", "--threads", threads])
    assert args.results != RESULTS
    save(parsed(options("x"), ["--results", str(tmp_path), "--threads", threads]), "name", {"ratio": 1.23456})
    assert json.loads((tmp_path / "name.json").read_text(encoding="utf-8"))["ratio"] == 1.23


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_benchmarks_are_skipped_with_a_reason(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(options("x", device=True), ["--device", "cuda"])
    assert ended.value.code == 0 and "no GPU" in capsys.readouterr().err


def functions_there(value):
    def fails_elsewhere():
        assert value == 3

    return {"checked": fails_elsewhere}


@pytest.mark.slow
def test_functions_run_in_a_process_of_their_own():
    with elsewhere(functions_there, 3) as functions:
        assert list(functions) == ["checked"]
        functions["checked"]()
