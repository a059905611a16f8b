"""The training loop on a student of a few hundred parameters: it learns, repeats itself, resumes, and refuses nonsense."""

import dataclasses
import functools
import itertools
import json
import math
import statistics

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as metric_losses
from torch import nn

from rdistill_helpers.distil import baselines, checkpoint, loop, losses
from rdistill_helpers.distil.augment import augmented
from rdistill_helpers.distil.baselines import Pairs, train_on_pairs, train_supervised
from rdistill_helpers.distil.batches import class_batches
from rdistill_helpers.distil.distill import distill, project, projection_to
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.loop import fit
from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.embed.pooling import GeM
from rdistill_helpers.errors import BadInput, RDistillError


class TinyStudent(nn.Module):
    """A convolution, BatchNorm, dropout and GeM: every kind of layer that the loop treats in its own way."""

    def __init__(self, dim=8, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(3, dim, 5, stride=2), nn.BatchNorm2d(dim), nn.ReLU(), nn.Dropout2d(dropout)
            )
            self.pool = GeM()

    def forward(self, images):
        return nn.functional.normalize(self.pool(self.layers(images)), dim=1)


def data(count=40, places=8, seed=0):
    """Pictures of a few colours, rows that a teacher of colours would give, and the colours as labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % places
    colours = torch.randint(40, 216, (places, 3, 1, 1), generator=generator)
    noise = torch.randint(-30, 31, (count, 3, 15, 20), generator=generator)
    images = (colours[labels] + noise).clamp(0, 255).to(torch.uint8)
    rows = (images.float().mean((2, 3)) - 128) @ torch.randn(3, 6, generator=generator)
    return images, nn.functional.normalize(rows, dim=1), labels


QUICK = {"steps": 6, "lr": 1e-2, "progress": False}
TRAINING = {field.name for field in dataclasses.fields(Training)}
MIXTURES = {field.name for field in dataclasses.fields(Mixtures)}


def short(student=None, **settings):
    """A short distillation; settings of the training and of mixtures by their names."""
    images, rows, _ = data()
    training = Training(**QUICK | {name: settings.pop(name) for name in TRAINING & settings.keys()})
    mixed = {name: settings.pop(name) for name in MIXTURES & settings.keys()}
    settings = {"anchors": 3, "neighbours": 3, "mixtures": Mixtures(**mixed) if mixed else None, **settings}
    return distill(student or TinyStudent(), images, rows, training=training, **settings)


def equal_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture
def frequent_checkpoints(monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 3)


class Interrupted(Exception):
    pass


def interrupt_at(step):
    def callback(history):
        if len(history.step) == step:
            raise Interrupted

    return callback


# --- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [{}, {"count": 6}], ids=["no mixtures", "mixtures"])
def test_distillation_lowers_the_loss(mixed):
    images, rows, _ = data()

    def loss_on_all_images(student):
        with torch.inference_mode():
            return losses.listwise(student.eval()(images.float() / 255), rows).item()

    before = loss_on_all_images(TinyStudent())
    student, _ = short(steps=100, anchors=8, lr=3e-3, **mixed)
    assert not student.training
    assert loss_on_all_images(student) < 0.5 * before


def contrastive(rows, labels):
    """The contrastive loss in plain loops. Each kind of pair is averaged over its pairs with a loss above zero."""
    positive, negative = [], []
    for i, j in itertools.permutations(range(len(rows)), 2):
        distance = (rows[i] - rows[j]).norm().item()
        (positive if labels[i] == labels[j] else negative).append(
            distance if labels[i] == labels[j] else max(0.0, 0.85 - distance)
        )
    kinds = [[value for value in kind if value > 0] for kind in (positive, negative)]
    return sum(sum(kind) / len(kind) for kind in kinds if kind)


def test_supervised_training_lowers_the_loss():
    images, _, labels = data()

    def loss_on_all_images(student):
        with torch.inference_mode():
            return contrastive(student.eval()(images.float() / 255), labels)

    before = loss_on_all_images(TinyStudent())
    training = Training(steps=100, lr=3e-3, augment=False, progress=False)
    student, _ = train_supervised(TinyStudent(), images, labels.numpy(), classes=8, per_class=3, training=training)
    assert not student.training
    assert loss_on_all_images(student) < 0.9 * before


@pytest.mark.parametrize("loss", ["multi_similarity", lambda rows, labels: (rows * labels[:, None]).mean()])
def test_supervised_training_takes_other_losses(loss):
    images, _, labels = data()
    training = Training(steps=2, progress=False)
    _, history = train_supervised(TinyStudent(), images, labels, loss, classes=4, per_class=3, training=training)
    assert len(history.loss) == 2


def pairs_of(labels):
    """Each image with the next one of its place."""
    order = labels.argsort(stable=True)
    same = labels[order[:-1]] == labels[order[1:]]
    return order[:-1][same], order[1:][same]


def test_training_on_pairs_lowers_the_distance_of_positives_against_negatives():
    images, _, labels = data()
    queries, positives = pairs_of(labels)

    def gap(student):
        with torch.no_grad():
            rows = student(images.float() / 255)
        positive = (rows[queries] - rows[positives]).norm(dim=1).mean()
        return float(torch.cdist(rows, rows)[labels[:, None] != labels].mean() - positive)

    before = gap(TinyStudent().eval())
    settings = (Pairs(tuples=4, negatives=3, mine_every=10), Training(steps=30, lr=1e-2, progress=False))
    student, history = train_on_pairs(TinyStudent(), images, labels, queries, positives, *settings)
    assert gap(student) > before
    assert len(history.loss) == 30 and "negatives=3" in history.settings["pairs"]
    again = train_on_pairs(TinyStudent(), images, labels, queries, positives, *settings)
    assert again[1].loss == history.loss and equal_weights(again[0], student)


def test_the_loss_of_a_tuple_equals_plain_loops(monkeypatch):
    images, _, labels = data()
    queries, positives = pairs_of(labels)
    seen = {}

    def one_batch(student, read, batches, batch_loss, generator, training, **settings):
        index = next(batches)
        rows = student(images[index].float() / 255).detach()
        seen.update(index=index, rows=rows, loss=float(batch_loss(rows, None, index)))
        return History()

    monkeypatch.setattr(baselines, "fit", one_batch)
    train_on_pairs(TinyStudent(), images, labels, queries, positives, Pairs(tuples=3, negatives=2, margin=0.6))
    index, rows = seen["index"].view(3, 4), seen["rows"].view(3, 4, -1)
    total = 0.0
    for t in range(3):
        assert index[t, :2].tolist() in torch.stack([queries, positives], 1).tolist()
        assert len({int(labels[i]) for i in index[t, [0, 2, 3]]}) == 3
        total += 0.5 * float((rows[t, 0] - rows[t, 1]).norm()) ** 2
        for n in (2, 3):
            total += 0.5 * max(0.0, 0.6 - float((rows[t, 0] - rows[t, n]).norm())) ** 2
    assert seen["loss"] == pytest.approx(total / 3, rel=1e-5)


def test_pairs_that_do_not_fit_are_refused():
    images, _, labels = data()
    queries, positives = pairs_of(labels)
    with pytest.raises(BadInput, match="beyond the 40"):
        train_on_pairs(TinyStudent(), images, labels, queries, positives + 40)
    with pytest.raises(BadInput, match="positives: give one for each"):
        train_on_pairs(TinyStudent(), images, labels, queries, positives[1:])
    with pytest.raises(BadInput, match="give one or more of each"):
        Pairs(mine_every=0)
    with pytest.raises(BadInput, match="pool of 8 clusters"):
        train_on_pairs(TinyStudent(), images, labels, queries, positives, Pairs(negatives=8), Training(progress=False))


def test_the_first_loss_of_a_training_with_labels_equals_plain_loops():
    images, _, labels = data()
    seen = []

    def watched(rows, given):
        seen.append((rows.detach(), given))
        return rows.sum() * 0

    training = Training(steps=1, progress=False)
    train_supervised(TinyStudent(), images, labels, watched, classes=4, per_class=3, training=training)
    _, history = train_supervised(TinyStudent(), images, labels, classes=4, per_class=3, training=training)
    assert history.loss[0] == pytest.approx(contrastive(*seen[0]), abs=1e-5)


def test_autocast_computes_in_the_reduced_type_and_keeps_weights_and_loss_in_float32():
    student, seen = TinyStudent(), []
    student.layers[0].register_forward_hook(lambda layer, given, made: seen.append(made.dtype))

    def watched(rows, target):
        seen.append(rows.dtype)
        return losses.listwise(rows, target)

    _, reduced = short(student, loss=watched, autocast=torch.bfloat16)
    _, full = short()
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert all(weight.dtype == torch.float32 for weight in student.parameters())
    assert reduced.loss[0] == pytest.approx(full.loss[0], rel=0.02)  # later ones drift apart
    assert reduced.loss != full.loss
    images, _, labels = data()
    training = Training(steps=2, progress=False, autocast=torch.bfloat16)
    _, history = train_supervised(TinyStudent(), images, labels, classes=4, training=training)
    assert history.settings["autocast"] == "torch.bfloat16"


@pytest.mark.parametrize("settings", [{"dim": 64}, {"pooling": "mac"}, {"dim": 16, "count": 4, "mix_at": 2}])
def test_a_student_learns_with_reduced_products_whatever_its_pooling(settings):
    mixed = {name: settings.pop(name) for name in ("count", "mix_at") if name in settings}
    torch.manual_seed(0)
    student = RetrievalNet("squeezenet1_1", **settings)
    _, history = short(student, steps=2, autocast=torch.bfloat16, **mixed)
    assert len(history.loss) == 2
    _, history = short(NormalisesReduced(), steps=2, autocast=torch.bfloat16)
    assert len(history.loss) == 2


def test_a_student_learns_from_images_smaller_than_it_takes():
    images, rows, labels = data()
    student, training = RetrievalNet("squeezenet1_1"), Training(steps=2, progress=False)
    small = images[:, :, :12, :14]
    _, history = distill(student, small, rows, anchors=3, neighbours=3, training=training)
    _, other = train_supervised(student, small, labels, classes=4, training=training)
    maps = student.maps(small / 255, 2)
    assert maps.shape[-2:] == student.maps(torch.rand(1, 3, 17, 17), 2).shape[-2:]
    assert all(map(math.isfinite, history.loss + other.loss))


class NormalisesReduced(nn.Module):
    """A student that divides by lengths in the type of its products, as they come."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 37)

    def forward(self, images):
        rows = self.layer(images.mean((2, 3)))
        return rows / rows.norm(dim=1, keepdim=True)


