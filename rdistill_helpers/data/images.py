"""Reading photographs of any kind as RGB, cropping them to a box, and stacking them."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from rdistill_helpers.errors import BadInput, DataMissing

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")

Source = Path | str | bytes | BinaryIO | Image.Image

# Pillow knows more, and would have some of them drawn by other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MAX_PIXELS = 100_000_000  # of a photograph; a small file can unfold to far more


def read_image(source: Source, name: str | None = None, upright: bool = False) -> Image.Image:
    """A photograph as 8-bit RGB, whatever it was: grey, CMYK, 16 bit (scaled), palette, transparent (on white).

    Args:
        source: a path, the bytes of a file, an open file, or an image.
        name: what errors call it; None takes the path.
        upright: turn the photograph as its EXIF data say that the camera was held; the benchmarks' boxes are in the pixels
            as they are stored.

    Returns:
        The image, decoded.

    Raises:
        DataMissing: a path leads to no file.
        BadInput: a file that is empty, cut off, of none of the kinds in FORMATS, or larger than MAX_PIXELS.
    """
    label = name or (str(source) if isinstance(source, str | Path) else "the image")
    try:
        if isinstance(source, Image.Image):
            image = source
        else:
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} of a photograph")
        image.load()
        rgb = _to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except FileNotFoundError as error:
        raise DataMissing(f"The image {label} is not there: check its name and folder.") from error
    except UnidentifiedImageError as error:
        raise BadInput(f"{label} cannot be read as an image (empty, or no known format): replace the file.") from error
    except Exception as error:  # a damaged file makes its decoder fail in any way
        raise BadInput(f"{label} cannot be read as an image ({error}): replace the file.") from error
    if rgb.width == 0 or rgb.height == 0:
        raise BadInput(f"{label} is an empty image ({rgb.width} x {rgb.height} pixels): replace the file.")
    return rgb


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


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image scaled to cover a size, the rest cut off evenly: one size, so that images share batches.

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
    return ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)


def photographs(folder: str | Path) -> list[Path]:
    """The files of photographs in a folder and its sub-folders, by path; hidden ones are left out.

    Args:
        folder: where to look.

    Returns:
        The paths of files whose names end as in ENDINGS.

    Raises:
        DataMissing: there is no such folder.
        BadInput: it holds no photograph.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataMissing(f"The folder {folder} is not there: check the path.")
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in ENDINGS and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    if not found:
        raise BadInput(f"{folder} holds no photograph ({' '.join(ENDINGS)}): give another folder.")
    return found


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Images of one size as one tensor.

    Args:
        images: at least one; any mode is converted to RGB.

    Returns:
        uint8 [N, 3, H, W].

    Raises:
        BadInput: there are no images, or their sizes differ.
    """
    if not images:
        raise BadInput("There are no images to stack: give at least one.")
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise BadInput(f"Images of sizes {sorted(sizes)[:3]} cannot be stacked: resize them, or give extract() a list.")
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()
