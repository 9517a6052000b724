"""Horses and zebras, drawn by code: an unpaired data set with a known truth, at any size and without end.

A scene is a pure function of a seed: an animal in some pose, in some light, in some landscape. It can be rendered
as a horse or as a zebra, and nothing but the animal differs, so a translation can be scored.

    data: {use: horses_zebras, size: 64}      # in a config; `i2i run configs/cyclegan.yaml` trains on it

The animal is modelled like clay: chains of round cones along its bones, melted together. That gives each pixel a
height, which the light needs, and coordinates along the body, which stripes and coat need. Body coordinates: x
towards the head, y up, the ground at y = 0; the withers are 1 above it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from .base import Data, Sample
from .transforms import to_tensor

Array = np.ndarray
Animal = Literal["horse", "zebra"]
Colour = tuple[float, float, float]

TRAINING, VALIDATION, CLASSIFIER = 0, 1 << 60, 1 << 61
"""Where the seeds of the scenes begin that are for training, for validation, for the classifier that judges."""


# ------------------------------------------------------------------------------------------------ scenes


@dataclass(frozen=True)
class Pose:
    """How the animal stands: angles in radians, shares of what is possible in 0..1."""

    facing: int  # 1: to the right, -1: to the left
    scale: float  # height of the withers / height of the picture
    turn: float  # length as seen / true length: less than 1 for an animal turned a little away
    legs: tuple[tuple[float, float], ...]  # (swing, lift in 0..1) of near fore, near hind, far fore, far hind
    neck: float  # direction of the neck: 0 is forward, positive is up
    head: float  # direction of the head
    ears: float  # 0 is upright, positive is forward
    tail: float  # 0 hangs, positive is away from the legs
    across: float  # where between the left and the right edge
    ground: float  # where between the highest and the lowest ground


@dataclass(frozen=True)
class Light:
    """Where the light comes from and what colour it has."""

    sun: Colour  # direction towards the sun: right, up, towards the camera; of length 1
    direct: Colour  # what the sun sends
    sky: Colour  # what comes from above


@dataclass(frozen=True)
class Land:
    """The landscape: colours in 0..1, the height of the horizon, and what stands there."""

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
    """The colours of a horse, and its white markings."""

    body: Colour
    mane: Colour
    points: Colour  # lower legs and muzzle
    blaze: float  # width of the white on the face in body units; 0 is none
    socks: tuple[bool, bool, bool, bool]


@dataclass(frozen=True)
class Scene:
    """Everything about a picture but whether it shows a horse or a zebra."""

    seed: int
    pose: Pose
    light: Light
    land: Land
    coat: Coat
    waver: tuple[float, float, float]  # -1..1: the mild personal variation of the stripes, and of hair


COATS = {  # share of the horses, body, mane and tail, points
    "bay": (0.30, (0.45, 0.275, 0.165), (0.10, 0.08, 0.07), (0.13, 0.10, 0.09)),
    "chestnut": (0.30, (0.54, 0.32, 0.19), (0.44, 0.25, 0.15), (0.50, 0.29, 0.18)),
    "dark brown": (0.13, (0.30, 0.20, 0.14), (0.09, 0.08, 0.08), (0.14, 0.11, 0.10)),
    "palomino": (0.12, (0.76, 0.56, 0.33), (0.90, 0.84, 0.71), (0.72, 0.56, 0.38)),
    "buckskin": (0.09, (0.68, 0.53, 0.35), (0.13, 0.10, 0.09), (0.17, 0.13, 0.11)),
    "grey": (0.06, (0.64, 0.63, 0.62), (0.46, 0.46, 0.47), (0.36, 0.36, 0.37)),
}
SKIES = {  # share, zenith, haze, the sun's colour and strength, the sky's strength
    "noon": (0.40, (0.31, 0.54, 0.84), (0.78, 0.88, 0.95), (1.00, 0.97, 0.91), 0.95, 0.42),
    "hazy": (0.25, (0.50, 0.67, 0.84), (0.90, 0.90, 0.86), (1.00, 0.96, 0.88), 0.75, 0.52),
    "evening": (0.20, (0.42, 0.57, 0.74), (0.98, 0.84, 0.66), (1.00, 0.84, 0.62), 0.92, 0.42),
    "overcast": (0.15, (0.63, 0.69, 0.75), (0.86, 0.88, 0.89), (1.00, 0.98, 0.96), 0.42, 0.72),
}
GROUNDS = {  # share, far, near, leaves, acacias rather than round trees, grass, chance of a fence
    "savanna": (0.32, (0.76, 0.68, 0.45), (0.64, 0.53, 0.30), (0.36, 0.42, 0.21), True, 0.035, 0.0),
    "meadow": (0.30, (0.55, 0.65, 0.37), (0.33, 0.47, 0.19), (0.24, 0.37, 0.17), False, 0.035, 0.45),
    "steppe": (0.20, (0.66, 0.65, 0.43), (0.49, 0.50, 0.27), (0.32, 0.40, 0.22), False, 0.03, 0.2),
    "dust": (0.18, (0.78, 0.68, 0.53), (0.64, 0.51, 0.36), (0.40, 0.42, 0.25), True, 0.012, 0.1),
}


def scene(seed: int) -> Scene:
    """Return the scene of that seed; the same one in every process and at every size."""
    rng = np.random.default_rng(seed)
    light, land = draw_land(rng)
    pose = draw_pose(rng)
    body, mane, points = choice(rng, COATS)
    tint = 1 + 0.07 * rng.standard_normal() + 0.025 * rng.standard_normal(3)
    coat = Coat(
        colour(body * tint),
        colour(mane * tint),
        colour(points * tint),
        float(rng.uniform(0.015, 0.04) * (rng.random() < 0.4)),
        tuple((rng.random(4) < 0.22).tolist()),  # type: ignore[arg-type]
    )
    a, b, c = rng.uniform(-1, 1, 3).tolist()
    return Scene(seed, pose, light, land, coat, (a, b, c))


def colour(c: Array) -> Colour:
    """Return three numbers as a colour in 0..1."""
    r, g, b = np.clip(c, 0.02, 0.98).tolist()
    return (r, g, b)


def choice(rng: np.random.Generator, table: dict[str, tuple[Any, ...]]) -> list[Any]:
    """Draw a row of a table by its share, which comes first and is left out; colours become arrays."""
    rows = list(table.values())
    row = rows[rng.choice(len(rows), p=[r[0] for r in rows])]
    return [np.array(value) if isinstance(value, tuple) else value for value in row[1:]]


def draw_land(rng: np.random.Generator) -> tuple[Light, Land]:
    """Draw the light and the landscape."""
    zenith, haze, sun, direct, sky = choice(rng, SKIES)
    far, near, leaves, acacias, grass, fence = choice(rng, GROUNDS)
    direction = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.55, 1.1), rng.uniform(0.35, 0.8)])
    light = Light(
        sun=tuple((direction / np.linalg.norm(direction)).tolist()),  # type: ignore[arg-type]
        direct=colour(0.98 * direct * sun * rng.uniform(0.9, 1.03)) if direct < 1 else colour(sun),
        sky=colour(sky * (0.5 + 0.5 * (0.4 * zenith + 0.6 * haze))),
    )
    lit = 0.82 + 0.22 * direct  # the ground is darker under clouds
    tints = 1 + 0.035 * rng.standard_normal((5, 3))
    land = Land(
        horizon=float(rng.uniform(0.34, 0.56)),
        zenith=colour(zenith * tints[0]),
        haze=colour(haze * (1 + 0.4 * (tints[1] - 1))),
        far=colour((0.8 * far + 0.2 * haze) * lit * tints[2] * (0.7 + 0.3 * sun)),
        near=colour(near * lit * tints[3] * (0.7 + 0.3 * sun)),
        leaves=colour(leaves * lit * tints[4]),
        clouds=float(rng.random()),
        ridges=int(rng.integers(0, 4)),
        wood=float(max(0.0, rng.uniform(-0.4, 1.0))),
        trees=int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])),
        acacias=acacias,
        fence=bool(rng.random() < fence),
        grass=grass,
    )
    return light, land


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose: walking, standing or grazing."""
    kind = rng.choice(3, p=[0.45, 0.33, 0.22])
    start = rng.random()
    if kind == 0:
        legs = [stride(start + shift) for shift in (0.0, 0.75, 0.5, 0.25)]
        neck, head = rng.uniform(0.5, 0.85), rng.uniform(-0.95, -0.6)
    elif kind == 1:
        legs = [(float(swing), 0.0) for swing in rng.uniform(-0.1, 0.1, 4)]
        neck, head = rng.uniform(0.65, 1.0), rng.uniform(-1.0, -0.6)
    else:
        legs = [(float(swing), 0.0) for swing in rng.uniform(-0.25, 0.25, 4)]
        neck, head = rng.uniform(-0.66, -0.55), rng.uniform(-1.45, -1.1)
    return Pose(
        facing=1 if rng.random() < 0.5 else -1,
        scale=float(rng.uniform(0.47, 0.57)),
        turn=float(rng.uniform(0.88, 1.0)),
        legs=tuple(legs),
        neck=float(neck),
        head=float(head),
        ears=float(rng.uniform(-0.15, 0.35)),
        tail=float(rng.uniform(-0.1, 0.35)),
        across=float(rng.random()),
        ground=float(rng.random()),
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
    """Round cones along the points [S + 1, 2], with radii [S + 1], `depth` nearer to the camera than the spine."""

    points: Array
    radii: Array
    depth: float = 0.0


FORE = Chain(
    np.array([(0.345, 0.72), (0.285, 0.55), (0.300, 0.32), (0.295, 0.275), (0.288, 0.115), (0.308, 0.065), (0.332, 0.018)]),
    np.array([0.125, 0.087, 0.045, 0.034, 0.036, 0.032, 0.045]),
    0.075,
)
HIND = Chain(
    np.array([(-0.36, 0.77), (-0.27, 0.59), (-0.36, 0.46), (-0.455, 0.365), (-0.445, 0.31), (-0.432, 0.115), (-0.412, 0.065), (-0.386, 0.018)]),
    np.array([0.185, 0.132, 0.076, 0.049, 0.038, 0.037, 0.033, 0.045]),
    0.07,
)
TORSO = Chain(
    np.array([(-0.45, 0.80), (-0.38, 0.785), (-0.28, 0.77), (-0.16, 0.748), (-0.03, 0.73), (0.10, 0.725), (0.22, 0.735), (0.32, 0.75), (0.37, 0.755)]),
    np.array([0.125, 0.172, 0.195, 0.198, 0.209, 0.226, 0.238, 0.215, 0.185]),
)
SKULL = Chain(  # along the head, and above it
    np.array([(0.0, 0.0), (0.085, -0.033), (0.20, -0.012), (0.295, -0.005), (0.325, -0.018)]),
    np.array([0.072, 0.097, 0.066, 0.052, 0.046]),
    0.08,
)
FOLDS = {"fore": (0.75, -0.7, -0.8, -0.6, -0.2), "hind": (0.25, -0.5, -0.05, -0.05, -0.5, -0.2)}  # joints of a lifted leg


def turned(points: Array, joint: int, angle: float) -> Array:
    """Return the points with those after `joint` turned about it; a positive angle swings a foot forward."""
    c, s = np.cos(angle), np.sin(angle)
    out = points.copy()
    out[joint:] = points[joint] + (points[joint:] - points[joint]) @ np.array([[c, s], [-s, c]])
    return out


def leg(rest: Chain, folds: Sequence[float], swing: float, lift: float, far: bool) -> Chain:
    """Return a leg that swings and lifts; one that is not lifted reaches the ground."""
    points = turned(rest.points, 0, swing)
    for joint, angle in enumerate(folds):
        points = turned(points, joint + 1, angle * lift)
    if lift == 0:
        hip = points[0, 1]
        points[:, 1] = hip + (points[:, 1] - hip) * (hip - rest.points[-1, 1]) / (hip - points[-1, 1])
    if far:  # stands further from the camera, so higher in the picture
        points = points + np.linspace(0.3, 1, len(points))[:, None] * np.array([0.03, 0.022])
    return Chain(points, rest.radii, rest.depth)


class Skeleton(NamedTuple):
    """The chains of a posed animal."""

    torso: Chain
    neck: Chain
    skull: Chain
    forelock: Chain
    tail: Chain
    legs: tuple[Chain, ...]  # near fore, near hind, far fore, far hind
    ears: tuple[Chain, Chain]  # near, far


def skeleton(pose: Pose) -> Skeleton:
    """Return the bones of the animal in that pose."""
    legs = tuple(
        leg(FORE if i % 2 == 0 else HIND, FOLDS["fore" if i % 2 == 0 else "hind"], swing, lift, i >= 2)
        for i, (swing, lift) in enumerate(pose.legs)
    )
    # The neck is an arc from the chest to the poll, its crest bent outwards.
    t = np.linspace(0, 1, 6)[:, None]
    base, length, arch = np.array([0.31, 0.80]), 0.60, 0.22
    if pose.neck < 0:  # grazing stretches it
        base, length, arch = np.array([0.31, 0.775]), 0.66, 0.16
    poll = base + length * direction(pose.neck)
    middle = base + 0.5 * length * direction(pose.neck + arch)
    neck = Chain((1 - t) ** 2 * base + 2 * t * (1 - t) * middle + t**2 * poll, np.array([0.19, 0.175, 0.152, 0.129, 0.108, 0.09]), -0.02)

    along = direction(pose.head)
    frame = np.stack([along, [-along[1], along[0]]])
    skull = Chain(poll + SKULL.points @ frame, SKULL.radii, SKULL.depth)
    forelock = Chain(poll + np.array([(-0.02, 0.06), (0.05, 0.068), (0.125, 0.045)]) @ frame, np.array([0.02, 0.026, 0.006]), 0.1)
    up = direction(np.clip(pose.head + 1.9 - pose.ears, 0.5, 2.6))
    ears = tuple(
        Chain(np.stack([root, root + 0.065 * up, root + 0.14 * up]), np.array([0.022, 0.027, 0.005]), 0.03)
        for root in (poll + np.array([-0.012, 0.045]) @ frame, poll + np.array([0.03, 0.055]) @ frame)
    )
    t = np.linspace(0, 1, 7)
    hang = np.stack([-0.545 - 0.07 * np.sin(0.75 * np.pi * t) - 0.4 * pose.tail * t**1.6, 0.885 - 0.60 * (1 - 0.35 * abs(pose.tail)) * t**1.2], 1)
    tail = Chain(hang, np.array([0.03, 0.038, 0.05, 0.058, 0.06, 0.05, 0.012]), -0.05)
    return Skeleton(TORSO, neck, skull, forelock, tail, legs, (ears[0], ears[1]))


def direction(angle: float) -> Array:
    """Return the unit vector at that angle."""
    return np.array([np.cos(angle), np.sin(angle)])


# ------------------------------------------------------------------------------------------------ clay


class Body(NamedTuple):
    """Where each pixel lies on a chain: arrays [H, W] in body units."""

    x: Array  # [1, W]
    y: Array  # [H, 1]
    inside: Array  # distance from the outline, positive inside
    height: Array  # towards the camera
    along: Array  # from the first point along the chain; it goes on before the first and after the last
    side: Array  # from the middle of the chain, positive to the left of its direction


def measure(chain: Chain, x: Array, y: Array) -> Body:
    """Return where the pixels at x [1, W], y [H, 1] lie on the chain: on the cone that is highest there."""
    points, radii = chain.points.astype(np.float32), chain.radii.astype(np.float32)
    way = np.diff(points, axis=0)
    length = np.hypot(way[:, 0], way[:, 1])
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.float32)
    shape = y.size, x.size
    inside, height = np.full(shape, -9, np.float32), np.full(shape, -9, np.float32)
    along, side = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for s, (ux, uy) in enumerate(way / length[:, None]):
        dx, dy = x - points[s, 0], y - points[s, 1]
        t, across = dx * ux + dy * uy, dy * ux - dx * uy
        on = np.minimum(np.maximum(t, 0), length[s])
        radius = radii[s] + on * ((radii[s + 1] - radii[s]) / length[s])
        squared = across * across + (t - on) ** 2
        np.maximum(inside, radius - np.sqrt(squared), out=inside)
        # A paraboloid: round inside, and falling ever steeper outside, so that chains melt without a crease.
        rise = radius - squared / radius
        higher = rise > height
        np.copyto(height, rise, where=higher)
        np.copyto(side, across, where=higher)
        free = np.maximum(t, 0) if s else t
        np.copyto(along, (free if s == len(way) - 1 else np.minimum(free, length[s])) + start[s], where=higher)
    return Body(x, y, inside, height + np.float32(chain.depth), along, side)


