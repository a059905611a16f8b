"""Photographs of every kind become RGB, and unusable ones are named in one sentence."""

import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdistill_helpers.data.images import crop_box, query_size, read_image, resize_longest, to_tensor
from rdistill_helpers.errors import BadInput, DataMissing

RAMP = np.linspace(0, 255, 12).astype(np.uint8).reshape(3, 4)


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_grey_becomes_three_equal_channels():
    pixels = np.asarray(read_image(encoded(Image.fromarray(RAMP))))
    assert pixels.shape == (3, 4, 3) and (pixels == RAMP[..., None]).all()


def test_sixteen_bit_is_scaled_and_not_clipped():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.abs(np.asarray(read_image(encoded(deep)))[..., 0].astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_a_dark_sixteen_bit_image_stays_dark(dtype):
    deep = Image.fromarray(np.full((3, 4), 200, dtype))
    assert np.asarray(read_image(deep)).max() == 1


@pytest.mark.parametrize("values", [np.full((3, 4), 0.5, np.float32), np.full((3, 4), 70_000, np.int32)])
def test_pixels_without_a_known_white_are_refused(values):
    with pytest.raises(BadInput, match="save it with 8 or 16 bits"):
        read_image(encoded(Image.fromarray(values), "TIFF"), "deep.tif")


def test_cmyk_and_palette_are_converted():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    for image, kind in ((red.convert("CMYK"), "TIFF"), (red.convert("P"), "PNG")):
        result = read_image(encoded(image, kind))
        assert result.mode == "RGB" and result.getpixel((4, 4)) == (255, 0, 0)


def test_transparent_parts_are_white():
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert read_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(
        buffer, "PNG", transparency=(10, 20, 30)
    )  # one colour means transparent
    assert read_image(buffer.getvalue()).getpixel((0, 0)) == (255, 255, 255)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"]), st.randoms(use_true_random=False))
def test_damaged_files_give_an_image_or_one_sentence(kind, random):
    content = bytearray(encoded(Image.fromarray(RAMP.repeat(8, 0).repeat(8, 1)), kind))
    for _ in range(random.randint(1, 8)):
        content[random.randrange(len(content))] = random.randrange(256)
    del content[random.randrange(1, 2 * len(content)) :]
    try:
        with warnings.catch_warnings(action="ignore"):
            assert read_image(bytes(content)).mode == "RGB"
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"no picture at all", encoded(Image.new("RGB", (64, 64)), "PNG")[:70]])
def test_unreadable_empty_and_cut_off_files_are_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"broken\.png cannot be read"):
        read_image(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataMissing, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


def test_box_is_cut_out_and_one_pixel_outside_is_forgiven():
    image = Image.fromarray(np.arange(300, dtype=np.uint8).repeat(3)[: 10 * 10 * 3].reshape(10, 10, 3))
    assert crop_box(image, (2, 3, 7.2, 9.4)).size == (5, 6)
    assert crop_box(image, (-0.8, 0, 10.9, 10)).size == (10, 10)


@pytest.mark.parametrize(
    "box", [(0, 0, 14, 5), (-3, 0, 5, 5), (5, 5, 5, 9), (6, 0, 2, 5), (0, 0, float("nan"), 5), (1, 2, 3)]
)
def test_boxes_outside_the_image_are_refused(box):
    with pytest.raises(BadInput, match="box"):
        crop_box(Image.new("RGB", (10, 10)), box, "photo 7")


def test_query_keeps_the_scale_of_the_whole_photograph():
    assert query_size((512, 300), (1024, 768), 362) == 181
    assert query_size((300, 511), (1024, 768), 1000) == 499  # 499.02, and 499.9 would be 499 as well
    assert query_size((1, 1), (1024, 768), 362) == 1
    assert resize_longest(Image.new("RGB", (400, 200)), 100).size == (100, 50)
    assert resize_longest(Image.new("RGB", (40, 20)), 100).size == (40, 20)


def test_stack_is_channels_first_and_refuses_mixed_sizes():
    image = Image.new("RGB", (4, 3), (1, 2, 3))
    stack = to_tensor([image, image])
    assert stack.shape == (2, 3, 3, 4) and stack.dtype == torch.uint8 and stack[0, :, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(BadInput, match="cannot be stacked"):
        to_tensor([image, Image.new("RGB", (5, 3))])
    with pytest.raises(BadInput, match="no images"):
        to_tensor([])