def test_the_joint_loss_is_added_with_its_weight():
    """With weight 0 the mixtures change nothing but the draws, so the first loss is that of the real rows alone."""
    settings = [{}, {"count": 6, "joint_weight": 0.0}, {"count": 6, "joint_weight": 1.0}]
    first = [short(steps=1, **mixed)[1].loss[0] for mixed in settings]
    assert first[0] == pytest.approx(first[1], abs=1e-7)
    assert first[2] > first[0]


def test_a_projection_is_trained_along():
    torch.manual_seed(0)
    projection = nn.Linear(8, 6)
    before = projection.weight.clone()
    _, history = short(steps=40, loss=losses.regression, projection=projection, count=4)
    assert not torch.equal(projection.weight, before)
    assert history.loss[-1] < history.loss[0]


def test_regression_is_added_to_the_loss_with_its_weight():
    """The first loss is listwise + weight * (1 - cosine of the projected rows), the projection drawn from the seed."""
    first = {w: short(steps=1, regression_weight=w)[1].loss[0] for w in (0.0, 1.0, 2.0)}
    beside = first[1.0] - first[0.0]
    assert 0.1 < beside < 2  # 1 - cosine of rows that have nothing to do with each other
    assert first[2.0] - first[0.0] == pytest.approx(2 * beside, rel=1e-4)


