"""Every loss against a second version in plain loops, against published values, and its invariances."""

import functools
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.interpolate import interpolate
from rdistill_helpers.errors import BadInput

RELATIONAL = [
    losses.similarity,
    losses.rkd_distance,
    losses.rkd_angle,
    losses.rkd,
    losses.darkrank_hard,
    losses.darkrank_soft,
    losses.similarity_preserving,
    losses.pkt,
    losses.listwise,
    losses.listmle,
    losses.pair_order,
    losses.smooth_ap,
]
# Losses that see only distances or dot products of the student's rows cannot tell a space from its rotation.
SEEDS = st.integers(0, 2**31)


def unit_rows(count, dim, seed, dtype=torch.float64):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return nn.functional.normalize(rows, dim=1)


def spaces(seed, count=8):
    return unit_rows(count, 4, seed), unit_rows(count, 6, seed + 1)


def some_mask(count):
    """A symmetric mask that leaves enough for every loss, also for an order of four rows."""
    mask = ~torch.eye(count, dtype=torch.bool)
    for i, j in [(0, 1), (2, 5), (3, 4)]:
        mask[i, j] = mask[j, i] = False
    return mask


# --- the second versions: plain loops over plain numbers -----------------------------------------------------------


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def smooth_l1(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def slow_similarity(s, t, mask):
    pairs = [(i, j) for i in range(len(s)) for j in range(len(s)) if i != j and mask[i][j]]
    return mean((dot(s[i], s[j]) - dot(t[i], t[j])) ** 2 for i, j in pairs)


def slow_rkd_distance(s, t, mask):
    pairs = [(i, j) for i in range(len(s)) for j in range(len(s)) if i == j or mask[i][j]]
    scale = [mean(d for i, j in pairs if (d := distance(rows[i], rows[j])) > 0) for rows in (s, t)]
    return mean(smooth_l1(distance(s[i], s[j]) / scale[0] - distance(t[i], t[j]) / scale[1]) for i, j in pairs)


def slow_rkd_angle(s, t, mask):
    def cosine(rows, i, j, k):
        a, b = ([x - y for x, y in zip(rows[m], rows[i], strict=True)] for m in (j, k))
        lengths = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
        return dot(a, b) / lengths if lengths else 0.0

    kept = [[i == j or mask[i][j] for j in range(len(s))] for i in range(len(s))]
    triples = [
        (i, j, k) for i, j, k in itertools.product(range(len(s)), repeat=3) if kept[i][j] and kept[i][k] and kept[j][k]
    ]
    return mean(smooth_l1(cosine(s, *triple) - cosine(t, *triple)) for triple in triples)


def slow_rkd(s, t, mask):
    return slow_rkd_distance(s, t, mask) + 2 * slow_rkd_angle(s, t, mask)


def nearest(t, mask, i, length):
    others = [j for j in range(len(t)) if j != i and mask[i][j]]
    return sorted(others, key=lambda j: distance(t[i], t[j]))[:length]


def log_chance_of_order(scores):
    """Draw one after another among those not yet placed."""
    return sum(s - math.log(sum(math.exp(x) for x in scores[place:])) for place, s in enumerate(scores))


def slow_darkrank_hard(s, t, mask):
    return mean(
        -log_chance_of_order([-3 * distance(s[i], s[j]) ** 3 for j in nearest(t, mask, i, 4)]) for i in range(len(s))
    )


def slow_darkrank_soft(s, t, mask):
    total = 0.0
    for i in range(len(s)):
        for order in itertools.permutations(nearest(t, mask, i, 4)):
            own, target = (
                log_chance_of_order([-3 * (distance(rows[i], rows[j]) ** 2) ** 1.5 for j in order]) for rows in (s, t)
            )
            total -= math.exp(target) * own
    return total / len(s)


def slow_similarity_preserving(s, t, mask):
    def gram(rows):
        out = [[dot(a, b) if i == j or mask[i][j] else 0.0 for j, b in enumerate(rows)] for i, a in enumerate(rows)]
        return [[x / math.sqrt(dot(row, row)) for x in row] for row in out]

    own, target = gram(s), gram(t)
    pairs = [(i, j) for i in range(len(s)) for j in range(len(s)) if i == j or mask[i][j]]
    return mean((own[i][j] - target[i][j]) ** 2 for i, j in pairs)


def slow_pkt(s, t, mask):
    def chances(rows, i):
        lengths = [math.sqrt(dot(row, row)) for row in rows]
        others = [j for j in range(len(rows)) if i == j or mask[i][j]]
        positive = {j: (dot(rows[i], rows[j]) / lengths[i] / lengths[j] + 1) / 2 for j in others}
        return {j: value / sum(positive.values()) for j, value in positive.items()}

    terms = []
    for i in range(len(s)):
        own, target = chances(s, i), chances(t, i)
        terms += [target[j] * math.log(target[j] / own[j]) for j in target]
    return mean(terms)


def slow_listwise(s, t, mask):
    per_row = []
    for i in range(len(s)):
        others = [j for j in range(len(s)) if j != i and mask[i][j]]
        own, target = ([math.exp(dot(rows[i], rows[j]) / 0.04) for j in others] for rows in (s, t))
        p, q = ([x / sum(values) for x in values] for values in (target, own))
        per_row.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return mean(per_row)


def compared(mask, i):
    return [j for j in range(len(mask)) if j != i and mask[i][j]]


def slow_listmle(s, t, mask):
    places = []
    for i in range(len(s)):
        order = sorted(compared(mask, i), key=lambda j: -dot(t[i], t[j]))
        for place, j in enumerate(order):
            rest = sum(math.exp(25 * dot(s[i], s[k])) for k in order[place:])
            places.append(math.log(rest) - 25 * dot(s[i], s[j]))
    return mean(places)


def slow_pair_order(s, t, mask):
    terms = []
    for i in range(len(s)):
        for j, k in itertools.permutations(compared(mask, i), 2):
            if dot(t[i], t[j]) > dot(t[i], t[k]):
                terms.append(math.log(1 + math.exp(-25 * (dot(s[i], s[j]) - dot(s[i], s[k])))))
    return mean(terms)


def slow_smooth_ap(s, t, mask):
    def counts(i, k, j):  # how much k stands above j in the list of i
        return 1 / (1 + math.exp(-50 * (dot(s[i], s[k]) - dot(s[i], s[j]))))

    precisions = []
    for i in range(len(s)):
        others = compared(mask, i)
        positives = sorted(others, key=lambda j: -dot(t[i], t[j]))[:5]
        for j in positives:
            above = {k: counts(i, k, j) for k in others if k != j}
            precisions.append((1 + sum(above[k] for k in positives if k != j)) / (1 + sum(above.values())))
    return 1 - mean(precisions)


@pytest.mark.parametrize("masked", [False, True], ids=["all pairs", "masked"])
@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
def test_loss_equals_its_formula_in_plain_loops(loss, masked):
    slow = globals()[f"slow_{loss.__name__}"]
    for seed in range(3):
        s, t = spaces(seed)
        mask = some_mask(len(s)) if masked else None
        fast = loss(s, t, comparable=mask)
        expected = slow(s.tolist(), t.tolist(), (some_mask(len(s)) if masked else torch.ones(8, 8)).tolist())
        assert fast.dtype == torch.float64
        # PKT in the package has the 1e-7 of its authors inside the logarithm.
        assert fast.item() == pytest.approx(expected, abs=1e-6 if loss is losses.pkt else 1e-10)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (losses.rkd_distance, 0.24461548427676766),
        (losses.rkd_angle, 0.1659036695294422),
        (losses.darkrank_hard, 48.562009059237795),
        (losses.similarity_preserving, 0.32271832553228363),
        (losses.pkt, 0.17868533476238815),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_loss_equals_an_independent_derivation_from_the_authors_code(loss, value):
    i = torch.arange(6, dtype=torch.float64)[:, None]
    t = nn.functional.normalize(torch.sin(1 + 3 * i + 7 * torch.arange(5)), dim=1)
    s = 0.8 * torch.cos(2 + 5 * i + 2 * torch.arange(4))  # not normalised, and it must stay so
    assert loss(s, t).item() == pytest.approx(value, abs=1e-6)


def test_regression_is_one_minus_cosine_of_the_projected_row():
    s, t = spaces(0)
    torch.manual_seed(0)
    projection = nn.Linear(4, 6).double()
    expected = mean(
        1 - dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))
        for a, b in zip(projection(s).tolist(), t.tolist(), strict=True)
    )
    assert losses.regression(s, t, projection=projection).item() == pytest.approx(expected, abs=1e-12)
    assert losses.regression(t, t).item() == pytest.approx(0, abs=1e-12)