Marks = tuple["Array | None", "Array | None", "Array | None"]
Marker = Callable[[Body], Marks]


Window = tuple[slice, slice]
MELT, SOFT = np.float32(0.016), np.float32(0.03)  # how far outlines and surfaces melt together, in body units


class Clay:
    """Chains melted together on a grid of pixels, and what is marked on them."""

    def __init__(self, x: Array, y: Array) -> None:
        self.outline, self.surface = np.full((2, y.size, x.size), 1e-7, np.float32)
        self.marks = np.zeros((3, y.size, x.size), np.float32)
        self.x, self.y = x, y

    def add(self, window: Window, body: Body, marks: tuple[Any, ...]) -> None:
        """Melt a measured chain into the clay, with three marks for each pixel."""
        self.outline[window] += np.exp(np.maximum(body.inside, -0.2) * (1 / MELT))
        weight = np.exp(np.maximum(body.height, -0.25) * (1 / SOFT))
        self.surface[window] += weight
        for total, mark in zip(self.marks, marks):
            if mark is not None:
                total[window] += weight * mark

    def done(self, ground: Array, pixel: float) -> tuple[Array, Array, Array]:
        """Return how much of each pixel is covered [H, W], the normals [3, H, W] and the marks [3, H, W]."""
        import cv2

        inside = np.minimum(MELT * np.log(self.outline), self.y - ground)
        height = np.maximum(SOFT * np.log(self.surface), -0.1)
        height = cv2.GaussianBlur(height, (0, 0), 0.016 / pixel)  # or one sees where the cones meet
        normal = np.zeros((3, *height.shape), np.float32)
        normal[0, :, 1:-1] = (height[:, :-2] - height[:, 2:]) / (self.x[0, 2] - self.x[0, 0])
        normal[1, 1:-1] = (height[2:] - height[:-2]) * (0.5 / pixel)
        normal[2] = 1 / np.sqrt(normal[0] ** 2 + normal[1] ** 2 + 1)
        normal[:2] *= normal[2]
        return covered(inside, pixel), normal, self.marks / self.surface


