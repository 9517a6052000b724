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
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import devices
from .config import Train
from .contract import backward, builder_for, name_of, next_turn, not_finite, players_of, turns_of
from .data.stream import Batch
from .errors import NumericError, PluginError, blame
from .networks.average import Average, mend
from .processes import ProcessGroup, load_state, state_of
from .speed import Kernels, precision_at
from .task import Losses, Task


class StepOutcome(NamedTuple):
    """What one step reports: how to read its losses, and whether any process was asked to stop."""

    read: Callable[[], dict[str, float]]
    stop: bool

    @property
    def losses(self) -> dict[str, float]:
        """The losses by "player/name". Raises: NumericError, as `Engine.read`."""
        return self.read()


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
        self.task: Task = self.world.same_start(task, self.device, shard=train.shard)  # type: ignore[assignment]
        self.task.over_processes = self.world.whole_batch
        if self.device.type == "cpu" and self.world.size == 1 and torch.get_num_threads() > 1:
            self.task.branches = devices.Branches(self.task, torch.get_num_threads())
        side_by_side = isinstance(self.task.branches, devices.Branches)
        self.apart = not side_by_side and not train.shard and devices.settled(self.task)
        self.number = 0  # steps done
        self.skipped: dict[str, int] = {}  # by player, the turns skipped because of `train.on_nan`
        self.stop_signal: int | None = None  # set by a signal handler; any process's stops all after the step
        self.players = players_of(self.task)
        self.optimizers = {name: builder_for(name, optimizer, self.players)(p) for name, p in self.players.items()}
        self.rates = {name: [g["lr"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self.averages: dict[str, Average] = {}
        if train.ema is not None:
            self.averages = {name: Average(getattr(self.task, name), train.ema) for name in self.task.ema}
        self.precision = precision_at(train.speed, train.precision, self.device)
        self.kernels = Kernels(train.speed, self.device, self.world.size)
        self.scales = {name: devices.LossScale(self.device) for name in self.players if self.precision == "fp16"}
        gated = all(getattr(o, "_step_supports_amp_scaling", False) for o in self.optimizers.values())
        self.late = self.device.type != "cpu" and self.world.size == 1 and gated  # read losses only when asked for
        self.unread = devices.Late(sticky=train.on_nan == "stop")
        self.seen, self.losses, self.norms = -1, dict[str, float](), dict[str, float]()  # of the last step read

    @devices.threads_kept()
    def step(self, micro_batches: Sequence[Batch]) -> StepOutcome:
        """Run one training step on the micro-batches of this process and return its losses.

        The micro-batches run in lockstep: all reach the same `yield`, their gradients are accumulated, then the
        player moves, so N small batches equal a large one.

        Raises:
            NumericError: a loss or gradient is not finite and `train.on_nan` is "stop". The weights are unchanged. On
                an accelerator this is noticed when the losses are read; until then, no optimizer moves.
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
        apart = self.apart and len(batches) == 1  # or else sums would round otherwise than those of several threads
        turns = [turns_of(self.task, batch, self.players, call, self.autocast, apart) for batch in batches]
        stop = self.stop_signal is not None
        while True:
            player, shown = self._backward(turns)
            if player is None:
                break
            grads = [p.grad for p in self.players[player] if p.grad is not None]
            stop |= self._share(grads, shown)
            self._move(player, grads, shown)
        with self.autocast():
            for name, average in self.averages.items():
                average.update(getattr(self.task, name))
        self.number += 1
        self.world.beat(self.number)
        return StepOutcome(self.read, stop)

    def _share(self, grads: list[Tensor], shown: Losses) -> bool:
        """Average gradients and losses over the processes; return whether any of them was asked to stop."""
        if self.world.size == 1:
            return False
        asked = torch.tensor(float(self.stop_signal is not None), device=self.device)
        numbers = torch.stack([*shown.values(), asked])
        self.world.average([numbers] if self.train.shard else [*grads, numbers])
        shown |= dict(zip(shown, numbers, strict=False))
        return bool(numbers[-1] > 0)

    def _move(self, player: str, grads: list[Tensor], shown: Losses) -> None:
        """Let a player's optimizer move, unless a loss or gradient is not finite."""
        optimizer, scale = self.optimizers[player], self.scales.get(player)
        norm = self.world.norm(scale.undo(grads) if scale else torch.nn.utils.get_total_norm(grads), self.train.shard)
        if self.train.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.players[player], self.train.clip, norm)
        judged = norm if scale is None else scale.judged(norm)
        hold = self.unread.add(self.number, player, [*shown], torch.stack([*shown.values(), judged]))
        if scale is not None:
            hold = torch.maximum(hold, scale.update(norm))
        if self.late:
            optimizer.found_inf = hold  # type: ignore[attr-defined]  # a fused optimizer then moves nothing
        if self.unread.full or not self.late:
            self.read()
        if self.late or not hold:
            optimizer.step()

    def read(self) -> dict[str, float]:
        """Wait for the device, and return the losses of the last step by "player/name".

        Raises:
            NumericError: a loss or gradient since the last read was not finite, and `train.on_nan` is "stop".
        """
        for turn in self.unread.read():
            if turn.step != self.seen:
                self.seen, self.losses, self.norms = turn.step, {}, {}
            self.losses |= {f"{turn.player}/{name}": value for name, value in turn.losses.items()}
            self.norms[f"norm/{turn.player}"] = turn.norm  # of its gradient, before clipping
            if not turn.finite and self.train.on_nan == "stop":
                error = NumericError(not_finite(turn.step, turn.player, self.losses))
                error.step = turn.step
                raise error
            if not turn.finite:
                self.skipped[turn.player] = self.skipped.get(turn.player, 0) + 1
                mend(self.task)
        return self.losses

    def _backward(self, turns: Sequence[Iterator[tuple[str, Losses, bool]]]) -> tuple[str | None, Losses]:
        """Advance every micro-batch to its next yield, accumulate the gradients, and return whose turn it was."""
        shown: Losses = {}
        whose: set[str | None] = set()
        for player, losses in chain.from_iterable(map(next_turn, turns)):
            whose.add(player)
            if len(whose) > 1:
                raise PluginError(
                    f"the micro-batches of a step must take the same turns, and {name_of(self.task)}.step yields "
                    f"{' and '.join(sorted(map(str, whose)))} in one of them: make its turns independent of the batch"
                )
            if player is None:
                continue
            if not shown:
                self.optimizers[player].zero_grad(set_to_none=True)
            scale = self.scales[player].value if player in self.scales else torch.ones((), device=self.device)
            backward(self.task, player, losses, self.players[player], scale / len(turns))
            own = {name: shown.pop(name, 0) + loss.detach() / len(turns) for name, loss in losses.items()}
            shown = own | shown  # of losses in parts, the last come first
        return whose.pop(), shown

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks run: bf16 or fp16 autocast, or in float32 the fastest kernels."""
        if self.precision == "fp32":
            return self.kernels(self.number)
        return torch.autocast(self.device.type, torch.float16 if self.precision == "fp16" else torch.bfloat16)

    def factor(self, number: int) -> float:
        """Return the factor of the learning rates at a step."""
        return self.schedule(int(number / self.steps_per_epoch), number) if self.schedule else 1.0

    def _set_rates(self) -> None:
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * self.factor(self.number)

    @contextmanager
    def averaged(self) -> Iterator[Task]:
        """Yield the task with its averaged weights, in eval mode and without gradients, and then restore its own."""
        self.read()  # nothing may be shown or saved after a fault
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
        self.read()
        return {
            "task": dict(self.task.state_dict()),
            "averages": {name: dict(average.state_dict()) for name, average in self.averages.items()},
            "optimizers": {name: state_of(optimizer) for name, optimizer in self.optimizers.items()},
            "step": self.number,
            "skipped": dict(self.skipped),
            "scales": {name: scale.state() for name, scale in self.scales.items()},
            "kernels": self.kernels.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned; every name and shape must be the same."""
        self.task.load_state_dict(state["task"])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
        for name, optimizer in self.optimizers.items():
            load_state(optimizer, state["optimizers"][name])
        for name, scale in self.scales.items():
            scale.load(state["scales"][name])
        self.kernels.load(state.get("kernels"))
        self.number, self.skipped = state["step"], dict(state.get("skipped", {}))

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged weights under their plain names, without what only a resume needs."""
        with self.averaged() as task:
            return {name: value for name, value in task.state_dict().items() if isinstance(value, Tensor)}


def seed_everything(seed: int, step: int, rank: int) -> None:
    """Seed torch, numpy and Python so that the random numbers of a step depend only on (seed, step, rank)."""
    number = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    # Without an accelerator, torch.manual_seed formats the call stack three times, which takes half a millisecond.
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(number)
    np.random.seed(number)
    random.seed(number)
