"""What hangs on the walls and what is seen through the windows: open photographs, panoramas and drawn paintings.

Each part draws from a pool of its own: no two share a picture or a panorama.

* Panoramas: Poly Haven (CC0), as packed by npm `@pmndrs/assets` (CC0-1.0).
* Photographs: scikit-image's astronaut and rocket (public domain, NASA), coffee (CC0, Rachel Michetti) and
  chelsea (CC0, Stefan van der Walt).
* Paintings: drawn below.
"""

import base64
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from surfaces import hsv, noise, to_image

PARTS = ("private", "train", "validation", "test")
OUTDOOR = {
    "private": ("city", "forest", "park", "esplanade"),
    "train": ("sky", "sunrise", "bridge"),
    "validation": ("dawn", "sunset"),
    "test": ("venice", "night"),
}
INDOOR = {
    "private": ("lab", "workshop"),
    "train": ("apartment", "warehouse"),
    "validation": ("hall",),
    "test": ("lobby", "studio"),
}
PHOTOGRAPHS = {"private": "astronaut", "train": "coffee", "validation": "chelsea", "test": "rocket"}
PAINTINGS = {"private": 900, "train": 160, "validation": 70, "test": 160}


@dataclass
class Pictures:
    walls: list[tuple[str, Image.Image]]
    outside: list[tuple[str, Image.Image]]


def read_panorama(folder: Path, name: str) -> Image.Image:
    """One equirectangular panorama of the npm package, developed to 8 bit: 512 x 256."""
    import OpenEXR

    encoded = re.search(r"base64,([A-Za-z0-9+/=]+)", (folder / f"{name}.exr.js").read_text())
    if encoded is None:
        raise ValueError(f"{folder / name}.exr.js holds no base64 image; unpack npm @pmndrs/assets 1.7.0 there")
    with tempfile.NamedTemporaryFile(suffix=".exr") as exr:  # the library reads from a path only
        exr.write(base64.b64decode(encoded[1]))
        exr.flush()
        with OpenEXR.File(exr.name) as file:
            channels = file.channels()
            first = next(iter(channels))
            pixels = channels[first].pixels if len(channels) == 1 else np.stack([channels[k].pixels for k in "RGB"], -1)
    radiance = pixels[..., :3].astype(np.float32)
    blown = ~(np.isfinite(radiance) & (radiance > -0.01)).all(-1)  # suns and lamps overflow half precision
    radiance[blown] = 1e3
    radiance = np.maximum(radiance, 0) / np.median(radiance.mean(-1)) * 0.3
    return to_image((radiance / (1 + 0.6 * radiance) * 1.2) ** (1 / 2.2))


def crop_panorama(panorama: Image.Image, heading: float, degrees: float, width: int, height: int) -> Image.Image:
    """An ordinary photograph taken in a panorama: pinhole projection, `degrees` wide."""
    focal = width / 2 / np.tan(np.radians(degrees) / 2)
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = (x - width / 2) / focal, (height / 2 - y) / focal + 0.06
    u = ((np.arctan2(x, 1) / (2 * np.pi) + heading) % 1) * panorama.width
    v = (0.5 - np.arctan2(y, np.hypot(x, 1)) / np.pi) * panorama.height
    pixels = np.asarray(panorama)
    return Image.fromarray(pixels[np.clip(v.astype(int), 0, panorama.height - 1), u.astype(int) % panorama.width])


