"""Damaged and hostile files for every reader of files that somebody else wrote.

Inputs are made by hypothesis: a valid file whose bytes are changed, moved, cut off or multiplied, or valid syntax around
values that lie (huge and negative numbers, NaN, texts as numbers, names that lead out of the folder).
"""

from reliability.hostile_inputs import data, descriptors, networks, teachers
from reliability.hostile_inputs.making import Reader


def readers() -> dict[str, Reader]:
    """Returns all readers by what they read."""
    return {**data.readers(), **descriptors.readers(), **networks.readers(), **teachers.readers()}
