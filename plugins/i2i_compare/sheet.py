"""A contact sheet: pictures of one size in rows, each with its name and size above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from .results import Shown

GAP, LINE, LEAST = 8, 16, 192  # pixels: between cells, the lowest line of text, and the smallest width of a cell


def pixels_of(shown: Sequence[Shown]) -> np.ndarray:
    """Return the sheet, uint8 [H, W, 3]; small pictures are enlarged by a whole number."""
    height, width = shown[0].pixels.shape[:2]
    factor = max(1, -(-LEAST // width))
    height, width = height * factor, width * factor
    across = len(shown) if len(shown) <= 3 else math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    line = max(LINE, width // 30)
    size = GAP + across * (width + GAP), GAP + down * (height + 2 * line + GAP)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(line * 13 // 16)
    for number, one in enumerate(shown):
        left, top = GAP + number % across * (width + GAP), GAP + number // across * (height + 2 * line + GAP)
        for row, (text, colour) in enumerate(((one.name, "black"), (one.about, "dimgray"))):
            pen.text((left, top + row * line), fitted(text, width, font), fill=colour, font=font)
        cell = one.pixels.repeat(factor, 0).repeat(factor, 1)
        sheet.paste(Image.fromarray(cell), (left, top + 2 * line))
    return np.asarray(sheet)


def fitted(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return a text of at most this width: the middle is left out, as both ends of a path tell models apart."""
    text = text.replace("\n", " ")
    whole = text
    while font.getlength(text) > width and len(whole) > 2:
        middle = len(whole) // 2
        whole = whole[:middle] + whole[middle + 1 :]
        text = f"{whole[: len(whole) // 2]}...{whole[len(whole) // 2 :]}"
    return text
