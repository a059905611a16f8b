"""A small OpenGL renderer: one shadowed light, corner occlusion, and per pixel the instance and its distance."""

from dataclasses import dataclass, field
from pathlib import Path

import moderngl
import numpy as np
from PIL import Image

WIDTH, HEIGHT, OVERSAMPLING = 160, 120, 2
SHADOW_SIZE, FLOOR_MAP_SIZE = 1024, 192
PLAIN, TEXTURED, OUTSIDE = 0, 1, 2

VERTEX = """#version 330
in vec3 position; in vec3 normal; in vec2 uv; in vec4 rgba;
uniform mat4 model; uniform mat4 view_projection;
out vec2 t; out vec3 n; out vec4 c; out vec3 w;
void main() {
  vec4 q = model * vec4(position, 1); w = q.xyz; gl_Position = view_projection * q;
  t = uv; n = mat3(model) * normal; c = rgba;
}"""

FRAGMENT = """#version 330
in vec2 t; in vec3 n; in vec4 c; in vec3 w;
layout(location=0) out vec4 colour; layout(location=1) out vec2 instance_distance;
uniform sampler2D image; uniform sampler2D shadow; uniform sampler2D floor_map;
uniform int mode; uniform float instance; uniform vec3 eye; uniform vec3 room; uniform mat4 light_view_projection;
uniform vec3 light_position; uniform vec3 light_colour; uniform vec3 ambient; uniform vec3 bounce;
uniform vec3 tint; uniform float heading; uniform float exposure;

float corner(float distance, float reach, float depth) { return depth + (1. - depth) * smoothstep(-.05, reach, distance); }

uniform vec2 spiral[12];

float lit(vec3 p, vec3 N, float facing, float d) {  // share of the light that arrives, filtered over 12 turned places
  // Grazing light needs a larger offset, or the surface shades itself in streaks.
  if (facing <= 0.) return 0.;
  vec4 q = light_view_projection * vec4(p + N * (.02 + .07 * (1. - facing)), 1);
  if (q.w <= 0.) return 1.;
  vec2 u = q.xy / q.w * .5 + .5;
  if (any(lessThan(u, vec2(.004))) || any(greaterThan(u, vec2(.996)))) return 1.;
  float s = 0., bias = .05 + .012 * d + .12 * (1. - facing);
  // Places on a spiral, turned by another angle in every pixel: a soft edge in place of stripes.
  float turned = 6.2831853 * fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(.06711056, .00583715))));
  mat2 turn = mat2(cos(turned), sin(turned), -sin(turned), cos(turned));
  for (int i = 0; i < 12; i++) {
    float z = textureLod(shadow, u + turn * spiral[i], 0.).r;
    s += (z < .01 || d < z + bias) ? 1. : 0.;
  }
  vec2 edge = abs(u * 2. - 1.);
  return mix(s / 12., 1., smoothstep(.72, .97, max(edge.x, edge.y)));
}

void main() {
  vec3 ray = normalize(w - eye), radiance;
  if (mode == 2) {  // through a window: a panorama infinitely far away
    vec2 u = vec2(atan(ray.x, -ray.z) / 6.2831853 + .5 + heading, asin(clamp(ray.y, -1., 1.)) / 3.14159265 + .5);
    radiance = pow(textureLod(image, u, 0.).rgb, vec3(2.2)) * (light_colour.r * .2 + .5) * tint;
  } else {
    vec4 k = c;
    if (mode == 1) { vec4 s = texture(image, t); if (s.a < .45) discard; k = s * c; }
    if (c.a < .95) {  // glass: ordered dither
      ivec2 f = ivec2(gl_FragCoord.xy) & 1;
      if (c.a * .8 + .1 < (float(f.x * 2 + f.y * 3 - 4 * f.x * f.y) + .5) / 4.) discard;
    }
    vec3 N = normalize(n); if (dot(N, ray) > 0.) N = -N;
    vec3 albedo = pow(clamp(k.rgb * tint, 0., 1.), vec3(2.2)) * .84 + .012, a = abs(N);
    float occlusion = mix(1., corner(min(w.x, room.x - w.x), .7, .58), 1. - a.x)
                    * mix(1., corner(min(w.z, room.z - w.z), .7, .58), 1. - a.z)
                    * mix(1., corner(min(w.y, room.y - w.y), .6, .55), 1. - a.y);
    float near = texture(floor_map, w.xz / room.xz).r;
    occlusion *= w.y < .04 ? near : mix(near, 1., smoothstep(0., .5, w.y)) * .5 + .5;
    vec3 L = light_position - w; float d = length(L); L /= d;
    float facing = max(dot(N, L), 0.), s = lit(w, N, facing, d);
    radiance = albedo * (ambient * occlusion * mix(bounce, vec3(1), .55 + .45 * N.y)
                         + light_colour * facing * s * (.5 + .5 * occlusion) / (.6 + .16 * d * d))
             + light_colour * pow(max(dot(N, normalize(L - ray)), 0.), 30.) * .06 * s;
  }
  vec3 x = radiance * exposure;
  x = x * (2.51 * x + .03) / (x * (2.43 * x + .59) + .14);  // filmic curve (ACES fit of Narkowicz)
  colour = vec4(pow(clamp(x, 0., 1.), vec3(1. / 2.2)), 1);
  instance_distance = vec2(instance, length(w - eye));
}"""

