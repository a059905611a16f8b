"""The pieces of the teacher's training: its loss, its batches, its augmentation."""

import math

import pytest
import torch
import torch.nn.functional as F

from rdistill_helpers import RetrievalNet, Training


@pytest.fixture(scope="module")
def tool(load_script):
    return load_script("tools/train_teacher.py")


def rows(count, dim=6, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_neighbourhood_loss_equals_the_loop(tool):
    x, labels, temperature = rows(9).double(), [0, 0, 0, 1, 1, 1, 2, 2, 2], 0.1
    total = 0.0
    for i in range(9):
        chance = {j: math.exp(float(x[i] @ x[j]) / temperature) for j in range(9) if j != i}
        total -= math.log(sum(c for j, c in chance.items() if labels[j] == labels[i]) / sum(chance.values()))
    assert tool.neighbourhood_loss(x, torch.tensor(labels), temperature).item() == pytest.approx(total / 9)


def test_batches_hold_rooms_with_their_look_alikes(tool):
    labels = torch.arange(12).repeat_interleave(3) * 10
    directions = F.one_hot(torch.arange(12) // 4, 3).float()  # three groups of four look-alike rooms
    memory = directions.repeat_interleave(3, 0)
    chosen = tool.confusable_rooms(memory, labels, groups=2, size=4, generator=torch.Generator().manual_seed(0))
    groups = (chosen // 10 // 4).tolist()
    assert len(set(chosen.tolist())) == 8 and groups[:4] == [groups[0]] * 4 and groups[4:] == [groups[4]] * 4


def test_augmentation_enlarges_keeps_the_range_and_is_seeded(tool):
    pixels = torch.randint(0, 256, (6, 3, 12, 16), dtype=torch.uint8)
    room = torch.tensor([0, 0, 0, 1, 1, 1])
    first, again, other = (tool.augment(pixels, room, 1.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 3, 18, 24) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_training_lowers_the_loss_and_gives_the_scale_back(tool):
    torch.manual_seed(0)
    labels = torch.arange(20).repeat_interleave(4)
    colours = torch.randint(40, 216, (20, 3, 1, 1))
    pixels = (colours[labels] + torch.randint(-20, 21, (80, 3, 48, 64))).clamp(0, 255).to(torch.uint8)
    net = RetrievalNet("squeezenet1_1", weights=None, scale=1.5)
    training = Training(steps=3, lr=1e-4, start_weight=0.0, progress=False)
    losses = tool.train(net, pixels, labels, training, temperature=0.08, early=0.5)
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    assert net.scale == 1.5 and not net.training
