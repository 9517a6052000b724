"""The calls of `import i2i`: run, evaluate, translate, sample, load. The command line is a thin layer over these.

i2i.run("configs/cyclegan.yaml", "task.lambda_cycle=5")
out = i2i.translate("horse.jpg", "runs/cyclegan")
model = i2i.load("runs/cyclegan"); out = model(img, direction="BtoA")
numbers = i2i.evaluate("runs/cyclegan", "metrics=[{use: kid}]")
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from . import config, devices, files, loop, processes, runs
from .errors import ConfigError
from .model import Model, load, ready
from .model.evaluating import evaluate_run, is_a_comparison
from .model.loading import Plugins
from .plugins import load_files, registry
from .runs import Run

__all__ = ["Model", "evaluate", "load", "ready", "run", "sample", "translate"]


@processes.name_rank()
def run(
    path: str | Path,
    *overrides: str,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    plugin: Plugins = None,
) -> Path:
    """Train and evaluate as a config says; return the run's folder.

    Args:
        path: the config file, or the name of a shipped one, e.g. "cyclegan".
        overrides: dotted changes to it, e.g. `"train.steps=100"`.
        out: the run's folder, by default `runs/<name of the config>`, e.g. runs/paper/cyclegan.
        resume: continue the run in this folder; without one, start it.
        force: replace the run in this folder, once the new one has been checked and starts.
        plugin: a Python file, or a list of them, to register before the config is read. The run records them.

    Raises:
        I2IError: one of its kinds, with a sentence that says what to do.
    """
    chosen, home = planned(path, overrides, out, resume=resume, plugin=plugin)
    leads = processes.rank() == 0
    if leads:
        home.claim(resume=resume, force=force)
    with files.lock(home.folder) if leads else nullcontext():
        if leads:
            files.sweep(home.folder)
        try:  # errors up to here are raised before another process waits for this one
            world = processes.join(chosen.train.timeout, devices.chosen(chosen.train.device))
            world.agree("settings", lambda: runs.in_common(chosen))
            world.wait()
            loop.train(chosen, home, world, resume=resume)
            world.part()
        finally:
            processes.leave()
            if leads and not resume:
                home.forget_unstarted()
                home.restore_replaced()
    return home.folder


def planned(
    path: str | Path, overrides: Sequence[str], out: str | Path | None, *, resume: bool, plugin: Plugins
) -> tuple[config.Config, Run]:
    """Return the resolved config and the folder of a run, after loading the plugin files that it needs."""
    home = Run(out if out is not None else Path("runs") / config.run_name(path))
    with home.plugins(plugin, recorded=resume):
        return config.load(path, overrides, registry().catalog), home


def evaluate(
    run: str | Path, *overrides: str, metrics: str | Sequence[Any] | None = None, plugin: Plugins = None
) -> dict[str, float]:
    """Evaluate a trained run again, on its published weights; return the numbers by name.

    With two folders of pictures, `evaluate("results", "truth", metrics="psnr,kid")`, compare them without any model.

    Without overrides these are the numbers of its metrics.json, which is never rewritten. Each call appends a line
    to the run's `evaluations.jsonl`, with "step", "overrides" and "metrics".

    Args:
        run: the folder of a run that has published weights.
        overrides: dotted changes of `metrics` and `data`, e.g. `"metrics=[{use: kid}]"` or `"data.root=photos"`.
        metrics: for two folders; see `runs.evaluate_folders`.
        plugin: as for `run`.

    Raises:
        ConfigError: the folder is not a run, an override changes something else, or a metric cannot judge the task.
        WeightsError: there are no weights, or they are damaged.

    Example:
        >>> i2i.evaluate("runs/facades", "metrics=[{use: psnr}]")["psnr/db"]                # doctest: +SKIP
    """
    if is_a_comparison(run, overrides):
        load_files(plugin)
        return runs.evaluate_folders(str(run), overrides[0], metrics)
    if metrics is not None and Run(run).config_file.is_file():
        raise ConfigError(
            f"--metrics {metrics} is for two folders of pictures: give a run metrics=... as an override"
        )
    return evaluate_run(Run(run), overrides, plugin)


def translate(img: Any, model: str | Path | Model | None = None, *, plugin: Plugins = None, **condition: Any) -> Any:
    """Translate one input, or a list of them; the output has the type of the input.

    Args:
        img: what the task takes; for images a PIL image, path, encoded bytes, numpy array, tensor, or a list of them.
        model: what `load` takes, or a `Model`.
        plugin: as for `load`.
        condition: what the task takes besides, e.g. `direction="BtoA"`, and `tile`, `size` and `scale` of `Model`.

    Example:
        >>> i2i.translate("horse.jpg", "runs/cyclegan").save("zebra.png")     # doctest: +SKIP
    """
    return ready(model, plugin)(img, **condition)


def sample(
    n: int, model: str | Path | Model | None = None, seed: int = 0, *, plugin: Plugins = None, **condition: Any
) -> Any:
    """Return `n` new samples; images are float32 [n, C, H, W] in [0, 1].

    Args:
        n: how many.
        model: what `load` takes, or a `Model`.
        seed: the same seed gives the same samples.
        plugin: as for `load`.
        condition: what the task's `sample` takes, e.g. `label=3`.

    Raises:
        I2IError: as `Model.sample`.
    """
    return ready(model, plugin).sample(n, seed, **condition)
