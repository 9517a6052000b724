"""Shared networks, one family a file: plain modules that initialise themselves and know no engine.

`blocks` holds the pieces, `resnet` CycleGAN's generator, `unet` pix2pix's, `patch` the PatchGAN discriminator,
`spade` what paints label maps. Their names for a config are listed by `i2i models`.
"""

from __future__ import annotations

from ..catalog import Catalog
from .blocks import InstanceNorm, Norm, init_normal, needs_bias, norm_layer
from .judges import UnetDiscriminator, VGGDiscriminator
from .patch import PatchDiscriminator
from .resnet import ResnetBlock, ResnetGenerator
from .rrdb import RRDBNet
from .spade import MultiscaleDiscriminator, SpadeGenerator, StyleEncoder
from .spectral import spectral
from .superres import EDSR, CompactSR, MSRResNet, SRResNet
from .unet import UnetGenerator

__all__ = [
    "EDSR",
    "CompactSR",
    "InstanceNorm",
    "MSRResNet",
    "MultiscaleDiscriminator",
    "Norm",
    "PatchDiscriminator",
    "RRDBNet",
    "ResnetBlock",
    "ResnetGenerator",
    "SRResNet",
    "SpadeGenerator",
    "StyleEncoder",
    "UnetDiscriminator",
    "UnetGenerator",
    "VGGDiscriminator",
    "init_normal",
    "needs_bias",
    "norm_layer",
    "register",
    "spectral",
]


def register(catalog: Catalog) -> None:
    """Add the networks of this folder to `catalog`."""
    catalog.network("resnet_generator", ResnetGenerator)
    catalog.network("unet_generator", UnetGenerator)
    catalog.network("patch_discriminator", PatchDiscriminator)
    catalog.network("spade_generator", SpadeGenerator)
    catalog.network("style_encoder", StyleEncoder)
    catalog.network("multiscale_discriminator", MultiscaleDiscriminator)
    catalog.network("srresnet", SRResNet)
    catalog.network("msrresnet", MSRResNet)
    catalog.network("edsr", EDSR)
    catalog.network("compact_sr", CompactSR)
    catalog.network("rrdbnet", RRDBNet)
    catalog.network("vgg_discriminator", VGGDiscriminator)
    catalog.network("unet_discriminator", UnetDiscriminator)
