"""Checks of the exercises, one function for each: prints [OK], or raises a `Hint` about the particular mistake."""

from rdistill_helpers.show.check.hints import Hint

__all__ = ["Hint"]
