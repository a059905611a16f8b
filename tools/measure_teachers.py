"""Measure what the teachers know and what they teach; writes study/results/teachers.csv, which the model card is made of.

    python tools/measure_teachers.py PRIVATE.zip --also memoriser=build/teachers/memoriser_600.safetensors
    python tools/measure_teachers.py --only students --also a=build/teachers/a_2000.safetensors --results build/choice.csv
    python tools/measure_teachers.py --curves build/teachers/stranger.jsonl

What is in the file of the same networks is not measured again. The second line compares networks on the way by what their
students reach; the third takes over what a training wrote about itself.

* scores: mAP of each network on validation and test, with intervals over queries.
* same-room: each photograph asks for the others of its room, among as many rooms and photographs in every part.
* students: what cheap students of the study reach on validation from 300 photographs, beside labels.
* near: the most similar pairs of photographs of different parts, by pixels and by the teacher, as contact sheets in build/.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from room_photographs import private_rooms
from torch import Tensor

from rdistill_helpers import Benchmark, RetrievalNet, TrainingImages, evaluate, extract, load_network
from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.distil.fingerprint import of_tensor
from rdistill_helpers.errors import BadInput, RDistillError
from rdistill_helpers.files import written_whole
from rdistill_helpers.score.ranks import average_precision
from rdistill_helpers.score.uncertainty import bootstrap
from study.runs import SEARCH, Run
from study.search import of_loss
from study.settings import Settings, but
from study.students import SCALE, Rooms, done
from study.tables.teachers import COLUMNS, LABELS, PROTOCOLS, RESULTS

ROOT = Path(__file__).resolve().parents[1]
UNTRAINED = {"untrained student": "squeezenet1_1", "untrained backbone": "tf_efficientnet_lite2"}
ROOMS_COMPARED, VIEWS_COMPARED = 64, 6  # in every part alike: among more rooms it is harder
PRIVATE_ROOMS = 192  # that are looked at
SEEDS = 5
TAUGHT = ("listwise", "listwise+regression")
OF_UNTRAINED = {"untrained student": (LABELS,), "untrained backbone": ()}  # nobody teaches those that learn from labels
STUDENTS = {  # the cheap student of the study, with 300 photographs and its default settings; with labels the best learning rate
    "listwise": of_loss("listwise"),
    "listwise+regression": Settings(),
    LABELS: but(of_loss(LABELS.removeprefix("supervised-")), lr=1e-4),
}
PAIRS = 10
MEASURES = ("scores", "same-room", "students", "near")
Task = Callable[[], dict[str, dict[str, str]]]


class Part:
    """The photographs of a part: the database of a benchmark, or all; `rooms` [N], -1 where the room is not known."""

    def __init__(self, name: str, private: Path | None) -> None:
        self.name = name
        if name in ("validation", "test"):
            self.benchmark = Benchmark.load("rooms" if name == "test" else "rooms-validation")
            self.photographs = self.benchmark.images()
            self.rooms = torch.full((len(self.photographs),), -1)
            for room, truth in enumerate(self.benchmark.ground_truth):
                for views in ("easy", "hard", "junk"):
                    self.rooms[torch.as_tensor(truth[views])] = room
        else:
            images = TrainingImages.load("rooms") if name == "train" else private_rooms(private)
            self.rooms = images.labels()
            if name == "private":
                kept = (self.rooms < PRIVATE_ROOMS).nonzero()[:, 0]
                self.photographs, self.rooms = images.pixels(kept), self.rooms[kept]
            else:
                self.photographs = images.pixels()


class Networks:
    """The networks by name, and their descriptors of the parts, each computed once."""

    def __init__(self, also: list[str], private: Path | None) -> None:
        self.private = private
        self.parts = ("train", "validation", "test") if private is None else ("private", "train", "validation", "test")
        self.nets = {name: load_network(path) for name, path in (one.split("=", 1) for one in also)}
        for name in ("teacher", "stranger"):
            path = ROOT / "data" / "models" / f"{name}_lite2_gem.safetensors"
            if path.exists():
                self.nets[name] = load_network(path)
        self.nets |= {name: RetrievalNet(own, scale=SCALE).eval() for name, own in UNTRAINED.items()}

    @cache  # noqa: B019 one object lives as long as the process
    def part(self, name: str) -> Part:
        return Part(name, self.private)

    @cache  # noqa: B019
    def rows(self, network: str, part: str) -> Tensor:
        return extract(self.nets[network], self.part(part).photographs, progress=False)

    def version(self, network: str) -> str:
        """What tells its weights from others: eight digits."""
        return of_tensor(torch.cat([value.detach().flatten() for value in self.nets[network].parameters()]))[:8]


def same_room_precision(rows: Tensor, rooms: Tensor) -> Tensor:
    """Mean average precision of the photographs of each room, when each asks for the others of its room: [R].

    Rooms are compared in blocks of ROOMS_COMPARED that follow each other, as those that share a style do; a last, smaller
    block is left out, and so are rooms of fewer than VIEWS_COMPARED photographs.
    """
    members = [(rooms == room).nonzero()[:VIEWS_COMPARED, 0] for room in rooms.unique() if room >= 0]
    members = [own for own in members if len(own) == VIEWS_COMPARED]
    if len(members) < ROOMS_COMPARED:
        raise BadInput(f"Only {len(members)} rooms have {VIEWS_COMPARED} photographs: give {ROOMS_COMPARED} or more.")
    found = []
    for start in range(0, len(members) - ROOMS_COMPARED + 1, ROOMS_COMPARED):
        index = torch.cat(members[start : start + ROOMS_COMPARED])
        similarity = (rows[index] @ rows[index].T).fill_diagonal_(-torch.inf)
        order = similarity.argsort(1, descending=True)[:, :-1]
        hits = rooms[index][order] == rooms[index][:, None]
        precision = torch.tensor([average_precision(own.nonzero()[:, 0].numpy()) for own in hits])
        found.append(precision.view(ROOMS_COMPARED, VIEWS_COMPARED).mean(1))
    return torch.cat(found)


def interval(ap: Tensor) -> dict[str, str]:
    """A mean and its interval of 95 % over queries or rooms, in percent."""
    own = bootstrap(ap[None])
    return {name: f"{100 * getattr(own, name):.2f}" for name in ("mean", "low", "high")}


def scores(networks: Networks, name: str, part: str) -> dict[str, dict[str, str]]:
    benchmark = networks.part(part).benchmark
    queries = extract(networks.nets[name], benchmark.queries(), progress=False)
    report = evaluate(queries, networks.rows(name, part), benchmark)
    return {protocol: interval(getattr(report, protocol).ap) for protocol in PROTOCOLS}


def same_room(networks: Networks, name: str, part: str) -> dict[str, dict[str, str]]:
    return {"": interval(same_room_precision(networks.rows(name, part), networks.part(part).rooms))}


def student(networks: Networks, name: str, method: str, seed: int) -> dict[str, dict[str, str]]:
    """A student of a network; one that learns from labels has no teacher."""
    data = Rooms()
    data.benchmarks = {"validation": networks.part("validation").benchmark}
    data.name = of_tensor(networks.part("train").photographs)[:8]
    if method != LABELS:
        data.network, data.version = lambda _: networks.nets[name], lambda _: networks.version(name)
    line = done(Run(SEARCH, STUDENTS[method], seed), data)  # which is scored on validation
    return {method: interval(torch.tensor([float(value) for value in str(line["medium_ap"]).split()]))}


def tasks(networks: Networks, wanted: list[str]) -> Iterator[tuple[dict[str, str], tuple[str, ...], Task]]:
    """What is to be measured: the columns that a task's lines share, their details, and what measures them."""
    for name in networks.nets:
        own = {"network": name, "version": networks.version(name), "seed": ""}
        for part in ("validation", "test"):
            if "scores" in wanted:
                yield own | {"measure": "scores", "part": part}, PROTOCOLS, partial(scores, networks, name, part)
        for part in networks.parts:
            if "same-room" in wanted and name not in UNTRAINED:
                yield own | {"measure": "same-room", "part": part}, ("",), partial(same_room, networks, name, part)
        taught = OF_UNTRAINED.get(name, TAUGHT)
        for seed in range(SEEDS):
            for method in taught if "students" in wanted else ():
                line = own | {"measure": "students", "part": "validation", "seed": str(seed)}
                yield line, (method,), partial(student, networks, name, method, seed)


