"""Every place where a plugin may speak. docs/plugin_hooks.md says the same with examples.

A plugin is an importable module declared in the entry-point group `i2i`, with functions of these names
marked `@i2i.hookimpl`. There is no hook before or after a training step on purpose: what changes the
mathematics belongs into a `Task`, where a reader sees it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from .catalog import Catalog

if TYPE_CHECKING:
    from torch import Tensor

hookspec = pluggy.HookspecMarker("i2i")
hookimpl = pluggy.HookimplMarker("i2i")


@hookspec
def register(catalog: Catalog) -> None:
    """Add tasks, networks, losses, metrics, data sets, optimizers and schedules to the catalog."""


@hookspec
def on_log(run: Path, step: int, scalars: dict[str, float], images: dict[str, Tensor]) -> None:
    """See what is logged: losses, learning rates, metrics, and pictures as uint8 [H, W, 3] grids.

    Called on the first process only, at every `train.log_every` steps, after samples, after an evaluation
    and at the end. An observer that raises is reported once and not called again in that run.
    """
