"""The student of notebook 4 for those that score it, and what is scored on a benchmark, the rooms or a real set."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rdistill_course.runs import runs_root
from rdistill_course.sets import REAL_TEACHER
from rdistill_helpers import (
    Benchmark,
    BlackBoxTeacher,
    RetrievalNet,
    Training,
    TrainingImages,
    distill,
    extract,
    load_network,
    load_published,
    load_teacher,
    recommended_scales,
    teacher_version,
)
from rdistill_helpers.ship.projection import load_projection

ROOMS = "rooms"
OF_ROOMS = "teacher of the rooms"
FEW_STEPS = 60
LONGEST = 1024  # pixels of a real photograph's longer side
AT_A_TIME = 8  # of them: large photographs take memory


def lesson_student(steps: int = FEW_STEPS) -> tuple[RetrievalNet, nn.Linear, str]:
    """The distilled student that notebook 4 left with its projection; where it left none, one that is trained now.

    Args:
        steps: of the training, where there is one.

    Returns:
        The student, its projection to the teacher's space, and words that say which student this is.
    """
    version, folder = teacher_version(), runs_root() / "course"
    files = folder / f"student_of_{version}.safetensors", folder / f"projection_of_{version}.safetensors"
    teacher = load_teacher()
    if all(file.is_file() for file in files):
        student, projection = load_network(files[0]), load_projection(files[1])
        said = f"the student of notebook 4, trained for {student.metadata['steps']} steps"
    else:
        training = TrainingImages.load(ROOMS)
        images = training.pixels(training.draw(rooms=30, seed=0))

        def answer(batch: Any) -> Tensor:
            return extract(teacher, batch, progress=False)

        with BlackBoxTeacher(answer, len(images), folder / f"ledger_of_300_{version}.sqlite", name=version) as asked:
            answers = asked.query(images, progress=False)
        student = RetrievalNet().freeze(6)
        _, history = distill(student, images, answers, training=Training(steps=steps, progress=False))
        assert history.projection is not None
        projection, said = history.projection, f"a student trained here, for {steps} steps"
    return student, projection, said


def systems(dataset: str, student: RetrievalNet) -> dict[str, RetrievalNet]:
    """What is scored on a benchmark: a teacher, the untrained student and a distilled one, all three enlarging alike.

    Args:
        dataset: name of the benchmark. On the real sets a published network stands in the teacher's place, on a GPU where
            there is one, and the teacher of the rooms is there as well.
        student: the distilled student.

    Returns:
        The networks by name.

    Raises:
        DataMissing: the published network is not here; the message says where to get it.
    """
    teacher, more = load_teacher(), {}
    if dataset != ROOMS:
        teacher, more = load_published(REAL_TEACHER), {OF_ROOMS: teacher}
        teacher = teacher.cuda() if torch.cuda.is_available() else teacher
    student.scale = teacher.scale
    return {
        "teacher": teacher,
        "untrained student": RetrievalNet(scale=teacher.scale),
        "distilled student": student,
        **more,
    }


def described(nets: Mapping[str, nn.Module], benchmark: Benchmark) -> dict[str, tuple[Tensor, Tensor]]:
    """Queries, cut to their boxes, and database of a benchmark, as each of some networks describes them.

    Args:
        nets: by name. On a real set the one called "teacher" was published: it takes its three scales and its whitening.
        benchmark: the rooms are taken as they are, larger photographs with a longer side of 1024 pixels.

    Returns:
        By name, descriptors [Q, D] and [N, D].
    """
    rooms = benchmark.name == ROOMS
    longest, batch = (None, 32) if rooms else (LONGEST, AT_A_TIME)
    parts, rows = (benchmark.queries(longest), benchmark.lazy_images(longest)), {}
    for name, net in nets.items():
        published = name == "teacher" and not rooms
        scales = recommended_scales(net) if published else (1,)
        queries, database = (extract(net, part, scales, batch, progress=False) for part in parts)
        whiten = getattr(net, "learned_whitening", {}).get("ms") if published else None
        rows[name] = (whiten(queries), whiten(database)) if whiten else (queries, database)
    return rows
