"""Landscapes, drawn by code: label maps and pictures whose style is known, at any size and without end.

A scene is a pure function of a seed: hills, woods, a lake, a road, houses, trees. So is a style: hour, season and
haze. Any scene can be painted in any style, so there is a ground truth for a scene in the style of another picture.

    data: {use: landscapes, size: 64}      # in a config; `i2i run configs/spade.yaml` trains on it

Coordinates: x to the right and y down, both 0..1 over the picture. A point of the ground has a nearness t, 0 at the
horizon and 1 at the lower edge; objects on the ground grow with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import Classes, Sample, to_tensor

Array = np.ndarray
NAMES = ("sky", "mountain", "forest", "grass", "water", "road", "house", "tree")
SKY, MOUNTAIN, FOREST, GRASS, WATER, ROAD, HOUSE, TREE = range(len(NAMES))
TRAINING, VALIDATION = 0, 1 << 60
"""The first seeds of the training and the validation scenes."""


@dataclass(frozen=True)
class Style:
    """The appearance of a picture, independent of its content."""

    hour: float  # 0 is noon, 0.45 the golden hour, 0.7 dusk, 1 night
    season: float  # 0 is spring, 1 summer, 2 autumn, 3 winter, 4 spring again
    haze: float  # 0..1


@dataclass(frozen=True)
class Thing:
    """A house or a tree: the position of its foot, and its size."""

    kind: int  # HOUSE or TREE
    x: float
    foot: float  # y
    width: float
    height: float


@dataclass(frozen=True)
class Scene:
    """The content of a picture. Lengths are fractions of its height."""

    seed: int
    horizon: float
    mountains: float  # height above the horizon; 0 for none
    forest: float  # the same
    lake: tuple[float, float, float] | None  # x and nearness of the centre, half the width
    road: tuple[float, float, float] | None  # x at the horizon, x at the lower edge, bend
    things: tuple[Thing, ...]  # from far to near


# The light by hour: hour, sunlight, sky above, sky at the horizon.
HOURS = np.array(
    [
        [0.00, 1.00, 0.98, 0.93, 0.30, 0.53, 0.85, 0.78, 0.88, 0.95],
        [0.45, 0.98, 0.78, 0.52, 0.45, 0.52, 0.68, 0.98, 0.74, 0.46],
        [0.70, 0.58, 0.40, 0.47, 0.24, 0.21, 0.42, 0.86, 0.45, 0.38],
        [1.00, 0.20, 0.26, 0.42, 0.03, 0.05, 0.13, 0.11, 0.15, 0.29],
    ]
)
# Colours by season: season, grass, leaves, rock.
SEASONS = np.array(
    [
        [0, 0.46, 0.66, 0.28, 0.44, 0.66, 0.28, 0.52, 0.50, 0.48],
        [1, 0.42, 0.52, 0.20, 0.17, 0.38, 0.13, 0.50, 0.47, 0.44],
        [2, 0.64, 0.53, 0.27, 0.80, 0.42, 0.12, 0.50, 0.45, 0.42],
        [3, 0.92, 0.94, 0.97, 0.62, 0.64, 0.67, 0.86, 0.88, 0.92],
        [4, 0.46, 0.66, 0.28, 0.44, 0.66, 0.28, 0.52, 0.50, 0.48],
    ]
)
WALL, ROOF, TRUNK, STONE = np.array([[0.86, 0.80, 0.68], [0.56, 0.26, 0.20], [0.33, 0.24, 0.17], [0.50, 0.49, 0.48]])
LAMP = np.array([1.0, 0.82, 0.45])


def scene(seed: int) -> Scene:
    """Return the scene of a seed: the same in every process and at every size."""
    rng = np.random.default_rng([seed, 0])
    horizon = rng.uniform(0.36, 0.56)

    def some(kind: int, most: int, width: float, height: float) -> list[Thing]:
        found = []
        for t in rng.uniform(0.08, 0.75, rng.integers(most + 1)):
            size = (0.25 + t) * rng.uniform(0.8, 1.2)
            found.append(
                Thing(kind, rng.uniform(0.05, 0.95), horizon + t * (1 - horizon), width * size, height * size)
            )
        return found

    lake = (rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.6), rng.uniform(0.25, 0.7)) if rng.random() < 0.6 else None
    road = (rng.uniform(0.2, 0.8), rng.uniform(0.0, 1.0), rng.uniform(-0.2, 0.2)) if rng.random() < 0.6 else None
    return Scene(
        seed=seed,
        horizon=horizon,
        mountains=max(0.0, rng.uniform(-0.1, 0.32)),
        forest=max(0.0, rng.uniform(-0.05, 0.13)),
        lake=lake,
        road=road,
        things=tuple(sorted([*some(HOUSE, 2, 0.26, 0.24), *some(TREE, 4, 0.24, 0.42)], key=lambda thing: thing.foot)),
    )


def style(seed: int) -> Style:
    """Return the style of a seed."""
    rng = np.random.default_rng([seed, 1])
    return Style(hour=rng.random(), season=4 * rng.random(), haze=rng.random())


# ------------------------------------------------------------------------------------------------ drawing


class Canvas:
    """A grid of pixels with the noise of a scene.

    Args:
        drawn: the scene.
        grid: its height and width in pixels.
    """

    def __init__(self, drawn: Scene, grid: int) -> None:
        self.scene, self.grid = drawn, grid
        self.x = ((np.arange(grid) + 0.5) / grid)[None]
        self.y = self.x.T
        self.near = np.clip((self.y - drawn.horizon) / (1 - drawn.horizon), 0, 1)

    def noise(self, number: int, finest: int, tall: float = 1.0) -> Array:
        """Return noise [grid, grid] around 0, with spots from 1 / 3 down to 1 / `finest` of the picture."""
        rng = np.random.default_rng([self.scene.seed, 2, number])
        total, weight, spots = np.zeros((self.grid, self.grid)), 1.0, 3
        while spots <= finest:
            coarse = rng.uniform(-1, 1, (max(2, round(spots * tall)), spots)).astype(np.float32)
            spotted = Image.fromarray(coarse).resize((self.grid, self.grid), Image.Resampling.BICUBIC)
            total += weight * np.asarray(spotted)
            weight, spots = weight * 0.6, spots * 2
        return total

    def ridge(self, number: int, finest: int) -> Array:
        """Return the skyline of hills [1, grid] in 0..1."""
        return np.clip(0.55 + 0.4 * self.noise(number, finest)[:1], 0.05, 1)

    def labels(self) -> Array:
        """Return the class of each pixel, uint8 [grid, grid]."""
        land, label = self.scene, np.full((self.grid, self.grid), SKY, np.uint8)
        label[(self.y > land.horizon - land.mountains * self.ridge(0, 12)) & (land.mountains > 0)] = MOUNTAIN
        label[(self.y > land.horizon - land.forest * self.ridge(1, 48)) & (land.forest > 0)] = FOREST
        label[np.broadcast_to(self.y > land.horizon, label.shape)] = GRASS
        if land.lake is not None:
            middle, near, half = land.lake
            far = np.hypot((self.x - middle) / half, (self.near - near) / (0.45 * half))
            label[(far < 1 + 0.25 * self.noise(2, 6)) & (self.near > 0.02)] = WATER
        if land.road is not None:
            label[(np.abs(self.beside()) < 1) & (self.near > 0)] = ROAD
        for thing in land.things:
            one, other = self.parts(thing)
            label[one | other] = thing.kind
        return label

    def beside(self) -> Array:
        """Return the distance from the centre of the road in half widths, positive to the right."""
        assert self.scene.road is not None
        far, close, bend = self.scene.road
        middle = far + (close - far) * self.near + bend * np.sin(np.pi * self.near)
        return (self.x - middle) / (0.006 + 0.13 * self.near)

    def on(self, thing: Thing) -> tuple[Array, Array]:
        """Return coordinates on a thing: -1..1 from left to right, and 0..1 from its foot to its top."""
        return (self.x - thing.x) / thing.width * 2, (thing.foot - self.y) / thing.height

    def parts(self, thing: Thing) -> tuple[Array, Array]:
        """Return the masks of the walls and the roof of a house, or of the crown and the trunk of a tree."""
        across, up = self.on(thing)
        if thing.kind == HOUSE:
            roof = (up >= 0.55) & (up < 1.0) & (np.abs(across) < 1.05 * (1.75 - 1.6 * up).clip(0, 1))
            return (np.abs(across) < 0.85) & (up > 0) & (up < 0.55), roof
        crown = np.hypot(across, (up - 0.62) / 0.38) < 0.85 + 0.15 * self.noise(3, 24)
        return crown, (np.abs(across) < 0.12) & (up > 0) & (up < 0.5) & ~crown


def between(table: Array, at: float) -> Array:
    """Return the colours [3, 3] of a table, interpolated between its rows."""
    return np.array([np.interp(at, table[:, 0], column) for column in table[:, 1:].T]).reshape(3, 3)


def mixed(a: Array, b: Array, share: Array | float) -> Array:
    """Return a mixture of colours a and b, with the fraction `share` [H, W] of b."""
    share = np.asarray(share)[..., None]
    return a * (1 - share) + b * share


def painted(canvas: Canvas, label: Array, look: Style) -> Array:
    """Paint the labels of a canvas in a style: floats [grid, grid, 3] in 0..1."""
    sun, zenith, edge = between(HOURS, look.hour)
    grass, leaves, rock = between(SEASONS, look.season)
    land, near = canvas.scene, canvas.near + 0 * canvas.x
    edge = mixed(edge, edge.mean() * np.ones(3), 0.4 * look.haze)
    rough, fine, ripples = canvas.noise(4, 24), canvas.noise(5, 96), canvas.noise(6, 12, tall=8)

    # The sky, brighter at the horizon, with clouds.
    height = np.clip(1 - canvas.y / land.horizon, 0, 1) + 0 * canvas.x
    clouds = np.clip(canvas.noise(7, 12, tall=2) - 0.5 + look.haze, 0, 1) * 0.7
    sky = mixed(mixed(edge, zenith, height**0.7), 0.35 * edge + 0.65 * (0.25 + 0.75 * sun), clouds)

    # The colours of the ground and what stands on it, before lighting.
    ground = np.zeros_like(sky)
    snow = np.clip(land.horizon - 0.62 * land.mountains - canvas.y + 0.02 * rough, 0, 0.02) / 0.02
    ground[label == MOUNTAIN] = mixed(rock * (1 + 0.3 * rough[..., None]), np.ones(3), snow)[label == MOUNTAIN]
    ground[label == FOREST] = (leaves * 0.8 * (1 + 0.35 * fine[..., None]))[label == FOREST]
    ground[label == GRASS] = (grass * (1 + (0.08 * rough + 0.12 * fine * near)[..., None]))[label == GRASS]
    ground[label == ROAD] = (STONE * (1 + 0.08 * fine[..., None]))[label == ROAD]
    if land.road is not None:
        dashes = np.sin(14 / (0.15 + near)) > 0
        ground[(label == ROAD) & (np.abs(canvas.beside()) < 0.1) & dashes] = 0.95
    lit = np.zeros(label.shape, bool)
    for thing in land.things:
        (one, other), (across, up) = canvas.parts(thing), canvas.on(thing)
        lit[one | other] = False
        if thing.kind == HOUSE:
            snowy = 0.8 * max(0.0, 1 - abs(look.season - 3))
            ground[one], ground[other] = WALL, mixed(ROOF, np.ones(3), snowy)
            lit |= one & (np.abs(np.abs(across) - 0.45) < 0.16) & (np.abs(up - 0.3) < 0.12)
        else:
            ground[one] = (leaves * (0.85 + 0.3 * (across / 2 + up - 0.5) + 0.3 * fine)[..., None])[one]
            ground[other] = TRUNK
    picture = ground * sun

    # Water reflects the sky, windows are lit at night, and distance adds haze.
    mirror = mixed(mixed(edge, zenith, 0.25 + 0.6 * near), 0.5 * sun, np.clip(0.35 * ripples, 0, 0.5))
    picture[label == WATER] = (0.9 * mirror)[label == WATER]
    picture[lit] = mixed(0.35 * sun, LAMP, float(look.hour > 0.6))
    away = np.where(label == MOUNTAIN, 0.55, np.where(label == FOREST, 0.3, 0.45 * (1 - near) ** 3))
    standing = (label == HOUSE) | (label == TREE)
    picture = mixed(picture, edge, np.where(standing, 0.1, away) * (0.25 + 0.75 * look.haze))
    return np.where((label == SKY)[..., None], sky, picture)


def labels(drawn: Scene, size: int) -> Array:
    """Return the label map of a scene, uint8 [size, size], indices in `NAMES`."""
    return Canvas(drawn, 2 * size).labels()[::2, ::2]


def render(drawn: Scene, look: Style, size: int) -> Array:
    """Return the picture of a scene in a style, uint8 [size, size, 3]."""
    canvas = Canvas(drawn, 2 * size)
    picture = painted(canvas, canvas.labels(), look)
    small = picture.reshape(size, 2, size, 2, 3).mean((1, 3))
    return (small.clip(0, 1) * 255).round().astype(np.uint8)


# ------------------------------------------------------------------------------------------------ the data set


class Landscapes(Data):
    """Label maps ("A") and pictures ("B") of landscapes, each in its own style. Nothing is read from disk.

    Args:
        size: height and width of a sample, in pixels; 64 to 256 look good.
        batch_size: samples in one step.
        samples: training samples in an epoch.
        validation_samples: scenes not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the scenes of the training set.
    """

    classes = Classes(len(NAMES))
    names = NAMES

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=1024)] = 64,
        batch_size: PositiveInt = 4,
        samples: PositiveInt = 2000,
        validation_samples: PositiveInt = 64,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.samples, self.workers = size, batch_size, samples, workers
        self.first = TRAINING + (seed << 32)
        self.most = (1 << 29) // (4 * size * size)  # scenes kept in memory: half a gigabyte
        self._kept: dict[int, tuple[Array, Array]] = {}
        self._held_out = HeldOut(size, validation_samples)

    def __len__(self) -> int:
        return self.samples

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return scene `index` in its style; half of the scenes are mirrored.

        Returns:
            "A", int64 [1, size, size], indices in `NAMES`, and "B", float32 [3, size, size] in [-1, 1].
        """
        seed = self.first + index
        if seed not in self._kept:
            drawn = labels(scene(seed), self.size), render(scene(seed), style(seed), self.size)
            if len(self._kept) >= self.most:
                self._kept.clear()
            self._kept[seed] = drawn
        label, photo = self._kept[seed]
        if rng.random() < 0.5:
            label, photo = label[:, ::-1], photo[:, ::-1]
        return {"A": to_tensor(label)[None], "B": to_tensor(photo)}

    def validation(self) -> Sequence[Sample]:
        """Return scenes that are in no training set, each in the style of another.

        Returns:
            Samples of "A" and "B" as in training, and "style": the picture of the next scene, in the same style as
            "B".
        """
        return self._held_out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}


class HeldOut(Sequence[Sample]):
    """The validation samples, painted on first use."""

    def __init__(self, size: int, samples: int) -> None:
        self.size, self.samples = size, samples
        self._painted: dict[int, Sample] = {}

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not -self.samples <= index < self.samples:
            raise IndexError(index)
        place = index % self.samples
        if place not in self._painted:
            given, other = (scene(VALIDATION + place), scene(VALIDATION + (place + 1) % self.samples))
            look = style(other.seed)
            self._painted[place] = {
                "A": torch.from_numpy(labels(given, self.size).astype(np.int64))[None],
                "B": to_tensor(render(given, look, self.size)),
                "style": to_tensor(render(other, look, self.size)),
            }
        return self._painted[place]
