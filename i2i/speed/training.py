"""Training at a speed: `train.speed` is exact, auto or fast.

    i2i run configs/cyclegan.yaml train.speed=exact

`exact` is what PyTorch does by itself. With `auto`, each large float32 convolution on the CPU, and each of its
gradients, is computed by the kernel that a measurement on this machine found the fastest for its shape; see
`convolutions`. `fast` is the same, and bf16 where a measurement found that faster. The choices are part of
the state of a run, so a resumed run makes the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..devices import Precision, faster_in_bf16, precision_for
from .choices import Choices, cache_file
from .convolutions import Convolutions

PROBED = 2  # steps after which nothing is replaced any more if PyTorch was always the fastest


def precision_at(speed: str, precision: Precision, device: torch.device) -> Precision:
    """Return the precision of a training: for `fast`, bf16 on a device that is faster in it, unless one is given.

    Raises:
        ConfigError: as `precision_for`.
    """
    fast = speed == "fast" and precision == "auto" and faster_in_bf16(device)
    return precision_for("bf16" if fast else precision, device)


def refusal(speed: str, precision: Precision, device: torch.device) -> str:
    """Return why `fast` does not mean bf16, or ""."""
    if speed != "fast" or precision_at(speed, precision, device) == "bf16":
        return ""
    return "train.precision says so" if precision != "auto" else f"bf16 is not faster on this {device.type}"


class Kernels:
    """The kernels with which one run trains.

    Args:
        speed: "exact", "auto" or "fast".
        device: of the networks.
        processes: that train together. Several may not choose differently, so they train as with "exact".

    Example:
        >>> kernels = Kernels("auto", torch.device("cpu"))
        >>> with kernels(step=0):
        ...     y = torch.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3))
        >>> y.shape
        torch.Size([1, 4, 6, 6])
    """

    def __init__(self, speed: str, device: torch.device, processes: int = 1) -> None:
        self.chooses = speed != "exact" and device.type == "cpu" and processes == 1
        self.choices = Choices(cache_file())

    def __call__(self, step: int) -> AbstractContextManager[Any]:
        """Return the context in which networks run in a step."""
        idle = step >= PROBED and all(name == "direct" for name in self.choices.used.values())
        return nullcontext() if idle or not self.chooses else Convolutions(self.choices, training=True)

    def state(self) -> dict[str, str] | None:
        """Return the choices of this run, or None if it makes none."""
        return dict(self.choices.used) if self.chooses else None

    def load(self, state: Mapping[str, str] | None) -> None:
        """Continue with the choices of a run; with None, that of one that made none."""
        self.chooses = self.chooses and state is not None
        self.choices.used = dict(state or {})
        self.choices.memory.clear()

    def described(self) -> str:
        """Return whose kernels this training uses."""
        return "with the kernels that are the fastest here" if self.chooses else "with PyTorch's own kernels"
