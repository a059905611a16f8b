"""The revisited protocol: easy, medium and hard scores of descriptors or of ranked lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.ground_truth import LISTS
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.ranks import average_precision, count_ranks, precision_at, remove_ignored
from rdistill_helpers.score.stacked import Array, StackedDescriptors, each_named, named

if TYPE_CHECKING:
    import pandas

# protocol -> (positives, ignored)
PROTOCOLS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}


@dataclass(frozen=True)
class Measures:
    """Scores under one protocol, as fractions.

    Attributes:
        mAP: Mean average precision over the queries with positives.
        mP: Mean precision at k, by k.
        ap: Average precision of every query [Q], nan without positives.
    """

    mAP: float
    mP: dict[int, float]
    ap: np.ndarray


@dataclass(frozen=True)
class Report:
    """Scores of one system on one benchmark. Prints as a table in percent, with a dash where no query has positives.

    Attributes:
        easy: Scores under the easy protocol.
        medium: Scores under the medium protocol.
        hard: Scores under the hard protocol.
        name: What the table calls the system.
    """

    easy: Measures
    medium: Measures
    hard: Measures
    name: str = ""

    def __repr__(self) -> str:
        parts = ", ".join(f"{protocol} mAP {percent(getattr(self, protocol).mAP)} %" for protocol in PROTOCOLS)
        return f"Report({self.name!r}: {parts})"

    def __str__(self) -> str:
        return self._percent().to_string(float_format="{:.1f}".format, na_rep="-") + self._note("\n")

    def _repr_html_(self) -> str:
        return self._percent().to_html(float_format="{:.1f}".format, na_rep="-") + self._note()

    def _note(self, start: str = "") -> str:
        """What a dash means, where there is one: photographs in places of one's own are all easy."""
        none = [protocol for protocol in PROTOCOLS if np.isnan(getattr(self, protocol).mAP)]
        same = ", so medium is easy" if none == ["hard"] else ""
        return f"{start}-: no query has {' or '.join(none)} positives{same}" if none else ""

    def _percent(self) -> "pandas.DataFrame":
        return (100 * self.to_frame()).rename_axis(columns=self.name or "mAP in %")

    def to_frame(self) -> "pandas.DataFrame":
        """Gives the scores as a data frame.

        Returns:
            One line for each protocol, with mAP and mP@k as fractions.
        """
        import pandas

        measures: list[Measures] = [getattr(self, protocol) for protocol in PROTOCOLS]
        return pandas.DataFrame(
            [{"mAP": m.mAP, **{f"mP@{k}": v for k, v in m.mP.items()}} for m in measures], index=list(PROTOCOLS)
        )


def percent(score: float) -> str:
    """Writes a score for tables and figures.

    Args:
        score: A fraction, or nan for a protocol under which no query has positives.

    Returns:
        Percent with one decimal, or a dash.
    """
    return "-" if np.isnan(score) else f"{100 * score:.1f}"


def evaluate(
    queries: Array,
    database: Array,
    benchmark: Benchmark,
    ks: Sequence[int] = (1, 5, 10),
    name: str = "",
    distractors: Array | Sequence[Array] | None = None,
    device: str | torch.device | None = None,
) -> Report:
    """Scores descriptors under the easy, medium and hard protocols; similarity is the dot product.

    Database and distractors are read, checked and multiplied in blocks as float32, distractors once, so that a million of them
    need little memory. The scores do not depend on how the descriptors are spread over arrays. Equal similarities rank by
    position, the lower first, hence a distractor behind the images of the benchmark.

    Args:
        queries: Descriptors [Q, D] in the order of `benchmark.query_names`, L2-normalised.
        database: Descriptors [N, D] in the order of `benchmark.image_names`, L2-normalised; a tensor or NumPy array,
            memory-mapped ones included (`open_descriptors`). Those behind the last image are distractors.
        benchmark: The benchmark.
        ks: Cut-offs of the mean precision.
        name: What the report calls the system.
        distractors: More descriptors [M, D], or a list of such arrays, which stand behind the database in this order.
        device: Where similarities are computed; they are counted on the CPU. None for the CPU.

    Returns:
        The scores.

    Raises:
        BadInput: The numbers of descriptors do not fit the benchmark, a cut-off is below 1, or descriptors cannot be compared
            (NaN, another dimension, a length further from 1 than 1e-3 or, for float16, 2e-3); the message names the array and
            the number there.

    Source: Radenovic et al., "Revisiting Oxford and Paris", CVPR 2018.
    """
    _check_cuts(ks)
    q = check_descriptors(queries, "queries").detach().cpu()
    others = [] if distractors is None else each_named("distractors", distractors)
    stacked = StackedDescriptors([named("database", database), *others], dim=q.shape[1], device=device)
    if len(q) != len(benchmark.query_names) or len(database) < len(benchmark.image_names):
        raise BadInput(
            f"{benchmark.name} has {len(benchmark.query_names)} queries and {len(benchmark.image_names)} images, "
            f"but {len(q)} and {len(database)} descriptors were given: extract all of them, in the order of query_names "
            "and image_names."
        )
    wanted = [torch.from_numpy(np.concatenate([g[part] for part in LISTS])) for g in benchmark.ground_truth]
    ranks = []
    for gnd, counted in zip(benchmark.ground_truth, count_ranks(q, stacked, wanted), strict=True):
        ends = np.cumsum([len(gnd[part]) for part in LISTS])[:-1]
        ranks.append(dict(zip(LISTS, np.split(counted.numpy(), ends), strict=True)))
    return _report(benchmark, ranks, ks, name)


