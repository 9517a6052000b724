"""A trial: a few steps of a training, exactly as `i2i run` does them, in a process of its own.

Its peak memory is that of the whole process, with the pictures and the checkpoint that a training writes and the
start of its validation, and running out of memory ends the trial and nothing else. Processes that load data are not
counted.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from i2i import files
from i2i.runs import Run
from i2i.testing import read_config

KILLED = (-9, 137)  # exit status of a process that was killed for its memory
RESOURCE = 6  # exit status of `i2i run` if memory runs out
STOPPED = (75, -15, 143)  # exit status of `i2i run` that was asked to stop, in its validation or after it
VALIDATION = 5.0  # seconds of the validation after the last step that a trial sees; all of it may take hours


@dataclass(frozen=True)
class Trial:
    """What one trial found.

    Attributes:
        batch: samples of a step.
        size: of the pictures, in pixels; None if the data set has no such setting.
        memory: peak memory in bytes, on the device; 0 if it did not end.
        seconds: of a step; 0 if it did not end.
        state: "ok", "memory", "slow" or "error".
        reason: in words, if it is not "ok".
        code: exit status of the trial.
    """

    batch: int
    size: int | None
    memory: int
    seconds: float
    state: str
    reason: str = ""
    code: int = 0


class Trials:
    """Runs trials of a config.

    Args:
        config, overrides, plugins: as for `i2i run`.
        steps: of a trial; the first one, which prepares much, is not counted.
        limit: seconds for a trial.
    """

    def __init__(
        self, config: str, overrides: Sequence[str], steps: int, limit: float, plugins: Sequence[str]
    ) -> None:
        self.config, self.overrides, self.plugins = config, list(overrides), list(plugins)
        self.steps, self.limit = steps, limit
        self.folder = Path(tempfile.mkdtemp(prefix="i2i-fit-"))
        self.data: dict[str, Any] = {}  # of the resolved config, after the first trial
        self.samples = 0  # of the data set, after `count`

    def clear(self) -> None:
        """Delete what the trials wrote."""
        files.remove(self.folder)

    def count(self) -> int:
        """Return how many samples the data set has; a larger batch would have some of them twice."""
        if not self.samples:
            self.samples = len(read_config(self.config, *self.overrides).data())
        return self.samples

    def length(self) -> int:
        """Return how many steps the training has."""
        train = read_config(self.config, *self.overrides).train
        return train.length(0 if train.steps else self.count(), self.data.get("batch_size", 1))

    def run(self, batch: int | None = None, size: int | None = None) -> Trial:
        """Try a batch and a size; None for those of the config."""
        out = self.folder / f"{batch}-{size}"
        changes = [f"data.batch_size={batch}"] * (batch is not None) + [f"data.size={size}"] * (size is not None)
        short = [f"train.steps={self.steps}", "train.epochs=null", "train.log_every=1", "train.start_from=null"]
        short += ["train.best=null", "train.evaluate_every=null", "metrics=[]"]
        plugins = [part for file in self.plugins for part in ("--plugin", file)]
        command = ["run", self.config, *self.overrides, *changes, *short, "-o", str(out), *plugins]
        run = Run(out)

        def trained() -> bool:
            return len(run.timing()) >= self.steps

        code, peak, told = measured([sys.executable, "-m", "i2i", *command], self.limit, trained)
        self.data = self.data or data_of(run)
        asked = batch or self.data.get("batch_size", 1), size or self.data.get("size")
        if code and not (code in STOPPED and trained()):
            return Trial(*asked, 0, 0.0, *why(code, told, self.limit), code=code)
        on_device = [line["memory/peak_mb"] for line in run.log() if "memory/peak_mb" in line]
        each = [line["seconds"] for line in run.timing()][1:]
        files.remove(out)
        memory = int(max(on_device) * 2**20) if on_device else peak
        return Trial(*asked, memory, statistics.median(each), "ok")


def data_of(run: Run) -> dict[str, Any]:
    """Return `data` of the resolved config of a run; {} if it did not get that far."""
    with suppress(OSError):
        tree = YAML(typ="safe").load(run.config_text()) or {}
        return dict(tree.get("data", {}))
    return {}


def measured(
    command: Sequence[str], limit: float, trained: Callable[[], bool] = lambda: False
) -> tuple[int, int, str]:
    """Run a command; return its exit status, its peak memory in bytes, and the last line that it said.

    If it takes longer than `limit` seconds, it is ended and the status is 124. Once it has `trained`, it is asked to
    stop after a few seconds. If memory runs out, Linux ends it before other processes.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        sacrifice(process.pid)
        ends, late, peak = time.monotonic() + limit, False, 0
        stop: float | None = None
        while True:
            peak = max(peak, peak_of(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            now = time.monotonic()
            if stop is None and trained():
                stop, ends = now + VALIDATION, now + VALIDATION + limit
            if stop is not None and now > stop:
                process.terminate()
                stop = math.inf
            if now > ends and not late:
                late = True
                process.kill()
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    peak = peak or usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 124 if late else process.returncode, peak, lines[-1] if lines else ""


def peak_of(pid: int) -> int:
    """Return the peak memory of a process since it started its program, in bytes; 0 where Linux does not tell.

    That of `os.wait4` may be that of this process, of which the other one was a copy for a moment.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def sacrifice(pid: int) -> None:
    """Let Linux end this process first if memory runs out."""
    with suppress(OSError):
        descriptor = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
        try:
            os.write(descriptor, b"1000")
        finally:
            os.close(descriptor)


def why(code: int, told: str, limit: float) -> tuple[str, str]:
    """Return the state of a trial that failed, and the reason."""
    if code == 124:
        return "slow", f"took more than {limit:g} seconds"
    if code in KILLED or code == RESOURCE:
        return "memory", told if code == RESOURCE else "the system ended it, because memory ran out"
    return "error", told.removeprefix("i2i: ")
