"""Someone else's weights -> a task, by the hook `adopt_weights` of the plugins."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ... import checkpoint, config, devices
from ...errors import I2IError, PluginError, WeightsError
from ...plugins import registry
from ...task import Task
from .read import read
from .unwrap import bare

GENERATORS = (  # in files with several networks; averaged ones first
    *("G_ema", "g_ema", "generator_ema", "netG_ema", "ema", "generator", "netG", "net_g", "netG_A", "G_A", "G"),
    *("netG_state_dict", "generator_state_dict", "G_state_dict", "model", "net", "network"),
)
PREFIXES = 3  # parts of names that all tensors share, which are left out in turn


def adopted(path: Path, overrides: Sequence[str] = ()) -> tuple[Task, dict[str, Any]]:
    """Return a task with weights that i2i did not write, and its config; prints what was recognised on stderr.

    Args:
        path: a file, or a folder with those of several networks; see `read`.
        overrides: changes of what was deduced, such as "task.test_mode=eval".

    Raises:
        WeightsError: the file is damaged, or no plugin recognises its weights.
    """
    tensors, metadata = read(path)
    task_config, own, said = recognised(tensors, metadata, path)
    text = config.dump({"task": task_config})
    tree, build = config.task_of(text, str(path), registry().catalog, overrides)
    with devices.random_state_kept():
        task = build()
    checkpoint.load_weights(task, own, str(path))
    print(f"i2i: {path.name}: {said}", file=sys.stderr)
    return task, tree


def recognised(
    tensors: dict[str, Tensor], metadata: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Return the first answer of a plugin to the hook `adopt_weights`, with a sentence on what it deduced.

    Raises:
        WeightsError: no plugin recognises the weights; if one says what is wrong with them, this.
        PluginError: a plugin failed.
    """
    refused: WeightsError | None = None
    for network, part in networks_in(tensors):
        for plugin, call in registry().each("adopt_weights", tensors=part, metadata=metadata):
            try:
                found = call()
            except WeightsError as error:
                refused = refused or error  # another plugin may recognise them
                continue
            except I2IError as error:
                raise type(error)(f"{path}: {error}") from error
            except Exception as error:
                raise PluginError(f"{path}: plugin '{plugin}' failed: {type(error).__name__}: {error}") from error
            if found is not None:
                task_config, own, said = found
                return task_config, own, f"{said}; from its network '{network}'" if network else said
    if refused is not None:
        raise WeightsError(f"{path}: {refused}") from refused
    some = ", ".join(list(tensors)[:3])
    raise WeightsError(
        f"{path}: no installed plugin recognises these weights ({len(tensors)} tensors: {some} ...); "
        f"`i2i plugins` lists the installed ones, and pip install 'i2i[spandrel]' adds many networks"
    )


def networks_in(tensors: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the tensors, then each network in `GENERATORS`, then all without what their names have in common.

    Each comes with the name of the network, "" if it is all that there is.
    """
    yield "", tensors
    for name in GENERATORS:
        part = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        if part:
            yield (name if len(part) < len(tensors) else ""), bare(part)
    shared = tensors
    for _ in range(PREFIXES):
        first = {name.partition(".")[0] if "." in name else "" for name in shared}
        if len(first) > 1 or "" in first:
            return
        shared = {name.partition(".")[2]: value for name, value in shared.items()}
        yield "", shared
