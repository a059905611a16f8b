"""The revisited protocol: easy, medium and hard scores of descriptors or of ranked lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.score.ranks import average_precision, count_ranks, precision_at, remove_ignored

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
    """Scores under one protocol, fractions: mean AP, mean precision at k, and AP of every query (nan without positives)."""

    mAP: float
    mP: dict[int, float]
    ap: np.ndarray


@dataclass(frozen=True)
class Report:
    """Scores of one system on one benchmark. Prints as a table in percent."""

    easy: Measures
    medium: Measures
    hard: Measures
    name: str = ""

    def _rows(self) -> list[list[str]]:
        ks = list(self.medium.mP)
        rows = [[self.name or "mAP in %", "mAP", *(f"mP@{k}" for k in ks)]]
        for protocol in PROTOCOLS:
            measures: Measures = getattr(self, protocol)
            rows.append([protocol, *(f"{100 * v:.1f}" for v in (measures.mAP, *measures.mP.values()))])
        return rows

    def __str__(self) -> str:
        first, *rest = self._rows()
        wide = max(len(row[0]) for row in self._rows())
        return "\n".join(row[0].ljust(wide) + "".join(v.rjust(8) for v in row[1:]) for row in (first, *rest))

    def _repr_html_(self) -> str:
        first, *rest = self._rows()
        head = "".join(f"<th>{v}</th>" for v in first)
        body = "".join(f"<tr><th>{r[0]}</th>" + "".join(f"<td>{v}</td>" for v in r[1:]) + "</tr>" for r in rest)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each protocol, fractions: mAP, mP@k ..."""
        import pandas

        rows = {
            p: {"mAP": m.mAP, **{f"mP@{k}": v for k, v in m.mP.items()}} for p in PROTOCOLS for m in (getattr(self, p),)
        }
        return pandas.DataFrame.from_dict(rows, orient="index")


def evaluate(
    queries: Tensor | np.ndarray,
    database: Tensor | np.ndarray,
    benchmark: Benchmark,
    ks: Sequence[int] = (1, 5, 10),
    name: str = "",
) -> Report:
    """Scores of descriptors: queries [Q, D], database [N, D], rows L2-normalised; similarity is the dot product.

    The database may have more rows than the benchmark has images: the rest are distractors. Ties rank by row number, the
    lower first. Raises BadInput for descriptors that cannot be compared.
    """
    q = check_descriptors(queries, "queries")
    d = check_descriptors(database, "database", dim=q.shape[1])
    if len(q) != len(benchmark.query_names) or len(d) < len(benchmark.image_names):
        raise BadInput(
            f"{benchmark.name} has {len(benchmark.query_names)} queries and {len(benchmark.image_names)} images, "
            f"but {len(q)} and {len(d)} descriptors were given: extract all of them, in the order of query_names and "
            "image_names."
        )
    wanted = [
        torch.from_numpy(np.concatenate([g[k] for k in ("easy", "hard", "junk")])) for g in benchmark.ground_truth
    ]
    counted = count_ranks(q, d, wanted)

    def ranks_of(i: int, part: str) -> np.ndarray:
        gnd = benchmark.ground_truth[i]
        before = sum(len(gnd[k]) for k in ("easy", "hard", "junk")[: ("easy", "hard", "junk").index(part)])
        return counted[i][before : before + len(gnd[part])].numpy()

    return _report(benchmark, ranks_of, ks, name)


def evaluate_ranking(ranking: Any, benchmark: Benchmark, ks: Sequence[int] = (1, 5, 10), name: str = "") -> Report:
    """Scores of ranked lists made elsewhere: [Q, n] database positions, best first; n may be less than the database.

    Positives beyond the end of a cut list count as not found. Raises BadInput when lists name images that do not exist or
    name one twice.
    """
    lists = np.asarray(ranking)
    if lists.ndim != 2 or len(lists) != len(benchmark.query_names) or not np.issubdtype(lists.dtype, np.integer):
        raise BadInput(
            f"The ranking must be whole numbers [{len(benchmark.query_names)}, n], one list a query, "
            f"but is {lists.dtype} {lists.shape}: give database positions, best first."
        )
    if lists.size and (lists.min() < 0 or any(len(np.unique(row)) < len(row) for row in lists)):
        raise BadInput("The ranking has a negative position or names an image twice: give each image once a list.")
    size = max(len(benchmark.image_names), int(lists.max(initial=0)) + 1)
    places = np.full((len(lists), size), -1, np.int64)
    np.put_along_axis(places, lists, np.arange(lists.shape[1])[None].repeat(len(lists), 0), 1)

    def ranks_of(i: int, part: str) -> np.ndarray:
        found = places[i, benchmark.ground_truth[i][part]]
        return found[found >= 0]

    return _report(benchmark, ranks_of, ks, name)


def _report(benchmark: Benchmark, ranks_of: Callable[[int, str], np.ndarray], ks: Sequence[int], name: str) -> Report:
    if not ks or min(ks) < 1:
        raise BadInput(f"The cut-offs ks={list(ks)} are not usable: give at least one number, each 1 or more.")
    measures = {}
    for protocol, (positive, ignored) in PROTOCOLS.items():
        aps, precisions = [], []
        for i, gnd in enumerate(benchmark.ground_truth):
            total = sum(len(gnd[k]) for k in positive)
            found = np.concatenate([ranks_of(i, k) for k in positive])
            ranks = remove_ignored(found, np.concatenate([ranks_of(i, k) for k in ignored]))
            aps.append(average_precision(ranks, total))
            precisions.append([precision_at(ranks, k, total) for k in ks])
        valid = ~np.isnan(aps)
        mean = np.mean(np.array(precisions)[valid], axis=0) if valid.any() else np.full(len(ks), np.nan)
        mean_ap = float(np.mean(np.array(aps)[valid])) if valid.any() else float("nan")
        measures[protocol] = Measures(mean_ap, {k: float(v) for k, v in zip(ks, mean, strict=True)}, np.array(aps))
    return Report(**measures, name=name)
