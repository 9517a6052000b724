"""ncnn files of RRDBNet, Compact and SPAN: a graph without the names of the published layers.

All three run their convolutions one after another in the order of the file, so the weights are those of our network
in the order in which it holds them. The rest of the graph says which network it is, and is checked for what ours
would compute differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from i2i.networks import SPAN, SRVGG, RRDBNet

from .layouts import Found, root

NEAREST, BICUBIC, MULTIPLY = 1, 3, 2  # numbers of ncnn
COMMON = {"Input", "Split", "Convolution", "BinaryOp"}


def from_ncnn(tensors: Mapping[str, Tensor], layers: Sequence[Any]) -> Found | None:
    """Return which network a graph is, and its weights, or None if it is not one of the three."""
    kinds = {layer.kind for layer in layers}
    if kinds == COMMON | {"Concat", "Eltwise", "Interp"}:
        return rrdbnet(tensors, layers)
    if kinds == COMMON | {"PReLU", "PixelShuffle", "Interp"}:
        return srvgg(tensors, layers)
    if kinds - {"MemoryData"} == COMMON | {"Swish", "Sigmoid", "Concat", "PixelShuffle"}:
        return span(tensors, layers)
    return None


def rrdbnet(tensors: Mapping[str, Tensor], layers: Sequence[Any]) -> Found | None:
    """Recognise ESRGAN's generator, x2, x4 or x8, without pixel-unshuffle."""
    weights, resized = kernels(tensors), of_kind(layers, "Interp")
    blocks, rest = divmod(len(weights) - 4 - len(resized), 15)
    if rest or blocks < 1 or len(resized) not in (1, 2, 3):
        return None
    leaky = [layer.parameters.get(10) for layer in of_kind(layers, "Convolution") if layer.parameters.get(9)]
    scaled = {layer.parameters.get(1) for layer in of_kind(layers, "Eltwise")}
    if {layer.parameters.get(0) for layer in resized} != {NEAREST} or scaled != {(0.2, 1.0)}:
        return None
    if set(leaky) != {(0.2,)} or len(leaky) != 12 * blocks + len(resized) + 1:
        return None
    config = {"scale": 2 ** len(resized), "width": len(weights[0]), "blocks": blocks, "growth": len(weights[1])}
    return in_order("rrdbnet", config, RRDBNet, tensors)


def srvgg(tensors: Mapping[str, Tensor], layers: Sequence[Any]) -> Found | None:
    """Recognise Compact, whose result may be resized at the end."""
    weights, (first, *others) = kernels(tensors), of_kind(layers, "Interp")
    inner = root(len(weights[-1]))
    if (first.parameters.get(0), first.parameters.get(1)) != (NEAREST, inner) or len(others) > 1:
        return None
    config: dict[str, Any] = {"scale": inner, "width": len(weights[0]), "convs": len(weights) - 2}
    if others:
        scale = inner * others[0].parameters.get(1, 0)
        if others[0].parameters.get(0) != BICUBIC or scale not in (1, 2, 3, 4):
            return None
        config |= {"scale": int(scale), "inner": inner}
    return in_order("srvgg", config, SRVGG, tensors)


def span(tensors: Mapping[str, Tensor], layers: Sequence[Any]) -> Found | None:
    """Recognise SPAN with merged convolutions."""
    weights, constants = kernels(tensors), [name for name, value in tensors.items() if value.ndim == 3]
    scale, (blocks, rest) = root(len(weights[-1])), divmod(len(weights) - 4, 3)
    if rest or blocks < 1 or scale is None:
        return None
    config = {"scale": scale, "width": len(weights[0]), "blocks": blocks, "centred": bool(constants)}
    weights_only = {name: value for name, value in tensors.items() if name not in constants}
    if constants and not torch.allclose(tensors[constants[0]], SPAN(width=1, blocks=1).mean, atol=1e-5):
        return None
    factors = [one.parameters.get(2) for one in of_kind(layers, "BinaryOp") if one.parameters.get(0) == MULTIPLY]
    if constants and 255.0 not in factors:  # it is part of the first convolution
        first = next(iter(weights_only))
        weights_only[first] = weights_only[first] / 255
    return in_order("span", config, SPAN, weights_only)


def in_order(use: str, config: dict[str, Any], build: type[nn.Module], tensors: Mapping[str, Tensor]) -> Found | None:
    """Return the weights under the names of our network, or None if their shapes differ anywhere."""
    if config["scale"] not in (1, 2, 3, 4, 8):
        return None
    with torch.device("meta"):
        own = build(**config).state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in tensors.values()]:
        return None
    return Found({"use": use, **config}, dict(zip(own, tensors.values(), strict=True)))


def kernels(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the weights of the convolutions, in order."""
    return [value for value in tensors.values() if value.ndim == 4]


def of_kind(layers: Sequence[Any], kind: str) -> list[Any]:
    """Return the layers of one type, in order."""
    return [layer for layer in layers if layer.kind == kind]
