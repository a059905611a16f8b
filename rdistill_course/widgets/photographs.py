"""Sheets of small photographs, drawn with Pillow: decoded once, framed by what they are."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from rdistill_course.style import MARKS
from rdistill_helpers.plots.style import PALETTE

TILE = (160, 120)  # pixels of one photograph
GAP, CAPTION, FRAME = 8, 20, 4  # pixels
INK, PAPER = "#202020", "#FFFFFF"
Place = tuple[str, Image.Image, str | None]  # caption, tile, and the outcome or the colour that frames it


def tile_of(image: Image.Image) -> Image.Image:
    """A photograph, fitted into a tile on a white ground.

    Args:
        image: the photograph; a JPEG that is not decoded yet is decoded small.

    Returns:
        An image of the size `TILE`.
    """
    image.draft("RGB", TILE)  # a large JPEG is decoded at an eighth of its size where that is enough
    small = image.convert("RGB")
    scale = min(TILE[0] / small.width, TILE[1] / small.height)
    small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    ground = Image.new("RGB", TILE, PAPER)
    ground.paste(small, ((TILE[0] - small.width) // 2, (TILE[1] - small.height) // 2))
    return ground


def boxed_tile(image: Image.Image, box: Sequence[float] | None) -> Image.Image:
    """A whole photograph with the box of a query.

    Args:
        image: the photograph.
        box: x1, y1, x2, y2 in its pixels; None draws none.

    Returns:
        An image of the size `TILE`.
    """
    tile = tile_of(image)
    if box is not None:
        scale = min(TILE[0] / image.width, TILE[1] / image.height)
        left, top = (TILE[0] - image.width * scale) / 2, (TILE[1] - image.height * scale) / 2
        x1, y1, x2, y2 = (float(value) * scale for value in box)
        place = (left + x1, top + y1, min(left + x2, TILE[0] - 1), min(top + y2, TILE[1] - 1))
        draw = ImageDraw.Draw(tile)
        draw.rectangle(place, outline=PAPER, width=4)
        draw.rectangle(place, outline=PALETTE["blue"], width=2)
    return tile


def sheet(lines: Sequence[Sequence[Place | None]]) -> Image.Image:
    """Rows of framed tiles with captions.

    Args:
        lines: the places of each row; None leaves one empty.

    Returns:
        The sheet.
    """
    width, height = TILE[0] + GAP + 2 * FRAME, TILE[1] + CAPTION + GAP + 2 * FRAME
    paper = Image.new("RGB", (max(map(len, lines)) * width, len(lines) * height), PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(14)
    for row, line in enumerate(lines):
        for number, place in enumerate(line):
            if place is None:
                continue
            caption, tile, kind = place
            x, y = number * width + GAP // 2, row * height
            draw.text((x + FRAME, y), caption, fill=INK, font=font)
            y += CAPTION
            paper.paste(tile, (x + FRAME, y + FRAME))
            if kind is not None:
                colour = MARKS[kind].colour if kind in MARKS else kind
                box = (x, y, x + TILE[0] + 2 * FRAME - 1, y + TILE[1] + 2 * FRAME - 1)
                draw.rectangle(box, outline=colour, width=FRAME)
                if kind in MARKS:
                    _cut(draw, box, {"negative": 24, "ignored": 8}.get(kind))
                    _sign(draw, kind, x + TILE[0] + FRAME - 16, y - CAPTION + 2)
    return paper


def _cut(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], dash: int | None) -> None:
    """Cuts gaps into a frame, so that it is dashed or dotted: outcomes differ by line as well as by colour."""
    if dash is None:
        return
    left, top, right, bottom = box
    for x in range(left + dash, right - dash // 2, 2 * dash):
        for y in (top, bottom - FRAME + 1):
            draw.rectangle((x, y, x + dash // 2, y + FRAME - 1), fill=PAPER)
    for y in range(top + dash, bottom - dash // 2, 2 * dash):
        for x in (left, right - FRAME + 1):
            draw.rectangle((x, y, x + FRAME - 1, y + dash // 2), fill=PAPER)


def _sign(draw: ImageDraw.ImageDraw, kind: str, x: int, y: int) -> None:
    """A tick, a cross or a bar, drawn with lines, as the default font lacks them."""
    strokes = {
        "positive": [(0, 8, 5, 13), (5, 13, 14, 1)],
        "negative": [(1, 1, 13, 13), (13, 1, 1, 13)],
        "ignored": [(1, 7, 13, 7)],
    }[kind]
    for x1, y1, x2, y2 in strokes:
        draw.line((x + x1, y + y1, x + x2, y + y2), fill=MARKS[kind].colour, width=3)
