"""The training of the teachers: its photographs, loss, batches, augmentation, its resume, and what it refuses."""

import copy
import io
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_sets import colours

from rdistill_helpers import RetrievalNet, Training, load_network, save_network
from rdistill_helpers.distil.history import History

TOOLS = Path(__file__).resolve().parents[1] / "tools"
ROOMS, VIEWS = 20, 4


@pytest.fixture(scope="module")
def tool(load_script):
    sys.path.insert(0, str(TOOLS))
    yield load_script("tools/train_teacher.py")
    sys.path.remove(str(TOOLS))


def rows(count, dim=6, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def archive(path, rooms=ROOMS, without=(), labels=None):
    """Private rooms of one colour each; `without` names photographs that are left out."""
    random = torch.Generator().manual_seed(0)
    table = ["image,room"]
    with zipfile.ZipFile(path, "w") as file:
        for number in range(rooms * VIEWS):
            name = f"private_{number:06d}"
            table.append(f"{name},{7 * (number // VIEWS)}")
            colour = tuple(torch.randint(256, (3,), generator=random).tolist())
            content = io.BytesIO()
            Image.new("RGB", (64, 48), colour).save(content, "WEBP")
            if name not in without:
                file.writestr(f"images/{name}.webp", content.getvalue())
        file.writestr("labels.csv", "\n".join(table) if labels is None else labels)
    return path


def tiny_net(seed=0):
    """A network with BatchNorms that are not neutral."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = RetrievalNet("tf_efficientnet_lite0", weights=None)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return net.eval()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_network(tiny_net(), path)
    return path


@pytest.fixture
def command(tool, tmp_path, start, monkeypatch, capsys):
    """Runs `train` on twenty private rooms with these arguments; gives the exit status and what it says of an error."""
    monkeypatch.setattr(tool.checkpoints, "EVERY", 1)
    monkeypatch.setattr(tool, "GROUPS", 1)
    monkeypatch.setattr(tool.Benchmark, "load", lambda name: colours())

    def run(*arguments, photographs=None):
        source = photographs or archive(tmp_path / "private.zip")
        line = ["train", str(source), "--start", str(start), "--name", "tiny", "--work", str(tmp_path / "work")]
        status = tool.main([*line, "--steps", "2", "--keep", "1", *arguments])
        return status, capsys.readouterr().err

    run.work = tmp_path / "work"
    return run


def test_neighbourhood_loss_equals_the_loop(tool):
    x, labels, temperature = rows(9).double(), [0, 0, 0, 1, 1, 1, 2, 2, 2], 0.1
    total = 0.0
    for i in range(9):
        chance = {j: math.exp(float(x[i] @ x[j]) / temperature) for j in range(9) if j != i}
        total -= math.log(sum(c for j, c in chance.items() if labels[j] == labels[i]) / sum(chance.values()))
    assert tool.neighbourhood_loss(x, torch.tensor(labels), temperature).item() == pytest.approx(total / 9)


def test_batches_hold_rooms_with_their_look_alikes(tool):
    means = F.one_hot(torch.arange(12) // 4, 3).float()  # three groups of four look-alike rooms
    chosen = tool.confusable_rooms(means, groups=2, size=4, generator=torch.Generator().manual_seed(0))
    groups = (chosen // 4).tolist()
    assert len(set(chosen.tolist())) == 8 and groups[:4] == [groups[0]] * 4 and groups[4:] == [groups[4]] * 4


def test_augmentation_enlarges_keeps_the_range_and_is_seeded(tool):
    pixels = torch.randint(0, 256, (6, 3, 12, 16), dtype=torch.uint8)
    room = torch.tensor([0, 0, 0, 1, 1, 1])
    first, again, other = (tool.augment(pixels, room, 1.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 3, 18, 24) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_folding_changes_neither_descriptors_nor_gradients(tool):
    plain, images = tiny_net().double(), torch.rand(2, 3, 48, 64).double()
    folded = copy.deepcopy(plain)
    tool.fold(folded)
    for net in (plain, folded):
        net(images)[:, :99].sum().backward()
    assert torch.allclose(plain(images), folded(images))
    for name, parameter in folded.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, plain.get_parameter(name).grad, rtol=1e-4), name
    assert (
        sum(not parameter.requires_grad for parameter in folded.parameters()) == 3 * 16
    )  # depthwise kernels and what follows them
    plain.scale = tool.SCALE
    assert torch.equal(tool.finished(folded)(images), plain(images))


def test_private_and_training_rooms_are_read_as_one_set(tool, tmp_path):
    sources = [str(archive(tmp_path / "private.zip", rooms=3)), str(archive(tmp_path / "more.zip", rooms=2))]
    pixels, labels = tool.read_rooms(sources, tmp_path)
    assert pixels.shape == (20, 3, 48, 64) and pixels.dtype == torch.uint8
    assert labels.tolist() == [room for room in range(5) for _ in range(VIEWS)]
    assert torch.equal(tool.read_rooms(sources, tmp_path)[0], pixels)  # decoded once, then read in place
    assert len(list(tmp_path.glob("*.npy"))) == 1


@pytest.mark.slow
def test_a_training_that_was_killed_ends_like_one_that_was_not(tool, command, tmp_path, start, monkeypatch):
    whole = archive(tmp_path / "private.zip")
    settings = ["--steps", "5", "--keep", "5", "--sizes", "0.5:0.6", "1:0.8"]
    killed = f"""
import os, signal, sys
sys.path[:0] = [{str(TOOLS)!r}, {str(TOOLS.parent)!r}, {str(Path(__file__).parent)!r}]
import train_teacher as tool
from tiny_sets import colours
tool.checkpoints.EVERY, tool.GROUPS, tool.Benchmark.load = 1, 1, lambda name: colours()
plain = tool.augment
def last_words(*given):
    if (count := last_words.count) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    last_words.count = count + 1
    return plain(*given)
last_words.count, tool.augment = 0, last_words
tool.main(["train", {str(whole)!r}, "--start", {str(start)!r}, "--name", "tiny", "--work", {str(command.work)!r}, *{settings}])
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode < 0
    assert (command.work / "tiny.checkpoint").exists() and not (command.work / "tiny_5.safetensors").exists()
    shown, plain = [], tool.augment
    monkeypatch.setattr(tool, "augment", lambda *given: shown.append((int(given[0].sum()), given[2])) or plain(*given))
    assert command(*settings, photographs=whole)[0] == 0
    assert command(*settings, "--name", "whole", photographs=whole)[0] == 0
    assert len(shown) == 7 and shown[:2] == shown[-2:]  # the same photographs at the same size
    resumed, unbroken = (tool.checkpoints.read(command.work / f"{name}.checkpoint") for name in ("tiny", "whole"))
    assert torch.equal(resumed["generator"], unbroken["generator"])
    for content in (resumed, unbroken):
        assert content["history"].step == list(range(5)) and content["extra"]["steps"] == 5
        assert {int(state["step"]) for state in content["optimizer"]["state"].values()} == {5}
        assert 0 < content["extra"]["means"].norm(dim=1).count_nonzero() <= ROOMS


def test_a_training_keeps_and_scores_its_networks(tool, command):
    assert command()[0] == 0
    lines = [json.loads(line) for line in (command.work / "tiny.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(math.isfinite(line["loss"]) and 0 <= line["medium"] <= 100 for line in lines)
    assert load_network(command.work / "tiny_2.safetensors").scale == tool.SCALE


def test_images_grow_during_a_training(tool, monkeypatch):
    seen, plain = [], tool.augment
    monkeypatch.setattr(tool, "augment", lambda *given: seen.append(given[2]) or plain(*given))
    monkeypatch.setattr(tool, "GROUPS", 1)
    pixels = torch.randint(256, (ROOMS * VIEWS, 3, 48, 64), dtype=torch.uint8)
    training = Training(steps=4, start_weight=0.0, progress=False)
    history = tool.train(
        tiny_net(), pixels, torch.arange(ROOMS).repeat_interleave(VIEWS), training, [(0.5, 0.5), (0.75, 0.7), (1, 0.9)]
    )
    assert isinstance(history, History) and seen == [0.5, 0.5, 0.7, 0.9]


def test_the_average_is_the_part_that_is_best_on_validation(tool, tmp_path, start, monkeypatch):
    trained, out = tmp_path / "trained.safetensors", tmp_path / "out.safetensors"
    save_network(tiny_net(1), trained)
    monkeypatch.setattr(tool.Benchmark, "load", lambda name: colours())
    found = iter([{"medium": 10.0}, {"medium": 30.0}, {"medium": 20.0}])
    monkeypatch.setattr(tool, "percent", lambda report: next(found))
    line = ["average", str(trained), "--start", str(start), "--out", str(out), "--parts", "0.25", "0.5", "1"]
    assert tool.main(line) == 0
    one, other, mixed = (load_network(path).features[0].weight for path in (start, trained, out))
    assert torch.allclose(mixed, (one + other) / 2, atol=1e-3)  # in half precision


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--steps", "0"], "0 steps with lr=0.0003 train nothing"),
        (["--keep", "0"], "--keep 0"),
        (["--sizes", "0.5:1.0"], "--sizes 0.5:1.0"),
        (["--sizes", "large"], "--sizes large"),
    ],
)
def test_settings_that_train_nothing_are_refused(command, arguments, sentence):
    status, error = command(*arguments)
    assert status == 1 and sentence in error and error.count("\n") == 1


def test_a_resume_with_other_settings_is_refused_by_their_names(command, tmp_path):
    source = archive(tmp_path / "private.zip")
    assert command(photographs=source)[0] == 0
    for changed, name in ((["--temperature", "0.2"], "temperature"), (["--sizes", "1:0.9"], "sizes")):
        status, error = command(*changed, photographs=source)
        assert status == 1 and f"({name} differ)" in error.splitlines()[-1]
    status, error = command(photographs=archive(tmp_path / "other.zip", rooms=19))
    assert status == 1 and "photographs differ" in error


def test_an_archive_that_cannot_be_used_is_refused_in_one_sentence(command, tmp_path):
    whole = archive(tmp_path / "whole.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-400])
    damaged = tmp_path / "damaged.zip"
    content = bytearray(whole.read_bytes())
    content[60:70] = b"0123456789"
    damaged.write_bytes(content)
    for path, sentence in (
        (tmp_path / "none.zip", "none.zip is missing"),
        (cut, "cut.zip is no archive of rooms"),
        (damaged, "private_000000 in"),
        (archive(tmp_path / "gap.zip", without=["private_000004"]), "79 photographs and 80 labels"),
        (archive(tmp_path / "bare.zip", labels="image,room"), "80 photographs and 0 labels"),
        (archive(tmp_path / "odd.zip", labels="image,room\nprivate_000000,kitchen"), "odd.zip is no archive of rooms"),
    ):
        status, error = command(photographs=path)
        assert status == 1 and sentence in error.splitlines()[-1]
        assert not list(command.work.glob("*.npy"))
