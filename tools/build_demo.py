"""Builds the search page in build/demo, on which the student runs in the browser, and serves it to this machine alone.

    make demo                                  # the student that ships
    make demo STUDENT=runs/own/student.onnx    # one's own, as `python -m rdistill_helpers export` writes it

onnxruntime-web comes by npm, once; where npm is missing or has no network the page is skipped with the reason. The finished
page asks no other host for anything and works offline. It needs a server, for browsers read no modules from a disk: any that
serves files will do, and one that isolates the page (see HEADERS) lets the student use several threads.
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
from torch import Tensor, nn

from rdistill_helpers import Benchmark, OnnxStudent, RetrievalNet, TrainingImages, export, extract, load_teacher
from rdistill_helpers.data.images import crop_box
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.rooms import read_member
from rdistill_helpers.errors import RDistillError

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tools" / "demo"
STUDENT = ROOT / "data" / "models" / "student_squeezenet_gem.int8.onnx"
VERSION = "1.30.0"  # of onnxruntime-web, MIT
SHA512 = (  # of its package
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]
# Pixels of a photograph as a network gets it: the longer side, and the least of the shorter one.
SIZE = {"longest": 320, "least": 16}
CALIBRATION = 100  # photographs
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".webp": "image/webp"}
POLICY = re.compile(r'Content-Security-Policy" content="([^"]+)"')
HEADERS = {
    # A page that is isolated may share memory between threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # The page says so itself, for other servers; its worker has only this.
    "Content-Security-Policy": POLICY.findall((SOURCE / "index.html").read_text(encoding="utf-8"))[0],
    "Cache-Control": "no-cache",
}


class Skipped(Exception):
    """The page cannot be built here; the message says why."""


def runtime(folder: Path) -> Path:
    """The folder with the files of onnxruntime-web, fetched by npm where they are not there yet."""
    finished = folder / f"onnxruntime-web-{VERSION}"
    if finished.is_dir():
        return finished
    npm = shutil.which("npm")
    if npm is None:
        raise Skipped("npm is not installed, which fetches onnxruntime-web: install Node.js")
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        npm,
        "pack",
        f"onnxruntime-web@{VERSION}",
        "--loglevel=error",
        "--pack-destination",
        str(folder),
        "--fetch-retries=1",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise Skipped("npm gave no answer in five minutes: try again where it has a network") from None
    package = folder / f"onnxruntime-web-{VERSION}.tgz"
    if done.returncode or not package.is_file():
        reason = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise Skipped(f"npm could not fetch onnxruntime-web ({reason}): try again where it has a network")
    if hashlib.sha512(package.read_bytes()).hexdigest() != SHA512:
        raise Skipped(f"{package} is not the package that was tried with this page: ask npm for another registry")
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    with tarfile.open(package) as archive:
        for name in FILES:
            (unfinished / name).write_bytes(archive.extractfile(f"package/dist/{name}").read())
    # The package of npm has no file of its licence; that of Python is the same project's.
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copy(Path(onnxruntime.__file__).with_name(name), unfinished / name)
    package.unlink()
    return unfinished.replace(finished)


def chosen(rooms: Benchmark, queries: int, photographs: int) -> list[int]:
    """Positions of database photographs, ascending: those that the first queries have an opinion on, and others to fill up."""
    wanted = [
        int(i) for truth in rooms.ground_truth[:queries] for part in ("easy", "hard", "junk") for i in truth[part]
    ]
    return sorted([*dict.fromkeys([*wanted, *range(len(rooms.image_names))])][:photographs])


def query_of(rooms: Benchmark, i: int) -> dict[str, Any]:
    """A query as the page knows it: its box in whole pixels, as `crop_box` cuts it, and the names of what is right and junk."""
    truth = rooms.ground_truth[i]
    names = {kind: [rooms.image_names[j] for j in truth[kind]] for kind in ("easy", "hard", "junk")}
    left, top, *_ = (max(0, round(float(side))) for side in truth["bbx"])
    width, height = crop_box(rooms.query(i, crop=False), truth["bbx"]).size
    box = [left, top, left + width, top + height]
    return {"name": rooms.query_names[i], "box": box, "right": names["easy"] + names["hard"], "junk": names["junk"]}


def build(
    site: Path,
    student: Path,
    untrained: Path,
    teacher: nn.Module,
    runtime_files: Path,
    queries: int = 50,
    photographs: int = 500,
) -> None:
    """Writes the page: sources, onnxruntime-web, both networks, and the rooms with descriptors of both and of the teacher."""
    rooms, archive = Benchmark.load("rooms"), data_root() / "rooms.zip"
    which = chosen(rooms, queries, photographs)
    images = [rooms.image(i) for i in which]
    boxes = [rooms.query(i) for i in range(queries)]
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(SOURCE, site)
    shutil.copytree(runtime_files, site / "onnxruntime")
    (site / "rooms").mkdir()
    networks, rows = {}, {}
    for name, path in {"student": student, "untrained": untrained}.items():
        file = f"{name}.onnx"
        shutil.copy(path, site / file)
        rows[name] = written(site / "rooms" / f"{name}.f32", extract(OnnxStudent(path), images))
        networks[name] = {"file": file, "title": f"{path.name}, {path.stat().st_size / 1e6:.1f} MB"}
    rows["teacher"] = written(site / "rooms" / "teacher.f32", extract(teacher, [*images, *boxes]))
    names = [rooms.image_names[i] for i in which]
    asked = [query_of(rooms, i) for i in range(queries)]
    for name in [*names, *(query["name"] for query in asked)]:
        (site / "rooms" / f"{name}.webp").write_bytes(read_member(archive, f"images/{name}.webp"))
    shutil.copy(ROOT / "data" / "CREDITS.md", site / "rooms")
    told = {"size": SIZE, "networks": networks, "rooms": {"photos": names, "queries": asked, "rows": rows}}
    (site / "demo.json").write_text(json.dumps(told), encoding="utf-8")


def written(path: Path, descriptors: Tensor) -> str:
    """Writes descriptors as the page reads them; gives their address."""
    path.write_bytes(descriptors.numpy().astype("<f4").tobytes())
    return f"rooms/{path.name}"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the page, with headers of our own and without a line for each on the screen."""

    def __init__(self, *arguments: Any, headers: Mapping[str, str], **settings: Any) -> None:
        self.own_headers = headers
        super().__init__(*arguments, **settings)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        # A system may know other types, with which browsers run nothing.
        return TYPES.get(Path(path).suffix) or super().guess_type(path)

    def end_headers(self) -> None:
        for name, value in self.own_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def server(site: Path, port: int, headers: Mapping[str, str] = HEADERS) -> http.server.ThreadingHTTPServer:
    """A server of the page for this machine alone; port 0 takes any that is free."""
    handler = partial(Handler, directory=str(site), headers=headers)
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def make(site: Path, student: Path, runtime_files: Path) -> None:
    """Builds the page with the whole set of rooms, the teacher, and the student as it was before its training."""
    teacher = load_teacher()
    training = TrainingImages.load("rooms")
    untrained = ROOT / "build" / "untrained.onnx"
    calibration = training.pixels(range(0, len(training), len(training) // CALIBRATION))
    export(RetrievalNet("squeezenet1_1", scale=teacher.scale), untrained, int8=calibration)
    build(site, student, untrained, teacher, runtime_files)


def serve(site: Path, port: int) -> None:
    """Serves the page until it is interrupted."""
    try:
        serving = server(site, port)
    except OSError as error:
        sys.exit(f"Port {port} cannot be served ({error}): give another one, --port 0 for any that is free.")
    print(f"http://127.0.0.1:{serving.server_port}/ is the search page; Ctrl-C ends it.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        serving.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, default=STUDENT, help="int8 or float, as `export` writes it")
    parser.add_argument("--site", type=Path, default=ROOT / "build" / "demo", help="folder of the finished page")
    parser.add_argument("--port", type=int, default=8019)
    parser.add_argument("--only", choices=["runtime", "page"], help="fetch onnxruntime-web, or build without serving")
    arguments = parser.parse_args()
    try:
        files = runtime(ROOT / "build")
        if arguments.only == "runtime":
            return
        if not arguments.student.is_file():
            sys.exit(
                f"The student {arguments.student} is not there: give another one, `make demo STUDENT=student.onnx`."
            )
        make(arguments.site, arguments.student, files)
    except Skipped as reason:
        print(f"The page is skipped: {reason}.")
        return
    except RDistillError as error:
        sys.exit(str(error))
    if arguments.only != "page":
        serve(arguments.site, arguments.port)


if __name__ == "__main__":
    main()