def covered(inside: Array, pixel: float) -> Array:
    """Return how much of each pixel [H, W] is covered by what it lies so far inside of."""
    return np.minimum(np.maximum(inside * np.float32(1 / pixel) + np.float32(0.5), 0), 1)


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


Hair = tuple[Array, Array]  # colours [3, H, W], and how far inside the hair each pixel is [H, W]
HOOF = (0.17, 0.15, 0.14)


def reach(chain: Chain) -> float:
    """Return the length of a chain."""
    return float(np.hypot(*np.diff(chain.points, axis=0).T).sum())


END = {True: reach(FORE), False: reach(HIND)}


class HorseCoat:
    """A horse: marked with dark points, white, and hooves; with long hair."""

    def __init__(self, scene: Scene, bones: Skeleton) -> None:
        self.coat, self.seed = scene.coat, scene.waver[2]
        self.lean = float(np.clip(np.tan(scene.pose.neck), -0.7, 0.9))  # how hair hangs across the neck
        self.base, self.toward = bones.neck.points[0], direction(scene.pose.neck)

    def leg(self, index: int) -> Marker:
        """Return what marks a leg: dark downwards, perhaps with a sock."""
        end, sock = END[index % 2 == 0], self.coat.socks[index]

        def marks(body: Body) -> Marks:
            return (
                smooth(body.along, end - 0.46, end - 0.26),
                smooth(body.along, end - 0.19, end - 0.16) if sock else None,
                smooth(body.along, end - 0.055, end - 0.045),
            )

        return marks

    def torso(self, body: Body) -> Marks:
        """Mark the trunk with nothing."""
        return None, None, None

    neck = torso

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
        return mixed(mixed(mixed(coat, self.coat.points, points), (0.90, 0.88, 0.85), white), HOOF, hoof)

    def mane(self, body: Body, pixel: float) -> Hair:
        """Return the mane: it falls from the crest over the near side of the neck."""
        along = (body.x - self.base[0]) * self.toward[0] + (body.y - self.base[1]) * self.toward[1]
        q = along + self.lean * body.inside
        reach = smooth(q, 0.03, 0.2) * smooth(body.along, 0.70, 0.62)
        locks = 0.5 * np.sin(47 * q + 7 * self.seed) + 0.35 * np.sin(113 * q) + 0.3 * np.sin(251 * q)
        length = reach * (0.118 + 0.018 * locks)
        return self.hair(q), np.where(body.side > 0, np.minimum(length - body.inside, body.inside + 0.045 * reach - 0.03), -1)

    def tail(self, body: Body, pixel: float) -> Hair:
        """Return the tail: full, thinning to loose ends."""
        ends = smooth(body.along, 0.25, 0.62)
        return self.hair(body.side + 0.06 * body.along), body.inside - 0.016 * ends * (1.4 + hairs(body.side, self.seed))

    def hair(self, q: Array) -> Array:
        """Return the colours of strands."""
        return plain(self.coat.mane, q) * (1 + 0.2 * hairs(q, self.seed))


