"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3), and its two gradients.

    y = forward(x, weight, padding=(1, 1))

Tiles of 6x6 pixels are transformed (36 numbers each), multiplied by the transformed weights in 36 matrix products,
and transformed back into 4x4 results. Channels lie next to each other in between, so tiles are copied in long runs.
All intermediate values are in buffers that a thread keeps: fresh memory costs more time than the arithmetic.

Source: arXiv:1509.09308. The error is around 1e-5 of the largest result in float32; the direct one is 1e-6.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[int, int]

_BT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_G = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_AT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
OF_TILES = torch.kron(_BT, _BT)  # [36, 36]: pixels of a tile -> transformed
OF_WEIGHTS = torch.kron(_G, _G)  # [36, 9]
OF_RESULTS = torch.kron(_AT, _AT)  # [16, 36]: transformed -> pixels of a result
WORK = 1_250_000  # numbers in a buffer of transformed tiles: what the second-level cache of a core can nearly hold

_kept = threading.local()


def buffer(name: str, *shape: int) -> Tensor:
    """Return memory of this thread under a name, with undefined values: the same at every call."""
    size, kept = math.prod(shape), _kept.__dict__
    if name not in kept or kept[name].numel() < size:
        with torch.inference_mode(False):  # which could not be written outside of it
            kept[name] = torch.empty(size, dtype=torch.float32, device="cpu")
    found: Tensor = kept[name]
    return found[:size].view(shape)


class Band(NamedTuple):
    """Some rows of tiles of some images, which are computed together."""

    first: int
    images: int
    row: int
    rows: int


def bands(images: int, rows: int, columns: int, channels: int) -> Iterator[Band]:
    """Yield the bands of images, such that a buffer holds `WORK` numbers or one row of tiles."""
    each = 36 * columns * channels
    at_once = max(1, min(images, WORK // (each * rows)))
    high = rows if at_once > 1 else max(1, min(rows, WORK // each))
    for first in range(0, images, at_once):
        for row in range(0, rows, high):
            yield Band(first, min(at_once, images - first), row, min(high, rows - row))


def tiles(x: Tensor, band: Band, columns: int, side: int, before: Pair) -> Tensor:
    """Return the tiles of a band of images [N, C, H, W], every four pixels: [side * side, tiles * C].

    The images are surrounded by zeros, `before` of them at the top and left.
    """
    some = x[band.first : band.first + band.images]
    (n, c, h, w), (top, left) = some.shape, before
    height, width, start = 4 * band.rows + side - 4, 4 * columns + side - 4, 4 * band.row - top
    above, below = max(0, -start), min(height, h - start)  # the rows in between are those of the images
    spread = buffer("spread", n, height, width, c)  # channels next to each other
    for edge in (spread[:, :above], spread[:, below:], spread[:, :, :left], spread[:, :, left + w :]):
        if edge.numel():
            edge.zero_()
    inner = some[:, :, start + above : start + below].permute(0, 2, 3, 1)
    spread[:, above:below, left : left + w].copy_(inner)
    strides = (width * c, c, height * width * c, 4 * width * c, 4 * c, 1)
    shape = (side, side, n, band.rows, columns, c)
    return buffer("tiles", *shape).copy_(spread.as_strided(shape, strides)).view(side * side, -1)


def convolve(x: Tensor, weights: Tensor, padding: Pair, size: Pair) -> Tensor:
    """Convolve images [N, C, H, W] with transformed weights [36, C, O] to images of a size."""
    n, c = x.shape[:2]
    o, (height, width) = weights.shape[2], size
    rows, columns = -(-height // 4), -(-width // 4)
    made = x.new_empty(n, o, height, width)
    for band in bands(n, rows, columns, max(c, o)):
        count = band.images * band.rows * columns
        given = tiles(x, band, columns, 6, padding)
        given = torch.mm(OF_TILES, given, out=buffer("transformed", 36, count * c))
        product = torch.bmm(given.view(36, count, c), weights, out=buffer("tiles", 36, count, o))
        found = torch.mm(OF_RESULTS, product.view(36, -1), out=buffer("transformed", 16, count * o))
        found = found.view(4, 4, band.images, band.rows, columns, o).permute(2, 3, 0, 4, 1, 5)
        pixels = buffer("pixels", band.images, band.rows, 4, columns, 4, o).copy_(found)
        pixels = pixels.view(band.images, 4 * band.rows, 4 * columns, o).permute(0, 3, 1, 2)
        target = made[band.first : band.first + band.images, :, 4 * band.row : 4 * (band.row + band.rows)]
        target.copy_(pixels[:, :, : target.shape[2], :width])
    return made


def forward(x: Tensor, weight: Tensor, padding: Pair) -> Tensor:
    """Return the convolution of images [N, C, H, W] with a weight [O, C, 3, 3]."""
    o, c = weight.shape[:2]
    turned = buffer("pixels", 9 * c, o).copy_(weight.reshape(o, 9 * c).t())
    ordered = buffer("tiles", 9, c, o).copy_(turned.view(c, 9, o).transpose(0, 1))
    weights = torch.mm(OF_WEIGHTS, ordered.view(9, -1), out=buffer("weights", 36, c * o)).view(36, c, o)
    return convolve(x, weights, padding, (x.shape[2] + 2 * padding[0] - 2, x.shape[3] + 2 * padding[1] - 2))


def input_gradient(dy: Tensor, weight: Tensor, padding: Pair, size: Pair) -> Tensor:
    """Return the gradient of the images, of a size, for that of the result [N, O, h, w]."""
    o, c = weight.shape[:2]
    ordered = buffer("tiles", 9, o * c).copy_(weight.reshape(o * c, 9).t())
    weights = torch.mm(OF_WEIGHTS.flip(1), ordered, out=buffer("weights", 36, o * c)).view(36, o, c)
    return convolve(dy, weights, (2 - padding[0], 2 - padding[1]), size)


def weight_gradient(x: Tensor, dy: Tensor, padding: Pair) -> Tensor:
    """Return the gradient of the weight [O, C, 3, 3] for images [N, C, H, W] and that of the result [N, O, h, w]."""
    (n, c), (o, height, width) = x.shape[:2], dy.shape[1:]
    rows, columns = -(-height // 4), -(-width // 4)
    total = buffer("weights", 36, c, o).zero_()
    for band in bands(n, rows, columns, max(c, o)):
        count = band.images * band.rows * columns
        first = tiles(x, band, columns, 6, padding)
        first = torch.mm(OF_TILES, first, out=buffer("transformed", 36, count * c)).view(36, count, c)
        second = tiles(dy, band, columns, 4, (0, 0))
        second = torch.mm(OF_RESULTS.t(), second, out=buffer("pixels", 36, count * o)).view(36, count, o)
        torch.baddbmm(total, first.transpose(1, 2), second, out=total)
    found = torch.mm(OF_WEIGHTS.t(), total.view(36, -1), out=buffer("tiles", 9, c * o)).view(9, c, o)
    ordered = buffer("pixels", c, 9, o).copy_(found.transpose(0, 1))
    return torch.empty(o, 9 * c).copy_(ordered.view(9 * c, o).t()).view(o, c, 3, 3)
