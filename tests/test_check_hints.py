"""What all checks of exercises share: a learner's function is called safely, and each failure is said in one line."""

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from rdistill_course import check
from rdistill_course.checks.hints import Hint, alike, ask, passed, tensor
from rdistill_course.checks.runner import examine, judge, parts, rephrased, tell


def stub(x):
    raise NotImplementedError()


def test_the_stub_is_recognised():
    with pytest.raises(Hint, match="stub is still the stub"):
        ask(stub, 1)


def test_an_operation_that_torch_does_not_have_is_no_stub():
    def unusual(x):
        raise NotImplementedError("not implemented for 'Half'")

    with pytest.raises(Hint, match="unusual stops at .* with NotImplementedError: not implemented for 'Half'"):
        ask(unusual, 1)


def test_a_missing_return_is_recognised():
    def forgets(x):
        x + 1

    with pytest.raises(Hint, match="forgets returns nothing"):
        ask(forgets, 1)


def test_a_call_in_place_of_the_function_is_recognised():
    with pytest.raises(Hint, match="without brackets"):
        ask(torch.zeros(3), 1)


def test_an_error_is_named_with_the_line_of_the_answer_that_it_passed():
    def mixes_shapes(x):
        doubled = 2 * x
        return torch.matmul(doubled, torch.ones(7))

    with pytest.raises(
        Hint, match=r"mixes_shapes stops at `return torch.matmul\(doubled, .*with RuntimeError: "
    ) as told:
        ask(mixes_shapes, torch.ones(2, 3))
    assert "\n" not in str(told.value)
    assert isinstance(told.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda x: torch.arange(5) * torch.ones(5, 4), r"`x\[:, None\]` gives a vector a second axis"),
        (lambda x: x.cummax(0).clamp(max=1), r"take its `.values`"),
    ],
)
def test_a_frequent_error_comes_with_help(mistake, words):
    with pytest.raises(Hint, match=words):
        ask(mistake, torch.ones(3))


def test_an_error_of_a_builtin_is_named_without_a_line():
    with pytest.raises(Hint, match=r"len stops with TypeError: "):
        ask(len, 3)


def test_an_endless_message_is_cut():
    def shouts(x):
        raise ValueError("a" * 10_000)

    with pytest.raises(Hint) as told:
        ask(shouts, 1)
    assert len(str(told.value)) < 500


def test_a_hint_of_the_checks_own_callback_passes_through():
    def asks_twice(teacher):
        return teacher()

    def teacher():
        raise Hint("asked twice")

    with pytest.raises(Hint, match=r"^asked twice$"):
        ask(asks_twice, teacher)


def test_a_function_that_changes_its_inputs_changes_copies():
    def spoils(rows, array, names):
        rows.zero_()
        array[:] = 0
        names[0].zero_()
        names.clear()
        return 1

    inputs = torch.ones(3), np.ones(3), [torch.ones(2)]
    ask(spoils, *inputs)
    assert inputs[0].sum() == 3
    assert inputs[1].sum() == 3
    assert inputs[2][0].sum() == 2


def test_a_ledger_that_is_to_be_filled_is_passed_as_it_is():
    paid = {}
    ask(lambda ledger: ledger.setdefault("photograph", 1), paid)
    assert paid == {"photograph": 1}


def test_a_gradient_arrives_at_the_checks_own_tensor():
    rows = torch.ones(3, requires_grad=True)
    ask(lambda x: (2 * x).sum(), rows).backward()
    assert rows.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "value",
    [torch.ones(2, 3), torch.ones(2, 3).double(), np.ones((2, 3)), [[1.0, 1, 1]] * 2, [torch.ones(3)] * 2],
    ids=["tensor", "double", "array", "lists", "tensors"],
)
def test_every_kind_of_table_is_a_tensor_of_float32(value):
    found = tensor(value, (2, None), "the mixture")
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.ones(2, 3))


def test_whole_numbers_stay_whole():
    assert tensor([1, 2], (2,), "the ranks").dtype == torch.int64


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), np.float64(0.5)], ids=["float", "tensor", "numpy"])
def test_a_number_is_a_tensor_without_axes(value):
    assert tensor(value, (), "the loss").item() == 0.5


