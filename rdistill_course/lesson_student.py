"""The student of notebook 4 for those that score it."""

from typing import Any

from torch import Tensor, nn

from rdistill_course.runs import runs_root
from rdistill_course.sets import ROOMS
from rdistill_helpers import (
    BlackBoxTeacher,
    RetrievalNet,
    Training,
    TrainingImages,
    distill,
    extract,
    load_network,
    load_teacher,
    teacher_version,
)
from rdistill_helpers.ship.projection import load_projection

FEW_STEPS = 60


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
