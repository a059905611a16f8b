"""A training in TensorBoard: a ready `callback` of the trainings, for the extra `pip install ".[tensorboard]"`."""

from pathlib import Path
from typing import TYPE_CHECKING

from rdistill_helpers.distil.history import History
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import writing
from rdistill_helpers.parallel import rank

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOSS, LR, SECONDS = "loss", "learning rate", "seconds per step"


class TensorBoardLogger:
    """Writes loss, learning rate and seconds of each step to a folder that `tensorboard --logdir` shows.

    Give one to `distill` or another training as `callback`. A step is on the disk before the next one begins, and only
    process 0 writes. A training that goes on from its checkpoint goes on in the same folder: steps that are there already
    are not written again, and steps that were made again after an interruption replace the earlier ones.
    """

    def __init__(self, folder: str | Path) -> None:
        """Prepare the logger; the folder is made at the first step.

        Args:
            folder: where the event files go, one folder for each training.

        Raises:
            BadInput: when TensorBoard is not installed.
        """
        try:
            import torch.utils.tensorboard  # noqa: F401 - early, so that no training ends at its first step
        except ImportError as error:
            raise BadInput(
                'TensorBoard, which TensorBoardLogger needs, is not installed: run pip install ".[tensorboard]" in the clone.'
            ) from error
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None
        self._steps = 0  # of the history, on the disk

    def __call__(self, history: History) -> None:
        """Write the steps that are not in the folder yet.

        Args:
            history: what the training has done, with the newest step at its end.

        Raises:
            BadInput: when the folder cannot be written.
        """
        if rank() > 0:
            return
        with writing(self.folder):
            writer = self._opened(history)
            for i in range(self._steps, len(history.step)):
                step, before = history.step[i], history.seconds[i - 1] if i else 0.0
                writer.add_scalar(LOSS, history.loss[i], step)
                writer.add_scalar(LR, history.lr[i], step)
                writer.add_scalar(SECONDS, history.seconds[i] - before, step)
            writer.flush()
        self._steps = len(history.step)

    def _opened(self, history: History) -> "SummaryWriter":
        """The writer; opened at the first step, after what the folder holds of the same training."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            there = _last_step(self.folder)
            self._steps = sum(step <= there for step in history.step[:-1])
            # What the folder holds from this step on is hidden.
            self._writer = SummaryWriter(str(self.folder), purge_step=history.step[self._steps])
        return self._writer


def _last_step(folder: Path) -> int:
    """The last step in a folder's event files, -1 without any."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(folder.glob("events.out.tfevents.*")):
        return -1
    there = EventAccumulator(str(folder), size_guidance={"scalars": 1}).Reload()
    return there.Scalars(LOSS)[-1].step if LOSS in there.Tags()["scalars"] else -1
