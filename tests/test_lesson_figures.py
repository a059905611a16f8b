"""Figures of notebooks 4 and 5 show what they are given, and the student that notebook 5 scores is the one that was saved."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tiny_sets import colours, there_and_back, unit_rows
from torch import nn

from rdistill_course.lesson_student import lesson_student
from rdistill_course.loop_figures import batch_figure, list_and_answer_figure, losses_figure
from rdistill_course.score_figures import area_figure, asymmetric_diagram, failures_figure, map_lines
from rdistill_helpers import BadInput, RetrievalNet, save_network, teacher_version
from rdistill_helpers.distil.batches import teacher_neighbours
from rdistill_helpers.distil.history import History
from rdistill_helpers.score.ranks import average_precision
from rdistill_helpers.ship.projection import save_projection


def drawn(fig: Figure) -> str:
    """Draws the figure, which must not fail, and gives its description."""
    assert isinstance(fig, Figure)
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    return fig.get_label()


def test_a_batch_shows_the_teacher_s_neighbours_and_counts_those_of_other_rooms():
    rows, labels = unit_rows(12, 5), torch.arange(12) // 4
    images = torch.zeros(12, 3, 6, 8, dtype=torch.uint8)
    fig = batch_figure(images, rows, labels, [0, 7], neighbours=3)
    nearest = teacher_neighbours(rows, 3)[[0, 7]]
    others = int((labels[nearest] != labels[[0, 7], None]).sum())
    assert f"which {others} of 6 show" in drawn(fig)
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[0] == titles[4] == "anchor" and sum("other room" in title for title in titles) == others
    with pytest.raises(BadInput, match="no anchor"):
        batch_figure(images, rows, labels, [])


def test_a_list_is_shown_by_place_and_its_shares_add_up():
    chances = torch.rand(4, 30, generator=torch.Generator().manual_seed(0)).softmax(1)
    fig = list_and_answer_figure(chances, 512, 1280)
    bars = [bar.get_width() for bar in fig.axes[0].patches]
    assert sum(bars) == pytest.approx(100, abs=1e-3)
    assert bars[0] == pytest.approx(100 * float(chances.topk(5).values.sum(1).mean()), abs=1e-3)
    assert "512 numbers passes a projection to 1,280 numbers" in drawn(fig)
    with pytest.raises(BadInput, match="at least 21 places"):
        list_and_answer_figure(chances[:, :20], 512, 1280)


def test_losses_are_shares_of_where_they_began_and_differ_by_line_and_colour():
    def history(first, last):
        return History(list(range(60)), np.linspace(first, last, 60).tolist(), [0.1] * 60, [0.1] * 60)

    fig = losses_figure({"distilled": history(4, 1), "list alone": history(1, 1)})
    first, second = fig.axes[0].lines
    assert first.get_ydata()[0] == second.get_ydata()[-1] == pytest.approx(100)
    assert first.get_ydata()[-1] < 50 and "list alone 100 %" in drawn(fig)
    assert (first.get_color(), first.get_linestyle()) != (second.get_color(), second.get_linestyle())
    with pytest.raises(BadInput, match="at least 25 steps"):
        losses_figure({"short": History([0], [1.0], [0.1], [0.1])})


def test_the_area_of_the_trapezoids_is_the_average_precision():
    assert f"area {100 * average_precision([0, 2, 5]):.1f} %" in drawn(area_figure([0, 2, 5]))
    assert "area 50.0 %" in drawn(area_figure([1]))  # the rectangle; the trapezoid has half of it
    for ranks in ([], [3, 1], [-1]):
        with pytest.raises(BadInput, match="ascending, from 0"):
            area_figure(ranks)


def test_failures_are_the_worst_queries_with_the_place_of_their_best_positive():
    benchmark = colours()
    similarity = -there_and_back().argsort(1).float()
    said = drawn(failures_figure(benchmark, similarity, np.array([0.5, 0.2])))
    assert said.endswith("query 1 20.0 %, best positive at place 19; query 0 50.0 %, best positive at place 1.")
    assert "query 1" not in drawn(failures_figure(benchmark, similarity, np.array([0.5, np.nan])))
    with pytest.raises(BadInput, match="do not fit 2 queries"):
        failures_figure(benchmark, similarity[:, :3], np.array([0.5, 0.2]))


def test_lines_are_in_percent_and_no_two_look_alike():
    curves = {"teacher": [0.4, 0.5], "untrained student": [0.1, 0.2], "distilled student": [0.2, 0.3]}
    fig = map_lines([0, 5], curves, "matches", "medium")
    assert "medium mAP in percent against matches, 0, 5: teacher 40.0, 50.0" in drawn(fig)
    looks = {(line.get_color(), line.get_linestyle()) for line in fig.axes[0].lines}
    assert len(looks) == 3 and list(fig.axes[0].lines[0].get_ydata()) == pytest.approx([40, 50])
    with pytest.raises(BadInput, match="a value for the 2 numbers"):
        map_lines([0, 5], {"teacher": [0.4]}, "matches")


def test_the_diagram_of_asymmetric_search_says_who_describes_what():
    assert "The database goes through the teacher, once." in drawn(asymmetric_diagram())


def test_the_student_of_notebook_4_is_loaded_with_its_projection(tmp_path, monkeypatch):
    monkeypatch.setenv("RDISTILL_RUNS", str(tmp_path))
    saved, version = nn.Linear(512, 7), teacher_version()
    save_network(RetrievalNet(), tmp_path / "course" / f"student_of_{version}.safetensors", steps=5)
    save_projection(saved, tmp_path / "course" / f"projection_of_{version}.safetensors")
    _, projection, said = lesson_student()
    assert torch.equal(projection.weight, saved.weight) and said == "the student of notebook 4, trained for 5 steps"
