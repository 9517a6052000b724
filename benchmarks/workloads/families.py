"""The families that train on images: random ones, because the time of a step does not depend on what they show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from i2i_cyclegan import CycleGAN
from i2i_gan import GAN
from i2i_pix2pix import Pix2Pix
from i2i_spade import SPADE
from i2i_superres import SuperResolution
from i2i_vqvae2 import VQVAE2
from reference import cyclegan as published_cyclegan
from reference import dcgan as published_dcgan
from reference import pix2pix as published_pix2pix
from reference import spade as published_spade
from reference import srresnet as published_srresnet
from reference import vqvae2 as published_vqvae2
from torch import Tensor

from i2i.losses import LSGAN, Hinge, Vanilla
from i2i.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MSRResNet,
    MultiscaleDiscriminator,
    PatchDiscriminator,
    ResnetGenerator,
    SpadeGenerator,
    UnetGenerator,
)
from i2i.optim import adam

from .checks import copy, weights
from .training import Training, copied, seeded, uniform

GAN_ADAM = partial(adam, lr=2e-4, betas=(0.5, 0.999))


def cyclegan(size: int = 128, batch: int = 1, width: int = 64, blocks: int = 9) -> Training:
    """CycleGAN: two generators with nine residual blocks, two patch discriminators."""
    generator = partial(ResnetGenerator, width=width, blocks=blocks)
    discriminator = partial(PatchDiscriminator, width=width)
    shape = (batch, 3, size, size)
    return Training(
        published_cyclegan,
        partial(published_cyclegan.CycleGAN, width, blocks),
        partial(seeded, lambda: CycleGAN(generator, discriminator, LSGAN), GAN_ADAM),
        copied("G_ab", "G_ba", "D_a", "D_b"),
        uniform(A=shape, B=shape),
    )


def pix2pix(size: int = 256, batch: int = 1, width: int = 64) -> Training:
    """pix2pix: the U-Net with batch norm and dropout, and a patch discriminator on pairs."""
    generator = partial(UnetGenerator, width=width)
    discriminator = partial(PatchDiscriminator, in_channels=6, width=width, norm="batch")
    shape = (batch, 3, size, size)
    return Training(
        published_pix2pix,
        partial(published_pix2pix.Pix2Pix, width),
        partial(seeded, lambda: Pix2Pix(generator, discriminator, Vanilla), GAN_ADAM),
        copied("G", "D"),
        uniform(A=shape, B=shape),
    )


def spade(size: int = 128, batch: int = 1, width: int = 64) -> Training:
    """SPADE with 19 labels, without the perceptual loss."""
    labels = published_spade.LABELS
    generator = partial(SpadeGenerator, width=width)
    discriminator = partial(MultiscaleDiscriminator, width=width)

    def task() -> SPADE:
        return SPADE(generator, discriminator, Hinge, classes=labels)

    def equalise(task: Any, reference: Any) -> None:
        copied("G", "D")(task, reference)
        for ours, plain in zip((task.G, task.D), reference.networks(), strict=True):
            copy(buffers(ours, ".u"), buffers(plain, ".weight_u"))

    def batches() -> Iterator[dict[str, Tensor]]:
        source = torch.Generator().manual_seed(1)
        for images in uniform(B=(batch, 3, size, size))():
            yield images | {"A": torch.randint(labels, (batch, 1, size, size), generator=source)}

    optimizers = {player: partial(adam, lr=rate, betas=(0.0, 0.9)) for player, rate in (("G", 1e-4), ("D", 4e-4))}
    return Training(
        published_spade,
        partial(published_spade.SPADE, width),
        partial(seeded, task, optimizers),
        equalise,
        batches,
        note="i2i freezes the discriminator in the generator's update; the generator runs again for the "
        "discriminator's on both sides",
    )


def buffers(network: torch.nn.Module, ending: str) -> list[Tensor]:
    """Return the buffers whose names end so."""
    return [value for name, value in network.named_buffers() if name.endswith(ending)]


def srresnet(size: int = 192, batch: int = 4, width: int = 64, blocks: int = 16) -> Training:
    """SRResNet without batch norm, x4, trained on L1, with averaged weights; `size` is that of the truth."""
    generator = partial(MSRResNet, width=width, blocks=blocks)
    low, high = (batch, 3, size // 4, size // 4), (batch, 3, size, size)
    return Training(
        published_srresnet,
        partial(published_srresnet.SRResNet, width, blocks),
        partial(seeded, lambda: SuperResolution(generator), partial(adam, lr=2e-4, betas=(0.9, 0.99)), ema=0.999),
        copied("G"),
        uniform(A=low, B=high),
        plain=lambda pairs: {name: (image + 1) / 2 for name, image in pairs.items()},
    )


def dcgan(size: int = 64, batch: int = 64, width: int = 64) -> Training:
    """DCGAN; the generator is updated with the images of the discriminator's update, as in the published code."""
    generator, discriminator = partial(DCGANGenerator, width=width), partial(DCGANDiscriminator, width=width)

    def task() -> GAN:
        vanilla = partial(Vanilla, lambda_d=1.0)
        return GAN(generator, discriminator, vanilla, published_dcgan.LATENT, channels=3, size=size, reuse=True)

    def equalise(task: Any, reference: Any) -> None:
        ours, judge = task.generator, task.discriminator
        copy(weights([ours.start, *in_turn(ours.norms, ours.convs)]), weights([reference.G]))
        copy(weights([*in_turn(judge.convs, judge.norms), judge.last]), weights([reference.D]))

    return Training(
        published_dcgan,
        partial(published_dcgan.DCGAN, width),
        partial(seeded, task, GAN_ADAM),
        equalise,
        uniform(image=(batch, 3, size, size)),
        note="i2i also watches for collapse",
    )


def in_turn(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    """Return the first of both, the second of both, and so on."""
    return [each for pair in zip(first, second, strict=True) for each in pair]


def vqvae2(size: int = 128, batch: int = 2, width: int = 128) -> Training:
    """The autoencoder's stage of VQ-VAE-2."""

    def task() -> VQVAE2:
        return VQVAE2(size, width=width, block_width=width // 4)

    def equalise(task: Any, reference: Any) -> None:
        ours, plain = task.autoencoder, reference.autoencoder
        order = (*ours.encoders[::-1], ours.project[0], ours.above, ours.project[1], ours.larger, ours.decoder)
        copy(weights(order), weights([plain]))
        for book, other in zip(ours.books, (plain.top, plain.bottom), strict=True):
            book.started.fill_(1.0)
            book.begun = True
            copy([book.codebook, book.codebook.T, book.codebook.T], [book.sums, other.embed, other.average])

    return Training(
        published_vqvae2,
        partial(published_vqvae2.VQVAE2, width),
        partial(seeded, task, partial(adam, lr=3e-4)),
        equalise,
        uniform(image=(batch, 3, size, size)),
        note="i2i resets codes that are hardly used, and measures the perplexity of the codes",
    )
