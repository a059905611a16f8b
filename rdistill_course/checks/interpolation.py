"""Checks of notebook 2: mixtures by hand, in one space and in two, and what a loss may compare."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_course.checks.hints import Hint, alike, ask, passed, tensor
from rdistill_course.checks.runner import Answer, examine, judge, parts, tell
from rdistill_course.checks.steps import exercise
from rdistill_helpers.distil.interpolate import mix


@exercise(
    "2.1",
    "Write the mixture as (λa + (1-λ)b) divided by its length, and multiply with x. What is the numerator?",
    "The numerator is λ·ax + (1-λ)·bx. The length is the root of a square that you can multiply out with a·a = "
    "b·b = 1.",
    "Divide λ·ax + (1-λ)·bx by the root of λ² + (1-λ)² + 2λ(1-λ)·ab.",
)
def similarity_to_mixture(answer: Answer) -> None:
    """Exercise 2.1: the similarity of a photograph with a mixture, computed without any descriptor.

    Args:
        answer: (lam, ab, ax, bx), four tensors [K]: lambda, the cosine of the two parts a and b, the similarity of photograph
            x with a and with b -> [K], the similarity of x with the renormalised mixture.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(2)
    a, b, x = F.normalize(torch.randn(3, 7, 6, generator=generator), dim=2)
    lam = torch.rand(7, generator=generator)
    ab, ax, bx = (a * b).sum(1), (a * x).sum(1), (b * x).sum(1)
    ends, cross = lam**2 + (1 - lam) ** 2, 2 * lam * (1 - lam)
    squared = ends + cross * ab

    def at(squared: Tensor, lam: Tensor = lam) -> Tensor:
        return (lam * ax + (1 - lam) * bx) / squared**0.5

    mixtures = mix(torch.cat([a, b]), torch.arange(14).view(2, 7).T, lam)
    right = (mixtures * x).sum(1)
    examine(answer, (lam, ab, ax, bx), lambda value: tensor(value, (7,), "the similarity"), right, {
        "It is the similarity with the point on the chord: the mixture is brought back to length 1, so divide by the length "
        "of that point.": at(torch.ones(7)),
        "You divide by the squared length: the formula of section 3 gives the square, take its root.": at(squared**2),
        "You multiply by the length, where bringing a mixture back to length 1 divides by it.": at(1 / squared),
        "Lambda and 1 - lambda are swapped: lambda belongs to a.": at(squared, 1 - lam),
        "The length takes no notice of the cosine of a and b: it is that of perpendicular parts.": at(ends),
        "In the square of the length the mixed term occurs twice, as a·b and as b·a.": at(ends + cross / 2 * ab),
        "In the length, the cosine of a and b is needed, not a similarity with x.": at(ends + cross * ax * bx),
        "Lambda is missing: it weighs the similarity with a, and 1 - lambda that with b.": at(squared, torch.tensor(0.5)),
    }, "The similarities are not those of real mixtures: write m·x with the formula of section 2, multiply out, and divide by "
       "the length of section 3. With lambda 1 the result must be the similarity with a.")  # fmt: skip
    passed("Your formula gives the similarities of real mixtures, without a descriptor.")


