"""The coats of a horse and of a zebra.

For each part of the body a coat marks masks, and `colours` turns masks that were melted together into colours. `mane`
and `tail` return the colours of hair and its outline.
"""

from __future__ import annotations

import numpy as np

from .areas import mixed, plain, smooth
from .bones import FORE, HIND, Skeleton, toward
from .clay import Body, Marker, Marks, Pixels, covered
from .scene import Array, Scene


def hairs(q: Array, seed: float) -> Array:
    """Return the brightness of strands of hair, about -1..1, along the coordinate q across them."""
    return 0.45 * np.sin(83 * q + 9 * seed) + 0.35 * np.sin(197 * q + 5 * seed) + 0.3 * np.sin(37 * q + 3 * seed)


def along(body: Body, start: complex, way: complex) -> Array:
    """Return the distance of the pixels from `start` along the direction `way`."""
    return (body.pixels.x - start.real) * way.real + (body.pixels.y - start.imag) * way.imag


Hair = tuple[Array, Array]  # colours [3, H, W], and the distance of each pixel inside the outline [H, W]
HORN = (0.17, 0.15, 0.14)


class HorseCoat:
    """A horse: dark points, white marks and hooves, and long hair."""

    def __init__(self, scene: Scene, bones: Skeleton, pixels: Pixels) -> None:
        self.coat, self.seed = scene.coat, scene.waver[2]
        self.base, self.way = complex(bones.neck.points[0]), toward(scene.pose.neck)
        self.lean = min(max(self.way.imag / self.way.real, -0.7), 0.9)  # how far hair slants across the neck

    def leg(self, index: int) -> Marker:
        """Return the marker of a leg: dark towards the hoof, perhaps with a white sock."""
        end, sock = (HIND if index % 2 else FORE).length, self.coat.socks[index]

        def marks(body: Body) -> Marks:
            dark = smooth(body.along, end - 0.46, end - 0.26)
            white = smooth(body.along, end - 0.19, end - 0.16) if sock else None
            return dark, white, smooth(body.along, end - 0.055, end - 0.045)

        return marks

    def trunk(self, body: Body) -> Marks:
        """Return no marks: trunk and neck are plain."""
        return None, None, None

    def skull(self, body: Body) -> Marks:
        """Mark the muzzle and, if the horse has one, the blaze."""
        blaze = None
        if self.coat.blaze:
            width = self.coat.blaze * smooth(body.along, 0.0, 0.10)
            blaze = smooth(body.inside - width, 0.006, -0.006) * (body.side > 0) * smooth(body.along, 0.0, 0.05)
        return 0.8 * smooth(body.along, 0.26, 0.35), blaze, None

    def ear(self, body: Body) -> Marks:
        """Mark the rim of an ear."""
        return smooth(body.inside, 0.012, 0.0), None, None

    def colours(self, marks: Array, normal: Array, pixel: float) -> Array:
        """Return the colours [3, H, W] of marks [3, H, W]."""
        points, white, hoof = marks
        coat = plain(self.coat.body, points) * (1 - 0.12 * normal[1])
        return mixed(mixed(mixed(coat, self.coat.points, points), (0.90, 0.88, 0.85), white), HORN, hoof)

    def mane(self, body: Body) -> Hair:
        """Return the mane, which falls from the crest over the near side of the neck."""
        q = along(body, self.base, self.way) + self.lean * body.inside
        reach = smooth(q, 0.03, 0.2) * smooth(body.along, 0.70, 0.62)
        locks = 0.5 * np.sin(47 * q + 7 * self.seed) + 0.35 * np.sin(113 * q) + 0.3 * np.sin(251 * q)
        hangs = reach * (0.118 + 0.018 * locks) - body.inside
        return self.hair(q), np.where(body.side > 0, np.minimum(hangs, body.inside + 0.045 * reach - 0.03), -1)

    def tail(self, body: Body) -> Hair:
        """Return the tail: full at the top, with loose ends."""
        ends = smooth(body.along, 0.25, 0.62)
        loose = 0.016 * ends * (1.4 + hairs(body.side, self.seed))
        return self.hair(body.side + 0.06 * body.along), body.inside - loose

    def hair(self, q: Array) -> Array:
        """Return the colours of strands of hair."""
        return plain(self.coat.mane, q) * (1 + 0.2 * hairs(q, self.seed))


