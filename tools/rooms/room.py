"""One furnished room: walls, door, windows, furniture without overlaps, pictures, lights.

Rooms of one style share finishes and half of a furniture pool, so that other rooms are hard negatives.
"""

from dataclasses import dataclass

import numpy as np
from catalog import Model
from geometry import box, look_at, perspective, quad, turn
from pictures import Pictures
from PIL import Image, ImageFilter
from renderer import FLOOR_MAP_SIZE, SHADOW_SIZE, Item, Light, Renderer
from surfaces import floor, furnishing_colour, hsv, wallpaper

HEIGHT = 2.6
# What a theme asks for: (use, at least, at most); "+" marks a group (a table with its chairs, ...).
THEMES = {
    "living": [("sofa", 1, 2), ("tall", 1, 2), ("armchair", 0, 2), ("coffee", 0, 1), ("tvstand+", 0, 1), ("low", 0, 2), ("plant", 1, 2),
               ("rug", 0, 1), ("floor", 1, 3), ("table+", 0, 1)],
    "bedroom": [("bed", 1, 1), ("bedside", 1, 2), ("tall", 1, 2), ("low", 1, 2), ("desk+", 0, 1), ("armchair", 0, 1), ("plant", 0, 1),
                ("rug", 0, 1), ("floor", 1, 2)],
    "office": [("desk+", 1, 2), ("tall", 1, 2), ("low", 1, 2), ("armchair", 0, 1), ("sofa", 0, 1), ("plant", 1, 2), ("floor", 1, 2),
               ("table+", 0, 1)],
    "dining": [("table+", 1, 1), ("kitchen", 1, 4), ("tall", 1, 2), ("low", 0, 2), ("plant", 1, 2), ("floor", 1, 2), ("sofa", 0, 1)],
}  # fmt: skip
FILLERS = ("tall", "low", "armchair", "plant", "floor")  # a room that stays sparse gets more of these
FEWEST_PIECES = 7
TINTED = ("sofa", "armchair", "chair", "bed", "tall", "tvstand", "coffee")
REPEATABLE = ("chair", "bedside", "kitchen")  # uses that may show the same model twice in a room


@dataclass
class Instance:
    """A thing that overlap is measured on. `weight`: how much seeing it tells about the place."""

    kind: str
    name: str
    centre: np.ndarray
    weight: float
    size: float = 1.0


@dataclass
class Wall:
    """Frame of one wall: a corner on the floor, the direction along it, the normal into the room, length, and the turn
    of a piece that stands with its back to it."""

    corner: np.ndarray
    along: np.ndarray
    normal: np.ndarray
    length: float
    angle: float


