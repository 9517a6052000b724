"""Coloured shapes with captions: a data set for text to image that needs no file and whose truth is known.

    data: {use: captioned_scenes, size: 32, batch_size: 32}     # in a config

A picture is a pure function of its scene and its seed: the scene (see captions.py) fixes the colours, the shapes,
their number and where they are; the seed moves, turns and tints them and chooses the background. One combination in
eight of colour, shape, count and place is never trained on; the validation samples are made of these only.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from i2i import Data
from i2i.data import Sample, to_tensor

from .captions import WORDINGS, Group, Rng, Scene, Wording, held_out, phrase, phrases, scenes

Array = np.ndarray
Share = Annotated[float, Field(ge=0, le=1)]

TRAINING, VALIDATION = 0, 1 << 60
"""The first seeds of the training and the validation pictures."""

FINE = 4  # pictures are drawn this many times larger, then averaged
LENGTH = 200  # characters of a caption's tensor, as in the modality "text"
HUES = {"red": 0.0, "orange": 0.075, "yellow": 0.155, "green": 0.36, "blue": 0.61, "purple": 0.79}


class CaptionedScenes(Data):
    """Pictures of one to three coloured shapes with captions: "image" and "text", the caption's code points.

    Nothing is read from disk; the pictures are drawn once, 0.2 ms each. In training each picture gets one of its
    captions at random. Validation samples show combinations that are never trained on, with their plainest caption.

    Args:
        size: height and width of a sample, in pixels.
        batch_size: samples in one step.
        samples: pictures in the training set.
        relations: the share of pictures of two groups, such as "a red star above a blue circle".
        validation_samples: pictures not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the pictures of the training set.
    """

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=128)] = 32,
        batch_size: PositiveInt = 32,
        samples: PositiveInt = 10000,
        relations: Share = 0.25,
        validation_samples: PositiveInt = 256,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.workers = size, batch_size, workers
        self.scenes = chosen(TRAINING + (seed << 32), samples, relations, unseen=False)
        self.pictures = drawn(self.scenes, TRAINING + (seed << 32), size)
        unseen = chosen(VALIDATION, validation_samples, relations, unseen=True)
        self.held_out = [
            {"image": to_tensor(picture), "text": codes(first_caption(scene, n))}
            for n, (scene, picture) in enumerate(zip(unseen, drawn(unseen, VALIDATION, size), strict=True))
        ]

    def __len__(self) -> int:
        return len(self.scenes)

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return training picture `index` with one of its captions.

        Returns:
            "image" float32 [3, size, size] in [-1, 1] and "text" int64 [200], Unicode code points padded with zeros.
        """
        wording = WORDINGS[int(rng.integers(len(WORDINGS)))]
        return {"image": to_tensor(self.pictures[index]), "text": codes(phrase(self.scenes[index], wording))}

    def validation(self) -> Sequence[Sample]:
        """Return pictures of scenes that are never trained on, as samples of the same kind."""
        return self.held_out

    def captions(self, index: int) -> list[str]:
        """Return all captions of training picture `index`."""
        return phrases(self.scenes[index])


def codes(sentence: str) -> Tensor:
    """Return the Unicode code points of a sentence, int64 [200], padded with zeros, as the modality "text" does."""
    return torch.tensor([*map(ord, sentence), *[0] * (LENGTH - len(sentence))])


def sentence_of(text: Tensor) -> str:
    """Return the sentence of code points [L]."""
    return "".join(chr(code) for code in text.tolist() if code)


def first_caption(scene: Scene, number: int) -> str:
    """Return the plainest caption; every second one of two groups names the lower or right one first."""
    return phrase(scene, Wording(order=number % 2 if len(scene.groups) == 2 else 0))


def chosen(first: int, n: int, relations: float, unseen: bool | None) -> list[Scene]:
    """Return the scenes of the `n` seeds from `first` on.

    Args:
        relations: the share of scenes of two groups.
        unseen: whether all are held out, or none, or None for both kinds.
    """
    possible = [scene for scene in scenes() if unseen is None or held_out(scene) == unseen]
    single, double = ([scene for scene in possible if len(scene.groups) == n] for n in (1, 2))
    # Each count equally often, although corners have room for one shape only.
    by_count = [[scene for scene in single if scene.groups[0].count == count] for count in (1, 2, 3)]
    found = []
    for seed in range(first, first + n):
        rng = np.random.default_rng((seed, 0x5CE))
        among = double if rng.random() < relations else by_count[int(rng.integers(3))]
        found.append(among[int(rng.integers(len(among)))])
    return found


# ---- drawing


