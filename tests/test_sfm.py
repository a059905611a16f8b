"""retrieval-SfM-120k in its published layout, made here with a dozen photographs."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from rdistill_helpers.data.sfm import SFM_FILE, SfMImages, sfm_path
from rdistill_helpers.errors import BadInput, DataMissing

CLUSTERS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
NAMES = [f"{i:04d}abcdef{i:02d}" for i in range(12)]


def listed(**changes):
    split = {"cids": NAMES, "cluster": CLUSTERS, "qidxs": [0, 4, 7, 8], "pidxs": [1, 5, 7, 9], **changes}
    return {"train": split, "val": {**split, "qidxs": [2], "pidxs": [3]}}


@pytest.fixture
def written(tmp_path):
    def write(content, photographs=()):
        (tmp_path / SFM_FILE).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / SFM_FILE).write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=2))
        for i in photographs:
            path = tmp_path / sfm_path(NAMES[i])
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 40) if i % 2 else (40, 60), (20 * i, 90, 30)).save(path, format="JPEG")
        return tmp_path

    return write


def test_the_list_is_read_and_pairs_with_themselves_are_dropped_and_said(written):
    images = SfMImages.load("train", written(listed()))
    assert len(images) == 12 and images.names == NAMES
    assert images.clusters.tolist() == CLUSTERS
    assert (images.queries.tolist(), images.positives.tolist()) == ([0, 4, 8], [1, 5, 9])
    assert images.dropped == 1 and "1 dropped" in repr(images)
    assert len(SfMImages.load("val", written(listed())).queries) == 1


def test_a_list_of_numpy_arrays_reads_alike(written):
    arrays = listed(cluster=np.array(CLUSTERS), qidxs=np.array([0, 4, 7, 8]), pidxs=np.array([1, 5, 7, 9]))
    assert SfMImages.load("train", written(arrays)).queries.tolist() == [0, 4, 8]


def test_photographs_lie_in_folders_of_their_last_letters(written):
    images = SfMImages.load("train", written(listed(), photographs=[1]))
    assert sfm_path("0123456789abcdef") == "train/ims/ef/cd/ab/0123456789abcdef"
    assert images.image(1).size == (60, 40)
    assert images.missing([0, 1, 2]) == [NAMES[0], NAMES[2]]
    assert len(images.missing()) == 11
    with pytest.raises(DataMissing, match=f"parts=.*{NAMES[0]}"):
        images.image(0)


def test_pixels_of_all_shapes_share_one_size(written):
    images = SfMImages.load("train", written(listed(), photographs=range(4)))
    pixels = images.pixels([0, 1, 3], size=(24, 32))
    assert pixels.shape == (3, 3, 24, 32) and pixels.dtype == torch.uint8
    assert pixels[1, 1, 4:20, 4:28].float().mean() == pytest.approx(90, abs=3)


@pytest.mark.parametrize("number", [1, 3, 5, 9, 12])
def test_a_subset_is_drawn_by_whole_clusters_and_has_the_number(written, number):
    images = SfMImages.load("train", written(listed()))
    for seed in range(6):
        chosen = images.draw(number, seed)
        assert len(chosen) == number and chosen.tolist() == sorted(set(chosen.tolist()))
        kept = [int((images.clusters[chosen] == c).sum()) for c in range(3)]
        cut = [c for c in range(3) if 0 < kept[c] < CLUSTERS.count(c)]
        assert len(cut) <= 1, "only the last cluster may be cut"
        assert torch.equal(chosen, images.draw(number, seed))
    assert len({tuple(images.draw(5, seed).tolist()) for seed in range(12)}) > 1


def test_pairs_within_a_subset_are_numbered_by_the_subset(written):
    images = SfMImages.load("train", written(listed()))
    queries, positives = images.pairs_within(torch.tensor([0, 1, 4, 8, 9]))
    assert (queries.tolist(), positives.tolist()) == ([0, 3], [1, 4])


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("made_by_a_pickle",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "not a readable pickle"),
        ({"train": Harmful()}, "carries code"),
        ({"other": {}}, "no split 'train'"),
        (listed(cids=["../../../etc/passwd", *NAMES[1:]]), "not the id of a photograph"),
        (listed(cids=["abc", *NAMES[1:]]), "not the id of a photograph"),
        (listed(cids="abcdefgh"), "cids is not a list"),
        (listed(cluster=CLUSTERS[1:]), "differ in length"),
        (listed(cluster=[0.5] * 12), "cluster is not a list of whole numbers"),
        (listed(qidxs=[0, 4, 7]), "differ in length"),
        (listed(pidxs=[1, 5, 7, 12]), "beyond the 12"),
        (listed(pidxs=[1, 5, 7, -1]), "beyond the 12"),
    ],
)
def test_a_damaged_list_is_refused(written, monkeypatch, tmp_path, content, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message):
        SfMImages.load("train", written(content))
    assert not (tmp_path / "made_by_a_pickle").exists()


def test_a_missing_list_and_impossible_numbers_are_said(written, tmp_path):
    with pytest.raises(DataMissing, match="data/README"):
        SfMImages.load("train", tmp_path)
    with pytest.raises(BadInput, match="from 1 to 12"):
        SfMImages.load("train", written(listed())).draw(13)
