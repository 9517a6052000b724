"""Horses and zebras, drawn by code: an unpaired data set with a known truth, at any size and without end.

A scene is a pure function of a seed: an animal in some pose, in some light, in some landscape. It can be rendered
as a horse or as a zebra, and nothing but the animal differs, so a translation can be scored.

    data: {use: horses_zebras, size: 64}      # in a config; `i2i run configs/cyclegan.yaml` trains on it

The animal is modelled like clay: chains of round cones along its bones, melted together. That gives each pixel a
height, which the light needs, and coordinates along the body, which stripes and coat need. Body coordinates: x
towards the head, y up, the ground at y = 0; the withers are 1 above it. A point of the body is the complex number
x + iy, so that turning it is a multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import Sample, to_tensor

Array = np.ndarray
Animal = Literal["horse", "zebra"]
Colour = tuple[float, float, float]  # red, green, blue in 0..1

TRAINING, VALIDATION, CLASSIFIER = 0, 1 << 60, 1 << 61
"""Where the seeds begin of the scenes for training, for validation and for the classifier that judges."""


# ------------------------------------------------------------------------------------------------ scenes


@dataclass(frozen=True)
class Pose:
    """How the animal stands. Angles are in radians; 0 points forward, positive is up."""

    facing: int  # 1: to the right, -1: to the left
    scale: float  # height of the withers / height of the picture
    turn: float  # length as seen / true length: less than 1 for an animal turned a little away
    legs: tuple[tuple[float, float], ...]  # (swing, lift in 0..1) of near fore, near hind, far fore, far hind
    neck: float
    head: float
    ears: float  # 0 is upright, positive is forward
    tail: float  # 0 hangs, positive is away from the legs
    across: float  # 0..1: where between the left and the right edge
    ground: float  # 0..1: where between the highest and the lowest ground


@dataclass(frozen=True)
class Light:
    """Where the light comes from and what colour it has."""

    sun: tuple[float, float, float]  # direction towards the sun: right, up, towards the camera; of length 1
    direct: Colour  # what the sun sends
    sky: Colour  # what comes from above


@dataclass(frozen=True)
class Land:
    """The landscape: its colours, the height of the horizon, and what stands there."""

    horizon: float  # row / height of the picture
    zenith: Colour
    haze: Colour  # the sky at the horizon
    far: Colour  # the ground at the horizon
    near: Colour  # the ground before the camera
    leaves: Colour
    clouds: float  # 0..1
    ridges: int
    wood: float  # share of the horizon with bushes
    trees: int
    acacias: bool
    fence: bool
    grass: float  # height in body units


@dataclass(frozen=True)
class Coat:
    """The colours of the horse, and its white marks."""

    body: Colour
    mane: Colour
    points: Colour  # lower legs and muzzle
    blaze: float  # width of the white on the face in body units; 0 is none
    socks: tuple[bool, ...]


@dataclass(frozen=True)
class Scene:
    """Everything about a picture but whether it shows a horse or a zebra."""

    seed: int
    pose: Pose
    light: Light
    land: Land
    coat: Coat
    waver: tuple[float, float, float]  # -1..1: the mild personal variation of stripes and hair


COATS = {  # share of the horses, body, mane and tail, points
    "bay": (0.30, (0.45, 0.275, 0.165), (0.10, 0.08, 0.07), (0.13, 0.10, 0.09)),
    "chestnut": (0.30, (0.54, 0.32, 0.19), (0.44, 0.25, 0.15), (0.50, 0.29, 0.18)),
    "dark brown": (0.13, (0.30, 0.20, 0.14), (0.09, 0.08, 0.08), (0.14, 0.11, 0.10)),
    "palomino": (0.12, (0.76, 0.56, 0.33), (0.90, 0.84, 0.71), (0.72, 0.56, 0.38)),
    "buckskin": (0.09, (0.68, 0.53, 0.35), (0.13, 0.10, 0.09), (0.17, 0.13, 0.11)),
    "grey": (0.06, (0.64, 0.63, 0.62), (0.46, 0.46, 0.47), (0.36, 0.36, 0.37)),
}
SKIES = {  # share, zenith, haze, the sun's colour, its strength, the sky's strength
    "noon": (0.40, (0.31, 0.54, 0.84), (0.78, 0.88, 0.95), (1.00, 0.97, 0.91), 0.95, 0.42),
    "hazy": (0.25, (0.50, 0.67, 0.84), (0.90, 0.90, 0.86), (1.00, 0.96, 0.88), 0.75, 0.52),
    "evening": (0.20, (0.42, 0.57, 0.74), (0.98, 0.84, 0.66), (1.00, 0.86, 0.67), 0.92, 0.42),
    "overcast": (0.15, (0.63, 0.69, 0.75), (0.86, 0.88, 0.89), (1.00, 0.98, 0.96), 0.42, 0.72),
}
GROUNDS = {  # share, far, near, leaves, acacias rather than round trees, height of the grass, chance of a fence
    "savanna": (0.32, (0.76, 0.69, 0.45), (0.63, 0.55, 0.31), (0.36, 0.42, 0.21), True, 0.045, 0.0),
    "meadow": (0.30, (0.55, 0.65, 0.37), (0.33, 0.47, 0.19), (0.24, 0.37, 0.17), False, 0.045, 0.45),
    "steppe": (0.20, (0.66, 0.65, 0.43), (0.49, 0.50, 0.27), (0.32, 0.40, 0.22), False, 0.04, 0.2),
    "dust": (0.18, (0.80, 0.74, 0.61), (0.67, 0.60, 0.46), (0.40, 0.42, 0.25), True, 0.02, 0.1),
}


def scene(seed: int) -> Scene:
    """Return the scene of that seed: the same one in every process and for every size."""
    rng = np.random.default_rng(seed)
    light, land = draw_land(rng)
    pose = draw_pose(rng)
    body, mane, points = choice(rng, COATS)
    tint = 1 + 0.07 * rng.standard_normal() + 0.025 * rng.standard_normal(3)
    blaze = rng.uniform(0.015, 0.04) if rng.random() < 0.4 else 0.0
    socks = tuple(bool(white) for white in rng.random(4) < 0.22)
    coat = Coat(colour(body * tint), colour(mane * tint), colour(points * tint), blaze, socks)
    a, b, c = rng.uniform(-1, 1, 3).tolist()
    return Scene(seed, pose, light, land, coat, (a, b, c))


def colour(c: Array) -> Colour:
    """Return three numbers as a colour."""
    r, g, b = np.clip(c, 0.02, 0.98).tolist()
    return (r, g, b)


def choice(rng: np.random.Generator, table: dict[str, tuple[Any, ...]]) -> list[Any]:
    """Draw a row of a table by its share, which stands first and is left out; colours become arrays."""
    rows = list(table.values())
    row = rows[rng.choice(len(rows), p=[r[0] for r in rows])]
    return [np.array(value) if isinstance(value, tuple) else value for value in row[1:]]


def draw_land(rng: np.random.Generator) -> tuple[Light, Land]:
    """Draw the light and the landscape."""
    zenith, haze, sun, direct, sky = choice(rng, SKIES)
    far, near, leaves, acacias, grass, fence = choice(rng, GROUNDS)
    side, up, front = rng.uniform(-0.9, 0.9), rng.uniform(0.55, 1.1), rng.uniform(0.35, 0.8)
    length = float(np.hypot(np.hypot(side, up), front))
    light = Light(
        sun=(side / length, up / length, front / length),
        direct=colour(direct * sun * rng.uniform(0.88, 1.0)),
        sky=colour(sky * (0.5 + 0.2 * zenith + 0.3 * haze)),
    )
    tints = 1 + 0.035 * rng.standard_normal((5, 3))
    shine = (0.82 + 0.22 * direct) * (0.7 + 0.3 * sun)  # the ground is darker under clouds and warmer in the evening
    land = Land(
        horizon=rng.uniform(0.34, 0.56),
        zenith=colour(zenith * tints[0]),
        haze=colour(haze * (0.6 + 0.4 * tints[1])),
        far=colour((0.8 * far + 0.2 * haze) * shine * tints[2]),
        near=colour(near * shine * tints[3]),
        leaves=colour(leaves * shine * tints[4]),
        clouds=rng.random(),
        ridges=int(rng.integers(0, 4)),
        wood=max(0.0, rng.uniform(-0.4, 1.0)),
        trees=int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])),
        acacias=acacias,
        fence=bool(rng.random() < fence),
        grass=grass,
    )
    return light, land


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose: walking, standing or grazing."""
    kind, start = rng.choice(3, p=[0.45, 0.33, 0.22]), rng.random()
    if kind == 0:
        legs = [stride(start + shift) for shift in (0.0, 0.75, 0.5, 0.25)]
        neck, head = rng.uniform(0.5, 0.85), rng.uniform(-0.95, -0.6)
    elif kind == 1:
        legs = [(swing, 0.0) for swing in rng.uniform(-0.1, 0.1, 4).tolist()]
        neck, head = rng.uniform(0.65, 1.0), rng.uniform(-1.0, -0.6)
    else:
        legs = [(swing, 0.0) for swing in rng.uniform(-0.25, 0.25, 4).tolist()]
        neck, head = rng.uniform(-0.66, -0.55), rng.uniform(-1.45, -1.1)
    return Pose(
        facing=1 if rng.random() < 0.5 else -1,
        scale=rng.uniform(0.47, 0.57),
        turn=rng.uniform(0.88, 1.0),
        legs=tuple(legs),
        neck=neck,
        head=head,
        ears=rng.uniform(-0.15, 0.35),
        tail=rng.uniform(-0.1, 0.35),
        across=rng.random(),
        ground=rng.random(),
    )


