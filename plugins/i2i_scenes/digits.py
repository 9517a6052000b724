"""Digits drawn with strokes, with labels: a data set like MNIST that needs no file.

    data: {use: digits, batch_size: 128}      # in a config; `i2i run configs/vae.yaml` trains on it

Each digit has several skeletons, as people write it: a 7 with or without a bar, a closed or an open 4. For a picture
one of them is distorted (joints moved, bent, narrowed, slanted, rotated) and drawn with a random pen width and
position. A picture is a pure function of its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import InMemory, Sample

Array = np.ndarray
Rng = np.random.Generator

TRAINING, VALIDATION = 0, 1 << 60
"""The first seeds of the training and the validation pictures."""

FINE = 4  # pictures are drawn this many times larger, then averaged
MARGIN = 0.07  # empty border on each side, as a fraction of the picture

# x to the right and y down in the box of a digit, 0 to 1. "~" is a curve through its points, "o" a closed curve, "-"
# straight lines. A point shared by strokes stays shared when it moves.
Stroke = tuple[str, tuple[tuple[float, float], ...]]
BELLY: Stroke = ("~", ((0.40, 0.44), (0.80, 0.54), (0.90, 0.76), (0.50, 1.00), (0.04, 0.87)))
HOOK: Stroke = ("~", ((0.06, 0.25), (0.24, 0.04), (0.60, 0.00), (0.86, 0.22), (0.68, 0.54), (0.05, 0.98)))
SKELETONS: tuple[tuple[tuple[Stroke, ...], ...], ...] = (
    (
        (("o", ((0.50, 0.00), (0.10, 0.20), (0.04, 0.62), (0.42, 1.00), (0.88, 0.78), (0.94, 0.32))),),
        (
            (
                "o",
                (
                    (0.52, 0.00),
                    (0.18, 0.14),
                    (0.03, 0.48),
                    (0.14, 0.84),
                    (0.48, 1.00),
                    (0.84, 0.86),
                    (0.97, 0.52),
                    (0.86, 0.16),
                ),
            ),
        ),
    ),
    (
        (("-", ((0.52, 0.00), (0.48, 1.00))),),
        (("-", ((0.20, 0.24), (0.56, 0.00), (0.52, 1.00))),),
        (("-", ((0.20, 0.22), (0.54, 0.00), (0.52, 1.00))), ("-", ((0.14, 1.00), (0.90, 1.00)))),
    ),
    (
        (HOOK, ("-", ((0.05, 0.98), (0.96, 0.97)))),
        (
            (
                "~",
                (
                    (0.08, 0.22),
                    (0.48, 0.00),
                    (0.84, 0.24),
                    (0.56, 0.66),
                    (0.20, 0.98),
                    (0.06, 0.86),
                    (0.26, 0.78),
                    (0.56, 0.96),
                    (0.98, 0.92),
                ),
            ),
        ),
    ),
    (
        (("~", ((0.06, 0.12), (0.46, 0.00), (0.84, 0.20), (0.40, 0.44))), BELLY),
        (("-", ((0.10, 0.02), (0.86, 0.02), (0.40, 0.44))), BELLY),
    ),
    (
        (("-", ((0.26, 0.00), (0.06, 0.58), (0.96, 0.56))), ("-", ((0.74, 0.22), (0.66, 1.00)))),
        (("-", ((0.70, 1.00), (0.72, 0.00), (0.04, 0.68), (0.98, 0.68))),),
    ),
    (
        (
            ("-", ((0.88, 0.02), (0.24, 0.03), (0.16, 0.46))),
            ("~", ((0.16, 0.46), (0.54, 0.36), (0.90, 0.64), (0.56, 0.99), (0.04, 0.90))),
        ),
    ),
    (
        (
            (
                "~",
                (
                    (0.76, 0.00),
                    (0.30, 0.26),
                    (0.06, 0.70),
                    (0.42, 1.00),
                    (0.88, 0.78),
                    (0.56, 0.52),
                    (0.12, 0.72),
                ),
            ),
        ),
        (
            (
                "~",
                (
                    (0.40, 0.00),
                    (0.08, 0.45),
                    (0.14, 0.90),
                    (0.56, 1.00),
                    (0.86, 0.74),
                    (0.50, 0.56),
                    (0.10, 0.78),
                ),
            ),
        ),
    ),
    (
        (("-", ((0.04, 0.04), (0.94, 0.02), (0.40, 1.00))),),
        (("-", ((0.04, 0.04), (0.94, 0.02), (0.40, 1.00))), ("-", ((0.32, 0.52), (0.92, 0.50)))),
        (("-", ((0.04, 0.05), (0.92, 0.02))), ("~", ((0.92, 0.02), (0.56, 0.44), (0.40, 1.00)))),
    ),
    (
        (
            (
                "o",
                (
                    (0.52, 0.00),
                    (0.14, 0.20),
                    (0.50, 0.46),
                    (0.92, 0.76),
                    (0.50, 1.00),
                    (0.06, 0.76),
                    (0.50, 0.46),
                    (0.86, 0.20),
                ),
            ),
        ),
        (
            ("o", ((0.50, 0.00), (0.18, 0.22), (0.50, 0.46), (0.82, 0.22))),
            ("o", ((0.50, 0.46), (0.06, 0.74), (0.50, 1.00), (0.94, 0.74))),
        ),
    ),
    (
        (
            ("~", ((0.86, 0.14), (0.46, 0.00), (0.10, 0.28), (0.42, 0.52), (0.86, 0.14))),
            ("-", ((0.86, 0.14), (0.80, 1.00))),
        ),
        (
            ("~", ((0.88, 0.18), (0.48, 0.00), (0.10, 0.28), (0.46, 0.50), (0.88, 0.18))),
            ("~", ((0.88, 0.18), (0.86, 0.66), (0.56, 1.00), (0.14, 0.92))),
        ),
    ),
)


class Digits(Data):
    """Drawn digits with labels, grey. Nothing is read from disk; the pictures are drawn once, 0.4 ms each.

    Args:
        size: height and width of a sample, in pixels; 28, as in MNIST, or 32 look good.
        batch_size: samples in one step.
        samples: pictures in the training set, with the same number of each digit.
        validation_samples: pictures not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the pictures of the training set.
    """

    channels = 1
    classes = tuple("0123456789")

    def __init__(
        self,
        size: Annotated[int, Field(ge=16, le=128)] = 28,
        batch_size: PositiveInt = 128,
        samples: PositiveInt = 10000,
        validation_samples: PositiveInt = 1000,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.workers = size, batch_size, workers
        self.train = drawn(TRAINING + (seed << 32), samples, size)
        self.held_out = drawn(VALIDATION, validation_samples, size)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return training picture `index`: "image" float32 [1, size, size] in [-1, 1], "label" int64 []."""
        return self.train[index]

    def batch(self, indices: Sequence[int], rng: Callable[[int], Rng]) -> Sample:
        """Return training pictures, stacked; they are not augmented."""
        return self.train.batch(indices)

    def validation(self) -> Sequence[Sample]:
        """Return pictures that are in no training set, as samples of the same kind."""
        return self.held_out


