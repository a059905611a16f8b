"""Which runs the study makes, what chooses their settings, and that the store of the repository holds them."""

import pytest

from rdistill_helpers import TrainingImages
from rdistill_helpers.errors import BadInput
from study import methods, primary, search
from study.methods import METHODS, PRIMARY_SEEDS, SEEDS, mixed, named, settings_of, told
from study.runs import SEARCH, SEARCHING, Run, read
from study.search import CONFIRMING_SEED, COURSE, FEW, LARGE, MANY, TUNED_ON, TUNING_SEED, of_loss, tries
from study.settings import LARGER, WITH_LABELS, Settings, as_text, but, differences

TRIED = [name for name, own in METHODS.items() if own.settings.loss and own.sizes and own.like is None]


@pytest.fixture(scope="module")
def runs():
    return read()


def test_many_photographs_are_all_but_a_few_of_the_training_part():
    assert 0.99 * len(TrainingImages.load("rooms")) <= MANY <= len(TrainingImages.load("rooms"))


def best(*settings):
    """Scores with these the best."""
    return {as_text(run.settings): 0.1 for run in methods.tuning()} | {as_text(own): 0.9 for own in settings}


def test_the_store_of_the_repository_holds_the_whole_study(runs):
    keys = {(row.method, as_text(row.settings), row.seed) for row in runs.itertuples()}
    tried = search.tried(runs)
    planned = [*methods.tuning(), *methods.confirming(tried), *methods.exploring(tried)]
    planned += methods.plan(tried, list(METHODS), primary=primary.cells(runs))
    assert [run.key for run in planned if run.key not in keys] == []


def test_every_run_of_the_store_belongs_to_a_method_or_to_the_search(runs):
    assert set(runs["method"]) <= {SEARCH, *METHODS}
    assert runs["medium"].between(0, 1).all()
    assert (runs["teacher_queries"] == [own.queries for own in runs["settings"]]).all()
    assert (runs["images"] == [own.images for own in runs["settings"]]).all()
    assert (runs["teacher"].str.split().str[0].fillna("") == [own.asked or "" for own in runs["settings"]]).all()
    assert (runs.loc[runs["method"] != SEARCH, "seed"] < SEARCHING).all()
    assert (runs.loc[runs["method"] == SEARCH, "seed"] >= SEARCHING).all()


@pytest.mark.parametrize("name", TRIED)
def test_every_method_is_tried_with_as_many_settings(name):
    own = METHODS[name].settings
    wanted = tries(own, TUNED_ON)
    assert len({as_text(each) for each in wanted}) == len(wanted) == search.TRIES
    for each in wanted:
        assert each.queries in (0, 300) and each.loss == own.loss
        assert set(differences(each, own)) <= {
            "images", "lr", "steps", "loss_settings", "start_weight", "frozen", "mixtures", "beside_settings", "averaged"
        }  # fmt: skip
    for images in METHODS[name].sizes:
        assert len(tries(own, images)) in (search.TRIES, search.TRIES_ELSEWHERE, 1, 0)


def test_methods_that_are_run_on_few_or_all_photographs_are_tried_there():
    cheap = [name for name in named("losses") if name not in mixed()]
    for images, where in ((25, FEW), (1000, MANY)):
        for name in cheap:
            wanted = tries(METHODS[name].settings, images)
            assert len(wanted) == search.TRIES_ELSEWHERE and {own.images for own in wanted} == {where}


