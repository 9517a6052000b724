"""What a step costs with one and two processes.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json

Trains configs/cyclegan.yaml on random images, one thread per process, in four ways: one process with a batch of 2,
one with a batch of 1, two at once that know nothing of each other, and two that train together. The third shows how
far two busy cores slow each other down, which no way of training avoids. Needs two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "configs" / "cyclegan.yaml"
WAYS = {"one, batch 2": (1, 2, False), "one, batch 1": (1, 1, False), "two apart": (2, 1, False), "two": (2, 1, True)}
PARTS = {"_backward": "networks", "_share": "averaging", "_move": "optimizers"}  # methods of the engine


def child(batch: int, seconds: float) -> dict[str, float]:
    """Train for some seconds; return milliseconds per step: wall and CPU time, and the CPU time of each part."""
    import torch

    from i2i import config, processes
    from i2i.engine import Engine
    from i2i.plugins import registry

    torch.set_num_threads(1)
    world = processes.join(60, torch.device("cpu"))
    chosen = config.load(str(CONFIG), [], registry().catalog)
    torch.manual_seed(0)
    engine = Engine(chosen.task(), chosen.optimizer, chosen.train, world=world)
    spent = dict.fromkeys(PARTS.values(), 0.0)
    for method, part in PARTS.items():
        setattr(engine, method, timed(getattr(engine, method), part, spent))
    images = {key: torch.rand(batch, 3, 64, 64) * 2 - 1 for key in "AB"}
    for _ in range(3):
        engine.step([images])
    spent |= dict.fromkeys(spent, 0.0)
    steps, cpu, start = 0, time.process_time(), time.perf_counter()
    stop = torch.zeros(())
    while not stop:
        engine.step([images])
        steps += 1
        stop = torch.tensor(float(time.perf_counter() - start > seconds))
        world.average([stop])  # together
    wall = time.perf_counter() - start
    found = {"wall": wall, "cpu": time.process_time() - cpu, **spent}
    return {name: round(1000 * value / steps, 1) for name, value in found.items()}


def timed(method: Any, part: str, spent: dict[str, float]) -> Any:
    """Return a method that adds its CPU time, of this thread, to `spent`."""

    def run(*args: Any) -> Any:
        start = time.thread_time()
        try:
            return method(*args)
        finally:
            spent[part] += time.thread_time() - start

    return run


def measured(way: str, seconds: float) -> dict[str, float]:
    """Start the processes of one way; return the means over them."""
    size, batch, together = WAYS[way]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--child", str(batch), "--seconds", str(seconds)]
    started = []
    for rank in range(size):
        group = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(group if together else {})}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    found = [json.loads(one.communicate()[0]) for one in started]
    return {name: statistics.mean(one[name] for one in found) for name in found[0]}


def main() -> None:
    """Measure all ways in turn, several times, and print medians and efficiencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child, args.seconds)), flush=True)
        os._exit(0)  # see i2i/__main__.py
    load = os.getloadavg()[0]
    rounds = [{way: measured(way, args.seconds) for way in WAYS} for _ in range(args.rounds)]
    names = rounds[0]["two"]
    rows = {
        way: {name: round(statistics.median(one[way][name] for one in rounds), 1) for name in names} for way in WAYS
    }
    for way, row in rows.items():
        print(f"{way:14}", "  ".join(f"{name} {value:.1f}" for name, value in row.items()))
    result: dict[str, Any] = {"ms_per_step": rows, "load_before": round(load, 2), "rounds": args.rounds}
    for clock in ("wall", "cpu"):
        whole = rows["one, batch 2"][clock]
        result[f"efficiency_{clock}"] = round(whole / rows["two"][clock] / 2, 3)
        result[f"limit_{clock}"] = round(whole / rows["two apart"][clock] / 2, 3)
        print(f"{clock}: efficiency {result[f'efficiency_{clock}']}, apart {result[f'limit_{clock}']}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
