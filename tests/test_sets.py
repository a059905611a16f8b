"""The sets of the notebooks: what a set's teacher answers, and how students are described on it."""

import torch
from tiny_sets import MeanColours, colours

from rdistill_course import course_set
from rdistill_course.sets import CourseSet
from rdistill_helpers import LearnedWhitening, RetrievalNet, teacher_version


def network(whitening=None):
    net = MeanColours()
    net.learned_whitening = {"ms": whitening} if whitening else {}
    return net


def test_the_rooms_come_with_their_teacher():
    rooms = course_set("rooms")
    assert rooms.benchmark.name == "rooms" and rooms.version == teacher_version() and rooms.imsize is None
    nets = rooms.systems(RetrievalNet(weights=None))
    assert list(nets) == ["teacher", "untrained student", "distilled student"] and nets["teacher"] is rooms.teacher
    assert len({net.scale for net in nets.values()}) == 1


def test_a_teacher_answers_at_its_scales_and_a_student_at_one():
    teacher, student = network(), network()
    tiny = CourseSet(colours(), teacher, "v", scales=(1, 0.5))
    queries, database = tiny.describe(teacher)
    assert [len(queries), len(database)] == [2, 24]
    assert torch.allclose(queries.norm(dim=1), torch.ones(2), atol=1e-5)
    whole = CourseSet(colours(), teacher, "v")
    assert torch.equal(tiny.describe(student)[1], whole.describe(student)[1])
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert tiny.ask(images).shape == (3, 12)


def test_a_learned_whitening_is_applied_to_both_sides():
    whitening = LearnedWhitening(torch.zeros(12), torch.eye(12)[:5])
    queries, database = CourseSet(colours(), network(whitening), "v").describe(network(whitening))
    assert queries.shape == (2, 5) and database.shape == (24, 5)