def drawn(some: Sequence[Scene], first: int, size: int) -> Array:
    """Return pictures of scenes, from the seed `first` on: uint8 [N, size, size, 3]."""
    return np.stack([draw(scene, first + n, size) for n, scene in enumerate(some)])


def draw(scene: Scene, seed: int, size: int = 32) -> Array:
    """Draw a scene, uint8 [size, size, 3]: a pure function of the arguments."""
    import cv2

    rng = np.random.default_rng((seed, 0xCA9))
    side = size * FINE
    canvas = cv2.resize(background(rng), (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = canvas.clip(0, 255).astype(np.uint8)
    for group, centres, radius in placed(scene, rng):
        for centre in centres:
            outline = centre + radius * turned(OUTLINES[group.shape], rng)
            points = np.rint(outline * side * 16 - 8).astype(np.int32)
            cv2.fillPoly(canvas, [points], tint(group.colour, rng), cv2.LINE_8, 4)
    picture: Array = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return picture


def background(rng: Rng) -> Array:
    """Return a dark, nearly grey background of 3x3 pixels, to be enlarged: float32 [3, 3, 3]."""
    level = rng.uniform(25, 95) + rng.normal(0, 7, (3, 3, 1))
    return (level + rng.normal(0, 5, 3) + rng.normal(0, 3, (3, 3, 3))).astype(np.float32)


def placed(scene: Scene, rng: Rng) -> list[tuple[Group, list[Array], float]]:
    """Return where the shapes of each group are: their centres (x, y) and their radius, in pictures."""
    moved = rng.uniform(-0.03, 0.03, 2)
    if len(scene.groups) == 1:
        group = scene.groups[0]
        across = scene.layout not in ("left", "right")  # side by side, else one below the other
        centre = np.array([column(scene.layout), row(scene.layout)]) + moved
        return [(group, *spread(group, centre, across, rng))]
    vertical = scene.layout == "vertical"
    found = []
    for group, along in zip(scene.groups, (0.28, 0.72), strict=True):
        centre = np.array([0.5, along] if vertical else [along, 0.5])
        centre = centre + moved + rng.uniform(-0.02, 0.02, 2)
        found.append((group, *spread(group, centre, vertical, rng)))
    return found


def column(place: str) -> float:
    """Return x of a place."""
    return 0.25 if "left" in place else 0.75 if "right" in place else 0.5


def row(place: str) -> float:
    """Return y of a place."""
    return 0.25 if "top" in place else 0.75 if "bottom" in place else 0.5


def spread(group: Group, centre: Array, across: bool, rng: Rng) -> tuple[list[Array], float]:
    """Return the centres of the shapes of a group, in a row or a column around `centre`, and their radius."""
    radius = {1: 0.18, 2: 0.16, 3: 0.13}[group.count] * rng.uniform(0.92, 1.05)
    pitch = {1: 0.0, 2: 0.4, 3: 0.305}[group.count]
    offsets = (np.arange(group.count) - (group.count - 1) / 2) * pitch
    steps = np.stack([offsets, np.zeros(group.count)], 1)
    return list(centre + (steps if across else steps[:, ::-1]) + rng.uniform(-0.01, 0.01, (group.count, 2))), radius


def tint(colour: str, rng: Rng) -> tuple[float, ...]:
    """Return a shade of a colour, RGB in 0..255."""
    hue = (HUES[colour] + rng.uniform(-0.012, 0.012)) % 1
    return tuple(255 * one for one in colorsys.hsv_to_rgb(hue, rng.uniform(0.8, 0.95), rng.uniform(0.85, 1.0)))


def turned(outline: Array, rng: Rng) -> Array:
    """Return an outline [K, 2] turned slightly."""
    angle = rng.uniform(-0.15, 0.15)
    cos, sin = np.cos(angle), np.sin(angle)
    return outline @ np.array([[cos, sin], [-sin, cos]])


def regular(corners: int, inner: float = 1.0) -> Array:
    """Return a regular polygon, or a star with inner corners at this radius: [K, 2], around 0, one corner up."""
    number = corners if inner == 1 else 2 * corners
    angle = np.arange(number) * 2 * np.pi / number
    length = np.where(np.arange(number) % 2, inner, 1.0)
    return np.stack([np.sin(angle) * length, -np.cos(angle) * length], 1)


OUTLINES = {
    "circle": 0.92 * regular(40),
    "square": 0.84 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": 1.12 * regular(3) + np.array([0, 0.18]),
    "star": 1.1 * regular(5, 0.42),
}
"""Outlines around (0, 0) of about radius 1, [K, 2]."""