PERIOD = 0.1113  # of the stripes on the barrel, in body units; four of them between flank and shoulder
RINGS = 0.092  # of those on the legs
FLANK = (-0.16, 0.44)  # where the stripes of the haunch fan out from
HAUNCH, NECK = 0.26, 0.34  # how far from their centre fanning stripes are as wide as on the barrel
BLACK, WHITE = (0.075, 0.065, 0.065), (0.90, 0.875, 0.82)


def wave(phase: Array) -> Array:
    """Return the wave of stripes at that phase: black where it is positive."""
    return np.cos(np.float32(2 * np.pi) * phase)


class ZebraCoat:
    """A zebra: striped across whatever it is on, white below, with a dark muzzle and a standing mane.

    Stripes are marked as waves. Where parts melt their waves do, which lets stripes fork and join as they do on
    the animal.
    """

    def __init__(self, scene: Scene, bones: Skeleton) -> None:
        self.a, self.b, self.seed = scene.waver
        self.poll, self.face = bones.neck.points[-1], direction(scene.pose.head + 0.35) * (1 / 0.078)
        self.toward, self.turn, self.raised = direction(scene.pose.neck), abs(scene.pose.neck), scene.pose.neck > 0
        self.centre = (0.20, 1.16) if self.raised else (0.34, 0.46)  # where the stripes of the neck fan out from

    def waver(self, body: Body) -> Array:
        """Return by how much of a period the stripes of this animal are off."""
        x, y = body.x, body.y
        return 0.06 * (np.sin(9 * x + 3 * self.a) + np.sin(12 * y + 3 * self.b) + 2 * np.sin(10 * x + 2) * np.sin(11 * y))

    def trunk(self, body: Body) -> Array:
        """Return the phase on the trunk: upright on the barrel, fanning out to level on the haunch and to the neck."""
        x, y = body.x - np.float32(FLANK[0]), body.y - np.float32(FLANK[1])
        rear = np.where(y > 0, HAUNCH * np.arctan2(x, np.maximum(y, 1e-3)), y - np.float32(HAUNCH * np.pi / 2))
        dx, dy = body.x - np.float32(self.centre[0]), body.y - np.float32(self.centre[1])
        angle = np.arctan2(dx, np.maximum(-dy if self.raised else dy, 1e-3))
        over = np.maximum(dx * self.toward[0] + dy * self.toward[1], 0)
        front = (self.centre[0] - FLANK[0]) + NECK * np.minimum(angle, self.turn) + np.where(angle > self.turn, over, 0)
        return np.where(x < 0, rear, np.where(dx < 0, x, front)) * np.float32(1 / PERIOD) + self.waver(body)

    def torso(self, body: Body) -> Marks:
        """Mark the trunk with stripes that end before the belly."""
        belly = smooth(body.y, 0.585, 0.50) * smooth(body.x, -0.3, -0.1)
        return wave(self.trunk(body)) - 0.05 - belly, None, None

    def neck(self, body: Body) -> Marks:
        """Mark the neck with the stripes of the trunk, which have turned across it."""
        return wave(self.trunk(body)), None, None

    def skull(self, body: Body) -> Marks:
        """Mark the head with narrow stripes, and its muzzle."""
        phase = (body.x - self.poll[0]) * self.face[0] + (body.y - self.poll[1]) * self.face[1]
        return wave(phase + 0.75) - 0.1, smooth(body.along, 0.245, 0.31), None

    def ear(self, body: Body) -> Marks:
        """Mark an ear: white with a black tip."""
        return wave((body.along - 0.135) * (1 / 0.11)), None, None

    def leg(self, index: int) -> Marker:
        """Return what marks a leg: level stripes, into which those of the trunk turn, and a hoof."""
        end = END[index % 2 == 0]

        def fore(body: Body) -> Marks:
            t = smooth(body.along, 0.10, 0.20)
            rings = wave((body.along - 0.12) * (1 / RINGS))
            return wave(self.trunk(body)) * (1 - t) + rings * t - 0.05, None, smooth(body.along, end - 0.055, end - 0.045)

        def hind(body: Body) -> Marks:
            t = smooth(body.along, 0.22, 0.36)
            rings = -HAUNCH * np.pi / 2 / PERIOD - (body.along - 0.34) * (1 / RINGS)
            phase = self.trunk(body) * (1 - t) + rings * t
            return wave(phase) - 0.05, None, smooth(body.along, end - 0.055, end - 0.045)

        return fore if index % 2 == 0 else hind

    def colours(self, marks: Array, normal: Array, pixel: float) -> Array:
        """Return the colours [3, H, W] of what is marked so."""
        waves, muzzle, hoof = marks
        coat = mixed(plain(WHITE, waves), BLACK, covered(waves * (PERIOD / 9), pixel))
        return mixed(mixed(coat, (0.13, 0.105, 0.10), muzzle), HOOF, hoof)

    def mane(self, body: Body, pixel: float) -> Hair:
        """Return the mane: it stands on the crest, short and striped like the neck."""
        rise = smooth(body.along, 0.02, 0.14) * smooth(body.along, 0.74, 0.66)
        rise = (0.08 + 0.007 * hairs(body.along, self.seed)) * rise - 0.02
        waves, _, _ = self.neck(body)
        hair = mixed(plain(WHITE, rise), BLACK, covered(waves * (PERIOD / 9), pixel))  # type: ignore[operator]
        hair = hair * (0.84 + 0.16 * hairs(body.x + 0.5 * body.y, self.seed))
        hair = mixed(hair, (0.14, 0.10, 0.08), 0.85 * smooth(body.inside, -0.025, -0.055))
        return hair, np.where(body.side > 0, np.minimum(body.inside + rise, 0.2 * rise - body.inside), -1)

    def tail(self, body: Body, pixel: float) -> Hair:
        """Return the tail: thin and ringed, with a black tuft."""
        tuft = smooth(body.along, 0.25, 0.42)
        rings = covered(wave(body.along * (1 / 0.075)) * 0.01, pixel)
        hair = mixed(plain(WHITE, tuft), BLACK, np.maximum(rings, smooth(body.along, 0.25, 0.30)))
        thin = 0.017 + 0.06 * tuft - np.abs(body.side)
        return hair, np.minimum(body.inside - 0.016 * tuft * (1.4 + hairs(body.side, self.seed)), thin)


