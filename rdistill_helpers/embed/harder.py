"""Harder teachers: what services leave of a descriptor. Each function here makes a teacher of a teacher.

The answer to a photograph stays one L2-normalised row that depends on no other photograph. So `BlackBoxTeacher` charges and
keeps it like any, and every loss and mixture takes it. Give each of these teachers a name, and a ledger of its own.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor

from rdistill_helpers.data.pickles import is_whole_number
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.embed.black_box import Embed, image_key
from rdistill_helpers.errors import BadInput


def rounded(embed: Embed, digits: int) -> Embed:
    """A teacher whose numbers come with few digits, as services write them into JSON or keep them as bytes.

    Args:
        embed: the teacher, as `BlackBoxTeacher` takes it.
        digits: digits after the point. A number of a descriptor is about 1 / sqrt(D): of D = 1,280, two digits leave some six
            different values.

    Returns:
        The teacher that rounds, and divides each row by its length again.

    Raises:
        BadInput: digits that are no whole number from 0. The teacher raises it for a photograph of which nothing is left.
    """
    if not is_whole_number(digits) or digits < 0:
        raise BadInput(f"digits={digits} after the point are not possible: give a whole number from 0.")

    def answer(images: Any) -> Tensor:
        rows = torch.round(_rows(embed, images), decimals=digits)
        return _of_length_1(rows, f"rounded to {digits} digits a descriptor has no number but 0: give more digits")

    return answer


def noisy(embed: Embed, noise: float, seed: int = 0) -> Embed:
    """A teacher whose answers are off by chance: a row plus `noise` times a Gaussian vector of mean squared length 1.

    The same photograph always gets the same noise, drawn from its pixels and the seed: a service that protects its network
    answers so, for noise that is drawn anew goes away when one asks again and averages. Neither batches, their order, nor a
    restart change it. The cosine between the row with and without noise is about 1 / sqrt(1 + noise**2).

    Args:
        embed: the teacher, as `BlackBoxTeacher` takes it.
        noise: the length of the noise beside that of the row, 0 or more.
        seed: of the noise.

    Returns:
        The teacher with noise.

    Raises:
        BadInput: noise that is negative or not finite.
    """
    if not 0 <= noise < math.inf:
        raise BadInput(f"noise={noise} is not possible: give 0 or a positive number.")

    def answer(images: Any) -> Tensor:
        rows = _rows(embed, images)
        drawn = torch.stack([_drawn(images[index], seed, rows.shape[1]) for index in range(len(rows))])
        return _of_length_1(rows + noise * drawn, "noise and descriptor cancel each other: give another seed")

    return answer


def truncated(embed: Embed, dim: int) -> Embed:
    """A teacher that gives the first numbers of its descriptors only, as services offer against cost.

    Args:
        embed: the teacher, as `BlackBoxTeacher` takes it.
        dim: how many numbers are kept, from 1 to the teacher's D.

    Returns:
        The teacher of shorter rows, each divided by its length again.

    Raises:
        BadInput: dim below 1. The teacher raises it for dim above D, which its first answer tells; that one is not charged.
    """
    if not is_whole_number(dim) or dim < 1:
        raise BadInput(f"A descriptor of dim={dim} numbers is not possible: give a whole number from 1.")

    def answer(images: Any) -> Tensor:
        rows = _rows(embed, images)
        if dim > rows.shape[1]:
            raise BadInput(f"The teacher's descriptors have {rows.shape[1]} numbers, no {dim}: give a smaller dim.")
        return _of_length_1(rows[:, :dim], f"the first {dim} numbers of a descriptor are all 0: give a larger dim")

    return answer


def order_only(embed: Embed, catalogue: Tensor) -> Embed:
    """A teacher that tells in which order the things of a catalogue resemble a photograph, and no score.

    A row holds the ranks, less their mean: the dot product of two rows is Spearman's rank correlation of the two lists. Two
    photographs are alike as far as the teacher lists the same things in the same order for both.

    Args:
        embed: the teacher, as `BlackBoxTeacher` takes it.
        catalogue: L2-normalised descriptors [G, D], G >= 2, of what the service ranks: things of its own, or the photographs
            that it is sent. Entries that score the same stand in the order of the catalogue.

    Returns:
        The teacher of rows [N, G].

    Raises:
        BadInput: a catalogue that is none, or of one entry. The teacher raises it for a catalogue of another dimension.

    Source: Spearman, "The proof and measurement of association between two things", 1904.
    """
    catalogue = _checked_catalogue(catalogue, 2)

    def answer(images: Any) -> Tensor:
        best_first = _scores(embed, images, catalogue).argsort(dim=1, descending=True, stable=True)
        ranks = torch.arange(float(len(catalogue)), 0, -1).expand(best_first.shape)
        rows = torch.zeros(best_first.shape).scatter(1, best_first, ranks - ranks.mean())
        return torch.nn.functional.normalize(rows)

    return answer


def top_only(embed: Embed, catalogue: Tensor, k: int) -> Embed:
    """A teacher that names the k things of a catalogue that resemble a photograph most, with their scores.

    A row holds the scores of what is named, and 0 for all else. Nothing with a score of 0 or less is named.

    Args:
        embed: the teacher, as `BlackBoxTeacher` takes it.
        catalogue: L2-normalised descriptors [G, D], as in `order_only`.
        k: how many are named at most, from 1 to G.

    Returns:
        The teacher of rows [N, G], at most k of their numbers not 0.

    Raises:
        BadInput: a catalogue that is none, or a k that it has no entries for. The teacher raises it for a catalogue of another
            dimension, and for a photograph for which nothing is named.
    """
    catalogue = _checked_catalogue(catalogue, 1)
    if not is_whole_number(k) or not 1 <= k <= len(catalogue):
        raise BadInput(f"A catalogue of {len(catalogue)} entries has no best k={k}: give k from 1 to {len(catalogue)}.")

    def answer(images: Any) -> Tensor:
        best = _scores(embed, images, catalogue).clamp(min=0).topk(k)
        rows = torch.zeros(len(best.values), len(catalogue)).scatter(1, best.indices, best.values)
        return _of_length_1(rows, "nothing in the catalogue resembles a photograph: give a larger catalogue")

    return answer


def _rows(embed: Embed, images: Any) -> Tensor:
    """The teacher's answer, float32 [N, D] on the CPU."""
    return check_descriptors(embed(images), "the teacher's descriptors").detach().cpu()


def _scores(embed: Embed, images: Any, catalogue: Tensor) -> Tensor:
    """[N, G] cosines of photographs and catalogue."""
    rows = _rows(embed, images)
    return rows @ check_descriptors(catalogue, "descriptors of the catalogue", dim=rows.shape[1]).T


def _checked_catalogue(catalogue: Tensor, least: int) -> Tensor:
    checked = check_descriptors(catalogue, "descriptors of the catalogue").detach().cpu()
    if len(checked) < least:
        raise BadInput(f"A catalogue of {len(checked)} has no order: give {least} entries or more.")
    return checked


def _drawn(image: Any, seed: int, dim: int) -> Tensor:
    """[dim] Gaussian numbers of variance 1 / dim, the same for the same pixels and seed."""
    digest = hashlib.sha256(f"{seed} ".encode() + image_key(image)).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randn(dim, generator=generator) / math.sqrt(dim)


def _of_length_1(rows: Tensor, otherwise: str) -> Tensor:
    """Rows divided by their lengths; BadInput where one has none."""
    if not bool((rows != 0).any(dim=1).all()):
        raise BadInput(f"The teacher has nothing to answer, {otherwise}.")
    return torch.nn.functional.normalize(rows)
