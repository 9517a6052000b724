"""The contract of a task as one call, for our tests and for those of plugins elsewhere.

from i2i.testing import check_task
def test_it_keeps_the_contract():
    check_task(MyTask(...), {"A": torch.rand(2, 3, 32, 32) * 2 - 1})
"""

from __future__ import annotations

import copy
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor

from .checkpoint import pack, unpack
from .config import Train
from .engine import Engine, backward, players_of, seed_everything
from .modalities.conformance import check_modality as check_modality
from .optim import adam
from .task import Task


def check_task(task: Task, batch: dict[str, Any], *, steps: int = 20, lr: float = 2e-3) -> None:
    """Check all that the engine and the border rely on; the task itself is left as it was.

    Args:
        task: the task to check; it is copied.
        batch: one training batch, as its data set gives it.
        steps: training steps on that batch, after which a loss must have fallen.
        lr: learning rate of Adam for these steps.

    Raises:
        AssertionError: a point of the contract is broken; the message says which.
        PluginError: the step cannot be run at all, or a forgotten detach() (named).
    """
    check_turns(copy.deepcopy(task), batch, lr)
    check_training(task, batch, steps, lr)
    if type(task).translate is not Task.translate:
        check_translate(copy.deepcopy(task), batch[task.source])
    try:
        ForkingPickler.dumps(task)
    except Exception as error:
        raise AssertionError(f"{name(task)} cannot be sent to another process: {error}") from error


def check_turns(task: Task, batch: dict[str, Any], lr: float) -> None:
    """Check that losses are named, scalar and finite, and that each turn moves its own player and no other."""
    players = players_of(task)
    optimizers = {player: torch.optim.SGD(parameters, lr=lr) for player, parameters in players.items()}
    turns, seen = task.train().step(batch), set()
    before = snapshot(task)
    for player, losses in turns:
        assert player in players, f"{name(task)} yields an unknown player '{player}'; known: {sorted(players)}"
        assert losses, f"{name(task)}: player '{player}' yields no losses"
        moved = changed(before, task)
        assert not moved, f"{name(task)}: the code before the turn of '{player}' changed {moved[0]} by itself"
        for loss, value in losses.items():
            assert value.ndim == 0, (
                f"{name(task)}: loss '{player}/{loss}' must be a scalar, it is {tuple(value.shape)}"
            )
            assert value.isfinite(), f"{name(task)}: loss '{player}/{loss}' is {value.item()}"
        optimizers[player].zero_grad()
        backward(task, player, torch.stack(list(losses.values())).sum(), players[player])
        optimizers[player].step()
        own = {key for key, value in task.named_parameters() if any(value is p for p in players[player])}
        strangers = [key for key in changed(before, task) if key not in own]
        assert not strangers, f"{name(task)}: the turn of '{player}' moved {strangers[0]}, which is not its own"
        assert changed(before, task), f"{name(task)}: the turn of '{player}' moved nothing"
        before = snapshot(task)
        seen.add(player)
    assert seen == set(players), f"{name(task)}: the players {sorted(set(players) - seen)} never have a turn"


def check_training(task: Task, batch: dict[str, Any], steps: int, lr: float) -> None:
    """Check that a seed fixes everything, that the state survives a round trip, and that some loss falls."""

    def engine() -> Engine:
        return Engine(copy.deepcopy(task), partial(adam, lr=lr), Train(steps=steps))

    def together(outcome: Any) -> dict[str, float]:
        totals: dict[str, float] = {}
        for key, value in outcome.losses.items():
            totals[key.split("/")[0]] = totals.get(key.split("/")[0], 0.0) + value
        return totals

    first, second = engine(), engine()
    history = [together(first.step([batch])) for _ in range(2)]
    again = [together(second.step([batch])) for _ in range(2)]
    assert history == again, f"{name(task)}: the same seed gave other losses; use torch's random numbers only"
    resumed = engine()
    tensors, tree = pack(first.state())
    resumed.load_state(unpack({key: value.clone() for key, value in tensors.items()}, tree))
    assert together(first.step([batch])) == together(resumed.step([batch])), (
        f"{name(task)}: after saving and loading its state it goes on differently; keep what matters in buffers or "
        f"in get_extra_state()"
    )
    history += [together(first.step([batch])) for _ in range(steps - 3)]
    fell = [player for player in history[0] if min(h[player] for h in history[1:]) < history[0][player]]
    assert fell, f"{name(task)}: no player's loss fell in {steps} steps on one batch: {history[0]} -> {history[-1]}"


def check_translate(task: Task, values: Tensor) -> None:
    """Check what the border relies on: modality, size, range, and that a call leaves nothing behind."""
    task.eval()
    given, who = values.clone(), f"{name(task)}.translate"

    def translated(part: Tensor) -> Tensor:
        fitted, undo = task.takes.fit({task.source: part}, task.source)
        raw: Tensor = undo(task.translate(fitted[task.source]), task.makes, who)
        made = task.makes.accept(raw, who)
        assert raw.dtype == made.dtype, f"{who} returns {raw.dtype}, not {made.dtype}"
        assert torch.allclose(raw, made.to(raw.device), atol=1e-4), f"{who} leaves its range: {raw.abs().max():.3f}"
        return made

    seed_everything(0, 0, 0)
    with torch.no_grad():
        random_state = torch.get_rng_state()
        out = translated(values)
        drew = not torch.equal(random_state, torch.get_rng_state())
        again = translated(values)
        single = translated(values[:1])
    assert torch.equal(values, given), f"{who} changes what it is given"
    assert not drew, f"{who} draws from the global random numbers"
    assert torch.equal(out, again), f"{who} gives another result the second time"
    assert torch.allclose(out[:1].float(), single.float(), atol=1e-5), f"{who}: a result depends on its neighbours"
    assert len(task.makes.show(out)) == len(out), f"{name(task)}.makes.show draws another number than it is given"


def snapshot(task: Task) -> dict[str, Tensor]:
    """Return copies of all parameters."""
    return {key: value.detach().clone() for key, value in task.named_parameters()}


def changed(before: dict[str, Tensor], task: Task) -> list[str]:
    """Return the names of the parameters that differ from a snapshot."""
    return [key for key, value in task.named_parameters() if not torch.equal(before[key], value)]


def name(task: Task) -> str:
    """Return the name that messages use."""
    return type(task).__name__
