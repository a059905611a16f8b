"""Which runs the study makes, what chooses their settings, and that the store of the repository holds them."""

import pytest

from rdistill_helpers import TrainingImages
from rdistill_helpers.errors import BadInput
from study import methods, search
from study.methods import METHODS, SEEDS, mixed, named, settings_of, told
from study.runs import SEARCH, SEARCHING, Run, read
from study.search import COURSE, FEW, LARGE, MANY, QUESTIONS, TUNED_ON, TUNING_SEED, of_loss, tuning
from study.settings import LARGER, WITH_LABELS, Settings, as_text, but, differences


@pytest.fixture(scope="module")
def runs():
    return read()


@pytest.fixture(scope="module")
def keys(runs):
    return {(row.method, as_text(row.settings), row.seed) for row in runs.itertuples()}


def test_many_photographs_are_all_but_a_few_of_the_training_part():
    assert 0.99 * len(TrainingImages.load("rooms")) <= MANY <= len(TrainingImages.load("rooms"))


def best(*settings):
    """Scores with these the best."""
    return {as_text(own): 0.1 for question in QUESTIONS.values() for own in question.tries} | {
        as_text(own): 0.9 for own in settings
    }


def test_the_store_of_the_repository_holds_the_whole_study(runs, keys):
    planned = list(methods.plan(search.tried(runs), list(METHODS)))
    assert len(planned) == len({run.key for run in planned})
    assert [run.key for run in planned if run.key not in keys] == []


def test_every_run_of_the_store_belongs_to_a_method_or_to_the_search(runs):
    assert set(runs["method"]) <= {SEARCH, *METHODS}
    assert runs["medium"].between(0, 1).all()
    assert (runs["teacher_queries"] == [own.queries for own in runs["settings"]]).all()
    assert (runs["images"] == [own.images for own in runs["settings"]]).all()
    assert (runs.loc[runs["method"] != SEARCH, "seed"] < SEARCHING).all()
    assert (runs.loc[runs["method"] == SEARCH, "seed"] >= SEARCHING).all()


def test_a_baseline_is_tuned_as_carefully_as_ours():
    for name in named("losses"):
        own = METHODS[name].settings
        assert len(tuning(own, TUNED_ON)) >= len(tuning(of_loss("listwise"), TUNED_ON))
        assert all(each.loss == own.loss and each.images == TUNED_ON for each in tuning(own, TUNED_ON))


@pytest.mark.parametrize(
    ("name", "images", "chosen"),
    [
        ("pkt", 300, of_loss("pkt", lr=1e-3)),
        ("pkt", 100, of_loss("pkt", lr=1e-4, images=FEW)),
        ("pkt", 1000, of_loss("pkt", lr=3e-4, images=MANY)),
        ("pkt+mixtures", 300, of_loss("pkt", lr=1e-3)),
        ("order", 50, of_loss("listmle", lr=1e-4)),
        ("supervised-contrastive", 300, of_loss("contrastive", lr=1e-4, steps=150)),
        ("darkrank", 300, of_loss("darkrank_hard", lr=1e-4, loss_settings={"length": 12})),
        ("larger", 300, but(LARGE, lr=1e-4, steps=250)),
        ("course-listwise+regression", MANY, of_loss("listwise", COURSE, lr=1e-4, loss_settings={"temperature": 0.07})),
        ("course-supervised-contrastive", 300, of_loss("contrastive", COURSE, lr=3e-5, steps=60, start_weight=0.0, frozen=0)),
        ("course-supervised-contrastive", MANY,
         of_loss("contrastive", COURSE, lr=1e-4, steps=500, start_weight=0.0, frozen=0, images=MANY)),
    ],
)  # fmt: skip
def test_the_settings_of_a_method_are_the_best_of_its_search(name, images, chosen):
    own = settings_of(name, images, best(chosen))
    assert (own.training, own.loss_settings, own.frozen) == (chosen.training, chosen.loss_settings, chosen.frozen)
    fixed = METHODS[name].settings
    assert (own.loss, own.mixtures, own.regression_weight, own.images) == (
        fixed.loss, fixed.mixtures, fixed.regression_weight, images,
    )  # fmt: skip


