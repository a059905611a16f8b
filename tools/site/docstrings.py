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
    items: list[list[str]] = [[]]  # the text before the first item, then the items
    for line in paragraph.splitlines():
        if ITEM.match(line):
            items.append([line])
        else:
            items[-1].append(line.strip())
    text, *arguments = (" ".join(item) for item in items)
    out = [_escaped(text)] if text else []
    if arguments and out:
        out.append("")
    for argument in arguments:
        names, what = ITEM.fullmatch(argument).groups()
        out.append(f"* **{names}**: {_escaped(what)}")
    return out


def _escaped(text: str) -> str:
    parts = re.split(r"``([^`]+)``|`([^`]+)`", text)
    # text, code of two backticks or None, code of one or None, text ...
    out = []
    for at in range(0, len(parts), 3):
        out.append(re.sub(r"([\\*|_])", r"\\\1", parts[at]))
        if at + 2 < len(parts):
            out.append(f"``{parts[at + 1] or parts[at + 2]}``")
    joined = "".join(out)
    # Code ends where punctuation or space begins; anything else (`loss`es) needs an empty escape in between.
    return re.sub(r"(``[^`]+``)(?=\w)", r"\1\\ ", joined)