@exercise(
    "2.2",
    "Write a function for one space, and call it twice with the same triples and weights.",
    "`rows[triples]` is [K, 3, D]. For a weighted sum over the three parts the weights need one more axis: [K, 3, 1].",
    "Multiply the parts with their weights, add up over the three, bring each row to length 1; do this with the "
    "teacher's rows and with the student's.",
)
def three_parts(answer: Answer) -> None:
    """Exercise 2.2: mixtures of three photographs, made in two spaces.

    Args:
        answer: (teacher [B, Dt], student [B, Ds], triples [K, 3] int64, weights [K, 3], each row of sum 1) -> the mixtures in
            both spaces, [K, Dt] and [K, Ds].

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(3)
    spaces = {
        "teacher": F.normalize(torch.randn(9, 12, generator=generator), dim=1),
        "student": F.normalize(torch.randn(9, 7, generator=generator), dim=1),
    }
    triples = torch.stack([torch.randperm(9, generator=generator)[:3] for _ in range(5)])
    weights = -torch.rand(5, 3, generator=generator).log()
    weights = weights / weights.sum(1, keepdim=True)
    tables = "Return two tables of mixtures: the teacher's, then the student's."
    given = dict(zip(spaces, parts(ask(answer, *spaces.values(), triples, weights), 2, tables), strict=True))
    others = {"teacher": "student", "student": "teacher"}
    wrong = {}
    for name, rows in spaces.items():
        theirs = (5, spaces[others[name]].shape[1])
        tell({
            "The two tables are in the wrong order: first the teacher's mixtures, then the "
            "student's.": tuple(getattr(given[name], "shape", ())) == theirs,
        })  # fmt: skip
        mixtures = tensor(given[name], (5, rows.shape[1]), f"the {name}'s mixtures").detach()
        try:
            _check_mixtures(mixtures, rows, triples, weights)
        except Hint as hint:
            wrong[name] = str(hint)
    for name, said in wrong.items():
        right = "" if len(wrong) == 2 else f" The {others[name]}'s mixtures are right: both sides need the same recipe."
        where = "In both spaces" if wrong.get(others[name]) == said else f"In the {name}'s space"
        raise Hint(f"{where}: {said}{right}")
    passed("The same photographs with the same weights, of length 1 in both spaces.")


def _check_mixtures(given: Tensor, rows: Tensor, triples: Tensor, weights: Tensor) -> None:
    """Raises Hint where the mixtures [K, D] are not those of `rows`."""
    three = rows[triples]
    between = (weights[:, :, None] * three).sum(1)
    if alike(given, F.normalize(between, dim=1)):
        return
    # Shares of the three parts that give the mixture, up to a factor; what is left over comes from other photographs.
    shares = torch.linalg.lstsq(three.mT, given[:, :, None]).solution
    tell({
        "the mixtures are not brought back to length 1.": between,
        "each column was brought to length 1, not each mixture: normalise along the last "
        "dimension.": F.normalize(between, dim=0),
        "the mixtures hold something else than the photographs that their triples "
        "name.": not alike(three.mT @ shares, given[:, :, None], 1e-3),
    }, given)  # fmt: skip
    shares = shares[:, :, 0] / shares.sum(1)
    orders = ([0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    tell({
        "all parts have the same share: the weights are not applied.": torch.full_like(weights, 1 / 3),
        "the weights went to other parts: weights[k, n] belongs to photograph triples[k, "
        "n].": tuple(weights[:, order] for order in orders),
        "the weights went through a softmax; they already sum to 1.": weights.softmax(1),
        "the third part is missing.": F.normalize(weights * torch.tensor([1, 1, 0]), p=1, dim=1),
    }, shares, 1e-3)  # fmt: skip
    two, third = F.normalize((weights[:, :2, None] * three[:, :2]).sum(1), dim=1), weights[:, 2, None]
    steps = [F.normalize(share * two + third * three[:, 2], dim=1) for share in (1 - third, 1)]
    direction = F.normalize(given, dim=1)
    tell({
        "two parts were mixed and brought to length 1 before the third came in, which makes their shares too large: add up "
        "all three first.": any(alike(direction, one) for one in steps),
        "all mixtures have the same shares: each row of `weights` belongs to one "
        "mixture.": alike(shares, shares[:1].expand_as(shares), 1e-3),
        "the shares of the three parts are not those in `weights`.": alike(given, direction),
        "neither the length of the mixtures is 1, nor are the shares of the parts those in `weights`.": True,
    })  # fmt: skip


@exercise(
    "2.3",
    "Which photographs have a part in a row? Turn the table of shares into yes and no first, so that a small "
    "share counts as much as a large one.",
    "Written as 0 and 1, the dot product of two rows counts the photographs that they have in common.",
    "Take the table of shares above 0 as numbers, multiply it with its own transpose, and allow the pairs whose "
    "count is 0. The diagonal is left out by itself.",
)
def comparable(answer: Answer) -> None:
    """Exercise 2.3: the mask of what a loss may compare, for mixtures of any number of parts.

    Args:
        answer: (shares [N, B], the share that each of B photographs has in each row of the joint space; 0 where it has none)
            -> bool [N, N]: which rows have no photograph in common.

    Raises:
        Hint: the answer is not right.
    """
    mixtures = [
        [0.7, 0.3, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.6, 0.4, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.5, 0.2, 0.3],
        [0.05, 0.0, 0.0, 0.35, 0.6, 0.0],
        [0.3, 0.7, 0.0, 0.0, 0.0, 0.0],
        [0.02, 0.0, 0.0, 0.0, 0.0, 0.98],
    ]
    shares = torch.cat([torch.eye(6), torch.tensor(mixtures)])
    has, heaviest, real = shares > 0, shares.argmax(1), torch.arange(12) < 6
    shared = (has[:, None, :] & has[None, :, :]).any(2)
    small = shared & (shares @ shares.T < 0.1)
    given = tensor(ask(answer, shares), (12, 12), "the mask") != 0
    allowed, kept_out = given & shared, ~given & ~shared
    only_small = torch.equal(allowed, allowed & small)
    judge(given, ~shared, {
        "The mask is the wrong way round: true means that two rows may be compared.": shared,
        "Only the heaviest part of each row was looked at: a photograph with a smaller share counts as "
        "well.": heaviest[:, None] != heaviest,
        "Only rows of exactly the same photographs are left out: one photograph in common is "
        "enough.": (has[:, None, :] != has[None, :, :]).any(2),
        "Two different photographs can always be compared; your mask leaves such pairs "
        "out.": bool((kept_out & real[:, None] & real).any()),
        "Your mask leaves out rows that have no photograph in common.": bool(kept_out.any()),
        "The mask is not symmetric: if row 1 may be compared with row 2, then row 2 with row "
        "1.": not torch.equal(given, given.T),
        "The diagonal is kept: a row has all its photographs in common with itself.": bool(allowed.diagonal().any()),
        "Small shares are overlooked: a photograph with a share of 2 % is a part as well.": torch.equal(allowed, small),
        "Mixtures are compared with photographs that they are made of.": bool((allowed & (real[:, None] ^ real)).any()),
    }, "Mixtures that have a photograph in common are compared with each other"
       + (", where their shares of it are small: they count as well." if only_small else "."))  # fmt: skip
    passed("Only rows without a photograph in common may be compared.")


@exercise(
    "2.4",
    "How many mixtures are made in the whole training? How many of them does the teacher see in each course?",
    "Mixed descriptors: the teacher sees the photographs only. Mixed photographs: it sees the photographs and "
    "every mixture.",
    "Mixtures are steps times mixtures for each step. First course: queries for the photographs, seconds for them"
    " and for mixing. Second: queries for photographs and mixtures, seconds for all queries.",
)
def bill(answer: Answer) -> None:
    """Exercise 2.4: what mixing costs, for descriptors and for photographs.

    Args:
        answer: (photographs, steps, mixtures, query_seconds, mixing_seconds) -> (queries, seconds) for mixed descriptors and
            (queries, seconds) for mixed photographs, as two tuples.

    Raises:
        Hint: the answer is not right.
    """
    n, steps, k, query, mixing = 300, 500, 48, 0.02, 0.0001
    made = steps * k
    right = torch.tensor([[n, n * query + made * mixing], [n + made, (n + made) * query]])
    given = tensor(ask(answer, n, steps, k, query, mixing), (2, 2), "the bill")
    tell({
        "The two ways are in the wrong order: first mixed descriptors, then mixed photographs.": right.flip(0),
        "Return (queries, seconds) of the one way, then (queries, seconds) of the other.": right.T,
    }, given)  # fmt: skip
    judge(given[0, 0], n, {
        "Mixed descriptors: a mixture is no query, the teacher is never asked about it.": (n + made, n + k, made),
        "Mixed descriptors: the ledger keeps the answers, a photograph is paid for once, not in every step.": n * steps,
        "Mixed descriptors: the descriptors that are mixed had to be asked for, once for each photograph.": 0,
    }, "Mixed descriptors: the number of queries is not right. Which of the five numbers does it depend on?")  # fmt: skip
    judge(given[1, 0], n + made, {
        "Mixed photographs: the photographs themselves are asked about as well, as in the other way.": made,
        "Mixed photographs: every step makes new mixtures, count them all.": n + k,
        "Mixed photographs: a mixed photograph is a picture that the teacher has not seen, so it is a query.": n,
        "Mixed photographs: a mixture of two photographs is one new picture, one query.": n + 2 * made,
    }, "Mixed photographs: the number of queries is not right. Count the pictures that the teacher sees.")  # fmt: skip
    judge(given[0, 1], right[0, 1], {
        "Mixed descriptors: the seconds of mixing are missing.": n * query,
        "Mixed descriptors: the seconds of the queries are missing.": made * mixing,
        "Mixed descriptors: the seconds are those of the mixtures of one step only.": n * query + k * mixing,
        "Mixed descriptors: `mixing_seconds` already holds both spaces, do not count it "
        "twice.": n * query + 2 * made * mixing,
    }, "Mixed descriptors: the seconds are not those of all queries and all mixtures together.")  # fmt: skip
    judge(given[1, 1], right[1, 1], {
        "Mixed photographs: no descriptors are mixed in this way, so `mixing_seconds` does not "
        "occur.": right[1, 1] + made * mixing,
    }, "Mixed photographs: the seconds are those of all queries of this way, nothing else.")  # fmt: skip
    passed(f"{n} photographs and {made} mixtures: {n} queries for mixed descriptors, {n + made} for mixed photographs.")
