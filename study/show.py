"""Shows tables and figures of the study in a notebook; where the store has no runs for one, a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rdistill_course.style import show_figure
from rdistill_helpers.errors import BadInput
from study.findings import NOT_YET
from study.recipe import markdown

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


def table(rows: pandas.DataFrame) -> None:
    """Show a table.

    Args:
        rows: the table.
    """
    _say(markdown(rows))


def figure(draw: Callable[..., Figure], *what: Any, **settings: Any) -> None:
    """Show a figure.

    Args:
        draw: makes it, and raises BadInput where there is nothing to draw.
        *what: handed to `draw`.
        **settings: handed to `draw`.
    """
    try:
        drawn = draw(*what, **settings)
    except BadInput:
        _say(NOT_YET)
        return
    show_figure(drawn)


def _say(text: str) -> None:
    from IPython.display import Markdown, display

    display(Markdown(text))
