"""Whether a picture has all the pixels that its header promises.

Before it is decoded, `limits.py` bounds its pixels by the size of the file, and `refuse_scans` the scans of a JPEG.
After it: decoders leave rows black, grey or white where the data ended early inside an intact file. `refuse_partial`
looks for such rows and, only if there are any, counts what the data really contain.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import DataError
from . import limits
from .animate import png_chunks
from .deep import tiff_head

SHORT = "truncated: it has fewer pixels than its header says; copy or download it again"
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]  # Adam7
NOISE = bytes(range(1, 201)) * 8  # to put where the data of a JPEG may have ended early
END_OF_LINE = "000000000001"  # codes of CCITT T.4 and T.6, in bits
DRAWN_LINE = "00110101" + "110111" * 8  # black and white in turn, two pixels each
DRAWN = "001001101011100110101011" * 200  # the same in T.6: several black runs, with the horizontal mode


def refuse_scans(data: bytes) -> None:
    """Reject a JPEG with so many scans that decoding takes minutes."""
    most = limits.allowed(limits.MAX_SCANS)
    if data.count(b"\xff\xda") > most:  # or bytes that look like scans
        count = sum(data[at + 1] == 0xDA for at in segment_ends(data)) + 1
        if count > most:
            raise DataError(
                f"a JPEG of {count} scans, more than {most}; save it again, without progression, or "
                f"{limits.way_out(count, limits.MAX_SCANS)}"
            )


def refuse_partial(image: Image.Image, stream: BinaryIO) -> None:
    """Reject a decoded picture whose data end before its last row.

    Raises:
        DataError: it is truncated.
    """
    check = {"PNG": png_is_short, "GIF": gif_is_short, "TIFF": tiff_is_short, "JPEG": jpeg_is_short}
    found = check.get("JPEG" if image.format == "MPO" else str(image.format))
    if found is not None:
        stream.seek(0)
        if found(image, stream):
            raise DataError(SHORT)


def last_rows(image: Image.Image) -> np.ndarray:
    """Return the last two rows as stored; interlaced pictures end in one of them."""
    return corner(image, 0, max(image.height - 2, 0))


def corner(image: Image.Image, left: int, top: int) -> np.ndarray:
    """Return the pixels right of and below a point, without Image.crop, whose limit is global to the process."""
    return np.asarray(image._new(image.im.crop((left, top, *image.size))))


# ---- PNG


def png_is_short(image: Image.Image, stream: BinaryIO) -> bool:
    """Return whether the compressed data of a PNG end before its pixels do; missing ones are 0."""
    if all(row.any() for row in last_rows(image)):
        return False
    chunks = png_chunks(stream.read())
    head = next(data for kind, data in chunks if kind == b"IHDR")
    needed = png_bytes(*image.size, bits=head[8] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[head[9]], interlaced=head[12] == 1)
    inflate, have = zlib.decompressobj(), 0
    for kind, data in chunks:
        while kind == b"IDAT" and data and have < needed:
            have += len(inflate.decompress(data, 1 << 20))
            data = inflate.unconsumed_tail
    return have < needed


def png_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return the uncompressed size of the pixels of a PNG, with a filter byte for each row."""
    passes = PASSES if interlaced else [(0, 0, 1, 1)]
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


# ---- GIF


def gif_is_short(image: Image.Image, stream: BinaryIO) -> bool:
    """Return whether the compressed data of the first frame of a GIF end before its pixels do."""
    if not any((row == row[:1]).all() for row in last_rows(image)):
        return False
    data = stream.read()
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at] == 0x21:  # extensions
        at = skipped(data, at + 2)
    width, height = (int.from_bytes(data[at + n : at + n + 2], "little") for n in (5, 7))
    at += 10 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
    blocks, start = bytearray(), at + 1
    while data[start]:
        blocks += data[start + 1 : start + 1 + data[start]]
        start += 1 + data[start]
    return lzw_length(bytes(blocks), data[at], width * height) < width * height


def skipped(data: bytes, at: int) -> int:
    """Return the offset after the sub-blocks of a GIF that start at `at`."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def lzw_length(data: bytes, bits: int, enough: int) -> int:
    """Return the number of pixels in LZW data, counting up to `enough`; 0 for codes that no decoder accepts."""
    if bits > 12:
        return 0
    clear, end = 1 << bits, (1 << bits) + 1
    lengths, width, total, before = [1] * (clear + 2), bits + 1, 0, 0
    buffer = held = 0
    for byte in data:
        buffer |= byte << held
        held += 8
        while held >= width:
            code = buffer & (1 << width) - 1
            buffer >>= width
            held -= width
            if code == clear:
                del lengths[clear + 2 :]
                width, before = bits + 1, 0
                continue
            if code == end or code > len(lengths) or total >= enough:
                return total
            length = lengths[code] if code < len(lengths) else before + 1
            if before and len(lengths) < 4096:
                lengths.append(before + 1)
            total, before = total + length, length
            if len(lengths) == 1 << width and width < 12:
                width += 1
    return total


# ---- JPEG


def jpeg_is_short(image: Image.Image, stream: BinaryIO) -> bool:
    """Return whether a scan of a JPEG ends early: then, and only then, bytes put after it change the picture."""
    block = corner(image, (image.width - 1) & ~7, (image.height - 1) & ~7)
    if (block != block[:1, :1]).any():  # missing blocks are flat
        return False
    return changes_with_noise(stream.read(), np.asarray(image))


def cut_short(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a JPEG with a scan that ends early, wherever; this decodes it twice."""
    with open(path, "rb") as file:
        data = file.read()
    return data[:2] == b"\xff\xd8" and changes_with_noise(data, decoded(data, "JPEG"))