def test_a_projection_that_is_kept_changes_no_training_and_ends_where_its_descriptors_meet_the_teachers():
    """It is the layer that distill would have made of itself: regression trains it beside a list that knows none."""
    kept = projection_to(6, 8, 0)
    student, history = short(steps=40, projection=kept)
    alone, expected = short(steps=40)
    assert history.loss == expected.loss and history.settings == expected.settings and equal_weights(student, alone)
    images, rows, _ = data()
    with torch.inference_mode():
        met = [
            float((nn.functional.normalize(layer(student(images / 255)), dim=1) * rows).sum(1).mean())
            for layer in (kept, projection_to(6, 8, 0))
        ]
    assert met[0] > met[1] + 0.1
    assert history.projection is kept and torch.equal(expected.projection.weight, kept.weight)


def test_the_projection_of_a_history_takes_descriptors_to_the_teachers_space_and_stays_out_of_its_file(tmp_path):
    student, history = short(steps=3)
    with torch.no_grad():
        rows = student(data()[0] / 255)
    slow = [
        [float(w @ row + b) for w, b in zip(history.projection.weight, history.projection.bias, strict=True)]
        for row in rows
    ]
    slow = [[value / math.hypot(*row) for value in row] for row in slow]
    assert project(rows, history.projection).tolist() == [pytest.approx(row, abs=1e-5) for row in slow]
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history and "projection" not in history.content()
    assert short(steps=1, regression_weight=0)[1].projection is None


