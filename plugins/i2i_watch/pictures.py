"""Faults that the sample sheets show: `for fault, text in PictureWatch().see(columns_of(file)).items(): ...`

    mode collapse       the cells of a generated column are nearly equal, while those of the data differ
    colour inversion    a generated column is the negative of what it is made from or should be
    checkerboard        a generated column has spectral peaks at periods of 2, 4 or 8 pixels, and the data have not

A column that changes from sheet to sheet is generated; one that does not is from the validation samples. A fault has
to be in three sheets in a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from i2i import images

Columns = dict[str, np.ndarray]  # by name, cells uint8 [N, H, W, 3]

HEADER = 16  # pixels above the first row, see i2i.images.layout
GAP = 4
ROWS = 3  # cells that a column must have to be judged
IN_A_ROW = 3  # sheets
ALIKE = 0.02  # variety of a collapsed column, as a share of that of the data
NEGATIVE, POSITIVE = -0.5, 0.3  # correlations
PEAK, BEYOND = 60.0, 8.0  # of a peak over its surroundings, and over that of the data
PERIODS = (2, 4, 8)  # pixels
LEAST = 32  # pixels of a side, for spectra


class PictureWatch:
    """Sees the sample sheets of one run in order, and reports each kind of fault once."""

    def __init__(self) -> None:
        self.before: Columns = {}
        self.reported: set[str] = set()
        self._count: dict[str, int] = {}

    def see(self, columns: Columns) -> dict[str, str]:
        """Return, by fault, sentences about what is wrong and was not reported before."""
        known = [name for name, cells in columns.items() if name in self.before]
        same = [name for name in known if np.array_equal(columns[name], self.before[name])]
        given = {name: columns[name] for name in same}
        made = {name: columns[name] for name in known if name not in same}
        self.before = columns
        judges: dict[str, Callable[[str, np.ndarray, Columns], str]] = {
            "collapsed": collapsed,
            "inverted": inverted,
            "checkerboard": checkerboard,
        }
        new = {}
        for name, cells in made.items():
            for what, judge in judges.items():
                fault, text = f"{name} {what}", judge(name, cells, given)
                self._count[fault] = self._count.get(fault, 0) + 1 if text else 0
                if self._count[fault] >= IN_A_ROW and fault not in self.reported:
                    self.reported.add(fault)
                    new[fault] = text
        return new


def columns_of(file: Path) -> Columns:
    """Return the cells of a sample sheet by column, at the size of the pictures; {} if its layout is not known."""
    try:
        places = json.loads(images.texts(file)["columns"])
        with Image.open(file) as image:
            sheet = np.asarray(image.convert("RGB"))
    except (OSError, KeyError, ValueError):
        return {}
    return {name: cells_at(sheet, left, width, height, scale) for name, left, width, height, scale in places}


def cells_at(sheet: np.ndarray, left: int, width: int, height: int, scale: int) -> np.ndarray:
    """Return the cells of one column, uint8 [N, H, W, 3], without the white that fills up smaller ones."""
    rows = max(1, (len(sheet) - HEADER - GAP) // (height + GAP))
    tops = [HEADER + row * (height + GAP) for row in range(rows)]
    cells = np.stack([sheet[top : top + height, left : left + width] for top in tops])[:, ::scale, ::scale]
    filled = (cells != 255).any((0, 3))
    down, across = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    return cells[:, : down[-1] + 1, : across[-1] + 1] if len(down) else cells


def collapsed(name: str, cells: np.ndarray, given: Columns) -> str:
    """Judge whether all cells of a column are the same picture."""
    data = max((variety(other) for other in given.values()), default=30.0)
    own = variety(cells)
    if len(cells) < ROWS or data < 5 or own > ALIKE * data:
        return ""
    return (
        f"all pictures of '{name}' are nearly the same (they differ by {own:.2g} levels of 255, the data by "
        f"{data:.2g}): the generator has collapsed; go back to an earlier checkpoint, and try a lower learning rate, "
        f"a larger batch, spectral norm, or a gradient penalty"
    )


def variety(cells: np.ndarray) -> float:
    """Return the mean difference of the cells from their mean, in levels."""
    values = cells.astype(np.float32)
    return float(np.abs(values - values.mean(0)).mean())


def inverted(name: str, cells: np.ndarray, given: Columns) -> str:
    """Judge whether most cells of a column are a negative of those of another, and positive of none."""
    found = {other: correlations(cells, data) for other, data in given.items() if len(data) == len(cells)}
    middle = {other: float(np.median(values)) for other, values in found.items()}
    if not middle or max(middle.values()) > POSITIVE:
        return ""
    other, lowest = min(middle.items(), key=lambda pair: pair[1])
    if lowest > NEGATIVE:
        return ""
    return (
        f"'{name}' looks like a negative of '{other}' (correlation {lowest:.2f}): light and dark are exchanged; "
        f"start over with another train.seed, or add a term that keeps colours, such as an identity or pixel loss"
    )


def correlations(cells: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the correlation of the brightness of each cell with that of the other, [N]; 0 for flat ones."""
    found = []
    for cell, other in zip(cells, others, strict=True):
        one, two = (brightness(picture) for picture in (cell, other))
        spread = one.std() * two.std()
        found.append(float(((one - one.mean()) * (two - two.mean())).mean() / spread) if spread > 1 else 0.0)
    return np.array(found)


def brightness(picture: np.ndarray) -> np.ndarray:
    """Return a picture in grey at 32x32, float [32, 32]."""
    grey = Image.fromarray(np.ascontiguousarray(picture)).convert("L")
    return np.asarray(grey.resize((32, 32), Image.Resampling.BOX), np.float32)


def checkerboard(name: str, cells: np.ndarray, given: Columns) -> str:
    """Judge whether a column has a regular pattern that the data lack."""
    if min(cells.shape[1:3]) < LEAST:
        return ""
    own, period = peak(cells)
    data = max((peak(other)[0] for other in given.values() if min(other.shape[1:3]) >= LEAST), default=1.0)
    if own < PEAK or own < BEYOND * data:
        return ""
    return (
        f"'{name}' has a checkerboard pattern of {period} pixels (a peak of {own:.0f} times its surroundings in the "
        f"spectrum, {data:.0f} in the data): use an upsampling by resizing and convolution instead of transposed "
        f"convolutions, or kernels whose size is a multiple of the stride"
    )


def peak(cells: np.ndarray) -> tuple[float, int]:
    """Return the highest spectral peak at one of `PERIODS`, over the median of its surroundings, and its period."""
    grey = cells.astype(np.float32).mean(3)
    height, width = (side // 8 * 8 for side in grey.shape[1:])
    grey = grey[:, :height, :width]
    window = np.outer(np.hanning(height), np.hanning(width))
    power = (np.abs(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0) + 1e-3
    best = (0.0, 0)
    for period in PERIODS:
        for row, column in ((0, width // period), (height // period, 0), (height // period, width // period)):
            around = [
                power[(row + down) % height, (column + across) % width]
                for down in range(-5, 6)
                for across in range(-5, 6)
                if max(abs(down), abs(across)) > 2 and not ((row == 0 and down) or (column == 0 and across))
            ]
            best = max(best, (float(power[row, column] / np.median(around)), period))
    return best
