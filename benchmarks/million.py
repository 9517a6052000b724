"""A data set of a million pictures: how long until the first step, and does memory stay bounded?

    python benchmarks/million.py [--pictures 1000000] [--json benchmarks/results/million.json]

The pictures are hard links to 40 small ones, a thousand to a folder, half in trainA and half in trainB. A small
CycleGAN is then trained on them with two loader processes. Memory is the proportional set size (PSS) of the whole
process tree, which counts pages that processes share once. Goals: listed in less than a minute, and memory that does
not grow during training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SOURCES, A_FOLDER, SECONDS, GROWTH = 40, 1000, 60.0, 100.0
CONFIG = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 2}
  gan: {use: lsgan}
data: {use: unpaired_folders, root: ROOT, size: 32, batch_size: 4, workers: 2, cache: false}
optimizer: {use: adam, lr: 0.0002}
train: {steps: STEPS, threads: 1, log_every: 20, sample_every: 1000000, checkpoint_every: 1000000}
"""
LIST = """
import sys, time
from pathlib import Path
from i2i.data import UnpairedFolders
start = time.perf_counter(), time.process_time()
data = UnpairedFolders(sys.argv[1], size=32, cache=False)
print(len(data), time.perf_counter() - start[0], time.process_time() - start[1])
"""


def main() -> None:
    """Make the folders, list them, train on them, print, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="A data set of a million pictures")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as place:
        root = Path(place).absolute()
        fill(root, arguments.pictures)
        command = [sys.executable, "-c", LIST, str(root)]
        longest, wall, cpu = map(float, subprocess.check_output(command, text=True).split())
        memory = list(trained(root, arguments.steps))
    early, late = (float(np.median([mb for step, mb in memory if low < step <= high])) for low, high in spans(memory))
    result = {
        "pictures": arguments.pictures,
        "epoch": int(longest),
        "list_seconds": round(wall, 1),
        "list_cpu_seconds": round(cpu, 1),
        "steps": arguments.steps,
        "pss_mb_early": round(early),
        "pss_mb_late": round(late),
        "pss_mb_peak": round(max(mb for _, mb in memory)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if wall > SECONDS or late - early > GROWTH:
        raise SystemExit(1)


def fill(root: Path, count: int) -> None:
    """Make trainA and trainB, with half of the pictures each, and a few for validation."""
    rng = np.random.default_rng(0)
    (root / "sources").mkdir()
    for number in range(SOURCES):
        blocks = np.kron(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(blocks).save(root / "sources" / f"{number}.jpg", quality=85)
    for domain in "AB":
        for name, amount in ((f"train{domain}", count // 2), (f"test{domain}", 4)):
            for number in range(amount):
                folder = root / name / f"{number // A_FOLDER:05}"
                if number % A_FOLDER == 0:
                    folder.mkdir(parents=True)
                os.link(root / "sources" / f"{(7 * number) % SOURCES}.jpg", folder / f"{number % A_FOLDER:03}.jpg")


def trained(root: Path, steps: int) -> Iterator[tuple[int, float]]:
    """Train, and yield (last logged step, megabytes of the process tree) twice a second."""
    config = root / "million.yaml"
    config.write_text(CONFIG.replace("ROOT", str(root)).replace("STEPS", str(steps)))
    run = root / "run"
    command = [sys.executable, "-m", "i2i", "run", str(config), "--out", str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        time.sleep(0.5)
        log = run / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        done = [json.loads(line).get("step", 0) for line in lines if line.endswith("}")]
        if done and max(done) > 0:
            yield max(done), tree_megabytes(child.pid)
    if child.returncode:
        raise SystemExit(f"training ended with {child.returncode}")


def spans(memory: list[tuple[int, float]]) -> list[tuple[int, int]]:
    """Return the steps of the second and of the last fifth of what was seen."""
    last = memory[-1][0]
    return [(last // 5, 2 * last // 5), (4 * last // 5, last)]


def tree_megabytes(pid: int) -> float:
    """Return the proportional set size of a process and its descendants."""
    total = 0.0
    for number in [pid, *descendants(pid)]:
        try:
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
        except OSError:  # it has just ended
            continue
        total += sum(float(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def descendants(pid: int) -> list[int]:
    """Return the numbers of the processes below one."""
    try:
        own = [int(n) for t in Path(f"/proc/{pid}/task").iterdir() for n in (t / "children").read_text().split()]
    except OSError:
        return []
    return [number for child in own for number in (child, *descendants(child))]


if __name__ == "__main__":
    main()
