"""Meshes of surfaces seen from above, as PLY or OBJ: one vertex per pixel, two triangles between four pixels.

Any viewer can open them: x points right, y up, z towards the viewer, and the longer side of the image is 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2i import ConfigError

Array = np.ndarray


class Mesh(NamedTuple):
    """A triangle mesh.

    Attributes:
        vertices: float32 [V, 3].
        normals: float32 [V, 3], unit length.
        colours: uint8 [V, 3].
        faces: int32 [F, 3], 0-based indices, counter-clockwise seen from the front.
    """

    vertices: Array
    normals: Array
    colours: Array
    faces: Array


def from_surface(normals: Array, depth: Array, colours: Array) -> Mesh:
    """Return the mesh of a surface.

    Args:
        normals: float32 [H, W, 3].
        depth: float32 [H, W], larger is nearer, in units of half the longer side.
        colours: uint8 [H, W, 3].
    """
    height, width = depth.shape
    pitch = 2 / max(height, width)
    x = (np.arange(width) - (width - 1) / 2) * pitch
    y = ((height - 1) / 2 - np.arange(height)) * pitch
    vertices = np.stack([*np.meshgrid(x, y), depth], -1).astype(np.float32).reshape(-1, 3)
    number = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = (part.ravel() for part in (number[1:, :-1], number[1:, 1:], number[:-1, 1:], number[:-1, :-1]))

    # Split each quad along its flatter diagonal: it runs along a wall, not across it.
    z = depth.ravel()
    rising = np.abs(z[a] - z[c]) <= np.abs(z[b] - z[d])
    first = np.where(rising, [a, b, c], [a, b, d])
    second = np.where(rising, [a, c, d], [b, c, d])
    faces = np.stack([first.T, second.T], 1).reshape(-1, 3)
    return Mesh(vertices, normals.astype(np.float32).reshape(-1, 3), colours.reshape(-1, 3), faces)


def ply(mesh: Mesh) -> bytes:
    """Encode as PLY, binary, little endian. Source: G. Turk, The PLY Polygon File Format, 1994."""
    names = [(f"property {kind} {name}", at) for kind, at, group in PLY for name in group.split()]
    vertices = np.empty(len(mesh.vertices), [(line.split()[2], at) for line, at in names])
    for group, values in zip(PLY, (mesh.vertices, mesh.normals, mesh.colours), strict=True):
        for name, column in zip(group[2].split(), values.T, strict=True):
            vertices[name] = column
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("vertices", "<i4", 3)])
    faces["count"], faces["vertices"] = 3, mesh.faces
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}", *(line for line, _ in names)]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(head).encode() + vertices.tobytes() + faces.tobytes()


PLY = (("float", "<f4", "x y z"), ("float", "<f4", "nx ny nz"), ("uchar", "u1", "red green blue"))


def obj(mesh: Mesh) -> bytes:
    """Encode as Wavefront OBJ; vertex colours follow the coordinates, an extension that most viewers support."""
    points = np.concatenate([mesh.vertices, mesh.colours / 255], 1).tolist()
    lines = [f"v {x:.6g} {y:.6g} {z:.6g} {r:.4g} {g:.4g} {b:.4g}" for x, y, z, r, g, b in points]
    lines += [f"vn {x:.5g} {y:.5g} {z:.5g}" for x, y, z in mesh.normals.tolist()]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (mesh.faces + 1).tolist()]
    return "\n".join([*lines, ""]).encode()


def encoder(path: str) -> Callable[[Mesh], bytes]:
    """Return the encoder for a mesh file, by its suffix.

    Raises:
        ConfigError: the suffix is neither .ply nor .obj.
    """
    known = {".ply": ply, ".obj": obj}
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        raise ConfigError(f"{path}: unsupported mesh format: use {' or '.join(known)}")
    return known[suffix]
