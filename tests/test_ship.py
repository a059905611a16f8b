"""A student as ONNX: the same descriptors as in PyTorch, for any number and size of photographs; nearly so in int8."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from PIL import Image

from rdistill_helpers import BadInput, DataMissing, OnnxStudent, RetrievalNet, export, extract, save_network
from rdistill_helpers.__main__ import main
from rdistill_helpers.ship.projection import load_projection, save_projection

SIZES = [(48, 64), (64, 48), (120, 160), (7, 9), (1, 5000), (33, 300)]


@pytest.fixture(scope="module")
def net() -> RetrievalNet:
    torch.manual_seed(0)
    return RetrievalNet("squeezenet1_1", weights=None, scale=1.3).eval()


@pytest.fixture(scope="module")
def projection() -> torch.nn.Linear:
    torch.manual_seed(1)
    return torch.nn.Linear(512, 24)


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """Smooth fields of colour, as photographs have; noise would all be alike to a network."""
    fields = torch.rand(24, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    return (F.interpolate(fields, (48, 64), mode="bilinear") * 255).byte()


@pytest.fixture(scope="module")
def exported(net, projection, tmp_path_factory):
    """A student with a projection, in float32."""
    return export(net, tmp_path_factory.mktemp("ship") / "new" / "student.onnx", (48, 64), projection)


@pytest.fixture(scope="module")
def int8(net, photographs, tmp_path_factory):
    """The student without one, in int8."""
    return export(net, tmp_path_factory.mktemp("ship") / "int8.onnx", (48, 64), int8=photographs, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("count", [1, 3])
def test_descriptors_equal_those_of_pytorch_for_any_number_and_size(net, exported, size, count):
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(OnnxStudent(exported)(images), net(images), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("scales", [(1,), (1, 0.7, 1.4)], ids=["one scale", "three scales"])
def test_extract_takes_it_like_the_network(net, exported, photographs, scales):
    expected = extract(net, photographs, scales, progress=False)
    found = extract(OnnxStudent(exported, threads=1), photographs, scales, progress=False)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_pixels_are_described_like_the_floats_that_they_stand_for(exported, photographs):
    student = OnnxStudent(exported)
    torch.testing.assert_close(student(photographs), student(photographs / 255), atol=1e-6, rtol=0)
    with pytest.raises(BadInput, match="or uint8, not torch.int64"):
        student(photographs.long())


def test_the_projection_is_a_second_output(net, projection, exported, int8, photographs):
    projected = OnnxStudent(exported, projected=True)
    assert projected.dim == 24
    with torch.inference_mode():
        expected = F.normalize(projection(extract(net, photographs, progress=False)), dim=1)
    torch.testing.assert_close(extract(projected, photographs, progress=False), expected, atol=1e-4, rtol=0)
    with pytest.raises(BadInput, match="has no projection"):
        OnnxStudent(int8, projected=True)


@pytest.mark.slow
def test_the_file_says_which_student_it_holds_in_either_precision(net, exported, int8):
    floats, eights = OnnxStudent(exported), OnnxStudent(int8)
    for student in (floats, eights):
        assert (student.dim, student.backbone, student.scale, student.size) == (512, "squeezenet1_1", 1.3, (48, 64))
    assert (floats.precision, eights.precision) == ("float32", "int8")
    assert floats.digest == eights.digest


@pytest.mark.slow
def test_nothing_of_the_machine_that_wrote_it_is_in_the_file(exported, int8):
    for path in (exported, int8):
        assert b"site-packages" not in path.read_bytes() and b"rdistill_helpers/" not in path.read_bytes()


@pytest.mark.slow
def test_int8_takes_a_quarter_of_the_space_and_keeps_the_direction_of_descriptors(net, exported, int8, photographs):
    weights = sum(value.numel() for value in net.parameters())
    assert int8.stat().st_size < 4 * weights / 3
    expected, found = (extract(one, photographs, progress=False) for one in (net, OnnxStudent(int8)))
    assert (expected * found).sum(1).min() > 0.98


@pytest.mark.slow
def test_a_network_that_pads_by_size_is_exported_too(tmp_path):
    torch.manual_seed(0)
    net = RetrievalNet("tf_efficientnet_lite0", weights=None).eval()
    student = OnnxStudent(export(net, tmp_path / "lite0.onnx"))
    for size in ((64, 64), (63, 97), (1, 40)):
        images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            torch.testing.assert_close(student(images), net(images), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_export_leaves_the_student_in_its_mode(net, exported):
    assert not net.training and all(not module.training for module in net.modules())


@pytest.mark.slow
def test_the_command_exports_and_extract_takes_the_file(net, photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_network(net, "student.safetensors")
    for number, photo in enumerate(photographs):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(path)
    assert (
        main(["export", "student.safetensors", "student.onnx", "--int8", "photos", "--photographs", "20", "--quiet"])
        == 0
    )
    assert "int8, calibrated on 20 photographs" in capsys.readouterr().out
    extracted = ["extract", "photos", "rows.npy", "--dtype", "float32", "--quiet", "--net"]
    assert main([*extracted, "student.onnx"]) == 0
    assert np.load("rows.npy").shape == (24, 512)


@pytest.mark.slow
def test_a_network_whose_graph_would_hold_for_one_size_alone_is_refused(tmp_path):
    net = RetrievalNet("squeezenet1_1", pooling="rmac", weights=None)
    with pytest.raises(BadInput, match="squeezenet1_1 with rmac pooling cannot be written as ONNX"):
        export(net, tmp_path / "student.onnx", (48, 64))
    assert list(tmp_path.iterdir()) == []


def graph(opset: int = 18, **told: str) -> bytes:
    """A whole ONNX file of a network that no student is."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("images", "descriptors")]
    node = helper.make_node("Identity", ["images"], ["descriptors"])
    model = helper.make_model(
        helper.make_graph([node], "other", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 8
    helper.set_model_props(model, told)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (graph(), "does not say which student"),
        (graph(rdistill="1", backbone="x", dim="many"), "does not say which student"),
        (graph(opset=999), "cannot run"),
        (graph()[:-9], "cannot run"),
        (b"", "cannot run"),
        (b"a page of HTML", "cannot run"),
    ],
    ids=["another network", "metadata that are no numbers", "a later opset", "cut off", "empty", "another kind"],
)  # fmt: skip
def test_a_file_that_holds_no_student_is_refused_in_one_sentence(tmp_path, content, said):
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(BadInput, match=said) as caught:
        OnnxStudent(tmp_path / "other.onnx")
    assert "other.onnx" in str(caught.value) and "\n" not in str(caught.value)


