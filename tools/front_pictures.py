"""Makes what shows the shipped networks without running them: the pictures of the README, and what the site plays with.

    python tools/front_pictures.py                     # after the teacher or the shipped student changed; two minutes
    python tools/front_pictures.py --only thumbnails   # after notebooks were executed

`make front` makes everything. One query ranked by three networks and a thumbnail of each notebook go to docs/pictures, the
picture's description and the scores between the marks <!-- front --> of the README, and photographs with rankings and nearest
neighbours to tools/site/static, where play.js reads them.
"""

import argparse
import base64
import html
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from build_site import on_dark  # noqa: E402

from rdistill_course.photographs import outcomes  # noqa: E402
from rdistill_course.style import ARMS, MARKS, drawn, use_style  # noqa: E402
from rdistill_course.tiles import draw_box, draw_photograph, legend_below, outline, tiles  # noqa: E402
from rdistill_course.widgets.mixing import nearest_to_mixtures  # noqa: E402
from rdistill_course.widgets.photographs import boxed_tile, tile_of  # noqa: E402
from rdistill_course.widgets.protocols import LETTERS, list_scores  # noqa: E402
from rdistill_helpers import (  # noqa: E402
    Benchmark,
    Report,
    RetrievalNet,
    evaluate,
    extract,
    load_network,
    load_teacher,
    search,
)
from rdistill_helpers.data.ground_truth import LISTS  # noqa: E402
from rdistill_helpers.data.paths import data_root  # noqa: E402

README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "pictures"
MARK = re.compile(r"(<!-- front -->\n).*?(<!-- /front -->)", re.DOTALL)
STATIC = ROOT / "tools" / "site" / "static"
STUDENT = "student_squeezenet_gem.safetensors"
SHOWN = 5  # results of each network
NEAR = 20  # queries whose scores are near the means
LEVELS = ("easy", "medium", "hard")
# The figure that stands for a notebook: how its description begins. In the order of the notebooks.
CHOSEN = (
    "Query 0 of rooms with the box",
    "A photograph; the same in grey",
    "Two arrows of length one",
    "Three photographs a, b and x on",
    "3 anchors",
    "Precision against recall",
    "Medium mAP in percent against photographs",
    "Three panels with the same points",
    "A query and the 5 most similar",
)
THUMBNAIL = (200, 100)  # pixels, at most
# What the site plays with.
TILE, COLUMNS = (112, 84), 12  # pixels of a photograph; photographs in a row of their picture
WEIGHTS = [round(0.05 * step, 2) for step in range(21)]
SPACES = ("teacher", "distilled student", "untrained student")
PAIRS, NEAREST, QUERIES, RESULTS = 3, 4, 5, 10


def typical(benchmark: Benchmark, lists: Sequence[np.ndarray], reports: Sequence[Report]) -> int:
    """A query whose average precision under each network is near that network's mean, so that no luck is shown.

    Args:
        benchmark: the queries and their ground truth.
        lists: of each network, from the worst to the best, its ranking [Q, n].
        reports: of each network, its scores.

    Returns:
        Of the `NEAR` queries nearest to the means the first one for which each network shows more right photographs than the
        one before; the nearest one where there is none.
    """
    away = sum(np.abs(np.asarray(report.medium.ap) - report.medium.mAP) for report in reports)
    near = [int(query) for query in np.argsort(away)[:NEAR]]  # a query without a score comes last

    def rises(query: int) -> bool:
        right = [outcomes(benchmark, query, ranking[query, :SHOWN]).count("positive") for ranking in lists]
        return all(worse < better for worse, better in pairwise(right))

    return next(filter(rises, near), near[0])


def picture(benchmark: Benchmark, query: int, lists: Mapping[str, np.ndarray], reports: Mapping[str, Report]) -> Figure:
    """A query, its first results under each network, framed by what they are, and the medium mAP of each network as a bar.

    Args:
        benchmark: the queries, their images and their ground truth.
        query: number of the query.
        lists: by the name of the network, its ranking [Q, n].
        reports: by the name of the network, its scores.
    """
    photograph = benchmark.query(query, crop=False)
    fig, axes = tiles(len(lists), SHOWN + 3, photograph.size, len(lists))
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, :2].flat:
        ax.remove()
    left = fig.add_subplot(grid[:, :2])
    draw_photograph(left, photograph)
    left.set_title("the query", fontsize=10)
    draw_box(left, benchmark.ground_truth[query]["bbx"])
    most = max(report.medium.mAP for report in reports.values())
    said, kinds_seen = [], set()
    for row, (name, ranking) in enumerate(lists.items()):
        order = [int(image) for image in ranking[query, :SHOWN]]
        kinds = outcomes(benchmark, query, order)
        kinds_seen |= set(kinds)
        for ax, image, kind in zip(axes[row, 2:-1], order, kinds, strict=True):
            draw_photograph(ax, benchmark.image(image))
            outline(ax, MARKS[kind].colour, MARKS[kind].line)
        axes[row, 2].set_title(name, fontsize=10, loc="left")
        score, look = 100 * reports[name].medium.mAP, ARMS[name]
        bar = axes[row, -1]
        bar.barh(0, score, height=0.5, color=look.colour, hatch=look.hatch, edgecolor="white")
        bar.set(xlim=(0, 100 * most * 1.5), ylim=(-0.9, 0.9))
        bar.text(score + 2, 0, f"{score:.1f}", va="center", fontsize=10)
        if not row:
            bar.set_title("medium mAP in %", fontsize=9, loc="left")
        said.append(f"{name}: {', '.join(MARKS[kind].meaning for kind in kinds)}; medium mAP {score:.1f} %")
    legend_below(fig, [(mark.meaning, mark.colour, mark.line) for kind, mark in MARKS.items() if kind in kinds_seen])
    fig.set_label(f"A query and the first {SHOWN} photographs that each network finds for it. {'. '.join(said)}.")
    return fig


