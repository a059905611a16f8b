"""Proof by killing that no work is lost, and by hostile files that bad input is refused; writes docs/reliability.md.

    make torture                                              # the full run: 600 kills, 120,000 inputs
    python benchmarks/torture.py --kills 20 --inputs 1600     # to try it, with --report and --results somewhere else
    python benchmarks/torture.py --only scaling               # one part again, the others as they were measured

Kills. Five kinds of work (torture_works.py) run in processes of their own, forked from this one (torture_processes.py), and
die by SIGKILL at seeded moments: after a random time, or at a random file operation (opening, renaming or deleting a file,
making or deleting a folder), so that the moments between two operations are met as well. What is on the disk is compared with
an undisturbed run after each kill, and once more after the same call went on to its end.

Processes at once (torture_pairs.py). Two processes share one ledger whose budget is too small for both, one descriptor file,
one checkpoint and one download; in every second round one of them is killed.

Network. Two processes with one key ask a served teacher through a proxy that drops, cuts off, changes, repeats and delays
requests and answers (faulty_proxy.py); the budget is just enough. In every second round the server is killed and starts again.

Hostile inputs. See hostile_inputs.py.

Scaling. Two processes of torchrun against one, see many_processes.py; wants a machine with nothing else to do.

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
from torture_pairs import network, together
from torture_processes import FORK, kill
from torture_report import report
from torture_works import make, serve, works

REPORT = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
RESULTS = Path(__file__).resolve().parent / "results" / "reliability.json"


def machine() -> str:
    """What this ran on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} CPU cores, {memory:.0f} GiB memory; Python "
        f"{platform.python_version()}, PyTorch {torch.__version__.split('+')[0]}, NumPy {np.__version__}"
    )


def part_kills(args: argparse.Namespace, folder: Path, port: int, faults: Counter) -> dict[str, Any]:
    """Kills by kind of work."""
    rng = random.Random(args.seed)
    tasks, killed = works(port), {}
    for number, work in enumerate(tasks):
        share = args.kills // len(tasks) + (number < args.kills % len(tasks))
        make(folder / work.name)
        killed[work.name] = dict(kill(work, share, rng, folder / work.name, faults))
        print(f"{work.name}: {killed[work.name]['kills']} kills", flush=True)
    return killed


def part_inputs(args: argparse.Namespace, folder: Path, port: int, faults: Counter) -> list[tuple[str, int, int]]:
    """(parser, inputs, refused) of each, by their shares of the total; as many at once as there are processors."""
    import hostile_inputs as hostile

    assert FORK is not None
    shares = {name: parser.share for name, parser in hostile.parsers().items()}
    tasks = [(name, -(-args.inputs * share // sum(shares.values())), args.seed) for name, share in shares.items()]
    results = []
    with FORK.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, tried, refused in pool.imap(attack, tasks, chunksize=1):
            if tried:
                results.append((name, tried, refused))
                print(f"{name}: {tried:,} inputs", flush=True)
            else:
                faults["readers that crashed"] += 1
    return results


def attack(task: tuple[str, int, int]) -> tuple[str, int, int]:
    """Inputs of one parser, and how many of them it refused; none where it crashed, which is printed."""
    import hostile_inputs as hostile

    name, inputs, seed = task
    try:
        with hostile.limited_memory():
            return (name, *hostile.attack(hostile.parsers()[name], inputs, seed))
    except Exception:
        traceback.print_exc()
        return name, 0, 0


def part_scaling(args: argparse.Namespace, folder: Path, port: int, faults: Counter) -> dict[str, Any]:
    """One process against two."""
    import many_processes

    return many_processes.compare(folder, many_processes.parser().parse_args(["--rounds", str(args.scaling)]))


PARTS: dict[str, Callable[[argparse.Namespace, Path, int, Counter], Any]] = {
    "kills": part_kills,
    "together": lambda args, folder, port, faults: together(port, args.pairs, random.Random(args.seed), folder, faults),
    "network": lambda args, folder, port, faults: network(args.networks, random.Random(args.seed), folder, faults),
    "inputs": part_inputs,
    "scaling": part_scaling,
}


def main() -> None:
    """Torture everything, write the report, fail when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=600, help="processes killed one at a time, over five kinds of work"
    )
    parser.add_argument("--pairs", type=int, default=40, help="rounds of two processes at once on each of two things")
    parser.add_argument("--networks", type=int, default=20, help="rounds of two clients behind a faulty proxy")
    parser.add_argument("--inputs", type=int, default=120_000, help="hostile inputs, over all parsers")
    parser.add_argument("--scaling", type=int, default=3, help="rounds of one process and of two")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="do these parts again; the report keeps the others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go, and those of others are")
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
        begun, faults = time.perf_counter(), Counter()
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](args, Path(folder), port, faults)
        seconds = time.perf_counter() - begun
        lost = {fault: count for fault, count in faults.items() if count}
        results[name] = {"figures": figures, "faults": lost, "seconds": round(seconds), "machine": machine()}
        print(f"{name}: {seconds:.0f} s, {lost or 'nothing was lost'}", flush=True)
        for path, text in ((args.results, json.dumps(results, indent=1)), (args.report, report(results))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n", encoding="utf-8")
    server.kill()
    sys.exit(any(results[name]["faults"] for name in results))


if __name__ == "__main__":
    main()
