"""Checks of notebook 2: mixtures by hand, in one space and in two, and what a loss may compare."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_course.checks.hints import Hint, alike, ask, passed, tell, tensor
from rdistill_helpers.distil.interpolate import mix


def similarity_to_mixture(answer: Callable[..., Any]) -> None:
    """Checks the similarity of a photograph with a mixture, computed without any descriptor.

    answer: (lam, ab, ax, bx), four tensors [K]: lambda, the cosine of the two parts a and b, the similarity of photograph x
    with a and with b -> [K], the similarity of x with the renormalised mixture. Raises Hint, or prints [OK].
    """
    generator = torch.Generator().manual_seed(2)
    a, b, x = F.normalize(torch.randn(3, 7, 6, generator=generator), dim=2)
    lam = torch.rand(7, generator=generator)
    ab, ax, bx = (a * b).sum(1), (a * x).sum(1), (b * x).sum(1)
    rows = torch.cat([a, b])
    mixtures = mix(rows, torch.arange(14).view(2, 7).T, lam)
    given = tensor(ask(answer, lam, ab, ax, bx), (7,), "the similarity")
    if alike(given, (mixtures * x).sum(1)):
        return passed("Your formula gives the similarities of real mixtures, without a descriptor.")

    def at(lam: Tensor, squared: Tensor) -> Tensor:
        return (lam * ax + (1 - lam) * bx) / squared**0.5

    ends = lam**2 + (1 - lam) ** 2
    squared = ends + 2 * lam * (1 - lam) * ab
    mistakes = {
        "It is the similarity with the point on the chord: the mixture is brought back to length 1, so divide by "
        "the length of that point.": at(lam, torch.ones(7)),
        "You divide by the squared length: the formula of section 3 gives the square, take its root.": at(
            lam, squared**2
        ),
        "You multiply by the length, where bringing a mixture back to length 1 divides by it.": at(lam, 1 / squared),
        "Lambda and 1 - lambda are swapped: lambda belongs to a.": at(1 - lam, squared),
        "The length takes no notice of the cosine of a and b: it is that of perpendicular parts.": at(lam, ends),
        "In the square of the length the mixed term occurs twice, as a·b and as b·a.": at(
            lam, ends + lam * (1 - lam) * ab
        ),
        "In the length, the cosine of a and b is needed, not a similarity with x.": at(
            lam, ends + 2 * lam * (1 - lam) * ax * bx
        ),
        "Lambda is missing: it weighs the similarity with a, and 1 - lambda that with b.": (ax + bx) / 2 / squared**0.5,
    }
    tell(
        given,
        ((wrong, hint) for hint, wrong in mistakes.items()),
        "The similarities are not those of real mixtures: write m·x with the formula of section 2, multiply out, and "
        "divide by the length of section 3. With lambda 1 the result must be the similarity with a.",
    )


def three_parts(answer: Callable[..., Any]) -> None:
    """Checks mixtures of three photographs, made in two spaces.

    answer: (teacher [B, Dt], student [B, Ds], triples [K, 3] int64, weights [K, 3], each row of sum 1) -> the mixtures
    in both spaces, [K, Dt] and [K, Ds]. Raises Hint, or prints [OK].
    """
    generator = torch.Generator().manual_seed(3)
    spaces = {
        "teacher": F.normalize(torch.randn(9, 12, generator=generator), dim=1),
        "student": F.normalize(torch.randn(9, 7, generator=generator), dim=1),
    }
    triples = torch.stack([torch.randperm(9, generator=generator)[:3] for _ in range(5)])
    weights = -torch.rand(5, 3, generator=generator).log()
    weights = weights / weights.sum(1, keepdim=True)
    given = ask(answer, *spaces.values(), triples, weights)
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise Hint("Return two tables of mixtures: the teacher's, then the student's.")
    found = {}
    for (name, rows), value in zip(spaces.items(), given, strict=True):
        if tuple(getattr(value, "shape", ())) == (5, spaces["student" if name == "teacher" else "teacher"].shape[1]):
            raise Hint("The two tables are in the wrong order: first the teacher's mixtures, then the student's.")
        found[name] = tensor(value, (5, rows.shape[1]), f"the {name}'s mixtures").detach()
    wrong = {
        name: hint for name, rows in spaces.items() if (hint := _wrong_mixture(found[name], rows, triples, weights))
    }
    if not wrong:
        return passed("The same photographs with the same weights, of length 1 in both spaces.")
    first = next(iter(wrong.values()))
    if len(set(wrong.values())) == 1 and len(wrong) == 2:
        raise Hint(f"In both spaces: {first}")
    name, hint = next(iter(wrong.items()))
    other = "teacher" if name == "student" else "student"
    right = "" if other in wrong else f" The {other}'s mixtures are right: both sides need the same recipe."
    raise Hint(f"In the {name}'s space: {hint}{right}")


def _wrong_mixture(given: Tensor, rows: Tensor, triples: Tensor, weights: Tensor) -> str:
    """What is wrong with mixtures [K, D] of `rows`; empty when nothing is."""
    parts = rows[triples]
    between = (weights[:, :, None] * parts).sum(1)
    if alike(given, F.normalize(between, dim=1)):
        return ""
    if alike(given, between):
        return "the mixtures are not brought back to length 1."
    if alike(given, F.normalize(between, dim=0)):
        return "each column was brought to length 1, not each mixture: normalise along the last dimension."
    # Shares of the three parts that give the mixture, up to a factor; what is left over comes from other photographs.
    shares = torch.linalg.lstsq(parts.mT, given[:, :, None]).solution
    if not alike(parts.mT @ shares, given[:, :, None], tolerance=1e-3):
        return "the mixtures hold something else than the photographs that their triples name."
    shares = shares[:, :, 0] / shares.sum(1)

    def used(other: Tensor) -> bool:
        return alike(shares, other, tolerance=1e-3)

    orders = ([0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    if used(torch.full_like(weights, 1 / 3)):
        return "all parts have the same share: the weights are not applied."
    if any(used(weights[:, order]) for order in orders):
        return "the weights went to other parts: weights[k, n] belongs to photograph triples[k, n]."
    if used(weights.softmax(1)):
        return "the weights went through a softmax; they already sum to 1."
    if used(F.normalize(weights * torch.tensor([1, 1, 0]), p=1, dim=1)):
        return "the third part is missing."
    pair = F.normalize(weights[:, 0, None] * parts[:, 0] + weights[:, 1, None] * parts[:, 1], dim=1)
    stepwise = [(1 - weights[:, 2, None]) * pair + weights[:, 2, None] * parts[:, 2]]
    stepwise.append(pair + weights[:, 2, None] * parts[:, 2])
    if any(alike(F.normalize(given, dim=1), F.normalize(two_steps, dim=1)) for two_steps in stepwise):
        return (
            "two parts were mixed and brought to length 1 before the third came in, which makes their shares too large: "
            "add up all three first."
        )
    if used(shares[:1].expand_as(shares)):
        return "all mixtures have the same shares: each row of `weights` belongs to one mixture."
    if alike(given, F.normalize(given, dim=1)):
        return "the shares of the three parts are not those in `weights`."
    return "neither the length of the mixtures is 1, nor are the shares of the parts those in `weights`."


def comparable(answer: Callable[..., Any]) -> None:
    """Checks the mask of what a loss may compare, for mixtures of any number of parts.

    answer: (shares [N, B], the share that each of B photographs has in each row of the joint space; 0 where it has none)
    -> bool [N, N]: which rows have no photograph in common. Raises Hint, or prints [OK].
    """
    shares = torch.eye(6)
    mixtures = torch.tensor(
        [
            [0.7, 0.3, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.6, 0.4, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.5, 0.2, 0.3],
            [0.05, 0.0, 0.0, 0.35, 0.6, 0.0],
            [0.3, 0.7, 0.0, 0.0, 0.0, 0.0],
            [0.02, 0.0, 0.0, 0.0, 0.0, 0.98],
        ]
    )
    shares = torch.cat([shares, mixtures])
    real = torch.arange(12) < 6
    given = ask(answer, shares)
    given = tensor(given, (12, 12), "the mask") != 0
    has = shares > 0
    shared = (has[:, None, :] & has[None, :, :]).any(2)
    if torch.equal(given, ~shared):
        return passed("Only rows without a photograph in common may be compared.")
    if torch.equal(given, shared):
        raise Hint("The mask is the wrong way round: true means that two rows may be compared.")
    heaviest = shares.argmax(1)
    if torch.equal(given, heaviest[:, None] != heaviest):
        raise Hint(
            "Only the heaviest part of each row was looked at: a photograph with a smaller share counts as well."
        )
    if torch.equal(given, (has[:, None, :] != has[None, :, :]).any(2)):
        raise Hint("Only rows of exactly the same photographs are left out: one photograph in common is enough.")
    allowed, kept_out = given & shared, ~given & ~shared
    if kept_out.any():
        if (kept_out & real[:, None] & real).any():
            raise Hint("Two different photographs can always be compared; your mask leaves such pairs out.")
        raise Hint("Your mask leaves out rows that have no photograph in common.")
    if not torch.equal(given, given.T):
        raise Hint("The mask is not symmetric: if row 1 may be compared with row 2, then row 2 with row 1.")
    if allowed.diagonal().any():
        raise Hint("The diagonal is kept: a row has all its photographs in common with itself.")
    if (allowed & (real[:, None] ^ real)).any():
        if torch.equal(allowed, shared & (shares @ shares.T < 0.1)):
            raise Hint("Small shares are overlooked: a photograph with a share of 2 % is a part as well.")
        raise Hint("Mixtures are compared with photographs that they are made of.")
    small = shared & (shares @ shares.T < 0.1)
    raise Hint(
        "Mixtures that have a photograph in common are compared with each other"
        + (
            ", where their shares of it are small: they count as well."
            if torch.equal(allowed, allowed & small)
            else "."
        )
    )


def bill(answer: Callable[..., Any]) -> None:
    """Checks what mixing costs, for descriptors and for photographs.

    answer: (photographs, steps, mixtures, query_seconds, mixing_seconds) -> (queries, seconds) for mixed descriptors and
    (queries, seconds) for mixed photographs, as two tuples. Raises Hint, or prints [OK].
    """
    n, steps, k, query, mixing = 300, 500, 48, 0.02, 0.0001
    given = tensor(ask(answer, n, steps, k, query, mixing), (2, 2), "the bill")
    made = steps * k
    right = torch.tensor([[n, n * query + made * mixing], [n + made, (n + made) * query]])
    if alike(given, right):
        return passed(
            f"{n} photographs and {made} mixtures: {n} queries for mixed descriptors, {n + made} for mixed photographs."
        )
    (own_queries, own_seconds), (other_queries, other_seconds) = given

    if alike(given, right.flip(0)):
        raise Hint("The two ways are in the wrong order: first mixed descriptors, then mixed photographs.")
    if alike(given, right.T):
        raise Hint("Return (queries, seconds) of the one way, then (queries, seconds) of the other.")
    if not alike(own_queries, right[0, 0]):
        if alike(own_queries, float(n + made)) or alike(own_queries, float(n + k)) or alike(own_queries, float(made)):
            raise Hint("Mixed descriptors: a mixture is no query, the teacher is never asked about it.")
        if alike(own_queries, float(n * steps)):
            raise Hint(
                "Mixed descriptors: the ledger keeps the answers, a photograph is paid for once, not in every step."
            )
        if alike(own_queries, 0.0):
            raise Hint(
                "Mixed descriptors: the descriptors that are mixed had to be asked for, once for each photograph."
            )
        raise Hint(
            "Mixed descriptors: the number of queries is not right. Which of the five numbers does it depend on?"
        )
    if not alike(other_queries, right[1, 0]):
        if alike(other_queries, float(made)):
            raise Hint("Mixed photographs: the photographs themselves are asked about as well, as in the other way.")
        if alike(other_queries, float(n + k)):
            raise Hint("Mixed photographs: every step makes new mixtures, count them all.")
        if alike(other_queries, float(n)):
            raise Hint(
                "Mixed photographs: a mixed photograph is a picture that the teacher has not seen, so it is a query."
            )
        if alike(other_queries, float(n + 2 * made)):
            raise Hint("Mixed photographs: a mixture of two photographs is one new picture, one query.")
        raise Hint("Mixed photographs: the number of queries is not right. Count the pictures that the teacher sees.")
    if not alike(own_seconds, right[0, 1]):
        if alike(own_seconds, n * query):
            raise Hint("Mixed descriptors: the seconds of mixing are missing.")
        if alike(own_seconds, made * mixing):
            raise Hint("Mixed descriptors: the seconds of the queries are missing.")
        if alike(own_seconds, n * query + k * mixing):
            raise Hint("Mixed descriptors: the seconds are those of the mixtures of one step only.")
        if alike(own_seconds, n * query + 2 * made * mixing):
            raise Hint("Mixed descriptors: `mixing_seconds` already holds both spaces, do not count it twice.")
        raise Hint("Mixed descriptors: the seconds are not those of all queries and all mixtures together.")
    if alike(other_seconds, right[1, 1] + made * mixing):
        raise Hint("Mixed photographs: no descriptors are mixed in this way, so `mixing_seconds` does not occur.")
    raise Hint("Mixed photographs: the seconds are those of all queries of this way, nothing else.")
