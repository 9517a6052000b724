"""`Recorded`: the inference of a model, from tensors to a tensor, as a module that exporters can trace.

Arguments and results are those of `Task.translate`, or of `Task.decode` for a model that samples. Padding, tiles,
alpha and types of files are not in it: they are the border, which the contract describes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from i2i import ConfigError, I2IError, Model, Task
from i2i.data import address

DRAWN = (torch.randn, torch.rand)  # what tasks call with a seeded generator


class Stage(nn.Module):
    """One task of a model, with its conditions."""

    def __init__(self, task: Task, condition: Mapping[str, Any]) -> None:
        super().__init__()
        self.task, self.condition = task, dict(condition)

        self.learned = samples(task) and draws(task) == "learned"

    def forward(self, *given: Tensor) -> Tensor:
        """Translate a batch, or decode codes [N, latent] and labels [N]; images [N, C, H, W] in [-1, 1]."""
        if not samples(self.task):
            return self.task.translate(*given, **self.condition).clamp(-1, 1)
        z, *label = given
        if self.learned:
            with Instead(z):
                z = self.task.prior(z.shape[0])
        return self.task.decode(z, *label).clamp(-1, 1)


class Recorded(nn.Module):
    """A model, or a chain of them, as a module.

    Args:
        model: what to record.
        condition: conditions of `translate`; they become constants.
        pads: whether the parts of a chain pad their inputs and crop their results, so that it takes any size.

    Attributes:
        parts: a stage for each task.
        names: of the inputs.

    Raises:
        ConfigError: a file cannot express what it takes or makes, or it has no such condition.
    """

    def __init__(self, model: Model, condition: Mapping[str, Any], *, pads: bool) -> None:
        super().__init__()
        models = list(getattr(model, "parts", [model]))
        refuse_what_no_file_expresses(models)
        self.parts = nn.ModuleList(
            Stage(with_plain_weights(one.task), given)
            for one, given in zip(models, divided(models, condition), strict=True)
        )
        first = models[0].task
        self.pads = pads and len(models) > 1
        self.names = ["z"] if samples(first) else [first.takes.name.replace(" ", "_")]
        if samples(first) and getattr(first, "classes", None):
            self.names.append("label")
        self.register_state_dict_post_hook(without_extra_state)
        self.eval()

    @property
    def tasks(self) -> list[Task]:
        """The tasks, in order."""
        return [stage.task for stage in self.parts]  # type: ignore[misc]

    def forward(self, *given: Tensor) -> Tensor:
        """Return images [N, 1 or 3, H, W] in [-1, 1]."""
        made = self._stage(0, *given)
        for at in range(1, len(self.parts)):
            made = self._stage(at, made.expand(-1, 3, -1, -1))
        return made

    def _stage(self, at: int, *given: Tensor) -> Tensor:
        """Run one part of a chain."""
        stage: Any = self.parts[at]
        if not self.pads or samples(stage.task):
            return stage(*given)
        takes, scale = stage.task.takes, stage.task.makes.scale
        height, width = given[0].shape[-2:]
        made = stage(padded(padded(given[0], -2, takes), -1, takes))
        return made[..., : height * scale, : width * scale]


def padded(x: Tensor, axis: int, takes: Any) -> Tensor:
    """Pad one axis to a multiple by reflection, as `i2i.images.pad_to_multiple`, for any size in a recording."""
    if takes.multiple == takes.minimum == 1:
        return x
    size: Any = x.shape[axis]
    if isinstance(size, Tensor):  # of a trace
        wanted, period = size.clamp(min=takes.minimum), (2 * (size - 1)).clamp(min=1)
    else:
        wanted, period = torch.sym_max(size, takes.minimum), torch.sym_max(2 * (size - 1), 1)
    wanted = (wanted + takes.multiple - 1) // takes.multiple * takes.multiple
    place = torch.arange(wanted, device=x.device) % period
    return x.index_select(axis, torch.minimum(torch.minimum(place, period - place), 0 * place + size - 1))


def draws(task: Task) -> str:
    """Return how a task draws its codes: "normal", from N(0, 1); "learned", as a function of that; or "unknown"."""
    with torch.random.fork_rng([]), torch.inference_mode():
        torch.manual_seed(0)
        drawn = task.prior(4)
        torch.manual_seed(0)
        noise = torch.randn(drawn.shape)
        if torch.equal(drawn, noise):
            return "normal"
        with Instead(noise):
            return "learned" if torch.equal(drawn, task.prior(4)) else "unknown"


class Instead(TorchFunctionMode):
    """Gives a tensor to whoever draws one from N(0, 1) inside the `with` block."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise = noise

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace `torch.randn`."""
        return self.noise if func is torch.randn else func(*args, **(kwargs or {}))


def with_plain_weights(task: Task) -> Task:
    """Return a task with the weights that spectral norm and the like make, as constants; a copy if there are any."""
    if not any(parametrize.is_parametrized(module) for module in task.modules()):
        return task
    copied = copy.deepcopy(task)
    for module in copied.modules():
        if parametrize.is_parametrized(module):
            for name, steps in module.parametrizations.items():  # type: ignore[union-attr, operator]
                with torch.no_grad():
                    steps.original.copy_(getattr(module, name))
                for at in range(len(steps)):
                    steps[at] = nn.Identity()
    return copied


def samples(task: Task) -> bool:
    """Return whether a task only samples: images from codes."""
    return type(task).translate is Task.translate


def without_extra_state(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave out of a state what is not a tensor, such as counters, which exporters do not expect."""
    for name in [name for name, value in state.items() if not isinstance(value, Tensor)]:
        del state[name]