def test_a_projection_that_learns_from_nothing_is_refused():
    with pytest.raises(BadInput, match="learns from nothing"):
        short(projection=nn.Linear(8, 6), regression_weight=0)


def test_regression_is_added_to_a_list_by_default():
    usual, same, bare = (short(steps=2, **own)[1] for own in ({}, {"regression_weight": 2.0}, {"regression_weight": 0}))
    assert usual.loss == same.loss and usual.settings == same.settings
    assert usual.loss[0] > bare.loss[0] + 0.1


@pytest.mark.parametrize(
    "loss", [losses.regression, functools.partial(losses.regression), None], ids=["itself", "bound", "none"]
)
def test_regression_itself_is_not_added_to_itself(loss):
    """Nor when functools.partial has bound the projection, so that `distill` is given none."""

    def first(**settings):
        torch.manual_seed(0)
        projection = nn.Linear(8, 6)
        if loss is None:
            settings |= {"loss": functools.partial(losses.regression, projection=projection)}
        else:
            settings |= {"loss": loss, "projection": projection}
        return short(steps=2, count=3, **settings)[1]

    usual, bare = first(), first(regression_weight=0)
    assert usual.loss == bare.loss
    assert usual.settings == bare.settings and usual.settings["regression_weight"] == 0


def test_a_loss_with_a_projection_shares_it_with_regression():
    def projected(student_rows, teacher_rows, *, projection):
        return losses.similarity(nn.functional.normalize(projection(student_rows), dim=1), teacher_rows)

    torch.manual_seed(0)
    projection = nn.Linear(8, 6)
    before = projection.weight.clone()
    first = {w: short(steps=1, loss=projected, projection=projection, lr=1e-12, regression_weight=w) for w in (0, 1.0)}
    assert torch.allclose(projection.weight, before)
    same = short(steps=1, loss=losses.regression, projection=projection, lr=1e-12)
    beside = first[1.0][1].loss[0] - first[0][1].loss[0]
    assert beside == pytest.approx(same[1].loss[0], rel=1e-4)


def test_regression_brings_the_rows_to_the_teachers():
    """With a list of equal similarities only the regression has anything to say, and its value must fall."""

    def nothing(student_rows, teacher_rows, *, comparable=None):
        return 0 * student_rows.sum()

    _, history = short(loss=nothing, steps=40, regression_weight=1.0)
    assert statistics.mean(history.loss[-5:]) < 0.9 * statistics.mean(history.loss[:5])


def test_a_training_with_regression_resumes_bit_for_bit(tmp_path, frequent_checkpoints):
    path = tmp_path / "training.pt"
    whole, expected = short(steps=9, regression_weight=2.0)
    with pytest.raises(Interrupted):
        short(steps=9, regression_weight=2.0, checkpoint=path, callback=interrupt_at(5))
    resumed, history = short(steps=9, regression_weight=2.0, checkpoint=path)
    assert history.loss == expected.loss
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_regression_weight_that_cannot_be_used_is_refused(weight):
    with pytest.raises(BadInput, match="regression_weight"):
        short(regression_weight=weight)