def evaluate_ranking(ranking: Any, benchmark: Benchmark, ks: Sequence[int] = (1, 5, 10), name: str = "") -> Report:
    """Scores ranked lists made elsewhere, under the easy, medium and hard protocols.

    Args:
        ranking: A list for each of the Q queries, of positions in the database, whole numbers, best first. Lists may be short
            and of different lengths; positives that are not listed count as not found. Positions behind the last image of the
            benchmark are distractors. -1 at the end of a list, as FAISS fills it, is ignored.
        benchmark: The benchmark.
        ks: Cut-offs of the mean precision.
        name: What the report calls the system.

    Returns:
        The scores.

    Raises:
        BadInput: There is not one list of whole numbers for each query, a list names an image twice or holds a negative
            position before its end, or a cut-off is below 1.

    Source: Radenovic et al., "Revisiting Oxford and Paris", CVPR 2018.
    """
    _check_cuts(ks)
    wanted = len(benchmark.query_names)
    try:
        lists = [np.asarray(line) for line in ranking]
    except (TypeError, ValueError):
        lists = []
    wrong = [line for line in lists if line.ndim != 1 or (len(line) and line.dtype.kind not in "iu")]
    if len(lists) != wanted or wrong:
        got = f"one is {wrong[0].dtype} {list(wrong[0].shape)}" if wrong else f"are {len(lists)}"
        raise BadInput(
            f"The ranking must be {wanted} lists of whole numbers, one for each query, but {got}: "
            "give database positions, best first."
        )
    ranks = []
    for i, (line, gnd) in enumerate(zip(lists, benchmark.ground_truth, strict=True)):
        listed = line[line != -1]
        order = np.argsort(listed)
        ascending = listed[order]
        filled = -1 in line[: len(listed)]  # only the end of a list may be filling
        if len(listed) and (filled or ascending[0] < 0 or (np.diff(ascending) == 0).any()):
            raise BadInput(f"The ranking of query {i} has a negative position or names an image twice: give each once.")
        places = {}
        for part in LISTS:
            found = np.isin(gnd[part], listed)
            places[part] = order[np.searchsorted(ascending, gnd[part][found])]
        ranks.append(places)
    return _report(benchmark, ranks, ks, name)


def _check_cuts(ks: Sequence[int]) -> None:
    """Raise BadInput for cut-offs at which there is no precision."""
    if len(ks) == 0 or min(ks) < 1:
        raise BadInput(f"The cut-offs ks={list(ks)} are not usable: give at least one number, each 1 or more.")


def _report(benchmark: Benchmark, ranks: Sequence[dict[str, np.ndarray]], ks: Sequence[int], name: str) -> Report:
    """The measures from the 0-based ranks, in the full list, of each query's easy, hard and junk images that were found."""
    measures = {}
    for protocol, (positive, ignored) in PROTOCOLS.items():
        aps, precisions = [], []
        for gnd, of_query in zip(benchmark.ground_truth, ranks, strict=True):
            total = sum(len(gnd[part]) for part in positive)
            found = np.concatenate([of_query[part] for part in positive])
            cleaned = remove_ignored(found, np.concatenate([of_query[part] for part in ignored]))
            aps.append(average_precision(cleaned, total))
            precisions.append([precision_at(cleaned, k, total) for k in ks])
        valid = ~np.isnan(aps)
        mean = np.mean(np.array(precisions)[valid], axis=0) if valid.any() else np.full(len(ks), np.nan)
        mean_ap = float(np.mean(np.array(aps)[valid])) if valid.any() else float("nan")
        measures[protocol] = Measures(mean_ap, {k: float(v) for k, v in zip(ks, mean, strict=True)}, np.array(aps))
    return Report(**measures, name=name)
