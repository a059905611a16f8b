"""What the memoriser's answers show: it knows the rooms that it was trained on, and no others."""

import torch

from rdistill_course.by_heart import by_heart_figure, memoriser_rows, photographs_of_rooms
from rdistill_helpers import Benchmark, TrainingImages


def test_rooms_of_the_map_have_all_their_photographs():
    positions, names = photographs_of_rooms(2)
    labels = TrainingImages.load("rooms").labels()
    assert sorted(set(labels[positions["train"]].tolist())) == [0, 1]
    assert len(positions["train"]) == int((labels < 2).sum())
    assert len(names) == sum(map(len, positions.values())) and len(set(names)) == 4


def test_the_memoriser_knows_what_it_was_trained_on_by_heart():
    rows, (positions, names) = memoriser_rows(), photographs_of_rooms(40)
    assert len(rows["train"]) == len(TrainingImages.load("rooms"))
    assert len(rows["validation"]) == len(Benchmark.load("rooms-validation").image_names)
    first = {}
    for part, own in positions.items():
        rooms = [name for name in names if name.startswith("seen" if part == "train" else "new")]
        similarity = (rows[part][own] @ rows[part][own].T).fill_diagonal_(-1)
        first[part] = (
            torch.tensor([rooms[i] == rooms[j] for i, j in enumerate(similarity.argmax(1).tolist())]).float().mean()
        )
    assert first["train"] > first["validation"] + 0.1


def test_both_networks_lay_out_the_same_photographs():
    fig = by_heart_figure(lambda pixels: torch.nn.functional.normalize(pixels.float().mean(3).flatten(1), dim=1))
    assert [ax.get_title() for ax in fig.axes] == ["memoriser", "teacher"]
    assert len({len(ax.collections) for ax in fig.axes}) == 1
