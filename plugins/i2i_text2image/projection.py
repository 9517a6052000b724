"""Networks of the projection GAN: conditional batch norm in G, projection and a contrastive head in D.

Papers: projection arXiv:1802.05637, spectral norm arXiv:1802.05957, contrastive loss XMC-GAN arXiv:2101.04702.
Run with: `i2i run configs/text2image.yaml`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, relu

from i2i.networks import ConditionalBatchNorm, SNGANDiscriminator, spectral

from .networks import BASE, map_widths


def linear(condition: int, channels: int) -> nn.Linear:
    """Return a linear layer that is nearly 0 at first."""
    layer = nn.Linear(condition, channels)
    nn.init.normal_(layer.weight, 0.0, 0.02)
    nn.init.zeros_(layer.bias)
    return layer


class UpBlock(nn.Module):
    """Upsampling residual block: twice conditional batch norm, ReLU and conv3, upsampled before the first conv3.

    Args:
        condition: length of the condition.
        channels, out: input and output channels.
    """

    def __init__(self, condition: int, channels: int, out: int) -> None:
        super().__init__()
        self.norm_0, self.norm_1 = (ConditionalBatchNorm(n, lambda m: linear(condition, m)) for n in (channels, out))
        self.conv_0, self.conv_1 = nn.Conv2d(channels, out, 3, 1, 1), nn.Conv2d(out, out, 3, 1, 1)
        self.conv_s = nn.Conv2d(channels, out, 1)
        for layer in (self.conv_0, self.conv_1):
            nn.init.xavier_uniform_(layer.weight, 2**0.5)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, 2H, 2W]."""
        h = self.conv_0(interpolate(relu(self.norm_0(x, condition)), scale_factor=2.0))
        h = self.conv_1(relu(self.norm_1(h, condition)))
        return h + interpolate(self.conv_s(x), scale_factor=2.0)  # upsampled last: the same, for a quarter


class TextGenerator(nn.Module):
    """Codes and sentence embeddings to images: SNGAN's generator with conditional batch norm on code and sentence.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2.
        latent: length of a code.
        text: length of a sentence embedding.
        width: channels of the last feature map.
        widest: channels double from each map to the one before it, up to `widest` times `width`.

    Raises:
        ConfigError: unsupported size.

    Source: arXiv:1802.05637 figure 14, with a sentence in place of a class, and the code in every layer as in
    arXiv:1809.11096 appendix B.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        text: int,
        /,
        width: PositiveInt = 16,
        widest: PositiveInt = 8,
    ) -> None:
        super().__init__()
        widths = map_widths("text_generator", size, width, widest)[::-1]
        self.start = nn.Linear(latent + text, widths[0] * BASE**2)
        self.blocks = nn.ModuleList(UpBlock(latent + text, *pair) for pair in pairwise(widths))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.end = nn.Conv2d(widths[-1], channels, 3, 1, 1)

    def forward(self, z: Tensor, sentence: Tensor) -> Tensor:
        """Map codes [N, latent] and sentences [N, text] to images [N, C, H, W] in [-1, 1]."""
        condition = torch.cat([z, sentence], 1)
        h = self.start(condition).unflatten(1, (-1, BASE, BASE)).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, condition)
        return torch.tanh(self.end(relu(self.norm(h))))


class TextProjectionDiscriminator(nn.Module):
    """Images and sentence embeddings to one logit each: a residual network with spectral norm and a projection.

    The logit is a linear function of the pooled features plus their inner product with the projected sentence. A
    second pair of projections measures the similarity of pictures and sentences, for the contrastive loss.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2.
        text: length of a sentence embedding.
        width: channels of the first feature map.
        widest: channels double from each map to the next, up to `widest` times `width`.
        plain: blocks at 4x4 that do not halve.
        shared: length of the vectors that are compared.

    Raises:
        ConfigError: unsupported size.

    Source: arXiv:1802.05637 figure 1d with a sentence in place of a class; arXiv:2101.04702 section 4.2 for the
    similarity.
    """

    TEMPERATURE = 0.1  # as in arXiv:2101.04702

    def __init__(
        self,
        channels: int,
        size: int,
        text: int,
        /,
        width: PositiveInt = 16,
        widest: PositiveInt = 8,
        plain: NonNegativeInt = 1,
        shared: PositiveInt = 128,
    ) -> None:
        super().__init__()
        halvings = len(map_widths("text_projection_discriminator", size, width, widest)) - 1
        body = SNGANDiscriminator(channels, size, 0, width=width, widest=widest, smallest=BASE, plain=plain).body
        self.body, features = body, width * min(2 ** (halvings + plain - 1), widest)
        self.length = features
        self.linear = spectral(nn.Linear(features, 1))
        self.project = spectral(nn.Linear(text, features))
        self.of_image, self.of_text = (spectral(nn.Linear(n, shared)) for n in (features, text))

    def features(self, image: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to features [N, F]."""
        return relu(self.body(image.contiguous(memory_format=torch.channels_last))).sum((2, 3))

    def judge(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return logits [N, 1], high where features [N, F] look real and match the sentences [N, text]."""
        return self.linear(features) + (self.project(sentence) * features).sum(1, keepdim=True)

    def similarity(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return the cosine similarity of features [N, F] with sentences [M, text], over a temperature: [N, M]."""
        image, text = normalize(self.of_image(features), dim=1), normalize(self.of_text(sentence), dim=1)
        return image @ text.T / self.TEMPERATURE

    def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
        """Return logits [N, 1] of images [N, C, H, W] in [-1, 1] with sentences [N, text]."""
        return self.judge(self.features(image), sentence)