DISTANCE_FRAGMENT = """#version 330
in vec2 t; in vec3 n; in vec4 c; in vec3 w; out float distance_to_eye;
uniform sampler2D image; uniform int mode; uniform vec3 eye;
void main() {
  if (mode == 1 && texture(image, t).a < .45) discard;
  if (c.a < .5) discard;
  distance_to_eye = length(w - eye);
}"""


@dataclass
class Item:
    """Something to draw: meshes with their textures, where it stands, and which instance of the room it belongs to."""

    instance: int
    parts: list
    matrix: np.ndarray = field(default_factory=lambda: np.eye(4))
    tint: tuple = (1.0, 1.0, 1.0)
    heading: float | None = None  # set for what is seen through a window: turn of the panorama, in full turns


@dataclass
class Light:
    position: np.ndarray
    view_projection: np.ndarray
    colour: np.ndarray
    ambient: np.ndarray
    bounce: np.ndarray
    shadow: moderngl.Texture
    target: moderngl.Framebuffer


class Renderer:
    """Owns the OpenGL context, the meshes and textures of the furniture, and the frame."""

    def __init__(self) -> None:
        self.context = moderngl.create_standalone_context(backend="egl")
        self.name = self.context.info["GL_RENDERER"]
        size = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
        self.colour = self.context.texture(size, 4)
        self.instance_distance = self.context.texture(size, 2, dtype="f4")
        self.frame = self.context.framebuffer(
            [self.colour, self.instance_distance], self.context.depth_renderbuffer(size)
        )
        self.shading = self.context.program(VERTEX, FRAGMENT)
        self.distance = self.context.program(VERTEX, DISTANCE_FRAGMENT)
        turns, radii = np.arange(12) * np.pi * (3 - np.sqrt(5)), np.sqrt((np.arange(12) + 0.5) / 12) * 3.4 / SHADOW_SIZE
        self.shading["spiral"].write(np.stack([radii * np.cos(turns), radii * np.sin(turns)], 1).astype("f4").tobytes())
        self.blank = self.context.texture((1, 1), 4, b"\xff" * 4)
        self._textures: dict[Path, moderngl.Texture | None] = {}
        self._models: dict[str, list] = {}
        self._depths: dict[int, moderngl.Renderbuffer] = {}

    def texture(self, image: Image.Image) -> moderngl.Texture:
        image = image.convert("RGBA").transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        texture = self.context.texture(image.size, 4, image.tobytes())
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        texture.anisotropy = 8
        return texture

    def distance_map(self, size: int) -> tuple[moderngl.Texture, moderngl.Framebuffer]:
        texture = self.context.texture((size, size), 1, dtype="f4")
        texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        texture.repeat_x = texture.repeat_y = False
        if size not in self._depths:  # one is enough, for maps are drawn one after the other
            self._depths[size] = self.context.depth_renderbuffer((size, size))
        return texture, self.context.framebuffer([texture], self._depths[size])

    def mesh(self, vertices: np.ndarray) -> tuple:
        """(shaded vertex array, distance-only vertex array, buffer) of [V, 12] position, normal, uv, rgba."""
        buffer = self.context.buffer(np.ascontiguousarray(vertices, "f4").tobytes())
        shaded = self.context.vertex_array(self.shading, [(buffer, "3f 3f 2f 4f", "position", "normal", "uv", "rgba")])
        plain = self.context.vertex_array(self.distance, [(buffer, "3f 12x 2f 4f", "position", "uv", "rgba")])
        return shaded, plain, buffer

    def model(self, model) -> list:
        """Meshes and textures of a catalogue model, uploaded once."""
        if model.name not in self._models:
            self._models[model.name] = [
                (self.mesh(triangles.reshape(-1, 12)), self._furniture_texture(path))
                for path, triangles in model.parts.items()
            ]
        return self._models[model.name]

    def _furniture_texture(self, path: Path | None) -> moderngl.Texture | None:
        if path is None:
            return None
        if path not in self._textures:
            try:
                image = Image.open(path).convert("RGBA")
                image.thumbnail((256, 256), Image.Resampling.LANCZOS)
                self._textures[path] = self.texture(image)
            except OSError:  # a texture format that Pillow does not read: the part is drawn plain
                self._textures[path] = None
        return self._textures[path]

    def _draw(self, program: moderngl.Program, items: list[Item]) -> None:
        shaded = program is self.shading
        for item in items:
            program["model"].write(item.matrix.T.astype("f4").tobytes())
            if shaded:
                program["instance"] = float(item.instance)
                program["tint"] = tuple(item.tint)
                program["heading"] = item.heading or 0.0
            for mesh, texture in item.parts:
                program["mode"] = OUTSIDE if item.heading is not None else (TEXTURED if texture else PLAIN)
                (texture or self.blank).use(0)
                mesh[0 if shaded else 1].render()

    def draw_distances(self, target: moderngl.Framebuffer, items: list[Item], view_projection: np.ndarray, eye) -> None:
        """Write each pixel's distance to `eye` into the target; 0 where nothing is drawn."""
        target.use()
        target.clear(0, 0, 0, 0, depth=1.0)
        self.context.enable(moderngl.DEPTH_TEST)
        self.distance["view_projection"].write(view_projection.T.astype("f4").tobytes())
        self.distance["eye"] = tuple(eye)
        self.distance["image"] = 0
        self._draw(self.distance, items)

    def photograph(
        self,
        items: list[Item],
        view_projection: np.ndarray,
        eye,
        room: np.ndarray,
        light: Light,
        floor_map,
        exposure: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colours [HEIGHT, WIDTH, 3] in 0..255, instances [2 HEIGHT, 2 WIDTH] int, distances [2 HEIGHT, 2 WIDTH] in metres."""
        self.frame.use()
        self.frame.clear(0.0, 0.0, 0.0, 0, depth=1.0)
        self.context.enable(moderngl.DEPTH_TEST)
        program = self.shading
        program["view_projection"].write(view_projection.T.astype("f4").tobytes())
        program["light_view_projection"].write(light.view_projection.T.astype("f4").tobytes())
        for name, value in (
            ("eye", eye), ("room", room), ("light_position", light.position), ("light_colour", light.colour),
            ("ambient", light.ambient), ("bounce", light.bounce),
        ):  # fmt: skip
            program[name] = tuple(float(v) for v in value)
        program["exposure"] = exposure
        program["image"], program["shadow"], program["floor_map"] = 0, 1, 2
        light.shadow.use(1)
        floor_map.use(2)
        self._draw(program, items)
        h, w, s = HEIGHT, WIDTH, OVERSAMPLING
        rgb = np.frombuffer(self.colour.read(), np.uint8).reshape(h * s, w * s, 4)[::-1, :, :3]
        extra = np.frombuffer(self.instance_distance.read(), np.float32).reshape(h * s, w * s, 2)[::-1]
        rgb = rgb.reshape(h, s, w, s, 3).astype(np.float32).mean((1, 3))
        return rgb, np.rint(extra[..., 0]).astype(int), extra[..., 1].copy()
