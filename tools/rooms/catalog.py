"""Furniture: the open catalogues of Sweet Home 3D (OBJ files) as meshes in metres, grouped by use.

A mesh stands on y = 0, is centred on its footprint and looks along +z.
"""

import colorsys
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

CATALOGUES = ("BlendSwap-CC-0", "BlendSwap-CC-BY", "KatorLegaz", "Scopia")
LICENCES = {
    "BlendSwap-CC-0": "CC0 1.0",
    "BlendSwap-CC-BY": "CC BY 3.0",
    "KatorLegaz": "CC BY 3.0 US",
    "Scopia": "CC BY 3.0",
}
MAX_TRIANGLES = 45_000

# Use in a room -> names of the catalogue.
USES = {
    "sofa": "Sofa|Couch|Corner sofa|Clear sofa|Burlap sofa|Winchester sofa|Futon couch|Sofa 2 seats|Sofa 3 seats|"
    "Convertible sofa BZ|Day bed",
    "armchair": "Armchair|Modern armchair|Winchester armchair|Armchair ottoman|Puff",
    "coffee": "Coffee table",
    "table": "Table|Oak table|Black table|Glass table|Round table|Folding table|Table on trestles|Wooden table|"
    "Table with tablecloth|Wooden alder table|Wooden teak table",
    "chair": "Chair|Oak chair|Osaka chair|Plastic chair|Folding chair|Chair with cushion|Class seat",
    "bed": "Bed|Iron bed|Child bed|Captain's bed|Bunk bed|Futon|Baby bed|Crib",
    "bedside": "Bedside table",
    "tall": "Wardrobe|Bookcase|Full bookcase|Cupboard|Vertical shelves|Contemporary living room|Television cabinet|"
    "Dressing table|Upright piano|Workbench|Fireplace",
    "low": "Shelves|Dresser with drawers|Chest|Changing table|Trunck|Box|Filing cabinet|Safe|Radiator",
    "desk": "Desk|Desk table|Wooden desk",
    "tvstand": "TV stand",
    "tv": "TV|TV 16:9",
    "kitchen": "Fridge|Large fridge|Refrigerator|High cabinet|Lower cabinet|Small lower cabinet|Drawers cabinet|Sink|"
    "Sink cabinet|Large stove|Propane stove|Washing machine|Clothes washing machine|Dryer machine|Double oven|"
    "Chest freezer",
    "plant": "Yucca|Decorative plant|Ficus|Plant|Spathiphyllum|Indoor plant|Christmas tree",
    "floor": "Water cooler|Electric guitar|Treadmill|Punching ball|Indoor bike|Suitcase|Barrel|Crate|Gift|Dog|Cat|"
    "Bulldog|Doll house|Rocking horse|Dustbin|Wheelchair|Football table|Small step ladder|Step ladder|Bench|"
    "Piano bench|Green stool|Stool|Child chair|Children table|Children chair|Baby high chair|Clothes rack|"
    "White board|Screen|Teddy bear|Bullet trash can|Cardboard box|Open cardboard box|Clothes basket|Grand piano|"
    "Flipper|Shopping basket|Bar stool|Bar chair|Bar table|Extinguisher|Umbrella",
    "rug": "Oriental rug|Tatami|Round carpet",
    "top": "Lamp|Little lamp|Desk lamp|Candle|Japanese lantern|Vase|Flowers|Tulips|Orchids|Aquarium|Bowl with fruits|"
    "Bowl|Bonsai tree|Cactus|Bamboo|White lily|Spider plant|Little plant|Laptop|Apple iMac 1998|Apple iMac 2004|"
    "Apple iBook|Radio|Mini stereo|Teapot|Apples|Old jar|Birthday cake|Coffee machine|Microwave|Table fan|Rigged fan|"
    "Speaker|Inkjet printer and scanner|Backpack|Wine bottle|Pedestal vase lamp|Bread box|Mixer|Doll|Toy train|"
    "Chessboard|Basketball|Soccer ball|Tray|Car model|Briefcase|Handbag|Hat|Helmet|Large pan|Coffee maker|"
    "Kitchen scale|Blender|Video projector|Camping lamp",
    "door": "Door|Exterior door|Double door with panes",
    "wall": "Wall flat TV|Cuckoo clock|Dart game|Wall light|Glass door cabinet|Upper cabinet|Upper shelves cabinet|"
    "Small upper cabinet",
    "ceiling": "Hanging light|Ceiling lamp|Chandelier lamp|Ceiling fan|Pendant lamp",
    "person": "Male|Female|Mannequin female|Mannequin male",
}


