"""What each of two processes holds, and what a step costs, with whole and with divided networks.

    python benchmarks/divided.py --json benchmarks/results/divided.json

Trains the CycleGAN of the paper, but on random images of 64 px, one thread per process. Needs two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "configs" / "paper" / "cyclegan.yaml"


def child(shard: bool, steps: int) -> dict[str, float]:
    """Train for some steps; return megabytes held and the milliseconds of a step."""
    import torch

    from i2i import config, processes
    from i2i.engine import Engine
    from i2i.plugins import registry

    torch.set_num_threads(1)
    world = processes.join(100, torch.device("cpu"))
    changes = [f"train.shard={shard}", "train.ema=0.999"]
    chosen = config.load(str(CONFIG), changes, registry().catalog)
    torch.manual_seed(0)
    engine = Engine(chosen.task(), chosen.optimizer, chosen.train, world=world)
    images = {key: torch.rand(1, 3, 64, 64) * 2 - 1 for key in "AB"}
    engine.step([images])
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(steps):
        engine.step([images])
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    parameters = [parameter for own in engine.players.values() for parameter in own]
    states = [value for o in engine.optimizers.values() for state in o.state.values() for value in state.values()]
    groups: dict[str, list[Any]] = {
        "weights": parameters,
        "gradients": [parameter.grad for parameter in parameters if parameter.grad is not None],
        "optimizers": states,
        "averages": [value for average in engine.averages.values() for value in average.parameters()],
    }
    held = {name: round(sum(value.nbytes for value in values) / 1e6, 1) for name, values in groups.items()}
    world.wait()
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return {**held, "peak": peak, "ms": round(1000 * wall / steps), "cpu ms": round(1000 * cpu / steps)}


def measured(shard: bool, steps: int, **variables: str) -> dict[str, float]:
    """Return what the second of two processes with these variables of the environment found."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--child", str(int(shard)), "--steps", str(steps)]
    shared = {**os.environ, **variables, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    environments = [{**shared, "RANK": str(rank), "OMP_NUM_THREADS": "1"} for rank in range(2)]
    children = [subprocess.Popen(command, env=each, stdout=subprocess.PIPE, text=True) for each in environments]
    return json.loads([each.communicate()[0] for each in children][1].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(bool(options.child), options.steps)), flush=True)
        os._exit(0)
    found = {}
    for name, shard in (("whole", False), ("divided", True)):
        found[name] = measured(shard, options.steps)
        # So that freed memory goes back at once and the peak is that of what is in use; it makes steps slower.
        found[name]["peak"] = measured(shard, 1, MALLOC_MMAP_THRESHOLD_="65536")["peak"]
        print(name, found[name])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
