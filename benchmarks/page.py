"""Writes docs/performance.md from the figures that the benchmarks keep.

    python -m benchmarks.page
    python -m benchmarks.page --quick    # from build/quick, to build/quick/performance.md

Ratios only: times say more of a machine than of a program. A benchmark that has not run is named as such.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.record import QUICK, RESULTS, ROOT

PAGE = ROOT / "docs" / "performance.md"
Figures = dict[str, Any]
INTRODUCTION = """# Performance, measured

`make performance` measures all of this in about ten minutes on a machine that has nothing else to do, and writes this
page from the figures in `benchmarks/results/`. All numbers are ratios of things that took turns in one run: a time in
seconds says more of a machine than of a program. The docstring of each program in `benchmarks/` says exactly what it
compares."""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    head = list(head)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, ["---"] * len(head), *rows))


def percent(share: float) -> str:
    """A share in percent, with one digit where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def times(ratio: float | None) -> str:
    """A ratio, empty where there is none."""
    return "" if ratio is None or ratio != ratio else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def extraction(figures: Figures) -> str:
    """Shares of the limit, by network and way."""
    networks = figures["networks"]
    ways = sorted({way for network in networks.values() for way in network["share of the limit"]})
    ways.sort(key=lambda way: -max(network["share of the limit"].get(way, 0) for network in networks.values()))
    rows = []
    for way in ways:
        shares = [network["share of the limit"].get(way) for network in networks.values()]
        rows.append([way, *("" if share is None else percent(share) for share in shares)])
    lines = []
    for name, network in networks.items():
        shares = network["share of the limit"]
        loop = ""
        if "one at a time" in shares:
            loop = f", {shares['extract'] / shares['one at a time']:.1f} times as fast as one at a time"
        reached = f"`extract` reaches {percent(shares['extract'] / shares['bare'])} of the bare forward pass{loop}"
        lines.append(f"- {name}: {reached}; {network['multiply-adds'] / 1e6:.0f} million multiply-adds a photograph.")
    missing = sorted({f"onnxruntime is left out: {n['onnxruntime']}." for n in networks.values() if "onnxruntime" in n})
    return "\n\n".join(
        [
            "Share of the limit, which is the network's multiply-adds as fast as a product of two large float32 matrices does "
            "them; photographs of 160 x 120.",
            table(["way", *networks], rows),
            "\n".join(lines),
            *missing,
        ]
    )


def step_overhead(figures: Figures) -> str:
    """What a training step costs over its bare step."""
    whole = [(name, times(ratio)) for name, ratio in figures["whole step"].items()]
    settings = figures["parts"]
    names = [*dict.fromkeys(part for parts in settings.values() for part in parts if part != "all parts"), "all parts"]
    parts = [
        [name, *(f"{100 * shares[name]:.2f} %" if name in shares else "" for shares in settings.values())]
        for name in names
    ]
    joint = max(shares.get("joint space", 0.0) for shares in settings.values())
    together = max(shares["all parts"] for shares in settings.values())
    lines = [
        "A step of `distill`, with everything that it does, over a bare step: forward, backward and optimiser on a batch of 48 "
        "photographs that is ready.",
        table(["`distill`", "to the bare step"], whole),
        f"Its parts as shares of the bare step. The joint space of 48 mixtures takes {100 * joint:.1f} %, all parts together "
        f"take {100 * together:.1f} % at most. 16 mixtures of feature maps, which the student describes, make a step "
        f"{figures['mixtures of maps']:.2f} times as long.",
        table(["part", *settings], parts),
    ]
    compiled = figures.get("compile")
    if compiled and "reason" in compiled:
        lines.append(compiled["reason"] + ".")
    elif compiled:
        pays = "pays" if compiled["all steps"] < 1 else "does not pay"
        lines.append(
            f"`torch.compile` {pays} within {compiled['steps']} steps: they take {compiled['all steps']:.2f} times as long, of "
            f"which compilation takes {compiled['compilation in plain steps']:.0f} plain steps; a later step takes "
            f"{compiled['later steps']:.2f} of a plain one."
        )
    return "\n\n".join(lines)


def losses(figures: Figures) -> str:
    """Ratios of each loss, by batch size."""
    tables = []
    for size, by_loss in figures["sizes"].items():
        peers = [name for name in next(iter(by_loss.values())) if name.startswith("to ")]
        rows = [
            [loss, *(times(entry[peer]) for peer in peers), f"{entry['MiB']:.0f}"]
            for loss, entry in by_loss.items()
            if loss not in ("dot products", "PML", "loop")
        ]
        tables += [f"### Batches of {int(size):,}", table(["loss", *peers, "MiB added"], rows)]
    return "\n\n".join(
        [
            f"Forward and backward for descriptors of {figures['dimensions']:,} dimensions, over the two tables of dot "
            "products that no relational loss can do without, over MultiSimilarityLoss of pytorch-metric-learning (PML), and "
            'over the listwise loss in a plain loop. "joint" adds half as many mixtures and the loss of the joint space.',
            *tables,
            f"RKD-angle on {figures['rkd_angle batch']} descriptors adds {figures['rkd_angle GiB']:.2f} GiB.",
        ]
    )


