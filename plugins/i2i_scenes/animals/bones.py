"""The skeleton of a posed animal: chains of round cones, in body coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .scene import Array, Pose


class Chain(NamedTuple):
    """Round cones along complex points [S + 1] with radii [S + 1], by `depth` nearer to the camera than the spine."""

    points: Array
    radii: Array
    depth: float

    def placed(self, origin: complex, way: complex) -> Chain:
        """Return the chain moved to `origin`, and rotated so that its x axis points along `way`."""
        return self._replace(points=origin + self.points * way)

    @property
    def length(self) -> float:
        """The length of the chain along its points."""
        return float(np.abs(np.diff(self.points)).sum())


def chain(depth: float, *cones: tuple[float, float, float]) -> Chain:
    """Return a chain from the (x, y, radius) of each joint."""
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
SKULL = chain(  # x along the head, y above it, starting at the end of the neck
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
    """Return the skeleton of the animal in a pose."""
    # The neck is an arc from the chest to the poll with an outward-bent crest. Grazing stretches it.
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
    """Return the unit vector at an angle."""
    return complex(np.exp(1j * angle))


def leg(fore: bool, far: bool, swing: float, lift: float) -> Chain:
    """Return a leg with a given swing and lift; without lift it reaches the ground."""
    rest = FORE if fore else HIND
    points = rest.points.copy()
    for joint, angle in enumerate((swing, *(lift * fold for fold in FOLDS[fore]))):
        points[joint:] = points[joint] + (points[joint:] - points[joint]) * toward(angle)
    hip = points[0].imag
    if lift == 0:
        points.imag = hip + (points.imag - hip) * (hip - rest.points[-1].imag) / (hip - points[-1].imag)
    if far:  # its hoof is further from the camera, so higher in the picture
        points += np.linspace(0.3, 1, len(points)) * (0.03 + 0.022j)
    return Chain(points, rest.radii, rest.depth)
