"""Exercises of notebook 1: each typical mistake gets its own hint, other right answers pass."""

import numpy as np
import pytest
import torch
from exercise_cells import changed, solution

from rdistill_course import check
from rdistill_course.checks import Hint
from rdistill_helpers import BudgetExceeded

CLAMP, MEAN, ROOT = ".clamp(min=1e-6)", ".mean(dim=(2, 3))", ".pow(1 / p)"
LENGTH = " / pooled.norm(dim=1, keepdim=True)"


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        ((CLAMP, ""), "power 4.5 is nan"),
        ((CLAMP, ".abs()"), "absolute value"),
        ((ROOT, ""), "root is missing"),
        ((ROOT, "", LENGTH, ""), "root is missing"),
        ((MEAN, ".mean(dim=(1, 2))"), "mean runs over the wrong axes"),
        ((MEAN, ".mean(dim=3)"), "stops with RuntimeError"),
        ((MEAN, ".sum(dim=(2, 3))"), "sum over the places"),
        ((LENGTH, ""), "descriptor has length one"),
        (("norm(dim=1", "norm(dim=0"), "over the batch"),
        (("p[:, None, None]", "p"), "exponents run along the columns"),
        (("p[:, None, None]", "3", "1 / p", "1 / 3"), "Every channel is pooled with p = 3"),
        ((".pow(exponents)", "", ROOT, ""), "plain mean of each channel"),
        ((".pow(exponents)", ".pow(exponents).pow(1 / exponents)", ROOT, ""), "plain mean of each channel"),
        ((".pow(exponents).mean(dim=(2, 3)).pow(1 / p)", ".amax(dim=(2, 3))"), "maximum of each channel"),
        (("1 / p", "1 / 2"), "Not GeM yet"),
    ],
)
def test_a_mistake_in_gem_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.gem_per_channel(changed(1, "1.1")(*replacements))


def test_gem_in_loops_with_numpy_passes():
    def loops(features, p):
        rows = np.zeros(features.shape[:2])
        for b, image in enumerate(features.numpy()):
            for c, channel in enumerate(image):
                exponent = p[c].item()
                rows[b, c] = np.mean([max(x, 0.0) ** exponent for x in channel.flatten()]) ** (1 / exponent)
        return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))

    check.gem_per_channel(loops)


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        (("[image.numpy().tobytes() for image in images]", "list(images)"), "two tensors of the same numbers are two keys"),
        (("[image.numpy().tobytes() for image in images]", "[str(image) for image in images]"), "have the same key"),
        (("[image.numpy().tobytes() for image in images]", "[int(image.sum()) for image in images]"), "have the same key"),
        ((" and key not in new", "", "new[key] = position", "new[position] = position",
          "zip(new, embed", "zip([keys[i] for i in new], embed"), "stands twice in one call was paid for twice"),
        (("key not in paid and ", ""), "sent again that an earlier call had paid for"),
        (("    if new:", "    paid = dict(paid)\n    if new:"), "ledger `paid` is still empty"),
        (("    if new:\n", "    if True:\n"), "empty batch"),
        ((" and len(paid) + len(new) < budget", ""), "Overspent"),
        (("len(paid) + len(new) < budget", "len(paid) + len(new) <= budget"), "Overspent"),
        (("len(paid) + len(new) < budget", "len(new) < budget"), "Overspent"),
        (("len(paid) + len(new) < budget", "len(paid) + len(new) + 1 < budget"), "Only one photograph was sent"),
        (("    if new:", "    if len({*keys} - {*paid}) > budget - len(paid):\n        new = {}\n    if new:"),
         "Nothing was sent"),
        (("enumerate(keys):\n        if key not in paid", "reversed(list(enumerate(keys))):\n        if key not in paid"),
         "come first, and others were sent"),
        (("        if key not in paid and key not in new and len(paid) + len(new) < budget:\n            new[key] = position",
          "        if key not in paid and key not in new:\n            if len(paid) + len(new) == budget:\n"
          "                keys = keys[:position]\n                break\n            new[key] = position"),
         "stop at the first photograph"),
        (("    positions = [position for", "    positions = list(new.values()) if len(keys) == 6 else [position for"),
         "new photographs alone"),
        (("    positions = [position for position, key in enumerate(keys) if key in paid]",
          "    positions = range(len({*keys} & {*paid}))"), "positions are 0 to 3; yours are"),
        (("torch.stack([paid[keys[position]] for position in positions])",
          "torch.stack([paid[key] for key in dict.fromkeys(keys) if key in paid])"), "one row for each position"),
        (("for position in positions])", "for position in reversed(positions)])"), "in another order"),
        (("paid[keys[position]] for", "paid[keys[0]] for"), "answers for other photographs"),
        (("return positions, ", "return "), "Return two things"),
        (("embed(images[list(new.values())])", "[embed(images[i])[0] for i in new.values()]"), r"images\[i : i \+ 1\]"),
    ],
)  # fmt: skip
def test_a_mistake_with_the_budget_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.what_fits(changed(1, "1.2")(*replacements))


