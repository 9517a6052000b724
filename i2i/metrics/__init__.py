"""Metrics: callables `metric(task, data) -> dict[str, float]` on the validation samples of a data set.

`animals` scores the translation of the embedded horses and zebras, where the truth is known.
"""

from __future__ import annotations

from ..catalog import Catalog
from .animals import AnimalTruth

__all__ = ["AnimalTruth", "register"]


def register(catalog: Catalog) -> None:
    """Add the metrics of this folder to `catalog`."""
    catalog.metric("animal_truth", AnimalTruth)
