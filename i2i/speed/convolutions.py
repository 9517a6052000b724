"""Convolutions by the fastest of several kernels: `with Convolutions(choices): network(x)`.

PyTorch's own kernel on the CPU is oneDNN's direct convolution. NNPACK, which is part of PyTorch too but unused by
it, needs fewer multiplications (Winograd and Fourier transforms): on CPUs without AVX-512 it takes half the time for
wide 3x3 convolutions, and a seventh for the 7x7 ones at the end of ResNet generators. Which one wins depends on the
shape and the CPU, so it is measured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .choices import Choices

LARGE = 50e6  # multiplications of a convolution from which measuring pays
Kernel = Callable[[Tensor, Tensor, Tensor | None, tuple[int, int]], Tensor]


def direct(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Convolve as PyTorch does by itself."""
    return torch.conv2d(x, weight, bias, 1, padding)


def channels_last(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Convolve with the channels of a pixel next to each other."""
    layout = torch.channels_last
    made = torch.conv2d(x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout), bias, 1, padding)
    return made.contiguous()


def nnpack(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Convolve with NNPACK, image by image: batches are slower. Directly where it is missing or rejects the shape."""
    if nnpack_works():
        run = torch._nnpack_spatial_convolution
        with suppress(RuntimeError):
            made = [run(one, weight, bias, padding, (1, 1)) for one in x.contiguous().split(1)]
            return torch.cat(made) if len(made) > 1 else made[0]
    return direct(x, weight, bias, padding)


@functools.cache
def nnpack_works() -> bool:
    """Return whether NNPACK can be used; this also initialises it."""
    with suppress(AttributeError, RuntimeError):
        return bool(torch._nnpack_available())
    return False


KERNELS: Mapping[str, Kernel] = {"direct": direct, "channels_last": channels_last, "nnpack": nnpack}


class Convolutions(TorchFunctionMode):
    """Within it, large float32 convolutions on the CPU that need no gradients run with the fastest kernel."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self.choices = choices

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch."""
        kwargs = kwargs or {}
        if func is torch.conv2d:
            found = arguments(*args, **kwargs)
            if found is not None:
                return self.convolve(*found)
        return func(*args, **kwargs)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        """Return the convolution, by the kernel that is the fastest for this shape."""
        kernels = {name: functools.partial(kernel, x, weight, bias, padding) for name, kernel in KERNELS.items()}
        return KERNELS[self.choices.best(key_of(x, weight, padding), kernels)](x, weight, bias, padding)


def key_of(x: Tensor, weight: Tensor, padding: tuple[int, int]) -> str:
    """Describe a convolution, by a power of 2 instead of the number of pixels: sizes are many."""
    out, channels, *kernel = weight.shape
    pixels = 1 << (x.shape[2] * x.shape[3] - 1).bit_length()
    sides = "x".join(map(str, kernel))
    threads = torch.get_num_threads()
    return f"{sides} {channels}->{out} of {len(x)}x{pixels} padding {padding[0]},{padding[1]} threads {threads}"


def arguments(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, int]] | None:
    """Return what a kernel needs; None if PyTorch's own should do it."""
    padding = (padding, padding) if isinstance(padding, int) else padding
    plain = (
        groups == 1
        and stride in (1, (1, 1), [1, 1])
        and dilation in (1, (1, 1), [1, 1])
        and not isinstance(padding, str)
    )
    if not plain or input.ndim != 4 or input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    if input.dtype != torch.float32 or weight.dtype != torch.float32:
        return None
    if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
        return None
    if len(input) * input.shape[2] * input.shape[3] * weight.numel() < LARGE:
        return None
    return input, weight, bias, (int(padding[0]), int(padding[1]))
