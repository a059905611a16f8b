"""Mixtures of the student's feature maps: by their definition, in the loop, resumed, and refused where they cannot be."""

import copy
import gc
import importlib

import pytest
import torch
from torch import nn

from rdistill_helpers import Mixtures, RetrievalNet, Training
from rdistill_helpers.distil import checkpoint, losses
from rdistill_helpers.distil.batches import tuple_batches
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.interpolate import draw_mixtures, interpolate, mix, mix_maps
from rdistill_helpers.distil.views import KeptMaps, Photographs
from rdistill_helpers.errors import BadInput

PARTS = 9
steps = importlib.import_module("rdistill_helpers.distil.distill")  # the module, not the function
joint_spaces = importlib.import_module("rdistill_helpers.distil.interpolate")


def data(count=18):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 64, 48), generator=generator, dtype=torch.uint8)
    rows = torch.randn(count, 6, generator=generator)
    return images, nn.functional.normalize(rows, dim=1)


def short(net=None, mixtures=Mixtures(count=5, mix_at=PARTS), images=None, training=None, **settings):  # noqa: B008
    """A short training; training: changes of its settings."""
    photographs, rows = data()
    training = Training(**{"steps": 2, "augment": False, "progress": False} | (training or {}))
    settings = {"anchors": 2, "neighbours": 3, "regression_weight": 0.0, "mixtures": mixtures, **settings}
    return distill(
        net or RetrievalNet(), photographs if images is None else images, rows, training=training, **settings
    )


def test_maps_are_mixed_place_by_place():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 3, 2, 2, generator=generator)
    pairs, weight = torch.tensor([[0, 1], [3, 1], [2, 2]]), torch.tensor([0.25, 1.0, 0.5])
    slow = torch.empty(3, 3, 2, 2)
    for k, ((a, b), lam) in enumerate(zip(pairs.tolist(), weight.tolist(), strict=True)):
        for place in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(2)).tolist():
            c, y, x = place
            slow[k, c, y, x] = lam * maps[a, c, y, x] + (1 - lam) * maps[b, c, y, x]
    torch.testing.assert_close(mix_maps(maps, pairs, weight), slow)
    assert mix_maps(maps.bfloat16(), pairs, weight).dtype == torch.bfloat16


@pytest.mark.parametrize("parts", [0, 1, 9, 12])
def test_a_network_describes_the_maps_of_any_of_its_parts_as_it_describes_photographs(parts):
    net = RetrievalNet(dim=7).eval()
    images = data(3)[0].float() / 255
    with torch.no_grad():
        maps = net.features[:parts]((images - net.mean) / net.std)
        torch.testing.assert_close(net.describe_maps(maps, parts), net(images))


def test_the_first_loss_is_that_of_the_real_rows_and_of_the_joint_space_with_described_mixtures():
    """By hand: the draws of the loop, maps through the front of the network, mixtures through its rest."""
    images, rows = data()
    _, history = short(mixtures=Mixtures(count=5, mix_at=PARTS, joint_weight=0.7), training={"steps": 1, "seed": 3})

    net = RetrievalNet().train()
    generator = torch.Generator().manual_seed(3)
    batch = next(tuple_batches(rows, 2, 3, 1, generator))
    with torch.no_grad():
        maps = net.features[:PARTS]((images[batch].float() / 255 - net.mean) / net.std)
        real = net(images[batch].float() / 255)
        joint = interpolate(rows[batch], real, 5, generator=generator)
        (first, second), weight = joint.parts[8:].T, joint.weight[8:]
        mixed = torch.stack([w * maps[a] + (1 - w) * maps[b] for a, b, w in zip(first, second, weight, strict=True)])
        all_rows = torch.cat([real, nn.functional.normalize(net.pool(net.features[PARTS:](mixed)), dim=1)])
        expected = losses.listwise(real, rows[batch])
        expected = expected + 0.7 * losses.listwise(all_rows, joint.teacher, comparable=joint.comparable)
    assert history.loss[0] == pytest.approx(expected.item(), rel=1e-4)


