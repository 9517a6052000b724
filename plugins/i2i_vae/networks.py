"""Encoders and decoders: fully connected ones, and convolutional ones for images such as faces.

    encoder: {use: dense_encoder, widths: [400]}          # 784-400-20 with a latent of 20: 652,824 parameters
    encoder: {use: vae_conv_encoder, width: 32}           # 64 px: 32, 64, 128, 256 channels, then a linear layer

The task sets input and output shapes, the config the architecture. An encoder has two outputs per latent dimension,
mu and log sigma^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from i2i import ConfigError

LEAST = 4  # pixels: the smallest feature map of a convolutional network has a side from this to below twice this


Activation = Literal["relu", "tanh"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def dense(widths: Sequence[int], activation: Activation) -> nn.Sequential:
    """Return linear layers of these widths, with an activation after each but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class DenseEncoder(nn.Module):
    """Fully connected encoder: images to `features` outputs.

    Args:
        channels: image channels.
        size: image height and width.
        features: number of outputs per image.
        widths: of the hidden layers, from input to output.
        activation: of the hidden layers: "relu", or "tanh" as in the paper.

    Example:
        >>> DenseEncoder(1, 28, 40)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 40])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        features: int,
        /,
        widths: tuple[PositiveInt, ...] = (400,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.layers = dense([channels * size * size, *widths, features], activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] into [N, features]."""
        return self.layers(x.flatten(1))


class DenseDecoder(nn.Module):
    """Fully connected decoder: latent codes to images.

    Args:
        channels: image channels.
        size: image height and width.
        latent: latent dimensions.
        widths: of the hidden layers, from input to output.
        activation: of the hidden layers: "relu", or "tanh" as in the paper.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        /,
        widths: tuple[PositiveInt, ...] = (400,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.shape = (channels, size, size)
        self.layers = dense([latent, *widths, channels * size * size], activation)

    def forward(self, z: Tensor) -> Tensor:
        """Map [N, latent] into [N, C, H, W]."""
        return self.layers(z).unflatten(1, self.shape)


class ResidualBlock(nn.Module):
    """x plus (norm, SiLU, 3x3 convolution) applied twice; keeps the shape [N, width, H, W].

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.GroupNorm(1, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, width, H, W] to the same shape."""
        return x + self.layers(x)


class ConvEncoder(nn.Module):
    """Convolutional encoder: images to `features` outputs, by halving down to 4 to 7 pixels and a linear layer.

    Args:
        channels: image channels.
        size: image height and width: 4, 5, 6 or 7 times a power of 2, such as 28 or 64.
        features: number of outputs per image.
        width: channels of the first feature map; each halving doubles them, up to 8 times that.
        blocks: residual blocks after each halving.

    Raises:
        ConfigError: another size.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        features: int,
        /,
        width: PositiveInt = 32,
        blocks: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        widths = maps(size, width)
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *widths]):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False)]
            layers += [ResidualBlock(after) for _ in range(blocks)]
            layers += [nn.GroupNorm(1, after), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(after * smallest(size, widths) ** 2, features))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] into [N, features]."""
        return self.layers(x)


class ConvDecoder(nn.Module):
    """Convolutional decoder: latent codes to images, the mirror of `ConvEncoder` with transposed convolutions.

    Args:
        channels: image channels.
        size: image height and width: 4, 5, 6 or 7 times a power of 2, such as 28 or 64.
        latent: latent dimensions.
        width: channels of the last feature map; up to 8 times that in the first.
        blocks: residual blocks before each doubling.

    Raises:
        ConfigError: another size.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        /,
        width: PositiveInt = 32,
        blocks: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        widths = maps(size, width)[::-1]
        side = smallest(size, widths)
        layers: list[nn.Module] = [
            nn.Linear(latent, widths[0] * side**2),
            nn.Unflatten(1, (widths[0], side, side)),
        ]
        for before, after in pairwise([*widths, channels]):
            layers += [ResidualBlock(before) for _ in range(blocks)]
            layers += [nn.GroupNorm(1, before), nn.SiLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map [N, latent] into [N, C, H, W]."""
        return self.layers(z)


def maps(size: int, width: int) -> list[int]:
    """Return the channels of each feature map, from half the size down to 4 to 7 pixels."""
    halvings = (size // LEAST).bit_length() - 1
    if halvings < 1 or size % 2**halvings:
        raise ConfigError(
            f"the convolutional networks halve images down to 4 to 7 pixels, but {size} is not 4, 5, 6 or 7 times "
            f"a power of 2: use a size such as 28, 32 or 64, or dense_encoder and dense_decoder"
        )
    return [width * min(2**n, 8) for n in range(halvings)]


def smallest(size: int, widths: Sequence[int]) -> int:
    """Return the side of the smallest feature map, one per entry of `widths`."""
    return size // 2 ** len(widths)
