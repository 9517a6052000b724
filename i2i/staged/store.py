"""What is kept of a feature map: all of it on the disk (`Store`), and its means and variances (`Moments`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..files.scratch import release, scratch
from .rules import Box

BAND, AROUND = 1 << 20, 1 << 16  # bytes that are copied at a time, and that Linux maps around a page that is read


class Store:
    """A feature map on the disk, with the channels of a pixel next to each other.

    Args:
        shape: of the map, [..., H, W].
        dtype: of its values.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.lead = shape[:-2]
        each = torch.Size(self.lead).numel()
        self.space = scratch(max(1, shape[-2] * shape[-1] * each * dtype.itemsize))
        self.values = torch.frombuffer(self.space, dtype=dtype, count=shape[-2] * shape[-1] * each)
        self.values = self.values.view(shape[-2], shape[-1], each)

    def read(self, box: Box) -> Tensor:
        """Return a copy of a part of the map, [..., h, w]."""
        part = torch.empty((*box.size, self.values.shape[2]), dtype=self.values.dtype)
        for rows in self._bands(box):
            part[rows.start - box.top : rows.stop - box.top] = self.values[rows, box.left : box.right]
            release(self.space)
        return part.movedim(2, 0).unflatten(0, self.lead) if self.lead else part[..., 0]

    def write(self, box: Box, made: Tensor) -> None:
        """Set a part of the map."""
        flat = made.reshape(-1, *made.shape[-2:]).movedim(0, 2)
        for rows in self._bands(box):
            self.values[rows, box.left : box.right].copy_(flat[rows.start - box.top : rows.stop - box.top])
            release(self.space)

    def _bands(self, box: Box) -> Iterator[slice]:
        """Yield rows of a part, few at a time: around what is read in a row, a system maps up to `AROUND` more."""
        each = (box.right - box.left) * self.values.shape[2] * self.values.dtype.itemsize + AROUND
        step = max(1, BAND // each)
        for top in range(box.top, box.bottom, step):
            yield slice(top, min(top + step, box.bottom))


class Moments:
    """Mean and variance of each channel, over the parts of a map; in float64.

    The parts are merged by the formula of Chan, Golub and LeVeque (1979), which subtracts no large numbers.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean, self.squares = torch.zeros(()), torch.zeros(())  # [...], and sums of squared deviations

    def add(self, part: Tensor) -> None:
        """Count a part of the map, [..., h, w]."""
        new = part.shape[-2] * part.shape[-1]
        mean = total(part) / new
        deviations = part - mean[..., None, None].to(part.dtype)
        first, second = total(deviations), total(deviations.mul_(deviations))
        mean = (mean.to(part.dtype) + first / new).cpu()  # of the deviations, as they are rounded
        both, apart = self.count + new, mean - self.mean
        self.squares = self.squares + (second - first**2 / new).cpu() + apart**2 * (self.count * new / both)
        self.mean = self.mean + apart * (new / both)
        self.count = both

    @property
    def variance(self) -> Tensor:
        """The variance, not corrected for the mean being estimated."""
        return self.squares / self.count


def total(part: Tensor) -> Tensor:
    """Return the sum over a part of a map [..., h, w]; of its rows in its own precision, of their sums in float64."""
    rows = part.flatten(0, -3).movedim(0, -1).sum(1)  # [h, channels]: in this order it is fast in either layout
    return rows.double().sum(0).view(part.shape[:-2])