def stride(phase: float) -> tuple[float, float]:
    """Return (swing, lift) of a leg of a walking animal: it is on the ground for 0.65 of the time."""
    phase = phase % 1.0
    if phase < 0.65:
        return (0.36 - 0.72 * phase / 0.65, 0.0)
    back = (phase - 0.65) / 0.35
    return (-0.36 + 0.72 * back, float(np.sin(np.pi * back)))


# ------------------------------------------------------------------------------------------------ bones


class Chain(NamedTuple):
    """Round cones along complex points [S + 1], with radii [S + 1], `depth` nearer to the camera than the spine."""

    points: Array
    radii: Array
    depth: float

    def placed(self, origin: complex, way: complex) -> Chain:
        """Return the chain moved to the origin, and turned so that what pointed along x points that way."""
        return self._replace(points=origin + self.points * way)

    @property
    def length(self) -> float:
        """The length along the points."""
        return float(np.abs(np.diff(self.points)).sum())


def chain(depth: float, *cones: tuple[float, float, float]) -> Chain:
    """Return a chain from (x, y, radius) of its joints."""
    x, y, radii = np.array(cones).T
    return Chain(x + 1j * y, radii, depth)


# fmt: off
TORSO = chain(
    0.0, (-0.45, 0.80, 0.125), (-0.38, 0.785, 0.172), (-0.28, 0.77, 0.195), (-0.16, 0.748, 0.198),
    (-0.03, 0.73, 0.209), (0.10, 0.725, 0.226), (0.22, 0.735, 0.238), (0.32, 0.75, 0.215), (0.37, 0.755, 0.185),
)
SHOULDER = chain(0.125, (0.255, 0.87, 0.07), (0.305, 0.78, 0.095), (0.38, 0.67, 0.095))
FORE = chain(
    0.075, (0.345, 0.72, 0.125), (0.285, 0.55, 0.087), (0.30, 0.32, 0.045), (0.295, 0.275, 0.034),
    (0.288, 0.115, 0.036), (0.308, 0.065, 0.032), (0.332, 0.018, 0.045),
)
HIND = chain(
    0.07, (-0.36, 0.77, 0.185), (-0.27, 0.59, 0.132), (-0.36, 0.46, 0.076), (-0.455, 0.365, 0.049),
    (-0.445, 0.31, 0.038), (-0.432, 0.115, 0.037), (-0.412, 0.065, 0.033), (-0.386, 0.018, 0.045),
)
SKULL = chain(  # x along the head, y above it, from where the neck ends
    0.08, (0.0, 0.0, 0.072), (0.085, -0.033, 0.097), (0.20, -0.012, 0.066), (0.295, -0.005, 0.052),
    (0.325, -0.018, 0.046),
)
FORELOCK = chain(0.0, (-0.02, 0.06, 0.02), (0.05, 0.068, 0.026), (0.125, 0.045, 0.006))
EAR = chain(0.05, (0.0, 0.0, 0.022), (0.065, 0.0, 0.027), (0.14, 0.0, 0.005))  # x from its root to its tip
# fmt: on
FOLDS = {True: (0.75, -0.7, -0.8, -0.6, -0.2), False: (0.25, -0.5, -0.05, -0.05, -0.5, -0.2)}  # of a lifted leg


class Skeleton(NamedTuple):
    """The chains of a posed animal."""

    neck: Chain
    skull: Chain
    forelock: Chain
    tail: Chain
    legs: tuple[Chain, ...]  # near fore, near hind, far fore, far hind
    ears: tuple[Chain, ...]  # near, far


