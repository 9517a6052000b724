"""Horses and zebras, drawn by code: an unpaired data set with a known truth, at any size and without end.

Every scene is a pure function of a seed: an animal in some pose, in some light, in some landscape. It can be
rendered as a horse or as a zebra, and nothing but the animal differs, so a translation can be scored.

    data: {use: horses_zebras, size: 64}      # in a config; `i2i run configs/cyclegan.yaml` trains on it

The animal is modelled like clay: chains of round cones along its bones, melted together. That gives each pixel
a height (for the light), and coordinates along the body (for stripes and coat). Body coordinates: x towards the
head, y up, the ground at y = 0, the withers at y = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

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

COATS: dict[str, tuple[float, Colour, Colour, Colour]] = {  # share, body, mane and tail, lower legs
    "bay": (0.30, (0.50, 0.29, 0.15), (0.10, 0.07, 0.06), (0.12, 0.09, 0.08)),
    "chestnut": (0.30, (0.60, 0.33, 0.17), (0.50, 0.26, 0.13), (0.56, 0.31, 0.17)),
    "dark brown": (0.14, (0.30, 0.19, 0.13), (0.09, 0.07, 0.07), (0.15, 0.11, 0.09)),
    "palomino": (0.12, (0.78, 0.57, 0.32), (0.90, 0.84, 0.70), (0.76, 0.60, 0.40)),
    "buckskin": (0.08, (0.70, 0.54, 0.34), (0.13, 0.10, 0.08), (0.16, 0.12, 0.10)),
    "grey": (0.06, (0.66, 0.65, 0.64), (0.40, 0.40, 0.41), (0.38, 0.38, 0.39)),
}
BLACK, WHITE = (0.085, 0.075, 0.075), (0.90, 0.87, 0.81)


@dataclass(frozen=True)
class Pose:
    """How the animal stands: angles in radians, lengths in heights of the withers."""

    facing: int  # 1: to the right, -1: to the left
    scale: float  # height of the withers / height of the picture
    turn: float  # length as seen / true length: less than 1 if it is turned a little
    legs: tuple[tuple[float, float], ...]  # (swing, lift in 0..1) of near fore, near hind, far fore, far hind
    neck: float  # direction of the neck, 0 is forward, positive is up
    head: float  # direction of the head
    tail: float  # swing of the tail
    ground: float  # row of the ground / height of the picture
    across: float  # where between the left and the right end of what is possible, 0..1


@dataclass(frozen=True)
class Light:
    """Where the light comes from and what colour it has."""

    sun: Colour  # direction towards the sun: right, up, towards the camera; of length 1
    colour: Colour
    sky: Colour  # light from above
    warmth: float
    strength: float


@dataclass(frozen=True)
class Land:
    """The landscape: colours, the height of the horizon, what stands there."""

    horizon: float
    top: Colour
    low: Colour
    far: Colour
    near: Colour
    ridges: int
    trees: int
    fence: bool
    clouds: float


@dataclass(frozen=True)
class Scene:
    """Everything about a picture but whether it shows a horse or a zebra."""

    seed: int
    pose: Pose
    light: Light
    land: Land
    coat: tuple[Colour, Colour, Colour]
    blaze: bool
    socks: tuple[bool, ...]
    waver: tuple[float, float]  # mild personal variation of the stripes


def scene(seed: int) -> Scene:
    """Return the scene of that seed."""
    rng = np.random.default_rng(seed)
    land, light = draw_land(rng)
    pose = draw_pose(rng)
    names = list(COATS)
    share, *colours = COATS[names[rng.choice(len(names), p=[COATS[name][0] for name in names])]]
    tint = 1 + 0.08 * rng.standard_normal() + 0.03 * rng.standard_normal(3)
    coat = tuple(tuple(np.clip(np.array(c) * tint, 0.04, 0.95).tolist()) for c in colours)
    return Scene(
        seed, pose, light, land, coat, bool(rng.random() < 0.35), tuple((rng.random(4) < 0.2).tolist()),
        (float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0, 6.28))),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    kind = rng.choice(3, p=[0.45, 0.33, 0.22])  # walking, standing, grazing
    if kind == 0:
        phase = rng.random()
        legs = tuple(stride(phase + shift) for shift in (0.0, 0.75, 0.5, 0.25))
        neck, head = rng.uniform(0.55, 0.85), rng.uniform(-0.95, -0.65)
    elif kind == 1:
        legs = tuple((float(rng.uniform(-0.10, 0.10)), 0.0) for _ in range(4))
        neck, head = rng.uniform(0.7, 1.0), rng.uniform(-1.0, -0.65)
    else:
        legs = tuple((float(rng.uniform(-0.22, 0.22)), 0.0) for _ in range(4))
        neck, head = rng.uniform(-0.62, -0.50), rng.uniform(-1.45, -1.15)
    return Pose(
        facing=1 if rng.random() < 0.5 else -1,
        scale=float(rng.uniform(0.46, 0.56)),
        turn=float(rng.uniform(0.88, 1.0)),
        legs=legs,
        neck=float(neck),
        head=float(head),
        tail=float(rng.uniform(-0.12, 0.25)),
        ground=float(rng.uniform(0.82, 0.93)),
        across=float(rng.random()),
    )


def stride(phase: float) -> tuple[float, float]:
    """Return (swing, lift) of a leg of a walking animal: on the ground for 0.65 of the time."""
    phase = phase % 1.0
    if phase < 0.65:
        return (0.36 - 0.72 * phase / 0.65, 0.0)
    back = (phase - 0.65) / 0.35
    return (-0.36 + 0.72 * back, float(np.sin(np.pi * back)))


def draw_land(rng: np.random.Generator) -> tuple[Land, Light]:
    def colour(*c: float) -> Colour:
        r, g, b = np.clip(np.array(c) + 0.03 * rng.standard_normal(3), 0, 1).tolist()
        return (r, g, b)

    warmth = float(rng.random())
    savanna = rng.random() < 0.5
    far, near = ((0.74, 0.66, 0.42), (0.62, 0.52, 0.28)) if savanna else ((0.52, 0.62, 0.34), (0.34, 0.48, 0.20))
    land = Land(
        horizon=float(rng.uniform(0.36, 0.58)),
        top=colour(0.34 + 0.18 * warmth, 0.55 + 0.02 * warmth, 0.82 - 0.10 * warmth),
        low=colour(0.80 + 0.14 * warmth, 0.87 - 0.04 * warmth, 0.93 - 0.20 * warmth),
        far=colour(*far),
        near=colour(*near),
        ridges=int(rng.integers(0, 4)),
        trees=int(rng.integers(0, 5)),
        fence=bool(rng.random() < (0.1 if savanna else 0.35)),
        clouds=float(rng.random() ** 2),
    )
    side, up, front = rng.uniform(-0.8, 0.8), rng.uniform(0.45, 1.0), rng.uniform(0.45, 0.9)
    sun = np.array([side, up, front]) / np.linalg.norm([side, up, front])
    strength = float(rng.uniform(0.55, 1.0))
    light = Light(
        tuple(sun.tolist()), (1.0, 0.97 - 0.10 * warmth, 0.92 - 0.27 * warmth), (0.80, 0.90, 1.0), warmth, strength
    )
    return land, light


# ---------------------------------------------------------------------------------------------- the skeleton


class Chain(NamedTuple):
    """Round cones along the points [S + 1, 2] with radii [S + 1], `depth` nearer to the camera than the spine."""

    points: Array
    radii: Array
    depth: float = 0.0


FORE = np.array([(0.35, 0.70), (0.275, 0.54), (0.295, 0.31), (0.285, 0.11), (0.325, 0.03)])
FORE_RADII = np.array([0.125, 0.088, 0.046, 0.034, 0.047])
HIND = np.array([(-0.37, 0.76), (-0.28, 0.57), (-0.37, 0.46), (-0.455, 0.36), (-0.435, 0.11), (-0.39, 0.03)])
HIND_RADII = np.array([0.18, 0.12, 0.075, 0.052, 0.036, 0.049])
TORSO = np.array([(-0.45, 0.80), (-0.35, 0.775), (-0.16, 0.745), (0.06, 0.718), (0.26, 0.73), (0.39, 0.75)])
TORSO_RADII = np.array([0.13, 0.192, 0.20, 0.222, 0.24, 0.185])
SKULL = np.array([(0.0, 0.0), (0.08, -0.03), (0.20, -0.012), (0.29, -0.008), (0.315, -0.018)])
SKULL_RADII = np.array([0.068, 0.092, 0.062, 0.049, 0.044])


def turned(points: Array, first: int, angle: float) -> Array:
    """Return the points with those after `first` turned about it; positive swings what hangs down forward."""
    c, s = np.cos(angle), np.sin(angle)
    out = points.copy()
    out[first:] = points[first] + (points[first:] - points[first]) @ np.array([[c, s], [-s, c]])
    return out


def leg(points: Array, bend: Sequence[float], swing: float, lift: float) -> Array:
    """Return the points of a leg that swings and lifts; one that is not lifted reaches the ground."""
    out = turned(points, 0, swing)
    for joint, angle in enumerate(bend):
        out = turned(out, joint + 1, angle * lift)
    reach = (out[0, 1] - points[-1, 1]) / (out[0, 1] - out[-1, 1])
    if lift == 0:
        out[:, 1] = out[0, 1] + (out[:, 1] - out[0, 1]) * reach
    return out


class Skeleton(NamedTuple):
    """The chains of a posed animal, in body coordinates."""

    torso: Chain
    neck: Chain
    skull: Chain
    legs: tuple[Chain, ...]  # near fore, near hind, far fore, far hind
    ears: tuple[Chain, Chain]
    tail: Chain


def skeleton(pose: Pose) -> Skeleton:
    """Return the bones of the animal in that pose."""
    legs = []
    for index, (swing, lift) in enumerate(pose.legs):
        fore, far = index % 2 == 0, index >= 2
        bones, radii = (FORE, FORE_RADII) if fore else (HIND, HIND_RADII)
        bend = (0.75, -1.5, -0.6) if fore else (0.25, -0.5, -0.1, -0.5)
        points = leg(bones, bend, swing, lift) + (np.array([0.035, 0.015]) if far else 0)
        legs.append(Chain(points, radii, 0.07))

    # The neck is a curve from the chest that leaves along the back and ends in the direction of the pose.
    base = np.array([0.30, 0.80])
    poll = base + 0.60 * np.array([np.cos(pose.neck), np.sin(pose.neck)])
    middle = base + 0.30 * np.array([np.cos(0.6 * pose.neck + 0.2), np.sin(0.6 * pose.neck + 0.2)])
    t = np.linspace(0, 1, 6)[:, None]
    points = (1 - t) ** 2 * base + 2 * t * (1 - t) * middle + t**2 * poll
    neck = Chain(points, np.array([0.195, 0.165, 0.135, 0.11, 0.092, 0.08]))

    along = np.array([np.cos(pose.head), np.sin(pose.head)])
    above = np.array([-along[1], along[0]])
    frame = np.stack([along, above])
    skull = Chain(poll + SKULL @ frame, SKULL_RADII, 0.03)
    ears = []
    for shift in (0.0, 0.04):
        root = poll + np.array([0.0 + shift, 0.045]) @ frame
        ears.append(Chain(np.stack([root, root + np.array([-0.035, 0.075]) @ frame, root + np.array([-0.03, 0.125]) @ frame]), np.array([0.022, 0.026, 0.006])))
    dock = np.array([-0.555, 0.86])
    swing = pose.tail
    t = np.linspace(0, 1, 6)
    tail = np.stack([dock[0] - 0.075 * np.sin(np.pi * t * 0.6) - swing * t**1.5 * 0.5, dock[1] + 0.02 - 0.58 * t**1.3], 1)
    return Skeleton(Chain(TORSO, TORSO_RADII), neck, skull, tuple(legs), (ears[0], ears[1]),
                    Chain(tail, np.array([0.03, 0.034, 0.045, 0.055, 0.05, 0.012]), -0.05))


# ---------------------------------------------------------------------------------------------- clay


class Body(NamedTuple):
    """What is known about each pixel of some chains: arrays [H, W]."""

    inside: Array  # distance to the outline, positive inside
    height: Array  # towards the camera
    along: Array  # length along the chain from its first point
    side: Array  # distance from the chain, positive on the left of its direction


def grow(chain: Chain, x: Array, y: Array) -> Body:
    """Measure a chain at the pixels x [1, W], y [H, 1]."""
    start, way = chain.points[:-1, :, None, None].astype(np.float32), np.diff(chain.points, axis=0).astype(np.float32)[..., None, None]
    length = np.sqrt((way**2).sum(1))
    ux, uy = way[:, 0] / length, way[:, 1] / length
    dx, dy = x - start[:, 0], y - start[:, 1]
    along = dx * ux + dy * uy
    t = np.clip(along, 0, length)
    radius = chain.radii[:-1, None, None].astype(np.float32) + t * (np.diff(chain.radii).astype(np.float32)[:, None, None] / length)
    side = dy * ux - dx * uy
    squared = side**2 + (along - t) ** 2
    inside = radius - np.sqrt(squared)
    best = inside.argmax(0)[None]

    def pick(a: Array) -> Array:
        return np.take_along_axis(a, best, 0)[0]

    bulge = pick(radius**2 - squared)
    height = chain.depth + np.sign(bulge) * np.sqrt(np.abs(bulge))
    t += np.concatenate([[0], np.cumsum(length[:-1, 0, 0])])[:, None, None].astype(np.float32)
    return Body(pick(inside), height, pick(t), pick(side))


class Clay:
    """Chains melted together on a grid of pixels; traits of the parts melt alike."""

    def __init__(self, x: Array, y: Array, traits: int) -> None:
        self.x, self.y = x, y
        shape = (y.shape[0], x.shape[1])
        self.outline = np.zeros(shape, np.float32)
        self.surface = np.full(shape, 1e-12, np.float32)
        self.traits = np.zeros((traits, *shape), np.float32)

    def window(self, chain: Chain) -> tuple[slice, slice]:
        """Return the rows and columns that the chain can reach."""
        margin = 0.06 + chain.radii[:, None]
        low, high = (chain.points - margin).min(0), (chain.points + margin).max(0)
        columns = np.flatnonzero((self.x[0] >= low[0]) & (self.x[0] <= high[0]))
        rows = np.flatnonzero((self.y[:, 0] >= low[1]) & (self.y[:, 0] <= high[1]))
        if not len(rows) or not len(columns):
            return slice(0, 0), slice(0, 0)
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def add(self, chain: Chain, traits, melt: float = 0.018) -> None:
        rows, columns = window = self.window(chain)
        x, y = self.x[:, columns], self.y[rows]
        if not x.size or not y.size:
            return
        body = grow(chain, x, y)
        self.outline[window] += np.exp(np.clip(body.inside, -0.2, 0.3) / 0.016)
        weight = np.exp(np.clip(body.height, -0.25, 0.5) / melt)
        self.surface[window] += weight
        for sum_, trait in zip(self.traits, traits(body, x, y)):
            sum_[window] += weight * trait

    def done(self, pixel: float) -> tuple[Array, Array, Array]:
        """Return coverage, normals and traits."""
        inside = 0.016 * np.log(np.maximum(self.outline, 1e-6))
        inside = np.minimum(inside, self.y)
        cover = np.clip(inside / pixel + 0.5, 0, 1)
        height = 0.018 * np.log(self.surface)
        np.maximum(height, -0.02, out=height)
        nx, ny = np.zeros_like(height), np.zeros_like(height)
        nx[:, 1:-1] = (height[:, :-2] - height[:, 2:]) / (2 * pixel)
        ny[1:-1] = (height[2:] - height[:-2]) / (2 * pixel)
        nz = 1 / np.sqrt(nx**2 + ny**2 + 1)
        return cover, np.stack([nx * nz, ny * nz, nz], -1), self.traits / self.surface


# ---------------------------------------------------------------------------------------------- painting

PERIOD = 0.118  # of the stripes on the barrel
FLANK = (-0.17, 0.47)  # the point about which the stripes of the haunch fan out
FAN = 0.24


def barrel_phase(x: Array, y: Array) -> Array:
    """Return the stripe phase of the trunk: upright on the barrel, fanning out to level on the haunch."""
    dx, dy = x - FLANK[0], y - FLANK[1]
    fan = -FAN * np.arctan2(np.maximum(-dx, 0), np.maximum(dy, 1e-3))
    fan = np.where(dy > 0, fan, -FAN * np.pi / 2 + dy)
    return np.where(dx > 0, dx, fan) / PERIOD


def smooth(x: Array, low: float, high: float) -> Array:
    """Return 0 below low, 1 above high, and a soft step between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mixed(a: Array, b, t: Array) -> Array:
    """Return a where t is 0, b where it is 1. Colours [..., 3], t [...]."""
    return a + (np.asarray(b, np.float32) - a) * t[..., None]


