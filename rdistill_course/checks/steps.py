"""Exercises by their number: hints in steps, and the record of those that are done."""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

from rdistill_course.checks.hints import Hint
from rdistill_course.checks.runner import Answer
from rdistill_course.progress import remember_exercise
from rdistill_helpers.errors import BadInput

Check = Callable[[Answer], None]


class Exercise(NamedTuple):
    """An exercise: the name of its check, and its hints, the last of which is the idea of the solution."""

    check: str
    hints: tuple[str, ...]


EXERCISES: dict[str, Exercise] = {}
given: dict[str, int] = {}  # how many hints a learner has seen since the kernel started


def exercise(number: str, *hints: str) -> Callable[[Check], Check]:
    """Makes a function the check of an exercise: its passes are recorded, and its hints can be asked for.

    Args:
        number: of the exercise, such as "1.2".
        hints: from a first push to the idea of the solution; without its code.

    Returns:
        The decorator.
    """

    def decorate(check: Check) -> Check:
        EXERCISES[number] = Exercise(check.__name__, hints)

        @wraps(check)
        def checked(answer: Answer) -> None:
            try:
                check(answer)
            except Hint as hint:
                hint.exercise = number
                raise
            remember_exercise(number)

        return checked

    return decorate


def hint(number: str | float) -> None:
    """Prints the next hint of an exercise; the last one says the idea of the solution, and then stays.

    Args:
        number: of the exercise, such as "1.2".

    Raises:
        BadInput: there is no such exercise.
    """
    name = str(number)
    if name not in EXERCISES:
        raise BadInput(f"There is no exercise {name}: give one of {', '.join(sorted(EXERCISES))}.")
    hints = EXERCISES[name].hints
    step = min(given.get(name, 0), len(hints) - 1)
    given[name] = step + 1
    kind = "the idea" if step == len(hints) - 1 else f"hint {step + 1} of {len(hints)}"
    print(f"Exercise {name}, {kind}: {hints[step]}")
