"""The quizzes of the notebooks: one Markdown file for each, read here and written as Markdown and as HTML.

A file has the title of its notebook, and for each question its options, the right letter with the reason, and a reason for each
wrong one:

    **1.** What is the cosine of a descriptor with itself?

    - **A.** 0
    - **B.** 1

    **B.** A descriptor has length 1, and its angle to itself is 0.

    - **A** is wrong: this is the cosine of perpendicular descriptors.
"""

import html
import re
from pathlib import Path
from typing import NamedTuple

from rdistill_helpers.errors import BadInput

FOLDER = Path(__file__).resolve().parent
ABOUT = "Choose an answer to a question, and read why it is right or wrong."


class Question(NamedTuple):
    """A question: its options by letter, the right letter, and for each letter why it is right or wrong."""

    number: int
    text: str
    options: dict[str, str]
    right: str
    reasons: dict[str, str]


class Quiz(NamedTuple):
    """The quiz of a notebook."""

    title: str
    questions: tuple[Question, ...]


def all_quizzes() -> dict[int, Quiz]:
    """All quizzes.

    Returns:
        By the number of the notebook, in order.
    """
    return {int(path.stem): parsed(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.md"))}


def quiz_of(number: int) -> Quiz:
    """The quiz of a notebook.

    Args:
        number: of the notebook.

    Returns:
        The quiz.

    Raises:
        BadInput: there is none.
    """
    path = FOLDER / f"{number:02d}.md"
    if not path.is_file():
        numbers = ", ".join(str(int(one.stem)) for one in sorted(FOLDER.glob("*.md")))
        raise BadInput(f"There is no quiz {number}: give the number of a notebook, one of {numbers}.")
    return parsed(path.read_text(encoding="utf-8"))


def parsed(page: str) -> Quiz:
    """Reads a quiz.

    Args:
        page: the text of its file.

    Returns:
        The quiz.

    Raises:
        BadInput: a question lacks a part.
    """
    head, *asked = re.split(r"^(?=\*\*\d+\.\*\* )", page, flags=re.MULTILINE)
    return Quiz(head.removeprefix("# ").strip(), tuple(_question(one) for one in asked))


def _question(page: str) -> Question:
    number, text = re.match(r"\*\*(\d+)\.\*\* (.+?)\n\n", page, re.DOTALL).groups()  # type: ignore[union-attr]
    options = _list(r"- \*\*([A-D])\.\*\* ", page)
    answer = re.search(r"^\*\*([A-D])\.\*\* (.+?)(?=\n\n|\Z)", page, re.DOTALL | re.MULTILINE)
    wrong = _list(r"- \*\*([A-D])\*\* is wrong: ", page)
    if answer is None or set(options) != {answer[1], *wrong} or answer[1] in wrong:
        raise BadInput(f"Question {number} of a quiz needs one right option, and a reason for each other: {text!r}")
    reasons = {letter: wrong.get(letter, _line(answer[2])) for letter in options}
    return Question(int(number), _line(text), options, answer[1], reasons)


def _list(start: str, page: str) -> dict[str, str]:
    """By letter, the items of a list that begin so; an item goes on in lines that are indented."""
    return {letter: _line(text) for letter, text in re.findall(rf"^{start}(.+(?:\n  .+)*)", page, re.MULTILINE)}


def _line(text: str) -> str:
    return " ".join(text.split())


def as_markdown(quiz: Quiz) -> str:
    """A quiz as Markdown with folded answers, as a page without scripts shows it.

    Args:
        quiz: the quiz.

    Returns:
        The Markdown, below a heading.
    """
    parts = ["## Quiz"]
    for question in quiz.questions:
        options = "\n".join(f"- **{letter}.** {text}" for letter, text in question.options.items())
        wrong = "\n".join(f"- {verdict(question, letter)}" for letter in question.options if letter != question.right)
        answer = f"<details><summary>Answer</summary>\n\n{verdict(question, question.right)}\n\n{wrong}\n\n</details>"
        parts.append(f"**{question.number}.** {question.text}\n\n{options}\n\n{answer}")
    return "\n\n".join(parts)


def as_html(number: int, quiz: Quiz) -> str:
    """A quiz as HTML with folded answers, which `quiz.js` of the site turns into questions that answer back.

    Args:
        number: of the notebook.
        quiz: the quiz.

    Returns:
        HTML without an empty line, so that Markdown leaves it as it is.
    """
    parts = [f'<div class="quiz" data-quiz="{number}">']
    for question in quiz.questions:
        options = "".join(
            f'<li data-option="{x}"><b>{x}.</b> {inline(said)}</li>' for x, said in question.options.items()
        )
        reasons = "".join(
            f'<li data-option="{x}">{inline(verdict(question, x))}</li>'
            for x in sorted(question.reasons, key=lambda letter: (letter != question.right, letter))
        )
        parts.append(
            f'<div class="question" data-right="{question.right}"><p><b>{question.number}.</b> {inline(question.text)}</p>'
            f"<ul>{options}</ul><details><summary>Answer</summary><ul>{reasons}</ul></details></div>"
        )
    return "\n".join([*parts, "</div>"])


def verdict(question: Question, letter: str) -> str:
    """What is said of an answer.

    Args:
        question: what was asked.
        letter: the option that was chosen.

    Returns:
        Markdown of one line.
    """
    said = f"**{letter} is right.**" if letter == question.right else f"**{letter} is wrong:**"
    return f"{said} {question.reasons[letter]}"


def inline(markdown: str) -> str:
    """A line of Markdown with code, emphasis and bold words.

    Args:
        markdown: the line.

    Returns:
        Its HTML.
    """
    codes: list[str] = []

    def keep(found: re.Match[str]) -> str:
        codes.append(f"<code>{found[1]}</code>")
        return "\0"

    text = re.sub(r"`([^`]+)`", keep, html.escape(markdown, quote=False))
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    text = re.sub(r"\*(.+?)\*", r"<em>\1</em>", text)
    return re.sub("\0", lambda _: codes.pop(0), text)
