"""Ways through a latent space: between two codes, along one of its numbers or two, and there and back."""

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
        steps: codes on each path, 2 or more.
        path: "linear", or "spherical" along the great circle, which keeps the length that codes of a Gaussian in
            many dimensions have. Codes that point the same way, or opposite ways, are joined by a line.

    Raises:
        ConfigError: fewer than 2 steps, another path, different shapes.

    Source: spherical arXiv:1609.04468, section 2.1.

    Example:
        >>> between(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3, "spherical")[0, 1]
        tensor([0.7071, 0.7071])
    """
    if steps < 2:
        raise ConfigError(f"{steps} steps make no path: give 2 or more")
    if path not in get_args(Way):
        raise ConfigError(f"path '{path}' is not known: use {' or '.join(get_args(Way))}")
    if a.shape != b.shape:
        raise ConfigError(f"codes of the shapes {list(a.shape)} and {list(b.shape)} have no path between them")
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
    """Return the pictures [N, steps, C, H, W] in [0, 1] between codes a and b [N, ...]; see `between`."""
    return decode_paths(model, between(a, b, steps, path), **condition)


def quantiles(n: int) -> Tensor:
    """Return the middles of `n` equally likely parts of N(0, 1), [n] from low to high."""
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (math.sqrt(2) * torch.erfinv(2 * middles - 1)).float()


def traverse(model: Model, z: Tensor, axes: Sequence[int] = (0,), steps: int = 8, **condition: Any) -> Tensor:
    """Return the pictures of a code of which one number, or two, are set to the quantiles of N(0, 1).

    Args:
        model: its task decodes codes whose numbers are about N(0, 1).
        z: codes [N, ...]; for two axes one code.
        axes: which number, or which two, counted from 0 through the flattened code.
        steps: quantiles along each axis.

    Returns:
        [N, steps, C, H, W] in [0, 1] for one axis; [steps, steps, C, H, W] for two, the first axis to the right, the
        second downwards.

    Raises:
        ConfigError: no such axis, or not one or two of them.

    Source: arXiv:1312.6114, figure 4.
    """
    size = z[0].numel()
    if len(axes) not in (1, 2) or len(set(axes)) < len(axes):
        raise ConfigError(f"{list(axes)} are not one axis or two: name one number of the code, or two different ones")
    for axis in axes:
        if not 0 <= axis < size:
            raise ConfigError(f"axis {axis} is not in the code of {type(model.task).__name__}: use 0 to {size - 1}")
    if len(axes) == 2 and len(z) != 1:
        raise ConfigError(f"{len(z)} codes have no plane in common: give one code for two axes")
    values = quantiles(steps)
    codes = z.flatten(1)[:, None].repeat(steps if len(axes) == 2 else 1, steps, 1)
    codes[..., axes[0]] = values
    if len(axes) == 2:
        codes[..., axes[1]] = values[:, None]
        path = codes.flatten(0, 1)[None]  # one path through the plane, so that what the task draws is drawn once
        return decode_paths(model, path.unflatten(2, z.shape[1:]), **condition)[0].unflatten(0, (steps, steps))
    return decode_paths(model, codes.unflatten(2, z.shape[1:]), **condition)


def reconstruct(model: Model, pictures: Any, **condition: Any) -> Tensor:
    """Return pictures [N, C, H, W] in [0, 1], encoded and decoded again."""
    need(model, "encode", "decode")
    return decode(model, encode(model, pictures), **condition)
