"""How the cost of a step or a translation grows with the size of the picture, the batch and the threads.

    python benchmarks/curves.py                                # all; needs an idle machine, and takes ten minutes
    python benchmarks/curves.py --only "cyclegan batch" --threads 2

Each point is `speed.py` in a process of its own: i2i with its default speed and the plain reference in turns, by the
clock on the wall. `speed.py --render` writes the results into docs/performance.md.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import speed
import speed_page

RESULTS = Path(__file__).parent / "results" / "curves.json"


class Curve(NamedTuple):
    """A workload of `speed.py`, what changes, its values, and what else is not as published."""

    workload: str
    axis: str
    values: tuple[int, ...]
    fixed: tuple[str, ...] = ()


CURVES = {
    "cyclegan size": Curve("cyclegan", "size", (32, 64, 96)),
    "cyclegan batch": Curve("cyclegan", "batch", (1, 2, 4), ("--size=64",)),
    "resnet_inference size": Curve("resnet_inference", "size", (64, 128, 256, 512)),
}


def point(curve: Curve, value: int, threads: int, rounds: int) -> dict[str, float]:
    """Measure one point; return seconds, the least of all rounds, of the "reference" and of "i2i"."""
    line = [sys.executable, speed.__file__, curve.workload, f"--{curve.axis}={value}", *curve.fixed]
    line += [f"--threads={threads}", "--clock=wall", f"--rounds={rounds}", "--speed=auto"]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{curve.workload} with {curve.axis} {value} could not be measured")
    least = {name: float(seconds) for name, seconds in re.findall(r"^(\w+) +min +([\d.]+)", done.stdout, re.M)}
    return {"reference": min(least["reference"], least["reference_again"]), "i2i": least["i2i"]}


def main() -> None:
    """Measure the curves that were asked for, and add them to the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CURVES, help="one curve")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="one number of threads")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    for name in [args.only] if args.only else CURVES:
        for threads in [args.threads] if args.threads else (1, 2):
            curve = CURVES[name]
            points = {str(value): point(curve, value, threads, args.rounds) for value in curve.values}
            print(name, threads, points, flush=True)
            speed_page.merge(args.json, speed.machine(), str(threads), name, points)


if __name__ == "__main__":
    main()
