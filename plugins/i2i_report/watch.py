"""Alarms from the losses alone, for every task: `for text in Watch().see(step, scalars): ...`

    a discriminator that always wins    its losses stay below 0.01, or its accuracy above 0.99, for 500 steps
    a loss that explodes                more than 100 times the median of the last 50 logged values, and more than ten
                                        times the largest of them

A GAN whose generator has collapsed to one picture, or diverged to black and white, is in the first of these states
sooner or later; `i2i_gan` measures diversity and saturation itself. The numbers were chosen so that none of the
recorded trainings of the shipped configs raises an alarm.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping

WON, CERTAIN, LONG, FEWEST = 0.01, 0.99, 500, 5  # loss, accuracy, steps, logged values
RATIO, JUMP, WINDOW, BEFORE = (
    100.0,
    10.0,
    50,
    10,
)  # over the median, over the largest, logged values, at least so many
NO_LOSS = ("accuracy", "diversity", "saturated", "alarm", "value", "category", "match")
"""Values of a discriminator that do not say how well it tells real from generated."""
NOT_LOSSES = ("lr/", "skipped/", "metric/")


class Watch:
    """Sees the logged values of one run in order, and reports each kind of trouble once."""

    def __init__(self) -> None:
        self.last = -1  # the newest step
        self.recent: dict[str, deque[float]] = {}
        self.since: dict[str, list[int]] = {}  # by player, the steps logged while it wins
        self.reported: set[str] = set()

    def see(self, step: int, scalars: Mapping[str, float]) -> list[str]:
        """Return sentences about what has gone wrong at this step and was not reported before.

        Args:
            step: the training step, which never falls.
            scalars: losses by "player/name", among others.
        """
        self.last = step
        losses = {name: v for name, v in scalars.items() if "/" in name and not name.startswith(NOT_LOSSES)}
        found = {f"{name} explodes": self._exploded(name, value) for name, value in losses.items()}
        players = dict.fromkeys(name.split("/")[0] for name in losses if name.startswith("D"))
        found |= {f"{player} wins": self._won(player, step, losses) for player in players}
        new = {what: text for what, text in found.items() if text and what not in self.reported}
        self.reported |= {*new}
        return [f"step {step}: {text}" for text in new.values()]

    def _exploded(self, name: str, value: float) -> str:
        """Return a sentence if a loss is far above its recent values, and remember it."""
        recent = self.recent.setdefault(name, deque(maxlen=WINDOW))
        before = list(recent)
        if not math.isfinite(value) or name.split("/")[1] in NO_LOSS[:4]:
            return ""
        recent.append(abs(value))
        if len(before) < BEFORE:
            return ""
        median, largest = statistics.median(before), max(before)
        if median == 0 or abs(value) < RATIO * median or abs(value) < JUMP * largest:
            return ""
        return (
            f"{name} is {value:.3g}, {abs(value) / median:.0f} times its running median of {median:.3g}: the "
            f"training may be diverging; go back to an earlier checkpoint, and set train.clip or lower the rate"
        )

    def _won(self, player: str, step: int, losses: Mapping[str, float]) -> str:
        """Return a sentence if a discriminator has told real from generated without error for a long time."""
        own = {name.split("/")[1]: value for name, value in losses.items() if name.split("/")[0] == player}
        if "alarm" in own:  # the task watches it itself, with more to go by
            return ""
        judged = [value for name, value in own.items() if name not in NO_LOSS]
        certain = own.get("accuracy", 0) > CERTAIN
        steps = self.since.setdefault(player, [])
        if not certain and not (judged and all(abs(value) < WON for value in judged)):
            steps.clear()
            return ""
        steps.append(step)
        if len(steps) < FEWEST or step - steps[0] < LONG:
            return ""
        shown = ", ".join(f"{player}/{name} {value:.3g}" for name, value in own.items())
        return (
            f"{player} has told real from generated nearly without error since step {steps[0]} ({shown}): the "
            f"generator gets no useful gradient from it, and may have collapsed; look at the samples, and try a "
            f"lower learning rate or a smaller network for {player}, or another objective"
        )
