"""A ViT of timm as a student: a chain of parts like any backbone."""

import math

import pytest
import timm
import torch
from safetensors.torch import save_file

from rdistill_helpers import (
    BadInput,
    Mixtures,
    OnnxStudent,
    RetrievalNet,
    Training,
    distill,
    export,
    extract,
    load_network,
    save_network,
)
from rdistill_helpers.distil.views import KeptMaps

NAME = "timm/test_vit"


def photos(count, height=96, width=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def student(name=NAME, **settings):
    torch.manual_seed(0)
    return RetrievalNet(name, weights=None, **settings).eval()


@pytest.fixture
def classifier(tmp_path):
    """A ViT with its head, as timm publishes it, and its file."""
    torch.manual_seed(1)
    model = timm.create_model("test_vit", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    return model, tmp_path / "vit.safetensors"


def test_a_descriptor_pools_the_patches_that_timm_gives(classifier):
    model, path = classifier
    net = RetrievalNet(NAME, weights=path).eval()
    side = model.patch_embed.img_size[0]
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        rows, tokens = net(images), model.forward_features((images - 0.5) / 0.5)
    for row, own in zip(rows, tokens[:, model.num_prefix_tokens :].tolist(), strict=True):
        slow = [
            (sum(max(v, 1e-6) ** 3 for v in channel) / len(channel)) ** (1 / 3) for channel in zip(*own, strict=True)
        ]
        length = math.sqrt(sum(value**2 for value in slow))
        torch.testing.assert_close(row, torch.tensor(slow) / length, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [NAME, "timm/test_vit2", "timm/test_vit3"])
def test_any_size_of_photograph_gives_descriptors(name):
    net = student(name)
    for height, width in ((64, 96), (70, 41), (7, 5), (160, 160)):
        rows = extract(net, photos(2, height, width), progress=False)
        assert rows.shape == (2, net.dim)
        assert not rows[0].allclose(rows[1], atol=1e-4)


def test_the_weights_come_back_from_a_file(tmp_path):
    net = student(dim=16, pooling="spoc")
    save_network(net, tmp_path / "vit.safetensors")
    loaded = load_network(tmp_path / "vit.safetensors")
    assert extract(loaded, photos(3), progress=False).equal(extract(net, photos(3), progress=False))


def test_frozen_parts_stay_as_they_are_and_the_others_learn():
    net = student().freeze(4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = photos(24, seed=3)
    rows = torch.nn.functional.normalize(torch.randn(24, 8, generator=torch.Generator().manual_seed(4)))
    training = Training(steps=6, lr=1e-3, progress=False)
    _, history = distill(net, images, rows, anchors=4, neighbours=2, training=training)
    assert history.loss[-1] < history.loss[0]
    changed = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    frozen = {name for part in range(4) for name in before if name.startswith(f"features.{part}.")}
    assert changed and not changed & frozen
    assert {name.split(".")[1] for name in changed if name.startswith("features.")} == {"4", "5", "6", "7"}


def test_maps_after_each_part_lead_to_the_same_descriptors_and_can_be_kept_and_mixed():
    net = student()
    images = photos(12).float() / 255
    with torch.no_grad():
        expected = net(images)
        for parts in range(len(net.parts)):
            maps = net.maps(images, parts)
            assert maps.ndim == 4
            torch.testing.assert_close(net.describe_maps(maps, parts), expected, atol=1e-5, rtol=1e-4)
        kept = KeptMaps(torch.stack([net.maps(images, 2), net.maps(images.flip(3), 2)], dim=1), 2)
    rows = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(4)))
    training = Training(steps=4, lr=1e-3, progress=False)
    mixtures = Mixtures(count=6, mix_at=3)
    _, history = distill(net, kept, rows, anchors=4, neighbours=2, mixtures=mixtures, training=training)
    assert len(history.loss) == 4 and all(math.isfinite(loss) for loss in history.loss)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("timm/resnet18", {}, "no plain ViT"),
        ("timm/vit_small_patch16_dinov3", {}, "no plain ViT"),
        ("timm/nothing", {}, "no plain ViT"),
        ("timm/vit_small_patch14_dinov2.nothing", {"weights": "imagenet"}, "nothing.*cannot be had"),
        (NAME, {"weights": "imagenet"}, "cannot be had.*weights=PATH"),
        (NAME, {"pooling": "rmac"}, "patches of a ViT"),
        ("vit_b_16", {}, "timm/ and a ViT"),
    ],
)
def test_what_cannot_be_a_student_is_told_in_a_sentence(name, settings, told, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match=told) as caught:
        RetrievalNet(name, **{"weights": None, **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_it_leaves_pytorch_as_onnx_for_photographs_of_any_size(tmp_path):
    net = student(scale=1.3)
    exported = OnnxStudent(export(net, tmp_path / "vit.onnx", (48, 64)))
    for height, width in ((48, 64), (96, 96), (41, 70), (5, 9)):
        images = photos(3, height, width)
        rows = extract(net, images, progress=False)
        assert not rows[0].allclose(rows[1], atol=1e-3)
        torch.testing.assert_close(extract(exported, images, progress=False), rows, atol=1e-4, rtol=0)


def test_int8_of_it_would_change_nothing_and_is_refused(tmp_path):
    with pytest.raises(BadInput, match="int8=None"):
        export(student(), tmp_path / "vit.onnx", int8=photos(20))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_vit_are_refused(classifier):
    with pytest.raises(BadInput, match="does not fit"):
        RetrievalNet("timm/test_vit2", weights=classifier[1])
