"""Small pieces of 3-D geometry: camera matrices, turns about the vertical, quads and boxes as vertex arrays [V, 12]."""

import numpy as np


def look_at(
    eye: np.ndarray, target: np.ndarray, roll: float = 0.0, up: tuple[float, float, float] = (0, 1, 0)
) -> np.ndarray:
    """World -> camera matrix [4, 4]; the camera looks along its -z."""
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    side = np.cross(forward, up)
    side /= np.linalg.norm(side)
    top = np.cross(side, forward)
    c, s = np.cos(roll), np.sin(roll)
    view = np.eye(4)
    view[0, :3], view[1, :3], view[2, :3] = c * side + s * top, c * top - s * side, -forward
    view[:3, 3] = -view[:3, :3] @ np.asarray(eye, float)
    return view


def perspective(horizontal_degrees: float, aspect: float, near: float, far: float) -> np.ndarray:
    """Camera -> clip matrix [4, 4]; aspect = width / height."""
    t = 1 / np.tan(np.radians(horizontal_degrees) / 2)
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[1, 1] = t, t * aspect
    matrix[2, 2], matrix[2, 3], matrix[3, 2] = (far + near) / (near - far), 2 * far * near / (near - far), -1
    return matrix


def turn(angle: float, origin=(0, 0, 0)) -> np.ndarray:
    """Turn about the vertical by `angle` radians, then move to `origin`: [4, 4]."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 2], matrix[2, 0], matrix[2, 2] = c, s, -s, c
    matrix[:3, 3] = origin
    return matrix


def quad(corner, along, up, normal, repeat_u=1.0, repeat_v=1.0, colour=(1, 1, 1, 1)) -> np.ndarray:
    """Two triangles of a parallelogram: [6, 12]."""
    corner, along, up = (np.asarray(a, float) for a in (corner, along, up))
    points = [corner, corner + along, corner + along + up, corner, corner + along + up, corner + up]
    uvs = [(0, 0), (repeat_u, 0), (repeat_u, repeat_v), (0, 0), (repeat_u, repeat_v), (0, repeat_v)]
    return np.array([[*p, *normal, *uv, *colour] for p, uv in zip(points, uvs, strict=True)], "f4")


def box(corner, opposite, colour) -> np.ndarray:
    """The six sides of an axis-aligned box between two opposite corners: [36, 12]."""
    low, high = np.minimum(corner, opposite), np.maximum(corner, opposite)
    sides = []
    for axis in range(3):
        edges = [np.eye(3)[(axis + k) % 3] * (high - low) for k in (1, 2)]
        for start, sign in ((low, -1.0), (np.where(np.arange(3) == axis, high, low), 1.0)):
            sides.append(quad(start, *edges, np.eye(3)[axis] * sign, colour=colour))
    return np.concatenate(sides)
