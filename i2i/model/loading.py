"""Load a model from a run folder or a weights file: `load("runs/cyclegan")`."""

from __future__ import annotations

import difflib
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import checkpoint, config, devices
from ..errors import ConfigError, WeightsError
from ..plugins import load_files, registry
from ..runs import Run, cards, file_of
from ..runs.files import loading, notes_of
from ..speed import Speed
from ..task import Task
from . import chain, foreign
from .budget import bounded
from .trained import Model

DEFAULT = "upscale-x2"  # the model that is used if there is no other
Plugins = str | Path | Sequence[str | Path] | None  # Python files with a register(catalog) hook


def load(
    source: str | Path | None = None,
    plugin: Plugins = None,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    speed: Speed | None = None,
) -> Model:
    """Load a trained model, or weights of other projects; docs/weights.md lists which.

    A run that was started with `--plugin FILE` loads that file again, provided it is unchanged and the run folder
    has not moved. A weights file elsewhere never causes code to be loaded: name its plugin file.

    Args:
        source: a run folder, a weights file, or a name of `i2i models`; several, separated by "|", are a `Chain`.
            None means $I2I_MODEL, else the newest finished run in ./runs, else the bundled model; stderr says which.
        plugin: a Python file, or a list of them, that registers the task.
        overrides: changes of its task, as on the command line, such as "task.test_mode=eval"; not for a chain.
        device: "auto" for $I2I_DEVICE, or else an accelerator if there is one; or "cpu", "cuda", "cuda:1", "mps", ...
        speed: "exact" for PyTorch's own kernels; "auto" for the fastest ones in float32 on this CPU; "fast" for bf16
            where the hardware has it, provided that a test on the first image shows hardly any difference. None means
            $I2I_SPEED, else "auto".

    Raises:
        WeightsError: there is no model, it is damaged, or it does not match its config.
        PluginError, ConfigError: its config uses something that is not installed, a chain is given overrides,
            `source` is of another type, or there is no such device or speed.
    """
    refuse_odd(source)
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r}: should be a list, [{overrides!r}]")
    names = chain.parts_of(source or os.environ.get("I2I_MODEL") or "")
    if len(names) > 1:
        if overrides:
            raise ConfigError(f"{', '.join(overrides)}: a chain takes no overrides; give one model")
        return chain.Chain(
            [load(name, plugin, device=device, speed=speed) for name in names], [str(name) for name in names]
        )
    where = devices.chosen(device)
    path = located(source)
    task, tree, _ = restored(path, plugin, overrides)
    file = Run.weights_of(path)
    return Model(task.to(where), tree, file if file.is_file() else path.expanduser(), speed)


def refuse_odd(source: Any) -> None:
    """Raise ConfigError unless `source` can name a model."""
    if not isinstance(source, str | os.PathLike | None):
        given = type(source).__name__
        raise ConfigError(f"a {given} is not a model: give a run, a weights file, or a name of `i2i models`")


def located(source: str | Path | None) -> Path:
    """Return the run folder or weights file that a path, a name of `i2i models`, or None means.

    Of a name and a folder called the same, the folder counts if it is a run or has weights.

    Raises:
        WeightsError: it is no such name, and the path cannot be read.
    """
    if source is None:
        return default_model()
    path, closed = Path(source).expanduser(), ""
    try:
        taken = path.exists() if not path.is_dir() else bool(files_of(path)) or Run(path).begun()
    except OSError as error:
        taken, closed = False, error.strerror or str(error)
    named = None if taken else file_of(str(source))
    if closed and named is None:
        raise WeightsError(
            f"{source}: cannot be read, {closed}; give a run, a weights file or a name of `i2i models`"
        )
    return Path(source) if named is None else named


def files_of(path: Path) -> list[Path]:
    """Return the weights files of a model; of an ncnn model also its .bin."""
    file = Run.weights_of(path)
    found = [file] if file.exists() else list(foreign.parts_of(path.expanduser()).values())
    return [*found, *(one.with_suffix(".bin") for one in found if one.with_suffix(".bin").is_file())]


def restored(
    path: Path, plugin: Plugins = None, overrides: Sequence[str] = ()
) -> tuple[Task, dict[str, Any], dict[str, str]]:
    """Return the task of a model with its weights, its config, and the metadata of its file; see `load`."""
    file = Run.weights_of(path)
    parts = {} if file.exists() else foreign.parts_of(path.expanduser())
    if not file.is_file() and not parts:
        missing = path.suffix and not path.expanduser().exists()
        what = "there is no such file" if missing else "no model here"
        names = [] if missing else [card.name for card in cards(os.devnull)]  # not of runs, which would be loaded
        near = difflib.get_close_matches(str(path), names, n=1)
        meant = f", did you mean {near[0]}?" if near else "; give a run, a weights file or a name of `i2i models`"
        raise WeightsError(f"{path}: {what}{meant}")
    if parts or foreign.format_of(file):
        load_files(plugin)
        return *foreign.adopted(path.expanduser() if parts else file, overrides), {}
    tensors, text, about = checkpoint.load_model(file)
    with plugins_of(file, about, plugin):
        tree, build = config.task_of(text, str(file), registry().catalog, overrides)
    with devices.random_state_kept(), bounded(str(file), tensors):
        task = build()
    note = checkpoint.load_weights(task, tensors, str(file))
    if note:
        print(f"i2i: {file}: {note}", file=sys.stderr)
    return task, tree, about


@contextmanager
def plugins_of(file: Path, about: dict[str, str], plugin: Plugins) -> Iterator[None]:
    """Load the plugin files of a model inside the `with` block, by the rules of `runs.files`."""
    run = Run(file.parent)
    if file == run.weights_file and run.plugins_file.exists():
        with run.plugins(plugin):
            yield
    else:
        load_files(plugin)
        with loading(notes_of(about, file)):
            yield


def default_model() -> Path:
    """Return $I2I_MODEL, or the newest finished run in ./runs, or the model that comes with i2i."""
    named = os.environ.get("I2I_MODEL")
    if named:
        return located(named)
    newest = Run.newest()
    if newest is None:
        bundled = file_of(DEFAULT)
        if bundled is None:
            raise WeightsError(
                "no model given, $I2I_MODEL is not set and ./runs contains no finished run: train one with "
                "`i2i run configs/cyclegan.yaml` or give one with -m"
            )
        say_once(f"i2i: using {DEFAULT}, which comes with i2i; `i2i models` lists others")
        return bundled
    say_once(f"i2i: using the newest finished run, {newest.folder}")
    return newest.folder


@functools.cache
def say_once(sentence: str) -> None:
    """Print a sentence on stderr, once per process."""
    print(sentence, file=sys.stderr)


def ready(model: str | Path | Model | None, plugin: Plugins = None) -> Model:
    """Return a `Model`, cached until its files change."""
    load_files(plugin)
    if isinstance(model, Model):
        return model
    refuse_odd(model)
    names = chain.parts_of(model or os.environ.get("I2I_MODEL") or "")
    if len(names) > 1:
        return chain.Chain([ready(name) for name in names], [str(name) for name in names])
    path = located(model)
    return _kept(path, tuple((file, file.stat().st_mtime_ns) for file in files_of(path)))


@functools.lru_cache(maxsize=4)
def _kept(path: Path, changed: tuple[tuple[Path, int], ...]) -> Model:
    return load(path)
