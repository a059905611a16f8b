"""The baselines: training with labels, and with matching pairs. No teacher is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rdistill_helpers.distil.batches import class_batches, hard_negatives, numbered
from rdistill_helpers.distil.distill import dimension_of, forward_from
from rdistill_helpers.distil.fingerprint import of_function, of_tensor
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.loop import device_of, fit
from rdistill_helpers.distil.settings import Training, settings
from rdistill_helpers.distil.views import KeptMaps, Photographs, as_views
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.errors import BadInput
from rdistill_helpers.parallel import gather, own_share, world_size

BASELINE = Training(steps=150, lr=3e-5)


def train_supervised(
    student: nn.Module,
    images: Tensor | Photographs | KeptMaps,
    labels: Tensor | np.ndarray | Sequence[int | str],
    loss: str | Callable[[Tensor, Tensor], Tensor] = "contrastive",
    classes: int = 12,
    per_class: int = 4,
    training: Training = BASELINE,
    checkpoint: str | Path | None = None,
    callback: Callable[[History], None] | None = None,
) -> tuple[nn.Module, History]:
    """The baseline that needs labels: metric learning on batches of a few places with a few images each.

    Args:
        student: the network, trained in place.
        images: uint8 [N, 3, H, W], or maps of them that the student's frozen parts gave.
        labels: [N] integers or texts, the place of each image.
        loss: "contrastive" (distance of positive pairs plus what negative pairs lack to the margin 0.85 in Euclidean
            distance), "multi_similarity" or "proxy_anchor", which trains a descriptor of each place along, all of them from
            pytorch-metric-learning; or a function of (descriptors, labels).
        classes: places in each batch.
        per_class: images of each place in a batch.
        training: how to train.
        checkpoint: a file to go on from when it is there, as in `distill`.
        callback: called with the history after every step.

    Returns:
        The student in eval mode, and the history of its training.

    Raises:
        BadInput: for labels, images, settings or a checkpoint that do not fit.

    Source:
        multi_similarity: Wang et al., CVPR 2019. proxy_anchor: Kim et al., CVPR 2020.
    """
    device = device_of(student, training.device)
    labels = numbered(labels, "labels")
    views = as_views(images, len(labels), "labels", training, device)
    own = {
        "loss": loss if isinstance(loss, str) else of_function(loss), "classes": classes, "per_class": per_class,
        "images": views.fingerprint(), "labels": of_tensor(labels),
    }  # fmt: skip
    proxies = None
    if isinstance(loss, str):
        sizes = (int(labels.max()) + 1, dimension_of(student, views)) if loss == "proxy_anchor" else ()
        loss = proxies = _metric_loss(loss, sizes, training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    batches = class_batches(labels, classes, per_class, training.steps, generator)
    labels = labels.to(device)
    history = fit(
        student, views.read, batches, lambda rows, _, index: loss(rows, labels[index]), generator, training,
        forward_from(student, views.parts), proxies, settings=own, checkpoint=checkpoint, callback=callback,
    )  # fmt: skip
    return student, history


@settings
class Pairs:
    """The batches of `train_on_pairs`.

    Attributes:
        tuples: tuples of a query, its positive and its negatives in each batch.
        negatives: hard negatives of each query, of different clusters.
        pool: random images among which negatives are searched.
        mine_every: steps between two searches, with the student's descriptors of that moment.
        margin: Euclidean distance that negatives are pushed to.

    Raises:
        BadInput: for an unknown setting, or numbers below 1.
    """

    tuples: int = 5
    negatives: int = 5
    pool: int = 20_000
    mine_every: int = 100
    margin: float = 0.85

    def __post_init__(self) -> None:
        if min(self.tuples, self.negatives, self.pool, self.mine_every) < 1:
            raise BadInput(
                f"{self.tuples} tuples of {self.negatives} negatives, mined every {self.mine_every} steps among {self.pool} "
                "images: give one or more of each."
            )


def train_on_pairs(
    student: nn.Module,
    images: Tensor,
    clusters: Tensor | Sequence[int | str],
    queries: Tensor,
    positives: Tensor,
    pairs: Pairs = Pairs(),  # noqa: B008 - frozen
    training: Training = BASELINE,
    callback: Callable[[History], None] | None = None,
) -> tuple[nn.Module, History]:
    """The baseline for sets that know matching pairs, such as SfM-120k: contrastive loss with hard negatives.

    Args:
        student: the network, trained in place.
        images: uint8 [N, 3, H, W].
        clusters: [N] integers or texts; photographs of different clusters show different places.
        queries: int64 [P], positions in `images`.
        positives: int64 [P], the position of a match of each query.
        pairs: how batches are made.
        training: how to train.
        callback: called with the history after every step.

    Returns:
        The student in eval mode, and the history of its training.

    Raises:
        BadInput: for lists that do not fit, and for too few clusters.

    Source:
        Radenovic, Tolias and Chum, TPAMI 2019.
    """
    clusters, queries, positives = numbered(clusters, "clusters"), torch.as_tensor(queries), torch.as_tensor(positives)
    views = as_views(images, len(clusters), "clusters", training, device_of(student, training.device))
    if len(queries) != len(positives) or len(queries) < 1:
        raise BadInput(f"There are {len(queries)} queries and {len(positives)} positives: give one for each query.")
    both = torch.cat([queries, positives])
    if not 0 <= int(both.min()) <= int(both.max()) < len(images):
        raise BadInput(f"A pair names an image beyond the {len(images)} there are: give positions in `images`.")
    generator = torch.Generator().manual_seed(training.seed)
    tuples, size = pairs.tuples, 2 + pairs.negatives

    def batches() -> Iterator[Tensor]:
        for start in range(0, training.steps, pairs.mine_every):
            count = min(pairs.mine_every, training.steps - start)
            drawn = torch.randint(len(queries), (count * tuples,), generator=generator)
            among = torch.randperm(len(images), generator=generator)[: pairs.pool]
            asked, place = queries[drawn].unique(return_inverse=True)
            rows, pool_rows = (_described(student, images, index) for index in (asked, among))
            mined = hard_negatives(rows, clusters[asked], pool_rows, clusters[among], pairs.negatives)
            whole = torch.cat([queries[drawn, None], positives[drawn, None], among[mined[place]]], dim=1)
            yield from whole.view(count, tuples * size)

    def batch_loss(rows: Tensor, _: Tensor | None, index: Tensor) -> Tensor:
        tuple_rows = rows.view(tuples, size, -1)
        distance = (tuple_rows[:, 1:] - tuple_rows[:, :1]).norm(dim=2)
        short = (pairs.margin - distance[:, 1:]).clamp(min=0)
        return (distance[:, 0].pow(2).sum() + short.pow(2).sum()) / (2 * tuples)

    own = {"loss": f"contrastive({pairs.margin})", "pairs": repr(pairs), "images": views.fingerprint()}
    history = fit(student, views.read, batches(), batch_loss, generator, training, settings=own, callback=callback)
    return student, history


def _described(student: nn.Module, images: Tensor, index: Tensor) -> Tensor:
    """The student's descriptors of images[index], [n, D], each process describing its share."""
    if len(index) < world_size():
        return extract(student, images[index], progress=False)
    share = own_share(len(index))
    return gather(extract(student, images[index[share.start : share.stop]], progress=False), len(index))


def _metric_loss(name: str, sizes: tuple[int, ...], seed: int) -> nn.Module:
    """The loss of pytorch-metric-learning with this name; sizes: places and dimension, where it learns proxies."""
    from pytorch_metric_learning import losses as metric_losses

    if name == "contrastive":
        return metric_losses.ContrastiveLoss(pos_margin=0.0, neg_margin=0.85)
    if name == "multi_similarity":
        return metric_losses.MultiSimilarityLoss()
    if name == "proxy_anchor":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return metric_losses.ProxyAnchorLoss(*sizes)
    raise BadInput(
        f"The supervised loss {name!r} is not known: give 'contrastive', 'multi_similarity', 'proxy_anchor' or a function."
    )
