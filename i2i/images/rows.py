"""Large pictures row by row: `png_rows(values)` encodes a few rows at a time, and makes no copy of the rest.

Pillow copies a picture before it encodes it, with 4 bytes a pixel.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..files.scratch import release
from .animate import png_chunk, png_chunks

BAND = 1 << 20  # bytes that are encoded at a time
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour type by channels
LEVEL = 6  # of zlib


def png_rows(values: np.ndarray, extra: bytes = b"") -> Iterator[bytes]:
    """Yield a PNG of uint8 or uint16 [H, W, C] in parts.

    Args:
        values: the pixels, of which a few rows are read at a time.
        extra: chunks to put before the pixels, such as a profile.

    Source: PNG, third edition (W3C), sections 9 and 11; the filter of a row is the one with the least sum of absolute
    differences, as section 12.7 recommends.
    """
    height, width, channels = values.shape
    depth = values.dtype.itemsize
    yield b"\x89PNG\r\n\x1a\n"
    yield png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * depth, COLOURS[channels], 0, 0, 0)) + extra
    packer = zlib.compressobj(LEVEL)
    step, above = max(1, BAND // (width * channels * depth)), np.zeros(width * channels * depth, np.uint8)
    for top in range(0, height, step):
        band = values[top : top + step]
        plain = band.astype(band.dtype.newbyteorder(">"), copy=False).reshape(len(band), -1).view(np.uint8)
        data = packer.compress(filtered(np.vstack([above, plain]), channels * depth))
        above = plain[-1].copy()
        release()
        if data:
            yield png_chunk(b"IDAT", data)
    yield png_chunk(b"IDAT", packer.flush()) + png_chunk(b"IEND", b"")


def filtered(rows: np.ndarray, each: int) -> bytes:
    """Return rows of a PNG, each with its filter in front.

    Args:
        rows: uint8 [1 + rows, bytes]; the first is the one above them.
        each: bytes of a pixel.
    """
    row, up = rows[1:], rows[:-1]
    left, corner = np.zeros_like(row), np.zeros_like(row)
    left[:, each:], corner[:, each:] = row[:, :-each], up[:, :-each]
    best, least = np.empty((len(row), row.shape[1] + 1), np.uint8), None
    for kind, made in enumerate((row, row - left, row - up, row - average(left, up), row - paeth(left, up, corner))):
        cost = np.abs(made.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64)
        chosen = np.ones(len(row), bool) if least is None else cost < least
        best[chosen, 0], best[chosen, 1:] = kind, made[chosen]
        least = cost if least is None else np.minimum(least, cost)
    return best.tobytes()


def average(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return what the filter of this name predicts."""
    return (left & up) + ((left ^ up) >> 1)


def paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Return the neighbour that is closest to left + up - corner."""
    a, b, c = (one.astype(np.int16) for one in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - c - c)
    from_left = (to_left <= to_up) & (to_left <= to_corner)
    return np.where(from_left, left, np.where(to_up <= to_corner, up, corner))


def extra_chunks(png: bytes, pixels: tuple[bytes, ...]) -> bytes:
    """Return the chunks of a PNG that do not decide its pixels."""
    return b"".join(png_chunk(kind, data) for kind, data in png_chunks(png) if kind not in pixels)


def tiff_strips(values: np.ndarray, rows: int, order: Any = slice(None)) -> Iterator[Any]:
    """Yield the strips of an uncompressed TIFF, of this many rows each, with the channels in this order."""
    for top in range(0, len(values), rows):
        band = values[top : top + rows][..., order]
        yield band.astype(band.dtype.newbyteorder("<"), copy=False).tobytes()
        release()
