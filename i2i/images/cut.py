"""A large PNG or TIFF as small files of the same kind, a few rows each: `cut(stream, kind, image)`.

Each of them is decoded like any other file, so that the pixels are those of the whole, and only a few rows are in
memory. Pillow itself decodes a file at once, with 4 bytes a pixel.

Source: PNG, third edition (W3C), sections 5, 7.2 and 9; TIFF 6.0, sections 2, 8 and 15.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import DataError
from .animate import png_chunk
from .deep import SIGNATURE, tiff_head
from .whole import SHORT, raw_is_short

PART = 1 << 20  # bytes of pixels in a small file, if the file allows it
LARGEST = 1 << 26  # bytes of pixels that are decoded at once: of a strip, or a row of tiles
METADATA = 1 << 26  # bytes of metadata


class Uncuttable(Exception):
    """A file can only be decoded as a whole; the message says why."""


class Cut(NamedTuple):
    """A file in parts.

    Attributes:
        head: a file of one pixel with all metadata; None for a TIFF, which Pillow reads without its pixels.
        size: width and height as stored, before it is turned upright.
        parts: small files with the next rows each, in order.
    """

    head: bytes | None
    size: tuple[int, int]
    parts: Iterator[bytes]


def cut(stream: BinaryIO, kind: str, image: Image.Image) -> Cut:
    """Cut a file.

    Args:
        stream: the file, which has to stay open.
        kind: "PNG" or "TIFF".
        image: its header, as read by Pillow.

    Raises:
        Uncuttable: it can only be decoded as a whole.
    """
    if kind == "PNG":
        return cut_png(stream)
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    return cut_tiff(stream, image.tag_v2)


# ---- PNG


class Header(NamedTuple):
    """The header of a PNG (IHDR)."""

    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filters: int
    interlaced: int

    @property
    def depth(self) -> int:
        """Bits of a pixel."""
        return self.bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[self.colour]

    def chunk(self, width: int, height: int) -> bytes:
        """Return the header of another size."""
        return png_chunk(b"IHDR", struct.pack(">IIBBBBB", *self._replace(width=width, height=height)))


def cut_png(stream: BinaryIO) -> Cut:
    """Cut a PNG; see `cut`."""
    stream.seek(8)
    before: list[tuple[bytes, bytes]] = []  # the chunks before the pixels, whole
    while (head := stream.read(8))[4:] != b"IDAT":
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or length + sum(len(raw) for _, raw in before) > METADATA:
            raise Uncuttable(f"it has more than {METADATA >> 20} MB of metadata, or no pixels")
        before.append((head[4:], head + stream.read(length + 4)))
    header = Header(*struct.unpack_from(">IIBBBBB", before[0][1], 8))
    if header.interlaced or any(kind == b"acTL" for kind, _ in before):
        raise Uncuttable("it is interlaced" if header.interlaced else "it is animated")
    start = stream.tell() - 8
    for _ in packed(stream, start, skip=True):
        pass
    stream.seek(-len(stream.read(8)), io.SEEK_CUR)
    after = stream.read(METADATA)
    pixel = zlib.compress(bytes(1 + (header.depth + 7) // 8))
    one = [SIGNATURE, header.chunk(1, 1), *(raw for _, raw in before[1:]), png_chunk(b"IDAT", pixel), after]
    kept = b"".join(raw for kind, raw in before if kind in (b"PLTE", b"tRNS", b"iCCP"))
    return Cut(b"".join(one), (header.width, header.height), png_parts(stream, start, header, kept))


def png_parts(stream: BinaryIO, start: int, header: Header, kept: bytes) -> Iterator[bytes]:
    """Yield PNGs of the next rows, with these chunks."""
    row, each = (header.width * header.depth + 7) // 8, max(1, header.depth // 8)
    step, read, above = max(1, PART // row), inflated(packed(stream, start)), bytes(row)
    for top in range(0, header.height, step):
        rows = min(step, header.height - top)
        # Filters look at the row above, which is put before them without a filter.
        plain = unfiltered(b"\0" + above + read(rows * (1 + row)), 1 + rows, each)
        above = plain[-1].tobytes()
        data = np.zeros((rows, 1 + row), np.uint8)
        data[:, 1:] = plain
        pixels = png_chunk(b"IDAT", zlib.compress(data.tobytes(), 0))
        yield b"".join([SIGNATURE, header.chunk(header.width, rows), kept, pixels, png_chunk(b"IEND", b"")])


def packed(stream: BinaryIO, start: int, skip: bool = False) -> Iterator[bytes]:
    """Yield the compressed data of a PNG in parts, or skip them; then the stream is at the chunk that follows."""
    at = start
    while True:
        stream.seek(at)
        head = stream.read(8)
        if head[4:] != b"IDAT":
            stream.seek(at)
            return
        at += 12 + int.from_bytes(head[:4], "big")
        left = 0 if skip else at - 4 - stream.tell()
        while left > 0 and (data := stream.read(min(left, 1 << 16))):
            left -= len(data)
            yield data


def inflated(source: Iterator[bytes]) -> Callable[[int], bytes]:
    """Return what reads a number of bytes from compressed data."""
    inflate, rest = zlib.decompressobj(), b""

    def read(count: int) -> bytes:
        nonlocal rest
        found = bytearray()
        while len(found) < count:
            data = rest or next(source, b"")
            found += inflate.decompress(data, count - len(found))
            rest = inflate.unconsumed_tail
            if (not data and len(found) < count) or (inflate.eof and len(found) < count):
                raise DataError(SHORT)
        return bytes(found)

    return read


def unfiltered(data: bytes, rows: int, each: int) -> np.ndarray:
    """Return filtered rows of a PNG without their filters, and without the first of them: uint8 [rows - 1, bytes].

    Args:
        data: the rows, each with its filter in front.
        rows: their number.
        each: bytes of a pixel, as filters count them.
    """
    row, stored = len(data) // rows - 1, zlib.compress(data, 0)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(each)
    if mode is not None:
        image = Image.frombytes(mode, (row // each, rows), stored, "zip", mode)
        return np.asarray(image).reshape(rows, row)[1:]
    import cv2  # 16-bit colour, for which Pillow has no mode

    head = struct.pack(">IIBBBBB", row // each, rows, 16, 2 if each == 6 else 6, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", head), png_chunk(b"IDAT", stored), png_chunk(b"IEND", b"")]
    found = cv2.imdecode(np.frombuffer(SIGNATURE + b"".join(chunks), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DataError("broken data")
    values = np.ascontiguousarray(found[1:, :, [2, 1, 0, 3][: found.shape[2]]].astype(">u2"))
    return values.view(np.uint8).reshape(rows - 1, row)


# ---- TIFF

# How pixels are stored: bits, compression, colours, order of bits, samples, planes, fax, predictor, palette, alpha,
# kind of numbers, tables of JPEG, YCbCr, and the profile.
STORED = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 338, 339, 347, 529, 530, 531, 532, 34675)
LONG = {16: 4, 18: 4}  # types of BigTIFF -> those of TIFF


class Blocks(NamedTuple):
    """The strips or tiles of a TIFF: their size in pixels, offsets and lengths in bytes, plane by plane."""

    wide: int
    tall: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]


def cut_tiff(stream: BinaryIO, tags: Any) -> Cut:
    """Cut a TIFF or BigTIFF of strips or tiles; see `cut`."""
    width, height, method = tags[256], tags[257], tags.get(259, 1)
    offsets, counts = (tags.get(324) or tags.get(273), tags.get(325) or tags.get(279))
    if not offsets or not counts or method == 6 or (method == 1 and raw_is_short(tags)):
        raise Uncuttable("it is an old or damaged TIFF")
    samples, bits = tags.get(277, 1), tags.get(258, (1,))
    planes = samples if tags.get(284, 1) == 2 else 1
    depth = (sum(bits) if len(bits) == samples else bits[0] * samples) // planes  # bits of a pixel in a plane
    wide, tall = (tags[322], tags[323]) if 324 in tags else (width, min(tags.get(278, height), height))
    blocks = Blocks(wide, tall, offsets, counts)
    line = (width * depth + 7) // 8  # bytes of a row of a plane
    if 324 not in tags and method == 1 and tall * line > PART:
        blocks = thinner(blocks, height, line, planes)
    across, down = -(-width // blocks.wide), -(-height // blocks.tall)
    if len(blocks.offsets) < across * down * planes or len(blocks.counts) < across * down * planes:
        raise Uncuttable("it is an old or damaged TIFF")
    if blocks.tall * line * planes > LARGEST:
        raise Uncuttable(f"{blocks.tall} of its rows are compressed as one")
    step = max(1, PART // (blocks.tall * line * planes))  # rows of blocks in a part
    return Cut(None, (width, height), tiff_parts(stream, tags, blocks, step))


def thinner(blocks: Blocks, height: int, line: int, planes: int) -> Blocks:
    """Return uncompressed strips as strips of fewer rows."""
    rows, offsets, counts = max(1, PART // line), list[int](), list[int]()
    down = -(-height // blocks.tall)
    rows = min(rows, blocks.tall)
    while blocks.tall % rows and blocks.tall < height:  # all strips but the last must have as many
        rows -= 1
    for number in range(down * planes):
        first = number % down * blocks.tall
        for top in range(0, min(blocks.tall, height - first), rows):
            offsets.append(blocks.offsets[number] + top * line)
            counts.append(min(rows, blocks.tall - top, height - first - top) * line)
    return Blocks(blocks.wide, rows, tuple(offsets), tuple(counts))


def tiff_parts(stream: BinaryIO, tags: Any, blocks: Blocks, step: int) -> Iterator[bytes]:
    """Yield TIFFs of the next `step` rows of strips or tiles."""
    width, height = tags[256], tags[257]
    across, down = -(-width // blocks.wide), -(-height // blocks.tall)
    planes = tags.get(277, 1) if tags.get(284, 1) == 2 else 1
    for first in range(0, down, step):
        last = min(first + step, down)
        numbers = [
            plane * across * down + place for plane in range(planes) for place in range(first * across, last * across)
        ]
        data = []
        for number in numbers:
            stream.seek(blocks.offsets[number])
            data.append(stream.read(blocks.counts[number]))
        rows = min(last * blocks.tall, height) - first * blocks.tall
        yield small_tiff(tags, (blocks.wide, blocks.tall), rows, data)


def small_tiff(tags: Any, block: tuple[int, int], rows: int, data: list[bytes]) -> bytes:
    """Return a TIFF of these strips or tiles, which otherwise is stored like another one."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=tags.prefix)
    for tag in STORED:
        if tag in tags:
            directory.tagtype[tag] = LONG.get(tags.tagtype[tag], tags.tagtype[tag])
            directory[tag] = tags[tag]
    tiles = 324 in tags
    starts = [0, *np.cumsum([len(one) for one in data])[:-1].tolist()]
    layout: dict[int, Any] = {256: tags[256], 257: rows, (325 if tiles else 279): tuple(map(len, data))}
    layout |= {322: block[0], 323: block[1]} if tiles else {278: min(block[1], rows)}
    place = 324 if tiles else 273
    layout[place] = tuple(starts)
    for tag, value in layout.items():
        directory.tagtype[tag] = 4
        directory[tag] = value
    if tiles:  # of strips, Pillow itself counts the offsets from the end of the directory
        end = len(tiff_head(directory))
        directory[place] = tuple(end + start for start in starts)
    return tiff_head(directory) + b"".join(data)
