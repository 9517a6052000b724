"""Colour profiles: pixels of any profile <-> sRGB. What a profile does decides, not its name.

Profiles of tone curves and primaries (most of them: Display P3, Adobe RGB, ProPhoto, linear and grey ones) are
`Space`s, applied in floating point at any depth in both directions. LittleCMS converts those of tables, such as CMYK,
to sRGB in 8 bits, and all of them for training, where speed counts.

Source: ICC.1:2022, sections 8.3 (models of curves and matrices), 10.6 (curveType), 10.18 (parametricCurveType).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from .notes import counts, note

ERRORS = (ImageCms.PyCMSError, OSError, ValueError)  # of LittleCMS, for a profile that cannot be applied
RAMP = ((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))  # grey, and the primaries
STEPS, FINE = 1 << 16, 1 << 18  # samples of a tone curve, and of its inverse
# Linear sRGB -> XYZ relative to D50: the primaries and the white of IEC 61966-2-1, Bradford-adapted.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


@dataclass(frozen=True, eq=False)
class Space:
    """A profile of tone curves and, for RGB, primaries.

    Attributes:
        curves: one or three; the linear values of `STEPS` evenly spaced encoded ones, never falling.
        matrix: linear values -> linear sRGB, [3, 3]; None for grey.
    """

    curves: tuple[np.ndarray, ...]
    matrix: np.ndarray | None

    def to_srgb(self, values: np.ndarray) -> np.ndarray:
        """Convert float32 [H, W, 1 or 3] in 0..1 to sRGB; colours outside sRGB are clipped."""
        places = np.rint(values * (STEPS - 1)).astype(np.uint16)
        linear = np.stack([curve[places[..., n]] for n, curve in enumerate(self.curves)], 2)
        return srgb_of(_mixed(linear, self.matrix))

    def from_srgb(self, values: np.ndarray) -> np.ndarray:
        """Convert sRGB, float32 [H, W, 1 or 3] in 0..1, to this profile."""
        linear = _mixed(linear_of(values), None if self.matrix is None else np.linalg.inv(self.matrix))
        places = np.rint(np.sqrt(linear.clip(0, 1)) * (FINE - 1)).astype(np.int32)  # as dark values need more of them
        return np.stack([inverse[places[..., n]] for n, inverse in enumerate(self.inverses)], 2)

    @cached_property
    def inverses(self) -> list[np.ndarray]:
        """For each channel, the encoded values of `FINE` linear ones, whose square roots are evenly spaced."""
        linear, encoded = np.linspace(0, 1, FINE) ** 2, np.linspace(0, 1, STEPS)
        made = {id(curve): np.interp(linear, curve, encoded).astype(np.float32) for curve in self.curves}
        return [made[id(curve)] for curve in self.curves]


def _mixed(linear: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    return linear if matrix is None else linear @ matrix.T.astype(np.float32)


def srgb_of(linear: np.ndarray) -> np.ndarray:
    """Encode linear values with the tone curve of sRGB (IEC 61966-2-1); they are clipped to 0..1."""
    import cv2

    linear = linear.clip(0, 1)
    bright = cv2.pow(linear, 1 / 2.4).reshape(linear.shape) * 1.055 - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, bright).astype(np.float32)


def linear_of(srgb: np.ndarray) -> np.ndarray:
    """Return the linear values of sRGB; the inverse of `srgb_of`."""
    import cv2

    bright = cv2.pow((srgb + 0.055) / 1.055, 2.4).reshape(srgb.shape)
    return np.where(srgb <= 0.04045, srgb / 12.92, bright).astype(np.float32)


@lru_cache(maxsize=8)
def space_of(profile: bytes) -> Space | None:
    """Return the curves and primaries of a profile; None if it is damaged or consists of tables."""
    try:
        tags = _tags(profile)
        if profile[20:24] != b"XYZ " or any(tag[:3] in (b"A2B", b"B2A", b"D2B") for tag in tags):
            return None
        grey = is_grey(profile)
        if not grey and profile[16:20] != b"RGB ":
            return None
        names = (b"kTRC",) if grey else (b"rTRC", b"gTRC", b"bTRC")
        shared = {tags[name]: _curve(tags[name]) for name in names}  # mostly one for all three
        curves = tuple(shared[tags[name]] for name in names)
        if any((np.diff(curve) < 0).any() or not curve[0] < curve[-1] for curve in curves):
            return None
        if grey:
            return Space(curves, None)
        primaries = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix = np.linalg.inv(SRGB) @ (np.array(primaries).T / 65536)
        return Space(curves, matrix) if np.linalg.cond(matrix) < 1000 else None
    except (KeyError, ValueError, OverflowError, struct.error):
        return None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (size,), (count,) = struct.unpack_from(">I", profile), struct.unpack_from(">I", profile, 128)
    if size > len(profile) or count > 200:
        raise ValueError("truncated")
    tags = {}
    for n in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * n)
        if start + length > len(profile):
            raise ValueError("truncated")
        tags[name] = profile[start : start + length]
    return tags


def _curve(tag: bytes) -> np.ndarray:
    """Return the linear values of `STEPS` evenly spaced encoded ones, float32 in 0..1."""
    x = np.linspace(0, 1, STEPS)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        values = np.frombuffer(tag, ">u2", count, 12)
        if count > 1:
            y = np.interp(x, np.linspace(0, 1, count), values / 65535)
        else:
            y = x ** (values[0] / 256) if count else x
    elif tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        numbers = [n / 65536 for n in struct.unpack_from(f">{(1, 3, 4, 5, 7)[min(kind, 4)]}i", tag, 12)]
        g, a, b, c, d, e, f = numbers + [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0][len(numbers) :]
        if kind in (1, 2):  # their last number is added, and they begin where the power is 0
            d, e, f, c = -b / a if a else 0.0, c, c, 0.0
        y = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    else:
        raise ValueError("not a curve")
    if not np.isfinite(y).all():
        raise ValueError("not a curve")
    return y.clip(0, 1).astype(np.float32)


# ---- 8 bits, by LittleCMS


def convert(image: Image.Image, name: str) -> tuple[Image.Image, bytes]:
    """Convert 8-bit pixels to L, LA, RGB or RGBA in sRGB.

    Returns:
        The image, and the profile if it was applied or means sRGB; else nothing.
    """
    profile = image.info.get("icc_profile") or b""
    image = plain(image)
    space = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}.get(image.mode)
    if profile[16:20] != space:
        if profile:
            unusable(name)
        return image, b""
    try:
        if means_srgb(profile):
            return image, profile
        converted = _converted(image, profile)
    except ERRORS:
        unusable(name)
        return image.convert("RGB") if image.mode == "CMYK" else image, b""
    counts["profile converted"] += 1
    return converted, profile


def is_grey(profile: bytes) -> bool:
    """Return whether a profile is for pixels with one channel of colour."""
    return profile[16:20] == b"GRAY"


def plain(image: Image.Image) -> Image.Image:
    """Convert 8-bit pixels to L, LA, RGB or RGBA without their profile; CMYK that has one stays CMYK."""
    profile = image.info.get("icc_profile") or b""
    if image.mode == "CMYK" and profile[16:20] == b"CMYK":
        return image
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    return image if image.mode == mode else image.convert(mode)


def scale_clear(image: Image.Image) -> None:
    """Scale the transparent level of a PNG of 2 or 4 bits, before it is decoded, as Pillow scales its pixels."""
    layout = str(getattr(image, "tile", ""))
    factor = 85 if "'L;2'" in layout else 17 if "'L;4'" in layout else 1
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        image.info["transparency"] = clear * factor


def unusable(name: str) -> None:
    """Report a profile that cannot be applied."""
    note(name, "profile ignored", "has an unusable colour profile and is read as sRGB")


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert pixels to sRGB; grey stays grey, and alpha is kept."""
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    if image.mode not in ("L", "LA"):
        mode = image.mode.replace("CMYK", "RGB")
        return ImageCms.profileToProfile(image, source, srgb, outputMode=mode) or image
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    # LittleCMS's optimised tables are 10 levels off in dark greys of linear profiles.
    lit = ImageCms.profileToProfile(ramp, source, srgb, outputMode="RGB", flags=ImageCms.Flags.NOOPTIMIZE)
    assert lit is not None
    table = np.asarray(lit)[0, :, 1].tolist()  # R, G and B are equal
    return image.point(table + list(range(256)) * (image.mode == "LA"))


