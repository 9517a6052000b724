"""From a run's folder, or a weights file, to a model: `load("runs/cyclegan")`."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import torch

from .. import checkpoint, config
from ..errors import WeightsError
from ..plugins import registry
from .trained import Model


def load(source: str | Path | None = None) -> Model:
    """Load a trained model.

    Args:
        source: a run's folder or a `model.safetensors`; None takes $I2I_MODEL, else the newest finished run
            below ./runs, and says on stderr which.

    Raises:
        WeightsError: there is none, or it is damaged, or it does not fit its config.
        PluginError, ConfigError: its config names what is not installed.
    """
    path = Path(source) if source is not None else default_model()
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"{path}: no model here; give the folder of a run or its model.safetensors")
    tensors, text, _ = checkpoint.load_model(file)
    tree, build = config.task_of(text, str(file), registry().catalog)
    with torch.random.fork_rng():
        task = build()
    note = checkpoint.load_weights(task, tensors, str(file))
    if note:
        print(f"i2i: {file}: {note}", file=sys.stderr)
    return Model(task.to("cuda" if torch.cuda.is_available() else "cpu"), tree, file)


def default_model() -> Path:
    """Return $I2I_MODEL, or the newest finished run below ./runs."""
    named = os.environ.get("I2I_MODEL")
    if named:
        return Path(named)
    found = [*Path("runs").glob("*/metrics.json"), *Path("runs").glob("*/*/metrics.json")]
    finished = sorted(found, key=lambda file: file.stat().st_mtime)
    if not finished:
        raise WeightsError(
            "no model was named, $I2I_MODEL is not set and ./runs holds no finished run: train one with "
            "`i2i run configs/cyclegan.yaml` or name one with -m"
        )
    print(f"i2i: using the newest finished run, {finished[-1].parent}", file=sys.stderr)
    return finished[-1].parent


def ready(model: str | Path | Model | None) -> Model:
    """Return a `Model`, and the same one again while its file does not change."""
    if isinstance(model, Model):
        return model
    path = Path(model) if model is not None else default_model()
    file = path / "model.safetensors" if path.is_dir() else path
    return _kept(path, file.stat().st_mtime_ns if file.exists() else 0)


@functools.lru_cache(maxsize=2)
def _kept(path: Path, changed: int) -> Model:
    return load(path)
