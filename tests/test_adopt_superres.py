"""Someone else's super-resolution weights: each published layout, written out by hand, gives equal outputs."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from i2i_superres import SuperResolution
from i2i_superres.adopt import CONVERTS, adopted, drawn
from torch import Tensor

import i2i
from i2i import api, checkpoint, config
from i2i.errors import ConfigError, WeightsError
from i2i.networks import CARNM, RFDN, RLFN, SPAN, SRVGG, RRDBNet, merge_branches, merged_state
from i2i.networks.span import Branched
from i2i.plugins import registry
from i2i.testing import check_network, check_task

Weights = dict[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]


def random_weights(layers: Iterator[tuple[str, int, int, int]], gain: float = 0.5) -> Weights:
    """Return random weights of convolutions, given as (name, out, in, kernel)."""
    source = torch.Generator().manual_seed(0)
    found: Weights = {}
    for name, out, channels, kernel in layers:
        scale = gain / math.sqrt(channels * kernel**2)
        found[f"{name}.weight"] = torch.randn(out, channels, kernel, kernel, generator=source) * scale
        found[f"{name}.bias"] = torch.randn(out, generator=source) * 0.05
    return found


def conv(w: Weights, name: str, x: Tensor, **options: Any) -> Tensor:
    """Apply a convolution that keeps height and width."""
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w[f"{name}.bias"], **({"padding": weight.shape[2] // 2} | options))


# ---- ESRGAN


class Generation:
    """The names of ESRGAN's layers in one generation of its code."""

    def __init__(self, kind: str, blocks: int, ups: int) -> None:
        dense = {"old": "model.1.sub.{}.RDB{}.conv{}.0", "middle": "RRDB_trunk.{}.RDB{}.conv{}"}
        self.dense = dense.get(kind, "body.{}.rdb{}.conv{}").format
        if kind == "old":  # nearest-neighbour upsampling, convolution and activation are three entries of a sequence
            self.head, self.trunk = "model.0", f"model.1.sub.{blocks}"
            self.ups = [f"model.{3 + 3 * n}" for n in range(ups)]
            self.high, self.last = f"model.{2 + 3 * ups}", f"model.{4 + 3 * ups}"
        else:
            new = kind == "new"
            self.head, self.trunk = "conv_first", "conv_body" if new else "trunk_conv"
            self.ups = [f"conv_up{n + 1}" if new else f"upconv{n + 1}" for n in range(ups)]
            self.high, self.last = "conv_hr" if new else "HRconv", "conv_last"


def esrgan(kind: str, ups: int, unshuffle: int) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    blocks, width, growth = 2, 6, 4
    name = Generation(kind, blocks, ups)

    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield name.head, width, 3 * unshuffle**2, 3
        for n in range(blocks):
            for r in (1, 2, 3):
                for k in range(1, 6):
                    yield name.dense(n, r, k), growth if k < 5 else width, width + (k - 1) * growth, 3
        for layer in (name.trunk, *name.ups, name.high):
            yield layer, width, width, 3
        yield name.last, 3, width, 3

    w = random_weights(layers(), 1.0)

    def reference(x: Tensor) -> Tensor:
        s = unshuffle
        x = torch.stack([x[:, c, i::s, j::s] for c in range(3) for i in range(s) for j in range(s)], 1)
        h = head = conv(w, name.head, x)
        for n in range(blocks):
            start = h
            for r in (1, 2, 3):
                maps = [h]
                for k in range(1, 5):
                    maps.append(F.leaky_relu(conv(w, name.dense(n, r, k), torch.cat(maps, 1)), 0.2))
                h = h + 0.2 * conv(w, name.dense(n, r, 5), torch.cat(maps, 1))
            h = start + 0.2 * h
        h = head + conv(w, name.trunk, h)
        for up in name.ups:
            h = F.leaky_relu(conv(w, up, h.repeat_interleave(2, 2).repeat_interleave(2, 3)), 0.2)
        return conv(w, name.last, F.leaky_relu(conv(w, name.high, h), 0.2))

    return w, reference


# ---- Compact