def scores(reports: Mapping[str, Report]) -> str:
    """The mAP of each network as a table."""
    rows = [
        f"| {name} | {' | '.join(f'{100 * getattr(report, level).mAP:.1f}' for level in LEVELS)} |"
        for name, report in reports.items()
    ]
    return "\n".join([f"| mAP in % | {' | '.join(LEVELS)} |", "|---|---|---|---|", *rows])


def with_front(readme: str, alt: str, table: str) -> str:
    """The README with this description of the picture and this table between its marks."""
    front = (
        '<picture>\n<source media="(prefers-color-scheme: dark)" srcset="docs/pictures/front-dark.jpg">\n'
        f'<img src="docs/pictures/front.jpg" alt="{html.escape(alt)}">\n</picture>\n\n{table}\n'
    )
    if not MARK.search(readme):
        raise RuntimeError(
            "README.md has no marks <!-- front --> and <!-- /front -->: put them where the picture belongs."
        )
    return MARK.sub(lambda mark: f"{mark[1]}{front}{mark[2]}", readme)


def networks() -> dict[str, RetrievalNet]:
    """The three networks of the README, on input of one size."""
    teacher = load_teacher()
    untrained = RetrievalNet("squeezenet1_1")
    untrained.scale = teacher.scale
    student = load_network(data_root() / "models" / STUDENT)
    return {"untrained student": untrained, "distilled student": student, "teacher": teacher}


def make_front() -> None:
    """Ranks, scores and draws; writes picture, description, scores, and what the site plays with."""
    benchmark = Benchmark.load("rooms")
    rows = {
        name: (extract(net, benchmark.queries()), extract(net, benchmark.images())) for name, net in networks().items()
    }
    reports = {name: evaluate(*own, benchmark) for name, own in rows.items()}
    lists = {name: np.asarray(search(*own, len(own[1]))[1]) for name, own in rows.items()}
    use_style()
    fig = picture(benchmark, typical(benchmark, list(lists.values()), list(reports.values())), lists, reports)
    _, light, about = drawn(fig)
    dark = base64.b64decode(on_dark(base64.b64encode(light).decode(), about["photographs"]))
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "front.jpg").write_bytes(light)
    (PICTURES / "front-dark.jpg").write_bytes(dark)
    readme = with_front(README.read_text(encoding="utf-8"), fig.get_label(), scores(reports))
    README.write_text(readme, encoding="utf-8")
    make_play(benchmark, {name: own[1] for name, own in rows.items()}, lists, reports)


