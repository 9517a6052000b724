"""Configs of older versions, such as those inside their weights, in the keys of today.

`task.start_from` of `superres` and `start_from` of a `matching_encoder` are now `train.start_from`.
"""

from __future__ import annotations

from typing import Any


def renewed(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a config with keys that have moved in their new places; what is given there already stays.

    Args:
        tree: as it was read, so anything may be wrong in it; not changed.
    """
    task: Any = tree.get("task")
    source = None
    if used(task, "superres") and "start_from" in task:
        task = {**task}
        source = task.pop("start_from")
    elif isinstance(task, dict) and used(task.get("encoder"), "matching_encoder") and "start_from" in task["encoder"]:
        encoder = {**task["encoder"]}
        source = encoder.pop("start_from")
        task = {**task, "encoder": {"fixed": source is not None, **encoder}}
    moved = {**tree, "task": task} if "task" in tree else tree
    if source is not None and isinstance(tree.get("train"), dict):
        moved["train"] = {**tree["train"], "start_from": tree["train"].get("start_from") or source}
    return moved


def used(part: Any, name: str) -> bool:
    """Return whether a part of a config uses this name of the catalog."""
    return isinstance(part, dict) and part.get("use") == name
