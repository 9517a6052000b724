"""How a part of a feature map is computed from parts of the maps before it: one rule for each kind of operation.

A rule gets the node, the part (a `Box`), and the `Run`, whose `read(node, box)` returns a part of an input. Pixels
beyond the picture are never asked for: where a convolution reaches beyond it, the rule pads, as PyTorch does there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from . import resample

if TYPE_CHECKING:
    from .record import Node
    from .run import Run

aten = torch.ops.aten


class Box(NamedTuple):
    """A part of a map: rows from `top` to `bottom` and columns from `left` to `right`, the last ones excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


Rule = Callable[["Node", Box, "Run"], Tensor]


NEAR: set[Rule] = set()  # the rules that need no margin: a part of the result is made of the same part of the inputs


def near(rule: Rule) -> Rule:
    """Mark a rule as one that needs no margin."""
    NEAR.add(rule)
    return rule


def beyond_edges(piece: Tensor, edges: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad a part of a map at its left, right, top and bottom edge, or cut off where an edge is negative."""
    if min(edges) < 0 < max(edges):  # not at once: what is cut off may be what is padded
        piece = F.pad(piece, [max(0, edge) for edge in edges], value=value)
        edges = [min(0, edge) for edge in edges]
    return F.pad(piece, list(edges), value=value) if any(edges) else piece


@near
def pointwise(node: Node, box: Box, run: Run) -> Tensor:
    """Run an operation whose every value depends on one of each input, whatever the other dimensions."""

    def part(leaf: Any) -> Any:
        return run.part(leaf, box, node.size) if isinstance(leaf, Tensor | type(node)) else leaf

    made: Tensor = node.func(*tree_map(part, node.args), **tree_map(part, node.kwargs))
    return made


@near
def reshaped(node: Node, box: Box, run: Run) -> Tensor:
    """Change the dimensions before height and width."""
    x = run.read(node.args[0], box)
    if node.func is aten.expand.default:
        return x.expand(*node.shape[:-2], *box.size)
    return x.reshape(*node.shape[:-2], *box.size)


@near
def looked_up(node: Node, box: Box, run: Run) -> Tensor:
    """Take values from a table, by maps of indices."""
    table, places = node.args
    return run.whole(table)[tuple(run.part(one, box, node.size) for one in places)]


@near
def chosen(node: Node, box: Box, run: Run) -> Tensor:
    """Take some of the places along a dimension before height and width."""
    x, dim, places = node.args
    return run.read(x, box).index_select(dim, run.whole(places))


@near
def contracted(node: Node, box: Box, run: Run) -> Tensor:
    """Sum products over the dimensions before height and width."""
    equation, *operands = node.args
    parts = [run.read(one, box) if getattr(one, "is_map", False) else run.whole(one) for one in operands]
    return torch.einsum(equation, *parts)


def keeps_maps(equation: str, *operands: Any) -> bool:
    """Return whether a sum of products treats all pixels alike: height and width are the last two letters."""
    terms, _, made = equation.replace(" ", "").partition("->")
    return (
        all(
            term[-2:] == made[-2:] if getattr(one, "is_map", False) else not set(made[-2:]) & set(term)
            for term, one in zip(terms.split(","), operands, strict=True)
        )
        and made[-2:].isalpha()
    )


def convolved(node: Node, box: Box, run: Run) -> Tensor:
    """Convolve, or convolve transposed."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
    values = [None if one is None else run.whole(one) for one in (weight, bias)]
    weight, bias = values
    assert weight is not None
    spans = zip(weight.shape[2:], stride, padding, dilation, x.size, (box[:2], box[2:]), strict=True)
    if not transposed:
        ranges = [
            (start * step - pad, (stop - 1) * step - pad + far * (kernel - 1) + 1)
            for kernel, step, pad, far, _, (start, stop) in spans
        ]
        piece = run.padded(x, ranges)
        if piece.device.type == "cpu" and weight.ndim == 4:
            return torch.conv2d(piece, weight, bias, tuple(stride), 0, tuple(dilation), groups)
        return F.conv2d(piece, weight, bias, stride, 0, dilation, groups)
    needed, cut = [], []
    for kernel, step, pad, far, size, (start, stop) in spans:
        reach = far * (kernel - 1)
        first = min(max(0, -(-(start + pad - reach) // step)), size - 1)
        last = max(min(size - 1, (stop - 1 + pad) // step), first)
        begin, end = first * step - pad, last * step - pad + reach + 1  # what these input pixels contribute to
        needed.append((first, last + 1))
        cut.append((begin - start, stop - end))
    (top, bottom), (left, right) = cut
    piece = run.read(x, Box(*needed[0], *needed[1]))
    made = F.conv_transpose2d(piece, weight, None, stride, 0, 0, groups, dilation)
    made = beyond_edges(made, (left, right, top, bottom))
    return made if bias is None else made + bias[:, None, None]


def padded(node: Node, box: Box, run: Run) -> Tensor:
    """Pad by reflection, replication or a constant."""
    x, pad, *rest = node.args
    if node.func is aten.constant_pad_nd.default:
        value = rest[0] if rest else 0
        ranges = [(box.top - (pad[2] if len(pad) > 2 else 0), 0), (box.left - pad[0], 0)]
        ranges = [(start, start + side) for (start, _), side in zip(ranges, box.size, strict=True)]
        piece = run.padded(x, ranges, value)
        return F.pad(piece, [0, 0, 0, 0, *pad[4:]], value=value) if len(pad) > 4 else piece
    # The rows and columns of the input, of which some are beyond its edges: those are copies of others.
    ranges = [(box.top - pad[2], box.bottom - pad[2]), (box.left - pad[0], box.right - pad[0])]
    inner = [(max(0, start), min(stop, side)) for (start, stop), side in zip(ranges, x.size, strict=True)]
    beyond = [edge for (start, stop), (first, last) in zip(ranges, inner) for edge in (first - start, stop - last)]
    reflects = node.func is aten.reflection_pad2d.default
    enough = all(last - first > max(beyond) * reflects for first, last in inner)
    if enough:
        piece = run.read(x, Box(*inner[0], *inner[1]))
        mode = "reflect" if reflects else "replicate"
        return F.pad(piece, (*beyond[2:], *beyond[:2]), mode=mode) if any(beyond) else piece
    rows, columns = (torch.arange(start, stop) for start, stop in ranges)
    if reflects:
        height, width = (side - 1 for side in x.size)
        rows, columns = height - (rows.abs() - height).abs(), width - (columns.abs() - width).abs()
    return run.gather(x, rows.clamp(0, x.size[0] - 1), columns.clamp(0, x.size[1] - 1))


def sliced(node: Node, box: Box, run: Run) -> Tensor:
    """Take a part of height or width."""
    x, dim, start, stop, *rest = (*node.args, None, None)[:5]
    size, step = x.shape[dim], (rest[0] if rest else None) or 1
    first = range(size)[slice(start, stop)].start
    places = [torch.arange(*box[:2]), torch.arange(*box[2:])]
    axis = dim % len(x.shape) - len(x.shape) + 2
    places[axis] = first + places[axis] * step
    return run.gather(x, *places)


def nearest(node: Node, box: Box, run: Run) -> Tensor:
    """Resize to the nearest pixel."""
    x, _, *scales = node.args
    half = 0.5 if "exact" in node.func._schema.name else 0.0
    places = []
    for old, new, scale, (start, stop) in zip(
        x.size, node.size, scales or (None, None), (box[:2], box[2:]), strict=True
    ):
        ratio = torch.tensor(1 / scale if scale else old / new, dtype=torch.float32)
        places.append(((torch.arange(start, stop) + half) * ratio).floor().long().clamp(max=old - 1))
    return run.gather(x, *places)


def resampled(node: Node, box: Box, run: Run) -> Tensor:
    """Resize by bilinear or bicubic interpolation, antialiased or not: weighted sums along both axes."""
    x, _, align, *scales = node.args
    name = node.func._schema.name
    ranges, weights = [], []
    for old, new, scale, (start, stop) in zip(
        x.size, node.size, scales or (None, None), (box[:2], box[2:]), strict=True
    ):
        first, matrix = resample.weights(name, old, new, scale, align, start, stop)
        ranges += [first, first + matrix.shape[1]]
        weights.append(matrix)
    piece = run.read(x, Box(*ranges))
    rows, columns = (matrix.to(piece) for matrix in weights)
    return rows @ (piece @ columns.T)


def shuffled(node: Node, box: Box, run: Run) -> Tensor:
    """Move channels into pixels."""
    x, factor = node.args
    outer = Box(box.top // factor, -(-box.bottom // factor), box.left // factor, -(-box.right // factor))
    made = F.pixel_shuffle(run.read(x, outer), factor)
    top, left = box.top - outer.top * factor, box.left - outer.left * factor
    return made[..., top : top + box.size[0], left : left + box.size[1]]


def unshuffled(node: Node, box: Box, run: Run) -> Tensor:
    """Move pixels into channels."""
    x, factor = node.args
    return F.pixel_unshuffle(run.read(x, Box(*(edge * factor for edge in box))), factor)


def pooled(node: Node, box: Box, run: Run) -> Tensor:
    """Take the maximum or the mean of windows."""
    x, kernel, stride, padding, *rest = node.args + ([], [0, 0])[len(node.args) - 2 :]
    kernel, stride, padding = (
        list(given) * 2 if len(given) == 1 else list(given) for given in (kernel, stride or kernel, padding)
    )
    largest = node.func is aten.max_pool2d_with_indices.default
    dilation = (list(rest[0]) * 2)[:2] if largest and rest else [1, 1]
    ranges = [
        (start * step - pad, (stop - 1) * step - pad + far * (side - 1) + 1)
        for side, step, pad, far, (start, stop) in zip(
            kernel, stride, padding, dilation, (box[:2], box[2:]), strict=True
        )
    ]
    if largest:
        return F.max_pool2d(run.padded(x, ranges, -torch.inf), kernel, stride, 0, dilation)
    made = F.avg_pool2d(run.padded(x, ranges), kernel, stride)
    counted = len(rest) < 2 or rest[1]
    if counted or not any(padding):
        return made
    inside = run.padded(x, ranges, ones=True)
    return made / F.avg_pool2d(inside, kernel, stride)


@near
def normed(node: Node, box: Box, run: Run) -> Tensor:
    """Normalise by the mean and the variance of the whole map, which the run has counted."""
    scale, shift = run.scales[node]
    return torch.addcmul(shift, run.read(node.args[0], box), scale)


@near
def affine(node: Node, box: Box, run: Run) -> Tensor:
    """Normalise by fixed statistics: batch norm in eval mode."""
    x = run.read(node.args[0], box)
    weight, bias, mean, variance = (None if one is None else run.whole(one) for one in node.args[1:5])
    return F.batch_norm(x, mean, variance, weight, bias, eps=node.args[7])
