"""Codes of pictures and pictures of codes: what every tool for a latent space starts from and ends with."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from ..data import conditions
from ..errors import ConfigError, NumericError
from ..metrics.base import device_of
from ..model import Model
from ..networks import in_parts
from ..task import Task

BATCH = 64  # pictures or codes that go through a network at a time
CLAIMS = {
    "encode": "encode pictures",
    "decode": "decode codes",
    "prior": "draw codes",
}


def can(model: Model, *what: str) -> bool:
    """Say whether a model's task has all of `what`: "encode", "decode", "prior", "sample"."""
    return all(getattr(type(model.task), name) is not getattr(Task, name) for name in what)


def need(model: Model, *what: str) -> None:
    """Raise ConfigError unless the task has all of `what`, and say what is possible instead."""
    lacking = [CLAIMS[name] for name in what if not can(model, name)]
    if not lacking:
        return
    if can(model, "decode", "prior"):
        rest = "possible are sample, interpolate and traverse of drawn codes, and neighbours in pixels"
    elif can(model, "encode", "decode"):
        rest = "possible is what starts from pictures: interpolate, traverse, reconstruct, neighbours, edit"
    else:
        rest = "it has no latent space: use a model of a task that has one, such as vae"
    raise ConfigError(f"{model.source}: {type(model.task).__name__} cannot {' or '.join(lacking)}; {rest}")


def prepared(model: Model, pictures: Any) -> Tensor:
    """Return one thing or a list of them as the model's task encodes them; see `gather` of its modality."""
    return model.task.makes.gather(pictures)


def unit(model: Model, x: Tensor) -> Tensor:
    """Return images in [-1, 1] as `i2i.sample` returns them: float32 in [0, 1], on the CPU."""
    made: Tensor = model.task.makes.release(x.float().cpu())
    return made


def encode(model: Model, pictures: Any) -> Tensor:
    """Return the codes [N, ...] of pictures; see `gather` of the modality for what they may be.

    Raises:
        ConfigError: the task cannot encode.
        DataError: a picture cannot be read.
    """
    need(model, "encode")
    return encoded(model, model.task.makes.gather(pictures))


def encoded(model: Model, x: Tensor) -> Tensor:
    task, device = model.task.eval(), device_of(model.task)
    with torch.inference_mode():
        z = in_parts(lambda part: task.encode(part.to(device)).cpu(), x, most=BATCH)
    if not z.is_floating_point():
        raise ConfigError(
            f"{model.source}: the codes of {type(task).__name__} are whole numbers ({z.dtype}), which cannot be "
            f"moved or mixed: use a model of a task with continuous codes, such as vae"
        )
    return z.float().clone()


def prior(model: Model, n: int, seed: int = 0, **condition: Any) -> Tensor:
    """Return `n` codes [n, ...], drawn as `sample` draws its own; the same seed gives the same ones."""
    need(model, "prior", "decode")
    mine, _ = divided(model, condition)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(conditions.seed(seed))
        return model.task.eval().prior(n, **mine).float().cpu().clone()


def decode(model: Model, z: Tensor, seed: int = 0, **condition: Any) -> Tensor:
    """Return the pictures [N, C, H, W] in [0, 1] of codes [N, ...].

    Args:
        model: its task decodes.
        z: codes, float32 [N, ...].
        seed: of what the task itself draws, such as a label that is not given.
        condition: what `prior` or `decode` of the task take besides, such as `label=3`.

    Raises:
        ConfigError: the task cannot decode, or does not know a condition.
        NumericError: the codes lead to values that are not finite.
    """
    return decode_paths(model, z[:, None], seed, **condition)[:, 0]


def decode_paths(model: Model, z: Tensor, seed: int = 0, **condition: Any) -> Tensor:
    """Return the pictures [N, steps, C, H, W] in [0, 1] of codes [N, steps, ...].

    What the task draws itself, such as a label that is not given, stays the same along a path.
    """
    need(model, "decode")
    _, rest = divided(model, condition)
    task, device = model.task.eval(), device_of(model.task)
    steps = []
    with torch.inference_mode(), torch.random.fork_rng():
        for step in z.unbind(1):
            torch.manual_seed(conditions.seed(seed))
            steps.append(in_parts(lambda part: unit(model, task.decode(part.to(device), **rest)), step, most=BATCH))
    shown = torch.stack(steps, 1).clone()
    if not shown.isfinite().all():
        raise NumericError(
            f"{model.source}: the pictures hold values that are not finite; are codes and weights whole?"
        )
    return shown


def divided(model: Model, condition: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which conditions are for the task's `prior` and which for its `decode`.

    Raises:
        ConfigError: one is for neither.
    """
    known = []
    for method in (model.task.prior, model.task.decode):
        _, *parameters = inspect.signature(method).parameters.values()
        known.append([p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD])
    for name in condition:
        if name not in known[0] + known[1]:
            raise ConfigError(
                f"{type(model.task).__name__} knows no condition '{name}' for its codes; "
                f"possible: {', '.join(dict.fromkeys(known[0] + known[1])) or 'none'}"
            )
    first, second = ({name: condition[name] for name in names if name in condition} for names in known)
    return first, second