def refuse_what_no_file_expresses(models: list[Model]) -> None:
    """Raise ConfigError unless images, label maps or codes go in, and images come out."""
    for model in models:
        task, name = model.task, type(model.task).__name__
        if task.makes.name != "image":
            raise ConfigError(f"{model.name}: {name} makes {task.makes.plural}; only images can be exported")
        if not samples(task):
            if task.takes.name not in ("image", "label map"):
                raise ConfigError(
                    f"{model.name}: {name} takes {task.takes.plural}; what is exported takes images, label "
                    f"maps or codes"
                )
            continue
        if type(task).decode is Task.decode or type(task).prior is Task.prior:
            raise ConfigError(
                f"{model.name}: {name} neither translates nor decodes codes, so there is nothing to export"
            )
        codes = None
        with torch.inference_mode(), suppress(I2IError):  # of a task that needs more, such as priors of code maps
            codes = task.prior(2)
        if not isinstance(codes, Tensor) or codes.ndim != 2:
            raise ConfigError(
                f"{model.name}: the codes of {name} are maps and not vectors [N, latent], which cannot be exported"
            )


def divided(models: list[Model], condition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the conditions of each model, with those that have a modality as tensors [1, ...].

    As in a chain, "2.direction" is that of the second model only, and "direction" of all that have it.

    Raises:
        ConfigError: nobody has a condition of this name.
    """
    found: list[dict[str, Any]] = [{} for _ in models]
    for name in sorted(condition, key=lambda name: address(name)[0] is not None):
        number, plain = address(name)
        places = [
            at
            for at, model in enumerate(models)
            if number in (None, at + 1) and not samples(model.task) and model.knows(plain)
        ]
        if not places:
            raise ConfigError(f"-c {name}: this model has no such condition")
        for at in places:
            found[at][plain] = taken(models[at].task, plain, condition[name])
    return found


def taken(task: Task, name: str, value: Any) -> Any:
    """Return a condition as the task gets it."""
    modality = task.conditions.get(name)
    if modality is None:
        return value
    return [taken(task, name, one) for one in value] if isinstance(value, list) else modality.take(value).values


class Frozen(TorchFunctionMode):
    """Makes random numbers of a fixed shape that are drawn from a seed constants of the recording.

    Those drawn from a seed in another shape depend on the input: no file can draw the same ones.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Draw outside of the recording."""
        kwargs = kwargs or {}
        if func not in DRAWN or kwargs.get("generator") is None or not all(type(side) is int for side in args):
            return func(*args, **kwargs)
        with paused():
            drawn = func(*args, **kwargs)
            values = drawn.tolist()
        return torch.tensor(values, dtype=drawn.dtype, device=drawn.device)  # recorded as a constant


def undrawable(drawn: Iterable[str], what: str) -> ConfigError:
    """Return the error of a model that draws numbers with these operations whenever it runs."""
    return ConfigError(
        f"this model draws random numbers ({', '.join(drawn)}), which {what} cannot do: give what is "
        f"drawn as a condition with -c, or turn it off with an override"
    )


@contextmanager
def paused() -> Iterator[None]:
    """Suspend tracing, or torch.export, inside the `with` block."""
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        with _disable_current_modes():
            yield
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]
