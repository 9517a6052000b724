"""What the families of families.py are made of: rules that rename layers, and numbers read from names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

Tensors = Mapping[str, Tensor]


class Found(NamedTuple):
    """A network as a config names it, its weights under our names, and the range of values if the layout fixes it."""

    generator: dict[str, Any]
    weights: dict[str, Tensor]
    values: tuple[float, float] | None = None


class Family(NamedTuple):
    """A published layout.

    Attributes:
        name: as its authors call it.
        rules: the renaming of layers, see `moved`, for tensors that may be of this layout.
        read: (tensors, weights under our names) -> the network, or None if their shapes are not those of one.
        ignored: a regular expression for the names of tensors to leave out.
        prepared: the tensors with what has to be computed first.
    """

    name: str
    rules: Callable[[Tensors], dict[str, str]]
    read: Callable[[Tensors, dict[str, Tensor]], Found | None]
    ignored: str = "-"
    prepared: Callable[[Tensors], Tensors] = lambda tensors: tensors

    def __call__(self, tensors: Tensors) -> Found | None:
        """Return the network, or None unless every tensor belongs to it."""
        given = self.prepared(tensors)
        weights = moved(given, self.rules(given), self.ignored)
        return self.read(given, weights) if weights else None


def moved(tensors: Tensors, rules: Mapping[str, str], ignored: str = "-") -> dict[str, Tensor] | None:
    """Return tensors by their new names, or None if a name matches no rule, or two become one.

    Args:
        tensors: name -> weights.
        rules: a regular expression for the whole name of a layer -> its new name, where {0} is the first group and
            {0-1} that minus 1.
        ignored: a regular expression for the names of tensors to leave out.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if re.fullmatch(ignored, name):
            continue
        layer, _, leaf = name.rpartition(".")
        matches = ((re.fullmatch(rule, layer), new) for rule, new in rules.items())
        new = next((filled(new, match.groups()) for match, new in matches if match), None)
        if new is None or f"{new}.{leaf}" in found:
            return None
        found[f"{new}.{leaf}"] = value
    return found


def filled(new: str, groups: tuple[str, ...]) -> str:
    """Return a name with {0}, {1} ... replaced by groups, and {0-1} by one less."""
    return re.sub(r"\{(\d)(?:-(\d))?\}", lambda m: str(int(groups[int(m[1])]) - int(m[2] or 0)), new)


def count(tensors: Tensors, pattern: str) -> int:
    """Return 1 + the greatest number that the group of `pattern` finds at the start of a name; 0 if none does."""
    most = max((int(found[1]) + 1 for name in tensors if (found := re.match(pattern, name))), default=0)
    return most if most <= len(tensors) else 0


def root(channels: int) -> int | None:
    """Return the scale of a sub-pixel convolution to 3 channels, or None."""
    scale = math.isqrt(channels // 3)
    return scale if 3 * scale**2 == channels and scale > 0 else None


def shape(tensors: Tensors, layer: str) -> tuple[int, ...]:
    """Return the shape of a convolution's weights, [out, in, height, width]; zeros if there are none."""
    found = tensors.get(f"{layer}.weight")
    return (0, 0, 0, 0) if found is None or found.ndim != 4 else tuple(found.shape)
