"""The generator of the rooms, as far as no renderer is needed: geometry, drawn pictures, overlap and ground truth."""

import importlib
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def rooms():
    """Gives a module of tools/rooms by name; its OpenGL library is replaced, as nothing here renders."""
    names = ("geometry", "surfaces", "catalog", "pictures", "renderer", "room", "views", "ground_truth")
    folder = str(Path(__file__).resolve().parents[1] / "tools" / "rooms")
    before = {name: sys.modules.get(name) for name in (*names, "moderngl")}
    sys.path.insert(0, folder)
    sys.modules["moderngl"] = MagicMock()
    yield importlib.import_module
    sys.path.remove(folder)
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def wall_seen_from(rooms, eye, target=None):
    """A view of an endless wall at z = 0, instance 1, without a renderer: distances from the rays."""
    views, geometry = rooms("views"), rooms("geometry")
    target = np.array([eye[0], eye[1], 0.0]) if target is None else np.array(target, float)
    camera = geometry.look_at(np.array(eye, float), target)
    projection = geometry.perspective(60, views.WIDTH / views.HEIGHT, 0.1, 50) @ camera
    y, x = np.mgrid[: views.HEIGHT, : views.WIDTH]
    place = np.stack([(x + 0.5) / views.WIDTH * 2 - 1, 1 - (y + 0.5) / views.HEIGHT * 2, 0 * x, 0 * x + 1], -1)
    points = place @ np.linalg.inv(projection).T
    rays = points[..., :3] / points[..., 3:] - eye
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return views.View(
        image=np.zeros((views.HEIGHT, views.WIDTH, 3), np.uint8),
        instances=np.ones((views.HEIGHT, views.WIDTH), np.uint8),
        distances=eye[2] / -rays[..., 2],
        eye=np.array(eye, float),
        forward=target - eye,
        view_projection=projection,
        visitor_share=0.0,
    )


def test_a_camera_puts_its_target_into_the_middle_of_the_picture(rooms):
    geometry = rooms("geometry")
    eye, target = np.array([1.0, 1.5, 3.0]), np.array([2.0, 1.0, -1.0])
    matrix = geometry.perspective(70, 4 / 3, 0.1, 20) @ geometry.look_at(eye, target, roll=0.3)
    x, y, _, w = matrix @ [*target, 1]
    assert abs(x / w) < 1e-9 and abs(y / w) < 1e-9
    assert w == pytest.approx(np.linalg.norm(target - eye))


def test_a_point_at_the_edge_of_the_field_of_view_is_at_the_border(rooms):
    geometry = rooms("geometry")
    edge = [2 * np.tan(np.radians(35)), 0, -2, 1]
    x, _, _, w = geometry.perspective(70, 4 / 3, 0.1, 20) @ edge
    assert x / w == pytest.approx(1)


def test_a_box_has_six_sides_that_face_outwards(rooms):
    vertices = rooms("geometry").box([0, 0, 0], [1, 2, 3], (1, 1, 1, 1))
    assert vertices.shape == (36, 12)
    places, normals = vertices[:, :3], vertices[:, 3:6]
    assert (((places - [0.5, 1, 1.5]) * normals).sum(1) > 0).all()
    assert len(np.unique(normals, axis=0)) == 6


def test_a_turn_keeps_lengths_and_moves_to_its_origin(rooms):
    matrix = rooms("geometry").turn(np.pi / 2, (1, 0, 2))
    np.testing.assert_allclose(matrix @ [1, 5, 0, 1], [1, 5, 1, 1], atol=1e-12)


