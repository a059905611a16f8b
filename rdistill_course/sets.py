"""The sets that notebooks search, each with its teacher: the rooms, or a real benchmark with a published network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rdistill_helpers import (
    Benchmark,
    RetrievalNet,
    extract,
    load_published,
    load_teacher,
    recommended_scales,
    teacher_version,
)

ROOMS = "rooms"
REAL_TEACHER = "rSfM120k-tl-resnet101-gem-w"  # answers in the teacher's place on the real sets


@dataclass(frozen=True)
class CourseSet:
    """A benchmark with its teacher, and how photographs are described there.

    Attributes:
        benchmark: queries, database photographs and ground truth.
        teacher: the network that answers as the teacher.
        version: whose answers these are, for the name of a ledger.
        imsize: longer side of the photographs in pixels; None leaves them as they are.
        scales: at which the teacher describes a photograph, averaged.
        batch_size: photographs at a time.
    """

    benchmark: Benchmark
    teacher: RetrievalNet
    version: str
    imsize: int | None = None
    scales: tuple[float, ...] = (1,)
    batch_size: int = 32

    def ask(self, images: Tensor) -> Tensor:
        """The teacher's answers to photographs.

        Args:
            images: uint8 [B, 3, H, W].

        Returns:
            L2-normalised descriptors [B, D].
        """
        return extract(self.teacher, images, self.scales, self.batch_size, progress=False)

    def describe(self, net: RetrievalNet) -> tuple[Tensor, Tensor]:
        """Describe all queries and all database photographs, with the network's learned whitening where it has one.

        Args:
            net: the teacher, or a student; students see each photograph at one scale.

        Returns:
            L2-normalised descriptors [Q, D] and [N, D].
        """
        photographs = self.benchmark.queries(self.imsize), self.benchmark.lazy_images(self.imsize)
        scales = self.scales if net is self.teacher else (1,)
        queries, database = (extract(net, some, scales, self.batch_size, progress=False) for some in photographs)
        whiten = net.learned_whitening.get("ms")
        return (whiten(queries), whiten(database)) if whiten else (queries, database)

    def systems(self, student: RetrievalNet) -> dict[str, RetrievalNet]:
        """What is scored on the benchmark: the teacher, the untrained student and a distilled one, all three enlarging alike.

        Args:
            student: the distilled student.

        Returns:
            The networks by name; on a real set the teacher of the rooms is there as well.
        """
        student.scale = self.teacher.scale
        more = {} if self.benchmark.name == ROOMS else {"teacher of the rooms": load_teacher()}
        untrained = RetrievalNet(scale=self.teacher.scale)
        return {"teacher": self.teacher, "untrained student": untrained, "distilled student": student, **more}


def course_set(name: str = ROOMS) -> CourseSet:
    """Load a benchmark and its teacher.

    Args:
        name: "rooms", or "roxford5k" or "rparis6k", which a published network answers for, on a GPU where there is one.

    Returns:
        Both, ready to be asked.

    Raises:
        DataMissing: photographs or network are not there; the sentence says how to get them.
    """
    benchmark = Benchmark.load(name)
    if name == ROOMS:
        return CourseSet(benchmark, load_teacher(), teacher_version())
    teacher = load_published(REAL_TEACHER)
    if torch.cuda.is_available():
        teacher.cuda()
    return CourseSet(benchmark, teacher, REAL_TEACHER, 1024, recommended_scales(teacher), batch_size=8)
