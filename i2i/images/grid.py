"""Pictures for people: named columns of images as one grid, as written to `samples/` and shown in the report."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from torch import Tensor


def grid(columns: dict[str, Tensor], gap: int = 4, least: int = 128) -> np.ndarray:
    """Lay out images in one column per name, one row per sample, under their names.

    Args:
        columns: images [N, 1 or 3, H, W] in [-1, 1] by name; columns may differ in size.
        gap: pixels between the cells.
        least: smaller images are enlarged by a whole factor to at least this many pixels.

    Returns:
        uint8 [H, W, 3].
    """
    drawn = {name: to_uint8(images) for name, images in columns.items()}
    side = max(max(cell.shape[1:3]) for cell in drawn.values())
    factor = max(1, -(-least // side))
    rows, header = max(map(len, drawn.values())), 16
    step = side * factor + gap
    sheet = Image.new("RGB", (len(drawn) * step + gap, header + rows * step + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (name, images) in enumerate(drawn.items()):
        left = gap + column * step
        pen.text((left, 2), name, fill="black")
        for row, image in enumerate(images):
            scale = max(1, side * factor // max(image.shape[:2]))
            cell = Image.fromarray(np.repeat(np.repeat(image, scale, 0), scale, 1))
            sheet.paste(cell, (left, header + row * step))
    return np.array(sheet)


def to_uint8(images: Tensor) -> np.ndarray:
    """Turn images [N, 1 or 3, H, W] in [-1, 1] into uint8 [N, H, W, 3], clipped and rounded."""
    scaled = (images.detach().float().clamp(-1, 1) + 1).mul(127.5).round().byte().cpu()
    return scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def png(picture: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
