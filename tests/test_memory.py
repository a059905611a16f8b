"""Freed memory stays in the process where glibc can be told so, and nothing changes elsewhere."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from rdistill_helpers import BadInput, RetrievalNet, extract
from rdistill_helpers.memory import VARIABLE, keep_freed_memory

GLIBC = platform.libc_ver()[0] == "glibc"
FAULTS = """
import resource, torch
from rdistill_helpers.memory import keep_freed_memory
torch.set_num_threads(1)
told = keep_freed_memory()
def work():
    for _ in range(20):
        torch.ones(2**24)  # 64 MiB
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def in_a_process(program, **variables):
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | variables
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_blocks_that_are_taken_again_cause_no_page_faults():
    told, kept = in_a_process(FAULTS)
    assert told == "True" and int(kept) < 1000
    told, given_back = in_a_process(FAULTS, **{VARIABLE: "0"})
    assert told == "False" and int(given_back) > 5 * int(kept) + 5_000  # huge pages or 20 times 16,384 small ones


def test_nonsense_in_the_variable_is_one_sentence(monkeypatch):
    monkeypatch.setenv(VARIABLE, "often")
    with pytest.raises(BadInput, match="RDISTILL_KEEP_MEMORY is 'often': set it to 0 or 1"):
        keep_freed_memory()
    with pytest.raises(BadInput, match="RDISTILL_KEEP_MEMORY"):
        extract(RetrievalNet(weights=None), torch.zeros(1, 3, 64, 64, dtype=torch.uint8), progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "without",
    ["import platform; platform.libc_ver = lambda: ('', '')", "import ctypes; ctypes.CDLL = lambda name: object()"],
    ids=["another C library", "no mallopt"],
)
def test_another_library_changes_nothing_and_says_so_once(without):
    program = f"""
import logging; logging.basicConfig(level=logging.INFO)
from rdistill_helpers.memory import keep_freed_memory
{without}
print(keep_freed_memory(), keep_freed_memory())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr
    assert done.stderr.count("Freed memory is left to the system") == 1
