"""Animations with time stamps: GIF, WebP and APNG. Pillow encodes and decodes the frames, this module packs them.

Pillow's own writers merge equal neighbouring frames, so that a clip of 16 frames may come back with 15. Here every
frame stays one. Only the rectangle that differs from the frame before is stored.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .complete import blocks_end
from .frame import Frame, Video, alike
from .pixels import on_colour
from .profile import convert, scale_clear

WHITE = (255, 255, 255)
SLOW = Fraction(1, 10)  # seconds that browsers show a frame without a duration


def gif(frames: np.ndarray, fps: float = 12) -> bytes:
    """Encode frames uint8 [T, H, W, 3] as a looping GIF with 256 colours per frame."""
    return encode_gif(Video.of(frames, fps))


def animation(frames: np.ndarray | Video, fps: float = 12, kind: str = "gif") -> bytes:
    """Encode frames uint8 [T, H, W, 3] as a looping animation: "gif" with 256 colours per frame, "png" or "webp".

    A `Video` keeps its times, instead of `fps`.
    """
    encode = {"gif": encode_gif, "png": encode_apng, "webp": encode_webp}[kind]
    return encode(frames if isinstance(frames, Video) else Video.of(frames, fps))


# ---- writing


class Part(NamedTuple):
    """The rectangle of a frame that differs from the frame before."""

    pixels: np.ndarray
    left: int
    top: int
    units: int


def parts(frames: Iterable[Frame], per_second: int, even: bool = False) -> Iterator[Part]:
    """Yield what changes from frame to frame, at least one pixel.

    The duration is given in units of a `per_second`-th of a second, at least one, rounded so that the rounding errors
    of the frames do not add up. With `even`, the rectangle starts at even coordinates.
    """
    before: np.ndarray | None = None
    for pixels, time, duration, _ in alike(frames):
        top, left, bottom, right = 0, 0, *pixels.shape[:2]
        if before is not None:
            changed = (pixels != before).any(2)
            rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
            top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, 1)
            left, right = (columns[0], columns[-1] + 1) if len(columns) else (0, 1)
            top, left = (top // 2 * 2, left // 2 * 2) if even else (top, left)
        units = max(1, round((time + duration) * per_second) - round(time * per_second))
        yield Part(pixels[top:bottom, left:right], int(left), int(top), units)
        before = pixels


def encode_gif(frames: Iterable[Frame]) -> bytes:
    """Encode frames as a GIF that loops, each with its own palette of up to 256 colours.

    Source: GIF89a specification, sections 18 to 27. Durations are in hundredths of a second.
    """
    out, size = [], b""
    for pixels, left, top, units in parts(frames, 100):
        single = encoded(pixels, "GIF", lambda image: image.quantize(256))
        size = size or single[6:10]
        flags, colours = single[10], 3 * 2 ** ((single[10] & 7) + 1)
        at = 13 + colours
        while single[at] == 0x21:  # an extension
            at = blocks_end(single, at + 2)
        interlaced = single[at + 9] & 0x40
        out.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 4, min(units, 65535), 0, 0))  # 4: leave it in place
        out.append(struct.pack("<BHH", 0x2C, left, top) + single[at + 5 : at + 9])
        out.append(bytes([0x80 | interlaced | flags & 7]) + single[13 : 13 + colours] + single[at + 10 : -1])
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return b"".join([b"GIF89a", size, b"\x70\0\0", loop, *out, b"\x3b"])


def encode_apng(frames: Iterable[Frame]) -> bytes:
    """Encode frames as an animated PNG that loops, without loss.

    Source: W3C PNG specification (third edition), section 11.3.6. Durations are in thousandths of a second.
    """
    head, out, number, count = b"", [], 0, 0
    for pixels, left, top, units in parts(frames, 1000):
        chunks = list(png_chunks(encoded(pixels, "PNG")))
        head = head or chunks[0][1]
        place = struct.pack(">IIIII", number, pixels.shape[1], pixels.shape[0], left, top)
        out.append(png_chunk(b"fcTL", place + struct.pack(">HHBB", min(units, 65535), 1000, 0, 0)))
        number += 1
        for data in (data for kind, data in chunks if kind == b"IDAT"):
            if count == 0:
                out.append(png_chunk(b"IDAT", data))
            else:
                out.append(png_chunk(b"fdAT", struct.pack(">I", number) + data))
                number += 1
        count += 1
    start = png_chunk(b"IHDR", head) + png_chunk(b"acTL", struct.pack(">II", count, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", start, *out, png_chunk(b"IEND", b"")])


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each chunk of a PNG."""
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def encode_webp(frames: Iterable[Frame]) -> bytes:
    """Encode frames as an animated WebP that loops, without loss.

    Source: RFC 9649, section 2.7. Durations are in thousandths of a second.
    """
    out, size = [], b""
    for pixels, left, top, units in parts(frames, 1000, even=True):
        height, width = pixels.shape[:2]
        size = size or uint24(width - 1) + uint24(height - 1)
        image = encoded(pixels, "WEBP", lossless=True)[12:]
        place = b"".join(map(uint24, (left // 2, top // 2, width - 1, height - 1, min(units, 2**24 - 1))))
        out.append(riff_chunk(b"ANMF", place + b"\x02" + image))  # 2: replace, do not blend
    start = riff_chunk(b"VP8X", b"\x02\0\0\0" + size) + riff_chunk(b"ANIM", b"\xff\xff\xff\xff\0\0")
    return riff_chunk(b"RIFF", b"WEBP" + start + b"".join(out))


def uint24(number: int) -> bytes:
    """Return a number in three bytes, the lowest first."""
    return number.to_bytes(3, "little")


def riff_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a RIFF file, padded to an even length."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def encoded(
    pixels: np.ndarray, kind: str, convert: Callable[[Image.Image], Image.Image] = lambda image: image, **options: Any
) -> bytes:
    """Return one picture uint8 [H, W, 3] encoded by Pillow."""
    buffer = io.BytesIO()
    convert(Image.fromarray(np.ascontiguousarray(pixels))).save(buffer, format=kind, **options)
    return buffer.getvalue()


# ---- reading


def decode(image: Any, name: str) -> Iterator[Frame]:
    """Yield the frames of an opened GIF, WebP or PNG, composited onto white.

    A frame without a duration lasts a tenth of a second, as in browsers.
    """
    time = Fraction(0)
    scale_clear(image)
    first = 1 if image.info.get("default_image") else 0  # of an APNG, for programs that cannot show it
    for number in range(first, getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        duration = Fraction(float(image.info.get("duration") or 0) / 1000).limit_denominator(65535) or SLOW
        values = np.array(convert(image, name)[0])
        values = on_colour(values if values.ndim == 3 else values[..., None], WHITE)
        yield Frame(np.repeat(values, 3, 2) if values.shape[2] == 1 else values, time, duration)
        time += duration
