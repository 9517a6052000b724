"""The published layouts of super-resolution networks: names and shapes of weights -> our network and its weights.

A family takes tensors by name and returns None unless every one of them belongs to it, so that a relative with
further layers is not mistaken for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from i2i.networks import merge_branches

Tensors = Mapping[str, Tensor]


class Found(NamedTuple):
    """A network as a config names it, and its weights under our names."""

    generator: dict[str, Any]
    weights: dict[str, Tensor]


def moved(tensors: Tensors, rules: Mapping[str, str], ignored: str = "-") -> dict[str, Tensor] | None:
    """Return tensors by their new names, or None if a name matches no rule, or two become one.

    Args:
        tensors: name -> weights.
        rules: a regular expression for the whole name of a layer -> its new name, where {0} is the first group and
            {0-1} that minus 1.
        ignored: a regular expression for the names of tensors to leave out.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if re.fullmatch(ignored, name):
            continue
        layer, _, leaf = name.rpartition(".")
        matches = ((re.fullmatch(rule, layer), new) for rule, new in rules.items())
        new = next((filled(new, match.groups()) for match, new in matches if match), None)
        if new is None or f"{new}.{leaf}" in found:
            return None
        found[f"{new}.{leaf}"] = value
    return found


def filled(new: str, groups: tuple[str, ...]) -> str:
    """Return a name with {0}, {1} ... replaced by groups, and {0-1} by one less."""
    return re.sub(r"\{(\d)(-1)?\}", lambda m: str(int(groups[int(m[1])]) - bool(m[2])), new)


def count(tensors: Tensors, pattern: str) -> int:
    """Return 1 + the greatest number that the group of `pattern` finds at the start of a name; 0 if none does."""
    most = max((int(found[1]) + 1 for name in tensors if (found := re.match(pattern, name))), default=0)
    return most if most <= len(tensors) else 0


