"""Call the `on_log` hooks of plugins: they look, and whatever they change in the process is put back and reported."""

from __future__ import annotations

import logging
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..contract import random_state_kept
from ..plugins import registry

log = logging.getLogger("i2i")


def working_folder() -> str | None:
    """Return the working folder, or None if it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def enter(folder: str) -> None:
    """Make a folder the working folder, unless it has been deleted."""
    with suppress(FileNotFoundError):
        os.chdir(folder)


SETTINGS: dict[str, tuple[Any, Any]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "the working folder": (working_folder, enter),
}
"""What a hook could change for the rest of the run: how to read it, and how to set it."""


class Observers:
    """The plugins that watch one run. One that raises is reported once and dropped."""

    def __init__(self, run: Path, device: torch.device) -> None:
        self.run, self.device = run, device
        self._dropped: set[str] = set()
        self._reported: set[tuple[str, str]] = set()

    def notify(self, step: int, scalars: dict[str, float], images: dict[str, Any]) -> None:
        """Call every `on_log`."""
        for name, call in registry().each("on_log", run=self.run, step=step, scalars=scalars, images=images):
            if name in self._dropped:
                continue
            before = {what: read() for what, (read, _) in SETTINGS.items()}
            try:
                with random_state_kept(self.device):
                    states = random_states(self.device)
                    call()
                    self._report_random(name, states)
            except (Exception, SystemExit) as error:
                self._dropped.add(name)
                log.warning("i2i: plugin '%s' failed in on_log and is dropped for this run: %r", name, error)
            self._restore(name, before)

    def _report_random(self, name: str, before: dict[str, bytes]) -> None:
        after = random_states(self.device)
        changed = [whose for whose in before if after[whose] != before[whose]]
        if changed and (name, "random") not in self._reported:
            self._reported.add((name, "random"))
            whose = ", ".join(changed)
            log.warning("i2i: plugin '%s' changed the random state of %s in on_log; it was set back", name, whose)

    def _restore(self, name: str, before: dict[str, Any]) -> None:
        for what, (read, write) in SETTINGS.items():
            if before[what] is None or read() == before[what]:
                continue
            write(before[what])
            if (name, what) not in self._reported:
                self._reported.add((name, what))
                log.warning("i2i: plugin '%s' changed %s in on_log; it was set back to %s", name, what, before[what])


def random_states(device: torch.device) -> dict[str, bytes]:
    """Return the random states of this process, by what has them."""
    _, keys, position, *normal = np.random.get_state()
    states = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": np.asarray(keys).tobytes() + repr((position, normal)).encode(),
        "Python": repr(random.getstate()).encode(),
    }
    if device.type not in ("cpu", "mps", "meta"):
        states[str(device)] = getattr(torch, device.type).get_rng_state(device).numpy().tobytes()
    return states
