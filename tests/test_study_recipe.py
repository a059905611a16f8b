"""README, evidence and recipe are in step with the store of runs, and the tables of the study say what its runs say."""

import ast
import inspect
import re
from pathlib import Path

import pandas
import pytest
import torch

from rdistill_helpers.distil import losses
from rdistill_helpers.distil.distill import distill
from rdistill_helpers.distil.settings import Training
from study import __main__ as command
from study import findings, methods, primary, recipe, tables
from study.figures import ROWS
from study.methods import METHODS
from study.runs import COLUMNS, SEARCH, read
from study.search import COURSE, MANY
from study.settings import Settings, as_text, but
from study.tables.gains import MEAN, OTHER_WAYS

ROOT = Path(__file__).resolve().parents[1]
README, EVIDENCE, RECIPE = (ROOT / name for name in ("README.md", "docs/evidence.md", "docs/recipe.md"))
PER_QUERY = [0.1 + 0.001 * k for k in range(20)]


@pytest.fixture(scope="module")
def store():
    return read()


def row(method, own, seed, medium, ap=None):
    kept = torch.tensor([medium] * len(PER_QUERY) if ap is None else ap)
    values = [
        "version",
        "today",
        "edition-2-0",
        "teacher 0" if own.asked else "",
        method,
        own.images,
        own.queries,
        seed,
        0.5,
        medium,
        0.1,
        9.0,
        own,
        kept,
        float("nan"),
        None,
    ]
    return dict(zip(COLUMNS, values, strict=True))


def reached(method, images, seed, medium, ap=None):
    own = METHODS[method].settings
    return row(method, own if not images else but(own, images=images), seed, medium, ap)


def lines(table):
    return [" | ".join(map(str, line)).strip() for line in table.itertuples(index=False)]


def frame(*rows):
    return pandas.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize("page", recipe.PAGES, ids=lambda page: page.name)
def test_a_page_is_in_step_with_the_store(store, page):
    text = page.read_text(encoding="utf-8")
    filled = recipe.filled_notebook if page.suffix == ".ipynb" else recipe.filled
    assert filled(text, store) == text, "run python -m study tables"


def test_pages_with_tables_say_in_one_sentence_of_which_photographs_they_are(store, monkeypatch):
    for page in (README, EVIDENCE, RECIPE):
        assert page.read_text(encoding="utf-8").count("<!-- data -->") == 1
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = notebook.read_text(encoding="utf-8")
        assert page.count("print(made_with(") == page.count("from study.runs import read"), notebook.name
    there, known = store["data"].iloc[0], dict(name.split() for name in set(store["teacher"]) if name)
    monkeypatch.setattr(
        recipe.students,
        "rooms",
        lambda: type("Rooms", (), {"name": there, "version": lambda self, name: known[name]})(),
    )
    of_now = recipe.made_with(store)
    monkeypatch.setattr(
        recipe.students,
        "rooms",
        lambda: type("Rooms", (), {"name": "edition-9-0", "version": lambda self, name: known[name]})(),
    )
    of_then = recipe.made_with(store)
    monkeypatch.setattr(
        recipe.students, "rooms", lambda: type("Rooms", (), {"name": there, "version": lambda self, name: "0"})()
    )
    assert recipe.made_with(store) == of_then  # the same photographs, another teacher
    assert f"edition {there.split('-')[1]} of the rooms" in of_now and of_now.count(".") == of_then.count(".") == 1
    assert "not with those that ship now" in of_then and "not" not in of_now
    assert recipe.filled("<!-- data -->\n?\n<!-- /data -->", store) == f"<!-- data -->\n{of_then}\n<!-- /data -->"
    assert recipe.made_with(frame()).startswith("No run")


def test_every_table_stands_on_a_page():
    named = [name for page in recipe.PAGES for name in re.findall(r"<!-- table: ([\w-]+) -->", page.read_text("utf-8"))]
    assert set(named) == set(recipe.TABLES | recipe.OF_TEACHERS)


