"""Files appear whole or not at all, and one process at a time writes them."""

import multiprocessing
import time

import pytest
import torch

from rdistill_helpers.embed.to_file import extract_to_file
from rdistill_helpers.errors import BadInput, InUse
from rdistill_helpers.files import only_writer, written_whole


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "file"
    for text in ("first", "second"):
        with written_whole(path) as unfinished:
            unfinished.write_text(text)
            assert path.exists() == (text == "second")
    assert path.read_text() == "second" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("write failed"), ValueError("bug")]
)
def test_a_failure_leaves_the_old_file_and_says_which_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ValueError) as caught, written_whole(path) as unfinished:
        unfinished.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    if isinstance(error, ValueError):
        assert caught.value is error
    else:
        assert isinstance(caught.value, BadInput)
        assert all(words in str(caught.value) for words in (str(path), str(error), "space", "rights"))


def test_a_file_that_another_one_writes_is_in_use_until_it_is_done(tmp_path):
    path = tmp_path / "rows.npy"
    with only_writer(path):
        with pytest.raises(InUse, match=r"Another process is writing .*rows\.npy: call again"), only_writer(path):
            pytest.fail("two write at once")
        with only_writer(tmp_path / "other"):
            pass
    with only_writer(path):
        pass
    assert list(tmp_path.iterdir()) == []


def hold(path, ready, seconds):
    with only_writer(path):
        ready.set()
        time.sleep(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["finished", "killed"])
def test_a_lock_ends_with_its_process(tmp_path, ending):
    path = tmp_path / "rows.npy.part"
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=hold, args=(path, ready, 1.5 if ending == "finished" else 600), daemon=True)
    process.start()
    assert ready.wait(120)
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(InUse, match="Another process is writing"):
        extract_to_file(torch.nn.Flatten(), images, tmp_path / "rows.npy", progress=False)
    if ending == "killed":
        process.kill()
        process.join()
    with only_writer(path, wait=30):
        pass
    process.join()
    assert list(tmp_path.iterdir()) == []
