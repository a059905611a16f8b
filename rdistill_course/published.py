"""Published scores, to compare one's own with."""

from typing import TYPE_CHECKING

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.errors import DataMissing

if TYPE_CHECKING:
    import pandas

    from rdistill_helpers.score.report import Report

REAL = ("roxford5k", "rparis6k")
# Medium and hard mAP in percent. Source: README of cnnimageretrieval-pytorch (F. Radenovic), images with a longer side of 1024
# pixels at three scales; the first and the last with the learned whitening that is in their files.
PUBLISHED_SCORES: dict[str, dict[str, tuple[float, float]]] = {
    "retrievalSfM120k-resnet101-gem": {"roxford5k": (65.4, 40.1), "rparis6k": (76.7, 55.2)},
    "rSfM120k-tl-resnet50-gem-w": {"roxford5k": (64.7, 39.0), "rparis6k": (76.3, 54.9)},
    "rSfM120k-tl-resnet101-gem-w": {"roxford5k": (67.8, 41.7), "rparis6k": (77.6, 56.3)},
    "retrievalSfM120k-vgg16-gem": {"roxford5k": (60.9, 32.9), "rparis6k": (69.3, 44.2)},
}


def published_scores(benchmark: str) -> list[dict[str, str | float]]:
    """Gives the scores of published networks on a benchmark.

    Args:
        benchmark: Its name, such as "roxford5k".

    Returns:
        One dict for each network: its name, and medium and hard mAP as fractions. Empty for an unknown benchmark.
    """
    return [
        {"name": name, "medium": scores[benchmark][0] / 100, "hard": scores[benchmark][1] / 100}
        for name, scores in PUBLISHED_SCORES.items()
        if benchmark in scores
    ]


def published_table(report: "Report", benchmark: str) -> "pandas.DataFrame":
    """The scores of published networks on the real sets, and below them what was measured here.

    Args:
        report: of the network that answers in the teacher's place.
        benchmark: which it was measured on; on any but the real sets it gets no row.

    Returns:
        A frame of medium and hard mAP in percent, a column for each set and protocol.
    """
    import pandas

    real = {name: pandas.DataFrame(published_scores(name)).set_index("name") for name in REAL}
    table = 100 * pandas.concat(real, axis=1)
    if benchmark in REAL:
        for protocol in ("medium", "hard"):
            table.loc["measured here", (benchmark, protocol)] = 100 * getattr(report, protocol).mAP
    return table.round(1)


def real_sets() -> str:
    """What is here of the real sets.

    Returns:
        A line for each: how many photographs it has, or how to get them.
    """
    lines = []
    for name in REAL:
        try:
            lines.append(f"{name}: ready, {len(Benchmark.load(name).image_names)} database images")
        except DataMissing as error:
            lines.append(f"{name}: not here. {str(error).replace(str(data_root()), 'data')}")
    return "\n".join([*lines, "To fetch one: python -m rdistill_helpers download NAME"])
