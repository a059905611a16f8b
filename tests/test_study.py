"""The bookkeeping of the study of cheap students: settings, queries, what is kept of a larger student."""

from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def scripts(load_script, monkeypatch):
    """The study and its students, which import each other by their bare names."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    study = load_script("benchmarks/study.py")
    import fast_student

    return study, fast_student


def test_assistants_are_students_of_the_study(scripts):
    study, students = scripts
    same = {"larger": "larger", "itself": "listwise+regression", "labels": "larger-supervised-contrastive"}
    for assistant, method in same.items():
        assert study.settings_of(method, 300) == students.ASSISTANTS[assistant] | {"images": 300}
    assert study.settings_of("assisted-300", 3020)["queries"] == 300


def test_an_assisted_student_pays_for_the_photographs_of_its_assistant(scripts, monkeypatch):
    study, _ = scripts
    monkeypatch.setattr(study, "data", lambda: None)
    monkeypatch.setattr(study, "kept_student", lambda settings, seed: (None, 1.0))
    protocol = type("", (), {"mAP": 0.5, "ap": torch.zeros(3)})
    monkeypatch.setattr(study, "score", lambda net: type("", (), dict.fromkeys(("easy", "medium", "hard"), protocol)))
    paid = {}
    for name in (
        "assisted-300",
        "assisted-by-labels-300",
        "listwise+regression",
        "larger",
        "larger-supervised-contrastive",
    ):
        paid[name] = study.row(name, study.settings_of(name, 3020), 0)["teacher_queries"]
    assert paid == {
        "assisted-300": 300,
        "assisted-by-labels-300": 0,
        "listwise+regression": 3020,
        "larger": 3020,
        "larger-supervised-contrastive": 0,
    }


def test_a_larger_student_is_trained_once_and_the_same_when_it_is_read(scripts, monkeypatch, tmp_path):
    _, students = scripts
    monkeypatch.setenv("RDISTILL_RUNS", str(tmp_path))
    trained = []

    def train(settings, seed, target):
        trained.append(seed)
        torch.manual_seed(seed)
        net = students.RetrievalNet(settings["student"], weights=None)
        nn.init.constant_(net.pool.p, 2.5)
        return net.eval()

    monkeypatch.setattr(students, "train", train)
    monkeypatch.setattr(students, "answers", lambda settings, seed: torch.zeros(3, 4))
    settings = students.DEFAULT | students.ASSISTANTS["larger"]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, again = (students.kept_student(settings, 3)[0](images) for _ in range(2))
    assert trained == [3] and torch.equal(first, again)
    students.kept_student(settings | {"images": 100}, 3)
    students.kept_student(settings, 4)
    assert trained == [3, 3, 4]


def test_an_assistant_is_trained_where_nothing_of_it_is_kept(scripts, monkeypatch):
    """Its descriptions need no gradient, its training does."""
    _, students = scripts
    weight = torch.ones(2, requires_grad=True)

    def trained(settings, seed):
        weight.sum().backward()
        return students.RetrievalNet(weights=None).eval(), 0.0

    monkeypatch.setattr(students, "kept_student", trained)
    monkeypatch.setattr(students, "data", lambda student: ({"whole": torch.rand(3, 256, 4, 4)},))
    rows = students.answers(students.DEFAULT | {"queries": 100, "assistant": "itself"}, 0)
    assert rows.shape == (3, 512) and not rows.requires_grad and weight.grad is not None


def test_kept_maps_are_described_as_the_network_describes_photographs(scripts):
    _, students = scripts
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for name in students.FROZEN:
        net = students.RetrievalNet(name, weights=None).eval()
        with torch.no_grad():
            # kept as float16, so not to the last digit
            torch.testing.assert_close(
                students.described(net, students.frozen_maps(net, images)), net(images), rtol=0.02, atol=2e-3
            )
