"""The models that are served: a card of each, and what `i2i.load` takes, by a name in which there is no path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i import Card, ConfigError, Task, load
from i2i.cli import load_plugins
from i2i.runs import cards


def menu(wanted: list[str], plugin: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the cards as dicts, and the sources by name.

    Args:
        wanted: what `-m` takes; [] for all of `i2i models`.
        plugin: files of plugins.

    Raises:
        ConfigError: there is no model at all.
        I2IError: as `i2i.load`.
    """
    load_plugins(plugin)
    names = [*dict.fromkeys(one.rstrip("/") for one in wanted)]
    known = {card.name: card for card in cards(only=names or None)}
    chosen = [known.get(name) or card_of(name) for name in names] or [*known.values()]
    if not chosen:
        raise ConfigError("there is no model to serve: train one with `i2i run`, or give one with -m")
    models, sources = [], dict[str, str]()
    for card in chosen:
        name = public_name(card.name, sources)
        sources[name] = card.name
        models.append({**card._asdict(), "name": name})
    return models, sources


def card_of(source: str) -> Card:
    """Return the card of a model that `i2i models` does not list, such as a chain or a file."""
    model = load(source)
    takes = model.task.takes.name if type(model.task).translate is not Task.translate else ""
    makes, scale = model.task.makes, getattr(model.task.makes, "scale", 1)
    weights = [value for value in model.task.state_dict().values() if isinstance(value, Tensor)]
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
    task = model.config.get("task")  # not of a chain
    does = (task["use"] if task else "chain") + f" x{scale}" * (scale > 1) + ", samples" * (not takes)
    return Card(source, does, takes, makes.name, scale, size, getattr(model.task, "licence", ""), "")


def public_name(source: str, taken: dict[str, str]) -> str:
    """Return a name for a model: its own, or for a path the last part of it."""
    parts = [part.strip() for part in source.split("|")]
    name = base = " | ".join(map(last_of, parts))
    number = 2
    while name in taken:
        name, number = f"{base} ({number})", number + 1
    return name


def last_of(part: str) -> str:
    """Return the folder of a run, or the file without its suffix, or a name of `i2i models` as it is."""
    path = Path(os.path.abspath(part)) if os.path.exists(part) else Path(part)  # "." has no name of its own
    if path.name == "model.safetensors":
        return path.parent.name
    return path.stem if path.is_file() else path.name
