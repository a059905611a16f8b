"""Shows by killing processes that no work is lost, and by hostile files that bad input is refused; writes docs/reliability.md.

    make torture                                             # the full run: 600 kills, 120,000 inputs
    python -m reliability --kills 20 --inputs 1600 --results /tmp/r.json --report /tmp/r.md    # a small run, to try it
    python -m reliability --only scaling                     # one part again, the others as they were measured

kills: Six kinds of work (works.py) run in processes of their own (processes.py) and die by SIGKILL at seeded moments: after a
random time, or at a random file operation (opening, renaming or deleting a file, making or deleting a folder), so that the
moments between two operations are met as well. The disk is compared with an undisturbed run after each kill, and once more
after the same call has run to its end.

together: Two processes share one ledger whose budget is too small for both, one descriptor file, one checkpoint and one
download; in every second round one of them is killed (pairs.py).

network: Two processes with one key ask a served teacher through a proxy that drops, cuts off, changes, repeats and delays
requests and answers (proxy.py); the budget is just enough. In every second round the server is killed and starts again.

inputs: Damaged and hostile files for every reader of files that somebody else wrote (hostile_inputs/).

index: The shell command indexes 10,000 photographs and is killed five times (large_index.py).

scaling: Two processes of torchrun against one (benchmarks/many_processes.py); needs a machine without other work.

Exit status 1 when anything was lost, wrong, paid twice or overspent. Needs a system that can fork (no Windows).
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import many_processes
from reliability import hostile_inputs
from reliability.hostile_inputs.attack import attack, limited_memory
from reliability.large_index import large_index
from reliability.pairs import network, together
from reliability.processes import FORK, kill
from reliability.report import REPORT, RESULTS, report
from reliability.works import make, serve, works


def machine() -> str:
    """What this ran on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} CPU cores, {memory:.0f} GiB memory; Python "
        f"{platform.python_version()}, PyTorch {torch.__version__.split('+')[0]}, NumPy {np.__version__}"
    )


def part_kills(args: argparse.Namespace, folder: Path, port: int, failures: Counter) -> dict[str, Any]:
    """Kills by kind of work."""
    rng = random.Random(args.seed)
    tasks, killed = works(port), {}
    for number, work in enumerate(tasks):
        share = args.kills // len(tasks) + (number < args.kills % len(tasks))
        make(folder / work.name)
        killed[work.name] = dict(kill(work, share, rng, folder / work.name, failures))
        print(f"{work.name}: {killed[work.name]['kills']} kills", flush=True)
    return killed


def part_inputs(args: argparse.Namespace, folder: Path, port: int, failures: Counter) -> list[tuple[str, int, int]]:
    """(reader, inputs, refused) of each, by their shares of the total; as many at once as there are processors."""
    assert FORK is not None
    shares = {name: reader.share for name, reader in hostile_inputs.readers().items()}
    tasks = [(name, -(-args.inputs * share // sum(shares.values())), args.seed) for name, share in shares.items()]
    results = []
    with FORK.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, tried, refused in pool.imap(attack_reader, tasks, chunksize=1):
            if tried:
                results.append((name, tried, refused))
                print(f"{name}: {tried:,} inputs", flush=True)
            else:
                failures["readers that crashed"] += 1
    return results


def attack_reader(task: tuple[str, int, int]) -> tuple[str, int, int]:
    """Inputs of one reader, and how many of them it refused; (name, 0, 0) after a crash, which is printed."""
    name, inputs, seed = task
    try:
        with limited_memory():
            return (name, *attack(hostile_inputs.readers()[name], inputs, seed))
    except Exception:
        traceback.print_exc()
        return name, 0, 0


def part_scaling(args: argparse.Namespace, folder: Path, port: int, failures: Counter) -> dict[str, Any]:
    """One process against two."""
    return many_processes.compare(folder, many_processes.parser().parse_args(["--rounds", str(args.scaling)]))


PARTS: dict[str, Callable[[argparse.Namespace, Path, int, Counter], Any]] = {
    "kills": part_kills,
    "together": lambda args, folder, port, failures: together(
        port, args.pairs, random.Random(args.seed), folder, failures
    ),
    "network": lambda args, folder, port, failures: network(args.networks, random.Random(args.seed), folder, failures),
    "inputs": part_inputs,
    "index": lambda args, folder, port, failures: large_index(
        args.photographs, random.Random(args.seed), folder, failures
    ),
    "scaling": part_scaling,
}


def main() -> None:
    """Runs the parts, writes the report, fails when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=600, help="processes killed one at a time, over six kinds of work")
    parser.add_argument("--pairs", type=int, default=40, help="rounds of two processes at once on each of two things")
    parser.add_argument("--networks", type=int, default=20, help="rounds of two clients behind a faulty proxy")
    parser.add_argument("--inputs", type=int, default=120_000, help="hostile inputs, over all readers")
    parser.add_argument("--photographs", type=int, default=10_000, help="of the index that is killed five times")
    parser.add_argument("--scaling", type=int, default=3, help="rounds of one process and of two")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="run these parts; the report keeps the others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are and go")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    args = parser.parse_args()
    if FORK is None:
        parser.error("this system cannot fork processes: run it on Linux or macOS")
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports half of PyTorch, else once in every process
    receiver, sender = FORK.Pipe(duplex=False)
    server = FORK.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    port = receiver.recv()
    results = json.loads(args.results.read_text(encoding="utf-8")) if args.only and args.results.exists() else {}
    for name in args.only or PARTS:
        begun, failures = time.perf_counter(), Counter()
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](args, Path(folder), port, failures)
        seconds = time.perf_counter() - begun
        lost = {failure: count for failure, count in failures.items() if count}
        results[name] = {"figures": figures, "failures": lost, "seconds": round(seconds), "machine": machine()}
        print(f"{name}: {seconds:.0f} s, {lost or 'nothing was lost'}", flush=True)
        for path, text in ((args.results, json.dumps(results, indent=1)), (args.report, report(results))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n", encoding="utf-8")
    server.kill()
    sys.exit(any(results[name]["failures"] for name in results))


if __name__ == "__main__":
    main()
