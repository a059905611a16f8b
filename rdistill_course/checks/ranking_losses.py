"""Checks of notebook 3: the listwise loss in the joint space, what losses do not notice, mixtures in a loss."""

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rdistill_course.checks.hints import ask, passed, tensor
from rdistill_course.checks.runner import Answer, examine, judge, parts, tell
from rdistill_course.checks.steps import exercise
from rdistill_helpers.distil import losses
from rdistill_helpers.distil.interpolate import interpolate, mix


@exercise(
    "3.1",
    'Take the formula of section 1 and put `counted` in the place of "all others". Which rows can have no softmax?',
    "Leave out rows with an empty list before the softmax. What is not counted gets -inf before it, so that it "
    "has probability 0; but -inf minus -inf is nan.",
    "For each row left: log-softmax of both tables divided by the temperature over what is counted; add up p "
    "(log p - log q) over the counted places only, and divide by the number of rows left.",
)
def listwise(answer: Answer) -> None:
    """Exercise 3.1: the listwise loss of the tables of a joint space, with a mask of what counts.

    Args:
        answer: (own [N, N] and wanted [N, N], the similarities of the student and of the teacher, counted [N, N] bool,
            temperature) -> scalar: the mean over the rows that have something to be compared with.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(5)
    teacher, student = (F.normalize(torch.randn(6, dim, generator=generator), dim=1) for dim in (5, 3))
    joint = interpolate(teacher, student, 3, generator=generator)
    own, wanted = (rows @ rows.T for rows in (joint.student, joint.teacher))
    full, t = joint.comparable, 0.25
    counted = full.clone()
    counted[2] = False  # as if nothing were left to compare

    value = ask(answer, own, wanted, counted, t)
    if not _finite(value):
        tell({
            "The loss is nan where a row has nothing to be compared with: a softmax over nothing has no value. Leave such "
            "rows out.": _finite(ask(answer, own, wanted, full, t)),
            "The loss is nan: where something is left out, the logarithms are minus infinity, and their difference has no "
            "value. Sum over the terms that count only.": True,
        })  # fmt: skip
    given = tensor(value, (), "the loss").detach()
    some = counted.any(1)
    loss = functools.partial(_listwise, own, wanted, counted, t)
    everything = torch.ones_like(counted)
    right = loss()
    judge(given, right, {
        "The softmax runs along the wrong dimension: the probabilities of each list, a row, sum to 1.": loss(dim=0),
        "Teacher and student are swapped: the divergence is weighted with the teacher's probabilities "
        "p.": _listwise(wanted, own, counted, t),
        "What `counted` leaves out is still in the lists: the mask finds the empty ones and is not used "
        "otherwise.": _listwise(own[some], wanted[some], everything[some], t),
        "What `counted` leaves out is still in the sums: the mask is not used.": _listwise(own, wanted, everything, t),
        "The mask is the wrong way round: the softmax runs over what `counted` leaves "
        "out.": _listwise(own[some], wanted[some], ~counted[some], t, divide="rows"),
        "The softmax runs over the whole list and the mask comes after it, so that the probabilities of what counts do not sum "
        "to 1: mask before the softmax.": loss(late=True),
        "What does not count has its similarity set to 0, which still gives it a probability: set it to minus "
        "infinity.": loss(filler=0.0),
        "The temperature is applied to the teacher's similarities alone.": loss(own_temperature=1.0),
        "The temperature is applied to the student's similarities alone.": loss(wanted_temperature=1.0),
        "The temperature is not applied.": loss(own_temperature=1.0, wanted_temperature=1.0),
        "The similarities are multiplied by the temperature: divide by "
        "it.": loss(own_temperature=1 / t, wanted_temperature=1 / t),
        "The mean runs over all rows; those with nothing to be compared with say nothing and are not "
        "counted.": loss(divide="rows"),
        "The loss is the sum over the lists: take the mean.": loss(divide="nothing"),
        "The mean runs over all pairs: sum each list, then take the mean of the lists.": loss(divide="pairs"),
        "This is the cross-entropy -p log q: log p is missing, so that the loss is not 0 where the student "
        "agrees.": loss(entropy=False),
        "The sign is wrong: a divergence is never negative.": -right,
    }, f"The loss should be {'larger' if given < right else 'smaller'} here. Compute it in steps: mask, softmax of each row "
       "for both tables, sum of p (log p - log q) of each row, mean of the rows that have something to compare.")  # fmt: skip
    tracked = own.clone().requires_grad_()
    loss_value = ask(answer, tracked, wanted, counted, t)
    trains = isinstance(loss_value, Tensor) and loss_value.requires_grad  # not so in plain loops over numbers
    tell({
        "The value is right, but its gradient is nan: a division or a logarithm runs over what does not count. Set such "
        "places to minus infinity, and take `log_softmax`.":
            trains and not torch.autograd.grad(loss_value, tracked)[0].isfinite().all().item(),
    })  # fmt: skip
    passed(f"Your loss is {float(given):.4f} here, as the formula demands.")


def _finite(value: Any) -> bool:
    """Whether a value is finite, for a first look; what is no number is left to the next one."""
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):
        return True


def _listwise(
    own: Tensor, wanted: Tensor, counted: Tensor, temperature: float, *, own_temperature: float | None = None,
    wanted_temperature: float | None = None, dim: int = 1, filler: float = -1e9, late: bool = False, entropy: bool = True,
    divide: str = "lists",
) -> Tensor:  # fmt: skip
    """The listwise loss of tables, and its typical mistakes: each keyword makes one."""
    scaled = (own / (own_temperature or temperature), wanted / (wanted_temperature or temperature))
    log_q, log_p = ((x if late else x.masked_fill(~counted, filler)).log_softmax(dim) for x in scaled)
    total = (log_p.exp() * (log_p * entropy - log_q))[counted].sum()
    count = {"lists": int(counted.any(1).sum()), "rows": len(own), "pairs": int(counted.sum()), "nothing": 1}
    return total / count[divide]


# The three losses and two students of the exercise, each written from the text of the notebook.
def _squared_distances(s: Tensor, t: Tensor) -> Tensor:
    own, wanted = (torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[_others(x)].square() for x in (s, t))
    return (own - wanted).square().mean()


def _centred_lists(s: Tensor, t: Tensor) -> Tensor:
    own, wanted = (_centred(x) for x in (s, t))
    return (own - wanted).square().mean()


def _correlation(s: Tensor, t: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(_centred(s), _centred(t), dim=1)).mean()


def _centred(x: Tensor) -> Tensor:
    """Each row's list of similarities with the others, minus its mean."""
    lists = (x @ x.T)[_others(x)].view(len(x), -1)
    return lists - lists.mean(1, keepdim=True)


