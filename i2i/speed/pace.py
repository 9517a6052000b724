"""`Pace`: runs a network at the speed asked for."""

from __future__ import annotations

import os
import sys
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from ..devices import faster_in_bf16
from ..errors import ConfigError
from .choices import Choices, cache_file
from .convolutions import Convolutions
from .half import WANTED, Half, Network

Speed = Literal["exact", "auto", "fast"]
SPEEDS = get_args(Speed)


def chosen_speed(wanted: str | None = None) -> Speed:
    """Return the speed asked for; None for $I2I_SPEED, or else "auto".

    Raises:
        ConfigError: there is no such speed.
    """
    wanted = wanted or os.environ.get("I2I_SPEED") or "auto"
    if wanted not in SPEEDS:
        raise ConfigError(f"speed is {wanted!r}: choose from {', '.join(SPEEDS)}")
    return cast("Speed", wanted)


class Pace:
    """Runs a network at a speed.

    Args:
        speed: "exact", "auto" or "fast".
        device: of the network.
        name: of the model, for messages.
        multiple: what the height and width of its input are divisible by.
        images: whether the network makes images, of which alone `fast` can tell whether they are nearly the same.
    """

    def __init__(self, speed: Speed, device: torch.device, name: str, images: bool = True, multiple: int = 1) -> None:
        self.speed, self.device, self.name = speed, device, name
        self.half = Half(device, multiple) if speed == "fast" and images and faster_in_bf16(device) else None
        self.choices = Choices(cache_file()) if speed != "exact" and device.type == "cpu" else None
        if speed == "fast" and self.half is None:
            why = "it does not make images" if not images else f"bf16 is not faster on this {device.type}"
            self._say(f"runs as with speed=auto: {why}")

    def run(self, network: Network, given: Tensor) -> Tensor:
        """Return what a network makes of images [N, C, H, W]."""
        if self.half is not None and self._bears(self.half, network, given):
            return self.half(network, given)
        return self.auto(network, given)

    def auto(self, network: Network, given: Tensor) -> Tensor:
        """Return what a network makes of images, in float32."""
        if self.choices is None:
            return network(given)
        with Convolutions(self.choices):
            return network(given)

    def _bears(self, half: Half, network: Network, given: Tensor) -> bool:
        new = half.share is None
        bears = half.bears(lambda part: self.auto(network, part), given)
        if new:
            does = "runs in bf16" if bears else "runs as with speed=auto: bf16 is too coarse for it"
            self._say(f"{does}; {half.share:.2%} of the levels of a test are within 1 of 255 (wanted: {WANTED:.1%})")
        return bears

    def _say(self, sentence: str) -> None:
        print(f"i2i: {self.name} {sentence}", file=sys.stderr)
