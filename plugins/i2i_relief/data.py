"""Reliefs, drawn by code: pictures and line drawings of surfaces with known depth and normals.

    data: {use: reliefs, size: 64, input: both}      # in a config; `i2i run configs/relief.yaml` trains on it

A scene is a pure function of a seed: solids on a plate, lettering, a rosette, a face, hills or terraces. Most combine
an outline (a function that is positive inside and grows with the distance from the edge) with a profile (block,
bevel, cone, dome, ...): a disc with a dome is a sphere, a rectangle with a cone a hipped roof.

Space: x to the right, y up, z towards the viewer, who looks straight down the z axis from far away. The picture is 2
wide and 2 high. A surface is its height z over the picture plane, so nothing is occluded; the normal of the plane
z = p x + q y is (-p, -q, 1), normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import Sample, to_tensor

Array = np.ndarray
Rng = np.random.Generator
Look = Literal["shaded", "lines"]

VALIDATION = 1 << 60  # first seed of the validation scenes; training seeds are below
WALL = 3.0  # a slope that changes by more than this between neighbours is a vertical wall


# ------------------------------------------------------------------------------------------------ surfaces


class Relief(NamedTuple):
    """A surface on a square grid of points.

    Attributes:
        height: float32 [grid, grid] in [-1, 1] with mean 0.
        part: int [grid, grid], the part of the scene of each point; parts may differ in colour.
    """

    height: Array
    part: Array


def relief(seed: int, grid: int) -> Relief:
    """Return the surface of a seed on `grid` x `grid` points: the same in every process and at every size."""
    rng = np.random.default_rng(seed)
    steps = (np.arange(grid, dtype=np.float32) + 0.5) * np.float32(2 / grid) - 1
    x, y = np.broadcast_arrays(steps, -steps[:, None])
    motif = MOTIFS[rng.choice(len(MOTIFS), p=[share for share, _ in MOTIFS])][1]
    height, part = motif(rng, x, y)
    if rng.random() < 0.2:
        height = height + bumps(rng, x, y, 3, 0.15)
    height = height - height.mean()
    return Relief((height / max(1.0, float(np.abs(height).max()))).astype(np.float32), part)


def solids(rng: Rng, x: Array, y: Array) -> tuple[Array, Array]:
    """Return a few solids on a plate."""
    height, part = np.zeros_like(x), np.zeros(x.shape, int)
    for number in range(1, int(rng.integers(3, 7))):
        u, v = placed(rng, x, y, rng.uniform(-0.7, 0.7, 2))
        size = rng.uniform(0.3, 0.75)
        shape = OUTLINES[rng.integers(len(OUTLINES))](rng, u / size, v / size) * size
        solid = profile(rng, shape, size)
        height, part = np.maximum(height, solid), np.where(solid > height, number, part)
    return height, part


def lettering(rng: Rng, x: Array, y: Array) -> tuple[Array, Array]:
    """Return one to three letters, raised from a plate."""
    count = int(rng.integers(1, 4))
    u, v = placed(rng, x, y, rng.uniform(-0.1, 0.1, 2), turn=0.3)
    size = (0.65, 0.42, 0.3)[count - 1] * rng.uniform(0.85, 1.1)
    weight = rng.uniform(0.16, 0.3)
    letters = rng.choice(list(GLYPHS), count)
    starts = (np.arange(count) - (count - 1) / 2) * 1.85
    shape = size * np.max([letter(glyph, u / size - at, v / size, weight) for glyph, at in zip(letters, starts)], 0)
    solid = profile(rng, shape, size * weight)
    return solid, (solid > 0).astype(int)


def rosette(rng: Rng, x: Array, y: Array) -> tuple[Array, Array]:
    """Return concentric outlines, stacked."""
    u, v = placed(rng, x, y, rng.uniform(-0.15, 0.15, 2))
    height, part, size = np.zeros_like(x), np.zeros(x.shape, int), rng.uniform(0.7, 0.95)
    for number in range(1, int(rng.integers(3, 6))):
        shape = ROUND[rng.integers(len(ROUND))](rng, u / size, v / size) * size
        solid = 0.6 * profile(rng, shape, size)
        height, part = height + solid, np.where(solid > 0, number, part)
        size *= rng.uniform(0.5, 0.8)
    return height, part


def hills(rng: Rng, x: Array, y: Array) -> tuple[Array, Array]:
    """Return a smooth landscape."""
    height = bumps(rng, x, y, int(rng.integers(4, 12)), rng.uniform(0.4, 0.9))
    return height, (height > height.mean()).astype(int)


def terraces(rng: Rng, x: Array, y: Array) -> tuple[Array, Array]:
    """Return hills cut into steps with vertical or slanted edges."""
    height = bumps(rng, x, y, int(rng.integers(3, 8)), 0.6)
    step, slant = rng.uniform(0.08, 0.2), rng.uniform(0.02, 0.5)
    level, rest = np.divmod(height / step, 1)
    return step * (level + np.clip((rest - 1 + slant) / slant, 0, 1)), level.astype(int) % 2


def face(rng: Rng, x: Array, y: Array) -> tuple[Array, Array]:
    """Return a face as on a coin, frontal or slightly turned."""
    size, looks = rng.uniform(0.68, 0.85), rng.uniform(-0.22, 0.22)
    u, v = placed(rng, x, y, rng.uniform(-0.08, 0.08, 2), turn=0.3)
    u, v = u / size, v / size
    wide = rng.uniform(0.66, 0.8)
    head = np.maximum(1 - (u / wide) ** 2 - v**2, 0)
    hairline = rng.uniform(0.3, 0.5) - 0.6 * (u / wide) ** 2 * rng.uniform(-0.5, 1)
    hair = np.maximum(1 - (u / (wide + 0.1)) ** 2 - (v / 1.1) ** 2, 0) * (v > hairline)
    neck = np.maximum(0.16 - u**2, 0) * (v < -0.5)
    strands = 1 + 0.05 * np.cos(rng.uniform(10, 25) * np.arctan2(u, v + 1.2) + rng.uniform(0, 6))
    height = np.maximum(0.55 * np.sqrt(head), np.maximum(0.62 * np.sqrt(hair) * strands, 0.8 * np.sqrt(neck)))

    across, skin = u - looks * np.sqrt(head), (head > 0) & (hair == 0)
    for at, up, thick, long, out in FEATURES:
        out *= rng.uniform(0.7, 1.3)
        for side in (-at, at) if at else (0.0,):
            height = height + skin * out * np.exp(-(((across - side) / long) ** 2) - ((v - up) / thick) ** 2)
    return size * height, (height > 0) + 1 * (hair > 0)


FEATURES = (  # distance to each side, position upwards, half height, half width, elevation
    (0.27, 0.13, 0.10, 0.16, -0.13),  # sockets
    (0.27, 0.13, 0.06, 0.09, 0.07),  # eyes
    (0.25, 0.32, 0.06, 0.20, 0.05),  # brows
    (0.00, 0.10, 0.20, 0.07, 0.07),  # bridge of the nose
    (0.00, -0.12, 0.10, 0.11, 0.16),  # nose
    (0.36, -0.22, 0.18, 0.18, 0.06),  # cheeks
    (0.00, -0.40, 0.05, 0.20, 0.06),  # lips
    (0.00, -0.47, 0.03, 0.22, -0.07),
    (0.00, -0.54, 0.06, 0.17, 0.06),
    (0.00, -0.80, 0.13, 0.16, 0.08),  # chin
)
Motif = Callable[[Rng, Array, Array], tuple[Array, Array]]
MOTIFS: tuple[tuple[float, Motif], ...] = (  # probability
    (0.45, solids),
    (0.15, lettering),
    (0.12, rosette),
    (0.10, hills),
    (0.06, terraces),
    (0.12, face),
)


def placed(rng: Rng, x: Array, y: Array, centre: Array, turn: float = np.pi) -> tuple[Array, Array]:
    """Return coordinates around a centre, rotated at random by at most `turn`."""
    way = np.exp(1j * rng.uniform(-turn, turn))
    c, s = np.float32(way.real), np.float32(way.imag)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    return c * x + s * y, c * y - s * x


def bumps(rng: Rng, x: Array, y: Array, count: int, height: float) -> Array:
    """Return a sum of `count` smooth bumps and hollows with a range of `height`."""
    total = np.zeros_like(x)
    for _ in range(count):
        u, v = placed(rng, x, y, rng.uniform(-1, 1, 2))
        long, short = np.float32(rng.uniform(0.15, 0.6)), np.float32(rng.uniform(0.15, 0.4))
        total += np.float32(rng.uniform(-0.6, 1)) * np.exp(-((u / long) ** 2) - (v / short) ** 2)
    return total * np.float32(height / max(float(np.ptp(total)), 1e-3))


# ------------------------------------------------------------------------------------ outlines and profiles


def disc(rng: Rng, u: Array, v: Array) -> Array:
    """Return a circle of radius 1."""
    return 1 - np.hypot(u, v)


def ring(rng: Rng, u: Array, v: Array) -> Array:
    """Return the area between two circles."""
    wide = np.float32(rng.uniform(0.12, 0.3))
    return wide - np.abs(np.hypot(u, v) - 1 + wide)


def flower(rng: Rng, u: Array, v: Array) -> Array:
    """Return a circle with a wavy edge."""
    petals, deep = int(rng.integers(3, 7)), rng.uniform(0.1, 0.25)
    return (1 - deep + deep * np.cos(petals * np.arctan2(v, u)) - np.hypot(u, v)).astype(np.float32)


def polygon(rng: Rng, u: Array, v: Array) -> Array:
    """Return a regular polygon with 3 to 8 corners."""
    ways = np.arange(corners := int(rng.integers(3, 9))) * (2 * np.pi / corners)
    return np.float32(0.8) - np.max([np.float32(np.cos(a)) * u + np.float32(np.sin(a)) * v for a in ways], 0)


def rectangle(rng: Rng, u: Array, v: Array) -> Array:
    """Return a rectangle 2 long and up to 2 wide."""
    return np.minimum(1 - np.abs(u), np.float32(rng.uniform(0.3, 1)) - np.abs(v))


def bar(rng: Rng, u: Array, v: Array) -> Array:
    """Return a bar with rounded ends."""
    wide = np.float32(rng.uniform(0.15, 0.4))
    return wide - np.hypot(np.maximum(np.abs(u) - 1 + wide, 0), v)


ROUND = (disc, ring, flower, polygon)
OUTLINES = (*ROUND, disc, rectangle, rectangle, bar)

GLYPHS = {  # strokes through points of a grid of 5 x 7
    "A": "00-26-40 12-32", "B": "00-06-36-45-44-33-03 33-42-41-30-00", "C": "41-30-10-02-04-16-36-45",
    "D": "00-06-26-44-42-20-00", "E": "40-00-06-46 03-33", "F": "00-06-46 03-33", "G": "45-36-16-04-02-10-40-43-23",
    "H": "00-06 40-46 03-43", "J": "36-31-20-10-01", "K": "00-06 46-03-40", "L": "06-00-40", "M": "00-06-23-46-40",
    "N": "00-06-40-46", "O": "10-30-42-44-36-16-04-02-10", "P": "00-06-36-45-44-33-03",
    "R": "00-06-36-45-44-33-03 23-40", "S": "01-10-30-42-33-13-04-16-36-45", "T": "20-26 06-46",
    "U": "06-02-10-30-42-46", "V": "06-20-46", "W": "06-10-23-30-46", "X": "00-46 06-40", "Y": "23-20 06-23-46",
    "Z": "06-46-00-40",
}  # fmt: skip


def letter(glyph: str, u: Array, v: Array, weight: float) -> Array:
    """Return the outline of a letter with height 2 and strokes 2 * `weight` wide."""
    nearest = np.full(u.shape, np.inf, np.float32)
    for stroke in GLYPHS[glyph].split():
        points = [(np.float32(int(p[0]) - 2) / 3, np.float32(int(p[1]) - 3) / 3) for p in stroke.split("-")]
        for (a, b), (c, d) in pairwise(points):
            along = np.clip(((u - a) * (c - a) + (v - b) * (d - b)) / ((c - a) ** 2 + (d - b) ** 2), 0, 1)
            nearest = np.minimum(nearest, (u - a - along * (c - a)) ** 2 + (v - b - along * (d - b)) ** 2)
    return np.float32(weight) - np.sqrt(nearest)


SHARES = (0.05, 0.2, 0.25, 0.05, 0.3, 0.15)  # probabilities of block, bevel, cone, steps, dome, rounded edge


def profile(rng: Rng, shape: Array, size: float) -> Array:
    """Return the height of a solid over its outline: flat, slanted, pointed, stepped or round.

    Args:
        shape: the outline: the distance from the edge, positive inside.
        size: the largest distance in a large outline of this kind.
    """
    kind, inside = rng.choice(6, p=SHARES), np.maximum(shape, 0)
    slope, high = np.float32(rng.uniform(0.7, 1.4)), np.float32(min(0.5, size) * rng.uniform(0.4, 0.8))
    if kind == 0:  # block
        return high * (shape > 0)
    if kind == 1:  # bevel
        return np.minimum(slope * inside, high)
    if kind == 2:  # cone
        return np.minimum(slope * inside, np.float32(0.8))
    if kind == 3:  # steps
        step = np.float32(size * rng.uniform(0.15, 0.3))
        return np.minimum(np.ceil(inside / step) * step * slope, high)
    # A dome: a quarter of an ellipse that starts vertical, or higher up where it is slanted.
    wide = np.float32(max(float(inside.max()), 1e-3) * (1.0 if kind == 4 else rng.uniform(0.3, 1.0)))
    low = np.float32(rng.choice([0.0, 0.35]))
    t = low + (1 - low) * np.minimum(inside / wide, 1)
    start = np.sqrt(1 - (1 - low) ** 2)
    return min(wide, np.float32(0.6)) * (np.sqrt(1 - (1 - t) ** 2) - start) * (shape > 0)


# ------------------------------------------------------------------------------------------------ truth


def normals_of(height: Array) -> Array:
    """Return the unit normals float32 [3, grid, grid] of the heights [grid, grid] of a surface.

    A vertical wall has no normal visible from above; each side of it keeps its own.
    """
    slopes = []
    for axis in (1, 0):
        step = np.diff(height, axis=axis) * np.float32(height.shape[axis] / 2)
        before = np.concatenate([step.take([0], axis), step], axis)
        after = np.concatenate([step, step.take([-1], axis)], axis)
        flatter = np.where(np.abs(before) < np.abs(after), before, after)
        slopes.append(np.where(np.abs(after - before) > WALL, flatter, (before + after) / 2))
    p, q = slopes[0], -slopes[1]  # rows go down, y goes up
    return unit(np.stack([-p, -q, np.ones_like(p)]))


def unit(vectors: Array) -> Array:
    """Return vectors [3, ...] normalised to length 1."""
    return vectors / np.sqrt((vectors**2).sum(0))


# ------------------------------------------------------------------------------------------------ pictures


def shade(rng: Rng, scene: Relief, normals: Array) -> Array:
    """Return the shaded surface, float32 [3, grid, grid] in 0..1.

    The light comes from the upper left, the convention in drawing; otherwise bumps and hollows would be ambiguous.
    """
    azimuth, elevation = rng.uniform(0.6, 0.9) * np.pi, rng.uniform(0.6, 1.0)
    flat = np.cos(elevation)
    light = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], np.float32)
    direct = np.maximum(np.tensordot(light, normals, 1), 0) * lit(scene.height, light)
    warm = np.float32(rng.uniform(-0.05, 0.08)) * np.array([1, 0.2, -1], np.float32)[:, None, None]
    ambient = np.float32(rng.uniform(0.25, 0.5))
    shine = ambient * openness(scene.height) * (1 - warm) + (1.1 - ambient) * direct * (1 + warm)
    return np.clip(albedo(rng, scene.part) * shine, 0, 1)


def albedo(rng: Rng, part: Array) -> Array:
    """Return the albedo, float32 [3, grid, grid]: one material, or a colour for each part."""
    import cv2

    colours = np.clip(rng.uniform(0.7, 0.9, (8, 1)) + rng.normal(0, 0.1, (8, 3)), 0.3, 1)
    if rng.random() < 0.5:
        colours[:] = colours[0]
    stains = rng.normal(0, 0.04, (6, 6)).astype(np.float32)
    grain = rng.normal(0, 0.02, (64, 64)).astype(np.float32)
    size = part.shape[::-1]
    texture = sum(cv2.resize(noise, size, interpolation=cv2.INTER_LINEAR) for noise in (stains, grain))
    return colours.astype(np.float32).T[:, part % 8] * (1 + texture)


def lit(height: Array, light: Array, steps: int = 12) -> Array:
    """Return how much of the light reaches each point, in 0..1: less in cast shadows."""
    grid, blocked = len(height), np.zeros_like(height)
    flat = np.hypot(light[0], light[1])
    for k in range(1, steps + 1):
        # Compare heights at a distance towards the light with a rising ray.
        far = np.float32(0.5 * (k / steps) ** 1.5)
        right, down = round(far * light[0] / flat * grid / 2), round(-far * light[1] / flat * grid / 2)
        here, there = window(-right, -down, grid), window(right, down, grid)
        blocked[here] = np.maximum(blocked[here], height[there] - height[here] - far * light[2] / flat)
    return 1 - 0.75 * np.minimum(blocked * 12, 1)


def window(right: int, down: int, grid: int) -> tuple[slice, slice]:
    """Return the part of a grid that overlaps with a copy shifted by (right, down)."""
    return slice(max(down, 0), grid + min(down, 0)), slice(max(right, 0), grid + min(right, 0))


def openness(height: Array) -> Array:
    """Return roughly how much of the sky each point sees, in 0.3..1: less where the surroundings are higher."""
    import cv2

    grid, total = height.shape[::-1], np.zeros_like(height)
    for cells in (12, 32):
        around = cv2.blur(cv2.resize(height, (cells, cells), interpolation=cv2.INTER_AREA), (3, 3))
        total += cv2.resize(around, grid, interpolation=cv2.INTER_LINEAR)
    return np.clip(1 - 1.5 * np.maximum(total / 2 - height, 0), 0.3, 1)


def draw(rng: Rng, scene: Relief, normals: Array) -> Array:
    """Return the line drawing, float32 [3, grid, grid] in 0..1: walls, steep sides and creases in ink."""
    import cv2

    grid = len(scene.height)
    slope = np.sqrt(1 / np.maximum(normals[2], 0.05) ** 2 - 1)
    steps = [np.abs(np.diff(scene.height, axis=axis, append=scene.height.take([-1], axis))) for axis in (0, 1)]
    walls = np.maximum(np.maximum(*steps) * (grid / 2) > 4, slope > 4)

    # A crease: the normals on the two sides of a point differ.
    by = max(grid // 128, 1)
    around = np.pad(normals, ((0, 0), (by, by), (by, by)), mode="edge")
    across = (around[:, by:-by, 2 * by :] * around[:, by:-by, : -2 * by]).sum(0)
    along = (around[:, 2 * by :, by:-by] * around[:, : -2 * by, by:-by]).sum(0)
    folds = np.degrees(np.arccos(np.clip(np.minimum(across, along), -1, 1)))
    creases = np.clip((folds - 12) / 12, 0, 1)
    ink = cv2.dilate(np.maximum(walls, creases).astype(np.float32), np.ones((by, by), np.uint8))
    paper, pen = rng.uniform(0.85, 1, 3), rng.uniform(0, 0.35, 3)
    return (paper[:, None, None] * (1 - ink) + pen[:, None, None] * ink).astype(np.float32)


def finer(size: int) -> int:
    """Return the grid for a picture of a size: small ones at twice their size, then averaged."""
    return size * 2 if size < 128 else size


def reduced(planes: Array, size: int) -> Array:
    """Return planes [C, grid, grid] averaged to [C, size, size]."""
    import cv2

    if planes.shape[-1] == size:
        return planes
    return np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA) for plane in planes])


def render(seed: int, size: int, look: Look) -> tuple[Array, Array, Array]:
    """Return picture uint8 [size, size, 3], normals float32 [3, size, size] and depth float32 [1, size, size]."""
    scene = relief(seed, finer(size))
    normals = normals_of(scene.height)
    rng = np.random.default_rng((seed, 1))
    picture = reduced((shade if look == "shaded" else draw)(rng, scene, normals), size)
    pixels = (picture.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)
    return pixels, unit(reduced(normals, size)), reduced(scene.height[None], size)


# ------------------------------------------------------------------------------------------------ the data set


class Reliefs(Data):
    """Pictures of reliefs with their normals and their depth. Nothing is read from disk, and no scene occurs twice.

    A sample has "A" (the picture), "B" (the normals), "depth", and "lines" (whether A is a line drawing):

    - "A" float32 [3, size, size] in [-1, 1].
    - "B" float32 [3, size, size], unit vectors (x right, y up, z towards the viewer, z > 0): as a picture the
      usual normal map, so any paired method can learn it.
    - "depth" float32 [1, size, size] in [-1, 1], larger is nearer, in units of half the picture's width, with mean 0
      in each scene.
    - "lines" bool [].

    Args:
        size: height and width of a sample, in pixels; 64 to 256 look good.
        batch_size: samples in one step.
        input: the kind of A; "both" chooses at random in training, and alternates in validation.
        samples: training samples in an epoch; every epoch has new scenes.
        validation_samples: scenes not used in training.
        workers: loader processes.
    """

    def __init__(
        self,
        size: Annotated[int, Field(ge=16, le=1024)] = 64,
        batch_size: PositiveInt = 8,
        input: Literal["shaded", "lines", "both"] = "both",
        samples: PositiveInt = 4000,
        validation_samples: PositiveInt = 128,
        workers: NonNegativeInt = 0,
    ) -> None:
        self.size, self.batch_size, self.input, self.workers = size, batch_size, input, workers
        self.samples, self.validation_samples = samples, validation_samples

    def __len__(self) -> int:
        return self.samples

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a new scene drawn with `rng`; the class docstring describes samples."""
        seed, lines = int(rng.integers(VALIDATION)), bool(rng.random() < 0.5)
        return self._sample(seed, lines)

    def validation(self) -> Sequence[Sample]:
        """Return the validation scenes, rendered on access."""
        return HeldOut(self)

    def _sample(self, seed: int, lines: bool) -> Sample:
        look: Look = self.input if self.input != "both" else "lines" if lines else "shaded"
        picture, normals, depth = render(seed, self.size, look)
        return {
            "A": to_tensor(picture),
            "B": torch.from_numpy(normals),
            "depth": torch.from_numpy(depth),
            "lines": look == "lines",
        }


class HeldOut(Sequence[Sample]):
    """The validation samples of `Reliefs`."""

    def __init__(self, data: Reliefs) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.validation_samples

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.data._sample(VALIDATION + index, lines=index % 2 == 1)