def test_settings_that_nobody_tried_cannot_be_chosen():
    with pytest.raises(BadInput, match="'pkt' have to be chosen first: run `python -m study search`"):
        settings_of("pkt", 300, {})


def test_a_batch_is_smaller_where_there_are_fewer_photographs():
    tried = best()
    assert settings_of("listwise", 25, tried).anchors == 4
    assert settings_of("listwise", 50, tried).anchors == Settings().anchors
    assert settings_of("supervised-contrastive", 25, tried).anchors == Settings().anchors


def test_assistants_are_methods_of_the_study_on_300_photographs(runs):
    tried = search.tried(runs)
    for name, assistant, queries in (
        ("assisted-300", "larger", 300),
        ("assisted-by-itself-300", "listwise+regression", 300),
        ("assisted-by-labels-300", "larger-supervised-contrastive", 0),
        ("course-assisted-300", "larger", 300),
    ):
        own = settings_of(name, MANY, tried)
        assert own.assistant == settings_of(assistant, TUNED_ON, tried)
        assert own.queries == queries
    assert settings_of("listwise+regression", MANY, tried).queries == MANY
    assert settings_of("larger-supervised-contrastive", TUNED_ON, tried).queries == 0


def test_mixtures_are_made_where_the_trained_part_begins():
    for name, plain in mixed("losses", "course").items():
        added = differences(METHODS[name].settings, METHODS[plain].settings)
        assert list(added) == ["mixtures"]
        maps = name.endswith(methods.BY_MAPS)
        assert added["mixtures"].mix_at == (METHODS[plain].settings.frozen if maps else None)
    assert mixed("course", ending=methods.BY_MAPS) == {
        "course-listwise+regression+map-mixtures": "course-listwise+regression"
    }


def test_a_study_that_was_stopped_has_all_methods_of_a_seed_before_the_next():
    planned = list(methods.plan(best(), ["untrained", "listwise", "pkt"], seeds=(0, 1)))
    assert planned[0] == Run("untrained", METHODS["untrained"].settings, 0)
    assert [run.seed for run in planned] == sorted(run.seed for run in planned)
    assert {run.method for run in planned if run.seed == 1} == {"listwise", "pkt"}
    few = list(methods.plan(best(), ["untrained", "listwise"], sizes=[25], seeds=(3,)))
    assert [(run.method, run.settings.images, run.seed) for run in few] == [("listwise", 25, 3)]


def test_the_search_never_uses_a_seed_that_is_reported():
    assert min(run.seed for run in search.plan(list(QUESTIONS))) == TUNING_SEED > max(SEEDS)


def test_every_method_says_in_print_what_it_is():
    labels = {
        group: [METHODS[name].label for name in named(group)] for group in {own.group for own in METHODS.values()}
    }
    assert all(len(set(own)) == len(own) for own in labels.values())
    assert all(METHODS[name].settings.student == LARGER for name in METHODS if name.startswith("larger"))
    assert {METHODS[name].settings.loss for name in METHODS if "supervised" in name} == set(WITH_LABELS)


def test_settings_are_told_in_words():
    own = but(Settings(), lr=1e-3, views=1, augment=False, loss="pkt", regression_weight=0.0, teacher="64 numbers")
    said = told(differences(own, Settings()))
    assert said == "teacher of 64 numbers, PKT, regression, weight 0.0, learning rate 0.001, no augmentation"
    mixtures = METHODS["listwise+map-mixtures"].settings.mixtures
    assert told({"mixtures": mixtures}) == "16 mixtures of maps"
    assert told({"loss_settings": {"scale": 50.0}}) == "scale 50.0"
