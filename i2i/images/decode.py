"""The decoder: a path, encoded bytes or a PIL image -> pixels [H, W, C]. `read_rgb(path)` reads for training.

`read_labels(path)` reads a label map: the values are class indices, not colours, and are not converted.

The format is detected from the content, and the numbers of pixels and frames are checked before decoding. EXIF
orientation is applied; grey, RGB and CMYK colour profiles are converted to sRGB. Only the first frame of an
animation is read, and 16-bit colour is reduced to 8 bits, each with an ImageWarning.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401  they register

from ..errors import DataError, ResourceError
from .notes import ImageWarning, counts, note, reason_of, shown
from .pixels import check_floats, on_colour, rescaled

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")  # other parsers are never called
MAX_PIXELS, MAX_FRAMES = 200_000_000, 1000
PRIMARIES = ((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))  # white, red, green, blue

Image.preinit()  # registers the rest of FORMATS


def read_rgb(
    source: Any, *, background: tuple[int, int, int] = (255, 255, 255), limit: int = MAX_PIXELS
) -> np.ndarray:
    """Read a picture for training.

    Args:
        source: a path, encoded bytes or a PIL image.
        background: the colour behind transparent pixels; `counts` counts how often it was needed.
        limit: the maximum number of pixels (H * W).

    Returns:
        uint8 [H, W, 3], upright, sRGB, contiguous and writable.

    Raises:
        DataError: it cannot be read; the message has the reason, and `__cause__` is the OSError of a failed read.
    """
    values = on_colour(rescaled(load(source, limit), np.uint8), background)
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else np.ascontiguousarray(values)


def read_labels(source: Any, *, limit: int = MAX_PIXELS) -> np.ndarray:
    """Read a label map: a one-channel picture, grey or with a palette, whose values are class indices.

    Args:
        source: a path, encoded bytes or a PIL image.
        limit: the maximum number of pixels (H * W).

    Returns:
        int64 [H, W], upright, non-negative, not scaled; for a palette image the indices, not the colours.

    Raises:
        DataError: it cannot be read, or has more than one channel.
    """
    return load(source, limit, _indices)


def load(source: Any, limit: int, decode: Callable[[Image.Image], np.ndarray] | None = None) -> np.ndarray:
    """Decode into [H, W, C]: uint8, uint16 or float32 in 0..1; C is 1, 2 (grey and alpha), 3 or 4.

    If given, `decode` converts the opened, upright image instead.
    """
    name = shown(source) if isinstance(source, str | os.PathLike) else f"the given {type(source).__name__}"
    try:
        if isinstance(source, Image.Image):  # at the frame chosen by the caller
            return _decode(source, name, limit, decode)
        with opened(source) as stream:
            kind = format_of(stream.read(16))
            stream.seek(0)
            # Not Image.open: its pixel limit is global to the process, and lower than ours.
            image = Image.OPEN[kind][0](stream, "")
            _first_frame(image, name)
            return _decode(image, name, limit, decode)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except ImageWarning as error:
        raise DataError(f"{error}, and warnings are turned into errors") from error
    except MemoryError as error:
        raise ResourceError(f"{name}: does not fit in memory; make it smaller") from error
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise DataError(f"{name}: {reason_of(error)}; replace the file or leave it out") from error


def opened(source: Any) -> BinaryIO:
    """Open bytes, or a path to a regular file, without blocking on pipes or devices."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        raise DataError("not a picture; give a path, encoded bytes, a PIL image, a numpy array or a tensor")
    mode = os.stat(source).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")
    return open(source, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))


def format_of(prefix: bytes) -> str:
    """Return the format of a file, from its first 16 bytes."""
    for kind in FORMATS:
        accepts = Image.OPEN[kind][1]
        if accepts is not None and accepts(prefix) is True:
            return kind
    raise DataError(f"not an image (possible: {', '.join(FORMATS)})" if prefix else "empty file")


def _first_frame(image: Any, name: str) -> None:
    """Warn about an animation, and reject one with too many frames."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):  # in MPO: previews, depth maps
        return
    if _frames(image) > MAX_FRAMES:
        raise DataError(f"more than {MAX_FRAMES} frames; extract the one you want")
    note(name, "first frame", "has several frames, the first is used")


def _frames(image: Any) -> int:
    """Count frames up to one more than allowed, without decoding any."""
    if image.format not in ("GIF", "TIFF"):
        return int(image.n_frames)  # from the header
    look, count = partial(image._seek, update_image=False) if image.format == "GIF" else image.seek, 1
    with suppress(Exception):  # EOFError at the end, or damage in a later page, which is not read anyway
        while count <= MAX_FRAMES:
            look(count)
            count += 1
    image.seek(0)
    return count


def _decode(image: Image.Image, name: str, limit: int, decode: Callable[..., np.ndarray] | None) -> np.ndarray:
    width, height = image.size
    if width * height > limit:
        raise DataError(f"{width}x{height} pixels, more than the limit of {limit:,}; make it smaller first")
    if decode is None and image.mode[0] not in "IF" and ";16" in str(getattr(image, "tile", "")):
        # Pillow has no mode for this. Warn once, not per file: a training set may have thousands, and 8 bits suffice.
        note("16-bit colour", "16 bits made 8", f"is read in 8 bits ({name} is the first); grey and arrays keep 16")
    image.load()
    try:
        image = ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image
    except Exception:
        note(name, "EXIF ignored", "has unreadable EXIF data, its orientation is ignored")
    if decode is not None:
        return decode(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image)
    values = np.array(_to_srgb(image, name))
    return values if values.ndim == 3 else values[..., None]


def _indices(image: Image.Image) -> np.ndarray:
    """Return the class indices of a one-channel picture, int64 [H, W]."""
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise DataError(
            f"a label map has one channel of class indices (a grey or palette PNG), but this is {image.mode}"
        )
    values = np.array(image).astype(np.int64)
    if values.min() < 0:
        raise DataError("a label map cannot have negative values")
    return values


def _deep(image: Image.Image) -> np.ndarray:
    """Return grey pixels of more than 8 bits, [H, W, 1 or 2], unscaled; white depends on the dtype."""
    values = np.asarray(image)
    if image.mode == "F":
        check_floats(values.min(), values.max())
        return values.astype(np.float32)[..., None]
    if values.min() < 0 or values.max() > 65535:
        raise DataError("has integers outside 0..65535; convert it to 8 or 16 bits")
    clear = image.info.get("transparency")  # the value that is transparent
    layers = [values] if clear is None else [values, np.where(values == clear, 0, 65535)]
    return np.stack(layers, axis=-1).astype(np.uint16)


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Convert 8-bit pixels to L, LA, RGB or RGBA, using the profile of the image unless it means sRGB."""
    profile = image.info.get("icc_profile") or b""
    if image.mode != "CMYK" or profile[16:20] != b"CMYK":
        grey = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
        image = image if image.mode == mode else image.convert(mode)
    space = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}.get(image.mode)
    if profile[16:20] != space:
        return image
    try:
        if _means_srgb(profile):
            return image
        converted = _converted(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError):
        note(name, "profile ignored", "has an unusable colour profile, it is read as sRGB")
        return image.convert("RGB") if image.mode == "CMYK" else image
    counts["profile converted"] += 1
    return converted


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
def _means_srgb(profile: bytes) -> bool:
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
        given = Image.fromarray(np.stack([ramp[:, None] * np.array(on, np.uint8) for on in PRIMARIES]))
    change = np.asarray(_converted(given, profile)).astype(int) - np.asarray(given)
    return bool(np.abs(change).max() <= 2)
