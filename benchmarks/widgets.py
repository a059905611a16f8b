"""How fast the widgets answer: the time from a moved control to the new picture, in the kernel.

    python -m benchmarks.widgets
    python -m benchmarks.widgets --moves 2    # to try it

Every widget is built with the photographs of the rooms, as the notebooks build it, and moved in turns with the others, always
to a state that it has not shown yet. The table has the median and the 95th percentile, and the size of what goes to the
browser. Exit status 1 when a median is above 200 ms. A browser on the same machine adds a few milliseconds for these sizes.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator

import pandas
import torch
from torch.nn.functional import normalize

from benchmarks.rounds import alternate, show
from rdistill_course import lambda_slider, loss_explorer, map_explorer, protocol_explorer
from rdistill_course.style import use_style
from rdistill_helpers import Benchmark, losses

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


def main() -> None:
    """Prints the table; fails above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=50, help="how often each control is moved")
    args = parser.parse_args()
    use_style()
    moved = widgets(args.moves)
    times = alternate({name: move for name, (_, move) in moved.items()}, args.moves)
    table = pandas.DataFrame({"median ms": times.median(), "95 % ms": times.quantile(0.95)})
    table["kB to the browser"] = [
        sum(len(part.value) for part in parts(widget) if "<img" in str(getattr(part, "value", ""))) / 1000
        for widget, _ in moved.values()
    ]
    show(f"{args.moves} moves of each control", table)
    sys.exit(bool(table["median ms"].max() > LIMIT))


if __name__ == "__main__":
    main()