@dataclass
class Model:
    """One piece of furniture: `parts` maps a texture file (or None) to triangles [T, 3, 12] of position, normal, uv, rgba."""

    name: str
    use: str
    creator: str
    catalogue: str
    size: np.ndarray  # width, height, depth in metres
    elevation: float
    drop_top: float | None  # height at which small things stand on it, in metres
    parts: dict[Path | None, np.ndarray]
    white: bool

    @property
    def licence(self) -> str:
        # The catalogue says CC0 for these two, the licence file in the model's own folder says CC BY 3.0.
        return "CC BY 3.0" if self.creator == "Gnanasaireddy" else LICENCES[self.catalogue]


def read_catalogue(folder: Path) -> list[dict[str, str]]:
    """Entries of one unpacked .sh3f catalogue, in the order of their numbers."""
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for line in (folder / "PluginFurnitureCatalog.properties").read_text("latin-1").splitlines():
        match = re.match(r"([A-Za-z]+)#(\d+)\s*=\s*(.*)", line)
        if match:
            text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), match[3])
            entries[int(match[2])][match[1]] = text.strip()
    return [entries[number] for number in sorted(entries)]


def read_materials(path: Path) -> dict[str, tuple[tuple[float, ...], Path | None, float]]:
    """Name -> (diffuse colour, texture file or None, opacity) of an .mtl file."""
    materials: dict[str, tuple[tuple[float, ...], Path | None, float]] = {}
    name = ""
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "newmtl":
            name = " ".join(words[1:])
            materials[name] = ((0.8, 0.8, 0.8), None, 1.0)
        elif name:
            colour, texture, opacity = materials[name]
            if words[0] == "Kd":
                colour = tuple(map(float, words[1:4]))
            elif words[0] == "d":
                opacity = float(words[-1])
            elif words[0] == "map_Kd":
                named = (path.parent / line.split(None, 1)[1].strip(), path.parent / words[-1])
                texture = next((p for p in named if p.exists()), None)
            materials[name] = (colour, texture, opacity)
    return materials


def read_obj(path: Path) -> dict[Path | None, np.ndarray]:
    """Triangles of an OBJ file by texture, [T, 3, 12]; ValueError when it is empty or larger than MAX_TRIANGLES."""
    rows: dict[str, list[tuple[float, ...]]] = {"v": [], "vt": [], "vn": []}
    materials: dict[str, tuple[tuple[float, ...], Path | None, float]] = {}
    faces: dict[str, list[tuple]] = defaultdict(list)
    material = ""
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words:
            continue
        kind = words[0]
        if kind in rows:
            rows[kind].append(tuple(map(float, words[1 : 3 if kind == "vt" else 4])))
        elif kind == "mtllib":
            library = path.parent / line.split(None, 1)[1].strip()
            if library.exists():
                materials.update(read_materials(library))
        elif kind == "usemtl":
            material = " ".join(words[1:])
        elif kind == "f":
            corners = []
            for word in words[1:]:
                numbers = [int(n) if n else 0 for n in (word.split("/") + ["", ""])[:3]]
                # 1-based, negative counts from the end, 0 here means absent (-1: the zero row appended below)
                corners.append(
                    tuple(
                        n - 1 if n > 0 else (len(rows[k]) + n if n < 0 else -1)
                        for n, k in zip(numbers, ("v", "vt", "vn"), strict=True)
                    )
                )
            faces[material] += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
    total = sum(map(len, faces.values()))
    if not 6 <= total <= MAX_TRIANGLES:
        raise ValueError(f"{path} has {total} triangles")
    position = np.array(rows["v"], np.float32)
    uv = np.array([*rows["vt"], (0, 0)], np.float32)
    normal = np.array([*rows["vn"], (0, 0, 0)], np.float32)
    parts = defaultdict(list)
    for name, triangles in faces.items():
        index = np.array(triangles)
        colour, texture, opacity = materials.get(name, ((0.8, 0.8, 0.8), None, 1.0))
        if opacity < 0.05:
            continue
        p, n = position[index[..., 0]], normal[index[..., 2]]
        flat = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12
        n = np.where(np.linalg.norm(n, axis=2, keepdims=True) < 0.1, flat[:, None], n)
        rgba = np.broadcast_to(np.array([*((1, 1, 1) if texture else colour), opacity], np.float32), (*p.shape[:2], 4))
        parts[texture].append(np.concatenate([p, n, uv[index[..., 1]], rgba], 2))
    return {texture: np.concatenate(group).astype("f4") for texture, group in parts.items()}