def _others(x: Tensor) -> Tensor:
    return ~torch.eye(len(x), dtype=torch.bool)


_NEW_LOSSES = {"squared distances": _squared_distances, "centred lists": _centred_lists, "correlation": _correlation}
_CHANGES = {
    "rotation": "a rotation leaves dot products and distances as they are.",
    "scale": "if all descriptors are doubled, dot products and squared distances become four times as large. What do the "
    "differences of a list become, and what does a correlation become?",
    "dimension": "coordinates that are 0 add nothing to a dot product or a distance.",
    "constant": "add 0.1 to all similarities of a list. What happens to a squared distance, 2 - 2 × similarity, what to "
    "the difference of a similarity and the mean of its list, what to a correlation?",
}
_BARGAINS: dict[str, Any] = {
    "listwise, 0.04": functools.partial(losses.listwise, temperature=0.04),
    "RKD, distance": losses.rkd_distance,
    "similarity": losses.similarity,
    "listwise, 1": functools.partial(losses.listwise, temperature=1.0),
}


@exercise(
    "3.2",
    "Rotation and dimension keep every dot product within the student's space, so they keep whatever is computed "
    "from dot products.",
    "A scale changes lengths of differences and similarities. A constant added to all similarities goes away "
    "where a mean is subtracted. A correlation also divides by the spread.",
    "For the second question ask where a loss looks: a low temperature looks at the nearest points only; a high "
    "temperature, similarities and distances weigh all pairs, and most pairs are far apart.",
)
def predictions(answer: Answer) -> None:
    """Exercise 3.2: predictions of what losses notice and of what they give up, compared with both computed.

    Args:
        answer: () -> (notices, prefers), two dicts. notices: for "squared distances", "centred lists" and "correlation" the
            set of those changes among "rotation", "scale", "dimension" and "constant" that change the loss. prefers: for
            "listwise, 0.04", "RKD, distance", "similarity" and "listwise, 1" the student with the smaller loss,
            "near" or "far".

    Raises:
        Hint: the answer is not right.
    """
    two_dicts = "Return two dicts, `notices` and `prefers`."
    notices, prefers = parts(ask(answer), 2, two_dicts)
    tell({two_dicts: not (isinstance(notices, dict) and isinstance(prefers, dict))})
    for what, part, names in (("notices", notices, _NEW_LOSSES), ("prefers", prefers, _BARGAINS)):
        missing = [name for name in names if name not in part]
        tell({f"`{what}` has no entry for {', '.join(repr(name) for name in missing)}.": bool(missing)})
    changes = ", ".join(map(repr, _CHANGES))
    tell({
        f"`notices` holds a set of {changes} for each loss, {name!r} has {notices[name]!r}.": not (
            isinstance(notices[name], set | frozenset | list | tuple) and set(notices[name]) <= set(_CHANGES)
        )
        for name in _NEW_LOSSES
    } | {
        f"`prefers` holds 'near' or 'far' for each loss, {name!r} has {prefers[name]!r}.": prefers[name] not in ("near", "far")
        for name in _BARGAINS
    })  # fmt: skip
    truth, winners = noticed_by_new_losses(), preferred_students()
    off = {c: sum((c in notices[name]) != (c in truth[name]) for name in _NEW_LOSSES) for c in _CHANGES}
    wrong = sum(prefers[name] != winners[name] for name in _BARGAINS)
    tell({
        f"{change}: {off[change]} of 3 predictions of `notices` {'is' if off[change] == 1 else 'are'} wrong; "
        f"{thought}": off[change] > 0
        for change, thought in _CHANGES.items()
    } | {
        "All of `prefers` is the other way round: a smaller loss is a better one.": wrong == len(_BARGAINS),
        "Not all of these losses prefer the same student: some look at the top of a list, some at all pairs "
        "alike.": len({prefers[name] for name in _BARGAINS}) == 1,
        f"{wrong} of 4 of `prefers` {'is' if wrong == 1 else 'are'} wrong. Ask of each loss which pairs weigh most: the "
        "nearest ones, which stand at the top of a list, or all alike, of which most are far apart.": wrong > 0,
    })  # fmt: skip
    passed("Computed, all 12 predictions of `notices` and all 4 of `prefers` come true.")


