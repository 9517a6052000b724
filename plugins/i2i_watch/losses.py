"""Faults that the logged values show: `for fault, text in Watch().see(step, scalars).items(): ...`

    discriminator won      its losses stay below 0.01, or its accuracy above 0.99, for 500 steps
    exploding loss         more than 100 times the median of the last 50 logged values, and ten times the largest
    exploding gradients    the same of the norm of a player's gradients, three logged values in a row
    mode collapse          a logged diversity stays below 0.05 of that of the data (see also pictures.py)
    posterior collapse     a kl stays below 0.01 nats: the decoder ignores the code
    dead codes             the perplexity of a codebook stays below 5 % of its codes
    rate zero              a learning rate is 0 for 100 steps and goes on being so
    flat loss              no loss of a player changes in 500 steps
    diverging validation   three evaluations in a row are each worse than the one before and much worse than the best

The numbers were chosen so that none of the recorded trainings raises an alarm that is not true; `i2i_gan` measures
diversity and saturation itself, and warns itself.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Mapping

WON, CERTAIN, LONG, FEWEST = 0.01, 0.99, 500, 5  # loss, accuracy, steps, logged values
RATIO, JUMP, WINDOW, BEFORE = 100.0, 10.0, 50, 10  # over the median, over the largest; values: at most, at least
ALIKE, IGNORED, FEW_CODES = 0.05, 0.01, 0.05  # diversity, nats, share of the codes in use
STILL, FLAT = 20, 1e-6  # logged values, and by what part of itself a loss may change in them
RATE_ZERO, RATE_STEPS = 5, 100  # logged values, steps
WORSE, EVALUATIONS = 0.1, 3  # part of the best, evaluations in a row
NO_LOSS = ("accuracy", "diversity", "saturated", "alarm", "value", "category", "match")
"""Values of a discriminator that do not say how well it tells real from generated."""
NOT_LOSSES = ("lr/", "norm/", "skipped/", "memory/", "metric/")
LOWER = ("l1", "l2", "mse", "cross_entropy", "ade", "fde", "nll", "reconstruction", "lpips")
"""Last parts of the names of metrics of which less is better; of elbo, psnr and ssim more is."""


class Watch:
    """Sees the logged values of one run in order, and reports each kind of fault once.

    Args:
        codes: how many codes the smallest codebook has, if the config says so.
        best: the metric that `train.best` names.
        lowest: whether the lowest value of it is the best.
    """

    def __init__(self, codes: int | None = None, best: str | None = None, lowest: bool = False) -> None:
        self.codes, self.best, self.lowest = codes, best, lowest
        self.last = -1  # the newest step
        self.recent: dict[str, deque[tuple[int, float]]] = {}  # (step, value) by name
        self.since: dict[str, list[int]] = {}  # by fault, the steps logged while it lasts
        self.metrics: dict[str, list[float]] = {}
        self.reported: set[str] = set()

    def see(self, step: int, scalars: Mapping[str, float]) -> dict[str, str]:
        """Return, by fault, sentences about what is wrong at this step and was not reported before.

        Args:
            step: the training step, which never falls.
            scalars: losses by "player/name", learning rates, norms and metrics.
        """
        self.last = step
        numbers = {name: v for name, v in scalars.items() if "/" in name and isinstance(v, int | float)}
        losses = {name: value for name, value in numbers.items() if not name.startswith(NOT_LOSSES)}
        found = {f"{name} explodes": self._exploded(step, name, value) for name, value in losses.items()}
        for name, value in numbers.items():
            own = name.rpartition("/")[2]
            if name.startswith("norm/"):
                found[f"{name} explodes"] = self._steep(step, name, value)
            elif name.startswith("lr/"):
                found[f"{name} is zero"] = self._resting(step, name, value)
            elif name.startswith("metric/"):
                found[f"{name} diverges"] = self._diverged(name, value)
            elif name in losses and own == "diversity":
                found[f"{name} is low"] = self._collapsed(step, name, value, numbers)
            elif name in losses and own == "kl":
                found[f"{name} is low"] = self._ignored(step, name, value)
            elif name in losses and own.startswith("perplexity"):
                found[f"{name} is low"] = self._dead(step, name, value)
        for player in dict.fromkeys(name.split("/")[0] for name in losses):
            if player.startswith("D"):
                found[f"{player} wins"] = self._won(player, step, losses)
            else:
                found[f"{player} is flat"] = self._flat(player, losses)
        new = {fault: text for fault, text in found.items() if text and fault not in self.reported}
        self.reported |= {*new}
        return new

    def _lasts(self, fault: str, wrong: bool, step: int) -> list[int]:
        """Return the steps at which a fault was logged without a break, this one included."""
        steps = self.since.setdefault(fault, [])
        if wrong:
            steps.append(step)
        else:
            steps.clear()
        return steps

    def _jump(self, step: int, name: str, value: float) -> float:
        """Return how many times its running median a value is if it is far above its recent values, else 0."""
        recent = self.recent.setdefault(name, deque(maxlen=WINDOW))
        before = [abs(old) for _, old in recent]
        recent.append((step, value))
        if len(before) < BEFORE:
            return 0.0
        median, largest = statistics.median(before), max(before)
        far = median > 0 and abs(value) >= RATIO * median and abs(value) >= JUMP * largest
        return abs(value) / median if far else 0.0

    def _exploded(self, step: int, name: str, value: float) -> str:
        if not math.isfinite(value) or name.split("/")[1] in NO_LOSS[:4]:
            return ""
        times = self._jump(step, name, value)
        if not times:
            return ""
        return (
            f"{name} is {value:.3g}, {times:.0f} times its running median of {abs(value) / times:.3g}: the training "
            f"may be diverging; go back to an earlier checkpoint, and set train.clip or lower the rate"
        )

    def _steep(self, step: int, name: str, value: float) -> str:
        player, usual = name.partition("/")[2], self.recent.setdefault(name, deque(maxlen=WINDOW))
        if not math.isfinite(value):
            return ""
        before = [old for _, old in usual]
        median = statistics.median(before) if len(before) >= BEFORE else math.inf
        steps = self._lasts(name, value > RATIO * median > 0, step)
        if not steps:  # so that the median stays that of before
            usual.append((step, value))
        if len(steps) < 3:
            return ""
        return (
            f"the gradients of {player} explode: their norm is {value:.3g}, and was {median:.3g} before step "
            f"{steps[0]}; set train.clip to about {10 * median:.2g}, lower the rate of {player}, or go back to an "
            f"earlier checkpoint"
        )

    def _won(self, player: str, step: int, losses: Mapping[str, float]) -> str:
        """Return a sentence if a discriminator has told real from generated without error for a long time."""
        own = {name.split("/")[1]: value for name, value in losses.items() if name.split("/")[0] == player}
        if "alarm" in own:  # the task watches it itself, with more to go by
            return ""
        judged = [value for name, value in own.items() if name not in NO_LOSS]
        certain = own.get("accuracy", 0) > CERTAIN
        small = bool(judged) and all(abs(value) < WON for value in judged)
        steps = self._lasts(f"{player} wins", certain or small, step)
        if len(steps) < FEWEST or step - steps[0] < LONG:
            return ""
        shown = ", ".join(f"{player}/{name} {value:.3g}" for name, value in own.items())
        return (
            f"{player} has told real from generated nearly without error since step {steps[0]} ({shown}): the "
            f"generator gets no useful gradient from it, and may have collapsed; look at the samples, and try a "
            f"lower learning rate or a smaller network for {player}, or another objective"
        )

    def _collapsed(self, step: int, name: str, value: float, numbers: Mapping[str, float]) -> str:
        if f"{name.partition('/')[0]}/alarm" in numbers:
            return ""
        steps = self._lasts(name, value < ALIKE, step)
        if len(steps) < 2 * FEWEST or step - steps[0] < LONG:
            return ""
        return (
            f"the generated samples are nearly identical since step {steps[0]} ({name} {value:.3g}): the generator "
            f"has collapsed; go back to an earlier checkpoint, and try a lower learning rate, a larger batch, "
            f"spectral norm, or a gradient penalty"
        )

    def _ignored(self, step: int, name: str, value: float) -> str:
        old = [before for _, before in self.recent.get(name, ())][-2 * FEWEST :]
        rises = bool(old) and value > 2 * old[0]  # as in a warm-up
        steps = self._lasts(name, 0 <= value < IGNORED and not rises, step)
        if len(steps) < 2 * FEWEST or step - steps[0] < LONG:
            return ""
        return (
            f"{name} is {value:.2g} since step {steps[0]}: the code carries no information and the decoder ignores "
            f"it (posterior collapse); try a smaller beta or a warm-up of it, free bits, or a weaker decoder"
        )

    def _dead(self, step: int, name: str, value: float) -> str:
        steps = self._lasts(name, value < (FEW_CODES * self.codes if self.codes else 2.0), step)
        if len(steps) < 2 * FEWEST or step - steps[0] < LONG:
            return ""
        of = f" of {self.codes}" if self.codes else ""
        return (
            f"only about {value:.3g}{of} codes are in use since step {steps[0]} ({name}): most of the codebook is "
            f"dead; reset unused codes more often (revive), lower the learning rate, or use fewer codes"
        )

    def _resting(self, step: int, name: str, value: float) -> str:
        steps = self._lasts(name, value == 0, step)
        if len(steps) < RATE_ZERO or step - steps[0] < RATE_STEPS:
            return ""
        player = name.partition("/")[2]
        return (
            f"the learning rate of {player} is 0 since step {steps[0]}, so it does not learn: extend the schedule "
            f"(schedule.end), or end the training earlier"
        )

    def _flat(self, player: str, losses: Mapping[str, float]) -> str:
        names = [name for name in losses if name.split("/")[0] == player and name.split("/")[1] not in NO_LOSS]
        first = math.inf
        for name in names:
            recent = list(self.recent.get(name, ()))[-STILL:]
            values = [value for _, value in recent]
            if len(values) < STILL or recent[-1][0] - recent[0][0] < LONG:
                return ""
            if max(values) - min(values) > FLAT * max(map(abs, values)):
                return ""
            first = min(first, recent[0][0])
        if not names:
            return ""
        shown = ", ".join(f"{name} {losses[name]:.4g}" for name in names)
        return (
            f"no loss of {player} has changed since step {first} ({shown}): it does not learn; check that its "
            f"learning rate is not too small or too large, and that its losses depend on its weights"
        )

    def _diverged(self, name: str, value: float) -> str:
        """Return a sentence if a metric whose direction is known gets worse and worse."""
        key, own = name.removeprefix("metric/"), name.rpartition("/")[2]
        more = own in ("elbo", "ssim") or key.endswith("psnr/db")
        if key == self.best:
            more = not self.lowest
        elif not more and own not in LOWER:
            return ""
        if not math.isfinite(value):
            return ""
        seen = self.metrics.setdefault(name, [])
        seen.append(-value if more else value)
        if len(seen) <= EVALUATIONS:
            return ""
        best, last = min(seen), seen[-EVALUATIONS - 1 :]
        margin = 1.0 if own == "db" else WORSE * abs(best)
        if not all(later > earlier for earlier, later in itertools.pairwise(last)):
            return ""
        if seen[-1] - best < margin:
            return ""
        return (
            f"{key} has worsened in {EVALUATIONS} evaluations in a row, and is {value:.4g} after "
            f"{-best if more else best:.4g}: the model may be overfitting or diverging; stop earlier, use "
            f"train.best={key}, more data or augmentation, or a lower learning rate"
        )
