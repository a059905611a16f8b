"""What a search found, to read: a table, JSON, or an HTML page that holds everything it shows."""

import base64
import html
import io
import json
from collections.abc import Sequence

from PIL import Image, ImageDraw

from rdistill_helpers.data.images import Source, read_image, resize_longest
from rdistill_helpers.errors import BadInput, DataMissing, printable
from rdistill_helpers.ship.photo_index import Found

THUMBNAIL = 240  # pixels of the longer side
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.4 }}
body {{ margin: 1rem; color: #1b1b1b; background: #fff; overflow-wrap: anywhere }}
ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; padding: 0; list-style: none }}
figure {{ margin: 0 }}
img {{ max-width: 100%; height: auto }}
.gone {{ padding: 2rem 0; text-align: center; border: 1px dashed }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ededed; background: #161616 }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<figure>{query}<figcaption>The query{boxed}</figcaption></figure>
<h2>{count} photographs, the most similar first</h2>
<ol>
{found}
</ol>
</main>
</body>
</html>
"""


def as_table(found: Sequence[Found]) -> str:
    """What was found as lines of rank, similarity and name.

    Args:
        found: of `PhotoIndex.search`.

    Returns:
        A line for each photograph, under one of headings.
    """
    lines = [f"{rank:4}  {each.similarity:10.4f}  {printable(each.name)}" for rank, each in enumerate(found, 1)]
    return "\n".join([f"{'rank':>4}  {'similarity':>10}  photograph", *lines])


def as_json(found: Sequence[Found], query: str, box: Sequence[float] | None = None) -> str:
    """What was found as JSON.

    Args:
        found: of `PhotoIndex.search`.
        query: what the query is called.
        box: x1, y1, x2, y2 in pixels, to which it was cut.

    Returns:
        An object of `query`, `box` and `found`: a list, best first, of `rank`, `similarity`, `name` and `path`.
    """
    listed = [
        {"rank": rank, "similarity": round(each.similarity, 6), "name": each.name, "path": str(each.path)}
        for rank, each in enumerate(found, 1)
    ]
    return json.dumps({"query": query, "box": None if box is None else [*box], "found": listed}, indent=1)


def as_html(found: Sequence[Found], photo: Source, title: str, box: Sequence[float] | None = None) -> str:
    """What was found as a page with small pictures inside; it asks for no other file and runs no script.

    Args:
        found: of `PhotoIndex.search`.
        photo: the query.
        title: of the page.
        box: x1, y1, x2, y2 in pixels, to which the query was cut; the page shows it.

    Returns:
        The page, to be written in UTF-8. A photograph that has gone is shown by its name.

    Raises:
        DataMissing: the query is not there.
        BadInput: the query cannot be read.
    """
    query = read_image(photo)
    small = resize_longest(query, THUMBNAIL)
    if box is not None:
        ratio = small.width / query.width
        corners = [value * ratio for value in box]
        ImageDraw.Draw(small).rectangle(corners, outline="white", width=4)
        ImageDraw.Draw(small).rectangle(corners, outline="black", width=2)
    title = html.escape(printable(title))
    return PAGE.format(
        title=title, query=_picture(small, "The query"), boxed=", and the box it was cut to" if box is not None else "",
        count=len(found), found="\n".join(map(_item, found)),
    )  # fmt: skip


def _item(found: Found) -> str:
    """A photograph as an item of a list."""
    name = html.escape(printable(found.name))
    try:
        shown = _picture(resize_longest(read_image(found.path, imsize=THUMBNAIL), THUMBNAIL), found.name)
    except (BadInput, DataMissing):
        shown = '<div class="gone">cannot be shown</div>'
    return f"<li><figure>{shown}<figcaption>{found.similarity:.3f} {name}</figcaption></figure></li>"


def _picture(image: Image.Image, alt: str) -> str:
    """An image as an element that holds its pixels."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    pixels = base64.b64encode(file.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/jpeg;base64,{pixels}" alt="{html.escape(printable(alt))}" {size}>'
