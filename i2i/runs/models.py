"""What can translate or sample now: the models of plugins, and the finished runs in ./runs.

for card in cards(): ...        # what `i2i models` prints
file_of("upscale-x2")           # the weights file that a name means
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from ..checkpoint import load_model
from ..config import task_of
from ..devices import random_state_kept
from ..errors import I2IError
from ..hookspecs import Card
from ..plugins import registry
from ..task import Task
from .files import loading, notes_of
from .folder import Run

log = logging.getLogger("i2i")


def cards(below: str | Path = "runs", only: Collection[str] | None = None) -> list[Card]:
    """Return a card of each model: those of plugins in the order of their names, then finished runs, newest first.

    A plugin or run that fails is reported and left out.

    Args:
        below: runs are found at most two folders below this one.
        only: the names of the runs that are wanted, None for all.
    """
    found: list[Card] = []
    for plugin, call in registry().each("list_models"):
        try:
            found += call()
        except Exception as error:
            log.warning("i2i: plugin '%s' could not list its models: %s: %s", plugin, type(error).__name__, error)
    return [*sorted(found, key=lambda card: card.name), *of_runs(below, only)]


def file_of(name: str) -> Path | None:
    """Return the weights file of a model that a plugin offers by name, or None. Raises: as the hook."""
    found: Path | None = registry().first("resolve_weights", source=name)
    return found


def of_runs(below: str | Path, only: Collection[str] | None) -> Iterator[Card]:
    """Yield a card of each finished run, the newest first; see `cards`."""
    for run in Run.all_finished(below):
        if only is not None and str(run.folder) not in only:
            continue
        try:
            yield of_run(run)
        except (I2IError, OSError, ValueError) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            log.warning("i2i: %s cannot be used: %s", run.folder, first)


def of_run(run: Run) -> Card:
    """Return the card of a finished run. Raises: I2IError, its model cannot be loaded here."""
    _, text, about = load_model(run.weights_file)
    with loading(notes_of(about, run.weights_file)):
        tree, build = task_of(text, str(run.weights_file), registry().catalog)
        with random_state_kept():
            task = build()
    translates = type(task).translate is not Task.translate
    scale = getattr(task.makes, "scale", 1)
    does = tree["task"]["use"] + (f" x{scale}" if scale > 1 else "") + ("" if translates else ", samples")
    quality = "; ".join(f"{key} {value:.4g}" for key, value in list(run.scores().items())[:2])
    takes = task.takes.name if translates else ""
    return Card(str(run.folder), does, takes, task.makes.name, scale, run.weights_file.stat().st_size, "", quality)
