"""EXIF, XMP and IPTC as bytes: what a resized, upright picture must change in them, and nothing else.

EXIF is patched in place: moving its values would break maker notes, which contain offsets.

Sources: TIFF 6.0, section 2; Exif 2.32 (CIPA DC-008), 4.6; XMP specification, part 2; Adobe Photoshop file formats,
image resource blocks.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

ORIENTATION, WIDTH, HEIGHT, EXIF_IFD = 0x0112, 0x0100, 0x0101, 0x8769
PIXELS_X, PIXELS_Y = 0xA002, 0xA003
THUMBNAILS = ((0x0201, 0x0202), (0x0111, 0x0117))  # offset and length, of JPEG and of uncompressed ones
SHORT, LONG = 3, 4
IPTC = 0x0404  # the number of its Photoshop resource


def patched(exif: bytes, width: int, height: int) -> bytes:
    """Return EXIF of an upright picture of this size, without thumbnail.

    Args:
        exif: a TIFF structure, without the prefix b"Exif".
        width: of the picture, in pixels.
        height: the same.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return _patched(bytearray(exif), width, height)
    except struct.error:
        raise ValueError("truncated") from None


def _patched(out: bytearray, width: int, height: int) -> bytes:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(out[:4]), "")
    if not order:
        raise ValueError("not EXIF")
    (main,) = struct.unpack_from(f"{order}I", out, 4)
    tags, following = _directory(out, order, main)
    sizes = {WIDTH: width, HEIGHT: height}
    directories = [(main, following)]
    if EXIF_IFD in tags:
        start = _value(out, order, tags[EXIF_IFD])
        more, end = _directory(out, order, start)
        directories.append((start, end))
        _set(out, order, more, {PIXELS_X: width, PIXELS_Y: height})
    _set(out, order, tags, sizes)
    if ORIENTATION in tags:
        struct.pack_into(f"{order}HIHH", out, tags[ORIENTATION] + 2, SHORT, 1, 1, 0)
    (thumbnail,) = struct.unpack_from(f"{order}I", out, following)
    struct.pack_into(f"{order}I", out, following, 0)
    for start, end in _thumbnails(out, order, thumbnail):
        if any(start < after + 4 and first < end for first, after in directories):
            raise ValueError("its thumbnail overlaps its tags")
        if end >= len(out):
            del out[start:]
        else:
            out[start:end] = bytes(end - start)
    return bytes(out)


def _directory(data: bytearray, order: str, start: int) -> tuple[dict[int, int], int]:
    """Return the offsets of the entries of a directory by tag, and the offset after them."""
    (count,) = struct.unpack_from(f"{order}H", data, start)
    end = start + 2 + 12 * count
    if end + 4 > len(data):
        raise ValueError("truncated")
    places = range(start + 2, end, 12)
    return {struct.unpack_from(f"{order}H", data, place)[0]: place for place in places}, end


def _value(data: bytearray, order: str, entry: int) -> int:
    """Return the only value of an entry, a SHORT or a LONG."""
    kind, count = struct.unpack_from(f"{order}HI", data, entry + 2)
    if count != 1 or kind not in (SHORT, LONG):
        raise ValueError("damaged")
    return int(struct.unpack_from(order + ("H" if kind == SHORT else "I"), data, entry + 8)[0])


def _set(data: bytearray, order: str, tags: dict[int, int], values: dict[int, int]) -> None:
    for tag, value in values.items():
        if tag in tags:
            struct.pack_into(f"{order}HII", data, tags[tag] + 2, LONG, 1, value)


def _thumbnails(data: bytearray, order: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield where the pixels of the thumbnail are; nothing if its directory is damaged, as then nobody finds them."""
    if not start:
        return
    try:
        tags, _ = _directory(data, order, start)
        for place, length in THUMBNAILS:
            if place in tags and length in tags:
                first = _value(data, order, tags[place])
                yield first, first + _value(data, order, tags[length])
    except (ValueError, struct.error):
        return


def patched_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """Return XMP of an upright picture of this size, without thumbnails."""
    sizes = {b"tiff:ImageWidth": width, b"exif:PixelXDimension": width}
    sizes |= {b"tiff:ImageLength": height, b"exif:PixelYDimension": height, b"tiff:Orientation": 1}
    for name, value in sizes.items():
        xmp = re.sub(rb"(" + name + rb"(?:=[\"']|>))\d+", rb"\g<1>%d" % value, xmp)
    opening, closing = b"<xmp:Thumbnails>", b"</xmp:Thumbnails>"
    while (start := xmp.find(opening)) >= 0 and (end := xmp.find(closing, start)) >= 0:
        xmp = xmp[:start] + xmp[end + len(closing) :]
    return xmp


def iptc_in(resources: bytes) -> bytes:
    """Return the IPTC records among the resource blocks of Photoshop, or nothing."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and len(resources) >= at + 12:
        (number,) = struct.unpack_from(">H", resources, at + 4)
        name = resources[at + 6] + 1
        at += 6 + name + name % 2
        if len(resources) < at + 4:
            break
        (length,) = struct.unpack_from(">I", resources, at)
        if number == IPTC:
            return resources[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return b""


def resource(iptc: bytes) -> bytes:
    """Return IPTC records as a resource block of Photoshop."""
    return b"8BIM" + struct.pack(">HHI", IPTC, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
