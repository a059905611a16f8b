"""Photographs of a room from about ten viewpoints, and how much each pair of them shares."""

from dataclasses import dataclass

import numpy as np
from geometry import look_at, perspective, turn
from PIL import Image, ImageFilter
from renderer import HEIGHT, OVERSAMPLING, WIDTH, Item
from room import Room

VISITOR = 255  # instance number of people and things that are there in one photograph only
STEP = 4  # overlap is measured on every fourth pixel of the oversampled frame


@dataclass
class View:
    image: np.ndarray  # [HEIGHT, WIDTH, 3] uint8
    instances: np.ndarray  # [HEIGHT, WIDTH] uint8
    distances: np.ndarray  # [HEIGHT, WIDTH] metres
    eye: np.ndarray
    forward: np.ndarray
    view_projection: np.ndarray
    visitor_share: float  # of the frame


def _eye(room: Room) -> np.ndarray | None:
    for attempt in range(200):
        eye = np.array(
            [
                room.rng.uniform(0.35, room.size[0] - 0.35),
                room.rng.uniform(1.25, 1.8),
                room.rng.uniform(0.35, room.size[2] - 0.35),
            ]
        )
        if room.eye_is_free(eye, *((0.25, 0.35) if attempt < 120 else (0.12, 0.8))):
            return eye
    return None


def _visitor(room: Room, eye: np.ndarray, forward: np.ndarray, field_of_view: float) -> list[Item]:
    """A passer-by or a thing left standing between the camera and the scene; empty where none fits."""
    rng = room.rng
    ahead = np.array([forward[0], 0, forward[2]]) / np.hypot(forward[0], forward[2])
    side = np.array([-ahead[2], 0, ahead[0]])
    for _ in range(14):
        distance = rng.uniform(1.0, 2.6)
        reach = distance * np.tan(np.radians(field_of_view / 2))
        where = eye + ahead * distance + side * rng.choice([-1, 1]) * rng.uniform(0.1, 0.85) * reach
        where[1] = 0
        model = room.pick(str(rng.choice(["person", "person", "plant", "chair", "floor", "floor"])))
        half = float(max(model.size[0], model.size[2])) / 2 * 0.9
        inside = all(half < where[k] < room.size[k] - half for k in (0, 2))
        clear = not any(
            where[0] - half < x1 and where[0] + half > x0 and where[2] - half < z1 and where[2] + half > z0
            for x0, z0, x1, z1, height in room.footprints
            if height > 0
        )
        if inside and clear and np.hypot(*(where - eye)[[0, 2]]) > half + 0.3:
            size = np.diag([*(rng.uniform(0.9, 1.1, 3) if model.use == "person" else np.ones(3)), 1.0])
            place = turn(rng.uniform(0, 2 * np.pi), where) @ size
            return [Item(VISITOR, room.renderer.model(model), place, room.tints[model.name])]
    return []


def _is_usable(room: Room, instances: np.ndarray, distances: np.ndarray) -> bool:
    """Not too close, not empty, not hidden behind a visitor, not filled by one thing."""
    weights = np.zeros(256)
    weights[1 : len(room.instances) + 1] = [t.weight for t in room.instances]
    share = np.bincount(instances.ravel(), minlength=256) / instances.size
    kinds = np.array([t.kind for t in room.instances])
    known = share[1 : len(kinds) + 1]
    shell = np.isin(kinds, ("wall", "floor", "ceiling"))
    things, walls = known[~shell], known[kinds == "wall"]
    return (
        (distances < 0.45).mean() <= 0.12
        and (weights[instances] >= 0.5).mean() >= 0.2
        and share[VISITOR] <= 0.35
        and share[0] <= 0.02
        and things.max(initial=0) <= 0.42
        and (things >= 0.008).sum() >= 3
        and walls.max(initial=0) <= 0.5
    )


