"""A quiz that answers back: radio buttons, a reason for every answer, and the score."""

from typing import TYPE_CHECKING, Any

from rdistill_course.progress import remember_answer
from rdistill_course.quizzes import ABOUT, Question, as_html, inline, quiz_of, verdict
from rdistill_course.widgets.parts import column, keys, view

if TYPE_CHECKING:
    import ipywidgets

# JupyterLab gives every option one line of fixed height.
STYLE = """<style>
.rdistill-quiz .widget-radio-box label { height: auto; white-space: normal; line-height: 1.4; padding: 3px 0; }
.rdistill-quiz .widget-radio { height: auto; width: 100%; }
.rdistill-quiz .widget-radio-box { height: auto; max-width: 100%; }
</style>"""


def quiz(number: int) -> "ipywidgets.VBox":
    """The quiz of a notebook: choose an answer, and read at once why it is right or wrong.

    The score counts questions whose first answer was right; answers go into what `course_progress` shows. Where no kernel runs
    the questions stand with folded answers. The widget's children are the style, for each question its text, its options and
    what is said of the answer, then the score and the keys.

    Args:
        number: of the notebook.

    Returns:
        The widget.

    Raises:
        BadInput: there is no such quiz.
    """
    import ipywidgets

    asked = quiz_of(number)
    first: dict[int, bool] = {}
    score = view()

    def count() -> None:
        score.value = f'<div role="status">{score_of(list(first.values()), len(asked.questions))}</div>'

    def block(question: Question) -> list[Any]:
        options = [(f"{letter}. {plain(text)}", letter) for letter, text in question.options.items()]
        buttons = ipywidgets.RadioButtons(options=options, value=None, layout={"width": "100%"})
        reply = view()

        def answered(change: dict[str, Any]) -> None:
            letter = change["new"]
            first.setdefault(question.number, letter == question.right)
            reply.value = f'<div role="status">{inline(verdict(question, letter))}</div>'
            remember_answer(number, question.number, letter)
            count()

        buttons.observe(answered, names="value")
        return [view(f"<div><b>{question.number}.</b> {inline(question.text)}</div>"), buttons, reply]

    count()
    blocks = [part for question in asked.questions for part in block(question)]
    fallback = f"<p>{ABOUT}</p>\n{as_html(number, asked)}"
    whole = column([view(STYLE), *blocks, score, keys("radio")], ABOUT, fallback)
    whole.add_class("rdistill-quiz")
    return whole


def score_of(first: list[bool], count: int) -> str:
    """The score in words.

    Args:
        first: for each question with an answer, whether the first one was right.
        count: of all questions.

    Returns:
        A sentence.
    """
    return f"{len(first)} of {count} questions answered, {sum(first)} right at once."


def plain(markdown: str) -> str:
    """A line of Markdown without its marks, for where only plain text can stand.

    Args:
        markdown: the line.

    Returns:
        The text.
    """
    return markdown.replace("`", "").replace("*", "")