def noticed_by_new_losses() -> dict[str, set[str]]:
    """What the three new losses of the exercise notice, computed.

    Returns:
        By loss, the changes of the student that change its value.
    """
    generator = torch.Generator().manual_seed(6)
    s, t = F.normalize(torch.randn(2, 8, 10, generator=generator, dtype=torch.float64), dim=2)
    turn = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64)).Q
    raised = torch.linalg.cholesky(0.9 * s @ s.T + 0.1 * torch.eye(8) + 0.05 * _others(s))
    lowered = torch.linalg.cholesky(0.9 * s @ s.T + 0.1 * torch.eye(8))  # the same similarities without the constant
    pairs = {"rotation": (s, s @ turn), "scale": (s, 2 * s), "dimension": (s, F.pad(s, (0, 3)))}
    pairs["constant"] = (lowered, raised)
    return {
        name: {change for change, (a, b) in pairs.items() if abs(float(loss(a, t) - loss(b, t))) > 1e-6}
        for name, loss in _NEW_LOSSES.items()
    }


def preferred_students() -> dict[str, str]:
    """Which of two students each loss of the exercise prefers, computed on points of a circle.

    The teacher has six groups of four points. Near keeps each group as it is and puts the groups at wrong places; far has
    each group around its right place, but moves its points so far apart that groups mix.

    Returns:
        By loss, the student with the smaller value, "near" or "far".
    """
    degrees = torch.tensor([0.0, 4.0, 9.0, 15.0])
    teacher = _circle((60 * torch.arange(6)[:, None] + degrees).flatten())
    places = torch.tensor([0, 3, 1, 5, 2, 4])
    near = _circle((60 * places[:, None] + degrees).flatten())
    far = _circle((60 * torch.arange(6)[:, None] + torch.tensor([36.0, -30.0, 24.0, -18.0])).flatten())
    return {name: "near" if loss(near, teacher) < loss(far, teacher) else "far" for name, loss in _BARGAINS.items()}


