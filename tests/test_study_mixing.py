"""What the study tries beside the losses of the package, against slow versions of each formula."""

import copy
import math

import pytest
import torch
from tiny_sets import unit_rows
from torch import nn
from torch.nn.functional import cosine_similarity, normalize

from rdistill_helpers import RetrievalNet, losses
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.interpolate import draw_mixtures
from study.mixing import Columns, Consistency, follow, made_of, ramped
from study.starts import RIDGE, AverageAlong, ridge, start_projection

PARTS = 12


class Plain(nn.Module):
    """A student whose descriptors are the mean of its maps, turned."""

    def __init__(self):
        super().__init__()
        self.turn = nn.Linear(4, 3, bias=False)

    def describe_maps(self, maps, parts):
        return normalize(self.turn(maps.mean((2, 3))), dim=1)


def consistency(**own):
    torch.manual_seed(0)
    net, projection = Plain(), nn.Linear(3, 5)
    maps, answers = torch.rand(9, 2, 4, 3, 3), unit_rows(3, 5)
    paid, generator = torch.tensor([1, 4, 6]), torch.Generator().manual_seed(1)
    settings = {"weight": 3.0, "count": 4, **own}
    made = Consistency(
        losses.listwise, net, projection, PARTS, maps, paid, answers, 10, generator, None, **settings
    )  # fmt: skip
    return made, net, projection, maps, paid, answers


@pytest.mark.parametrize("mixed", [1, 0])
def test_consistency_is_the_mixture_of_the_answer_and_of_what_the_average_says(mixed):
    made, net, projection, maps, paid, answers = consistency(mixed=mixed)
    found = made.consistency()
    generator = torch.Generator().manual_seed(1)
    unpaid = [0, 2, 3, 5, 7, 8]

    def drawn(among):
        which = torch.randint(len(among), (4,), generator=generator).tolist()
        view = torch.randint(2, (4,), generator=generator).tolist()
        return which, [maps[among[w], v] for w, v in zip(which, view, strict=True)]

    _, first = drawn(unpaid)
    which, second = drawn(paid.tolist())
    _, weight = draw_mixtures(torch.empty(4, 5), 4, alpha=2.0, generator=generator)
    total = 0.0
    for k in range(4):
        own = float(weight[k])
        own = min(own, 1 - own) if mixed else 1.0
        says = normalize(projection(net.describe_maps(first[k][None], PARTS)), dim=1)[0]
        target = own * says + (1 - own) * answers[which[k]]
        mine = projection(net.describe_maps((own * first[k] + (1 - own) * second[k])[None], PARTS))[0]
        total += float(1 - cosine_similarity(mine, target, dim=0)) / 4
    assert float(found) == pytest.approx(total, abs=1e-5)
    found.backward()
    assert net.turn.weight.grad.abs().sum() > 0 and made.average.turn.weight.grad is None


def test_consistency_grows_beside_the_loss_and_its_average_follows_the_student():
    made, net, _, _, _, _ = consistency()
    rows, target = unit_rows(6, 3), unit_rows(6, 5, seed=1)
    start = net.turn.weight.detach().clone()
    with torch.no_grad():
        net.turn.weight += 1
    beside = float(made(rows, target) - losses.listwise(rows, target))
    assert torch.allclose(made.average.turn.weight, 0.1 * start + 0.9 * net.turn.weight)
    assert 0 < beside <= 3 * ramped(1, 4) * 2
    assert [ramped(done, 4) for done in (0, 2, 4, 9)] == pytest.approx([math.exp(-5), math.exp(-5 / 4), 1, 1])


def test_an_average_follows_a_network_by_its_decay():
    torch.manual_seed(0)
    average, net = nn.Linear(3, 2), nn.Linear(3, 2)
    expected = 0.9 * average.weight + 0.1 * net.weight
    follow(average, net, 0.9)
    assert torch.allclose(average.weight, expected)


