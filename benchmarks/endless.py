"""Train a tiny task for a million steps, and watch the memory and the open files of the process: both must stay flat.

    python benchmarks/endless.py --json benchmarks/results/endless.json          # 20 minutes of a core
    python benchmarks/endless.py --steps 20000

It is a whole training, as `i2i run` does it: a data stream, an optimizer, an average, a log, sample pictures,
evaluations and checkpoints. Only the networks are small, one linear layer on two numbers, so that a step takes about
a millisecond and what grows by a few bytes a step shows. This file is also the plugin with that task. The figures are
recorded each `--every` steps, and compared from the second time on, when everything was used once.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from i2i import Catalog, Data, Task, api, hookimpl
from i2i.data import Sample
from i2i.plugins import registry

CONFIG = """
task: {use: endless}
data: {use: endless}
optimizer: {use: sgd, lr: 1.0e-3}
train: {ema: 0.99, log_every: 1000, threads: 1, keep: 2}
"""
GROWTH = 0.05  # of the memory, at most


class Endless(Task):
    """Learns to negate two numbers, given as a picture of 1 x 2 pixels."""

    ema = ("net",)

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)

    def players(self) -> dict[str, list[nn.Module]]:
        """Return the only player."""
        return {"net": [self.net]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield the squared error."""
        yield "net", {"error": nn.functional.mse_loss(self.net(batch["A"]), -batch["A"])}

    def translate(self, given: Tensor, *args: Any, **condition: Any) -> Tensor:
        """Return the negated pictures [N, 3, 1, 2]."""
        return self.net(given)


class Pairs(Data):
    """A hundred pictures [3, 1, 2]."""

    def __init__(self) -> None:
        self.batch_size = 2
        self.pictures = torch.rand(100, 3, 1, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Sequence[int], rng: Callable[[int], np.random.Generator]) -> dict[str, Any]:
        """Return pictures [N, 3, 1, 2]."""
        return {"A": self.pictures[list(indices)]}

    def validation(self) -> Sequence[Sample]:
        """Return two pictures."""
        return [{"A": picture} for picture in self.pictures[:2]]


class Mark(NamedTuple):
    """What a process uses at a step."""

    step: int
    memory_mb: float  # resident
    files: int  # open descriptors
    objects: int  # that Python's garbage collector knows of
    seconds: float


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task and the data set."""
    catalog.task("endless", Endless)
    catalog.data("endless", Pairs)


def look(step: int, seconds: float) -> Mark:
    """Look at this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    files, objects = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    return Mark(step, round(memory, 2), files, objects, round(seconds, 1))


class Watcher:
    """An observer of the run that looks at the process each `every` steps, and records it."""

    def __init__(self, every: int, file: Path | None) -> None:
        self.every, self.file, self.marks = every, file, list[Mark]()
        self.began = time.monotonic()

    @hookimpl
    def on_log(self, run: Path, step: int, scalars: dict[str, float], images: dict[str, Tensor]) -> None:
        """Look at the process, once at a step."""
        if step % self.every == 0 and not (self.marks and self.marks[-1].step == step):
            self.marks.append(look(step, time.monotonic() - self.began))
            if self.file:  # after each, so that what was seen is not lost
                self.file.write_text(json.dumps(self.result()) + "\n")

    def result(self) -> dict[str, Any]:
        """Return what was seen, and how much it grew since the second mark."""
        first, last = self.marks[min(1, len(self.marks) - 1)], self.marks[-1]
        return {
            "steps": last.step,
            "memory_mb": [first.memory_mb, last.memory_mb],
            "growth": round(last.memory_mb / first.memory_mb - 1, 4),
            "files": [first.files, last.files],
            "objects": [first.objects, last.objects],
            "seconds": last.seconds,
            "command": shlex.join(["python", *sys.argv]),
            "columns": Mark._fields,
            "marks": self.marks,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=10_000, help="steps between two looks")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    watcher = Watcher(min(chosen.every, chosen.steps), chosen.json)
    often = max(1, chosen.steps // 20)
    rarely = [f"train.{name}_every={often}" for name in ("sample", "checkpoint", "evaluate")]
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as name,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        config = Path(name) / "endless.yaml"
        config.write_text(CONFIG)
        registry().manager.register(watcher)
        api.run(config, f"train.steps={chosen.steps}", *rarely, out=Path(name) / "run", plugin=__file__)
    result = watcher.result()
    print(json.dumps({name: value for name, value in result.items() if name not in ("marks", "columns")}, indent=1))
    grown = result["growth"] > GROWTH or result["files"][1] > result["files"][0]
    raise SystemExit(1 if grown or result["steps"] < chosen.steps else 0)


if __name__ == "__main__":
    main()
