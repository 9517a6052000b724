"""Pictures drawn by code with the statistics of photographs: super-resolution without any file.

    data: {use: synthetic_photos, scale: 4}      # in a config; `i2i run configs/superres.yaml` trains on it
    python -m i2i_scenes.photos drawn 400              # as files, to be added to photographs in data.root
    python -m i2i_scenes.photos printed 400 --letters  # with printed text instead of strokes

Objects with sharp edges, plain, shaded or textured, occlude each other on a background with a natural spectrum
(amplitude about 1/f); lines of strokes look like writing. A picture is a pure function of its seed.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from i2i import I2IError, images
from i2i.data import Patches, Whole
from i2i.files import make_folder

Array = np.ndarray

TRAINING, VALIDATION = 0, 1 << 60
"""The first seeds of the training and the validation pictures."""

FINE = 2  # pictures are drawn this many times larger, then averaged, as a camera does
THINGS = (6, 14)  # objects in a picture: at least, fewer than
SIDE = 256  # height and width of a picture, in pixels
MARGIN = 24  # fine pixels around an object, for its shadow


class SyntheticPhotos(Patches):
    """Crops of pictures drawn by code, and the same crops downscaled.

    The pictures are drawn once, at the start, in about 0.07 seconds each.

    Args:
        scale: ratio of the sizes of "B" and "A": 2, 3 or 4.
        size: height and width of "B" in pixels, a multiple of `scale`.
        degradation: how "A" is computed: "bicubic" or "real_world", see `superres`.
        samples: number of pictures for training, of 256 x 256 pixels.
        turn: mirror half of the samples, and rotate by 0, 90, 180 or 270 degrees.
        batch_size: samples in one step.
        workers: loader processes.
        validation_samples: number of pictures for validation, of the same size, not used in training.

    Raises:
        ConfigError: size is not a multiple of scale.
    """

    def __init__(
        self,
        scale: Literal[2, 3, 4] = 4,
        size: PositiveInt = 128,
        degradation: Literal["bicubic", "real_world"] = "bicubic",
        samples: PositiveInt = 100,
        turn: bool = True,
        batch_size: PositiveInt = 16,
        workers: NonNegativeInt = 0,
        validation_samples: PositiveInt = 8,
    ) -> None:
        self.batch_size, self.workers = batch_size, workers
        self._set(scale, size, degradation, turn)
        self.pictures = [[self.widened(photo(TRAINING + n))] for n in range(samples)]
        held_out = [partial(alone, VALIDATION + n) for n in range(validation_samples)]
        self._held_out = Whole(held_out, scale, self.degrade, validation_samples)


def alone(seed: int) -> tuple[Array, None]:
    """Return the picture of a seed, and None for its downscaled version, which is computed later."""
    return photo(seed), None


def write(folder: Path, number: int, letters: bool = False) -> None:
    """Write the first training pictures as 00000.png, 00001.png, ... into a folder, which is created."""
    make_folder(folder)
    for n in range(number):
        images.save(photo(TRAINING + n, letters=letters), folder / f"{n:05}.png")


def photo(seed: int, size: int = SIDE, letters: bool = False) -> Array:
    """Draw a picture, uint8 [size, size, 3]: a pure function of the seed. With `letters`, it has printed text."""
    rng = np.random.default_rng([7, seed])
    side = size * FINE
    picture = stuff(rng, side, natural=True)
    for _ in range(int(rng.integers(*THINGS))):
        thing(rng, picture)
    for _ in range(int(rng.integers(1, 4) if letters else rng.integers(3))):
        (printing if letters else writing)(rng, picture)
    taken = picture.reshape(size, FINE, size, FINE, 3).mean((1, 3))
    return np.rint(taken.clip(0, 1) * 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------- surfaces


def colour(rng: np.random.Generator) -> Array:
    """Draw a colour, float32 [3] in 0..1, rarely saturated."""
    grey, tint = rng.uniform(0.05, 0.95), rng.normal(0, 0.12, 3)
    return np.clip(grey + tint, 0, 1).astype(np.float32)


def stuff(rng: np.random.Generator, side: int, natural: bool = False) -> Array:
    """Draw a surface, float32 [side, side, 3]: plain, shaded, or with a natural texture, stripes, tiles or weave."""
    first, second = colour(rng), colour(rng)
    kind = 2 if natural else rng.choice(6, p=(0.2, 0.2, 0.25, 0.15, 0.1, 0.1))
    amount: Array
    if kind == 0:
        amount = np.zeros((side, side), np.float32)
    elif kind == 1:
        amount = waves(rng, side, 0.2, 1.0)
    elif kind == 2:
        amount = nature(rng, side)
    elif kind == 3:
        amount = sharpened(waves(rng, side, 6, 40), rng)
    elif kind == 4:
        amount = sharpened(np.maximum(waves(rng, side, 6, 20), waves(rng, side, 6, 20)), rng)
    else:
        amount = waves(rng, side, 10, 50) * waves(rng, side, 10, 50)
    if kind > 2:
        amount = amount + nature(rng, side) * np.float32(rng.uniform(0, 0.15))
    return first + (second - first) * amount[..., None]


def waves(rng: np.random.Generator, side: int, low: float, high: float) -> Array:
    """Return a wave in a random direction, with `low` to `high` periods across the picture, in 0..1."""
    periods, angle, phase = np.exp(rng.uniform(np.log(low), np.log(high))), rng.uniform(0, np.pi), rng.uniform(0, 7)
    along = np.linspace(0, 2 * np.pi * periods, side, dtype=np.float32)
    bent = rng.normal(0, 0.3) * np.sin(along / max(1.0, periods))
    return 0.5 + 0.5 * np.sin(along * np.cos(angle) + ((along + bent) * np.sin(angle))[:, None] + phase)


def sharpened(amount: Array, rng: np.random.Generator) -> Array:
    """Return a wave with steeper slopes, clipped to 0..1."""
    return (0.5 + (amount - rng.uniform(0.3, 0.7)) * rng.uniform(2, 12)).clip(0, 1)


def nature(rng: np.random.Generator, side: int) -> Array:
    """Return noise with the amplitude spectrum of photographs, mean 0.5 and standard deviation 0.25."""
    import cv2

    fall, squeezed = rng.uniform(0.9, 1.6), np.exp(rng.normal(0, 0.4))
    size = cv2.getOptimalDFTSize(side)
    across, along = (np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size) * size * squeezed)
    frequency = (across**2 + along**2).astype(np.float32)
    frequency[0, 0] = 1
    waves = rng.standard_normal((*frequency.shape, 2), np.float32).view(np.complex64)[..., 0]
    field = np.fft.irfft2(waves * frequency ** np.float32(-fall / 2), (size, size)).astype(np.float32)[:side, :side]
    return 0.5 + 0.25 * (field - field.mean()) / field.std()


# --------------------------------------------------------------------------------------------------- things


def thing(rng: np.random.Generator, picture: Array) -> None:
    """Draw an object over the picture: its surface and outline, and sometimes a soft edge or a shadow."""
    import cv2

    # Work only on the square around it.
    points = outline(rng) * len(picture)
    corner = np.floor(points.min(0) - MARGIN).astype(int)
    side = int(np.ceil((points.max(0) - corner).max() + MARGIN))
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.rint((points - corner) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    surface = stuff(rng, side)
    cover: Array = mask.astype(np.float32) / 255
    if rng.random() < 0.3:  # out of focus
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(1, 6))
    shade: Array = np.roll(cv2.GaussianBlur(cover, (0, 0), rng.uniform(4, 10)), rng.integers(-8, 9, 2), (0, 1))
    darkness = np.float32(rng.uniform(0.2, 0.6)) if rng.random() < 0.4 else 0

    # Draw the part that is inside the picture.
    (left, top), (right, bottom) = corner.clip(0, len(picture)), (corner + side).clip(0, len(picture))
    here = picture[top:bottom, left:right]
    inside = np.s_[top - corner[1] : bottom - corner[1], left - corner[0] : right - corner[0]]
    here *= 1 - darkness * shade[inside][..., None]
    here += (surface[inside] - here) * cover[inside][..., None]


def outline(rng: np.random.Generator) -> Array:
    """Draw the outline of an object, [N, 2] in units of the picture: angular or round, compact or long."""
    middle, radius = rng.uniform(0, 1, 2), np.exp(rng.uniform(np.log(0.06), np.log(0.45)))
    corners = int(rng.choice([3, 4, 4, 5, 7, 60, 60]))
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.5, 1, corners)
    if corners == 60:
        bumps = [rng.normal(0, 0.15 / n) * np.cos(n * turn + rng.uniform(0, 7)) for n in range(2, 6)]
        reach = 1 + np.sum(bumps, 0)
    angle, flat = rng.uniform(0, np.pi), rng.uniform(0.1, 1)
    x, y = radius * reach * np.cos(turn), radius * reach * np.sin(turn) * flat
    turned = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)
    return middle + turned


def writing(rng: np.random.Generator, picture: Array) -> None:
    """Draw lines of writing; each character is two or three pen strokes."""
    import cv2

    side = len(picture)
    high = rng.uniform(0.03, 0.1) * side
    thick = max(1, round(high * rng.uniform(0.06, 0.16)))
    ink = tuple(float(c) for c in colour(rng))
    left, top = rng.uniform(0, 0.6, 2) * side
    slant = rng.normal(0, 0.1)
    for line in range(int(rng.integers(1, 5))):
        for sign in range(int(rng.integers(4, 16))):
            if rng.random() < 0.15:  # between words
                continue
            corner = np.array([left + sign * 0.8 * high, top + line * 1.6 * high + sign * slant * high])
            for _ in range(int(rng.integers(2, 4))):
                stroke = corner + rng.integers(0, 3, (int(rng.integers(2, 5)), 2)) / 2 * high * (0.6, 1)
                points = [np.rint(stroke * 16).astype(np.int32)]
                cv2.polylines(picture, points, False, ink, thick, cv2.LINE_8, shift=4)


def printing(rng: np.random.Generator, picture: Array) -> None:
    """Draw lines of printed text, level or turned, some on a plain ground, in the font that Pillow contains."""
    from PIL import Image, ImageDraw, ImageFont

    side = len(picture)
    high = int(np.exp(rng.uniform(np.log(0.025), np.log(0.16))) * side)
    font = ImageFont.load_default(high)
    lines = "\n".join(" ".join(map(word, [rng] * int(rng.integers(1, 7)))) for _ in range(int(rng.integers(1, 8))))
    text = Image.new("L", (side, side))
    pen = ImageDraw.Draw(text)
    place = (float(rng.uniform(0, 0.6) * side), float(rng.uniform(0, 0.7) * side))
    ground = Image.new("L", (side, side))
    if rng.random() < 0.5:
        left, top, right, bottom = pen.multiline_textbbox(place, lines, font)
        ImageDraw.Draw(ground).rectangle((left - high, top - high, right + high, bottom + high), 255)
    pen.multiline_text(place, lines, 255, font)
    turn = float(rng.choice([0, 0, 0, 90, rng.normal(0, 15)]))
    ink = colour(rng)
    for mask, paint in ((ground, np.clip(ink + rng.choice([-1, 1]) * rng.uniform(0.3, 0.8), 0, 1)), (text, ink)):
        cover = np.asarray(mask.rotate(turn, Image.Resampling.BICUBIC), np.float32)[..., None] / 255
        picture += (paint.astype(np.float32) - picture) * cover


def word(rng: np.random.Generator) -> str:
    """Draw a word, a number or a name."""
    letters = "".join(rng.choice(list("etaoinshrdlucmfwypvbgkqjxz"), int(rng.integers(2, 10))))
    number = str(rng.integers(10 ** int(rng.integers(1, 5))))
    return str(rng.choice([letters, letters, letters.capitalize(), letters.upper(), number, f"{letters},"]))


if __name__ == "__main__":
    import typer

    try:
        typer.run(write)
    except I2IError as error:
        print(f"i2i: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