def test_refusing_a_call_that_does_not_fit_is_told_apart():
    right = solution(1, "1.2")

    def refuses(embed, images, paid, budget):
        keys = {image.numpy().tobytes() for image in images}
        if len(keys - set(paid)) > budget - len(paid):
            raise BudgetExceeded("too many")
        return right(embed, images, paid, budget)

    with pytest.raises(
        Hint, match="BudgetExceeded: too many. Here three photographs are new and the budget pays for two"
    ):
        check.what_fits(refuses)


def test_nothing_answered_once_the_budget_is_used_up_is_told_apart():
    def stops(embed, images, paid, budget):
        positions = []
        keys = [image.numpy().tobytes() for image in images]
        for position, key in enumerate(keys):
            if len(paid) >= budget:
                break
            if key not in paid:
                paid[key] = embed(images[position : position + 1])[0]
            positions.append(position)
        return positions, torch.stack([paid[keys[position]] for position in positions])

    with pytest.raises(Hint, match="Here the budget is used up and both photographs are paid for"):
        check.what_fits(stops)


def test_asking_for_one_photograph_at_a_time_passes():
    def one_by_one(embed, images, paid, budget):
        positions, rows = [], []
        for i, image in enumerate(images):
            key = tuple(image.flatten().tolist())
            if key not in paid and len(paid) < budget:
                paid[key] = embed(images[i : i + 1])[0].numpy()
            if key in paid:
                positions.append(i)
                rows.append(paid[key])
        return np.array(positions), np.stack(rows)

    check.what_fits(one_by_one)


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        (("torch.arange(start, start + similarity.shape[1])", "torch.arange(similarity.shape[1])"), "start of each block"),
        (("range(0, len(database), block)", "range(0, len(database) - block + 1, block)"), "last block is shorter"),
        (("range(0, len(database), block)", "[0]"), "Only the first block counts"),
        (("best.topk(min(k, best.shape[1]), dim=1)", "best.topk(min(k, best.shape[1]), dim=1, largest=False)"),
         "least similar"),
        (("best.topk(min(k, best.shape[1]), dim=1)", "best.topk(k, dim=1)"), "until a block is smaller than k"),
        (("range(0, len(database), block)", "[0]", "start + block]", "]", "start + similarity.shape[1]", "len(database)"),
         "as large as all similarities together"),
        (("return best, positions", "return positions, best"), "similarities first"),
        (("return best, positions", "return best.flip(1), positions.flip(1)"), "best must come first"),
        (("return best, positions", "return best"), "Return two tensors"),
        (("        best, order = best.topk(min(k, best.shape[1]), dim=1)\n        positions = positions.gather(1, order)\n",
          "        best = torch.cat([best[:, : -similarity.shape[1]], similarity.topk(min(k, similarity.shape[1]))[0]], 1)\n"),
         "keep only the best 3"),
        (("positions = positions.gather(1, order)", "positions = positions[:, :k]"),
         "similarities are right, the positions are not"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_search_gets_its_own_hint(replacements, hint):
    with pytest.raises(Hint, match=hint):
        check.search_in_blocks(changed(1, "1.3")(*replacements))


def test_keeping_the_last_block_alone_is_told_apart():
    def forgets(queries, database, k, block):
        for start in range(0, len(database), block):
            part = queries @ database[start : start + block].T
            best, positions = part.topk(min(k, part.shape[1]), dim=1)
        return best, positions + start

    with pytest.raises(Hint, match="Only the last block is left"):
        check.search_in_blocks(forgets)


def test_blocks_counted_with_the_length_of_the_last_one_are_told_apart():
    def miscounts(queries, database, k, block):
        values, places = [], []
        for number, part in enumerate(database.split(block)):
            found = (queries @ part.T).topk(min(k, len(part)), dim=1)
            values.append(found.values)
            places.append(found.indices + number * len(part))
        best, order = torch.cat(values, dim=1).topk(k, dim=1)
        return best, torch.cat(places, dim=1).gather(1, order)

    with pytest.raises(Hint, match="right but for those in the last block"):
        check.search_in_blocks(miscounts)


def test_all_blocks_kept_until_the_end_are_told():
    def keeps_all(queries, database, k, block):
        return tuple(torch.cat([queries @ part.T for part in database.split(block)], dim=1).topk(k))

    with pytest.raises(Hint, match="keep no more than the best of each"):
        check.search_in_blocks(keeps_all)


def test_a_search_that_collects_the_best_of_each_block_with_numpy_passes():
    def collects(queries, database, k, block):
        values, places = [], []
        for start in range(0, len(database), block):
            part = queries.numpy() @ database[start : start + block].numpy().T
            order = np.argsort(-part, axis=1)[:, :k]
            values.append(np.take_along_axis(part, order, axis=1))
            places.append(order + start)
        values, places = np.concatenate(values, axis=1), np.concatenate(places, axis=1)
        order = np.argsort(-values, axis=1)[:, :k]
        return np.take_along_axis(values, order, axis=1), np.take_along_axis(places, order, axis=1)

    check.search_in_blocks(collects)


@pytest.mark.parametrize(
    ("replacements", "hint"),
    [
        ((" if number not in junk][:k]", "][:k]"), "Junk still takes up places"),
        (
            (" if number not in junk][:k]", "][:k]", "if number in right", "if number in right | junk"),
            "Junk counts as right",
        ),
        (("number in right and ", ""), "Wrong photographs are among them"),
        (("number in right and ", "", " if number not in junk][:k]", "][:k]"), "Wrong photographs and junk"),
        (('*truth["easy"].tolist(), ', ""), "Easy photographs are missing"),
        ((', *truth["hard"].tolist()', ""), "Hard photographs are missing"),
        (
            ("for number in of_teacher", "for number in of_student", "not in of_student", "not in of_teacher"),
            "student alone",
        ),
        ((" and number not in of_student", ""), "leave out those that the student finds"),
        (("and number not in of_student", "and number not in student_list"), "Cut the student's list"),
        (("for number in of_teacher", "for number in teacher_list.tolist()"), "Cut the teacher's list"),
        (("if number not in junk][:k]", "if number in right][:k]"), "Wrong photographs left the lists"),
        (("return [", "return sorted(["), "the order is not"),
    ],
)
def test_a_mistake_in_what_the_teacher_finds_gets_its_own_hint(replacements, hint):
    if replacements[-1] == "return sorted([":
        replacements = (*replacements, "not in of_student]", "not in of_student], reverse=False)")
    with pytest.raises(Hint, match=hint):
        check.only_the_teacher_finds(changed(1, "1.4")(*replacements))


@pytest.mark.parametrize("place", [0, 1])
def test_junk_left_in_one_of_the_lists_is_told_apart(place):
    right = solution(1, "1.4")

    def keeps_junk(teacher_list, student_list, truth, k):
        junk = truth["junk"].tolist()
        lists = [teacher_list, student_list]
        cleaned = [np.array([n for n in ranking if n not in junk]) for ranking in lists]
        cleaned[place] = lists[place]
        return right(*cleaned, {**truth, "junk": np.array([], int)}, k)

    with pytest.raises(Hint, match=f"in the {['teacher', 'student'][place]}'s list"):
        check.only_the_teacher_finds(keeps_junk)


def test_what_the_teacher_finds_as_an_array_passes():
    def with_masks(teacher_list, student_list, truth, k):
        first, other = (ranking[~np.isin(ranking, truth["junk"])][:k] for ranking in (teacher_list, student_list))
        right = np.isin(first, np.concatenate([truth["easy"], truth["hard"]]))
        return torch.from_numpy(first[right & ~np.isin(first, other)])

    check.only_the_teacher_finds(with_masks)