def test_pictures_are_drawn_from_their_generator_alone(rooms):
    pictures, surfaces = rooms("pictures"), rooms("surfaces")
    for draw in (pictures.paint, lambda rng: surfaces.floor(rng)[0]):
        first, again, other = (np.asarray(draw(np.random.default_rng(seed))) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert first.shape != other.shape or not np.array_equal(first, other)


def test_noise_is_centred_and_of_unit_deviation(rooms):
    noise = rooms("surfaces").noise(np.random.default_rng(0), 64, 4)
    assert noise.shape == (64, 64)
    assert abs(noise.mean()) < 1e-9 and noise.std() == pytest.approx(1)


def test_the_same_view_shares_all_and_a_view_of_elsewhere_nothing(rooms):
    here, again, far = (wall_seen_from(rooms, (x, 1.5, 2.0)) for x in (0.0, 0.0, 30.0))
    share = rooms("views").shared_surface([here, again, far], np.ones(256))
    assert share[0, 1] == pytest.approx(1, abs=0.02)
    assert share[0, 2] == share[2, 1] == 0


def test_a_view_moved_by_half_its_width_shares_about_half(rooms):
    width = 2 * 2.0 * np.tan(np.radians(30))
    pair = [wall_seen_from(rooms, (x, 1.5, 2.0)) for x in (0.0, width / 2)]
    share = rooms("views").shared_surface(pair, np.ones(256))
    assert share[0, 1] == pytest.approx(0.5, abs=0.1)
    assert rooms("views").overlap(share)[0, 1] == pytest.approx(share[0, 1], abs=0.02)


def test_a_box_restricts_what_is_shared(rooms):
    views = rooms("views")
    width = 2 * 2.0 * np.tan(np.radians(30))
    pair = [wall_seen_from(rooms, (x, 1.5, 2.0)) for x in (0.0, width / 2)]
    right = (views.WIDTH * 3 // 4, 0, views.WIDTH, views.HEIGHT)
    left = (0, 0, views.WIDTH // 4, views.HEIGHT)
    assert views.shared_surface(pair, np.ones(256), {0: right})[0, 1] > 0.8
    assert views.shared_surface(pair, np.ones(256), {0: left})[0, 1] == 0


def test_another_instance_at_the_same_place_is_not_the_same_surface(rooms):
    here, changed = (wall_seen_from(rooms, (0.0, 1.5, 2.0)) for _ in range(2))
    changed.instances[:] = 2
    assert rooms("views").shared_surface([here, changed], np.ones(256))[0, 1] == 0


@given(x=st.integers(0, 159), y=st.integers(0, 119), width=st.integers(1, 160), height=st.integers(1, 120))
def test_a_standard_box_holds_the_tight_one_and_stays_in_the_frame(rooms, x, y, width, height):
    truth = rooms("ground_truth")
    right, bottom = min(truth.WIDTH, x + width), min(truth.HEIGHT, y + height)
    box = truth.standard_box(x, y, right, bottom)
    fitting = [s for s in truth.SHAPES if s[0] >= right - x and s[1] >= bottom - y]
    if box is None:
        assert fitting == []
        return
    assert (box[2] - box[0], box[3] - box[1]) == fitting[0]
    assert 0 <= box[0] <= x and right <= box[2] <= truth.WIDTH
    assert 0 <= box[1] <= y and bottom <= box[3] <= truth.HEIGHT


def test_too_few_rooms_for_the_queries_are_said(rooms):
    empty = wall_seen_from(rooms, (0.0, 1.5, 2.0))
    room = {"views": [empty], "names": ["wall"], "kinds": ["wall"], "weights": np.ones(256)}
    with pytest.raises(ValueError, match="only 0 of 1 rooms give a query, 1 are wanted"):
        rooms("ground_truth").choose_queries([room], 1, np.random.default_rng(0))


def test_visible_things_give_a_box_of_a_standard_shape(rooms):
    truth = rooms("ground_truth")
    view = wall_seen_from(rooms, (0.0, 1.5, 2.0))
    view.instances[40:90, 50:100] = 2
    box = truth.box_of(view, ["wall", "sofa"], ["wall", "furniture"], np.ones(256), {"wall": 1.0, "sofa": 1.0})
    assert (box[2] - box[0], box[3] - box[1]) in truth.SHAPES
    assert box[0] <= 50 and box[1] <= 40 and box[2] >= 100 and box[3] >= 90
    assert truth.box_of(view, ["wall", "rug"], ["wall", "floor"], np.ones(256), {"wall": 1.0, "rug": 1.0}) is None
