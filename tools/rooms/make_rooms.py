"""Render the rooms benchmark and pack it: data/rooms.zip, its checksum, the training labels and the credits.

The same seed gives the same images on the same renderer (the packed ones: Mesa llvmpipe 22.3, LLVM 15). Needs moderngl,
scikit-image, OpenEXR, EGL with Mesa, and two unpacked open packages:

* Debian `sweethome3d-furniture` 1.8, each .sh3f file unzipped into FURNITURE/<name>/
* npm `@pmndrs/assets` 1.7.0, whose folder hdri/ is PANORAMAS

    python tools/rooms/make_rooms.py --furniture FURNITURE --panoramas PANORAMAS --work /tmp/rooms
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
from pictures import PARTS, load_pictures
from PIL import Image
from views import View, most_informative, overlap, shared_surface, take_views

ROOT = Path(__file__).resolve().parents[2]
SIBLINGS = 8  # consecutive rooms that share a style
EXTRA_VIEWS = 3  # taken and dropped again, for a good mix of overlaps
WEBP_QUALITY = 88


def render_room(renderer, library, pictures, part: str, index: int, args: argparse.Namespace) -> dict:
    """Views of one room and what is needed to measure overlap in it."""
    from room import Room

    stage = PARTS.index(part)
    room = Room(renderer, library, pictures, [args.seed, stage, 0, index], [args.seed, stage, 1, index // SIBLINGS])
    views = take_views(room, args.views + EXTRA_VIEWS)
    weights = np.zeros(256)
    weights[1 : len(room.instances) + 1] = [t.weight for t in room.instances]
    keep = most_informative(overlap(shared_surface(views, weights)), args.views)
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
    for part, count in zip(PARTS, (args.train_rooms, args.eval_rooms), strict=True):
        pictures = load_pictures(args.panoramas, part, args.seed)
        for index in range(share, count, args.processes):
            path = args.work / f"{part}_{index:04d}.pkl"
            if path.exists():
                continue
            aside = path.with_suffix(".part")
            aside.write_bytes(pickle.dumps(render_room(renderer, library, pictures, part, index, args)))
            aside.replace(path)
            if index % 20 == share:
                print(part, index, renderer.name, flush=True)


def webp(view: View) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(view.image).save(buffer, "WEBP", quality=WEBP_QUALITY, method=6)
    return buffer.getvalue()


def pack(args: argparse.Namespace) -> set[str]:
    """Write the archive, its checksum and the labels; returns the names of everything that was seen."""
    rng = np.random.default_rng([args.seed, 99])
    rooms = {part: [pickle.loads(p.read_bytes()) for p in sorted(args.work.glob(f"{part}_*.pkl"))] for part in PARTS}
    rooms = {part: [room for room in found if len(room["views"]) == args.views] for part, found in rooms.items()}
    queries = choose_queries(rooms["eval"], args.queries, rng)

    # Names say nothing about the room: shuffled numbers.
    names: dict[tuple[str, int, int], str] = {}
    order: dict[str, list[tuple[str, int, int]]] = {}
    for part in PARTS:
        keys = [(part, r, v) for r, room in enumerate(rooms[part]) for v in range(len(room["views"]))]
        order[part] = [keys[i] for i in rng.permutation(len(keys))]
        names.update({key: f"{part}_{i:04d}" for i, key in enumerate(order[part])})
    query_keys = [("eval", r, q) for r, (q, _, _) in sorted(queries.items())]
    database = [key for key in order["eval"] if key not in set(query_keys)]
    position = {key: i for i, key in enumerate(database)}
    gnd = [
        {
            "bbx": [float(v) for v in box],
            **{k: sorted(position["eval", r, v] for v in lists[k]) for k in ("easy", "hard", "junk")},
        }
        for r, (_, box, lists) in sorted(queries.items())
    ]
    truth = {"imlist": [names[k] for k in database], "qimlist": [names[k] for k in query_keys], "gnd": gnd}

    members = {f"images/{names[k]}.webp": webp(rooms[k[0]][k[1]]["views"][k[2]]) for part in PARTS for k in order[part]}
    members["gnd_rooms.pkl"] = pickle.dumps(truth, protocol=2)
    members["train.txt"] = "".join(f"{names[k]}\n" for k in order["train"]).encode()
    target = args.out / "rooms.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), members[name])
    (args.out / "rooms.zip.sha256").write_text(f"{hashlib.sha256(target.read_bytes()).hexdigest()}  rooms.zip\n")
    with (args.out / "rooms_train_labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "room"])
        writer.writerows([names[k], k[1]] for k in order["train"])
    print(
        {k: sum(len(g[k]) for g in gnd) for k in ("easy", "hard", "junk")},
        len(database),
        "database images",
        len(order["train"]),
        "training images",
    )
    print(f"{target.stat().st_size / 1e6:.1f} MB")
    return {name for part in PARTS for room in rooms[part] for name in room["names"]}


def write_credits(path: Path, library, used: set[str]) -> None:
    """Name the creator and licence of every model that can appear (visitors are not in `used`, so people are all named)."""
    by_licence: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for models in library.values():
        for model in models:
            if model.name in used or model.use in ("person", "plant", "chair", "floor"):
                by_licence[model.licence, model.catalogue][model.creator].append(model.name.split("/")[1])
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
        lines += ["", f"### {licence}, catalogue {catalogue}: {sum(map(len, creators.values()))} models", ""]
        lines += [f"- {creator}: {', '.join(sorted(set(models)))}" for creator, models in sorted(creators.items())]
    lines += [
        "",
        "## Pictures on the walls and views through the windows",
        "",
        "- Panoramas by [Poly Haven](https://polyhaven.com/hdris), CC0 1.0, as packed in npm `@pmndrs/assets` 1.7.0 (CC0-1.0):",
        "  city, forest, park, sunrise, sky, bridge, esplanade, lab, workshop (training); venice, sunset, dawn, night, lobby,",
        "  warehouse, hall (evaluation). Shown through windows and, cropped, in picture frames.",
        "- `astronaut` (Eileen Collins, NASA, public domain) and `coffee` (Rachel Michetti, CC0), training;",
        "  `chelsea` (Stefan van der Walt, CC0) and `rocket` (SpaceX, CC0), evaluation; from scikit-image's `data` module.",
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
    parser.add_argument("--train-rooms", type=int, default=302)
    parser.add_argument("--eval-rooms", type=int, default=108)
    parser.add_argument("--views", type=int, default=10)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "1")  # llvmpipe: one thread a process, one process a core
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
    write_credits(args.out / "CREDITS.md", library, pack(args))


if __name__ == "__main__":
    main()
