"""What a photograph carries besides its pixels: EXIF, XMP, IPTC, a colour profile and its resolution.

`carried_of` reads it from an opened image, `Carried.at` adapts it to a result, and `options` hands it to Pillow's
writers. `Photograph` is a PIL image whose `save` does that by itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin

from .exif import IPTC, iptc_in, patched, patched_xmp, resource
from .notes import note, shown
from .profile import convert, is_grey

METADATA = ("JPEG", "PNG", "WEBP", "TIFF")  # formats that hold it
LIMIT = 4 << 20  # bytes of each kind of metadata
SEGMENT = 65_533  # bytes of a segment of a JPEG
HEADERS = {"EXIF": 6, "XMP": 29, "IPTC": 26}  # bytes in such a segment before the data
# Tags of a TIFF that describe the photograph and not how it is stored: name, description, camera, program, date,
# artist, host, rating, copyright, EXIF, GPS, and the five that Windows adds.
DESCRIBES = (269, 270, 271, 272, 274, 305, 306, 315, 316, 18246, 18249, 33432, 34665, 34853, *range(40091, 40096))


@dataclass(frozen=True)
class Carried:
    """Metadata of a photograph; empty where there is none.

    Attributes:
        exif: a TIFF structure, without the prefix b"Exif".
        xmp: XML.
        iptc: IPTC-IIM records.
        icc: a colour profile.
        dpi: pixels per inch in x and y.
        compression: of a TIFF, as Pillow calls it; only a TIFF that is written from it has it again.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    compression: str = ""

    def at(self, width: int, height: int) -> Carried:
        """Return the metadata of an upright result of this size, without thumbnails."""
        exif = patched(self.exif, width, height) if self.exif else b""
        xmp = patched_xmp(self.xmp, width, height) if self.xmp else b""
        return replace(self, exif=exif, xmp=xmp)


NOTHING = Carried()
PROFILES = ("exif", "iptc", "APP13")  # that ImageMagick and ExifTool store in PNG as text
KEYS = {"exif", "xmp", "icc_profile", "dpi", "photoshop", *(f"Raw profile type {kind}" for kind in PROFILES)}


def carried_of(image: Image.Image, name: str) -> Carried:
    """Return what an image carries; what is damaged or too large is left out, with one warning.

    Args:
        image: decoded, but not yet turned upright.
        name: for the warning.
    """
    if not (KEYS.intersection(image.info) or hasattr(image, "tag_v2")):
        return NOTHING
    found: dict[str, bytes] = {}
    lost = []
    for kind, read in READ.items():
        try:
            data = read(image)
            if len(data) > LIMIT:
                lost.append(f"{kind} of {len(data):,} bytes")
                continue
            if kind == "EXIF" and data:
                patched(data, 1, 1)
            found[kind] = data
        except Exception:  # Pillow's parsers raise almost anything on damaged bytes
            lost.append(f"damaged {kind}")
    if lost:
        note(name, "metadata left out", f"has {' and '.join(lost)}, left out of the result")
    return Carried(
        found.get("EXIF", b""),
        found.get("XMP", b""),
        found.get("IPTC", b""),
        found.get("ICC", b""),
        _dpi(image),
        str(image.info.get("compression", "")) if hasattr(image, "tag_v2") else "",
    )


def _exif(image: Image.Image) -> bytes:
    if hasattr(image, "tag_v2"):  # a TIFF has the tags among those that say how it is stored
        tags = Image.Exif()
        tags.update(_described(image.getexif()))
        return tags.tobytes().removeprefix(b"Exif\0\0") if len(tags) else b""
    data = image.info.get("exif") or b""
    if not data and "Raw profile type exif" in image.info:
        data = _raw_profile(image, "exif")
    return bytes(data.removeprefix(b"Exif\0\0"))


def _described(tags: Image.Exif) -> dict[int, Any]:
    """Return the tags of a TIFF, or for one, that describe the photograph; directories as dictionaries."""
    found = {tag: tags.get_ifd(tag) if tag in (34665, 34853) else tags[tag] for tag in DESCRIBES if tag in tags}
    return {tag: value for tag, value in found.items() if value not in ({}, None)}


def _xmp(image: Image.Image) -> bytes:
    data = image.info.get("xmp") or b""
    return data.encode() if isinstance(data, str) else bytes(data)


def _iptc(image: Image.Image) -> bytes:
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        data = tags.get(33723) or b""
        if isinstance(data, tuple):  # declared as numbers of 32 bits by old programs
            data = struct.pack(f"{tags._endian}{len(data)}I", *data)
        return bytes(data) or iptc_in(bytes(tags.get(34377) or b""))
    for kind in ("iptc", "APP13"):
        if f"Raw profile type {kind}" in image.info:
            data = _raw_profile(image, kind)
            return iptc_in(data.removeprefix(b"Photoshop 3.0\0")) or (data if data[:1] == b"\x1c" else b"")
    blocks = image.info.get("photoshop")
    data = blocks.get(IPTC, b"") if isinstance(blocks, dict) else b""
    return bytes(data)


