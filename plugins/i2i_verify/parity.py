"""Parity: the networks of a published config against the published numbers in `published.json`.

Everything runs on the meta device, which computes shapes and no values: 160 million parameters take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2i import Task
from i2i.devices import random_state_kept
from i2i.testing import read_config


@dataclass(frozen=True)
class Finding:
    """One comparison: what was looked at, what was published, what is here, and by which config."""

    what: str
    published: str
    found: str
    config: str
    source: str

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return self.published == self.found


def findings(entry: Mapping[str, Any]) -> list[Finding]:
    """Return the comparisons of one config, which are computed once.

    Args:
        entry: from `published.json`: config, overrides, source, any of parameters, shapes and order; "built_on_cpu"
            for a task whose constructor computes values.

    Raises:
        ConfigError: the config does not exist, or cannot be built.
    """
    return list(_findings(json.dumps(entry)))


@cache
def _findings(text: str) -> tuple[Finding, ...]:
    with random_state_kept(torch.device("cpu")):
        return tuple(compared(json.loads(text)))


def compared(entry: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the comparisons of one config; see `findings`."""
    overrides = entry.get("overrides", [])
    config = read_config(entry["config"], *overrides)
    device = torch.device("meta")
    with nullcontext() if "built_on_cpu" in entry else device:
        task = config.task()
    task.to(device)
    changed = [text for text in overrides if not text.startswith(("data", "task.perceptual"))]
    name = " ".join([entry["config"], *changed])

    def finding(what: str, published: Any, found: Any) -> Finding:
        return Finding(what, text_of(published), text_of(found), name, entry["source"])

    for parts, published in entry.get("parameters", {}).items():
        yield finding(f"parameters of {parts}", published, sum(count(part(task, one)) for one in parts.split("+")))
    task.eval()
    for shape in entry.get("shapes", []):
        with torch.no_grad():
            made = part(task, shape["call"])(*(value_of(spec, device) for spec in shape["given"]))
        yield finding(f"{shape['call']} of {text_of(shape['given'])}", shape["made"], shapes_of(made))
    if "order" in entry:
        task.train()
        batch = batch_of(entry["batch"], config.data if entry["batch"] == "data" else None, task, device)
        order = []
        for player, losses in task.step(batch):
            order.append(player)
            for compute in () if isinstance(losses, Mapping) else losses:  # what follows may need what parts compute
                compute()
        yield finding("update order", entry["order"], order)


def part(task: Task, name: str) -> Any:
    """Return a part or a method of a task by its name."""
    return getattr(task, name)


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def value_of(spec: Any, device: torch.device) -> Any:
    """Return a value for a specification.

    Args:
        spec: a shape, for floats; {"integers": shape}; or a number, which is returned as it is.
        device: where the tensor is created.
    """
    if isinstance(spec, Mapping):
        return torch.zeros(spec["integers"], dtype=torch.int64, device=device)
    return torch.zeros(spec, device=device) if isinstance(spec, list) else spec


def batch_of(specs: Any, data: Any, task: Task, device: torch.device) -> dict[str, Any]:
    """Return a batch of these values, or the first of a data set; what a task reads on the host stays there."""
    if data is None:
        batch = {name: value_of(spec, torch.device("cpu")) for name, spec in specs.items()}
    else:
        source = data()
        batch = source.batch(range(source.batch_size), np.random.default_rng)
    return {
        name: value.to(device) if isinstance(value, Tensor) and name not in task.on_host else value
        for name, value in batch.items()
    }


def shapes_of(made: Any) -> Any:
    """Return the shape of a result, or those of a list of results."""
    return list(made.shape) if isinstance(made, Tensor) else [shapes_of(one) for one in made]


def text_of(value: Any) -> str:
    """Return how a number, a shape or an order is written."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return text_of(value["integers"])
    if isinstance(value, list) and all(isinstance(one, int) for one in value):
        return "x".join(map(str, value)) if len(value) > 1 else str(value[0])
    return ", ".join(map(text_of, value)) if isinstance(value, list) else str(value)
