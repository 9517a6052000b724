"""`check_config`: a config file is valid, builds, and trains for one step; `read_config`, `shipped_configs`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from ..config import Config, load, parse
from ..config.shipped import Shipped, shipped
from ..contract import check_answers
from ..data.stream import stream, validation_batch
from ..engine import Engine
from ..errors import WeightsError
from ..metrics import check_needs
from ..plugins import registry
from ..processes import ProcessGroup


def check_config(path: str | Path, *overrides: str) -> Config:
    """Check that a config parses against the catalog, builds its parts and takes one step; return it.

    Args:
        path: the config file. The plugins that it needs must be installed or loaded with `i2i.plugins.load_file`.
        overrides: `KEY=VALUE` as on the command line, to make it small enough for a test, or to name a folder of
            data that is there: `check_config("glow.yaml", "task.generator.width=4", "data.root=tests/data")`.

    Raises:
        AssertionError: written out and read again, it is another config.
        ConfigError: it is not valid, every mistake with its line, or a metric cannot judge its task and data.
        DataError: its data cannot be read; override `data.root`.
        PluginError: a part of it breaks its contract.
    """
    catalog = registry().catalog
    config = load(path, overrides, catalog)
    again = parse(config.text(), str(path), (), catalog)
    assert again.tree == config.tree, f"{path}: written out and read again, it is another config"
    torch.manual_seed(config.train.seed)
    task, data = config.task(), config.data()
    schedule = config.schedule() if config.schedule else None
    engine = Engine(task, config.optimizer, config.train, schedule=schedule)
    for name, build in config.metrics:
        with suppress(WeightsError):  # a file that this machine does not have
            check_needs(name, build(), task, data)
    check_answers(task, validation_batch(data))
    engine.step(next(stream(data, config.train, 0, 1, ProcessGroup())))
    return config


def read_config(path: str | Path, *overrides: str) -> Config:
    """Return a config that is valid against the catalog, without building its parts: `.task()` builds the task.

    Args:
        path: a file, or the name of a shipped config.
        overrides: `KEY=VALUE` as on the command line.

    Raises:
        ConfigError: it is not valid, every mistake with its line.
    """
    return load(path, overrides, registry().catalog)


def shipped_configs() -> list[Shipped]:
    """Return the configs that come with i2i and with plugins, each with its `name`, `path` and `about()`."""
    return shipped()
