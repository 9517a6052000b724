"""`i2i fit CONFIG`: memory and time of a training step on this device, and what fits, before a long run.

i2i fit configs/cyclegan.yaml
i2i fit configs/cyclegan.yaml data.size=256 --device cuda:1
i2i fit cyclegan --json > fit.json

    trial.py    a few steps of the training in a process of its own
    search.py   which batches and sizes are tried, and what they say
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from i2i.cli import DeviceOption, PluginFile, load_plugins

__all__ = ["fit"]


def fit(
    config: Annotated[str, typer.Argument(help="A config file, or a name from `i2i configs`.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides, e.g. data.size=256.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each trial, of which the first does not count.", min=2)] = 4,
    limit: Annotated[float, typer.Option(help="Seconds for each trial; longer ones end the search.", min=1)] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Measure memory and time of a training step, and find the largest batch and size that fit this device."""
    load_plugins(plugin)  # reports a broken one now
    from .search import Found, searched, table
    from .trial import Trials, read_config

    read_config(config, *(overrides or []))  # reports all mistakes, not the last one as a trial would
    trials = Trials(config, overrides or [], steps, limit, plugin or [])
    try:
        found: Found = searched(trials, lambda text: print(f"i2i: {text}", file=sys.stderr))
    finally:
        trials.clear()
    print(json.dumps(asdict(found), indent=1) if as_json else table(found))
