"""Figures and maps, on a benchmark of plain colours."""

import io
import itertools
import re
import sys

import numpy as np
import pandas
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from tiny_sets import COLOURS, colour, colours, there_and_back, unit_rows

from rdistill_course import course_map, style
from rdistill_course.maps import map_figure, umap_map
from rdistill_course.photographs import image_grid, outcomes, ranked_list
from rdistill_course.pictures import filmstrip, protocol_examples, query_by_query, scores_plot
from rdistill_course.style import show_figure
from rdistill_helpers.distil.history import History
from rdistill_helpers.errors import BadInput
from rdistill_helpers.plots import history_plot
from rdistill_helpers.plots import style as palette
from study.figures import efficiency_plot


@pytest.fixture
def benchmark():
    return colours()


@pytest.fixture
def ranking():
    return there_and_back()


def history(steps: int, start: float = 1.0) -> History:
    return History(list(range(steps)), [start / (1 + i) for i in range(steps)], [0.1] * steps, [0.1] * steps)


def drawn(fig: Figure) -> str:
    """Draws the figure, which must not fail, and gives its description."""
    assert isinstance(fig, Figure)
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    return fig.get_label()


# Outcomes


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("easy", "++...-"), ("medium", "++++.-"), ("hard", "..++.-")],
)
def test_outcomes_follow_the_protocol(benchmark, protocol, expected):
    signs = {"positive": "+", "ignored": ".", "negative": "-"}
    kinds = outcomes(benchmark, 0, [0, 1, 2, 3, 4, 20], protocol)
    assert "".join(signs[kind] for kind in kinds) == expected


def test_unknown_protocols_and_queries_are_refused(benchmark, ranking):
    with pytest.raises(BadInput, match="easy, medium, hard"):
        outcomes(benchmark, 0, [0], "simple")
    with pytest.raises(BadInput, match="choose 0 to 1"):
        protocol_examples(benchmark, 2)
    with pytest.raises(BadInput, match="no query -1"):
        ranked_list(benchmark, -1, ranking)


# Figures


def test_every_figure_describes_itself_and_takes_another_description(benchmark, ranking):
    rows = [{"name": "teacher", "easy": 0.7, "medium": 0.55, "hard": 0.3}]
    images = [colour(i) for i in range(7)]
    makers = {
        "7 photographs": lambda **kw: image_grid(images, [str(i) for i in range(7)], columns=3, **kw),
        "2 easy, 2 hard, 1 junk": lambda **kw: protocol_examples(benchmark, 0, **kw),
        "1 right, 2 right, 3 right, 4 right, 5 ignored, 6 wrong": lambda **kw: ranked_list(benchmark, 0, ranking, **kw),
        "lambda = 1.00, 0.50, 0.00": lambda **kw: filmstrip(
            [1, 0.5, 0], [images[:2]] * 3, (images[0], images[1]), **kw
        ),
        "one from 1 to 0.1": lambda **kw: history_plot({"one": history(10), "two": history(60)}, **kw),
        "teacher easy 70.0, medium 55.0, hard 30.0": lambda **kw: scores_plot(rows, **kw),
        "24 descriptors in 2 groups": lambda **kw: map_figure(np.zeros((24, 2)), ["a", "b"] * 12, background="b", **kw),
    }
    for expected, make in makers.items():
        assert expected in drawn(make())
        assert drawn(make(alt="in other words")) == "in other words"


def test_results_differ_by_line_and_sign_as_well_as_colour(benchmark, ranking):
    fig = ranked_list(benchmark, 0, ranking, k=6)
    tiles = fig.axes[1:7]
    lines = [ax.spines["left"].get_linestyle() for ax in tiles]
    assert lines == ["-", "-", "-", "-", ":", "--"]
    assert [ax.get_title()[-1] for ax in tiles] == ["✓", "✓", "✓", "✓", "–", "✗"]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["✓ right", "✗ wrong", "– ignored"]


def test_the_key_names_only_what_occurs_and_a_title_stands_above(benchmark, ranking):
    fig = ranked_list(benchmark, 0, ranking, k=4, title="four right ones")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["✓ right"]
    assert fig.get_suptitle() == "four right ones"
    drawn(fig)