def _circle(degrees: Tensor) -> Tensor:
    angle = degrees.deg2rad()
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@exercise(
    "3.3",
    "Leave the lengths aside first. What is the dot product of two sums of real descriptors, in terms of G?",
    "Without lengths the table is first G secondᵀ. The squared length of a mixture is its dot product with itself.",
    "Divide entry (k, m) of first G secondᵀ by the length of mixture k and by that of m: the roots of the "
    "diagonals of first G firstᵀ and of second G secondᵀ.",
)
def mixed_similarities(answer: Answer) -> None:
    """Exercise 3.3: the similarities of two sets of mixtures, from the dot products of real descriptors alone.

    Args:
        answer: (G [B, B], first [K, B], second [M, B]: the share of each real descriptor in each mixture) -> [K, M], cosines
            of the renormalised mixtures.

    Raises:
        Hint: the answer is not right.
    """
    generator = torch.Generator().manual_seed(8)
    rows = F.normalize(torch.randn(6, 9, generator=generator), dim=1)
    table = rows @ rows.T
    shares, mixtures = [], []
    for count in (4, 5):
        pairs = torch.stack([torch.randperm(6, generator=generator)[:2] for _ in range(count)])
        lam = 0.2 + 0.6 * torch.rand(count, generator=generator)
        shares.append(torch.zeros(count, 6).scatter(1, pairs, torch.stack([lam, 1 - lam], dim=1)))
        mixtures.append(mix(rows, pairs, lam))
    first, second = shares
    raw = first @ table @ second.T
    a, b = ((w @ table @ w.T).diagonal()[:, None].sqrt() for w in shares)
    unit, other = (F.normalize(w, dim=1) for w in shares)
    right = mixtures[0] @ mixtures[1].T
    examine(answer, (table, first, second), lambda value: tensor(value, (4, 5), "the table of similarities"), right, {
        "These are the dot products before the mixtures are brought back to length 1: the lengths are missing.": raw,
        "Only the first set is brought to length 1: step 3 divides from both sides.": raw / a,
        "Only the second set is brought to length 1: step 3 divides from both sides.": raw / b.T,
        "You divide by the squared lengths: the diagonal holds squares, take their roots.": raw / a**2 / b.T**2,
        "You multiply by the lengths: bringing to length 1 divides by them.": raw * a * b.T,
        "The shares were brought to length 1, but the length of a mixture depends on the dot products in G as "
        "well.": unit @ table @ other.T,
        "G does not occur: without it, the real descriptors count as perpendicular.": first @ second.T,
        "G does not occur: without it, the real descriptors count as perpendicular, and so in the lengths.": unit @ other.T,
        "Each row of the table was brought to length 1; it is the mixtures that have a length.": F.normalize(raw, dim=1),
    }, "This is not the table of the mixtures' similarities. A mixture's squared length is its own entry on the diagonal of W "
       "G Wᵀ, with W the shares of its own set, as the diagonal of a table of two different sets is no length.")  # fmt: skip
    passed("Equal to the similarities of real mixtures: they hold no dot product that G does not give.")
