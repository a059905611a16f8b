"""The text of docs/reliability.md, from the figures in results.json."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reliability.processes import FAILURES

REPORT = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
RESULTS = Path(__file__).resolve().parent / "results.json"


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def large_index(figures: dict[str, int]) -> str:
    """The section on an index of many photographs."""
    return f"""## An index of many photographs

`python -m rdistill_helpers index` described {figures["photographs"]:,} photographs, those of the rooms again and again with
changes, and was killed {figures["kills"]} times on the way. In the end {figures["indexed"]:,} were in the index, each once;
{figures["compared"]} of them, drawn by chance, were described once more and compared. Peak memory was
{figures["peak MiB"]} MiB, and {figures["peak MiB of few"]} MiB for an index of {figures["few"]} photographs.

"""


def report(results: dict[str, Any]) -> str:
    """The text of docs/reliability.md, from what was measured so far."""
    parts = ("kills", "together", "network", "inputs", "index", "scaling")
    figures = {name: results.get(name, {}).get("figures", {}) for name in parts}
    killed, inputs = figures["kills"], figures["inputs"]
    pairs, net = Counter(figures["together"]), Counter(figures["network"])
    large = Counter(figures["index"])
    kills = sum(counts["kills"] for counts in killed.values()) + pairs["kills"] + net["kills"] + large["kills"]
    harm = {name: count for name, count in net.items() if name not in ("kills", "rounds", "passed on")}
    late = net["delayed"] + net["request repeated"]
    lost = sum(harm.values()) - late  # the request or its answer did not arrive as it was sent
    ratios = [
        (work, *measured["seconds"], *measured["processor seconds"]) for work, measured in figures["scaling"].items()
    ]
    summary: list[tuple[str, object]] = [
        ("processes killed", kills),
        ("rounds of two processes at once", pairs["rounds"]),
        ("requests dropped by the network", f"{lost:,}"),
        ("hostile inputs tried", f"{sum(tried for _, tried, _ in inputs):,}"),
        *((failure, sum(part["failures"].get(failure, 0) for part in results.values())) for failure in FAILURES),
        *((f"two processes against one (speed ratio), {work}", f"{one / two:.2f}") for work, one, two, *_ in ratios),
    ]
    by_work = [
        (work, *(counts.get(kind, 0) for kind in ("kills", "by the clock", "at a file operation", "ends")))
        for work, counts in killed.items()
    ]
    by_reader = [(name, f"{tried:,}", f"{refused:,}") for name, tried, refused in inputs]
    scaling = [
        (work, f"{one:.2f} to {two:.2f}", f"{one / two:.2f}", f"{busy:.2f} to {half:.2f}", f"{busy / half:.2f}")
        for work, one, two, busy, half in ratios
    ]
    minutes = ", ".join(f"{name} {part['seconds'] / 60:.1f}" for name, part in results.items())
    machines = "; or ".join(sorted({part["machine"] for part in results.values()}))
    return f"""# Reliability, measured

`make torture` writes this page. It kills processes while they work, lets two of them work on the same files, asks a served
teacher over a network that loses and changes what is sent, and gives damaged and hostile files to every reader of files that
somebody else wrote. `python -m reliability --help` describes the parts; `--only` runs single ones again.

Machine: {machines}.

Minutes of each part, on a machine that may have had other work: {minutes}.

{table(("what", "how often"), summary)}

## Killed processes

Each process was killed by SIGKILL, after a random time or at a random file operation, and the same call was made again. The
last column counts the runs that ended, after several kills each, with the same files, descriptors and weights as an undisturbed
run, bit for bit.

{table(("work", "kills", "by the clock", "at a file operation", "runs that ended"), by_work)}

A query is paid when its answer is in the ledger. A process that dies while the teacher is answering asks again, for one batch
at most. A [served teacher](http-teacher.md) recognises such a repeated request and does not charge it.

## Requests through a faulty proxy

In each of {net["rounds"]} rounds two processes with one key asked a served teacher about 120 photographs, for which the
budget was just enough. {net["passed on"]:,} requests went through, {lost:,} came to nothing, or their answers did, and
{late:,} were repeated or delayed. The server was killed and started again {net["kills"]} times. An image is charged twice when
the teacher describes it again although the ledger has its answer; an answer is lost when the server's or the client's ledger
does not have it in the end.

{table(("what happened to a request", "how often"), sorted(harm.items()))}

## Hostile inputs

Each was read, or refused by an error of one line that says what is wrong. Nothing was written outside the given folder.

{table(("reader", "inputs", "refused"), by_reader)}

{large_index(large) if large else ""}## Two processes against one

Seconds and processor seconds (of the busier process) of one process and of two, each the best of its rounds, and their
ratios, 2 at best. With other work on the machine, seconds say little; see [many-machines.md](many-machines.md).
`python -m reliability --only scaling` measures this table again.

{table(("work", "seconds", "ratio", "processor seconds", "ratio"), scaling)}
"""
