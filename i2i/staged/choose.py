"""Which rule an operation has: `rule_for(node)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import rules
from .rules import Rule

if TYPE_CHECKING:
    from .record import Node

aten = torch.ops.aten
CONSTANT = {aten.zeros_like, aten.ones_like, aten.empty_like, aten.full_like}
SAME = {aten.clone, aten._to_copy, aten.detach, aten.alias, aten.lift_fresh, aten.where, aten.index, aten.cat}
SAME |= {aten.stack, aten.select, aten.masked_fill, aten.to} | CONSTANT
ALONG = {aten.sum, aten.mean, aten.amax, aten.amin, aten.all, aten.any, aten.argmax, aten.argmin, aten._softmax}
ALONG |= {aten._log_softmax, aten.unsqueeze, aten.squeeze, aten.prod, aten.cumsum, aten.linalg_vector_norm, aten.var}
RULES: dict[Any, Rule] = {
    aten.convolution: rules.convolved,
    aten.reflection_pad2d: rules.padded,
    aten.replication_pad2d: rules.padded,
    aten.constant_pad_nd: rules.padded,
    aten.upsample_nearest2d: rules.nearest,
    aten._upsample_nearest_exact2d: rules.nearest,
    aten.upsample_bilinear2d: rules.resampled,
    aten._upsample_bilinear2d_aa: rules.resampled,
    aten.upsample_bicubic2d: rules.resampled,
    aten._upsample_bicubic2d_aa: rules.resampled,
    aten.pixel_shuffle: rules.shuffled,
    aten.pixel_unshuffle: rules.unshuffled,
    aten.max_pool2d_with_indices: rules.pooled,
    aten.avg_pool2d: rules.pooled,
    aten.native_group_norm: rules.normed,
}
BATCH_NORMS = {
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
    aten._native_batch_norm_legit,
    aten._batch_norm_no_update,
}


def rule_for(node: Node) -> Rule | None:
    """Return the rule of an operation; None if there is none, so it takes whole tensors."""
    packet, maps = getattr(node.func, "overloadpacket", None), [one for one in node.inputs if one.is_map]
    if not maps or len(node.shape) < 2:
        return None
    if node.func is torch.einsum:
        return rules.contracted if rules.keeps_maps(*node.args) else None
    first = maps[0]
    rank, keeps = len(first.shape), node.size == first.size
    if packet in BATCH_NORMS:
        training = node.args[5]
        return rules.normed if training else rules.affine
    if packet in RULES:
        plain = len(first.shape) == 4 and node.args[0] is first
        ceils = packet is aten.max_pool2d_with_indices or packet is aten.avg_pool2d
        return RULES[packet] if plain and not (ceils and ceiled(node)) else None
    if packet in (aten.slice, aten.select, aten.unsqueeze, aten.squeeze) or packet in ALONG:
        return along(node, packet, first, rank, keeps)
    if packet is aten.repeat:
        return rules.pointwise if keeps else None
    if packet in (aten.view, aten._unsafe_view, aten.expand, aten.reshape):
        return rules.reshaped if keeps else None
    broad = all(fits(one.shape, node.shape) for one in node.inputs)
    if packet is aten.cat or packet is aten.stack:
        dim = node.args[1] if len(node.args) > 1 else 0
        return rules.pointwise if dim % len(node.shape) < len(node.shape) - 2 and keeps else None
    if packet is aten.index_select:
        return rules.chosen if node.args[1] % rank < rank - 2 else None
    if packet is aten.index:
        plain = not isinstance(node.args[0], type(node)) and all(one is not None for one in node.args[1])
        return rules.looked_up if plain and all(fits(one.shape, node.shape) for one in node.args[1]) else None
    if torch.Tag.pointwise in node.func.tags or packet in SAME:
        return rules.pointwise if broad and any(one.size == node.size for one in maps) else None
    return None


def along(node: Node, packet: Any, first: Node, rank: int, keeps: bool) -> Rule | None:
    """Return the rule of an operation along some dimensions: not height and width, except to slice them."""
    if packet is aten.squeeze and len(node.args) < 2:
        return None
    default = 0 if packet is aten.slice else None
    place = 2 if packet is aten.linalg_vector_norm else 1  # its first argument is the order
    dims = node.args[place] if len(node.args) > place else default
    if dims is None or len(node.inputs) != 1:
        return None
    most = len(node.shape) if packet is aten.unsqueeze else rank
    places = [dim % most for dim in ([dims] if isinstance(dims, int) else dims)]
    if not places or max(places) >= most - 2:
        return rules.sliced if packet is aten.slice and len(node.args) > 2 else None
    return rules.pointwise if keeps else None


def fits(shape: tuple[int, ...], made: tuple[int, ...]) -> bool:
    """Return whether the height and width of an input are those of the result, or 1."""
    return all(side in (1, whole) for side, whole in zip(shape[-2:][::-1], made[::-1], strict=False))


def ceiled(node: Node) -> bool:
    """Return whether windows of a pooling are cut off at the end."""
    rest = node.args[4:]
    place = 1 if node.func is aten.max_pool2d_with_indices.default else 0
    return bool(len(rest) > place and rest[place]) or bool(
        node.func is aten.avg_pool2d.default and len(rest) > 2 and rest[2]
    )


def pieces(func: Any, args: Any, kwargs: Any, made: Any) -> list[tuple[Any, Any, Any, Tensor]] | None:
    """Return a split as slices, or an unbinding as selections; None for anything else."""
    packet = func.overloadpacket
    if packet in (aten.split, aten.split_with_sizes, aten.unsafe_split, aten.chunk):
        dim, start = args[2] if len(args) > 2 else kwargs.get("dim", 0), 0
        found: list[tuple[Any, Any, Any, Tensor]] = []
        for piece in made:
            stop = start + piece.shape[dim]
            found.append((aten.slice.Tensor, (args[0], dim, start, stop), {}, piece))
            start = stop
        return found
    if packet is aten.unbind:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        return [(aten.select.int, (args[0], dim, n), {}, piece) for n, piece in enumerate(made)]
    return None
