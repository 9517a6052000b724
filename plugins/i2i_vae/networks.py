"""Encoders and decoders: fully connected ones, and convolutional ones for pictures such as faces.

    encoder: {use: dense_encoder, widths: [400]}          # 784-400-20 with a latent of 20: 652,824 parameters
    encoder: {use: vae_conv_encoder, width: 32}           # 64 px: 32, 64, 128, 256 channels, then a linear layer

The task says what goes in and out, the config how it is made. An encoder gives two numbers for each latent one, mu
and log sigma^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from i2i import ConfigError

LEAST = 4  # pixels: the smallest map of a convolutional network is not smaller, and not twice as large


Activation = Literal["relu", "tanh"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def dense(widths: Sequence[int], activation: Activation) -> nn.Sequential:
    """Return linear layers through these widths, an activation after each but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class DenseEncoder(nn.Module):
    """Pictures to `features` numbers through fully connected layers.

    Args:
        channels: of the pictures.
        size: their height and width.
        features: numbers for each picture.
        widths: of the hidden layers, from the picture on.
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
        """Turn [N, C, H, W] into [N, features]."""
        return self.layers(x.flatten(1))


class DenseDecoder(nn.Module):
    """Latent codes to pictures through fully connected layers.

    Args:
        channels: of the pictures.
        size: their height and width.
        latent: numbers in a code.
        widths: of the hidden layers, from the code on.
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
        """Turn [N, latent] into [N, C, H, W]."""
        return self.layers(z).unflatten(1, self.shape)


class ResidualBlock(nn.Module):
    """x plus what twice (norm, SiLU, 3x3 convolution) make of it; shape stays [N, width, H, W].

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
    """Pictures to `features` numbers: convolutions that halve down to 4 to 7 pixels, then a linear layer.

    Args:
        channels: of the pictures.
        size: their height and width: 4, 5, 6 or 7 times a power of 2, such as 28 or 64.
        features: numbers for each picture.
        width: channels of the first map; each halving doubles them, up to 8 times that.
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
        """Turn [N, C, H, W] into [N, features]."""
        return self.layers(x)


class ConvDecoder(nn.Module):
    """Latent codes to pictures: `ConvEncoder` the other way round, with transposed convolutions.

    Args:
        channels: of the pictures.
        size: their height and width: 4, 5, 6 or 7 times a power of 2, such as 28 or 64.
        latent: numbers in a code.
        width: channels of the last map; up to 8 times that in the first.
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
        """Turn [N, latent] into [N, C, H, W]."""
        return self.layers(z)


def maps(size: int, width: int) -> list[int]:
    """Return the channels of each map, from half the size down to 4 to 7 pixels."""
    halvings = (size // LEAST).bit_length() - 1
    if halvings < 1 or size % 2**halvings:
        raise ConfigError(
            f"the convolutional networks halve pictures down to 4 to 7 pixels, and {size} is not 4, 5, 6 or 7 times "
            f"a power of 2: use a size such as 28, 32 or 64, or dense_encoder and dense_decoder"
        )
    return [width * min(2**n, 8) for n in range(halvings)]


def smallest(size: int, widths: Sequence[int]) -> int:
    """Return the side of the smallest of the maps that have these channels."""
    return size // 2 ** len(widths)
