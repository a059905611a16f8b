"""Widgets without a browser: what a hand would do is to change .value. In a browser: test_widgets_browser.py."""

import base64
import io
import math
import re
from datetime import UTC, datetime
from functools import partial

import ipywidgets
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from tiny_sets import COLOURS, MeanColours, colour, colours, photograph, there_and_back, unit_rows

from rdistill_course import (
    lambda_slider,
    loss_explorer,
    map_explorer,
    nearest_to_mixtures,
    protocol_explorer,
    search_page,
    style,
    toy_figure,
)
from rdistill_course.toy import Toy, ToyDrawing
from rdistill_course.widgets.protocols import list_scores
from rdistill_helpers import evaluate_ranking, index_photographs, losses
from rdistill_helpers.distil.interpolate import mix
from rdistill_helpers.errors import BadInput

GROUPS = torch.arange(12) // 4
RADIUS = 13  # pixels of the ring around a chosen point of the map
LOSSES = {
    "listwise": losses.listwise,
    "similarity": losses.similarity,
    "RKD": lambda s, t: losses.rkd_distance(s, t) + 2 * losses.rkd_angle(s, t, chunk=12),
    "DarkRank, hard": partial(losses.darkrank_hard, length=11),
    "PKT": losses.pkt,
}
CONTROLS = (
    *(ipywidgets.IntSlider, ipywidgets.SelectionSlider, ipywidgets.ToggleButtons),
    *(ipywidgets.Checkbox, ipywidgets.Button, ipywidgets.IntRangeSlider, ipywidgets.FileUpload),
)


@pytest.fixture
def benchmark():
    return colours()


@pytest.fixture
def ranking():
    return there_and_back()


def parts(widget) -> list:
    """The widget and everything in it."""
    return [widget, *(inner for child in getattr(widget, "children", ()) for inner in parts(child))]


def control(widget, start: str):
    """The one control whose description starts like this."""
    (found,) = [part for part in parts(widget) if getattr(part, "description", "").startswith(start)]
    return found


def pictures(widget) -> list:
    return [part for part in parts(widget) if isinstance(part, ipywidgets.HTML) and "<img" in part.value]


def words(widget) -> str:
    texts = [part.value for part in parts(widget) if isinstance(part, ipywidgets.HTML) and "<img" not in part.value]
    return " ".join(re.sub("<[^>]+>", "", text) for text in texts)


def alt(view) -> str:
    return re.search(r'<img alt="([^"]*)"', view.value)[1]


def pixels(view) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", view.value)[1]))).convert("RGB")


