"""Checkpoints of a training: written whole, read without running code, and refused where they are of another training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdistill_helpers.distil.history import History
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import refuse_packed, written_whole

EVERY = 100  # steps


@dataclass
class State:
    """What a training is made of while it runs; a checkpoint holds all of it.

    Attributes:
        student: the network that is trained.
        extra: another module trained together with the student, such as a projection; an empty one where there is none.
        optimizer: of both.
        generator: the one source of chance for batches, augmentation and loss.
        start: weights of the student before the training; empty where the training does not return to them.
        history: steps so far.
    """

    student: nn.Module
    extra: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    start: Mapping[str, Tensor]
    history: History

    def save(self, path: str | Path) -> None:
        """Write a checkpoint; the old one stays until the new one is whole.

        Args:
            path: the file to write.
        """
        content = {
            "student": self.student.state_dict(),
            "start": self.start,
            "extra": self.extra.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
            "history": self.history.content(),
        }
        with written_whole(Path(path)) as unfinished:
            torch.save(content, unfinished)

    def restore(self, content: dict[str, Any], path: str | Path) -> None:
        """Bring everything to where a checkpoint was written.

        Args:
            content: what `read` gave.
            path: where it was read, for errors.

        Raises:
            BadInput: when it is of another training, with the names of what differs, or of another student.
        """
        own, found = self.history.settings, content["history"].settings
        different = ", ".join(sorted(name for name in own | found if own.get(name) != found.get(name)))
        if different:
            raise BadInput(
                f"The checkpoint {path} is of another training ({different} differ): give another file or delete it."
            )
        try:
            self.student.load_state_dict(content["student"])
            self.extra.load_state_dict(content["extra"])
            self.optimizer.load_state_dict(content["optimizer"])
            weights, start = self.student.state_dict(), content["start"]
            if own["start_weight"] and not (
                start.keys() == weights.keys() and all(start[name].shape == weights[name].shape for name in weights)
            ):
                raise ValueError("the weights that it started with are of another network")
            self.generator.set_state(content["generator"])
            torch.set_rng_state(content["torch"])
        except Exception as error:  # each of them fails in its own ways for what it did not write
            raise BadInput(f"The checkpoint {path} is of another student: give another file or delete it.") from error
        self.start, self.history = start, content["history"]


def read(path: str | Path) -> dict[str, Any] | None:
    """What is in a checkpoint.

    Args:
        path: the file.

    Returns:
        Its content for `State.restore`, or None when there is no such file.

    Raises:
        BadInput: when it cannot be read.
    """
    if not Path(path).exists():
        return None
    try:
        refuse_packed(Path(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {**content, "start": dict(content["start"]), "history": History.from_content(content["history"])}
    except Exception as error:  # torch raises half a dozen kinds for a file that is not what it seems
        raise BadInput(f"The checkpoint {path} cannot be read: delete it to start again.") from error