def skeleton(pose: Pose) -> Skeleton:
    """Return the bones of the animal in that pose."""
    # The neck is an arc from the chest to the poll, its crest bent outwards. Grazing stretches it.
    t = np.linspace(0, 1, 6)
    base, length, arch = (0.31 + 0.80j, 0.60, 0.22) if pose.neck > 0 else (0.31 + 0.775j, 0.66, 0.16)
    poll, middle = base + length * toward(pose.neck), base + length / 2 * toward(pose.neck + arch)
    neck = (1 - t) ** 2 * base + 2 * t * (1 - t) * middle + t**2 * poll

    head, ear = toward(pose.head), toward(min(max(pose.head + 1.9 - pose.ears, 0.5), 2.6))
    t = np.linspace(0, 1, 7)
    x = -0.545 - 0.07 * np.sin(0.75 * np.pi * t) - 0.4 * pose.tail * t**1.6
    y = 0.885 - 0.60 * (1 - 0.35 * abs(pose.tail)) * t**1.2
    return Skeleton(
        neck=Chain(neck, np.array([0.19, 0.175, 0.152, 0.129, 0.108, 0.09]), -0.02),
        skull=SKULL.placed(poll, head),
        forelock=FORELOCK.placed(poll, head),
        tail=Chain(x + 1j * y, np.array([0.03, 0.038, 0.05, 0.058, 0.06, 0.05, 0.012]), 0),
        legs=tuple(leg(i % 2 == 0, i >= 2, swing, lift) for i, (swing, lift) in enumerate(pose.legs)),
        ears=tuple(EAR.placed(poll + root * head, ear) for root in (-0.012 + 0.045j, 0.03 + 0.055j)),
    )


def toward(angle: float) -> complex:
    """Return the point 1 away in that direction."""
    return complex(np.exp(1j * angle))


def leg(fore: bool, far: bool, swing: float, lift: float) -> Chain:
    """Return a leg that swings and lifts; one that is not lifted reaches the ground."""
    rest = FORE if fore else HIND
    points = rest.points.copy()
    for joint, angle in enumerate((swing, *(lift * fold for fold in FOLDS[fore]))):
        points[joint:] = points[joint] + (points[joint:] - points[joint]) * toward(angle)
    hip = points[0].imag
    if lift == 0:
        points.imag = hip + (points.imag - hip) * (hip - rest.points[-1].imag) / (hip - points[-1].imag)
    if far:  # its hoof stands further from the camera, so higher in the picture
        points += np.linspace(0.3, 1, len(points)) * (0.03 + 0.022j)
    return Chain(points, rest.radii, rest.depth)


# ------------------------------------------------------------------------------------------------ clay


Window = tuple[slice, slice]  # rows and columns


class Pixels(NamedTuple):
    """A grid of pixels in body coordinates."""

    x: Array  # [1, W]
    y: Array  # [H, 1]
    size: float  # the height of a pixel

    def near(self, chains: Sequence[Chain], margin: float) -> Window:
        """Return the window of the pixels that lie on the chains or no more than `margin` beside them."""
        left, right, low, high = extent(chains, margin)
        x, y = self.x[0], self.y[:, 0]
        return spanned((y > low) & (y < high)), spanned((x > left) & (x < right))

    def within(self, window: Window) -> Pixels:
        """Return the pixels of a window."""
        return Pixels(self.x[:, window[1]], self.y[window[0]], self.size)


def xy(points: Array) -> tuple[Array, Array]:
    """Return the coordinates of complex points."""
    return points.real, points.imag


def extent(chains: Sequence[Chain], margin: float) -> tuple[float, float, float, float]:
    """Return the lowest and highest x and the lowest and highest y of chains and what is around them."""
    points, reach = np.concatenate([c.points for c in chains]), np.concatenate([c.radii for c in chains]) + margin
    x, y = xy(points)
    return float((x - reach).min()), float((x + reach).max()), float((y - reach).min()), float((y + reach).max())


def spanned(inside: Array) -> slice:
    """Return the slice from the first to the last true element."""
    (where,) = inside.nonzero()
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


class Body(NamedTuple):
    """Where pixels lie on a chain: arrays [H, W], lengths in body units."""

    pixels: Pixels
    window: Window  # of the painting
    inside: Array  # distance from the outline, positive inside
    height: Array  # towards the camera
    along: Array  # from the first point along the chain; it goes on before the first and after the last
    side: Array  # from the middle of the chain, positive to the left of its direction


def measure(chain: Chain, pixels: Pixels, window: Window) -> Body:
    """Return where the pixels of the window lie on the chain: on that cone of it which is highest there."""
    pixels = pixels.within(window)
    way = np.diff(chain.points)
    length = np.abs(way)
    start, slope = np.cumsum(length) - length, np.diff(chain.radii) / length
    cones = [*xy(chain.points[:-1]), *xy(way / length), length, start, chain.radii[:-1], slope]
    px, py, ux, uy, length, start, thick, slope = np.array(cones, np.float32)[..., None, None]
    dx, dy = pixels.x - px, pixels.y - py
    t, across = dx * ux + dy * uy, dy * ux - dx * uy  # [S, H, W], like all that follows
    on = np.minimum(np.maximum(t, 0), length)
    radius = on * slope + thick
    squared = across * across + (t - on) ** 2
    inside = radius - np.sqrt(squared)

    # A paraboloid: round inside, and falling ever steeper outside, so that chains melt without a crease.
    rise = radius - squared / radius
    height = rise.max(0)
    highest = rise == height
    on[0], on[-1] = np.minimum(t[0], on[0]), np.maximum(t[-1], on[-1])
    along, side = (np.where(highest, a, -9).max(0) for a in (on + start, across))
    return Body(pixels, window, inside.max(0), height + np.float32(chain.depth), along, side)


MELT, SOFT = 0.016, 0.03  # how far outlines and surfaces melt together, in body units
Marks = tuple["Array | None", "Array | None", "Array | None"]  # what a coat draws on a part of the body
Marker = Callable[[Body], Marks]


class Clay:
    """Chains melted together, and what is marked on them."""

    def __init__(self, pixels: Pixels) -> None:
        shape = (pixels.y.size, pixels.x.size)
        self.pixels = pixels
        self.outline, self.surface = np.full((2, *shape), 1e-7, np.float32)
        self.marks = np.zeros((3, *shape), np.float32)

    def add(self, body: Body, marks: Marks) -> None:
        """Melt a measured chain into the clay."""
        self.outline[body.window] += np.exp(np.maximum(body.inside, -0.2) * (1 / MELT))
        weight = np.exp(np.maximum(body.height, -0.25) * (1 / SOFT))
        self.surface[body.window] += weight
        for total, mark in zip(self.marks, marks):
            if mark is not None:
                total[body.window] += weight * mark

    def done(self, window: Window) -> tuple[Array, Array, Array]:
        """Return how much of each pixel is covered [H, W], the normals [3, H, W] and the marks [3, H, W]."""
        import cv2

        pixels, surface = self.pixels.within(window), self.surface[window]
        inside = np.minimum(MELT * np.log(self.outline[window]), pixels.y)
        height = np.maximum(SOFT * np.log(surface), -0.1)
        height = cv2.GaussianBlur(height, (0, 0), 0.016 / pixels.size)  # or one sees where cones meet
        normal = np.zeros((3, *height.shape), np.float32)
        normal[0, :, 1:-1] = (height[:, :-2] - height[:, 2:]) / (pixels.x[0, 2] - pixels.x[0, 0])
        normal[1, 1:-1] = (height[2:] - height[:-2]) * (0.5 / pixels.size)
        normal[2] = 1 / np.sqrt(normal[0] ** 2 + normal[1] ** 2 + 1)
        normal[:2] *= normal[2]
        return covered(inside, pixels.size), normal, self.marks[(slice(None), *window)] / surface


