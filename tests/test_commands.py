"""The shell commands train and extract, alone and under torchrun, on a folder of a few photographs."""

import inspect
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdistill_helpers import (
    Benchmark,
    BlackBoxTeacher,
    History,
    RetrievalNet,
    distill,
    evaluate,
    export,
    extract,
    load_network,
    losses,
    open_descriptors,
    save_descriptors,
)
from rdistill_helpers.__main__ import main, parser
from rdistill_helpers.data.ground_truth import check_ground_truth
from rdistill_helpers.descriptors import check_descriptors
from rdistill_helpers.distil.distill import projection_to
from rdistill_helpers.embed.network import save_network
from rdistill_helpers.ship.projection import load_projection

ROOT = Path(__file__).resolve().parents[1]
COUNT = 14
TRAIN = ["--size", "48", "64", "--anchors", "2", "--neighbours", "3", "--steps", "2", "--quiet"]
EXTRACT = ["--net", "net.safetensors", "--batch-size", "2", "--at-once", "4", "--dtype", "float32", "--quiet"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photographs of two sizes in sub-folders, and a small network."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    for number in range(COUNT):
        fields = Image.fromarray(random.integers(0, 255, (3, 4, 3), np.uint8))
        path = folder / "photos" / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        fields.resize((80, 60) if number % 4 else (60, 80)).save(path)
    torch.manual_seed(0)
    save_network(RetrievalNet("squeezenet1_1", weights=None, dim=8), folder / "net.safetensors")
    return folder


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Runs a command in the folder: its exit status, and what it said."""
    monkeypatch.chdir(place)

    def call(*arguments):
        status = main(list(map(str, arguments)))
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def torchrun(folder, *arguments):
    """Runs a command in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-m", "rdistill_helpers", *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def paid(ledger):
    return sqlite3.connect(ledger).execute("SELECT count(*) FROM paid").fetchone()[0]


@pytest.mark.slow
def test_two_processes_train_one_student_with_one_ledger(place, run):
    said = torchrun(place, "train", "photos", "two", *TRAIN, "--teacher", "net.safetensors")
    assert said.count("two/student.safetensors: 2 steps") == 1
    assert (
        run("train", "photos", "one", *TRAIN, "--teacher", "net.safetensors", "--ledger", "two/ledger.sqlite")[0] == 0
    )
    assert paid(place / "two" / "ledger.sqlite") == COUNT and not (place / "one" / "ledger.sqlite").exists()
    two, one = (History.load(place / name / "history.json") for name in ("two", "one"))
    assert two.settings == one.settings and two.settings["images"].startswith(f"{COUNT} images")
    assert two.loss == pytest.approx(one.loss, rel=1e-5)
    students = [load_network(place / name / "student.safetensors") for name in ("two", "one")]
    torch.testing.assert_close(*(student.state_dict() for student in students), rtol=0, atol=4e-4)  # Adam's two steps


def test_a_ledger_of_another_teacher_is_one_sentence_and_stays_as_it_is(run):
    ledger = Path("old", "ledger.sqlite")
    with BlackBoxTeacher(lambda images: torch.eye(8)[: len(images)], 2, ledger, "teacher 0ld") as teacher:
        teacher.query([Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")], progress=False)
    before = ledger.read_bytes()
    save_network(RetrievalNet("squeezenet1_1", weights=None, dim=8), "own.safetensors")
    for name in ("teacher", "own.safetensors"):
        status, said = run("train", "photos", "old", *TRAIN, "--teacher", name)
        assert status == 1 and len(said.splitlines()) == 1
        assert re.search(rf"made by the teacher 'teacher 0ld', not by '{name}[ -][0-9a-f]{{8}}'", said)
        assert ledger.read_bytes() == before


def test_a_file_that_holds_another_network_is_another_teacher(run):
    shutil.copy("net.safetensors", "own.safetensors")
    asks = [*TRAIN, "--teacher", "own.safetensors", "--ledger", "own.sqlite"]
    for out in ("first", "second"):
        assert run("train", "photos", out, *asks)[0] == 0
    torch.manual_seed(1)
    save_network(RetrievalNet("squeezenet1_1", weights=None, dim=8), "own.safetensors")
    status, said = run("train", "photos", "third", *asks)
    assert status == 1 and paid("own.sqlite") == COUNT
    assert re.search("made by the teacher 'own.safetensors [0-9a-f]{8}', not by 'own.safetensors", said)


def test_a_folder_is_described_with_names(place, run):
    status, said = run("extract", "photos", "one.npy", *EXTRACT)
    assert (status, said.splitlines()[0]) == (0, f"one.npy: {COUNT} descriptors")
    assert "one.npy are all alike" in said  # as they are for a network with random weights
    names = json.loads((place / "one.npy.names.json").read_text())
    assert names == sorted(f"{i % 3}/{i}.png" for i in range(COUNT))
    expected = extract(load_network(place / "net.safetensors"), [place / "photos" / n for n in names], progress=False)
    np.testing.assert_allclose(open_descriptors(place / "one.npy"), expected, atol=1e-5)
    refusal = "one.npy is there already: delete it, or write to another path.\n"
    assert run("extract", "photos", "one.npy", *EXTRACT) == (1, refusal)


def test_an_index_is_made_and_searched(place, run):
    small = ["--imsize", "64", "--quiet"]
    status, said = run("index", "photos", "--network", "net.safetensors", "--out", "index", *small)
    assert (status, said.splitlines()[0]) == (0, f"index: {COUNT} photographs indexed, 0 left out")
    assert "index are all alike" in said  # as they are for a network with random weights
    query = "photos/1/4.png"
    status, said = run("search", "index", query, "--count", "3")
    assert status == 0 and len(said.splitlines()) == 4 and said.splitlines()[1].split()[-1] == "1/4.png"
    status, said = run("search", "index", query, "--box", 5, 5, 50, 40, "--format", "json", "--out", "found.json")
    assert (status, said) == (0, "found.json: 10 photographs\n")
    assert json.loads(Path("found.json").read_text())["box"] == [5, 5, 50, 40]
    status, said = run("search", "index", query, "--format", "html", "--network", place / "net.safetensors")
    assert status == 0 and said.count("<img") == 11
    with pytest.raises(SystemExit):
        run("index", "photos", "--out", "neither")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["index", "empty"], "empty holds no photograph"),
        (["index", "nowhere"], "The folder nowhere is not there"),
        (["index", "photos", "--imsize", "0"], "image size 0"),
        (["index", "photos", "--scales", "0"], "scales"),
        (["index", "photos", "--size", "8", "8"], "give --imsize with --network"),
        (["search", "nowhere", "photos/1/4.png"], "nowhere holds no index"),
    ],
)
def test_no_index_is_begun_where_none_can_be_made(run, arguments, words):
    Path("empty").mkdir(exist_ok=True)
    made = ["--network", "net.safetensors", "--out", "new.index"] if arguments[0] == "index" else []
    status, said = run(*arguments, *made, "--quiet")
    assert status == 1 and len(said.splitlines()) == 1 and re.search(words, said)
    assert not list(Path().glob("new.index/*"))


