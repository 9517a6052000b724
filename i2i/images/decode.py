"""The decoder: a path, encoded bytes or a PIL image -> pixels [H, W, C]. `read_rgb(path)` reads for training.

`read_labels(path)` reads a label map: the values are class indices, not colours, and are not converted.

The format is detected from the content, and the numbers of pixels and frames are checked before decoding. EXIF
orientation is applied; grey, RGB and CMYK colour profiles are converted to sRGB. Only the first frame of an
animation is read, and training reduces 16-bit colour to 8 bits, each with an ImageWarning.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401  they register

from ..errors import ConfigError, DataError, ResourceError
from . import complete, deep, limits, profile, whole
from .carried import Carried, carried_of
from .notes import ImageWarning, counts, note, reason_of, shown
from .pixels import check_floats, on_colour, rescaled, to_image
from .quiet import silence_libtiff

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")  # other parsers are never called
OTHERS = {  # formats of pictures that are not read, and how their files begin
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(?:hei|hev|mif1|msf1)",
    "Canon CR3": rb"....ftypcrx ",
    "PSD": rb"8BPS",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?R(?:ADIANCE|GBE)",
    "DDS": rb"DDS ",
    "ICO": rb"\0\0\x01\0",
    "JPEG XR": rb"II\xbc",
    "Fujifilm RAF": rb"FUJIFILMCCD-RAW",
}
UNSUPPORTED = "format not supported"  # how the reason for refusing them begins
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # what makes pixels upright, by EXIF orientation
    **{2: np.fliplr, 3: partial(np.rot90, k=2), 4: np.flipud, 5: partial(np.swapaxes, axis1=0, axis2=1)},
    **{6: partial(np.rot90, k=3), 7: lambda pixels: np.rot90(np.flipud(pixels)), 8: np.rot90},
}

Image.preinit()  # registers the rest of FORMATS
silence_libtiff()


def read_rgb(
    source: Any, *, background: tuple[int, int, int] = (255, 255, 255), limit: int | None = None
) -> np.ndarray:
    """Read a picture for training.

    Args:
        source: a path, encoded bytes or a PIL image.
        background: the colour behind transparent pixels; `counts` counts how often it was needed.
        limit: the maximum number of pixels (H * W); by default that of `limits`.

    Returns:
        uint8 [H, W, 3], upright, sRGB, contiguous and writable.

    Raises:
        DataError: it cannot be read; the message has the reason, and `__cause__` is the OSError of a failed read.
    """
    values = on_colour(rescaled(load(source, limit, _training), np.uint8), background)
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else np.ascontiguousarray(values)


def read_labels(source: Any, *, limit: int | None = None) -> np.ndarray:
    """Read a label map: a one-channel picture, grey or with a palette, whose values are class indices.

    Args:
        source: a path, encoded bytes or a PIL image.
        limit: the maximum number of pixels (H * W); by default that of `limits`.

    Returns:
        int64 [H, W], upright, non-negative, not scaled; for a palette image the indices, not the colours.

    Raises:
        DataError: it cannot be read, or has more than one channel.
    """
    values: np.ndarray = load(source, limit, _indices)
    return values


class Photo(NamedTuple):
    """A picture with what it carries.

    Attributes:
        values: [H, W, C], uint8, uint16 or float32 in 0..1, where C is 1, 2 (grey and alpha), 3 or 4.
        carried: its metadata, with the profile of the file if that could be applied.
        space: what converts the values to sRGB; None if they are.
    """

    values: np.ndarray
    carried: Carried
    space: profile.Space | None


def read_photo(source: Any, *, limit: int | None = None) -> Photo:
    """Read a picture with what it carries; for errors see `read_rgb`."""
    photo: Photo = load(source, limit, photo_of)
    return photo


class Opened(NamedTuple):
    """A decoded picture.

    Attributes:
        image: upright.
        stored: as stored.
        name: for messages.
        layout: the layout of 16-bit colour in the file, such as "RGB;16B", of which `image` has 8 bits; else empty.
        stream: the file; None for a PIL image.
    """

    image: Image.Image
    stored: Image.Image
    name: str
    layout: str
    stream: BinaryIO | None


def load(source: Any, limit: int | None, decode: Callable[[Opened], Any]) -> Any:
    """Open and check a picture, and return what `decode` makes of it."""
    with explained(source) as name:
        if isinstance(source, Image.Image):  # at the frame chosen by the caller
            return decode(_opened(source, name, limit, None))
        with opened(source) as stream:
            return decode(with_texts(stream, format_of(stream.read(16)), name, limit))


def with_texts(stream: BinaryIO, kind: str, name: str, limit: int | None) -> Opened:
    """Decode a file; if it has texts of more than Pillow's limit, without them and all other metadata."""
    try:
        return whole_file(stream, kind, name, limit)
    except ValueError as error:
        if kind != "PNG" or "text" not in str(error).lower():
            raise
    note(name, "metadata left out", "has too large texts, left out of the result with all metadata")
    stream.seek(0)
    return whole_file(io.BytesIO(deep.pixels_only(stream.read())), kind, name, limit)


