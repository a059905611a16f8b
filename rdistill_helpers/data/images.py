"""Reading photographs of any kind as RGB, cropping them to a box, and stacking them."""

import contextlib
import io
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from rdistill_helpers.errors import BadInput, DataMissing

with contextlib.suppress(ImportError):  # the extra .[heif]
    from pillow_heif import register_heif_opener

    register_heif_opener()

# The names that an image of a ground truth may have, whose ending is left out there.
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jfif", ".heic", ".heif", ".avif")

Source = Path | str | bytes | BinaryIO | Image.Image

DRAWN = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}  # Pillow leaves them to other programs
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
MAX_PIXELS = 100_000_000  # of a photograph; a small file can unfold to far more
GREY = (124, 116, 104)  # the mean of ImageNet: zero in front of most networks
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def read_image(source: Source, name: str | None = None, upright: bool = True, imsize: int | None = None) -> Image.Image:
    """A photograph as 8-bit RGB, whatever it was: grey, CMYK, 16 bit (scaled), palette, transparent (on white).

    The content decides on the kind, not the ending: all that Pillow and its installed plug-ins know by a signature, but for
    what Pillow would have drawn by other programs, such as EPS.

    Args:
        source: a path, the bytes of a file, an open file, or an image.
        name: what errors call it; None takes the path.
        upright: turn the photograph as its EXIF data say that the camera was held, once: the result says nothing of it any
            more. Where they are damaged it stays as it is stored, with a warning. False for the pixels as they are stored,
            which the boxes of the benchmarks are in.
        imsize: longer side to which a larger JPEG may be made smaller while it is decoded, in about half the time, where the
            caller makes it smaller anyway: its size is that of `resize_longest` then, and its pixels differ by 0.3 of 255 in
            the mean and at most 0.9 (photographs of 0.3 to 11 megapixels, 64 to 640 pixels; the cosine of a descriptor
            with its own stays above 0.998). None decodes all.

    Returns:
        The image, decoded.

    Raises:
        DataMissing: a path leads to no file.
        BadInput: a file that is empty, cut off, of no kind as above, or larger than MAX_PIXELS.
    """
    label = name or (str(source) if isinstance(source, str | Path) else "the image")
    try:
        image = source if isinstance(source, Image.Image) else open_image(source)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} of a photograph")
        if imsize and image.format in ("JPEG", "MPO") and image is not source:
            image.thumbnail((imsize, imsize), Image.Resampling.LANCZOS, reducing_gap=2)
        image.load()
        rgb = _to_rgb(image)
        turn = _turn(image) if upright else None
        rgb = rgb if turn is None else rgb.transpose(turn)
    except FileNotFoundError as error:
        raise DataMissing(f"The image {label} is not there: check its name and folder.") from error
    except Exception as error:  # a damaged file makes its decoder fail in any way
        raise BadInput(f"{label} cannot be read as an image ({error}): replace the file.") from error
    if rgb.width == 0 or rgb.height == 0:
        raise BadInput(f"{label} is an empty image ({rgb.width} x {rgb.height} pixels): replace the file.")
    rgb.info.clear()  # whoever reads it again must not turn it again
    return rgb


def open_image(source: Path | str | bytes | BinaryIO) -> Image.Image:
    """A file as Pillow opens it: its kind and size are known, its pixels not yet decoded.

    Args:
        source: a path, the bytes of a file, or an open file.

    Returns:
        The image.

    Raises:
        UnidentifiedImageError: the file is of no kind that `read_image` reads; the message says which.
        OSError: it cannot be opened. Other errors come from a damaged file's decoder.
    """
    Image.init()
    formats = [name for name, (_, known) in Image.OPEN.items() if known is not None and name not in DRAWN]
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        head = _bytes_of(file, 12)
    if head.startswith(b"\xff\xd8"):  # the photograph may be sound and what the camera wrote about it damaged
        content, exif = _bare_jpeg(_bytes_of(file))
        with contextlib.suppress(UnidentifiedImageError):
            image = Image.open(io.BytesIO(content), formats=["JPEG"])
            image.info["exif"] = exif
            return image
    raise UnidentifiedImageError(_kind(head))


def _bytes_of(file: Path | str | BinaryIO, count: int = -1) -> bytes:
    if not isinstance(file, str | Path):
        file.seek(0)
        return file.read(count)
    with Path(file).open("rb") as opened:
        return opened.read(count)


def _bare_jpeg(content: bytes) -> tuple[bytes, bytes]:
    """A JPEG without what others than its decoder need, and its EXIF data."""
    kept, exif, at = [content[:2]], b"", 2
    while content[at : at + 1] == b"\xff" and (marker := content[at + 1 : at + 2]) != b"\xda":
        end = at + 2 + max(2, int.from_bytes(content[at + 2 : at + 4]))
        if b"\xe1" <= marker <= b"\xef" and marker != b"\xee":  # Adobe's says which colours there are
            exif = exif or (content[at + 4 : end] if content[at + 4 : at + 8] == b"Exif" else b"")
        else:
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]]), exif


