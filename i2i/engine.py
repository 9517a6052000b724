"""The engine: the training loop, read from top to bottom. `i2i run configs/cyclegan.yaml` ends up here.

    for batch in stream:
        for player, losses in task.step(batch):
            zero_grad; backward into that player's parameters; average over processes; clip; optimizer step
        averages; log; pictures; evaluation; checkpoint

What a step computes depends only on the config, the seed and the number of the step: the order of the samples, each
augmentation and torch's own random numbers are derived from them. A resumed run therefore equals an unbroken one,
with any number of loader processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import devices
from .config import Train
from .contract import backward, name_of, not_finite, players_of, turns_of
from .data.stream import Batch
from .errors import ConfigError, NumericError, PluginError, blame
from .networks.average import Average
from .processes import ProcessGroup
from .task import Losses, Task, Turn


class StepOutcome(NamedTuple):
    """What one step reports: losses by "player/name", and whether any process was asked to stop."""

    losses: dict[str, float]
    stop: bool


class Engine:
    """Trains one task: owns the optimizers, the averages and the number of the step.

    Args:
        task: the method; moved to `device`.
        optimizer: builds an optimizer from a list of parameters, for all players, or one for each.
        train: the settings; `accumulate` micro-batches make one step.
        schedule: learning-rate factor of (epoch, step), or None for a constant rate.
        steps_per_epoch: turns steps into epochs for the schedule and the log.

    Example:
        >>> engine = Engine(CycleGAN(...), partial(adam, lr=2e-4), Train(steps=1))          # doctest: +SKIP
        >>> engine.step([{"A": horses, "B": zebras}]).losses["G/gan_ab"]                    # doctest: +SKIP
    """

    def __init__(
        self,
        task: Task,
        optimizer: Callable[..., Any] | Mapping[str, Callable[..., Any]],
        train: Train,
        *,
        schedule: Callable[[int, int], float] | None = None,
        steps_per_epoch: float = float("inf"),
        world: ProcessGroup | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        players_of(task)  # names what is broken before anything is built on it
        self.world = world or ProcessGroup()
        self.device = torch.device(device)
        self.train, self.schedule, self.steps_per_epoch = train, schedule, steps_per_epoch
        self.task: Task = self.world.same_start(task.to(self.device))  # type: ignore[assignment]
        self.task.over_processes = self.world.whole_batch
        self.number = 0  # steps done
        self.skipped: dict[str, int] = {}  # by player, the turns skipped because of `train.on_nan`
        self.stop_signal: int | None = None  # set by a signal handler; any process's stops all after the step
        self.players = players_of(self.task)
        self.optimizers = {name: builder_for(name, optimizer, self.players)(p) for name, p in self.players.items()}
        self.rates = {name: [g["lr"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self.averages: dict[str, Average] = {}
        if train.ema is not None:
            self.averages = {name: Average(getattr(self.task, name), train.ema) for name in self.task.ema}
        self.precision = devices.precision_for(train.precision, self.device)

    def step(self, micro_batches: Sequence[Batch]) -> StepOutcome:
        """Run one training step on the micro-batches of this process and return its losses.

        The micro-batches run in lockstep: all reach the same `yield`, their gradients are accumulated, then the
        player moves, so N small batches equal a large one.

        Raises:
            NumericError: a loss or gradient is not finite and `train.on_nan` is "stop". The weights are unchanged.
            PluginError: the task raised, or broke the contract of `Task.step`.
        """
        seed_everything(self.train.seed, self.number, self.world.rank)
        self.task.train()
        self._set_rates()
        call = f"step {self.number}"
        with blame(self.task, call):
            for batch in micro_batches:
                self.task.check(batch)
        batches = [devices.move(batch, self.device, self.task.on_host) for batch in micro_batches]
        turns = [turns_of(self.task, batch, self.players, call, self.autocast) for batch in batches]
        losses: dict[str, float] = {}
        stop = False
        while True:
            player, shown = self._backward(turns)
            if player is None:
                break
            asked_to_stop = torch.tensor(float(self.stop_signal is not None), device=self.device)
            grads = [p.grad for p in self.players[player] if p.grad is not None]
            numbers = torch.stack([*shown.values(), torch.nn.utils.get_total_norm(grads), asked_to_stop])
            self.world.average([*grads, numbers])
            *values, norm, asked = numbers.tolist()
            losses |= {f"{player}/{name}": value for name, value in zip(shown, values, strict=True)}
            stop |= asked > 0
            if not all(map(np.isfinite, (*values, norm))):
                if self.train.on_nan == "stop":
                    raise NumericError(not_finite(self.number, player, losses))
                self.skipped[player] = self.skipped.get(player, 0) + 1
                continue
            if self.train.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.players[player], self.train.clip)
            self.optimizers[player].step()
        with self.autocast():
            for name, average in self.averages.items():
                average.update(getattr(self.task, name))
        self.number += 1
        self.world.beat(self.number)
        return StepOutcome(losses, stop)

    def _backward(self, turns: Sequence[Iterator[Turn]]) -> tuple[str | None, Losses]:
        """Advance every micro-batch to its next yield, accumulate the gradients, and return whose turn it was."""
        shown: Losses = {}
        whose: set[str | None] = set()
        for turn in turns:
            player, losses = next(turn, (None, {}))
            whose.add(player)
            if len(whose) > 1:
                raise PluginError(
                    f"the micro-batches of a step must take the same turns, and {name_of(self.task)}.step yields "
                    f"{' and '.join(sorted(map(str, whose)))} in one of them: make its turns independent of the batch"
                )
            if player is None:
                continue
            if turn is turns[0]:
                self.optimizers[player].zero_grad(set_to_none=True)
            total = torch.stack([*losses.values()]).sum() / len(turns)
            backward(self.task, player, total, self.players[player])
            for name, loss in losses.items():
                shown[name] = shown.get(name, 0) + loss.detach() / len(turns)
        return whose.pop(), shown

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks run: bf16 autocast if that is the precision, else none."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def factor(self, number: int) -> float:
        """Return the factor of the learning rates at a step."""
        return self.schedule(int(number / self.steps_per_epoch), number) if self.schedule else 1.0

    def _set_rates(self) -> None:
        factor = self.factor(self.number)
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor

    @contextmanager
    def averaged(self) -> Iterator[Task]:
        """Yield the task with its averaged weights, in eval mode and without gradients, and then restore its own."""
        own = {name: getattr(self.task, name) for name in self.averages}
        for name, average in self.averages.items():
            setattr(self.task, name, average.module)
        self.task.eval()
        try:
            with torch.no_grad():
                yield self.task
        finally:
            for name, module in own.items():
                setattr(self.task, name, module)
            self.task.train()

    def state(self) -> dict[str, Any]:
        """Return everything that a resume needs, as nested dicts of tensors and plain values."""
        return {
            "task": dict(self.task.state_dict()),
            "averages": {name: dict(average.state_dict()) for name, average in self.averages.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "step": self.number,
            "skipped": dict(self.skipped),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned; every name and shape must be the same."""
        self.task.load_state_dict(state["task"])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.number, self.skipped = state["step"], dict(state.get("skipped", {}))

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged weights under their plain names, without what only a resume needs."""
        with self.averaged() as task:
            return {name: value for name, value in task.state_dict().items() if isinstance(value, Tensor)}


def builder_for(player: str, optimizer: Any, players: Mapping[str, Any]) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimizer builder of one player."""
    if not isinstance(optimizer, Mapping):
        return optimizer
    if set(optimizer) != set(players):
        raise ConfigError(f"optimizer: given for {sorted(optimizer)}, but the task has the players {sorted(players)}")
    return optimizer[player]


def seed_everything(seed: int, step: int, rank: int) -> None:
    """Seed torch, numpy and Python so that the random numbers of a step depend only on (seed, step, rank)."""
    number = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)
