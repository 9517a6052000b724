"""What a picture shows: the pose of the animal, the light, the landscape and the coat, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray
Animal = Literal["horse", "zebra"]
Colour = tuple[float, float, float]  # red, green, blue in 0..1

TRAINING, VALIDATION, CLASSIFIER = 0, 1 << 60, 1 << 61
"""The first seeds of the training scenes, the validation scenes and those of the classifier in `truth`."""


@dataclass(frozen=True)
class Pose:
    """The pose of the animal. Angles are in radians; 0 points forward, positive is up."""

    facing: int  # 1: to the right, -1: to the left
    scale: float  # height of the withers / height of the picture
    turn: float  # visible / true length: less than 1 if the animal is turned slightly away
    legs: tuple[tuple[float, float], ...]  # (swing, lift in 0..1) of near fore, near hind, far fore, far hind
    neck: float
    head: float
    ears: float  # 0 is upright, positive is forward
    tail: float  # 0 hangs, positive is away from the legs
    across: float  # 0..1: from the left to the right edge
    ground: float  # 0..1: from the highest to the lowest ground


@dataclass(frozen=True)
class Light:
    """The direction and the colours of the light."""

    sun: tuple[float, float, float]  # unit vector towards the sun: right, up, towards the camera
    direct: Colour  # from the sun
    sky: Colour  # from the sky


@dataclass(frozen=True)
class Land:
    """The landscape: its colours, the height of the horizon, trees and fence."""

    horizon: float  # row / height of the picture
    zenith: Colour
    haze: Colour  # the sky at the horizon
    far: Colour  # the ground at the horizon
    near: Colour  # the ground in front of the camera
    leaves: Colour
    clouds: float  # 0..1
    ridges: int
    wood: float  # share of the horizon covered with bushes
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
    blaze: float  # width of the white stripe on the face in body units; 0 for none
    socks: tuple[bool, ...]


@dataclass(frozen=True)
class Scene:
    """Everything about a picture except whether it shows a horse or a zebra."""

    seed: int
    pose: Pose
    light: Light
    land: Land
    coat: Coat
    waver: tuple[float, float, float]  # -1..1: slight individual variation of stripes and hair


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
    """Return the scene of a seed: the same in every process and at every size."""
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
    """Return an array of three numbers as a colour, clipped to 0.02..0.98."""
    r, g, b = np.clip(c, 0.02, 0.98).tolist()
    return (r, g, b)


def choice(rng: np.random.Generator, table: dict[str, tuple[Any, ...]]) -> list[Any]:
    """Draw a row of a table with probability `row[0]`, and return the rest of it; colours become arrays."""
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
    shine = (0.82 + 0.22 * direct) * (0.7 + 0.3 * sun)  # darker under clouds, warmer in the evening
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
    """Return (swing, lift) of a leg of a walking animal; the leg is on the ground for 0.65 of a stride."""
    phase = phase % 1.0
    if phase < 0.65:
        return (0.36 - 0.72 * phase / 0.65, 0.0)
    back = (phase - 0.65) / 0.35
    return (-0.36 + 0.72 * back, float(np.sin(np.pi * back)))