def covered(inside: Array, pixel: float) -> Array:
    """Return how much of each pixel is covered by what it lies so far inside of."""
    return np.minimum(np.maximum(inside * (1 / pixel) + 0.5, 0), 1)


# ------------------------------------------------------------------------------------------------ coats


def smooth(x: Array, low: float, high: float) -> Array:
    """Return 0 below low, 1 above high, and a soft step between; low may be the larger one."""
    t = np.minimum(np.maximum((x - low) * (1 / (high - low)), 0), 1)
    return t * t * (3 - 2 * t)


def plain(c: Sequence[float], like: Array) -> Array:
    """Return an area [3, H, W] of one colour."""
    return np.broadcast_to(np.array(c, np.float32)[:, None, None], (3, *like.shape))


def mixed(a: Array, c: Sequence[float], t: Array) -> Array:
    """Return a [3, H, W] where t [H, W] is 0 and the colour c where it is 1."""
    return a + (np.array(c, np.float32)[:, None, None] - a) * t


def hairs(q: Array, seed: float) -> Array:
    """Return what tells strands of hair apart, about -1..1, along the coordinate q across them."""
    return 0.45 * np.sin(83 * q + 9 * seed) + 0.35 * np.sin(197 * q + 5 * seed) + 0.3 * np.sin(37 * q + 3 * seed)


def along(body: Body, start: complex, way: complex) -> Array:
    """Return how far the pixels are from the start in that direction."""
    return (body.pixels.x - start.real) * way.real + (body.pixels.y - start.imag) * way.imag


Hair = tuple[Array, Array]  # colours [3, H, W], and how far inside the hair each pixel is [H, W]
HORN = (0.17, 0.15, 0.14)


class HorseCoat:
    """A horse: marked with dark points, white, and hooves; with long hair."""

    def __init__(self, scene: Scene, bones: Skeleton, pixels: Pixels) -> None:
        self.coat, self.seed = scene.coat, scene.waver[2]
        self.base, self.way = complex(bones.neck.points[0]), toward(scene.pose.neck)
        self.lean = min(max(self.way.imag / self.way.real, -0.7), 0.9)  # how hair hangs across the neck

    def leg(self, index: int) -> Marker:
        """Return what marks a leg: dark downwards, perhaps with a sock."""
        end, sock = (HIND if index % 2 else FORE).length, self.coat.socks[index]

        def marks(body: Body) -> Marks:
            dark = smooth(body.along, end - 0.46, end - 0.26)
            white = smooth(body.along, end - 0.19, end - 0.16) if sock else None
            return dark, white, smooth(body.along, end - 0.055, end - 0.045)

        return marks

    def trunk(self, body: Body) -> Marks:
        """Mark trunk and neck with nothing."""
        return None, None, None

    def skull(self, body: Body) -> Marks:
        """Mark the muzzle, and perhaps a blaze."""
        blaze = None
        if self.coat.blaze:
            width = self.coat.blaze * smooth(body.along, 0.0, 0.10)
            blaze = smooth(body.inside - width, 0.006, -0.006) * (body.side > 0) * smooth(body.along, 0.0, 0.05)
        return 0.8 * smooth(body.along, 0.26, 0.35), blaze, None

    def ear(self, body: Body) -> Marks:
        """Mark the rim of an ear."""
        return smooth(body.inside, 0.012, 0.0), None, None

    def colours(self, marks: Array, normal: Array, pixel: float) -> Array:
        """Return the colours [3, H, W] of what is marked so."""
        points, white, hoof = marks
        coat = plain(self.coat.body, points) * (1 - 0.12 * normal[1])
        return mixed(mixed(mixed(coat, self.coat.points, points), (0.90, 0.88, 0.85), white), HORN, hoof)

    def mane(self, body: Body) -> Hair:
        """Return the mane: it falls from the crest over the near side of the neck."""
        q = along(body, self.base, self.way) + self.lean * body.inside
        reach = smooth(q, 0.03, 0.2) * smooth(body.along, 0.70, 0.62)
        locks = 0.5 * np.sin(47 * q + 7 * self.seed) + 0.35 * np.sin(113 * q) + 0.3 * np.sin(251 * q)
        hangs = reach * (0.118 + 0.018 * locks) - body.inside
        return self.hair(q), np.where(body.side > 0, np.minimum(hangs, body.inside + 0.045 * reach - 0.03), -1)

    def tail(self, body: Body) -> Hair:
        """Return the tail: full, thinning to loose ends."""
        ends = smooth(body.along, 0.25, 0.62)
        loose = 0.016 * ends * (1.4 + hairs(body.side, self.seed))
        return self.hair(body.side + 0.06 * body.along), body.inside - loose

    def hair(self, q: Array) -> Array:
        """Return the colours of strands."""
        return plain(self.coat.mane, q) * (1 + 0.2 * hairs(q, self.seed))


PERIOD = 0.1113  # of the stripes on the barrel, in body units; four of them between flank and shoulder
RINGS, FACE = 0.092, 0.078  # of those on the legs and on the head
FLANK = -0.16 + 0.44j  # where the stripes of the haunch fan out from
SHARP = PERIOD / 9  # length over which a stripe's rim turns from black to white
HAUNCH, NECK = 0.26, 0.34  # how far from their centre fanning stripes are as wide as on the barrel
BLACK, WHITE, CREAM = (0.08, 0.068, 0.063), (0.91, 0.89, 0.84), (0.89, 0.82, 0.70)