def test_photographs_that_an_index_leaves_out_are_named(run):
    shutil.copytree("photos", "spoiled")
    for number in (3, 6):
        path = Path(f"spoiled/0/{number}.png")
        path.write_bytes(path.read_bytes()[:-30])
    command = ["index", "spoiled", "--network", "net.safetensors", "--out", "of-spoiled", "--imsize", "64", "--quiet"]
    status, said = run(*command)
    assert status == 1 and len(said.splitlines()) == 1 and re.search(r"0/[36].png cannot be read .*--skip-bad", said)
    status, said = run(*command, "--skip-bad")
    assert status == 0 and f"of-spoiled: {COUNT - 2} photographs indexed, 2 left out" in said
    assert re.findall(r"^left out: (\S+) \(", said, re.MULTILINE) == ["0/3.png", "0/6.png"]


def test_answers_of_extract_and_of_a_ledger_are_indexed_without_a_network(run):
    assert run("extract", "photos", "answers-of.npy", *EXTRACT)[0] == 0
    status, said = run("index", "photos", "--answers", "answers-of.npy", "--out", "of-answers", "--quiet")
    assert (status, said.splitlines()[0]) == (0, f"of-answers: {COUNT} photographs indexed, 0 left out")
    status, said = run("search", "of-answers", "photos/1/4.png")
    assert status == 1 and "holds answers of answers-of.npy: give a student of it by --network" in said
    status, said = run("search", "of-answers", "photos/1/4.png", "--network", "net.safetensors", "--count", "1")
    assert status == 0 and said.splitlines()[-1].endswith("1/4.png")
    asked = [*TRAIN, "--teacher", "net.safetensors", "--ledger", "asked.sqlite"]
    assert run("train", "photos", "asked-for", *asked)[0] == 0
    ledger = ["index", "photos", "--answers", "asked.sqlite", "--out", "of-ledger", "--quiet"]
    status, said = run(*ledger)
    assert status == 1 and f"{COUNT} photographs of photos cannot be indexed" in said and "--size" in said
    assert run(*ledger, "--size", "48", "64")[0] == 0


