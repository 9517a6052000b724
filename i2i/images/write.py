"""Write one picture of any kind, in the format given by the suffix: `save(img, path)`."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import files
from ..errors import DataError
from .border import take, to_array
from .notes import note, shown
from .pixels import on_colour, rescaled, to_image

WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
WRITTEN |= {".bmp": "BMP", ".ppm": "PPM"}
LARGEST = {"WEBP": 16383, "JPEG": 65500}  # pixels a side; Pillow fails beyond them
SUFFIXES = (*WRITTEN, ".gif")  # usual suffixes of readable files; content decides, not the name


def save(img: Any, path: str | os.PathLike[str], *, quality: int = 95) -> None:
    """Write one picture atomically, in the format given by the suffix.

    PNG and, for grey, TIFF keep 16 bits; a grey TIFF keeps floats; anything else is written with 8 bits.
    If the format has no alpha, the picture is composited onto white, with a warning. No metadata is written.

    Args:
        img: anything that `take` accepts.
        path: an existing file is replaced.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        DataError: files with this suffix cannot be written.
        ResourceError: the folder or the disk cannot be written to.
    """
    path = Path(path)
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{shown(path)}: this suffix cannot be written; possible: {', '.join(WRITTEN)}")
    values = _values(img)
    height, width, largest = *values.shape[:2], LARGEST.get(kind)
    if largest and max(height, width) > largest:
        raise DataError(
            f"{shown(path)}: {width}x{height} pixels are more than the {largest} a side of {kind}: use another suffix"
        )
    if kind in ("JPEG", "BMP", "PPM") and values.shape[2] in (2, 4):
        note(
            shown(path), "alpha dropped", f"has no alpha channel, being {kind}: the picture is composited onto white"
        )
        values = on_colour(rescaled(values, np.uint8), (255, 255, 255))
    if kind == "PNG" and values.dtype == np.uint16:
        return files.write(path, _png16(values))
    buffer = io.BytesIO()
    options = {"JPEG": {"quality": quality, "subsampling": 0}, "WEBP": {"quality": quality}}.get(kind, {})
    to_image(values if kind == "TIFF" else rescaled(values, np.uint8)).save(buffer, format=kind, **options)
    return files.write(path, buffer.getvalue())


def writable_name(path: str | os.PathLike[str]) -> Path:
    """Return the path if its suffix can be written, else with .gif replaced by .png, or .png appended."""
    path = Path(path)
    if path.suffix.lower() in WRITTEN:
        return path
    return path.with_suffix(".png") if path.suffix.lower() == ".gif" else path.with_name(path.name + ".png")


def to_pil(img: Any) -> Image.Image:
    """Return one picture of any kind that `take` accepts as a PIL image."""
    return to_image(_values(img))


def _values(img: Any) -> np.ndarray:
    """Return one picture of any kind as [H, W, C] in its own depth."""
    picture = take(img)
    if len(picture.tensor) > 1:
        raise DataError(f"{len(picture.tensor)} pictures given, but only one is possible; save them one by one")
    back = partial(to_array, axes="HWC", dtype=picture.dtype)
    values: np.ndarray = replace(picture, back=back).restore(picture.tensor)
    return values


def _png16(values: np.ndarray) -> bytes:
    """Encode uint16 [H, W, C] as PNG with OpenCV, as Pillow supports only grey; grey with alpha becomes RGBA."""
    import cv2

    order = ([0], [0, 0, 0, 1], [2, 1, 0], [2, 1, 0, 3])[values.shape[2] - 1]  # OpenCV takes BGR
    ok, png = cv2.imencode(".png", values[..., order], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert ok
    return png.tobytes()