def measure(networks: Networks, wanted: list[str], path: Path) -> None:
    """Add what is missing to the results, each as soon as it is known; lines of other weights of a name are dropped."""
    versions = {name: networks.version(name) for name in networks.nets}
    lines = [line for line in read(path) if versions.get(line["network"], line["version"]) == line["version"]]
    there = {tuple(line[column] for column in COLUMNS[:6]) for line in lines}
    for shared, details, task in tasks(networks, wanted):
        if all(tuple((shared | {"detail": detail})[column] for column in COLUMNS[:6]) in there for detail in details):
            continue
        found = [{**shared, "detail": detail, **values} for detail, values in task().items()]
        print(*(" ".join(line.values()) for line in found), sep="\n", flush=True)
        lines += found
        write(lines, path)


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise BadInput(f"{path} is no table of measurements: give one that this script wrote, or a new name.")
        return list(reader)


def write(lines: list[dict[str, str]], path: Path) -> None:
    with written_whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def take_over(record: Path, path: Path) -> None:
    """Put the scores that a training wrote about its networks into the results."""
    lines = [line for line in read(path) if (line["measure"], line["network"]) != ("curve", record.stem)]
    for entry in map(json.loads, record.read_text(encoding="utf-8").splitlines()):
        own = {
            "network": record.stem,
            "version": "",
            "measure": "curve",
            "part": "validation",
            "seed": str(entry["step"]),
        }
        lines += [{**own, "detail": name, "mean": f"{entry[name]:.2f}", "low": "", "high": ""} for name in PROTOCOLS]
    write(lines, path)


