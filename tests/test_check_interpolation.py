"""Exercises of notebook 2: each typical mistake gets its own hint, other right answers pass."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exercise_cells import hint_of

from rdistill_course import check

# --- 2.1: the similarity of a photograph with a mixture


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


# --- 2.2: three parts, two spaces


def between(rows, triples, weights):
    return (weights[:, :, None] * rows[triples]).sum(1)


def mixed(rows, triples, weights):
    return F.normalize(between(rows, triples, weights), dim=1)


def stepwise(rows, triples, weights):
    two = F.normalize(weights[:, 0, None] * rows[triples[:, 0]] + weights[:, 1, None] * rows[triples[:, 1]], dim=1)
    return F.normalize((1 - weights[:, 2, None]) * two + weights[:, 2, None] * rows[triples[:, 2]], dim=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda t, s, i, w: (between(t, i, w), between(s, i, w)), "In both spaces: the mixtures are not brought back"),
        (lambda t, s, i, w: (mixed(t, i, w), between(s, i, w)), "In the student's space: the mixtures are not brought"),
        (
            lambda t, s, i, w: (mixed(t, i, w), mixed(s, i, torch.full_like(w, 1 / 3))),
            "In the student's space: all parts have the same share: the weights are not applied. The teacher's mixtures "
            "are right",
        ),
        (lambda t, s, i, w: (mixed(t, i, w), mixed(s, i, w.flip(1))), "student's space: the weights went to other"),
        (lambda t, s, i, w: (mixed(t, i, w.flip(1)), mixed(s, i, w)), "teacher's space: the weights went to other"),
        (
            lambda t, s, i, w: (mixed(t, i, w), mixed(s, i.roll(1, 0), w)),
            "student's space: the mixtures hold something else than the photographs",
        ),
        (lambda t, s, i, w: (stepwise(t, i, w), stepwise(s, i, w)), "before the third came in"),
        (lambda t, s, i, w: tuple(mixed(x, i, w.softmax(1)) for x in (t, s)), "softmax"),
        (lambda t, s, i, w: tuple(mixed(x, i, w * torch.tensor([1, 1, 0])) for x in (t, s)), "third part is missing"),
        (lambda t, s, i, w: tuple(F.normalize(between(x, i, w), dim=0) for x in (t, s)), "each column"),
        (
            lambda t, s, i, w: tuple(mixed(x, i, w[:1].expand_as(w)) for x in (t, s)),
            "all mixtures have the same shares",
        ),
        (lambda t, s, i, w: tuple(mixed(x, i, w**2) for x in (t, s)), "not those in `weights`"),
        (lambda t, s, i, w: (mixed(s, i, w), mixed(t, i, w)), "wrong order"),
        (lambda t, s, i, w: mixed(t, i, w), "two tables"),
    ],
)
def test_three_parts_tells_mistakes_apart(wrong, words):
    assert words in hint_of(check.three_parts, wrong)


def test_three_parts_takes_loops(capsys):
    def loops(teacher, student, triples, weights):
        sides = []
        for rows in (teacher.numpy(), student.numpy()):
            mixtures = []
            for triple, shares in zip(triples.tolist(), weights.tolist(), strict=True):
                v = sum(share * rows[i] for i, share in zip(triple, shares, strict=True))
                mixtures.append(v / np.linalg.norm(v))
            sides.append(np.stack(mixtures))
        return sides

    check.three_parts(loops)
    assert capsys.readouterr().out.startswith("[OK] ")


# --- 2.3: the mask


def allowed(shares):
    has = (shares > 0).float()
    return has @ has.T == 0


def within(shares, kind):
    """The mask, with all pairs of one kind allowed: photograph and mixture, or two mixtures."""
    real = (shares == 1).any(1)
    pairs = real[:, None] ^ real if kind == "own parts" else ~real[:, None] & ~real & ~torch.eye(len(real)).bool()
    return allowed(shares) | pairs


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda shares: ~allowed(shares), "wrong way round"),
        (lambda shares: allowed(shares) | torch.eye(len(shares)).bool(), "The diagonal is kept"),
        (lambda shares: within(shares, "own parts"), "compared with photographs that they are made of"),
        (lambda shares: within(shares, "mixtures"), "Mixtures that have a photograph in common"),
        (lambda shares: shares.argmax(1)[:, None] != shares.argmax(1), "Only the heaviest part"),
        (lambda shares: shares @ shares.T < 0.1, "Small shares are overlooked"),
        (lambda shares: shares @ shares.T < 0.01, "shares of it are small"),
        (lambda shares: ((shares > 0)[:, None, :] != (shares > 0)).any(2), "exactly the same photographs"),
        (
            lambda shares: allowed(shares) & (shares < 1).all(1) & (shares < 1).all(1)[:, None],
            "Two different photographs",
        ),
        (lambda shares: allowed(shares).triu(), "leaves such pairs out"),
        (lambda shares: shares @ shares.T, "wrong way round"),
        (lambda shares: torch.ones(len(shares), len(shares)) - torch.eye(len(shares)), "that they are made of"),
        (lambda shares: allowed(shares)[:3], "must have shape"),
    ],
)
def test_comparable_tells_mistakes_apart(wrong, words):
    assert words in hint_of(check.comparable, wrong)


def test_comparable_takes_sets_and_numbers(capsys):
    def with_sets(shares):
        made_of = [set(row.nonzero()[:, 0].tolist()) for row in shares]
        return [[float(one.isdisjoint(other)) for other in made_of] for one in made_of]

    check.comparable(with_sets)
    check.comparable(lambda shares: shares @ shares.T == 0)
    assert capsys.readouterr().out.count("[OK] ") == 2


# --- 2.4: the bill


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda n, s, k, q, m: ((n + s * k, 0), (n + s * k, 0)), "a mixture is no query"),
        (lambda n, s, k, q, m: ((n * s, 0), (n + s * k, 0)), "not in every step"),
        (lambda n, s, k, q, m: ((0, 0), (n + s * k, 0)), "had to be asked for"),
        (lambda n, s, k, q, m: ((n, 0), (s * k, 0)), "the photographs themselves are asked about as well"),
        (lambda n, s, k, q, m: ((n, 0), (n + k, 0)), "every step makes new mixtures"),
        (lambda n, s, k, q, m: ((n, 0), (n, 0)), "a picture that the teacher has not seen"),
        (lambda n, s, k, q, m: ((n, 0), (n + 2 * s * k, 0)), "one new picture"),
        (lambda n, s, k, q, m: ((n, n * q), (n + s * k, 0)), "seconds of mixing are missing"),
        (lambda n, s, k, q, m: ((n, s * k * m), (n + s * k, 0)), "seconds of the queries are missing"),
        (lambda n, s, k, q, m: ((n, n * q + k * m), (n + s * k, 0)), "one step only"),
        (lambda n, s, k, q, m: ((n, n * q + 2 * s * k * m), (n + s * k, 0)), "do not count it twice"),
        (
            lambda n, s, k, q, m: ((n, n * q + s * k * m), (n + s * k, (n + s * k) * q + s * k * m)),
            "`mixing_seconds` does not occur",
        ),
        (lambda n, s, k, q, m: ((n, n * q + s * k * m), (n + s * k, 1)), "nothing else"),
        (lambda n, s, k, q, m: ((n + s * k, (n + s * k) * q), (n, n * q + s * k * m)), "wrong order"),
        (lambda n, s, k, q, m: n, "must have shape"),
    ],
)
def test_bill_tells_mistakes_apart(wrong, words):
    assert words in hint_of(check.bill, wrong)


def test_bill_takes_a_count_step_by_step(capsys):
    def counted(n, steps, k, q, m):
        pictures, seconds = n, n * q
        for _ in range(steps):
            pictures += k
            seconds += k * m
        return torch.tensor([[n, seconds], [pictures, pictures * q]])

    check.bill(counted)
    assert capsys.readouterr().out.startswith("[OK] ")
