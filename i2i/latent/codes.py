"""Encoding images and decoding latent codes: the basis of all latent space tools."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from ..data import conditions
from ..devices import random_state_kept
from ..errors import ConfigError, NumericError
from ..metrics.base import device_of
from ..model import Model
from ..networks import in_parts
from ..task import Task

BATCH = 64  # images or codes per forward pass
CLAIMS = {
    "encode": "encode images",
    "decode": "decode codes",
    "prior": "draw codes",
}


def can(model: Model, *what: str) -> bool:
    """Return whether a model's task has all of `what`: "encode", "decode", "prior", "sample"."""
    return all(getattr(type(model.task), name) is not getattr(Task, name) for name in what)


def need(model: Model, *what: str) -> None:
    """Raise ConfigError unless the task has all of `what`, naming what is possible instead."""
    lacking = [CLAIMS[name] for name in what if not can(model, name)]
    if not lacking:
        return
    if can(model, "decode", "prior"):
        rest = (
            "possible: sample, interpolate, traverse, direction and edit with random codes, "
            "and neighbours in pixel space"
        )
    elif can(model, "encode", "decode"):
        rest = "possible: whatever starts from images (interpolate, traverse, reconstruct, neighbours, edit)"
    else:
        rest = "it has no latent space: use a model with one, e.g. vae"
    raise ConfigError(f"{model.source}: this model cannot {' or '.join(lacking)}; {rest}")


def prepared(model: Model, pictures: Any) -> Tensor:
    """Return one thing or a list of them as the model's task encodes them; see `gather` of its modality."""
    return model.task.makes.gather(pictures)


def unit(model: Model, x: Tensor) -> Tensor:
    """Return images in [-1, 1] as `i2i.sample` returns them: float32 in [0, 1], on the CPU."""
    made: Tensor = model.task.makes.release(x.float().cpu())
    return made


def encode(model: Model, pictures: Any) -> Tensor:
    """Return the codes [N, ...] of images; `gather` of their modality lists the accepted types.

    Raises:
        ConfigError: the task cannot encode.
        DataError: an image cannot be read.
    """
    need(model, "encode")
    return encoded(model, model.task.makes.gather(pictures))


def encoded(model: Model, x: Tensor) -> Tensor:
    """Return the codes float32 [N, ...], on the CPU, of pictures [N, C, H, W] in [-1, 1] as `prepared` returns them.

    Raises:
        ConfigError: the codes of the task are integers.
    """
    task, device = model.task.eval(), device_of(model.task)
    with torch.inference_mode():
        z = in_parts(lambda part: task.encode(part.to(device)).cpu(), x, most=BATCH)
    if not z.is_floating_point():
        raise ConfigError(
            f"{model.source}: the codes of {type(task).__name__} are discrete ({z.dtype}), so they cannot be edited "
            f"or interpolated: use a model with continuous codes, e.g. vae"
        )
    return z.float().clone()


def prior(model: Model, n: int, seed: int = 0, **condition: Any) -> Tensor:
    """Draw `n` codes [n, ...] from the prior, as `sample` does; the same seed gives the same codes."""
    need(model, "prior", "decode")
    own, _ = divided(model, condition)
    with torch.inference_mode(), random_state_kept(device_of(model.task)):
        torch.manual_seed(conditions.seed(seed))
        return model.task.eval().prior(n, **own).float().cpu().clone()


def decode(model: Model, z: Tensor, seed: int = 0, **condition: Any) -> Tensor:
    """Decode codes [N, ...] to images [N, C, H, W] in [0, 1].

    Args:
        model: a model whose task can decode.
        z: codes, float32 [N, ...].
        seed: seed of what the task draws itself, such as a label that is not given.
        condition: further arguments of the task's `prior` or `decode`, e.g. `label=3`.

    Raises:
        ConfigError: the task cannot decode, or does not accept a condition.
        NumericError: a decoded value is not finite.
    """
    return decode_paths(model, z[:, None], seed, **condition)[:, 0]


def decode_paths(model: Model, z: Tensor, seed: int = 0, **condition: Any) -> Tensor:
    """Decode paths of codes [N, steps, ...] to images [N, steps, C, H, W] in [0, 1].

    What the task draws itself, such as a label that is not given, is the same at all steps of a path.
    """
    need(model, "decode")
    _, rest = divided(model, condition)
    task, device = model.task.eval(), device_of(model.task)
    steps = []
    with torch.inference_mode(), random_state_kept(device_of(model.task)):
        for step in z.unbind(1):
            torch.manual_seed(conditions.seed(seed))
            steps.append(in_parts(lambda part: unit(model, task.decode(part.to(device), **rest)), step, most=BATCH))
    shown = torch.stack(steps, 1).clone()
    if not shown.isfinite().all():
        raise NumericError(
            f"{model.source}: the decoded images contain NaN or infinity: check the codes and the weights"
        )
    return shown


def divided(model: Model, condition: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split conditions into those of the task's `prior` and those of its `decode`.

    Raises:
        ConfigError: neither accepts a condition.
    """
    known = []
    for method in (model.task.prior, model.task.decode):
        _, *parameters = inspect.signature(method).parameters.values()
        known.append([p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD])
    for name in condition:
        if name not in known[0] + known[1]:
            raise ConfigError(
                f"this model has no condition '{name}' for its codes; "
                f"possible: {', '.join(dict.fromkeys(known[0] + known[1])) or 'none'}"
            )
    first, second = ({name: condition[name] for name in names if name in condition} for names in known)
    return first, second