def near(networks: Networks, out: Path) -> None:
    """Write contact sheets of the most similar pairs across parts."""
    network = next(name for name in networks.nets if name not in UNTRAINED)

    def small(part: str) -> Tensor:
        """Photographs of 20 x 15 pixels without their mean and contrast."""
        pixels = networks.part(part).photographs
        pixels = pixels if isinstance(pixels, Tensor) else to_tensor(pixels)
        tiny = F.interpolate(pixels.float(), (15, 20), mode="area").flatten(1)
        return F.normalize(tiny - tiny.mean(1, keepdim=True), dim=1)

    for how, described in (("pixels", small), ("teacher", lambda part: networks.rows(network, part))):
        rows = {part: described(part) for part in networks.parts}
        pairs = []
        for one, other in combinations(networks.parts, 2):
            best = (rows[one] @ rows[other].T).flatten().topk(PAIRS)
            pairs += [
                (value, one, place // len(rows[other]), other, place % len(rows[other]))
                for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        pairs = sorted(pairs, reverse=True)[:PAIRS]
        sheet = Image.new("RGB", (2 * 160 * 2, 120 * PAIRS // 2))
        for place, (value, one, i, other, j) in enumerate(pairs):
            print(f"{how} {value:.3f}: {one} {i}, {other} {j}")
            for side, (part, number) in enumerate(((one, i), (other, j))):
                sheet.paste(
                    picture(networks.part(part).photographs, number),
                    (160 * (2 * (place % 2) + side), 120 * (place // 2)),
                )
        out.mkdir(parents=True, exist_ok=True)
        sheet.save(out / f"nearest_by_{how}.png")


def picture(photographs: Tensor | list[Image.Image], number: int) -> Image.Image:
    if isinstance(photographs, Tensor):
        return Image.fromarray(photographs[number].permute(1, 2, 0).numpy())
    return photographs[number]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "private", nargs="?", type=Path, help="the archive of the private rooms; without it they are left out"
    )
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME=PATH", help="other networks")
    parser.add_argument("--only", nargs="+", default=MEASURES, choices=MEASURES)
    parser.add_argument("--curves", nargs="+", type=Path, default=[], help="records of trainings")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    try:
        for record in args.curves:
            take_over(record, args.results)
        if not args.curves:
            networks = Networks(args.also, args.private)
            measure(networks, args.only, args.results)
            if "near" in args.only:
                near(networks, ROOT / "build")
    except RDistillError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
