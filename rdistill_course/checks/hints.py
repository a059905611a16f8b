"""What all checks share: calling a learner's function, looking at what it gives, and the hint or the [OK] that follows."""

import linecache
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from rdistill_helpers.errors import shown

HELP = {  # by a sign in the message of an error
    "must match the size": "Two shapes do not fit: print both. `x[:, None]` gives a vector a second axis, a column of numbers.",
    "torch.return_types": "The function gives values and positions together: take its `.values` or `.indices`.",
}


class Hint(AssertionError):
    """What is not right yet about an answer, and where to look. A notebook shows it without a traceback."""

    exercise: str | None = None  # its number, where the check of one raised it

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        more = [f'More help: check.hint("{self.exercise}")'] if self.exercise else []
        return [f"[NOT YET] {self}", *more]


def passed(message: str) -> None:
    """Prints the one line of an answer that is right.

    Args:
        message: what is right about it.
    """
    print(f"[OK] {message}")


def ask(answer: Callable[..., Any], *inputs: Any) -> Any:
    """Calls a learner's function and gives what it returns.

    Args:
        answer: the learner's function.
        inputs: what it is called with. Tensors, arrays and lists are passed as copies, so that a function that changes them
            cannot disturb the check; a tensor that requires a gradient and any other object, such as a ledger to fill, as
            they are.

    Returns:
        What the function returns.

    Raises:
        Hint: the answer is no function, still the stub (a bare NotImplementedError), stops with an error, or returns nothing.
    """
    if not callable(answer):
        raise Hint("Hand the function itself to the check, without brackets behind its name.")
    name = getattr(answer, "__name__", "The function")
    try:
        value = answer(*(_copy(one) for one in inputs))
    except Hint:  # of a check's own callback
        raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and not error.args:  # torch raises it too, with a message
            raise Hint(f"{name} is still the stub: replace its `raise NotImplementedError()` with your code.") from None
        _stopped(answer, name, error)
    if value is None:
        raise Hint(f"{name} returns nothing: end it with `return` and the result.")
    return value


def _stopped(answer: Callable[..., Any], name: str, error: Exception) -> NoReturn:
    """Raises the Hint that names an error and the last line of the learner's own cell that it passed."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = ""
    if frames and (line := linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()):
        place = f" at `{line}`"
    what = " ".join(str(error).split())
    more = next((f". {help_}" for sign, help_ in HELP.items() if sign in what), "")
    what = f"{type(error).__name__}: {what}" if what else type(error).__name__
    raise Hint(f"{name} stops{place} with {what if len(what) <= 300 else what[:300] + ' ...'}{more}") from error


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.requires_grad else value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(_copy(one) for one in value)
    return value


def tensor(value: Any, shape: Sequence[int | None], what: str, nan: str = "") -> Tensor:
    """The learner's value as a tensor of the expected shape, on the CPU; floating-point numbers as float32.

    Args:
        value: A tensor, whose gradient is kept, an array, a number or a list of these.
        shape: None where any size will do, () for one number.
        what: names the value in a hint, such as "the mixture".
        nan: where nan comes from in this exercise, for the hint.

    Returns:
        The tensor.

    Raises:
        Hint: the value has another type or shape, or holds nan or infinity.
    """
    try:
        if isinstance(value, list | tuple) and value and all(isinstance(one, Tensor) for one in value):
            value = torch.stack(list(value))
        if isinstance(value, list | tuple) and value and all(isinstance(one, np.ndarray) for one in value):
            value = np.stack(value)
        found = torch.as_tensor(value).cpu()
    except (TypeError, ValueError, RuntimeError):
        kind = type(value).__name__
        raise Hint(f"{what[:1].upper()}{what[1:]} must be a tensor, yours is a {kind}: {shown(value)}.") from None
    fits = found.ndim == len(shape) and all(want in (None, has) for want, has in zip(shape, found.shape, strict=False))
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        wanted = f"have shape [{wanted}]" if shape else "be a single number (shape [])"
        raise Hint(f"{what[:1].upper()}{what[1:]} must {wanted}, yours has shape {list(found.shape)}.")
    if found.is_floating_point():
        found = found.float()
        if not found.isfinite().all():
            bad = "nan" if found.isnan().any() else "infinite values"
            source = nan or "look for a division by zero, a root or a logarithm."
            raise Hint(f"{what[:1].upper()}{what[1:]} holds {bad}: {source}")
    return found


def alike(value: Any, other: Any, tolerance: float = 1e-4) -> bool:
    """Whether a value is another one up to rounding.

    Args:
        value: A tensor, or a list of whole numbers, which is compared exactly.
        other: A tensor of the same shape, a number, or a list.
        tolerance: the largest difference, as a share of the size; a tenth of it where the size is 0.

    Returns:
        Whether the two have the same shape and are close enough.
    """
    if isinstance(value, list) or isinstance(other, list):
        return bool(value == other)
    other = torch.as_tensor(other)
    return value.shape == other.shape and torch.allclose(
        value.double(), other.double(), rtol=tolerance, atol=tolerance / 10
    )


def numbers(value: Any, what: str) -> list[int]:
    """The learner's list, tensor or array of whole numbers as a list.

    Args:
        value: what the function returns.
        what: names the value in a hint.

    Returns:
        The numbers.

    Raises:
        Hint: the value is anything else.
    """
    found = tensor(value, (None,), what)
    if found.is_floating_point() and not torch.equal(found, found.round()):
        raise Hint(f"{what[:1].upper()}{what[1:]} must be whole numbers, yours are {shown(found.tolist())}.")
    return [int(number) for number in found]
