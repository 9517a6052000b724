"""Kill -9 a training run at random times, resume it, and compare with an uninterrupted run, bit for bit.

    python benchmarks/kills.py --kills 200 --json benchmarks/results/kills.json

Every run is a small CycleGAN with replay pools, averages and a checkpoint every second step, so that many kills hit
a save; a run is killed repeatedly, also while resuming, until it finishes. Children are forked from one process that
has imported everything, so that a kill takes one second instead of five.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from i2i import api, checkpoint
from i2i.files import calls
from i2i.plugins import registry

CONFIG = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
  pool: 3
data: {use: horses_zebras, size: 64, batch_size: 1, samples: 6, validation_samples: 2}
optimizer: {use: adam, lr: 1.0e-3}
schedule: {use: linear_decay, start: 1, end: 3}
train: {steps: 14, ema: 0.9, log_every: 1, sample_every: 5, checkpoint_every: 2, keep: 2, threads: 1}
"""


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
    time.sleep(0.004)
    return call(*arguments)


def fingerprint(run: Path) -> dict[str, str]:
    """Hash all outputs of a run: final checkpoint, weights, log, metrics, images."""
    last = sorted((run / "checkpoints").glob("step_*"))[-1]
    found = [*last.iterdir(), run / "model.safetensors", run / "log.jsonl", run / "metrics.json"]
    found += sorted((run / "samples").iterdir())
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def campaign(folder: Path, kills: int, seed: int = 0) -> dict[str, object]:
    """Kill `kills` times; return the number of runs, kills, kills during a save, and runs that differ."""
    dice = random.Random(seed)
    config = folder / "kills.yaml"
    config.write_text(CONFIG)
    registry()
    began = time.monotonic()
    os.waitpid(start(config, folder / "unbroken"), 0)
    length = time.monotonic() - began
    expected = fingerprint(folder / "unbroken")
    result = {
        "kills": 0,
        "kills_in_a_save": 0,
        "runs": 0,
        "runs_that_differ": 0,
        "unbroken_seconds": round(length, 2),
    }
    while result["kills"] < kills:
        run = folder / f"run{result['runs']}"
        while True:
            child = start(config, run)
            deadline = time.monotonic() + dice.uniform(0, 0.9 * length)
            while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.002)
            if ended[0] == 0 and result["kills"] < kills:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                result["kills"] += 1
                result["kills_in_a_save"] += any(run.rglob(".tmp*"))
                continue
            code = ended[1] if ended[0] else os.waitpid(child, 0)[1]
            if code != 0:
                raise SystemExit(f"{run}: a resumed run failed: {(folder / 'stderr.txt').read_text()[-500:]}")
            break
        result["runs"] += 1
        found = fingerprint(run)
        differ = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        result["runs_that_differ"] += bool(differ)
        if differ:
            print(f"{run}: {', '.join(differ)} differ; kept", file=sys.stderr)
            shutil.copytree(run, Path(tempfile.gettempdir()) / f"i2i-differs-{run.name}", dirs_exist_ok=True)
            shutil.copytree(folder / "unbroken", Path(tempfile.gettempdir()) / "i2i-unbroken", dirs_exist_ok=True)
        assert checkpoint.newest(run / "checkpoints", say=print) is not None
        shutil.rmtree(run)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Path(folder), chosen.kills, chosen.seed)
    result["command"] = f"python benchmarks/kills.py --kills {chosen.kills} --seed {chosen.seed}"
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(1 if result["runs_that_differ"] else 0)


if __name__ == "__main__":
    main()