def compact(scale: int) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    shapes = [(8, 3), (8, 8), (8, 8), (3 * scale**2, 8)]
    w = random_weights(((f"body.{2 * n}", out, channels, 3) for n, (out, channels) in enumerate(shapes)), 1.0)
    w |= {f"body.{2 * n + 1}.weight": torch.linspace(-0.1, 0.4, 8) for n in range(3)}

    def reference(x: Tensor) -> Tensor:
        h = x
        for n in range(3):
            h = conv(w, f"body.{2 * n}", h)
            h = torch.where(h > 0, h, h * w[f"body.{2 * n + 1}.weight"][:, None, None])
        up = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        return F.pixel_shuffle(conv(w, "body.6", h), scale) + up

    return w, reference


# ---- SPAN


def span(trained: bool, centred: bool = True, scale: int = 2) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    width, blocks = 6, 3
    threes = {"conv_1": 3, "conv_2": width} | {
        f"block_{n + 1}.c{k + 1}_r": width for n in range(blocks) for k in range(3)
    }

    def layers() -> Iterator[tuple[str, int, int, int]]:
        for name, channels in threes.items():
            if trained:
                yield f"{name}.sk", width, channels, 1
                yield f"{name}.conv.0", 2 * channels, channels, 1
                yield f"{name}.conv.1", 2 * width, 2 * channels, 3
                yield f"{name}.conv.2", width, 2 * width, 1
            yield f"{name}.eval_conv", width, channels, 3  # stale in a file of the training form
        yield "conv_cat", width, 4 * width, 1
        yield "upsampler.0", 3 * scale**2, width, 3

    w = random_weights(layers(), 1.0) | ({} if centred else {"no_norm": torch.zeros(1)})

    def three(name: str, x: Tensor) -> Tensor:
        if not trained:
            return conv(w, f"{name}.eval_conv", x)
        y = conv(w, f"{name}.conv.0", F.pad(x, (1, 1, 1, 1)))
        return conv(w, f"{name}.sk", x) + conv(w, f"{name}.conv.2", conv(w, f"{name}.conv.1", y, padding=0))

    def reference(x: Tensor) -> Tensor:
        h = head = three("conv_1", (x - MEAN) * 255 if centred else x)
        outputs, first = [], h
        for n in range(1, blocks + 1):
            first = F.silu(three(f"block_{n}.c1_r", h))
            y = three(f"block_{n}.c3_r", F.silu(three(f"block_{n}.c2_r", first)))
            h = (y + h) * (torch.sigmoid(y) - 0.5)
            outputs.append(h)
        joined = conv(w, "conv_cat", torch.cat([head, three("conv_2", h), outputs[0], first], 1))
        return F.pixel_shuffle(conv(w, "upsampler.0", joined), scale)

    return w, reference


# ---- MSRResNet and EDSR


def msrresnet(scale: int, old: bool = False) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    body, high = ("recon_trunk", "HRconv") if old else ("body", "conv_hr")
    ups = {2: [2], 3: [3], 4: [2, 2]}[scale]

    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield "conv_first", 6, 3, 3
        for n in range(2):
            yield from ((f"{body}.{n}.conv{k}", 6, 6, 3) for k in (1, 2))
        yield from ((f"upconv{n + 1}", 6 * step**2, 6, 3) for n, step in enumerate(ups))
        yield high, 6, 6, 3
        yield "conv_last", 3, 6, 3

    w = random_weights(layers())

    def reference(x: Tensor) -> Tensor:
        h = F.leaky_relu(conv(w, "conv_first", x), 0.1)
        for n in range(2):
            h = h + conv(w, f"{body}.{n}.conv2", F.relu(conv(w, f"{body}.{n}.conv1", h)))
        for n, step in enumerate(ups):
            h = F.leaky_relu(F.pixel_shuffle(conv(w, f"upconv{n + 1}", h), step), 0.1)
        base = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        return conv(w, "conv_last", F.leaky_relu(conv(w, high, h), 0.1)) + base

    return w, reference


def edsr(scale: int) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    ups = {2: [2], 3: [3], 4: [2, 2]}[scale]

    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield "conv_first", 6, 3, 3
        for n in range(2):
            yield from ((f"body.{n}.conv{k}", 6, 6, 3) for k in (1, 2))
        yield "conv_after_body", 6, 6, 3
        yield from ((f"upsample.{2 * n}", 6 * step**2, 6, 3) for n, step in enumerate(ups))
        yield "conv_last", 3, 6, 3

    w = random_weights(layers())

    def reference(x: Tensor) -> Tensor:
        h = head = conv(w, "conv_first", (x - MEAN) * 255)
        for n in range(2):
            h = h + conv(w, f"body.{n}.conv2", F.relu(conv(w, f"body.{n}.conv1", h)))
        h = head + conv(w, "conv_after_body", h)
        for n, step in enumerate(ups):
            h = F.pixel_shuffle(conv(w, f"upsample.{2 * n}", h), step)
        return conv(w, "conv_last", h) / 255 + MEAN

    return w, reference


