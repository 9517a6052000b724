"""House fronts, drawn by code: label maps and pictures, a paired data set at any size and without end.

A front is a pure function of a seed: `plan` places windows, doors, balconies and so on, `Style` is their appearance,
`label_map` and `render` draw the two pictures. Fronts with the same plan may differ in style, so a translator from
label maps has to choose one; the mean of all answers is a blur.

    data: {use: drawn_facades, size: 64}      # in a config; `i2i run configs/facades.yaml` trains on it

Coordinates run from 0 to 1, x to the right and y down. Later boxes cover earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import Sample, to_tensor

Array = np.ndarray
Rng = np.random.Generator

TRAINING, VALIDATION = 0, 1 << 60
"""The first seeds of the training and the validation fronts."""

PALETTE = {  # kinds of boxes and their colours in label maps: RGB in 0..255, easy to tell apart
    "sky": (0, 0, 170),
    "street": (85, 85, 85),
    "roof": (255, 170, 0),
    "wall": (0, 60, 255),
    "cornice": (255, 80, 0),
    "window": (0, 170, 255),
    "sill": (80, 255, 170),
    "balcony": (190, 255, 60),
    "door": (0, 255, 255),
    "shop": (170, 0, 0),
}


class Box(NamedTuple):
    """A rectangle of one kind, a key of `PALETTE`; 0..1, y down."""

    kind: str
    left: float
    top: float
    right: float
    bottom: float

    def inner(self, left: float = 0, top: float = 0, right: float = 1, bottom: float = 1) -> Box:
        """Return a part of the box, given as fractions of its width and height."""
        wide, high = self.right - self.left, self.bottom - self.top
        return Box(
            self.kind,
            self.left + left * wide,
            self.top + top * high,
            self.left + right * wide,
            self.top + bottom * high,
        )


# ------------------------------------------------------------------------------------------------ the plan


def plan(rng: Rng) -> list[Box]:
    """Draw the layout of a front: sky, roof, wall, and storeys with bays."""
    left, right = rng.uniform(-0.02, 0.12), rng.uniform(0.88, 1.02)
    top, street = rng.uniform(0.10, 0.26), rng.uniform(0.94, 0.985)
    boxes = [Box("sky", 0, 0, 1, 1), Box("street", 0, street, 1, 1), Box("wall", left, top, right, street)]
    if rng.random() < 0.65:
        boxes.append(Box("roof", left - 0.015, top - rng.uniform(0.05, 0.12), right + 0.015, top))
    boxes.append(Box("cornice", left - 0.02, top - 0.012, right + 0.02, top + rng.uniform(0.012, 0.03)))

    storeys, bays = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    ground = street - (street - top - 0.04) * rng.uniform(1.05, 1.35) / storeys
    lines = np.linspace(top + 0.04, ground, storeys)
    columns = np.linspace(left + 0.02, right - 0.02, bays + 1)
    if rng.random() < 0.6:
        boxes.append(Box("cornice", left, ground - 0.012, right, ground + 0.012))
    boxes += ground_floor(rng, ground + 0.012, street, columns)
    for upper, lower in pairwise(lines):
        boxes += storey(rng, upper, lower, columns)
    return boxes


def storey(rng: Rng, top: float, bottom: float, columns: Array) -> Iterator[Box]:
    """Draw a row of identical windows, with sills or balconies."""
    wide, high, above = rng.uniform(0.36, 0.6), rng.uniform(0.52, 0.72), rng.uniform(0.1, 0.24)
    sills, balconies = rng.random() < 0.7, rng.choice(3, p=[0.6, 0.25, 0.15])  # none, some, one along the whole front
    chosen = rng.random(len(columns) - 1) < 0.5
    if rng.random() < 0.5:
        chosen = chosen | chosen[::-1]
    for n, (left, right) in enumerate(pairwise(columns)):
        bay = Box("window", left, top, right, bottom)
        window = bay.inner((1 - wide) / 2, above, (1 + wide) / 2, above + high)
        yield window
        if balconies and (balconies == 2 or chosen[n]):
            side = 0.06 if balconies == 1 else (1 - wide) / 2 - 0.02
            reach = wide / 2 + side
            yield bay.inner(0.5 - reach, above + 0.58 * high, 0.5 + reach, above + high + 0.04)._replace(
                kind="balcony"
            )
        elif sills:
            yield bay.inner((1 - wide) / 2 - 0.05, above + high, (1 + wide) / 2 + 0.05, above + high + 0.06)._replace(
                kind="sill"
            )


def ground_floor(rng: Rng, top: float, street: float, columns: Array) -> Iterator[Box]:
    """Draw a door with shops or windows beside it."""
    bays = len(columns) - 1
    entrance = bays // 2 if rng.random() < 0.5 else int(rng.integers(bays))
    shops, wide = rng.random() < 0.45, rng.uniform(0.4, 0.6)
    for n in range(bays):
        bay = Box("door" if n == entrance else "shop" if shops else "window", columns[n], top, columns[n + 1], street)
        if n == entrance:
            yield bay.inner(0.5 - wide / 2, 0.18, 0.5 + wide / 2, 1)
        elif shops:
            yield bay.inner(0.07, 0.1, 0.93, 0.96)
        else:
            yield bay.inner(0.5 - wide / 2, 0.18, 0.5 + wide / 2, 0.72)


# ------------------------------------------------------------------------------------------------ the style

WALLS = {  # share, red, green and blue in 0..1
    "cream": (0.22, (0.86, 0.80, 0.66)),
    "ochre": (0.16, (0.80, 0.65, 0.42)),
    "brick": (0.20, (0.62, 0.33, 0.25)),
    "stone": (0.18, (0.66, 0.62, 0.56)),
    "pink": (0.10, (0.82, 0.62, 0.56)),
    "sage": (0.07, (0.62, 0.68, 0.56)),
    "white": (0.07, (0.88, 0.88, 0.85)),
}
SKIES = ((0.45, 0.62, 0.86), (0.72, 0.79, 0.87), (0.82, 0.83, 0.84))
WOODS = ((0.35, 0.22, 0.13), (0.20, 0.30, 0.24), (0.42, 0.12, 0.10), (0.22, 0.22, 0.26))
AWNINGS = ((0.62, 0.15, 0.13), (0.15, 0.35, 0.25), (0.20, 0.28, 0.48), (0.75, 0.62, 0.30))


@dataclass(frozen=True)
class Style:
    """The appearance of a front: materials, colours and the side of the sun."""

    material: str  # a key of WALLS
    wall: Array
    trim: Array  # of cornices, sills and window frames
    wood: Array
    awning: Array
    roof: Array
    sky: Array
    sun: int  # -1: from the left, 1: from the right
    contrast: float  # of light and shade
    panes: tuple[int, int]  # columns and rows of a window


def draw_style(rng: Rng) -> Style:
    """Draw the style of a front."""

    def tinted(colour: Sequence[float] | Array, spread: float = 0.05) -> Array:
        return np.clip(np.array(colour) * (1 + spread * rng.standard_normal(3)), 0.03, 0.97).astype(np.float32)

    names = list(WALLS)
    material = names[rng.choice(len(names), p=[WALLS[name][0] for name in names])]
    return Style(
        material=material,
        wall=tinted(np.array(WALLS[material][1]) * rng.uniform(0.85, 1.08), 0.03),
        trim=tinted((0.84, 0.81, 0.75) if rng.random() < 0.75 else (0.42, 0.36, 0.30), 0.03),
        wood=tinted(WOODS[rng.integers(len(WOODS))], 0.1),
        awning=tinted(AWNINGS[rng.integers(len(AWNINGS))], 0.1),
        roof=tinted((0.55, 0.27, 0.19) if rng.random() < 0.6 else (0.33, 0.34, 0.38), 0.06),
        sky=tinted(SKIES[rng.integers(len(SKIES))], 0.02),
        sun=1 if rng.random() < 0.5 else -1,
        contrast=rng.uniform(0.2, 0.55),
        panes=((2, 2), (2, 3), (1, 2), (2, 1))[rng.integers(4)],
    )


# ------------------------------------------------------------------------------------------------ drawing


def label_map(boxes: Sequence[Box], size: int) -> Array:
    """Return the label map uint8 [size, size, 3], in exactly the colours of `PALETTE`."""
    picture = np.zeros((size, size, 3), np.uint8)
    for box in boxes:
        picture[pixels(box, size)] = PALETTE[box.kind]
    return picture


def pixels(box: Box, grid: int) -> tuple[slice, slice]:
    """Return the rows and columns of a box inside the picture, at least one of each."""
    rows, columns = (
        (max(round(low * grid), 0), min(max(round(high * grid), round(low * grid) + 1), grid))
        for low, high in ((box.top, box.bottom), (box.left, box.right))
    )
    return slice(*rows), slice(*columns)


class Canvas:
    """A picture float32 [grid, grid, 3] in 0..1, and the methods that paint a front on it."""

    def __init__(self, style: Style, grid: int, rng: Rng) -> None:
        self.style, self.grid, self.rng = style, grid, rng
        self.picture = np.zeros((grid, grid, 3), np.float32)

    def fill(self, box: Box, colour: Array, grain: float = 0.0) -> None:
        """Paint a box, optionally with pixel noise."""
        where = pixels(box, self.grid)
        part = self.picture[where]
        self.picture[where] = colour
        if grain:
            part *= 1 + grain * self.rng.standard_normal(part.shape[:2], np.float32)[..., None]

    def shade(self, box: Box, factor: float) -> None:
        """Multiply the pixels of a box, to make it darker or brighter."""
        self.picture[pixels(box, self.grid)] *= np.float32(factor)

    def shadow(self, box: Box, depth: float) -> None:
        """Cast the shadow of a box that protrudes by `depth`: below it and away from the sun."""
        away = -self.style.sun * depth * 0.7
        self.shade(
            Box("", box.left + away, box.bottom - depth, box.right + away, box.bottom + depth),
            1 - self.style.contrast,
        )

    def slowly(self, cells: int) -> Array:
        """Return smooth noise [grid, grid] around 0, interpolated from `cells` x `cells` normal values."""
        import cv2

        coarse = self.rng.standard_normal((cells, cells)).astype(np.float32)
        return cv2.resize(coarse, (self.grid, self.grid), interpolation=cv2.INTER_CUBIC)

    def courses(self, rows: int, long: float) -> tuple[Array, Array]:
        """Return the tints and the joints of bricks, in `rows` courses and `long` times as wide as high."""
        y, x = (np.mgrid[: self.grid, : self.grid].astype(np.float32) + 0.5) / self.grid * rows
        row = np.floor(y)
        x = x / long + 0.5 * (row % 2)
        column = np.floor(x)
        tints = self.rng.standard_normal((rows + 1, rows + 2)).astype(np.float32)
        joints = ((y - row < 0.16) | (x - column < 0.16 / long)).astype(np.float32)
        return tints[row.astype(int) % len(tints), column.astype(int) % len(tints[0])], joints

    def paint(self, box: Box) -> None:
        """Paint a box of any kind."""
        getattr(self, box.kind)(box)

    def sky(self, box: Box) -> None:
        """Paint a gradient, brighter at the horizon, with faint clouds."""
        down = np.linspace(0, 1, self.grid, dtype=np.float32)[:, None, None]
        self.picture[:] = self.style.sky * (1 - 0.35 * down) + 0.35 * down + 0.03 * self.slowly(5)[..., None]

    def street(self, box: Box) -> None:
        """Paint pavement with a kerb."""
        self.fill(box, np.array([0.45, 0.44, 0.43], np.float32), 0.06)
        self.shade(box.inner(bottom=0.3), 1.2)

    def wall(self, box: Box) -> None:
        """Paint plaster, brick or stone, with stains, darker towards the street."""
        style, where = self.style, pixels(box, self.grid)
        tone = 1 + 0.03 * self.slowly(6) + 0.02 * self.slowly(20)
        colour = np.broadcast_to(style.wall, self.picture.shape).copy()
        if style.material in ("brick", "stone"):
            tints, joints = self.courses(*((44, 2.6) if style.material == "brick" else (16, 1.7)))
            tone += (0.09 if style.material == "brick" else 0.05) * tints
            mortar = np.float32(0.35) * style.wall + np.float32(0.4)
            colour += (0.55 * joints)[..., None] * (mortar - colour) * (1 if style.material == "brick" else -0.9)
        down = np.linspace(1.03, 0.9, self.grid, dtype=np.float32)[:, None]
        self.picture[where] = (colour * (tone * down)[..., None])[where]
        self.shade(box.inner(top=0.985), 0.75)

    def roof(self, box: Box) -> None:
        """Paint rows of tiles, brighter towards the ridge."""
        rows, _ = where = pixels(box, self.grid)
        self.fill(box, self.style.roof, 0.05)
        n = rows.stop - rows.start
        wave = 1 + 0.13 * np.sin(np.arange(n) * 2 * np.pi * max(4, round(60 * (box.bottom - box.top))) / max(n, 1))
        self.picture[where] *= (wave * np.linspace(1.15, 0.85, n)).astype(np.float32)[:, None, None]

    def cornice(self, box: Box) -> None:
        """Paint a moulding of light stone that casts a shadow."""
        self.shadow(box, 0.014)
        self.fill(box, self.style.trim, 0.02)
        self.shade(box.inner(bottom=0.3), 1.12)
        self.shade(box.inner(top=0.65), 0.78)

    def sill(self, box: Box) -> None:
        """Paint a ledge of light stone."""
        self.shadow(box, 0.008)
        self.fill(box, self.style.trim)
        self.shade(box.inner(top=0.6), 0.8)

    def glass(self, box: Box, curtains: bool) -> None:
        """Paint panes: dark inside, reflecting the sky towards the top, some with curtains."""
        rows, columns = where = pixels(box, self.grid)
        down = np.linspace(0, 1, rows.stop - rows.start, dtype=np.float32)[:, None, None]
        across = np.linspace(-0.5, 0.5, columns.stop - columns.start, dtype=np.float32)[None, :, None]
        mirrored = np.clip(0.55 - 0.6 * down - 0.35 * self.style.sun * across + self.rng.uniform(-0.12, 0.12), 0, 1)
        inside = np.array([0.10, 0.11, 0.13], np.float32)
        self.picture[where] = inside + mirrored * (0.75 * self.style.sky - inside)
        if curtains and self.rng.random() < 0.5:
            cloth, side = np.array([0.72, 0.69, 0.62], np.float32), self.rng.uniform(0.15, 0.35)
            for left, right in ((0, side), (1 - side, 1)):
                self.fill(box.inner(left, 0, right, self.rng.uniform(0.7, 1)), cloth * self.rng.uniform(0.7, 1))

    def recess(self, box: Box) -> None:
        """Shade a box that is recessed in the wall: its top and its side towards the sun."""
        wide = min(0.25, 0.010 / max(box.right - box.left, 1e-3))
        self.shade(box.inner(bottom=min(0.3, 0.016 / max(box.bottom - box.top, 1e-3))), 0.5)
        self.shade(box.inner(1 - wide, 0, 1, 1) if self.style.sun > 0 else box.inner(0, 0, wide, 1), 0.62)

    def window(self, box: Box) -> None:
        """Paint a frame, panes with glazing bars, and a surround of light stone."""
        style = self.style
        self.fill(box, style.trim)
        self.glass(box.inner(0.08, 0.05, 0.92, 0.95), curtains=True)
        columns, rows = style.panes
        for n in range(1, columns):
            self.fill(box.inner(n / columns - 0.035, 0.03, n / columns + 0.035, 0.97), style.trim)
        for n in range(1, rows):
            place = n / rows - (0.15 if rows == 2 else 0)
            self.fill(box.inner(0.05, place - 0.02, 0.95, place + 0.02), style.trim * np.float32(0.95))
        self.recess(box)

    def balcony(self, box: Box) -> None:
        """Paint a slab and a railing of iron bars, with the wall visible between them."""
        self.shadow(box, 0.025)
        iron = np.array([0.12, 0.12, 0.13], np.float32)
        bars = max(4, round((box.right - box.left) * 45))
        for n in range(bars + 1):
            self.fill(box.inner((n - 0.17) / bars, 0.05, (n + 0.17) / bars, 0.85), iron)
        self.fill(box.inner(bottom=0.10), iron)
        self.fill(box.inner(top=0.82), self.style.trim)
        self.shade(box.inner(top=0.92), 0.7)

    def door(self, box: Box) -> None:
        """Paint two wooden wings with panels, and a window above."""
        self.fill(box, self.style.trim)
        self.glass(box.inner(0.1, 0.05, 0.9, 0.2), curtains=False)
        for left, right in ((0.1, 0.49), (0.51, 0.9)):
            wing = box.inner(left, 0.25, right, 1)
            self.fill(wing, self.style.wood, 0.04)
            for top, bottom in ((0.08, 0.42), (0.52, 0.9)):
                self.shade(wing.inner(0.18, top, 0.82, bottom), 0.7)
                self.shade(wing.inner(0.28, top + 0.05, 0.82, bottom), 1.3)
        self.recess(box)

    def shop(self, box: Box) -> None:
        """Paint a wide pane with goods behind it, under an awning."""
        self.fill(box, self.style.wood)
        pane = box.inner(0.05, 0.28, 0.95, 0.93)
        self.glass(pane, curtains=False)
        for left in np.arange(0.06, 0.9, 0.16):
            thing = self.rng.uniform(0.15, 0.75, 3).astype(np.float32)
            self.fill(pane.inner(left, self.rng.uniform(0.55, 0.85), left + self.rng.uniform(0.05, 0.13), 1), thing)
        self.shade(pane.inner(bottom=0.25), 0.55)
        awning = box.inner(0, 0.08, 1, 0.34)
        stripes = max(4, round((box.right - box.left) * 40))
        for n in range(stripes):
            light = np.array([0.88, 0.86, 0.80], np.float32)
            colour = self.style.awning if n % 2 else light
            self.fill(awning.inner(n / stripes, 0, (n + 1) / stripes, 1), colour)
        self.shade(awning.inner(top=0.75), 0.75)


def render(boxes: Sequence[Box], style: Style, size: int, rng: Rng) -> Array:
    """Return the picture of a front, uint8 [size, size, 3], painted at twice the size and averaged."""
    import cv2

    canvas = Canvas(style, 2 * size, rng)
    for box in boxes:
        canvas.paint(box)
    picture = cv2.resize(np.clip(canvas.picture, 0, 1), (size, size), interpolation=cv2.INTER_AREA)
    return np.rint(picture * 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- the data set


def front(seed: int, size: int) -> tuple[Array, Array]:
    """Return label map and picture of the front of a seed, both uint8 [size, size, 3]."""
    rng = np.random.default_rng((seed, 0xFACADE))
    boxes, style = plan(rng), draw_style(rng)
    return label_map(boxes, size), render(boxes, style, size, rng)


class DrawnFacades(Data):
    """Label maps (A) and drawn house fronts (B). Nothing is read from disk.

    Args:
        size: height and width of a sample, in pixels; 48 to 256 look good.
        batch_size: samples in one step.
        samples: fronts in the training set.
        validation_samples: fronts not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the fronts of the training set.
    """

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=1024)] = 64,
        batch_size: PositiveInt = 1,
        samples: PositiveInt = 400,
        validation_samples: PositiveInt = 64,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.samples, self.workers = size, batch_size, samples, workers
        self.first = TRAINING + (seed << 32)
        self.fronts = Fronts(size)
        self._held_out = HeldOut(self.fronts, validation_samples)

    def __len__(self) -> int:
        return self.samples

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return front `index`, mirrored at random: "A" and "B", float32 [3, size, size] in [-1, 1]."""
        a, b = self.fronts[self.first + index]
        if rng.random() < 0.5:
            a, b = a[:, ::-1], b[:, ::-1]
        return {"A": to_tensor(a), "B": to_tensor(b)}

    def validation(self) -> Sequence[Sample]:
        """Return fronts that are in no training set: "A" and "B", float32 [3, size, size] in [-1, 1]."""
        return self._held_out


class Fronts:
    """Draws fronts by seed, and keeps up to half a gigabyte of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[int, tuple[Array, Array]] = {}
        self.most = (1 << 29) // (6 * size * size)

    def __getitem__(self, seed: int) -> tuple[Array, Array]:
        found = self.kept.get(seed)
        if found is None:
            found = front(seed, self.size)
            if len(self.kept) < self.most:
                self.kept[seed] = found
        return found


class HeldOut(Sequence[Sample]):
    """The validation samples, drawn on first use."""

    def __init__(self, fronts: Fronts, samples: int) -> None:
        self.fronts, self.samples = fronts, samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not -self.samples <= index < self.samples:
            raise IndexError(index)
        a, b = self.fronts[VALIDATION + index % self.samples]
        return {"A": to_tensor(a), "B": to_tensor(b)}
