"""What notebook 2 draws of mixtures: right lengths, the room between two rooms, one colour for each room, the mask as it is."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex
from tiny_sets import colour, unit_rows

from rdistill_course.mixtures import length_figure, mask_figure, mixtures_on_maps, room_strip, third_rooms
from rdistill_helpers import interpolate
from rdistill_helpers.distil.interpolate import mix
from rdistill_helpers.errors import BadInput

ROOMS = torch.arange(12) // 3


def drawn(fig):
    """Draws the figure, which must not fail, and gives its description."""
    fig.savefig(io.BytesIO(), format="png", dpi=40)
    return fig.get_label()


def test_a_curve_of_lengths_is_that_of_two_descriptors_with_its_cosine():
    fig = length_figure(torch.tensor([0.2, 0.6]), torch.tensor([0.9, 0.75]))
    looks = set()
    for line in fig.axes[0].lines:
        cosine = float(line.get_label().split()[1])
        a, b = torch.tensor([1.0, 0.0]), torch.tensor([cosine, (1 - cosine**2) ** 0.5])
        lam = torch.as_tensor(line.get_xdata(), dtype=torch.float32)[:, None]
        np.testing.assert_allclose(line.get_ydata(), (lam * a + (1 - lam) * b).norm(dim=1), atol=1e-5)
        looks.add((line.get_color(), line.get_linestyle()))
    assert len(looks) == len(fig.axes[0].lines) == 5
    assert "2 dots are real pairs; the shortest has length 0.75." in drawn(fig)


def test_third_rooms_are_those_that_a_loop_finds():
    rows = F.normalize(unit_rows(12, 6) + 0.6 * unit_rows(4, 6).repeat_interleave(3, 0), dim=1)
    nearest = (rows @ rows.T).fill_diagonal_(-1).argmax(1)
    slow = {}
    for a in range(12):
        for b in range(a + 1, 12):
            if ROOMS[a] == ROOMS[b] or ROOMS[nearest[a]] != ROOMS[a] or ROOMS[nearest[b]] != ROOMS[b]:
                continue
            near = rows @ mix(rows, torch.tensor([[a, b]]), torch.tensor([0.5]))[0]
            others = [i for i in range(12) if i not in (a, b)]
            own = [float(near[i]) for i in others if ROOMS[i] in (ROOMS[a], ROOMS[b])]
            third = [float(near[i]) for i in others if ROOMS[i] not in (ROOMS[a], ROOMS[b])]
            slow[a, b] = max(third) - max(own)
    pairs, lead = third_rooms(rows, ROOMS)
    assert 0 < len(slow) < 54  # of the 54 pairs of different rooms, some have a photograph that is left out
    assert [tuple(pair) for pair in pairs.tolist()] == list(slow)
    np.testing.assert_allclose(lead, list(slow.values()), atol=1e-5)


def test_a_strip_says_which_room_is_nearest():
    rows = F.normalize(torch.eye(4)[ROOMS] + 0.01 * unit_rows(12, 4), dim=1)
    said = drawn(room_strip(rows, (0, 3), ROOMS, colour, "a pair"))
    assert said.startswith("Filmstrip, a pair: ")
    assert "for lambda 0.9 the first room, " in said and said.endswith("0.1 the second room.")


def test_maps_have_one_colour_a_room_and_the_same_in_each():
    places = {
        name: np.random.default_rng(seed).normal(size=(20, 2)) for seed, name in enumerate(("teacher", "student"))
    }
    rooms = ["a", "a", "b", "b", "c", "c", *"abcabcabcabcab"]
    fig = mixtures_on_maps(places, rooms, photographs=6, way=[0, 15, 16, 17, 4])
    by_panel = []
    for ax, own in zip(fig.axes, places.values(), strict=True):
        colours = {
            one.get_label(): to_hex(one.get_facecolor()[0])
            for one in ax.collections
            if one.get_label() in ("a", "b", "c")
        }
        assert len(set(colours.values())) == 3
        by_panel.append(colours)
        np.testing.assert_allclose(ax.lines[0].get_xydata(), own[[0, 15, 16, 17, 4]])
    assert by_panel[0] == by_panel[1]
    assert "6 photographs of 3 rooms and 14 mixtures" in drawn(fig)
    assert fig.get_label().endswith("over 3 mixtures.")


def test_the_mask_is_drawn_as_it_is():
    joint = interpolate(unit_rows(6, 4), unit_rows(6, 3), 5, generator=torch.Generator().manual_seed(0))
    fig = mask_figure(joint.comparable, 6)
    shown = fig.axes[0].collections[0].get_array()
    np.testing.assert_array_equal(np.asarray(shown).reshape(11, 11), joint.comparable)
    left_out = float((~joint.comparable).float().mean())
    assert f"Dark cells, left out, are {100 * left_out:.0f} %" in drawn(fig)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: length_figure(torch.rand(3), torch.rand(2)), "3"),
        (lambda: mixtures_on_maps({"x": np.zeros((3, 2))}, ["a", "b"], 1, [0, 1]), "give a place for all 2 rows"),
        (lambda: mask_figure(torch.ones(3, 3).bool(), 3), "3 photographs cannot be drawn"),
        (lambda: mask_figure(torch.ones(3, 2).bool(), 1), "cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(make, words):
    with pytest.raises(BadInput, match=words):
        make()
