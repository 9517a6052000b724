"""A discriminator that also looks through a fixed network, for few pictures: projected GANs.

    discriminator: {use: text_projected_discriminator, width: 8, widest: 16}       # needs the file cifar_resnet20.th

Paper: arXiv:2111.01007. Run with: `i2i run configs/real/text2image_flickr.yaml`.
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from i2i.networks import spectral

from .fixed import LAYERS, Fixed, seen
from .projection import TextProjectionDiscriminator


class Head(nn.Module):
    """Feature maps [N, channels, H, W] to features [N, out]: two convolutions that halve, summed over positions."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        layers = nn.Conv2d(channels, out, 4, 2, 1), nn.Conv2d(out, out, 4, 2, 1)
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, 2**0.5)
        self.conv_0, self.conv_1 = map(spectral, layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        h: Tensor = self.conv_1(leaky_relu(self.conv_0(x), 0.2))
        return relu(h).sum((2, 3))


class TextProjectedDiscriminator(TextProjectionDiscriminator):
    """As `text_projection_discriminator`, with more features: those of heads on the layers of a fixed network.

    The fixed network is not a submodule, so its weights are neither trained nor saved.

    Args:
        channels: image channels, 1 or 3.
        size: image height and width, 4 times a power of 2.
        text: length of a sentence embedding.
        network: resnet20, trained on CIFAR-10, whose file must be found, or random_conv, which needs none. It sees
            pictures of 32 pixels.
        head: features of a head.
        weights_dir: another folder to search for the network's file.
        width, widest, plain, shared: as in `text_projection_discriminator`.

    Raises:
        ConfigError: unsupported size.
        WeightsError: the network's file is missing, when training begins.

    Source: arXiv:2111.01007 section 3.1, without mixing channels and scales, next to a network that is trained.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        text: int,
        /,
        network: Fixed = "resnet20",
        head: PositiveInt = 64,
        weights_dir: str | None = None,
        width: PositiveInt = 16,
        widest: PositiveInt = 8,
        plain: NonNegativeInt = 1,
        shared: PositiveInt = 128,
    ) -> None:
        super().__init__(channels, size, text, width, widest, plain, shared)
        self.network, self.weights_dir = network, weights_dir
        self.heads = nn.ModuleList(Head(maps, head) for maps in LAYERS[network].values())
        self.length = features = self.length + head * len(self.heads)
        self.linear, self.project = spectral(nn.Linear(features, 1)), spectral(nn.Linear(text, features))
        self.of_image = spectral(nn.Linear(features, shared))

    def features(self, image: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to features [N, F]."""
        _, maps = seen(image, self.network, self.weights_dir)
        return torch.cat([super().features(image), *(head(x) for head, x in zip(self.heads, maps, strict=True))], 1)
