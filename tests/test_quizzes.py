"""Quizzes: their files follow one form, every answer gets its reason, and the score counts first answers."""

import html
import json
import re

import pytest

from rdistill_course import course_progress, progress, quiz
from rdistill_course.checks import steps
from rdistill_course.quizzes import all_quizzes, as_html, inline, parsed, quiz_of
from rdistill_course.widgets.quiz import plain
from rdistill_helpers import BadInput

QUIZZES = all_quizzes()
QUESTIONS = [(number, question) for number, one in QUIZZES.items() for question in one.questions]
TEXT = """# A title

**1.** Is `a * b` *never*
0?

- **A.** Yes
- **B.** No

**B.** One of them may be 0,
or both.

- **A** is wrong: it forgets
  zeros.
"""


@pytest.fixture
def notebook(monkeypatch, tmp_path):
    """As in a notebook: progress is kept, in a folder of this test."""
    monkeypatch.setenv("RDISTILL_RUNS", str(tmp_path))
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: object())
    monkeypatch.setattr(steps, "given", {})
    return tmp_path


def test_a_file_is_read():
    (question,) = parsed(TEXT).questions
    assert parsed(TEXT).title == "A title"
    assert question == (
        1, "Is `a * b` *never* 0?", {"A": "Yes", "B": "No"}, "B",
        {"A": "it forgets zeros.", "B": "One of them may be 0, or both."},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"), [("- **A** is wrong", "- **B** is wrong"), ("**B.** One", "**C.** One"), ("- **A** is wrong", "-")]
)
def test_a_question_that_lacks_a_part_is_refused(old, new):
    with pytest.raises(BadInput, match="Question 1 of a quiz needs"):
        parsed(TEXT.replace(old, new))


@pytest.mark.parametrize(("number", "question"), QUESTIONS, ids=[f"{n}-{q.number}" for n, q in QUESTIONS])
def test_a_question_has_three_or_four_options_and_a_reason_for_each(number, question):
    assert list(question.options) in (list("ABC"), list("ABCD"))
    assert list(question.reasons) == list(question.options)
    assert all(len(reason.split()) >= 4 for reason in question.reasons.values())
    whole = " ".join([question.text, *question.options.values(), *question.reasons.values()])
    assert "$" not in whole  # a radio button shows no formula
    assert not re.search(r"[*`]", re.sub(r"<[^>]*>", "", re.sub(r"<code>.*?</code>", "", inline(whole))))


def test_each_notebook_has_five_questions_and_the_right_option_no_usual_place():
    assert {len(one.questions) for one in QUIZZES.values()} == {5}
    assert [q.number for _, q in QUESTIONS] == [1, 2, 3, 4, 5] * len(QUIZZES)
    right = [question.right for _, question in QUESTIONS]
    assert all(right.count(letter) < len(right) * 0.6 for letter in "ABCD")
    assert {"A", "B", "C"} <= set(right)


def test_html_holds_all_words_and_its_markup_comes_from_them_alone():
    page = as_html(3, quiz_of(3))
    words = html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"</?(?:code|em)>", "", page)))
    for question in quiz_of(3).questions:
        for text in (question.text, *question.options.values(), *question.reasons.values()):
            assert " ".join(plain(text).split()) in " ".join(words.split())
    assert page.count("<details>") == 5 and "\n\n" not in page
    assert inline("a < b & `x*y*z`, **c** *d*") == "a &lt; b &amp; <code>x*y*z</code>, <b>c</b> <em>d</em>"


def test_the_widget_answers_every_option_and_counts_first_answers(notebook):
    page = quiz(2)
    _, *parts, score, _ = page.children
    asked = quiz_of(2).questions
    for question, place in zip(asked, range(0, 3 * len(asked), 3), strict=True):
        _, buttons, reply = parts[place : place + 3]
        assert [value for _, value in buttons.options] == list(question.options) and buttons.value is None
        wrong = next(letter for letter in question.options if letter != question.right)
        for letter in [wrong, question.right] if question.number == 1 else [question.right]:
            buttons.value = letter
            assert f"{letter} is {'right' if letter == question.right else 'wrong'}" in reply.value
            assert inline(question.reasons[letter]) in reply.value
    assert "5 of 5 questions answered, 4 right at once" in score.value
    kept = json.loads((notebook / "progress.json").read_text())
    (here,) = kept.values()
    assert here["quizzes"]["2"]["1"] == wrong_then_right(asked[0])
    assert "is right" in page._repr_mimebundle_()["text/html"]


def wrong_then_right(question):
    return next(letter for letter in question.options if letter != question.right) + question.right


def test_a_quiz_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="no quiz 99"):
        quiz(99)


def test_hints_come_one_after_another_and_end_with_the_idea(notebook, capsys):
    for _ in range(4):
        steps.hint("1.1")
    steps.hint(1.2)
    said = capsys.readouterr().out.splitlines()
    hints = steps.EXERCISES["1.1"].hints
    assert said[:2] == [f"Exercise 1.1, hint {step} of 3: {hints[step - 1]}" for step in (1, 2)]
    assert said[2] == said[3] == f"Exercise 1.1, the idea: {hints[2]}"
    assert said[4].startswith("Exercise 1.2, hint 1 of 3")
    with pytest.raises(BadInput, match=r"no exercise 9\.9"):
        steps.hint("9.9")


def test_progress_shows_what_was_done_in_this_folder(notebook, capsys, monkeypatch):
    @steps.exercise("9.9", "a", "b", "c")
    def check_of_a_test(answer):
        if answer() != 1:
            raise steps.Hint("not 1")

    steps.EXERCISES.pop("9.9")
    with pytest.raises(steps.Hint) as told:
        check_of_a_test(lambda: 2)
    assert told.value._render_traceback_() == ["[NOT YET] not 1", 'More help: check.hint("9.9")']
    check_of_a_test(lambda: 1)
    progress.remember_exercise("1.2")
    progress.remember_answer(1, 1, "A")
    progress.remember_answer(1, 2, "A")
    progress.remember_answer(1, 2, "B")
    course_progress()
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("1. Teacher"))
    assert "2 of 5, 1" in line and "1.1 -  1.2 done  1.3 -" in line
    assert f"1 of {len(steps.EXERCISES)} exercises done, 2 of {len(QUESTIONS)} questions answered." in said
    elsewhere = notebook / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    course_progress()
    assert "0 of" in capsys.readouterr().out.splitlines()[-1]


def test_outside_a_notebook_nothing_is_written_and_a_damaged_file_counts_as_none(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RDISTILL_RUNS", str(tmp_path))
    progress.remember_exercise("1.2")
    assert not (tmp_path / "progress.json").exists()
    (tmp_path / "progress.json").write_text("[")
    course_progress()
    assert "0 of" in capsys.readouterr().out
