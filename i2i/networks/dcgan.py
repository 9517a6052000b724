"""DCGAN: convolutions that double a 4x4 map up to the picture, and others that halve it down again.

Paper: arXiv:1511.06434; with classes, conditional batch norm and the projection of arXiv:1802.05637.
Run by: `i2i run configs/dcgan.yaml`.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from ..errors import ConfigError
from .blocks import Norm, init_normal, norm_layer
from .conditional import ConditionalBatchNorm, Layers, by_label

LEAST = 4  # pixels: the side of the smallest map

Judging = Literal["batch", "instance", "none", "spectral"]


class DCGANGenerator(nn.Module):
    """Latent codes to pictures: transposed 4x4 convolutions with batch norm and ReLU; tanh at the end.

    3,576,704 parameters for 3 channels of 64 px, codes of 100, width 64, no classes.

    Args:
        channels: of the pictures.
        size: their height and width: 4 times a power of 2, 8 at least.
        latent: numbers in a code.
        classes: batch norm takes gain and bias from the class; 0 for none.
        width: channels of the last map; each before has twice as many, up to 8 times that.

    Raises:
        ConfigError: another size.

    Source: the DCGAN of pytorch/examples, whose parameter count it reproduces.
    """

    def __init__(self, channels: int, size: int, latent: int, classes: int = 0, /, width: PositiveInt = 64) -> None:
        super().__init__()
        widths = maps(size, width)[::-1]
        self.start = nn.ConvTranspose2d(latent, widths[0], LEAST, bias=False)
        self.norms = nn.ModuleList(ConditionalBatchNorm(channel, by_label(classes)) for channel in widths)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False) for before, after in pairwise([*widths, channels])
        )
        init_normal(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Turn codes [N, latent], and labels int64 [N] where there are classes, into images in [-1, 1]."""
        h = self.start(z[:, :, None, None])
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(relu(norm(h, label)))
        return h.tanh()


class DCGANDiscriminator(nn.Module):
    """Pictures to a logit each: 4x4 convolutions that halve, with leaky ReLU.

    2,765,568 parameters for 3 channels of 64 px, width 64, no classes.

    Args:
        channels: of the pictures.
        size: their height and width: 4 times a power of 2, 8 at least.
        classes: the sum of the last features times a vector for the class is added to the logit; 0 for none.
        width: channels of the first map; each after it has twice as many, up to 8 times that.
        norm: "batch" as published, "instance" or "none" (as the gradient penalty of `wgan_gp` needs), or "spectral":
            no norm of the maps, but of the weights (arXiv:1802.05957).

    Raises:
        ConfigError: another size.

    Source: the DCGAN of pytorch/examples, whose parameter count it reproduces; with "spectral" and classes the
        projection of arXiv:1802.05637.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 64,
        norm: Judging = "batch",
    ) -> None:
        super().__init__()
        widths = maps(size, width)
        between: Norm = "none" if norm == "spectral" else norm
        layers = Layers(partial(nn.init.normal_, std=0.02), spectral_norm=norm == "spectral")
        self.convs = nn.ModuleList(
            layers.conv(before, after, 4, stride=2, padding=1, bias=between == "none")
            for before, after in pairwise([channels, *widths])
        )
        self.norms = nn.ModuleList(norm_layer(between if n else "none", after) for n, after in enumerate(widths))
        self.last = layers.conv(widths[-1], 1, LEAST, padding=0, bias=False)
        self.table = layers.embedding(classes, widths[-1]) if classes else None
        init_normal(self.norms)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, where there are classes, like its label."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky_relu(norm(conv(x)), 0.2)
        logit = self.last(x).flatten(1)
        return logit if self.table is None else logit + (self.table(label) * x.sum((2, 3))).sum(1, keepdim=True)


def maps(size: int, width: int) -> list[int]:
    """Return the channels of each map from half the size down to 4 pixels."""
    halvings = (size // LEAST).bit_length() - 1
    if halvings < 1 or size != LEAST * 2**halvings:
        raise ConfigError(
            f"the networks of dcgan, sngan and biggan double maps of {LEAST} pixels, and {size} is not {LEAST} times "
            f"a power of 2: use a size such as 32 or 64, or dense_generator and dense_discriminator"
        )
    return [width * min(2**n, 8) for n in range(halvings)]
