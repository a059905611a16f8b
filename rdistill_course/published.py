"""Published scores, to compare one's own with."""

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