class Room:
    """`seed` draws the furniture and pictures, `style` (shared by siblings) the finishes and the furniture pool."""

    def __init__(self, renderer: Renderer, library: dict[str, list[Model]], pictures: Pictures, seed, style) -> None:
        self.renderer, self.pictures = renderer, pictures
        self.rng, self.style = np.random.default_rng(seed), np.random.default_rng(style)
        self.library = {use: self._pool(use, models) for use, models in library.items()}
        self.tints = {m.name: self._tint(m) for models in self.library.values() for m in models}
        self.size = np.array([self.rng.uniform(3.4, 6.2), HEIGHT, self.rng.uniform(3.4, 6.2)])
        self.items: list[Item] = []
        self.instances: list[Instance] = []
        self.footprints: list[tuple[float, float, float, float, float]] = []  # x0, z0, x1, z1, height
        self.on_wall: list[list[tuple[float, float, float, float]]] = [[], [], [], []]  # along0, along1, low, high
        self.owned: list = []  # OpenGL objects released with the room
        self.used: set[str] = set()
        self.pieces = 0
        width, _, depth = self.size
        self.walls = [
            Wall(np.array([0, 0, 0.0]), np.array([1, 0, 0.0]), np.array([0, 0, 1.0]), width, 0.0),
            Wall(np.array([width, 0, 0.0]), np.array([0, 0, 1.0]), np.array([-1, 0, 0.0]), depth, -np.pi / 2),
            Wall(np.array([width, 0, depth]), np.array([-1, 0, 0.0]), np.array([0, 0, -1.0]), width, np.pi),
            Wall(np.array([0, 0, depth]), np.array([0, 0, -1.0]), np.array([1, 0, 0.0]), depth, np.pi / 2),
        ]
        self.theme = str(self.rng.choice(list(THEMES)))
        self._build_shell()
        self._build_door()
        self.windows: list[tuple[np.ndarray, np.ndarray]] = []  # centre, inward normal
        for _ in range(self.rng.choice([1, 1, 2])):
            self._build_window()
        self._furnish()
        self._hang_things()
        self.floor_map = self._occlusion_near_furniture()
        self.lights = self._lights()

    # ---- pools, colours, book-keeping

    def _pool(self, use: str, models: list[Model]) -> list[Model]:
        if use in ("person", "top", "ceiling", "wall"):
            return models
        order = self.style.permutation(len(models))
        return [models[i] for i in order[: max(3, len(models) // 2)]]

    def _tint(self, model: Model) -> tuple:
        chance = (
            0.9
            if model.white and model.use not in ("top", "person", "ceiling")
            else 0.3
            if model.use in TINTED
            else 0.0
        )
        drawn, colour = self.style.random(), furnishing_colour(self.style)
        return tuple(colour) if drawn < chance else (1.0, 1.0, 1.0)

    def pick(self, use: str) -> Model:
        """A model of a use that the room does not show yet, where one is left."""
        fresh = [m for m in self.library[use] if use in REPEATABLE or m.name not in self.used]
        pool = fresh or self.library[use]
        return pool[self.rng.integers(len(pool))]

    def _instance(self, kind: str, name: str, centre, weight: float, size: float = 1.0) -> int:
        self.instances.append(Instance(kind, name, np.array(centre, float), weight, size))
        return len(self.instances)  # numbers start at 1: 0 is nothing

    def _mesh(self, vertices: np.ndarray):
        mesh = self.renderer.mesh(vertices)
        self.owned += mesh
        return mesh

    def _texture(self, image: Image.Image):
        texture = self.renderer.texture(image)
        self.owned.append(texture)
        return texture

    # ---- the shell

    def _build_shell(self) -> None:
        style = self.style
        width, _, depth = self.size
        image, metres, self.floor_colour = floor(style)
        ground = quad((0, 0, 0), (width, 0, 0), (0, 0, depth), (0, 1, 0), width / metres, depth / metres)
        if style.random() < 0.5:
            ground[:, [6, 7]] = ground[:, [7, 6]]
        instance = self._instance("floor", "floor", (width / 2, 0, depth / 2), 0.12)
        self.items.append(Item(instance, [(self._mesh(ground), self._texture(image))]))
        instance = self._instance("ceiling", "ceiling", (width / 2, HEIGHT, depth / 2), 0.05)
        above = quad((0, HEIGHT, 0), (width, 0, 0), (0, 0, depth), (0, -1, 0), colour=(0.95, 0.95, 0.93, 1))
        self.items.append(Item(instance, [(self._mesh(above), None)]))
        # No pure white walls: white furniture would vanish before them.
        pale = style.random() < 0.75
        base = hsv(style.random(), style.uniform(0.03, 0.2), style.uniform(0.68, 0.9)) if pale else hsv(
            style.choice([0.05, 0.1, 0.3, 0.45, 0.56, 0.62]) + style.normal(0, 0.02), style.uniform(0.15, 0.32), style.uniform(0.4, 0.7)
        )  # fmt: skip
        accent = int(self.rng.integers(4)) if style.random() < 0.6 else -1
        accent_kind = str(style.choice(["plain", "stripes", "damask", "brick", "dots"]))
        accent_colour = hsv(style.random(), style.uniform(0.1, 0.4), style.uniform(0.4, 0.85))
        kind = "plain" if style.random() < 0.75 else str(style.choice(["stripes", "damask", "dots"]))
        papers = (
            self._texture(wallpaper(style, kind, base)),
            self._texture(wallpaper(style, accent_kind, accent_colour)),
        )
        skirting = (0.93, 0.93, 0.92, 1) if style.random() < 0.7 else (*hsv(0.08, 0.5, 0.4), 1)
        wainscot = (style.uniform(0.8, 1.1), furnishing_colour(style)) if style.random() < 0.3 else None
        for i, wall in enumerate(self.walls):
            patterned = i == accent and accent_kind != "plain"
            centre = wall.corner + wall.along * wall.length / 2 + [0, 1.3, 0]
            instance = self._instance("wall", f"wall {i}", centre, 0.3 if patterned else 0.12)
            face = quad(
                wall.corner, wall.along * wall.length, (0, HEIGHT, 0), wall.normal, wall.length / 1.3, HEIGHT / 1.3
            )
            board = box(
                wall.corner, wall.corner + wall.along * wall.length + wall.normal * 0.015 + [0, 0.08, 0], skirting
            )
            meshes = [(self._mesh(face), papers[i == accent]), (self._mesh(board), None)]
            if wainscot:
                height, colour = wainscot
                painted = quad(
                    wall.corner + wall.normal * 0.003,
                    wall.along * wall.length,
                    (0, height, 0),
                    wall.normal,
                    colour=(*colour, 1),
                )
                meshes.append((self._mesh(painted), None))
            self.items.append(Item(instance, meshes))

    def _build_door(self) -> None:
        i = int(self.rng.integers(4))
        wall, model = self.walls[i], self.pick("door")
        width = float(model.size[0])
        along = self.rng.choice([width / 2 + 0.12, wall.length - width / 2 - 0.12])
        centre = wall.corner + wall.along * along
        self.on_wall[i].append((along - width / 2 - 0.05, along + width / 2 + 0.05, 0, 2.2))
        instance = self._instance("door", model.name, centre + [0, 1.05, 0], 0.8)
        self.items.append(Item(instance, self.renderer.model(model), turn(wall.angle, centre)))
        self.footprints.append((*self._rectangle(centre + wall.normal * 0.4, width * 0.8, 0.8, wall.angle), 0.0))

    def _build_window(self) -> None:
        rng = self.rng
        frame = (0.95, 0.95, 0.94, 1) if rng.random() < 0.7 else (0.35, 0.22, 0.13, 1)
        for i in rng.permutation(4):
            wall = self.walls[i]
            width = rng.uniform(0.9, min(2.4, wall.length - 1))
            height, low = (rng.uniform(1.0, 1.4), 0.95) if rng.random() < 0.7 else (1.9, 0.25)
            along = rng.uniform(width / 2 + 0.25, wall.length - width / 2 - 0.25)
            if self._wall_is_free(i, along - width / 2 - 0.1, along + width / 2 + 0.1, low, low + height):
                break
        else:
            return
        self.on_wall[i].append((along - width / 2 - 0.15, along + width / 2 + 0.15, low, low + height))
        centre = wall.corner + wall.along * along
        name, panorama = self.pictures.outside[rng.integers(len(self.pictures.outside))]
        heading = rng.random()
        instance = self._instance("window", f"{name} {heading:.2f}", centre + [0, low + height / 2, 0], 0.7)
        glass = quad(
            centre - wall.along * width / 2 + [0, low, 0] + wall.normal * 0.006,
            wall.along * width,
            (0, height, 0),
            wall.normal,
        )
        self.items.append(Item(instance, [(self._mesh(glass), self._texture(panorama))], heading=heading))

        def bar(u0: float, u1: float, v0: float, v1: float, thickness: float) -> np.ndarray:
            return box(
                centre + wall.along * u0 + [0, v0, 0],
                centre + wall.along * u1 + [0, v1, 0] + wall.normal * thickness,
                frame,
            )

        half, b, high = width / 2, 0.06, low + height
        bars = [bar(-half - b, half + b, low - b, low, b), bar(-half - b, half + b, high, high + b, b)]
        bars += [bar(-half - b, -half, low, high, b), bar(half, half + b, low, high, b)]
        panes = max(2, round(width / 0.65))
        bars += [
            bar(-half + width * k / panes - 0.025, -half + width * k / panes + 0.025, low, high, 0.04)
            for k in range(1, panes)
        ]
        if rng.random() < 0.5:
            bars.append(bar(-half, half, low + height * 0.66, low + height * 0.66 + 0.04, 0.04))
        if height < 1.5:
            bars.append(bar(-half - 0.12, half + 0.12, low - b - 0.03, low - b, 0.18))
        self.items.append(Item(instance, [(self._mesh(np.concatenate(bars)), None)]))
        self.windows.append((centre + [0, low + height / 2, 0], wall.normal))
        if rng.random() < 0.5:
            self._build_curtains(wall, centre, width, low, high)

    def _build_curtains(self, wall: Wall, centre: np.ndarray, width: float, low: float, high: float) -> None:
        rng = self.rng
        colour = (*furnishing_colour(rng), 1)
        bottom, top = (0.05 if low < 0.5 or rng.random() < 0.6 else low - 0.15), min(2.5, high + 0.2)
        instance = self._instance("curtain", "curtain", centre + [0, 1.4, 0], 0.5)
        rod = box(
            centre - wall.along * (width / 2 + 0.3) + [0, top, 0] + wall.normal * 0.08,
            centre + wall.along * (width / 2 + 0.3) + [0, top + 0.03, 0] + wall.normal * 0.11,
            (0.3, 0.2, 0.15, 1),
        )
        strips = [rod]
        for side in (-1, 1):
            cloth = width * rng.uniform(0.18, 0.28) + 0.1
            for k in range(10):  # folds: narrow strips that lean in turn towards the room and the wall
                x0, x1 = (side * (width / 2 + 0.2 - cloth * (k + j) / 10) for j in (0, 1))
                d0, d1 = (0.09, 0.15) if k % 2 else (0.15, 0.09)
                edge = wall.along * (x1 - x0) + wall.normal * (d1 - d0)
                normal = np.cross(edge, [0, 1, 0])
                normal *= np.sign(normal @ wall.normal) / np.linalg.norm(normal)
                strips.append(
                    quad(
                        centre + wall.along * x0 + wall.normal * d0 + [0, bottom, 0],
                        edge,
                        (0, top - bottom, 0),
                        normal,
                        colour=colour,
                    )
                )
        self.items.append(Item(instance, [(self._mesh(np.concatenate(strips)), None)]))

    # ---- placing things

    def _wall_is_free(self, i: int, start: float, end: float, low: float, high: float) -> bool:
        return all(end <= o[0] or start >= o[1] or high <= o[2] or low >= o[3] for o in self.on_wall[i])

    @staticmethod
    def _rectangle(centre, width: float, depth: float, angle: float) -> tuple[float, float, float, float]:
        c, s = abs(np.cos(angle)), abs(np.sin(angle))
        a, b = width * c + depth * s, width * s + depth * c
        return centre[0] - a / 2, centre[2] - b / 2, centre[0] + a / 2, centre[2] + b / 2

    def _clashes(self, r, margin: float = 0.04, ignore: int | None = None) -> bool:
        return any(
            r[0] - margin < o[2] and r[2] + margin > o[0] and r[1] - margin < o[3] and r[3] + margin > o[1]
            for i, o in enumerate(self.footprints)
            if i != ignore
        )

    def put(
        self, model: Model, where, angle: float, weight: float = 1.0, footprint: bool = True, kind: str = "furniture"
    ) -> None:
        width, height, depth = (float(v) for v in model.size)
        where = np.asarray(where, float)
        instance = self._instance(kind, model.name, where + [0, height / 2, 0], weight, max(width, height, depth))
        self.items.append(Item(instance, self.renderer.model(model), turn(angle, where), self.tints[model.name]))
        self.used.add(model.name)
        if footprint:
            self.pieces += 1
            self.footprints.append((*self._rectangle(where, width, depth, angle), height))

    def _against_wall(self, model: Model, clearance: float = 0.35):
        """Put a model with its back to a wall; (place, angle, wall) or None where it does not fit."""
        width, height, depth = (float(v) for v in model.size)
        for _ in range(40):
            i = int(self.rng.integers(4))
            wall = self.walls[i]
            if wall.length < width + 0.1 or depth > min(self.size[0], self.size[2]) * 0.75:
                continue
            along = self.rng.uniform(width / 2 + 0.03, wall.length - width / 2 - 0.03)
            where = wall.corner + wall.along * along + wall.normal * (depth / 2 + 0.02)
            front = self._rectangle(where + wall.normal * clearance / 2, width, depth + clearance, wall.angle)
            if not self._wall_is_free(i, along - width / 2, along + width / 2, 0, height) or self._clashes(front):
                continue
            self.put(model, where, wall.angle)
            self.on_wall[i].append((along - width / 2, along + width / 2, 0, height))
            return where, wall.angle, wall
        return None

    def _in_the_open(self, model: Model, angle: float | None = None, margin: float = 0.3, near=None):
        """Put a model anywhere on the free floor, or near a place; (place, angle) or None."""
        rng = self.rng
        for _ in range(40):
            a = rng.choice(4) * np.pi / 2 + rng.uniform(-0.3, 0.3) if angle is None else angle
            if near is None:
                where = np.array([rng.uniform(0.5, self.size[0] - 0.5), 0, rng.uniform(0.5, self.size[2] - 0.5)])
            else:
                where = np.asarray(near) + [rng.uniform(-0.15, 0.15), 0, rng.uniform(-0.15, 0.15)]
            r = self._rectangle(where, float(model.size[0]), float(model.size[2]), a)
            inside = r[0] > 0.1 and r[1] > 0.1 and r[2] < self.size[0] - 0.1 and r[3] < self.size[2] - 0.1
            if inside and not self._clashes(r, margin):
                self.put(model, where, a)
                return where, a
        return None

    def _on_top(self, model: Model, where, angle: float, count: int) -> None:
        """Put small things on a piece of furniture."""
        rng = self.rng
        top = float(model.size[1])
        if model.use in ("tall", "low", "desk", "kitchen") and model.drop_top is not None:
            if model.drop_top <= 0 or (model.use == "tall" and model.drop_top < top * 0.97):
                return
            top = model.drop_top
        if not 0.25 <= top <= 1.5:
            return
        taken: list[tuple[float, float, float]] = []
        for _ in range(count):
            thing = self.pick("top")
            width = float(max(thing.size[0], thing.size[2]))
            if width > min(model.size[0], model.size[2]) * 0.95 or top + thing.size[1] > 2.2:
                continue
            for _ in range(6):
                x, z = (rng.uniform(-1, 1) * max(0, model.size[k] / 2 - width / 2 - 0.04) for k in (0, 2))
                if all(np.hypot(x - a, z - b) > (width + w) / 2 for a, b, w in taken):
                    taken.append((x, z, width))
                    place = turn(angle)[:3, :3] @ np.array([x, 0, z]) + where + [0, top + 0.002, 0]
                    self.put(thing, place, angle + rng.uniform(-0.4, 0.4), footprint=False)
                    break

    # ---- furniture

    def _furnish(self) -> None:
        groups = {
            "table+": self._table,
            "desk+": self._desk,
            "tvstand+": self._television,
            "rug": self._rug,
            "coffee": self._coffee_table,
        }
        for use, low, high in THEMES[self.theme]:
            for _ in range(self.rng.integers(low, high + 1)):
                groups[use]() if use in groups else self._piece(use)
        for _ in range(12):
            if self.pieces >= FEWEST_PIECES + self.size[0] * self.size[2] / 12:
                break
            self._piece(str(self.rng.choice(FILLERS)))

    def _piece(self, use: str) -> None:
        rng, model = self.rng, self.pick(use)
        if use == "armchair":
            self._in_the_open(model, margin=0.15)
        elif use == "plant":
            half = float(max(model.size[0], model.size[2])) / 2 + 0.05
            for _ in range(20):  # plants stand in corners and along walls
                x, z = (
                    rng.choice([half, s - half]) if rng.random() < 0.7 else rng.uniform(half, s - half)
                    for s in self.size[[0, 2]]
                )
                near_wall = min(x, self.size[0] - x, z, self.size[2] - z) <= 0.9
                if near_wall and not self._clashes(self._rectangle((x, 0, z), 2 * half - 0.1, 2 * half - 0.1, 0)):
                    self.put(model, (x, 0, z), rng.uniform(0, 2 * np.pi))
                    break
        elif use == "floor":
            if rng.random() < 0.2 or not self._against_wall(model, 0.1):
                self._in_the_open(model, margin=0.15)
        else:
            for _ in range(3):
                placed = self._against_wall(model, 0.1 if use in ("bed", "bedside") else 0.35)
                if placed:
                    if use in ("low", "bedside", "tall", "kitchen"):
                        self._on_top(model, placed[0], placed[1], 1 if use == "bedside" else rng.integers(0, 3))
                    break
                model = self.pick(use)

    def _table(self) -> None:
        rng, table, chair = self.rng, self.pick("table"), self.pick("chair")
        placed = self._in_the_open(table, angle=rng.choice([0, np.pi / 2]), margin=0.5)
        if not placed:
            return
        where, angle = placed
        own = len(self.footprints) - 1
        long = table.size[0] > 1.3
        seats = (
            [(-0.5, -1), (0.5, -1), (-0.5, 1), (0.5, 1), (1, 0), (-1, 0)]
            if long
            else [(0, -1), (0, 1), (1, 0), (-1, 0)]
        )
        for j in rng.permutation(len(seats))[: rng.integers(2, 5)]:
            a, b = seats[j]
            out = rng.uniform(0.02, 0.3)
            if b:
                local, facing = (
                    np.array([a * table.size[0] / 2, 0, b * (table.size[2] / 2 + out)]),
                    0 if b < 0 else np.pi,
                )
            else:
                local, facing = np.array([a * (table.size[0] / 2 + out), 0, 0]), -np.pi / 2 * a
            seat = where + turn(angle)[:3, :3] @ local
            inside = all(0.3 < seat[k] < self.size[k] - 0.3 for k in (0, 2))
            if inside and not self._clashes(
                self._rectangle(seat, chair.size[0], chair.size[2], angle + facing), 0.0, ignore=own
            ):
                self.put(chair, seat, angle + facing + rng.uniform(-0.25, 0.25))
        self._on_top(table, where, angle, rng.integers(1, 3))

    def _desk(self) -> None:
        rng, desk = self.rng, self.pick("desk")
        placed = self._against_wall(desk, clearance=0.8)
        if not placed:
            return
        where, angle, wall = placed
        self._on_top(desk, where, angle, rng.integers(1, 4))
        chair = self.pick("armchair" if rng.random() < 0.15 else "chair")
        seat = where + wall.normal * (desk.size[2] / 2 + 0.3)
        if not self._clashes(self._rectangle(seat, chair.size[0], chair.size[2] * 0.3, angle), 0):
            self.put(chair, seat, angle + np.pi + rng.uniform(-0.5, 0.5))

    def _television(self) -> None:
        stand = self.pick("tvstand" if self.rng.random() < 0.6 else "coffee")
        placed = self._against_wall(stand)
        if placed:
            self.put(self.pick("tv"), placed[0] + [0, stand.size[1], 0], placed[1], footprint=False)

    def _rug(self) -> None:
        rng, rug = self.rng, self.pick("rug")
        where = np.array([self.size[0] / 2 + rng.uniform(-0.4, 0.4), 0.002, self.size[2] / 2 + rng.uniform(-0.4, 0.4)])
        angle = rng.choice([0, np.pi / 2])
        r = self._rectangle(where, rug.size[0], rug.size[2], angle)
        if r[0] > 0.1 and r[1] > 0.1 and r[2] < self.size[0] - 0.1 and r[3] < self.size[2] - 0.1:
            self.put(rug, where, angle, weight=0.7, footprint=False)

    def _coffee_table(self) -> None:
        sofas = [i for i, t in enumerate(self.instances) if any(t.name == m.name for m in self.library["sofa"])]
        if not sofas:
            return
        matrix = next(item.matrix for item in self.items if item.instance == sofas[0] + 1)
        sofa = next(m for m in self.library["sofa"] if m.name == self.instances[sofas[0]].name)
        table, front = self.pick("coffee"), matrix[:3, 2]
        near = matrix[:3, 3] + front * (sofa.size[2] / 2 + table.size[2] / 2 + 0.4)
        placed = self._in_the_open(table, angle=float(np.arctan2(front[0], front[2])), margin=0.05, near=near)
        if placed:
            self._on_top(table, *placed, self.rng.integers(0, 3))

    # ---- on walls and ceiling

    def _hang_things(self) -> None:
        rng = self.rng
        if rng.random() < 0.55:
            lamp = self.pick("ceiling")
            where = (self.size[0] * rng.uniform(0.4, 0.6), HEIGHT - lamp.size[1], self.size[2] * rng.uniform(0.4, 0.6))
            self.put(lamp, where, rng.choice([0, np.pi / 2]), weight=0.9, footprint=False, kind="ceiling lamp")
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            self._hang_object(self.pick("wall"))
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            self._hang_shelf()
        for i in rng.permutation(len(self.pictures.walls))[: rng.integers(3, 8)]:
            self._hang_picture(*self.pictures.walls[i])

    def _hang_object(self, model: Model) -> None:
        width, height, depth = (float(v) for v in model.size)
        if "cabinet" in model.name.lower() and self.theme != "dining":
            return
        low = max(model.elevation, 0.9) if model.elevation + height < 2.55 else 2.5 - height
        for _ in range(15):
            i = int(self.rng.integers(4))
            wall = self.walls[i]
            along = self.rng.uniform(width / 2 + 0.1, wall.length - width / 2 - 0.1)
            span = (along - width / 2 - 0.05, along + width / 2 + 0.05, low - 0.03, low + height + 0.03)
            if self._wall_is_free(i, *span):
                self.on_wall[i].append(span)
                where = wall.corner + wall.along * along + wall.normal * (depth / 2 + 0.005) + [0, low, 0]
                self.put(model, where, wall.angle, footprint=False)
                return

    def _hang_shelf(self) -> None:
        """A board on a wall, with small things on it."""
        rng = self.rng
        width, low, depth = rng.uniform(0.7, 1.4), rng.uniform(1.25, 1.6), 0.24
        for _ in range(15):
            i = int(rng.integers(4))
            wall = self.walls[i]
            along = rng.uniform(width / 2 + 0.1, wall.length - width / 2 - 0.1)
            span = (along - width / 2 - 0.05, along + width / 2 + 0.05, low - 0.08, low + 0.55)
            if self._wall_is_free(i, *span):
                break
        else:
            return
        self.on_wall[i].append(span)
        centre = wall.corner + wall.along * along + [0, low, 0]
        reach = wall.along * width / 2
        board = box(
            centre - reach,
            centre + reach + wall.normal * depth + [0, 0.03, 0],
            (*hsv(rng.uniform(0.05, 0.1), rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.9)), 1),
        )
        instance = self._instance("furniture", "shelf", centre + wall.normal * depth / 2, 0.7, width)
        self.items.append(Item(instance, [(self._mesh(board), None)]))
        at = -width / 2 + 0.03
        for _ in range(rng.integers(2, 6)):
            thing = self.pick("top")
            wide = float(max(thing.size[0], thing.size[2]))
            if wide > depth + 0.08 or thing.size[1] > 0.5 or at + wide > width / 2:
                continue
            place = centre + wall.along * (at + wide / 2) + wall.normal * depth / 2 + [0, 0.032, 0]
            self.put(thing, place, wall.angle + rng.uniform(-0.4, 0.4), footprint=False)
            at += wide + rng.uniform(0.02, 0.15)

    def _hang_picture(self, name: str, image: Image.Image) -> None:
        rng = self.rng
        height = rng.uniform(0.4, 0.95)
        width = height * image.width / image.height
        scale = min(1.0, 1.5 / width)
        width, height = width * scale, height * scale
        for _ in range(25):
            i = int(rng.integers(4))
            wall = self.walls[i]
            along, y = rng.uniform(width / 2 + 0.15, wall.length - width / 2 - 0.15), rng.uniform(1.4, 1.75)
            span = (along - width / 2 - 0.1, along + width / 2 + 0.1, y - height / 2 - 0.08, y + height / 2 + 0.08)
            if self._wall_is_free(i, *span):
                break
        else:
            return
        self.on_wall[i].append(span)
        centre = wall.corner + wall.along * along + [0, y, 0]
        instance = self._instance("picture", name, centre, 1.2)
        border = rng.uniform(0.02, 0.05)
        colour = [(0.08, 0.07, 0.06, 1), (0.9, 0.9, 0.88, 1), (0.36, 0.22, 0.12, 1), (0.75, 0.6, 0.3, 1)][
            rng.integers(4)
        ]
        reach = wall.along * (width / 2 + border) + [0, height / 2 + border, 0]
        frame = box(centre - reach, centre + reach + wall.normal * 0.025, colour)
        canvas = quad(
            centre - wall.along * width / 2 - [0, height / 2, 0] + wall.normal * 0.028,
            wall.along * width,
            (0, height, 0),
            wall.normal,
        )
        self.items.append(Item(instance, [(self._mesh(frame), None), (self._mesh(canvas), self._texture(image))]))

    # ---- light

    def _occlusion_near_furniture(self):
        """A map of the floor [0, 1]: darker where furniture stands close above it."""
        renderer, n = self.renderer, FLOOR_MAP_SIZE
        texture, target = renderer.distance_map(n)
        width, _, depth = self.size
        plan = np.zeros((4, 4))  # orthographic, seen from below
        plan[0, 0], plan[0, 3], plan[1, 2], plan[1, 3], plan[2, 1], plan[2, 3], plan[3, 3] = (
            2 / width,
            -1,
            2 / depth,
            -1,
            1 / 1.5,
            -1,
            1,
        )
        kinds = ("furniture", "curtain")
        low = [
            it
            for it in self.items
            if self.instances[it.instance - 1].kind in kinds and self.instances[it.instance - 1].weight != 0.7
        ]
        renderer.draw_distances(target, low, plan, (0, -50, 0))  # from so far below, distance - 50 is the height
        height = np.frombuffer(texture.read(), np.float32).reshape(n, n)
        contact = np.where(height > 1, np.exp(-np.clip(height - 50, 0, 2) / 0.35), 0)

        def blurred(metres: float) -> np.ndarray:
            image = Image.fromarray((contact * 255).astype(np.uint8))
            return (
                np.asarray(image.filter(ImageFilter.GaussianBlur(float(metres * n / max(width, depth)))), float) / 255
            )

        shade = np.clip(1 - 0.5 * blurred(0.07) - 0.35 * blurred(0.25), 0.1, 1)
        result = renderer.context.texture((n, n), 1, (shade * 255).astype(np.uint8).tobytes(), alignment=1)
        result.repeat_x = result.repeat_y = False
        self.owned += [texture, target, result]
        return result

    def _lights(self) -> list[Light]:
        """The lamp of the room, and the daylight of each window; each view is taken in one of them."""
        rng, (width, _, depth) = self.rng, self.size
        lamp = np.array([width * rng.uniform(0.35, 0.65), 2.4, depth * rng.uniform(0.35, 0.65)])
        sources = [
            (
                lamp,
                perspective(150, 1, 0.05, 9) @ look_at(lamp, lamp + [0, -1, 0.001], up=(0, 0, 1)),
                (1.9, 1.63, 1.29),
                (0.465, 0.43, 0.375),
            )
        ]
        for centre, normal in self.windows:
            sun = centre - normal * 0.7 + [0, 0.5, 0]
            sources.append(
                (
                    sun,
                    perspective(140, 1, 0.3, 10) @ look_at(sun, sun + normal + [0, -0.35, 0]),
                    (4.2, 4.07, 3.78),
                    (0.44, 0.464, 0.496),
                )
            )
        lights = []
        for position, view_projection, colour, ambient in sources:
            shadow, target = self.renderer.distance_map(SHADOW_SIZE)
            self.owned += [shadow, target]
            bounce = np.clip(0.35 + 0.5 * self.floor_colour, 0, 1)
            lights.append(Light(position, view_projection, np.array(colour), np.array(ambient), bounce, shadow, target))
            self.cast_shadows(lights[-1], [])
        return lights

    def cast_shadows(self, light: Light, visitors: list[Item]) -> None:
        furniture = [it for it in self.items if self.instances[it.instance - 1].kind == "furniture"]
        self.renderer.draw_distances(light.target, furniture + visitors, light.view_projection, light.position)

    def eye_is_free(self, eye: np.ndarray, margin: float, ignore_below: float) -> bool:
        """Whether a camera fits at `eye`: off the walls and not inside furniture."""
        off_walls = all(0.35 < eye[k] < self.size[k] - 0.35 for k in (0, 2))
        return off_walls and all(
            height < ignore_below or not (x0 - margin < eye[0] < x1 + margin and z0 - margin < eye[2] < z1 + margin)
            for x0, z0, x1, z1, height in self.footprints
        )

    def release(self) -> None:
        for thing in self.owned:
            thing.release()
