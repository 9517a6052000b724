"""The contract of a task: every way to break it, each as one sentence that names the task, the file and the line.

The engine checks it while training and `i2i.testing` checks it in tests, both through this file, so that an author
reads the same sentence in either place. All checks look at Python types and shapes only: none waits for a device.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import GeneratorType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from .data.stream import Batch, to_device
from .errors import PluginError, blame
from .task import Task, Turn

END: Any = object()  # what `next` returns after the last turn; None would hide a bare `yield`


def players_of(task: Task) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters of each player.

    Raises:
        PluginError: a player has none, two players share one, or a parameter that needs a gradient is in no player.
    """
    if "_modules" not in vars(task):
        raise PluginError(f"{name_of(task)}.__init__ must call super().__init__() before it does anything else")
    with blame(task, "players"):
        given = task.players()
    place = f"({line_of(task.players)})"
    if not isinstance(given, Mapping):
        raise PluginError(
            f"{name_of(task)}.players returns a {type(given).__name__}: return a dict of lists of modules, such as "
            f'{{"G": [self.G]}} {place}'
        )
    owner: dict[nn.Parameter, str] = {}
    players: dict[str, list[nn.Parameter]] = {}
    for player, modules in given.items():
        if not isinstance(modules, (list, tuple, nn.ModuleList)) or not all(
            isinstance(m, nn.Module) for m in modules
        ):
            found = (
                [type(m).__name__ for m in modules] if isinstance(modules, (list, tuple)) else type(modules).__name__
            )
            raise PluginError(
                f"player '{player}' of {name_of(task)} must be a list of modules, such as [self.{player}], and is "
                f"{found} {place}"
            )
        players[player] = [p for module in modules for p in module.parameters() if p.requires_grad]
        if not players[player]:
            raise PluginError(f"player '{player}' of {name_of(task)} has nothing to train: list its modules {place}")
        for parameter in players[player]:
            if owner.setdefault(parameter, player) != player:
                raise PluginError(
                    f"players '{owner[parameter]}' and '{player}' of {name_of(task)} train the same weights {place}"
                )
    for key, parameter in task.named_parameters():
        if parameter.requires_grad and parameter not in owner:
            raise PluginError(f"{key} of {name_of(task)} is trained by no player: {remedy(task, key, owner)} {place}")
    return players


def remedy(task: Task, key: str, owner: Mapping[nn.Parameter, str]) -> str:
    """Return what to do about a parameter that no player trains; `owner` holds those that one does."""
    path = key.split(".")[:-1]
    for depth in range(1, len(path) + 1):
        module = ".".join(path[:depth])
        if not any(parameter in owner for parameter in task.get_submodule(module).parameters()):
            return f"add {module} to players(), or call requires_grad_(False)"
    return "move it into a module that players() lists, or call requires_grad_(False)"


def turns_of(
    task: Task,
    batch: Batch,
    players: Mapping[str, Any],
    call: str = "step 0",
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Turn]:
    """Run `task.step` and yield its turns, each of which keeps the contract.

    Args:
        task: whose step it is.
        batch: what the step trains on.
        players: what `players_of` returned.
        call: what error messages name, such as "step 3".
        context: entered around the task's own code, such as autocast.

    Raises:
        PluginError: the step raised, does not yield, or yields something else than (player, losses).
    """
    with blame(task, call):
        turns = task.step(batch)
    if not isinstance(turns, Iterator):
        raise PluginError(
            f"{name_of(task)}.step returns a {type(turns).__name__} instead of yielding: write "
            f"{example(players)} ({line_of(task.step)})"
        )
    while True:
        with blame(task, call), context():
            turn = next(turns, END)
        if turn is END:
            return
        broken = flaw_of(turn, players)
        if broken:
            raise PluginError(f"{name_of(task)}.step yields {broken} ({line_of(turns)})")
        yield cast(Turn, turn)


def flaw_of(turn: Any, players: Mapping[str, Any]) -> str:
    """Return what is wrong with what a step yielded and how to mend it, or "" if nothing is."""
    if not isinstance(turn, tuple) or len(turn) != 2 or not isinstance(turn[0], str):
        return f"a {type(turn).__name__} instead of (player, losses): write {example(players)}"
    player, losses = turn
    if player not in players:
        return f"an unknown player '{player}': players() lists {', '.join(sorted(players))}"
    if not isinstance(losses, Mapping):
        return f"a {type(losses).__name__} as the losses of player '{player}': write {example([player])}"
    if not losses:
        return f"no losses for player '{player}': a turn needs at least one, or should not be yielded"
    for name, loss in losses.items():
        if not isinstance(loss, Tensor):
            return (
                f"a {type(loss).__name__} as loss '{player}/{name}', which must be a tensor: leave it out, or use "
                f"torch.tensor({loss})"
            )
        if loss.ndim:
            return (
                f"loss '{player}/{name}' of shape {tuple(loss.shape)}, which must be a scalar: use .mean() or .sum()"
            )
    return ""