def changes_with_noise(data: bytes, pixels: np.ndarray) -> bool:
    """Return whether a JPEG is decoded to other pixels with bytes put at the end of each scan."""
    parts, before = [], 0
    for at in segment_ends(data):
        parts += [data[before:at], NOISE]
        before = at
    noisy = b"".join([*parts, data[before:]])
    try:
        return not np.array_equal(decoded(noisy, "JPEG"), pixels)
    except OSError:  # it proves nothing
        return False


def segment_ends(data: bytes) -> Iterator[int]:
    """Yield the offset of the marker after each scan of a JPEG, up to the end of its first picture."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] == 0xFF:  # fill bytes
            at += 1
            continue
        marker = data[at + 1]
        if marker == 0xD9:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            at += 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            found = MARKER.search(data, at)
            if found is None:
                return
            at = found.start()
            yield at


MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in a scan: neither stuffed, filled nor a restart


# ---- TIFF


def tiff_is_short(image: Image.Image, stream: BinaryIO) -> bool:
    """Return whether a strip or tile of a TIFF gives fewer rows than it should, which Pillow or libtiff fills."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    method = tags.get(259, 1)
    if method == 1:
        return raw_is_short(tags)
    if method not in (3, 4, 7):
        return False  # Pillow itself reports the others
    data = stream.read()
    offsets, counts = (tags.get(273) or tags.get(324), tags.get(279) or tags.get(325))
    if not offsets or not counts:
        return False
    pieces = [data[at : at + count] for at, count in zip(offsets, counts, strict=False)]
    if method == 7:
        return any(b"\xff\xd9" not in piece[-4:] for piece in pieces)
    sizes = tiff_pieces(tags)
    return any(fax_is_short(tags, piece, *size) for piece, size in zip(pieces, sizes, strict=False))


def tiff_pieces(tags: Any) -> list[tuple[int, int]]:
    """Return the width and the rows of each strip or tile of a TIFF, or of one of its planes."""
    width, height = tags[256], tags[257]  # not those of the image, which is upright
    if 324 in tags:  # tiles, all of one size
        wide, rows = tags[322], tags[323]
        return [(wide, rows)] * (-(-width // wide) * -(-height // rows))
    rows = min(tags.get(278, height), height)
    return [(width, min(rows, height - top)) for top in range(0, height, rows)]


def raw_is_short(tags: Any) -> bool:
    """Return whether uncompressed strips or tiles are missing, or have fewer bytes than their pixels need.

    Pillow does not look at these numbers of bytes, and shows what happens to follow.
    """
    counts = tags.get(279) or tags.get(325)
    if not counts:  # an old TIFF
        return False
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    bits = bits if len(bits) == samples else bits[:1] * samples
    planes = bits if tags.get(284, 1) == 2 else [sum(bits)]
    pieces = tiff_pieces(tags)
    needed = [(wide * plane + 7) // 8 * rows for plane in planes for wide, rows in pieces]
    return len(counts) < len(needed) or any(has < needs for has, needs in zip(counts, needed, strict=False))


def fax_is_short(tags: Any, piece: bytes, width: int, rows: int) -> bool:
    """Return whether a strip of a fax has fewer rows; then what is put after them is seen in the picture."""
    if tags.get(259) == 3:
        drawn = f"{END_OF_LINE}{'1' * (tags.get(292, 0) & 1)}{DRAWN_LINE}" * 40
    else:
        drawn = DRAWN
    head, tail = piece[:-8], f"{int.from_bytes(piece[-8:], 'big'):0{8 * len(piece[-8:])}b}"
    if tags.get(266, 1) == 1 and tail.rstrip("0").endswith(END_OF_LINE * 2):  # the mark at the end of T.6
        tail = tail.rstrip("0").removesuffix(END_OF_LINE * 2)
    bits = tail + drawn
    bits += "0" * (-len(bits) % 8)
    longer = head + int(f"1{bits}", 2).to_bytes(len(bits) // 8 + 1, "big")[1:]
    return not np.array_equal(fax(tags, piece, width, rows), fax(tags, longer, width, rows))


def fax(tags: Any, piece: bytes, width: int, rows: int) -> np.ndarray:
    """Decode a strip of a fax."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag in (258, 259, 262, 266, 277, 292, 293):
        if tag in tags:
            directory[tag] = tags[tag]
    for tag, value in {256: width, 257: rows, 278: rows, 273: 0, 279: len(piece)}.items():
        directory[tag] = value
    return decoded(tiff_head(directory) + piece, "TIFF")


def decoded(data: bytes, kind: str) -> np.ndarray:
    """Decode a file without Image.open, whose pixel limit is global to the process."""
    with Image.OPEN[kind][0](io.BytesIO(data), "") as image:
        return np.asarray(image)
