"""bf16 where it changes hardly anything: half the bits of float32, at several times the speed on some hardware.

    i2i translate photo.jpg -o out -m upscale-x4 --speed fast

CPUs with AMX (Intel, from 2023) run large convolutions in a quarter of the time, an AMD EPYC with AVX512-BF16 in half
of it. Whether a model tolerates it is tested on the first picture it gets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SIDE = 256  # largest height and width of the part of a picture that is tested, in pixels
WANTED = 0.999  # share of levels that may differ by at most one
Network = Callable[[Tensor], Tensor]


class Half:
    """Runs a network in bf16 if its results are nearly the same.

    Args:
        device: of the network.
        multiple: what the height and width of its input are divisible by.

    Attributes:
        share: of the levels of a test that differed by at most one of 255; None until the first call.
    """

    def __init__(self, device: torch.device, multiple: int = 1) -> None:
        self.device, self.side = device, max(multiple, SIDE // multiple * multiple)
        self.share: float | None = None

    def bears(self, network: Network, given: Tensor) -> bool:
        """Return whether the results of a network may be computed in bf16, tested on the middle of a batch.

        Args:
            network: images [N, C, H, W] -> images in [-1, 1].
            given: images that it will be given.
        """
        if self.share is None:
            top, left = ((side - min(side, self.side)) // 2 for side in given.shape[-2:])
            part = given[:1, ..., top : top + self.side, left : left + self.side]
            levels = [(made.clamp(-1, 1) * 127.5).round() for made in (network(part), self(network, part))]
            self.share = ((levels[0] - levels[1]).abs() <= 1).float().mean().item()
        return self.share >= WANTED

    def __call__(self, network: Network, given: Tensor) -> Tensor:
        """Run a network in bf16 and return a float32 result."""
        with torch.autocast(self.device.type, torch.bfloat16):
            made = network(given.contiguous(memory_format=torch.channels_last))
        return made.float()