def test_regression_of_mixtures_is_that_of_their_described_maps():
    """By hand, with the projection as it starts."""
    images, rows = data()
    projection = nn.Linear(512, 6)
    start = copy.deepcopy(projection)
    mixtures = Mixtures(count=5, mix_at=PARTS, joint_weight=0.0, row_weight=0.7)
    settings = {"training": {"steps": 1, "seed": 3}, "regression_weight": 2.0, "projection": projection}
    _, history = short(mixtures=mixtures, **settings)
    net = RetrievalNet().train()
    generator = torch.Generator().manual_seed(3)
    batch = next(tuple_batches(rows, 2, 3, 1, generator))
    with torch.no_grad():
        maps = net.maps(images[batch].float() / 255, PARTS)
        real = net.describe_maps(maps, PARTS)
        pairs, weight = draw_mixtures(rows[batch], 5, generator=generator)
        expected = losses.listwise(real, rows[batch]) + 2 * losses.regression(real, rows[batch], projection=start)
        for (a, b), w in zip(pairs.tolist(), weight, strict=True):
            mixed = start(net.describe_maps((w * maps[a] + (1 - w) * maps[b])[None], PARTS))[0]
            target = w * rows[batch][a] + (1 - w) * rows[batch][b]
            expected += 0.7 / 5 * (1 - nn.functional.cosine_similarity(mixed, target, dim=0))
    assert history.loss[0] == pytest.approx(expected.item(), rel=1e-4)
    with pytest.raises(BadInput, match="shares the projection of the real rows"):
        short(mixtures=mixtures)


def test_each_step_draws_one_of_several_depths(monkeypatch):
    seen = []
    plain = RetrievalNet.describe_maps
    monkeypatch.setattr(RetrievalNet, "describe_maps", lambda self, maps, at: seen.append(at) or plain(self, maps, at))
    mixtures = Mixtures(count=4, mix_at=(9, 10, 12), alpha=2.0)
    _, history = short(mixtures=mixtures, training={"steps": 12})
    real, mixed = seen[0::2], seen[1::2]
    assert real == mixed and set(mixed) == {9, 10, 12}
    assert short(mixtures=mixtures, training={"steps": 12})[1].loss == history.loss
    with pytest.raises(BadInput, match="mix_at=13 names no maps"):
        short(mixtures=Mixtures(count=4, mix_at=(9, 13)))


def test_a_single_depth_in_a_tuple_is_that_depth():
    assert short(mixtures=Mixtures(count=5, mix_at=(PARTS,)))[1].loss == short()[1].loss


def test_a_mixture_of_maps_is_no_mixture_of_descriptors():
    """Else it would follow from the real rows, as notebook 3 shows of mixtures of descriptors."""
    net = RetrievalNet().eval()
    pairs, weight = torch.tensor([[0, 1], [1, 2]]), torch.tensor([0.5, 0.5])
    with torch.no_grad():
        pixels = (data(3)[0].float() / 255 - net.mean) / net.std
        of_maps = net.describe_maps(mix_maps(net.features[:PARTS](pixels), pairs, weight), PARTS)
        of_rows = mix(net(data(3)[0].float() / 255), pairs, weight)
    assert ((of_maps * of_rows).sum(1) < 1 - 3e-4).all()  # pictures of noise are all alike