def near(one, other) -> bool:
    """Whether two colours are the same but for what JPEG does to them."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 12


def of_hex(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def circle(count: int, seed: int = 0) -> torch.Tensor:
    angle = torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 2 * math.pi
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.fixture
def index(tmp_path):
    """Twelve photographs in six pairs that look alike, indexed by their colours."""
    for number in range(12):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{number:02}.jpg").write_bytes(photograph(number))
    return index_photographs(MeanColours(), tmp_path / "photos", tmp_path / "index", "colours", progress=False)


def all_widgets(index) -> dict:
    rows = {"teacher": unit_rows(COLOURS, 8), "student": unit_rows(COLOURS, 5, seed=3)}
    places = {"teacher": unit_rows(12, 2).numpy(), "student": unit_rows(12, 2, seed=1).numpy()}
    return {
        "lambda_slider": lambda_slider(rows, colour, (3, 7), k=4, steps=11),
        "protocol_explorer": protocol_explorer(colours(), there_and_back(), k=6),
        "loss_explorer": loss_explorer(unit_rows(12, 6), circle(12), GROUPS, LOSSES),
        "map_explorer": map_explorer(places, GROUPS, colour),
        "search_page": search_page(index, MeanColours()),
    }


# All of them


def test_every_control_says_what_it_is_and_every_picture_what_it_shows(index):
    for name, widget in all_widgets(index).items():
        controls = [part for part in parts(widget) if isinstance(part, CONTROLS)]
        assert controls, name
        assert [part for part in controls if not part.description] == [], name
        assert "Keyboard: Tab goes from control to control" in words(widget), name
        assert pictures(widget), name
        assert min(len(alt(view)) for view in pictures(widget)) > 15, name


def test_a_page_without_a_kernel_shows_the_first_picture_and_what_a_widget_does_and_asks_no_other_host(index):
    from nbconvert import HTMLExporter

    def page(output) -> str:
        cell = nbformat.v4.new_code_cell("widget", execution_count=1, outputs=[output])
        return HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))[0]

    def hosts(text: str) -> set[str]:
        return set(re.findall(r"https?://([\w.-]+)", text))

    plain = page(nbformat.v4.new_output("display_data", {"text/plain": "nothing to move"}))
    sentences = set()
    for name, widget in all_widgets(index).items():
        data = widget._repr_mimebundle_()
        still = data["text/html"]
        assert [picture for picture in pictures(widget) if picture.value not in still] == [], name
        assert still.count("<img") == len(pictures(widget)) > 0, name
        sentences.add(re.sub("<[^>]+>", "", still))
        assert "kernel" in still, name
        widget_page = page(nbformat.v4.new_output("display_data", data))
        assert hosts(widget_page) <= hosts(plain), name
    assert len(sentences) == len(all_widgets(index))


# The mixing weight


@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_neighbours_of_mixtures_equal_a_slow_search(seed, k, weight):
    rows = unit_rows(9, 4, seed)
    found = nearest_to_mixtures(rows, (2, 5), torch.tensor([weight]), k)[0].tolist()
    mixture = weight * rows[2] + (1 - weight) * rows[5]
    others = sorted((i for i in range(9) if i not in (2, 5)), key=lambda i: -float(rows[i] @ mixture))
    similarity = mix(rows, torch.tensor([[2, 5]]), torch.tensor([weight]))[0] @ rows.T
    torch.testing.assert_close(similarity[found], similarity[others[:k]], atol=1e-5, rtol=0)


def test_moving_the_slider_shows_the_neighbours_of_that_mixture():
    rows = {"teacher": unit_rows(COLOURS, 8), "student": unit_rows(COLOURS, 5, seed=3)}
    widget = lambda_slider(rows, colour, (3, 7), k=4, steps=11)
    slider, (view,) = control(widget, "λ"), pictures(widget)
    assert slider.label == "0.50"
    seen = set()
    for step in range(11):
        slider.value = step
        expected = nearest_to_mixtures(rows["student"], (3, 7), torch.tensor([step / 10]), 4)[0].tolist()
        for said in (words(widget), alt(view)):
            assert f"λ = {step / 10:.2f} of photograph 3" in said
            assert f"student: photographs {', '.join(map(str, expected))}" in said
        seen.add(view.value)
    assert len(seen) == 11, "the words in the picture's description change even where the photographs do not"
    # Two rows; in the second, the first photograph stands in the third place, after the two ends.
    one_row = lambda_slider({"t": rows["teacher"]}, colour, (3, 7), 4)
    assert pixels(view).height == 2 * pixels(pictures(one_row)[0]).height
    assert near(pixels(view).getpixel((2 * 176 + 90, 156 + 80)), colour(expected[0]).getpixel((0, 0)))


# The protocol


def test_the_explorer_answers_to_every_control(benchmark, ranking):
    widget = protocol_explorer(benchmark, ranking, k=8)
    query, switch, (view,) = control(widget, "Query"), control(widget, "Protocol"), pictures(widget)
    junk, count = control(widget, "junk"), control(widget, "Results shown")
    assert (query.min, query.max, switch.options, count.value) == (0, 1, ("easy", "medium", "hard"), 8)
    first = view.value
    assert "Query 0 (q_30), medium, junk ignored: AP 100.0 %, P@8 100.0 %" in words(widget)
    assert "Results: 1 E right, 2 E right, 3 H right, 4 H right, 5 J ignored, 6 wrong" in words(widget)
    switch.value = "hard"
    assert "1 E ignored, 2 E ignored, 3 H right" in alt(view)
    junk.value = False
    assert "junk counted as wrong" in words(widget)
    assert "5 J wrong" in alt(view)
    count.value = 3
    assert "3 H right" in alt(view)
    assert "4 H" not in alt(view)
    query.value, switch.value = 1, "easy"
    assert "Query 1 (q_31), easy, junk counted as wrong: no positives under this protocol" in words(widget)
    query.value, switch.value, junk.value, count.value = 0, "medium", True, 8
    assert view.value == first


def test_scores_of_whole_lists_are_those_of_the_report(benchmark):
    generator = torch.Generator().manual_seed(0)
    lists = torch.stack([torch.randperm(COLOURS, generator=generator) for _ in range(2)]).numpy()
    report = evaluate_ranking(lists, benchmark, ks=(4,))
    for protocol in ("easy", "medium", "hard"):
        scores = [list_scores(benchmark, query, lists[query], protocol, 4) for query in (0, 1)]
        np.testing.assert_allclose([ap for ap, _ in scores], getattr(report, protocol).ap)
        assert np.nanmean([precision for _, precision in scores]) == pytest.approx(getattr(report, protocol).mP[4])


def test_junk_that_counts_as_wrong_lowers_the_precision_by_hand(benchmark):
    # Image 4 is junk, 0 to 3 are positives: junk first, then all positives.
    ranked = np.array([4, 0, 1, 2, 3])
    assert list_scores(benchmark, 0, ranked, "medium", 5) == (1.0, 1.0)
    ap, precision = list_scores(benchmark, 0, ranked, "medium", 5, junk_ignored=False)
    by_hand = sum((j / (j + 1) + (j + 1) / (j + 2)) / 2 for j in range(4)) / 4
    assert ap == pytest.approx(by_hand)
    assert precision == pytest.approx(4 / 5)


def test_frames_have_the_colours_of_the_outcomes(benchmark, ranking):
    sheet = pixels(pictures(protocol_explorer(benchmark, ranking, k=6))[0])
    places = [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (1, 1)]
    for (x, y), kind in zip(places, ["positive"] * 4 + ["ignored", "negative"], strict=True):
        corner = sheet.getpixel((x * 176 + 4 + 1, y * 156 + 20 + 1))
        assert near(corner, of_hex(style.MARKS[kind].colour))

    def gaps(x: int, y: int) -> int:
        """White pixels along the upper side of a frame."""
        return sum(near(sheet.getpixel((x * 176 + 4 + step, y * 156 + 22)), (255, 255, 255)) for step in range(168))

    assert gaps(1, 0) == 0
    assert gaps(5, 0) != gaps(1, 1) > 0


# The loss on the toy


def test_the_toys_losses_and_pulls_are_those_of_the_package():
    teacher, student = unit_rows(12, 6), circle(12)
    for name, loss in LOSSES.items():
        toy = Toy(teacher, student, GROUPS, LOSSES)
        value, pull = toy.pull(name, 0.1)
        settings = {"temperature": 0.1} if name == "listwise" else {}
        assert value == pytest.approx(float(loss(student, teacher, **settings)), rel=1e-4, abs=1e-6), name
        # The pull is minus the derivative by a point's direction: a small turn changes the loss by it.
        toy = Toy(teacher.double(), student.double(), GROUPS, LOSSES)
        toy.teacher, toy.angle = teacher.double(), toy.angle.double()
        ahead, behind = toy.angle.clone(), toy.angle.clone()
        ahead[3] += 1e-4
        behind[3] -= 1e-4
        slope = float(toy.value(name, 0.1, ahead) - toy.value(name, 0.1, behind)) / 2e-4
        assert pull[3] == pytest.approx(-slope, rel=1e-2, abs=1e-4), name


def test_moving_a_point_changes_value_arrows_and_curve_and_only_that_point():
    widget = loss_explorer(unit_rows(12, 6), circle(12), GROUPS, LOSSES)
    point, direction, (view,) = control(widget, "Point"), control(widget, "Direction"), pictures(widget)
    point.value = 5
    degrees = direction.value
    assert f"Point 5 of group 2 is at {degrees} degrees" in words(widget)
    before = view.value
    direction.value = (degrees + 90) % 360
    assert f"Point 5 of group 2 is at {(degrees + 90) % 360} degrees" in words(widget)
    assert view.value != before
    point.value = 6
    of_six = direction.value
    point.value = 5
    assert direction.value == (degrees + 90) % 360
    control(widget, "Start again").click()
    assert direction.value == degrees
    point.value = 6
    assert direction.value == of_six


def test_choosing_a_point_moves_none():
    student = circle(12)
    widget = loss_explorer(unit_rows(12, 6), student, GROUPS, LOSSES)
    losses_seen = set()
    for number in range(1, 13):
        control(widget, "Point").value = number
        losses_seen.add(re.search(r"0\.04: ([\d.]+)\.", words(widget))[1])
    assert len(losses_seen) == 1


def test_the_temperature_is_for_losses_that_have_one():
    widget = loss_explorer(unit_rows(12, 6), circle(12), GROUPS, LOSSES)
    loss, heat = control(widget, "Loss"), control(widget, "Temperature")
    before = words(widget)
    heat.value = 1.0
    assert "at temperature 1:" in words(widget) != before
    loss.value = "similarity"
    assert heat.disabled
    assert "temperature" not in words(widget).split("Keyboard")[0]
    expected = float(losses.similarity(circle(12), unit_rows(12, 6)))
    assert f"Loss similarity: {expected:.4g}." in words(widget)


def test_going_downhill_lowers_every_loss():
    for name in LOSSES:
        toy = Toy(unit_rows(12, 6), circle(12), GROUPS, LOSSES)
        start = toy.pull(name, 0.1)[0]
        for _ in range(3):
            toy.descend(name, 0.1)
        assert toy.pull(name, 0.1)[0] < start, name
        toy.restart()
        assert toy.pull(name, 0.1)[0] == start, name


def test_a_kept_round_trip_is_that_of_the_others_as_they_are():
    toy = Toy(unit_rows(12, 6), circle(12), GROUPS, LOSSES)
    first = toy.round_trip("listwise", 0.04, 2)[1]
    toy.angle[2] += 1
    assert toy.round_trip("listwise", 0.04, 2)[1] is first
    toy.angle[7] += 1
    moved = toy.round_trip("listwise", 0.04, 2)[1]
    assert not np.array_equal(moved, first)
    afresh = Toy(unit_rows(12, 6), torch.stack([toy.angle.cos(), toy.angle.sin()], dim=1), GROUPS, LOSSES)
    np.testing.assert_allclose(moved, afresh.round_trip("listwise", 0.04, 2)[1], rtol=1e-5)


def test_the_static_figure_shows_what_the_explorer_shows_first():
    teacher, student = unit_rows(12, 6), circle(12)
    figure = toy_figure(teacher, student, GROUPS, LOSSES)
    assert figure.get_label() == alt(pictures(loss_explorer(teacher, student, GROUPS, LOSSES))[0])
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert toy_figure(teacher, student, GROUPS, LOSSES, "PKT", alt="in other words").get_label() == "in other words"


def test_the_teacher_is_drawn_beside_the_student_whatever_turned_and_mirrored_it():
    student = circle(12)
    mirror = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    for change in (mirror, torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), mirror @ torch.linalg.qr(unit_rows(2, 2)).Q):
        teacher = torch.nn.functional.pad(student @ change, (0, 4))
        drawing = ToyDrawing(Toy(teacher, student, GROUPS, LOSSES))
        torch.testing.assert_close(drawing.plane, student)


# The map


def test_stepping_through_points_rings_each_and_shows_its_photograph():
    places = unit_rows(12, 2).numpy()
    widget = map_explorer(places, GROUPS, colour)
    chosen, (ringed, photograph) = control(widget, "Point"), pictures(widget)
    seen = set()
    for number in range(12):
        chosen.value = number
        assert f"Point {number} of 12, group {number // 4}, ringed on the map" in alt(ringed)
        assert near(pixels(photograph).getpixel((90, 80)), colour(number).getpixel((0, 0)))
        seen.add(ringed.value)
    assert len(seen) == 12


def test_a_click_chooses_the_nearest_point_of_any_panel():
    panels = {"teacher": unit_rows(12, 2).numpy(), "student": unit_rows(12, 2, seed=5).numpy()}
    widget = map_explorer(panels, GROUPS, colour)
    chosen, ringed = control(widget, "Point"), pictures(widget)[0]
    (field,) = [part for part in parts(widget) if isinstance(part, ipywidgets.Text)]
    shown = {}
    for number in (9, 3, 0):
        chosen.value = number
        shown[number] = np.asarray(pixels(ringed)).astype(int)
    height, width = shown[0].shape[:2]
    for number, other, third in ((9, 3, 0), (3, 0, 9), (0, 9, 3)):
        # What this picture alone has is the ring of its point, once in each panel.
        ring = np.all([np.abs(shown[number] - shown[i]).sum(2) > 60 for i in (other, third)], axis=0)
        for panel in (0, 1):
            y, x = ring[:, panel * width // 2 : (panel + 1) * width // 2].nonzero()
            centre = panel * width // 2 + (x.min() + x.max()) / 2, y.max() - RADIUS
            field.value = f"{centre[0] / width} {centre[1] / height}"
            assert chosen.value == number


def test_a_mixture_on_the_map_shows_both_of_its_photographs():
    def shown(i):
        return {"weight 0.7": colour(1), "weight 0.3": colour(9)} if i == 11 else colour(i)

    widget = map_explorer(unit_rows(12, 2).numpy(), ["photograph"] * 11 + ["mixture"], shown, background="mixture")
    control(widget, "Point").value = 11
    photographs = pictures(widget)[1]
    assert "weight 0.7, weight 0.3" in alt(photographs)
    assert near(pixels(photographs).getpixel((90, 80)), colour(1).getpixel((0, 0)))
    assert near(pixels(photographs).getpixel((90, 156 + 80)), colour(9).getpixel((0, 0)))


# What cannot be


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b, r: nearest_to_mixtures(unit_rows(9, 4), (1, 1), torch.ones(1)), "two different ones"),
        (lambda b, r: nearest_to_mixtures(unit_rows(9, 4), (0, 1), torch.ones(1), k=8), "no 8 neighbours"),
        (lambda b, r: lambda_slider({}, colour, (0, 1)), "0 spaces"),
        (lambda b, r: protocol_explorer(b, r[:, :5], k=6), "no first 6 results"),
        (lambda b, r: protocol_explorer(b, r * 0, k=6), "names an image twice"),
        (lambda b, r: loss_explorer(unit_rows(12, 6), unit_rows(12, 3), GROUPS, LOSSES), "of dimension 2"),
        (lambda b, r: loss_explorer(unit_rows(12, 6), circle(11), GROUPS, LOSSES), "cannot be drawn"),
        (lambda b, r: toy_figure(unit_rows(12, 6), circle(12), GROUPS, LOSSES, "hinge"), "no loss 'hinge'"),
        (lambda b, r: toy_figure(unit_rows(12, 6), circle(12), GROUPS, LOSSES, point=12), "no point 12"),
        (lambda b, r: map_explorer(unit_rows(12, 2).numpy(), GROUPS[:5], colour), "for 5 groups"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_moved_is_refused_in_one_sentence(benchmark, ranking, make, message):
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        make(benchmark, ranking)
    assert str(caught.value).count(". ") == 0


def test_a_change_makes_no_new_figure(monkeypatch, index):
    """Which would cost more than a hand at a slider waits for; benchmarks/widgets.py measures the changes."""
    moves = {
        "protocol_explorer": lambda widget, i: setattr(control(widget, "Query"), "value", i % 2),
        "loss_explorer": lambda widget, i: setattr(control(widget, "Direction"), "value", 20 * i),
        "map_explorer": lambda widget, i: setattr(control(widget, "Point"), "value", i % 12),
    }
    widgets, made, first = all_widgets(index), [], Figure.__init__
    monkeypatch.setattr(Figure, "__init__", lambda *args, **settings: made.append(args) or first(*args, **settings))
    for name, move in moves.items():
        shown = [view.value for view in pictures(widgets[name])]
        move(widgets[name], 1)
        assert [view.value for view in pictures(widgets[name])] != shown, name
        assert made == [], name
    loss_explorer(unit_rows(12, 6), circle(12), GROUPS, LOSSES)
    assert made, "without a figure at the start this would prove nothing"


# The search page


def uploaded(name, content) -> dict:
    return {
        "name": name,
        "type": "image/jpeg",
        "size": len(content),
        "content": memoryview(content),
        "last_modified": datetime.now(UTC),
    }


def names_found(widget) -> list[str]:
    return re.findall(r"\d+ ([\w./]+) -?\d\.\d{3}", words(widget))


def names_by_the_package(index, photo, box=None, count=11) -> list[str]:
    return [each.name for each in index.search(MeanColours(), photo, box, count)]


def test_a_photograph_of_the_index_is_searched_and_left_out_of_its_own_results(index):
    page = search_page(index, MeanColours(), count=5)
    control(page, "Photograph").value = 4
    own = index.photographs / index.names[4]
    assert names_found(page) == names_by_the_package(index, own, count=12)[1:6]
    assert names_found(page)[0] == "05.jpg", "the other one of its pair"
    control(page, "Results shown").value = 11
    assert len(names_found(page)) == 11 and "04.jpg" not in names_found(page)


def test_a_box_of_the_sliders_is_that_of_the_search(index):
    page = search_page(index, MeanColours(), count=11)
    control(page, "Box, left").value = (25, 75)
    control(page, "Box, top").value = (50, 100)
    own = index.photographs / index.names[0]
    found = [name for name in names_by_the_package(index, own, [24, 36, 72, 72], 12) if name != "00.jpg"]
    assert names_found(page) == found
    assert "24, 36, 72, 72 pixels" in words(page)


def test_an_uploaded_photograph_is_searched_until_another_is_picked(index):
    page = search_page(index, MeanColours(), count=11)
    control(page, "Upload").value = (uploaded("mine.jpg", photograph(7)),)
    assert names_found(page) == names_by_the_package(index, photograph(7))
    assert "Query mine.jpg" in words(page) and "Query mine.jpg" in alt(*pictures(page))
    control(page, "Photograph").value = 1
    assert "Query 01.jpg" in words(page) and control(page, "Upload").value == ()


def test_what_cannot_be_searched_is_said_in_words_and_the_next_photograph_is_found(index):
    page = search_page(index, MeanColours())
    control(page, "Upload").value = (uploaded("notes.txt", b"no picture"),)
    assert "cannot be read as an image" in words(page) and pictures(page) == []
    control(page, "Photograph").value = 3
    assert len(names_found(page)) == 10
    control(page, "Box, left").value = (40, 40)
    assert "is not a box" in words(page)
    (index.photographs / "05.jpg").unlink()
    control(page, "Box, left").value = (0, 100)
    assert "05.jpg" in names_found(page), "a photograph that has gone is named in its place"
    control(page, "Photograph").value = 5
    assert "is not there" in words(page)