def test_batch_statistics_stay_as_they_were():
    student = TinyStudent()
    before = student.layers[1].running_mean.clone()
    short(student)
    assert torch.equal(student.layers[1].running_mean, before)


def test_the_pooling_exponent_learns_faster_and_does_not_decay():
    student = TinyStudent()
    groups = loop.parameter_groups(student, nn.Linear(2, 2), lr=1e-3)
    assert [(len(g["params"]), g["peak"], g["weight_decay"]) for g in groups] == [
        (4, 1e-3, 1e-4),
        (1, 1e-2, 0.0),
        (2, 1e-2, 1e-4),
    ]
    assert groups[1]["params"][0] is student.pool.p


def test_the_learning_rate_rises_shortly_and_falls_as_a_cosine():
    rates = [loop.schedule(step, 500) for step in range(500)]
    assert rates[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])
    assert rates[260] == pytest.approx(0.5)
    assert all(a >= b for a, b in itertools.pairwise(rates[20:]))
    assert 0 < rates[-1] < 0.001
    assert [loop.schedule(0, 1), loop.schedule(1, 2)] == [1.0, 1.0]


# --- augmentation --------------------------------------------------------------------------------------------------


def test_the_student_returned_is_partly_what_it_started_as():
    start = TinyStudent().state_dict()
    whole, _ = short(start_weight=0)
    mixed, _ = short(start_weight=0.25)
    for name, value in mixed.state_dict().items():
        expected = 0.75 * whole.state_dict()[name] + 0.25 * start[name] if value.is_floating_point() else value
        assert torch.allclose(value, expected, atol=1e-6)
    assert not equal_weights(mixed, whole)


def test_a_resumed_student_is_mixed_with_what_the_first_run_started_as(tmp_path, frequent_checkpoints):
    whole, _ = short()
    with pytest.raises(Interrupted):
        short(checkpoint=tmp_path / "c", callback=interrupt_at(4))
    other = TinyStudent()
    nn.init.zeros_(other.layers[0].weight)
    resumed, _ = short(other, checkpoint=tmp_path / "c")
    assert equal_weights(resumed, whole)


def test_augmentation_keeps_the_shape_and_range_and_varies_each_image():
    image = data()[0][:1]
    out = augmented(image.repeat(12, 1, 1, 1), torch.Generator().manual_seed(0))
    assert out.shape == (12, 3, 15, 20)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.min() >= 0
    assert out.max() <= 1
    assert len({tuple(row) for row in out.flatten(1).tolist()}) == 12


def test_augmentation_is_mild_and_mirrors_half_of_the_images():
    ramp = torch.linspace(60, 190, 20).to(torch.uint8).expand(400, 3, 15, 20)
    out = augmented(ramp, torch.Generator().manual_seed(0))
    mirrored = (out[:, 0, 7, 0] > out[:, 0, 7, -1]).float().mean()
    assert 0.4 < mirrored < 0.6
    ratio = out.mean((1, 2, 3)) / (ramp.float().mean() / 255)
    assert ratio.min() > 0.6
    assert ratio.max() < 1.4


def test_augmentation_without_zoom_jitter_or_mirror_is_the_image(monkeypatch):
    images = data()[0][:5]
    # Every draw at the end of its interval that changes nothing but brightness and contrast, by 1.2 each.
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
    pixels = images.float() / 255
    grey = pixels.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(augmented(images), ((pixels - grey) * 1.2 * 1.2 + grey * 1.2).clamp(0, 1))


# --- chance and resuming -------------------------------------------------------------------------------------------