@pytest.mark.parametrize(
    ("name", "images", "chosen"),
    [
        ("pkt", 300, of_loss("pkt", lr=1e-3)),
        ("listwise+regression", 50, but(Settings(), images=FEW, steps=150)),
        ("listwise+regression", 100, but(Settings(), lr=1e-3)),
        ("listwise+regression", 1000, but(Settings(), images=MANY, lr=1e-3)),
        ("stranger", 300, but(Settings(), lr=1e-3)),
        ("paid-few-views", 300, but(Settings(), lr=1e-3)),
        ("order", 300, of_loss("listmle", lr=1e-4, loss_settings={"scale": 50.0})),
        ("supervised-proxy-anchor", 300, of_loss("proxy_anchor", lr=1e-4, steps=150)),
        ("darkrank", 300, of_loss("darkrank_hard", lr=1e-4, loss_settings={"length": 12})),
        ("larger", 1000, but(LARGE, images=MANY)),
        ("larger", 100, but(LARGE, lr=1e-4, steps=250)),
        ("course-listwise+regression", MANY, but(COURSE, lr=1e-4, loss_settings={"temperature": 0.07})),
        ("course-supervised-contrastive", 300, of_loss("contrastive", COURSE, lr=3e-5, steps=150, frozen=0)),
        ("course-supervised-contrastive", MANY, of_loss("contrastive", COURSE, lr=1e-4, frozen=0, images=MANY)),
        ("averaged", 300, but(Settings(), averaged=0.6)),
        ("unpaid", 300, but(Settings(), beside="consistency", beside_settings={"mixed": 0, "weight": 4.0})),
    ],
)  # fmt: skip
def test_the_settings_of_a_method_are_the_best_of_its_search(name, images, chosen):
    own, fixed = settings_of(name, images, best(chosen)), METHODS[name].settings
    for each in ("training", "loss_settings", "frozen", "beside_settings", "averaged"):
        assert getattr(own, each) == getattr(chosen, each)
    for each in ("loss", "regression_weight", "teacher", "choice", "per_room", "mixtures"):
        assert getattr(own, each) == getattr(fixed, each)
    assert own.images == images


def test_mixtures_have_a_choice_of_their_own_on_300_photographs_and_keep_it_elsewhere():
    mixed_, plain = METHODS["listwise+regression+map-mixtures"].settings, but(Settings(), images=MANY, lr=1e-3)
    more = but(mixed_, lr=1e-4, mixtures=search.replace(mixed_.mixtures, count=48))
    scores = best(more, plain)
    assert settings_of("listwise+regression+map-mixtures", 300, scores) == more
    assert settings_of("listwise+regression+map-mixtures", MANY, scores) == but(plain, mixtures=more.mixtures)
    assert settings_of("stranger+map-mixtures", 300, scores) == but(more, teacher="stranger")


def test_settings_that_nobody_tried_cannot_be_chosen():
    with pytest.raises(BadInput, match="'pkt' have to be chosen first: run `python -m study search`"):
        settings_of("pkt", 300, {})


def test_a_batch_is_smaller_where_there_are_fewer_photographs():
    tried = best()
    assert settings_of("listwise+regression", 25, tried).anchors == 4
    assert settings_of("listwise+regression", 50, tried).anchors == Settings().anchors
    assert settings_of("supervised-contrastive", 25, tried).anchors == Settings().anchors


def test_assistants_are_methods_of_the_study():
    tried = best()
    for name, assistant, images, queries in (
        ("assisted-100", "larger", 100, 100),
        ("assisted-300", "larger", 300, 300),
        ("assisted-1000", "larger", 1000, 1000),
        ("assisted-by-itself-300", "listwise+regression", 300, 300),
        ("assisted-by-labels-300", "larger-supervised-contrastive", 300, 0),
        ("course-assisted-300", "larger", 300, 300),
    ):
        own = settings_of(name, MANY, tried)
        assert own.assistant == settings_of(assistant, images, tried)
        assert own.queries == queries
    assert settings_of("listwise+regression", MANY, tried).queries == MANY
    assert settings_of("larger-supervised-contrastive", TUNED_ON, tried).queries == 0


def test_mixtures_are_made_where_the_trained_part_begins():
    for name, plain in mixed().items():
        added = differences(METHODS[name].settings, METHODS[plain].settings)
        assert list(added) == ["mixtures"]
        maps = name.endswith(methods.BY_MAPS)
        assert added["mixtures"].mix_at == (METHODS[plain].settings.frozen if maps else None)
    assert mixed("lesson") == {"lesson+mixtures": "lesson"}
    assert set(mixed("losses", of="listwise+regression")) == {
        "listwise+regression+mixtures",
        "listwise+regression+map-mixtures",
    }


