"""Paths in latent space: interpolation, traversal of one or two dimensions, and reconstruction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from ..model import Model
from .codes import decode, decode_paths, encode, need

Way = Literal["linear", "spherical"]


def between(a: Tensor, b: Tensor, steps: int = 8, path: Way = "linear") -> Tensor:
    """Return codes [N, steps, ...] from a [N, ...] to b [N, ...], both included.

    Args:
        a, b: codes of the same shape.
        steps: codes on each path, at least 2.
        path: "linear", or "spherical" along the great circle, which preserves the typical norm of high-dimensional
            Gaussian codes. Parallel and antiparallel codes are interpolated linearly.

    Raises:
        ConfigError: fewer than 2 steps, unknown path, or different shapes.

    Source: spherical arXiv:1609.04468, section 2.1.

    Example:
        >>> between(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3, "spherical")[0, 1]
        tensor([0.7071, 0.7071])
    """
    if steps < 2:
        raise ConfigError(f"a path needs at least 2 steps, not {steps}")
    if path not in get_args(Way):
        raise ConfigError(f"unknown path '{path}': use {' or '.join(get_args(Way))}")
    if a.shape != b.shape:
        raise ConfigError(f"cannot interpolate codes of different shapes {list(a.shape)} and {list(b.shape)}")
    t = torch.linspace(0, 1, steps, dtype=torch.float64)[None, :, None]
    first, last = a.flatten(1)[:, None].double(), b.flatten(1)[:, None].double()
    line = (1 - t) * first + t * last
    if path == "spherical":
        cosine = torch.nn.functional.cosine_similarity(first, last, dim=-1)[..., None]
        angle = cosine.clamp(-1, 1).acos()
        arc = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / angle.sin()
        line = torch.where(angle.sin() > 1e-4, arc, line)
    return line.float().unflatten(2, a.shape[1:])


def interpolate(model: Model, a: Tensor, b: Tensor, steps: int = 8, path: Way = "linear", **condition: Any) -> Tensor:
    """Return the images [N, steps, C, H, W] in [0, 1] on the path from codes a to b [N, ...]; see `between`."""
    return decode_paths(model, between(a, b, steps, path), **condition)


def quantiles(n: int) -> Tensor:
    """Return the midpoint quantiles of N(0, 1), at (i + 0.5) / n for i < n: [n], ascending."""
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (math.sqrt(2) * torch.erfinv(2 * middles - 1)).float()


def traverse(model: Model, z: Tensor, axes: Sequence[int] = (0,), steps: int = 8, **condition: Any) -> Tensor:
    """Traverse one or two latent dimensions, setting them to the quantiles of N(0, 1).

    Args:
        model: a model whose task decodes codes distributed about as N(0, 1).
        z: codes [N, ...]; a single code for two axes.
        axes: one or two indices into the flattened code.
        steps: number of quantiles along each axis.

    Returns:
        Images in [0, 1]: [N, steps, C, H, W] for one axis; [steps, steps, C, H, W] for two, with the first axis to
        the right and the second downwards.

    Raises:
        ConfigError: an axis out of range, or not one or two different axes.

    Source: arXiv:1312.6114, figure 4.
    """
    size = z[0].numel()
    if len(axes) not in (1, 2) or len(set(axes)) < len(axes):
        raise ConfigError(f"axes must be one or two different indices into the code, not {list(axes)}")
    for axis in axes:
        if not 0 <= axis < size:
            raise ConfigError(f"axis {axis} is out of range for {type(model.task).__name__}: use 0 to {size - 1}")
    if len(axes) == 2 and len(z) != 1:
        raise ConfigError(f"two axes need a single code, not {len(z)}: give one code")
    values = quantiles(steps)
    codes = z.flatten(1)[:, None].repeat(steps if len(axes) == 2 else 1, steps, 1)
    codes[..., axes[0]] = values
    if len(axes) == 2:
        codes[..., axes[1]] = values[:, None]
        path = codes.flatten(0, 1)[None]  # decoded as one path, so that what the task draws is the same everywhere
        return decode_paths(model, path.unflatten(2, z.shape[1:]), **condition)[0].unflatten(0, (steps, steps))
    return decode_paths(model, codes.unflatten(2, z.shape[1:]), **condition)


def reconstruct(model: Model, pictures: Any, **condition: Any) -> Tensor:
    """Encode and decode images: [N, C, H, W] in [0, 1]."""
    need(model, "encode", "decode")
    return decode(model, encode(model, pictures), **condition)
