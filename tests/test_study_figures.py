"""Figures of a study: what is drawn where, what tells seeds and sides apart, and what the description says."""

import numpy as np
import pandas
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from test_study_recipe import PER_QUERY, reached
from test_study_recipe import frame as runs_of

from rdistill_helpers.errors import BadInput
from study.figures import (
    VERDICTS,
    choice_figure,
    efficiency_plot,
    gain_rows,
    gains_by_seed,
    query_scatter,
    same_room_figure,
    teacher_rows,
)
from study.runs import NO_RUNS
from study.tables import teachers


def frame(rows):
    return pandas.DataFrame(rows, columns=["images", "seeds", "mean", "low", "high"])


CURVES = {
    "listwise": frame([(300, 5, 0.30, 0.25, 0.35), (25, 5, 0.20, 0.15, 0.25), (100, 1, 0.25, 0.2, 0.3)]),
    "labels": frame([(100, 5, 0.22, 0.2, 0.24)]),
    "to come": frame([]),
}
GAINS = pandas.DataFrame(
    [
        ("descriptors", "mean of both", 5, 0.02, 0.01, 0.03),
        ("descriptors", "listwise", 5, -0.02, -0.03, -0.01),
        ("feature maps", "order", 2, 0.005, -0.01, 0.02),
    ],
    columns=["panel", "method", "seeds", "mean", "low", "high"],
)


def test_a_curve_is_drawn_in_percent_against_photographs_in_ascending_order():
    (ax,) = efficiency_plot(CURVES).axes
    (line,) = [line for line in ax.lines if line.get_label().startswith("listwise")]
    assert list(line.get_xdata()) == [25, 100, 300]
    assert list(line.get_ydata()) == pytest.approx([20, 25, 30])
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["25", "100", "300"]


def test_a_point_of_few_seeds_is_hollow_and_the_key_says_so():
    fig = efficiency_plot(CURVES)
    (ax,) = fig.axes
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in hollow] == [[100]]
    assert "fewer than 5 seeds" in fig.legends[0].get_title().get_text()
    full = efficiency_plot({"labels": CURVES["labels"]})
    assert full.legends[0].get_title().get_text() == ""


def test_curves_differ_by_more_than_colour():
    many = {f"method {k}": CURVES["listwise"] for k in range(8)}
    (ax,) = efficiency_plot(many).axes
    looks = {(line.get_linestyle(), line.get_marker()) for line in ax.lines if line.get_label().startswith("method")}
    assert len({marker for _, marker in looks}) == 8


def test_the_first_method_alone_has_a_band_and_the_key_says_so():
    fig = efficiency_plot(CURVES)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["listwise, with its interval of 95 %", "labels"]
    (ax,) = fig.axes
    (band,) = ax.collections
    assert sorted(set(band.get_paths()[0].vertices[:, 0])) == [25, 100, 300]
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(35)


def test_levels_are_lines_with_their_figure():
    fig = efficiency_plot(CURVES, {"teacher": 0.431, "untrained": 0.18})
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.texts] == ["teacher 43.1", "untrained 18.0"]
    assert "Horizontal line: teacher 43.1." in fig.get_label()


def test_a_curve_plot_describes_itself():
    said = efficiency_plot(CURVES, xlabel="queries").get_label()
    assert (
        "against queries, with a band of 95 % for the first: listwise 20.0 at 25, 25.0 at 100, 30.0 at 300; labels 22.0 at 100."
        in said
    )
    assert "to come" not in said
    assert efficiency_plot(CURVES, alt="mine").get_label() == "mine"


def test_gains_have_a_row_for_each_method_and_a_panel_for_each_kind_on_one_axis():
    fig = gain_rows(GAINS)
    assert [ax.get_title() for ax in fig.axes] == ["mixtures of descriptors", "mixtures of feature maps"]
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()][::-1] == ["mean of both", "listwise", "order"]
    assert len({ax.get_xlim() for ax in fig.axes}) == 1
    assert all(list(ax.lines[0].get_xdata()) == [0, 0] for ax in fig.axes)
    assert [len(ax.patches) for ax in fig.axes] == [1, 1]  # the mean is shaded
    (alone,) = gain_rows(GAINS[:1].drop(columns="panel")).axes
    assert alone.get_title() == ""


def test_a_gain_that_a_panel_lacks_is_said_to_be_not_run():
    assert [[text.get_text() for text in ax.texts] for ax in gain_rows(GAINS).axes] == [
        ["not run"],
        ["not run", "not run"],
    ]
    assert not gain_rows(GAINS[:1].drop(columns="panel")).axes[0].texts


def points_of(ax):
    """Place, colour and filling of each mark of a panel."""
    marks = [each for each in ax.collections if isinstance(each, PathCollection)]
    return [
        (tuple(each.get_offsets()[0]), to_hex(each.get_edgecolor()[0]), to_hex(each.get_facecolor()[0]))
        for each in marks
    ]


