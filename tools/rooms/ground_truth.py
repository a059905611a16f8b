"""Queries, boxes and easy / hard / junk lists of the evaluation rooms, from measured visual overlap."""

from collections import Counter

import numpy as np
from renderer import HEIGHT, WIDTH
from views import View, overlap, shared_surface

EASY, HARD = 0.34, 0.04  # overlap from which a photograph is easy, hard; below it is junk
SMALLEST_BOX, LARGEST_BOX = 0.08, 0.42  # share of the frame
BORDER = 4  # pixels around the boxed things


def box_of(view: View, names: list[str], kinds: list[str], weights: np.ndarray, rarity: dict[str, float]) -> tuple[int, int, int, int] | None:
    """A box around one to three telling things of a photograph (x0, y0, x1, y1 in pixels), or None."""
    ranked = []
    for number in np.unique(view.instances):
        if not 0 < number <= len(names) or kinds[number - 1] in ("floor", "ceiling", "wall"):
            continue
        share = float((view.instances == number).mean())
        if share >= 0.012:
            ranked.append((np.sqrt(share) * weights[number] * rarity[names[number - 1]], int(number)))
    chosen: list[int] = []
    box = None
    for _, number in sorted(ranked, reverse=True):
        y, x = np.nonzero(np.isin(view.instances, [*chosen, number]))
        wider = (max(0, x.min() - BORDER), max(0, y.min() - BORDER), min(WIDTH, x.max() + 1 + BORDER), min(HEIGHT, y.max() + 1 + BORDER))
        area = (wider[2] - wider[0]) * (wider[3] - wider[1]) / (WIDTH * HEIGHT)
        if area <= LARGEST_BOX:
            chosen.append(number)
            box = tuple(int(v) for v in wider)
        if len(chosen) == 3:
            break
    if box is None or (box[2] - box[0]) * (box[3] - box[1]) < SMALLEST_BOX * WIDTH * HEIGHT:
        return None
    return box


def choose_queries(rooms: list[dict], count: int, rng: np.random.Generator) -> dict[int, tuple[int, tuple, dict[str, list[int]]]]:
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
    raise ValueError(f"only {len(queries)} of {len(rooms)} rooms give a query, {count} are wanted; render more evaluation rooms")