COATS_OF: dict[str, Any] = {"horse": HorseCoat, "zebra": ZebraCoat}


# ------------------------------------------------------------------------------------------------ painting


class Painting:
    """An animal on nothing: premultiplied colours [3, H, W] and coverage [H, W] of a grid of pixels."""

    def __init__(self, scene: Scene, grid: int) -> None:
        self.scene, self.bones = scene, skeleton(scene.pose)
        pose = scene.pose
        self.pixel = 1 / (pose.scale * grid)
        bones = self.bones
        low, high = extent([bones.torso, bones.skull, bones.tail, *bones.legs, *bones.ears], 0.06)
        left = low[0] * pose.turn - max(0.0, 1 / pose.scale - (high[0] - low[0]) * pose.turn) * pose.across
        highest = max(0.84, float(high[1]) * pose.scale)
        self.foot = highest + max(0.0, 0.95 - highest) * pose.ground  # row of the ground / height of the picture
        centres = ((np.arange(grid) + 0.5) * self.pixel).astype(np.float32)
        x = ((centres + np.float32(left)) / np.float32(pose.turn))[:: pose.facing]
        y = np.float32(self.foot / pose.scale) - centres
        self.window = inside(x, y, low - 0.04, high)
        self.x, self.y = x[None, self.window[1]], y[self.window[0], None]
        self.colour = np.zeros((3, self.y.size, self.x.size), np.float32)
        self.cover = np.zeros((self.y.size, self.x.size), np.float32)
        self.solids = self.cover.copy()  # what throws a shadow, the same for both animals
        self.measured: dict[int, tuple[Window, Body]] = {}

    def measure(self, chain: Chain) -> tuple[Window, Body]:
        """Return the part of the picture that the chain can reach, and where its pixels lie on the chain."""
        if id(chain) not in self.measured:
            window = inside(self.x[0], self.y[:, 0], *extent([chain], 0.07))
            self.measured[id(chain)] = window, measure(chain, self.x[:, window[1]], self.y[window[0]])
        return self.measured[id(chain)]

    def over(self, colour: Array, cover: Array, window: Window = (slice(None), slice(None))) -> None:
        """Paint over what is there."""
        rest = 1 - cover
        self.colour[:, *window] *= rest
        self.colour[:, *window] += colour * cover
        self.cover[window] *= rest
        self.cover[window] += cover

    def lit(self, albedo: Array, normal: Array, shade: float = 1.0, gloss: float = 0.0) -> Array:
        """Return the colours [3, H, W] of a surface in the light of sun and sky, and what the ground throws back."""
        light, near = self.scene.light, self.scene.land.near
        sun = np.array(light.sun, np.float32) * np.array([self.scene.pose.facing, 1, 1], np.float32)
        toward = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
        direct = np.maximum((toward + 0.2) * (1 / 1.2), 0)
        shine = gloss * np.maximum(toward - 0.55, 0) ** 2
        up = 0.5 + 0.5 * normal[1]
        out = albedo * albedo
        for c in range(3):
            bounce = 0.3 * near[c]
            out[c] *= direct * np.float32(light.direct[c]) + up * np.float32(light.sky[c] - bounce) + np.float32(bounce)
            out[c] += shine * np.float32(light.direct[c])
        return np.sqrt(np.minimum(out * np.float32(shade), 1))

    def solid(self, coat: Any, parts: Sequence[tuple[Chain, Marker]], shade: float = 1.0) -> None:
        """Paint chains melted together."""
        clay = Clay(self.x, self.y)
        for chain, marks in parts:
            window, body = self.measure(chain)
            if body.inside.size:
                clay.add(window, body, marks(body))
        cover, normal, marked = clay.done(np.float32(0), self.pixel)
        self.over(self.lit(coat.colours(marked, normal, self.pixel), normal, shade, 0.5), cover)
        np.maximum(self.solids, cover, out=self.solids)

    def hair(self, chain: Chain, style: Callable[[Body, float], Hair]) -> None:
        """Paint hair that hangs or stands along a chain."""
        window, body = self.measure(chain)
        colours, depth = style(body, self.pixel)
        normal = np.empty((3, *depth.shape), np.float32)
        normal[0], normal[1], normal[2] = -0.2, 0.35, 0.91
        self.over(self.lit(colours, normal), covered(depth, self.pixel), window)

    def spot(self, centre: Array, radius: float, colour: Colour) -> None:
        """Paint a small disc, such as an eye, where the animal is."""
        window = inside(self.x[0], self.y[:, 0], centre - radius - 0.02, centre + radius + 0.02)
        depth = radius - np.hypot(self.x[:, window[1]] - centre[0], self.y[window[0]] - centre[1])
        self.over(plain(colour, depth), covered(depth, self.pixel) * self.cover[window], window)


