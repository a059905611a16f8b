"""Writes docs/quiz-answers.md, the right letters of every quiz for the instructor, from rdistill_course/quizzes."""

from pathlib import Path

from rdistill_course.quizzes import all_quizzes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "quiz-answers.md"
HEAD = """# Answers of the quizzes

The right letter of every question. Why it is right, and why each other option is wrong, the quiz itself says. This page is made by
`python tools/quiz_answers.py`; change the files of `rdistill_course/quizzes`, not the page.

"""


def page() -> str:
    """The page, one row for each notebook."""
    paths = {int(path.name[:2]): path.name for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
    rows = {
        f"[{number}. {quiz.title}](../notebooks/{paths[number]})": [question.right for question in quiz.questions]
        for number, quiz in all_quizzes().items()
    }
    count = max(map(len, rows.values()))
    lines = [f"| notebook | {' | '.join(str(n) for n in range(1, count + 1))} |", "|---" * (count + 1) + "|"]
    lines += [f"| {title} | {' | '.join(letters)} |" for title, letters in rows.items()]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
