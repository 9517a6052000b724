"""Evaluate a trained run again: `evaluate_run(Run("runs/facades"), ["metrics=[{use: psnr}]"])`.

This is `i2i evaluate runs/facades`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import config, devices, files, runs
from ..errors import ConfigError
from ..plugins import registry
from ..runs import Run
from .loading import Plugins, restored


def is_a_comparison(first: str | Path, others: Sequence[str]) -> bool:
    """Return whether the arguments of `i2i evaluate` are two folders, and the first is not a run."""
    is_run = Run(first).config_file.is_file()
    return not is_run and len(others) == 1 and Path(first).is_dir() and Path(others[0]).is_dir()


def evaluate_run(home: Run, overrides: Sequence[str], plugin: Plugins = None) -> dict[str, float]:
    """Return the metrics of a run with its published weights, and log them; see `i2i.evaluate`."""
    if not home.config_file.is_file():
        meant = Path("runs") / home.folder
        hint = (
            f"did you mean {meant}?"
            if Run(meant).config_file.is_file()
            else "give a folder that `i2i run` has filled, or two folders of pictures"
        )
        raise ConfigError(f"{home.folder} is not a run: {hint}")
    with home.plugins(plugin):
        trained = config.load(home.config_file, (), registry().catalog)
        chosen = config.load(home.config_file, overrides, registry().catalog)
    other = [key for key in config.changed(trained.tree, chosen.tree) if key.split(".")[0] not in ("data", "metrics")]
    if other:
        raise ConfigError(f"`i2i evaluate` can change data and metrics only, not {', '.join(other)}")
    task, _, about = restored(home.folder)
    task = task.to(devices.chosen()).eval()
    step = int(about["step"])
    with runs.threads(chosen.train.threads):
        metrics = [(name, metric()) for name, metric in chosen.metrics]
        data = chosen.data()
        runs.refuse_what_cannot_be_judged(metrics, task, data)
        numbers = runs.evaluate(task, data, metrics, seed=chosen.train.seed, step=step)
    line = {"step": step, "overrides": list(overrides), "metrics": numbers}
    files.append_line(home.evaluations_file, json.dumps(line))
    print(f"i2i: appended to {home.evaluations_file}", file=sys.stderr)
    return numbers
