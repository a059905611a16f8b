"""Exercises of notebook 3: each typical mistake gets its own hint, other right answers pass."""

import math

import pytest
import torch
import torch.nn.functional as F
from exercise_cells import changed, hint_of, solution

from rdistill_course import check

# --- 3.1: the listwise loss in the joint space

MASK = ".masked_fill(~counted, -torch.inf)"
TABLES = "for table in (own, wanted)"
SCALED = "(table / temperature)"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((MASK, "", ")[counted].sum()", ").sum()"), "finds the empty ones and is not used otherwise"),
        (("counted.any(dim=1)", "slice(None)", MASK, "", ")[counted].sum()", ").sum()"), "the mask is not used"),
        ((MASK, MASK.replace("~", ""), "[counted].sum()", "[~counted].sum()"), "The mask is the wrong way round"),
        ((MASK, ""), "mask before the softmax"),
        (("-torch.inf", "0.0"), "set to 0, which still gives it a probability"),
        ((SCALED, "(table / 1)"), "The temperature is not applied"),
        ((SCALED, "(table * temperature)"), "multiplied by the temperature"),
        ((TABLES, "for table in (own * temperature, wanted)"), "applied to the teacher's similarities alone"),
        ((TABLES, "for table in (own, wanted * temperature)"), "applied to the student's similarities alone"),
        ((TABLES, "for table in (wanted, own)"), "Teacher and student are swapped"),
        (("-torch.inf", "-1e9", "log_softmax(dim=1)", "log_softmax(dim=0)"), "wrong dimension"),
        (
            ("own, wanted, counted = own[some], wanted[some], counted[some]", "pass", "-torch.inf", "-1e9"),
            "over all rows",
        ),
        ((")[counted].sum()", ").sum()"), "Sum over the terms that count only"),
        ((".sum() / len(own)", ".sum()"), "is the sum over the lists"),
        ((".sum() / len(own)", ".mean()"), "runs over all pairs"),
        (("(log_p - log_q)", "(-log_q)"), "cross-entropy"),
        (("(log_p - log_q)", "(log_q - log_p)"), "sign is wrong"),
        (("log_p.exp() *", "2 * log_p.exp() *"), "should be smaller here"),
        ((".sum() / len(own)", ".view(-1)"), "be a single number"),
    ],
)
def test_listwise_tells_mistakes_apart(replacements, words):
    assert words in hint_of(check.listwise, changed(3, "3.1")(*replacements))


def test_an_empty_list_is_told_apart_from_terms_that_do_not_count():
    def means_of_nothing(own, wanted, counted, temperature):
        values = []
        for o, w, c in zip(own, wanted, counted, strict=True):
            log_q, log_p = ((x[c] / temperature).log_softmax(0) for x in (o, w))
            values.append(len(log_p) * (log_p.exp() * (log_p - log_q)).mean())
        return torch.stack(values).mean()

    def sums_minus_infinities(own, wanted, counted, temperature):
        log_q, log_p = ((x / temperature).masked_fill(~counted, -torch.inf).log_softmax(1) for x in (own, wanted))
        return (log_p.exp() * (log_p - log_q)).sum(1)[counted.any(1)].mean()

    assert "has nothing to be compared with" in hint_of(check.listwise, means_of_nothing)
    assert "Sum over the terms that count" in hint_of(check.listwise, sums_minus_infinities)


def test_a_loss_whose_gradient_is_nan_cannot_train():
    def divides_outside(own, wanted, counted, temperature):
        chances = [(x / temperature).exp() * counted for x in (own, wanted)]
        q, p = (x / x.sum(1, keepdim=True) for x in chances)
        terms = torch.where(counted, p * (p / q).log(), 0.0)
        return terms.sum(1)[counted.any(1)].mean()

    assert "its gradient is nan" in hint_of(check.listwise, divides_outside)