def test_mixtures_train_the_parts_before_and_after_and_a_frozen_part_stays():
    net = RetrievalNet().freeze(6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    short(net, training={"lr": 1e-3})
    moved = {name.split(".")[1] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {"7", "10", "12"} <= moved
    assert not moved & {"0", "3", "4"}


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 2)

    class Interrupted(Exception):
        pass

    def callback(history):
        if len(history.step) == 3:
            raise Interrupted

    whole, expected = short(training={"steps": 4})
    path = tmp_path / "student.ckpt"
    net = RetrievalNet()
    with pytest.raises(Interrupted):
        short(net, training={"steps": 4}, checkpoint=path, callback=callback)
    resumed, history = short(training={"steps": 4}, checkpoint=path)
    assert history.loss == expected.loss
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    with pytest.raises(BadInput, match="mixtures differ"):
        short(mixtures=Mixtures(count=5), training={"steps": 4}, checkpoint=path)


def test_reduced_matrix_products_go_through_mixtures_too():
    _, history = short(training={"autocast": torch.bfloat16})
    assert all(value == value for value in history.loss)
    assert history.loss != short()[1].loss


@pytest.mark.parametrize("mix_at", [0, 13, -1])
def test_parts_that_are_not_there_are_refused(mix_at):
    with pytest.raises(BadInput, match=f"mix_at={mix_at} names no maps"):
        short(mixtures=Mixtures(count=5, mix_at=mix_at))


def test_a_student_without_parts_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(BadInput, match="give a RetrievalNet"):
        short(net)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(steps, "world_size", lambda: 2)
    with pytest.raises(BadInput, match="train in one"):
        short()


@pytest.mark.slow
def test_a_callback_that_evaluates_the_student_leaves_no_maps_behind():
    """The number of tensors alive must not grow from step to step."""
    net, alive = RetrievalNet(), []
    photographs = data()[0].float() / 255

    def callback(history):
        with torch.no_grad():
            net(photographs)
        gc.collect()
        alive.append(sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects()))

    short(net, training={"steps": 6}, callback=callback)
    assert alive[1:] == [alive[1]] * 5


def test_mixtures_of_maps_mix_no_descriptors_of_the_student(monkeypatch):
    mixed = []

    def watched(rows, pairs, weight):
        mixed.append(rows.shape[1])
        return mix(rows, pairs, weight)

    for module in (steps, joint_spaces):
        monkeypatch.setattr(module, "mix", watched)
    short(training={"steps": 3})
    assert mixed == [6] * 3  # the teacher's rows only, once a step


class StoredViews(Photographs):
    """Photographs in stored views: the photographs that kept maps are made of, drawn as `KeptMaps` draws its views."""

    def __init__(self, views):
        super().__init__(views[:, 0])
        object.__setattr__(self, "views", views)

    def read(self, index, share, generator):
        view = torch.randint(self.views.shape[1], (len(index),), generator=generator)
        return self.views[index[share], view[share]].float() / 255


@pytest.mark.parametrize(
    "mixtures", [None, Mixtures(count=12), Mixtures(count=6, mix_at=PARTS), Mixtures(count=6, mix_at=PARTS + 1)],
    ids=["none", "descriptors", "maps", "deeper maps"],
)  # fmt: skip
def test_a_student_with_kept_maps_takes_the_losses_of_one_that_sees_the_photographs(mixtures):
    generator = torch.Generator().manual_seed(4)
    views = torch.randint(0, 256, (18, 3, 3, 64, 48), generator=generator, dtype=torch.uint8)
    net = RetrievalNet().eval()
    with torch.no_grad():
        kept = torch.stack([net.maps(view.float() / 255, PARTS) for view in views.unbind(1)], 1)
    settings = {"mixtures": mixtures, "regression_weight": 2.0, "training": {"steps": 10}}
    _, seen = short(RetrievalNet().freeze(PARTS), images=StoredViews(views), **settings)
    _, fast = short(RetrievalNet().freeze(PARTS), images=KeptMaps(kept, PARTS), **settings)
    assert fast.loss == pytest.approx(seen.loss, rel=1e-5)
    assert len(set(fast.loss)) == 10


def test_maps_that_were_mixed_before_the_kept_ones_are_refused():
    with pytest.raises(BadInput, match=f"give a number from {PARTS} to 12"):
        short(images=KeptMaps(torch.rand(18, 2, 8, 4, 4), PARTS), mixtures=Mixtures(mix_at=PARTS - 1))


@pytest.mark.parametrize("maps", [torch.zeros(4, 3, 8, 8), torch.zeros(4, 1, 3, 8, 8, dtype=torch.uint8)])
def test_maps_of_another_kind_are_refused(maps):
    with pytest.raises(BadInput, match="Kept maps are float"):
        KeptMaps(maps, PARTS)
