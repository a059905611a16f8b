"""Two processes of torchrun against one: the same losses, gradients, descriptors, ranks and neighbours.

`everything` runs in the process of pytest and, through the end of this file, in two processes that work together.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from rdistill_helpers import (
    BadInput,
    Benchmark,
    Mixtures,
    RDistillError,
    Training,
    distill,
    evaluate,
    extract_to_file,
    losses,
    open_descriptors,
    search,
    train_on_pairs,
    train_supervised,
)
from rdistill_helpers.__main__ import main
from rdistill_helpers.distil import checkpoint as checkpoints
from rdistill_helpers.distil.baselines import Pairs
from rdistill_helpers.embed.pooling import GeM
from rdistill_helpers.parallel import (
    all_reduce,
    average_gradients,
    barrier,
    broadcast,
    gather,
    own_share,
    processes,
    rank,
    world_size,
)
from rdistill_helpers.score import stacked
from rdistill_helpers.score.ranks import count_ranks

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


class Student(nn.Module):
    """A convolution, dropout and GeM."""

    def __init__(self, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rank())  # another start in each process, which training must make one
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(dropout)
            )
            self.pool = GeM()

    def forward(self, images):
        return F.normalize(self.pool(self.layers(images)), dim=1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit_rows(count, dim, seed=0):
    return F.normalize(torch.randn(count, dim, generator=generator(seed)), dim=1)


IMAGES = torch.randint(0, 256, (40, 3, 15, 20), generator=generator()).to(torch.uint8)
TEACHER, LABELS = unit_rows(40, 6), torch.arange(40) % 8
QUERIES, DATABASE = (
    unit_rows(5, 16, 1),
    torch.cat([unit_rows(450, 16, 2), unit_rows(450, 16, 2)]),
)  # every row twice: ties
WANTED = [torch.arange(7) * (i + 1) for i in range(4)] + [torch.tensor([899, 449])]


def loss_and_gradients(training):
    """Of one step; a batch of 15 images makes the processes' shares unequal."""
    student = Student()
    beside = []

    def linear():
        beside.append(nn.Linear(8, 6))
        nn.init.constant_(beside[0].weight, 0.1 + rank())
        nn.init.constant_(beside[0].bias, 0.1)
        return beside[0]

    _, history = training(student, linear)
    parameters = [*student.parameters(), *(p for module in beside for p in module.parameters())]
    return {"loss": history.loss, "gradients": [p.grad.clone() for p in parameters]}


ONE_STEP = Training(steps=1, lr=1e-3, progress=False)
TUPLES = {"anchors": 3, "neighbours": 4, "training": ONE_STEP}
PAIRS = (Pairs(tuples=3, negatives=3, mine_every=1), ONE_STEP)
TRAININGS = {
    "the default": lambda s, _: distill(s, IMAGES, TEACHER, **TUPLES),
    "listwise": lambda s, _: distill(s, IMAGES, TEACHER, regression_weight=0, **TUPLES),
    "distances of the joint space": lambda s, _: distill(
        s,
        IMAGES,
        TEACHER,
        losses.rkd_distance,
        regression_weight=0,
        mixtures=Mixtures(count=6, alpha=0.5, pairs="neighbours"),
        **TUPLES,
    ),
    "regression": lambda s, linear: distill(s, IMAGES, TEACHER, losses.regression, projection=linear(), **TUPLES),
    "labels": lambda s, _: train_supervised(s, IMAGES, LABELS, classes=5, per_class=3, training=ONE_STEP),
    "pairs": lambda s, _: train_on_pairs(s, IMAGES, LABELS, torch.arange(20), torch.arange(20) + 8, *PAIRS),
}


class Interrupted(Exception):
    pass


def interrupt_at(step, history):
    if len(history.step) == step:
        raise Interrupted


def resumed_and_whole(folder):
    """Weights of a training that was interrupted between two checkpoints, and of one that was not."""
    settings = {**TUPLES, "training": Training(steps=7, lr=1e-2, progress=False)}
    weights = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "EVERY", 2)
        interrupted = {"checkpoint": folder / "resumed.pt", "callback": functools.partial(interrupt_at, 5)}
        with pytest.raises(Interrupted):
            distill(Student(dropout=0.3), IMAGES, TEACHER, **interrupted, **settings)
        for checkpoint in (folder / "resumed.pt", folder / "whole.pt"):
            torch.manual_seed(99)
            student, _ = distill(Student(dropout=0.3), IMAGES, TEACHER, checkpoint=checkpoint, **settings)
            weights.append(torch.cat([p.flatten() for p in student.parameters()]).detach())
    return weights


