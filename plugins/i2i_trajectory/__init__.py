"""Trajectory prediction: Social GAN, arXiv:1803.10892."""

from __future__ import annotations

from i2i import Catalog, hookimpl


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks, networks and data sets of this folder to `catalog`."""
