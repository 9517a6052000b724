"""Previews: named columns of images as one sheet, as written to `samples/` and shown in the report."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


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
    side = max(max(cell.shape[1:3]) for cell in drawn.values())
    factor = max(1, -(-least // side))
    rows, header = max(map(len, drawn.values())), 16
    scales = {name: max(1, side * factor // max(cells.shape[1:3])) for name, cells in drawn.items()}
    down, across = (max(cells.shape[axis] * scales[name] for name, cells in drawn.items()) + gap for axis in (1, 2))
    sheet = Image.new("RGB", (len(drawn) * across + gap, header + rows * down + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (name, images) in enumerate(drawn.items()):
        left, scale = gap + column * across, scales[name]
        pen.text((left, 2), name, fill="black")
        for row, image in enumerate(images):
            cell = Image.fromarray(np.repeat(np.repeat(image, scale, 0), scale, 1))
            sheet.paste(cell, (left, header + row * down))
    return np.array(sheet)


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


def png(picture: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
