"""Memory that a training frees and allocates again in each step: kept, instead of given back to the system.

Large tensors are fresh pages of the system otherwise, each of which is cleared at the first touch: 0.1 to 0.7 s of a
step of networks with 50 to 100 million parameters.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3), the GNU C library
MOST = 2**31 - 4096  # bytes; an int


def keep_memory() -> bool:
    """Let this process keep what it frees, and return whether the C library allows it: that of GNU does."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # another library may take these numbers to mean something else
        return bool(library.mallopt(MMAP_THRESHOLD, MOST) and library.mallopt(TRIM_THRESHOLD, MOST))
    return False


def prepare(threads: int | None) -> None:
    """Prepare this process for a training: with this many threads, None for PyTorch's choice, and kept memory."""
    keep_memory()
    if threads:
        torch.set_num_threads(threads)
