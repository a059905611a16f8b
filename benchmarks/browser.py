"""How fast the student describes photographs in a browser, beside onnxruntime outside of it.

    python -m benchmarks.browser
    python -m benchmarks.browser --student runs/own/student.onnx
    python -m benchmarks.browser --quick    # to try it

The search page (tools/build_demo.py) in headless Chromium and OnnxStudent take turns with the same photographs of the rooms,
from the WebP file to the descriptor, one photograph at a time: with one thread, as under any server of files, and with as many
as `make demo` lets the browser use. The median round counts. Skipped with the reason where Chromium or onnxruntime-web is
missing.
"""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.record import ROOT, options, parsed, save
from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers import OnnxStudent, extract, load_teacher
from rdistill_helpers.data.images import read_image

sys.path.insert(0, str(ROOT / "tools"))
import build_demo

THREADS = min(4, os.cpu_count() or 1)  # of the page, as tools/demo/worker.js takes them
DESCRIBE = """async (names) => {
    const { Describer } = await import("./network.js");
    window.describer ??= new Describer({ longest: 320, least: 16 });
    for (const name of names) {
        await window.describer.describe({ file: "student.onnx" }, { name, address: `rooms/${name}.webp` });
    }
}"""


@contextmanager
def in_browser(site: Path, names: list[str]) -> Iterator[dict[str, Callable[[], object]]]:
    """Describes photographs in the page, served with and without what lets a browser use threads."""
    from playwright.sync_api import sync_playwright

    program = shutil.which(os.environ.get("RDISTILL_CHROMIUM", "chromium"))
    if program is None:
        raise build_demo.Skipped("there is no Chromium here: install it, or name it in the variable RDISTILL_CHROMIUM")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        ways = {}
        for threads, headers in {1: {}, THREADS: build_demo.HEADERS}.items():
            serving = build_demo.server(site, 0, headers)
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{serving.server_port}/")
            ways[f"browser, {threads} thread(s)"] = partial(page.evaluate, DESCRIBE, names)
        yield ways
        browser.close()


def outside(student: Path, files: list[Path], threads: int) -> Callable[[], object]:
    """Describes the same photographs by onnxruntime in this process."""
    net = OnnxStudent(student, threads=threads)
    return lambda: [extract(net, [read_image(file, upright=False)], progress=False) for file in files]


def main(arguments: list[str] | None = None) -> None:
    """Prints the table and keeps the ratios."""
    parser = options(__doc__)
    parser.add_argument("--student", type=Path, default=build_demo.STUDENT)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=40)
    args = parsed(parser, arguments, rounds=1, images=4)
    try:
        files = build_demo.runtime(ROOT / "build")
        with tempfile.TemporaryDirectory() as folder:
            site = Path(folder) / "site"
            build_demo.build(
                site, args.student, args.student, load_teacher(), files, queries=1, photographs=args.images
            )
            photographs = sorted((site / "rooms").glob("*.webp"))
            with in_browser(site, [file.stem for file in photographs]) as ways:
                for threads in dict.fromkeys([1, THREADS]):
                    ways[f"onnxruntime, {threads} thread(s)"] = outside(args.student, photographs, threads)
                times = alternate(ways, args.rounds).median() / len(photographs)
    except build_demo.Skipped as reason:
        print(f"skipped: {reason}.")
        return
    table = ratios(times, ["onnxruntime, 1 thread(s)"])
    show("milliseconds for a photograph", table)
    pairs = {
        f"{n}": times[f"browser, {n} thread(s)"] / times[f"onnxruntime, {n} thread(s)"]
        for n in dict.fromkeys([1, THREADS])
    }
    save(args, "browser", {"ms": times.to_dict(), "browser to onnxruntime": pairs, "student": args.student.name})


if __name__ == "__main__":
    main()