def test_a_projection_comes_back_from_its_file_and_another_file_is_refused(net, projection, tmp_path):
    save_projection(projection, tmp_path / "new" / "projection.safetensors")
    torch.testing.assert_close(
        load_projection(tmp_path / "new" / "projection.safetensors").state_dict(),
        projection.state_dict(),
        rtol=0,
        atol=0,
    )
    save_network(net, tmp_path / "student.safetensors")
    (tmp_path / "text.safetensors").write_bytes(b"text")
    for name, said in (("student", "holds no projection"), ("text", "not a whole safetensors file")):
        with pytest.raises(BadInput, match=said):
            load_projection(tmp_path / f"{name}.safetensors")
    with pytest.raises(DataMissing, match="is not there"):
        load_projection(tmp_path / "none.safetensors")


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(DataMissing, match="is not there"):
        OnnxStudent(tmp_path / "none.onnx")


def test_what_cannot_be_exported_is_refused_before_anything_is_written(net, photographs, tmp_path):
    path = tmp_path / "student.onnx"
    for settings, said in (
        ({"student": torch.nn.Linear(2, 2)}, "writes a RetrievalNet"),
        ({"size": (0, 9)}, "not usable"),
        ({"projection": torch.nn.Linear(8, 4)}, "takes 8 numbers, the student gives 512"),
        ({"int8": photographs[:1]}, "show too little"),
        ({"int8": photographs[0]}, "uint8 images"),
    ):
        with pytest.raises(BadInput, match=said):
            export(**{"student": net, "path": path, **settings})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_the_command_ends_in_one_sentence(net, tmp_path, monkeypatch, capsys, missing):
    monkeypatch.chdir(tmp_path)
    save_network(net, "student.safetensors")
    for name in list(sys.modules):
        if name.split(".")[0] == missing:
            monkeypatch.setitem(sys.modules, name, None)
    assert main(["export", "student.safetensors", "student.onnx", "--quiet"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and missing in said[0] and 'pip install ".[ship]"' in said[0]
    assert not (tmp_path / "student.onnx").exists()


def test_only_names_of_onnx_files_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "student.safetensors", "student.safetensors"]) == 1
    assert "let it end with .onnx" in capsys.readouterr().err
