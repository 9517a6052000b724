"""Losses that several methods share: adversarial objectives, penalties on slopes, the replay pool.

The objectives are what a config may name (`gan: {use: lsgan}`); `i2i models` lists them.
"""

from __future__ import annotations

from ..catalog import Catalog
from .adversarial import LSGAN, WGANGP, Hinge, Minimax, Objective, Vanilla
from .regularisers import gradient_penalty, r1_penalty
from .replay import ReplayPool

__all__ = [
    "LSGAN",
    "WGANGP",
    "Hinge",
    "Minimax",
    "Objective",
    "ReplayPool",
    "Vanilla",
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