# ---- RFDN and RLFN


def esa(w: Weights, name: str, x: Tensor, several: bool) -> Tensor:
    small = conv(w, f"{name}.conv1", x)
    y = F.max_pool2d(conv(w, f"{name}.conv2", small, padding=0, stride=2), kernel_size=7, stride=3)
    if several:
        y = conv(w, f"{name}.conv3_", F.relu(conv(w, f"{name}.conv3", F.relu(conv(w, f"{name}.conv_max", y)))))
    else:
        y = conv(w, f"{name}.conv3", y)
    y = F.interpolate(y, (x.shape[2], x.shape[3]), mode="bilinear", align_corners=False)
    return x * torch.sigmoid(conv(w, f"{name}.conv4", y + conv(w, f"{name}.conv_f", small)))


def rfdn() -> tuple[Weights, Callable[[Tensor], Tensor]]:
    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield "fea_conv", 8, 3, 3
        for n in ("B1", "B2"):
            for k in (1, 2, 3):
                yield f"{n}.c{k}_d", 4, 8, 1
                yield f"{n}.c{k}_r", 8, 8, 3
            yield f"{n}.c4", 4, 8, 3
            yield f"{n}.c5", 8, 16, 1
            yield f"{n}.esa.conv1", 2, 8, 1
            yield f"{n}.esa.conv_f", 2, 2, 1
            yield from ((f"{n}.esa.{part}", 2, 2, 3) for part in ("conv_max", "conv2", "conv3", "conv3_"))
            yield f"{n}.esa.conv4", 8, 2, 1
        yield "c.0", 8, 16, 1
        yield "LR_conv", 8, 8, 3
        yield "upsampler.0", 27, 8, 3

    w = random_weights(layers(), 1.0)

    def act(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.05)

    def reference(x: Tensor) -> Tensor:
        h = head = conv(w, "fea_conv", x)
        outputs = []
        for n in ("B1", "B2"):
            kept = []
            for k in (1, 2, 3):
                kept.append(act(conv(w, f"{n}.c{k}_d", h)))
                h = act(conv(w, f"{n}.c{k}_r", h) + h)
            kept.append(act(conv(w, f"{n}.c4", h)))
            h = esa(w, f"{n}.esa", conv(w, f"{n}.c5", torch.cat(kept, 1)), True)
            outputs.append(h)
        h = head + conv(w, "LR_conv", act(conv(w, "c.0", torch.cat(outputs, 1))))
        return F.pixel_shuffle(conv(w, "upsampler.0", h), 3)

    return w, reference


def rlfn() -> tuple[Weights, Callable[[Tensor], Tensor]]:
    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield "conv_1", 8, 3, 3
        for n in (1, 2, 3):
            yield f"block_{n}.c1_r", 10, 8, 3
            yield f"block_{n}.c2_r", 10, 10, 3
            yield f"block_{n}.c3_r", 8, 10, 3
            yield f"block_{n}.c5", 8, 8, 1
            yield f"block_{n}.esa.conv1", 4, 8, 1
            yield f"block_{n}.esa.conv_f", 4, 4, 1
            yield from ((f"block_{n}.esa.{part}", 4, 4, 3) for part in ("conv2", "conv3"))
            yield f"block_{n}.esa.conv4", 8, 4, 1
        yield "conv_2", 8, 8, 3
        yield "upsampler.0", 48, 8, 3

    w = random_weights(layers(), 1.0)

    def reference(x: Tensor) -> Tensor:
        h = head = conv(w, "conv_1", x)
        for n in (1, 2, 3):
            y = h
            for k in (1, 2, 3):
                y = F.leaky_relu(conv(w, f"block_{n}.c{k}_r", y), 0.05)
            h = esa(w, f"block_{n}.esa", conv(w, f"block_{n}.c5", y + h), False)
        return F.pixel_shuffle(conv(w, "upsampler.0", conv(w, "conv_2", h) + head), 4)

    return w, reference


# ---- CARN-M


