"""Begin a training with the weights of another: `i2i run config.yaml train.start_from=RUN`.

Only weights are taken: optimizers, counters, replay pools and random numbers start fresh. What does not fit, such as
the discriminator of a GAN stage that starts from a run without one, is listed and keeps its own initialisation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import checkpoint
from ..config import Config
from ..errors import WeightsError
from ..task import Task
from .folder import Run
from .models import file_of

KEY = "train.start_from"


def start_from(config: Config, task: Task, *, resumed: bool, leads: bool) -> None:
    """Load the weights that `train.start_from` names into a task that is about to be trained.

    Args:
        config: names a run, a weights file, a checkpoint or a model of `i2i models`; null changes nothing.
        task: gets all tensors that have the same name, shape and dtype.
        resumed: whether the training continues from a checkpoint, which contains its weights.
        leads: whether this process prints what was loaded and what does not fit, in one line.

    Raises:
        WeightsError: there are no such weights, they are damaged, or none of them fits.
    """
    if config.train.start_from is None or resumed:
        return
    source, tensors = weights_at(config.train.start_from, leads=leads)
    own = {name: value for name, value in task.state_dict().items() if isinstance(value, Tensor)}
    tensors = {name: value for name, value in tensors.items() if not counts(value)}
    if any(name in own and checkpoint.fits(value, own[name]) for name, value in tensors.items()):
        tensors |= {name: value for name, value in own.items() if counts(value)}  # its own, so none is missing
    note = checkpoint.load_weights(task, tensors, f"{KEY}: {source}", partial=True)
    if leads:
        print(f"i2i: {note or f'{KEY}: {source}: all {len(tensors)} tensors loaded'}", file=sys.stderr)


def counts(value: Tensor) -> bool:
    """Return whether a tensor is a counter or a flag, such as the steps that a warm-up has seen."""
    return value.ndim == 0 and not value.is_floating_point()


def weights_at(named: str, *, leads: bool) -> tuple[Path, dict[str, Tensor]]:
    """Return the file or folder that a name means, and its weights by their names in the task.

    For a run these are its published weights, which are averaged or the best if it was trained so, or those of its
    newest intact checkpoint if it has not published any yet.

    Raises:
        WeightsError: there are none, or they are damaged or from another project.
    """

    def say(text: str) -> None:
        if leads:
            print(f"i2i: {text}", file=sys.stderr)

    path = Path(named).expanduser()
    try:
        path = path if path.exists() else file_of(named) or path
        file = Run.weights_of(path)
        published = file.is_file()
    except OSError as error:
        raise WeightsError(f"{KEY}: {path} cannot be read, {error.strerror}") from error
    if published:
        try:
            return file, checkpoint.load_model(file)[0]
        except WeightsError as error:
            raise WeightsError(f"{KEY}: {error}; `i2i import` converts weights of other projects") from error
    if path.is_dir() and path in dict(checkpoint.checkpoints_in(path.parent)).values():
        return path, tensors_of(checkpoint.load(path)[1])
    if found := checkpoint.newest(Run(path).checkpoints, say=say):
        return found[0], tensors_of(found[1])
    what = "contains no weights" if path.is_dir() else "does not exist"
    raise WeightsError(f"{KEY}: {path} {what}: give a run, its model.safetensors or a name of `i2i models`")


def tensors_of(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights in the state of a checkpoint, without counters, pools and other extra state."""
    return {name: value for name, value in state["engine"]["task"].items() if isinstance(value, Tensor)}
