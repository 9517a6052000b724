"""Shared networks, one family per file: plain modules that initialise themselves and know nothing of the engine.

`resnet` has CycleGAN's generator, `unet` pix2pix's, `patch` the PatchGAN discriminator, `spade` the networks for
label maps, `superres`, `rrdb`, `srvgg`, `span`, `carn` and `rfdn` those for super-resolution, with discriminators in
`judges`. `dense`, `dcgan`, `sngan` and `biggan` generate images from latent codes. Common layers are in `blocks`,
`conditional` and `spectral_norm`; `published` recognises weights of others; `average` is the moving average of a
network's weights. `i2i catalog` lists the names to use in a config.
"""

from __future__ import annotations

from ..catalog import Catalog
from .augment import Augmentation, augmented
from .biggan import BigGANDiscriminator, BigGANGenerator
from .blocks import InstanceNorm, Norm, in_parts, init_normal, needs_bias, norm_layer
from .carn import CARNM
from .conditional import ConditionalBatchNorm, Layers, SelfAttention
from .dcgan import DCGANDiscriminator, DCGANGenerator
from .dense import DenseDiscriminator, DenseGenerator
from .judges import UnetDiscriminator, VGGDiscriminator
from .patch import PatchDiscriminator
from .published import published_generator
from .resnet import ResnetBlock, ResnetGenerator
from .rfdn import RFDN, RLFN
from .rrdb import RRDBNet
from .sngan import SNGANDiscriminator, SNGANGenerator
from .spade import MultiscaleDiscriminator, SpadeGenerator, StyleEncoder
from .span import SPAN, merge_branches, merged_state
from .spectral_norm import spectral
from .srvgg import SRVGG
from .superres import EDSR, CompactSR, MSRResNet, SRResNet
from .unet import UnetGenerator

__all__ = [
    "CARNM",
    "EDSR",
    "RFDN",
    "RLFN",
    "SPAN",
    "SRVGG",
    "Augmentation",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "CompactSR",
    "ConditionalBatchNorm",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DenseDiscriminator",
    "DenseGenerator",
    "InstanceNorm",
    "Layers",
    "MSRResNet",
    "MultiscaleDiscriminator",
    "Norm",
    "PatchDiscriminator",
    "RRDBNet",
    "ResnetBlock",
    "ResnetGenerator",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "SRResNet",
    "SelfAttention",
    "SpadeGenerator",
    "StyleEncoder",
    "UnetDiscriminator",
    "UnetGenerator",
    "VGGDiscriminator",
    "augmented",
    "in_parts",
    "init_normal",
    "merge_branches",
    "merged_state",
    "needs_bias",
    "norm_layer",
    "published_generator",
    "spectral",
]


def register(catalog: Catalog) -> None:
    """Register the networks of this package in `catalog`."""
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
    catalog.network("carn_m", CARNM)
    catalog.network("rrdbnet", RRDBNet)
    catalog.network("span", SPAN)
    catalog.network("srvgg", SRVGG)
    catalog.network("rfdn", RFDN)
    catalog.network("rlfn", RLFN)
    catalog.network("vgg_discriminator", VGGDiscriminator)
    catalog.network("unet_discriminator", UnetDiscriminator)
    catalog.network("dense_generator", DenseGenerator)
    catalog.network("dense_discriminator", DenseDiscriminator)
    catalog.network("dcgan_generator", DCGANGenerator)
    catalog.network("dcgan_discriminator", DCGANDiscriminator)
    catalog.network("sngan_generator", SNGANGenerator)
    catalog.network("sngan_discriminator", SNGANDiscriminator)
    catalog.network("biggan_generator", BigGANGenerator)
    catalog.network("biggan_discriminator", BigGANDiscriminator)