class Colours(nn.Module):
    """Rows from the mean colour and its square; fails after some batches."""

    def __init__(self, batches=-1):
        super().__init__()
        self.batches, self.described = batches, 0

    def forward(self, images):
        if self.batches == 0:
            raise KeyboardInterrupt
        self.batches -= 1
        self.described += len(images)
        mean = images.mean(dim=(2, 3))
        return torch.cat([mean, mean**2], dim=1)


def mixed_sizes():
    turned = [image if i % 3 else image.mT for i, image in enumerate(IMAGES)]
    return [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in turned]


def files_of_descriptors(folder):
    settings = {"dtype": "float32", "batch_size": 2, "at_once": 5, "progress": False}
    whole = extract_to_file(Colours(), mixed_sizes(), folder / "whole.npy", **settings)
    path, net = folder / "resumed.npy", Colours()
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(Colours(7), mixed_sizes(), path, **settings)  # each block of five is three batches
    barrier()  # all have been interrupted
    unfinished = sorted(file.name for file in folder.glob("resumed.npy*"))
    barrier()  # all have looked
    extract_to_file(net, mixed_sizes(), path, **settings)
    one = extract_to_file(Colours(), mixed_sizes(), folder / "one.npy", **{**settings, "at_once": 100})
    return {
        "whole": whole.read_bytes(), "resumed": path.read_bytes(), "unfinished": unfinished, "described": net.described,
        "one block": torch.from_numpy(open_descriptors(one).copy()), "files": sorted(f.name for f in folder.glob("*.npy*")),
    }  # fmt: skip


def scores():
    gnd = [{"bbx": None, "easy": w[:3], "hard": w[3:5], "junk": w[5:]} for w in WANTED]
    benchmark = Benchmark("b", list("abcde"), [str(i) for i in range(900)], [dict(g) for g in gnd], read=None)
    parts = [unit_rows(200, 16, 3).numpy(), unit_rows(100, 16, 4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "SIMILARITIES", 5 * 64)
        patch.setattr(stacked, "NUMBERS", 1)
        report = evaluate(QUERIES, DATABASE, benchmark, distractors=parts)
        return {
            "ap": [list(m.ap) for m in (report.easy, report.medium, report.hard)],
            "ranks": count_ranks(QUERIES, DATABASE, WANTED, block=64),
            "neighbours": search(QUERIES, [DATABASE, *parts], k=12),
            "all neighbours": search(QUERIES, DATABASE, k=900),
        }


def small_things():
    """The functions of the module by themselves; what they must give is worked out in the tests."""
    weights = nn.Parameter(torch.tensor([2.0]))
    share = own_share(5)
    rows = gather(weights * torch.arange(5.0)[share.start : share.stop, None], 5)
    (rows**2 * torch.arange(5.0)[:, None]).sum().backward()
    average_gradients([weights, nn.Parameter(torch.zeros(1))])
    with pytest.raises(BadInput) as refused:
        broadcast(lambda: (_ for _ in ()).throw(BadInput("refused by the first")))
    with pytest.raises(BadInput) as few:
        distill(Student(), IMAGES[:2], TEACHER[:2], anchors=1, neighbours=0, training=ONE_STEP)
    return {
        "world": world_size(), "rows": rows.detach(), "gradient": weights.grad,
        "ranks": gather(torch.tensor([rank() + 1]), world_size()),
        "shares": [own_share(7), own_share(7, 3), own_share(2, 3)], "refused": str(refused.value), "few": str(few.value),
    }  # fmt: skip


EXTRACT = ["--part", "queries", "--at-once", "32", "--net", "squeezenet1_1", "--quiet"]


def everything(folder):
    """All that must not depend on the number of processes, and `small`, which tells of it."""
    results = {
        "steps": {name: loss_and_gradients(training) for name, training in TRAININGS.items()},
        "weights": resumed_and_whole(folder),
        "files": files_of_descriptors(folder),
        "scores": scores(),
        "status": main(["extract", "rooms", str(folder / "queries.npy"), *EXTRACT]),
    }
    results["command"] = open_descriptors(folder / "queries.npy").tobytes()
    if world_size() > 1:
        results["small"] = small_things()
    return results


def run(folder, *command):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*TORCHRUN, *map(str, command)], capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(folder):
    done = run(folder, __file__, folder)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"results.{turn}", weights_only=False) for turn in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_have_the_loss_and_the_gradient_of_one(one, two, name):
    largest = max(float(gradient.abs().max()) for gradient in one["steps"][name]["gradients"])
    for results in two:  # sums in another order round otherwise, by parts of the largest gradient
        torch.testing.assert_close(results["steps"][name], one["steps"][name], rtol=1e-5, atol=2e-5 * largest)
    assert largest > 1e-3


