"""Docstrings of this project, plain text with Markdown's backticks, as reStructuredText for Sphinx."""

import re

# A line that begins "rows: [B, D] ..." or "queries, database: ..." says what an argument is.
ITEM = re.compile(r"([A-Za-z_][\w.]*(?:(?:, | and )[A-Za-z_][\w.]*)*): (.*)")


def as_rest(lines: list[str]) -> list[str]:
    """Each argument becomes a point of a list, names in backticks become code, and nothing else is markup."""
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip()):
        if out:
            out.append("")
        out += _code(paragraph) if paragraph.startswith("    ") else _paragraph(paragraph)
    return [*out, ""]


def _code(paragraph: str) -> list[str]:
    return ["::", "", *paragraph.splitlines()]


def _paragraph(paragraph: str) -> list[str]:
    points: list[tuple[str, str]] = [("", "")]  # what stands before a point, and its text; the first is no point
    for line in paragraph.splitlines():
        if match := ITEM.match(line):
            points.append((f"* **{match[1]}**: ", match[2]))
        elif line.startswith("- "):
            points.append(("* ", line[2:]))
        elif line.startswith("Raises "):
            points.append(("\n", line))
        else:
            points[-1] = (points[-1][0], f"{points[-1][1]} {line.strip()}".strip())
    out: list[str] = []
    for mark, text in points:
        if text and mark != "" and out and not (mark.startswith("*") and out[-1].startswith("*")):
            out.append("")
        if text:
            out.append(mark.strip("\n") + _escaped(text))
    return out


def _escaped(text: str) -> str:
    out = ""
    # text, code or None, text ...; code stands between one or two backticks
    for at, part in enumerate(re.split(r"(``[^`]+``|`[^`]+`)", text)):
        if at % 2:
            out += f"``{part.strip('`')}``"
        else:
            # Code ends where punctuation or space begins; before a letter (`loss`es) it needs an empty escape.
            out += ("\\ " if at and re.match(r"\w", part) else "") + re.sub(r"([\\*|_])", r"\\\1", part)
    return out
