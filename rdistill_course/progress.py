"""What a learner has done, exercises and questions of quizzes, kept in a file and shown on one page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rdistill_course.runs import runs_root
from rdistill_helpers.errors import RDistillError
from rdistill_helpers.files import written_whole

Done = dict[str, Any]  # {"exercises": [number, ...], "quizzes": {quiz: {question: letters in the order of choosing}}}
WIDTH = 28  # of a title


def remember_exercise(number: str) -> None:
    """Writes down that an exercise is done. Outside a notebook nothing is written.

    Args:
        number: of the exercise, such as "1.2".
    """

    def add(done: Done) -> None:
        done["exercises"] = sorted({*done["exercises"], number})

    _change(add)


def remember_answer(quiz: int, question: int, letter: str) -> None:
    """Writes down an answer to a question of a quiz. Outside a notebook nothing is written.

    Args:
        quiz: number of the notebook.
        question: its number, from 1.
        letter: the option that was chosen.
    """

    def add(done: Done) -> None:
        answers = done["quizzes"].setdefault(str(quiz), {})
        answers[str(question)] = answers.get(str(question), "") + letter

    _change(add)


def done_here(folder: Path | None = None) -> Done:
    """What was done in the notebooks of a folder, so that an edition with solutions counts for no other.

    Args:
        folder: of the notebooks; by default the current one.

    Returns:
        The exercises, and the answers to quizzes.
    """
    return {"exercises": [], "quizzes": {}} | _kept().get(str(folder or Path.cwd()), {})


def course_progress() -> None:
    """Prints the exercises and quizzes of the course, and which of them you have done in the notebooks of this folder.

    An exercise is done when its check has said [OK]. A question is right when your first answer was.
    """
    from rdistill_course.checks.steps import EXERCISES
    from rdistill_course.quizzes import all_quizzes

    done = done_here()
    print(f"{'notebook':{WIDTH}}  {'quiz: answered, right at once':29}  exercises")
    asked = answered = 0
    for number, quiz in all_quizzes().items():
        answers = done["quizzes"].get(str(number), {})
        known = {str(question.number): question.right for question in quiz.questions}
        replied = [question for question in known if answers.get(question)]
        right = sum(answers[question][0] == known[question] for question in replied)
        exercises = [name for name in EXERCISES if name.startswith(f"{number}.")]
        marks = "  ".join(f"{name} {'done' if name in done['exercises'] else '-'}" for name in sorted(exercises))
        score = f"{len(replied)} of {len(known)}, {right}"
        print(f"{f'{number}. {quiz.title}'[:WIDTH]:{WIDTH}}  {score:29}  {marks}".rstrip())
        asked, answered = asked + len(known), answered + len(replied)
    count = len(set(done["exercises"]) & set(EXERCISES))
    print(f"{count} of {len(EXERCISES)} exercises done, {answered} of {asked} questions answered.")


def _kept() -> dict[str, Done]:
    """The file of all folders; a damaged one counts as none."""
    try:
        kept = json.loads((runs_root() / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _change(add: Callable[[Done], None]) -> None:
    from IPython.core.getipython import get_ipython

    if get_ipython() is None:
        return
    try:
        kept, here = _kept(), str(Path.cwd())
        done = kept[here] = done_here()
        add(done)
        with written_whole(runs_root() / "progress.json") as unfinished:
            unfinished.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    except RDistillError as error:
        print(f"Your progress is not kept: {error}")