def test_the_seed_decides_everything_and_the_global_state_is_left_alone():
    torch.manual_seed(123)
    before = torch.get_rng_state()
    (a, ha), (b, hb) = (short(TinyStudent(dropout=0.3), seed=1, count=3, alpha=0.5) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert ha.loss == hb.loss
    assert equal_weights(a, b)
    assert short(seed=2)[1].loss != short(seed=1)[1].loss


@pytest.mark.parametrize("stop", [4, 6, 7], ids=["between checkpoints", "at a checkpoint", "after two"])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path, frequent_checkpoints, stop):
    settings = {"steps": 10, "count": 4, "alpha": 0.5, "pairs": "neighbours", "loss": losses.regression}

    def projection():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return nn.Linear(8, 6)

    whole_projection, projected = projection(), projection()
    whole, expected = short(TinyStudent(dropout=0.3), projection=whole_projection, **settings)
    path = tmp_path / "runs" / "student.ckpt"
    with pytest.raises(Interrupted):
        short(
            TinyStudent(dropout=0.3), projection=projection(), checkpoint=path, callback=interrupt_at(stop), **settings
        )
    torch.manual_seed(99)  # another process starts in another state
    resumed, history = short(TinyStudent(dropout=0.3), projection=projected, checkpoint=path, **settings)
    assert history.step == list(range(10))
    assert history.loss == expected.loss
    assert history.lr == expected.lr
    assert equal_weights(resumed, whole)
    assert equal_weights(projected, whole_projection)
    assert all(a <= b for a, b in itertools.pairwise(history.seconds))
    assert [file.name for file in path.parent.iterdir()] == ["student.ckpt"]


def test_supervised_training_resumes_bit_for_bit(tmp_path, frequent_checkpoints):
    images, _, labels = data()
    settings = {"classes": 4, "per_class": 3, "training": Training(steps=8, lr=1e-2, progress=False)}
    whole, expected = train_supervised(TinyStudent(), images, labels, **settings)
    path = tmp_path / "ckpt"
    with pytest.raises(Interrupted):
        train_supervised(TinyStudent(), images, labels, checkpoint=path, callback=interrupt_at(5), **settings)
    resumed, history = train_supervised(TinyStudent(), images, labels, checkpoint=path, **settings)
    assert history.loss == expected.loss
    assert equal_weights(resumed, whole)


def test_a_finished_training_is_read_back_without_a_step(tmp_path):
    path = tmp_path / "ckpt"
    trained, first = short(checkpoint=path)
    again, second = short(checkpoint=path, callback=interrupt_at(6))
    assert equal_weights(trained, again)
    assert second == first


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "ckpt"
    short(checkpoint=path)
    with pytest.raises(BadInput, match=r"another training \(lr, seed differ\)"):
        short(checkpoint=path, lr=2e-2, seed=1)
    with pytest.raises(BadInput, match=r"another training \(regression_weight differ\)"):
        short(checkpoint=path, regression_weight=0)
    with pytest.raises(BadInput, match=r"another training \(student differ\)"):
        short(TinyStudent(dim=9), checkpoint=path)
    with pytest.raises(BadInput, match=r"another training \(mixtures differ\)"):
        short(checkpoint=path, count=4)
    with pytest.raises(BadInput, match=r"another training \(images differ\)"):
        short(checkpoint=path, augment=False)
    path.write_bytes(b"broken")
    with pytest.raises(BadInput, match="delete it"):
        short(checkpoint=path)


def test_a_checkpoint_from_before_a_setting_is_of_another_training(tmp_path):
    path = tmp_path / "ckpt"
    short(checkpoint=path, regression_weight=0)
    state = torch.load(path, weights_only=True)
    del state["history"]["settings"]["regression_weight"]
    torch.save(state, path)
    with pytest.raises(BadInput, match=r"another training \(regression_weight differ\)"):
        short(checkpoint=path)


# --- history -------------------------------------------------------------------------------------------------------


def test_a_history_survives_saving(tmp_path):
    _, history = short(loss=functools.partial(losses.listwise, temperature=0.1))
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history
    assert history.settings["loss"] == "listwise(temperature=0.1)"
    assert len(history.step) == len(history.loss) == len(history.lr) == len(history.seconds) == 6


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"colour": 1})])
def test_a_file_that_is_no_history_is_refused(tmp_path, text):
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(BadInput, match="no saved history"):
        History.load(tmp_path / "history.json")


# --- refusals ------------------------------------------------------------------------------------------------------


