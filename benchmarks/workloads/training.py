"""A training step on both sides: the plain reference, and i2i's engine with its task."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from i2i import Task
from i2i.config import Train
from i2i.engine import Engine, seed_everything

from .checks import Sides, Turn, copy, counted, fp32, guard, on_meta, require_close, weights

Batches = Callable[[], Iterator[Any]]
PREPARED = 4  # batches, which are used in turn


@dataclass(frozen=True)
class Training:
    """The training step of one family.

    Attributes:
        published: the module of the reference, with the counts of the published code.
        reference: builds the reference.
        engine: builds i2i's engine.
        equalise: gives the reference the weights of the task: (task, reference).
        batches: yields batches as i2i takes them, the same ones at every call.
        plain: turns such a batch into one for the reference.
        loaders: yields the batches of the reference and of i2i, if reading them is part of the work.
        check: compares both sides on a batch, as `first_losses`.
        steps: of a round.
        note: what i2i does differently on purpose.
    """

    published: Any
    reference: Callable[[], Any]
    engine: Callable[[], Engine]
    equalise: Callable[[Any, Any], None]
    batches: Batches
    plain: Callable[[Any], Any] = lambda batch: batch
    loaders: tuple[Batches, Batches] | None = None
    check: Callable[[Engine, Any, Any, Any], dict[str, Any]] | None = None
    steps: int = 1
    note: str = ""

    kind: ClassVar[str] = "training"

    def guard(self) -> dict[str, Any]:
        """Compare the reference's parameters and FLOPs with the published ones; raises SystemExit if they differ."""
        with torch.device("meta"):
            reference = self.reference()
        return guard(
            reference.networks(),
            self.published.PARAMETERS,
            lambda: reference.step(on_meta(self.plain(next(self.batches())))),
            self.published.GFLOP,
        )

    def both(self) -> Sides:
        """Build both sides with equal weights, check that they compute the same, and return them."""
        engine, reference = self.engine(), self.reference()
        self.equalise(engine.task, reference)
        first = next(self.batches())
        checked = (self.check or first_losses)(engine, reference, first, self.plain(first))
        return Sides(self._of_reference(reference), self._of_i2i(engine), checked)

    def one(self, side: str) -> Turn:
        """Build one side alone."""
        return self._of_reference(self.reference()) if side == "reference" else self._of_i2i(self.engine())

    def _of_reference(self, reference: Any) -> Turn:
        feed = self._feed(0, self.plain)
        return lambda n: [reference.step(feed(n)) for _ in range(self.steps)]

    def _of_i2i(self, engine: Engine) -> Turn:
        feed = self._feed(1, lambda batch: batch)
        return lambda n: [engine.step([feed(n)]).losses for _ in range(self.steps)]

    def _feed(self, side: int, form: Callable[[Any], Any]) -> Callable[[int], Any]:
        """Return what gives a side its batch: the one of round n, or the next of its loader."""
        if self.loaders is not None:
            loader = self.loaders[side]()
            return lambda n: next(loader)
        source = self.batches()
        kept = [form(next(source)) for _ in range(PREPARED)]
        return lambda n: kept[n % PREPARED]


def first_losses(engine: Engine, reference: Any, batch: Any, plain: Any) -> dict[str, Any]:
    """Do the first step of both sides with the same random numbers, and compare their losses.

    i2i may report more than the reference, such as how often its discriminator is right.

    They must agree to 1e-5. With other kernels than the reference has, those of later players must agree to 1e-4: the
    first step of Adam divides each gradient by itself, whatever its size. Errors of one rounding (1e-7) in the
    convolutions of plain DCGAN change its second loss by 2.7e-5.

    Raises:
        SystemExit: they differ by more, or by more than 0.05 in bf16.
    """
    seed_everything(engine.train.seed, engine.number, 0)
    found, plain_gflop = counted(lambda: reference.step(plain))
    expected = {name: loss.item() for name, loss in found.items()}
    losses = engine.step([batch]).losses  # not counted, which would slow down the kernels that it measures
    if not expected.keys() <= losses.keys():
        sys.exit(f"i2i reports the losses {sorted(losses)}, the reference {sorted(expected)}")
    our_gflop = counted(lambda: engine.step([batch]).losses)[1]
    gaps = {name: abs(losses[name] - value) / max(1.0, abs(value)) for name, value in expected.items()}
    first = next(iter(expected)).split("/")[0]
    for name, gap in gaps.items():
        most = 1e-5 if engine.train.speed == "exact" or name.startswith(f"{first}/") else 1e-4
        require_close(gap, most if fp32() else 0.05, f"the first losses {losses} and {expected}")
    return {
        "first_losses": expected,
        "first_losses_differ_by": max(gaps.values()),
        "reference_gflop": round(plain_gflop, 3),
        "i2i_gflop": round(our_gflop, 3),
    }


def seeded(build: Callable[[], Task], optimizer: Callable[..., Any] | Mapping[str, Any], **train: Any) -> Engine:
    """Return i2i's engine for a task with the weights of seed 0, at the speed given by --speed."""
    torch.manual_seed(0)
    speed: Any = os.environ.get("I2I_SPEED", "exact")
    return Engine(build(), optimizer, Train(steps=1, device="cpu", speed=speed, **train))


def copied(*names: str) -> Callable[[Any, Any], None]:
    """Return what copies these networks of a task into those of the reference."""

    def equalise(task: nn.Module, reference: Any) -> None:
        copy(weights(getattr(task, name) for name in names), weights(reference.networks()))

    return equalise


def uniform(**shapes: tuple[int, ...]) -> Batches:
    """Return what yields batches of random images in [-1, 1], by name."""

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        source = torch.Generator().manual_seed(1)
        while True:
            yield {name: torch.rand(shape, generator=source) * 2 - 1 for name, shape in shapes.items()}

    return batches
