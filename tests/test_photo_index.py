"""Indexing a folder of photographs and searching it: resuming, bad photographs, damaged and foreign indexes."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_sets import photograph
from torch import nn

from rdistill_helpers import (
    BadInput,
    BlackBoxTeacher,
    DataMissing,
    OnnxStudent,
    RetrievalNet,
    export,
    extract,
    save_descriptors,
)
from rdistill_helpers.__main__ import main
from rdistill_helpers.data.images import read_image, resize_longest
from rdistill_helpers.data.rooms import TrainingImages
from rdistill_helpers.ship import indexing
from rdistill_helpers.ship.digest import network_digest
from rdistill_helpers.ship.indexing import index_answers, index_photographs
from rdistill_helpers.ship.photo_index import PhotoIndex
from rdistill_helpers.ship.results import as_html, as_json, as_table

COUNT = 12
QUIET = {"imsize": 64, "progress": False}


class Colours(nn.Module):
    """A network: weighted means of a grid of colours; can be interrupted after some batches, and be slow."""

    def __init__(self, seed=0, batches=None, pause=0.0):
        super().__init__()
        self.batches, self.pause = batches, pause
        self.mixed = nn.Linear(27, 16, bias=False).requires_grad_(False)
        self.mixed.weight.copy_(torch.randn(16, 27, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images):
        if self.batches == 0:
            raise KeyboardInterrupt
        self.batches = None if self.batches is None else self.batches - 1
        time.sleep(self.pause)
        return self.mixed(nn.functional.adaptive_avg_pool2d(images, 3).flatten(1) - 0.5)


def make_photos(folder, count=COUNT):
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(number, (96, 72) if number % 4 else (72, 96)))
    return folder


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


@pytest.fixture
def index(photos, tmp_path):
    return index_photographs(Colours(), photos, tmp_path / "index", "colours", **QUIET)


def rows_one_by_one(net, index):
    """Descriptors as they would be without an index: one photograph at a time."""
    images = [resize_longest(read_image(index.photographs / name), 64) for name in index.names]
    return torch.cat([extract(net, [image], progress=False) for image in images]).numpy()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_search_ranks_all_photographs_as_their_descriptors_do(index):
    assert index.names == sorted(f"{i % 3}/{i:03}.jpg" for i in range(COUNT)) and len(index) == COUNT
    rows = rows_one_by_one(Colours(), index)
    np.testing.assert_allclose(index.descriptors, rows, atol=2e-2)  # JPEGs are decoded at a part of their size
    query = index.photographs / index.names[7]
    found = index.search(Colours(), query, count=COUNT)
    similarities = (
        index.descriptors.astype(np.float64)
        @ extract(Colours(), [read_image(query, imsize=64)], progress=False).numpy().astype(np.float64).T
    )
    assert [each.name for each in found] == [index.names[i] for i in np.argsort(-similarities[:, 0], kind="stable")]
    assert found[0].path == query and found[0].similarity == pytest.approx(1, abs=1e-3)
    assert [each.similarity for each in found] == pytest.approx(sorted(similarities[:, 0], reverse=True), abs=1e-3)
    assert len(index.search(Colours(), query, count=1000)) == COUNT
    assert sorted(path.name for path in index.folder.iterdir()) == ["descriptors.npy", "index.json"]


def test_a_box_cuts_the_query_and_keeps_its_scale(index, tmp_path):
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 256, 3), np.uint8))
    whole.save(tmp_path / "query.png")
    found = index.describe(Colours(), tmp_path / "query.png", (64, 0, 192, 64))
    part = resize_longest(whole.crop((64, 0, 192, 64)), 32)  # a whole photograph of 256 pixels becomes one of 64
    torch.testing.assert_close(found, extract(Colours(), [part], progress=False))


@pytest.mark.parametrize("batches", range(7))
def test_an_interrupted_index_goes_on_and_ends_as_an_undisturbed_one(index, photos, tmp_path, batches):
    few = {**QUIET, "batch_size": 2, "at_once": 4}
    with pytest.raises(KeyboardInterrupt):
        index_photographs(Colours(batches=batches), photos, tmp_path / "again", "colours", **few)
    with pytest.raises(DataMissing, match="again holds an unfinished index"):
        PhotoIndex.open(tmp_path / "again")
    again = index_photographs(Colours(), photos, tmp_path / "again", "colours", **few)
    assert again.names == index.names and sorted(files(again.folder)) == ["descriptors.npy", "index.json"]
    np.testing.assert_allclose(again.descriptors, index.descriptors, atol=2e-3)


def killed_while_it_works(photos, out, net, **settings):
    """Indexes in a process that is killed once it has finished more than was there; whether it was killed."""
    counted = out / "described.npy.part.rows"
    before = counted.read_text() if counted.exists() else ""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            index_photographs(net, photos, out, "colours", **settings)
        finally:
            os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if counted.exists() and counted.read_text() not in ("", before):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.001)
    return False


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")
def test_an_index_that_is_killed_five_times_ends_with_every_photograph_once(tmp_path):
    photos = make_photos(tmp_path / "photos", 240)
    (photos / "0" / "000.jpg").write_bytes(photograph(0)[:-100])  # its head is whole
    settings = {"skip_bad": True, "batch_size": 4, "at_once": 8, **QUIET}
    slow = Colours(pause=0.01)
    kills = [killed_while_it_works(photos, tmp_path / "index", slow, **settings) for _ in range(5)]
    index, whole = (
        index_photographs(Colours(), photos, tmp_path / out, "colours", **settings) for out in ("index", "whole")
    )
    assert kills == [True] * 5
    assert len(set(index.names)) == len(index.names) == 239 and list(index.skipped) == ["0/000.jpg"]
    assert files(index.folder) == files(whole.folder)


def test_a_finished_index_is_left_as_it_is(index, photos):
    before = files(index.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "extract_to_file", None)  # nothing is described again
        assert index_photographs(Colours(), photos, index.folder, "colours", **QUIET).names == index.names
    for words, net, name, settings in (
        ("with another network already", Colours(1), "colours", {}),
        ("with another network already", Colours(), "red", {}),
        ("with another imsize already", Colours(), "colours", {"imsize": 65}),
        ("with another scales already", Colours(), "colours", {"scales": (1, 0.5)}),
    ):
        with pytest.raises(BadInput, match=words):
            index_photographs(net, photos, index.folder, name, **{**QUIET, **settings})
    (photos / "new.jpg").write_bytes(photograph(40))
    with pytest.raises(BadInput, match="photos as it was: delete it to index what is there now"):
        index_photographs(Colours(), photos, index.folder, "colours", **QUIET)
    assert files(index.folder) == before


def test_an_index_that_was_begun_takes_no_other_settings_and_no_new_photographs(photos, tmp_path):
    few = {**QUIET, "batch_size": 2, "at_once": 4}
    with pytest.raises(KeyboardInterrupt):
        index_photographs(Colours(batches=3), photos, tmp_path / "index", "colours", **few)
    begun = files(tmp_path / "index")
    for net, settings, words in ((Colours(1), {}, "another network"), (Colours(), {"imsize": 32}, "another imsize")):
        with pytest.raises(BadInput, match=f"was begun with {words}: go on with the same"):
            index_photographs(net, photos, tmp_path / "index", "colours", **{**few, **settings})
    assert files(tmp_path / "index") == begun
    (photos / "new.jpg").write_bytes(photograph(40))
    with pytest.warns(UserWarning, match="1 photographs came after"):
        index = index_photographs(Colours(), photos, tmp_path / "index", "colours", **few)
    assert len(index) == COUNT and "new.jpg" not in index.names


# --- Photographs and queries that cannot be used


def spoil(photos):
    """Two photographs that cannot be read, though their heads are whole."""
    bad = ["0/003.jpg", "2/005.jpg"]
    for name in bad:
        (photos / name).write_bytes((photos / name).read_bytes()[:-100])
    return bad


def test_bad_photographs_stop_an_index_or_are_named_and_skipped(index, photos, tmp_path):
    bad = spoil(photos)
    few = {**QUIET, "batch_size": 2, "at_once": 3}
    with pytest.raises(BadInput, match=r"003.jpg cannot be read as an image .*, or leave .* out with skip_bad"):
        index_photographs(Colours(), photos, tmp_path / "again", "colours", **few)
    again = index_photographs(Colours(), photos, tmp_path / "again", "colours", skip_bad=True, **few)
    assert sorted(again.skipped) == bad and all("cannot be read" in why for why in again.skipped.values())
    assert again.names == [name for name in index.names if name not in bad]
    kept = [i for i, name in enumerate(index.names) if name not in bad]
    np.testing.assert_allclose(again.descriptors, index.descriptors[kept], atol=2e-3)
    assert PhotoIndex.open(again.folder).skipped == again.skipped


def test_an_index_of_bad_photographs_alone_is_refused(photos, tmp_path):
    for path in photos.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"No photograph of .*photos can be indexed, .* cannot be read"):
        index_photographs(Colours(), photos, tmp_path / "index", "colours", skip_bad=True, **QUIET)


def test_a_photograph_of_one_pixel_by_five_thousand_is_indexed_and_found(photos, tmp_path):
    for name, size in (("line.png", (1, 5000)), ("row.png", (5000, 1))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(photos / name)
    index = index_photographs(Colours(), photos, tmp_path / "index", "colours", **QUIET)
    for name in ("line.png", "row.png"):
        found = index.search(Colours(), photos / name, count=1)
        assert [each.name for each in found] == [name]
        assert name in as_html(found, photos / name, "long")


def test_folders_without_photographs_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("none")
    for folder, kind, words in (("photos", BadInput, "holds no photograph"), ("gone", DataMissing, "is not there")):
        with pytest.raises(kind, match=words):
            index_photographs(Colours(), tmp_path / folder, tmp_path / "index", "colours", **QUIET)
    with pytest.raises(BadInput, match="image size 0"):
        index_photographs(Colours(), tmp_path / "photos", tmp_path / "index", "colours", imsize=0)
    assert not list((tmp_path / "index").glob("*"))


def test_queries_that_cannot_be_used_are_refused(index, tmp_path):
    query = index.photographs / index.names[0]
    (tmp_path / "text.jpg").write_text("no picture")
    for photo, box, count, kind, words in (
        (tmp_path / "text.jpg", None, 3, BadInput, r"text.jpg cannot be read as an image \(no known format\)"),
        (tmp_path / "gone.jpg", None, 3, DataMissing, "gone.jpg is not there"),
        (query, (0, 0, 500, 20), 3, BadInput, "lies outside"),
        (query, (20, 0, 10, 20), 3, BadInput, "is not a box"),
        (query, None, 0, BadInput, "0 neighbours"),
    ):
        with pytest.raises(kind, match=words):
            index.search(Colours(), photo, box, count)


# --- Indexes that are damaged or of another network


def test_an_index_of_another_network_is_refused(index):
    query = index.photographs / index.names[0]
    for other in (Colours(1), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())):
        with pytest.raises(BadInput, match="was made by another network, colours: search with that one"):
            index.search(other, query)


def test_networks_are_told_apart_by_weights_pooling_and_scale():
    class Net(Colours):
        def __init__(self, seed=0, **settings):
            super().__init__(seed)
            vars(self).update({"pooling": "gem", "scale": 1.0} | settings)

    digests = [network_digest(net) for net in (Net(), Net(1), Net(pooling="mac"), Net(scale=1.6))]
    assert len(set(digests)) == 4 and digests[0] == network_digest(Net().train())


def damage(change):
    def changed(folder):
        told = json.loads((folder / "index.json").read_text())
        change(told)
        (folder / "index.json").write_text(json.dumps(told))

    return changed


def cut(name, length):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def swap_rows(folder):
    rows = np.load(folder / "descriptors.npy")
    np.save(folder / "descriptors.npy", rows[::-1])


DAMAGES = {
    "truncated descriptors": (cut("descriptors.npy", 200), "is no whole .npy file"),
    "no descriptors": (lambda folder: (folder / "descriptors.npy").unlink(), "No descriptors at"),
    "other descriptors": (swap_rows, "are not those of its index.json"),
    "half of a description": (cut("index.json", 100), "does not describe an index"),
    "an empty description": (cut("index.json", 0), "does not describe an index"),
    "bytes": (lambda folder: (folder / "index.json").write_bytes(b"\xff\x00"), "does not describe an index"),
    "depth": (lambda folder: (folder / "index.json").write_text("[" * 100_000), "does not describe an index"),
    "a list": (lambda folder: (folder / "index.json").write_text("[]"), "does not describe an index"),
    "missing names": (damage(lambda told: told.pop("names")), "does not describe an index"),
    "too few names": (damage(lambda told: told["names"].pop()), "are not those of its index.json"),
    "a name that is none": (damage(lambda told: told["names"].__setitem__(0, 5)), "5 is no photograph's name"),
    "a name that leads out": (damage(lambda told: told["names"].__setitem__(0, "../a.jpg")), "is no photograph's name"),
    "no sizes": (damage(lambda told: told.update(imsize=-1)), "does not describe an index"),
    "no scales": (damage(lambda told: told.update(scales=["a"])), "does not describe an index"),
    "scales that fill the memory": (damage(lambda told: told.update(scales=[1e6])), "does not describe an index"),
    "reasons that are none": (damage(lambda told: told.update(skipped={"a": 5})), "does not describe an index"),
    "no network": (damage(lambda told: told.update(network={})), "does not describe an index"),
    "another format": (damage(lambda told: told.update(format="rdistill index 99")), "not 'rdistill index 1'"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_index_is_refused_in_one_sentence_and_left_as_it_is(index, photos, name):
    harm, words = DAMAGES[name]
    harm(index.folder)
    before = files(index.folder)
    for use in (
        lambda: PhotoIndex.open(index.folder),
        lambda: index_photographs(Colours(), photos, index.folder, "colours", **QUIET),
    ):
        with pytest.raises((BadInput, DataMissing), match=words) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert files(index.folder) == before


def test_where_no_index_is_the_message_says_how_to_make_one(tmp_path):
    with pytest.raises(DataMissing, match="holds no index: run `python -m rdistill_helpers index`"):
        PhotoIndex.open(tmp_path)


@pytest.mark.parametrize("name", ["begun.json", "skipped.jsonl"])
def test_damaged_notes_of_an_unfinished_index_are_named(photos, tmp_path, name):
    spoil(photos)
    few = {**QUIET, "skip_bad": True, "batch_size": 2, "at_once": 4}
    with pytest.raises(KeyboardInterrupt):
        index_photographs(Colours(batches=4), photos, tmp_path / "index", "colours", **few)
    (tmp_path / "index" / name).write_text("{" * 10)
    with pytest.raises(BadInput, match=name):
        index_photographs(Colours(), photos, tmp_path / "index", "colours", **few)


# --- Answers of a teacher


def ask(photos, ledger, size, but=0):
    """A ledger of answers about all photographs but the last ones."""
    own = TrainingImages.from_folder(photos) if size is None else TrainingImages.from_folder(photos, size)
    asked = [own.image(i) for i in range(len(own))] if size is None else own.pixels()
    with BlackBoxTeacher(
        lambda images: extract(Colours(), images, progress=False), 99, ledger, "colours 1", batch_size=5
    ) as teacher:
        rows = teacher.query(asked[: len(own) - but], progress=False)
    return own.names, rows


@pytest.mark.parametrize("size", [None, (48, 48)])
def test_answers_of_a_ledger_become_an_index_without_a_network(photos, tmp_path, size):
    names, rows = ask(photos, tmp_path / "ledger", size)
    for _ in range(2):  # the second call finds it finished
        index = index_answers(tmp_path / "ledger", photos, tmp_path / "index", 64, size=size, progress=False)
    assert index.names == names and index.network["name"] == "colours 1"
    assert np.array_equal(index.descriptors, rows.numpy())
    found = index.search(Colours(), photos / names[3], count=1)
    assert found[0].name == names[3]
    with pytest.raises(BadInput, match="queries have 3 dimensions where 16 are needed"):
        index.search(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), photos / names[3])


def test_photographs_without_an_answer_are_refused_or_left_out(photos, tmp_path):
    names, rows = ask(photos, tmp_path / "ledger", None, but=2)
    with pytest.raises(BadInput, match=f"2 photographs of .* cannot be indexed, first {names[-2]} .* has no answer"):
        index_answers(tmp_path / "ledger", photos, tmp_path / "index", progress=False)
    with pytest.raises(BadInput, match=f"{COUNT} photographs of .* give --size as when the teacher was asked"):
        index_answers(tmp_path / "ledger", photos, tmp_path / "index", size=(8, 8), progress=False)
    index = index_answers(tmp_path / "ledger", photos, tmp_path / "index", skip_bad=True, progress=False)
    assert index.names == names[:-2] and sorted(index.skipped) == names[-2:]
    assert np.array_equal(index.descriptors, rows.numpy())


def test_files_that_are_no_ledger_are_refused(photos, tmp_path):
    (tmp_path / "text").write_text("none" * 400)
    (tmp_path / "empty").touch()
    for name, kind, words in (
        ("text", BadInput, "text is not a ledger"),
        ("empty", BadInput, "empty is not a ledger"),
        ("gone", DataMissing, "no ledger at"),
    ):
        with pytest.raises(kind, match=words):
            index_answers(tmp_path / name, photos, tmp_path / "index", progress=False)
    assert (tmp_path / "empty").read_bytes() == b"" and not (tmp_path / "gone").exists()


def test_a_descriptor_file_with_names_becomes_an_index(index, photos, tmp_path):
    rows, names = tmp_path / "rows.npy", tmp_path / "rows.npy.names.json"
    save_descriptors(rows, index.descriptors)
    with pytest.raises(DataMissing, match="rows.npy.names.json is not there: write the names"):
        index_answers(rows, photos, tmp_path / "again")
    for content in ("[]", "{", "[1,2]", json.dumps([1] * COUNT)):
        names.write_text(content)
        with pytest.raises(BadInput, match="does not name the photographs"):
            index_answers(rows, photos, tmp_path / "again")
    names.write_text(json.dumps(["../a.jpg", *index.names[1:]]))
    with pytest.raises(BadInput, match=r"1 photographs of .*, first ../a.jpg \(leads out of the folder\)"):
        index_answers(rows, photos, tmp_path / "again")
    names.write_text(json.dumps(index.names))
    again = index_answers(rows, photos, tmp_path / "again", 64)
    query = photos / index.names[5]
    assert again.search(Colours(), query) == index.search(Colours(), query)


# --- Students in ONNX files


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network, its projection to a teacher's space, and both as an ONNX file."""
    torch.manual_seed(0)
    net, projection = RetrievalNet("squeezenet1_1", weights=None).eval(), nn.Linear(512, 24)
    path = tmp_path_factory.mktemp("ship") / "student.onnx"
    return net, projection, export(net, path, (48, 64), projection)