def drawn(first: int, n: int, size: int) -> InMemory:
    """Return the `n` pictures from the seed `first` on, with labels 0 to 9 in turn."""
    labels = np.arange(n) % 10
    return InMemory(np.stack([digit(int(label), first + i, size) for i, label in enumerate(labels)]), labels)


def digit(label: int, seed: int, size: int = 28) -> Array:
    """Draw a digit, uint8 [size, size], white on black: a pure function of the arguments."""
    import cv2

    rng = np.random.default_rng((seed, 0xD161))
    variants = SKELETONS[label]
    strokes = jittered(variants[int(rng.integers(len(variants)))], rng)
    pen = rng.uniform(0.055, 0.12)  # width, as a fraction of the picture
    lines = posed(strokes, pen, rng)

    # Draw at a larger size, then average, so the pen can have any width.
    side = size * FINE
    canvas = np.zeros((side, side), np.uint8)
    points = [np.rint((line * side - 0.5) * 16).astype(np.int32) for line in lines]
    cv2.polylines(canvas, points, False, 255, max(1, round(pen * side)), cv2.LINE_8, 4)
    picture = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.2, 0.6) * size / 28)
    return (soft * np.float32(rng.uniform(0.8, 1.0))).astype(np.uint8)


def jittered(skeleton: tuple[Stroke, ...], rng: Rng) -> list[Array]:
    """Return the strokes as lines [N, 2] in the box of the digit, with each joint moved slightly."""
    moved: dict[tuple[float, float], Array] = {}
    lines = []
    for kind, joints in skeleton:
        for joint in joints:
            if joint not in moved:
                moved[joint] = np.array(joint) + rng.normal(0, 0.03, 2)
        points = np.stack([moved[joint] for joint in joints])
        lines.append(points if kind == "-" else curve(points, closed=kind == "o"))
    return lines


def curve(points: Array, closed: bool, steps: int = 8) -> Array:
    """Return a smooth line through points [K, 2]: a Catmull-Rom spline with `steps` segments between two points."""
    before, after = (points[-1], points[:2]) if closed else (2 * points[0] - points[1], 2 * points[-1] - points[-2])
    p = np.concatenate([before[None], points, np.atleast_2d(after)])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    weights = np.concatenate(
        [t * (t * (2 - t) - 1), t * t * (3 * t - 5) + 2, t * (t * (4 - 3 * t) + 1), t * t * (t - 1)], 1
    )
    windows = np.stack([p[i : len(p) - 3 + i] for i in range(4)])  # [4, segments, 2]
    line = np.einsum("tk,ksd->std", weights / 2, windows).reshape(-1, 2)
    return np.concatenate([line, p[-2:-1]])


def posed(lines: Sequence[Array], pen: float, rng: Rng) -> list[Array]:
    """Return the lines in the picture, 0 to 1: bent, narrowed, slanted, rotated and placed at random."""
    points = np.concatenate(lines) - 0.5
    wave, phase = rng.normal(0, 0.03, 2), rng.uniform(0, 2 * np.pi, 2)
    points = points + wave * np.sin(2 * np.pi * 0.7 * points[:, ::-1] + phase)
    height, narrow = rng.uniform(0.56, 0.72), rng.uniform(0.55, 0.85)
    slant, turn = rng.normal(0.12, 0.2), rng.normal(0, 0.08)
    shape = np.array([[narrow, -slant], [0, 1]])
    cos, sin = np.cos(turn), np.sin(turn)
    points = points @ (height * np.array([[cos, -sin], [sin, cos]]) @ shape).T

    # Fit the digit into the picture, and choose a position near the centre.
    low, high = points.min(0), points.max(0)
    room = 1 - 2 * MARGIN - pen
    fit = min(1.0, room / (high - low).max())
    points, extent = (points - (low + high) / 2) * fit, (high - low) * fit
    free = (room - extent) / 2
    points = points + 0.5 + np.clip(rng.normal(0, 0.04, 2), -free, free)
    return np.split(points, np.cumsum([len(line) for line in lines])[:-1])