@pytest.mark.parametrize("mixed", [1, 0])
def test_columns_are_hard_rows_of_earlier_batches_and_have_no_list(mixed):
    own = Columns(losses.listwise, torch.Generator().manual_seed(3), size=12, count=4, first=1, last=5, mixed=mixed)
    teacher, student = unit_rows(18, 5), unit_rows(18, 3, seed=1)
    assert own(student[:12], teacher[:12]) == losses.listwise(student[:12], teacher[:12])  # nothing is remembered yet
    batch_t, batch_s = torch.cat([teacher[12:], teacher[:2]]), torch.cat([student[12:], student[:2]])  # two come again
    found = own(batch_s, batch_t)
    generator = torch.Generator().manual_seed(3)
    similar = [[float(row @ old) for old in teacher[:12]] for row in batch_t]
    order = [sorted((k for k in range(12) if row[k] < 0.9999), key=lambda k: -row[k])[1:5] for row in similar[:6]]
    order += [sorted(range(12), key=lambda k: -row[k] if row[k] < 0.9999 else 9)[1:5] for row in similar[6:]]
    seen_from = torch.randint(8, (4,), generator=generator).tolist()
    pick = torch.rand(4, 4, generator=generator).argsort(1)[:, :2].tolist()
    _, weight = draw_mixtures(batch_t, 4, generator=generator)
    parts = [[order[a][p] for p in two] for a, two in zip(seen_from, pick, strict=True)]
    total = 0.0
    for b in range(8):
        mine, wanted = [], []
        for other in range(8):
            if other != b:
                mine.append(batch_s[b] @ batch_s[other])
                wanted.append(batch_t[b] @ batch_t[other])
        for (i, j), w in zip(parts, weight, strict=True):
            i, j, w = (i, j, w) if mixed else (i, i, 1.0)
            if max(similar[b][i], similar[b][j]) < 0.9999:
                mine.append(batch_s[b] @ normalize(w * student[i] + (1 - w) * student[j], dim=0))
                wanted.append(batch_t[b] @ normalize(w * teacher[i] + (1 - w) * teacher[j], dim=0))
        own_p, target_p = (torch.log_softmax(torch.stack(each) / 0.04, 0) for each in (mine, wanted))
        total += float((target_p.exp() * (target_p - own_p)).sum()) / 8
    assert float(found) == pytest.approx(total, rel=1e-3)
    assert len(own.teacher) == 12 and torch.equal(own.teacher[:8], batch_t)


def test_photographs_are_made_of_others():
    images = torch.randint(256, (5, 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mixed = made_of(images, 7, "mixed", torch.Generator().manual_seed(2))
    pairs, weight = draw_mixtures(torch.empty(5, 1), 7, "random", 2.0, torch.Generator().manual_seed(2))
    for k, ((a, b), w) in enumerate(zip(pairs.tolist(), weight.tolist(), strict=True)):
        assert (mixed[k].float() - (w * images[a].float() + (1 - w) * images[b].float())).abs().max() <= 0.51
    crops = made_of(images, 7, "crops", torch.Generator().manual_seed(2))
    assert crops.shape == mixed.shape == (7, 3, 8, 6) and crops.dtype == torch.uint8
    assert torch.equal(crops, made_of(images, 7, "crops", torch.Generator().manual_seed(2)))


def test_ridge_regression_has_the_least_penalised_error():
    rows, answers = unit_rows(20, 6).double(), unit_rows(20, 4, seed=1).double()
    weight, bias = (each.double() for each in ridge(rows, answers))
    penalty = RIDGE * float((rows - rows.mean(0)).square().sum()) / 6

    def error(weight, bias):
        return float((rows @ weight.T + bias - answers).square().sum() + penalty * weight.square().sum())

    least, generator = error(weight, bias), torch.Generator().manual_seed(0)
    for _ in range(20):
        step = 0.01 * torch.randn(4, 7, generator=generator, dtype=torch.float64)
        assert error(weight + step[:, :6], bias + step[:, 6]) > least


@pytest.mark.parametrize("how", ["ridge", "probe"])
def test_a_started_projection_is_nearer_to_the_answers(how):
    rows = unit_rows(40, 6)
    answers = normalize(rows @ torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) + 0.1, dim=1)
    torch.manual_seed(0)
    random = nn.Linear(6, 4)
    started = copy.deepcopy(random)
    start_projection(started, how, rows, answers)
    before, after = (float(losses.regression(rows, answers, projection=each)) for each in (random, started))
    assert after < before / 2


def test_weights_are_averaged_over_the_last_steps_and_then_with_the_start():
    net = nn.Linear(2, 1)
    start = net.weight.detach().clone()
    average, seen = AverageAlong(net, 10, 0.3), []
    for step in range(10):
        with torch.no_grad():
            net.weight += step
        seen.append(net.weight.detach().clone())
        average(History(step=list(range(step + 1))))
    average.finish(0.2)
    assert torch.allclose(net.weight, 0.8 * (seen[7] + seen[8] + seen[9]) / 3 + 0.2 * start)


def test_a_student_of_the_study_takes_both_losses():
    net = RetrievalNet().eval()
    maps = torch.rand(6, 2, 512, 4, 4)
    made = Consistency(
        losses.listwise, net, nn.Linear(512, 5), PARTS, maps, torch.tensor([0, 1]), unit_rows(2, 5), 5,
        torch.Generator().manual_seed(0), torch.bfloat16, count=3,
    )  # fmt: skip
    assert made(unit_rows(4, 512), unit_rows(4, 5)).isfinite()