# --- properties ----------------------------------------------------------------------------------------------------


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_listwise_is_a_divergence(seed):
    s, t = spaces(seed)
    assert losses.listwise(s, t).item() >= 0
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    assert losses.listwise(t @ rotation, t).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_rotating_the_student_changes_nothing(loss, seed):
    s, t = spaces(seed)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    assert loss(s @ rotation, t).item() == pytest.approx(loss(s, t).item(), rel=1e-8)


@pytest.mark.parametrize("loss", [*RELATIONAL, losses.regression], ids=lambda loss: loss.__name__)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_batch_changes_nothing(loss, seed):
    s, t = unit_rows(8, 5, seed), unit_rows(8, 5, seed + 1)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    mask = some_mask(8)
    before = loss(s, t, comparable=mask)
    after = loss(s[order], t[order], comparable=mask[order][:, order])
    assert after.item() == pytest.approx(before.item(), rel=1e-8)


@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
def test_excluding_only_the_diagonal_is_the_same_as_no_mask(loss):
    s, t = spaces(5)
    everything = ~torch.eye(8, dtype=torch.bool)
    assert loss(s, t, comparable=everything).item() == pytest.approx(loss(s, t).item(), abs=1e-12)


@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
def test_masked_pairs_have_no_influence(loss):
    """Rows 0 and 1 may be compared with all rows but one another: rotating one of them about the rest is invisible."""
    s, t = spaces(6)
    flat = torch.cat([s, torch.zeros(8, 1, dtype=s.dtype)], dim=1)
    flat[:2, 4] = 0.7
    mirrored = flat.clone()
    mirrored[1, 4] = -0.7  # the same distance and dot product to rows 2.., another one to row 0
    mask = some_mask(8)
    assert loss(mirrored, t, comparable=mask).item() == pytest.approx(loss(flat, t, comparable=mask).item(), abs=1e-10)
    assert loss(mirrored, t).item() != pytest.approx(loss(flat, t).item(), abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("loss", [*RELATIONAL, losses.regression], ids=lambda loss: loss.__name__)
def test_gradients_are_finite_where_rows_coincide(loss, dtype):
    s, t = unit_rows(8, 5, 1, dtype), unit_rows(8, 5, 2, dtype)
    s[1], s[2], t[1], t[4] = s[0], s[0], t[0], t[3]
    s.requires_grad_()
    value = loss(s, t)
    value.backward()
    assert value.dtype == dtype
    assert value.isfinite()
    assert s.grad.isfinite().all()
    assert s.grad.abs().max() < 1e3
    assert s.grad.abs().max() > 0


@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
def test_gradients_are_finite_when_the_student_has_collapsed(loss):
    s = torch.ones(8, 4, dtype=torch.float32).div(2).requires_grad_()
    loss(s, unit_rows(8, 6, 0, torch.float32)).backward()
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
def test_gradient_equals_finite_differences(loss):
    s, t = spaces(3, count=6)
    assert torch.autograd.gradcheck(functools.partial(loss, teacher_rows=t), s.requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("loss", RELATIONAL, ids=lambda loss: loss.__name__)
def test_every_loss_runs_on_the_joint_space(loss):
    s, t = spaces(4, count=10)
    joint = interpolate(t, s.requires_grad_(), 7, generator=torch.Generator().manual_seed(0))
    value = loss(joint.student, joint.teacher, comparable=joint.comparable)
    value.backward()
    assert value.isfinite()
    assert s.grad.isfinite().all()


def test_listwise_leaves_out_rows_with_nothing_to_compare():
    s, t = spaces(7)
    mask = ~torch.eye(8, dtype=torch.bool)
    mask[3], mask[:, 3] = False, False
    rest = [0, 1, 2, 4, 5, 6, 7]
    s.requires_grad_()
    value = losses.listwise(s, t, comparable=mask)
    value.backward()
    assert value.item() == pytest.approx(losses.listwise(s[rest], t[rest]).item(), abs=1e-12)
    assert s.grad.isfinite().all()
    assert (s.grad[3] == 0).all()


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_rkd_angle_does_not_depend_on_its_chunks(chunk):
    s, t = spaces(8)
    s.requires_grad_()
    whole, part = losses.rkd_angle(s, t), losses.rkd_angle(s, t, chunk=chunk)
    assert part.item() == pytest.approx(whole.item(), abs=1e-12)
    gradients = [torch.autograd.grad(value, s)[0] for value in (whole, part)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, t: losses.listwise(s[:5], t), "one row for each image"),
        (lambda s, t: losses.similarity(s, t[0]), "one row for each image"),
        (lambda s, t: losses.pkt(s, t, comparable=torch.ones(3, 3, dtype=torch.bool)), "bool tensor"),
        (lambda s, t: losses.pkt(s, t, comparable=torch.ones(8, 8)), "bool tensor"),
        (lambda s, t: losses.regression(s, t), r"nn.Linear\(4, 6\)"),
        (lambda s, t: losses.darkrank_hard(s[:4], t[:4]), "larger batch"),
        (lambda s, t: losses.listwise(s, t, temperature=0.0), "positive number"),
        (lambda s, t: losses.listmle(s, t, scale=0.0), "positive number"),
        (lambda s, t: losses.pair_order(s, t, scale=-1.0), "positive number"),
        (lambda s, t: losses.smooth_ap(s, t, scale=0.0), "positive number"),
        (lambda s, t: losses.smooth_ap(s, t, top=8), "smaller top"),
    ],
    ids=[
        "lengths",
        "dimensions",
        "mask size",
        "mask type",
        "no projection",
        "too few rows",
        "temperature",
        "order's scale",
        "pairs' scale",
        "smooth AP's scale",
        "too few for smooth AP",
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(call, words):
    with pytest.raises(BadInput, match=words):
        call(*spaces(0))


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_losses_of_the_order_do_not_see_the_teachers_similarities(seed):
    """A teacher that gives other similarities in the same order teaches the same."""
    s = unit_rows(8, 4, seed)
    angles = 1.5 * torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first, other = (torch.stack([angle.cos(), angle.sin()], 1) for angle in (angles, angles / 2))
    for loss in (losses.listmle, losses.pair_order, losses.smooth_ap):
        assert loss(s, first).item() == pytest.approx(loss(s, other).item(), abs=1e-12)
    assert losses.listwise(s, first).item() != pytest.approx(losses.listwise(s, other).item(), abs=1e-6)