@lru_cache(maxsize=64)
def means_srgb(profile: bytes) -> bool:
    """Check what a profile does to ramps of its primaries and of grey; its name may be anything.

    Two levels are within the rounding of profiles that describe sRGB by tables.
    """
    ramp = np.arange(256, dtype=np.uint8)
    space = profile[16:20]
    if space == b"CMYK":
        return False
    if space == b"GRAY":
        given = Image.fromarray(ramp[None])
    else:
        given = Image.fromarray(np.stack([ramp[:, None] * np.array(on, np.uint8) for on in RAMP]))
    change = np.asarray(_converted(given, profile)).astype(int) - np.asarray(given)
    return bool(np.abs(change).max() <= 2)


# ---- there and back


def meaning(profile: bytes, channels: int) -> Literal["nothing", "sRGB", "space", "tables"]:
    """Return what a profile means for pixels [H, W, channels].

    Raises:
        ERRORS: it is unusable.
    """
    if profile[16:20] != (b"GRAY" if channels <= 2 else b"RGB "):
        return "nothing"
    if means_srgb(profile):
        return "sRGB"
    return "space" if space_of(profile) else "tables"


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return a profile of sRGB, always the same bytes."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # LittleCMS writes the time
    return bytes(made)


Convert = Callable[[np.ndarray], np.ndarray]


def way_back(profile: bytes, channels: int) -> tuple[Convert | None, bytes]:
    """Return how sRGB pixels become those of the profile of an input, and the profile of the result.

    Without a profile there is none. A result that cannot have that of its input (CMYK, tables, or grey that became
    colour) is sRGB and says so.
    """
    if not profile:
        return None, b""
    means, space = meaning(profile, channels), space_of(profile)
    if means == "space" and space is not None:
        return space.from_srgb, profile
    if means == "sRGB":
        return None, profile
    return None, srgb_profile() if channels > 2 else b""