class ZebraCoat:
    """A zebra: striped across whatever it is on, white below, with a dark muzzle and a standing mane.

    Stripes are marked as waves, black where they are positive. Where parts melt their waves do, which lets
    stripes fork and join as they do on the animal.
    """

    def __init__(self, scene: Scene, bones: Skeleton, pixels: Pixels) -> None:
        self.a, self.b, self.seed = scene.waver
        self.white = [w + (0.5 + 0.5 * self.seed) * (c - w) for w, c in zip(WHITE, CREAM)]
        self.poll, self.face = complex(bones.neck.points[-1]), toward(scene.pose.head + 0.35)
        self.phase = self.trunk_phase(pixels, scene.pose.neck)
        self.stripes = wave(self.phase)

    def trunk_phase(self, pixels: Pixels, neck: float) -> Array:
        """Return the phase of the stripes on trunk and neck [H, W].

        They stand upright on the barrel, fan out to level on the haunch, and to across the neck before the shoulder.
        """
        x, y = pixels.x - FLANK.real, pixels.y - FLANK.imag
        rear = np.where(y > 0, HAUNCH * np.arctan2(x, np.maximum(y, 1e-3)), y - HAUNCH * np.pi / 2)
        centre = 0.20 + 1.16j if neck > 0 else 0.34 + 0.46j
        dx, dy = pixels.x - centre.real, pixels.y - centre.imag
        angle = np.arctan2(dx, np.maximum(-dy if neck > 0 else dy, 1e-3))
        beyond = np.where(angle > abs(neck), np.maximum(dx * np.cos(neck).item() + dy * np.sin(neck).item(), 0), 0)
        front = (centre - FLANK).real + NECK * np.minimum(angle, abs(neck)) + beyond
        phase = np.where(x < 0, rear, np.where(dx < 0, x, front)) * (1 / PERIOD)
        x, y = pixels.x, pixels.y  # and by how much of a period those of this animal are off
        waver = np.sin(9 * x + 3 * self.a) + np.sin(12 * y + 3 * self.b) + 2 * np.sin(10 * x + 2) * np.sin(11 * y)
        return phase + 0.06 * waver

    def trunk(self, body: Body) -> Marks:
        """Mark trunk and neck with stripes that end before the belly."""
        x, y, _ = body.pixels
        belly = smooth(y, 0.585, 0.50) * (smooth(x, -0.3, -0.1) * smooth(x, 0.5, 0.4))
        return self.stripes[body.window] - 0.05 - belly, None, None

    def skull(self, body: Body) -> Marks:
        """Mark the head with narrow stripes, and its muzzle."""
        stripes = wave(along(body, self.poll, self.face) * (1 / FACE) + 0.75)
        return stripes - 0.1, smooth(body.along, 0.245, 0.31), None

    def ear(self, body: Body) -> Marks:
        """Mark an ear: white with a black tip."""
        return wave((body.along - 0.135) * (1 / 0.11)), None, None

    def leg(self, index: int) -> Marker:
        """Return what marks a leg: level stripes, into which those of the trunk turn, and a hoof."""

        def fore(body: Body) -> Marks:
            t = smooth(body.along, 0.10, 0.20)
            stripes = self.stripes[body.window] * (1 - t) + wave((body.along - 0.12) * (1 / RINGS)) * t
            return stripes - 0.05, None, smooth(body.along, FORE.length - 0.055, FORE.length - 0.045)

        def hind(body: Body) -> Marks:
            t = smooth(body.along, 0.22, 0.36)
            level = -HAUNCH * np.pi / 2 / PERIOD - (body.along - 0.34) * (1 / RINGS)
            stripes = wave(self.phase[body.window] * (1 - t) + level * t)
            return stripes - 0.05, None, smooth(body.along, HIND.length - 0.055, HIND.length - 0.045)

        return hind if index % 2 else fore

    def colours(self, marks: Array, normal: Array, pixel: float) -> Array:
        """Return the colours [3, H, W] of what is marked so."""
        stripes, muzzle, hoof = marks
        coat = mixed(plain(self.white, stripes), BLACK, covered(stripes * SHARP, pixel))
        return mixed(mixed(coat, (0.13, 0.105, 0.10), muzzle), HORN, hoof)

    def mane(self, body: Body) -> Hair:
        """Return the mane: it stands on the crest, short and striped like the neck, its tips brown."""
        rise = smooth(body.along, 0.02, 0.14) * smooth(body.along, 0.74, 0.66)
        rise = (0.08 + 0.007 * hairs(body.along, self.seed)) * rise - 0.02
        black = covered(self.stripes[body.window] * SHARP, body.pixels.size)
        hair = mixed(plain(self.white, rise), BLACK, black)
        hair = hair * (0.84 + 0.16 * hairs(body.pixels.x + 0.5 * body.pixels.y, self.seed))
        hair = mixed(hair, (0.14, 0.10, 0.08), 0.85 * smooth(body.inside, -0.025, -0.055))
        return hair, np.where(body.side > 0, np.minimum(body.inside + rise, 0.2 * rise - body.inside), -1)

    def tail(self, body: Body) -> Hair:
        """Return the tail: thin and ringed, with a black tuft."""
        tuft = smooth(body.along, 0.25, 0.42)
        rings = covered(wave(body.along * (1 / 0.075)) * 0.01, body.pixels.size)
        hair = mixed(plain(self.white, tuft), BLACK, np.maximum(rings, smooth(body.along, 0.25, 0.30)))
        thin = 0.017 + 0.06 * tuft - np.abs(body.side)
        return hair, np.minimum(body.inside - 0.016 * tuft * (1.4 + hairs(body.side, self.seed)), thin)


def wave(phase: Array) -> Array:
    """Return the wave of stripes at that phase."""
    return np.cos((2 * np.pi) * phase)


# ------------------------------------------------------------------------------------------------ painting


