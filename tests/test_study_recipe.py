"""README, measurements and recipe are in step with the store of runs, and the tables of the study say what its runs say."""

import re
from pathlib import Path

import pandas
import pytest
import torch

from rdistill_helpers.distil.settings import Mixtures
from study import __main__ as command
from study import methods, primary, recipe, tables
from study.methods import METHODS
from study.runs import COLUMNS, EARLIER, SEARCH, read
from study.search import COURSE, MANY, of_loss
from study.settings import Settings, but

ROOT = Path(__file__).resolve().parents[1]
README, MEASUREMENTS, RECIPE = (ROOT / name for name in ("README.md", "docs/measurements.md", "docs/recipe.md"))
LIST = of_loss("listwise")
PER_QUERY = [0.1 + 0.001 * k for k in range(20)]


@pytest.fixture(scope="module")
def store():
    return read()


def row(method, own, seed, medium, ap=None):
    kept = None if ap is None else torch.tensor(ap)
    values = [
        "version",
        "today",
        "edition-1-0",
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


def tried(medium, seed=1000, base=LIST, **changes):
    return row(SEARCH, but(base, **changes), seed, medium)


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
    for page in (README, MEASUREMENTS, RECIPE):
        assert page.read_text(encoding="utf-8").count("<!-- data -->") == 1
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = notebook.read_text(encoding="utf-8")
        assert page.count("print(made_with(") == page.count("from study.runs import read"), notebook.name
    there, known = store["data"].iloc[0], store["teacher"].iloc[0].split()[1]
    monkeypatch.setattr(
        recipe.students, "rooms", lambda: type("Rooms", (), {"name": there, "version": lambda self, name: known})()
    )
    of_now = recipe.made_with(store)
    monkeypatch.setattr(
        recipe.students,
        "rooms",
        lambda: type("Rooms", (), {"name": "edition-9-0", "version": lambda self, name: known})(),
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


def test_every_table_stands_on_one_page():
    named = [name for page in recipe.PAGES for name in re.findall(r"<!-- table: ([\w-]+) -->", page.read_text("utf-8"))]
    assert sorted(named) == sorted(recipe.TABLES | recipe.OF_TEACHERS)


def test_the_text_between_the_tables_of_the_recipe_holds_no_figure():
    text = recipe.MARKS.sub("", RECIPE.read_text(encoding="utf-8"))
    assert re.findall(r"\d+\.\d+|\d+ ?%", re.sub(r"95 %", "", text)) == []


def test_the_recipe_says_which_runs_an_earlier_loop_made(store):
    assert ("earlier loop" in recipe.MARKS.sub("", RECIPE.read_text(encoding="utf-8"))) == (
        "earlier loop" in set(store["made"])
    )


def test_the_differences_in_the_text_of_the_measurements_are_those_of_the_store(store):
    text = " ".join(MEASUREMENTS.read_text(encoding="utf-8").split())
    signless = [
        gain.lstrip("-").split(" (")[0] for gain in lines(tables.against_labels(store)[["difference in points (95 %)"]])
    ]
    assert f"by {signless[3]} points" in text and f"stays {signless[4]} points below" in text
    of_maps = tables.over_sizes(store).query("mixtures == '16 of maps'")["mean gain in points (95 %)"].tolist()
    for found in of_maps:
        mean, interval = re.fullmatch(r"(\S+) \((.*)\)", found).groups()
        assert mean in text and f"({interval}" in text
    queries = dict(tables.larger(store)[["learns from", "medium mAP in %"]].iloc[4:].itertuples(index=False))
    assert all(said.split(" (")[0] in text for said in queries.values())


def test_the_defaults_are_those_of_distill():
    said = lines(tables.default(frame()))
    assert "`loss` | `listwise`" in said
    assert "`steps` | 500" in said
    assert "`regression_weight` | 2.0" in said
    assert "`mixtures` | None" in said
    assert "its `temperature` | 0.04" in said


def test_mixtures_are_told_by_the_side_of_their_interval():
    rows = [reached("pkt", 300, seed, 0.1, PER_QUERY) for seed in range(5)]
    rows += [reached("pkt+mixtures", 300, seed, 0.2, [value + 0.02 for value in PER_QUERY]) for seed in range(5)]
    rows += [
        reached("order", 50, 0, 0.1, PER_QUERY),
        reached("order+mixtures", 50, 0, 0.2, [v - 0.01 for v in PER_QUERY]),
    ]
    rows += [reached("pkt", 300, 1000, 0.1, PER_QUERY), reached("pkt+mixtures", 300, 1000, 0.9, [0.9] * 20)]  # chose
    rows += [
        reached("course-listwise+regression", 300, 0, 0.3), reached("course-listwise+regression+map-mixtures", 300, 0, 0.33)
    ]  # fmt: skip
    assert lines(tables.mixtures(frame(*rows))) == [
        "of the study | order (ListMLE) | 48 of descriptors | 50 | -1.0 (-1.0 to -1.0), 1 seed | hurts",
        "of the study | PKT | 48 of descriptors | 300 | 2.0 (2.0 to 2.0) | helps",
        "of the course | listwise + regression | 16 of maps | 300 | 3.0 (3.0 to 3.0), 1 seed * | helps",
    ]


def test_gains_of_the_search_stand_beside_the_same_run_without():
    many = Mixtures(count=48)
    runs = frame(
        tried(0.30), tried(0.28, 1001), tried(0.29, mixtures=many), tried(0.2796, 1001, mixtures=many),
        tried(0.26, mixtures=Mixtures(count=48, pairs="neighbours")), tried(0.2, loss="pkt"),
        tried(0.23, loss="pkt", mixtures=many), tried(0.25, anchors=2, neighbours=3),
    )  # fmt: skip
    assert lines(tables.by_seed(tables.of_mixtures(runs))) == [
        "48 mixtures | -1.0, 0.0 | -0.5",
        "48 mixtures, pairs of neighbours | -4.0 | -4.0",
    ]
    assert lines(tables.by_seed(tables.under_mixtures(runs))) == ["PKT | +3.0 | +3.0"]
    assert lines(tables.lists(runs)) == ["8 | 2 | 3 | 25.0", "48 | 8 | 5 | 30.0, 28.0"]


def test_students_of_other_dimensions_say_how_their_layer_started():
    runs = frame(
        tried(0.30), tried(0.13, 1001, dim=32), tried(0.12, dim=32), tried(0.1, dim=32, mixtures=Mixtures()),
        tried(0.15, dim=32, whitening="components", regression_weight=2.0),
    )  # fmt: skip
    assert lines(tables.dimensions(runs)) == [
        "32 | components | and regression | 15.0",
        "32 | random | alone | 12.0, 13.0",
    ]


def test_settings_of_training_stand_beside_the_recipe():
    ours = {"regression_weight": 2.0}
    runs = frame(
        tried(0.30, **ours), tried(0.31, **ours, steps=1000), tried(0.29), tried(0.2, steps=1000),
        tried(0.28, **ours, loss_settings={"temperature": 0.03}), tried(0.4, **ours, images=MANY),
        tried(0.42, **ours, images=MANY, start_weight=0.0),
    )  # fmt: skip
    assert lines(tables.by_seed(tables.of_training(runs))) == [
        "steps 1000 | +1.0 | +1.0",
        "temperature 0.03 | -2.0 | -2.0",
        f"start weight 0.0 (photographs {MANY}) | +2.0 | +2.0",
    ]


def test_mixtures_of_maps_stand_beside_a_larger_batch():
    ours = {"regression_weight": 2.0}
    runs = frame(
        tried(0.30, **ours), tried(0.31, **ours, anchors=16), tried(0.2, mixtures=Mixtures()),
        tried(0.32, **ours, mixtures=Mixtures(count=16, mix_at=9)),
    )  # fmt: skip
    assert lines(tables.by_seed(tables.of_maps(runs))) == [
        "16 mixtures of maps (regression, weight 2.0) | +2.0 | +2.0",
        "anchors 16 (regression, weight 2.0) | +1.0 | +1.0",
    ]


def test_conditions_stand_beside_the_usual_one_and_a_teacher_beside_its_student():
    weak = Settings(student="teacher", teacher="teacher (16 directions)", loss=None, images=0, regression_weight=0.0)
    runs = frame(
        tried(0.30), tried(0.28, views=1), tried(0.27, views=1, augment=False), tried(0.2, views=1, mixtures=Mixtures()),
        tried(0.2, teacher="teacher (16 directions)"), row(SEARCH, weak, 1000, 0.25), tried(0.22, anchors=2),
        tried(0.23, anchors=2, views=1),
    )  # fmt: skip
    assert lines(tables.with_teachers(runs)) == [
        "kept views 1 | -2.0 | -2.0 |",
        "no augmentation | -3.0 | -3.0 |",
        "teacher (16 directions) | -10.0 | -10.0 | 25.0",
        "kept views 1 (anchors 2) | +1.0 | +1.0 |",
    ]


def test_regression_stands_beside_the_list_of_the_same_seed():
    rows = [tried(0.30), tried(0.32, regression_weight=2.0), tried(0.31, loss="pkt")]
    rows += [reached("course-listwise", 300, seed, 0.30) for seed in range(5)]
    rows += [reached("course-listwise+regression", 300, seed, 0.31) for seed in range(5)]
    assert lines(tables.regression(frame(*rows))) == [
        "search | regression, weight 2.0 | +2.0 (seeds: +2.0)",
        "student of the course | 300 photographs | 1.0 (1.0 to 1.0) *",
    ]


def test_the_search_of_the_course_is_a_table_of_temperatures():
    runs = frame(
        tried(0.3, base=COURSE, regression_weight=0.0), tried(0.2, base=COURSE, regression_weight=0.0, lr=1e-4),
        tried(0.28, base=COURSE, regression_weight=0.0, loss_settings={"temperature": 0.07}), tried(0.9),
        tried(0.27, base=COURSE, regression_weight=0.0, lr=1e-4, loss_settings={"temperature": 0.07}),
        tried(0.9, base=COURSE), tried(0.9, base=COURSE, loss="contrastive", regression_weight=0.0),
    )  # fmt: skip
    assert tables.temperatures(runs).round(1).to_dict() == {
        0.04: {(1e-4, 0.2): 20.0, (3e-4, 0.2): 30.0},
        0.07: {(1e-4, 0.2): 27.0, (3e-4, 0.2): 28.0},
    }
    assert lines(tables.temperature(runs)) == ["0.0001 | 0.2 | 20.0 | 27.0", "0.0003 | 0.2 | 30.0 | 28.0"]


def test_the_rates_that_were_tried_stand_beside_each_other():
    runs = frame(
        tried(0.3), tried(0.2, lr=1e-4), tried(0.25, 1001, lr=1e-3), tried(0.1, loss="contrastive", lr=1e-4),
        tried(0.15, loss="contrastive", lr=3e-4), tried(0.9, loss="pkt"), tried(0.5, images=50, lr=1e-4),
    )  # fmt: skip
    assert lines(tables.tried(runs)) == ["listwise | 20.0 | 30.0", "labels, contrastive | 10.0 | 15.0"]


def test_the_student_of_the_course_is_set_against_labels_seed_by_seed():
    rows = [reached("teacher", 0, 0, 0.4), reached("untrained", 0, 0, 0.1)]
    rows += [reached("course-listwise", 300, seed, medium) for seed, medium in ((0, 0.3), (1, 0.34))]
    rows += [reached("course-supervised-contrastive", 300, seed, 0.29) for seed in (1, 2)]
    runs = frame(*rows)
    assert lines(tables.targets(runs)) == ["teacher |  | 40.0 |  |", "listwise | 300 | 32.0 | 80 % |"]
    assert lines(tables.against_labels(runs)) == [
        "listwise, 300 photographs, against labels on 300 | 5.0 (5.0 to 5.0), 1 seed * | higher | 117 %"
    ]


def test_an_assistant_stands_beside_the_same_student_without_one():
    rows = [reached("listwise+regression", 300, seed, 0.1, [0.10, 0.20]) for seed in range(5)]
    rows += [reached("listwise+regression", MANY, seed, 0.1, [0.20, 0.30]) for seed in range(5)]
    helped = Settings(images=MANY, assistant=Settings())
    rows += [row("assisted-300", helped, seed, 0.1, [0.15, 0.25]) for seed in range(5)]
    runs = frame(*rows)
    assert [line.split(" | ")[1:4] for line in lines(tables.larger(runs))] == [
        ["the teacher", "300", "300"], ["the larger assistant", f"{MANY:,}", "300"], ["the teacher", f"{MANY:,}", f"{MANY:,}"]
    ]  # fmt: skip
    assert lines(tables.assisted(runs)) == [
        "SqueezeNet, 300 queries: with an assistant, against without | 5.0 (5.0 to 5.0) | higher | 133 %",
        f"SqueezeNet, 300 queries with an assistant, against {MANY:,} queries | -5.0 (-5.0 to -5.0) | lower | 80 %",
    ]
    assert tables.by_size(runs)["medium mAP in %, by photographs"].tolist() == ["listwise + regression"]


def test_scores_are_means_with_the_spread_of_the_seeds():
    rows = [reached("untrained", 0, 0, 0.18), reached("teacher", 0, 0, 0.43)]
    rows += [
        reached("course-listwise", 300, seed, medium) for seed, medium in ((0, 0.2), (1, 0.9), (1, 0.3), (1000, 0.9))
    ]
    assert lines(tables.course(frame(*rows))) == [
        "teacher | 0 | 50.0 | 43.0 | 10.0 | 1",
        "untrained student | 0 | 50.0 | 18.0 | 10.0 | 1",
        "listwise | 300 | 50.0 ± 0.0 | 25.0 ± 7.1 | 10.0 ± 0.0 | 2",
    ]
    assert tables.measured(frame(*rows))["medium"].tolist() == ["43.0", "18.0", "25.0 ± 7.1"]


def test_a_claim_is_compared_with_the_better_of_two_baselines():
    rows = [reached("listwise+regression", 300, 0, 0.3, PER_QUERY)]
    rows += [reached("supervised-contrastive", 300, 0, 0.1, [0.2] * 20)]
    rows += [reached("supervised-multi-similarity", 300, 0, 0.1, [0.3] * 20)]
    claims = tables.claims(frame(*rows))
    assert claims["measured here"].tolist() == [
        "300 photographs, no labels, against labels, multi-similarity on the same"
    ]
    assert claims["claim"].tolist() == ["3: few samples"]


@pytest.mark.parametrize("name", [name for name in recipe.TABLES if name not in ("default", "targets", "blocks")])
def test_a_table_without_runs_says_so(name):
    assert recipe.markdown(recipe.TABLES[name](frame())) == "*No run of this kind is in the store yet.*"


@pytest.mark.parametrize("name", ["primary", "validated", "search-in"])
def test_runs_from_before_the_protocol_answer_none_of_its_questions(new, name):
    rows = [asked_in(reached("listwise+regression", 300, seed, 0.1, PER_QUERY), 0.1, 0.15) for seed in range(5)]
    before = frame(*new, *rows)
    now = before.assign(data="edition-2-0")
    assert "listwise + regression" in recipe.markdown(recipe.TABLES[name](now))
    assert recipe.markdown(recipe.TABLES[name](before)) == "*No run of this kind is in the store yet.*"


def test_a_mark_of_no_table_is_an_error():
    with pytest.raises(KeyError):
        recipe.filled("<!-- table: nothing -->\n<!-- /table -->", frame())


def test_a_student_ships_with_the_default_settings_where_nothing_was_searched_yet(monkeypatch, capsys):
    monkeypatch.setattr(command.students, "rooms", lambda: None)
    monkeypatch.setattr(command.ship, "make", lambda own, *others: own)
    assert command.main(["ship", "--store", str(EARLIER), "--images", "100"]) == 0
    assert capsys.readouterr().out.strip() == str(but(COURSE, images=100))


def test_an_outdated_page_is_found_and_mended(tmp_path, monkeypatch, capsys):
    page = tmp_path / "recipe.md"
    page.write_text("before\n<!-- table: default -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(recipe, "PAGES", (page,))
    assert command.main(["tables", "--check"]) == 1
    assert "recipe.md out of date" in capsys.readouterr().err
    assert "old" in page.read_text(encoding="utf-8")
    assert command.main(["tables"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- table: default -->\n\n| setting") and text.endswith("<!-- /table -->\nafter\n")
    assert command.main(["tables", "--check"]) == 0


@pytest.mark.slow
def test_the_command_shows_what_is_there_and_refuses_seeds_that_choose(capsys, tmp_path):
    assert command.main(["summary"]) == 0
    shown = capsys.readouterr().out
    assert "listwise + regression" in shown and "not told apart" in shown
    assert command.main(["run", "listwise", "--seeds", "1000"]) == 1
    assert "choose settings" in capsys.readouterr().err
    assert command.main(["summary", "--store", str(tmp_path / "none.csv")]) == 1
    assert "make study" in capsys.readouterr().err


@pytest.fixture
def new(monkeypatch):
    """A store in which everything was tried, confirmed and run, with invented scores."""
    untold = methods.Untold()
    rows = [row(SEARCH, run.settings, run.seed, 0.2) for run in methods.tuning()]
    rows += [row(SEARCH, run.settings, run.seed, 0.2) for run in methods.confirming(untold)]
    return rows


def better(rows, name, images, medium):
    """Raise the first try of a method, which is chosen where all are equal."""
    own = methods.settings_of(name, images, methods.Untold())
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
    assert found["consistency, unpaid mixed with paid"].endswith("24.0 | +4.0 | +1.0")
    assert found["listwise + regression"] == "listwise + regression | 20.0 |  |"


def test_mixtures_are_told_by_teacher_and_loss(new):
    exploring = [row(SEARCH, run.settings, run.seed, 0.2) for run in methods.exploring(methods.Untold())]
    for each in exploring:
        own = each["settings"]
        if own.teacher == "teacher (noisy 1)" and own.images:
            each["medium"] = 0.1 if own.mixtures is None else 0.13 if own.mixtures.mix_at is None else 0.14
    found = lines(tables.explored(frame(*new, *exploring)))
    assert "teacher (noisy 1) | 20.0 | listwise + regression | 10.0 | +3.0 | +4.0 | 2" in found
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
    assert list(table.index) == ["descriptor mixtures", "queries in the teacher's database"]
    sure, unsure = table.loc["queries in the teacher's database"], table.loc["descriptor mixtures"]
    assert sure["so it is"] == "higher" and sure["difference in points (95 %)"] == "5.0 (5.0 to 5.0)"
    assert float(sure["corrected p"]) == pytest.approx(8 * float(sure["p"]), abs=1e-3)
    assert unsure["so it is"] == "not told apart" and float(unsure["corrected p"]) == pytest.approx(
        min(1, 7 * float(unsure["p"])), abs=1e-3
    )
    assert "in the database of its teacher" in sure["comparison"]


def test_queries_are_told_by_whose_database_they_search():
    rows = [reached("teacher", 0, 0, 0.4)]
    rows += [asked_in(reached("listwise+regression", 300, seed, 0.1, [0.1] * 20), 0.1, 0.15) for seed in range(5)]
    (line,) = lines(tables.search_in(frame(*rows)))
    own = sum(PER_QUERY) / 20
    assert line.startswith(f"listwise + regression | 300 | 10.0 | {100 * (own + 0.05):.1f} | 40.0 |")