@pytest.mark.slow
def test_a_student_is_trained_exported_and_searches_what_its_teacher_was_paid_for(run):
    """From the shell alone: a student of 512 numbers searches answers of 8."""
    learn = ["--size", "48", "64", "--anchors", "2", "--neighbours", "3", "--steps", "40", "--lr", "1e-3", "--quiet"]
    assert run("train", "photos", "asym", *learn, "--teacher", "net.safetensors", "--no-augment")[0] == 0
    student, projection = "asym/student.safetensors", "asym/projection.safetensors"
    assert run("export", student, "asym/student.onnx", "--size", "48", "64", "--projection", projection)[0] == 0
    answers = ["--answers", "asym/ledger.sqlite", "--size", "48", "64", "--imsize", "64"]
    assert run("index", "photos", *answers, "--out", "asym/index", "--quiet")[0] == 0
    status, said = run(
        "search", "asym/index", "photos/1/4.png", "--network", "asym/student.onnx", "--format", "json", "--count", "99"
    )
    assert status == 0
    similarities = [entry["similarity"] for entry in json.loads(said)["found"]]
    assert len(similarities) == COUNT and similarities == sorted(similarities, reverse=True) and similarities[0] > 0.9
    assert load_projection(projection).weight.shape == (8, 512)
    untrained = RetrievalNet("squeezenet1_1")
    export(untrained, "asym/untrained.onnx", (48, 64), projection_to(8, 512, 0))
    said = run("search", "asym/index", "photos/1/4.png", "--network", "asym/untrained.onnx", "--format", "json")[1]
    assert json.loads(said)["found"][0]["similarity"] < similarities[0] - 0.2


def test_queries_and_database_of_a_folder_are_described_at_a_size(run):
    small = ["--net", "net.safetensors", "--imsize", "64", "--quiet"]
    for part, count in (("queries", 3), ("database", COUNT - 3)):
        assert run("extract", "photos", f"{part}.npy", "--part", part, *small)[0] == 0
        assert len(open_descriptors(f"{part}.npy")) == count
    own = Benchmark.from_folder("photos")
    assert json.loads(Path("queries.npy.names.json").read_text()) == own.query_names
    expected = extract(load_network("net.safetensors"), own.queries(imsize=64), progress=False)
    np.testing.assert_allclose(open_descriptors("queries.npy"), expected, atol=1e-3)


def test_what_a_folder_holds_beside_photographs_is_said_once(run, place):
    (place / "mixed").mkdir()
    for name in ("a.png", ".hidden.png"):
        Image.new("RGB", (64, 48)).save(place / "mixed" / name)
    (place / "mixed" / "notes.txt").write_text("no photograph")
    status, said = run("extract", "mixed", "mixed.npy", *EXTRACT)
    assert status == 0
    assert "mixed: 1 photographs; left out: 1 hidden" in said and "1 .txt" in said