def paint(rng: np.random.Generator) -> Image.Image:
    """One painting: a landscape, a still life of shapes, bands, a chequered field, a face of circles or brush noise."""
    width, height = (256, 192) if rng.random() < 0.6 else (192, 256)
    palette = [hsv(h, rng.uniform(0.12, 0.6), rng.uniform(0.3, 0.95)) for h in rng.random() + rng.normal(0, 0.22, 6)]
    rgb = [tuple(int(255 * c) for c in colour) for colour in palette]
    image = Image.new("RGB", (width, height), rgb[0])
    draw = ImageDraw.Draw(image)
    kind = rng.choice(["landscape", "shapes", "bands", "fields", "rings", "brush"])
    if kind == "landscape":
        sky = np.linspace(0, 1, height)[:, None, None] * (palette[1] - palette[0]) + palette[0]
        image = to_image(np.broadcast_to(sky, (height, width, 3)))
        draw = ImageDraw.Draw(image)
        r, cx, cy = rng.uniform(8, 30), rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.4) * height
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=rgb[2])
        for layer in range(3):
            knots = rng.uniform(-0.12, 0.12, 8) + 0.45 + 0.17 * layer
            line = np.interp(np.linspace(0, 7, width), range(8), knots) * height
            draw.polygon([(0, height), *enumerate(line.tolist()), (width, height)], fill=rgb[3 + layer])
    elif kind == "shapes":
        for _ in range(rng.integers(5, 14)):
            cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(12, 70)
            colour = rgb[rng.integers(1, 6)]
            if rng.random() < 0.5:
                draw.ellipse((cx - r, cy - r * 0.8, cx + r, cy + r * 0.8), fill=colour)
            else:
                draw.regular_polygon((cx, cy, r), int(rng.integers(3, 7)), float(rng.uniform(0, 360)), fill=colour)
    elif kind == "bands":
        edges = np.sort(rng.uniform(0, 1, rng.integers(3, 9)))
        for i, edge in enumerate(edges):
            part = (edge * width, 0, width, height) if width > height else (0, edge * height, width, height)
            draw.rectangle(part, fill=rgb[i % 6])
    elif kind == "fields":
        columns, rows = np.sort(rng.uniform(0, width, 3)), np.sort(rng.uniform(0, height, 3))
        for x0 in (0, *columns):
            for y0 in (0, *rows):
                draw.rectangle((x0, y0, width, height), fill=rgb[rng.integers(6)], outline=(20, 20, 20), width=4)
    elif kind == "rings":
        for _ in range(rng.integers(1, 4)):
            cx, cy, r0 = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height, rng.uniform(40, 110)
            for i, r in enumerate(np.arange(r0, 6, -rng.uniform(9, 20))):
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=rgb[1 + i % 5])
    else:
        mix = [
            np.asarray(Image.fromarray(noise(rng, 256, int(rng.choice([2, 3, 5])))).resize((width, height)))
            for _ in range(2)
        ]
        weight = 1 / (1 + np.exp(-2 * np.array(mix)))[..., None]
        image = to_image(
            palette[1] * weight[0] + palette[2] * (1 - weight[0]) * weight[1] + palette[3] * (1 - weight[1])
        )
    canvas = np.asarray(image) / 255 * (1 + 0.04 * noise(rng, 256, 24)[:height, :width, None])
    return to_image(canvas)


def load_pictures(panoramas: Path, part: str, seed: int) -> Pictures:
    """The pool of one of PARTS, always the same for a seed."""
    from skimage import data

    rng = np.random.default_rng([seed, PARTS.index(part), 77])
    photograph = PHOTOGRAPHS[part]
    walls = [(f"photograph/{photograph}", Image.fromarray(getattr(data, photograph)()))]
    outside = [(name, read_panorama(panoramas, name)) for name in OUTDOOR[part]]
    indoor = [(name, read_panorama(panoramas, name)) for name in INDOOR[part]]
    for name, panorama in outside + indoor:
        for turn in range(4):
            shape = (240, 180) if rng.random() < 0.7 else (180, 240)
            heading = turn / 4 + rng.uniform(0, 0.1)
            walls.append((f"{name}/{turn}", crop_panorama(panorama, heading, rng.uniform(50, 75), *shape)))
    walls += [(f"painting/{part}/{i}", paint(rng)) for i in range(PAINTINGS[part])]
    return Pictures(walls, outside)
