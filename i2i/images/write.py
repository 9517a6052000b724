"""Write one picture of any kind, in the format given by the suffix: `save(img, path)`."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .. import files
from ..errors import DataError
from .border import Picture, take
from .carried import METADATA, options
from .deep import described, encode_big_tiff, encode_png, encode_tiff, lossless
from .notes import note, shown
from .pixels import on_colour, rescaled, to_image
from .profile import is_grey
from .rows import png_rows

if TYPE_CHECKING:
    from torch import Tensor

WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
WRITTEN |= {".bmp": "BMP", ".ppm": "PPM"}
IN_ROWS = (".png", ".tif", ".tiff")  # suffixes of formats that are written row by row
LARGE = 8e6  # bytes of pixels from which on a PNG or TIFF is written row by row
CLASSIC = 4e9  # bytes of pixels that a TIFF can hold; more need a BigTIFF
LABELS = {"WEBP": "WebP"}
QUALITY = 95  # of JPEG and WebP
LARGEST = {"WEBP": 16383, "JPEG": 65500, "GIF": 65535}  # pixels a side; Pillow fails beyond them
SUFFIXES = (*WRITTEN, ".gif")  # usual suffixes of readable files; content decides, not the name


def save(img: Any, path: str | os.PathLike[str], *, quality: int = QUALITY, strip: bool = False) -> None:
    """Write one picture atomically, in the format given by the suffix.

    PNG and TIFF keep 16 bits; a grey TIFF keeps floats; anything else is written with 8 bits. If the format has no
    alpha, the picture is composited onto white, with a warning. JPEG, PNG, WebP and TIFF keep the metadata and the
    colour profile of a file or PIL image, except for a profile of greys in WebP, whose pixels become sRGB; BMP keeps
    the resolution. A TIFF made from a TIFF is compressed as that one, or deflated if that was compressed with losses.

    Args:
        img: anything that `take` accepts.
        path: an existing file is replaced.
        quality: 1 to 100, for JPEG and WebP.
        strip: leave out metadata; with a profile, pixels become sRGB.

    Raises:
        DataError: files with this suffix cannot be written, or not as large.
        ResourceError: the folder or the disk cannot be written to.
    """
    picture = take(img)
    write(picture, picture.tensor, path, quality=quality, strip=strip)


def write(
    picture: Picture,
    tensor: Tensor,
    path: str | os.PathLike[str],
    *,
    colour: bool = False,
    quality: int = QUALITY,
    strip: bool = False,
) -> None:
    """Write the result [1, C, H, W] for a picture as `save`; `colour` as for `Picture.restore`."""
    path = Path(path)
    kind = check_holds(path, *reversed(tensor.shape[2:]))
    if kind == "WEBP" and is_grey(picture.carried.icc):  # it stores grey as RGB, which such a profile does not fit
        picture = replace(picture, carried=replace(picture.carried, icc=b""))
    # Other formats cannot say that pixels are not sRGB.
    values, carried = picture.pixels(tensor, colour, strip=strip or kind not in METADATA)
    if values.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        note(shown(path), "16 bits made 8", "has 8 bits instead of 16, which PNG and TIFF would keep")
    if kind in ("JPEG", "BMP", "PPM") and values.shape[2] in (2, 4):
        note(shown(path), "alpha dropped", f"has no alpha channel, as it is a {kind}: it is composited onto white")
        values = on_colour(rescaled(values, np.uint8), (255, 255, 255))
    given = options(kind, picture.carried if kind == "BMP" and not strip else carried, shown(path))
    if kind == "TIFF" and (compression := lossless(picture.carried.compression)):
        given["compression"] = compression
    if values.dtype != np.float32 and values.nbytes > LARGE and kind in ("PNG", "TIFF"):
        return write_rows(path, kind, values, given)
    if kind == "PNG" and values.dtype == np.uint16:
        return files.write(path, encode_png(values, **given))
    if kind == "TIFF" and ("compression" in given or (values.dtype == np.uint16 and values.shape[2] > 1)):
        return files.write(path, encode_tiff(values, **given))
    image = to_image(values if kind == "TIFF" else rescaled(values, np.uint8))
    if kind == "PNG":  # written as it is encoded; other encoders of Pillow would go past the checks of `files`
        return files.write(path, lambda stream: image.save(stream, format=kind, **given))
    buffer = io.BytesIO()
    given |= {"JPEG": {"quality": quality, "subsampling": 0}, "WEBP": {"quality": quality}}.get(kind, {})
    image.save(buffer, format=kind, **given)
    return files.write(path, buffer.getvalue())


def write_rows(path: Path, kind: str, values: np.ndarray, given: dict[str, Any]) -> None:
    """Write a large PNG or TIFF row by row; `given` are the options of Pillow."""
    if kind == "PNG":
        return files.write(path, png_rows(values, described(**given)))
    if values.nbytes > CLASSIC:
        return files.write(
            path,
            lambda stream: encode_big_tiff(values, stream, given.get("icc_profile"), given.get("compression", "")),
        )
    return files.write(path, encode_tiff(values, **given))


def check_holds(path: Path, width: int, height: int) -> str:
    """Return the format of a path; raise DataError if it cannot be written, or not in this size."""
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{shown(path)}: this suffix cannot be written; possible: {', '.join(WRITTEN)}")
    largest = LARGEST.get(kind)
    if largest and max(height, width) > largest:
        raise DataError(
            f"{shown(path)}: {width}x{height} exceeds the {largest:,} pixels per side of {LABELS.get(kind, kind)}: "
            f"use another format, such as PNG"
        )
    return kind


def writable_name(path: str | os.PathLike[str]) -> Path:
    """Return the path if its suffix can be written, else with .gif replaced by .png, or .png appended."""
    path = Path(path)
    if path.suffix.lower() in WRITTEN:
        return path
    return path.with_suffix(".png") if path.suffix.lower() == ".gif" else path.with_name(path.name + ".png")


def to_pil(img: Any) -> Image.Image:
    """Return one picture of any kind that `take` accepts as a PIL image in sRGB, without metadata."""
    picture = take(img)
    return to_image(picture.pixels(picture.tensor, strip=True)[0])
