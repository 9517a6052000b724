"""Optimizers and schedules that a config may `use`.

optimizer: {use: adam, lr: 2.0e-4, betas: [0.5, 0.999]}       # or one per player: {G: {...}, D: {...}}
schedule: {use: linear_decay, start: 100, end: 200}
"""

from __future__ import annotations

from ..catalog import Catalog
from .muon import muon
from .optimizers import adam, sgd
from .schedules import cosine, linear_decay

__all__ = ["adam", "cosine", "linear_decay", "muon", "sgd"]


def register(catalog: Catalog) -> None:
    """Register the optimizers and schedules of this package in `catalog`."""
    catalog.optimizer("adam", adam)
    catalog.optimizer("muon", muon)
    catalog.optimizer("sgd", sgd)
    catalog.schedule("linear_decay", linear_decay)
    catalog.schedule("cosine", cosine)
