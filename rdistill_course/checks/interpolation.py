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
    "Write it for one space first: a function of `rows`, `pairs` and `lam`. `rows[pairs[:, 0]]` are the first photographs of "
    "all pairs, [K, D].",
    "`lam` is [K] and the rows are [K, D]: give lambda one more axis, [K, 1], so that each pair gets its lambda.",
    "Add up lambda times the first rows and 1 - lambda times the second ones, and divide each sum by its length. Do "
    "this with the teacher's rows and with the student's, with the same `pairs` and `lam`.",
)
def mixtures(answer: Answer) -> None:
    """Exercise 2.1: mixtures of pairs of photographs, made in two spaces.

    Args:
        answer: (teacher [B, Dt], student [B, Ds], pairs [K, 2] int64, lam [K], the share of the first of each pair) -> the
            mixtures in both spaces, [K, Dt] and [K, Ds].

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(3)
    spaces = {
        "teacher": F.normalize(torch.randn(9, 12, generator=generator), dim=1),
        "student": F.normalize(torch.randn(9, 7, generator=generator), dim=1),
    }
    pairs = torch.stack([torch.randperm(9, generator=generator)[:2] for _ in range(5)])
    lam = torch.tensor([0.1, 0.75, 0.3, 0.9, 0.6])
    tables = "Return two tables of mixtures: the teacher's, then the student's."
    given = dict(zip(spaces, parts(ask(answer, *spaces.values(), pairs, lam), 2, tables), strict=True))
    others = {"teacher": "student", "student": "teacher"}
    wrong = {}
    for name, rows in spaces.items():
        theirs = (5, spaces[others[name]].shape[1])
        tell({
            "The two tables are in the wrong order: first the teacher's mixtures, then the "
            "student's.": tuple(getattr(given[name], "shape", ())) == theirs,
        })  # fmt: skip
        made = tensor(given[name], (5, rows.shape[1]), f"the {name}'s mixtures").detach()
        try:
            _check_mixtures(made, rows, pairs, lam)
        except Hint as hint:
            wrong[name] = str(hint)
    for name, said in wrong.items():
        right = "" if len(wrong) == 2 else f" The {others[name]}'s mixtures are right: both sides need the same recipe."
        where = "In both spaces" if wrong.get(others[name]) == said else f"In the {name}'s space"
        raise Hint(f"{where}: {said}{right}")
    passed("The same pairs with the same lambdas, of length 1 in both spaces.")


def _check_mixtures(given: Tensor, rows: Tensor, pairs: Tensor, lam: Tensor) -> None:
    """Raises Hint where the mixtures [K, D] are not those of `rows`."""
    two = rows[pairs]
    between = lam[:, None] * two[:, 0] + (1 - lam[:, None]) * two[:, 1]
    if alike(given, F.normalize(between, dim=1)):
        return
    # Shares of the two parts that give the mixture, up to a factor; what is left over comes from other photographs.
    shares = torch.linalg.lstsq(two.mT, given[:, :, None]).solution
    tell({
        "the mixtures are not brought back to length 1.": between,
        "each column was brought to length 1, not each mixture: normalise along the last "
        "dimension.": F.normalize(between, dim=0),
        "the mixtures hold something else than the two photographs of their "
        "pair.": not alike(two.mT @ shares, given[:, :, None], 1e-3),
    }, given)  # fmt: skip
    first = shares[:, 0, 0] / shares[:, :, 0].sum(1)
    angle = (two[:, 0] * two[:, 1]).sum(1).acos()
    steps = (lam * angle).sin(), ((1 - lam) * angle).sin()
    tell({
        "lambda went to the second photograph of each pair: it is the share of the first.": 1 - lam,
        "both parts have the same share: lambda is not applied.": torch.full_like(lam, 0.5),
        "all mixtures have the same lambda: lam[k] belongs to pair k.": alike(first, first[:1].expand_as(first), 1e-3),
        "the mixtures go along the sphere at an even pace: go along the straight line, then back to length "
        "1.": steps[0] / (steps[0] + steps[1]),
        "the directions are right and the lengths are not: divide each mixture by its own length.": lam,
    }, first, 1e-3)  # fmt: skip
    raise Hint("the shares of the two parts are not lambda and 1 - lambda.")


@exercise(
    "2.2",
    "Write the mixture as (λa + (1-λ)b) divided by its length, and multiply with x. What is the numerator?",
    "The numerator is λ·ax + (1-λ)·bx. The length is the root of a square that you can multiply out with a·a = "
    "b·b = 1.",
    "Divide λ·ax + (1-λ)·bx by the root of λ² + (1-λ)² + 2λ(1-λ)·ab.",
)
def similarity_to_mixture(answer: Answer) -> None:
    """Exercise 2.2: the similarity of a photograph with a mixture, computed without any descriptor.

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
    }, "The similarities are not those of real mixtures: write m·x with the formula of section 1, multiply out, and divide by "
       "the length of section 3. With lambda 1 the result must be the similarity with a.")  # fmt: skip
    passed("Your formula gives the similarities of real mixtures, without a descriptor.")


@exercise(
    "2.3",
    "Compare each photograph of one row with each photograph of the other: that makes four comparisons for two rows.",
    "Give `parts` new axes, so that one side is [N, 1, 2, 1] and the other [1, N, 1, 2]: comparing them gives [N, N, 2, 2].",
    "Two rows may be compared where all four comparisons say 'different'. The diagonal is left out by itself.",
)
def comparable(answer: Answer) -> None:
    """Exercise 2.3: the mask of what a loss may compare.

    Args:
        answer: (parts [N, 2] int64, the two photographs of each row of the joint space, the same one twice for a photograph) ->
            bool [N, N]: which rows have no photograph in common.

    Raises:
        Hint: the answer is not right.
    """
    mixtures = torch.tensor([[0, 1], [1, 2], [3, 4], [3, 5], [1, 0], [5, 4]])
    made_of = torch.cat([torch.arange(6)[:, None].expand(-1, 2), mixtures])
    real = torch.arange(12) < 6
    same_place = made_of[:, None] == made_of[None]
    shared = (made_of[:, None, :, None] == made_of[None, :, None, :]).any(3).any(2)
    ordered = made_of.sort(1).values
    given = tensor(ask(answer, made_of), (12, 12), "the mask") != 0
    allowed, kept_out = given & shared, ~given & ~shared
    judge(given, ~shared, {
        "The mask is the wrong way round: true means that two rows may be compared.": shared,
        "Only the first photograph of each row was looked at: the second one counts as well.": ~same_place[:, :, 0],
        "Only photographs in the same place were compared: the first photograph of one row may be the second of "
        "another.": ~same_place.any(2),
        "Only rows of exactly the same photographs are left out: one photograph in common is "
        "enough.": (~same_place.all(2), (ordered[:, None] != ordered[None]).any(2)),
        "Two different photographs can always be compared; your mask leaves such pairs "
        "out.": bool((kept_out & real[:, None] & real).any()),
        "Your mask leaves out rows that have no photograph in common.": bool(kept_out.any()),
        "The mask is not symmetric: if row 1 may be compared with row 2, then row 2 with row "
        "1.": not torch.equal(given, given.T),
        "The diagonal is kept: a row has its photographs in common with itself.": bool(allowed.diagonal().any()),
        "Mixtures are compared with photographs that they are made of.": bool((allowed & (real[:, None] ^ real)).any()),
    }, "Mixtures that have a photograph in common are compared with each other.")  # fmt: skip
    passed("Only rows without a photograph in common may be compared.")