def test_examples_leave_no_column_empty(benchmark):
    assert len(protocol_examples(benchmark, 0, per_row=5).axes) == 3 * 2 + 1


def test_filmstrip_frames_tell_places_apart_by_line_and_colour():
    images = [colour(i) for i in range(2)]
    fig = filmstrip([0.9, 0.1], [images] * 2, (images[0], images[1]), places=[[0, 2], [0, 2]])
    looks = [(ax.spines["left"].get_edgecolor(), ax.spines["left"].get_linestyle()) for ax in fig.axes]
    # Two rows of four: the first photograph, two columns, the second photograph.
    first, by_first, _, second, _, third = looks[:6]
    assert first == by_first
    assert len({first, second, third}) == len({line for _, line in (first, second, third)}) == 3
    assert len(fig.legends[0].get_texts()) == 3
    drawn(fig)


def test_a_query_without_box_and_images_is_drawn(benchmark, ranking):
    assert "0 easy, 1 hard, 2 junk" in drawn(protocol_examples(benchmark, 1, per_row=2))
    drawn(ranked_list(benchmark, 1, ranking, "easy", k=1))


def test_filmstrip_puts_the_ends_where_lambda_says(benchmark):
    images = [colour(i) for i in range(3)]
    falling = filmstrip([1.0, 0.0], [images] * 2, (images[0], images[1]))
    rising = filmstrip([0.0, 1.0], [images] * 2, (images[0], images[1]))
    assert (falling.axes[0].get_title(), falling.axes[3].get_title()) == ("first (λ = 1)", "second (λ = 0)")
    assert (rising.axes[0].get_title(), rising.axes[3].get_title()) == ("second (λ = 0)", "first (λ = 1)")
    np.testing.assert_array_equal(rising.axes[0].images[0].get_array(), np.asarray(images[1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b, r: image_grid([]), "cannot be laid out"),
        (lambda b, r: image_grid([colour(0)], ["a", "b"]), "2 titles for 1 images"),
        (lambda b, r: ranked_list(b, 0, r, k=COLOURS + 1), "no first 25 results"),
        (lambda b, r: ranked_list(b, 0, r[0]), "give [Q, n]"),
        (lambda b, r: ranked_list(b, 0, r + COLOURS), "beyond the 24"),
        (lambda b, r: filmstrip([0.5], []), "1 weights and 0 columns"),
        (lambda b, r: filmstrip([0.5], [[colour(0)]], places=[[0, 1]]), "places do not fit"),
        (lambda b, r: history_plot({}), "no loss to draw"),
        (lambda b, r: scores_plot([]), "no score to draw"),
        (lambda b, r: map_figure(np.zeros((3, 2)), ["a"]), "for 1 groups"),
        (lambda b, r: umap_map(unit_rows(3, 4)), "at least 5 descriptors"),
        (lambda b, r: umap_map(torch.full((9, 4), torch.nan)), "NaN"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(benchmark, ranking, make, message):
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        make(benchmark, ranking)
    assert str(caught.value).count(". ") == 0


def test_a_shown_figure_carries_its_description_and_is_closed(monkeypatch):
    import IPython.core.getipython
    import IPython.display
    import matplotlib.pyplot as plt

    published = []
    plt.close("all")  # what other tests left open
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    monkeypatch.setattr(IPython.core.getipython, "get_ipython", object)
    monkeypatch.setattr(IPython.display, "display", lambda data, **kw: published.append((data, kw)))
    show_figure(fig, "A rising line.")
    show_figure(image_grid([colour(1)]))
    assert plt.get_fignums() == []
    (chart, chart_settings), (photograph, photograph_settings) = published
    assert chart_settings["metadata"]["image/png"]["alt"] == "A rising line."
    assert Image.open(io.BytesIO(chart["image/png"])).format == "PNG"
    assert chart["text/plain"] == "<figure: A rising line.>"
    assert photograph_settings["metadata"]["image/jpeg"]["alt"] == "1 photograph in 1 row."
    assert Image.open(io.BytesIO(photograph["image/jpeg"])).format == "JPEG"
    assert chart_settings["raw"] and photograph_settings["raw"]


def test_a_shown_figure_tells_where_its_photographs_lie(monkeypatch):
    import IPython.core.getipython
    import IPython.display

    published = []
    monkeypatch.setattr(IPython.core.getipython, "get_ipython", object)
    monkeypatch.setattr(IPython.display, "display", lambda data, metadata, raw: published.append((data, metadata)))
    show_figure(image_grid([colour(1), colour(2)]))
    ((data, metadata),) = published
    picture = Image.open(io.BytesIO(data["image/jpeg"])).convert("RGB")
    boxes = metadata["image/jpeg"]["photographs"]
    assert len(boxes) == 2
    for number, box in enumerate(boxes, 1):
        inside = np.asarray(picture.crop(box)).reshape(-1, 3)
        assert np.abs(np.median(inside, axis=0) - np.asarray(colour(number)).reshape(-1, 3)[0]).max() < 12
        picture.paste("white", tuple(box))
    assert np.asarray(picture).min() > 200  # nothing of a photograph is left but what JPEG smears


def test_outside_a_notebook_the_description_is_printed(capsys):
    show_figure(image_grid([colour(1)]), "One colour.")
    assert capsys.readouterr().out == "<figure: One colour.>\n"


def test_the_style_needs_no_other_setting():
    import matplotlib

    with matplotlib.rc_context():
        style.use_style()
        assert matplotlib.rcParams["savefig.dpi"] == style.PRINT_DPI
        assert len(set(palette.COLOURS)) + 1 == len(palette.MARKERS) == len(palette.LINES) == len(style.HATCHES)
        drawn(history_plot({"one": history(30)}, log=True))


def lightness(colour: str) -> float:
    """How light a colour is on a grey page: L* of CIELAB, 0 to 100."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_the_first_three_series_of_a_chart_differ_on_a_grey_page():
    """Most charts of the course have no more; seven colours that keep their distance in grey as well do not exist."""
    tones = [lightness(colour) for colour in palette.COLOURS[:3]]
    assert min(abs(a - b) for a, b in itertools.combinations(tones, 2)) > 10


def test_colours_as_light_as_each_other_differ_by_line_marker_and_hatch():
    looks = list(zip(palette.COLOURS, palette.LINES, palette.MARKERS, style.HATCHES, strict=False))
    alike = [(a, b) for a, b in itertools.combinations(looks, 2) if abs(lightness(a[0]) - lightness(b[0])) < 10]
    assert alike, "without such a pair this would prove nothing"
    for one, other in alike:
        assert all(a != b for a, b in zip(one, other, strict=True))


def test_the_palette_keeps_its_distance_for_colour_blind_eyes():
    # Machado, Oliveira and Fernandes, 2009: what protanopes and deuteranopes see, in linear RGB.
    seen = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    }
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in palette.COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in seen.values():
        shown = np.clip(linear @ np.array(matrix).T, 0, 1)
        for a, b in itertools.combinations(shown ** (1 / 2.4), 2):
            assert np.linalg.norm(a - b) > 0.1


def test_an_arm_of_the_course_has_one_colour_in_every_figure():
    one = {"easy": 0.4, "medium": 0.3, "hard": 0.1}
    curve = pandas.DataFrame({"images": [25, 300], "seeds": 5, "mean": [0.2, 0.3], "low": [0.1, 0.2], "high": 0.4})
    for names in (["teacher", "untrained student"], ["untrained student", "mine", "distilled", "teacher"]):
        bars = scores_plot([{"name": name} | one for name in names]).axes[0].patches
        for name, bar in zip(names, bars, strict=True):
            if name in style.ARMS:
                assert to_hex(bar.get_facecolor()) == to_hex(style.ARMS[name].colour), name
    (ax,) = efficiency_plot(dict.fromkeys(("PKT", "listwise", "listwise + regression"), curve)).axes
    drawn_as = {line.get_label(): line.get_color() for line in ax.lines}
    assert drawn_as["listwise + regression"] == style.ARMS["distilled"].colour
    assert drawn_as["listwise"] == style.ARMS["list alone"].colour
    boxes = {text.get_text(): text.get_bbox_patch() for text in course_map().axes[0].texts}
    assert to_hex(boxes["student"].get_edgecolor()) == to_hex(style.ARMS["distilled"].colour)
    assert to_hex(boxes["teacher\n(black box)"].get_edgecolor()) == to_hex(style.ARMS["teacher"].colour)
    (points,) = query_by_query(np.ones(3), np.ones(3), "distilled student").axes[0].collections
    assert to_hex(points.get_facecolor()[0]) == to_hex(style.ARMS["distilled"].colour)


def test_what_is_no_arm_takes_no_colour_of_one_and_no_two_look_alike():
    names = ["teacher", "untrained student", "distilled", *(f"loss {k}" for k in range(20))]
    found = style.looks(names)
    assert len({(look.colour, look.line) for look in found}) == len(names)
    assert {look.colour for look in found[:3]}.isdisjoint({look.colour for look in found[3:]})


def test_arms_differ_by_line_marker_and_hatch_as_well():
    arms = list(dict.fromkeys(style.ARMS.values()))
    assert len(arms) == 6
    for kind in zip(*arms, strict=True):
        assert len(set(kind)) == len(arms)


def test_the_diagonal_plot_has_the_teacher_to_the_right_and_counts_in_percent():
    fig = query_by_query(np.array([0.2, 0.5, np.nan]), np.array([0.4, 0.25, 0.3]), "untrained student", marked=1)
    (ax,) = fig.axes
    assert "teacher" in ax.get_xlabel()
    assert "untrained student" in ax.get_ylabel()
    assert ax.collections[0].get_offsets()[:2].tolist() == [[20, 40], [50, 25]]
    assert "1 of 2" in ax.get_title()
    assert "query 1" in [text.get_text() for text in ax.texts]
    with pytest.raises(BadInput, match="not of the same queries"):
        query_by_query(np.zeros(3), np.zeros(2), "student")


def test_bars_say_of_how_many_seeds_they_are():
    rows = [{"name": "distilled", "easy": 0.4, "medium": 0.3, "hard": 0.1}]
    fig = scores_plot(rows, title="seed 0 alone")
    assert fig.get_suptitle() == "seed 0 alone"
    assert "seed 0 alone" in fig.get_label()


def test_outcomes_differ_by_line_and_sign():
    lines = [mark.line for mark in style.MARKS.values()]
    signs = [mark.sign for mark in style.MARKS.values()]
    assert len(set(lines)) == len(set(signs)) == 3


# Maps


@pytest.mark.slow  # UMAP compiles for about ten seconds
def test_umap_gives_one_place_a_row_without_a_warning(capsys, recwarn, monkeypatch):
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    rows = torch.cat([unit_rows(15, 8) * 0.05 + 1, unit_rows(15, 8) * 0.05 - 1])
    rows = torch.nn.functional.normalize(rows, dim=1)
    places = umap_map(rows, seed=1, neighbours=5)
    assert places.shape == (30, 2)
    assert np.isfinite(places).all()
    assert "about 10 s" in capsys.readouterr().out
    assert [str(w.message) for w in recwarn if "n_jobs" in str(w.message)] == []
    # The nearest neighbour in the map is of one's own group: all that a map promises.
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(30)
    assert ((distance.argmin(1) < 15) == (np.arange(30) < 15)).all()
    threads = torch.get_num_threads()
    assert umap_map(unit_rows(5, 4)).shape == (5, 2)
    assert capsys.readouterr().out == "", "the wait is announced once"
    assert torch.get_num_threads() == threads


def test_groups_beyond_the_palette_still_differ():
    fig = map_figure({"teacher": np.zeros((20, 2)), "student": np.ones((20, 2))}, range(20))
    looks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in fig.axes[0].collections
    }
    assert len(looks) == 20
    assert [ax.get_title() for ax in fig.axes] == ["teacher", "student"]
    drawn(fig)
