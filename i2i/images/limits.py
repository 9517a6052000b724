"""How large pictures and clips may be. `$I2I_LIMITS` is a factor for every limit: 1 by default, less is stricter.

    I2I_LIMITS=4 i2i translate mosaic.tif -o out -m upscale-x2

A file beyond a limit is rejected before it is decoded, and the error names the factor with which it would be read.
Memory is checked apart from this (`i2i.model.memory`).
"""

from __future__ import annotations

import math
import os

from ..errors import ConfigError, DataError

MAX_PIXELS = 200_000_000  # of a picture, of a result, and of all frames of a clip that is read as a whole
MAX_SIDE = 100_000  # pixels of a side
MAX_FRAMES = 1000  # of a file of which the first is read
MAX_CLIP_FRAMES = 100_000
MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10, and each costs as much as a whole picture
CHEAP = 16_000_000  # pixels that any file may have, and a clip in all its frames
PIXELS_PER_BYTE = {"PNG": 9000, "JPEG": 2000, "WEBP": 20_000, "TIFF": 25_000, "BMP": 300, "GIF": 4000, "PPM": 10}
"""Pixels that a byte of a file can hold, at most, of a picture of one colour; with margin."""


def factor() -> float:
    """Return `$I2I_LIMITS`; raise ConfigError if it is not a number above 0."""
    given = os.environ.get("I2I_LIMITS", "1")
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigError(f"I2I_LIMITS is '{given}': give a factor above 0 for the limits on pictures, such as 4")
    return number


def allowed(limit: float) -> int:
    """Return a limit times the factor."""
    return int(limit * factor())


def way_out(number: float, limit: float) -> str:
    """Return what to do about `number` of something of which `limit` are possible with a factor of 1."""
    return f"set I2I_LIMITS={math.ceil(number / limit)} to raise all limits on pictures"


def check_pixels(width: int, height: int, limit: int | None = None) -> None:
    """Raise DataError if a picture has too many pixels; `limit` replaces that of all pictures."""
    if limit is not None and width * height > limit:
        raise DataError(f"{width}x{height} pixels, more than the limit of {limit:,}; make it smaller first")
    if limit is None and width * height > allowed(MAX_PIXELS):
        raise DataError(
            f"{width}x{height} pixels, more than the limit of {allowed(MAX_PIXELS):,}; make it smaller first, or "
            f"{way_out(width * height, MAX_PIXELS)}"
        )


def check_frames(count: int, limit: int) -> None:
    """Raise DataError if a file has more frames than this limit times the factor."""
    if count > allowed(limit):
        what = "extract the one you want" if limit == MAX_FRAMES else "cut it into shorter clips"
        raise DataError(f"more than {allowed(limit):,} frames; {what}, or {way_out(count, limit)}")


def check_claims(kind: str, width: int, height: int, size: int, frames: int = 1) -> None:
    """Raise DataError if a file claims more pixels in its frames than its bytes can hold, or too long a side.

    Args:
        kind: the format, as in `PIXELS_PER_BYTE`.
        width, height, frames: what the header says.
        size: of the file, in bytes.
    """
    if max(width, height) > allowed(MAX_SIDE):
        raise DataError(
            f"{width}x{height} pixels, more than {allowed(MAX_SIDE):,} on a side; crop it first, or "
            f"{way_out(max(width, height), MAX_SIDE)}"
        )
    limit = max(CHEAP, PIXELS_PER_BYTE[kind] * size)
    if width * height * frames > limit * max(1, factor()):  # a stricter factor does not make a file damaged
        what = f"{frames} frames of " if frames > 1 else ""
        raise DataError(
            f"damaged: it claims {what}{width}x{height} pixels and has {size:,} bytes, too few for a {kind}; replace "
            f"the file or, if it is intact, {way_out(width * height * frames, limit)}"
        )
