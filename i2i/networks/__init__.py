"""Shared networks, one family a file: plain modules that initialise themselves and know no engine.

`blocks` holds the pieces, `resnet` CycleGAN's generator, `patch` the PatchGAN discriminator. Their names for
a config are listed by `i2i models`.
"""

from __future__ import annotations

from ..catalog import Catalog
from .blocks import InstanceNorm, Norm, init_normal, needs_bias, norm_layer
from .patch import PatchDiscriminator
from .resnet import ResnetBlock, ResnetGenerator

__all__ = [
    "InstanceNorm",
    "Norm",
    "PatchDiscriminator",
    "ResnetBlock",
    "ResnetGenerator",
    "init_normal",
    "needs_bias",
    "norm_layer",
    "register",
]


def register(catalog: Catalog) -> None:
    """Add the networks of this folder to `catalog`."""
    catalog.network("resnet_generator", ResnetGenerator)
    catalog.network("patch_discriminator", PatchDiscriminator)
