"""Generative adversarial networks: images from noise, optionally class-conditional. One task, many configs.

Papers: GAN arXiv:1406.2661, DCGAN arXiv:1511.06434, WGAN-GP arXiv:1704.00028, SNGAN arXiv:1802.05957, projection
arXiv:1802.05637, SAGAN arXiv:1805.08318, BigGAN arXiv:1809.11096, differentiable augmentation arXiv:2006.10738.

i2i run configs/dcgan.yaml                    # embedded digits, minutes; gan, cgan, sngan, sagan, wgan_gp, biggan too
i2i run configs/real/cgan_mnist.yaml          # class-conditional, on MNIST
i2i run configs/paper/sngan.yaml              # a published recipe, on folders
i2i sample 16 -o OUT -m runs/cgan -c label=3 -c truncation=0.8
"""

from __future__ import annotations

from i2i import Catalog, hookimpl

from .task import GAN
from .watch import Watch

__all__ = ["GAN", "Watch", "register"]


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `gan`."""
    catalog.task("gan", GAN)
