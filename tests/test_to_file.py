"""Extraction to a file: the rows of extract, and going on after an interruption."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rdistill_helpers.descriptors import open_descriptors
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.embed.to_file import extract_to_file
from rdistill_helpers.errors import BadInput


class Colours(nn.Module):
    """Rows from the mean colour and its square; counts what it described and can fail after some batches."""

    def __init__(self, batches=None, sign=1.0):
        super().__init__()
        self.batches, self.sign, self.described = batches, sign, 0

    def forward(self, images):
        if self.batches == 0:
            raise KeyboardInterrupt
        if self.batches is not None:
            self.batches -= 1
        self.described += len(images)
        mean = images.mean(dim=(2, 3))
        return torch.cat([mean, self.sign * mean**2], dim=1)


def photos(count=22, size=(8, 12), seed=0):
    pixels = torch.randint(0, 256, (count, 3, 1, 1), generator=torch.Generator().manual_seed(seed))
    return pixels.expand(count, 3, *size).to(torch.uint8)


def as_pil(pixels):
    return [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in pixels]


SMALL = {"batch_size": 2, "at_once": 5, "progress": False}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_file_holds_the_rows_of_extract(tmp_path, dtype):
    mixed = [
        image for pair in zip(as_pil(photos(6)), as_pil(photos(6, (12, 8), seed=1)), strict=True) for image in pair
    ]
    for images in (photos(), mixed):
        path = extract_to_file(Colours(), images, tmp_path / f"new/{len(images)}.npy", dtype, **SMALL)
        rows = open_descriptors(path)
        assert rows.dtype == dtype
        expected = extract(Colours(), images, progress=False).numpy()
        np.testing.assert_allclose(rows, expected, atol=1e-3 if dtype == "float16" else 1e-6)
        assert list(path.parent.glob(f"{path.name}.*")) == []


@pytest.mark.parametrize("batches", range(13))
def test_an_interrupted_run_goes_on_behind_its_finished_rows(tmp_path, batches):
    images = photos()  # four blocks of five images, three batches each, and one of two images
    whole = extract_to_file(Colours(), images, tmp_path / "whole.npy", **SMALL)
    path, net = tmp_path / "rows.npy", Colours()
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(Colours(batches), images, path, **SMALL)
    assert not path.exists()
    extract_to_file(net, images, path, **SMALL)
    finished = 5 * (batches // 3)
    assert net.described == 22 - finished + (finished > 0)  # the last finished image once more
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.npy", "whole.npy"]


@pytest.fixture
def begun(tmp_path):
    """A file whose run was interrupted with ten rows finished."""
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(Colours(7), photos(), tmp_path / "rows.npy", **SMALL)
    return tmp_path / "rows.npy"


def test_rows_that_were_written_but_not_counted_are_written_again(begun, tmp_path):
    with (tmp_path / "rows.npy.part").open("ab") as file:
        file.write(b"half of a block")
    extract_to_file(Colours(), photos(), begun, **SMALL)
    whole = extract_to_file(Colours(), photos(), tmp_path / "whole.npy", **SMALL)
    assert begun.read_bytes() == whole.read_bytes()


def test_a_run_that_finished_all_rows_only_names_the_file(begun, tmp_path):
    whole = extract_to_file(Colours(), photos(), tmp_path / "whole.npy", **SMALL)
    (tmp_path / "rows.npy.part").write_bytes(whole.read_bytes())
    (tmp_path / "rows.npy.part.rows").write_text("22\n")
    net = Colours()
    extract_to_file(net, photos(), begun, **SMALL)
    assert net.described == 1 and begun.read_bytes() == whole.read_bytes()


def test_a_deleted_unfinished_file_is_begun_again(begun, tmp_path):
    (tmp_path / "rows.npy.part").unlink()
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(Colours(1), photos(), begun, **SMALL)
    net = Colours()
    extract_to_file(net, photos(), begun, **SMALL)
    assert net.described == 22


@pytest.mark.parametrize(
    ("net", "images", "dtype", "message"),
    [
        (Colours(sign=-1.0), photos(), "float16", "another network"),
        (Colours(), photos().flip(0), "float16", "other images"),
        (Colours(), photos(21), "float16", "begun for 22 descriptors of float16, not for 21"),
        (Colours(), photos(), "float32", "begun for 22 descriptors of float16, not for 22 of float32"),
    ],
)
def test_nothing_else_goes_on_with_an_unfinished_file(begun, tmp_path, net, images, dtype, message):
    before = (tmp_path / "rows.npy.part").read_bytes()
    with pytest.raises(BadInput, match=message):
        extract_to_file(net, images, begun, dtype, **SMALL)
    assert (tmp_path / "rows.npy.part").read_bytes() == before
    extract_to_file(Colours(), photos(), begun, **SMALL)


def test_an_unreadable_unfinished_file_is_named(begun, tmp_path):
    (tmp_path / "rows.npy.part").write_bytes(b"something else")
    with pytest.raises(BadInput, match=r"rows.npy.part was not written by extract_to_file"):
        extract_to_file(Colours(), photos(), begun, **SMALL)


def test_a_finished_file_is_not_written_over(begun):
    extract_to_file(Colours(), photos(), begun, **SMALL)
    with pytest.raises(BadInput, match="is there already"):
        extract_to_file(Colours(), photos(), begun, **SMALL)


def test_a_row_that_is_not_finite_names_its_image_and_keeps_what_is_finished(tmp_path):
    images = photos()
    images[13] = 0

    class BreaksOnDark(nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3)).log().add(10)

    with pytest.raises(BadInput, match="not finite for image 13"):
        extract_to_file(BreaksOnDark(), images, tmp_path / "rows.npy", **SMALL)
    assert (tmp_path / "rows.npy.part.rows").read_text() == "10\n"


def test_every_module_gets_its_own_mode_back(tmp_path):
    net = Colours(2).train()
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(net, photos(), tmp_path / "rows.npy", **SMALL)
    assert net.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "int8"),
        ({"at_once": 0}, "at once"),
        ({"scales": ()}, "scales"),
        ({"batch_size": 0}, "batch"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, settings, message):
    with pytest.raises(BadInput, match=message):
        extract_to_file(Colours(), photos(), tmp_path / "rows.npy", **{**SMALL, **settings})
    with pytest.raises(BadInput, match="no images"):
        extract_to_file(Colours(), [], tmp_path / "rows.npy")
    assert list(tmp_path.iterdir()) == []