def extent(chains: Sequence[Chain], margin: float) -> tuple[Array, Array]:
    """Return the lowest and the highest x and y of some chains and what is around them."""
    low = np.min([(c.points - c.radii[:, None]).min(0) for c in chains], 0) - margin
    return low, np.max([(c.points + c.radii[:, None]).max(0) for c in chains], 0) + margin


def inside(x: Array, y: Array, low: Array, high: Array) -> Window:
    """Return the rows and columns of the pixels between low and high."""
    columns, rows = np.flatnonzero((x > low[0]) & (x < high[0])), np.flatnonzero((y > low[1]) & (y < high[1]))
    return slice(rows[0], rows[-1] + 1) if rows.size else slice(0, 0), slice(columns[0], columns[-1] + 1) if columns.size else slice(0, 0)


def paint(scene: Scene, animal: Animal, grid: int) -> Painting:
    """Paint the animal of a scene, from the far side to the near one."""
    painting = Painting(scene, grid)
    bones = painting.bones
    coat = COATS_OF[animal](scene, bones)
    painting.solid(coat, [(bones.legs[2], coat.leg(2)), (bones.legs[3], coat.leg(3)), (bones.ears[1], coat.ear)], 0.42)
    painting.hair(bones.tail, coat.tail)
    near = [(bones.torso, coat.torso), (bones.neck, coat.neck), (bones.skull, coat.skull), (bones.ears[0], coat.ear)]
    painting.solid(coat, [*near, (bones.legs[0], coat.leg(0)), (bones.legs[1], coat.leg(1))])
    painting.hair(bones.neck, coat.mane)
    if animal == "horse":
        painting.hair(bones.forelock, coat.tail)
    head, nose = bones.skull.points[0], bones.skull.points[3]
    along = (nose - head) / np.linalg.norm(nose - head)
    above = np.array([-along[1], along[0]])
    painting.spot(head + 0.115 * along + 0.025 * above, 0.014, (0.03, 0.025, 0.025))
    painting.spot(head + 0.118 * along + 0.030 * above, 0.003, (0.45, 0.45, 0.45))
    painting.spot(head + 0.345 * along + 0.012 * above, 0.010, (0.05, 0.04, 0.04))
    return painting


# ------------------------------------------------------------------------------------------------ landscapes