def test_listwise_takes_plain_loops(capsys):
    def loops(own, wanted, counted, temperature):
        values = []
        for o, w, c in zip(own.tolist(), wanted.tolist(), counted.tolist(), strict=True):
            places = [k for k, counts in enumerate(c) if counts]
            if not places:
                continue
            q, p = ([math.exp(x[k] / temperature) for k in places] for x in (o, w))
            q, p = ([one / sum(x) for one in x] for x in (q, p))
            values.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        return sum(values) / len(values)

    check.listwise(loops)
    assert capsys.readouterr().out.startswith("[OK] ")


# --- 3.2: predictions

CENTRED = '"centred lists": {"scale"}'
CORRELATION = '"correlation": set()'


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((CORRELATION, '"correlation": {"rotation"}'), "rotation: 1 of 3 predictions of `notices` is wrong"),
        ((CENTRED, '"centred lists": set()'), "scale: 1 of 3"),
        ((CORRELATION, '"correlation": {"scale"}', CENTRED, '"centred lists": set()'), "scale: 2 of 3"),
        ((CORRELATION, '"correlation": {"dimension"}'), "dimension: 1 of 3"),
        (('{"scale", "constant"}', '{"scale"}'), "constant: 1 of 3"),
        (('"listwise, 1": "far"', '"listwise, 1": "near"'), "1 of 4 of `prefers` is wrong"),
        (('"far"', '"x"', '"near"', '"far"', '"x"', '"near"'), "the other way round"),
        (('"far"', '"near"'), "Not all of these losses prefer the same"),
        ((CORRELATION + ",", ""), "no entry for 'correlation'"),
        ((CORRELATION, '"correlation": "scale"'), "holds a set"),
        ((CORRELATION, '"correlation": True'), "holds a set"),
        ((CORRELATION, '"correlation": {"size"}'), "holds a set"),
        (('"similarity": "far"', '"similarity": "student"'), "holds 'near' or 'far'"),
        (("return notices, prefers", "return notices"), "two dicts"),
    ],
)
def test_predictions_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.predictions, changed(3, "3.2")(*replacements))


def test_predictions_take_lists(capsys):
    notices, prefers = solution(3, "3.2")()
    check.predictions(lambda: [{name: list(changes) for name, changes in notices.items()}, prefers])
    assert capsys.readouterr().out.startswith("[OK] ")


# --- 3.3: two sets of mixtures

LENGTHS = " / lengths(first)[:, None] / lengths(second)"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((LENGTHS, ""), "the lengths are missing"),
        ((LENGTHS, " / lengths(first)[:, None]"), "Only the first set"),
        ((LENGTHS, " / lengths(second)"), "Only the second set"),
        ((".diagonal().sqrt()", ".diagonal()"), "take their roots"),
        ((LENGTHS, " * lengths(first)[:, None] * lengths(second)"), "divides by them"),
        (
            ("return (shares @ G @ shares.T).diagonal().sqrt()", "return shares.norm(dim=1)"),
            "depends on the dot products in G",
        ),
        (("return first @ G @ second.T" + LENGTHS, "return first @ second.T"), "G does not occur"),
        (
            ("return first @ G @ second.T" + LENGTHS, "return F.normalize(first @ G @ second.T, dim=1)"),
            "the mixtures that have",
        ),
        (("lengths(first)[:, None]", "lengths(first).mean()"), "is no length"),
        (("return first", "return (first", LENGTHS, ").T"), "must have shape"),
    ],
)
def test_mixed_similarities_tell_mistakes_apart(replacements, words):
    assert words in hint_of(check.mixed_similarities, changed(3, "3.3")(*replacements))


def test_mixed_similarities_take_descriptors_with_these_dot_products(capsys):
    def with_descriptors(G, first, second):
        rows = torch.linalg.cholesky(G)
        return F.normalize(first @ rows, dim=1) @ F.normalize(second @ rows, dim=1).T

    check.mixed_similarities(with_descriptors)
    assert capsys.readouterr().out.startswith("[OK] ")
