"""The instructor's page speaks of sections, exercises and answers that exist, and its plans fill their time."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")
NOTEBOOKS = {
    path.name[1]: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
}
PLANS = re.findall(r"^### ([^\n]*): (\d+) minutes\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[field.strip() for field in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("title", "minutes", "table"), PLANS, ids=[plan[0] for plan in PLANS])
def test_a_plan_fills_its_time_with_sections_that_exist(title, minutes, table):
    plan = rows(table)
    assert sum(int(row[0].rstrip(" *")) for row in plan) == int(minutes)
    for _, place, *_ in plan:
        if place == "Break":
            continue
        number, what = re.fullmatch(r"(\d), (section \d+|Quiz)", place).groups()
        text = "\n".join(cell.source for cell in NOTEBOOKS[number].cells if cell.cell_type == "markdown")
        heading = "## Quiz" if what == "Quiz" else f"## {what.split()[1]}. "
        assert re.search(rf"^{re.escape(heading)}", text, re.MULTILINE), place


def test_misconceptions_are_shown_in_sections_that_exist():
    table = re.search(r"^## Misconceptions\n.*?\n(\|.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)[1]
    places = [row[2] for row in rows(table)]
    assert len(places) >= 10
    for place in places:
        number, section = re.fullmatch(r"(\d), section (\d+)", place).groups()
        text = "\n".join(cell.source for cell in NOTEBOOKS[number].cells if cell.cell_type == "markdown")
        assert re.search(rf"^## {section}\. ", text, re.MULTILINE), place


def test_there_are_two_sessions_of_90_minutes_and_half_a_day():
    assert [int(minutes) for _, minutes, _ in PLANS] == [90, 90, 240]


def test_both_plans_reach_the_finding_on_interpolated_samples():
    """Section 3 of notebook 6 has it; the vote on the bars of one seed comes before."""
    sessions, half_day = [place for plan in PLANS[:2] for place in rows(plan[2])], rows(PLANS[2][2])
    for plan in (sessions, half_day):
        places = [row[1] for row in plan]
        assert places.index("4, section 6") < places.index("6, section 3")
    heading = re.search(r"^## 3\. (.*)", "\n".join(cell.source for cell in NOTEBOOKS["6"].cells), re.MULTILINE)[1]
    assert "interpolated samples" in heading


def test_every_exercise_has_its_common_mistakes_and_none_is_made_up():
    table = re.search(r"^## Common mistakes.*?\n(\|.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)[1]
    named = {row[0] for row in rows(table)}
    there = {
        cell.metadata["rdistill"]["exercise"]
        for notebook in NOTEBOOKS.values()
        for cell in notebook.cells
        if "exercise" in cell.metadata.get("rdistill", {})
    }
    assert named == there


def test_exercises_that_the_plans_name_exist():
    there = re.findall(r"^\| (\d\.\d) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"exercise (\d\.\d)", PAGE)) <= set(there)


def test_the_page_of_answers_is_that_of_the_quizzes(load_script):
    made = load_script("tools/quiz_answers.py").page()
    assert (ROOT / "docs" / "quiz-answers.md").read_text(encoding="utf-8") == made, "run python tools/quiz_answers.py"
