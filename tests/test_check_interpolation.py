"""Exercises of notebook 2: each typical mistake gets its own hint, other right answers pass."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exercise_cells import hint_of

from rdistill_course import check
from rdistill_helpers.distil.interpolate import mix

# --- 2.1: the same pairs and lambdas in two spaces


def between(rows, pairs, lam):
    return lam[:, None] * rows[pairs[:, 0]] + (1 - lam[:, None]) * rows[pairs[:, 1]]


def mixed(rows, pairs, lam):
    return F.normalize(between(rows, pairs, lam), dim=1)


def along_the_sphere(rows, pairs, lam):
    a, b = rows[pairs[:, 0]], rows[pairs[:, 1]]
    angle = (a * b).sum(1).acos()
    return F.normalize((lam * angle).sin()[:, None] * a + ((1 - lam) * angle).sin()[:, None] * b, dim=1)


def both(mixing, teacher, student, pairs, lam):
    return mixing(teacher, pairs, lam), mixing(student, pairs, lam)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda t, s, p, x: both(between, t, s, p, x), "In both spaces: the mixtures are not brought back"),
        (lambda t, s, p, x: (mixed(t, p, x), between(s, p, x)), "In the student's space: the mixtures are not brought"),
        (
            lambda t, s, p, x: (mixed(t, p, x), mixed(s, p, torch.full_like(x, 0.5))),
            "In the student's space: both parts have the same share: lambda is not applied. The teacher's mixtures are right",
        ),
        (lambda t, s, p, x: both(mixed, t, s, p, 1 - x), "In both spaces: lambda went to the second photograph"),
        (lambda t, s, p, x: (mixed(t, p, x), mixed(s, p, 1 - x)), "In the student's space: lambda went to the second"),
        (
            lambda t, s, p, x: (mixed(t, p, x), mixed(s, p.roll(1, 0), x)),
            "student's space: the mixtures hold something else than the two photographs",
        ),
        (lambda t, s, p, x: both(mixed, t, s, p, x[:1].expand_as(x)), "all mixtures have the same lambda"),
        (lambda t, s, p, x: (mixed(t, p, x), mixed(s, p, x.roll(1))), "student's space: the shares of the two parts"),
        (lambda t, s, p, x: both(mixed, t, s, p, x**2), "the shares of the two parts are not lambda"),
        (lambda t, s, p, x: both(along_the_sphere, t, s, p, x), "along the sphere at an even pace"),
        (lambda t, s, p, x: tuple(y / y.norm() for y in both(between, t, s, p, x)), "by its own length"),
        (lambda t, s, p, x: tuple(F.normalize(y, dim=0) for y in both(between, t, s, p, x)), "each column"),
        (lambda t, s, p, x: both(mixed, s, t, p, x), "wrong order"),
        (lambda t, s, p, x: mixed(t, p, x), "two tables"),
        (lambda t, s, p, x: (mixed(t, p, x)[:2], mixed(s, p, x)), "the teacher's mixtures must have shape"),
    ],
)
def test_mixtures_tells_mistakes_apart(wrong, words):
    assert words.lower() in hint_of(check.mixtures, wrong).lower()


def test_mixtures_takes_loops_and_the_function_of_the_package(capsys):
    def loops(teacher, student, pairs, lam):
        sides = []
        for rows in (teacher.numpy(), student.numpy()):
            points = [x * rows[i] + (1 - x) * rows[j] for (i, j), x in zip(pairs.tolist(), lam.tolist(), strict=True)]
            sides.append(np.stack([point / np.linalg.norm(point) for point in points]))
        return sides

    check.mixtures(loops)
    check.mixtures(lambda t, s, p, x: both(mix, t, s, p, x))
    assert capsys.readouterr().out.count("[OK] ") == 2


# --- 2.2: the similarity of a photograph with a mixture


def length(lam, ab):
    return (lam**2 + (1 - lam) ** 2 + 2 * lam * (1 - lam) * ab) ** 0.5


def at(lam, ax, bx):
    return lam * ax + (1 - lam) * bx


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda lam, ab, ax, bx: at(lam, ax, bx), "point on the chord"),
        (lambda lam, ab, ax, bx: at(lam, ax, bx) / length(lam, ab) ** 2, "take its root"),
        (lambda lam, ab, ax, bx: at(lam, ax, bx) * length(lam, ab), "You multiply by the length"),
        (lambda lam, ab, ax, bx: at(1 - lam, ax, bx) / length(lam, ab), "swapped"),
        (lambda lam, ab, ax, bx: at(lam, ax, bx) / length(lam, 0), "no notice of the cosine"),
        (lambda lam, ab, ax, bx: at(lam, ax, bx) / length(lam, ab / 2), "occurs twice"),
        (lambda lam, ab, ax, bx: at(lam, ax, bx) / length(lam, ax * bx), "not a similarity with x"),
        (lambda lam, ab, ax, bx: (ax + bx) / 2 / length(lam, ab), "Lambda is missing"),
        (lambda lam, ab, ax, bx: ax, "not those of real mixtures"),
        (lambda lam, ab, ax, bx: at(lam, ax, bx).mean(), "must have shape"),
    ],
)
def test_similarity_to_mixture_tells_mistakes_apart(wrong, words):
    assert words in hint_of(check.similarity_to_mixture, wrong)


def test_similarity_to_mixture_takes_two_vectors_with_the_given_products(capsys):
    def with_vectors(lam, ab, ax, bx):
        a = np.stack([np.ones(len(ab)), np.zeros(len(ab))], 1)
        b = np.stack([ab.numpy(), np.sqrt(1 - ab.numpy() ** 2)], 1)
        between = lam.numpy()[:, None] * a + (1 - lam.numpy())[:, None] * b
        return [
            float((w * x + (1 - w) * y) / np.linalg.norm(v)) for w, x, y, v in zip(lam, ax, bx, between, strict=True)
        ]

    check.similarity_to_mixture(with_vectors)
    assert capsys.readouterr().out.startswith("[OK] ")


# --- 2.3: the mask


def allowed(parts):
    return (parts[:, None, :, None] != parts[None, :, None, :]).all(3).all(2)


def within(parts, kind):
    """The mask, with all pairs of one kind allowed: photograph and mixture, or two mixtures."""
    real = parts[:, 0] == parts[:, 1]
    pairs = real[:, None] ^ real if kind == "own parts" else ~real[:, None] & ~real & ~torch.eye(len(real)).bool()
    return allowed(parts) | pairs


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda parts: ~allowed(parts), "wrong way round"),
        (lambda parts: parts[:, None, 0] != parts[:, 0], "Only the first photograph"),
        (lambda parts: (parts[:, None] != parts).all(2), "in the same place"),
        (lambda parts: (parts[:, None] != parts).any(2), "exactly the same photographs"),
        (lambda parts: (parts.sort(1).values[:, None] != parts.sort(1).values).any(2), "exactly the same photographs"),
        (lambda parts: allowed(parts) | torch.eye(len(parts)).bool(), "The diagonal is kept"),
        (lambda parts: within(parts, "own parts"), "compared with photographs that they are made of"),
        (lambda parts: within(parts, "mixtures"), "Mixtures that have a photograph in common"),
        (lambda parts: allowed(parts) & (parts[:, 0] != parts[:, 1])[:, None], "Two different photographs"),
        (lambda parts: allowed(parts).triu(), "leaves such pairs out"),
        (lambda parts: allowed(parts) & ~torch.ones(12, 12).triu(7).bool(), "leaves out rows"),
        (lambda parts: torch.ones(12, 12) - torch.eye(12), "exactly the same photographs"),
        (lambda parts: allowed(parts)[:3], "must have shape"),
    ],
)
def test_comparable_tells_mistakes_apart(wrong, words):
    assert words in hint_of(check.comparable, wrong)


def test_comparable_takes_sets_and_a_table_of_shares(capsys):
    def with_sets(parts):
        made_of = [set(row) for row in parts.tolist()]
        return [[float(one.isdisjoint(other)) for other in made_of] for one in made_of]

    def with_a_product(parts):
        has = F.one_hot(parts).sum(1).float()
        return has @ has.T == 0

    check.comparable(with_sets)
    check.comparable(with_a_product)
    assert capsys.readouterr().out.count("[OK] ") == 2
