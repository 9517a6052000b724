"""Video generation and prediction: MoCoGAN and DVD-GAN, arXiv:1707.04993, 1907.06571."""

from __future__ import annotations

from i2i import Catalog, hookimpl


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks, networks and data sets of this folder to `catalog`."""
