"""The weights in what a file contains, without the wrapping of the code that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

AVERAGED = ("params_ema", "g_ema", "model_ema", "state_dict_ema", "ema_state_dict", "ema")
WRAPPERS = (*AVERAGED, "params", "state_dict", "model_state_dict", "model", "g_state")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
OPTIMIZER = {"state", "param_groups"}  # the keys of the state of an optimizer
DEEPEST = 8  # level of nested networks that is looked at
MAX_VALUES = 10_000  # of what is kept beside the weights


def unwrapped(kept: Any, depth: int = 0) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors in the innermost known wrapper by name, without `PREFIXES`, and the other entries.

    The names of several networks start with their keys: {"netG": ..., "netD": ...} has "netG.conv.weight". A single
    network needs no key.
    """
    rest: dict[str, Any] = {}
    while isinstance(kept, Mapping) and (name := next((key for key in WRAPPERS if _is_state(kept.get(key))), None)):
        rest |= {str(key): value for key, value in kept.items() if key != name and not isinstance(value, Tensor)}
        kept = kept[name]
    if not _is_state(kept):
        return {}, rest
    tensors = {str(key): value for key, value in kept.items() if isinstance(value, Tensor)}
    networks = {str(key): value for key, value in kept.items() if _is_network(value)} if depth < DEEPEST else {}
    inside = {key: found for key, value in networks.items() if (found := unwrapped(value, depth + 1)[0])}
    if not inside:
        return bare(tensors), rest
    rest |= {str(key): value for key, value in kept.items() if str(key) not in {*tensors, *inside}}
    if len(inside) == 1 and all(value.ndim == 0 for value in tensors.values()):  # beside it only counters
        return next(iter(inside.values())), rest
    return tensors | {f"{key}.{name}": value for key, found in inside.items() for name, value in found.items()}, rest


def bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without a prefix of `PREFIXES` that all of them have, nor the count of `AveragedModel`."""
    found = {name: value for name, value in tensors.items() if name != "n_averaged"}
    for prefix in PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def plain_values(value: Any) -> Any:
    """Return the numbers and strings of nested dicts and lists, at most `MAX_VALUES` of them; others are dropped."""
    left = [MAX_VALUES]

    def plain(value: Any, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > 20:
            return None
        if isinstance(value, Mapping):
            return {str(key)[:200]: plain(one, depth + 1) for key, one in value.items() if left[0] > 0}
        if isinstance(value, list | tuple):
            return [plain(one, depth + 1) for one in value if left[0] > 0]
        if isinstance(value, str):
            return value[:1000]
        return value if value is None or isinstance(value, bool | int | float) else None

    return plain(value, 0)


def _is_network(found: Any) -> bool:
    return _is_state(found) and not {*found} >= OPTIMIZER


def _is_state(found: Any) -> bool:
    return isinstance(found, Mapping) and any(isinstance(value, Tensor | Mapping) for value in found.values())
