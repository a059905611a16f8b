"""Floors, wallpapers and colours, drawn from a random generator."""

import colorsys

import numpy as np
from PIL import Image

SIZE = 256


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def to_image(array: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(array, 0, 1) * 255).astype(np.uint8))


def furnishing_colour(rng: np.random.Generator) -> np.ndarray:
    """A muted dye or paint, as furniture has: no neon."""
    hue = rng.choice([0.02, 0.06, 0.09, 0.12, 0.25, 0.38, 0.52, 0.58, 0.62, 0.95]) + rng.normal(0, 0.015)
    return hsv(hue, rng.uniform(0.12, 0.42), rng.uniform(0.55, 0.95))


def noise(rng: np.random.Generator, size: int, frequency: int) -> np.ndarray:
    """Smooth, tileable noise [size, size] with mean 0 and standard deviation 1."""
    total = np.zeros((size, size))
    for octave in range(4):
        cells = min(size, frequency * 2**octave)
        tile = np.tile((rng.random((cells, cells)) * 255).astype(np.uint8), (2, 2))
        large = np.asarray(Image.fromarray(tile).resize((2 * size, 2 * size), Image.Resampling.BICUBIC))
        total += large[size // 2 : size // 2 + size, size // 2 : size // 2 + size] / 255 / 2**octave
    return (total - total.mean()) / total.std()


def floor(rng: np.random.Generator) -> tuple[Image.Image, float, np.ndarray]:
    """(texture, metres that one copy covers, mean colour) of boards, tiles, a chequerboard or a carpet."""
    kind = rng.choice(["wood", "wood", "tile", "carpet", "checker"])
    y, x = np.mgrid[:SIZE, :SIZE]
    if kind == "wood":
        base = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.25, 0.65), rng.uniform(0.35, 0.85))
        boards = int(rng.choice([6, 8, 10]))
        grain = noise(rng, SIZE, 4)
        streaks = (
            np.asarray(Image.fromarray((rng.random((SIZE, 8)) * 255).astype(np.uint8)).resize((SIZE, SIZE), 3)) / 255
            - 0.5
        )
        image = np.zeros((SIZE, SIZE, 3))
        for board in range(boards):
            rows = y[:, 0] * boards // SIZE == board
            cuts = np.sort(rng.choice(SIZE, 2, replace=False))
            inside = (x[0] >= cuts[0]) & (x[0] < cuts[1])
            shade = np.where(inside, rng.uniform(0.8, 1.12), rng.uniform(0.8, 1.12))
            value = shade[None] * (1 + 0.16 * streaks[rows] + 0.04 * grain[rows])
            value[:, cuts] *= 0.6
            value[0] *= 0.62
            image[rows] = value[..., None] * base
        metres = rng.uniform(0.9, 1.3)
    elif kind in ("tile", "checker"):
        base = hsv(rng.random(), rng.uniform(0.02, 0.22), rng.uniform(0.5, 0.9))
        other = base * rng.uniform(0.3, 0.75) if kind == "checker" else base
        row, column = y * 4 // SIZE, x * 4 // SIZE
        image = np.where(((row + column) % 2 == 0)[..., None], base, other)
        image = image * (1 + 0.05 * rng.standard_normal((4, 4))[row, column] + 0.02 * noise(rng, SIZE, 8))[..., None]
        image[(x % (SIZE // 4) < 2) | (y % (SIZE // 4) < 2)] = base * rng.choice([0.6, 0.8, 1.1])
        metres = rng.uniform(1.2, 2.2)
    else:
        base = hsv(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.35, 0.75))
        image = base * (1 + 0.1 * rng.standard_normal((SIZE, SIZE)) + 0.05 * noise(rng, SIZE, 4))[..., None]
        metres = 1.5
    return to_image(image), float(metres), np.clip(image.mean((0, 1)), 0, 1)


def wallpaper(rng: np.random.Generator, kind: str, base: np.ndarray) -> Image.Image:
    """A wall of one kind: plain, stripes, damask, brick or dots."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = np.ones((SIZE, SIZE, 3)) * base
    second = base * rng.uniform(0.72, 0.9) if rng.random() < 0.6 else np.clip(base * 1.15, 0, 1)
    if kind == "stripes":
        image[(x * rng.choice([3, 4, 6, 8])) % 1 < rng.choice([0.3, 0.5])] = second
    elif kind in ("damask", "dots"):
        cells = 4 if kind == "damask" else 8
        u = (x * cells) % 1 - 0.5
        v = (y * cells + 0.5 * (np.floor(x * cells) % 2)) % 1 - 0.5
        petals = rng.choice([4, 5, 6])
        edge = 0.22 + 0.1 * np.cos(petals * np.arctan2(v, u)) if kind == "damask" else 0.16
        image[np.hypot(u, v) < edge] = second
    elif kind == "brick":
        row = np.floor(y * 10).astype(int)
        u = (x * 5 + 0.5 * (row % 2)) % 1
        shade = rng.standard_normal((10, 10))[row, np.floor(x * 5 + 0.5 * (row % 2)).astype(int) % 10]
        image = base * (1 + 0.14 * shade + 0.05 * rng.standard_normal((SIZE, SIZE)))[..., None]
        image[(u < 0.04) | ((y * 10) % 1 < 0.09)] = base * 0.2 + 0.6
    else:
        image = image * (1 + 0.012 * rng.standard_normal((SIZE, SIZE)))[..., None]
    return to_image(image)