def example(players: Sequence[str] | Mapping[str, Any]) -> str:
    """Return the line that an author should have written."""
    return f'yield "{next(iter(players), "G")}", {{"name": loss}}'


def unusable_graph(task: Task, player: str, error: RuntimeError) -> str:
    """Explain why a player's loss could not be differentiated."""
    text = str(error).splitlines()[0]
    if "second time" in text or "inplace" in text:
        return (
            f"the losses of player '{player}' in {name_of(task)}.step still use a graph that an earlier turn "
            f"has used up: detach() what you carry across a yield, or compute it again after it ({text[:80]})"
        )
    if "does not require grad" in text:
        return f"the losses of player '{player}' in {name_of(task)}.step depend on none of its parameters"
    return f"the losses of player '{player}' in {name_of(task)}.step could not be differentiated: {text}"


def check_answers(task: Task, batch: Batch | None) -> None:
    """Ask a task for its pictures and validation numbers once, before training, and check both.

    The answers come from a copy that shares the weights; buffers, extra state, modes and all random states stay as
    they are. It costs one call of each method without gradients.

    Args:
        task: the task that is about to be trained, on its device.
        batch: the validation batch that `samples/` will show, on any device. If the data set has none, None: then
            only a task that keeps `Task.pictures`, which may sample, can be asked.

    Raises:
        PluginError: `pictures` or `validate` raises, or returns what cannot be shown or logged.
    """
    if batch is None and type(task).pictures is not Task.pictures:
        return
    device = next((p.device for p in task.parameters()), torch.device("cpu"))
    with blame(task, "copy.deepcopy, which averages and tests rely on"):
        answering = copy.deepcopy(task, {id(p): p for p in task.parameters()}).eval()
    with random_state_kept(device), torch.no_grad():
        given = to_device(batch or {}, device)
        with blame(task, "pictures"):
            shown = answering.pictures(given)
        broken = flaw_of_pictures(shown)
        if broken:
            raise PluginError(f"{name_of(task)}.pictures returns {broken} ({line_of(task.pictures)})")
        if batch is None or type(task).validate is Task.validate:
            return
        with blame(task, "validate"):
            numbers = answering.validate(given)
        broken = flaw_of_numbers(numbers)
        if broken:
            raise PluginError(f"{name_of(task)}.validate returns {broken} ({line_of(task.validate)})")


def flaw_of_pictures(shown: Any) -> str:
    """Return what is wrong with the result of `Task.pictures`, or ""."""
    if not isinstance(shown, Mapping):
        return f"a {type(shown).__name__} instead of a dict of pictures by name"
    for name, value in shown.items():
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if not isinstance(value, Tensor) or value.ndim != 4 or value.shape[1] not in (1, 3):
            return f"'{name}' as {found}: pictures are tensors [N, 1 or 3, H, W] in [-1, 1]"
    return ""


def flaw_of_numbers(numbers: Any) -> str:
    """Return what is wrong with numbers by name that should be logged, or ""."""
    if not isinstance(numbers, Mapping):
        return f"a {type(numbers).__name__} instead of a dict of numbers by name"
    for name, value in numbers.items():
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) != 0:
            found = f"of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"as a {type(value).__name__}"
            return f"'{name}' {found}, which must be a number"
    return ""


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Put the random states of torch, numpy and Python back at the end."""
    others = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(others[0])
        random.setstate(others[1])


def name_of(task: Any) -> str:
    """Return the name that messages use."""
    return type(task).__name__


def line_of(code: Any) -> str:
    """Return where a function begins, or where a generator is, as "file.py line 3, in step"."""
    while isinstance(getattr(code, "gi_yieldfrom", None), GeneratorType):
        code = code.gi_yieldfrom
    frame = getattr(code, "gi_frame", None)
    if frame is not None:
        return f"{Path(frame.f_code.co_filename).name} line {frame.f_lineno}, in {frame.f_code.co_name}"
    function = inspect.unwrap(getattr(code, "__func__", code))
    if not hasattr(function, "__code__"):
        return f"in {getattr(code, '__name__', type(code).__name__)}"
    found = function.__code__
    return f"{Path(found.co_filename).name} line {found.co_firstlineno}, in {found.co_name}"
