"""Better starts and ends that ask no teacher: how a projection starts, and weights averaged along a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdistill_helpers import losses
from rdistill_helpers.distil.history import History
from rdistill_helpers.distil.loop import average_weights

RIDGE = 0.1  # penalty, as a part of the mean squared singular value of the descriptors
PROBE_STEPS, PROBE_LR = 200, 3e-3


def start_projection(projection: nn.Linear, how: str, rows: Tensor, answers: Tensor) -> None:
    """Start a projection from the descriptors of an untrained student, in place.

    Args:
        projection: Ds -> Dt.
        how: "ridge" regression of the answers, in closed form; or a linear "probe", trained by the cosine as in `distill`.
        rows: [N, Ds], the descriptors.
        answers: [N, Dt].

    Source:
        probe: Kumar et al., "Fine-tuning can distort pretrained features", ICLR 2022.
    """
    if how == "ridge":
        with torch.no_grad():
            weight, bias = ridge(rows, answers)
            projection.weight.copy_(weight)
            projection.bias.copy_(bias)
        return
    optimizer = torch.optim.AdamW(projection.parameters(), lr=PROBE_LR)
    for _ in range(PROBE_STEPS):
        optimizer.zero_grad()
        losses.regression(rows, answers, projection=projection).backward()
        optimizer.step()


def ridge(rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map that takes rows to answers with the least squared error and a penalty on its weights.

    Args:
        rows: [N, Ds].
        answers: [N, Dt].

    Returns:
        Weights [Dt, Ds] and bias [Dt].

    Source:
        Hoerl and Kennard, "Ridge regression", Technometrics 1970.
    """
    mean, centre = rows.double().mean(0), answers.double().mean(0)
    centred = rows.double() - mean
    gram = centred.T @ centred
    penalty = RIDGE * gram.trace() / min(rows.shape) * torch.eye(len(gram), dtype=torch.float64)
    weight = torch.linalg.solve(gram + penalty, centred.T @ (answers.double() - centre)).T
    return weight.float(), (centre - weight @ mean).float()


class AverageAlong:
    """The mean of a student's weights over the last steps of a training, gathered as its callback.

    The rate goes on falling meanwhile, where SWAD keeps it, and the steps are fixed, where SWAD chooses them by a validation
    loss.

    Args:
        net: the student before the training.
        steps: of the training.
        part: of them, the last ones, whose weights count.

    Source:
        Cha et al., "SWAD: domain generalization by seeking flat minima", NeurIPS 2021.
    """

    def __init__(self, net: nn.Module, steps: int, part: float) -> None:
        self.net, self.first = net, steps - max(1, round(steps * part))
        self.start = {name: value.clone() for name, value in net.state_dict().items()}
        self.mean: dict[str, Tensor] = {}
        self.count = 0

    def __call__(self, history: History) -> None:
        """Take the weights of a step."""
        if history.step[-1] < self.first:
            return
        self.count += 1
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                self.mean.setdefault(name, torch.zeros_like(value)).lerp_(value, 1 / self.count)

    def finish(self, start_weight: float) -> None:
        """Give the student the mean, and the part of its start that the training would have given it.

        Args:
            start_weight: see `Training`.
        """
        average_weights(self.net, self.mean, 1.0)
        average_weights(self.net, self.start, start_weight)
