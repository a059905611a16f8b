"""Photographs of every kind become RGB, upright, and unusable ones are named in one sentence."""

import io
import random
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from rdistill_helpers.data.images import crop_box, letterboxed, query_size, read_image, resize_longest, to_tensor
from rdistill_helpers.embed.black_box import image_key
from rdistill_helpers.embed.extract import extract
from rdistill_helpers.errors import BadInput, DataMissing

RAMP = np.linspace(0, 255, 12).astype(np.uint8).reshape(3, 4)


# Left half red, right half blue; how a camera stores it when its orientation is the key.
UPRIGHT = Image.fromarray(np.repeat(np.array([[[255, 0, 0]] * 20 + [[0, 0, 255]] * 20], np.uint8), 24, 0))
STORED = {
    1: UPRIGHT, 2: UPRIGHT.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 3: UPRIGHT.rotate(180),
    6: UPRIGHT.rotate(90, expand=True), 8: UPRIGHT.rotate(-90, expand=True),
}  # fmt: skip


def encoded(image, kind="PNG", **settings):
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def tagged(orientation, kind="JPEG", text=False):
    """The upright picture as a camera stores it; with `text`, its orientation and resolution are texts, not numbers."""
    exif = Image.Exif()
    exif[271], exif[282], exif[274] = "Camera", 72.0, orientation
    content = exif.tobytes()
    if text:  # the type of both entries, from a number to a text
        content = content.replace(b"\x01\x12\x00\x03", b"\x01\x12\x00\x02").replace(
            b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x02"
        )
    return encoded(STORED[orientation], kind, exif=content, **({} if kind == "PNG" else {"quality": 95}))


def assert_upright(image):
    assert image.size == UPRIGHT.size
    assert np.abs(np.asarray(image, int) - np.asarray(UPRIGHT, int))[:, [4, 35]].max() < 40


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("orientation", list(STORED))
def test_a_photograph_is_turned_as_its_camera_was_held_and_only_once(tmp_path, orientation, kind):
    content = tagged(orientation, kind)
    (tmp_path / "a.jpg").write_bytes(content)
    for source in (content, tmp_path / "a.jpg", io.BytesIO(content), Image.open(io.BytesIO(content))):
        assert_upright(read_image(source))
    assert_upright(read_image(read_image(content)))
    stored = read_image(content, upright=False)
    assert stored.size == STORED[orientation].size
    assert read_image(stored).size == stored.size  # official pixels stay official on their way through `extract`


def test_the_network_sees_the_same_photograph_upright_and_tagged(tmp_path):
    paths = [tmp_path / f"{orientation}.png" for orientation in STORED]
    for path, orientation in zip(paths, STORED, strict=True):
        path.write_bytes(tagged(orientation, "PNG"))
    rows = extract(torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten()), paths, progress=False)
    torch.testing.assert_close(rows @ rows.T, torch.ones(len(paths), len(paths)))
    keys = {image_key(path) for path in paths}
    assert len(keys) == 1  # the teacher is paid once


def test_damaged_exif_leaves_the_pixels_and_is_said():
    content = tagged(6, text=True)
    with pytest.warns(UserWarning, match="orientation"):
        assert read_image(content).size == STORED[6].size
    generator = random.Random(0)
    exif = bytearray(Image.open(io.BytesIO(tagged(6))).info["exif"])
    for _ in range(300):
        damaged = bytearray(exif)
        for _ in range(generator.randint(1, 6)):
            damaged[generator.randrange(6, len(damaged))] = generator.choice([0, 1, 2, 3, 4, 5, 10, 12, 255])
        with warnings.catch_warnings(action="ignore"):
            image = read_image(encoded(UPRIGHT, "JPEG", exif=bytes(damaged)))
        assert sorted(image.size) == [24, 40]


def test_what_a_camera_wrote_beside_a_sound_photograph_never_hides_it():
    content = encoded(UPRIGHT, "JPEG", quality=95)
    for marker in (0xE1, 0xE2, 0xED):
        for text in (
            b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
            b"MPF\0MM\0*\0\0\0\x08",
            b"Photoshop 3.0\0" + b"8BIM" * 9,
            b"",
        ):
            segment = bytes([0xFF, marker]) + (len(text) + 2).to_bytes(2) + text
            with warnings.catch_warnings(action="ignore"):
                assert_upright(read_image(content[:2] + segment + content[2:]))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_content_and_not_the_ending_decides(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(UPRIGHT, "AVIF", quality=95))
    assert_upright(read_image(tmp_path / "a.jpg"))


def test_heic_is_read_where_its_plug_in_is_there(tmp_path):
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.heic").write_bytes(tagged(6, "HEIF"))
    image = read_image(tmp_path / "a.heic")
    assert image.size == UPRIGHT.size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript"),
        (b"", "empty"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0", "no known format"),
    ],
)
def test_what_a_file_is_that_cannot_be_read_is_said(tmp_path, content, words):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadInput, match=rf"a\.jpg cannot be read.*{words}"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("size", [(1600, 1200), (1007, 671), (500, 900)])
def test_a_jpeg_to_be_reduced_is_decoded_smaller_with_nearly_the_same_pixels(size):
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))
    content = encoded(small.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=92)
    for imsize in (64, 150, 320):
        whole, part = resize_longest(read_image(content), imsize), read_image(content, imsize=imsize)
        assert part.size == whole.size == resize_longest(part, imsize).size
        assert np.abs(np.asarray(whole, int) - np.asarray(part, int)).mean() < 1.1
    assert read_image(content).size == read_image(content, imsize=2000).size == size
    assert read_image(encoded(small), imsize=8).size == small.size  # others are for the caller to reduce


def test_letterboxed_photographs_are_whole_and_keep_their_shape():
    for width, height, inside in ((40, 24, (32, 19)), (24, 40, (19, 32)), (80, 10, (32, 4)), (16, 16, (32, 32))):
        boxed = letterboxed(Image.new("RGB", (width, height), (250, 0, 0)), (32, 32))
        red = np.asarray(boxed)[..., 0] > 200
        assert boxed.size == (32, 32) and (red.any(0).sum(), red.any(1).sum()) == inside
    with pytest.raises(BadInput, match="size"):
        letterboxed(Image.new("RGB", (4, 4)), (0, 4))


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
