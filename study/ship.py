"""The student that ships: of a method of the study the best seed on the validation rooms, as two files and a card.

    python -m study ship                                            # some minutes for each seed
    python -m study ship --method listwise+regression --seeds 0 1

Nothing is chosen on the test rooms: they are scored once, at the end, for the card.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from rdistill_helpers import (
    Benchmark,
    OnnxStudent,
    evaluate,
    export,
    extract,
    load_network,
    save_network,
    teacher_version,
)
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.files import written_whole
from study.settings import Settings
from study.students import SCALE, Rooms, student_of

METHOD = "course-listwise+regression"
NAME = "student_squeezenet_gem"
CALIBRATION = 300  # photographs: the teacher is not asked about them
CARD = """# Student: SqueezeNet 1.1 with GeM, distilled from {queries} answers of the teacher

| | |
|---|---|
| files | `{name}.safetensors`, half precision, read by `load_network`; `{name}.int8.onnx`, read by `OnnxStudent` |
| size | {float_mb:.2f} MB and {int8_mb:.2f} MB |
| architecture | `squeezenet1_1` without its classifier, GeM pooling, L2; {dim} dimensions |
| input | RGB in [0, 1], of any size; the network normalises it and enlarges it by {scale:g} |
| start | ImageNet weights (MIT) |
| training data | {images} training photographs of the rooms, without labels |
| teacher | version {teacher}, asked {queries} times |
| method | {method}: {steps} steps at {lr:g}, the first {frozen} parts frozen (`python -m study ship`) |
| seed | {seed}, the best of {seeds} on the validation rooms |
| int8 | static, calibrated on {calibration} training photographs |
| licence | MIT |

## Scores (mAP in percent)

| | easy | medium | hard |
|---|---|---|---|
{rows}

## Use and limits

Made for this course: a network small enough for a browser. It knows synthetic rooms and nothing else; do not use it to
recognise real places.
"""


def scores(net: nn.Module, benchmark: Benchmark) -> tuple[float, float, float]:
    """What a network reaches.

    Args:
        net: as in `extract`.
        benchmark: the benchmark.

    Returns:
        mAP under the easy, medium and hard protocol.
    """
    queries, database = (extract(net, images, progress=False) for images in (benchmark.queries(), benchmark.images()))
    report = evaluate(queries, database, benchmark)
    return report.easy.mAP, report.medium.mAP, report.hard.mAP


def make(own: Settings, label: str, seeds: list[int], data: Rooms, folder: Path | None = None) -> Path:
    """Train the student of every seed, keep the best on the validation rooms, and write its files and its card.

    Args:
        own: the settings.
        label: what the card calls the method.
        seeds: of the trainings.
        data: the photographs.
        folder: where the files go; None for the models of the data folder.

    Returns:
        The card.
    """
    folder = folder or data_root() / "models"
    trained = {}
    for seed in seeds:
        net = student_of(own, seed, data).net
        net.scale = SCALE
        trained[seed] = (scores(net, data.benchmarks["validation"])[1], net)
        print(f"seed {seed}: medium mAP on the validation rooms {100 * trained[seed][0]:.1f}", flush=True)
    seed = max(trained, key=lambda each: trained[each][0])
    files = folder / f"{NAME}.safetensors", folder / f"{NAME}.int8.onnx"
    save_network(trained[seed][1], files[0], half=True, seed=seed, images=own.images, teacher=teacher_version())
    net = load_network(files[0])  # in half precision, as others will have it
    calibration = data.pixels[:: max(1, len(data.pixels) // CALIBRATION)][:CALIBRATION]
    export(net, files[1], int8=calibration)
    scored: dict[str, Any] = {}
    for name, benchmark in data.benchmarks.items():
        for precision, each in (("float32", net), ("int8", OnnxStudent(files[1]))):
            scored[f"{name}, {precision}"] = scores(each, benchmark)
    rows = [f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in values)} |" for name, values in scored.items()]
    card = folder / f"{NAME}.md"
    with written_whole(card) as unfinished:
        unfinished.write_text(
            CARD.format(
                name=NAME, queries=own.queries, float_mb=files[0].stat().st_size / 1e6, int8_mb=files[1].stat().st_size / 1e6,
                dim=net.dim, scale=net.scale, images=own.images, teacher=teacher_version(), method=label,
                steps=own.training.steps, lr=own.training.lr, frozen=own.frozen, seed=seed, seeds=len(seeds),
                calibration=len(calibration), rows="\n".join(rows),
            ),
            encoding="utf-8",
        )  # fmt: skip
    return card
