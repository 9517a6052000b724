"""Cartoon faces with known attributes: a data set for latent spaces and editing in them.

    data: {use: faces, size: 64, batch_size: 64}      # in a config; `i2i run configs/faces_vae.yaml` trains on it

A `Face` is everything known about a face. `person` draws one from a seed and `render` draws its picture;
`render(person(7)._replace(smile=1.0), 64)` is the same face with a smile. Both are pure functions.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import Sample

Array = np.ndarray
Rng = np.random.Generator
Colour = tuple[float, float, float]  # 0 to 255

TRAINING, VALIDATION, CLASSIFIER = 0, 1 << 60, 1 << 61
"""The first seeds of the training faces, the validation faces, and those for training classifiers."""

ATTRIBUTES = ("smile", "glasses", "hair", "sex", "age", "angle")
"""Each from 0 to 1: neutral/smiling, without/with, black to blond, man/woman, young to old, turned left to right."""

FINE = 4  # pictures are drawn this many times larger, then averaged
ROUND = np.linspace(0, 2 * np.pi, 33)  # angles of a full circle
TURN = 0.45  # largest turn of a head to either side, in radians
SKINS = ((255, 226, 203), (243, 200, 165), (214, 160, 118), (160, 108, 74), (112, 74, 50))
HAIRS = ((38, 30, 30), (104, 62, 36), (176, 116, 58), (240, 208, 124))
INK = (46.0, 38.0, 42.0)


class Face(NamedTuple):
    """Everything known about a face: six attributes, then other properties, mostly from 0 to 1."""

    smile: float
    glasses: float
    hair: float
    sex: float
    age: float
    angle: float
    skin: float
    width: float
    eyes: float
    brows: float
    parting: float
    length: float
    beard: float
    square: float  # shape of the glasses
    iris: Colour
    background: Colour
    clothes: Colour
    x: float  # position of the face in the picture, -1 to 1
    y: float


class Faces(Data):
    """Cartoon faces and their attributes. Nothing is read from disk; the pictures are drawn once, 3 ms each.

    Smile, glasses and sex are 0 or 1 with equal probability; hair, age and angle are uniform in 0 to 1. All
    attributes are independent of each other.

    Args:
        size: height and width of a sample, in pixels.
        batch_size: samples in one step.
        samples: faces in the training set.
        validation_samples: faces not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the faces of the training set.
    """

    channels = 3
    attributes = ATTRIBUTES

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=128)] = 64,
        batch_size: PositiveInt = 64,
        samples: PositiveInt = 4000,
        validation_samples: PositiveInt = 200,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.workers = size, batch_size, workers
        self.train = Drawn(TRAINING + (seed << 32), samples, size)
        self.held_out = Drawn(VALIDATION, validation_samples, size)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return face `index`: "image" float32 [3, size, size] in [-1, 1], "attributes" float32 [6] in [0, 1]."""
        return self.train[index]

    def validation(self) -> Sequence[Sample]:
        """Return faces that are in no training set, as samples of the same kind."""
        return self.held_out


class Drawn(Sequence[Sample]):
    """The `n` faces from the seed `first` on, drawn once and kept as bytes."""

    def __init__(self, first: int, n: int, size: int) -> None:
        people = [person(first + i) for i in range(n)]
        self.attributes = torch.tensor([face[: len(ATTRIBUTES)] for face in people])
        pictures = np.stack([render(face, size) for face in people])
        self.pictures = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        image = self.pictures[index].float().div_(127.5).sub_(1)
        return {"image": image, "attributes": self.attributes[index]}


# ---------------------------------------------------------------------------------------------- who it is


def person(seed: int) -> Face:
    """Return the face of a seed. All numbers are drawn in any case, so they are independent of each other."""
    rng = np.random.default_rng((seed, 0xFACE))
    smile, glasses, sex = (float(value) for value in rng.integers(2, size=3))
    hair, age, angle, skin, width, eyes, brows, parting, length, beard = (float(value) for value in rng.random(10))
    return Face(
        smile=smile,
        glasses=glasses,
        hair=hair,
        sex=sex,
        age=age,
        angle=angle,
        skin=skin,
        width=width,
        eyes=eyes,
        brows=brows,
        parting=parting,
        length=length,
        beard=beard,
        square=float(rng.integers(2)),
        iris=hsv(rng.choice([0.06, 0.09, 0.3, 0.58]), rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.6)),
        background=hsv(rng.random(), rng.uniform(0.1, 0.35), rng.uniform(0.8, 0.97)),
        clothes=hsv(rng.random(), rng.uniform(0.35, 0.7), rng.uniform(0.45, 0.85)),
        x=float(rng.uniform(-1, 1)),
        y=float(rng.uniform(-1, 1)),
    )


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return the colour (0 to 255) of a hue, saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(float(hue), float(saturation), float(value))
    return 255 * red, 255 * green, 255 * blue