@pytest.mark.slow
def test_the_processes_keep_equal_weights_and_resume_bit_for_bit(two, folder):
    resumed, whole = two[0]["weights"]
    assert torch.equal(resumed, whole)
    assert all(torch.equal(a, b) for a, b in zip(two[1]["weights"], two[0]["weights"], strict=True))
    assert sorted(file.name for file in folder.glob("*.pt*")) == ["resumed.pt", "whole.pt"]


@pytest.mark.slow
def test_descriptors_are_those_of_one_process_bit_for_bit(one, two):
    for results in two:
        files = results["files"]
        assert files["whole"] == files["resumed"] == one["files"]["whole"]
        assert torch.equal(files["one block"], one["files"]["one block"])  # all in one share, none in the other
        assert files["files"] == ["one.npy", "resumed.npy", "whole.npy"]


@pytest.mark.slow
def test_the_command_extract_writes_the_file_of_one_process(one, two, folder):
    assert [results["status"] for results in (one, *two)] == [0, 0, 0]
    assert [results["command"] for results in two] == [one["command"]] * 2
    assert [file.name for file in folder.glob("queries.npy*.json")] == ["queries.npy.names.json"]


@pytest.mark.slow
def test_each_process_goes_on_behind_its_own_finished_rows(two):
    names = [f"resumed.npy.{turn}-of-2.part{end}" for turn in range(2) for end in ("", ".rows")]
    assert [results["files"]["unfinished"] for results in two] == [names, names]
    assert [results["files"]["described"] for results in two] == [11, 11]  # half of 20, and the last finished one again


@pytest.mark.slow
def test_counts_of_two_processes_add_up_to_the_ranks_of_one(one, two):
    for results in two:
        assert str(results["scores"]["ap"]) == str(one["scores"]["ap"])
        for name in ("ranks", "neighbours", "all neighbours"):
            assert all(torch.equal(a, b) for a, b in zip(results["scores"][name], one["scores"][name], strict=True))


def test_ranks_are_a_sum_over_parts_of_the_database():
    """The sum by hand: rows of each part that are more similar, or as similar and further in front."""
    similarities = QUERIES @ DATABASE.T
    for line, wanted, ranks in zip(similarities, WANTED, count_ranks(QUERIES, DATABASE, WANTED), strict=True):
        counts = torch.zeros(len(wanted), dtype=torch.int64)
        for part in torch.arange(900).split(100):
            above = line[part] > line[wanted, None]
            before = (line[part] == line[wanted, None]) & (part < wanted[:, None])
            counts += (above | before).sum(1)
        assert counts.tolist() == ranks.tolist()


@pytest.mark.slow
def test_rows_meet_with_their_gradient_and_errors_of_the_first_reach_all(two):
    for results in two:
        small = results["small"]
        assert small["world"] == 2
        assert small["rows"].flatten().tolist() == [0, 2, 4, 6, 8]
        assert small["gradient"].tolist() == [sum(2 * 2.0 * i * i * i for i in range(5))]
        assert small["ranks"].tolist() == [1, 2]
        assert small["refused"] == "refused by the first"
        assert "batch of 1 images cannot be shared by 2 processes" in small["few"]
    shares = [[range(3), range(3, 7)], [range(3), range(3, 7)], [range(0), range(2)]]
    assert [[results["small"]["shares"][i] for results in two] for i in range(3)] == shares


def test_alone_nothing_is_shared():
    rows = torch.rand(3, 2)
    assert gather(rows, 3) is rows and all_reduce(rows) is rows and broadcast(lambda: rows) is rows
    assert (world_size(), rank(), own_share(7, 3)) == (1, 0, range(7))
    with processes():
        assert world_size() == 1


def test_a_lost_process_is_told_in_one_sentence(monkeypatch):
    def closed(values):
        raise RuntimeError("Connection closed\nand much more")

    for name, value in {"is_initialized": True, "get_world_size": 2, "get_rank": 1}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    monkeypatch.setattr(torch.distributed, "all_reduce", closed)
    with pytest.raises(RDistillError, match=r"^Process 1 of 2 lost the others \(Connection closed\): see the message"):
        barrier()


if __name__ == "__main__":
    with processes():
        where = Path(sys.argv[1])
        torch.save(everything(where), where / f"results.{rank()}")