def scoring(figures: Figures) -> str:
    """How the cost of scores grows with the database."""
    columns = {
        "evaluate to product": "`evaluate` over the product",
        "product and sort to evaluate": "product and full sort over `evaluate`",
        "evaluate on the GPU to evaluate": "`evaluate` with its product on the GPU over `evaluate`",
    }
    columns = {name: title for name, title in columns.items() if any(name in line for line in figures["sizes"])}
    rows = [[f"{line['descriptors']:,}", *(times(line.get(name)) for name in columns)] for line in figures["sizes"]]
    same = "the same" if all(line["equal"] for line in figures["sizes"]) else "not the same"
    return "\n\n".join(
        [
            f"{figures['queries']} queries, {figures['dimensions']:,} dimensions, float16 in a file. The product is that of "
            f"the same blocks, read and multiplied, and nothing else; the scores are {same} as those of the full sort. Peak "
            f"memory of a process that scores the largest: {figures['peak GiB']:.2f} GiB.",
            table(["descriptors", *columns.values()], rows),
        ]
    )


def search(figures: Figures) -> str:
    """Exact search over FAISS."""
    ways = list(figures["sizes"][0]["to FAISS"])[1:]
    rows = [
        [f"{line['descriptors']:,}", *(times(line["to FAISS"][way]) for way in ways), "yes" if line["equal"] else "no"]
        for line in figures["sizes"]
    ]
    return "\n\n".join(
        [
            f"The 10 nearest for 70 queries, {figures['dimensions']:,} dimensions, over the search of a flat FAISS index that "
            "is ready.",
            table(["descriptors", *ways, "same neighbours"], rows),
        ]
    )


def shipping(figures: Figures) -> str:
    """Size, memory, speed and scores of a student that left PyTorch."""
    first, *others = figures["MB"]
    speed, kept = figures["speed"], figures["kept"]
    head = ["way", "MB on disk", "MiB added", *(f"speed, {threads} thread(s)" for threads in speed), "medium mAP"]
    rows = []
    for way, size in figures["MB"].items():
        ratio = [times(own[way]) for own in speed.values()]
        medium = f"{100 * kept[way]['medium']:.1f}" if way in kept else ""
        rows.append([way, f"{size:.2f}", f"{figures['MiB'][way]:.0f}", *ratio, medium])
    lines = []
    for way in others:
        share = [own[way] / own[f"{way}, bare"] for own in speed.values() if f"{way}, bare" in own]
        if share:
            differs = f"descriptors differ from PyTorch's by {kept[way]['largest difference']:.1e} at most"
            lines.append(
                f"- {way}: {figures['MB'][first] / figures['MB'][way]:.1f} times smaller than the teacher's file; `extract` "
                f"reaches {percent(min(share))} of the bare session; {differs}, and their least cosine is "
                f"{kept[way]['least cosine']:.4f}."
            )
    return "\n\n".join(
        [
            f"Speed is that of `extract` on photographs of 160 x 120, as a multiple of the {first}. The student is "
            f"{figures['student']}; medium mAP is that of the rooms' test part. int8 is faster only where the processor has "
            "instructions for products of 8-bit numbers, such as VNNI: the last line names what this one has.",
            table(head, rows),
            "\n".join(lines),
        ]
    )


def browser(figures: Figures) -> str:
    """The browser over onnxruntime outside of it, by threads."""
    rows = [[threads, times(ratio)] for threads, ratio in figures["browser to onnxruntime"].items()]
    return "\n\n".join(
        [
            f"{figures['student']} on the search page (`make demo`) in headless Chromium, from the file of a photograph to its "
            "descriptor, one at a time, over onnxruntime outside of the browser with as many threads.",
            table(["threads", "browser to onnxruntime"], rows),
        ]
    )


# title, name of the file of figures, what makes its text, and the command that measures it
PARTS: list[tuple[str, str, Callable[[Figures], str], str]] = [
    ("Describing photographs", "extraction", extraction, "make performance"),
    ("A training step", "step_overhead", step_overhead, "make performance"),
    ("Losses", "losses", losses, "make performance"),
    ("Scores, as the database grows", "scoring", scoring, "make performance"),
    ("Scores with a million distractors", "scoring_full", scoring, "python -m benchmarks.scoring_at_scale --full"),
    ("Search", "search", search, "make performance"),
    ("A student outside of PyTorch", "shipping", shipping, "make performance"),
    ("The student in a browser", "browser", browser, "make performance"),
    ("Describing photographs on a GPU", "extraction_cuda", extraction, "make gpu"),
    ("A training step on a GPU", "step_overhead_cuda", step_overhead, "make gpu"),
    ("Scores with a GPU", "scoring_cuda", scoring, "make gpu"),
]


def page(results: Path) -> str:
    """The text of the page.

    Args:
        results: Folder of the figures.

    Returns:
        Markdown.
    """
    texts = [INTRODUCTION]
    for title, name, describe, command in PARTS:
        path = results / f"{name}.json"
        texts.append(f"## {title}")
        if path.is_file():
            figures = json.loads(path.read_text(encoding="utf-8"))
            texts += [describe(figures), f"Measured on: {figures['machine']}."]
        else:
            texts.append(f"Not measured yet: `{command}`.")
    return "\n\n".join(texts) + "\n"


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    results = args.results or (QUICK if args.quick else RESULTS)
    path = args.page or (QUICK / "performance.md" if args.quick else PAGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(results), encoding="utf-8")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
