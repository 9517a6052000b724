"""The hooks that a plugin can implement; docs/plugin_hooks.md has examples.

A plugin is an importable module declared in the entry-point group `i2i`, whose functions with these names are
marked `@i2i.hookimpl`. By design, no hook runs before or after a training step: whatever changes the mathematics
belongs in a `Task`, where readers see it.
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
    """Add tasks, networks, losses, metrics, data sets, modalities, optimizers and schedules to the catalog."""


@hookspec
def on_log(run: Path, step: int, scalars: dict[str, float], images: dict[str, Tensor]) -> None:
    """Observe what is logged: losses, learning rates, metrics, and sample grids, uint8 [H, W, 3].

    Called on the first process only: every `train.log_every` steps, after samples, after an evaluation and
    at the end. An observer that raises is reported once and not called again in that run.
    """
