"""BatchNorm is folded where that changes nothing but the time, and left alone elsewhere."""

import copy

import pytest
import torch
from torch import nn

from rdistill_helpers import RetrievalNet, extract
from rdistill_helpers.embed.folding import folded


def norms(net):
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())


def unlike_new(net, seed=0):
    """Statistics and weights that no BatchNorm starts with."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
    return net.eval()


@pytest.mark.parametrize(
    ("backbone", "left"),
    [("resnet18", 0), ("tf_efficientnet_lite0", 0), ("mobilenet_v3_small", 0), ("shufflenet_v2_x0_5", 0)],
)
def test_a_folded_network_describes_as_the_plain_one_does(backbone, left):
    net = unlike_new(RetrievalNet(backbone, weights=None))
    before, state = norms(net), copy.deepcopy(net.state_dict())
    images = torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    other = folded(net)
    with torch.no_grad():
        torch.testing.assert_close(other(images), net(images), rtol=0, atol=1e-5)
    assert before > 0 and norms(other) == left
    assert norms(net) == before and all(torch.equal(net.state_dict()[name], value) for name, value in state.items())


def test_a_batchnorm_in_front_of_its_convolution_stays():
    net = unlike_new(RetrievalNet("densenet121", weights=None))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(images), net(images), rtol=0, atol=1e-5)
    assert 0 < norms(folded(net)) < norms(net)


class Awkward(nn.Module):
    """Layers that must not be folded, each for a reason of its own."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3, track_running_stats=kind != "no statistics")
        if kind == "half frozen":
            self.norm.half()

    def forward(self, images):
        maps = self.convolution(images)
        if self.kind == "used elsewhere":
            return (self.norm(maps) + maps).mean((2, 3))
        if self.kind == "shared":
            return self.norm(self.convolution(self.norm(maps))).mean((2, 3))
        if self.kind == "looks at its input" and images.mean() > 0:
            return self.norm(maps).mean((2, 3))
        return (
            self.norm(maps.half()).float().mean((2, 3)) if self.kind == "half frozen" else self.norm(maps).mean((2, 3))
        )


@pytest.mark.parametrize("kind", ["used elsewhere", "shared", "no statistics", "half frozen", "looks at its input"])
def test_what_cannot_be_folded_stays_as_it_is(kind):
    net = unlike_new(Awkward(kind))
    assert folded(net) is net


def test_a_norm_in_training_mode_stays():
    net = unlike_new(Awkward("plain"))
    assert norms(folded(net)) == 0
    net.norm.train()
    assert folded(net) is net


def test_extraction_with_folded_layers_gives_the_network_back_as_it_was():
    net = unlike_new(RetrievalNet("resnet18", weights=None)).train()
    images = torch.randint(0, 256, (20, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    many = extract(net, images, progress=False)
    few = torch.cat([extract(net, images[i : i + 1], progress=False) for i in range(20)])  # too few to fold
    torch.testing.assert_close(many, few, rtol=0, atol=1e-5)
    assert net.training and norms(net) == 20
