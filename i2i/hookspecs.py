"""The hooks that a plugin can implement; docs/plugin_hooks.md has examples.

A plugin is an importable module declared in the entry-point group `i2i`, whose functions with these names are
marked `@i2i.hookimpl`. By design, no hook runs before or after a training step: whatever changes the mathematics
belongs in a `Task`, where readers see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from .catalog import Catalog

if TYPE_CHECKING:
    from torch import Tensor

hookspec = pluggy.HookspecMarker("i2i")
hookimpl = pluggy.HookimplMarker("i2i")
Adopted = tuple[dict[str, Any], "dict[str, Tensor]", str]


class Card(NamedTuple):
    """A line of `i2i models`: a model that a plugin offers by name."""

    name: str  # what `-m` and `i2i.load` take
    does: str  # "upscale x2"
    takes: str  # name of the modality of the input, e.g. "image"; "" for a model that only samples
    makes: str  # name of the modality of the output
    scale: int  # size of the output / size of the input
    bytes: int  # size of the weights file
    licence: str
    quality: str  # a measured number and of what, or ""


@hookspec
def register(catalog: Catalog) -> None:
    """Add tasks, networks, losses, metrics, data sets, modalities, optimizers and schedules to the catalog."""


@hookspec
def on_log(run: Path, step: int, scalars: dict[str, float], images: dict[str, Tensor]) -> None:
    """Observe what is logged: losses, learning rates, metrics, and sample grids, uint8 [H, W, 3].

    Called on the first process only: every `train.log_every` steps, after samples, after an evaluation and
    at the end. An observer that raises is reported once and not called again in that run.
    """


@hookspec
def list_models() -> list[Card]:  # type: ignore[empty-body]
    """Return a card of each model that the plugin offers by name and that is on this computer."""


@hookspec(firstresult=True)
def resolve_weights(source: str) -> Path | None:
    """Return the weights file that a model's name or address means, or None if it is not one of the plugin's."""


@hookspec(firstresult=True)
def adopt_weights(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Adopted | None:
    """Recognise someone else's weights by their names and shapes.

    Args:
        tensors: name -> weights as in the file, without wrapping keys such as "state_dict" or "params_ema".
        metadata: "file", its name; "format", "torch", "safetensors" or "ncnn"; and what else the file contains.

    Returns:
        The `task` of a config, all tensors of that task under its own names, and what was deduced and assumed, in
        words; None if they are not of this family.
    """