def carn_m() -> tuple[Weights, Callable[[Tensor], Tensor]]:
    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield "entry", 8, 3, 3
        for n in (1, 2, 3):
            yield from (
                (f"b{n}.b1.body.{place}", 8, 2 if place < 4 else 8, 3 if place < 4 else 1) for place in (0, 2, 4)
            )
            yield from ((f"b{n}.c{k}.body.0", 8, 8 * (k + 1), 1) for k in (1, 2, 3))
        yield from ((f"c{k}.body.0", 8, 8 * (k + 1), 1) for k in (1, 2, 3))
        yield from ((f"upsample.{layer}", out, 2, 3) for layer, out in (("up2.body.0", 32), ("up3.body.0", 72)))
        yield from ((f"upsample.up4.body.{place}", 32, 2, 3) for place in (0, 3))
        yield "exit", 3, 8, 3

    w = random_weights(layers(), 1.0)
    for way, sign in (("sub", -1), ("add", 1)):
        w |= {
            f"{way}_mean.shifter.weight": torch.eye(3)[:, :, None, None],
            f"{way}_mean.shifter.bias": sign * MEAN.flatten(),
        }

    def residual(n: int, x: Tensor) -> Tensor:
        y = F.relu(conv(w, f"b{n}.b1.body.0", x, groups=4))
        y = F.relu(conv(w, f"b{n}.b1.body.2", y, groups=4))
        return F.relu(x + conv(w, f"b{n}.b1.body.4", y))

    def block(n: int, x: Tensor) -> Tensor:
        b1 = residual(n, x)
        o1 = F.relu(conv(w, f"b{n}.c1.body.0", torch.cat([x, b1], 1)))
        b2 = residual(n, o1)
        o2 = F.relu(conv(w, f"b{n}.c2.body.0", torch.cat([x, b1, b2], 1)))
        b3 = residual(n, o2)
        return F.relu(conv(w, f"b{n}.c3.body.0", torch.cat([x, b1, b2, b3], 1)))

    def reference(x: Tensor) -> Tensor:
        h = conv(w, "entry", conv(w, "sub_mean.shifter", x))
        b1 = block(1, h)
        o1 = F.relu(conv(w, "c1.body.0", torch.cat([h, b1], 1)))
        b2 = block(2, o1)
        o2 = F.relu(conv(w, "c2.body.0", torch.cat([h, b1, b2], 1)))
        h = F.relu(conv(w, "c3.body.0", torch.cat([h, b1, b2, block(3, o2)], 1)))
        for place in (0, 3):
            h = F.pixel_shuffle(F.relu(conv(w, f"upsample.up4.body.{place}", h, groups=4)), 2)
        return conv(w, "add_mean.shifter", conv(w, "exit", h))

    return w, reference


# ---- SRResNet


class Names:
    """The names of SRResNet's layers in three projects."""

    def __init__(self, kind: str, blocks: int) -> None:
        inner = ["0", "1", "2", "3", "4"]
        tutorial = [*(f"conv_block1.conv_block.{n}" for n in "012"), *(f"conv_block2.conv_block.{n}" for n in "01")]
        if kind in ("trunk", "old trunk"):
            word = "conv_block" if kind == "old trunk" else "conv"
            self.head, self.after, self.tail = [f"{word}1.0", f"{word}1.1"], [f"{word}2.0", f"{word}2.1"], f"{word}3"
            self.block = [[f"trunk.{n}.rcb.{part}" for part in inner] for n in range(blocks)]
            self.ups = [[f"upsampling.{n}.upsample_block.{part}" for part in "02"] for n in range(2)]
        elif kind == "numbered":
            self.head, self.after = ["block1.0", "block1.1"], [f"block{blocks + 2}.0", f"block{blocks + 2}.1"]
            parts = ("conv1", "bn1", "prelu", "conv2", "bn2")
            self.block = [[f"block{n + 2}.{part}" for part in parts] for n in range(blocks)]
            self.ups = [[f"block{blocks + 3}.{n}.{part}" for part in ("conv", "prelu")] for n in range(2)]
            self.tail = f"block{blocks + 3}.2"
        else:
            self.head, self.after = ([f"conv_block{n}.conv_block.{part}" for part in "01"] for n in (1, 2))
            self.block = [[f"residual_blocks.{n}.{part}" for part in tutorial] for n in range(blocks)]
            self.ups = [[f"subpixel_convolutional_blocks.{n}.{part}" for part in ("conv", "prelu")] for n in range(2)]
            self.tail = "conv_block3.conv_block.0"


