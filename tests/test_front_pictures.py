"""The pictures of the README, what the site plays with, and the printed cheat sheet."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sets import COLOURS, colours, there_and_back, unit_rows

from rdistill_helpers import evaluate_ranking
from rdistill_helpers.score.ranks import average_precision

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("untrained student", "distilled student", "teacher")


@pytest.fixture(scope="module")
def front(load_script):
    return load_script("tools/front_pictures.py")


@pytest.fixture
def ranked():
    """A benchmark, the lists of three networks, of which the last one is perfect, and their reports."""
    lists = {name: there_and_back().numpy() for name in NAMES[:2]}
    best = there_and_back().numpy()
    best[1] = np.concatenate([[5], np.delete(np.arange(COLOURS), 5)])
    lists["teacher"] = best
    return colours(), lists, {name: evaluate_ranking(own, colours()) for name, own in lists.items()}


def test_a_query_near_the_means_is_shown_if_possible_one_that_rises(front, ranked):
    class Level:
        ap, mAP = np.array([0.1, 0.5]), 0.6

    class Report:
        medium = Level

    best = ranked[1]["teacher"]
    assert front.typical(ranked[0], [best, best], [Report, Report]) == 1
    assert front.typical(ranked[0], [best[:, ::-1], best], [Report, Report]) == 1
    worse = best.copy()
    worse[0] = worse[0][::-1]
    assert front.typical(ranked[0], [worse, best], [Report, Report]) == 0


def test_the_picture_says_what_each_network_finds(front, ranked):
    benchmark, lists, reports = ranked
    fig = front.picture(benchmark, 0, lists, reports)
    said = fig.get_label()
    for name in NAMES:
        assert f"{name}: right, right, right, right, ignored; medium mAP {100 * reports[name].medium.mAP:.1f} %" in said
    assert len([ax for ax in fig.axes if ax.images]) == 1 + 3 * front.SHOWN


def test_picture_and_scores_go_between_the_marks(front, ranked):
    table = front.scores(ranked[2])
    page = front.with_front("a\n<!-- front -->\nold\n<!-- /front -->\nb\n", 'A "query"', table)
    assert (
        page.startswith("a\n<!-- front -->\n<picture>") and page.endswith("<!-- /front -->\nb\n") and "old" not in page
    )
    assert 'alt="A &quot;query&quot;"' in page
    assert "| teacher | 100.0 | 100.0 | 100.0 |" in page
    with pytest.raises(RuntimeError, match="no marks"):
        front.with_front("a", "b", "c")


def test_what_the_site_plays_with_is_what_the_networks_say(front, ranked, tmp_path, monkeypatch):
    benchmark, lists, reports = ranked
    monkeypatch.setattr(front, "STATIC", tmp_path)
    monkeypatch.setattr(front, "QUERIES", 1)
    monkeypatch.setattr(front, "pairs", lambda _: [(0, 5)])
    rows = {name: unit_rows(COLOURS, 8, seed) for seed, name in enumerate(NAMES)}
    front.make_play(benchmark, rows, lists, reports)
    played = json.loads((tmp_path / "play-data.js").read_text().removeprefix("window.playData = ").rstrip(";\n"))
    (pair,) = played["mixing"]["pairs"]
    weights = played["mixing"]["weights"]
    assert list(pair["found"]) == list(front.SPACES) and weights[0] == 0 and weights[-1] == 1
    sheet = Image.open(tmp_path / "play.jpg")
    count = played["tiles"]["columns"] * played["tiles"]["rows"]
    for name, steps in pair["found"].items():
        near = rows[name] @ rows[name][5]  # where the second photograph has all the weight
        near[[0, 5]] = -1
        order = near.topk(front.NEAREST).indices.tolist()
        rooms = [0 if i in (1, 2, 3, 4) else 1 if i in (6, 7) else 2 for i in order]
        assert [room for _, room in steps[0]] == rooms
        assert all(0 <= tile < count for step in steps for tile, _ in step)
    (query,) = played["protocol"]["queries"]
    assert [letter for _, letter in query["lists"]["teacher"]][:6] == ["E", "E", "H", "H", "J", ""]
    with_junk = 100 * average_precision([0, 1, 2, 3], 4)
    assert query["ap"]["teacher"]["medium"] == [with_junk, with_junk]
    tile = query["lists"]["teacher"][2][0]
    width, height = front.TILE
    corner = (tile % front.COLUMNS * width + width // 2, tile // front.COLUMNS * height + height // 2)
    assert np.abs(np.array(sheet.getpixel(corner)) - (20, 80, 200)).max() < 12  # the colour of photograph 2


def test_each_notebook_has_a_figure_that_stands_for_it(front):
    import nbformat

    for path, begins in zip(sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), front.CHOSEN, strict=True):
        assert front.chosen_figure(nbformat.read(path, as_version=4), begins).width > 200, path.name


def test_the_printed_cheat_sheet_is_one_page_and_of_the_present_text():
    printed = (ROOT / "docs" / "cheat-sheet.pdf").read_bytes()
    text = (ROOT / "docs" / "cheat-sheet.md").read_text(encoding="utf-8")
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert f"cheat sheet {mark}".encode() in printed, "run python tools/cheat_sheet.py"
    assert len(re.findall(rb"/Type /Page\b(?!s)", printed)) == 1
