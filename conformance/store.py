"""What a case is, and the formats of its files: 8- and 16-bit PNG, npy and JSON. Needs only NumPy.

A case is a function that returns its files as {name: value}. `input*` is what an implementation is given, `expected*`
what it must return within the tolerance, and `trap*` what it returns if it makes the usual mistake.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Files = dict[str, Any]
CASES: dict[str, Case] = {}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type of a PNG by its number of channels


@dataclass(frozen=True)
class Case:
    """One convention.

    Attributes:
        name: of the case and of its folder.
        title: a few words.
        tolerance: the largest absolute difference from `expected*`, in `unit`.
        unit: of the tolerance.
        text: its paragraphs by name: Convention, Trap, Made.
        make: returns its files.
    """

    name: str
    title: str
    tolerance: float
    unit: str
    text: dict[str, str]
    make: Callable[[], Files]


def case(title: str, tolerance: float, unit: str) -> Callable[[Callable[[], Files]], Callable[[], Files]]:
    """Register a function as a case; its docstring has a paragraph for each of Convention, Trap and Made."""

    def register(make: Callable[[], Files]) -> Callable[[], Files]:
        paragraphs = [" ".join(part.split()) for part in (make.__doc__ or "").split("\n\n")]
        text = {name: rest for name, _, rest in (part.partition(": ") for part in paragraphs)}
        assert list(text) == ["Convention", "Trap", "Made"], make.__name__
        CASES[make.__name__] = Case(make.__name__, title, tolerance, unit, text, make)
        return make

    return register


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a test picture, uint8 [H, W, 3]: gradients, stripes, sharp edges, flat areas and noise."""
    y, x = np.mgrid[:height, :width].astype(float)
    chance = np.random.default_rng(seed)
    red = 255 * x / max(1, width - 1)
    green = 127.5 + 127.5 * np.sin(x * 1.3 + y * 0.7)
    blue = np.where((x // 5 + y // 4) % 2 == 0, 235.0, 20.0)
    values = np.stack([red, green, blue], -1) + chance.normal(0, 8, (height, width, 3))
    values[: height // 4, : width // 4] = 128
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def encode(name: str, value: Any) -> bytes:
    """Return the bytes of a file; its suffix decides the format."""
    if isinstance(value, bytes):
        return value
    if name.endswith(".json"):
        return (json.dumps(value, indent=1) + "\n").encode()
    if name.endswith(".png"):
        return encode_png(value)
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def decode(path: Path) -> Any:
    """Return the value of a file; of a JPEG its bytes."""
    data = path.read_bytes()
    if path.suffix == ".json":
        return json.loads(data)
    if path.suffix == ".png":
        return decode_png(data)
    return np.load(io.BytesIO(data)) if path.suffix == ".npy" else data


def encode_png(values: np.ndarray) -> bytes:
    """Encode uint8 or uint16 [H, W, C] as PNG, without filters."""
    height, width, channels = values.shape
    rows = values.astype(">u2" if values.dtype == np.uint16 else "u1").reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 8 * values.dtype.itemsize, COLOUR[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def decode_png(data: bytes) -> np.ndarray:
    """Decode what `encode_png` has written."""
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    channels = {kind: count for count, kind in COLOUR.items()}[colour]
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        packed += data[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    kind = np.dtype(">u2" if bits == 16 else "u1")
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)[:, 1:]
    values = np.ascontiguousarray(lines).view(kind).reshape(height, width, channels)
    return values.astype(kind.newbyteorder("="))
