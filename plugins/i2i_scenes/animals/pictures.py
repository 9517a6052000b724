"""A scene as a picture: the landscape, the shadow of the animal, the animal, and grass in front of it."""

from __future__ import annotations

import numpy as np

from .landscape import landscape, tufts
from .painting import Painting, paint
from .scene import Animal, Array, Scene


def shadow(painting: Painting, grid: int) -> Array:
    """Return how much of the light reaches the ground past the animal [grid, grid]."""
    import cv2

    light, shape = painting.scene.light, np.zeros((grid, grid), np.float32)
    shape[painting.window] = painting.solids
    # A point at height y casts its shadow y sx / sy to the side and, foreshortened, y sz / sy behind it.
    sx, sy, sz = light.sun
    foot, side, back = painting.foot * grid, -sx / sy, 0.20 * sz / sy + 0.05
    matrix = np.array([[1, -side, side * foot], [0, back, foot * (1 - back)]])
    thrown = cv2.GaussianBlur(cv2.warpAffine(shape, matrix, (grid, grid)), (0, 0), grid / 150)
    out = 1 - 0.45 * (sum(light.direct) / 3) * thrown
    x, y, _ = painting.pixels
    out[painting.window] *= 1 - 0.3 * np.exp(-(((x + 0.05) / 0.55) ** 2)) * np.exp(-((y / 0.07) ** 2))
    return out


def compose(scene: Scene, animal: Animal, grid: int) -> Array:
    """Return the picture float32 [grid, grid, 3] in 0..255."""
    import cv2

    painting = paint(scene, animal, grid)
    picture = landscape(scene, grid).copy()
    picture *= shadow(painting, grid)
    low = int((painting.foot - 0.1) * grid)  # grass begins below this row
    bare = picture[:, low:].copy()
    for plane, c in zip(picture, painting.colour):
        plane[painting.window] *= 1 - painting.cover
        plane[painting.window] += c
    for cover, tone in zip(tufts(scene, painting.foot, grid)[:, low:], (0.78, 1.14)):
        picture[:, low:] += (bare * np.float32(tone) - picture[:, low:]) * cover
    return cv2.merge(list(picture * 255))


def finer(size: int) -> int:
    """Return the size at which a picture is painted: small ones at twice their size, then averaged."""
    return size * 2 if size < 128 else size


def render(scene: Scene, animal: Animal, size: int) -> Array:
    """Return the picture of a scene with a horse or a zebra, uint8 [size, size, 3]."""
    import cv2

    picture = compose(scene, animal, finer(size))
    if len(picture) != size:
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def mask(scene: Scene, size: int) -> Array:
    """Return the mask of the animal, bool [size, size]: all pixels touched by the horse or the zebra."""
    import cv2

    grid = finer(size)
    horse, zebra = paint(scene, "horse", grid), paint(scene, "zebra", grid)
    cover = np.zeros((grid, grid), np.float32)
    cover[horse.window] = horse.cover + zebra.cover
    return (cover if grid == size else cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)) > 0
