"""`Staged`: a network that runs stage by stage, in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..images.kept import Kept
from ..images.tile import Piece, assembled
from .plan import CHANNELS
from .record import Graph, Network, Node, Unsupported, record
from .run import Run

MAPS = 12  # tiles in memory at the same time, with the buffers of convolutions; see benchmarks/tiles.py


def recorded(network: Network, image: Tensor, device: torch.device, tile: int) -> Graph:
    """Return the operations of a network on a picture; values that it looks at are computed."""

    def value(node: Node, nodes: list[Node]) -> Tensor:
        run = Run(Graph([*nodes], node), image, device, tile)
        run.prepare()
        return run.whole(node)

    dtype = torch.float32 if image.dtype in (torch.uint8, torch.uint16) else image.dtype
    return record(network, tuple(image.shape), dtype, device, value)


def why_not(network: Network, like: Tensor) -> tuple[str | None, bool]:
    """Return why a network cannot run in stages, if so, and whether it needs to, as it sees the whole picture.

    Args:
        network: maps pictures to pictures.
        like: a picture that it accepts, on its device.
    """
    try:
        graph = recorded(network, like, like.device, max(like.shape[-2:]))
    except Unsupported as reason:
        return str(reason), False
    return None, graph.sees_everything


class Staged:
    """How a network is run in stages: `Staged(device)(network, tile)` is the network that works in tiles.

    Args:
        device: of the network.
    """

    in_pieces = False  # the network is not called on pieces of the picture
    keeps = True  # it has the option `keep`

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(
        self,
        network: Network,
        tile: int,
        depth: torch.dtype | None = None,
        check: Callable[[Tensor], Tensor] | None = None,
        keep: Kept | None = None,
    ) -> Network:
        """Return the network that works in tiles; the result is that of `i2i.images.tiled`."""

        def whole(image: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                return assembled(partial(self.pieces, network, image, tile, keep), depth, check, keep)

        return whole

    def needs(self, tile: int) -> float:
        """Return how many bytes of memory the network takes."""
        return MAPS * CHANNELS * 4 * tile**2

    def pieces(
        self, network: Network, image: Tensor, tile: int, keep: Kept | None = None, first: int = 0
    ) -> Iterator[Piece]:
        """Yield the result from the row `first` on, or one before, piece by piece, row by row."""
        graph = recorded(network, image, self.device, tile)
        run = Run(graph, image, self.device, tile)
        run.prepare(None if keep is None else partial(keep.progress, "stage"))
        for box in run.tiles(graph.result):
            if box.bottom <= first:
                continue
            yield Piece(run.read(graph.result, box), box.top, box.left, graph.result.size)
