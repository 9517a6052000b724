"""Someone else's weights -> a task, by the hook `adopt_weights` of the plugins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from ... import checkpoint, config
from ...errors import WeightsError
from ...plugins import registry
from ...task import Task
from .read import read


def adopted(file: Path) -> tuple[Task, dict[str, Any]]:
    """Return a task with the weights of a file that i2i did not write, and its config; says what was recognised.

    Raises:
        WeightsError: the file is damaged, or no plugin recognises its weights.
    """
    tensors, metadata = read(file)
    found = registry().first("adopt_weights", tensors=tensors, metadata=metadata)
    if found is None:
        some = ", ".join(list(tensors)[:3])
        raise WeightsError(
            f"{file}: no installed plugin recognises these weights ({len(tensors)} tensors: {some} ...); "
            "`i2i plugins` lists those that are installed"
        )
    task_config, own = found
    text = config.dump({"task": task_config})
    tree, build = config.task_of(text, str(file), registry().catalog)
    with torch.random.fork_rng():
        task = build()
    checkpoint.load_weights(task, own, str(file))
    print(f"i2i: {file.name}: recognised as {task_config}", file=sys.stderr)
    return task, tree
