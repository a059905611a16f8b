"""Figures of a study: what is drawn where, what tells seeds and sides apart, and what the description says."""

import numpy as np
import pandas
import pytest

from rdistill_helpers.errors import BadInput
from study.figures import SIDES, choice_figure, efficiency_plot, gain_map, seed_gains


def frame(rows):
    return pandas.DataFrame(rows, columns=["images", "seeds", "mean", "low", "high"])


CURVES = {
    "listwise": frame([(300, 5, 0.30, 0.25, 0.35), (25, 5, 0.20, 0.15, 0.25), (100, 1, 0.25, 0.2, 0.3)]),
    "labels": frame([(100, 5, 0.22, 0.2, 0.24)]),
    "to come": frame([]),
}
GAINS = pandas.DataFrame(
    [
        ("listwise", 25, 5, 0.02, 0.01, 0.03),
        ("listwise", 300, 5, -0.02, -0.03, -0.01),
        ("order\n+ more", 300, 2, 0.005, -0.01, 0.02),
    ],
    columns=["method", "images", "seeds", "mean", "low", "high"],
)
SINGLE = pandas.DataFrame(
    [("few", 1000, 0.01), ("few", 1001, -0.02), ("many", 1000, 0.03)], columns=["name", "seed", "gain"]
)


def lines_of(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def test_a_curve_is_drawn_in_percent_against_photographs_in_ascending_order():
    (ax,) = efficiency_plot(CURVES).axes
    (line,) = [line for line in ax.lines if line.get_label() == "listwise"]
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


def test_a_curve_of_one_point_has_an_interval_too_and_bands_can_be_left_out():
    (ax,) = efficiency_plot(CURVES).axes
    assert len(ax.collections) == 2  # a band, and an upright line for the single point
    (ax,) = efficiency_plot(CURVES, bands=False).axes
    assert len(ax.collections) == 0


def test_levels_are_lines_with_their_figure():
    fig = efficiency_plot(CURVES, {"teacher": 0.431, "untrained": 0.18})
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.texts] == ["teacher 43.1", "untrained 18.0"]
    assert "Horizontal line: teacher 43.1." in fig.get_label()


def test_a_curve_plot_describes_itself():
    said = efficiency_plot(CURVES, xlabel="queries").get_label()
    assert (
        "against queries, with bands of 95 %: listwise 20.0 at 25, 25.0 at 100, 30.0 at 300; labels 22.0 at 100."
        in said
    )
    assert "to come" not in said
    assert efficiency_plot(CURVES, alt="mine").get_label() == "mine"


def test_a_map_has_a_panel_for_each_method_and_a_zero_line():
    fig = gain_map(GAINS)
    assert [ax.get_title() for ax in fig.axes] == ["listwise", "order\n+ more"]
    assert all(list(ax.lines[0].get_xdata()) == [0, 0] for ax in fig.axes)
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["300", "25"]


def test_the_side_of_an_interval_decides_colour_and_marker():
    first, second = gain_map(GAINS).axes
    for side, ax, mean in (("above", first, 2), ("below", first, -2), ("not told apart", second, 0.5)):
        (point,) = lines_of(ax, SIDES[side][1])
        assert point.get_color() == SIDES[side][0]
        assert float(point.get_xdata()[0]) == pytest.approx(mean)
    assert lines_of(second, "o")[0].get_markerfacecolor() == "white"  # two seeds
    assert lines_of(first, "^")[0].get_markerfacecolor() == SIDES["above"][0]


def test_a_map_keys_what_occurs_and_describes_itself():
    fig = gain_map(GAINS)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "better", "not told apart", "worse", "hollow: fewer than 5 seeds",
    ]  # fmt: skip
    assert "listwise, 25: +2.0 (+1.0 to +3.0), better" in fig.get_label()
    assert "order + more, 300: +0.5 (-1.0 to +2.0), not told apart" in fig.get_label()
    only = gain_map(GAINS[:1])
    assert [text.get_text() for text in only.legends[0].get_texts()] == ["better"]


def test_a_map_of_many_methods_goes_on_in_another_row():
    many = pandas.concat([GAINS[:1].assign(method=f"m{k}") for k in range(7)])
    fig = gain_map(many, columns=5)
    shown = [ax for ax in fig.axes if ax.axison]
    assert len(shown) == 7
    assert all(ax.get_xlabel() == "points" for ax in shown[2:])


def test_each_seed_has_a_marker_and_each_name_its_mean():
    (fig,) = seed_gains(SINGLE)
    (ax,) = fig.axes
    assert [float(line.get_xdata()[0]) for line in lines_of(ax, "o")] == pytest.approx([3, 1])
    assert [float(line.get_xdata()[0]) for line in lines_of(ax, "s")] == pytest.approx([-2])
    bars = [list(line.get_xdata()) for line in lines_of(ax, "None") if len(set(line.get_ydata())) > 1][1:]
    assert sorted(bar[0] for bar in bars) == pytest.approx([-0.5, 3])
    assert "few -0.5; many +3.0" in fig.get_label()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["many", "few"]


def test_many_gains_are_drawn_in_figures_of_few_rows_with_one_axis():
    many = pandas.DataFrame({"name": [f"row {k}" for k in range(34)], "seed": 0, "gain": np.linspace(-0.03, 0.05, 34)})
    figures = [fig.axes[0] for fig in seed_gains(many)]
    rows = [[text.get_text() for text in ax.get_yticklabels()][::-1] for ax in figures]
    assert max(map(len, rows)) <= 14
    assert [name for part in rows for name in part] == many["name"].tolist()
    assert len({ax.get_xlim() for ax in figures}) == 1
    assert figures[0].get_xlim()[0] < -3 < 5 < figures[0].get_xlim()[1]


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
        lambda: gain_map(GAINS[:0]),
        lambda: seed_gains(SINGLE[:0]),
        lambda: choice_figure(np.zeros((3, 3)), {"a": [0]}),
        lambda: choice_figure(np.zeros((3, 2)), {}),
    ],
)
def test_nothing_to_draw_is_an_error_of_one_sentence(draw):
    with pytest.raises(BadInput, match="give"):
        draw()


@pytest.mark.parametrize("fig", [efficiency_plot(CURVES, {"teacher": 0.4}), gain_map(GAINS), *seed_gains(SINGLE)])
def test_figures_can_be_drawn(fig, tmp_path):
    fig.savefig(tmp_path / "a.png", dpi=50)
    assert (tmp_path / "a.png").stat().st_size > 1000