def test_a_student_is_trained_from_a_file_of_rows_and_goes_on(run):
    small = ["--size", "48", "64", "--part", "training", "--draw", "10", "--seed", "3", "--quiet"]
    assert run("extract", "photos", "rows.npy", "--net", "net.safetensors", *small)[0] == 0
    settings = [*TRAIN, "--teacher-rows", "rows.npy", "--draw", "10", "--seed", "3", "--student", "net.safetensors"]
    status, said = run("train", "photos", "rows", *settings, "--tensorboard", "curves")
    assert status == 0 and said.startswith("rows/student.safetensors: 2 steps")
    first = load_network("rows/student.safetensors").state_dict()
    written = ["checkpoint.pt", "history.json", "projection.safetensors", "student.safetensors"]
    assert sorted(p.name for p in Path("rows").iterdir()) == written
    assert b"learning rate" in next(Path("curves").glob("events.out.tfevents.*")).read_bytes()
    Path("rows/student.safetensors").unlink()
    assert run("train", "photos", "rows", *settings)[1] == said
    torch.testing.assert_close(load_network("rows/student.safetensors").state_dict(), first, rtol=0, atol=0)
    assert load_network("rows/student.safetensors").metadata["training"]["seed"] == 3
    status, said = run("train", "photos", "rows", *settings, "--lr", "0.5")
    assert (status, "another training (lr differ)" in said) == (1, True)
    status, said = run("train", "photos", "rows", *settings, "--regression-weight", "0")
    assert (status, "another training (regression_weight differ)" in said) == (1, True)


def test_a_checkpoint_goes_on_with_the_same_student_images_and_answers_alone(run, place):
    torch.manual_seed(1)
    save_network(RetrievalNet("squeezenet1_1", weights=None, dim=8), place / "other.safetensors")
    rows = torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(0)))
    save_descriptors("answers.npy", rows)
    save_descriptors("others.npy", rows.flip(0))
    settings = [*TRAIN, "--teacher-rows", "answers.npy"]
    assert run("train", "photos", "again", *settings)[0] == 0
    before = {path.name: path.read_bytes() for path in Path("again").iterdir()}
    for changed, differing in (
        (["--scale", "1.6"], "student"),
        (["--dim", "16"], "student"),
        (["--student", "net.safetensors"], "student"),
        (["--teacher-rows", "others.npy"], "teacher_rows"),
        (["--size", "48", "80"], "images"),
        (["--loss", "pkt"], "loss"),
    ):
        status, said = run("train", "photos", "again", *settings, *changed)
        assert status == 1 and re.search(rf"another training \([^)]*\b{differing}\b[^)]* differ\)", said), said
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == before
    assert run("train", "photos", "twins", *settings, "--student", "net.safetensors")[0] == 0
    status, said = run("train", "photos", "twins", *settings, "--student", "other.safetensors")
    assert status == 1 and "another training (student differ)" in said
    asked = [*TRAIN, "--student", "net.safetensors", "--teacher"]
    assert run("train", "photos", "asked", *asked, "net.safetensors")[0] == 0
    assert "made by the teacher 'net.safetensors " in run("train", "photos", "asked", *asked, "other.safetensors")[1]
    status, said = run("train", "photos", "asked", *asked, "other.safetensors", "--ledger", "of-another.sqlite")
    assert status == 1 and "another training (teacher_rows differ)" in said


def test_descriptors_of_reduced_products_can_be_compared(run, place):
    reduced = ["--net", "net.safetensors", "--precision", "bfloat16", "--batch-size", "4", "--quiet"]
    assert run("extract", "photos", "reduced.npy", *reduced)[0] == 0
    found = check_descriptors(open_descriptors("reduced.npy"), "descriptors of the file")
    gnd = [{"bbx": None, "easy": [1], "hard": [2], "junk": []}]
    benchmark = Benchmark(
        "photos",
        ["0"],
        [str(i) for i in range(COUNT)],
        check_ground_truth({"imlist": [str(i) for i in range(COUNT)], "qimlist": ["0"], "gnd": gnd}, "photos")["gnd"],
        read=Image.open,
    )
    assert 0 < evaluate(found[:1], open_descriptors("reduced.npy"), benchmark).medium.mAP <= 1