def test_the_recipe_is_one_page_of_text_without_figures_that_calls_distill_with_its_defaults():
    page = RECIPE.read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 120
    text = recipe.PICTURES.sub("", recipe.SENTENCES.sub("", recipe.MARKS.sub("", page)))
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert re.findall(r"\d+\.\d+|\d+ ?%", text) == []
    (call,) = ast.parse(re.search(r"```python\n(student.*?\n\))\n", page, re.DOTALL)[1]).body
    loss, *positional = [ast.unparse(each) for each in call.value.args[3:]]
    assert (loss, positional) == ("losses.listwise", [])
    values = {each.arg: eval(ast.unparse(each.value), {"Training": Training}) for each in call.value.keywords}
    defaults = {name: each.default for name, each in inspect.signature(distill).parameters.items()}
    assert values.pop("training") == Training()
    assert values == {name: defaults[name] for name in values} and defaults["loss"] is losses.listwise


def test_a_figure_is_described_on_its_page_and_drawn_beside_it(store, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    mark = "<!-- figure: verdict pictures/one.png -->\n{}\n<!-- /figure -->"
    page.write_text(mark.format("old"), encoding="utf-8")
    monkeypatch.setattr(recipe, "PAGES", (page,))
    assert recipe.fill(store) == [page]
    assert page.read_text(encoding="utf-8").splitlines()[1].startswith("![Gains in points of medium mAP")
    assert (tmp_path / "pictures" / "one.png").stat().st_size > 1000
    assert recipe.fill(store) == []
    assert recipe.filled(mark.format("old"), frame()) == mark.format(findings.NOT_YET)


def test_the_student_of_the_course_is_a_part_of_its_teacher():
    rows = [reached("teacher", 0, 0, 0.4), reached("untrained", 0, 0, 0.1)]
    rows += [reached("course-listwise+regression", 300, seed, medium) for seed, medium in ((0, 0.3), (1, 0.34))]
    rows += [reached("course-supervised-contrastive", 300, seed, 0.29) for seed in (1, 2)]
    assert lines(tables.targets(frame(*rows))) == [
        "teacher |  | 40.0 |  |", "labels, contrastive | 300 | 29.0 | 72 % (72 to 72) |",
        "listwise + regression | 300 | 32.0 | 80 % (75 to 85) |",
    ]  # fmt: skip


def test_an_assistant_stands_beside_the_same_student_without_one():
    rows = [reached("listwise+regression", 300, seed, 0.1, [0.10, 0.20]) for seed in range(5)]
    rows += [reached("listwise+regression", MANY, seed, 0.1, [0.20, 0.30]) for seed in range(5)]
    for name, images, ap in (("assisted-300", 300, [0.15, 0.25]), ("assisted-100", 100, [0.12, 0.22])):
        helped = Settings(images=MANY, assistant=Settings(images=images))
        rows += [row(name, helped, seed, 0.1, ap) for seed in range(5)]
    runs = frame(*rows)
    assert [line.split(" | ")[1:4] for line in lines(tables.larger(runs))] == [
        ["the teacher", "300", "300"], ["the larger assistant, 100 queries", f"{MANY:,}", "100"],
        ["the larger assistant", f"{MANY:,}", "300"], ["the teacher", f"{MANY:,}", f"{MANY:,}"],
    ]  # fmt: skip
    assert lines(tables.assisted(runs)) == [
        "SqueezeNet, 300 queries: with an assistant, against without | 5.0 (5.0 to 5.0) | higher | 133 % (125 to 150)",
        "100 queries with an assistant, against 300 without | 2.0 (2.0 to 2.0) | higher | 113 % (110 to 120)",
        f"300 queries with an assistant, against {MANY:,} without | -5.0 (-5.0 to -5.0) | lower | 80 % (75 to 83)",
    ]
    assert tables.by_size(runs)["medium mAP in %, by photographs"].tolist() == ["listwise + regression"]
    found = tables.by_queries(runs)
    assert list(found) == ["no assistant", "the larger assistant"]
    assert found["the larger assistant"]["images"].tolist() == [100, 300]
    assert found["no assistant"]["images"].tolist() == [300, MANY]


def test_two_methods_stand_with_both_intervals_of_their_difference():
    rows = [reached("listwise", 300, seed, 0.1, PER_QUERY) for seed in range(5)]
    rows += [reached("pkt", 300, seed, 0.1, [value - 0.0203 for value in PER_QUERY]) for seed in range(4)]
    found = tables.intervals(frame(*rows), "listwise", "pkt", 300)
    assert found.columns[0] == "300 photographs, 4 seeds"
    said = lines(found)
    assert said[0].startswith("listwise | 11.0 (") and said[1].startswith("PKT | 8.9 (")
    assert said[3] == "difference, paired | 2.0 (2.0 to 2.0)"
    low, high = map(float, re.search(r"2\.0 \((\S+) to (\S+)\)", said[2]).groups())
    assert low < 2 < high
    assert len(tables.intervals(frame(*rows), "listwise", "order", 300)) == 0


def test_the_verdict_has_a_row_for_each_method_and_the_mean_of_all_first():
    gains = {"listwise+regression": 0.02, "stranger": -0.04}
    rows = [reached(name, 300, seed, 0.1, PER_QUERY) for name in gains for seed in range(5)]
    for name, gain in gains.items():
        rows += [reached(f"{name}+mixtures", 300, seed, 0.1, [v + gain for v in PER_QUERY]) for seed in range(5)]
    rows += [reached("straight", 300, seed, 0.1, [v + 0.01 for v in PER_QUERY]) for seed in range(2)]
    found = tables.verdict(frame(*rows)).round(4)
    assert lines(found[["panel", "method", "seeds", "mean"]]) == [
        f"descriptors | {MEAN} | 5 | -0.01", "descriptors | listwise + regression | 5 | 0.02",
        "descriptors | stranger's student | 5 | -0.04",
        "feature maps | other way: regression alone | 2 | 0.01",
    ]  # fmt: skip


def test_mixtures_are_told_by_the_number_of_photographs():
    rows = [reached("listwise+regression", size, seed, 0.1, PER_QUERY) for size in (50, 300) for seed in (0, 1)]
    rows += [
        reached("listwise+regression+mixtures", size, seed, 0.1, [value + gain for value in PER_QUERY])
        for size, gain in ((50, -0.01), (300, 0.02))
        for seed in (0, 1)
    ]
    found = tables.mixed_by_size(frame(*rows))
    assert list(found.columns)[1:] == ["50", "300"]
    assert lines(found) == ["mixtures of descriptors | -1.0 (-1.0 to -1.0), 2 seeds | 2.0 (2.0 to 2.0), 2 seeds"]
    assert tables.mixed_by_size(frame(*rows[:4])).empty


def test_the_verdict_of_a_whole_store_fits_a_figure():
    assert len(set(methods.mixed().values()) | set(OTHER_WAYS)) + 1 <= ROWS


def test_choices_stand_against_the_same_number_of_queries():
    rows = [reached("paid-random", 300, seed, 0.1, PER_QUERY) for seed in range(5)]
    rows += [reached("paid-k-centre", 300, seed, 0.1, [value + 0.01 for value in PER_QUERY]) for seed in range(5)]
    rows += [reached("listwise+regression", 300, seed, 0.1, [value + 0.02 for value in PER_QUERY]) for seed in range(5)]
    made = but(Settings(), images=100, made=200)
    rows += [row("paid-mixed", made, seed, 0.1, PER_QUERY) for seed in range(3)]
    runs = frame(*rows)
    assert [line.split(" | ")[:2] for line in lines(tables.choices(runs))] == [
        ["k-centre, against random", "1.0 (1.0 to 1.0)"],
        ["random, against ten of each room", "-2.0 (-2.0 to -2.0)"],
        ["100 and 200 mixtures of them, against 300", "-2.0 (-2.0 to -2.0), 3 seeds"],
    ]
    assert tables.spent(runs)["seeds"].tolist() == [5, 5, 3]


def test_a_claim_is_compared_with_the_labels_that_the_validation_rooms_chose(new):
    rows = better(new, "supervised-contrastive", 300, 0.3)
    rows += [reached(name, 300, 0, 0.3, PER_QUERY) for name in ("listwise+regression", "stranger")]
    rows += [reached("supervised-contrastive", 300, 0, 0.1, [0.2] * 20)]
    rows += [reached("supervised-multi-similarity", 300, 0, 0.1, [0.3] * 20)]
    claims = tables.claims(frame(*rows))
    said = "300 photographs, no labels, against labels, contrastive"
    assert claims["measured here"].tolist() == [said, f"{said}; the stranger's answers"]
    assert set(claims["claim"]) == {"3: few samples"}


def test_mixtures_stand_against_a_training_that_differs_in_nothing_else():
    rows = [reached(name, 300, seed, 0.1, PER_QUERY) for name in ("unmixed", "long") for seed in range(5)]
    mixed = [value + 0.01 for value in PER_QUERY]
    rows += [reached(name, 300, seed, 0.1, mixed) for name in ("straight", "random-depth") for seed in range(5)]
    assert [line.split(" | ")[:2] for line in lines(tables.controls(frame(*rows)))] == [
        ["feature maps, mixtures by regression alone, against the same training without", "1.0 (1.0 to 1.0)"],
        ["feature maps, random depth, Beta(2, 2), against longer training", "1.0 (1.0 to 1.0)"],
    ]
    own, mixed = (methods.settings_of(name, 300, alike()) for name in ("unmixed", "listwise+regression+mixtures"))
    assert but(mixed, mixtures=None) == own


@pytest.mark.parametrize("name", recipe.TABLES)
def test_a_table_without_runs_says_so(name):
    assert recipe.markdown(recipe.TABLES[name](frame())) == findings.NOT_YET


def test_a_mark_of_no_table_is_an_error():
    with pytest.raises(KeyError):
        recipe.filled("<!-- table: nothing -->\n<!-- /table -->", frame())


def test_a_student_ships_with_the_default_settings_where_nothing_was_searched_yet(monkeypatch, capsys):
    monkeypatch.setattr(command.students, "rooms", lambda: None)
    monkeypatch.setattr(command.ship, "make", lambda own, *others: own)
    monkeypatch.setattr(command.runs, "read", lambda path: frame())
    assert command.main(["ship", "--images", "100"]) == 0
    assert capsys.readouterr().out.strip() == str(but(COURSE, images=100))


def test_an_outdated_page_is_found_and_mended(tmp_path, monkeypatch, capsys):
    page = tmp_path / "recipe.md"
    page.write_text("before\n<!-- table: made -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(recipe, "PAGES", (page,))
    assert command.main(["tables", "--check"]) == 1
    assert "recipe.md out of date" in capsys.readouterr().err
    assert "old" in page.read_text(encoding="utf-8")
    assert command.main(["tables"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- table: made -->\n\n| scored on") and text.endswith("<!-- /table -->\nafter\n")
    assert command.main(["tables", "--check"]) == 0


@pytest.mark.slow
def test_the_command_shows_what_is_there_and_refuses_seeds_that_choose(capsys, tmp_path):
    assert command.main(["summary"]) == 0
    shown = capsys.readouterr().out
    assert "listwise + regression" in shown and "no clear difference" in shown
    assert command.main(["run", "listwise", "--seeds", "1000"]) == 1
    assert "choose settings" in capsys.readouterr().err
    assert command.main(["summary", "--store", str(tmp_path / "none.csv")]) == 1
    assert "make study" in capsys.readouterr().err


def alike():
    """Scores of a search in which all settings reached the same."""
    return {as_text(run.settings): 0.2 for run in methods.tuning()}


def searched():
    """Rows of a store in which everything was tried and confirmed, with invented scores."""
    return [row(SEARCH, run.settings, run.seed, 0.2) for run in (*methods.tuning(), *methods.confirming(alike()))]


@pytest.fixture
def new():
    return searched()


def better(rows, name, images, medium):
    """Raise the first try of a method, which is chosen where all are equal."""
    own = methods.settings_of(name, images, alike())
    return [{**each, "medium": medium} if each["settings"] == own else each for each in rows]


def test_validation_chooses_what_the_primary_comparisons_compare(new):
    rows = better(new, "supervised-proxy-anchor", 300, 0.3)
    rows = better(rows, "supervised-multi-similarity", MANY, 0.4)
    rows = better(rows, "columns-mixed", 300, 0.35)
    found = primary.comparisons(frame(*better(rows, "averaged", 300, 0.36)))
    assert len(found) == 8
    ours, mixed = ("listwise+regression", 300), ("listwise+regression+mixtures", 300)
    assert found["no labels"] == (*ours, "supervised-proxy-anchor", 300)
    assert found["no labels, 300 queries"] == ("assisted-300", MANY, "supervised-multi-similarity", MANY)
    assert found["the best other mixtures"] == ("columns-mixed", 300, *ours)
    assert found["the best start"] == ("averaged", 300, *ours)
    assert found["descriptor mixtures"] == (*mixed, *ours)
    assert found["descriptor mixtures, stranger"] == ("stranger+mixtures", 300, "stranger", 300)
    assert found["queries in the teacher's database"] == ("listwise+regression@teacher", 300, *ours)
    cells = primary.cells(frame(*rows))
    assert mixed in cells and ours in cells and all("@" not in name for name, _ in cells) and len(cells) <= 12
    paid = primary.comparisons(frame(*better(new, "paid-mixed", 100, 0.5)))
    assert paid["the best other mixtures"] == ("paid-mixed", 100, *ours)


def test_candidates_stand_on_validation_beside_the_recipe_and_their_controls(new):
    rows = better(better(new, "unpaid-mixed", 300, 0.24), "unpaid", 300, 0.23)
    found = {line.split(" | ")[0]: line for line in lines(tables.validated(frame(*rows)))}
    assert found["consistency, unpaid mixed with paid"].endswith("24.0 | +4.0 | +4.0 | +1.0")
    assert found["listwise + regression"] == "listwise + regression | 20.0 |  |  |"


def test_mixtures_are_told_by_teacher_and_loss(new):
    exploring = [row(SEARCH, run.settings, run.seed, 0.2) for run in methods.exploring(alike())]
    for each in exploring:
        own = each["settings"]
        if own.teacher == "teacher (noisy 1)" and own.images:
            each["medium"] = 0.1 if own.mixtures is None else 0.13 if own.mixtures.mix_at is None else 0.14
    found = lines(tables.explored(frame(*new, *exploring)))
    assert "noise as long as the row | 20.0 | listwise + regression | 10.0 | +3.0 | +4.0 | 2" in found
    assert "stranger | 20.0 | PKT | 20.0 | +0.0 | +0.0 | 1" in found
    assert len(found) == len(set(found)) == 8 + 2 * 7


def asked_in(own, medium, to_teacher):
    """A run of the store whose queries were searched in the teacher's database too."""
    return {**own, "to_teacher": to_teacher, "to_teacher_ap": torch.tensor(PER_QUERY) + to_teacher - medium}


def test_primary_comparisons_are_corrected_together(new):
    rows = [asked_in(reached("listwise+regression", 300, seed, 0.1, PER_QUERY), 0.1, 0.15) for seed in range(8)]
    noise = [0.003 * (-1) ** k for k in range(20)]
    mixed = [value + 0.0005 + off for value, off in zip(PER_QUERY, noise, strict=True)]
    rows += [reached("listwise+regression+mixtures", 300, seed, 0.1, mixed) for seed in range(8)]
    table = tables.primary(frame(*new, *rows)).set_index("question")
    asked = [primary.QUESTIONS[question] for question in ("descriptor mixtures", "queries in the teacher's database")]
    assert list(table.index) == asked
    unsure, sure = (table.loc[question] for question in asked)
    assert sure["verdict"] == "higher" and sure["difference in points (99.4 %)"] == "5.0 (5.0 to 5.0)"
    assert sure["of each seed"].split() == ["+5.0"] * 8
    assert float(sure["corrected p"]) == pytest.approx(8 * float(sure["p"]), abs=1e-3)
    assert unsure["verdict"] == "no clear difference" and float(unsure["corrected p"]) == pytest.approx(
        min(1, 7 * float(unsure["p"])), abs=1e-3
    )
    assert "in the database of its teacher" in sure["comparison"]


def test_queries_are_told_by_whose_database_they_search():
    rows = [reached("teacher", 0, 0, 0.4)]
    rows += [asked_in(reached("listwise+regression", 300, seed, 0.1, [0.1] * 20), 0.1, 0.15) for seed in range(5)]
    (line,) = lines(tables.search_in(frame(*rows)))
    own = sum(PER_QUERY) / 20
    assert line.startswith(f"listwise + regression | 300 | 10.0 | {100 * (own + 0.05):.1f} | 40.0 |")
