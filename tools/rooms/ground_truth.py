"""Queries, boxes and easy / hard / junk lists of the evaluation rooms, from measured visual overlap."""

from collections import Counter

import numpy as np
from renderer import HEIGHT, WIDTH
from views import View, overlap, shared_surface

EASY, HARD = 0.34, 0.04  # overlap from which a photograph is easy, hard; below it is junk
# Boxes come in a few shapes (width, height in pixels), smallest first: crops of equal size can be embedded in one batch,
# and convolution libraries prepare themselves anew for every shape that they meet.
SHAPES = ((64, 64), (96, 64), (64, 96), (96, 80), (64, 120), (128, 64))
SMALLEST = 0.05  # share of the frame that the boxed things must span
BORDER = 3  # pixels around the boxed things


def standard_box(x0: int, y0: int, x1: int, y1: int) -> tuple[int, int, int, int] | None:
    """The smallest standard box around a tight one, inside the frame; None where it is too large for all shapes."""
    for width, height in SHAPES:
        if x1 - x0 <= width and y1 - y0 <= height:
            left = min(max(0, (x0 + x1 - width) // 2), WIDTH - width)
            top = min(max(0, (y0 + y1 - height) // 2), HEIGHT - height)
            return left, top, left + width, top + height
    return None


def box_of(
    view: View, names: list[str], kinds: list[str], weights: np.ndarray, rarity: dict[str, float]
) -> tuple[int, int, int, int] | None:
    """A box around one to three telling things of a photograph (x0, y0, x1, y1 in pixels), or None."""
    ranked = []
    for number in np.unique(view.instances):
        if not 0 < number <= len(names) or kinds[number - 1] in ("floor", "ceiling", "wall"):
            continue
        share = float((view.instances == number).mean())
        if share >= 0.012:
            ranked.append((np.sqrt(share) * weights[number] * rarity[names[number - 1]], int(number)))
    chosen: list[int] = []
    box, spanned = None, 0
    for _, number in sorted(ranked, reverse=True):
        y, x = np.nonzero(np.isin(view.instances, [*chosen, number]))
        x0, y0, x1, y1 = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
        wider = standard_box(
            max(0, x0 - BORDER), max(0, y0 - BORDER), min(WIDTH, x1 + BORDER), min(HEIGHT, y1 + BORDER)
        )
        if wider is not None:
            chosen.append(number)
            box, spanned = wider, (x1 - x0) * (y1 - y0)
        if len(chosen) == 3:
            break
    return box if spanned >= SMALLEST * WIDTH * HEIGHT else None


def choose_queries(
    rooms: list[dict], count: int, rng: np.random.Generator
) -> dict[int, tuple[int, tuple, dict[str, list[int]]]]:
    """Room position -> (query view, box, {easy, hard, junk}: views of the same room), for `count` rooms.

    rooms: dicts with views, names, kinds, weights. A query has at least two easy and two hard photographs, and no visitor
    stands in it.
    """
    frequency = Counter(name for room in rooms for name in set(room["names"]))
    rarity = {name: float(np.log(len(rooms) * 1.5 / n)) for name, n in frequency.items()}
    queries = {}
    for position in rng.permutation(len(rooms)):
        room = rooms[position]
        views = room["views"]
        for q in rng.permutation(len(views)):
            box = box_of(views[q], room["names"], room["kinds"], room["weights"], rarity)
            if box is None or views[q].visitor_share > 0.05:
                continue
            score = overlap(shared_surface(views, room["weights"], {int(q): box}))[q]
            others = [j for j in np.argsort(-score) if j != q]
            lists = {
                "easy": [int(j) for j in others if score[j] >= EASY],
                "hard": [int(j) for j in others if HARD <= score[j] < EASY],
                "junk": [int(j) for j in others if score[j] < HARD],
            }
            if len(lists["easy"]) >= 2 and len(lists["hard"]) >= 2:
                queries[int(position)] = (int(q), box, lists)
                break
        if len(queries) == count:
            return queries
    raise ValueError(
        f"only {len(queries)} of {len(rooms)} rooms give a query, {count} are wanted; render more evaluation rooms"
    )