def lit(albedo: Array, normal: Array, light: Light, ground: Array, shade: float = 1.0) -> Array:
    """Return the colours of a surface in that light: sun, sky and what the ground throws back."""
    toward = normal @ np.array(light.sun, np.float32)
    sun = np.maximum(0, (toward + 0.25) / 1.25)[..., None] * np.array(light.colour, np.float32) * (1.0 * light.strength)
    up = 0.5 + 0.5 * normal[..., 1:2]
    sky = up * np.array(light.sky, np.float32) * (0.75 - 0.3 * light.strength) + (1 - up) * ground * 0.30
    return np.sqrt(np.clip(albedo**2 * (sun + sky) * shade * 1.15, 0, 1))


class View:
    """The part of the picture where the animal is, and the body coordinates of its pixels."""

    def __init__(self, pose: Pose, bones: Skeleton, grid: int) -> None:
        self.pixel = 1 / (pose.scale * grid)
        points = np.concatenate([c.points for c in (bones.torso, bones.skull, bones.tail, *bones.legs)])
        low, high = (points[:, 0].min() - 0.14) * pose.turn, (points[:, 0].max() + 0.10) * pose.turn
        room = max(0.0, grid * self.pixel - (high - low))
        left = low - room * pose.across  # body x of the edge that the animal looks away from
        centres = (np.arange(grid) + 0.5).astype(np.float32) * np.float32(self.pixel)
        x = centres + left
        self.facing = pose.facing
        self.x = (x if pose.facing > 0 else x[::-1])[None] / np.float32(pose.turn)
        self.y = (np.float32(pose.ground * grid * self.pixel) - centres)[:, None]