def with_nan(rows):
    rows = rows.clone()
    rows[3, 1] = float("nan")
    return rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda images, rows: (images, with_nan(rows)), "NaN"),
        (lambda images, rows: (images, 2 * rows), "not L2-normalised"),
        (lambda images, rows: (images, rows[0]), "must have the shape"),
        (lambda images, rows: (images[:-1], rows), "39 images and 40 teacher rows"),
        (lambda images, rows: (images.float(), rows), "uint8"),
        (lambda images, rows: (images[:11], rows[:11]), "needs 12 images, but there are 11"),
    ],
    ids=["nan", "length", "shape", "count", "float images", "fewer than a batch"],
)
def test_images_and_rows_that_do_not_fit_are_refused(change, words):
    images, rows = change(*data()[:2])
    with pytest.raises(BadInput, match=words):
        distill(TinyStudent(), images, rows, anchors=3, neighbours=3, training=Training(steps=1, progress=False))


def test_a_student_whose_descriptors_are_not_normalised_is_refused():
    student = nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(BadInput, match="the student's descriptors are not L2-normalised"):
        short(student)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"lr": 0.0}, {"count": 0}, {"start_weight": 1.0}, {"start_weight": -0.1}]
)
def test_settings_that_train_nothing_are_refused(settings):
    with pytest.raises(BadInput, match="give"):
        short(**settings)


def test_a_training_that_blows_up_stops():
    with pytest.raises(RDistillError, match="learning rate below"):
        short(loss=lambda student_rows, teacher_rows: student_rows.sum() * float("nan"))


def test_places_may_be_texts():
    images, _, labels = data()
    names = [f"place {label}" for label in labels.tolist()]
    training = Training(steps=2, progress=False)
    expected = train_supervised(TinyStudent(), images, labels, classes=4, training=training)[1].loss
    for given in (names, np.array(names), labels.tolist(), labels.to(torch.uint8)):
        _, history = train_supervised(TinyStudent(), images, given, classes=4, training=training)
        assert history.loss == expected
    queries, positives = pairs_of(labels)
    settings = {"pairs": Pairs(tuples=2, negatives=2), "training": training}
    one, other = (
        train_on_pairs(TinyStudent(), images, *lists, **settings)[1].loss
        for lists in ((labels, queries, positives), (names, queries.tolist(), positives.tolist()))
    )
    assert one == other


@pytest.mark.parametrize("labels", [[0.5] * 40, [None] * 40, [["a"]] * 40, torch.zeros(40)])
def test_labels_that_are_neither_numbers_nor_texts_are_refused(labels):
    with pytest.raises(BadInput, match="give one integer or text per image"):
        train_supervised(TinyStudent(), data()[0], labels)


def test_a_list_of_images_is_no_tensor_of_them():
    images, rows, labels = data()
    for training, given in ((distill, rows), (train_supervised, labels)):
        with pytest.raises(BadInput, match=r"but got a list: give TrainingImages.pixels\(\) or to_tensor\(images\)"):
            training(TinyStudent(), list(images), given)


def test_proxy_anchor_is_the_loss_of_its_paper_and_its_proxies_learn():
    """Kim et al., CVPR 2020, equation 4, in plain loops."""
    images, _, labels = data()
    places, margin, alpha = int(labels.max()) + 1, 0.1, 32
    settings = {"loss": "proxy_anchor", "classes": 4, "per_class": 3}
    training = Training(**QUICK | {"steps": 60, "augment": False})
    history = train_supervised(TinyStudent(), images, labels, **settings, training=training)[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        proxies = nn.functional.normalize(metric_losses.ProxyAnchorLoss(places, 8).proxies.detach(), dim=1)
    batch = next(class_batches(labels, 4, 3, 1, torch.Generator().manual_seed(training.seed)))
    with torch.no_grad():
        rows = TinyStudent().eval()(images[batch].float() / 255)
    own, positive, negative = labels[batch].tolist(), 0.0, 0.0
    for proxy in range(places):
        cosines = [(float(row @ proxies[proxy]), label == proxy) for row, label in zip(rows, own, strict=True)]
        positive += math.log(1 + sum(math.exp(-alpha * (cosine - margin)) for cosine, its in cosines if its))
        negative += math.log(1 + sum(math.exp(alpha * (cosine + margin)) for cosine, its in cosines if not its))
    assert history.loss[0] == pytest.approx(positive / len(set(own)) + negative / places, rel=1e-4)
    assert sum(history.loss[-10:]) < sum(history.loss[:10])
    again = train_supervised(TinyStudent(), images, labels, **settings, training=training)[1]
    assert again.loss == history.loss


def test_labels_that_do_not_fit_are_refused():
    images, _, labels = data()
    with pytest.raises(BadInput, match="40 images and 39 labels"):
        train_supervised(TinyStudent(), images, labels[1:])
    with pytest.raises(BadInput, match="one integer"):
        train_supervised(TinyStudent(), images, labels.float())
    with pytest.raises(BadInput, match="'contrastive', 'multi_similarity', 'proxy_anchor'"):
        train_supervised(TinyStudent(), images, labels, loss="triplet", classes=4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda: Training(step=3), "Training has no setting 'step': did you mean 'steps'?"),
        (lambda: Mixtures(colour=3), "Mixtures has no setting 'colour': give one of count, pairs"),
        (lambda: Mixtures(pairs="far"), "give 'random' or 'neighbours'"),
        (lambda: Mixtures(alpha="beta"), "give 'uniform' or a positive number"),
        (lambda: Mixtures(alpha=-1.0), "give 'uniform' or a positive number"),
        (lambda: Mixtures(joint_weight=-1.0), "give 0 or a positive number"),
        (lambda: Mixtures(mix_at=0), "or None to mix descriptors"),
    ],
)
def test_settings_that_are_unknown_or_mix_nothing_are_refused(settings, words):
    with pytest.raises(BadInput) as error:
        settings()
    assert words in str(error.value)


