"""Chains of cones melted together like clay: what each pixel sees of them.

`measure` finds where pixels are on one chain, and `Clay` melts several into one outline and one surface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .bones import Chain
from .scene import Array

Window = tuple[slice, slice]  # rows and columns


class Pixels(NamedTuple):
    """A grid of pixels in body coordinates."""

    x: Array  # [1, W]
    y: Array  # [H, 1]
    size: float  # the height of a pixel

    def near(self, chains: Sequence[Chain], margin: float) -> Window:
        """Return the window of the pixels on the chains or within `margin` of them."""
        left, right, low, high = extent(chains, margin)
        x, y = self.x[0], self.y[:, 0]
        return spanned((y > low) & (y < high)), spanned((x > left) & (x < right))

    def within(self, window: Window) -> Pixels:
        """Return the pixels in a window."""
        return Pixels(self.x[:, window[1]], self.y[window[0]], self.size)


def xy(points: Array) -> tuple[Array, Array]:
    """Return the x and y coordinates of complex points."""
    return points.real, points.imag


def extent(chains: Sequence[Chain], margin: float) -> tuple[float, float, float, float]:
    """Return the bounds of chains, widened by `margin`: lowest x, highest x, lowest y, highest y."""
    points, reach = np.concatenate([c.points for c in chains]), np.concatenate([c.radii for c in chains]) + margin
    x, y = xy(points)
    return float((x - reach).min()), float((x + reach).max()), float((y - reach).min()), float((y + reach).max())


def spanned(inside: Array) -> slice:
    """Return the slice from the first to the last true element, or an empty one."""
    (where,) = inside.nonzero()
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


class Body(NamedTuple):
    """The positions of pixels on a chain: arrays [H, W], lengths in body units."""

    pixels: Pixels
    window: Window  # of the painting
    inside: Array  # distance from the outline, positive inside
    height: Array  # towards the camera
    along: Array  # distance along the chain from its first point; continues beyond both ends
    side: Array  # distance from the axis of the chain, positive to the left of its direction


def measure(chain: Chain, pixels: Pixels, window: Window) -> Body:
    """Return the positions of the pixels of a window on the chain, on the cone that is highest at each pixel."""
    pixels = pixels.within(window)
    way = np.diff(chain.points)
    length = np.abs(way)
    start, slope = np.cumsum(length) - length, np.diff(chain.radii) / length
    cones = [*xy(chain.points[:-1]), *xy(way / length), length, start, chain.radii[:-1], slope]
    px, py, ux, uy, length, start, thick, slope = np.array(cones, np.float32)[..., None, None]
    dx, dy = pixels.x - px, pixels.y - py
    t, across = dx * ux + dy * uy, dy * ux - dx * uy  # [S, H, W], like everything below
    on = np.minimum(np.maximum(t, 0), length)
    radius = on * slope + thick
    squared = across * across + (t - on) ** 2
    inside = radius - np.sqrt(squared)

    # A paraboloid: round inside and ever steeper outside, so chains melt without a crease.
    rise = radius - squared / radius
    height = rise.max(0)
    highest = rise == height
    on[0], on[-1] = np.minimum(t[0], on[0]), np.maximum(t[-1], on[-1])
    along, side = (np.where(highest, a, -9).max(0) for a in (on + start, across))
    return Body(pixels, window, inside.max(0), height + np.float32(chain.depth), along, side)


MELT, SOFT = 0.016, 0.03  # over which distance outlines and surfaces melt together, in body units
Marks = tuple["Array | None", "Array | None", "Array | None"]  # masks [H, W] that a coat turns into colours
Marker = Callable[[Body], Marks]


class Clay:
    """Chains melted together, with their marks."""

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
        """Return the coverage of each pixel [H, W], the normals [3, H, W] and the marks [3, H, W]."""
        import cv2

        pixels, surface = self.pixels.within(window), self.surface[window]
        inside = np.minimum(MELT * np.log(self.outline[window]), pixels.y)
        height = np.maximum(SOFT * np.log(surface), -0.1)
        height = cv2.GaussianBlur(height, (0, 0), 0.016 / pixels.size)  # hides where cones meet
        normal = np.zeros((3, *height.shape), np.float32)
        normal[0, :, 1:-1] = (height[:, :-2] - height[:, 2:]) / (pixels.x[0, 2] - pixels.x[0, 0])
        normal[1, 1:-1] = (height[2:] - height[:-2]) * (0.5 / pixels.size)
        normal[2] = 1 / np.sqrt(normal[0] ** 2 + normal[1] ** 2 + 1)
        normal[:2] *= normal[2]
        return covered(inside, pixels.size), normal, self.marks[(slice(None), *window)] / surface


def covered(inside: Array, pixel: float) -> Array:
    """Return the coverage of pixels, in 0..1, from their distances inside an outline."""
    return np.minimum(np.maximum(inside * (1 / pixel) + 0.5, 0), 1)
