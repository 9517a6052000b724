"""The learning check: a small training, in seconds, must reach a recorded number again.

It says that a method still learns, not how well it does in the end; for that, see the configs' own results.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i import ConfigError, run


@dataclass(frozen=True)
class Check:
    """A small training and the number that it has to reach.

    Attributes:
        config, overrides: what is trained.
        number: name of the score in metrics.json.
        start: the score after one step.
        reached: the score when it was recorded.
        bar: the score that has to be reached; between the two, as other processors round otherwise.
        seconds: CPU time that it took then, of this process.
    """

    config: str
    overrides: tuple[str, ...]
    number: str
    start: float
    reached: float
    bar: float
    seconds: float

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Check:
        """Return the check of an entry of `published.json`."""
        return cls(**{**entry, "overrides": tuple(entry["overrides"])})

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.bar > self.start

    def passes(self, score: float) -> bool:
        """Whether a score reaches the bar."""
        return score >= self.bar if self.higher else score <= self.bar

    def command(self) -> str:
        """Return the command that trains it."""
        return " ".join(["i2i run", self.config, *self.overrides])


def rerun(check: Check, *more: str) -> tuple[float, float]:
    """Train again; return the score and the CPU seconds it took.

    Args:
        check: what is trained.
        more: further overrides.

    Raises:
        ConfigError: the run has no such score.
    """
    begun = time.process_time()
    with tempfile.TemporaryDirectory(prefix="i2i-verify-") as folder:
        made = run(check.config, *check.overrides, *more, out=Path(folder) / "run")
        scores = json.loads((made / "metrics.json").read_text())
    if check.number not in scores:
        raise ConfigError(f"{check.command()}: no score {check.number}, only {', '.join(sorted(scores))}")
    return float(scores[check.number]), time.process_time() - begun
