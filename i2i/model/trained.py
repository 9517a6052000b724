"""`Model`: a trained task that takes and returns files, images and arrays: `model(img)`, `model.sample(16)`."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from .. import checkpoint, config
from ..data import conditions
from ..devices import move, random_state_kept
from ..errors import ConfigError, DataError, NumericError, PluginError, blame
from ..images import Output, Picture, shown
from ..images.kept import Kept
from ..metrics.base import device_of
from ..modalities import Image, LabelMap, Modality, Taken
from ..speed import Pace, chosen_speed
from ..task import Task
from .memory import Need, Stage, chosen_tile, keep_few, need_of

Measure = TypeVar("Measure")
FEW = 16  # conditions whose measurements are kept


def halved(tensor: Tensor) -> Tensor:
    """Return a float32 tensor as float16, unless a value is too large for it; others as they are."""
    fits = tensor.dtype == torch.float32 and (not tensor.numel() or tensor.abs().max() < torch.finfo(torch.half).max)
    return tensor.half() if fits else tensor


def depth_of(taken: Taken) -> torch.dtype | None:
    """Return the type of the levels of an input; None for floats, and for anything that is not an image."""
    levels = isinstance(taken.like, Picture) and taken.values.dtype in (torch.uint8, torch.uint16)
    return taken.values.dtype if levels else None


def key_of(value: Any) -> Hashable:
    """Return what is equal for equal values of a condition only; of what is no plain value or tensor, for none."""
    if isinstance(value, list | tuple):
        return type(value), *map(key_of, value)
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return value.dtype, value.shape, hashlib.sha256(content.data).digest()
    return (type(value), value) if value is None or isinstance(value, bool | int | float | str) else object()


class Model:
    """A trained task as a callable; created by `load`.

    It is thread-safe and deterministic.

    Attributes:
        task: the task with its (averaged) weights, in eval mode.
        config: the resolved config it was trained with.
        source: the file it was loaded from, or the folder if that has several, as CycleGAN's do.
        speed: how fast it translates: "exact", "auto" or "fast".
    """

    def __init__(self, task: Task, config: dict[str, Any], source: Path, speed: str | None = None) -> None:
        self.task, self.config, self.source = task.eval(), config, source
        self.speed = chosen_speed(speed)
        keep_few(task)
        self._pace: Pace | None = None  # made with the first translation
        self._tilers: dict[Hashable, Any] = {}  # measured on the first call with tiles and these conditions
        self._needs: dict[Hashable, Need] = {}  # counted on the first large input with these conditions

    @property
    def name(self) -> str:
        """What messages call it: its run's folder, or its file without the suffix."""
        if self.source.is_dir():
            return self.source.name
        return self.source.parent.name if self.source.stem == "model" else self.source.stem

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.task.parameters())
        return f"<Model {type(self.task).__name__} of {self.source}: {weights:,} weights on {device_of(self.task)}>"

    def __call__(
        self,
        img: Any,
        *,
        tile: int | str | None = None,
        size: Any = None,
        scale: float | None = None,
        **condition: Any,
    ) -> Any:
        """Translate one input, or a list of them, and return the same type.

        Args:
            img: what the task takes; for images a PIL image, path, encoded bytes, array or tensor. The rules are in
                `take` of the task's modality, e.g. `i2i.modalities.Image.take`.
            tile: translate large images in square tiles of about this side, in pixels; "auto", the default, does so
                if memory is short. The result equals that of the whole image to within 1/255.
            size: of the result, if it is an image: "1920x1080", or the longer side. The network's own result is
                resampled once. An image that this would distort by more than 1 % is rejected.
            scale: the same as a factor of the input, e.g. 2.5.
            condition: further arguments of the task's `translate`, e.g. `direction="BtoA"`. Images and the like, e.g.
                `style`, are given in the same form as `img`, or as a list of several.

        Raises:
            DataError: `img` cannot be read, or is ambiguous.
            ConfigError: the task does not translate, has no such condition, or cannot be tiled; or a condition cannot
                be read, which would fail for every input.
            PluginError: the task failed; the message names its file and line.
        """
        output = Output(tile, size, scale)
        if isinstance(img, list | tuple):
            return [self(one, tile=tile, size=size, scale=scale, **condition) for one in img]
        made, like = self.translated(img, output, None, condition)
        with blame(self.task.makes, "restore"):
            return self.task.makes.restore(made, like)

    def translated(
        self, img: Any, output: Output, path: Path | None, condition: dict[str, Any], keep: Kept | None = None
    ) -> tuple[Tensor, Any]:
        """Translate one input and return the result as a tensor, and what `restore` and `save` of its modality need.

        Args:
            img, condition: see `Model`.
            output: what is asked of the result.
            path: the file that it is for; None if it is for none.
            keep: where finished rows of a large result are kept.
        """
        takes, makes = self.task.takes, self.task.makes
        self.refuse_if_it_generates()
        condition = self._prepared("translate", condition)
        makes.check(output)
        name = shown(img) if isinstance(img, str | Path) else f"the given {type(img).__name__}"
        tile = chosen_tile(self, img, output, condition, name, path)
        with blame(takes, "take"):
            taken = takes.take(img) if tile is None else takes.take_large(img)
        with blame(makes, "foresee"):
            makes.foresee(taken, takes, output, path, name)
        made = self._translate(taken, condition, tile, depth_of(taken), keep)
        with blame(makes, "resized"):
            return makes.resized(made, output), taken.like

    def _translate(
        self,
        taken: Taken,
        condition: dict[str, Any],
        tile: int | None,
        depth: torch.dtype | None = None,
        keep: Kept | None = None,
    ) -> Tensor:
        """Return the result, as floats or as levels of this depth."""
        task, who, network = self.task.eval(), f"{type(self.task).__name__}.translate", self._network(condition)
        with blame(task, "translate"):
            batch, undo = task.takes.fit({task.source: taken.values}, task.source)
            given, run = batch[task.source], partial(self.pace().run, network)
            if tile is not None:
                options: dict[str, Any] = {} if depth is None else {"depth": depth}
                options["check"] = lambda piece: self._accept(piece, who, condition)
                tiler = self.tiler(condition, given)
                if keep is not None and getattr(tiler, "keeps", False):
                    options["keep"] = keep
                if tiler.in_pieces:
                    run = tiler(run, tile, **options)
                else:
                    run = partial(self.pace().auto, tiler(network, tile, **options))
            with torch.inference_mode():
                made = undo(run(given), task.makes, who)
            return made if tile is not None else self._accept(made, who, condition)

    def pace(self) -> Pace:
        """Return what runs the network at the speed of this model."""
        if self._pace is None:
            images = isinstance(self.task.takes, Image) and isinstance(self.task.makes, Image)
            multiple = getattr(self.task.takes, "multiple", 1)
            self._pace = Pace(self.speed, device_of(self.task), self.name, images, multiple)
        return self._pace

    def _network(self, condition: dict[str, Any]) -> Callable[[Tensor], Tensor]:
        """Return the task's translate with these conditions, for inputs on any device."""
        task, device = self.task, device_of(self.task)

        def network(given: Tensor) -> Tensor:
            return task.translate(move({task.source: given}, device, task.on_host)[task.source], **condition)

        return network

    def stages(self, condition: dict[str, Any]) -> list[Stage] | None:
        """Return the networks that an input goes through; None unless they map images to images."""
        takes, makes = self.task.takes, self.task.makes
        if not (isinstance(takes, Image) and isinstance(makes, Image)):
            return None
        return [Stage(self, condition, 1, makes.scale)]

    def tiler(self, condition: dict[str, Any], like: Tensor | None = None) -> Any:
        """Return what runs the network in tiles; see `Modality.tiler`."""
        return self._measured(self._tilers, condition, lambda: self._new_tiler(condition, like))

    def _new_tiler(self, condition: dict[str, Any], like: Tensor | None) -> Any:
        takes = self.task.takes
        side = getattr(takes, "multiple", 1)
        if like is None:
            labels = isinstance(takes, LabelMap)
            like = torch.zeros(1, 1, side, side, dtype=torch.int64) if labels else torch.zeros(1, 3, side, side)
        return takes.tiler(self._network(condition), like.to(device_of(self.task)), self.task.makes)

    def need(self, condition: dict[str, Any]) -> Need:
        """Return the memory that the network needs; see `memory`."""
        takes = cast("Image", self.task.takes)  # see `stages`
        return self._measured(self._needs, condition, lambda: need_of(self._network(condition), takes))

    def _measured(
        self, known: dict[Hashable, Measure], condition: dict[str, Any], measure: Callable[[], Measure]
    ) -> Measure:
        """Return what is known of the network with these conditions, or measure it now."""
        key = tuple((name, key_of(condition[name])) for name in sorted(condition))
        found = known.get(key)
        if found is None:
            with blame(self.task, "translate"):
                found = measure()
            if len(known) >= FEW:
                known.clear()
            known[key] = found
        return found

    def sample(self, n: int, seed: int = 0, **condition: Any) -> Any:
        """Return `n` samples, determined by the seed. Images are float32 [n, C, H, W] in [0, 1].

        Raises:
            ConfigError: the task does not sample, has no such condition, or `n` or `seed` is invalid.
            NumericError: the result contains NaN or infinity.
            PluginError: the task failed; the message names its file and line.
        """
        number = int(conditions.number("n", n, "a whole number from 0 up", lambda n: n >= 0 and n.is_integer()))
        return self.task.makes.release(self._sample(number, seed, self._prepared("sample", condition)))

    def _sample(self, number: int, seed: int, condition: dict[str, Any]) -> Tensor:
        with torch.inference_mode(), random_state_kept(device_of(self.task)), blame(self.task, "sample"):
            torch.manual_seed(conditions.seed(seed))
            made = self.task.eval().sample(number, **condition)
        made = self._accept(made, f"{type(self.task).__name__}.sample", condition)
        if len(made) != number:
            raise PluginError(f"{type(self.task).__name__}.sample({number}) made {len(made)}: it must make {number}")
        return made

    def write(self, path: str | Path, half: bool = False) -> None:
        """Write a weights file with the config inside, which `load` reads.

        Args:
            path: the file, by convention with the suffix .safetensors; it is overwritten.
            half: store float32 weights as float16, where their values allow it.

        Raises:
            ResourceError: it cannot be written.
        """
        tensors = {name: value for name, value in self.task.state_dict().items() if isinstance(value, Tensor)}
        if half:
            tensors = {name: halved(value) for name, value in tensors.items()}
        checkpoint.save_model(path, tensors, config.dump(self.config), {"source": self.source.name})

    def _accept(self, made: Any, who: str, condition: dict[str, Any]) -> Tensor:
        try:
            return self.task.makes.accept(made, who)
        except NumericError as error:
            given = ", ".join(f"{name}={value}" for name, value in condition.items() if not isinstance(value, Tensor))
            hint = f"do not use {given}" if given else "are the weights intact? If so, retrain the model"
            raise NumericError(f"{self.source}: {error}: {hint}") from error

    def refuse_if_it_generates(self) -> None:
        """Raise a ConfigError, before anything is read, if the task does not translate."""
        if type(self.task).translate is Task.translate:
            try:
                self.task.translate(torch.empty(0))
            except ConfigError as error:
                raise ConfigError(f"{self.name}: {error}") from None

    def _prepared(self, call: str, condition: dict[str, Any]) -> dict[str, Any]:
        """Check conditions of `translate` or `sample`, and return them.

        Those with a modality become tensors [1, ...] on the task's device, or lists of them.
        """
        self._check(call, condition)
        known = self.task.conditions
        return {
            name: self._thing(name, known[name], value) if name in known and value is not None else value
            for name, value in condition.items()
        }

    def _thing(self, name: str, modality: Modality, given: Any) -> Any:
        if isinstance(given, list | tuple):
            return [self._thing(name, modality, one) for one in given]
        try:
            with blame(modality, "take"):
                return modality.take(given).values.to(device_of(self.task))
        except DataError as error:
            raise ConfigError(f"{name}: {error}") from error

    def knows(self, name: str, call: str = "translate") -> bool:
        """Return whether `call`, "translate" or "sample", has a condition of this name."""
        known = self._known(call)
        return known is None or name in known

    def _is_input(self, name: str) -> bool:
        """Return whether a condition is given as a file or the like, and not as a plain value."""
        return name in self.task.conditions

    def _known(self, call: str) -> list[str] | None:
        """Return the names of the conditions of `translate` or `sample`; None if it takes any."""
        _, *known = inspect.signature(getattr(self.task, call)).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known):
            return None
        return [parameter.name for parameter in known]

    def _check(self, call: str, condition: dict[str, Any]) -> None:
        for name in condition:
            if not self.knows(name, call):
                known = ", ".join(self._known(call) or ())
                if not known:
                    raise ConfigError(f"`{call}` of this model takes no conditions: leave out '{name}'")
                raise ConfigError(f"`{call}` of this model has no condition '{name}'; possible: {known}")
            possible = self._choices(name, call)
            if isinstance(condition[name], str) and possible and condition[name] not in possible:
                raise ConfigError(f"unknown {name} '{condition[name]}': use {' or '.join(possible)}")

    def _choices(self, name: str, call: str) -> tuple[str, ...]:
        """Return the values of a condition of `translate` or `sample` whose type is a `Literal` of words, else ()."""
        try:
            kind = get_type_hints(getattr(self.task, call)).get(name)
        except (NameError, TypeError):  # annotations that are meant for type checkers only
            return ()
        words = get_args(kind) if get_origin(kind) is Literal else ()
        return words if all(isinstance(word, str) for word in words) else ()