class Tiles:
    """Small photographs, each once, on one picture."""

    def __init__(self) -> None:
        self.images: dict[object, Image.Image] = {}

    def add(self, key: object, make: Callable[[], Image.Image]) -> int:
        """The number of a photograph, which is made where it is new."""
        if key not in self.images:
            self.images[key] = make().resize(TILE, Image.Resampling.LANCZOS)
        return list(self.images).index(key)

    def sheet(self) -> Image.Image:
        """All of them, in rows of `COLUMNS`."""
        width, height = TILE
        paper = Image.new("RGB", (COLUMNS * width, -(-len(self.images) // COLUMNS) * height))
        for number, image in enumerate(self.images.values()):
            paper.paste(image, (number % COLUMNS * width, number // COLUMNS * height))
        return paper


def make_play(
    benchmark: Benchmark, rows: Mapping[str, Tensor], lists: Mapping[str, np.ndarray], reports: Mapping[str, Report]
) -> None:
    """Writes what play.js reads: photographs on one picture, and what the networks say of them.

    Args:
        benchmark: the queries, their images and their ground truth.
        rows: by the name of the network, its descriptors of the database.
        lists: by the name of the network, its ranking of the whole database [Q, N].
        reports: by the name of the network, its scores.
    """
    tiles = Tiles()
    database = lambda i: tiles.add(i, lambda: tile_of(benchmark.image(i)))  # noqa: E731
    played = {
        "mixing": {"weights": WEIGHTS, "pairs": [mixed(benchmark, rows, pair, database) for pair in pairs(benchmark)]},
        "protocol": {
            "queries": [explored(benchmark, query, lists, tiles, database) for query in shown_queries(reports)]
        },
    }
    sheet = tiles.sheet()
    played["tiles"] = {
        "width": TILE[0], "height": TILE[1], "columns": COLUMNS, "rows": sheet.height // TILE[1]
    }  # fmt: skip
    sheet.save(STATIC / "play.jpg", quality=80, optimize=True)
    said = json.dumps(played, separators=(",", ":"))
    (STATIC / "play-data.js").write_text(f"window.playData = {said};\n", encoding="utf-8")


def pairs(benchmark: Benchmark) -> list[tuple[int, int]]:
    """Easy photographs of two queries each, with more photographs of their rooms in the database."""
    of = [int(truth["easy"][0]) for truth in benchmark.ground_truth if len(truth["easy"]) > 2]
    step = len(of) // (2 * PAIRS)
    return [(of[2 * k * step], of[(2 * k + 1) * step]) for k in range(PAIRS)]


def mixed(
    benchmark: Benchmark, rows: Mapping[str, Tensor], pair: tuple[int, int], tile: Callable[[int], int]
) -> dict[str, Any]:
    """A pair, and by network and weight the nearest photographs, each with its room: 0 the first's, 1 the second's, 2 another."""
    rooms: list[set[int]] = [set(), set()]
    for truth in benchmark.ground_truth:
        of_room = {int(i) for part in LISTS for i in truth[part]}
        for room, end in zip(rooms, pair, strict=True):
            room |= of_room if end in of_room else set()
    found = {}
    for name in SPACES:
        nearest = nearest_to_mixtures(rows[name], pair, torch.tensor(WEIGHTS), NEAREST).tolist()
        place = lambda i: next((end for end in (0, 1) if i in rooms[end]), 2)  # noqa: E731
        found[name] = [[[tile(i), place(i)] for i in step] for step in nearest]
    return {"ends": [tile(i) for i in pair], "found": found}


def shown_queries(reports: Mapping[str, Report]) -> list[int]:
    """Queries with right photographs under every protocol, from low to high average precision of the teacher."""
    teacher = reports["teacher"]
    scored = ~np.isnan(np.stack([np.asarray(getattr(teacher, level).ap) for level in LEVELS])).any(0)
    order = sorted(np.flatnonzero(scored), key=lambda query: float(teacher.medium.ap[query]))
    return [int(order[round((k + 0.5) * len(order) / QUERIES)]) for k in range(QUERIES)]


def explored(
    benchmark: Benchmark, query: int, lists: Mapping[str, np.ndarray], tiles: Tiles, tile: Callable[[int], int]
) -> dict[str, Any]:
    """A query, its first results with the letters of the ground truth, and its average precision in percent."""
    truth = benchmark.ground_truth[query]
    letters = {int(i): letter for part, letter in LETTERS.items() for i in truth[part]}
    shown = {
        name: [[tile(int(i)), letters.get(int(i), "")] for i in own[query, :RESULTS]] for name, own in lists.items()
    }
    ap = {
        name: {
            level: [
                None if np.isnan(value) else round(100 * value, 1)
                for value in (
                    list_scores(benchmark, query, own[query], level, RESULTS, junk)[0] for junk in (True, False)
                )
            ]
            for level in LEVELS
        }
        for name, own in lists.items()
    }
    photograph = lambda: boxed_tile(benchmark.query(query, crop=False), truth["bbx"])  # noqa: E731
    return {"tile": tiles.add(("query", query), photograph), "lists": shown, "ap": ap}


def chosen_figure(notebook: nbformat.NotebookNode, begins: str) -> Image.Image:
    """The first figure of a notebook whose description begins so."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind, about in output.get("metadata", {}).items():
                if kind.startswith("image/") and about.get("alt", "").startswith(begins):
                    return Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).convert("RGB")
    raise RuntimeError(f"No figure has a description that begins with {begins!r}: choose another one in CHOSEN.")


def make_thumbnails() -> None:
    """Writes a small picture for each notebook."""
    PICTURES.mkdir(exist_ok=True)
    for path, begins in zip(sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), CHOSEN, strict=True):
        small = chosen_figure(nbformat.read(path, as_version=4), begins)
        small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
        small.save(PICTURES / f"{path.stem[:2]}.jpg", quality=80, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["front", "thumbnails"])
    only = parser.parse_args().only
    try:
        if only != "thumbnails":
            make_front()
        if only != "front":
            make_thumbnails()
    except RuntimeError as error:
        sys.exit(str(error))