def paint(scene: Scene, animal: Animal, grid: int) -> tuple[Array, Array]:
    """Return the colours [H, W, 3] of an animal, and how much of each pixel it covers [H, W]."""
    bones = skeleton(scene.pose)
    view = View(scene.pose, bones, grid)
    x, y = view.x, view.y
    colour, alpha = np.zeros((grid, grid, 3), np.float32), np.zeros((grid, grid), np.float32)
    ground = np.array(scene.land.near, np.float32)

    def over(c: Array, a: Array) -> None:
        colour[:] = c * a[..., None] + colour * (1 - a[..., None])
        alpha[:] = a + alpha * (1 - a)

    def leg_traits(index: int):
        fore = index % 2 == 0

        def traits(body: Body, x: Array, y: Array):
            hoof = smooth(-y, -0.07, -0.055)
            low = smooth(-body.along, -0.46, -0.33) if False else smooth(body.along, 0.30, 0.46)
            sock = smooth(body.along, 0.52, 0.56) if scene.socks[index] else 0 * body.along
            start = 0.2 if fore else 0.19
            if fore:
                phase = (0.30 - FLANK[0]) / PERIOD - (body.along - 0.1) / 0.095
            else:
                phase = np.where(body.along > start, -FAN * np.pi / 2 / PERIOD - (body.along - start) / 0.095, barrel_phase(x, y))
            return phase, low, sock, hoof, 0 * hoof + 0.02

        return traits

    def torso_traits(body: Body, x: Array, y: Array):
        belly = smooth(-y - 0 * x, -0.60, -0.50)
        zero = np.zeros_like(body.along)
        return barrel_phase(x, y), zero, zero, zero, -1.1 * belly + zero

    def neck_traits(body: Body, x: Array, y: Array):
        zero = np.zeros_like(body.along)
        return (0.30 - FLANK[0]) / PERIOD + (body.along - 0.0) / 0.105, zero, zero, zero, zero

    def skull_traits(body: Body, x: Array, y: Array):
        zero = np.zeros_like(body.along)
        muzzle = smooth(body.along, 0.25, 0.33)
        blaze = smooth(body.side, 0.02, 0.04) * smooth(body.along, 0.02, 0.06) if scene.blaze else zero
        return (0.30 - FLANK[0]) / PERIOD + 0.62 / 0.105 + body.along / 0.08, muzzle, blaze, zero, zero

    def finish(clay: Clay, shade: float) -> None:
        cover, normal, (phase, points, white, hoof, band) = clay.done(view.pixel)
        if view.facing < 0:
            normal[..., 0] *= -1
        if animal == "horse":
            body, mane, lower = scene.coat
            albedo = mixed(np.broadcast_to(np.array(body, np.float32), normal.shape), lower, points)
            albedo = mixed(albedo, (0.93, 0.91, 0.88), white)
        else:
            wave = np.sin(2 * np.pi * phase + scene.waver[0]) + band
            sharp = np.clip(wave / (2 * np.pi * view.pixel / 0.1) + 0.5, 0, 1)
            albedo = mixed(np.broadcast_to(np.array(WHITE, np.float32), normal.shape), BLACK, sharp)
        albedo = mixed(albedo, (0.16, 0.14, 0.13), hoof)
        over(lit(albedo, normal, scene.light, ground, shade), cover)

    far = Clay(x, y, 5)
    for index in (2, 3):
        far.add(bones.legs[index], leg_traits(index))
    finish(far, 0.45)

    def flat(body: Body, x: Array, y: Array):
        return ()

    tail = grow(bones.tail, x, y)
    shown = np.clip(tail.inside / view.pixel + 0.5, 0, 1)
    strand = 0.85 + 0.15 * np.sin(tail.side * 160)
    hair = np.broadcast_to(np.array(scene.coat[1] if animal == "horse" else BLACK, np.float32), (*shown.shape, 3)) * strand[..., None]
    level = np.zeros((*shown.shape, 3), np.float32) + np.array([-0.3 * view.facing, 0.3, 0.9], np.float32)
    if animal == "zebra":
        thin = np.clip((np.minimum(tail.inside, np.where(tail.along < 0.3, 0.022 - np.abs(tail.side), 1))) / view.pixel + 0.5, 0, 1)
        ring = np.clip(np.sin(tail.along / 0.07 * 6.28) * 3 + 0.5, 0, 1) * (tail.along < 0.3) 
        hair = mixed(hair, WHITE, ring)
        shown = thin
    over(lit(hair, level, scene.light, ground), shown)

    near = Clay(x, y, 5)
    near.add(bones.torso, torso_traits)
    near.add(bones.neck, neck_traits)
    near.add(bones.legs[0], leg_traits(0))
    near.add(bones.legs[1], leg_traits(1))
    near.add(bones.skull, skull_traits)
    for ear in bones.ears:
        near.add(ear, skull_traits)
    finish(near, 1.0)

    # mane
    neck = grow(bones.neck, x, y)
    reach = smooth(neck.along, 0.10, 0.2)
    if animal == "horse":
        jag = 0.02 * np.sin(neck.along * 60) + 0.012 * np.sin(neck.along * 131)
        inner = 0.012 + neck.inside
        depth = neck.side + 0 * neck.inside
        a = np.clip(np.minimum(inner, depth - 0.045 + jag) / view.pixel + 0.5, 0, 1) * (reach > 0.5)
        hair = np.broadcast_to(np.array(scene.coat[1], np.float32), (*a.shape, 3)) * (0.85 + 0.2 * np.sin(neck.along * 90 + neck.side * 60))[..., None]
    else:
        inner = np.minimum(0.06 * reach + neck.inside, neck.side)
        a = np.clip(np.minimum(inner, -neck.inside + 0.005) / view.pixel + 0.5, 0, 1)
        wave = np.sin(2 * np.pi * ((0.30 - FLANK[0]) / PERIOD + neck.along / 0.105) + scene.waver[0])
        sharp = np.clip(wave / (2 * np.pi * view.pixel / 0.1) + 0.5, 0, 1)
        hair = mixed(np.broadcast_to(np.array(WHITE, np.float32), (*a.shape, 3)), BLACK, sharp)
    over(lit(hair, level, scene.light, ground), a)

    # eye
    eye = bones.skull.points[0] + 0.42 * (bones.skull.points[2] - bones.skull.points[0])
    distance = np.sqrt((x - eye[0]) ** 2 + (y - eye[1] - 0.02) ** 2)
    over(np.zeros_like(colour) + 0.05, np.clip((0.016 - distance) / view.pixel + 0.5, 0, 1) * alpha)
    return colour, alpha


