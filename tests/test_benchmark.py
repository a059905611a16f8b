"""One class for the embedded rooms, the real sets and one's own photographs; the archive and what damages it."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_sets import write_ground_truth, write_rooms

from rdistill_helpers.data.benchmark import Benchmark
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.data.rooms import TrainingImages, open_archive, verify_archive
from rdistill_helpers.errors import BadInput, DataMissing


def photographs(folder: Path, names: list[str]) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (i, 0, 0)).save(folder / name)


@pytest.mark.parametrize(
    ("name", "part", "queries", "images"), [("rooms", "test", 150, 1500), ("rooms-validation", "validation", 60, 500)]
)
def test_rooms_benchmark_is_as_described(name, part, queries, images):
    rooms = Benchmark.load(name)
    assert rooms.name == name and len(rooms.query_names) >= queries and len(rooms.image_names) >= images
    assert all(each.startswith(f"{part}_") for each in rooms.query_names + rooms.image_names)
    assert len(rooms.query_names) == len(set(rooms.query_names)) == len(rooms.ground_truth)
    assert len(rooms.image_names) == len(set(rooms.image_names))
    assert not set(rooms.image_names) & set(rooms.query_names)
    assert all(len(g["easy"]) >= 2 and len(g["hard"]) >= 2 for g in rooms.ground_truth)
    box = rooms.ground_truth[0]["bbx"]
    assert rooms.query(0).size == (box[2] - box[0], box[3] - box[1])
    assert rooms.query(0, crop=False).size == rooms.image(0).size == (160, 120)


def test_the_readme_of_the_data_has_the_sizes_of_all_parts():
    rows = [line for line in (data_root() / "README.md").read_text(encoding="utf-8").splitlines() if ".load(" in line]
    training = TrainingImages.load("rooms")
    sizes = [f"| {len(training.labels().unique())} | {len(training):,} |"]
    for name in ("rooms", "rooms-validation"):
        part = Benchmark.load(name)
        sizes.append(f"{len(part.query_names)} queries with a box, {len(part.image_names):,} in the database")
    for size, call in zip(sizes, ("TrainingImages", 'Benchmark.load("rooms")', "rooms-validation"), strict=True):
        assert any(call in row and size in row for row in rows), size


def test_the_parts_share_no_photograph():
    shown: list[str] = []
    with zipfile.ZipFile(data_root() / "rooms.zip") as archive:
        for part in (Benchmark.load("rooms"), Benchmark.load("rooms-validation")):
            shown += part.query_names + part.image_names
        shown += TrainingImages.load("rooms").names
        photographs = [archive.getinfo(f"images/{name}.webp") for name in shown]
        assert len(set(shown)) == len(shown) == len({(each.CRC, each.file_size) for each in photographs})
        there = {name for name in archive.namelist() if name.startswith("images/")}
    assert there == {each.filename for each in photographs}


def test_labels_of_the_training_part_are_rooms():
    training = TrainingImages.load("rooms")
    labels = training.labels()
    known, views = labels.unique(return_counts=True)
    assert (
        known.tolist() == list(range(len(known))) and set(views.tolist()) == {10} and len(training) == 10 * len(known)
    )
    drawn = training.draw(rooms=3, seed=5)
    assert len(drawn) == 30 and len(labels[drawn].unique()) == 3
    assert torch.equal(drawn, training.draw(rooms=3, seed=5)) and not torch.equal(drawn, training.draw(rooms=3, seed=6))
    pixels = training.pixels(drawn[:2])
    assert pixels.shape == (2, 3, 120, 160) and pixels.dtype == torch.uint8
    assert np.array_equal(pixels[1].permute(1, 2, 0).numpy(), np.asarray(training.image(int(drawn[1]))))
    with pytest.raises(BadInput, match=rf"{len(known) + 1} rooms .* from 1 to {len(known)}"):
        training.draw(rooms=len(known) + 1)


@pytest.fixture
def copied_data(tmp_path):
    for name in ("rooms.zip", "rooms.zip.sha256", "rooms_train_labels.csv"):
        shutil.copy(data_root() / name, tmp_path / name)
    return tmp_path


def test_damaged_archive_says_how_to_restore_it(copied_data):
    archive = copied_data / "rooms.zip"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(BadInput, match=r"damaged.*git checkout -- data"):
        Benchmark.load("rooms", copied_data)
    archive.write_bytes(content[:1000])
    with pytest.raises(BadInput, match="git checkout"):
        TrainingImages.load("rooms", copied_data)


@pytest.mark.parametrize(("edition", "said"), [(None, "'1'"), ("3", "'3'"), ("two\n\n", "'two'"), ("9" * 999, "99")])
def test_rooms_of_another_edition_are_refused(tmp_path, edition, said):
    write_rooms(tmp_path, edition)
    for load in (Benchmark.load, TrainingImages.load):
        with pytest.raises(
            BadInput, match=rf"rooms\.zip is edition .*{said}.* where 2 is needed: .*git checkout"
        ) as refused:
            load("rooms", tmp_path)
        assert len(str(refused.value).splitlines()) == 1


def test_an_archive_that_was_cut_off_with_its_checksum_made_anew_is_refused(tmp_path):
    archive = write_rooms(tmp_path)
    assert len(Benchmark.load("rooms-validation", tmp_path).image_names) == 1
    archive.write_bytes(archive.read_bytes()[:-50])
    archive.with_name("rooms.zip.sha256").write_text(hashlib.sha256(archive.read_bytes()).hexdigest())
    for load in (Benchmark.load, TrainingImages.load):
        with pytest.raises(BadInput, match=r"not a readable archive .*git checkout"):
            load("rooms", tmp_path)


@pytest.mark.parametrize("name", ["rooms.zip", "rooms.zip.sha256"])
def test_missing_archive_says_how_to_restore_it(copied_data, name):
    (copied_data / name).unlink()
    with pytest.raises(DataMissing, match=f"{name} is missing.*git checkout"):
        Benchmark.load("rooms", copied_data)


def test_missing_labels_hurt_only_who_needs_them(copied_data):
    (copied_data / "rooms_train_labels.csv").unlink()
    training = TrainingImages.load("rooms", copied_data)
    assert training.image(0).size == (160, 120)
    with pytest.raises(DataMissing, match="rooms_train_labels"):
        training.labels()


def test_damaged_labels_say_how_to_restore_them(copied_data):
    training = TrainingImages.load("rooms", copied_data)
    for content in ("image,place\ntrain_0000,1\n", "image,room\ntrain_0000,attic\n", "image,room\ntrain_0000,1\n"):
        (copied_data / "rooms_train_labels.csv").write_text(content)
        with pytest.raises(BadInput, match=r"rooms_train_labels.*git checkout"):
            training.labels()


def test_a_byte_order_mark_in_front_of_the_labels_is_passed_over(copied_data):
    labels = copied_data / "rooms_train_labels.csv"
    training, expected = TrainingImages.load("rooms", copied_data), TrainingImages.load("rooms").labels()
    labels.write_bytes(b"\xef\xbb\xbf" + labels.read_bytes())
    assert torch.equal(training.labels(), expected)


def test_an_archive_stays_open_and_every_process_opens_its_own():
    archive = data_root() / "rooms.zip"
    here = open_archive(archive, 0, os.getpid())
    assert open_archive(archive, 0, os.getpid()) is here
    with open_archive(archive, 0, os.getpid() + 1) as elsewhere:
        assert elsewhere is not here


def test_archive_is_hashed_once_for_each_state(copied_data, monkeypatch):
    verify_archive(copied_data / "rooms.zip")
    monkeypatch.setattr("hashlib.file_digest", None)
    verify_archive(copied_data / "rooms.zip")


def test_real_sets_have_their_official_layout(tmp_path):
    gnd = [{"bbx": [5, 5, 25, 26], "easy": [0], "hard": [1], "junk": []}]
    (tmp_path / "roxford5k").mkdir()
    write_ground_truth(tmp_path / "roxford5k" / "gnd_roxford5k.pkl", ["b", "a"], ["q"], gnd)
    photographs(tmp_path / "roxford5k" / "jpg", ["a.jpg", "q.jpg"])
    with pytest.raises(DataMissing, match=r"1 images of roxford5k .*\(b\)"):
        Benchmark.load("roxford5k", tmp_path)
    photographs(tmp_path / "roxford5k" / "jpg", ["b.jpg"])
    benchmark = Benchmark.load("roxford5k", tmp_path)
    assert benchmark.image_names == ["b", "a"]
    assert benchmark.query(0).size == (20, 21)
    assert max(benchmark.query(0, imsize=20).size) == pytest.approx(10, abs=1)


def test_official_photographs_keep_their_stored_pixels_and_their_way_of_resizing(tmp_path):
    photographs(tmp_path / "roxford5k" / "jpg", ["q.jpg"])
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    tagged = tmp_path / "roxford5k" / "jpg" / "a.jpg"
    Image.fromarray(pixels).resize((800, 600)).save(tagged, exif=exif)
    gnd = [{"bbx": [5, 5, 25, 26], "easy": [0], "hard": [], "junk": []}]
    write_ground_truth(tmp_path / "roxford5k" / "gnd_roxford5k.pkl", ["a"], ["q"], gnd)
    official = Benchmark.load("roxford5k", tmp_path).image(0, imsize=100)
    expected = Image.open(tagged).convert("RGB")
    expected.thumbnail((100, 100), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(official), np.asarray(expected)) and official.size == (100, 75)
    photographs(tmp_path / "own", ["p/1.jpg", "p/2.jpg"])
    shutil.copy(tagged, tmp_path / "own" / "p" / "3.jpg")
    assert Benchmark.from_folder(tmp_path / "own").image(1, imsize=100).size == (75, 100)


def test_lazy_images_are_the_images_read_one_at_a_time(tmp_path):
    photographs(tmp_path, ["tower/1.jpg", "tower/2.jpg", "tower/3.jpg", "bridge/1.jpg"])
    benchmark = Benchmark.from_folder(tmp_path)
    lazy = benchmark.lazy_images(imsize=20)
    assert len(lazy) == len(benchmark.image_names)
    for one, other in zip(lazy, benchmark.images(imsize=20), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert [image.size for image in lazy[-2:]] == [lazy[-2].size, lazy[-1].size]
    with pytest.raises(IndexError):
        lazy[len(lazy)]


def test_missing_real_set_and_unknown_name_are_said(tmp_path):
    with pytest.raises(DataMissing, match=r"gnd_rparis6k\.pkl"):
        Benchmark.load("rparis6k", tmp_path)
    with pytest.raises(BadInput, match=r"'oxford' is not known: .*rooms, rooms-validation, roxford5k, rparis6k"):
        Benchmark.load("oxford", tmp_path)
    with pytest.raises(BadInput, match="'rooms-validation' is not known: the embedded one is 'rooms'"):
        TrainingImages.load("rooms-validation", tmp_path)
    with pytest.raises(DataMissing, match="nowhere"):
        Benchmark.load("rooms", tmp_path / "nowhere")


def test_sub_folders_are_places(tmp_path):
    photographs(tmp_path, ["bridge/1.jpg", "bridge/2.jpg", "bridge/3.png", "tower/1.jpg"])
    photographs(tmp_path, ["bridge/._1.jpg", ".thumbnails/1.jpg"])  # what file managers leave behind
    benchmark = Benchmark.from_folder(tmp_path)
    assert benchmark.query_names == ["bridge/1.jpg"]
    assert benchmark.image_names == ["bridge/2.jpg", "bridge/3.png", "tower/1.jpg"]
    assert benchmark.ground_truth[0]["easy"].tolist() == [0, 1]
    assert benchmark.query(0).size == (40, 30)


def test_photographs_of_places_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright: turn by a quarter to show
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (tmp_path / "tower").mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "tower" / name, exif=exif)
    assert Benchmark.from_folder(tmp_path).image(0).size == (30, 40)
    gnd = {"imlist": ["tower/2.jpg"], "qimlist": ["tower/1.jpg"]}
    gnd["gnd"] = [{"bbx": [0, 0, 40, 30], "easy": [0], "hard": [], "junk": []}]
    (tmp_path / "gnd.json").write_text(json.dumps(gnd))
    assert Benchmark.from_folder(tmp_path).image(0).size == (40, 30)


def test_own_ground_truth_as_json(tmp_path):
    photographs(tmp_path, ["q.jpg", "a.jpg"])
    gnd = {"imlist": ["a.jpg"], "qimlist": ["q.jpg"], "gnd": [{"bbx": None, "easy": [0], "hard": [], "junk": []}]}
    (tmp_path / "gnd.json").write_text(json.dumps(gnd))
    assert Benchmark.from_folder(tmp_path).image_names == ["a.jpg"]
    gnd["imlist"] = ["ä.jpg"]
    photographs(tmp_path, ["ä.jpg"])
    (tmp_path / "gnd.json").write_text(json.dumps(gnd, ensure_ascii=False), encoding="utf-8")
    assert Benchmark.from_folder(tmp_path).image_names == ["ä.jpg"]
    (tmp_path / "gnd.json").write_text("{")
    with pytest.raises(BadInput, match=r"gnd\.json"):
        Benchmark.from_folder(tmp_path)


def test_folders_without_places_and_names_that_lead_out_are_refused(tmp_path):
    with pytest.raises(BadInput, match="empty"):
        Benchmark.from_folder(tmp_path)
    with pytest.raises(DataMissing, match="nowhere"):
        Benchmark.from_folder(tmp_path / "nowhere")
    gnd = {"imlist": ["../a.jpg"], "qimlist": ["q.jpg"], "gnd": [{"bbx": None, "easy": [0], "hard": [], "junk": []}]}
    (tmp_path / "gnd.json").write_text(json.dumps(gnd))
    photographs(tmp_path, ["q.jpg"])
    with pytest.raises(BadInput, match="leads out"):
        Benchmark.from_folder(tmp_path)
