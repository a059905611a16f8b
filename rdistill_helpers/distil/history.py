"""What a training did, step by step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import nn

from rdistill_helpers.errors import BadInput, DataMissing
from rdistill_helpers.files import written_whole


@dataclass
class History:
    """What a training did: one entry per step in each list, and the settings that it ran with.

    Attributes:
        step: numbers of the steps, from 0.
        loss: loss of each step.
        lr: learning rate of each step.
        seconds: since the start of the training, without the time between an interruption and its resume.
        settings: names and plain values of what the training was made of, as checkpoints compare them.
        projection: from the student's space to the teacher's, as `distill` trained it; None without one. It is a layer, and
            stays out of the file: see `save_projection`.
    """

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    projection: nn.Linear | None = field(default=None, init=False, repr=False, compare=False)

    def content(self) -> dict[str, Any]:
        """The fields that a file holds, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, whole or not at all.

        Args:
            path: the file to write.
        """
        with written_whole(Path(path)) as unfinished:
            unfinished.write_text(json.dumps(self.content(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote.

        Args:
            path: the file.

        Returns:
            The history.

        Raises:
            BadInput: when the file holds something else.
            DataMissing: when there is no such file.
        """
        try:
            return cls.from_content(json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise DataMissing(f"There is no history at {path}: write it with History.save.") from error
        except (OSError, RecursionError, TypeError, ValueError) as error:
            raise BadInput(f"{path} is no saved history ({error}): write it with History.save.") from error

    @classmethod
    def from_content(cls, content: Any) -> History:
        """Make a history of its fields by name, once they are those of a history.

        Args:
            content: what `content` gives.

        Returns:
            The history.

        Raises:
            TypeError: for other fields or types.
            ValueError: for lists of different lengths or settings that JSON cannot hold.
        """
        history = cls(**content)
        lists = (history.step, history.loss, history.lr, history.seconds)
        if not isinstance(history.settings, dict) or not all(isinstance(values, list) for values in lists):
            raise TypeError("it needs four lists and settings")
        if any(len(values) != len(history.step) for values in lists):
            raise ValueError("its lists differ in length")
        if not all(isinstance(value, int | float) for values in lists for value in values):
            raise TypeError("its lists hold something else than numbers")
        if not all(isinstance(name, str) for name in history.settings):
            raise TypeError("its settings have no names")
        json.dumps(history.settings)  # settings are plain values, which can be compared
        return history
