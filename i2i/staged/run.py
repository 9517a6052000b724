"""`Run` computes a recorded network tile by tile, stage by stage.

The map at which a stage ends (see `plan`) is computed in tiles and stored on the disk, and its statistics are counted
meanwhile. The next stage reads tiles of it, with as much margin as its convolutions need. So every value is computed
about once, from the same neighbours and the same statistics as in the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..files.scratch import release, trim
from ..images.levels import part_of
from . import rules
from .plan import TOTALS, Plan, of_means
from .record import Graph, Node
from .rules import Box, aten
from .store import Moments, Store


class Run:
    """One picture on its way through a network; see the module.

    Args:
        graph: the network, as recorded for the size of the picture.
        image: the picture, as floats, `levels` or class indices.
        device: of the network.
        tile: side of a tile, in pixels of a map with `CHANNELS` channels.
    """

    def __init__(self, graph: Graph, image: Tensor, device: torch.device, tile: int) -> None:
        self.graph, self.image, self.device = graph, image, device
        self.plan = Plan(graph, tile)
        self.stores: dict[Node, Store] = {}
        self.moments: dict[Node, Moments] = {}
        self.values: dict[Node, Tensor] = {}
        self.scales: dict[Node, tuple[Tensor, Tensor]] = {}
        self.around: dict[Node, list[tuple[Node, list[Node]]]] = {}
        self.made: list[tuple[Box, dict[Node, Tensor]]] = []  # what is being computed, the innermost last

    def prepare(self, tell: Callable[[int, int, int], None] | None = None) -> None:
        """Compute all that the result needs as a whole, stage by stage.

        Args:
            tell: called before each stage with the number of those that are done, 0, and the number of all.
        """
        stages = [node for node in self.graph.nodes if node in self.plan.stored | self.plan.counted]
        for node in self.graph.nodes:
            if tell is not None and node in stages:
                tell(stages.index(node), 0, len(stages))
            if not node.is_map:
                self.values[node] = self._value(node)
            elif node in self.plan.stored or node in self.plan.counted:
                self._stage(node)
            if node.rule is rules.normed:
                self.scales[node] = scale_and_shift(node, self.moments[node.args[0]], self)
            if node is not self.graph.result:  # which is computed last, part by part
                for other in [other for other in self.stores if self.plan.last.get(other) is node]:
                    del self.stores[other]

    def tiles(self, node: Node) -> Iterator[Box]:
        """Yield the tiles of a map, row by row."""
        side, (height, width) = self.plan.side[node], node.size
        for top in range(0, height, side):
            for left in range(0, width, side):
                yield Box(top, min(top + side, height), left, min(left + side, width))

    def _stage(self, node: Node) -> None:
        """Compute a map: store it, count it, or both."""
        store = Store(node.shape, node.dtype) if node in self.plan.stored else None
        moments = Moments() if node in self.plan.counted else None
        for box in self.tiles(node):
            made = self._made(node, box)
            if store is not None:
                store.write(box, made)
            if moments is not None:
                moments.add(made)
            release()
        if store is not None:
            self.stores[node] = store
        if moments is not None:
            self.moments[node] = moments
        trim()  # each stage has tiles of another size, which would not fit into what the last one has freed

    def _value(self, node: Node) -> Tensor:
        """Compute a tensor that is no map."""
        if of_means(node) and node.args[0] in self.moments:
            moments = self.moments[node.args[0]]
            mean = moments.mean if node.func is aten.mean.dim else moments.mean * moments.count
            values: Tensor = node.func(
                mean[..., None, None].to(self.device, node.dtype), *node.args[1:], **node.kwargs
            )
            return values
        if node.func in TOTALS and node.inputs[0].is_map:
            parts = (node.func(self.read(node.inputs[0], box)) for box in self.tiles(node.inputs[0]))
            total = next(parts)
            for part in parts:
                total = TOTALS[node.func](total, part)
            return total
        whole = lambda leaf: self.whole(leaf) if isinstance(leaf, Node) else leaf  # noqa: E731
        made = node.func(*tree_map(whole, node.args), **tree_map(whole, node.kwargs))
        return made if isinstance(made, Tensor) else made[0]

    def whole(self, one: Node | Tensor) -> Tensor:
        """Return a whole tensor."""
        if isinstance(one, Tensor):
            return one
        if one in self.values:
            return self.values[one]
        return self.read(one, Box(0, one.size[0], 0, one.size[1]))

    def read(self, node: Node, box: Box) -> Tensor:
        """Return a part of a map, [..., h, w]."""
        if node in self.values:
            return cropped(self.values[node], box)
        if node.func is None:
            return part_of(self.image, *box, self.device)
        if self.made and self.made[-1][0] == box and node in self.made[-1][1]:
            return self.made[-1][1][node]
        if node in self.stores:
            return self.stores[node].read(box).to(self.device)
        return self._made(node, box)

    def _made(self, node: Node, box: Box) -> Tensor:
        """Compute a part of a map, and before it the same part of the maps that it is made of without a margin.

        They are computed in order and once each, however often they are used, and forgotten after the last use.
        """
        values: dict[Node, Tensor] = {}
        for one, done in self._around(node):
            if one.rule is None or one in self.stores or (one.rule not in rules.NEAR and one is not node):
                values[one] = self.read(one, box)
            else:
                self.made.append((box, values))
                try:
                    values[one] = one.rule(one, box, self)
                finally:
                    self.made.pop()
            for other in done:
                del values[other]
        return values[node]

    def _around(self, node: Node) -> list[tuple[Node, list[Node]]]:
        """Return the maps that a map is made of without a margin, in order; each with those it is the last to use."""
        if node not in self.around:
            found, todo = {node}, [node]
            while todo:
                one = todo.pop()
                if one is node or (one.rule in rules.NEAR and one not in self.stores):
                    inputs = one.inputs if one.rule in rules.NEAR else []
                    new = [
                        other for other in inputs if other.is_map and other.size == node.size and other not in found
                    ]
                    found |= {*new}
                    todo += new
            order = [one for one in self.graph.nodes if one in found]
            last = {other: one for one in order if one.rule in rules.NEAR for other in one.inputs if other in found}
            self.around[node] = [(one, [other for other, user in last.items() if user is one]) for one in order]
        return self.around[node]

    def part(self, one: Node | Tensor, box: Box, size: tuple[int, int]) -> Tensor:
        """Return the part of an argument that belongs to a part of a result; sides of 1 are repeated.

        Args:
            one: the argument.
            box: the part of the result.
            size: height and width of the result.
        """
        if isinstance(one, Node) and one.is_map:
            sides = [(0, 1) if side == 1 else span for side, span in zip(one.size, (box[:2], box[2:]), strict=True)]
            return self.read(one, Box(*sides[0], *sides[1]))
        value = self.whole(one)
        if value.ndim > 1 and value.shape[-2] == size[0] > 1:
            value = value[..., box.top : box.bottom, :]
        if value.ndim > 0 and value.shape[-1] == size[1] > 1:
            value = value[..., box.left : box.right]
        return value

    def padded(self, node: Node, ranges: list[tuple[int, int]], value: float = 0.0, ones: bool = False) -> Tensor:
        """Return rows and columns of a map, which may go beyond it: what is there has this value.

        Args:
            node: the map.
            ranges: first and last (excluded) row, and column.
            value: beyond the map.
            ones: return ones in place of the values of the map.
        """
        inner = [
            (min(max(0, start), side - 1), max(min(stop, side), min(max(0, start), side - 1) + 1))
            for (start, stop), side in zip(ranges, node.size, strict=True)
        ]
        box = Box(*inner[0], *inner[1])
        piece = self.read(node, box)
        piece = torch.ones_like(piece) if ones else piece
        (top, bottom), (left, right) = ranges
        outer = (box.left - left, right - box.right, box.top - top, bottom - box.bottom)
        return rules.beyond_edges(piece, outer, value)

    def gather(self, node: Node, rows: Tensor, columns: Tensor) -> Tensor:
        """Return some rows and columns of a map, in any order."""
        box = Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        piece = self.read(node, box)
        for dim, places, first in ((-2, rows, box.top), (-1, columns, box.left)):
            if len(places) != piece.shape[dim] or not torch.equal(places, torch.arange(first, first + len(places))):
                piece = piece.index_select(dim, (places - first).to(piece.device))
        return piece


def cropped(value: Tensor, box: Box) -> Tensor:
    """Return a part of a whole tensor."""
    return value[..., box.top : box.bottom, box.left : box.right]


def scale_and_shift(node: Node, moments: Moments, run: Run) -> tuple[Tensor, Tensor]:
    """Return what a norm multiplies by and adds, [N, C, 1, 1]."""
    mean, variance = moments.mean, moments.variance  # [N, C]
    if node.func is aten.native_group_norm.default:
        weight, bias, groups, eps = (*node.args[1:3], *node.args[6:8])
        mean, variance = (each.unflatten(1, (groups, -1)) for each in (mean, variance))
        axis = 2
    else:
        weight, bias, eps = (*node.args[1:3], node.args[-1])
        axis = 0
    centre = mean.mean(axis, keepdim=True)
    variance = (variance + (mean - centre) ** 2).mean(axis, keepdim=True)
    scale = (variance + eps).rsqrt().expand(mean.shape).reshape(moments.mean.shape)
    shift = -centre.expand(mean.shape).reshape(scale.shape) * scale
    if weight is not None:
        scale, shift = scale * run.whole(weight).double().cpu(), shift * run.whole(weight).double().cpu()
    if bias is not None:
        shift = shift + run.whole(bias).double().cpu()
    return tuple(each[..., None, None].to(run.device, node.dtype) for each in (scale, shift))
