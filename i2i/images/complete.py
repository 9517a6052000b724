"""Whether a file of a clip is complete, from its structure alone, before anything is decoded.

Decoders show what they have: a GIF or MP4 that was cut off would become a shorter clip without any error.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO, NamedTuple

from ..errors import DataError

CUT, DAMAGED = "truncated: copy or download it again", "damaged: copy or download it again"
MATROSKA, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
PICTURES = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"crx ")  # brands of MP4 that are pictures


def kind_of(prefix: bytes) -> str:
    """Return the kind of a file that may be a clip, from its first 16 bytes, or an empty string."""
    if prefix[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if prefix[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if prefix[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(prefix[8:12], "")
    if prefix[:4] == MATROSKA:
        return "matroska"
    return "mov" if prefix[4:8] == b"ftyp" and prefix[8:12] not in PICTURES else ""


class Outline(NamedTuple):
    """What an animation says about itself: the number of frames, and their width and height in pixels."""

    frames: int
    width: int
    height: int


def outline(stream: BinaryIO, kind: str) -> Outline | None:
    """Check that a file is complete, and return its outline, or None if only decoding can tell.

    Raises:
        DataError: it is truncated or damaged.
    """
    try:
        if kind in ("mov", "matroska"):
            (boxes if kind == "mov" else segment)(stream, stream.seek(0, os.SEEK_END))
            return None
        stream.seek(0)
        return {"gif": gif, "png": png, "webp": riff, "avi": riff}[kind](stream.read())
    except (IndexError, struct.error):
        raise DataError(CUT) from None


def gif(data: bytes) -> Outline:
    """Return the outline of a GIF; a frame may be larger than the file says, which Pillow follows."""
    width, height = struct.unpack_from("<HH", data, 6)
    count, at = 0, 13 + table(data[10])
    while data[at] != 0x3B:
        if data[at] == 0x2C:
            count += 1
            left, top, wide, tall = struct.unpack_from("<HHHH", data, at + 1)
            width, height = max(width, left + wide), max(height, top + tall)
            at = blocks_end(data, at + 11 + table(data[at + 9]))
        elif data[at] == 0x21:
            at = blocks_end(data, at + 2)
        else:
            raise DataError(DAMAGED)
    return Outline(count, width, height)


def table(flags: int) -> int:
    """Return the size in bytes of a colour table of a GIF."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def blocks_end(data: bytes, at: int) -> int:
    """Return the offset after the sub-blocks of a GIF that start at `at`."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def png(data: bytes) -> Outline:
    """Return the outline of a PNG, and check its checksums."""
    at, kind, count, expected = 8, b"", 0, 0
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        if crc != zlib.crc32(data[at + 4 : at + 8 + length]):
            raise DataError(DAMAGED)
        if kind == b"acTL":
            (expected,) = struct.unpack_from(">I", data, at + 8)
        count += kind == b"fcTL"
        at += 12 + length
    if count != expected:
        raise DataError(f"damaged: it has {count} of {expected} frames")
    return Outline(count or 1, *struct.unpack_from(">II", data, 16))


def riff(data: bytes) -> Outline | None:
    """Return the outline of a WebP; an AVI has several parts, which must be complete."""
    at, count = 0, 0
    while at < len(data):
        _, length, kind = struct.unpack_from("<4sI4s", data, at)
        end = at + 8 + length
        if end > len(data):
            raise DataError(CUT)
        if kind == b"WEBP":
            at += 12
            while at < end:
                name, length = struct.unpack_from("<4sI", data, at)
                count += name == b"ANMF"
                at += 8 + length + length % 2
            if at != end + end % 2:
                raise DataError(DAMAGED)
            return Outline(count or 1, *webp_size(data))
        at = end + end % 2
    return None


def webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a WebP, from its first 30 bytes; (0, 0) if they are not there."""
    kind = data[12:16]
    if len(data) >= 30 and kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if len(data) >= 25 and kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if len(data) >= 30 and kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def boxes(stream: BinaryIO, size: int) -> None:
    """Check the outermost boxes of an MP4 file."""
    at, names = 0, set()
    while at < size:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        if length == 1:  # a long box
            (length,) = struct.unpack(">Q", stream.read(8))
        names.add(name)
        at = size if length == 0 else at + max(length, 8)
    if at > size or b"moov" not in names:
        raise DataError(CUT)


def segment(stream: BinaryIO, size: int) -> None:
    """Check the segment of a WebM or Matroska file; that of a recorded stream may have no known end."""
    at = 4
    for wanted in (b"", SEGMENT):
        stream.seek(at)
        head = stream.read(len(wanted) + 8)
        width = 9 - head[len(wanted)].bit_length()  # of the number that follows, in bytes
        if head[: len(wanted)] != wanted or width > 8:
            raise DataError(DAMAGED)
        if len(head) < len(wanted) + width:
            raise DataError(CUT)
        number = int.from_bytes(head[len(wanted) : len(wanted) + width], "big") - (1 << 7 * width)
        at += len(wanted) + width + number
        if wanted and number == (1 << 7 * width) - 1:
            return
    if at > size:
        raise DataError(CUT)