def fit(parts: dict[Path | None, np.ndarray], size: np.ndarray, rotation: str | None) -> None:
    """Turn, scale and centre the triangles in place so that they fill `size` (metres)."""

    def turn(matrix: np.ndarray) -> None:
        for triangles in parts.values():
            triangles[..., :3] = triangles[..., :3] @ matrix.T
            triangles[..., 3:6] = triangles[..., 3:6] @ matrix.T

    def bounds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = np.concatenate([t[..., :3].reshape(-1, 3) for t in parts.values()])
        low, high = points.min(0), points.max(0)
        return low, high, size / np.maximum(high - low, 1e-6)

    if rotation:
        turn(np.array(rotation.split(), np.float32).reshape(3, 3))
    low, high, scale = bounds()
    if rotation and scale.max() / scale.min() > 1.5:  # the catalogue gives the size of the piece before its rotation
        turn(np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32))
        low, high, scale = bounds()
    origin = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    for triangles in parts.values():
        triangles[..., :3] = (triangles[..., :3] - origin) * scale
        normals = triangles[..., 3:6] / scale
        triangles[..., 3:6] = normals / (np.linalg.norm(normals, axis=2, keepdims=True) + 1e-12)


def is_white(parts: dict[Path | None, np.ndarray]) -> bool:
    """Whether most of the untextured surface is nearly white (such a piece is lost on a pale wall)."""
    area, white = 0.0, 0.0
    for texture, triangles in parts.items():
        p = triangles[..., :3]
        a = np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)
        area += a.sum()
        if texture is None:
            white += a[triangles[:, 0, 8:11].min(1) > 0.72].sum()
    return white > 0.5 * area


def dressed(model: Model, count: int) -> list[Model]:
    """A person in `count` changes of clothes: materials that are not of the colour of skin get other colours."""
    rng = np.random.default_rng(len(model.name))
    changes = []
    for number in range(count):
        parts = {texture: triangles.copy() for texture, triangles in model.parts.items()}
        for texture, triangles in parts.items():
            if texture is not None:
                continue
            colours, material = np.unique(triangles[:, 0, 8:11].round(2), axis=0, return_inverse=True)
            for i, colour in enumerate(colours):
                hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in colour))
                skin = 0.01 < hue < 0.13 and 0.2 < saturation < 0.8 and value > 0.3
                if not skin and (material == i).mean() > 0.04:
                    dye = colorsys.hsv_to_rgb(rng.uniform(0.3, 0.98), rng.uniform(0.1, 0.7), rng.uniform(0.15, 0.85))
                    triangles[material.reshape(-1) == i, :, 8:11] = dye
        changes.append(replace(model, name=f"{model.name}#{number}", parts=parts))
    return changes


def use_of(entry: dict[str, str], size: np.ndarray) -> str | None:
    """The use of a catalogue entry in a room, or None where it is not wanted."""
    name, elevation = entry["name"], float(entry.get("elevation", 0)) / 100
    if entry["category"] in ("Exterior", "Vehicles") and name not in ("Dog", "Cat"):
        return None
    use = next((u for u, names in USES.items() if name in names.split("|")), None)
    width, height, depth = size
    if use == "table" and height < 0.5:
        use = "coffee"
    if name == "Lamp" and elevation > 1.5:
        use = "ceiling"
    unwanted = (
        use is None
        or (name == "Box" and entry["id"].split("#")[1] not in ("box_room", "box"))
        or (use in ("sofa", "tall") and width > 2.9)
        or (use == "top" and max(width, depth) > 0.75)
        or (use == "door" and width > 1.4)
        or (elevation > 0.3 and use not in ("wall", "ceiling"))
    )
    return None if unwanted else use


def load_library(assets: Path) -> dict[str, list[Model]]:
    """Use -> models, from `assets/<catalogue>/` (unpacked .sh3f files)."""
    library: dict[str, list[Model]] = {use: [] for use in USES}
    for catalogue in CATALOGUES:
        for entry in read_catalogue(assets / catalogue):
            path = assets / catalogue / entry["model"].lstrip("/")
            size = np.array([float(entry[k]) / 100 for k in ("width", "height", "depth")], np.float32)
            use = use_of(entry, size)
            if use is None or not path.exists():
                continue
            try:
                parts = read_obj(path)
            except ValueError:  # a few models are empty or far too fine
                continue
            if not parts:
                continue
            fit(parts, size, entry.get("modelRotation"))
            drop = float(entry["dropOnTopElevation"]) / 100 if "dropOnTopElevation" in entry else None
            elevation = float(entry.get("elevation", 0)) / 100
            model = Model(
                f"{catalogue}/{entry['id'].split('#')[1]}",
                use,
                entry["creator"],
                catalogue,
                size,
                elevation,
                drop,
                parts,
                is_white(parts),
            )
            library[use] += dressed(model, 8) if use == "person" else [model]
    return library