@pytest.mark.slow
def test_the_rooms_are_a_training_set_and_a_benchmark(run):
    save_descriptors("rooms.npy", torch.eye(8)[torch.arange(20) % 8])
    settings = [*TRAIN, "--teacher-rows", "rooms.npy", "--draw", "2", "--precision", "bfloat16"]
    assert run("train", "rooms", "rooms", *settings)[0] == 0
    history = History.load("rooms/history.json")
    assert history.settings["images"].startswith("20 images") and history.settings["autocast"] == "torch.bfloat16"
    assert run("extract", "rooms", "q.npy", "--part", "queries", "--net", "net.safetensors", "--quiet")[0] == 0
    half = ["--precision", "bfloat16", "--net", "net.safetensors", "--quiet"]
    assert run("extract", "rooms", "half.npy", "--part", "queries", *half)[0] == 0
    whole, half = open_descriptors("q.npy"), open_descriptors("half.npy")
    assert whole.shape == (len(Benchmark.load("rooms").query_names), 8) and 0 < np.abs(whole - half).max() < 0.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "nowhere", "out"], "The folder nowhere is not there"),
        (["train", "empty", "out"], "empty holds no photograph"),
        (["train", "photos", "out", "--draw", "15"], "15 photographs cannot be drawn from 14"),
        (["train", "photos", "out", "--size", "0", "64"], r"The image size \(0, 64\) is not usable"),
        (["train", "photos", "out", "--device", "abacus"], "The device 'abacus' is not known"),
        (["train", "photos", "out", "--teacher-rows", "three.npy"], "14 images and 3 teacher rows"),
        (["train", "photos", "out", "--teacher-rows", "none.npy"], "No descriptors at none.npy"),
        (["train", "photos", "out", "--budget", "3", *TRAIN[3:]], "more than the 3 left of its budget of 3"),
        (["extract", "flat", "new.npy", "--part", "queries"], "flat has no sub-folder of 3 .*1 photographs lie in no"),
        (["extract", "photos", "new.npy", "--scales", "0"], "scales"),
        (["extract", "photos", "new.npy", "--imsize", "0"], "The image size 0 is not usable"),
        (["extract", "sfm120k", "new.npy"], "give --part training"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, arguments, words):
    Path("empty").mkdir(exist_ok=True)
    Path("flat").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save("flat/a.png")
    save_descriptors("three.npy", torch.eye(3))
    status, said = run(*arguments, *(["--size", "48", "64", "--quiet"] if "--size" not in arguments else ["--quiet"]))
    assert status == 1 and len(said.splitlines()) == 1
    assert re.search(words, said)
    assert not list(Path().glob("new.npy*"))


def test_settings_left_out_are_those_of_distill():
    given = parser().parse_args(["train", "rooms", "out"])
    usual = {name: parameter.default for name, parameter in inspect.signature(distill).parameters.items()}
    for name in ("anchors", "neighbours", "regression_weight"):
        assert getattr(given, name) == usual[name], name
    for name in ("steps", "lr", "seed"):
        assert getattr(given, name) == getattr(usual["training"], name), name
    assert usual["mixtures"] is None and given.mixtures == 0
    assert getattr(losses, given.loss) is usual["loss"]


def test_every_command_line_in_the_documents_is_one():
    lines = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            if block.startswith("#!"):  # the recipe for SLURM
                assert subprocess.run(["bash", "-n"], input=block, text=True).returncode == 0
            lines += re.findall(r"-m rdistill_helpers (.*)", block.replace("\\\n", " "))
    assert len(lines) >= 10
    for line in lines:
        parser().parse_args(shlex.split(line.replace("NAME", "name"), comments=True))