def _develop(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a cheap camera makes of it: white balance, contrast, noise, sometimes a little blur. 0..255 -> uint8."""
    pixels = np.clip(pixels / 255 * rng.uniform(0.95, 1.05, 3), 0, 1) ** rng.uniform(0.85, 1.18)
    pixels = pixels + rng.standard_normal(pixels.shape) * rng.uniform(0.004, 0.014)
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.6))))
    return np.asarray(image)


def take_views(room: Room, count: int) -> list[View]:
    """Up to `count` usable photographs, most of them aimed at two or three things of the room."""
    rng = room.rng
    telling = [i for i, t in enumerate(room.instances) if t.weight >= 0.7]
    large = [
        i
        for i in telling
        if room.instances[i].kind == "picture"
        or (room.instances[i].kind == "furniture" and room.instances[i].size > 0.75)
    ]
    favourites = rng.permutation(large)[:3]
    chance = np.array([0.68, 0.22, 0.1])[: len(favourites)]
    views: list[View] = []
    failures = 0
    while len(views) < count and failures < 120:
        eye = _eye(room)
        if eye is None:
            break
        aimed = (
            rng.choice(favourites, p=chance / chance.sum())
            if len(favourites) and rng.random() < 0.92
            else rng.choice(telling)
        )
        target = room.instances[aimed].centre + rng.uniform(-0.35, 0.35, 3)
        target[1] = np.clip(target[1] * 0.65 + 0.45, 0.4, 1.7)
        if np.hypot(*(target - eye)[[0, 2]]) < 1.3:
            failures += 1
            continue
        forward = (target - eye) / np.linalg.norm(target - eye)
        repeated = any(
            np.linalg.norm(eye - v.eye) < 0.6 and v.forward @ forward > np.cos(np.radians(18)) for v in views
        )
        if repeated and rng.random() < 0.85:
            continue
        field_of_view = rng.uniform(54, 78)
        view_projection = perspective(field_of_view, WIDTH / HEIGHT, 0.04, 14) @ look_at(
            eye, target, np.radians(rng.normal(0, 2))
        )
        visitors = _visitor(room, eye, forward, field_of_view) if rng.random() < 0.36 else []
        lamp = room.lights[rng.integers(len(room.lights))]
        light = lamp.__class__(**vars(lamp))
        if visitors:
            room.cast_shadows(lamp, visitors)
        light.colour = lamp.colour * rng.uniform(0.75, 1.25) * [rng.uniform(0.92, 1.08), 1, rng.uniform(0.92, 1.08)]
        light.ambient = lamp.ambient * rng.uniform(0.8, 1.2)
        exposure = 1.08 * 2 ** rng.uniform(-0.65, 0.5)
        pixels, instances, distances = room.renderer.photograph(
            room.items + visitors, view_projection, eye, room.size, light, room.floor_map, exposure
        )
        if visitors:
            room.cast_shadows(lamp, [])
        if not _is_usable(room, instances, distances):
            failures += 1
            continue
        s = OVERSAMPLING
        views.append(View(_develop(pixels, rng), instances[::s, ::s].astype(np.uint8), distances[::s, ::s].copy(), eye, forward,
                          view_projection, float((instances == VISITOR).mean())))  # fmt: skip
    return views


def _rays(view: View) -> np.ndarray:
    """Unit directions of every second pixel of the photograph: [P, 3]."""
    y, x = np.mgrid[0 : HEIGHT * OVERSAMPLING : STEP, 0 : WIDTH * OVERSAMPLING : STEP] + 0.5
    device = np.stack(
        [x / (WIDTH * OVERSAMPLING) * 2 - 1, 1 - y / (HEIGHT * OVERSAMPLING) * 2, np.zeros_like(x), np.ones_like(x)], -1
    )
    points = device @ np.linalg.inv(view.view_projection).T
    directions = points[..., :3] / points[..., 3:] - view.eye
    return (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).reshape(-1, 3)


def shared_surface(
    views: list[View], weights: np.ndarray, boxes: dict[int, tuple[int, int, int, int]] | None = None
) -> np.ndarray:
    """Share of the surface seen in view i that view j sees too: [V, V] in [0, 1], not symmetric.

    Every pixel's point in space is projected into the other photograph and counts where the same instance is seen there
    at the same distance, by the weight of the instance ([256]), less the more the angle (1 at 20 degrees, 0 at 80) and the
    scale differ. A view with a box (x0, y0, x1, y1 in pixels) counts only what lies in its box.
    """
    stride = STEP // OVERSAMPLING
    rays = [_rays(v) for v in views]
    near = [v.distances[::stride, ::stride].reshape(-1) for v in views]
    points = [v.eye + r * d[:, None] for v, r, d in zip(views, rays, near, strict=True)]
    labels = [v.instances[::stride, ::stride].reshape(-1) for v in views]
    seen = [weights[label] for label in labels]
    y, x = (a.reshape(-1) for a in np.mgrid[0:HEIGHT:stride, 0:WIDTH:stride])
    for i, (x0, y0, x1, y1) in (boxes or {}).items():
        seen[i] = seen[i] * ((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
    share = np.eye(len(views))
    limit_full, limit_none = np.cos(np.radians(20)), np.cos(np.radians(80))
    for i in range(len(views)):
        homogeneous = np.concatenate([points[i], np.ones((len(points[i]), 1))], 1)
        for j, other in enumerate(views):
            if i == j:
                continue
            clip = homogeneous @ other.view_projection.T
            depth = np.maximum(clip[:, 3], 1e-6)
            u, v = (clip[:, 0] / depth * 0.5 + 0.5) * WIDTH, (0.5 - clip[:, 1] / depth * 0.5) * HEIGHT
            visible = (clip[:, 3] > 0.05) & (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
            column, row = np.clip(u, 0, WIDTH - 1).astype(int), np.clip(v, 0, HEIGHT - 1).astype(int)
            offset = points[i] - other.eye
            far = np.linalg.norm(offset, axis=1)
            visible &= (other.instances[row, column] == labels[i]) & (
                np.abs(other.distances[row, column] - far) < 0.06 + 0.04 * far
            )
            cosine = (rays[i] * offset).sum(1) / np.maximum(far, 1e-6)
            factor = np.clip((cosine - limit_none) / (limit_full - limit_none), 0, 1)
            scale = np.minimum(near[i] / np.maximum(far, 1e-6), far / np.maximum(near[i], 1e-6))
            factor *= np.clip(scale / 0.6, 0, 1)
            share[i, j] = (seen[i] * factor * visible).sum() / max(1e-6, seen[i].sum())
    return share


def overlap(share: np.ndarray) -> np.ndarray:
    """Symmetric overlap [V, V]: the geometric mean of the shares of both directions."""
    return np.sqrt(share * share.T)


def most_informative(pairs: np.ndarray, count: int) -> list[int]:
    """Which `count` views to keep, given their overlaps [V, V]: drops, one at a time, the view with the most empty and near-duplicate pairs."""
    keep = list(range(len(pairs)))
    while len(keep) > count:
        o = pairs[np.ix_(keep, keep)].copy()
        np.fill_diagonal(o, 0.3)
        badness = (o < 0.015).sum(1) + 0.7 * (o > 0.72).sum(1) + 0.2 * ((o > 0.33) & (o <= 0.72)).sum(1)
        keep.pop(int(badness.argmax()))
    return keep
