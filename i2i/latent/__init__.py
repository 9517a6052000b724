"""Tools for latent spaces: sample, interpolate, traverse, reconstruct, find neighbours, do arithmetic, edit.

    model = i2i.load("runs/faces_vae")
    learned = i2i.latent.learn(model)                                        # directions from labelled examples
    z = i2i.latent.encode(model, "photo.png")                                # a code
    out = i2i.latent.decode(model, z + 2 * learned.along("smile"))           # [1, 3, H, W] in [0, 1]

A GAN cannot encode: there, `z = i2i.latent.prior(model, 1, seed=3)` is a code.

They work for any model whose task has `encode`, `decode` and `prior`, or some of these; an error names what is
missing. Codes are float32 [N, ...] on the CPU, in the shape the task gives them. Input images are anything that
`i2i.images.take` accepts; output images are float32 [..., C, H, W] in [0, 1], like those of `i2i.sample`. On the
command line: `i2i latent ...` (plugins/i2i_latent).
"""

from __future__ import annotations

from .axes import unused, usage
from .codes import can, decode, decode_paths, divided, encode, encoded, need, prepared, prior, unit
from .examples import Neighbours, Space, arithmetic, attributes_of, batches, data_of, neighbours
from .learned import Learned, Method, cached, directions, edit, learn, move, orthogonal
from .paths import Way, between, interpolate, quantiles, reconstruct, traverse

__all__ = [
    "Learned",
    "Method",
    "Neighbours",
    "Space",
    "Way",
    "arithmetic",
    "attributes_of",
    "batches",
    "between",
    "cached",
    "can",
    "data_of",
    "decode",
    "decode_paths",
    "directions",
    "divided",
    "edit",
    "encode",
    "encoded",
    "interpolate",
    "learn",
    "move",
    "need",
    "neighbours",
    "orthogonal",
    "prepared",
    "prior",
    "quantiles",
    "reconstruct",
    "traverse",
    "unit",
    "unused",
    "usage",
]