def srresnet_weights(kind: str, name: Names) -> Weights:
    source = torch.Generator().manual_seed(1)

    def layers() -> Iterator[tuple[str, int, int, int]]:
        yield name.head[0], 6, 3, 9
        for block in name.block:
            yield from ((block[place], 6, 6, 3) for place in (0, 3))
        yield name.after[0], 6, 6, 3
        yield from ((up[0], 24, 6, 3) for up in name.ups)
        yield name.tail, 3, 6, 9

    w = random_weights(layers(), 1.0)
    if "trunk" in kind:  # without biases before batch norm
        for layer in [name.after[0], *(block[place] for block in name.block for place in (0, 3))]:
            del w[f"{layer}.bias"]
    for layer in [name.after[1], *(block[place] for block in name.block for place in (1, 4))]:
        w |= {
            f"{layer}.{leaf}": torch.randn(6, generator=source) * 0.2 for leaf in ("weight", "bias", "running_mean")
        }
        w |= {f"{layer}.running_var": torch.rand(6, generator=source) + 0.5}
        w |= {f"{layer}.num_batches_tracked": torch.tensor(7)} if kind != "old trunk" else {}
    for layer in [name.head[1], *(block[2] for block in name.block), *(up[1] for up in name.ups)]:
        w[f"{layer}.weight"] = torch.tensor([0.2])
    return w


