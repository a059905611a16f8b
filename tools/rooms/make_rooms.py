"""Render the rooms benchmark and pack it: data/rooms.zip, its checksum, the training labels and the credits.

The same seed gives the same images on the same renderer (the packed ones: Mesa llvmpipe 22.3, LLVM 15). Needs EGL with
Mesa, the packages of `pip install -e ".[tools]"`, and two unpacked open packages:

* Debian `sweethome3d-furniture` 1.8, each .sh3f file unzipped into FURNITURE/<name>/
* npm `@pmndrs/assets` 1.7.0, whose folder hdri/ is PANORAMAS

    python tools/rooms/make_rooms.py --furniture FURNITURE --panoramas PANORAMAS --work WORK
    python tools/rooms/make_rooms.py --furniture FURNITURE --panoramas PANORAMAS --work WORK --private

The second line renders the private part, which the teachers learn from, and packs WORK/private.zip. It never ships.
"""

import argparse
import csv
import hashlib
import io
import multiprocessing
import os
import pickle
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from catalog import load_library
from ground_truth import choose_queries
from pictures import INDOOR, OUTDOOR, PARTS, load_pictures
from PIL import Image
from tqdm import tqdm
from views import View, most_informative, overlap, shared_surface, take_views

ROOT = Path(__file__).resolve().parents[2]
EDITION = 2
SIBLINGS = 8  # consecutive rooms that share a style
ROOMS = {"train": 304, "validation": 72, "test": 224}
VIEWS = {"private": 6, "train": 10, "validation": 9, "test": 9}
QUERIES = {"validation": 64, "test": 200}
ENDLESS = {("private", 689)}  # llvmpipe 22.3 never comes back from drawing these
EXTRA_VIEWS = 3  # taken and dropped again, for a good mix of overlaps; none of private rooms
WEBP_QUALITY = 88


