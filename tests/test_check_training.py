"""Exercises of notebook 4: each typical mistake gets its own hint, other right answers pass."""

import pytest
import torch
from exercise_cells import changed, hint_of

from rdistill_course import check

# --- 4.1: a batch

SIMILARITY = "similarity = teacher_rows @ teacher_rows.T"
NEW = "[one for one in order if one not in chosen][:k]"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((NEW, "[one for one in order if one != anchor][:k]"), "A photograph stands in the batch twice"),
        ((NEW, "order[:k]"), "An anchor is its own neighbour"),
        ((SIMILARITY, "similarity = student_rows @ student_rows.T"), "neighbours by the student"),
        ((SIMILARITY, "similarity = (labels[:, None] == labels).float()"), "has no labels"),
        ((SIMILARITY, SIMILARITY + " + 9 * (labels[:, None] == labels)"), "has no labels"),
        (
            (SIMILARITY, SIMILARITY + " + 0.1 * (labels[:, None] == labels)"),
            "give each the most similar photographs, by the teacher",
        ),
        (("descending=True", "descending=False"), "least similar"),
        ((NEW, "[one for one in order[: k + 1] if one not in chosen]"), "the next nearest of the same anchor"),
        (("chosen = anchors.tolist()", "chosen = []"), "begins with the anchors"),
        (("torch.tensor(chosen)", "torch.tensor(chosen).float()"), "give integers"),
        (("torch.tensor(chosen)", "torch.tensor(chosen) + 1000"), "from 0 to N - 1"),
        (("[:k]", "[: k + 1]"), "must have 16 photographs"),
        (("torch.tensor(chosen)", "torch.tensor(chosen)[None]"), "must have shape"),
        (
            (SIMILARITY, "similarity = -torch.arange(40.0).expand(40, 40)"),
            "give each the most similar photographs, by the teacher",
        ),
    ],
)
def test_batch_tells_mistakes_apart(replacements, words):
    assert words in hint_of(check.batch, changed(4, "4.1")(*replacements))


def test_places_filled_with_random_photographs_are_told():
    def with_random_ones(anchors, k, teacher_rows, student_rows, labels):
        similarity = (teacher_rows @ teacher_rows.T).fill_diagonal_(-1)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        wanted = torch.cat([anchors, similarity.topk(k).indices[anchors].flatten(), order])
        return torch.tensor(list(dict.fromkeys(wanted.tolist()))[: len(anchors) * (1 + k)])

    assert "Something else than the next nearest" in hint_of(check.batch, with_random_ones)


def test_anchors_that_take_turns_are_told():
    def in_turns(anchors, k, teacher_rows, student_rows, labels):
        order = (teacher_rows @ teacher_rows.T).argsort(1, descending=True)
        chosen = anchors.tolist()
        for _ in range(k):
            for anchor in anchors:
                chosen.append(next(one for one in order[anchor].tolist() if one not in chosen))
        return torch.tensor(chosen)

    assert "their first neighbour, then their second" in hint_of(check.batch, in_turns)


def test_batch_takes_masks_and_any_order_within_an_anchor(capsys):
    def with_masks(anchors, k, teacher_rows, student_rows, labels):
        similarity = teacher_rows @ teacher_rows.T
        similarity[:, anchors] = -2
        chosen = [anchors]
        for anchor in anchors:
            chosen.append(similarity[anchor].topk(k).indices.flip(0))
            similarity[:, chosen[-1]] = -2
        return torch.cat(chosen)

    check.batch(with_masks)
    assert capsys.readouterr().out.startswith("[OK] ")


# --- 4.2: a step

