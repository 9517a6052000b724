"""The calls of `import i2i`: run, translate, sample, load. The command line is a thin layer over these.

i2i.run("configs/cyclegan.yaml", "task.lambda_cycle=5")
out = i2i.translate("horse.jpg", "runs/cyclegan")
model = i2i.load("runs/cyclegan"); out = model(img, direction="BtoA")
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoint, config, files, images, loop, processes
from .errors import ConfigError, DataError, NumericError, PluginError, WeightsError
from .plugins import door
from .task import Task


class Model:
    """A trained task, ready to be called on pictures; `load` makes one.

    It may be called from several threads at once. The same picture gives the same result every time.

    Attributes:
        task: the task with its (averaged) weights, in eval mode.
        config: the resolved config it was trained with.
        source: the file it came from.
    """

    def __init__(self, task: Task, config: dict[str, Any], source: Path) -> None:
        self.task, self.config, self.source = task.eval(), config, source
        self._reach: int | None = None  # measured when a picture is first cut into tiles; -1 for "the whole picture"

    def __call__(self, img: Any, *, tile: int | None = None, **condition: Any) -> Any:
        """Translate a picture, or a list of them, and return the same kind of thing.

        Args:
            img: PIL image, path, encoded bytes, numpy array or tensor; see `i2i.images.take` for the rules, and
                `i2i.images.take_labels` for those of a task that takes label maps.
            tile: translate a large picture in squares of this side, in pixels. The result is that of the whole
                picture to 1/255; a network for which it would not be is refused.
            condition: what the task's `translate` takes besides the picture, such as `direction="BtoA"`. A condition
                that is a picture too, such as `style`, is given as `img` is; several of them as a list.

        Raises:
            DataError: the picture cannot be read, or it is not clear what it means.
            ConfigError: the task does not translate, does not know a condition, or cannot be tiled.
        """
        if isinstance(img, list | tuple):
            return [self(one, tile=tile, **condition) for one in img]
        self._check(self.task.translate, condition)
        for name in self.task.images:
            if condition.get(name) is not None:
                condition[name] = self._picture(condition[name])
        picture = (images.take_labels if self.task.accepts == "label map" else images.take)(img)
        return picture.restore(self._translate(picture.tensor, condition, tile), self.task.colour)

    def _picture(self, img: Any) -> Any:
        """Return a condition that is a picture, or a list of them, as tensors [1, 3, H, W]."""
        if isinstance(img, list | tuple):
            return [self._picture(one) for one in img]
        return images.take(img).tensor.to(device_of(self.task))

    def _translate(self, x: Tensor, condition: dict[str, Any], tile: int | None) -> Tensor:
        task = self.task.eval()
        padded, crop = images.pad_to_multiple(x.to(device_of(task)), task.multiple, minimum=task.minimum)
        network: Callable[[Tensor], Tensor] = functools.partial(task.translate, **condition)
        if tile is not None:
            overlap = self._overlap(network, padded, tile)
            network = functools.partial(
                images.tiled, network, tile=tile, overlap=overlap, scale=task.scale, multiple=task.multiple
            )
        with torch.inference_mode():
            out = crop(network(padded), task.scale)
        expected = (len(x), x.shape[2] * task.scale, x.shape[3] * task.scale)
        if (len(out), *out.shape[2:]) != expected:
            raise PluginError(
                f"{type(task).__name__}.translate made {tuple(out.shape)} from {tuple(x.shape)}; scale {task.scale} "
                f"it must keep N and give {expected[1]}x{expected[2]} pixels"
            )
        if not out.isfinite().all():
            raise NumericError(
                f"{self.source}: the translation holds values that are not finite; are the weights whole?"
            )
        return out.float().cpu()

    def _overlap(self, network: Callable[[Tensor], Tensor], padded: Tensor, tile: int) -> int:
        """Return how much tiles must overlap, measured once for each model."""
        name = type(self.task).__name__
        if self.task.accepts != "image":
            raise ConfigError(f"{name} takes label maps, which cannot be cut into tiles: leave the tile size away")
        if self._reach is None:
            found = images.reach(network, padded, self.task.multiple)
            self._reach = -1 if found is None else found
        if self._reach < 0:
            raise ConfigError(
                f"{name}: each pixel of its result depends on the whole picture (as with instance normalisation or "
                f"attention), so tiles would change it: leave the tile size away"
            )
        return self._reach

    def sample(self, n: int, seed: int = 0, **condition: Any) -> Tensor:
        """Return `n` new pictures, float32 [n, C, H, W] in [0, 1]; the same seed gives the same ones.

        Raises:
            ConfigError: the task does not sample, or does not know a condition.
        """
        self._check(self.task.sample, condition)
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(seed)
            return ((self.task.eval().sample(n, **condition) + 1) / 2).clamp(0, 1).float().cpu()

    def _check(self, method: Callable[..., Any], condition: dict[str, Any]) -> None:
        _, *known = inspect.signature(method).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known):
            return
        names = [parameter.name for parameter in known]
        for name in condition:
            if name not in names:
                raise ConfigError(
                    f"{type(self.task).__name__}.{method.__name__} knows no condition '{name}'; "
                    f"possible: {', '.join(names) or 'none'}"
                )


def run(
    path: str | Path,
    *overrides: str,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Train and evaluate as a config says; return the run's folder.

    Args:
        path: the config file.
        overrides: dotted changes to it, `"train.steps=100"`.
        out: the run's folder, by default `runs/<name of the config>`.
        resume: go on with what is there (and start afresh when nothing is).
        force: delete what is there first.

    Raises:
        I2IError: one of its kinds, with a sentence that says what to do.
    """
    chosen = config.load(path, overrides, door().catalog)
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
    return folder


