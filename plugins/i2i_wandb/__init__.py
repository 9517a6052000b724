"""Weights & Biases: `I2I_WANDB=1 i2i run CONFIG` logs into the run's folder `wandb/`, without a network.

wandb sync runs/NAME/wandb/offline-run-*                  # uploads it later
I2I_WANDB=1 WANDB_MODE=online i2i run CONFIG              # uploads it at once

Unless the variable is set, this plugin does nothing, and imports nothing. It needs `pip install 'i2i[wandb]'`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from i2i import ResourceError, files, hookimpl
from i2i.runs import Run, settings_of

VARIABLE = "I2I_WANDB"
_logs: dict[Path, Any] = {}


@hookimpl
def on_log(run: Path, step: int, scalars: dict[str, float], images: dict[str, Any]) -> None:
    """Log to Weights & Biases, if `$I2I_WANDB` asks for it."""
    if os.environ.get(VARIABLE, "0") in ("", "0"):
        return
    log = _logs.pop(run, None)
    if log is not None and step < log.step:  # the run was resumed, or started again, in this process
        log.run.finish()
        log = None
    log = log or opened(run)
    log.step = step
    pictures = {name: log.library.Image(picture.numpy()) for name, picture in images.items()}
    log.run.log({"step": step, **scalars, **pictures})
    if Run(run).finished:
        log.run.finish()
    else:
        _logs[run] = log


class Log:
    """The library, a run of it, and its latest step."""

    def __init__(self, library: Any, run: Any) -> None:
        self.library, self.run, self.step = library, run, 0


def opened(run: Path) -> Log:
    """Start a run of Weights & Biases, offline unless `$WANDB_MODE` says otherwise, with the config of the run.

    Raises:
        ResourceError: Weights & Biases is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ResourceError(
            f"{VARIABLE} is set, but Weights & Biases cannot be imported ({error}): pip install 'i2i[wandb]'"
        ) from error
    folder = run.resolve()
    files.make_folder(folder / "wandb")
    config = {one.key: one.value for one in settings_of(Run(run).config_text())}
    quiet = wandb.Settings(console="off", silent=True)
    mode: Any = os.environ.get("WANDB_MODE", "offline")
    started = wandb.init(project="i2i", name=folder.name, dir=str(folder), mode=mode, config=config, settings=quiet)
    started.define_metric("*", step_metric="step")  # a resumed run starts at an earlier step, which its own would not
    return Log(wandb, started)