def _raw_profile(image: Image.Image, kind: str) -> bytes:
    """Return a profile that ImageMagick and ExifTool store in PNG as text: its name, its length, and hex digits."""
    return bytes.fromhex("".join(image.info[f"Raw profile type {kind}"].split()[2:]))


READ: dict[str, Callable[[Image.Image], bytes]] = {
    "EXIF": _exif,
    "XMP": _xmp,
    "IPTC": _iptc,
    "ICC": lambda image: image.info.get("icc_profile") or b"",
}


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return pixels per inch, from the file or else its EXIF."""
    with suppress(Exception):
        given = image.info.get("dpi")
        if 282 not in getattr(image, "tag_v2", {282}):  # Pillow makes up one for a TIFF
            return None
        if given is None and "exif" in image.info:
            tags = image.getexif()
            unit = {2: 1.0, 3: 2.54}[tags.get(296, 2)]
            given = (tags[282] * unit, tags[283] * unit)
        x, y = map(float, given or ())
        if math.isfinite(x + y) and min(x, y) > 0 and max(x, y) < 65536:
            return x, y
    return None


def options(kind: str, carried: Carried, name: str) -> dict[str, Any]:
    """Return the options with which `Image.save` writes metadata into a file of this kind.

    What the format cannot hold is left out, with one warning.
    """
    if kind not in METADATA:
        return {"dpi": carried.dpi} if kind == "BMP" and carried.dpi else {}
    lost = []
    if kind == "JPEG":
        for key, header in HEADERS.items():
            size = len(getattr(carried, key.lower()))
            if size + header > SEGMENT:
                lost.append(f"{key} of {size:,} bytes")
                carried = replace(carried, **{key.lower(): b""})  # type: ignore[arg-type]
    if kind == "WEBP" and carried.iptc:
        lost.append("IPTC")
    if lost:
        left = "they were left out" if len(lost) > 1 else "it was left out"
        label = "WebP" if kind == "WEBP" else kind
        note(name, "metadata left out", f"as {label} cannot hold {' and '.join(lost)}; {left}")
    made: dict[str, Any] = {"icc_profile": carried.icc or None}
    if carried.dpi and kind != "WEBP":
        made["dpi"] = carried.dpi
    if carried.exif and kind != "TIFF":
        made["exif"] = b"Exif\0\0" + carried.exif
    return made | {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "TIFF": _tiff}[kind](carried)


def _jpeg(carried: Carried) -> dict[str, Any]:
    made: dict[str, Any] = {"xmp": carried.xmp} if carried.xmp else {}
    if carried.iptc:
        data = b"Photoshop 3.0\0" + resource(carried.iptc)
        made["extra"] = b"\xff\xed" + struct.pack(">H", 2 + len(data)) + data
    return made


def _png(carried: Carried) -> dict[str, Any]:
    chunks = PngImagePlugin.PngInfo()
    if carried.xmp:
        chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + carried.xmp)
    if carried.iptc:
        data = resource(carried.iptc)
        chunks.add_text("Raw profile type iptc", f"\niptc\n{len(data):8}\n{data.hex()}\n", zip=True)
    return {"pnginfo": chunks}


def _webp(carried: Carried) -> dict[str, Any]:
    made: dict[str, Any] = {"xmp": carried.xmp} if carried.xmp else {}
    if carried.dpi and not carried.exif:  # the format has no other place for it
        made["exif"] = _resolution(*carried.dpi)
    return made


def _resolution(x: float, y: float) -> bytes:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = x, y, 2
    return exif.tobytes()


def _tiff(carried: Carried) -> dict[str, Any]:
    given, tags = Image.Exif(), TiffImagePlugin.ImageFileDirectory_v2()
    if carried.exif:
        given.load(b"Exif\0\0" + carried.exif)
    known = _described(given)
    known |= {tag: data for tag, data in ((700, carried.xmp), (33723, carried.iptc)) if data}
    for tag, value in known.items():
        tags[tag] = value
    return {"tiffinfo": tags}


class Photograph(Image.Image):
    """A PIL image whose `save` writes the metadata in its `info`; options given to `save` come first."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save as PIL does, with EXIF, XMP, IPTC, profile and resolution."""
        path = isinstance(fp, str | Path)
        kind = format or (Image.registered_extensions().get(Path(fp).suffix.lower(), "") if path else "")
        name = shown(fp) if path else "the file"
        image: Image.Image = self
        carried = carried_of(self, name)
        if kind.upper() == "WEBP" and is_grey(carried.icc):  # it stores grey as RGB
            image, carried = convert(self, name)[0], replace(carried, icc=b"")
        Image.Image.save(image, fp, format=format, **(options(kind.upper(), carried, name) | params))


def photograph(image: Image.Image, carried: Carried) -> Image.Image:
    """Return an image with what it carries; the same object, as a `Photograph` unless that is nothing."""
    if carried == NOTHING:
        return image
    info: dict[str, Any] = {"xmp": carried.xmp, "icc_profile": carried.icc, "dpi": carried.dpi}
    info["exif"] = carried.exif and b"Exif\0\0" + carried.exif
    info["photoshop"] = carried.iptc and {IPTC: carried.iptc}
    image.info.update({key: value for key, value in info.items() if value})
    image.__class__ = Photograph
    return image