class Painting:
    """An animal on nothing: premultiplied colours [3, H, W] and coverage [H, W] of a window of the picture."""

    def __init__(self, scene: Scene, animal: Animal, grid: int) -> None:
        self.scene, pose = scene, scene.pose
        self.bones = skeleton(pose)
        chains = [TORSO, self.bones.skull, self.bones.tail, *self.bones.legs, *self.bones.ears]
        left, right, _, high = extent(chains, 0.06)
        free = max(0.0, 1 / pose.scale - (right - left) * pose.turn)
        highest = max(0.84, high * pose.scale)
        self.foot = highest + max(0.0, 0.95 - highest) * pose.ground  # row of the ground / height of the picture

        # Body coordinates of the whole picture, then of the part where the animal is.
        pixel = 1 / (pose.scale * grid)
        steps = ((np.arange(grid) + 0.5) * pixel).astype(np.float32)
        x = ((steps + (left * pose.turn - free * pose.across)) / pose.turn)[:: pose.facing]
        picture = Pixels(x[None], (self.foot / pose.scale - steps)[:, None], pixel)
        self.window = picture.near(chains, 0.06)
        self.pixels = picture.within(self.window)
        shape = (self.pixels.y.size, self.pixels.x.size)
        self.colour, self.cover = np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32)
        self.bodies: dict[int, Body] = {}
        self.solids = np.zeros(shape, np.float32)  # what throws a shadow: the same for both animals
        self.coat: Any = {"horse": HorseCoat, "zebra": ZebraCoat}[animal](scene, self.bones, self.pixels)

    def over(self, colour: Array, cover: Array, window: Window) -> None:
        """Paint over what is there."""
        for plane, c in zip([*self.colour, self.cover], [*colour, 1]):
            plane[window] += (c - plane[window]) * cover

    def lit(self, albedo: Array, normal: Array, shade: float = 1.0, gloss: float = 0.0) -> Array:
        """Return the colours [3, H, W] of a surface in the light of sun and sky, and what the ground throws back."""
        light, near = self.scene.light, self.scene.land.near
        sx, sy, sz = light.sun
        facing = normal[0] * (sx * self.scene.pose.facing) + normal[1] * sy + normal[2] * sz
        direct = np.maximum((facing + 0.2) * (1 / 1.2), 0)
        shine = gloss * np.maximum(facing - 0.55, 0) ** 2
        up = 0.5 + 0.5 * normal[1]
        out = albedo * albedo
        for c, (sun, sky) in enumerate(zip(light.direct, light.sky)):
            bounce = 0.3 * near[c]
            out[c] *= direct * sun + up * (sky - bounce) + bounce
            out[c] += shine * sun
        return np.sqrt(np.minimum(out * shade, 1))

    def measure(self, chain: Chain) -> Body:
        """Return where the pixels near the chain lie on it."""
        if id(chain) not in self.bodies:
            margin = 0.07 if chain is self.bones.neck else 0.05  # a mane is higher than what melts together
            self.bodies[id(chain)] = measure(chain, self.pixels, self.pixels.near([chain], margin))
        return self.bodies[id(chain)]

    def solid(self, parts: Sequence[tuple[Chain, Marker]], shade: float = 1.0) -> None:
        """Paint chains melted together."""
        clay = Clay(self.pixels)
        for part, marks in parts:
            body = self.measure(part)
            if body.inside.size:
                clay.add(body, marks(body))
        window = self.pixels.near([part for part, _ in parts], 0.03)
        cover, normal, marked = clay.done(window)
        self.over(self.lit(self.coat.colours(marked, normal, self.pixels.size), normal, shade, 0.5), cover, window)
        np.maximum(self.solids[window], cover, out=self.solids[window])

    def hair(self, chain: Chain, style: Callable[[Body], Hair]) -> None:
        """Paint hair that hangs or stands along a chain."""
        body = self.measure(chain)
        colours, inside = style(body)
        normal = np.empty_like(colours)
        normal[0], normal[1], normal[2] = -0.2, 0.35, 0.91
        self.over(self.lit(colours, normal), covered(inside, self.pixels.size), body.window)

    def spot(self, centre: complex, radius: float, colour: Colour) -> None:
        """Paint a small disc, such as an eye, where the animal is."""
        window = self.pixels.near([Chain(np.array([centre]), np.array([radius]), 0)], 0.02)
        pixels = self.pixels.within(window)
        inside = radius - np.hypot(pixels.x - centre.real, pixels.y - centre.imag)
        self.over(plain(colour, inside), covered(inside, pixels.size) * self.cover[window], window)


def paint(scene: Scene, animal: Animal, grid: int) -> Painting:
    """Paint the animal of a scene, from the far side to the near one."""
    painting = Painting(scene, animal, grid)
    bones, coat = painting.bones, painting.coat
    painting.solid([(bones.ears[1], coat.ear)], 0.42)
    painting.solid([(bones.legs[2], coat.leg(2)), (bones.legs[3], coat.leg(3))], 0.42)
    painting.hair(bones.tail, coat.tail)
    head = [(bones.skull, coat.skull), (bones.ears[0], coat.ear)]
    legs = [(bones.legs[0], coat.leg(0)), (bones.legs[1], coat.leg(1))]
    painting.solid([(TORSO, coat.trunk), (SHOULDER, coat.trunk), (bones.neck, coat.trunk), *head, *legs])
    painting.hair(bones.neck, coat.mane)
    if animal == "horse":
        painting.hair(bones.forelock, coat.tail)
    poll, head_way = complex(bones.skull.points[0]), toward(scene.pose.head)
    painting.spot(poll + (0.115 + 0.025j) * head_way, 0.014, (0.03, 0.025, 0.025))
    painting.spot(poll + (0.118 + 0.030j) * head_way, 0.003, (0.45, 0.45, 0.45))
    painting.spot(poll + (0.345 + 0.012j) * head_way, 0.010, (0.05, 0.04, 0.04))
    return painting


# ------------------------------------------------------------------------------------------------ landscapes


class Sketch(NamedTuple):
    """A canvas uint8 [H, W, 3] and what is drawn on it; positions are shares of its width and height."""

    canvas: Array
    land: Land
    light: Light
    rng: np.random.Generator

    def fill(self, shape: Array, c: Array) -> None:
        """Fill a polygon [points, 2] with a colour."""
        import cv2

        whole = np.rint(shape * (16 * len(self.canvas))).astype(np.int32)
        cv2.fillPoly(self.canvas, [whole], np.minimum(c * 255, 255).tolist(), cv2.LINE_AA, 4)

    def hill(self, heights: Array, c: Array) -> None:
        """Fill from the heights, spread over the width, down to the horizon."""
        x = np.linspace(0, 1, len(heights))
        line = np.stack([x, self.land.horizon - np.maximum(heights, 0)], 1)
        self.fill(np.concatenate([line, [[1, self.land.horizon], [0, self.land.horizon]]]), c)

    def ridges(self) -> None:
        """Draw hills, the further the hazier."""
        x, rng, haze, far = np.linspace(0, 1, 65), self.rng, np.array(self.land.haze), np.array(self.land.far)
        for ridge in range(self.land.ridges):
            near = (ridge + 1) / (self.land.ridges + 1)
            waves = ((1, rng.uniform(3, 7)), (2.5, rng.uniform(9, 15)), (8, rng.uniform(25, 40)))
            shape = np.sum([np.sin(x * f + rng.uniform(0, 6.3)) / k for k, f in waves], 0)
            tone = haze * (0.80, 0.87, 0.95) * (1 - near) + near * (0.45 * haze + 0.55 * far * (0.8, 0.9, 0.8))
            self.hill(0.015 + 0.06 * (1.25 - near) * (1 + 0.6 * shape), tone)

    def wood(self) -> None:
        """Draw bushes along the horizon."""
        x = np.linspace(0, 1, 160)
        level = np.maximum(np.interp(x, np.linspace(0, 1, 9), self.rng.random(9)) - (1 - self.land.wood), 0) ** 0.4
        bumps = 0.020 + 0.022 * np.interp(x, np.linspace(0, 1, 44), self.rng.random(44))
        tone = 0.4 * np.array(self.land.haze) + 0.6 * np.array(self.land.leaves)
        self.hill(level * bumps - 0.002, tone * 1.03)
        self.hill(0.55 * level * bumps - 0.002, tone * 0.9)

    def tree(self) -> None:
        """Draw a tree near the horizon: a trunk, and leaves lighter towards the light."""
        land, rng, haze = self.land, self.rng, np.array(self.land.haze)
        size, lean = rng.uniform(0.06, 0.13), rng.normal(0, 0.12)
        foot = np.array([rng.random(), land.horizon + 0.4 * size])
        for branch in (-0.3, 0.0, 0.25) if land.acacias else (0.0,):
            trunk = np.array([(-0.035, 0), (0.035, 0), (lean + branch + 0.02, -1), (lean + branch - 0.02, -1)])
            self.fill(trunk * size + foot, 0.75 * np.array([0.30, 0.24, 0.19]) + 0.25 * haze)
        spread, flat = ((0.36, 0.05), 0.24) if land.acacias else ((0.22, 0.17), 0.85)
        layer, angles = np.arange(3), np.linspace(0, 2 * np.pi, 16, endpoint=False)
        centre = np.array([lean, -1.02]) + rng.normal(0, 1, (3, 5, 2)) * spread
        centre += 0.06 * layer[:, None, None] * np.array([self.light.sun[0], -1.2])
        radius = rng.uniform(0.24, 0.40, (3, 5)) * (1 - 0.15 * layer)[:, None]
        rim = np.stack([np.cos(angles), flat * np.sin(angles)], 1) * (1 + 0.12 * rng.standard_normal((3, 5, 16, 1)))
        shade = 0.80 + 0.16 * layer[:, None] + 0.04 * rng.standard_normal((3, 5))
        blobs = foot + (centre[:, :, None] + rim * radius[..., None, None]) * size
        for blob, light in zip(blobs.reshape(15, 16, 2), shade.ravel()):
            self.fill(blob, (0.8 * np.array(land.leaves) + 0.2 * haze) * light)

    def fence(self) -> None:
        """Draw a wooden fence between the horizon and the animal."""
        rng = self.rng
        foot, height = self.land.horizon + rng.uniform(0.05, 0.11), rng.uniform(0.07, 0.10)
        slope, wood = rng.uniform(-0.04, 0.04), np.array([0.47, 0.39, 0.31]) * rng.uniform(0.85, 1.2)
        for y in (foot - 0.35 * height, foot - 0.8 * height):
            self.fill(np.array([(0, y), (1, y + slope), (1, y + slope + 0.011), (0, y + 0.011)]), wood)
        for x in np.arange(rng.uniform(0, 0.2), 1, rng.uniform(0.16, 0.24)):
            y = foot + slope * x
            self.fill(np.array([(x, y - height), (x + 0.014, y - height), (x + 0.014, y), (x, y)]), wood * 0.88)


