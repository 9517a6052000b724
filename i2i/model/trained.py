"""A trained task between the pictures of people and the tensors of networks: `model(img)`, `model.sample(16)`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import images
from ..data import conditions
from ..errors import ConfigError, DataError, NumericError, PluginError
from ..metrics.base import device_of
from ..task import Task


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
        self._reach: int | None = None  # measured when a picture is first cut into tiles

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.task.parameters())
        return f"<Model {type(self.task).__name__} of {self.source}: {weights:,} weights on {device_of(self.task)}>"

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
            ConfigError: the task does not translate, does not know a condition, or cannot be tiled; or a condition
                that should be a picture cannot be read, which is wrong with all calls and not with this picture.
        """
        if isinstance(img, list | tuple):
            return [self(one, tile=tile, **condition) for one in img]
        self._check(self.task.translate, condition)
        for name in self.task.images:
            if condition.get(name) is not None:
                condition[name] = self._picture(name, condition[name])
        picture = (images.take_labels if self.task.accepts == "label map" else images.take)(img)
        return picture.restore(self._translate(picture.tensor, condition, tile), self.task.colour)

    def _picture(self, name: str, img: Any) -> Any:
        """Return a condition that is a picture, or a list of them, as tensors [1, 3, H, W]."""
        if isinstance(img, list | tuple):
            return [self._picture(name, one) for one in img]
        if isinstance(img, str) and not img:  # which would be read as the folder that we are in
            raise ConfigError(f"{name}: no file is named, give {name}=FILE")
        try:
            return images.take(img).tensor.to(device_of(self.task))
        except DataError as error:
            raise ConfigError(f"{name}: {error}") from error

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
            self._reach = images.reach(network, padded, self.task.multiple)
        if self._reach is None:
            raise ConfigError(
                f"{name}: each pixel of its result depends on the whole picture (as with instance normalisation or "
                f"attention), so tiles would change it: leave the tile size away"
            )
        return self._reach

    def sample(self, n: int, seed: int = 0, **condition: Any) -> Tensor:
        """Return `n` new pictures, float32 [n, C, H, W] in [0, 1]; the same seed gives the same ones.

        Raises:
            ConfigError: the task does not sample, does not know a condition, or a number is none.
            NumericError: the pictures hold NaN or infinity.
        """
        self._check(self.task.sample, condition)
        whole = conditions.number("n", n, "a whole number from 0 up", lambda n: n >= 0 and n.is_integer())
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(conditions.seed(seed))
            made = self.task.eval().sample(int(whole), **condition).float().cpu()
        if not made.isfinite().all():
            given = ", ".join(f"{name}={value}" for name, value in condition.items())
            hint = f"do not ask for {given}" if given else "train it anew"
            raise NumericError(f"{self.source}: sampled values are not finite: {hint}")
        return ((made + 1) / 2).clamp(0, 1)

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
