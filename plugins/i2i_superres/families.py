"""The published layouts of super-resolution networks: names and shapes of weights -> our network and its weights.

A family takes tensors by name and returns None unless every one of them belongs to it, so that a relative with
further layers is not mistaken for it. nearest.py says what is wrong with a file that is almost of one.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from i2i.networks import merge_branches

from .layouts import Family, Found, Tensors, count, root, shape
from .residual import (
    MSRRESNET_RULES,
    edsr,
    edsr_rules,
    in_conv_blocks,
    in_numbered_blocks,
    in_trunk,
    msrresnet,
    srresnet,
)

# ---- ESRGAN


def rrdbnet_rules(tensors: Tensors) -> dict[str, str]:
    """Return the rules of the three key generations; the old one numbers the layers behind the blocks."""
    ends = sorted(
        {int(found[1]) for name in tensors if (found := re.match(r"model\.(\d+)\.(?:weight|bias)$", name))} - {0}
    )
    block = r"(?:model\.1\.sub|RRDB_trunk|body)\.(\d+)\.(?:RDB|rdb)"
    blocks = count(tensors, rf"{block}1\.")
    rules = {rf"{block}(\d)\.conv(\d)(?:\.0)?": "body.{0}.body.{1-1}.convs.{2-1}"}
    if len(ends) >= 2:
        rules |= {r"model\.0": "head", rf"model\.1\.sub\.{blocks}": f"body.{blocks}"}
        rules |= {rf"model\.{number}": f"ups.{place}" for place, number in enumerate(ends[:-2])}
        rules |= {rf"model\.{ends[-2]}": "tail.0", rf"model\.{ends[-1]}": "tail.2"}
    else:
        rules |= {"conv_first": "head", "trunk_conv|conv_body": f"body.{blocks}"}
        rules |= {r"(?:upconv|conv_up)(\d)": "ups.{0-1}", "HRconv|conv_hr": "tail.0", "conv_last": "tail.2"}
    return rules if blocks else {}


def rrdbnet(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """ESRGAN, also with pixel-unshuffle (12 or 48 input channels)."""
    width, channels = shape(weights, "head")[:2]
    unshuffle = math.isqrt(channels // 3)
    scale = 2 ** count(weights, r"ups\.(\d+)\.") // max(unshuffle, 1)
    if unshuffle not in (1, 2, 4) or scale not in (1, 2, 4, 8) or shape(weights, "tail.2")[0] != 3:
        return None
    growth, blocks = shape(weights, "body.0.body.0.convs.0")[0], count(weights, r"body\.(\d+)\.body\.")
    generator = {"use": "rrdbnet", "scale": scale, "width": width, "blocks": blocks, "growth": growth}
    return Found(generator | {"unshuffle": unshuffle}, weights)


# ---- Compact and SPAN


def srvgg(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """Compact (SRVGGNetCompact) with PReLU: body.0, body.1 ..., of which every second is a PReLU."""
    last = count(tensors, r"body\.(\d+)\.weight$") - 1
    if (
        last < 2
        or last % 2
        or any(weights[f"body.{n}.weight"].ndim != 1 for n in range(1, last, 2) if f"body.{n}.weight" in weights)
    ):
        return None
    (width, channels, *_), scale = shape(weights, "body.0"), root(shape(weights, f"body.{last}")[0])
    if channels != 3 or scale not in (1, 2, 3, 4, 8):
        return None
    return Found({"use": "srvgg", "scale": scale, "width": width, "convs": last // 2 - 1}, weights)


SPAN_RULES = {
    r"conv_1\.eval_conv": "head",
    r"block_(\d+)\.c(\d)_r\.eval_conv": "body.{0-1}.convs.{1-1}",
    r"conv_2\.eval_conv": "last",
    "conv_cat": "join",
    r"upsampler\.0": "tail.0",
}


def merged(tensors: Tensors) -> Tensors:
    """Return the tensors of SPAN, where branches are replaced by the convolution that they amount to.

    A layer whose branches do not fit together is left out.
    """
    found: dict[str, Tensor] = {}
    for layer in [name.removesuffix(".sk.weight") for name in tensors if name.endswith(".sk.weight")]:
        branches = branches_of(tensors, layer)
        if branches is None:
            return {name: value for name, value in tensors.items() if not name.startswith(f"{layer}.")}
        found[f"{layer}.eval_conv.weight"], found[f"{layer}.eval_conv.bias"] = merge_branches(branches)
    return {**tensors, **found}


def span(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """SPAN, in training form (branches) or merged ("eval_conv")."""
    blocks = count(weights, r"body\.(\d+)\.")
    (width, channels, *_), scale = shape(weights, "head"), root(shape(weights, "tail.0")[0])
    if channels != 3 or not blocks or scale not in (1, 2, 3, 4):
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
    biases = [tensors[f"{key}.bias"].shape[0] for key in keys.values() if tensors[f"{key}.bias"].ndim == 1]
    if [shape(tensors, key) for key in keys.values()] != kernels or biases != [kernel[0] for kernel in kernels]:
        return None
    return {part: (tensors[f"{key}.weight"], tensors[f"{key}.bias"]) for part, key in keys.items()}


# ---- RFDN, RLFN, CARN-M

ESA = {"conv1": "shrink", "conv_f": "skip", "conv2": "stride", "conv4": "grow"}
INNER = {"conv_max": 0, "conv3": 1, "conv3_": 2}
RFDN_RULES = {
    "fea_conv": "head",
    r"B(\d+)\.c([123])_d": "body.{0-1}.aside.{1-1}",
    r"B(\d+)\.c([123])_r": "body.{0-1}.on.{1-1}",
    r"B(\d+)\.c4": "body.{0-1}.last",
    r"B(\d+)\.c5": "body.{0-1}.join",
    **{rf"B(\d+)\.esa\.{old}": f"body.{{0-1}}.attention.{new}" for old, new in ESA.items()},
    **{rf"B(\d+)\.esa\.{old}": f"body.{{0-1}}.attention.convs.{new}" for old, new in INNER.items()},
    r"c\.0": "join",
    "LR_conv": "last",
    r"upsampler\.0": "tail.0",
}
RLFN_RULES = {
    "conv_1": "head",
    r"block_(\d+)\.c([123])_r": "body.{0-1}.convs.{1-1}",
    r"block_(\d+)\.c5": "body.{0-1}.join",
    **{rf"block_(\d+)\.esa\.{old}": f"body.{{0-1}}.attention.{new}" for old, new in ESA.items()},
    r"block_(\d+)\.esa\.conv3": "body.{0-1}.attention.convs.0",
    "conv_2": "last",
    r"upsampler\.0": "tail.0",
}


def rfdn(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """RFDN as published for AIM 2020."""
    return small("rfdn", weights)


def rlfn(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """RLFN as published for NTIRE 2022."""
    found = small("rlfn", weights)
    if found is not None:
        inner, attention = (shape(found.weights, f"body.0.{layer}")[0] for layer in ("convs.0", "attention.shrink"))
        found.generator.update(inner=inner, attention=attention)
    return found


def small(use: str, weights: dict[str, Tensor]) -> Found | None:
    """Return RFDN or RLFN with scale, width and number of blocks."""
    blocks = count(weights, r"body\.(\d+)\.")
    if not blocks:
        return None
    (width, channels, *_), scale = shape(weights, "head"), root(shape(weights, "tail.0")[0])
    if channels != 3 or scale not in (2, 3, 4):
        return None
    return Found({"use": use, "scale": scale, "width": width, "blocks": blocks}, weights)


CARN_RULES = {
    "entry": "head",
    r"b(\d)\.b1\.body\.(\d)": "blocks.{0-1}.residual.{1}",
    r"b(\d)\.c(\d)\.body\.0": "blocks.{0-1}.cascade.joins.{1-1}",
    r"c(\d)\.body\.0": "cascade.joins.{0-1}",
    r"upsample\.up(\d)\.body\.(\d)": "ups.{0}.{1}",
    r"sub_mean\.shifter": "shift.sub",
    r"add_mean\.shifter": "shift.add",
    "exit": "tail",
}


def carn_m(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """CARN-M with shared residual blocks, for several scales at once, of which 4 is used if it is among them."""
    width, inner = shape(weights, "blocks.0.residual.0")[:2]
    scales = sorted({int(name.split(".")[1]) for name in weights if name.startswith("ups.")})
    low, high = (weights.pop(f"shift.{way}.bias", None) for way in ("sub", "add"))
    turns = [weights.pop(f"shift.{way}.weight", None) for way in ("sub", "add")]
    if low is None or high is None or low.shape != (3,) or not torch.equal(low, -high) or not inner or not scales:
        return None
    if any(turn is None or not torch.equal(turn, torch.eye(3)[:, :, None, None]) for turn in turns):
        return None
    weights["mean"] = high[:, None, None]
    generator = {"use": "carn_m", "scale": scales[-1], "scales": scales, "width": width, "groups": width // inner}
    return Found(generator, weights) if {*scales} <= {2, 3, 4} else None


FAMILIES = (
    Family("ESRGAN", rrdbnet_rules, rrdbnet),
    Family("Compact", lambda _: {r"body\.(\d+)": "body.{0}"}, srvgg),
    Family("SPAN", lambda _: SPAN_RULES, span, r".+\.(?:sk|conv\.[012])\.(?:weight|bias)|no_norm", merged),
    Family("SRResNet", in_trunk, srresnet),
    Family("SRResNet", in_numbered_blocks, srresnet),
    Family("SRResNet", in_conv_blocks, srresnet),
    Family("MSRResNet", lambda _: MSRRESNET_RULES, msrresnet),
    Family("EDSR", edsr_rules, edsr, "mean"),
    Family("RFDN", lambda _: RFDN_RULES, rfdn),
    Family("RLFN", lambda _: RLFN_RULES, rlfn),
    Family("CARN-M", lambda _: CARN_RULES, carn_m),
)
