"""Nested values <-> named tensors and a JSON tree: `tensors, tree = pack(state)`."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import WeightsError
from .tensors import plain

Key = str | int | float | None
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split nested values into named tensors and a JSON-serialisable tree; `unpack` is the inverse.

    Dicts (keys: str, int, float, bool, None), lists, tuples, None, bool, int, float, str and dense tensors keep their
    type, order, value and memory format. Tensors are detached and on the CPU, where they may share memory.

    Raises:
        WeightsError: a value of another type; names its place in the tree.

    Example:
        >>> pack({"adam": {0: torch.tensor(3.0)}, "betas": (0.5, 0.9)})
        ({'adam.0': tensor(3.)}, {'adam': {'$items': [[0, {'$tensor': 'adam.0'}]]}, 'betas': {'$tuple': [0.5, 0.9]}})
    """
    tensors: dict[str, Tensor] = {}

    def take(value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            name = place or "tensor"
            while name in tensors or name == "__metadata__":
                name += "'"
            tensors[name] = plain(value, place)
            form = CHANNELS_LAST.get(value.dim())  # fused optimizers need the memory format of their state to be kept
            last = form and not value.is_contiguous() and value.is_contiguous(memory_format=form)
            return {"$tensor": name} | ({"channels": "last"} if last else {})
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if value is None or isinstance(value, bool | int | str):
            return value
        if type(value) is list:
            return [take(item, f"{place}.{index}") for index, item in enumerate(value)]
        if type(value) in (tuple, torch.Size):
            return {"$tuple": take(list(value), place)}
        if type(value) in (dict, OrderedDict) and all(isinstance(key, Key) for key in value):
            items = [(key, take(item, f"{place}.{key}" if place else str(key))) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return dict(items)
            return {"$items": [[take(key, place), item] for key, item in items]}
        raise WeightsError(
            f"the state at '{place}' is a {type(value).__module__}.{type(value).__qualname__}: a checkpoint can "
            f"contain tensors, numbers, strings, None, and dicts, lists and tuples of these; convert it"
        )

    return tensors, take(tree, "")


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """Rebuild the nested values from the output of `pack`."""
    if isinstance(tree, list):
        return [unpack(tensors, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "$tensor" in tree:
        tensor = tensors[tree["$tensor"]]
        return tensor.contiguous(memory_format=CHANNELS_LAST[tensor.dim()]) if "channels" in tree else tensor
    if "$float" in tree:
        return float(tree["$float"])
    if "$tuple" in tree:
        return tuple(unpack(tensors, tree["$tuple"]))
    if "$items" in tree:
        return {unpack(tensors, key): unpack(tensors, item) for key, item in tree["$items"]}
    return {key: unpack(tensors, item) for key, item in tree.items()}
