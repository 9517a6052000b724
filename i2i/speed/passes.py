"""The kernels of a convolution and of its two gradients, by name; PyTorch's own is the first of each.

A transposed convolution is the gradient of the images of one, and the other way round, so three passes are enough:

    forward          images [N, I, H, W], weight [O, I, kh, kw]   -> results [N, O, h, w], plus a bias [O] if given
    input gradient   results, weight                              -> images, plus a bias [I] if given
    weight gradient  images, results                              -> weight

NNPACK, which is part of PyTorch but unused by it, transforms like Winograd's algorithm and by Fourier's: on CPUs
without AVX-512 it takes a seventh of the time for the 7x7 convolutions at the end of ResNet generators.

A kernel raises `Inapplicable` for what it does not compute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from . import winograd

COPIED = 4_000_000  # numbers at most in the copied patches of `matmul`, which would take much memory for large images
TRANSFORMED = 512 * 512  # channels in times channels out of Winograd's weights, which take four times the memory

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """The size [H, W] of images, that of the weight [kh, kw], and how it moves over the images."""

    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair


Bias = Tensor | None
Kernel = Callable[..., Tensor]  # of two tensors, their geometry, and perhaps a bias


class Inapplicable(RuntimeError):
    """A kernel does not compute a convolution."""


def require(applies: bool) -> None:
    """Raise Inapplicable if a kernel does not apply."""
    if not applies:
        raise Inapplicable("this kernel does not compute this convolution")


def plus(made: Tensor, bias: Bias) -> Tensor:
    """Add a bias to a result."""
    return made if bias is None else made.add_(bias[:, None, None])


def near(value: Tensor) -> Tensor:
    """Return a tensor with the channels of a pixel next to each other."""
    return value.contiguous(memory_format=torch.channels_last)


def direct_forward(x: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Convolve as PyTorch does by itself; not by `torch.conv2d`, which this package may be replacing."""
    return torch.ops.aten.convolution(x, weight, bias, at.stride, at.padding, (1, 1), False, (0, 0), 1)


