"""Kill -9 training runs at random times, resume them, and compare with uninterrupted runs, bit for bit.

    python benchmarks/kills.py --kills 200 --json benchmarks/results/kills.json          # all kinds of tasks in turn
    python benchmarks/kills.py --kills 20 --kinds cyclegan

Every run is one of the small ones of tiny.py, with a checkpoint every second step, so that many kills hit a save; a
run is killed repeatedly, also while resuming, until it finishes. Compared are the last checkpoint, the weights, the
log, the metrics and the sample pictures. Children are forked from one process that has imported everything, so that a
kill takes seconds instead of ten. --seconds ends after that time, whatever the number of kills.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import math
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tiny import CONFIGS, write

from i2i import api, checkpoint
from i2i.files import calls
from i2i.plugins import registry

PER_RUN = 4  # kills of one run, which then finishes and is compared


def start(config: Path, run: Path) -> int:
    """Fork a child that trains; return its process id."""
    child = os.fork()
    if child:
        return child
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    error = os.open(run.parent / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(error, 2)
    calls.system = slow_system
    code = 1
    try:
        api.run(config, out=run, resume=True)
        code = 0
    except BaseException as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    finally:
        os._exit(code)


def slow_system(call: Callable[..., Any], *arguments: Any) -> Any:
    """Slow down the system calls of a save, so that many kills hit one."""
    time.sleep(0.02)
    return call(*arguments)


def fingerprint(run: Path) -> dict[str, str]:
    """Hash all outputs of a run: final checkpoint, weights, log, metrics, images."""
    last = sorted((run / "checkpoints").glob("step_*"))[-1]
    found = [*last.iterdir(), run / "model.safetensors", run / "log.jsonl", run / "metrics.json"]
    found += sorted((run / "samples").iterdir())
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


class Target:
    """A kind of task: its config, what an uninterrupted run of it leaves behind, and how long that takes."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder / kind
        self.folder.mkdir()
        self.config = write(kind, self.folder)
        began = time.monotonic()
        if os.waitpid(start(self.config, self.folder / "unbroken"), 0)[1]:
            raise SystemExit(f"{kind}: a run that nobody kills failed: {self.stderr()}")
        self.seconds = time.monotonic() - began
        self.expected = fingerprint(self.folder / "unbroken")
        self.runs = 0

    def stderr(self) -> str:
        """Return the end of what its runs wrote to stderr."""
        return (self.folder / "stderr.txt").read_text()[-500:]

    def killed_run(self, dice: random.Random, kills: int) -> tuple[int, int, bool]:
        """Train once, killed up to `kills` times; return the kills, those during a save, and whether it differs."""
        run, done, in_a_save = self.folder / f"run{self.runs}", 0, 0
        self.runs += 1
        while True:
            child = start(self.config, run)
            deadline = time.monotonic() + dice.uniform(0, 0.9 * self.seconds)
            while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and (time.monotonic() < deadline or done == kills):
                time.sleep(0.002)
            if ended[0]:
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            done += 1
            in_a_save += any(run.rglob(".tmp*"))
        if ended[1]:
            raise SystemExit(f"{run}: a resumed run failed: {self.stderr()}")
        found = fingerprint(run)
        differ = sorted(name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name))
        if differ:
            kept = Path(tempfile.mkdtemp(prefix=f"i2i-differs-{self.kind}-"))
            print(f"{run}: {', '.join(differ)} differ; kept in {kept}", file=sys.stderr)
            shutil.copytree(run, kept / "run")
            shutil.copytree(self.folder / "unbroken", kept / "unbroken")
        assert checkpoint.newest(run / "checkpoints", say=print) is not None
        shutil.rmtree(run)
        return done, in_a_save, bool(differ)


def campaign(folder: Path, kinds: list[str], kills: int, seconds: float, seed: int = 0) -> dict[str, Any]:
    """Kill `kills` times, or for `seconds`, the kinds taking turns; return what happened, by kind and in all."""
    dice = random.Random(seed)
    registry()
    with contextlib.redirect_stderr(io.StringIO()):
        api.run(
            write("vae", folder), out=folder / "warm"
        )  # imports all that a training imports, once for all children
    targets = [Target(kind, folder) for kind in kinds]
    counts = {target.kind: {"kills": 0, "kills_in_a_save": 0, "runs": 0, "runs_that_differ": 0} for target in targets}
    began = time.monotonic()
    left = kills
    for turn in itertools.count():
        target = targets[turn % len(targets)]
        if not left or time.monotonic() - began > seconds:
            break
        done, in_a_save, differs = target.killed_run(dice, min(left, PER_RUN))
        left -= done
        for name, more in zip(counts[target.kind], (done, in_a_save, 1, int(differs)), strict=True):
            counts[target.kind][name] += more
    total = {name: sum(count[name] for count in counts.values()) for name in counts[kinds[0]]}
    unbroken = {target.kind: round(target.seconds, 2) for target in targets}
    return {**total, "kinds": counts, "unbroken_seconds": unbroken, "seconds": round(time.monotonic() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(CONFIGS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Path(folder), chosen.kinds.split(","), chosen.kills, chosen.seconds, chosen.seed)
    result["command"] = shlex.join(["python", *sys.argv])
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(1 if result["runs_that_differ"] else 0)


if __name__ == "__main__":
    main()