class Ground(NamedTuple):
    """A canvas uint8 [H, W, 3] and what is drawn on it, in shares of its width and height."""

    canvas: Array
    land: Land
    light: Light
    rng: np.random.Generator

    def fill(self, shapes: Sequence[Array], c: Array | Colour) -> None:
        """Fill polygons [points, 2] with a colour."""
        import cv2

        whole = [np.rint(points * (16 * len(self.canvas))).astype(np.int32) for points in shapes]
        cv2.fillPoly(self.canvas, whole, (np.clip(c, 0, 1) * 255).tolist(), cv2.LINE_AA, 4)

    def hill(self, heights: Array, c: Array) -> None:
        """Fill from the heights, spread over the width, down to the horizon."""
        x = np.linspace(0, 1, len(heights))
        line = np.stack([x, self.land.horizon - np.maximum(heights, 0)], 1)
        self.fill([np.concatenate([line, [[1, self.land.horizon + 0.01], [0, self.land.horizon + 0.01]]])], c)

    def ridges(self) -> None:
        """Draw hills, the further the hazier."""
        x, rng, haze, far = np.linspace(0, 1, 65), self.rng, np.array(self.land.haze), np.array(self.land.far)
        for ridge in range(self.land.ridges):
            near = (ridge + 1) / (self.land.ridges + 1)
            shape = sum(
                np.sin(x * f + rng.uniform(0, 6.3)) / k
                for k, f in ((1, rng.uniform(3, 7)), (2.5, rng.uniform(9, 15)), (8, rng.uniform(25, 40)))
            )
            tone = haze * (0.80, 0.87, 0.95) * (1 - near) + near * (0.45 * haze + 0.55 * far * (0.8, 0.9, 0.8))
            self.hill(0.015 + 0.06 * (1.25 - near) * (1 + 0.6 * shape), tone)

    def wood(self) -> None:
        """Draw bushes along the horizon."""
        x = np.linspace(0, 1, 160)
        level = np.interp(x, np.linspace(0, 1, 9), self.rng.random(9)) - (1 - self.land.wood)
        bumps = 0.020 + 0.022 * np.interp(x, np.linspace(0, 1, 44), self.rng.random(44))
        tone = 0.4 * np.array(self.land.haze) + 0.6 * np.array(self.land.leaves)
        for part in (1.0, 0.55):
            self.hill(np.maximum(level, 0) ** 0.4 * bumps * part - 0.002, tone * (1.03 if part == 1 else 0.9))

    def tree(self) -> None:
        """Draw a tree near the horizon: a trunk, and leaves lighter towards the light."""
        land, rng = self.land, self.rng
        size = rng.uniform(0.06, 0.13)
        foot = np.array([rng.random(), land.horizon + 0.4 * size])
        tone = 0.80 * np.array(land.leaves) + 0.20 * np.array(land.haze)
        lean, angles = rng.normal(0, 0.12), np.linspace(0, 2 * np.pi, 16, endpoint=False)
        branches = (-0.3, 0.0, 0.25) if land.acacias else (0.0,)
        trunk = [np.array([(-0.035, 0), (0.035, 0), (lean + b + 0.02, -1), (lean + b - 0.02, -1)]) * size + foot for b in branches]
        for branch in trunk:
            self.fill([branch], 0.75 * np.array([0.30, 0.24, 0.19]) + 0.25 * np.array(land.haze))
        spread, flat = ((0.36, 0.05), 0.24) if land.acacias else ((0.22, 0.17), 0.85)
        centre = np.array([lean, -1.02]) + rng.normal(0, 1, (3, 5, 2)) * spread
        centre += 0.06 * np.arange(3)[:, None, None] * np.array([self.light.sun[0], -1.2])
        radius = rng.uniform(0.24, 0.40, (3, 5)) * (1 - 0.15 * np.arange(3))[:, None]
        rim = np.stack([np.cos(angles), flat * np.sin(angles)], 1) * (1 + 0.12 * rng.standard_normal((3, 5, 16, 1)))
        shade = 0.80 + 0.16 * np.arange(3)[:, None] + 0.04 * rng.standard_normal((3, 5))
        blobs = foot + (centre[:, :, None] + rim * radius[..., None, None]) * size
        for blob, light in zip(blobs.reshape(15, 16, 2), shade.ravel()):
            self.fill([blob], tone * light)

    def fence(self) -> None:
        """Draw a wooden fence between the horizon and the animal."""
        rng = self.rng
        foot, height, slope = self.land.horizon + rng.uniform(0.05, 0.11), rng.uniform(0.07, 0.10), rng.uniform(-0.04, 0.04)
        wood = np.array([0.47, 0.39, 0.31]) * rng.uniform(0.85, 1.2)
        for rail in (0.35, 0.8):
            y = foot - rail * height
            self.fill([np.array([(0, y), (1, y + slope), (1, y + slope + 0.011), (0, y + 0.011)])], wood)
        posts = np.arange(rng.uniform(0, 0.2), 1, rng.uniform(0.16, 0.24))
        corners = np.array([(0, -height), (0.014, -height), (0.014, 0), (0, 0)])
        self.fill([np.array([x, foot + slope * x]) + corners for x in posts], wood * 0.88)


def fractal(rng: np.random.Generator) -> Array:
    """Return smooth noise [128, 128] of about unit variance with detail at all scales."""
    import cv2

    layers = [(n, weight, rng.standard_normal((n, n)).astype(np.float32)) for n, weight in ((8, 0.6), (20, 0.5), (48, 0.45), (128, 0.4))]
    return sum(weight * cv2.resize(noise, (128, 128), interpolation=cv2.INTER_CUBIC) for n, weight, noise in layers)


