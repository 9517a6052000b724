"""`check_task`: all that the engine, the loop and the metrics rely on in a task."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import pack, unpack
from ..config import Train
from ..contract import backward, check_answers, name_of, players_of, turns_of
from ..engine import Engine, seed_everything
from ..errors import ConfigError
from ..optim import adam
from ..task import Task
from .states import check_copies, check_pickles, equal, random_states
from .translate import check_translate


def check_task(task: Task, batch: dict[str, Any], *, steps: int = 20, lr: float = 2e-3) -> None:
    """Check all that the engine, the loop and the border rely on; the task itself is left as it was.

    Args:
        task: the task to check; it is copied.
        batch: one training batch, as its data set gives it.
        steps: training steps on that batch, after which a loss must have fallen.
        lr: learning rate of Adam for these steps.

    Raises:
        AssertionError: a point of the contract is broken; the message says which.
        PluginError: the same, with the sentence with which a run would end.
    """
    check_copies(task, name_of(task))
    check_turns(copy.deepcopy(task), batch, lr)
    check_training(task, batch, steps, lr)
    if type(task).translate is not Task.translate:
        check_translate(copy.deepcopy(task), batch[task.source])
    check_answers(task, batch)
    if type(task).predict is not Task.predict or type(task).translate is not Task.translate:
        check_predict(copy.deepcopy(task), batch)
    if type(task).sample is not Task.sample:
        check_sample(copy.deepcopy(task))
    if type(task).encode is not Task.encode and type(task).decode is not Task.decode:
        check_latent(copy.deepcopy(task), batch)
    check_pickles(task, name_of(task))


def check_turns(task: Task, batch: dict[str, Any], lr: float) -> None:
    """Check that losses are named, scalar and finite, and that each turn moves its own player and no other."""
    name, players = name_of(task), players_of(task)
    optimizers = {player: torch.optim.SGD(parameters, lr=lr) for player, parameters in players.items()}
    seen, before = set(), snapshot(task)
    for player, losses, _ in turns_of(task.train(), batch, players):
        moved = changed(before, task)
        assert not moved, f"{name}: the code before the turn of '{player}' changed {moved[0]} by itself"
        for loss, value in losses.items():
            assert value.isfinite(), f"{name}: loss '{player}/{loss}' is {value.item()}"
        optimizers[player].zero_grad()
        backward(task, player, losses, players[player], torch.ones(()))
        optimizers[player].step()
        own = {key for key, value in task.named_parameters() if any(value is p for p in players[player])}
        strangers = [key for key in changed(before, task) if key not in own]
        assert not strangers, f"{name}: the turn of '{player}' moved {strangers[0]}, which is not its own"
        assert changed(before, task), f"{name}: the turn of '{player}' moved nothing"
        before = snapshot(task)
        seen.add(player)
    assert seen == set(players), f"{name}: the players {sorted(set(players) - seen)} never have a turn"


def check_training(task: Task, batch: dict[str, Any], steps: int, lr: float) -> None:
    """Check that a seed fixes everything, that the state survives a round trip, and that some loss falls."""

    def engine() -> Engine:
        return Engine(copy.deepcopy(task), partial(adam, lr=lr), Train(steps=steps))

    def together(outcome: Any) -> dict[str, float]:
        totals: dict[str, float] = {}
        for key, value in outcome.losses.items():
            totals[key.split("/")[0]] = totals.get(key.split("/")[0], 0.0) + value
        return totals

    name, first, second = name_of(task), engine(), engine()
    history = [together(first.step([batch])) for _ in range(2)]
    again = [together(second.step([batch])) for _ in range(2)]
    assert history == again, f"{name}: the same seed gave other losses; use torch's random numbers only"
    resumed = engine()
    tensors, tree = pack(first.state())
    resumed.load_state(unpack({key: value.clone() for key, value in tensors.items()}, tree))
    assert together(first.step([batch])) == together(resumed.step([batch])), (
        f"{name}: after saving and loading its state it goes on differently; keep what matters in buffers or in "
        f"get_extra_state()"
    )
    history += [together(first.step([batch])) for _ in range(steps - 3)]
    fell = [player for player in history[0] if min(h[player] for h in history[1:]) < history[0][player]]
    assert fell, f"{name}: no player's loss fell in {steps} steps on one batch: {history[0]} -> {history[-1]}"


def check_predict(task: Task, batch: dict[str, Any]) -> None:
    """Check what the metrics compare with the target: one finite result for each sample, in its size."""
    who = f"{name_of(task)}.predict"
    n = len(next(value for value in batch.values() if isinstance(value, Tensor)))
    seed_everything(0, 0, 0)
    with torch.no_grad():
        if task.source in batch:
            fitted, undo = task.takes.fit(batch, task.source)
            made = task.makes.accept(undo(task.eval().predict(fitted), task.makes, who), who)
        else:
            made = task.makes.accept(task.eval().predict(dict(batch)), who)
    assert len(made) == n, f"{who} returns {list(made.shape)} for a batch of {n} samples"


def check_sample(task: Task, n: int = 3) -> None:
    """Check that `sample(n)` makes n results of its modality, the same ones from the same random numbers."""
    who, made = f"{name_of(task)}.sample", []
    with torch.no_grad():
        for _ in range(2):
            seed_everything(0, 0, 0)
            made.append(offered(lambda: task.eval().sample(n)))
    if made[0] is None:
        return
    kept = task.makes.accept(made[0], who)
    assert len(kept) == n, f"{who}({n}) returns {list(kept.shape)}, not {n} results"
    assert torch.allclose(made[0].to(kept), kept, atol=1e-4), f"{who} leaves its range: {made[0].abs().max():.3f}"
    assert equal(*made), f"{who} gives other results after the same seed; use torch's random numbers only"


def check_latent(task: Task, batch: dict[str, Any]) -> None:
    """Check that codes have one row a picture, the same twice, and that decoding them gives pictures of that size."""
    name = name_of(task)
    given = next(v for v in batch.values() if isinstance(v, Tensor) and v.ndim == 4)
    seed_everything(0, 0, 0)
    with torch.no_grad():
        before = random_states()
        z, again = (offered(lambda: task.eval().encode(given)) for _ in range(2))
        if z is None:
            return
        decoded = task.decode(z)
        drew = not equal(before, random_states())
        drawn = offered(lambda: task.prior(2))
    assert len(z) == len(given), f"{name}.encode returns {tuple(z.shape)} for {len(given)} pictures"
    assert not drew, f"{name}.encode or .decode draws from the global random numbers"
    assert equal(z, again), f"{name}.encode gives another result the second time"
    assert decoded.shape == given.shape, (
        f"{name}.decode(encode(x)) returns {tuple(decoded.shape)} for pictures {tuple(given.shape)}"
    )
    if drawn is not None:
        assert drawn.shape[1:] == z.shape[1:], (
            f"{name}.prior returns codes {tuple(drawn.shape[1:])}, and encode {tuple(z.shape[1:])}"
        )


def offered(call: Callable[[], Tensor]) -> Tensor | None:
    """Return the result of a call, or None if the task, as it is configured, refuses it with a ConfigError."""
    try:
        return call()
    except ConfigError:
        return None


def snapshot(task: Task) -> dict[str, Tensor]:
    """Return copies of all parameters."""
    return {key: value.detach().clone() for key, value in task.named_parameters()}


def changed(before: dict[str, Tensor], task: Task) -> list[str]:
    """Return the names of the parameters that differ from a snapshot."""
    return [key for key, value in task.named_parameters() if not torch.equal(before[key], value)]