def test_the_side_of_an_interval_decides_colour_and_few_seeds_are_hollow():
    first, second = gain_rows(GAINS).axes
    found = {place: (edge, face) for ax in (first, second) for place, edge, face in points_of(ax)}
    better, worse, same = (to_hex(VERDICTS[each][0]) for each in ("higher", "lower", "no clear difference"))
    assert found[2.0, 2.0] == (better, better)
    assert found[-2.0, 1.0] == (worse, worse)
    assert found[0.5, 0.0] == (same, "#ffffff")  # two seeds


def test_gains_key_what_occurs_and_describe_themselves():
    fig = gain_rows(GAINS)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "higher", "no clear difference", "lower", "hollow: fewer than 5 seeds",
    ]  # fmt: skip
    assert "descriptors: mean of both +2.0 (+1.0 to +3.0)" in fig.get_label()
    assert "order +0.5 (-1.0 to +2.0)" in fig.get_label()
    assert fig.get_label().endswith("Clearly higher: descriptors, mean of both. Clearly lower: descriptors, listwise.")
    assert [text.get_text() for text in gain_rows(GAINS[:1]).legends[0].get_texts()] == ["higher"]


def test_queries_are_drawn_by_one_method_against_the_other():
    rows = [reached("listwise", 300, seed, 0.1, [0.2, 0.4, 0.6]) for seed in (0, 1)]
    rows += [reached("pkt", 300, seed, 0.1, [0.1, 0.4, 0.8]) for seed in (1, 2)]
    fig = query_scatter(runs_of(*rows), "listwise", "pkt", 300)
    (ax,) = fig.axes
    assert np.allclose(ax.collections[0].get_offsets(), [[10, 20], [40, 40], [80, 60]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PKT, average precision in %", "listwise, in %")
    assert "3 queries by listwise against PKT" in fig.get_label()
    assert "1 points above the diagonal, 1 below it" in fig.get_label()


def test_teachers_stand_beside_their_students():
    rows = [("teacher", "42.0", "27.0"), ("teacher (order)", "", "20.0"), ("teacher", "42.0", "11.0")]
    explored = pandas.DataFrame(rows, columns=["teacher", "itself", "student"])
    fig = teacher_rows(explored)
    assert "teacher: teacher 42.0, distilled student 27.0; teacher (order): distilled student 20.0." in fig.get_label()
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["teacher (order)", "teacher"]


def test_choices_are_numbered_in_their_order():
    points = np.array([[0, 0], [1, 0], [2, 1]])
    fig = choice_figure(points, {"random": [2, 0], "other": np.array([1])})
    assert [ax.get_title() for ax in fig.axes] == ["random", "other"]
    assert [(text.get_text(), text.get_position()) for text in fig.axes[0].texts] == [("1", (2, 1)), ("2", (0, 0))]
    assert "random, other" in fig.get_label()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: efficiency_plot({}),
        lambda: efficiency_plot({"to come": CURVES["to come"]}),
        lambda: gain_rows(GAINS[:0]),
        lambda: gain_rows(pandas.concat([GAINS[:1].assign(method=f"m{k}") for k in range(15)])),
        lambda: teacher_rows(pandas.DataFrame()),
        lambda: choice_figure(np.zeros((3, 3)), {"a": [0]}),
        lambda: choice_figure(np.zeros((3, 2)), {}),
    ],
)
def test_nothing_to_draw_is_an_error_of_one_sentence(draw):
    with pytest.raises(BadInput, match="give"):
        draw()


@pytest.mark.parametrize("fig", [efficiency_plot(CURVES, {"teacher": 0.4}), gain_rows(GAINS)])
def test_figures_can_be_drawn(fig, tmp_path):
    fig.savefig(tmp_path / "a.png", dpi=50)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_gains_of_one_pair_are_dots_by_seed_above_their_mean_and_interval():
    rows = [
        reached(name, 300, seed, 0.3, [value + gain * seed for value in PER_QUERY])
        for name, gain in (("lesson", 0.0), ("lesson+mixtures", 0.02))
        for seed in (0, 1, 2)
    ]
    fig = gains_by_seed(runs_of(*rows), "lesson+mixtures", "lesson", 300)
    (ax,) = fig.axes
    (dots,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert list(dots.get_xdata()) == pytest.approx([0, 2, 4]) and list(dots.get_ydata()) == [3, 2, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["seed 0", "seed 1", "seed 2", "mean, 95 %"]
    assert "seed 2 +4.0; mean +2.0 with an interval from" in fig.get_label()


def test_without_such_runs_the_figure_is_one_sentence():
    fig = gains_by_seed(runs_of(), "lesson+mixtures", "lesson", 300)
    assert fig.get_label() == NO_RUNS == fig.texts[0].get_text() and not fig.axes


def test_rooms_that_a_network_learned_from_are_filled():
    fig = same_room_figure(teachers.read())
    (ax,) = fig.axes
    filled = {(place[0], edge == face) for place, edge, face in points_of(ax)}
    assert sum(full for _, full in filled) == 4 and len(filled) == 12
    assert [label.get_text() for label in ax.get_yticklabels()] == ["test", "validation", "train", "private"]
    assert "memoriser, train (seen): 67.9" in fig.get_label()