def direct_input(dy: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Return the gradient of the images as PyTorch does."""
    sides = zip(at.size, dy.shape[2:], *at[1:], strict=True)
    rest = [size - ((small - 1) * stride - 2 * pad + side) for size, small, side, stride, pad in sides]
    return torch.ops.aten.convolution(dy, weight, bias, at.stride, at.padding, (1, 1), True, rest, 1)


def direct_weight(x: Tensor, dy: Tensor, at: Geometry) -> Tensor:
    """Return the gradient of the weight as PyTorch does."""
    weight = dy.new_empty(1).expand(dy.shape[1], x.shape[1], *at.kernel)  # only its shape is looked at
    rest = (at.stride, at.padding, (1, 1), False, (0, 0), 1, (False, True, False))
    found: Tensor = torch.ops.aten.convolution_backward(dy, x, weight, None, *rest)[1]
    return found


def in_other_layout(kernel: Kernel) -> Kernel:
    """Return a kernel that works with the channels of a pixel next to each other."""
    return lambda one, two, *rest: kernel(near(one), near(two), *rest).contiguous()


@functools.cache
def nnpack_works() -> bool:
    """Return whether NNPACK can be used; this also initialises it."""
    with suppress(AttributeError, RuntimeError):
        return bool(torch._nnpack_available())
    return False


def nnpack(x: Tensor, weight: Tensor, padding: Pair, bias: Bias) -> Tensor:
    """Convolve with NNPACK, image by image: batches are slower."""
    require(nnpack_works())
    try:
        made = [torch._nnpack_spatial_convolution(one, weight, bias, padding) for one in x.contiguous().split(1)]
    except RuntimeError as error:  # such as 1x1 with padding
        raise Inapplicable(str(error)) from error
    return torch.cat(made) if len(made) > 1 else made[0]


def nnpack_forward(x: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Convolve with NNPACK."""
    require(at.stride == (1, 1))
    return nnpack(x, weight, at.padding, bias)


def nnpack_input(dy: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Return the gradient of the images with NNPACK: a convolution with the weight flipped."""
    around = (at.kernel[0] - 1 - at.padding[0], at.kernel[1] - 1 - at.padding[1])
    require(at.stride == (1, 1) and min(around) >= 0)
    return nnpack(dy, weight.flip(2, 3).transpose(0, 1).contiguous(), around, bias)


def matmul_forward(x: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Convolve by one matrix product with copies of all patches; for few pixels and many channels."""
    sides = zip(*at, strict=True)
    height, width = ((size + 2 * pad - side) // stride + 1 for size, side, stride, pad in sides)
    found = weight.flatten(1) @ patches(x, at, height * width)
    return plus(found.view(len(weight), len(x), height, width).transpose(0, 1).contiguous(), bias)


def folded_forward(x: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Convolve to few channels: multiply a few rows first, then add the results up, each moved to its place."""
    around = (at.kernel[0] - 1 - at.padding[0], at.kernel[1] - 1 - at.padding[1])
    require(at.stride == (1, 1) and min(around) >= 0 and len(weight) < weight.shape[1])
    height, width = (
        size + 2 * pad - side + 1 for size, side, pad in zip(at.size, at.kernel, at.padding, strict=True)
    )
    made = x.new_zeros(len(x), len(weight), x.shape[2] + at.kernel[0] - 1, width)
    turned, rows = weight.flip(2, 3).transpose(0, 1), max(1, COPIED // (weight[:, 0].numel() * x.shape[3]))
    for image, target in zip(x.split(1), made.split(1), strict=True):
        for top, some in zip(range(0, x.shape[2], rows), image.split(rows, 2), strict=True):
            band = Geometry((some.shape[2] + at.kernel[0] - 1, width), at.kernel, (1, 1), (0, around[1]))
            target[:, :, top : top + band.size[0]] += matmul_input(some, turned, band)
    return plus(made[:, :, around[0] : around[0] + height].contiguous(), bias)


def matmul_input(dy: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Return the gradient of the images by one matrix product and a sum over patches."""
    flat = dy.transpose(0, 1).reshape(len(weight), -1)
    require(flat.shape[1] * weight[0].numel() <= COPIED)
    found = (weight.flatten(1).t() @ flat).view(-1, len(dy), flat.shape[1] // len(dy)).transpose(0, 1)
    return plus(functional.fold(found, at.size, at.kernel, 1, at.padding, at.stride), bias)


def matmul_weight(x: Tensor, dy: Tensor, at: Geometry) -> Tensor:
    """Return the gradient of the weight by one matrix product; the side with fewer channels is copied in patches."""
    around = (at.kernel[0] - 1 - at.padding[0], at.kernel[1] - 1 - at.padding[1])
    if dy.shape[1] < x.shape[1] and at.stride == (1, 1) and min(around) >= 0:  # as at the end of a generator
        turned = Geometry((dy.shape[2], dy.shape[3]), at.kernel, at.stride, around)
        found = patches(dy, turned, x.shape[2] * x.shape[3]) @ x.transpose(0, 1).reshape(x.shape[1], -1).t()
        return found.view(dy.shape[1], *at.kernel, -1).flip(1, 2).permute(0, 3, 1, 2).contiguous()
    flat = dy.transpose(0, 1).reshape(dy.shape[1], -1)
    found = flat @ patches(x, at, flat.shape[1] // len(dy)).t()
    return found.view(dy.shape[1], x.shape[1], *at.kernel)


def patches(x: Tensor, at: Geometry, places: int) -> Tensor:
    """Return the patches under the weight at all places: [I * kh * kw, N * places]."""
    require(len(x) * places * x.shape[1] * at.kernel[0] * at.kernel[1] <= COPIED)
    return functional.unfold(x, at.kernel, 1, at.padding, at.stride).transpose(0, 1).flatten(1)


def fits_winograd(one: int, two: int, at: Geometry) -> None:
    """Raise Inapplicable if Winograd's algorithm does not apply to so many channels in and out."""
    require(at.kernel == (3, 3) and at.stride == (1, 1) and max(at.padding) <= 2 and one * two <= TRANSFORMED)


def winograd_forward(x: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Convolve with Winograd's algorithm."""
    fits_winograd(weight.shape[0], weight.shape[1], at)
    return plus(winograd.forward(x, weight, at.padding), bias)


def winograd_input(dy: Tensor, weight: Tensor, at: Geometry, bias: Bias = None) -> Tensor:
    """Return the gradient of the images with Winograd's algorithm."""
    fits_winograd(weight.shape[0], weight.shape[1], at)
    return plus(winograd.input_gradient(dy, weight, at.padding, at.size), bias)


def winograd_weight(x: Tensor, dy: Tensor, at: Geometry) -> Tensor:
    """Return the gradient of the weight with Winograd's algorithm."""
    fits_winograd(x.shape[1], dy.shape[1], at)
    return winograd.weight_gradient(x, dy, at.padding)


PASSES: Mapping[str, Mapping[str, Kernel]] = {
    "forward": {
        "direct": direct_forward,
        "channels_last": in_other_layout(direct_forward),
        "nnpack": nnpack_forward,
        "winograd": winograd_forward,
        "matmul": matmul_forward,
        "folded": folded_forward,
    },
    "input": {
        "direct": direct_input,
        "channels_last": in_other_layout(direct_input),
        "nnpack": nnpack_input,
        "winograd": winograd_input,
        "matmul": matmul_input,
    },
    "weight": {
        "direct": direct_weight,
        "channels_last": in_other_layout(direct_weight),
        "winograd": winograd_weight,
        "matmul": matmul_weight,
    },
}