@contextmanager
def explained(source: Any) -> Iterator[str]:
    """Turn whatever is raised inside into an error that names a picture; yield its name."""
    name = shown(source) if isinstance(source, str | os.PathLike) else f"the given {type(source).__name__}"
    try:
        yield name
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (ConfigError, ResourceError):  # of the limits, and of the disk
        raise
    except ImageWarning as error:
        raise DataError(f"{error}, and warnings are turned into errors") from error
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file: check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{name}: a folder, not a file; give its files, or use `i2i translate FOLDER`") from error
    except MemoryError as error:
        raise ResourceError(f"{name}: does not fit in memory; make it smaller") from error
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise DataError(f"{name}: {reason_of(error)}; replace the file or leave it out") from error


def size_of(source: Any) -> tuple[int, int] | None:
    """Return the height and width of a path, encoded bytes, PIL image, array or tensor, without decoding it.

    None if it cannot be read or exceeds a limit: decoding says why.
    """
    if isinstance(source, Image.Image):
        return source.height, source.width
    if hasattr(source, "shape"):
        height, width, *_ = (*sorted(source.shape, reverse=True), 1, 1)
        return height, width
    with suppress(Exception), opened(source) as stream:  # decoders raise almost anything on damaged bytes
        image = header_of(stream, format_of(stream.read(16)))
        check_header(image, None, stream)
        return image.height, image.width
    return None


def whole_file(stream: BinaryIO, kind: str, name: str, limit: int | None) -> Opened:
    """Decode a file at once."""
    if kind == "JPEG":
        stream.seek(0)
        whole.refuse_scans(stream.read())
    image = header_of(stream, kind, limit)
    first_frame(image, name)
    return _opened(image, name, limit, stream)


def header_of(stream: BinaryIO, kind: str, limit: int | None = None) -> Image.Image:
    """Let Pillow read the header of a file."""
    stream.seek(0)
    if kind == "WEBP":  # whose decoder takes memory for the pixels at once
        size = complete.webp_size(stream.read(30))
        limits.check_pixels(*size, limit)
        limits.check_claims(kind, *size, stream.seek(0, os.SEEK_END))
        stream.seek(0)
    # Not Image.open: its pixel limit is global to the process, and lower than ours.
    return Image.OPEN[kind][0](stream, "")


def opened(source: Any) -> BinaryIO:
    """Open bytes, or a path to a regular file, without blocking on pipes or devices."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, io.IOBase) and source.seekable():
        start, data = source.tell(), source.read()
        source.seek(start)
        if isinstance(data, bytes):
            return io.BytesIO(data)
    if not isinstance(source, str | os.PathLike):
        raise DataError("not a picture; give a path, an open file, bytes, a PIL image, a numpy array or a tensor")
    mode = os.stat(source).st_mode
    if not stat.S_ISREG(mode):
        folder = stat.S_ISDIR(mode)
        raise OSError(*((errno.EISDIR, "a folder, not a file") if folder else (errno.EINVAL, "not a regular file")))
    return open(source, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))


def format_of(prefix: bytes) -> str:
    """Return the format of a file, from its first 16 bytes."""
    for kind in FORMATS:
        accepts = Image.OPEN[kind][1]
        if accepts is not None and accepts(prefix) is True:
            return kind
    if not prefix:
        raise DataError("empty file")
    other = next((name for name, pattern in OTHERS.items() if re.match(pattern, prefix, re.DOTALL)), None)
    what = f"{UNSUPPORTED}, {other}" if other else "not an image"
    raise DataError(f"{what} (possible: {', '.join(FORMATS)})")


def first_frame(image: Any, name: str) -> None:
    """Warn about an animation, and reject one with too many frames."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):  # in MPO: previews, depth maps
        return
    limits.check_frames(_frames(image), limits.MAX_FRAMES)
    note(name, "first frame", "has several frames; the first is used")


def _frames(image: Any) -> int:
    """Count frames up to one more than allowed, without decoding any."""
    if image.format not in ("GIF", "TIFF"):
        return int(image.n_frames)  # from the header
    look, count = partial(image._seek, update_image=False) if image.format == "GIF" else image.seek, 1
    with suppress(Exception):  # EOFError at the end, or damage in a later page, which is not read anyway
        while count <= limits.allowed(limits.MAX_FRAMES):
            look(count)
            count += 1
    image.seek(0)
    return count


