"""BigGAN: every block gets its own chunk of the latent code, and all blocks share one class embedding.

Paper: arXiv:1809.11096, appendix B. Run with: `i2i run configs/biggan.yaml`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from ..errors import ConfigError
from .conditional import ConditionalBatchNorm, Layers, SelfAttention, sum_pool
from .dcgan import BASE
from .sngan import UpBlock, check_attention, generator_widths, residual_discriminator

ORTHOGONAL = Layers(nn.init.orthogonal_, spectral_norm=True)


class BigGANGenerator(nn.Module):
    """Latent codes and classes to images: residual blocks, each with its own chunk of the code.

    The first chunk becomes the 4x4 feature map. Each block takes another, concatenated with the shared class
    embedding; the gains and biases of its batch norms are linear in both. Weights are initialised orthogonally, and
    all but the embedding are spectrally normalised.

    70,433,988 parameters for 3 channels, 128 px, codes of length 120 and 1000 classes.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2 and at least 8.
        latent: length of a code, a multiple of the number of blocks plus one.
        classes: number of classes; 0 for unconditional.
        width: channels of the last feature map, up to 96 in the paper.
        widest: channels double from each map to the one before it, up to `widest` times `width`.
        attention: resolution of the feature map with self-attention, 64 in the paper at 128 px; 0 for none.
        shared: length of the class embedding.

    Raises:
        ConfigError: unsupported size, `latent` not divisible, or no feature map of resolution `attention`.

    Source: arXiv:1809.11096, table 4 and figure 15; parameter count as in the published code.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        classes: int = 0,
        /,
        width: PositiveInt = 96,
        widest: PositiveInt = 16,
        attention: NonNegativeInt = 64,
        shared: PositiveInt = 128,
    ) -> None:
        super().__init__()
        widths = generator_widths(size, width, widest)
        check_attention("biggan_generator", attention, [BASE * 2 ** (n + 1) for n in range(len(widths) - 1)])
        self.chunks = len(widths)
        if latent % self.chunks:
            raise ConfigError(
                f"biggan_generator splits a code into {self.chunks} chunks at {size} pixels, and {latent} is not "
                f"divisible by {self.chunks}: set task.latent to {max(latent // self.chunks, 1) * self.chunks}"
            )
        chunk = latent // self.chunks
        conditions = chunk + (shared if classes else 0)

        def norm(channels: int) -> nn.Module:
            return ConditionalBatchNorm(channels, lambda out: ORTHOGONAL.linear(conditions, out, bias=False))

        self.table = nn.Embedding(classes, shared) if classes else None
        if self.table is not None:
            nn.init.orthogonal_(self.table.weight)
        self.start = ORTHOGONAL.linear(chunk, widths[0] * BASE**2)
        self.blocks = nn.ModuleList(UpBlock(before, after, ORTHOGONAL, norm) for before, after in pairwise(widths))
        self.attention = (
            SelfAttention(widths[(attention // BASE).bit_length() - 1], ORTHOGONAL) if attention else None
        )
        self.attended = attention
        last = ORTHOGONAL.conv(widths[-1], channels)
        self.end = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), last, nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to images [N, C, H, W] in [-1, 1]."""
        first, *chunks = z.chunk(self.chunks, 1)
        embedded = () if self.table is None else (self.table(label),)
        h = self.start(first).unflatten(1, (-1, BASE, BASE))
        for block, chunk in zip(self.blocks, chunks, strict=True):
            h = block(h, torch.cat([*embedded, chunk], 1))
            if self.attention is not None and h.shape[-1] == self.attended:
                h = self.attention(h)
        return self.end(h)


class BigGANDiscriminator(nn.Module):
    """Images to one logit each: the blocks and head of `sngan_discriminator`, initialised orthogonally.

    87,982,370 parameters for 3 channels, 128 px and 1000 classes.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2 and at least 8.
        classes: number of classes; 0 for unconditional.
        width: channels of the first feature map, up to 96 in the paper.
        widest: channels double from each map to the next, up to `widest` times `width`.
        attention: resolution of the feature map with self-attention, 64 in the paper at 128 px; 0 for none.

    Source: see `BigGANGenerator`.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 96,
        widest: PositiveInt = 16,
        attention: NonNegativeInt = 64,
    ) -> None:
        super().__init__()
        self.body, self.head = residual_discriminator(
            ORTHOGONAL, channels, size, classes, width, widest, BASE, 1, attention, True
        )

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, if there are classes, matches its label."""
        return self.head(sum_pool(self.body(x)), label)