def test_a_tensor_keeps_its_gradient():
    rows = torch.ones(3, requires_grad=True)
    assert tensor(2 * rows, (3,), "the rows").requires_grad


@pytest.mark.parametrize(
    ("value", "shape", "hint"),
    [
        ("text", (2,), "^The mixture must be a tensor, yours is a str: 'text'"),
        ([[1], [1, 2]], (2,), "must be a tensor, yours is a list"),
        (object(), (2,), "must be a tensor, yours is a object"),
        (torch.ones(3), (2, None), r"must have shape \[2, any\], yours has shape \[3\]"),
        (torch.ones(3, 2), (2, 3), r"must have shape \[2, 3\], yours has shape \[3, 2\]"),
        (torch.ones(1), (), r"single number \(shape \[\]\), yours has shape \[1\]"),
        (torch.tensor([1, torch.nan]), (2,), "holds nan"),
        (torch.tensor([1, torch.inf]), (2,), "holds infinite values"),
    ],
)
def test_what_is_no_tensor_of_the_shape_gets_its_hint(value, shape, hint):
    with pytest.raises(Hint, match=hint):
        tensor(value, shape, "the mixture")


def test_values_are_alike_up_to_rounding_and_never_by_broadcasting():
    rows = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    assert alike(rows, rows.double() + 1e-6)
    assert not alike(rows, rows + 1e-3)
    assert not alike(torch.ones(3), torch.ones(1, 3))
    assert alike(torch.tensor(2.0), 2)


def test_a_right_answer_prints_one_line(capsys):
    passed("It mixes.")
    assert capsys.readouterr().out == "[OK] It mixes.\n"


def test_a_notebook_shows_a_hint_as_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # its history is no one's
    shell = InteractiveShell()
    shell.run_cell("from rdistill_course.checks.hints import Hint\nraise Hint('the root is missing')")
    assert capsys.readouterr().out.strip() == "[NOT YET] the root is missing"


def test_the_package_offers_the_checks():
    assert check.Hint is Hint
    assert issubclass(Hint, AssertionError)


MISTAKES = {
    "a value": torch.tensor(2.0),
    "one of two values": (3.0, torch.tensor(4.0)),
    "a test": lambda value: value > 10,
    "never": False,
}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (2.0, "a value"),
        (3.0, "one of two values"),
        (4.0, "one of two values"),
        (11.0, "a test"),
        (5.0, "anything else"),
    ],
)
def test_a_wrong_value_gets_the_hint_of_the_mistake_that_gives_it(given, told):
    with pytest.raises(Hint, match=f"^{told}$"):
        judge(torch.tensor(given), 1.0, MISTAKES, "anything else")


def test_the_first_of_several_mistakes_is_told_and_none_of_a_right_value():
    with pytest.raises(Hint, match=r"^first$"):
        tell({"never": False, "first": True, "second": True})
    judge(torch.tensor(1.0), 1.0, {"a mistake that is right here": 1.0}, "anything else")
    judge([1, 2], [1, 2], {}, "anything else")


def test_a_check_asks_reads_and_compares():
    def read(value):
        return tensor(value, (), "the sum")

    assert examine(lambda a, b: a + b, (1, 2), read, 3, {}, "anything else") == 3
    with pytest.raises(Hint, match="one number is missing"):
        examine(lambda a, b: a, (1, 2), read, 3, {"one number is missing": (1, 2)}, "anything else")
    with pytest.raises(Hint, match=r"must be a single number"):
        examine(lambda a, b: [a, b], (1, 2), read, 3, {}, "anything else")


def test_a_hint_is_said_in_other_words_where_it_has_the_given_cause():
    with (
        pytest.raises(Hint, match=r"with ZeroDivisionError.* Look at 0"),
        rephrased("{hint} Look at 0.", ZeroDivisionError),
    ):
        ask(lambda x: 1 / x, 0)
    with pytest.raises(Hint) as told, rephrased("{hint} Look at 0.", ZeroDivisionError):
        ask(lambda x: [][x], 0)
    assert "Look at" not in str(told.value)


def test_things_that_are_returned_together_are_counted():
    assert parts([1, 2], 2, "Return two things.") == [1, 2]
    for value in (1, (1, 2, 3), {1: 2}):
        with pytest.raises(Hint, match="Return two things"):
            parts(value, 2, "Return two things.")
