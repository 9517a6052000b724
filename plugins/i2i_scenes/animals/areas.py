"""Areas of pixels: plain colours, mixtures of two and soft steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .scene import Array


def smooth(x: Array, low: float, high: float) -> Array:
    """Return 0 below low, 1 above high, and a smooth step in between; low may be larger than high."""
    t = np.minimum(np.maximum((x - low) * (1 / (high - low)), 0), 1)
    return t * t * (3 - 2 * t)


def plain(c: Sequence[float], like: Array) -> Array:
    """Return an area [3, H, W] of one colour, as large as `like` [H, W]."""
    return np.broadcast_to(np.array(c, np.float32)[:, None, None], (3, *like.shape))


def mixed(a: Array, c: Sequence[float], t: Array) -> Array:
    """Return a mixture of a [3, H, W], where t [H, W] is 0, and the colour c, where t is 1."""
    return a + (np.array(c, np.float32)[:, None, None] - a) * t