def root(channels: int) -> int | None:
    """Return the scale of a sub-pixel convolution to 3 channels, or None."""
    scale = math.isqrt(channels // 3)
    return scale if 3 * scale**2 == channels and scale > 0 else None


def shape(tensors: Tensors, layer: str) -> tuple[int, ...]:
    """Return the shape of a convolution's weights, [out, in, height, width]; zeros if there are none."""
    found = tensors.get(f"{layer}.weight")
    return (0, 0, 0, 0) if found is None or found.ndim != 4 else tuple(found.shape)


def rrdbnet(tensors: Tensors) -> Found | None:
    """ESRGAN's generator in its three key generations, also with pixel-unshuffle (12 or 48 input channels)."""
    ends = sorted({int(found[1]) for name in tensors if (found := re.match(r"model\.(\d+)\.weight$", name))} - {0})
    ups = [f"model\\.{number}" for number in ends[:-2]]
    block = r"(?:model\.1\.sub|RRDB_trunk|body)\.(\d+)\.(?:RDB|rdb)"
    blocks = count(tensors, rf"{block}1\.")
    rules = {
        r"model\.0|conv_first": "head",
        rf"{block}(\d)\.conv(\d)(?:\.0)?": "body.{0}.body.{1-1}.convs.{2-1}",
        rf"model\.1\.sub\.{blocks}|trunk_conv|conv_body": f"body.{blocks}",
        r"(?:upconv|conv_up)(\d)": "ups.{0-1}",
        **{layer: f"ups.{number}" for number, layer in enumerate(ups)},
        r"HRconv|conv_hr": "tail.0",
        "conv_last": "tail.2",
    }
    if len(ends) >= 2:
        rules |= {f"model\\.{ends[-2]}": "tail.0", f"model\\.{ends[-1]}": "tail.2"}
    weights = moved(tensors, rules) if blocks else None
    if weights is None:
        return None
    width, channels = shape(weights, "head")[:2]
    unshuffle = math.isqrt(channels // 3)
    scale = 2 ** count(weights, r"ups\.(\d+)\.") // max(unshuffle, 1)
    if unshuffle not in (1, 2, 4) or scale not in (1, 2, 4, 8) or shape(weights, "tail.2")[0] != 3:
        return None
    growth = shape(weights, "body.0.body.0.convs.0")[0]
    generator = {"use": "rrdbnet", "scale": scale, "width": width, "blocks": blocks, "growth": growth}
    return Found(generator | {"unshuffle": unshuffle}, weights)


def srvgg(tensors: Tensors) -> Found | None:
    """Compact (SRVGGNetCompact) with PReLU: body.0, body.1 ..., of which every second is a PReLU."""
    last = count(tensors, r"body\.(\d+)\.weight$") - 1
    weights = moved(tensors, {r"body\.(\d+)": "body.{0}"})
    if (
        weights is None
        or last < 2
        or last % 2
        or any(weights[f"body.{n}.weight"].ndim != 1 for n in range(1, last, 2) if f"body.{n}.weight" in weights)
    ):
        return None
    (width, channels, *_), scale = shape(weights, "body.0"), root(shape(weights, f"body.{last}")[0])
    if channels != 3 or scale not in (1, 2, 3, 4, 8):
        return None
    return Found({"use": "srvgg", "scale": scale, "width": width, "convs": last // 2 - 1}, weights)


def span(tensors: Tensors) -> Found | None:
    """SPAN, in training form (branches, which are merged) or merged ("eval_conv")."""
    merged: dict[str, Tensor] = {}
    for layer in [name.removesuffix(".sk.weight") for name in tensors if name.endswith(".sk.weight")]:
        branches = branches_of(tensors, layer)
        if branches is None:
            return None
        merged[f"{layer}.eval_conv.weight"], merged[f"{layer}.eval_conv.bias"] = merge_branches(branches)
    rules = {
        r"conv_1\.eval_conv": "head",
        r"block_(\d+)\.c(\d)_r\.eval_conv": "body.{0-1}.convs.{1-1}",
        r"conv_2\.eval_conv": "last",
        "conv_cat": "join",
        r"upsampler\.0": "tail.0",
    }
    weights = moved({**tensors, **merged}, rules, ignored=r".+\.(?:sk|conv\.[012])\.(?:weight|bias)|no_norm")
    blocks = count(weights or {}, r"body\.(\d+)\.")
    if weights is None or not blocks:
        return None
    (width, channels, *_), scale = shape(weights, "head"), root(shape(weights, "tail.0")[0])
    if channels != 3 or scale not in (1, 2, 3, 4):
        return None
    generator = {"use": "span", "scale": scale, "width": width, "blocks": blocks, "centred": "no_norm" not in tensors}
    return Found(generator, weights)


def branches_of(tensors: Tensors, layer: str) -> dict[str, tuple[Tensor, Tensor]] | None:
    """Return weight and bias of the four branches of a layer of SPAN, or None if they do not fit together."""
    names = {"skip": "sk", "first": "conv.0", "middle": "conv.1", "last": "conv.2"}
    keys = {part: f"{layer}.{name}" for part, name in names.items()}
    if any(f"{key}.{leaf}" not in tensors for key in keys.values() for leaf in ("weight", "bias")):
        return None
    (out, channels, *_), (inner, *_), (wide, *_) = (
        shape(tensors, keys[part]) for part in ("skip", "first", "middle")
    )
    kernels = [(out, channels, 1, 1), (inner, channels, 1, 1), (wide, inner, 3, 3), (out, wide, 1, 1)]
    if [shape(tensors, key) for key in keys.values()] != kernels:
        return None
    return {part: (tensors[f"{key}.weight"], tensors[f"{key}.bias"]) for part, key in keys.items()}


def msrresnet(tensors: Tensors) -> Found | None:
    """MSRResNet as in BasicSR, and under its older names."""
    rules = {
        "conv_first": "head.0",
        r"(?:body|recon_trunk)\.(\d+)\.conv1": "body.{0}.body.0",
        r"(?:body|recon_trunk)\.(\d+)\.conv2": "body.{0}.body.2",
        "upconv1": "up.0",
        "upconv2": "up.3",
        "conv_hr|HRconv": "tail.0",
        "conv_last": "tail.2",
    }
    weights = moved(tensors, rules)
    return residual("msrresnet", weights, "head.0", r"body\.(\d+)\.", "up.3")


def edsr(tensors: Tensors) -> Found | None:
    """EDSR as in BasicSR; networks of 256 channels and more have residuals times 0.1, as in the paper."""
    blocks = count(tensors, r"body\.(\d+)\.conv1\.")
    rules = {
        "conv_first": "head",
        r"body\.(\d+)\.conv1": "body.body.{0}.body.0",
        r"body\.(\d+)\.conv2": "body.body.{0}.body.2",
        "conv_after_body": f"body.body.{blocks}",
        r"upsample\.0": "up.0",
        r"upsample\.2": "up.2",
        "conv_last": "tail",
    }
    weights = moved(tensors, rules, ignored="mean")
    found = residual("edsr", weights, "head", r"body\.body\.(\d+)\.body\.", "up.2")
    if found is not None and found.generator["width"] >= 256:
        found.generator["residual_scale"] = 0.1
    return found


def residual(use: str, weights: Tensors | None, head: str, block: str, second: str) -> Found | None:
    """Return MSRResNet or EDSR: scale 3 has nine times the channels before its only upsampling, 4 a second one."""
    blocks = count(weights or {}, block)
    if weights is None or not blocks or shape(weights, head)[1] != 3 or shape(weights, "up.0")[0] == 0:
        return None
    width = shape(weights, head)[0]
    step = math.isqrt(shape(weights, "up.0")[0] // width)
    scale = 4 if f"{second}.weight" in weights else step
    if scale not in (2, 3, 4):
        return None
    return Found({"use": use, "scale": scale, "width": width, "blocks": blocks}, dict(weights))


ESA = {"conv1": "shrink", "conv_f": "skip", "conv2": "stride", "conv4": "grow"}


def rfdn(tensors: Tensors) -> Found | None:
    """RFDN as published for AIM 2020."""
    esa = {rf"B(\d+)\.esa\.{old}": f"body.{{0-1}}.attention.{new}" for old, new in ESA.items()}
    inner = {"conv_max": 0, "conv3": 1, "conv3_": 2}
    rules = {
        "fea_conv": "head",
        r"B(\d+)\.c([123])_d": "body.{0-1}.aside.{1-1}",
        r"B(\d+)\.c([123])_r": "body.{0-1}.on.{1-1}",
        r"B(\d+)\.c4": "body.{0-1}.last",
        r"B(\d+)\.c5": "body.{0-1}.join",
        **esa,
        **{rf"B(\d+)\.esa\.{old}": f"body.{{0-1}}.attention.convs.{new}" for old, new in inner.items()},
        r"c\.0": "join",
        "LR_conv": "last",
        r"upsampler\.0": "tail.0",
    }
    return small("rfdn", moved(tensors, rules))


def rlfn(tensors: Tensors) -> Found | None:
    """RLFN as published for NTIRE 2022."""
    esa = {rf"block_(\d+)\.esa\.{old}": f"body.{{0-1}}.attention.{new}" for old, new in ESA.items()}
    rules = {
        "conv_1": "head",
        r"block_(\d+)\.c([123])_r": "body.{0-1}.convs.{1-1}",
        r"block_(\d+)\.c5": "body.{0-1}.join",
        **esa,
        r"block_(\d+)\.esa\.conv3": "body.{0-1}.attention.convs.0",
        "conv_2": "last",
        r"upsampler\.0": "tail.0",
    }
    found = small("rlfn", moved(tensors, rules))
    if found is not None:
        inner, attention = (shape(found.weights, f"body.0.{layer}")[0] for layer in ("convs.0", "attention.shrink"))
        found.generator.update(inner=inner, attention=attention)
    return found


def small(use: str, weights: dict[str, Tensor] | None) -> Found | None:
    """Return RFDN or RLFN with scale, width and number of blocks."""
    blocks = count(weights or {}, r"body\.(\d+)\.")
    if weights is None or not blocks:
        return None
    (width, channels, *_), scale = shape(weights, "head"), root(shape(weights, "tail.0")[0])
    if channels != 3 or scale not in (2, 3, 4):
        return None
    return Found({"use": use, "scale": scale, "width": width, "blocks": blocks}, weights)


FAMILIES: tuple[Callable[[Tensors], Found | None], ...] = (rrdbnet, srvgg, span, msrresnet, edsr, rfdn, rlfn)
