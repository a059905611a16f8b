"""The package's own errors: one sentence each, saying what is wrong, where, and how to fix it."""

import reprlib

LONGEST = 1000  # characters of a message; names and values from outside can be as long as they like

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


class RDistillError(Exception):
    """Base of every error that this package raises on purpose; its message is one line, whatever it names."""

    def __init__(self, message: str = "") -> None:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}")


class BadInput(RDistillError, ValueError):
    """Something given to the package cannot be used."""


class DataMissing(RDistillError, FileNotFoundError):
    """A file that the package needs is not there."""


class InUse(RDistillError):
    """Another process is writing the file; nothing was changed."""


class BudgetExceeded(RDistillError):
    """A call would have sent more images to the teacher than its budget allows; nothing was sent."""


class DownloadFailed(RDistillError):
    """A file could not be downloaded, verified or unpacked; nothing of it is left half done."""


class TeacherUnavailable(RDistillError):
    """A teacher over the network gave no answer; what was answered before is paid and kept, asking again is free."""


def shown(value: object) -> str:
    """A value from outside, shortened for an error: without this, numbers and nested lists can be too large to print."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of thousands of digits
        return f"a huge {type(value).__name__}"
