"""What `Task.step` yields, and the gradients of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..data.stream import Batch
from ..devices import Branches
from ..errors import PluginError, blame, refuse_lack_of_memory
from ..task import Losses, Task
from .entries import Given
from .places import line_of, name_of

END: Any = object()  # what `next` returns after the last turn; None would hide a bare `yield`


def turns_of(
    task: Task,
    batch: Batch,
    players: Mapping[str, Any],
    call: str = "step 0",
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    apart: bool = False,
) -> Iterator[tuple[str, Losses, bool]]:
    """Run `task.step` and yield the player and the losses of its turns, each of which keeps the contract.

    The third value is whether more losses of the same turn follow.

    Args:
        task: whose step it is.
        batch: what the step trains on.
        players: what `players_of` returned.
        call: what error messages name, such as "step 3".
        context: entered around the task's own code, such as autocast.
        apart: whether to yield losses that come in parts one part at a time, so that the graph of one can be freed
            before the next: the last first, in which order a single backward pass adds their gradients.

    Raises:
        PluginError: the step raised, does not yield, or yields something else than (player, losses).
    """
    with blame(task, call):
        turns = task.step(Given(batch))
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
        if not in_parts(turn):
            refuse_flawed(task, turn, players, turns)
            yield (*turn, False)
            continue
        player, parts = turn
        groups = [[part] for part in reversed(parts)] if apart else [parts]
        seen = set[str]()
        for left, group in zip(reversed(range(len(groups))), groups, strict=True):
            with blame(task, call), context():
                found = task.branches(*group)
            for own in found:
                refuse_flawed(task, (player, own), players, turns)
                for name in seen & own.keys():
                    raise PluginError(
                        f"{name_of(task)}.step yields two parts with a loss '{player}/{name}': give each loss a name "
                        f"of its own ({line_of(turns)})"
                    )
                seen |= own.keys()
            yield player, {name: loss for own in found for name, loss in own.items()}, left > 0
            del found, own  # and with them the graph


def next_turn(turns: Iterator[tuple[str, Losses, bool]]) -> Iterator[tuple[str | None, Losses]]:
    """Yield the player and the losses of the next turn, maybe in parts; (None, {}) after the last one."""
    more = True
    while more:
        player, losses, more = next(turns, (None, {}, False))
        yield player, losses


def evaluated(losses: Losses | Sequence[Callable[[], Losses]]) -> Losses:
    """Return the losses that a step yielded; those in parts are computed now."""
    if isinstance(losses, Mapping):
        return losses
    return {name: loss for part in losses for name, loss in part().items()}


def in_parts(turn: Any) -> bool:
    """Return whether the losses of a turn are functions that return them."""
    losses = turn[1] if isinstance(turn, tuple) and len(turn) == 2 else None
    return isinstance(losses, list | tuple) and bool(losses) and all(map(callable, losses))


def refuse_flawed(task: Task, turn: Any, players: Mapping[str, Any], turns: Iterator[Any]) -> None:
    """Raise PluginError if what a step yielded breaks the contract."""
    broken = flaw_of(turn, players)
    if broken:
        raise PluginError(f"{name_of(task)}.step yields {broken} ({line_of(turns)})")


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


def backward(task: Task, player: str, losses: Losses, parameters: Sequence[Parameter], weight: Tensor) -> None:
    """Add the gradients of a player's losses to its own parameters and to nothing else.

    Args:
        task: whose losses they are.
        player: whose turn it is.
        losses: scalars by name.
        parameters: of the player.
        weight: of each loss, a scalar.

    Raises:
        PluginError: it cannot be differentiated; the message gives the reason, such as a forgotten detach().
        ResourceError: there is too little memory.
    """
    try:
        differentiable = any(loss.requires_grad for loss in losses.values())
        if isinstance(task.branches, Branches) and task.branches.used and differentiable:
            task.branches.backward([*losses.values()], parameters, weight)
        else:
            total = torch.stack([*losses.values()]).sum()
            total.backward(weight.to(total), inputs=parameters)
    except RuntimeError as error:
        refuse_lack_of_memory(error, f"the backward pass of player '{player}'")
        raise PluginError(unusable_graph(task, player, error)) from error


def unusable_graph(task: Task, player: str, error: RuntimeError) -> str:
    """Explain why a player's loss could not be differentiated."""
    text = str(error).splitlines()[0]
    if "second time" in text or "inplace" in text:
        return (
            f"the losses of player '{player}' in {name_of(task)}.step still use a graph that an earlier turn, or "
            f"another part of this one, has used up: detach() what you carry over, or compute it again ({text[:80]})"
        )
    if "does not require grad" in text:
        return f"the losses of player '{player}' in {name_of(task)}.step depend on none of its parameters"
    return f"the losses of player '{player}' in {name_of(task)}.step could not be differentiated: {text}"


def not_finite(step: int, player: str, losses: dict[str, float]) -> str:
    """Return which player has a loss, or gradients, that are not finite, and what usually helps."""
    named = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    own = [value for name, value in losses.items() if name.startswith(f"{player}/")]
    what = "the gradients of player '{}' are" if all(map(math.isfinite, own)) else "a loss of player '{}' is"
    return (
        f"step {step}: {what.format(player)} not finite ({named}); earlier checkpoints are intact: lower the "
        f"learning rate, clip gradients (train.clip=1), or skip such steps (train.on_nan=skip)"
    )
