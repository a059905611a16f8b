"""Ground-truth files: plain pickles pass, everything else is refused in one sentence."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_sets import write_ground_truth

from rdistill_helpers.data.ground_truth import read_ground_truth
from rdistill_helpers.data.pickles import read_plain_pickle
from rdistill_helpers.errors import BadInput, DataMissing


def truth(**changes):
    entry = {"bbx": [0.5, 0, 10, 20.25], "easy": [0, 2], "hard": [1], "junk": [], **changes}
    return {"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": [entry]}


def written(tmp_path, content):
    path = tmp_path / "gnd.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def test_written_file_reads_back(tmp_path):
    write_ground_truth(tmp_path / "gnd.pkl", **truth())
    found = read_ground_truth(tmp_path / "gnd.pkl")
    assert found["imlist"] == ["a", "b", "c"] and found["gnd"][0]["easy"].tolist() == [0, 2]
    assert found["gnd"][0]["bbx"] == [0.5, 0.0, 10.0, 20.25]
    plain = pickle.loads((tmp_path / "gnd.pkl").read_bytes())
    assert type(plain["gnd"][0]["easy"]) is list


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("made_by_a_pickle",))


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_arrays_in_a_pickle_are_read_whichever_numpy_wrote_them(tmp_path, module):
    content = pickle.dumps(truth(easy=np.array([0, 2])), protocol=2)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        content = content.replace(name, module)
    (tmp_path / "gnd.pkl").write_bytes(content)
    assert module in content
    assert read_ground_truth(tmp_path / "gnd.pkl")["gnd"][0]["easy"].tolist() == [0, 2]
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(truth(easy=list(np.array([0, 2])))))
    assert read_ground_truth(tmp_path / "gnd.pkl")["gnd"][0]["easy"].tolist() == [0, 2]


@pytest.mark.parametrize("module", [b"numpy._core.numeric", b"numpy.core.numeric"])
def test_arrays_in_buffers_of_protocol_5_are_read_whichever_numpy_wrote_them(tmp_path, module):
    arrays = {"easy": np.array([0, 2]), "hard": np.array([1], ">i4"), "junk": np.array([], np.int64)}
    names = {"imlist": np.array(["a", "b", "c"]), "qimlist": np.array(["q"])}
    box = np.asfortranarray(np.array([[0.5, 0, 10, 20.25]], np.float32))[0]
    content = pickle.dumps({**truth(**arrays, bbx=box), **names}, protocol=5)
    assert b"_frombuffer" in content
    for name in (b"numpy._core.numeric", b"numpy.core.numeric"):
        content = content.replace(bytes([0x8C, len(name)]) + name, bytes([0x8C, len(module)]) + module)
    at = content.index(b"\x95")
    content = content[:at] + content[at + 9 :]  # the frame, whose length may have changed; a pickle needs none
    (tmp_path / "gnd.pkl").write_bytes(content)
    found = read_ground_truth(tmp_path / "gnd.pkl")
    assert module in content and found["imlist"] == ["a", "b", "c"]
    assert [found["gnd"][0][part].tolist() for part in ("easy", "hard", "junk")] == [[0, 2], [1], []]
    assert found["gnd"][0]["bbx"] == [0.5, 0.0, 10.0, 20.25]


def test_a_buffer_that_is_cut_off_is_refused(tmp_path):
    content = pickle.dumps(truth(easy=np.arange(40)), protocol=5)
    (tmp_path / "gnd.pkl").write_bytes(content[: content.index(b"\x96") + 40])
    for source in (tmp_path / "gnd.pkl", io.BytesIO((tmp_path / "gnd.pkl").read_bytes())):
        with pytest.raises(BadInput, match="not a readable pickle"):
            read_ground_truth(source)


def test_a_buffer_of_protocol_5_gives_an_array_in_its_own_order(tmp_path):
    array = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    (tmp_path / "array.pkl").write_bytes(pickle.dumps(array, protocol=5))
    np.testing.assert_array_equal(read_plain_pickle(tmp_path / "array.pkl", "the array"), array)


@pytest.mark.parametrize("kind", ["O", "V8", "i8,i8"])
def test_a_buffer_of_anything_but_numbers_and_texts_is_refused(tmp_path, kind):
    content = pickle.dumps(truth(easy=np.array([0, 2])), protocol=5)
    assert content.count(b"\x8c\x02i8") == 1
    at = content.index(b"\x95")
    content = (content[:at] + content[at + 9 :]).replace(b"\x8c\x02i8", bytes([0x8C, len(kind)]) + kind.encode())
    (tmp_path / "gnd.pkl").write_bytes(content)
    with pytest.raises(BadInput, match="something else than numbers and texts"):
        read_ground_truth(tmp_path / "gnd.pkl")


def test_arrays_are_written_as_plain_lists(tmp_path):
    write_ground_truth(tmp_path / "gnd.pkl", **truth(easy=np.array([0, 2])))
    assert read_ground_truth(tmp_path / "gnd.pkl")["gnd"][0]["easy"].tolist() == [0, 2]


def test_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="carries code"):
        read_ground_truth(written(tmp_path, {**truth(), "extra": Harmful()}))
    assert not Path("made_by_a_pickle").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "layout"),
        ({"imlist": [], "qimlist": []}, "layout"),
        ({**truth(), "imlist": [1, 2, 3]}, "imlist must be a list"),
        ({**truth(), "gnd": []}, "one entry for each"),
        (truth(easy=[3]), "query 0: easy names image 3, but imlist has 3"),
        (truth(junk=[-1]), "junk names image -1"),
        (truth(junk=[0]), "twice"),
        (truth(easy=[0, 0]), "twice"),
        (truth(easy=["a"]), "whole numbers"),
        (truth(easy=3), "whole numbers"),
        (truth(hard=None), "query 0: hard must be a list"),
        (truth(junk="01"), "whole numbers"),
        ({**truth(), "imlist": "abc"}, "imlist must be a list"),
        ({**truth(), "gnd": [{"bbx": None, "ok": [0], "junk": []}]}, "easy must be a list"),
        ({**truth(), "gnd": ["q"]}, "must be a dict"),
        (truth(bbx=[5, 0, 1, 9]), "not a box"),
        (truth(bbx=[0, 0, float("inf"), 9]), "not a box"),
        (truth(bbx="wide"), "four numbers"),
    ],
)
def test_broken_layouts_are_named(tmp_path, content, message):
    with pytest.raises(BadInput, match=message):
        read_ground_truth(written(tmp_path, content))


def test_damaged_and_missing_files_are_named(tmp_path):
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps(truth())[:40])
    with pytest.raises(BadInput, match=r"cut\.pkl"):
        read_ground_truth(tmp_path / "cut.pkl")
    with pytest.raises(DataMissing, match=r"gone\.pkl"):
        read_ground_truth(tmp_path / "gone.pkl")


@pytest.mark.parametrize(
    ("name", "images", "sums"), [("roxford5k", 4993, (3029, 2497, 1356)), ("rparis6k", 6322, (6874, 10350, 7153))]
)
def test_real_files_are_read_whole(name, images, sums):
    folder = os.environ.get("RDISTILL_REAL_GND")
    if not folder:
        pytest.skip("the real ground truth is not part of the project: set RDISTILL_REAL_GND to a folder that has it")
    found = read_ground_truth(Path(folder) / f"gnd_{name}.pkl")
    assert (len(found["imlist"]), len(found["qimlist"])) == (images, 70)
    assert tuple(sum(len(g[k]) for g in found["gnd"]) for k in ("easy", "hard", "junk")) == sums
