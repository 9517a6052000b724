"""Losses that stay on the device until somebody wants to see them, so that the host never waits for a step.

    late = Late(sticky=True)
    optimizer.found_inf = late.add(number, "G", ["gan"], torch.stack([loss, norm]))    # 1 where one is not finite
    for step, player, losses, finite, norm in late.read(): ...                         # the only read

A fused optimizer with `found_inf` 1 leaves weights and state as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MOST = 1000  # turns that are kept unread


class Read(NamedTuple):
    """One turn of a player: its step, its losses by name, whether all numbers were finite, and the norm, if given."""

    step: int
    player: str
    losses: dict[str, float]
    finite: bool
    norm: float = math.nan


class Late:
    """The numbers of the turns since the last read.

    Args:
        sticky: whether everything after a number that is not finite is held back too.
    """

    def __init__(self, sticky: bool) -> None:
        self.sticky = sticky
        self._turns: list[tuple[int, str, Sequence[str], Tensor]] = []
        self._held: Tensor | None = None

    def add(self, step: int, player: str, names: Sequence[str], numbers: Tensor) -> Tensor:
        """Keep the numbers of a turn, and return a tensor with 1 if the optimizer must not move, else 0.

        Args:
            step: the number of the step.
            player: whose turn it is.
            names: of the losses.
            numbers: the losses, and the norm of the gradient, which must be finite too, [len(names) + 1].
        """
        self._turns.append((step, player, names, numbers))
        hold = (~numbers.isfinite().all()).float()
        if self._held is not None:
            hold = torch.maximum(hold, self._held)
        if self.sticky:
            self._held = hold
        return hold

    @property
    def full(self) -> bool:
        """Whether it is time to read."""
        return len(self._turns) >= MOST

    def read(self) -> list[Read]:
        """Return the turns since the last read; this waits for the device."""
        turns, self._turns = self._turns, []
        values = iter(torch.cat([numbers.float() for *_, numbers in turns]).tolist() if turns else [])
        found = []
        for step, player, names, numbers in turns:
            own = torch.tensor([next(values) for _ in range(len(numbers))])
            losses = dict(zip(names, own.tolist(), strict=False))
            norm = float(own[len(names)]) if len(own) > len(names) else math.nan
            found.append(Read(step, player, losses, bool(own.isfinite().all()), norm))
        return found
