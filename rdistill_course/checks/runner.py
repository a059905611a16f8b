"""The one runner under all checks: what a function gives, beside the right value and a table of typical mistakes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rdistill_course.checks.hints import Hint, alike, ask

Answer = Callable[..., Any]
# By hint, what gives a mistake away: the value it leads to, a tuple of such values, a test of the value, or a bool.
Mistakes = Mapping[str, Any]


def examine(
    answer: Answer,
    inputs: Sequence[Any],
    read: Callable[[Any], Any],
    right: Any,
    mistakes: Mistakes,
    otherwise: str,
    tolerance: float = 1e-4,
    around: AbstractContextManager[None] | None = None,
) -> Any:
    """Calls a learner's function and compares what it gives with the right value, then with typical mistakes.

    Args:
        answer: the learner's function.
        inputs: what it is called with.
        read: brings its result into the form that is compared, or raises Hint, as `tensor` and `numbers` do.
        right: the right value.
        mistakes: by hint, what gives a mistake away; entries that are right for these inputs do no harm.
        otherwise: the hint where no mistake is recognised.
        tolerance: how far values may differ, as in `alike`.
        around: entered while the function is called and its result read, as `rephrased` is.

    Returns:
        The value, which is right.

    Raises:
        Hint: the first mistake that shows, or `otherwise`.
    """
    with around or nullcontext():
        given = read(ask(answer, *inputs))
    judge(given, right, mistakes, otherwise, tolerance)
    return given


def judge(given: Any, right: Any, mistakes: Mistakes, otherwise: str, tolerance: float = 1e-4) -> None:
    """Raises the hint of the first mistake that a value shows, or `otherwise`, unless the value is right.

    Args:
        given: the learner's value.
        right: the right value.
        mistakes: by hint, what gives a mistake away.
        otherwise: the hint where no mistake is recognised.
        tolerance: how far values may differ, as in `alike`.

    Raises:
        Hint: the value is not right.
    """
    if not alike(given, right, tolerance):
        tell(mistakes, given, tolerance)
        raise Hint(otherwise)


def tell(mistakes: Mistakes, given: Any = None, tolerance: float = 1e-4) -> None:
    """Raises the hint of the first mistake that shows, if any does.

    Args:
        mistakes: by hint, what gives a mistake away.
        given: the learner's value; not needed where all mistakes are bools.
        tolerance: how far values may differ, as in `alike`.

    Raises:
        Hint: A mistake shows.
    """
    for hint, wrong in mistakes.items():
        if any(_shows(one, given, tolerance) for one in (wrong if isinstance(wrong, tuple) else (wrong,))):
            raise Hint(hint)


def _shows(wrong: Any, given: Any, tolerance: float) -> bool:
    if isinstance(wrong, bool):
        return wrong
    return bool(wrong(given)) if callable(wrong) else alike(given, wrong, tolerance)


@contextmanager
def rephrased(form: str, *errors: type[Exception]) -> Iterator[None]:
    """Says hints that are raised inside in other words.

    Args:
        form: the new hint, with "{hint}" where the old one is to stand.
        errors: only hints about a function that stops with one of these errors; without any, all hints.

    Yields:
        Nothing.

    Raises:
        Hint: in place of the one raised inside.
    """
    try:
        yield
    except Hint as hint:
        if errors and not isinstance(hint.__cause__, errors):
            raise
        raise Hint(form.format(hint=hint)) from hint


def parts(value: Any, count: int, hint: str) -> Sequence[Any]:
    """The things that a function returns together.

    Args:
        value: what it returns.
        count: how many things there must be.
        hint: says what to return.

    Returns:
        The value.

    Raises:
        Hint: it is no tuple or list of so many things.
    """
    if not isinstance(value, tuple | list) or len(value) != count:
        raise Hint(hint)
    return value