def srresnet(kind: str) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    name = Names(kind, 2)
    w = srresnet_weights(kind, name)

    def plain(layer: str, x: Tensor) -> Tensor:
        weight = w[f"{layer}.weight"]
        return F.conv2d(x, weight, w.get(f"{layer}.bias"), padding=weight.shape[2] // 2)

    def norm(layer: str, x: Tensor) -> Tensor:
        scale, bias, mean, var = (w[f"{layer}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var"))
        scale = scale / (var + 1e-5).sqrt()
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]

    def prelu(layer: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    def reference(x: Tensor) -> Tensor:
        if kind == "tutorial":  # takes -1..1 here; the project normalises 0..1 by these
            mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            x = ((x + 1) / 2 - mean) / std
        h = head = prelu(name.head[1], plain(name.head[0], x))
        for block in name.block:
            y = prelu(block[2], norm(block[1], plain(block[0], h)))
            h = h + norm(block[4], plain(block[3], y))
        h = head + norm(name.after[1], plain(name.after[0], h))
        for up in name.ups:
            h = prelu(up[1], F.pixel_shuffle(plain(up[0], h), 2))
        h = plain(name.tail, h)
        return {"numbered": (torch.tanh(h) + 1) / 2, "tutorial": torch.tanh(h)}.get(kind, h)

    return w, reference


LAYOUTS: dict[str, tuple[Callable[[], tuple[Weights, Callable[[Tensor], Tensor]]], dict[str, Any]]] = {
    "esrgan old x4": (partial(esrgan, "old", 2, 1), {"use": "rrdbnet", "scale": 4, "blocks": 2, "growth": 4}),
    "esrgan old x2": (partial(esrgan, "old", 1, 1), {"scale": 2, "unshuffle": 1}),
    "esrgan old x1": (partial(esrgan, "old", 0, 1), {"scale": 1, "unshuffle": 1}),
    "esrgan old x8": (partial(esrgan, "old", 3, 1), {"scale": 8}),
    "esrgan middle x4": (partial(esrgan, "middle", 2, 1), {"scale": 4, "width": 6}),
    "esrgan middle x2": (partial(esrgan, "middle", 1, 1), {"scale": 2, "unshuffle": 1}),
    "esrgan new x4": (partial(esrgan, "new", 2, 1), {"scale": 4, "unshuffle": 1}),
    "esrgan new x2": (partial(esrgan, "new", 2, 2), {"scale": 2, "unshuffle": 2}),
    "esrgan new x1": (partial(esrgan, "new", 2, 4), {"scale": 1, "unshuffle": 4}),
    "compact x4": (partial(compact, 4), {"use": "srvgg", "scale": 4, "width": 8, "convs": 2}),
    "compact x1": (partial(compact, 1), {"use": "srvgg", "scale": 1}),
    "span branches": (partial(span, True), {"use": "span", "scale": 2, "width": 6, "blocks": 3, "centred": True}),
    "span merged": (partial(span, False), {"use": "span", "centred": True}),
    "span without norm": (partial(span, True, False, 4), {"use": "span", "scale": 4, "centred": False}),
    "msrresnet x4": (partial(msrresnet, 4), {"use": "msrresnet", "scale": 4, "width": 6, "blocks": 2}),
    "msrresnet x3": (partial(msrresnet, 3), {"use": "msrresnet", "scale": 3}),
    "msrresnet old x2": (partial(msrresnet, 2, True), {"use": "msrresnet", "scale": 2}),
    "edsr x4": (partial(edsr, 4), {"use": "edsr", "scale": 4, "width": 6, "blocks": 2}),
    "edsr x3": (partial(edsr, 3), {"use": "edsr", "scale": 3}),
    "rfdn": (rfdn, {"use": "rfdn", "scale": 3, "width": 8, "blocks": 2}),
    "carn_m": (carn_m, {"use": "carn_m", "scale": 4, "scales": [2, 3, 4], "width": 8, "groups": 4}),
    "srresnet trunk": (partial(srresnet, "trunk"), {"use": "srresnet", "scale": 4, "width": 6, "blocks": 2}),
    "srresnet old trunk": (partial(srresnet, "old trunk"), {"use": "srresnet", "blocks": 2}),
    "srresnet numbered": (partial(srresnet, "numbered"), {"blocks": 2, "ends": "half_tanh"}),
    "srresnet tutorial": (partial(srresnet, "tutorial"), {"blocks": 2, "ends": "tanh", "imagenet": True}),
    "rlfn": (rlfn, {"use": "rlfn", "scale": 4, "width": 8, "blocks": 3, "inner": 10, "attention": 4}),
}


def task_of(found: Any) -> Any:
    """Return the task that the hook describes, with its weights."""
    tree, weights = found[:2]
    _, build = config.task_of(config.dump({"task": tree}), "test", registry().catalog)
    task = build()
    checkpoint.load_weights(task, weights, "the adopted weights")
    return task.eval()


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_a_published_layout_gives_equal_outputs(layout: str) -> None:
    make, deduced = LAYOUTS[layout]
    weights, reference = make()
    found = adopted(weights, {"file": "x.pth", "format": "torch"})
    assert found is not None
    generator = found[0]["generator"]
    assert generator.items() >= deduced.items()
    low, high = found[0]["values"]
    if generator["use"] in CONVERTS:  # these take -1..1 and convert it to the published 0..1
        low, high = (low + 1) / 2, (high + 1) / 2
    picture = torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    wanted = (reference(picture * (high - low) + low) - low) / (high - low)
    result = (task_of(found).enlarge(picture * 2 - 1) + 1) / 2
    assert result.shape == wanted.shape
    assert (result - wanted).abs().max() < 1e-5 * wanted.abs().max().clamp(min=1)


@pytest.mark.parametrize(
    "layout", ["esrgan new x4", "compact x4", "span branches", "msrresnet x4", "edsr x4", "rfdn", "rlfn"]
)
def test_a_relative_with_other_layers_is_not_recognised(layout: str) -> None:
    weights, _ = LAYOUTS[layout][0]()
    first, *_, last = weights
    far = re.sub(r"\d+", "99999999", last if re.search(r"\d", last) else first)
    relatives = [
        weights | {"attention.weight": torch.zeros(1)},
        {name: value for name, value in weights.items() if name != last},
        weights | {first: weights[first][:, :2]},
        weights | {first: torch.zeros(5)},
        {far if name == last else name: value for name, value in weights.items()},
    ]
    for relative in relatives:
        with contextlib.suppress(WeightsError):
            assert adopted(relative, {"file": "x.pth", "format": "torch"}) is None


@pytest.mark.parametrize(
    ("layout", "change", "said"),
    [
        ("rfdn", {"fea_conv.weight": None}, "looks like RFDN, but fea_conv.weight is missing"),
        ("rfdn", {"B2.c1_r.bias": None}, "looks like RFDN, but B2.c1_r.bias is missing"),
        ("rfdn", {"B2.c1_r.weight": (8, 6, 3, 3)}, r"looks like RFDN, but B2.c1_r.weight has shape \[8, 6, 3, 3\]"),
        ("rfdn", {"B2.c7.weight": (8,)}, "looks like RFDN, but B2.c7.weight does not belong to it"),
        ("rlfn", {"block_2.esa.conv3.weight": None}, "looks like RLFN, but block_2.esa.conv3.weight is missing"),
        ("esrgan old x4", {"model.3.weight": None}, "looks like ESRGAN, but model.3.weight is missing"),
        (
            "esrgan new x4",
            {"conv_body.weight": None},
            "looks like ESRGAN, but conv_body.weight is missing",
        ),
        ("compact x4", {"body.2.bias": None}, "looks like Compact, but body.2.bias is missing"),
        ("span merged", {"conv_cat.weight": None}, "looks like SPAN, but conv_cat.weight is missing"),
        ("edsr x4", {"conv_after_body.weight": None}, "looks like EDSR, but conv_after_body.weight is missing"),
        ("carn_m", {"more.weight": (2,)}, "looks like CARN-M, but more.weight does not belong to it$"),
        ("carn_m", {"b2.c3.body.0.weight": None}, "looks like CARN-M, but b2.c3.body.0.weight is missing$"),
        ("carn_m", {"exit.weight": None}, "looks like CARN-M, but exit.weight is missing$"),
        ("carn_m", {"upsample.up4.body.3.weight": None}, "but upsample.up4.body.3.weight is missing$"),
        ("srresnet trunk", {"trunk.1.rcb.4.running_var": None}, "SRResNet, but trunk.1.rcb.4.running_var is missing"),
    ],
)
def test_almost_known_weights_name_the_layout_and_the_tensor(
    layout: str, change: dict[str, tuple[int, ...] | None], said: str, tmp_path: Path
) -> None:
    weights = {name: value.clone() for name, value in LAYOUTS[layout][0]()[0].items() if name not in change}
    weights |= {name: torch.zeros(shape) for name, shape in change.items() if shape is not None}
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=rf"net.pth: .*{said}"):
        i2i.load(tmp_path / "net.pth")