def test_a_candidate_differs_from_its_control_and_both_ask_300_times():
    for name in methods.CANDIDATES:
        own, control = (METHODS[each] for each in (name, methods.CONTROLS[name]))
        assert own.settings != control.settings and own.settings.images == control.settings.images
        assert {100, TUNED_ON} & set(own.sizes) and set(own.sizes) <= set(control.sizes)
        for each in (name, methods.CONTROLS[name]):
            images = min(METHODS[each].sizes, key=lambda size: abs(size - 200))
            assert settings_of(each, images, best()).queries in (50, 100, 300)


def test_a_study_that_was_stopped_has_all_methods_of_a_seed_before_the_next():
    names = ["untrained", "listwise+regression", "pkt"]
    planned = list(methods.plan(best(), names, seeds=(0, 1)))
    assert planned[0] == Run("untrained", METHODS["untrained"].settings, 0)
    assert [run.seed for run in planned] == sorted(run.seed for run in planned)
    assert {run.method for run in planned if run.seed == 1} == set(names[1:])
    few = list(methods.plan(best(), names, sizes=[25], seeds=(3,)))
    assert [(run.method, run.settings.images, run.seed) for run in few] == [("listwise+regression", 25, 3)]


def test_primary_comparisons_have_more_seeds():
    planned = list(methods.plan(best(), ["listwise+regression", "pkt"], primary={("listwise+regression", 300)}))
    seeds = {(run.method, run.settings.images): [] for run in planned}
    for run in planned:
        seeds[run.method, run.settings.images].append(run.seed)
    assert seeds["listwise+regression", 300] == list(PRIMARY_SEEDS)
    assert all(own == list(SEEDS) for cell, own in seeds.items() if cell != ("listwise+regression", 300))


def test_the_search_never_uses_a_seed_that_is_reported():
    searched = [*methods.tuning(), *methods.confirming(best()), *methods.exploring(best())]
    results = list(methods.plan(best(), list(METHODS)))
    assert {run.seed for run in searched} == {TUNING_SEED, CONFIRMING_SEED} and max(PRIMARY_SEEDS) < TUNING_SEED
    assert {run.method for run in searched} == {SEARCH} and SEARCH not in {run.method for run in results}
    assert len({run.key for run in [*searched, *results]}) < 850


def test_exploring_has_both_teachers_and_every_harder_one():
    found = list(methods.exploring(best()))
    trained = [run.settings for run in found if run.settings.images]
    names = {"teacher", "stranger", *(f"teacher ({kind})" for kind in methods.HARDER)}
    assert {own.teacher for own in trained} == names
    assert {run.settings.teacher for run in found if not run.settings.images} == names
    for name in names:
        assert {own.mixtures is None for own in trained if own.teacher == name} == {True, False}


def test_every_method_says_in_print_what_it_is():
    labels = {
        group: [METHODS[name].label for name in named(group)] for group in {own.group for own in METHODS.values()}
    }
    assert all(len(set(own)) == len(own) for own in labels.values())
    assert all(METHODS[name].settings.student == LARGER for name in METHODS if name.startswith("larger"))
    assert {METHODS[name].settings.loss for name in METHODS if "supervised" in name} == set(WITH_LABELS)


def test_settings_are_told_in_words():
    own = but(
        Settings(), lr=1e-3, views=1, augment=False, loss="pkt", regression_weight=0.0, teacher="stranger (order)"
    )
    said = told(differences(own, Settings()))
    assert said == "stranger (order), PKT, regression, weight 0.0, learning rate 0.001, no augmentation"
    mixtures = METHODS["listwise+regression+map-mixtures"].settings.mixtures
    assert told({"mixtures": mixtures}) == "16 mixtures of feature maps"
    assert told({"loss_settings": {"scale": 50.0}}) == "scale 50.0"
