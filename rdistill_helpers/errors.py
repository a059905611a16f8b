"""The package's own errors. Each message is one sentence: what is wrong, where, and how to fix it."""

import reprlib

LONGEST = 1000  # characters of a message; names and values from outside can be as long as they like

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


class RDistillError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        message: The sentence. It becomes one printable line of at most about 1,000 characters, whatever names and values from
            outside it holds.
    """

    def __init__(self, message: str = "") -> None:
        line = printable(message)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}")


class BadInput(RDistillError, ValueError):
    """An argument, a file or a setting cannot be used."""


class DataMissing(RDistillError, FileNotFoundError):
    """A file that the package needs does not exist."""


class InUse(RDistillError):
    """Another process is writing the file; nothing was changed."""


class BudgetExceeded(RDistillError):
    """A call would have sent more images to the teacher than its budget allows; nothing was sent."""


class DownloadFailed(RDistillError):
    """A file could not be downloaded, verified or unpacked; nothing unfinished is left in its place."""


class TeacherUnavailable(RDistillError):
    """A served teacher gave no answer. Earlier answers are paid and kept, and asking for them again is free."""


def printable(text: str) -> str:
    """Makes one line of a text from outside that every terminal and page can show.

    Args:
        text: Any text.

    Returns:
        The text, with escapes for what cannot be printed.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """Shortens a value for an error message, since numbers and nested lists from outside can be too large to print.

    Args:
        value: Any value.

    Returns:
        Its shortened `repr`.
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of thousands of digits
        return f"a huge {type(value).__name__}"
