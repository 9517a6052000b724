"""Pixels [H, W, C] as uint8, uint16 or float32 in 0..1, where C is 1, 2 (grey and alpha), 3 or 4 (RGB and alpha)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from ..errors import DataError
from .notes import counts

WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}  # by type


def rescaled(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Convert pixels to another type, rounding to the nearest value."""
    old, new = WHITE[values.dtype], WHITE[np.dtype(dtype)]
    if old == new:
        return values
    scaled = values.astype(np.float32) * np.float32(new / old)
    return (np.rint(scaled) if new > 1 else scaled).astype(dtype)


def check_floats(low: float, high: float) -> None:
    """Raise DataError if the smallest or the largest of some floats is not within 0..1."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("contains NaN or infinity; floats must be within 0..1")
    if low < -1e-5 or high > 1 + 1e-5:  # tolerates rounding
        raise DataError(f"contains floats from {low:g} to {high:g}, not within 0..1; rescale it or give uint8")


def on_colour(values: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Composite uint8 [H, W, C] onto a colour, and drop the alpha channel."""
    if values.shape[2] in (1, 3):
        return values
    colour, alpha = values[..., :-1], values[..., -1:].astype(np.uint32)
    if alpha.min() == 255:
        return colour
    counts["alpha composited"] += 1
    return ((colour * alpha + np.array(background, np.uint32) * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_image(values: np.ndarray) -> Image.Image:
    """Make a PIL image from [H, W, C]; with colour or alpha it has 8 bits per channel."""
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else rescaled(values, np.uint8))
