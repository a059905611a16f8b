"""Settings of a run: what contradicts itself is refused, and settings stand in the store as one text."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdistill_helpers.distil.settings import Mixtures, Training
from rdistill_helpers.errors import BadInput
from study.search import MANY
from study.settings import LARGER, SMALL, TEACHER, Settings, as_text, but, differences, from_text, version

NO_REGRESSION = {"regression_weight": 0.0}
LABELS = {"loss": "contrastive", **NO_REGRESSION}
NOT_TRAINED = {"loss": None, "images": 0, **NO_REGRESSION}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": 50}, "no setting 'image': did you mean 'images'"),
        ({"student": "resnet"}, "student 'resnet'"),
        ({"student": TEACHER}, "loss=None"),
        ({"frozen": 13}, "frozen=13"),
        ({"frozen": 0}, "views=None"),
        ({"views": 7}, "views=7"),
        ({"augment": False}, "views=1 or augment=True"),
        ({"whitening": "components"}, "a dim"),
        ({"mixtures": Mixtures(mix_at=6)}, "mix_at=6 lies outside of the trained part"),
        ({"mixtures": Mixtures(mix_at=13)}, "give 9 to 12"),
        ({"choice": "dear"}, "choice 'dear'"),
        ({"choice": "random", "per_room": 3}, "per_room=3"),
        ({"teacher": "weak"}, "teacher 'weak'"),
        ({"teacher": "stranger (blurred 2)"}, "stranger \\(noisy 0.5\\)"),
        ({"made": -1}, "made=-1"),
        ({"made_by": "crops"}, "made=0"),
        ({"made": 3, "made_by": "magic"}, "mixed or crops"),
        ({"made": 3, "views": None, "frozen": 6}, "kept views"),
        ({"projection": "zero"}, "projection='zero'"),
        ({"projection": "ridge", "loss": "rkd", **NO_REGRESSION}, "with regression"),
        ({"beside": "charm"}, "beside='charm'"),
        ({"beside_settings": {"count": 3}}, "no settings"),
        ({"beside": "columns", "mixtures": Mixtures()}, "without mixtures"),
        ({"averaged": 1.0}, "averaged=1.0"),
        ({"mixtures": Mixtures(mix_at=(9, 13))}, "give 9 to 12"),
        ({**LABELS, "whitened": True}, "whitened=True asks"),
        ({"images": 0}, "images=0"),
        ({"loss": None, **NO_REGRESSION}, "images=300 with loss=None"),
        ({"images": 100, "assistant": Settings()}, "more queries than the 100 images"),
        ({"assistant": Settings(**NOT_TRAINED)}, "not trained"),
        ({"loss": "triplet"}, "loss 'triplet'"),
        ({"loss": "contrastive"}, "regression_weight=2.0"),
        ({"loss": "regression"}, "give 0"),
        ({"regression_weight": -1.0}, "positive number"),
        ({**LABELS, "mixtures": Mixtures()}, "mixtures=.*asks a teacher"),
        ({**LABELS, "assistant": Settings()}, "assistant=.*asks a teacher"),
        ({**LABELS, "anchors": 4}, "anchors=4"),
        ({**LABELS, "teacher": "stranger"}, "teacher='stranger'"),
        ({"training": Training(seed=3)}, "training.seed"),
        ({"training": Training(progress=False)}, "training.progress"),
        ({"steps": 0}, "0 steps"),
        ({"lrate": 3}, "no setting 'lrate'"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_settings_that_contradict_each_other_are_refused_in_one_sentence(changes, says):
    with pytest.raises(BadInput, match=says) as refused:
        but(Settings(), **changes)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("own", "queries"),
    [
        (Settings(), 300),
        (Settings(**LABELS), 0),
        (Settings(**NOT_TRAINED), 0),
        (Settings(images=MANY, assistant=Settings(student=LARGER, frozen=7)), 300),
        (Settings(images=MANY, assistant=Settings(**LABELS)), 0),
    ],
)
def test_a_run_knows_what_it_asks_the_teacher(own, queries):
    assert own.queries == queries


def test_a_weaker_teacher_can_be_scored_itself():
    own = Settings(student=TEACHER, teacher="stranger (noisy 0.5)", **NOT_TRAINED)
    assert (own.queries, own.asked, own.harder) == (0, "stranger", "noisy 0.5")


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        (Settings(), "teacher"),
        (Settings(teacher="stranger (top 10)"), "stranger"),
        (Settings(**LABELS), None),
        (Settings(**NOT_TRAINED), None),
        (Settings(images=MANY, assistant=Settings(teacher="stranger")), "stranger"),
        (Settings(images=MANY, assistant=Settings(**LABELS)), None),
    ],
)
def test_a_run_knows_whom_it_asks(own, asked):
    assert own.asked == asked


def test_photographs_that_are_made_are_paid_for():
    assert Settings(images=100, made=200).queries == 300


def test_changes_go_where_they_belong_and_leave_the_rest():
    base = Settings(images=50, training=Training(start_weight=0.0))
    own = but(base, lr=1e-4, views=2)
    assert (own.images, own.views, own.training.lr, own.training.start_weight) == (50, 2, 1e-4, 0.0)
    assert base.training.lr == Training().lr
    assert differences(own, Settings()) == {"images": 50, "views": 2, "lr": 1e-4, "start_weight": 0.0}
    assert differences(own, own) == {}


SOME = st.builds(
    lambda images, steps, lr, weight, count, mix_at, own, assisted: Settings(
        images=images,
        regression_weight=weight,
        loss_settings=own,
        mixtures=None if count is None else Mixtures(count=count, mix_at=mix_at),
        assistant=Settings(student=LARGER, frozen=7, images=min(images, 10)) if assisted else None,
        training=Training(steps=steps, lr=lr),
    ),
    st.integers(1, MANY), st.integers(1, 1000), st.floats(1e-6, 1.0), st.floats(0, 10), st.none() | st.integers(1, 200),
    st.none() | st.integers(9, 12) | st.just((9, 11)),
    st.dictionaries(st.sampled_from(["temperature", "scale"]), st.floats(0.01, 9)),
    st.booleans(),
)  # fmt: skip


@given(SOME)
def test_settings_come_back_from_their_text(own):
    assert from_text(as_text(own)) == own
    assert "\n" not in as_text(own)


@given(SOME, SOME)
def test_equal_settings_and_only_those_have_equal_text(first, second):
    assert (as_text(first) == as_text(second)) == (first == second)
    assert as_text(dataclasses.replace(first)) == as_text(first)


def test_text_holds_what_is_not_the_default():
    assert as_text(Settings()) == "{}"
    assert as_text(Settings(student=SMALL, training=Training(lr=1e-4))) == '{"training": {"lr": 0.0001}}'


@pytest.mark.parametrize(
    "text", ["", "no json", "[1]", "3", '{"step": 3}', '{"training": 3}', '{"images": "many"}', '{"images": 0}']
)
def test_a_text_that_is_no_settings_is_refused(text):
    with pytest.raises(BadInput):
        from_text(text)


def test_the_version_changes_with_a_name_or_a_default(monkeypatch):
    before = version()
    assert before == version()
    longer = dataclasses.make_dataclass("Training", [("warm_up", int, 3)], bases=(Training,), frozen=True, kw_only=True)
    monkeypatch.setattr("study.settings.Training", longer)
    assert version() != before
