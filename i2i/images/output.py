"""`Output`: what a user asks of results besides the model: their format, quality, metadata and size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from .limits import MAX_PIXELS, allowed, way_out
from .write import WRITTEN

TOLERANCE = 0.01  # of a side: how far a size asked for may distort a picture
SMALLEST = 16  # side of a tile, in pixels
SIZES = "a size is the width and height, such as 1920x1080, or the longer side, such as 2048"


@dataclass(frozen=True)
class Output:
    """How results are made and written.

    Args:
        tile: translate in tiles of this side, in pixels; "auto" or None for tiles only if memory is short.
        size: "WIDTHxHEIGHT", a pair of numbers, or the longer side, in pixels.
        scale: size of the result / size of the input.
        format: a suffix without its dot, e.g. "png".
        quality: 1 to 100, for JPEG and WebP.
        strip: leave out metadata.
        steady: mix the frames of a clip with those before along the motion, so that they flicker less.

    Raises:
        ConfigError: a value is not possible.
    """

    tile: Any = None
    size: Any = None
    scale: float | None = None
    format: str | None = None
    quality: int | None = None
    strip: bool = False
    steady: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tile", side_of(self.tile))
        if self.size is not None and self.scale is not None:
            raise ConfigError(f"size {self.size} and scale {self.scale}: give one of them")
        if self.size is not None:
            object.__setattr__(self, "size", parsed(self.size))
        if self.scale is not None:
            object.__setattr__(self, "scale", positive(self.scale))
        if self.format is not None:
            given = str(self.format).lower().removeprefix(".")
            if f".{given}" not in WRITTEN:
                possible = ", ".join(suffix[1:] for suffix in WRITTEN)
                raise ConfigError(f"format {self.format} cannot be written; possible: {possible}")
            object.__setattr__(self, "format", given)
        if self.quality is not None and self.quality not in range(1, 101):
            raise ConfigError(f"quality is {self.quality}: give a number from 1 to 100")
        if self.quality is not None and self.format and WRITTEN[f".{self.format}"] not in ("JPEG", "WEBP"):
            raise ConfigError(f"quality {self.quality}: {self.format} has no quality setting, only jpg and webp do")

    def asked(self) -> dict[str, Any]:
        """Return the options that are given and concern only pictures, by name."""
        given = {name: value for name, value in vars(self).items() if name != "tile" and value not in (None, False)}
        return {name: value if isinstance(value, int | float | str) else list(value) for name, value in given.items()}

    def name(self, path: Path) -> Path:
        """Return the path of a result with the suffix of the format; other suffixes of that format are kept."""
        if self.format is None or WRITTEN.get(path.suffix.lower()) == WRITTEN[f".{self.format}"]:
            return path
        name = path.stem if path.suffix.lower() in WRITTEN else path.name
        return path.with_name(f"{name}.{self.format}")

    def size_of(self, height: int, width: int, own: int = 1) -> tuple[int, int]:
        """Return the height and width of a result.

        Args:
            height, width: of what the network makes.
            own: the scale of the network.

        Raises:
            DataError: a result of this size would be distorted, smaller than a pixel, or too large.
        """
        if isinstance(self.size, tuple):
            tall, wide = self._exact(height, width, own)
        elif self.size is None and self.scale is None:
            return height, width
        else:
            factor = self.scale / own if self.scale else self.size / max(height, width)
            if self.scale and min(height, width) * factor < 1:
                raise DataError(f"scale {self.scale:g} of {width // own}x{height // own} is less than 1 pixel")
            tall, wide = (max(1, round(side * factor)) for side in (height, width))
        if tall * wide > allowed(MAX_PIXELS):
            raise DataError(
                f"a result of {wide}x{tall} pixels is more than the limit of {allowed(MAX_PIXELS):,}; ask for a "
                f"smaller one, or {way_out(tall * wide, MAX_PIXELS)}"
            )
        return tall, wide

    def _exact(self, height: int, width: int, own: int) -> tuple[int, int]:
        wide, tall = self.size
        fit = min(wide / width, tall / height)
        for asked, kept in ((wide, width * fit), (tall, height * fit)):
            if asked - kept > max(1, TOLERANCE * asked):
                raise DataError(
                    f"{wide}x{tall} would distort it, as it has {width // own}x{height // own} pixels; crop it "
                    f"first, or give only the longer side, such as {round(max(width, height) * fit)}"
                )
        return tall, wide


def side_of(tile: Any) -> int | None:
    """Return the side of tiles; None for "auto". Raise ConfigError if it is neither."""
    if tile is None or tile == "auto":
        return None
    try:
        side = int(tile)
        whole = float(tile) == side >= SMALLEST
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ConfigError(
            f"tile {tile} is not possible: give auto, or a side in pixels from {SMALLEST} up, such as 256"
        )
    return side


def parsed(size: Any) -> int | tuple[int, int]:
    """Return a size as the longer side, or as (width, height); raise ConfigError if it is neither."""
    given = size
    if isinstance(size, str):
        given = tuple(size.lower().replace("×", "x").split("x")) if not size.strip().isdigit() else size
    sides = given if isinstance(given, tuple | list) else (given,)
    try:
        numbers = [int(side) for side in sides]
        whole = all(float(side) == number for side, number in zip(sides, numbers, strict=True))
    except (TypeError, ValueError, OverflowError):
        whole, numbers = False, []
    if not whole or len(numbers) not in (1, 2) or not all(0 < number <= allowed(MAX_PIXELS) for number in numbers):
        raise ConfigError(f"size {size} is not possible: {SIZES}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def positive(scale: Any) -> float:
    """Return a scale; raise ConfigError if it is not a number above 0, or makes more pixels than there may be."""
    try:
        number = float(scale)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < allowed(MAX_PIXELS):
        raise ConfigError(
            f"scale {scale} is not possible: give a number above 0, such as 2.5, and below {allowed(MAX_PIXELS):,}"
        )
    return number