def claim(folder: Path, *, resume: bool, force: bool) -> None:
    """Make the run's folder, and never mix a new run into an old one.

    Raises:
        ConfigError: the folder holds a run (or something else) already, and neither `resume` nor `force` was said.
        ResourceError: no folder can be made there.
    """
    if force and (folder / "config.yaml").exists():
        with files.lock(folder):
            shutil.rmtree(folder)
    files.make_folder(folder)
    if not resume and any(file.name[0] != "." for file in folder.iterdir()):
        raise ConfigError(
            f"{folder} holds a run already: say --resume to go on with it, --force to start it afresh, or -o for "
            f"another folder"
        )


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
    tree, build = config.task_of(text, str(file), door().catalog)
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


def translate_files(
    sources: Sequence[str],
    out: str | Path,
    model: Model,
    *,
    force: bool = False,
    tile: int | None = None,
    say: Callable[[str], None] = print,
    **condition: Any,
) -> list[str]:
    """Translate files, folders and globs into the folder `out`, keeping names and sizes.

    What is there already is left alone unless `force`, so a second call does only what is missing. A picture
    that fails does not stop the others.

    Returns:
        One sentence for each picture that could not be translated.
    """
    targets, failed = plan(sources, Path(out), say)
    done = kept = 0
    for number, (target, source) in enumerate(sorted(targets.items()), start=1):
        if target.exists() and not force:
            say(f"[{number}/{len(targets)}] {images.shown(target)} is there already")
            kept += 1
            continue
        try:
            result = model(source, tile=tile, **condition)
            files.make_folder(target.parent)
            images.save(result, target)
        except (DataError, NumericError) as error:
            failed.append(str(error))
            say(f"[{number}/{len(targets)}] {error}")
        else:
            done += 1
            say(f"[{number}/{len(targets)}] {images.shown(target)}")
    say(f"{done} translated, {kept} there already, {len(failed)} failed{':' if failed else ''}")
    for sentence in failed:  # once more, because between thousands of others nobody has seen them
        say(f"  {sentence}")
    return failed


def plan(sources: Sequence[str], out: Path, say: Callable[[str], None]) -> tuple[dict[Path, Path], list[str]]:
    """Return target -> source for all pictures in `sources`, and a sentence for each that cannot be one."""
    targets: dict[Path, Path] = {}
    failed: list[str] = []
    for source in sources:
        found, skipped = images.find([source])
        for path, why in skipped:
            sentence = f"{images.shown(path)}: {why}"
            if path == Path(source) or path.suffix.lower() in images.SUFFIXES:
                failed.append(sentence)
            say(sentence)  # a README among the pictures is mentioned, and is no failure
        for path in found:
            inside = path.relative_to(source) if Path(source).is_dir() else Path(path.name)
            target = images.writable_name(out / inside)
            if targets.setdefault(target, path) != path:
                raise ConfigError(
                    f"{images.shown(targets[target])} and {images.shown(path)} would both be {images.shown(target)}: "
                    f"translate them into two folders"
                )
    return targets, failed


def device_of(task: Task) -> torch.device:
    """Return the device that a task's weights are on."""
    return next((p.device for p in task.parameters()), torch.device("cpu"))
