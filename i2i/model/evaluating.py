"""Evaluate a trained run again: `evaluate_run(Run("runs/facades"), ["metrics=[{use: psnr}]"])`.

This is `i2i evaluate runs/facades`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import checkpoint, config, devices, files, runs
from ..errors import ConfigError
from ..plugins import registry
from ..runs import Run
from .loading import Plugins, restored


def is_a_comparison(first: str | Path, others: Sequence[str]) -> bool:
    """Return whether the arguments of `i2i evaluate` are two folders, and the first is not a run."""
    other = others[0] if len(others) == 1 and isinstance(others[0], str | Path) else None
    try:
        is_run = Run(first).config_file.is_file()
        return not is_run and other is not None and Path(first).is_dir() and Path(other).is_dir()
    except OSError as error:
        raise ConfigError(f"{error.filename or first}: cannot be read, {error.strerror}") from error


def evaluate_run(home: Run, overrides: Sequence[str], plugin: Plugins = None) -> dict[str, float]:
    """Return the metrics of a run with its published weights, and log them; see `i2i.evaluate`."""
    if not home.config_file.is_file():
        if len(overrides) == 1 and "=" not in str(overrides[0]):
            if home.folder.is_file():
                raise ConfigError(f"{home.folder} is a file: give two folders of pictures, or a run")
            if home.folder.is_dir():
                raise ConfigError(f"{overrides[0]}: there is no such folder to compare {home.folder} with")
            raise ConfigError(f"{home.folder}: there is no such folder to compare with {overrides[0]}")
        if is_a_comparison(home.folder, overrides[:1]):
            raise ConfigError(f"{overrides[1]}: two folders take no overrides; give --metrics psnr,kid")
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
    with home.plugins(plugin):
        report_other_config(home, trained)
    task = task.to(devices.chosen()).eval()
    step = int(about["step"])
    with runs.threads(chosen.train.threads):
        metrics = [(name, metric()) for name, metric in chosen.metrics]
        data = chosen.data()
        runs.refuse_what_cannot_be_judged(metrics, task, data)
        progress = runs.Line()
        numbers = runs.evaluate(task, data, metrics, seed=chosen.train.seed, step=step, line=progress)
    line = {"step": step, "overrides": list(overrides), "metrics": numbers}
    files.append_line(home.evaluations_file, json.dumps(line))
    progress.say(f"i2i: appended to {home.evaluations_file}")
    return numbers


def report_other_config(home: Run, trained: config.Config) -> None:
    """Say on stderr if config.yaml is not what the weights were trained with, such as after damage or an edit."""
    text = checkpoint.load_model(home.weights_file)[1]
    published = config.parse(text, str(home.weights_file), (), registry().catalog)
    free = ("data.workers", "train.", "schedule", "optimizer")  # no part of an evaluation, or free on a resume
    differ = [key for key in config.changed(published.tree, trained.tree) if not key.startswith(free)]
    if published.train.seed != trained.train.seed:
        differ.append("train.seed")
    if differ:
        print(
            f"i2i: {home.config_file} differs in {', '.join(differ)} from what {home.weights_file.name} was trained "
            f"with: it is evaluated as config.yaml says",
            file=sys.stderr,
        )
