"""How fast the widgets answer: the time from a moved control to the new picture, in the kernel.

    python benchmarks/widgets.py

Every widget is built with the photographs of the rooms, as the notebooks build it, and moved many times after its first
drawing, always to a state that it has not shown yet. Printed are the median and the 95th percentile in milliseconds, and the
size of what goes to the browser. Ends with exit status 1 when a median is above 200 ms. What a browser adds depends on the
connection; on one's own machine it is a few milliseconds for the sizes printed.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import normalize

from rdistill_course import lambda_slider, loss_explorer, map_explorer, protocol_explorer
from rdistill_helpers import Benchmark, losses
from rdistill_helpers.plots import use_style

LIMIT = 200  # milliseconds
Move = Callable[[], None]


def parts(widget: object) -> list:
    """The widget and everything in it."""
    return [widget, *(inner for child in getattr(widget, "children", ()) for inner in parts(child))]


def control(widget: object, start: str) -> object:
    """The control whose description starts like this."""
    return next(part for part in parts(widget) if getattr(part, "description", "").startswith(start))


def setting(target: object, values: Iterator) -> Move:
    """A move that gives a control its next value."""
    return lambda: setattr(target, "value", next(values))


def widgets(moves: int) -> dict[str, tuple[object, Move]]:
    """Each widget by what is moved of it, with the move."""
    generator = torch.Generator().manual_seed(0)
    rooms = Benchmark.load("rooms")
    count, queries = len(rooms.image_names), len(rooms.query_names)
    spaces = {name: normalize(torch.randn(300, dim, generator=generator)) for name, dim in (("a", 1280), ("b", 512))}
    ranking = torch.stack([torch.randperm(count, generator=generator) for _ in range(queries)])
    groups = torch.arange(24) // 6
    angle = groups * math.pi / 2 + torch.randn(24, generator=generator)
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    teacher = normalize(torch.randn(24, 8, generator=generator))
    places = {name: torch.randn(600, 2, generator=generator).numpy() for name in ("teacher", "student")}
    of_map = torch.arange(600) // 100

    mixing = lambda_slider(spaces, rooms.image, (3, 50), k=4, steps=moves + 2)
    result: dict[str, tuple[object, Move]] = {
        "lambda slider": (mixing, setting(control(mixing, "λ"), iter(range(moves + 1)))),
    }
    for protocol in ("medium", "hard"):
        lists = protocol_explorer(rooms, ranking, k=20)
        control(lists, "Protocol").value = protocol
        result[f"protocol explorer, another query, 20 results, {protocol}"] = (
            lists,
            setting(control(lists, "Query"), iter(1 + step % (queries - 1) for step in range(moves + 1))),
        )
    of_toy = {
        "listwise": losses.listwise,
        "RKD": lambda s, t: losses.rkd_distance(s, t) + 2 * losses.rkd_angle(s, t, chunk=24),
    }
    for loss in of_toy:
        turned, walked = (loss_explorer(teacher, points, groups, of_toy) for _ in range(2))
        for toy in (turned, walked):
            control(toy, "Loss").value = loss
        directions = iter((7 * step) % 360 for step in range(moves + 1))
        result[f"loss explorer, {loss}, a point turned"] = (turned, setting(control(turned, "Direction"), directions))
        result[f"loss explorer, {loss}, ten steps downhill"] = (walked, control(walked, "10 steps").click)
    for_map = map_explorer(places, of_map, lambda i: rooms.image(i))
    result["map explorer, another point of 600"] = (
        for_map,
        setting(control(for_map, "Point"), iter(range(1, moves + 2))),
    )
    return result


def main() -> int:
    """Prints the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=50, help="how often each control is moved")
    arguments = parser.parse_args()
    use_style()
    slow = False
    print(f"{'widget, move':<58}{'median':>9}{'95 %':>9}{'to browser':>12}")
    for name, (widget, move) in widgets(arguments.moves).items():
        pictures = [part for part in parts(widget) if "<img" in str(getattr(part, "value", ""))]
        move()
        times = []
        for _ in range(arguments.moves):
            start = time.perf_counter()
            move()
            times.append(1000 * (time.perf_counter() - start))
        median, late = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        size = sum(len(part.value) for part in pictures) / 1000
        slow |= median > LIMIT
        print(f"{name:<58}{median:>6.1f} ms{late:>6.1f} ms{size:>9.0f} kB")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
