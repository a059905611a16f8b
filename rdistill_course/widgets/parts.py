"""What all widgets are made of: a picture with a description, labelled controls, the words below, and the keys."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import ipywidgets

# What the keyboard does to each kind of control; the browser tests press these. Up and down are JupyterLab's own.
KEYS = {
    "slider": "the left and right arrow keys move a slider, Home and End go to its ends",
    "button": "Space presses a button or ticks a box",
    "radio": "the arrow keys choose among the options of a question",
}


def img(picture: Image.Image, alt: str, *, photographs: bool = True, scale: float = 1.0, click: str = "") -> str:
    """An HTML image that carries its own bytes and its description, and shrinks on a narrow page.

    Args:
        picture: the image.
        alt: its description.
        photographs: True for JPEG, a sixth of the size; False for PNG, which keeps lines sharp.
        scale: pixels of the picture for one of the page.
        click: JavaScript that runs when the picture is clicked.

    Returns:
        The HTML.
    """
    stream, kind = io.BytesIO(), "jpeg" if photographs else "png"
    if photographs:
        picture.convert("RGB").save(stream, "JPEG", quality=88, subsampling=0)
    else:
        # Level 1: a picture that is looked at once is not worth the time of a smaller file.
        picture.save(stream, "PNG", compress_level=1)
    source = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    acts = f' onclick="{html.escape(click)}"' if click else ""
    look = f"max-width: 100%; height: auto;{' cursor: crosshair;' if click else ''}"
    width = round(picture.width / scale)
    return f'<img alt="{html.escape(alt)}" width="{width}" style="{look}" src="{source}"{acts}>'


def view(value: str = "") -> "ipywidgets.HTML":
    """A place for a picture or for words.

    Args:
        value: its HTML.

    Returns:
        The widget.
    """
    import ipywidgets

    return ipywidgets.HTML(value=value)


def said(words: str) -> str:
    """Words below a picture.

    Args:
        words: plain text.

    Returns:
        The HTML.
    """
    return f"<div>{html.escape(words)}</div>"


def keys(*kinds: str) -> "ipywidgets.HTML":
    """The line that says how to work some kinds of controls without a mouse.

    Args:
        kinds: keys of `KEYS`.

    Returns:
        The widget.
    """
    parts = ["Tab goes from control to control", *(KEYS[kind] for kind in kinds)]
    # A font of the usual colour: pale small print is what those who need this line cannot read.
    return view(f'<div style="font-size: 85%">Keyboard: {"; ".join(parts)}.</div>')


def slider(values: range, value: int, label: str, width: str = "420px") -> "ipywidgets.IntSlider":
    """A slider over whole numbers that shows what it stands for.

    Args:
        values: the numbers.
        value: the first one shown.
        label: what it stands for.
        width: as CSS.

    Returns:
        The widget.
    """
    import ipywidgets

    return ipywidgets.IntSlider(
        value=value,
        min=values[0],
        max=values[-1],
        step=values.step,
        description=label,
        style={"description_width": "initial"},
        layout={"width": width},
    )


def column(children: Sequence[Any], about: str, otherwise: str = "") -> "ipywidgets.VBox":
    """The parts of a widget below each other; a page without a kernel shows its first picture and a sentence instead.

    Args:
        children: the parts.
        about: what a reader can do with the widget, one sentence.
        otherwise: HTML that a page without a kernel shows instead of picture and sentence.

    Returns:
        The widget.
    """
    import ipywidgets

    class Column(ipywidgets.VBox):
        def __repr__(self) -> str:
            return f"<widget: {about}>"

        def _repr_mimebundle_(self, **settings: Any) -> dict[str, Any]:
            words = [part.value for part in shown(self) if isinstance(part, ipywidgets.HTML)]
            pictures = "".join(f"<div>{picture}</div>" for picture in words if picture.startswith("<img"))
            says = f"<p>A widget as it stands at first. {html.escape(about)} It needs a running kernel.</p>"
            return super()._repr_mimebundle_(**settings) | {"text/html": otherwise or pictures + says}

    return Column(children)


def shown(widget: Any) -> Iterator[Any]:
    """A widget and all that it holds.

    Args:
        widget: of any kind.

    Yields:
        The widget, then its children and theirs, in order.
    """
    yield widget
    for child in getattr(widget, "children", ()):
        yield from shown(child)
