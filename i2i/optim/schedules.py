"""Schedules: a factor of the learning rate, a pure function of epoch and step, so there is no state to save."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from ..errors import ConfigError
from .optimizers import NonNegative, Positive

Unit = Literal["epochs", "steps"]
Factor = Callable[[int, int], float]  # (epoch, step), both starting at 0


def linear_decay(start: NonNegative, end: Positive, unit: Unit = "epochs") -> Factor:
    """Return a factor that is 1 up to `start`, then decays linearly to 0 just after `end`.

    Both count from the beginning of training; ConfigError if `end` is before `start`.

    Source: the schedule of CycleGAN and pix2pix (arXiv:1703.10593, section 7.1; 100 and 200 epochs).
    """
    if end < start:
        raise ConfigError(
            f"schedule.end is {end:g}, before schedule.start {start:g}: both count from the beginning of training, "
            f"so for a decay over {end:g} {unit} use end: {start + end:g}"
        )

    def factor(epoch: int, step: int) -> float:
        now = epoch if unit == "epochs" else step
        return 1.0 - min(max(0.0, now + 1 - start) / (end - start + 1), 1.0)

    return factor


def cosine(end: Positive, unit: Unit = "epochs") -> Factor:
    """Return a factor that decays from 1 to 0 at `end` along half a cosine. Source: arXiv:1608.03983."""

    def factor(epoch: int, step: int) -> float:
        now = epoch if unit == "epochs" else step
        return 0.5 * (1.0 + math.cos(math.pi * min(now / end, 1.0)))

    return factor
