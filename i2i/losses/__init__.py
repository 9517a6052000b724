"""Losses that several methods share: adversarial objectives, penalties on slopes, features, the replay pool.

The objectives and `perceptual` are what a config may name (`gan: {use: lsgan}`); `i2i catalog` lists them. The fixed
networks of `perceptual`, and where their files are looked for, are in `backbones` and `pretrained`; metrics use them
too.
"""

from __future__ import annotations

from ..catalog import Catalog
from .adversarial import LSGAN, WGANGP, Hinge, Minimax, Objective, Relativistic, Vanilla
from .matching import feature_matching
from .perceptual import Perceptual
from .regularisers import gradient_penalty, r1_penalty
from .replay import ReplayPool

__all__ = [
    "LSGAN",
    "WGANGP",
    "Hinge",
    "Minimax",
    "Objective",
    "Perceptual",
    "Relativistic",
    "ReplayPool",
    "Vanilla",
    "feature_matching",
    "gradient_penalty",
    "r1_penalty",
    "register",
]


def register(catalog: Catalog) -> None:
    """Add the objectives of this folder to `catalog`."""
    catalog.loss("vanilla", Vanilla)
    catalog.loss("minimax", Minimax)
    catalog.loss("lsgan", LSGAN)
    catalog.loss("hinge", Hinge)
    catalog.loss("wgan_gp", WGANGP)
    catalog.loss("relativistic", Relativistic)
    catalog.loss("perceptual", Perceptual)