def fitted(read, batch_loss=lambda rows, maps, index: rows.sum()):
    generator = torch.Generator().manual_seed(0)
    return fit(
        TinyStudent(), read, iter([torch.arange(6)] * 2), batch_loss, generator, Training(**QUICK | {"steps": 2})
    )


@pytest.mark.parametrize(("given", "words"), [(5, "gave 5 images where 6"), (None, "gave NoneType where 6")])
def test_a_read_that_gives_another_number_of_images_is_refused(given, words):
    with pytest.raises(BadInput, match=words):
        fitted(lambda index, share, generator: torch.rand(given, 3, 15, 20) if given else None)


def test_two_lambdas_are_two_losses_to_a_checkpoint(tmp_path):
    path = tmp_path / "ckpt"

    def weighted(weight):
        return lambda student_rows, teacher_rows, comparable=None: (
            weight * losses.similarity(student_rows, teacher_rows)
        )

    short(checkpoint=path, loss=weighted(1.0))
    short(checkpoint=path, loss=weighted(1.0))
    with pytest.raises(BadInput, match=r"another training \(loss differ\)"):
        short(checkpoint=path, loss=weighted(2.0))


@pytest.mark.parametrize(
    "change",
    [
        lambda: RetrievalNet("squeezenet1_1", weights=None, scale=1.6),
        lambda: RetrievalNet("squeezenet1_1", weights=None, mean=(0.5, 0.5, 0.5)),
        lambda: RetrievalNet("squeezenet1_1", weights=None, pooling="mac"),
        lambda: RetrievalNet("squeezenet1_1", weights=None).freeze(6),
    ],
    ids=["scale", "input statistics", "pooling", "frozen parts"],
)
def test_a_checkpoint_of_another_network_is_refused(tmp_path, change):
    images, rows, _ = data()
    images = images.repeat(1, 1, 3, 3)
    settings = {
        "anchors": 2,
        "neighbours": 1,
        "checkpoint": tmp_path / "c",
        "training": Training(**QUICK | {"steps": 1}),
    }
    distill(RetrievalNet("squeezenet1_1", weights=None), images, rows, **settings)
    with pytest.raises(BadInput, match="student"):
        distill(change(), images, rows, **settings)


def test_a_checkpoint_of_other_images_or_answers_is_refused(tmp_path):
    images, rows, _ = data()
    settings = {"anchors": 3, "neighbours": 3, "checkpoint": tmp_path / "c", "training": Training(**QUICK)}
    distill(TinyStudent(), images, rows, **settings)
    with pytest.raises(BadInput, match=r"another training \(images differ\)"):
        distill(TinyStudent(), images.flip(3), rows, **settings)
    with pytest.raises(BadInput, match=r"another training \(teacher_rows differ\)"):
        distill(TinyStudent(), images, rows.flip(0), **settings)