def _kind(head: bytes) -> str:
    """What a file that begins so is, and Pillow does not know."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return "HEIC or AVIF, which `pip install --upgrade pillow pillow-heif` makes readable"
    if head.startswith((b"%!PS", b"%PDF")):
        return "a drawing, PostScript or PDF"
    return "no known format" if head else "empty"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to turn an image upright, which its EXIF data say; None where they say nothing or cannot be read."""
    try:
        return TURNS.get(int(image.getexif().get(0x0112, 1)))
    except Exception:  # damaged in any way, while the pixels are sound
        warnings.warn("A photograph's EXIF orientation cannot be read: it stays as it is stored.", stacklevel=3)
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; ValueError for pixels whose white is unknown."""
    if image.mode == "F":
        raise ValueError("its pixels are fractions and nothing says which one is white; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits a pixel, in a mode that Pillow itself would clip to 8
        values = np.asarray(image, np.float64)
        if values.size and not 0 <= values.min() <= values.max() <= 65535:
            raise ValueError("its pixels have more than 16 bits; save it with 8 or 16 bits")
        return Image.fromarray((values / 257 + 0.5).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def crop_box(image: Image.Image, bbx: Sequence[float], name: str = "the image") -> Image.Image:
    """The part of a photograph inside a box.

    Args:
        image: the photograph.
        bbx: x1, y1, x2, y2 in pixels; fractions are allowed.
        name: what errors call the photograph.

    Returns:
        The part, at least one pixel wide and high.

    Raises:
        BadInput: a box that is empty, not finite, or reaches more than one pixel out of the image.
    """
    box = [float(v) for v in bbx]
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
        raise BadInput(f"The box {box} of {name} is not a box: give x1 < x2 and y1 < y2 in pixels.")
    if box[0] < -1 or box[1] < -1 or box[2] > image.width + 1 or box[3] > image.height + 1:
        raise BadInput(f"The box {box} lies outside {name} of {image.width} x {image.height} pixels: correct it.")
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(image.width, max(left + 1, round(box[2]))), min(image.height, max(top + 1, round(box[3])))
    return image.crop((min(left, right - 1), min(top, bottom - 1), right, bottom))


def query_size(crop: tuple[int, int], full: tuple[int, int], imsize: int) -> int:
    """Longer side that a cropped query gets, so that it keeps the scale that the whole photograph would have had.

    Fractions of a pixel are cut off, as in cnnimageretrieval-pytorch.

    Args:
        crop: width and height of the crop in pixels.
        full: width and height of the whole photograph in pixels.
        imsize: longer side that the whole photograph would get, in pixels.

    Returns:
        The longer side of the crop in pixels, at least 1.

    Source: the revisited Oxford/Paris protocol, Radenovic et al., CVPR 2018.
    """
    return max(1, imsize * max(crop) // max(full))


def resize_longest(image: Image.Image, imsize: int) -> Image.Image:
    """The image made smaller, if it is larger, until its longer side is `imsize` pixels.

    Args:
        image: any image.
        imsize: the longer side in pixels, at least 1.

    Returns:
        A copy.

    Raises:
        BadInput: `imsize` is below 1.
    """
    if imsize < 1:
        raise BadInput(f"The image size {imsize} is not usable: give the longer side in pixels, at least 1.")
    smaller = image.copy()
    smaller.thumbnail((imsize, imsize), Image.Resampling.LANCZOS)
    return smaller


def letterboxed(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole image in its own shape, in the middle of a grey ground: one size, so that images share batches.

    Args:
        image: any image.
        size: height and width in pixels, at least 1.

    Returns:
        An image of exactly this size.

    Raises:
        BadInput: a height or width below 1.
    """
    if min(size) < 1:
        raise BadInput(f"The image size {size} is not usable: give height and width in pixels, at least 1.")
    return ImageOps.pad(image, (size[1], size[0]), Image.Resampling.LANCZOS, GREY)


def to_tensor(images: Iterable[Image.Image]) -> Tensor:
    """Images of one size as one tensor.

    Args:
        images: at least one, of any mode, which becomes RGB.

    Returns:
        uint8 [N, 3, H, W].

    Raises:
        BadInput: there are no images, or their sizes differ.
    """
    images = list(images)
    if not images:
        raise BadInput("There are no images to stack: give at least one.")
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise BadInput(f"Images of sizes {sorted(sizes)[:3]} cannot be stacked: resize them, or give extract() a list.")
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()
