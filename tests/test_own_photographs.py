"""The road of docs/own-photographs.md: from folders as phones and network drives leave them to a student."""

import io
import json
import re
import sqlite3
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdistill_helpers import Benchmark, RetrievalNet, TrainingImages, evaluate, extract, load_network, save_network
from rdistill_helpers.__main__ import main
from rdistill_helpers.descriptors import warn_if_alike

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-photographs.md"
COUNT, PLACES, HELD_OUT = 200, 15, 5
NAMES = [
    "IMG_{}.JPG",
    "PXL {}~2.jpg",
    "no-break\u00a0space {}.jpg",
    "family\u200d{}.jfif",
    "bru\u0308cke{}.jpg",
    "{}",
    "con{}.jpg",
]
SHAPES = [(64, 48), (48, 64), (160, 20), (50, 50)]  # landscapes, portraits, a panorama


def photograph(place, number):
    """Fields of colour that photographs of one place share, in one of the shapes."""
    fields = np.random.default_rng(place).integers(30, 220, (3, 4, 3))
    fields = fields + np.random.default_rng(1000 + number).integers(0, 30, (3, 4, 3))
    return Image.fromarray(fields.astype(np.uint8)).resize(SHAPES[number % len(SHAPES)], Image.Resampling.NEAREST)


def stored(image, number, heic):
    """The file of a photograph: each kind in turn, the camera held in each way, one in nine with damaged EXIF."""
    exif = Image.Exif()
    exif[271], exif[274] = "Phone", 1 + number % 8
    content = bytearray(exif.tobytes())
    if number % 9 == 0:
        content[16:24] = b"\xff" * 8
    file = io.BytesIO()
    image.save(file, ["JPEG", "PNG", "WEBP", "MPO", "HEIF" if heic else "JPEG"][number % 5], exif=bytes(content))
    return file.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two folders of photographs, 200 in all, and how many other files lie beside the training ones."""
    try:
        import pillow_heif
    except ImportError:
        pillow_heif = None
    folder = tmp_path_factory.mktemp("own") / "photos"
    for number in range(COUNT):
        place = number % PLACES
        part = folder / ("held-out" if place < HELD_OUT else "training") / f"place {place}"
        part.mkdir(parents=True, exist_ok=True)
        path = part / NAMES[number % len(NAMES)].format(number)
        path.write_bytes(stored(photograph(place, number), number, pillow_heif is not None))
    others = {
        ".DS_Store": b"x", "place 7/._IMG_1.JPG": b"x", "place 7/clip.mov": b"\0\0\0\x14ftypqt  ",
        "place 7/IMG_1.AAE": b"<xml/>", "Thumbs.db": b"x",
        "place 8/empty.jpg": b"", "place 8/raw.dng": b"II*\0", "place 8/list.json": b"{}",
    }  # fmt: skip
    for name, content in others.items():
        (folder / "training" / name).write_bytes(content)
    inside = folder / "training" / "place 9" / "@eaDir" / "IMG_9.JPG"
    inside.mkdir(parents=True)
    (inside / "SYNOFILE_THUMB_XL.jpg").write_bytes(stored(photograph(9, 0), 1, False))
    return folder, len(others) + 1  # the folder @eaDir counts as one


def teacher(folder):
    torch.manual_seed(0)
    save_network(RetrievalNet("squeezenet1_1", dim=16), folder / "teacher.safetensors")
    return folder / "teacher.safetensors"


def run(capsys, *arguments):
    status = main(list(map(str, arguments)))
    return status, capsys.readouterr()


@pytest.mark.slow
def test_two_hundred_photographs_of_phones_become_a_student_and_none_is_lost(photos, tmp_path, capsys):
    folder, others = photos
    settings = ["--teacher", teacher(tmp_path), "--held-out", folder / "held-out", "--size", "64", "64", "--steps", "2"]
    few = ["--anchors", "3", "--neighbours", "2", "--quiet"]
    status, said = run(capsys, "train", folder / "training", tmp_path / "out", *settings, *few)
    assert status == 0, said.err
    count = COUNT - sum(number % PLACES < HELD_OUT for number in range(COUNT))
    assert f"{count} photographs; left out" in said.err
    reasons = said.err.split("left out: ")[1].split("\n")[0]
    assert sum(map(int, re.findall(r"(?:^|; )(\d+) ", reasons))) == others
    assert re.search(
        r"mAP over places in % \(95 % interval\) before \d.* \(.* to .*\), after \d.* \(.* to .*\)", said.out
    )
    student = load_network(tmp_path / "out" / "student.safetensors")
    assert student.metadata["training"]["images"].startswith(f"{count} images")
    paid = sqlite3.connect(tmp_path / "out" / "ledger.sqlite").execute("SELECT count(*) FROM paid").fetchone()[0]
    assert paid == count
    rows = tmp_path / "all.npy"
    status, said = run(
        capsys, "extract", folder / "training", rows, "--net", teacher(tmp_path), "--imsize", 64, "--quiet"
    )
    assert status == 0 and len(json.loads((tmp_path / "all.npy.names.json").read_text())) == len(np.load(rows)) == count


@pytest.mark.slow
def test_the_lines_of_the_page_run(photos, tmp_path, monkeypatch):
    folder, _ = photos
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    for usual, tiny in (
        ("imagenet_teacher()", 'RetrievalNet("squeezenet1_1", dim=16)'), ("steps=500", "steps=1, progress=False"),
        ('"photos/', f'"{folder.as_posix()}/'), ("extract(net,", "extract(net, progress=False, images="),
        ('photos/training")', 'photos/training", (64, 64))'), ("(320)", "(64)"),
    ):  # fmt: skip
        assert usual in code
        code = code.replace(usual, tiny)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(action="ignore"):
        exec(code, {})
    assert load_network("runs/own/student.safetensors").dim == 512


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (["--anchors", "80"], "needs 480 images, but there are"),
        (["--regression-weight", "-1"], "regression_weight=-1.0 is not usable"),
        (["--steps", "0"], "0 steps"),
        (["--mixtures", "-3"], "mixtures in a batch"),
        (["--held-out", "nowhere"], "nowhere is not there"),
    ],
)
def test_no_wrong_setting_is_found_after_the_teacher_was_paid(tmp_path, monkeypatch, capsys, setting, words):
    (tmp_path / "photos").mkdir()
    for number in range(50):
        photograph(number, 0).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    net = teacher(tmp_path)
    status, said = run(capsys, "train", "photos", "out", "--teacher", net, "--size", 32, 32, "--quiet", *setting)
    assert status == 1 and words in said.err
    assert not Path("out/ledger.sqlite").exists()


def test_no_photograph_is_cut_or_squeezed_on_its_way_into_a_batch(tmp_path):
    for name, size in (("portrait", (30, 60)), ("landscape", (60, 30)), ("panorama", (120, 12))):
        image = Image.new("RGB", size, (250, 0, 0))
        image.paste((0, 0, 250), (0, 0, 6, 6))  # a mark in the corner
        image.save(tmp_path / f"{name}.png")
    own = TrainingImages.from_folder(tmp_path, size=(60, 60))
    for name, pixels, (wide, high) in zip(own.names, own.pixels(), [(60, 30), (60, 6), (30, 60)], strict=True):
        inside = (pixels.max(0).values > 200).nonzero()
        (top, left), (bottom, right) = inside.min(0).values.tolist(), inside.max(0).values.tolist()
        assert (right - left + 1, bottom - top + 1) == (wide, high), name
        assert int(pixels[2, top + 1, left + 1]) > 200, name


def test_networks_that_find_everything_alike_are_named():
    rows = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    with warnings.catch_warnings(action="error"):
        warn_if_alike(rows, "The answers")
        warn_if_alike(rows.numpy()[:1], "The answers")
    same = torch.nn.functional.normalize(rows * 0.05 + torch.eye(8)[0], dim=1)
    for alike in (same, same.numpy().astype(np.float16)):
        with pytest.warns(UserWarning, match=r"^The answers are all alike \(cosine 1\.00"):
            warn_if_alike(alike, "The answers")


def test_a_score_that_does_not_exist_is_a_dash_with_its_reason(tmp_path):
    for number in range(6):
        path = tmp_path / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        photograph(number % 2, number).save(path)
    own = Benchmark.from_folder(tmp_path)
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
    report = evaluate(extract(net, own.queries(), progress=False), extract(net, own.images(), progress=False), own)
    for text in (str(report), report._repr_html_()):
        assert "nan" not in text and "no query has hard positives, so medium is easy" in text
    assert np.isnan(report.hard.mAP)
