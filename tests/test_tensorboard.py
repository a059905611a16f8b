"""The TensorBoard logger writes what the history says, once, also when a training goes on."""

import sys

import numpy as np
import pytest
import torch
from tiny_sets import unit_rows
from torch import nn

from rdistill_helpers import BadInput, History, TensorBoardLogger, Training, distill
from rdistill_helpers.distil import checkpoint

pytest.importorskip("tensorboard", reason="not installed: pip install --editable '.[tensorboard]'")
NAMES = ["learning rate", "loss", "seconds per step"]


class Half(nn.Module):
    """Brings four values of mean 0 and variance 1 to length 1."""

    def forward(self, rows):
        return rows / 2


def written(folder) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each curve, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def equals(folder, history: History) -> None:
    curves = written(folder)
    assert sorted(curves) == NAMES
    seconds = np.diff(history.seconds, prepend=0.0)
    for name, values in zip(NAMES, (history.lr, history.loss, seconds), strict=True):
        steps, shown = zip(*curves[name], strict=True)
        assert list(steps) == history.step, name
        np.testing.assert_allclose(shown, values, rtol=1e-6, err_msg=name)


def first(history: History, count: int) -> History:
    return History(history.step[:count], history.loss[:count], history.lr[:count], history.seconds[:count])


@pytest.fixture
def history() -> History:
    generator = np.random.default_rng(0)
    return History(
        list(range(9)), *(generator.random(9).tolist() for _ in range(2)), generator.random(9).cumsum().tolist()
    )


def trained(logger, **settings) -> History:
    torch.manual_seed(0)
    student = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 8 * 12, 4), nn.LayerNorm(4, elementwise_affine=False, eps=0), Half()
    )
    images = torch.randint(0, 256, (48, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return distill(
        student, images, unit_rows(48, 6), training=Training(steps=6, progress=False), callback=logger, **settings
    )[1]


def test_the_curves_of_a_training_are_its_history(tmp_path):
    equals(tmp_path, trained(TensorBoardLogger(tmp_path)))


def test_an_interrupted_training_goes_on_in_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 2)
    logger = TensorBoardLogger(tmp_path / "curves")

    def interrupted(history):
        logger(history)
        if len(history.step) == 5:  # one step after the checkpoint
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(interrupted, checkpoint=tmp_path / "student.ckpt")
    history = trained(TensorBoardLogger(tmp_path / "curves"), checkpoint=tmp_path / "student.ckpt")
    assert history.step == list(range(6))
    equals(tmp_path / "curves", history)


def test_a_resumed_training_writes_no_step_twice(tmp_path, history):
    for counts in ((1, 2, 3), (4, 5)):
        logger = TensorBoardLogger(tmp_path)
        for count in counts:
            logger(first(history, count))
    equals(tmp_path, first(history, 5))
    files = [path for path in tmp_path.iterdir() if b"loss" in path.read_bytes()]
    assert len(files) == 2
    assert sum(path.read_bytes().count(b"seconds per step") for path in files) == 5


def test_steps_made_again_after_an_interruption_replace_the_earlier_ones(tmp_path, history):
    TensorBoardLogger(tmp_path)(first(history, 6))
    again = History(history.step, [value + 1 for value in history.loss], history.lr, history.seconds)
    mixed = History(history.step[:5], history.loss[:4] + again.loss[4:5], history.lr[:5], history.seconds[:5])
    logger = TensorBoardLogger(tmp_path)
    logger(mixed)  # the checkpoint was written after the fourth step
    equals(tmp_path, mixed)


def test_a_logger_that_joins_late_writes_what_was_before(tmp_path, history):
    TensorBoardLogger(tmp_path)(history)
    equals(tmp_path, history)


def test_without_tensorboard_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadInput, match=r"not installed.*\.\[tensorboard\]"):
        TensorBoardLogger(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path, history):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BadInput, match="file cannot be written"):
        TensorBoardLogger(tmp_path / "file")(history)
