"""Previews: named columns of images as one sheet, as written to `samples/` and shown in the report."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


HEADER = 16  # pixels, for the names


def grid(columns: Mapping[str, Tensor | np.ndarray], gap: int = 4, least: int = 128) -> np.ndarray:
    """Lay out images in one labelled column per name and one row per sample.

    Args:
        columns: by name, images [N, 1 or 3, H, W] in [-1, 1], or uint8 [N, H, W, 3]; sizes may differ.
        gap: pixels between the cells.
        least: smaller images are enlarged by an integer factor to at least this many pixels.

    Returns:
        uint8 [H, W, 3].
    """
    drawn = {name: cells if isinstance(cells, np.ndarray) else to_uint8(cells) for name, cells in columns.items()}
    places = layout({name: cells.shape for name, cells in drawn.items()}, gap, least)
    rows = max(map(len, drawn.values()))
    size = max(place.left + place.width for place in places) + gap, HEADER + rows * (places[0].height + gap) + gap
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for (name, images), place in zip(drawn.items(), places, strict=True):
        pen.text((place.left, 2), name, fill="black")
        for row, image in enumerate(images):
            cell = Image.fromarray(np.repeat(np.repeat(image, place.scale, 0), place.scale, 1))
            sheet.paste(cell, (place.left, HEADER + row * (place.height + gap)))
    return np.array(sheet)


class Column(NamedTuple):
    """Where a column is in a sheet, in pixels: its cells are at most `width` wide and `height` high."""

    name: str
    left: int
    width: int
    height: int
    scale: int


def layout(shapes: Mapping[str, Sequence[int]], gap: int = 4, least: int = 128) -> list[Column]:
    """Return where `grid` puts its columns.

    Args:
        shapes: by name, [N, H, W, 3], or [N, T, H, W, 3] of clips.
        gap, least: see `grid`.
    """
    sizes = {name: (shape[-3], shape[-2]) for name, shape in shapes.items()}
    side = max(map(max, sizes.values()))
    factor = max(1, -(-least // side))
    scales = {name: max(1, side * factor // max(size)) for name, size in sizes.items()}
    height, width = (max(size[axis] * scales[name] for name, size in sizes.items()) for axis in (0, 1))
    return [
        Column(name, gap + number * (width + gap), width, height, scales[name]) for number, name in enumerate(sizes)
    ]


def frames(columns: Mapping[str, np.ndarray], gap: int = 4, least: int = 128) -> np.ndarray:
    """Lay out columns as `grid` does, some of them animated: uint8 [T, H, W, 3], where T is 1 if none is.

    Args:
        columns: by name, uint8 [N, H, W, 3], or frames [N, T, H, W, 3]; a shorter clip repeats its last frame.
    """
    length = max(cells.shape[1] if cells.ndim == 5 else 1 for cells in columns.values())

    def at(cells: np.ndarray, time: int) -> np.ndarray:
        return cells[:, min(time, cells.shape[1] - 1)] if cells.ndim == 5 else cells

    return np.stack(
        [grid({name: at(cells, t) for name, cells in columns.items()}, gap, least) for t in range(length)]
    )


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images [N, 1 or 3, H, W] in [-1, 1] to uint8 [N, H, W, 3], clipped and rounded."""
    scaled = (images.detach().float().clamp(-1, 1) + 1).mul(127.5).round().byte().cpu()
    return scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def label_colours(classes: int) -> np.ndarray:
    """Return a colour for each class, uint8 [classes, 3]; neighbours differ, and none is black."""
    turn = np.arange(classes)[:, None] * 0.618034 + np.array([0, 1 / 3, 2 / 3])
    light = np.array([1.0, 0.72, 0.86])[np.arange(classes) % 3][:, None]
    colours = np.clip(0.55 + 0.45 * np.cos(2 * np.pi * turn), 0, 1) * light * 255
    return colours.round().astype(np.uint8)


def png(picture: np.ndarray, about: Mapping[str, str] | None = None) -> bytes:
    """Encode uint8 [H, W, 3] as PNG, with texts by name, which `texts` reads."""
    buffer, chunks = io.BytesIO(), PngInfo()
    for name, text in (about or {}).items():
        chunks.add_itxt(name, text)
    Image.fromarray(picture).save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def texts(file: str | os.PathLike[str]) -> dict[str, str]:
    """Return the texts in a PNG that `png` has written; {} for another file."""
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return {name: str(text) for name, text in getattr(image, "text", {}).items()}
    except (OSError, ValueError, SyntaxError):
        return {}