def mixed(first: Sequence[float], second: Sequence[float], share: float) -> Colour:
    """Return a mixture of two colours: 0 is `first`, 1 is `second`."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return red, green, blue


def between(low: float, high: float, share: float) -> float:
    """Interpolate linearly: 0 is `low`, 1 is `high`."""
    return low + (high - low) * share


def along(colours: Sequence[Sequence[float]], share: float) -> Colour:
    """Interpolate through a list of colours: 0 is the first, 1 the last."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    before = min(int(place), len(colours) - 2)
    return mixed(colours[before], colours[before + 1], place - before)


# ------------------------------------------------------------------------------------------ how it is drawn


class Pen:
    """Draws shapes on a canvas larger than the picture; points [N, 2] are x and y in 0 to 1."""

    def __init__(self, size: int, background: Colour) -> None:
        import cv2

        self.cv2, self.side = cv2, size * FINE
        self.canvas = np.empty((self.side, self.side, 3), np.uint8)
        self.canvas[:] = np.rint(background)

    def fill(self, points: Array, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a shape."""
        fixed = self._fixed(points)
        with self._over(points, 0, opacity) as canvas:
            self.cv2.fillPoly(canvas, [fixed], colour, self.cv2.LINE_8, 4)

    def line(self, points: Array, width: float, colour: Colour, opacity: float = 1.0) -> None:
        """Draw a line; its width is a fraction of the picture."""
        fixed, thick = self._fixed(points), max(1, round(width * self.side))
        with self._over(points, width, opacity) as canvas:
            self.cv2.polylines(canvas, [fixed], False, colour, thick, self.cv2.LINE_8, 4)

    def picture(self) -> Array:
        """Return the picture, uint8 [size, size, 3]."""
        size = self.side // FINE
        return self.cv2.resize(self.canvas, (size, size), interpolation=self.cv2.INTER_AREA)

    def _fixed(self, points: Array) -> Array:
        return np.rint((points * self.side - 0.5) * 16).astype(np.int32)

    @contextmanager
    def _over(self, points: Array, width: float, opacity: float) -> Iterator[Array]:
        """Yield the canvas, and blend what is drawn on it with what was there before."""
        if opacity >= 1:
            yield self.canvas
            return
        low, high = (points.min(0) - width) * self.side - 2, (points.max(0) + width) * self.side + 3
        left, top, right, bottom = (min(max(int(edge), 0), self.side) for edge in (*low, *high))
        part = self.canvas[top:bottom, left:right]
        below = part.copy()
        yield self.canvas
        if part.size:
            part[:] = self.cv2.addWeighted(part, opacity, below, 1 - opacity, 0)


class Head:
    """The geometry of a head in the picture.

    A point on the head is (u, v): u from ear to ear, -1 to 1, and v from the top of the head to the chin, -1 to 1.
    The head is round: as it turns, its front moves sideways and its sides get narrower.
    """

    def __init__(self, face: Face) -> None:
        young = max(0.0, 1 - 2.5 * face.age)
        self.a = 0.252 * between(0.94, 1.06, face.width) * between(1.04, 0.97, face.sex)
        self.b = 0.325 * between(1.0, 0.94, young)
        self.x, self.y = 0.5 + 0.015 * face.x, 0.495 + 0.01 * face.y
        self.turn = TURN * (2 * face.angle - 1)
        self.jaw, self.taper = between(2.5, 2.05, face.sex), between(0.05, 0.17, face.sex)

    def at(self, u: Array | float, v: Array | float, forward: float = 0.0) -> Array:
        """Return points of the head as x, y in the picture; `forward` raises them off the surface, e.g. a nose."""
        around = np.arcsin(np.minimum(np.maximum(u, -1), 1)) + self.turn
        sideways = np.sin(np.minimum(np.maximum(around, -np.pi / 2), np.pi / 2))
        x = self.x + self.a * (self.wide(v) * sideways + forward * np.sin(self.turn))
        points = np.empty((np.size(x), 2))
        points[:, 0], points[:, 1] = x, self.y + self.b * v
        return points

    def wide(self, v: Array | float) -> Array:
        """Return half the width of the head at `v`, relative to the largest."""
        lower = np.maximum(v, 0)
        reach = np.maximum(1 - np.abs(v) ** np.where(lower > 0, self.jaw, 2.0), 0)
        return reach ** np.where(lower > 0, 1 / self.jaw, 0.5) * (1 - self.taper * lower**2)

    def outline(self, first: float, last: float, larger: float = 1.0) -> Array:
        """Return the outline of the head between two angles in turns: 0 is the right ear, 0.25 the chin."""
        t = 2 * np.pi * np.linspace(first, last, 48)
        power = np.where(np.sin(t) > 0, 2 / self.jaw, 1)
        x, y = (np.sign(part) * np.abs(part) ** power for part in (np.cos(t), np.sin(t)))
        x = x * (1 - self.taper * np.maximum(y, 0) ** 2)
        return np.stack([self.x + larger * self.a * x, self.y + larger * self.b * y], -1)

    def oval(self, u: float, v: float, width: float, height: float, square: float = 0.0) -> Array:
        """Return an oval around a point, given half its width and height in u and v; `square` makes it angular."""
        x, y = np.cos(ROUND), np.sin(ROUND)
        if square:
            x, y = (np.sign(part) * np.abs(part) ** between(1.0, 0.55, square) for part in (x, y))
        return self.at(u + width * x, v + height * y)


def render(face: Face, size: int) -> Array:
    """Draw a face, uint8 [size, size, 3]."""
    pen, head = Pen(size, face.background), Head(face)
    skin = along(SKINS, face.skin)
    # Hair loses its colour with age; dark hair turns darker grey.
    fair = along(HAIRS, face.hair)
    old = max(0.0, (face.age - 0.4) / 0.6)
    hair = mixed(fair, mixed((138, 138, 144), (236, 236, 232), face.hair), min(1.0, 1.2 * old))
    body(pen, head, face, skin, hair)
    pen.fill(head.outline(0, 1), skin)
    beard(pen, head, face, hair)
    wrinkles(pen, head, old, mixed(skin, (90, 40, 30), 0.45))
    features(pen, head, face, skin, hair)
    fringe(pen, head, face, hair, old)
    if face.glasses > 0:
        glasses(pen, head, face)
    return pen.picture()


def body(pen: Pen, head: Head, face: Face, skin: Colour, hair: Colour) -> None:
    """Draw everything behind the face: long hair, shoulders, neck and ears."""
    if face.sex > 0:
        top = head.outline(0.5, 1.0, 1.17)
        bottom = head.y + head.b * between(-0.1, between(0.75, 1.15, face.length), face.sex)
        side = 1.22 * head.a * between(0.9, 1.0, face.sex)
        right = [
            [head.x + side, head.y + 0.5 * head.b],
            [head.x + side * 1.03, bottom],
            [head.x + side * 0.5, bottom + 0.02],
        ]
        left = [[2 * head.x - x, y] for x, y in reversed(right)]
        pen.fill(np.concatenate([top, right, left]), mixed(hair, INK, 0.18))
    shoulders = np.stack([0.5 + between(0.44, 0.37, face.sex) * np.cos(ROUND), 1.09 + 0.25 * np.sin(ROUND)], -1)
    pen.fill(shoulders, face.clothes)
    half, shade = between(0.088, 0.07, face.sex), mixed(skin, (90, 40, 30), 0.22)
    neck = np.array([[-half, 0.6], [half, 0.6], [half, 1.35], [0, 1.5], [-half, 1.35]])
    pen.fill(neck * [1, head.b] + [head.x, head.y], shade)
    for side in (-1, 1):
        hidden = side * head.turn > 0.15
        if not hidden:
            near = head.at(float(side), 0.02) + np.stack(
                [0.034 * np.cos(ROUND) + side * 0.012, 0.052 * np.sin(ROUND)], -1
            )
            pen.fill(near, shade)


def beard(pen: Pen, head: Head, face: Face, hair: Colour) -> None:
    """Draw a beard; a third of the men have one."""
    shown = (1 - face.sex) * (face.beard > 0.65)
    if shown:
        u = np.linspace(1, -1, 25)
        inner = head.at(u * 0.9, 0.3 + 0.06 * np.cos(2 * np.pi * u) - 0.25 * u**6)
        pen.fill(np.concatenate([head.outline(0.0, 0.5), inner[::-1]]), mixed(hair, INK, 0.1), 0.9 * shown)


def wrinkles(pen: Pen, head: Head, old: float, colour: Colour) -> None:
    """Draw wrinkles on the forehead, under the eyes and beside the mouth."""
    u = np.linspace(-1, 1, 9)
    for v in (-0.5, -0.4):
        pen.line(head.at(0.42 * u, v + 0.03 * u**2), 0.012, colour, old)
    for side in (-1, 1):
        pen.line(head.at(side * 0.4 + 0.16 * u, 0.17 - 0.06 * u**2), 0.012, colour, old)
        pen.line(head.at(side * (0.3 + 0.07 * u + 0.06), 0.32 + 0.11 * u), 0.013, colour, old)


def features(pen: Pen, head: Head, face: Face, skin: Colour, hair: Colour) -> None:
    """Draw cheeks, nose, eyes, brows and mouth."""
    red, dark = mixed(skin, (226, 84, 84), 0.5), mixed(skin, (90, 40, 30), 0.4)
    u = np.linspace(-1, 1, 17)
    for side in (-1, 1):
        pen.fill(head.oval(side * 0.58, 0.33, 0.18, 0.12), red, 0.15 + 0.45 * face.smile)
    pen.line(head.at(0.1 * u, 0.25 - 0.06 * u**2, forward=0.14), 0.016, dark)

    # Smile and age narrow the eyes.
    tall = between(0.13, 0.16, face.eyes) * between(1.12, 0.86, face.age) * between(1.0, 0.82, face.smile)
    brow = mixed(hair, INK, 0.35)
    for side in (-1, 1):
        pen.fill(head.oval(side * 0.4, -0.03, 0.2, tall), (250.0, 250.0, 250.0))
        pen.fill(head.oval(side * 0.4, -0.03, 0.115, min(0.088, tall)), face.iris)
        pen.fill(head.oval(side * 0.4, -0.03, 0.06, 0.046), INK)
        lash = head.at(side * (0.4 + 0.21 * u), -0.03 - tall * np.sqrt(np.maximum(1 - u**2, 0)))
        pen.line(lash, between(0.011, 0.02, face.sex), INK)
        flick = head.at(np.array([side * 0.58, side * 0.72]), np.array([-0.07, -0.17]))
        pen.line(flick, 0.015, INK, face.sex)
        lift = between(-0.02, 0.05, face.brows)
        pen.line(
            head.at(side * (0.4 + 0.22 * u), -0.31 + 0.05 * u**2 - lift * (1 - u)),
            between(0.034, 0.017, face.sex),
            brow,
        )
    mouth(pen, head, face, dark)


def mouth(pen: Pen, head: Head, face: Face, dark: Colour) -> None:
    """Draw the mouth: a short straight line, or wide open with teeth."""
    u, smile = np.linspace(-1, 1, 17), face.smile
    wide = between(0.28, 0.6, smile)
    upper = 0.55 - 0.2 * smile * u**2
    lower = upper + 0.27 * smile * (1 - u**2)
    lips = mixed(dark, (206, 54, 72), between(0.15, 0.85, face.sex))
    if smile > 0:
        pen.fill(np.concatenate([head.at(wide * u, upper), head.at(wide * u, lower)[::-1]]), (252.0, 250.0, 248.0))
        pen.line(head.at(wide * u, lower), between(0.014, 0.024, face.sex), lips, smile)
    pen.line(head.at(wide * u, upper), between(0.02, between(0.034, 0.024, smile), face.sex), lips)


def fringe(pen: Pen, head: Head, face: Face, hair: Colour, old: float) -> None:
    """Draw the hair: with a parting, lower at the sides for women, higher on the forehead for old men."""
    u = np.linspace(-1, 1, 33)
    parting = between(-0.5, 0.5, face.parting)
    high = between(between(-0.6, -0.86, old), -0.56, face.sex)
    low = between(-0.12, 0.3, face.sex)
    bent = np.abs(u - parting) / (1 + np.abs(parting))
    line = head.at(u, high + (low - high) * bent ** between(3.2, 2.4, face.sex))
    ends = between(0.02, -0.06, face.sex)
    pen.fill(np.concatenate([head.outline(0.5 + ends, 1.0 - ends, between(1.07, 1.15, face.sex)), line[::-1]]), hair)


def glasses(pen: Pen, head: Head, face: Face) -> None:
    """Draw glasses."""
    frame = mixed(INK, face.clothes, 0.12)
    for side in (-1, 1):
        rim = head.oval(side * 0.42, -0.02, 0.33, 0.225, face.square)
        pen.fill(rim, (255.0, 255.0, 255.0), 0.16 * face.glasses)
        pen.line(rim, 0.022, frame, face.glasses)
        pen.line(head.at(np.array([side * 0.74, side * 1.0]), np.array([-0.06, -0.1])), 0.02, frame, face.glasses)
    pen.line(head.at(np.array([-0.1, 0.0, 0.1]), np.array([-0.05, -0.08, -0.05])), 0.02, frame, face.glasses)