def test_carn_m_upscales_by_each_of_its_scales(tmp_path: Path) -> None:
    torch.save(carn_m()[0], tmp_path / "carn_m.pth")
    task = i2i.load(tmp_path / "carn_m.pth", overrides=["task.generator.scale=3"]).task
    assert task.translate(torch.zeros(1, 3, 10, 12)).shape == (1, 3, 30, 36)
    with pytest.raises(ConfigError, match=r"scale 4 is not one of its scales \[2, 3\]"):
        CARNM(scale=4, scales=[2, 3])


def test_branches_equal_the_convolution_that_they_merge_into() -> None:
    layer, x = Branched(5, 7), torch.randn(2, 5, 9, 11)
    y = layer.middle(layer.first(F.pad(x, (1, 1, 1, 1))))
    assert torch.allclose(layer(x), layer.last(y) + layer.skip(x), atol=1e-5)
    weight, bias = merge_branches({name: (part.weight, part.bias) for name, part in layer.named_children()})
    assert torch.equal(F.conv2d(x, weight, bias, padding=1), layer(x))


def test_a_span_with_branches_equals_the_merged_one() -> None:
    options: dict[str, Any] = {"scale": 2, "width": 8, "blocks": 2, "shift": 0.5, "base": True}
    trained, plain = SPAN(branches=True, **options), SPAN(**options)
    plain.load_state_dict(merged_state(trained.state_dict()))
    x = torch.rand(1, 3, 12, 14)
    assert torch.allclose(trained(x), plain(x), atol=1e-5)


@pytest.mark.parametrize(
    ("network", "published"),
    [
        (partial(SPAN, width=28), 150_688),
        (SRVGG, 621_424),
        (partial(SRVGG, convs=32), 1_213_296),
        (RFDN, 433_448),
        (RLFN, 317_218),
        (partial(CARNM, scales=[2, 3, 4]), 414_787),
        (partial(RRDBNet, blocks=6), 4_467_779),
        (partial(RRDBNet, scale=2, unshuffle=2), 16_703_171),
    ],
)
def test_parameter_counts_are_the_published_ones(network: Any, published: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == published


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (SPAN(scale=2, width=8, blocks=2, branches=True, shift=0.5, base=True), (2, 3, 32, 40)),
        (SRVGG(scale=3, width=8, convs=1, inner=4), (2, 3, 48, 60)),
        (RFDN(width=8, blocks=1), (2, 3, 64, 80)),
        (RLFN(width=8, inner=8, blocks=1), (2, 3, 64, 80)),
        (CARNM(scale=3, width=8), (2, 3, 48, 60)),
        (RRDBNet(scale=2, width=8, blocks=1, growth=4, unshuffle=2), (2, 3, 32, 40)),
    ],
)
def test_new_networks_follow_the_contract(network: Any, shape: tuple[int, ...]) -> None:
    check_network(network, torch.rand(2, 3, 16, 20), shape=shape)