def _opened(image: Image.Image, name: str, limit: int | None, stream: BinaryIO | None) -> Opened:
    check_header(image, limit, stream)
    layout = next(iter(re.findall(r"\w+;16\w*", str(getattr(image, "tile", "")))), "")
    profile.scale_clear(image)
    image.load()
    if stream is not None:
        whole.refuse_partial(image, stream)
    if stream is not None and image.info.get("icc_profile", b"") is None:  # Pillow found it damaged
        profile.unusable(name)
    try:
        upright = ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image
    except Exception:
        note(name, "EXIF ignored", "has unreadable EXIF data, its orientation is ignored")
        upright = image
    return Opened(upright, image, name, layout if image.mode[0] not in "IF" else "", stream)


def check_header(image: Image.Image, limit: int | None, stream: BinaryIO | None) -> None:
    """Raise DataError if a picture has too many pixels, more than its file can hold, or some that Pillow misreads."""
    limits.check_pixels(*image.size, limit)
    if stream is not None:
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        limits.check_claims(kind, *image.size, stream.seek(0, os.SEEK_END))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_planes(image)


def _check_planes(image: TiffImagePlugin.TiffImageFile) -> None:
    """Reject what Pillow reads as noise: uncompressed planes of 16 bits."""
    planes, bits = image.tag_v2.get(284, 1) == 2, max(image.tag_v2.get(258, (1,)))
    if planes and bits > 8 and image.tile and image.tile[0][0] == "raw":
        raise DataError("16 bits in separate planes are not supported; save it interleaved or compressed")


def _training(opened: Opened) -> np.ndarray:
    """Return sRGB pixels of 8 bits, or grey ones of more."""
    if opened.layout or _is_deep(opened.image):
        # Warn once, not per file: a training set may have thousands, and 8 bits suffice.
        note("pictures of 16 bits", "16 bits made 8", f"are read in 8 bits ({opened.name} is the first)")
    if not _is_deep(opened.image):
        return _channels(profile.convert(_eight(opened), opened.name)[0])
    values, _, space = photo_of(opened)
    if space is None:
        return values
    unit = rescaled(values, np.float32)
    return np.concatenate([space.to_srgb(unit[..., :1]), unit[..., 1:]], 2)


def photo_of(opened: Opened) -> Photo:
    """Return the pixels of a decoded picture, with what it carries."""
    image, name = opened.image, opened.name
    carried, icc = carried_of(opened.stored, name), image.info.get("icc_profile") or b""
    values = _deep(image) if _is_deep(image) else _sixteen(opened)
    if values is None and opened.layout:
        why = "PIL has no more" if opened.stream is None else "this layout is not supported"
        note(name, "16 bits made 8", f"has 16-bit colour, of which 8 bits are read: {why}")
    deep_enough = values is not None
    if values is None:
        values = _channels(profile.plain(image))
    try:
        means = "tables" if image.mode == "CMYK" and not deep_enough else profile.meaning(icc, values.shape[2])
    except profile.ERRORS:
        profile.unusable(name)
        means = "nothing"
    if (means == "tables" and _is_deep(image)) or (means == "nothing" and icc):
        profile.unusable(name)
        means = "nothing"
    if means == "tables":
        if deep_enough:
            note(
                name, "16 bits made 8", "has 16-bit colour, of which 8 bits are read: its profile consists of tables"
            )
        image, icc = profile.convert(image, name)
        return Photo(_channels(image), replace(carried, icc=icc), None)
    if means == "space":
        counts["profile converted"] += 1
        return Photo(values, carried, profile.space_of(icc))
    return Photo(values, replace(carried, icc=icc if means == "sRGB" else b""), None)


def _is_deep(image: Image.Image) -> bool:
    """Return whether an image is grey with more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _channels(image: Image.Image) -> np.ndarray:
    values = np.array(image)
    return values if values.ndim == 3 else values[..., None]


def _sixteen(opened: Opened) -> np.ndarray | None:
    """Return 16-bit colour, upright; None if the picture has none, or none that can be read."""
    if not opened.layout or opened.stream is None:
        return None
    opened.stream.seek(0)
    values = deep.read(opened.stream.read(), opened.stored, opened.layout.startswith("LA"))
    orientation = 1 if opened.image is opened.stored else opened.stored.getexif().get(0x0112, 1)
    return None if values is None else TURNS.get(orientation, np.asarray)(values)


def _eight(opened: Opened) -> Image.Image:
    """Return a picture with 8 bits per channel, rounded: of 16-bit colour Pillow returns the high bytes instead."""
    values = _sixteen(opened)
    if values is None:
        return opened.image
    image = to_image(rescaled(values, np.uint8))
    image.info = {key: value for key, value in opened.image.info.items() if key == "icc_profile"}
    return image


def _indices(opened: Opened) -> np.ndarray:
    """Return the class indices of a one-channel picture, int64 [H, W]."""
    image = opened.image
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
