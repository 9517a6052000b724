"""Saving and loading checkpoints: the exact training state after a step, one folder each in `checkpoints/`.

`i2i run config.yaml --resume` skips a damaged one, without deleting it, and uses the one before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from .. import files
from ..errors import ResourceError
from ..version import __version__
from . import manifest
from .manifest import MANIFEST, Damaged, Malformed, looks_whole, sealed, sha256
from .tensors import refuse_non_finite, serialise
from .tree import pack, unpack

TENSORS, TREE = "state.safetensors", "state.json"


def save(
    folder: str | Path, step: int, state: Mapping[str, Any], keep: int, about: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/step_<step>` atomically, then delete all but the newest `keep` up to this step.

    Args:
        folder: the folder of a run's checkpoints; created if missing.
        step: number of training steps done.
        state: nested dicts, lists, tuples, tensors and plain values; see `pack`.
        keep: number of intact checkpoints to keep, at least 1.
        about: further information for readers, as JSON.

    Returns:
        The folder of the new checkpoint.

    Raises:
        NumericError: a tensor contains NaN or infinity; nothing is written.
        ResourceError: the disk is full or broken; older checkpoints are untouched.
        WeightsError: the state contains a value that cannot be saved.
    """
    folder = Path(folder)
    target = folder / f"step_{step:08d}"
    tensors, tree = pack(state)
    refuse_non_finite(tensors, target)
    about = {"i2i": __version__, "torch": torch.__version__, **(about or {})}
    text = json.dumps({"format": manifest.FORMAT, "step": step, "about": about, "tree": tree}, allow_nan=False)
    contents: dict[str, list[Any]] = {TENSORS: serialise(tensors, {}), TREE: [text.encode()]}
    listed = {name: {"sha256": sha256(parts), "size": sum(map(len, parts))} for name, parts in contents.items()}
    contents[MANIFEST] = [sealed({"files": listed, "format": manifest.FORMAT, "step": step})]
    files.make_folder(folder)
    need, free = sum(len(part) for parts in contents.values() for part in parts) + (1 << 16), files.free_bytes(folder)
    if need > free:
        raise ResourceError(
            f"{target} needs {need / 1e6:.1f} MB, but only {free / 1e6:.1f} MB are free: free some space; older "
            f"checkpoints are untouched"
        )
    files.write_folder(target, contents)
    intact = [path for number, path in checkpoints_in(folder) if number <= step and looks_whole(path)]
    for path in intact[: -max(keep, 1)]:
        files.remove(path)
    return target


def load(path: str | Path) -> tuple[int, Any]:
    """Verify a checkpoint and return its step and its state, with tensors on the CPU.

    Raises:
        WeightsError: it is damaged, not a checkpoint, or from a newer i2i; names the file and the reason.
        ResourceError: too many files are open, so that nothing can be read.
    """
    path = Path(path)
    try:
        listed = manifest.read(path)
        contents = {name: (path / name).read_bytes() for name in listed["files"]}
        for name, content in contents.items():
            if sha256([content]) != listed["files"][name]["sha256"]:
                raise ValueError(f"{name}: sha256 differs")
        document = json.loads(contents[TREE])
        if document["step"] != listed["step"]:
            raise ValueError(f"{TREE} belongs to step {document['step']}")
        return listed["step"], unpack(safetensors.torch.load(contents[TENSORS]), document["tree"])
    except Malformed as error:
        files.refuse_shortage(path, error)
        raise Damaged(path, str(error)) from error


def newest(folder: str | Path, say: Callable[[str], None]) -> tuple[Path, Any] | None:
    """Return path and state of the newest intact checkpoint; damaged ones are reported to `say` and kept.

    Raises:
        WeightsError: the newest is from a newer i2i.
    """
    damaged, found = [], None
    for _, path in reversed(checkpoints_in(Path(folder))):
        try:
            found = path, load(path)[1]
            break
        except Damaged as error:
            damaged.append((path, error.reason))
    instead = f"using {found[0].name} instead" if found else "there is no older one"
    for path, reason in damaged:
        say(f"checkpoint {path.name} is damaged ({reason}); {instead}")
    return found


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Return step and path of the checkpoints in a folder, oldest first, ignoring symlinks."""
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        files.refuse_shortage(folder, error)
        raise
    named = [path for path in paths if re.fullmatch(r"step_\d{8,}", path.name, re.ASCII)]
    return sorted((int(path.name[5:]), path) for path in named if path.is_dir() and not path.is_symlink())