def fractal(rng: np.random.Generator) -> Array:
    """Return smooth noise [128, 128] of about unit variance with detail at all scales."""
    import cv2

    out = 1.4 * rng.random((128, 128), dtype=np.float32) - 0.5 * (1.4 + 1.5 + 1.7 + 2.1)
    for n, weight in ((48, 1.5), (20, 1.7), (8, 2.1)):
        noise = weight * rng.random((n, n), dtype=np.float32)
        out += cv2.resize(noise, (128, 128), interpolation=cv2.INTER_CUBIC)
    return out


def laid(texture: Array, distance: Array, grid: int, scale: float) -> Array:
    """Return a texture laid on a plane in perspective; distance [H] is how far from the camera each row sees it."""
    import cv2

    across = (np.arange(grid, dtype=np.float32) + 0.5) / grid - 0.5
    distance = distance[:, None] * scale
    y = np.repeat(distance, grid, 1)
    return cv2.remap(texture, across * distance + 64, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def landscape(scene: Scene, grid: int) -> Array:
    """Return the picture without the animal, float32 [3, grid, grid] in 0..1."""
    import cv2

    land, rng = scene.land, np.random.default_rng((scene.seed, 1))
    zenith, haze, far, near = (plain(c, np.zeros((1, 1))) for c in (land.zenith, land.haze, land.far, land.near))
    row = (np.arange(grid, dtype=np.float32) + 0.5) / grid
    split = int(np.searchsorted(row, land.horizon))
    up, down = (land.horizon - row[:split])[:, None], (row[split:] - land.horizon)[:, None]

    # The sky, with clouds on a plane above us.
    t = (1 - up / land.horizon) ** 1.2
    clouds = laid(fractal(rng), 1 / (up[:, 0] + 0.16), grid, 9)
    clouds = smooth(clouds, 1.3 - 2 * land.clouds, 3.2 - 2 * land.clouds) * np.minimum(up * 7, 0.75)
    sky = (1 - t) * zenith + t * haze
    sky = sky + (0.93 + 0.07 * haze - sky) * clouds

    # The ground, patchy at a coarse and at a fine scale.
    t = (down / (1 - land.horizon)) ** 0.6
    noise, distance = fractal(rng), 1 / (down[:, 0] + 0.09)
    texture = laid(noise, distance, grid, 12) + laid(noise, distance, grid, 50) * np.minimum(7 * down, 1)
    texture *= np.minimum(0.25 + 6 * down, 1)
    ground = ((1 - t) * far + t * near) * (1 + np.array([0.06, 0.05, 0.04], np.float32)[:, None, None] * texture)

    picture = np.minimum(np.concatenate([sky, ground], 1) * 255 + 0.5, 255).astype(np.uint8)
    sketch = Sketch(cv2.merge(list(picture)), land, scene.light, rng)
    sketch.ridges()
    if land.wood:
        sketch.wood()
    for _ in range(land.trees):
        sketch.tree()
    if land.fence:
        sketch.fence()
    canvas = cv2.GaussianBlur(sketch.canvas, (0, 0), grid / 350)
    return np.stack(cv2.split(canvas)) * np.float32(1 / 255)


def tufts(scene: Scene, foot: float, grid: int) -> Array:
    """Return how much grass stands before everything [2, grid, grid]: in its shade, and in the light."""
    import cv2

    rng, count, blades = np.random.default_rng((scene.seed, 2)), 30, 6
    layers = np.zeros((2, grid, grid), np.uint8)
    for layer in layers:
        y = foot + rng.uniform(-0.02, 0.13, (count, 1))
        y[: count // 2] = foot + rng.uniform(0.0, 0.03, (count // 2, 1))  # half of it around the hooves
        height = scene.land.grass * scene.pose.scale * rng.uniform(0.4, 1.2, (count, blades)) * (1 + 3 * (y - foot))
        root = rng.random((count, 1))
        lean = np.sort(rng.normal(0, 0.45, (count, blades)), 1)
        tip = np.stack([root + (lean + 0.1) * height, y - height], -1)
        notch = np.stack([root + (lean + 0.25) * 0.3 * height, y - 0.3 * height], -1)
        feet = [np.stack([root + side, y], -1) for side in (-0.004, 0.004)]
        outline = np.concatenate([feet[0], np.stack([tip, notch], 2).reshape(count, 2 * blades, 2), feet[1]], 1)
        cv2.fillPoly(layer, list(np.rint(outline * (16 * grid)).astype(np.int32)), 255, cv2.LINE_AA, 4)
    return layers * np.float32(1 / 255)


def shadow(painting: Painting, grid: int) -> Array:
    """Return how much of the light reaches the ground [grid, grid]: the animal keeps some of it."""
    import cv2

    light, shape = painting.scene.light, np.zeros((grid, grid), np.float32)
    shape[painting.window] = painting.solids
    # A point y above the ground throws its shadow sx / sy y to the side and sz / sy y behind it, seen foreshortened.
    sx, sy, sz = light.sun
    foot, side, back = painting.foot * grid, -sx / sy, 0.20 * sz / sy + 0.05
    matrix = np.array([[1, -side, side * foot], [0, back, foot * (1 - back)]])
    thrown = cv2.GaussianBlur(cv2.warpAffine(shape, matrix, (grid, grid)), (0, 0), grid / 150)
    out = 1 - 0.45 * (sum(light.direct) / 3) * thrown
    x, y, _ = painting.pixels
    out[painting.window] *= 1 - 0.3 * np.exp(-(((x + 0.05) / 0.55) ** 2)) * np.exp(-((y / 0.07) ** 2))
    return out


def compose(scene: Scene, animal: Animal, grid: int) -> Array:
    """Return the picture float32 [grid, grid, 3] in 0..255."""
    import cv2

    painting = paint(scene, animal, grid)
    picture = landscape(scene, grid)
    picture *= shadow(painting, grid)
    low = int((painting.foot - 0.1) * grid)  # grass begins below this row
    bare = picture[:, low:].copy()
    for plane, c in zip(picture, painting.colour):
        plane[painting.window] *= 1 - painting.cover
        plane[painting.window] += c
    for cover, tone in zip(tufts(scene, painting.foot, grid)[:, low:], (0.78, 1.14)):
        picture[:, low:] += (bare * np.float32(tone) - picture[:, low:]) * cover
    return cv2.merge(list(picture * 255))


def finer(size: int) -> int:
    """Return the size at which a picture is painted: small ones twice as large, to be averaged."""
    return size * 2 if size < 128 else size


def render(scene: Scene, animal: Animal, size: int) -> Array:
    """Return the scene with that animal, uint8 [size, size, 3]."""
    import cv2

    picture = compose(scene, animal, finer(size))
    if len(picture) != size:
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def mask(scene: Scene, size: int) -> Array:
    """Return where the animal is, bool [size, size]: each pixel that the horse or the zebra touches."""
    import cv2

    grid = finer(size)
    horse, zebra = paint(scene, "horse", grid), paint(scene, "zebra", grid)
    cover = np.zeros((grid, grid), np.float32)
    cover[horse.window] = horse.cover + zebra.cover
    return (cover if grid == size else cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)) > 0


# ---------------------------------------------------------------------------------------------- the data set


class HorsesAndZebras(Data):
    """Unpaired horses (A) and zebras (B): no scene shows both. Nothing is read from disk.

    Args:
        size: height and width of a sample, in pixels; 64 to 256 look right.
        batch_size: samples in one step.
        samples: training samples in an epoch: so many scenes with horses, and as many others with zebras.
        validation_samples: pairs of scenes that are never seen in training, the same for every `seed`.
        workers: loader processes.
        seed: chooses the scenes of the training set.
    """

    paired = False

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=1024)] = 64,
        batch_size: PositiveInt = 1,
        samples: PositiveInt = 2000,
        validation_samples: PositiveInt = 64,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.samples, self.workers = size, batch_size, samples, workers
        self.first = TRAINING + (seed << 32)
        self.pictures = Pictures(size)
        self._held_out = HeldOut(size, validation_samples)

    def __len__(self) -> int:
        return self.samples

    def seeds(self) -> tuple[range, range]:
        """Return the seeds of all training scenes: those with horses, those with zebras."""
        return (
            range(self.first, self.first + self.samples),
            range(self.first + self.samples, self.first + 2 * self.samples),
        )

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return {"A": the horse of scene `index`, "B": the zebra of another scene, drawn at random}.

        Half of the pictures are mirrored.

        Returns:
            Two tensors float32 [3, size, size] in [-1, 1].
        """
        horses, zebras = self.seeds()
        drawn, mirrored = int(rng.integers(len(zebras))), rng.random(2) < 0.5
        a = self.pictures(horses[index], "horse")
        b = self.pictures(zebras[drawn], "zebra")
        return {"A": to_tensor(a[:, ::-1] if mirrored[0] else a), "B": to_tensor(b[:, ::-1] if mirrored[1] else b)}

    def validation(self) -> Sequence[Sample]:
        """Return scenes that are in no training set, with the truth that only drawing can know.

        Returns:
            Samples of "A" (a horse), "B" (the zebra of another scene), "truth_A" (A's scene with a zebra),
            "truth_B" (B's scene with a horse), each float32 [3, size, size] in [-1, 1], and "mask_A" and "mask_B"
            float32 [1, size, size], 1 where the animal is and 0 elsewhere.
        """
        return self._held_out


class Pictures:
    """Renders scenes, and keeps what it rendered as long as that is less than half a gigabyte."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[tuple[int, str], Array] = {}
        self.most = (1 << 29) // (3 * size * size)

    def __call__(self, seed: int, animal: Literal["horse", "zebra", "mask"]) -> Array:
        """Return the rendering uint8 [size, size, 3], or the mask bool [size, size], of the scene of that seed."""
        picture = self.kept.get((seed, animal))
        if picture is None:
            drawn = scene(seed)
            picture = mask(drawn, self.size) if animal == "mask" else render(drawn, animal, self.size)
            if len(self.kept) < self.most:
                self.kept[seed, animal] = picture
        return picture


class HeldOut(Sequence[Sample]):
    """The validation samples, rendered when they are looked at."""

    def __init__(self, size: int, samples: int) -> None:
        self.samples, self.pictures = samples, Pictures(size)

    def seeds(self) -> tuple[range, range]:
        """Return the seeds of the scenes of A and of those of B."""
        end = VALIDATION + 2 * self.samples
        return range(VALIDATION, end, 2), range(VALIDATION + 1, end, 2)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not -self.samples <= index < self.samples:
            raise IndexError(index)
        a, b = (seeds[index] for seeds in self.seeds())
        return {
            "A": to_tensor(self.pictures(a, "horse")),
            "B": to_tensor(self.pictures(b, "zebra")),
            "truth_A": to_tensor(self.pictures(a, "zebra")),
            "truth_B": to_tensor(self.pictures(b, "horse")),
            "mask_A": torch.from_numpy(self.pictures(a, "mask")).float()[None],
            "mask_B": torch.from_numpy(self.pictures(b, "mask")).float()[None],
        }
