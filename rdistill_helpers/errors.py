"""The package's own errors: one sentence each, saying what is wrong, where, and how to fix it."""


class RDistillError(Exception):
    """Base of every error that this package raises on purpose."""


class BadInput(RDistillError, ValueError):
    """Something given to the package cannot be used."""


class DataMissing(RDistillError, FileNotFoundError):
    """A file that the package needs is not there."""


class BudgetExceeded(RDistillError):
    """A call would have sent more images to the teacher than its budget allows; nothing was sent."""


class DownloadFailed(RDistillError):
    """A file could not be downloaded, verified or unpacked; nothing of it is left half done."""
