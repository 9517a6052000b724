"""The landscape behind the animal: sky and ground, hills, bushes, trees and a fence; and the grass in front of it."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .areas import plain, smooth
from .scene import Array, Land, Light, Scene


class Sketch(NamedTuple):
    """A canvas uint8 [H, W, 3] to draw a landscape on; positions are fractions of its width and height."""

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
        """Fill the area between the horizon and heights given across the width."""
        x = np.linspace(0, 1, len(heights))
        line = np.stack([x, self.land.horizon - np.maximum(heights, 0)], 1)
        self.fill(np.concatenate([line, [[1, self.land.horizon], [0, self.land.horizon]]]), c)

    def ridges(self) -> None:
        """Draw hills, hazier with distance."""
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
        """Draw a tree near the horizon: a trunk, and leaves that are brighter towards the sun."""
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
    """Return noise [128, 128] with about unit variance and detail at all scales."""
    import cv2

    out = 1.4 * rng.random((128, 128), dtype=np.float32) - 0.5 * (1.4 + 1.5 + 1.7 + 2.1)
    for n, weight in ((48, 1.5), (20, 1.7), (8, 2.1)):
        noise = weight * rng.random((n, n), dtype=np.float32)
        out += cv2.resize(noise, (128, 128), interpolation=cv2.INTER_CUBIC)
    return out


def laid(texture: Array, distance: Array, grid: int, scale: float) -> Array:
    """Return a texture on a plane in perspective; distance [H] is that of the plane from the camera in each row."""
    import cv2

    across = (np.arange(grid, dtype=np.float32) + 0.5) / grid - 0.5
    distance = distance[:, None] * scale
    y = np.repeat(distance, grid, 1)
    return cv2.remap(texture, across * distance + 64, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@functools.lru_cache(2)  # a horse and a zebra are often wanted in the same one
def landscape(scene: Scene, grid: int) -> Array:
    """Return the picture without the animal, float32 [3, grid, grid] in 0..1; it is not to be changed."""
    import cv2

    land, rng = scene.land, np.random.default_rng((scene.seed, 1))
    zenith, haze, far, near = (plain(c, np.zeros((1, 1))) for c in (land.zenith, land.haze, land.far, land.near))
    row = (np.arange(grid, dtype=np.float32) + 0.5) / grid
    split = int(np.searchsorted(row, land.horizon))
    up, down = (land.horizon - row[:split])[:, None], (row[split:] - land.horizon)[:, None]

    # The sky, with clouds on a plane above the camera.
    t = (1 - up / land.horizon) ** 1.2
    clouds = laid(fractal(rng), 1 / (up[:, 0] + 0.16), grid, 9)
    clouds = smooth(clouds, 1.3 - 2 * land.clouds, 3.2 - 2 * land.clouds) * np.minimum(up * 7, 0.75)
    sky = (1 - t) * zenith + t * haze
    sky = sky + (0.93 + 0.07 * haze - sky) * clouds

    # The ground, patchy at a coarse and a fine scale.
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
    """Return the coverage of grass in front of everything [2, grid, grid]: dark and light blades."""
    import cv2

    rng, count, blades = np.random.default_rng((scene.seed, 2)), 30, 6
    layers = np.zeros((2, grid, grid), np.uint8)
    for layer in layers:
        y = foot + rng.uniform(-0.02, 0.13, (count, 1))
        y[: count // 2] = foot + rng.uniform(0.0, 0.03, (count // 2, 1))  # half of them around the hooves
        height = scene.land.grass * scene.pose.scale * rng.uniform(0.4, 1.2, (count, blades)) * (1 + 3 * (y - foot))
        root = rng.random((count, 1))
        lean = np.sort(rng.normal(0, 0.45, (count, blades)), 1)
        tip = np.stack([root + (lean + 0.1) * height, y - height], -1)
        notch = np.stack([root + (lean + 0.25) * 0.3 * height, y - 0.3 * height], -1)
        feet = [np.stack([root + side, y], -1) for side in (-0.004, 0.004)]
        outline = np.concatenate([feet[0], np.stack([tip, notch], 2).reshape(count, 2 * blades, 2), feet[1]], 1)
        cv2.fillPoly(layer, list(np.rint(outline * (16 * grid)).astype(np.int32)), 255, cv2.LINE_AA, 4)
    return layers * np.float32(1 / 255)
