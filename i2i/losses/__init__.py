"""Losses shared by several methods: GAN objectives, gradient penalties, feature losses, the replay pool.

A config may name the objectives and `perceptual` (`gan: {use: lsgan}`); `i2i catalog` lists them. The pretrained
networks of `perceptual` and the lookup of their files are in `backbones` and `pretrained`; metrics use them too.
"""

from __future__ import annotations

from ..catalog import Catalog
from .adversarial import LSGAN, WGANGP, Hinge, Minimax, Objective, Relativistic, Vanilla, average
from .backbones import backbone
from .matching import feature_matching
from .perceptual import Perceptual
from .regularisers import gradient_penalty, r1_penalty
from .replay import ReplayPool
from .torchvision_guard import import_torchvision

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
    "average",
    "backbone",
    "feature_matching",
    "gradient_penalty",
    "import_torchvision",
    "r1_penalty",
]


def register(catalog: Catalog) -> None:
    """Register the losses of this package in `catalog`."""
    catalog.loss("vanilla", Vanilla)
    catalog.loss("minimax", Minimax)
    catalog.loss("lsgan", LSGAN)
    catalog.loss("hinge", Hinge)
    catalog.loss("wgan_gp", WGANGP)
    catalog.loss("relativistic", Relativistic)
    catalog.loss("perceptual", Perceptual)
