"""Formulas drawn once, when pages are built: a picture for the eye, MathML for screen readers, no script and no font."""

import html
import re

import ziafont
import ziamath
from ziamath.tex import tex2mml

PIXELS = 16  # size that formulas are drawn in; pages scale it with their text, as widths are given in em
ziafont.config.svg2 = False  # glyphs as plain paths: shared symbols would need names that are unique in a page


def formula(tex: str, inline: bool) -> str:
    """HTML of a formula in TeX, in the colour and size of the text around it."""
    # Without this a bar of a norm grows as tall as the tallest thing in its line, or without end.
    mathml = tex2mml(tex, inline=inline).replace("<mo>&#x02016;", '<mo stretchy="false">&#x02016;')
    drawn = ziamath.Math(mathml, size=PIXELS).svg()
    _, top, width, height = map(float, re.search(r'viewBox="([^"]+)"', drawn).group(1).split())
    style = (
        f"width:{width / PIXELS:.3f}em;height:{height / PIXELS:.3f}em;vertical-align:{-(top + height) / PIXELS:.3f}em"
    )
    drawn = re.sub(r' (width|height)="[^"]*"', "", drawn, count=2)
    drawn = drawn.replace("<svg ", f'<svg aria-hidden="true" focusable="false" style="{style}" ', 1)
    kind = "inline" if inline else "display"
    return f'<span class="formula {kind}"><span class="formula-spoken">{mathml}</span>{drawn}</span>'


def formulas_in(page: str) -> str:
    """The same HTML with every $formula$ and $$formula$$ of its text drawn; code, scripts and pictures are left alone."""
    parts = re.split(r"(<(pre|code|script|style|svg)\b.*?</\2>|<[^>]*>)", page, flags=re.DOTALL)
    # re.split gives text, whole match, name of the element or None, text ...
    for at in range(0, len(parts), 3):
        parts[at] = re.sub(
            r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>\S(?:[^$]*?\S)?)\$(?!\d)",
            lambda m: formula(html.unescape(m["display"] or m["inline"]), inline=m["display"] is None),
            parts[at],
            flags=re.DOTALL,
        )
    return "".join(part for at, part in enumerate(parts) if at % 3 != 2)