def laid(texture: Array, distance: Array, grid: int, scale: float) -> Array:
    """Return a texture laid on a plane in perspective; distance [H] is how far from the camera each row sees it."""
    import cv2

    across = (np.arange(grid, dtype=np.float32) + 0.5) / grid - 0.5
    x = across[None] * distance[:, None] * scale + 64
    y = np.broadcast_to(distance[:, None] * scale, x.shape)
    x, y = (126.9 - np.abs(a % 253.8 - 126.9) for a in (x, y))  # mirrored at its borders
    return cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def landscape(scene: Scene, grid: int) -> Array:
    """Return the picture without the animal, float32 [3, grid, grid] in 0..1."""
    import cv2

    land, rng = scene.land, np.random.default_rng((scene.seed, 1))
    zenith, haze, far, near = (np.array(c, np.float32) for c in (land.zenith, land.haze, land.far, land.near))
    row = ((np.arange(grid) + 0.5) / grid).astype(np.float32)
    split = int(np.searchsorted(row, land.horizon))
    up, down = (land.horizon - row[:split]), (row[split:] - land.horizon)

    # The sky, with clouds on a plane above us.
    t = (row[:split] / land.horizon)[:, None] ** 1.2
    sky = np.repeat(((1 - t) * zenith + t * haze)[:, None], grid, 1)
    clouds = laid(fractal(rng), 1 / (up + 0.16), grid, 9)
    clouds = smooth(clouds, 1.3 - 2 * land.clouds, 3.2 - 2 * land.clouds) * np.minimum(up * 7, 0.75)[:, None]
    sky += (0.93 + 0.07 * haze - sky) * clouds[..., None]

    # The ground, in patches.
    t = (down / (1 - land.horizon))[:, None] ** 0.6
    field = np.repeat(((1 - t) * far + t * near)[:, None], grid, 1)
    noise, distance = fractal(rng), 1 / (down + 0.09)
    texture = laid(noise, distance, grid, 12) + laid(noise, distance, grid, 50) * np.minimum(7 * down, 1)[:, None]
    field *= 1 + np.array([0.06, 0.05, 0.04], np.float32) * (texture * np.minimum(0.25 + 6 * down, 1)[:, None])[..., None]

    canvas = (np.clip(np.concatenate([sky, field]), 0, 1) * 255 + 0.5).astype(np.uint8)
    ground = Ground(canvas, land, scene.light, rng)
    ground.ridges()
    canvas[split:] = (np.clip(field, 0, 1) * 255 + 0.5).astype(np.uint8)
    if land.wood:
        ground.wood()
    for _ in range(land.trees):
        ground.tree()
    if land.fence:
        ground.fence()
    canvas = cv2.GaussianBlur(canvas, (0, 0), grid / 350)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)).astype(np.float32) * np.float32(1 / 255)


def blades(scene: Scene, painting: Painting, grid: int) -> tuple[Array, Array]:
    """Return how much grass stands before everything [grid, grid], in dark and in light blades."""
    import cv2

    rng, land = np.random.default_rng((scene.seed, 2)), scene.land
    layers = np.zeros((2, grid, grid), np.uint8)
    tufts, each = 26, 6
    for layer in layers:
        y = painting.foot + rng.uniform(-0.02, 0.13, tufts)
        y[: tufts // 2] = painting.foot + rng.uniform(0.0, 0.03, tufts // 2)  # most of it around the hooves
        foot = np.repeat(np.stack([rng.random(tufts), y], 1), each, 0)
        foot[:, 0] += rng.normal(0, 0.012, len(foot))
        height = land.grass * scene.pose.scale * rng.uniform(0.5, 1.3, len(foot)) * (1 + 3 * (foot[:, 1] - painting.foot))
        tip = foot + np.stack([rng.normal(0, 0.4, len(foot)) * height, -height], 1)
        width = np.array([0.0018, 0.0])
        shapes = np.rint(np.stack([foot - width, tip, foot + width], 1) * (16 * grid)).astype(np.int32)
        cv2.fillPoly(layer, list(shapes), 255, cv2.LINE_AA, 4)
    dark, light = layers.astype(np.float32) * np.float32(1 / 255)
    return dark, light


def shadow(scene: Scene, painting: Painting, grid: int) -> Array:
    """Return how much of the light reaches the ground [grid, grid]: the animal keeps some of it."""
    import cv2

    sx, sy, sz = scene.light.sun
    shape = np.zeros((grid, grid), np.float32)
    shape[painting.window] = painting.solids
    # A point y above the ground throws its shadow sx / sy y to the side and sz / sy y behind it, seen foreshortened.
    foot, side, back = painting.foot * grid, -sx / sy, 0.20 * sz / sy + 0.05
    matrix = np.array([[1, -side, side * foot], [0, back, foot * (1 - back)]], np.float32)
    thrown = cv2.GaussianBlur(cv2.warpAffine(shape, matrix, (grid, grid)), (0, 0), grid / 150)
    light = 1 - 0.45 * float(np.mean(scene.light.direct)) * thrown
    around = np.exp(-(((painting.x + 0.05) / 0.55) ** 2) - (painting.y / 0.07) ** 2)
    light[painting.window] *= 1 - 0.3 * around
    return light


def compose(scene: Scene, animal: Animal, grid: int) -> Array:
    """Return the picture float32 [grid, grid, 3] in 0..255."""
    import cv2

    painting = paint(scene, animal, grid)
    picture = landscape(scene, grid)
    picture *= shadow(scene, painting, grid)
    bare = picture.copy()
    part = picture[:, *painting.window]
    part *= 1 - painting.cover
    part += painting.colour
    for cover, tone in zip(blades(scene, painting, grid), (0.78, 1.14)):
        picture += (bare * np.float32(tone) - picture) * cover
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
    cover = np.zeros((grid, grid), np.float32)
    for animal in ("horse", "zebra"):
        painting = paint(scene, animal, grid)
        cover[painting.window] += painting.cover
    return (cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA) if grid != size else cover) > 0


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
        return range(VALIDATION, VALIDATION + 2 * self.samples, 2), range(VALIDATION + 1, VALIDATION + 2 * self.samples, 2)

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