def landscape(scene: Scene, grid: int) -> Array:
    """Return the picture without the animal, float32 [grid, grid, 3] in 0..1."""
    import cv2

    land = scene.land
    rng = np.random.default_rng((scene.seed, 1))
    row = ((np.arange(grid) + 0.5) / grid).astype(np.float32)
    t = np.clip(row / land.horizon, 0, 1)[:, None]
    sky = (1 - t) * np.array(land.top, np.float32) + t * np.array(land.low, np.float32)
    g = np.clip((row - land.horizon) / (1 - land.horizon), 0, 1)[:, None] ** 0.7
    field = (1 - g) * np.array(land.far, np.float32) + g * np.array(land.near, np.float32)
    column = np.where((row < land.horizon)[:, None], sky, field)
    picture = np.ascontiguousarray(np.broadcast_to(column[:, None], (grid, grid, 3)))
    xs = np.linspace(0, 1, 33)
    canvas = (picture * 255).astype(np.uint8)
    for ridge in range(land.ridges):
        near = (ridge + 1) / (land.ridges + 1)
        height = land.horizon - 0.11 * (1 - 0.7 * near) * (0.6 + 0.5 * np.sin(xs * rng.uniform(4, 9) + rng.uniform(0, 6)) + 0.15 * rng.random(33))
        tone = (1 - near) * np.array(land.low) + near * np.array(land.far) * np.array([0.65, 0.75, 0.7])
        points = np.concatenate([np.stack([xs, height], 1), [[1, land.horizon + 0.01], [0, land.horizon + 0.01]]]) * grid * 16
        cv2.fillPoly(canvas, [points.round().astype(np.int32)], (tone * 255).tolist(), cv2.LINE_AA, 4)
    for _ in range(land.trees):
        cx, size = rng.random(), rng.uniform(0.03, 0.08)
        tone = np.array([0.22, 0.32, 0.16]) * rng.uniform(0.8, 1.3)
        for _ in range(10):
            dx, dy, r = rng.normal(0, 0.6), rng.uniform(-1.6, -0.2), rng.uniform(0.3, 0.7)
            centre = ((cx + dx * size) * grid * 16, (land.horizon + dy * size) * grid * 16)
            c = tone * (0.8 - 0.3 * dy) 
            cv2.circle(canvas, (round(centre[0]), round(centre[1])), round(r * size * grid * 16), (np.clip(c, 0, 1) * 255).tolist(), -1, cv2.LINE_AA, 4)
    picture = canvas.astype(np.float32) / 255
    noise = cv2.resize(rng.standard_normal((64, 64)).astype(np.float32), (grid, grid), interpolation=cv2.INTER_CUBIC)
    noise += cv2.resize(rng.standard_normal((24, 24)).astype(np.float32), (grid, grid), interpolation=cv2.INTER_CUBIC)
    picture += (noise * 0.02 * (row > land.horizon)[:, None])[..., None]
    # shadow
    return picture


