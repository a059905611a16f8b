"""One listing of photographs for all readers of folders: what it takes, what it leaves out and says."""

import os
import sys
import unicodedata
import warnings

import pytest
from PIL import Image
from tiny_sets import write_ground_truth

from rdistill_helpers import BadInput, Benchmark, DataMissing, TrainingImages
from rdistill_helpers.data.folders import photographs
from rdistill_helpers.data.paths import name_problem


def put(folder, *names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (i, 0, 0)).save(folder / name, "JPEG")


def taken(folder):
    """The names that are taken, and what is said of the others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [path.relative_to(folder).as_posix() for path in photographs(folder)]
    return found, " ".join(str(warning.message) for warning in caught)


def test_photographs_are_judged_by_content(tmp_path):
    put(tmp_path, "a.jfif", "b", "c.JPG", "d.jpg")
    Image.new("RGB", (4, 4)).save(tmp_path / "e.jpg", "PNG")
    assert taken(tmp_path) == (["a.jfif", "b", "c.JPG", "d.jpg", "e.jpg"], "")


def test_what_is_left_out_is_counted_with_its_reason(tmp_path):
    put(tmp_path, "a.jpg", ".hidden.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", ".thumbnails/a.jpg", "photo.dng")
    (tmp_path / "clip.mov").write_bytes(b"\0\0\0\x14ftypqt  " + b"\0" * 50)
    (tmp_path / "other.mov").write_bytes(b"\0\0\0\x14ftypqt  " + b"\0" * 50)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 4)
    (tmp_path / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n")
    found, said = taken(tmp_path)
    assert found == ["a.jpg"]
    for words in ("1 photographs", "3 hidden", "2 .mov", "1 .jpg (empty", "1 .eps", "1 raw files", ".heic"):
        assert words in said, words


def test_folders_that_a_network_drive_names_like_photographs_are_none(tmp_path):
    put(tmp_path, "tower/1.jpg", "tower/2.jpg", "tower/3.jpg", "tower/@eaDir/1.jpg/thumb.jpg", "bridge/x.jpg/4.jpg")
    put(tmp_path, "@eaDir/tower/1.jpg", "#recycle/9.jpg")
    found, said = taken(tmp_path)
    assert found == ["bridge/x.jpg/4.jpg", "tower/1.jpg", "tower/2.jpg", "tower/3.jpg"] and "3 hidden" in said
    with pytest.warns(UserWarning, match="0 photographs lie in no sub-folder, 1 more than one level deep"):
        own = Benchmark.from_folder(tmp_path)
    assert own.query_names == ["tower/1.jpg"] and own.image_names == ["tower/2.jpg", "tower/3.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_and_circles_end(tmp_path):
    put(tmp_path, "elsewhere/1.jpg")
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "a" / "above").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    found, said = taken(tmp_path / "photos")
    assert found == ["a/linked/1.jpg"] and "1 no files" in said


@pytest.mark.parametrize(
    "name",
    ["with no-break space.jpg", "family\u200demoji.jpg", "con.jpg", "aux", "a: b?.jpg", "new\nline.jpg", "C:a.jpg"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot open all of them")
def test_an_odd_name_is_a_name(tmp_path, name):
    put(tmp_path, f"tower/{name}", "tower/z1.jpg", "tower/z2.jpg")
    own = Benchmark.from_folder(tmp_path)
    assert {*own.query_names, *own.image_names} == {f"tower/{name}", "tower/z1.jpg", "tower/z2.jpg"}
    assert own.image(0).size == (40, 30) and len(TrainingImages.from_folder(tmp_path)) == 3


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(
    "name", ["../a.jpg", "a/../../b.jpg", "..\\a.jpg", "/tmp/a.jpg", "\\a.jpg", "nul\0.jpg", "n" * 300, "\ud800"]
)
def test_dangerous_names_are_refused_everywhere(name, windows):
    assert name_problem(name, windows)


def test_windows_refuses_what_it_cannot_open():
    for name in ("con.jpg", "tower/LPT1", "a:b.jpg", "C:a.jpg", "what?.jpg", "dot.", "space /a.jpg", "new\nline.jpg"):
        assert name_problem(name, windows=True) and not name_problem(name, windows=False)
    assert not name_problem("./tower/a.jpg", windows=True)


def test_a_composed_name_finds_a_decomposed_file(tmp_path):
    stored = unicodedata.normalize("NFD", "für/brücke")
    put(tmp_path, f"{stored}.jpg", "b.jpg")
    name = unicodedata.normalize("NFC", "für/brücke")
    for listed in (name, f"{name}.jpg"):
        write_ground_truth(
            tmp_path / "gnd.pkl", [listed, "b"], ["b"], [{"bbx": None, "easy": [0], "hard": [], "junk": []}]
        )
        assert Benchmark.from_folder(tmp_path).image(0).getpixel((0, 0)) == (0, 0, 0)


def test_a_folder_without_places_says_what_it_holds(tmp_path):
    (tmp_path / "clip.mov").write_bytes(b"\0" * 50)
    with pytest.raises(BadInput, match=r"holds no photograph \(1 \.mov"):
        Benchmark.from_folder(tmp_path)
    put(tmp_path, "1.jpg", "2.jpg")
    with (
        pytest.warns(UserWarning, match=r"1 \.mov"),
        pytest.raises(BadInput, match="2 photographs lie in no sub-folder"),
    ):
        Benchmark.from_folder(tmp_path)
    (tmp_path / "clip.mov").unlink()
    put(tmp_path, "Italy/Rome/1.jpg", "Italy/Rome/2.jpg", "Italy/Rome/3.jpg", "alone/1.jpg")
    with pytest.raises(BadInput, match="2 photographs lie in no sub-folder, 3 more than one level deep, 1 in 1 places"):
        Benchmark.from_folder(tmp_path)
    with pytest.raises(DataMissing, match="nowhere"):
        photographs(tmp_path / "nowhere")


def test_a_ground_truth_of_another_name_is_not_passed_over(tmp_path):
    put(tmp_path, "tower/1.jpg", "tower/2.jpg", "tower/3.jpg")
    (tmp_path / "gnd_mine.json").write_text("{}")
    with pytest.raises(BadInput, match=r"gnd_mine\.json.* name it gnd\.json"):
        Benchmark.from_folder(tmp_path)


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="rights do not bind here"
)
def test_a_closed_folder_is_counted(tmp_path):
    put(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    found, said = taken(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert found == ["a.jpg"] and "1 folders that cannot be opened" in said


def test_every_photograph_can_be_a_query(tmp_path):
    put(tmp_path, "bridge/1.jpg", "bridge/2.jpg", "tower/1.jpg", "tower/2.jpg", "tower/3.jpg", "wall/1.jpg")
    own = Benchmark.from_folder(tmp_path, queries="all")
    assert own.query_names == own.image_names[:5] and own.image_names[5] == "wall/1.jpg"
    assert [entry["junk"].tolist() for entry in own.ground_truth] == [[0], [1], [2], [3], [4]]
    assert [entry["easy"].tolist() for entry in own.ground_truth] == [[1], [0], [3, 4], [2, 4], [2, 3]]
    with pytest.raises(BadInput, match="'some'"):
        Benchmark.from_folder(tmp_path, queries="some")


def test_sub_folders_label_the_training_photographs(tmp_path):
    put(tmp_path, "bridge/1.jpg", "tower/1.jpg", "tower/2.jpg")
    own = TrainingImages.from_folder(tmp_path, size=(48, 32))
    assert own.names == ["bridge/1.jpg", "tower/1.jpg", "tower/2.jpg"] and own.labels().tolist() == [0, 1, 1]
    assert own.image(0).size == (40, 30) and own.pixels([2, 0]).shape == (2, 3, 48, 32)
    assert own.draw(rooms=2).tolist() == [0, 1, 2]
    put(tmp_path, "tower/inside/3.jpg")
    with pytest.raises(BadInput, match=r"no labels, for tower/inside/3\.jpg"):
        TrainingImages.from_folder(tmp_path).labels()
    with pytest.raises(BadInput, match="size"):
        TrainingImages.from_folder(tmp_path, size=(0, 32))
