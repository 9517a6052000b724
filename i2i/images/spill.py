"""`empty(shape, dtype)`: an array in memory, or on the disk if it is large.

What is read of the latter or written to it stays in memory until `i2i.files.scratch.release`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..files.scratch import scratch

SPILL = 4e6  # bytes from which on it is on the disk


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array with any values; raise ResourceError if the disk has no space."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SPILL:
        return np.empty(shape, dtype)
    return np.frombuffer(scratch(size), dtype).reshape(shape)
