"""BigGAN's networks: parts of the code go to every block, one embedding of the class serves all of them.

Paper: arXiv:1809.11096, appendix B. Run by: `i2i run configs/biggan.yaml`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from ..errors import ConfigError
from .conditional import ConditionalBatchNorm, Layers, SelfAttention, summed
from .dcgan import LEAST
from .sngan import UpBlock, check_attention, growing, judge

ORTHOGONAL = Layers(nn.init.orthogonal_, spectral_norm=True)


class BigGANGenerator(nn.Module):
    """Latent codes and classes to pictures: residual blocks, each with its own part of the code.

    The first part of the code makes the 4x4 map. Each block has one more, which stands beside the shared embedding of
    the class; gains and biases of its batch norms are linear in both. Every weight but that of the embedding has
    spectral norm, and starts orthogonal.

    70,433,988 parameters for 3 channels of 128 px, codes of 120, 1000 classes.

    Args:
        channels: of the pictures.
        size: their height and width: 4 times a power of 2, 8 at least.
        latent: numbers in a code; a multiple of the number of parts, which is that of blocks and one more.
        classes: how many there are; 0 for none.
        width: channels of the last map, 96 in the paper at its largest.
        widest: each map before it has twice as many channels, up to this many times `width`.
        attention: side of the map on which self-attention stands, 64 in the paper at 128 px; 0 for none.
        shared: length of the embedding of a class.

    Raises:
        ConfigError: another size, a code that cannot be divided so, or no map of the side `attention`.

    Source: arXiv:1809.11096, table 4 and figure 15; the published code, whose parameter count it reproduces.
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
        widths = growing(size, width, widest)
        check_attention("biggan_generator", attention, [LEAST * 2 ** (n + 1) for n in range(len(widths) - 1)])
        self.pieces = len(widths)
        if latent % self.pieces:
            raise ConfigError(
                f"biggan_generator divides a code into {self.pieces} parts at {size} pixels, and {latent} numbers "
                f"cannot be: set task.latent to {max(latent // self.pieces, 1) * self.pieces}"
            )
        part = latent // self.pieces
        known = part + (shared if classes else 0)

        def norm(channels: int) -> nn.Module:
            return ConditionalBatchNorm(channels, lambda out: ORTHOGONAL.linear(known, out, bias=False))

        self.table = nn.Embedding(classes, shared) if classes else None
        if self.table is not None:
            nn.init.orthogonal_(self.table.weight)
        self.start = ORTHOGONAL.linear(part, widths[0] * LEAST**2)
        self.blocks = nn.ModuleList(UpBlock(before, after, ORTHOGONAL, norm) for before, after in pairwise(widths))
        self.attention = (
            SelfAttention(widths[(attention // LEAST).bit_length() - 1], ORTHOGONAL) if attention else None
        )
        self.attended = attention
        last = ORTHOGONAL.conv(widths[-1], channels)
        self.end = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), last, nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Turn codes [N, latent], and labels int64 [N] where there are classes, into images in [-1, 1]."""
        first, *parts = z.chunk(self.pieces, 1)
        known = () if self.table is None else (self.table(label),)
        h = self.start(first).unflatten(1, (-1, LEAST, LEAST))
        for block, part in zip(self.blocks, parts, strict=True):
            h = block(h, torch.cat([*known, part], 1))
            if self.attention is not None and h.shape[-1] == self.attended:
                h = self.attention(h)
        return self.end(h)


class BigGANDiscriminator(nn.Module):
    """Pictures to a logit each: the blocks and the projection of `sngan_discriminator`, starting orthogonal.

    87,982,370 parameters for 3 channels of 128 px, 1000 classes.

    Args:
        channels: of the pictures.
        size: their height and width: 4 times a power of 2, 8 at least.
        classes: how many there are; 0 for none.
        width: channels of the first map, 96 in the paper at its largest.
        widest: each map after it has twice as many channels, up to this many times `width`.
        attention: side of the map on which self-attention stands, 64 in the paper at 128 px; 0 for none.

    Source: as `BigGANGenerator`.
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
        self.body, self.head = judge(ORTHOGONAL, channels, size, classes, width, widest, LEAST, 1, attention, True)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, where there are classes, like its label."""
        return self.head(summed(self.body(x)), label)