ZERO, STEP = "optimizer.zero_grad()", "optimizer.step()"
SUM = "listed + weight * answered + mixed"
MIX = "rd.interpolate(target, rows, mixtures, generator=generator)"
SIDES = "space.student, space.teacher"
REGRESSION = "(1 - torch.cosine_similarity(projection(rows), target)).mean()"
RETURNED = "listed.item(), answered.item(), mixed.item()"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((ZERO, "pass"), "Gradients of earlier steps"),
        ((ZERO, "pass", STEP, ZERO + "; " + STEP), "between backward() and step()"),
        ((STEP, "pass"), "optimizer.step() is missing"),
        ((f"({SUM}).backward()", "pass"), "backward() is not called"),
        ((SUM, "listed + answered + mixed"), "`weight` is not used"),
        ((SUM, "weight * (listed + answered + mixed)"), "weighs the lists as well"),
        ((SUM, "weight * listed + answered + mixed"), "weighs the list of the photographs instead"),
        ((SUM, "listed + answered + weight * mixed"), "weighs the joint space instead"),
        ((SUM, "listed + mixed"), "Regression moves no weight"),
        ((REGRESSION, REGRESSION.replace("(rows)", "(rows.detach())")), "trains the projection alone"),
        ((SUM, "listed + weight * answered"), "The joint space moves no weight"),
        ((SUM, "weight * answered + mixed"), "replace the list of the photographs"),
        ((REGRESSION, REGRESSION.replace("1 - ", "")), "1 minus the cosine, not the cosine"),
        ((REGRESSION, REGRESSION.replace("mean", "sum")), "take the mean"),
        ((MIX, MIX.replace("rows", "rows.detach()")), "The joint space moves no weight"),
        ((MIX, MIX.replace("rows", "target")), "made of the teacher's rows"),
        ((", comparable=space.comparable", ""), "rows that share a photograph are compared"),
        ((SIDES, "space.teacher, space.student"), "swapped in the loss of the joint space"),
        ((MIX, MIX.replace(", generator=generator", "")), "not drawn from `generator`"),
        ((MIX, MIX + "; " + MIX), "More is drawn from `generator`"),
        (("listed = losses.listwise(rows, target)", "listed = losses.listwise(student(pixels), target)"), "6 times"),
        (
            ("losses.listwise(rows, target)", "losses.listwise(rows, target, temperature=0.1)"),
            "The list of the first step",
        ),
        ((REGRESSION, f"2 - 2 * {REGRESSION}"), "Regression of the first step"),
        ((SIDES + ", comparable", SIDES + ", temperature=0.1, comparable"), "joint space's loss of the first step"),
        (("answered.item()", "(weight * answered).item()"), "before its weight"),
        ((RETURNED, "mixed.item(), answered.item(), listed.item()"), "in this order"),
        ((RETURNED, "listed.item(), listed.item(), mixed.item()"), "is not the three losses"),
        ((SUM, "listed**2 + weight * answered + mixed"), "the weights afterwards are not"),
        ((RETURNED, "listed.item(), mixed.item()"), "must have shape"),
        (("projection(rows)", "rows"), "training_step stops"),
    ],
)
def test_training_step_tells_mistakes_apart(replacements, words):
    assert words in hint_of(check.training_step, changed(4, "4.2")(*replacements))


def test_training_step_takes_several_backward_passes_tensors_and_the_loss_of_the_package(capsys):
    make = changed(4, "4.2")
    twice = "(listed + mixed).backward(retain_graph=True); (weight * answered).backward()"
    check.training_step(make(f"({SUM}).backward()", twice, RETURNED, "listed, answered, mixed"))
    check.training_step(make(ZERO, "pass", STEP, STEP + "; " + ZERO))
    check.training_step(make(REGRESSION, "losses.regression(rows, target, projection=projection)"))
    assert capsys.readouterr().out.count("[OK] ") == 3


# --- 4.3: a verdict

DIFFERENCE = "100 * (second - first)"
ERROR = "difference.std() / len(difference) ** 0.5"
T95 = {2: 12.7, 3: 4.3, 4: 3.2, 5: 2.8}
VERDICT = "bool(mean.abs() > limit * error)"


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        ((ERROR, "100 * ((first.var() + second.var()) / len(first)) ** 0.5"), "nothing in common"),
        ((ERROR, "difference.std()"), "error is the spread over the seeds"),
        ((ERROR, "difference.std() / len(difference)"), "divide by its root"),
        (("difference.std()", "difference.std(correction=0)"), "divide by S - 1"),
        ((DIFFERENCE, "second - first"), "The mean is a fraction"),
        ((ERROR, ERROR + " / 100"), "The error is a fraction"),
        ((DIFFERENCE, "100 * (first - second)"), "The sign of the mean"),
        ((ERROR, "difference.var() / len(difference)"), "The error is squared"),
        ((ERROR, "100 * first.std() / len(first) ** 0.5"), "first student alone"),
        ((ERROR, "100 * second.std() / len(first) ** 0.5"), "second student alone"),
        (("difference.mean()", "difference.sum()"), "The mean is not that of second minus first"),
        ((ERROR, ERROR + " * 1.5"), "not the standard error of the differences"),
        ((VERDICT, "bool(mean.abs() < 3 * error)"), "the seeds support the difference"),
        ((VERDICT, "bool(mean > 3 * error)"), "without its sign"),
        ((VERDICT, "bool(mean.abs() > 2 * error)"), "more than 2.8 errors"),
        ((VERDICT, "bool(mean.abs() > 3 * error)"), "depends on the number of seeds"),
        (('float("nan"), False', "0.0, True"), "With a single seed"),
        (("mean, error, bool", "bool"), "Return three things"),
    ],
)
def test_verdict_tells_mistakes_apart(replacements, words):
    assert words in hint_of(check.verdict, changed(4, "4.3")(*replacements))


def test_verdict_takes_numpy_and_nan_of_one_seed(capsys):
    def with_numpy(first, second):
        d = (second.numpy() - first.numpy()) * 100
        error = d.std(ddof=1) / len(d) ** 0.5 if len(d) > 1 else float("inf")
        return d.mean(), error, len(d) > 1 and abs(d.mean()) > T95[len(d)] * error

    check.verdict(with_numpy)
    check.verdict(
        lambda a, b: (
            (d := 100 * (b - a)).mean(),
            (e := d.std() / len(d) ** 0.5),
            d.mean().abs() > T95.get(len(d), 13) * e,
        )
    )
    assert capsys.readouterr().out.count("[OK] ") == 2