def shadow(scene: Scene, grid: int) -> Array:
    bones = skeleton(scene.pose)
    view = View(scene.pose, bones, grid)
    shift = -0.25 * scene.light.sun[0] * scene.pose.facing
    d = ((view.x - shift + 0.05) / 0.62) ** 2 + ((view.y + 0.0) / 0.085) ** 2
    return 0.45 * scene.light.strength * np.exp(-d * d * 0.7) + 0.1 * np.exp(-d * 0.6)


def compose(scene: Scene, animal: Animal, grid: int) -> tuple[Array, Array]:
    picture = landscape(scene, grid)
    picture *= 1 - shadow(scene, grid)[..., None]
    colour, alpha = paint(scene, animal, grid)
    return picture * (1 - alpha[..., None]) + colour * np.where(alpha > 0, 1, 0)[..., None], alpha


def render(scene: Scene, animal: Animal, size: int) -> Array:
    """Return the scene with that animal, uint8 [size, size, 3]."""
    import cv2

    grid = size * 2 if size < 128 else size
    picture, _ = compose(scene, animal, grid)
    if grid != size:
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def mask(scene: Scene, size: int) -> Array:
    """Return where the animal is, bool [size, size]: each pixel that the horse or the zebra touches."""
    import cv2

    grid = size * 2 if size < 128 else size
    alpha = np.maximum(paint(scene, "horse", grid)[1], paint(scene, "zebra", grid)[1])
    if grid != size:
        alpha = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)
    return alpha > 0


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
