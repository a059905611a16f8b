"""Mixtures of the student's feature maps: by their definition, in the loop, resumed, and refused where they cannot be."""

import pytest
import torch
from torch import nn

from rdistill_helpers import RetrievalNet
from rdistill_helpers.distil import distill, interpolate, losses, mix, mix_maps, train
from rdistill_helpers.errors import BadInput

PARTS = 9


def data(count=18):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 64, 48), generator=generator, dtype=torch.uint8)
    rows = torch.randn(count, 6, generator=generator)
    return images, nn.functional.normalize(rows, dim=1)


def short(net=None, **settings):
    images, rows = data()
    settings = {
        "steps": 2, "anchors": 2, "neighbours": 3, "interpolated": 5, "mix_at": PARTS, "augment": False, "progress": False,
        "regression_weight": 0.0, **settings,
    }  # fmt: skip
    return distill(net or RetrievalNet(), images, rows, **settings)


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
    _, history = short(steps=1, seed=3, joint_weight=0.7)

    net = RetrievalNet().train()
    generator = torch.Generator().manual_seed(3)
    batch = next(train.tuple_batches(rows, 2, 3, 1, generator))
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
    short(net, lr=1e-3)
    moved = {name.split(".")[1] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {"7", "10", "12"} <= moved
    assert not moved & {"0", "3", "4"}


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 2)

    class Interrupted(Exception):
        pass

    def callback(history):
        if len(history.step) == 3:
            raise Interrupted

    whole, expected = short(steps=4)
    path = tmp_path / "student.ckpt"
    net = RetrievalNet()
    with pytest.raises(Interrupted):
        short(net, steps=4, checkpoint=path, callback=callback)
    assert not net.features[PARTS - 1]._forward_hooks  # nothing listens any more
    resumed, history = short(steps=4, checkpoint=path)
    assert history.loss == expected.loss
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    with pytest.raises(BadInput, match="mix_at"):
        short(steps=4, checkpoint=path, mix_at=None)


def test_reduced_matrix_products_go_through_mixtures_too():
    _, history = short(autocast=torch.bfloat16)
    assert all(value == value for value in history.loss)
    assert history.loss != short()[1].loss


@pytest.mark.parametrize("mix_at", [0, 13, -1])
def test_parts_that_are_not_there_are_refused(mix_at):
    with pytest.raises(BadInput, match=f"mix_at={mix_at} names no maps"):
        short(mix_at=mix_at)


def test_a_student_without_parts_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(BadInput, match="give a RetrievalNet"):
        short(net)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(train, "world_size", lambda: 2)
    with pytest.raises(BadInput, match="train in one"):
        short()