def render_room(renderer, library, pictures, part: str, index: int, seed: int) -> dict:
    """Views of one room and what is needed to measure overlap in it; of a private room its photographs only."""
    from room import Room

    stage = PARTS.index(part)
    room = Room(renderer, library, pictures, [seed, stage, 0, index], [seed, stage, 1, index // SIBLINGS])
    if part == "private":
        photographs = [webp(view) for view in take_views(room, VIEWS[part])]
        room.release()
        return {"photographs": photographs}
    views = take_views(room, VIEWS[part] + EXTRA_VIEWS)
    weights = np.zeros(256)
    weights[1 : len(room.instances) + 1] = [t.weight for t in room.instances]
    keep = most_informative(overlap(shared_surface(views, weights)), VIEWS[part])
    room.release()
    return {
        "views": [views[i] for i in keep],
        "names": [t.name for t in room.instances],
        "kinds": [t.kind for t in room.instances],
        "weights": weights,
    }


def render_share(args: argparse.Namespace, library, share: int) -> None:
    """One process: every n-th room that is not in the work folder yet."""
    from renderer import Renderer

    renderer = Renderer()
    for part, count in ({"private": args.private_rooms} if args.private else ROOMS).items():
        pictures = load_pictures(args.panoramas, part, args.seed)
        rooms = range(share, count, args.processes)
        for index in tqdm(rooms, f"{part} (one of {args.processes} processes)", unit="room", disable=share > 0):
            path = args.work / f"{part}_{index:04d}.pkl"
            if path.exists() or (part, index) in ENDLESS:
                continue
            aside = path.with_suffix(".part")
            aside.write_bytes(pickle.dumps(render_room(renderer, library, pictures, part, index, args.seed)))
            aside.replace(path)


def webp(view: View) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(view.image).save(buffer, "WEBP", quality=WEBP_QUALITY, method=6)
    return buffer.getvalue()


def finished_rooms(work: Path, part: str) -> list[dict]:
    return [pickle.loads(path.read_bytes()) for path in sorted(work.glob(f"{part}_*.pkl"))]


def write_archive(target: Path, members: dict[str, bytes]) -> None:
    """Write a zip file that is the same, byte for byte, for the same members."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), members[name])
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


def table_of_rooms(rows: list[tuple[str, int]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image", "room"), *rows])
    return text.getvalue()


def pack_private(args: argparse.Namespace) -> None:
    """Write WORK/private.zip: the photographs of the private rooms and their labels."""
    members, rows = {}, []
    for number, room in enumerate(finished_rooms(args.work, "private")):
        for photograph in room["photographs"]:
            name = f"private_{len(rows):06d}"
            members[f"images/{name}.webp"] = photograph
            rows.append((name, number))
    members["labels.csv"] = table_of_rooms(rows).encode()
    write_archive(args.work / "private.zip", members)
    print(f"{len(rows)} photographs of {rows[-1][1] + 1} private rooms")


def ground_truth(part: str, rooms: list[dict], names: dict[tuple[int, int], str], rng: np.random.Generator) -> dict:
    """Queries, database and easy / hard / junk lists of a part; names: (room, view) -> photograph."""
    queries = choose_queries(rooms, QUERIES[part], rng)
    query_keys = [(r, q) for r, (q, _, _) in sorted(queries.items())]
    database = sorted(names.keys() - set(query_keys), key=names.__getitem__)
    position = {key: i for i, key in enumerate(database)}
    gnd = [
        {
            "bbx": [float(v) for v in box],
            **{k: sorted(position[r, v] for v in lists[k]) for k in ("easy", "hard", "junk")},
        }
        for r, (_, box, lists) in sorted(queries.items())
    ]
    print(f"{part}: {len(gnd)} queries, {len(database)} database photographs of {len(rooms)} rooms,")
    print("  mean number of", {k: sum(len(g[k]) for g in gnd) / len(gnd) for k in ("easy", "hard", "junk")})
    return {"imlist": [names[k] for k in database], "qimlist": [names[k] for k in query_keys], "gnd": gnd}


def pack(args: argparse.Namespace) -> set[str]:
    """Write the archive, its checksum and the labels; returns the names of everything that was seen."""
    rng = np.random.default_rng([args.seed, 99])
    members, seen = {"edition.txt": f"{EDITION}\n".encode()}, set()
    for part in ROOMS:
        rooms = [room for room in finished_rooms(args.work, part) if len(room["views"]) == VIEWS[part]]
        keys = [(r, v) for r, room in enumerate(rooms) for v in range(len(room["views"]))]
        # Names say nothing about the room: shuffled numbers.
        names = {keys[k]: f"{part}_{i:04d}" for i, k in enumerate(rng.permutation(len(keys)))}
        members.update({f"images/{name}.webp": webp(rooms[r]["views"][v]) for (r, v), name in names.items()})
        seen.update(name for room in rooms for name in room["names"])
        if part == "train":
            labels = sorted((name, r) for (r, _), name in names.items())
            members["train.txt"] = "".join(f"{name}\n" for name, _ in labels).encode()
            (args.out / "rooms_train_labels.csv").write_text(table_of_rooms(labels))
            print(f"train: {len(labels)} photographs of {len(rooms)} rooms")
        else:
            truth = ground_truth(part, rooms, names, rng)
            members["gnd_rooms.pkl" if part == "test" else f"gnd_rooms-{part}.pkl"] = pickle.dumps(truth, protocol=2)
    target = args.out / "rooms.zip"
    write_archive(target, members)
    (args.out / "rooms.zip.sha256").write_text(f"{hashlib.sha256(target.read_bytes()).hexdigest()}  rooms.zip\n")
    return seen


def write_credits(path: Path, library, used: set[str]) -> None:
    """Name the creator and licence of every model that can appear (visitors are not in `used`, so people are all named)."""
    by_licence: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for models in library.values():
        for model in models:
            if model.name in used or model.use in ("person", "plant", "chair", "floor"):
                by_licence[model.licence, model.catalogue][model.creator].append(model.name.split("/")[1].split("#")[0])
    lines = [
        "# Credits of the rooms benchmark",
        "",
        "The photographs are renderings made by `tools/rooms` of this project. They show, in changed form (scaled, tinted, lit):",
        "",
        "## Furniture",
        "",
        "Models from the furniture catalogues of Sweet Home 3D (Debian package `sweethome3d-furniture` 1.8), by licence and creator.",
        "Licence texts: [CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/),",
        "[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/), [CC BY 3.0 US](https://creativecommons.org/licenses/by/3.0/us/).",
    ]
    for (licence, catalogue), creators in sorted(by_licence.items()):
        lines += [
            "",
            f"### {licence}, catalogue {catalogue}: {sum(len(set(models)) for models in creators.values())} models",
            "",
        ]
        lines += [f"- {creator}: {', '.join(sorted(set(models)))}" for creator, models in sorted(creators.items())]
    lines += [
        "",
        "## Pictures on the walls and views through the windows",
        "",
        "- Panoramas by [Poly Haven](https://polyhaven.com/hdris), CC0 1.0, as packed in npm `@pmndrs/assets` 1.7.0 (CC0-1.0):",
        *[f"  {', '.join(OUTDOOR[part] + INDOOR[part])} ({part});" for part in ROOMS],
        "  shown through windows and, cropped, in picture frames.",
        "- `coffee` (Rachel Michetti, CC0), training; `chelsea` (Stefan van der Walt, CC0), validation; `rocket` (SpaceX, CC0),",
        "  test; from scikit-image's `data` module.",
        "- Paintings, floors and wallpapers: drawn by `tools/rooms/pictures.py` and `surfaces.py`, CC0 1.0.",
        "",
    ]
    path.write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--furniture", type=Path, required=True)
    parser.add_argument("--panoramas", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="rendered rooms are kept here; a second call goes on")
    parser.add_argument("--out", type=Path, default=ROOT / "data")
    parser.add_argument("--seed", type=int, default=2007)
    parser.add_argument("--private", action="store_true", help="render the teachers' rooms, into WORK/private.zip")
    parser.add_argument("--private-rooms", type=int, default=3000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe: no threads of its own, for each core has a process
    args.work.mkdir(parents=True, exist_ok=True)
    library = load_library(args.furniture)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=render_share, args=(args, library, share)) for share in range(args.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("a rendering process failed; mend the cause and call again: finished rooms are kept")
    if args.private:
        pack_private(args)
    else:
        write_credits(args.out / "CREDITS.md", library, pack(args))


if __name__ == "__main__":
    main()
