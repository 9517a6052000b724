"""Clips of drawn digits that move straight ahead and bounce off the edges, like Moving MNIST, without any file.

    data: {use: moving_digits, size: 32, frames: 16}             # i2i run configs/videogan.yaml
    data: {use: moving_digits, size: 32, frames: 16, given: 4}   # i2i run configs/video_prediction.yaml

The digits are those of `digits`. Each keeps its shape and its speed; an edge mirrors its direction. The idea is that
of Moving MNIST (arXiv:1502.04681, section 4.1).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import ConfigError, Data
from i2i.data import InMemory, Sample

from .digits import TRAINING, VALIDATION, drawn

Array = np.ndarray
Rng = np.random.Generator

SIDE = 0.625  # of a digit with its margin, relative to the frame
SLOWEST, FASTEST = 1 / 32, 2.5 / 32  # frame sides per frame


class MovingDigits(Data):
    """Clips of one or two moving digits; those of one digit have it as their label.

    A training digit moves differently in every epoch. Validation clips are always the same.

    Args:
        size: height and width in pixels.
        frames: frames per clip.
        batch_size: clips per step.
        samples: training digits, or pairs of digits.
        validation_samples: clips of digits not used in training, the same for every `seed`.
        digits: 1, or 2 that pass through each other; then there are no labels.
        channels: 1 for grey, 3 for digits in random colours.
        given: for prediction: split a sample into "A", its first `given` frames, and "B", the rest.
        workers: loader processes.
        seed: selects the training digits.

    Raises:
        ConfigError: `given` leaves no frame to predict.
    """

    def __init__(
        self,
        size: Annotated[int, Field(ge=16, le=128)] = 32,
        frames: Annotated[int, Field(ge=2)] = 16,
        batch_size: PositiveInt = 16,
        samples: PositiveInt = 4000,
        validation_samples: PositiveInt = 200,
        digits: Literal[1, 2] = 1,
        channels: Literal[1, 3] = 1,
        given: PositiveInt | None = None,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        if given is not None and given >= frames:
            raise ConfigError(
                f"moving_digits: given={given} leaves nothing to predict of frames={frames}: use a smaller `given`"
            )
        self.size, self.frames, self.channels, self.given = size, frames, channels, given
        self.batch_size, self.workers, self.digits = batch_size, workers, digits
        self.classes = tuple("0123456789") if digits == 1 else ()
        side = round(size * SIDE)
        self.train = drawn(TRAINING + (seed << 32), samples * digits, side)
        self.held_out = drawn(VALIDATION, validation_samples * digits, side)

    def __len__(self) -> int:
        return len(self.train) // self.digits

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return a clip of training digit `index`.

        Returns:
            "clip" float32 [frames, channels, size, size] in [-1, 1], or with `given` "A" [given, ...] and "B"; for
            one digit "label" int64 [].
        """
        return self._clip(self.train, index, rng)

    def validation(self) -> Sequence[Sample]:
        """Return clips of digits that are in no training set, as samples of the same kind."""
        return self._validation

    @functools.cached_property
    def _validation(self) -> list[Sample]:
        n = len(self.held_out) // self.digits
        return [self._clip(self.held_out, i, np.random.default_rng((VALIDATION, i))) for i in range(n)]

    def _clip(self, source: InMemory, index: int, rng: Rng) -> Sample:
        layers = []
        for n in range(index * self.digits, (index + 1) * self.digits):
            picture = source.pictures[n, 0]
            frames = pasted(picture, path(rng, self.frames, self.size - len(picture), self.size), self.size)
            layers.append(frames[:, None] * colour(rng, self.channels)[:, None, None])
        values = np.maximum.reduce(layers).astype(np.float32) / np.float32(127.5) - 1
        clip = torch.from_numpy(values)
        sample: Sample = {"clip": clip} if self.given is None else {"A": clip[: self.given], "B": clip[self.given :]}
        return sample | {"label": source.labels[index]} if self.digits == 1 else sample


def path(rng: Rng, frames: int, room: float, size: int) -> Array:
    """Return the positions [frames, 2] (x, y) of the corner of a digit, in pixels from 0 to `room`.

    Start and direction are uniform, and so is the speed. Bouncing between two walls is a triangle wave.
    """
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(SLOWEST, FASTEST) * size
    velocity = speed * np.array([np.cos(angle), np.sin(angle)])
    straight = rng.uniform(0, room, 2) + np.arange(frames)[:, None] * velocity
    return room - np.abs(room - straight % (2 * room))


def pasted(picture: Array, corners: Array, size: int) -> Array:
    """Return uint8 frames [T, size, size], black with a picture [h, w] at the corners [T, 2], to 1/32 of a pixel."""
    import cv2

    def frame(x: float, y: float) -> Array:
        return cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]]), (size, size), flags=cv2.INTER_LINEAR)

    return np.stack([frame(x, y) for x, y in corners])


def colour(rng: Rng, channels: int) -> Array:
    """Return the brightness of each channel, 0 to 1, the largest being 1: float32 [channels]."""
    values = rng.uniform(0.1, 1, channels)
    return (values / values.max()).astype(np.float32)