PERIOD = 0.1113  # of the stripes on the barrel, in body units; four of them between flank and shoulder
RINGS, FACE = 0.092, 0.078  # of the stripes on the legs and on the head
FLANK = -0.16 + 0.44j  # centre from which the stripes of the haunch fan out
SHARP = PERIOD / 9  # width of the transition from black to white
HAUNCH, NECK = 0.26, 0.34  # distance from the centre at which fanning stripes are as wide as on the barrel
BLACK, WHITE, CREAM = (0.08, 0.068, 0.063), (0.91, 0.89, 0.84), (0.89, 0.82, 0.70)


class ZebraCoat:
    """A zebra: stripes across every part of the body, a white belly, a dark muzzle and an upright mane.

    Stripes are marked as waves, black where positive. Where parts melt together so do their waves, which makes
    stripes fork and join as on the animal.
    """

    def __init__(self, scene: Scene, bones: Skeleton, pixels: Pixels) -> None:
        self.a, self.b, self.seed = scene.waver
        self.white = [w + (0.5 + 0.5 * self.seed) * (c - w) for w, c in zip(WHITE, CREAM)]
        self.poll, self.face = complex(bones.neck.points[-1]), toward(scene.pose.head + 0.35)
        self.phase = self.trunk_phase(pixels, scene.pose.neck)
        self.stripes = wave(self.phase)

    def trunk_phase(self, pixels: Pixels, neck: float) -> Array:
        """Return the phase of the stripes on trunk and neck [H, W].

        They are upright on the barrel, and fan out to horizontal on the haunch and across the neck at the shoulder.
        """
        x, y = pixels.x - FLANK.real, pixels.y - FLANK.imag
        rear = np.where(y > 0, HAUNCH * np.arctan2(x, np.maximum(y, 1e-3)), y - HAUNCH * np.pi / 2)
        centre = 0.20 + 1.16j if neck > 0 else 0.34 + 0.46j
        dx, dy = pixels.x - centre.real, pixels.y - centre.imag
        angle = np.arctan2(dx, np.maximum(-dy if neck > 0 else dy, 1e-3))
        beyond = np.where(angle > abs(neck), np.maximum(dx * np.cos(neck).item() + dy * np.sin(neck).item(), 0), 0)
        front = (centre - FLANK).real + NECK * np.minimum(angle, abs(neck)) + beyond
        phase = np.where(x < 0, rear, np.where(dx < 0, x, front)) * (1 / PERIOD)
        x, y = pixels.x, pixels.y  # individual deviations, in periods
        waver = np.sin(9 * x + 3 * self.a) + np.sin(12 * y + 3 * self.b) + 2 * np.sin(10 * x + 2) * np.sin(11 * y)
        return phase + 0.06 * waver

    def trunk(self, body: Body) -> Marks:
        """Mark trunk and neck with stripes that end above the belly."""
        x, y, _ = body.pixels
        belly = smooth(y, 0.585, 0.50) * (smooth(x, -0.3, -0.1) * smooth(x, 0.5, 0.4))
        return self.stripes[body.window] - 0.05 - belly, None, None

    def skull(self, body: Body) -> Marks:
        """Mark the head with narrow stripes, and the muzzle."""
        stripes = wave(along(body, self.poll, self.face) * (1 / FACE) + 0.75)
        return stripes - 0.1, smooth(body.along, 0.245, 0.31), None

    def ear(self, body: Body) -> Marks:
        """Mark an ear: white with a black tip."""
        return wave((body.along - 0.135) * (1 / 0.11)), None, None

    def leg(self, index: int) -> Marker:
        """Return the marker of a leg: the stripes of the trunk turn into horizontal ones; then the hoof."""

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
        """Return the colours [3, H, W] of marks [3, H, W]."""
        stripes, muzzle, hoof = marks
        coat = mixed(plain(self.white, stripes), BLACK, covered(stripes * SHARP, pixel))
        return mixed(mixed(coat, (0.13, 0.105, 0.10), muzzle), HORN, hoof)

    def mane(self, body: Body) -> Hair:
        """Return the mane: upright and short, striped like the neck, with brown tips."""
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
    """Return the wave of stripes at a phase in periods."""
    return np.cos((2 * np.pi) * phase)