@pytest.mark.slow
def test_an_exported_student_and_its_network_take_each_others_index(exported, photos, tmp_path):
    net, _, path = exported
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (5000, 1, 3), np.uint8)).save(photos / "line.png")
    students = {"torch": net, "onnx": OnnxStudent(path)}
    indexes = {name: index_photographs(one, photos, tmp_path / name, name, **QUIET) for name, one in students.items()}
    np.testing.assert_allclose(indexes["torch"].descriptors, indexes["onnx"].descriptors, atol=1e-3)
    for name in ("0/003.jpg", "line.png"):
        found = [
            index.search(one, photos / name, (0, 0, 1, 40), count=3)
            for index in indexes.values()
            for one in students.values()
        ]
        for other in found[1:]:
            assert [each.similarity for each in other] == pytest.approx(
                [each.similarity for each in found[0]], abs=2e-3
            )
    with pytest.raises(BadInput, match="was made by another network, onnx"):
        indexes["onnx"].search(RetrievalNet("squeezenet1_1", weights=None), photos / "line.png")


@pytest.mark.slow
def test_a_student_searches_a_teachers_answers_by_its_projection(exported, photos, tmp_path, capsys):
    net, projection, path = exported

    def teacher(images):
        with torch.inference_mode():
            return nn.functional.normalize(projection(extract(net, images, progress=False)))

    own = TrainingImages.from_folder(photos, (48, 64))
    with BlackBoxTeacher(teacher, COUNT, tmp_path / "ledger", "teacher 1") as black_box:
        black_box.query(own.pixels(), progress=False)
    index = index_answers(tmp_path / "ledger", photos, tmp_path / "index", 64, size=(48, 64), progress=False)
    assert index.descriptors.shape == (COUNT, 24)
    query = tmp_path / "query.png"  # what the teacher saw
    Image.fromarray(own.pixels([5])[0].permute(1, 2, 0).numpy()).save(query)
    found = index.search(OnnxStudent(path, projected=True), query, count=COUNT)
    expected = index.descriptors @ index.descriptors[5]
    assert [each.name for each in found] == [index.names[i] for i in np.argsort(-expected, kind="stable")]
    assert found[0].similarity == pytest.approx(1, abs=1e-4)
    assert main(["search", str(index.folder), str(query), "--network", str(path), "--count", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(index.names[5])
    plain = export(net, tmp_path / "plain.onnx", (48, 64))
    assert main(["search", str(index.folder), str(query), "--network", str(plain)]) == 1
    assert "has no projection to the teacher's space" in capsys.readouterr().err


# --- What was found


def test_a_table_and_json_hold_every_name_and_score(index):
    query = index.photographs / index.names[4]
    found = index.search(Colours(), query, count=5)
    lines = as_table(found).splitlines()
    assert [line.split() for line in lines[1:]] == [
        [str(rank), f"{each.similarity:.4f}", each.name] for rank, each in enumerate(found, 1)
    ]
    told = json.loads(as_json(found, str(query), (1, 2, 30, 40)))
    assert told["query"] == str(query) and told["box"] == [1, 2, 30, 40]
    assert [entry["rank"] for entry in told["found"]] == [1, 2, 3, 4, 5]
    for entry, each in zip(told["found"], found, strict=True):
        assert (entry["name"], Path(entry["path"])) == (each.name, each.path)
        assert entry["similarity"] == pytest.approx(each.similarity, abs=1e-6)


def test_a_page_shows_what_is_there_and_names_what_has_gone(index):
    query = index.photographs / index.names[4]
    found = index.search(Colours(), query, count=5)
    found[3].path.unlink()
    page = as_html(found, query, "Search for <4>", (1, 2, 30, 40))
    assert page.count('<img src="data:image/jpeg;base64,') == 5 and page.count("cannot be shown") == 1
    assert "<h1>Search for &lt;4&gt;</h1>" in page and all(each.name in page for each in found)
    assert "http" not in page and "<script" not in page


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_asks_for_nothing_and_axe_finds_nothing(index, tmp_path, browser, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    query = index.photographs / index.names[4]
    found = index.search(Colours(), query)
    found[3].path.unlink()
    page, asked = tmp_path / "found.html", []
    page.write_text(as_html(found, query, "a_rather_long_name" * 5, (1, 2, 30, 40)), encoding="utf-8")
    with browser.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme) as window:
        window.on("request", lambda request: asked.append(request.url))
        window.goto(page.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
        assert window.evaluate("document.documentElement.scrollWidth") <= 360
        assert window.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        results = axe.Axe().run(window).response
        assert results["passes"] and [violation["id"] for violation in results["violations"]] == []


def test_names_that_no_terminal_can_print_are_escaped(photos, tmp_path):
    (photos / "a\x1b[31m<b>\udcff.jpg").write_bytes(photograph(40))
    index = index_photographs(Colours(), photos, tmp_path / "index", "colours", **QUIET)
    found = index.search(Colours(), photos / "a\x1b[31m<b>\udcff.jpg", count=1)
    for text in (as_table(found), as_html(found, found[0].path, "odd")):
        assert "\x1b" not in text and text.encode() and "a\\x1b[31m" in text
    assert "<b>" not in as_html(found, found[0].path, "odd")