def test_a_scale_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="scale 3 and unshuffle 2"):
        RRDBNet(scale=3, unshuffle=2)


# ---- the range of values


def near_bicubic(bias: float, most: float = 1e9) -> Weights:
    """Return Compact weights that upscale by repetition, add `bias`, and are wrong for values above `most`."""
    eye = torch.zeros(3, 3, 3, 3)
    eye[range(3), range(3), 1, 1] = 1
    return {
        "body.0.weight": eye,
        "body.0.bias": torch.full((3,), -most),
        "body.1.weight": torch.zeros(3),
        "body.2.weight": eye,
        "body.2.bias": torch.zeros(3),
        "body.3.weight": torch.zeros(3),
        "body.4.weight": -eye.repeat_interleave(4, 0),
        "body.4.bias": torch.full((12,), bias),
    }


@pytest.mark.parametrize(
    ("weights", "values"),
    [
        (near_bicubic(0.0), [0, 1]),  # right in every range: the usual one
        (near_bicubic(1.0), [0, 255]),  # one of 255 levels too bright
        (near_bicubic(0.2, most=2.0), [-1, 1]),  # a tenth too bright
    ],
)
def test_the_range_is_the_one_that_is_the_most_like_bicubic(weights: Weights, values: list[float]) -> None:
    found = adopted(weights, {"file": "x.pth", "format": "torch"})
    assert found is not None
    assert found[0]["values"] == values
    assert f"values {values[0]}..{values[1]} (PSNR to bicubic upscaling: 0..1 " in found[2]


def test_a_network_unlike_its_input_is_reported() -> None:
    weights = near_bicubic(0.0) | {"body.4.bias": torch.full((12,), 1e4)}
    found = adopted(weights, {"file": "x.pth", "format": "torch"})
    assert found is not None
    assert found[0]["values"] == [0, 1]
    assert "assumed: values 0..1, as no output resembles bicubic upscaling (0..1 " in found[2]


def test_values_are_converted_outside_the_network() -> None:
    network = SRVGG(scale=2, width=4, convs=1)
    task, image = SuperResolution(lambda: network, values=(0.0, 255.0)), torch.rand(1, 3, 8, 9) * 2 - 1
    wanted = network((image + 1) * 127.5) / 127.5 - 1
    assert torch.allclose(task.enlarge(image), wanted, atol=1e-5)
    assert torch.equal(SuperResolution(lambda: network).enlarge(image), network(image))
    with pytest.raises(ConfigError, match=r"values \[1, 0\] is empty: give the smaller first"):
        SuperResolution(lambda: network, values=(1.0, 0.0))
    check_task(
        SuperResolution(lambda: SRVGG(scale=2, width=4, convs=1), values=(0.0, 1.0)),
        {"A": torch.rand(2, 3, 8, 8) * 2 - 1, "B": torch.rand(2, 3, 16, 16) * 2 - 1},
    )


def test_the_drawn_picture_is_in_range() -> None:
    assert drawn().shape == (1, 3, 16, 20)
    assert 0 <= drawn().min() < 0.3
    assert 0.7 < drawn().max() <= 1


# ---- files


def test_a_file_is_used_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"params_ema": near_bicubic(0.2, most=2.0)}, tmp_path / "2x_mine.pth")
    image = torch.rand(1, 3, 16, 20) * 2 - 1
    made = i2i.load(tmp_path / "2x_mine.pth").task.enlarge(image)
    assert torch.allclose(made, image.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.2, atol=1e-5)
    assert "2x_mine.pth: " in capsys.readouterr().err


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs $I2I_DATA")
def test_carn_m_as_published_is_recognised() -> None:
    model = api.load(Path(os.environ["I2I_DATA"]) / "weights" / "carn_m.pth")
    generator = {"use": "carn_m", "scale": 4, "scales": [2, 3, 4], "width": 64, "groups": 4}
    assert model.config["task"] == {"use": "superres", "generator": generator, "values": [-1, 1]}


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs $I2I_DATA")
def test_rfdn_as_published_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    model = api.load(Path(os.environ["I2I_DATA"]) / "weights" / "rfdn_x4.pth")
    assert model.config["task"]["values"] == [0, 255]
    assert model.config["task"]["generator"] == {"use": "rfdn", "scale": 4, "width": 50, "blocks": 4}
