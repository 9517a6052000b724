"""Averages of the weights that a run is too short for: its samples would look untrained.

i2i run gan train.steps=500 train.ema=0.999
"""

from __future__ import annotations

from collections.abc import Mapping

DECAYS = ("0.999", "0.998", "0.995", "0.99", "0.98", "0.95", "0.9")
MOST = 0.1  # share of the first step's weights in the final average
SHORT = 100  # steps, before which nobody expects good samples


def slow_average(known: Mapping[str, str]) -> str | None:
    """Return a warning if the average will still contain much of the weights of the first step, or None.

    Args:
        known: the settings of a run by dotted keys.
    """
    try:
        decay, steps = float(known["train.ema"]), int(known["train.steps"])
    except (KeyError, ValueError):  # no average, or a length in epochs
        return None
    share = decay**steps
    if share <= MOST or steps < SHORT:
        return None
    better = next((one for one in DECAYS if float(one) ** steps <= MOST / 10), "null")
    return (
        f"train.ema={known['train.ema']} averages about {1 / (1 - decay):,.0f} steps, and this run has {steps:,}: "
        f"the weights of the first step will still make up {share:.0%} of the average at its end, so samples will "
        f"look untrained. Try train.ema={better}."
    )
