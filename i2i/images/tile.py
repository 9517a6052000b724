"""Large pictures tile by tile: `tiled` gives the result of the whole picture.

    i2i translate big.png -o out -m RUN --tile 256

Each pixel of the result depends on a neighbourhood of the input. `reach` measures its radius from the gradient of the
network and from how far a NaN spreads, so the overlap of the tiles is not a guess. If every pixel depends on the
whole picture (instance normalisation, global attention), there is no such neighbourhood: see `i2i.staged`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..errors import ConfigError
from ..files.scratch import release
from .levels import bands, levels, part_of
from .spill import empty

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .kept import Kept

    Network = Callable[[Tensor], Tensor]

LARGEST = 512  # input pixels; a network that sees further than half of this is not worth tiling
NEGLIGIBLE = 1 / 255  # in [-1, 1]: input beyond the reach may change a pixel by half a step of 8 bits


def reach(network: Network, like: Tensor, multiple: int = 1, largest: int = LARGEST) -> int | None:
    """Measure how far the input affects a pixel of the result, in input pixels.

    The measure is the absolute gradient of a value in the middle of the result, summed over all input beyond a
    radius. Where it is below `NEGLIGIBLE`, no change of that input moves the value by more than half a step of 8
    bits, to first order. The input is noise, at growing sizes.

    On noise, a network may ignore what it uses on photographs: one that decides where to change a picture changes
    nothing there. So the radius is at least half of the `spread`, and there is none if that is the whole picture.

    Args:
        network: images [1, C, H, W] in [-1, 1] -> images [1, C', H * scale, W * scale].
        like: any input; sets channels, dtype and device.
        multiple: H and W must be divisible by this.
        largest: side of the largest picture tried, in pixels; the radius is at most half of it.

    Returns:
        The radius in pixels, or None if the result depends on the whole picture at every size tried.
    """
    import torch

    noise = torch.Generator().manual_seed(0)
    size = 64
    while size <= largest:
        side = -(-size // multiple) * multiple
        widest = spread(network, like, side, multiple)
        if widest >= side // 2 - multiple:
            size *= 2
            continue
        shape = (1, like.shape[1], side, side)
        x = (torch.rand(shape, generator=noise) * 2 - 1).to(like).requires_grad_()
        with torch.enable_grad():
            out = network(x)
        found, middle = 0, out.shape[-1] // 2
        # A network that halves or doubles the size treats even and odd pixels differently: measure several phases.
        phases = min(multiple * out.shape[-1] // side, out.shape[-1] - middle)
        for place in range(middle, middle + phases, max(1, phases // 4)):
            for value in out[0, :, place, place]:
                (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
                found = max(found, radius(gradient.abs().sum((0, 1)), place * side // out.shape[-1]))
        return max(found, widest // 2)
    return None


def spread(network: Network, like: Tensor, side: int, multiple: int) -> int:
    """Return how far a NaN in the middle of a picture spreads, in input pixels, whatever the weights.

    Args:
        network, like, multiple: see `reach`.
        side: of the picture, in pixels.
    """
    import torch

    x, at = torch.zeros((1, like.shape[1], side, side)).to(like), side // 2
    x[..., at : at + multiple, at : at + multiple] = torch.nan
    with torch.inference_mode():
        hit = network(x)[0].isnan().any(0).cpu()
    if not hit.any():
        return 0
    places = torch.cat([hit.any(axis).nonzero().flatten() for axis in (0, 1)]) * side // hit.shape[-1]
    return max(at - int(places.min()), int(places.max()) - (at + multiple - 1), 0)


def radius(influence: Tensor, at: int) -> int:
    """Return the smallest distance (maximum of both axes) from (at, at) with less than NEGLIGIBLE beyond it."""
    import torch

    steps = torch.arange(len(influence), device=influence.device)
    far = torch.maximum((steps[:, None] - at).abs(), (steps[None] - at).abs())
    beyond = torch.zeros(len(influence) + 1, dtype=influence.dtype, device=influence.device)
    beyond.index_add_(0, far.flatten(), influence.flatten())
    left = beyond.flip(0).cumsum(0).flip(0)  # the influence at this distance or further
    return int((left > NEGLIGIBLE).sum()) - 1 if (left > NEGLIGIBLE).any() else 0


def tiled(
    network: Network,
    image: Tensor,
    tile: int,
    overlap: int,
    scale: int = 1,
    multiple: int = 1,
    depth: torch.dtype | None = None,
    check: Network | None = None,
    keep: Kept | None = None,
) -> Tensor:
    """Apply a network tile by tile; the result is assembled on the CPU.

    Args:
        network: images [N, C, h, w] -> images [N, C', h * scale, w * scale], both in [-1, 1].
        image: [N, C, H, W], H and W divisible by `multiple`, in [-1, 1] or `levels`, on any device.
        tile: side of the square that each call adds to the result, in input pixels.
        overlap: margin of input on each side of a tile, where available; see `reach`.
        scale: output size / input size.
        multiple: the sides of a tile are divisible by this.
        depth: uint8 or uint16, to return `levels` of this type.
        check: is given each part of the result, and returns it.
        keep: where finished rows are kept, so that an interrupted call continues; only with `depth`.

    Returns:
        [N, C', H * scale, W * scale], float32 or `levels`, on the CPU.

    Raises:
        ConfigError: the tile is smaller than `multiple`.
    """
    if tile < multiple:
        raise ConfigError(f"tiles of {tile} pixels are too small: this network needs a multiple of {multiple}")
    made = partial(pieces, network, image, tile, overlap, scale, multiple)
    return assembled(made, depth, check, keep)


def pieces(
    network: Network, image: Tensor, tile: int, overlap: int, scale: int = 1, multiple: int = 1, first: int = 0
) -> Iterator[Piece]:
    """Yield the result of `tiled` from the row `first` on, or one before, piece by piece, row by row."""
    tile -= tile % multiple
    overlap = -(-overlap // multiple) * multiple
    height, width = image.shape[-2:]
    # The last tile of a row is moved back into the picture, so that all have the same size.
    tops = (min(at, max(0, height - tile)) for at in range(0, height, tile) if (at + tile) * scale > first)
    for top in tops:
        for left in (min(at, max(0, width - tile)) for at in range(0, width, tile)):
            bottom, right = min(top + tile, height), min(left + tile, width)
            up, west = max(0, top - overlap), max(0, left - overlap)
            piece = part_of(image, up, bottom + overlap, west, right + overlap)
            out = network(piece)[
                ...,
                (top - up) * scale : (bottom - up) * scale,
                (left - west) * scale : (right - west) * scale,
            ]
            yield Piece(out, top * scale, left * scale, (height * scale, width * scale))


class Piece(NamedTuple):
    """A part of a result.

    Attributes:
        values: images [N, C, h, w] in [-1, 1].
        top, left: where it begins.
        size: height and width of the whole result.
    """

    values: Tensor
    top: int
    left: int
    size: tuple[int, int]


def assembled(
    parts: Callable[[int], Iterable[Piece]],
    depth: torch.dtype | None = None,
    check: Network | None = None,
    keep: Kept | None = None,
) -> Tensor:
    """Return the whole result on the CPU.

    Args:
        parts: yields the result from a row on, or one before, row by row.
        depth, check, keep: see `tiled`.
    """
    keep = None if depth is None else keep
    whole = None if keep is None else keep.found()
    if keep is not None and whole is not None and keep.rows == whole.shape[-2]:
        return whole
    for values, top, left, size in parts(0 if keep is None else keep.rows):
        part = values if check is None else check(values)
        if whole is None:
            shape = (part.shape[0], part.shape[1], *size)
            whole = None if keep is None else keep.room(shape, depth)
            whole = room(shape, depth) if whole is None else whole
        # Each tile is converted now: the whole result as floats would take several times the memory.
        made = part.float().cpu() if depth is None else levels(part, depth).cpu()
        bottom, right = top + part.shape[-2], left + part.shape[-1]
        whole[..., top:bottom, left:right] = made
        release()
        if keep is not None and right == size[1]:
            keep.done(bottom, size[0])
    assert whole is not None
    return whole


def room(shape: tuple[int, int, int, int], depth: torch.dtype | None) -> Tensor:
    """Return room for a result [N, C, H, W], as files have it: the channels of a pixel next to each other."""
    import torch

    count, channels, height, width = shape
    dtypes = {None: np.float32, torch.uint8: np.uint8, torch.uint16: np.uint16}
    return torch.from_numpy(empty((count, height, width, channels), dtypes[depth])).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Tiler:
    """How a network is tiled: `Tiler(...)(network, tile)` is the network that works in tiles; see `tiled`."""

    overlap: int
    scale: int
    multiple: int
    in_pieces: ClassVar[bool] = True  # the network is called on pieces of the picture
    keeps: ClassVar[bool] = True  # it has the option `keep`

    def __call__(self, network: Network, tile: int, **options: Any) -> Network:
        """Return the network that works in tiles of this side."""
        return lambda image: tiled(network, image, tile, self.overlap, self.scale, self.multiple, **options)


def reflected(size: int, wanted: int, like: Tensor) -> Tensor:
    """Return which of `size` rows or columns are at each place of more of them, on the device of a tensor."""
    import torch

    period = max(1, 2 * (size - 1))  # 0 1 2 3 2 1 0 1 ...: there and back in 2 * (size - 1) steps
    place = torch.arange(wanted, device=like.device) % period
    return torch.minimum(place, period - place).clamp(max=size - 1)


def pad_to_multiple(tensor: Tensor, multiple: int, minimum: int = 1) -> tuple[Tensor, Callable[..., Tensor]]:
    """Pad images at the right and bottom by reflection, repeatedly if needed, so that any size works.

    Args:
        tensor: [N, C, H, W].
        multiple: H and W become multiples of this.
        minimum: H and W become at least this large (for networks with reflection padding).

    Returns:
        The padded images, and `crop(out, scale=1)`, which crops a result to H * scale, W * scale.
    """
    import torch

    height, width = tensor.shape[-2:]
    wanted = tuple(-(-max(size, minimum) // multiple) * multiple for size in (height, width))
    if wanted != (height, width):
        rows, columns = (reflected(size, new, tensor) for size, new in zip((height, width), wanted, strict=True))
        if tensor.dtype in (torch.uint8, torch.uint16):
            padded = room((*tensor.shape[:2], *wanted), tensor.dtype)
            for some in bands(*wanted):
                padded[..., some, :] = tensor.index_select(-2, rows[some]).index_select(-1, columns)
                release()
            tensor = padded
        else:
            tensor = tensor.index_select(-2, rows).index_select(-1, columns)

    def crop(out: Tensor, scale: int = 1) -> Tensor:
        return out[..., : height * scale, : width * scale]

    return tensor, crop
