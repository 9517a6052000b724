"""The calls of `import i2i`: run, translate, sample, load. The command line is a thin layer over these.

i2i.run("configs/cyclegan.yaml", "task.lambda_cycle=5")
out = i2i.translate("horse.jpg", "runs/cyclegan")
model = i2i.load("runs/cyclegan"); out = model(img, direction="BtoA")
"""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import config, files, loop, processes
from .errors import ConfigError
from .model import Model, load, ready
from .plugins import registry

__all__ = ["Model", "load", "ready", "run", "sample", "translate"]


def run(
    path: str | Path,
    *overrides: str,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Train and evaluate as a config says; return the run's folder.

    Args:
        path: the config file, or the name of a shipped one, such as "cyclegan".
        overrides: dotted changes to it, `"train.steps=100"`.
        out: the run's folder, by default `runs/<name of the config>`.
        resume: go on with what is there (and start afresh when nothing is).
        force: delete what is there first.

    Raises:
        I2IError: one of its kinds, with a sentence that says what to do.
    """
    chosen = config.load(path, overrides, registry().catalog)
    folder = Path(out) if out is not None else Path("runs") / chosen.name
    leads = os.environ.get("RANK", "0") == "0"
    if leads:
        claim(folder, resume=resume, force=force)
    with files.lock(folder) if leads else nullcontext():
        if leads:
            files.sweep(folder)
        # What goes wrong above does so before anybody waits for this process.
        world = processes.join(chosen.train.timeout, torch.cuda.is_available())
        try:
            world.wait()
            loop.train(chosen, folder, world, resume=resume)
        finally:
            processes.leave()
            if leads and not resume:
                forget_unstarted(folder)
    return folder


def claim(folder: Path, *, resume: bool, force: bool) -> None:
    """Make the run's folder, and never mix a new run into an old one.

    Raises:
        ConfigError: the folder holds a run already, and neither `resume` nor `force` was said, or something else.
        ResourceError: no folder can be made there.
    """
    there = folder.resolve() if folder.is_symlink() else folder  # a link to a run stays where it is
    if force and is_run(there):
        with files.lock(there):
            shutil.rmtree(there)
    files.make_folder(there)
    if not resume and any(file.name[0] != "." for file in folder.iterdir()):
        if not is_run(folder):
            raise ConfigError(f"{folder} holds other files and is no run: choose another folder with -o")
        raise ConfigError(
            f"{folder} holds a run already: say --resume to go on with it, --force to start it afresh, or -o for "
            f"another folder"
        )


def is_run(folder: Path) -> bool:
    """Say whether a run has made this folder; a config.yaml alone may lie among somebody's own files."""
    if not (folder / "config.yaml").is_file():
        return False
    begun = any((folder / name).is_file() for name in ("log.jsonl", "model.safetensors"))
    begun = begun or any((folder / "checkpoints").glob("step_*"))
    return begun or {file.name for file in folder.iterdir()} <= {".lock", "config.yaml", "samples"}


def forget_unstarted(folder: Path) -> None:
    """Take back the folder of a run that left nothing but its config, so that the next start needs no --force."""
    made = [folder / ".lock", folder / "config.yaml"]
    with suppress(OSError):  # such as a folder that is a link
        if {*folder.iterdir()} <= {*made}:
            for file in made:
                file.unlink(missing_ok=True)
            folder.rmdir()


def translate(img: Any, model: str | Path | Model | None = None, **condition: Any) -> Any:
    """Translate a picture, or a list of them; the same kind of thing comes out as went in.

    Args:
        img: PIL image, path, encoded bytes, numpy array, tensor, or a list of them.
        model: what `load` takes, or a `Model`.
        condition: what the task takes besides the picture, such as `direction="BtoA"`.

    Example:
        >>> i2i.translate("horse.jpg", "runs/cyclegan").save("zebra.png")     # doctest: +SKIP
    """
    return ready(model)(img, **condition)


def sample(n: int, model: str | Path | Model | None = None, seed: int = 0, **condition: Any) -> Tensor:
    """Return `n` new pictures of an unconditional model, float32 [n, C, H, W] in [0, 1]."""
    return ready(model).sample(n, seed, **condition)
